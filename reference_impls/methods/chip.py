"""CHiP (cross-modal hierarchical DPO), record `chip`, arXiv:2501.16629.

m is the image, m' the same one with diffusion noise, l(y|m) = log pi_theta(y|m,x)/pi_ref(y|m,x):

    L   = L_r + lambda L_s + gamma L_k + L_v
    L_r = -log sigma( beta l(y_w|m) - beta l(y_l|m) )                response: DPO
    L_s = L_r with l(y|m) = 1/C sum_t w_t l(y_t|m,y_<t)              segment, C = sum_t w_t
    L_k = sg( beta D(y_w) ) - beta D(y_l)                            token
    D(y) = sum_t KL( pi_ref(.|m,x,y_<t) || pi_theta(.|m,x,y_<t) )
    L_v = -log sigma( beta l(y_w|m) - beta l(y_w|m') )               image

w_t is `token_weight` on tokens of changed segments (`weights` of the views), 1 on others. D comes
in `extra["chosen_kl"]` and `extra["rejected_kl"]`, (B,). No gradient flows through D(y_w), so that
L_k moves D(y_l) alone, and RAISES it: minimised, it takes the policy away from the reference on
rejected answers. The paper's pages could not be opened; the equations are as the record has them.

Own: the objective.

Simplifications
1. Pairs: the policy's answer and its correction by a human, as in RLHF-V, whose data the paper
   trains on; there, the rejected answers are other models'.
2. Noise is added to pixel values in [-1, 1] and rounded to eight bits; the code adds it to
   normalised values. The image is made noisy once per pair.

Official code: LVUGAI/CHiP@e7f51932, llava/train/llava_trainer.py; `variant="code"`
- #L444-L459: ONE -log sigma over the sum of all margins, so that a wide text margin ends the
  learning from the image, and gamma (`tok_beta`) lowers D(y_l) as TDPO does: the opposite sign;
  D(y_w) is detached (#L452).
- #L541-L549, #L613-L624: with `dpo_token_weighted` the weighted SUMS (no 1/C) take the place of
  plain ones in the text and in the image margin; there is no lambda. Without it (the default, and
  here where views have no `weights`, or without `segment_term`) sums are plain.
- #L543: the reference's log-probability under m' is summed already and is then multiplied with the
  sum of the answer's token weights: a large constant inside the sigmoid. The same in
  muffin/muffin/train/trainers.py#L157. It works for one pair per device only.
- #L421: beta is 0.1 and no option; scripts/chip.sh#L48: token weight 4.0 for LLaVA.
- llava/train/train.py#L835-L860: steps of the noise are counted from 0, so that `500` is the 501st:
  0.7448 of the signal's variance are left, not 0.7467.
- muffin/muffin/train/trainers.py#L200-L202 has an SFT term, off by default: left out.
- llava/train/diff_lib.py#L113-L186 over prompt and answer marks a span only when it is empty on
  neither side, matches of fewer than 3 tokens dropped: `variant="code"` marks so. Its first
  argument is the rejected answer (llava_trainer.py#L606), and difflib's `autojunk`, which leaves
  frequent tokens out of texts of 200 tokens on, is off here.
- Survey, Table 1 (`variant="survey"`): no stop of the gradient at D(y_w)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.images import diffused
from reference_impls.core.data.segments import changed_tokens
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer, Expectation, Method, PairStage, Row, Variant, View
from reference_impls.core.objective.preference import implicit_rewards, reward_metrics
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected", "chosen_corrupt")
PAPER = TrainSettings(
    learning_rate=5e-7,  # muffin/script/train/chip.sh: --learning_rate
    epochs=3,  # implementation details; muffin/script/train/chip.sh: --num_train_epochs
    batch_size=32,  # muffin/script/train/chip.sh: 4 devices x 1 x 8
    warmup_ratio=0.03,  # muffin/script/train/chip.sh: --warmup_ratio
    # muffin/muffin/train/trainers.py#L42-L56 gives BEiT-3's vision branch a rate of 0, by names
    # that FSDP may have taken from it: not tried.
    train_vision=True,  # muffin/script/train/chip.sh: --fully_tune
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values for Muffin, and switches of the terms that the paper adds to DPO."""

    beta: float = 0.5  # implementation details
    lambda_: float = 1.0  # section on lambda: 1 for Muffin, 3 for LLaVA-1.6
    gamma: float = 0.1  # implementation details; the code's tok_beta
    token_weight: float = 2.0  # muffin/script/train/chip.sh: --dpo_token_weight; LLaVA: 4.0
    noise_step: int = 500  # scripts/chip.sh#L46: of 1,000
    segment_term: bool = True  # hierarchical textual preference optimization
    token_term: bool = True  # the same
    image_term: bool = True  # visual preference optimization
    smallest_match: int = 3  # official code: llava_trainer.py#L605
    variant: Variant = "paper"


def views(cfg: Config) -> tuple[View, ...]:
    """KL over the vocabulary where the token term asks for it; no noisy image without its term."""
    text = (
        View("chosen", vocabulary_kl=cfg.token_term),
        View("rejected", response="rejected", vocabulary_kl=cfg.token_term),
    )
    return (*text, View("chosen_corrupt", images="negative_images")) if cfg.image_term else text


def corrected_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """The policy's answer, and the same one corrected by a human."""
    return lab.corrected_pairs(lab.annotator("human"), lab.answer())


def add_noise(row: Row, rng: random.Random, cfg: Config) -> Row:
    """Add the negative image: the true one with diffusion noise."""
    step = cfg.noise_step + (cfg.variant == "code")  # which counts from 0
    return row | {"negative_images": [diffused(i, rng, step, "sigmoid") for i in row["images"]]}


def marks(chosen: list[int], rejected: list[int], cfg: Config) -> tuple[list[int], list[int]]:
    """1 on the tokens of changed segments, for both answers; token ids in, lists out."""
    if cfg.variant != "code":
        return changed_tokens(chosen, rejected)
    prompt = list(range(-cfg.smallest_match, 0))  # the shared prompt, a match before the answers
    found = changed_tokens(
        prompt + rejected, prompt + chosen,
        smallest_match=cfg.smallest_match, mark_one_sided=False,
    )  # fmt: skip
    return found[1][len(prompt) :], found[0][len(prompt) :]


def token_weights(
    row: Row, answers: Mapping[str, Answer], cfg: Config
) -> dict[str, dict[str, Sequence[float]]]:
    """`weights` of every view: 1 on the tokens of changed segments."""
    chosen, rejected = marks(answers["chosen"].ids, answers["rejected"].ids, cfg)
    made: dict[str, Sequence[float]] = {"chosen": chosen, "rejected": rejected}
    return {"weights": made | ({"chosen_corrupt": chosen} if cfg.image_term else {})}


def token_factors(scores: Scores, marked: Tensor | None, cfg: Config) -> Tensor:
    """(B, T) w_t on an answer's tokens; 1 on all of them where nothing is to be weighted."""
    if marked is None or not cfg.segment_term:
        return scores.mask
    return scores.mask * torch.where(marked > 0, cfg.token_weight, 1.0).to(scores.logps.dtype)


def divergences(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """(B,), (B,): D(y_w) and D(y_l). Raises ValueError where the batch does not hold them."""
    try:
        return batch.extra["chosen_kl"], batch.extra["rejected_kl"]
    except KeyError as missing:
        raise ValueError(f"the token term needs `extra[{missing}]`") from None


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; VIEWS, `weights` of the text views, and the sums of KL in `extra`."""
    if cfg.variant == "code":
        return _code_loss(batch, cfg)
    chosen, rejected = implicit_rewards(batch, cfg.beta)
    terms = {"response": -logsigmoid(chosen - rejected)}
    losses = terms["response"]
    if cfg.segment_term:
        means = []
        for scores in (batch.need("chosen"), batch.need("rejected")):
            if scores.weights is None:
                raise ValueError("the segment term needs `weights`: 1 on changed tokens")
            factors = token_factors(scores, scores.weights, cfg)
            total = (factors * scores.log_ratios()).sum(-1)
            means.append(total / factors.sum(-1).clamp(min=1))
        terms["segment"] = -logsigmoid(cfg.beta * (means[0] - means[1]))
        losses = losses + cfg.lambda_ * terms["segment"]
    if cfg.token_term:
        kept, pushed = divergences(batch)
        kept = kept if cfg.variant == "survey" else kept.detach()
        terms["token"] = cfg.beta * kept - cfg.beta * pushed
        losses = losses + cfg.gamma * terms["token"]
    if cfg.image_term:
        noisy = cfg.beta * batch.need("chosen_corrupt").log_ratio()
        terms["image"] = -logsigmoid(chosen - noisy)
        losses = losses + terms["image"]
    logged = {f"{name}_term": term.detach() for name, term in terms.items()}
    return losses, reward_metrics(chosen, rejected) | logged


def _code_loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """One log-sigmoid over the sum of the margins, as the official trainers compute it."""
    chosen, rejected = batch.need("chosen"), batch.need("rejected")
    factors = token_factors(chosen, chosen.weights, cfg)
    better = (factors * chosen.log_ratios()).sum(-1)
    worse = (token_factors(rejected, rejected.weights, cfg) * rejected.log_ratios()).sum(-1)
    margin = better - worse
    if cfg.image_term:
        noisy = batch.need("chosen_corrupt")
        marked = chosen.weights if noisy.weights is None else noisy.weights
        policy = (token_factors(noisy, marked, cfg) * noisy.logps).sum(-1)
        reference = (noisy.reference() * noisy.mask).sum(-1)
        if cfg.segment_term and chosen.weights is not None:
            reference = reference * factors.sum(-1)  # summed already: #L543
        margin = margin + better - (policy - reference)
    if cfg.token_term:
        kept, lowered = divergences(batch)
        margin = margin - cfg.gamma * (lowered - kept.detach())
        better, worse = better + kept, worse + lowered
    return -logsigmoid(cfg.beta * margin), reward_metrics(cfg.beta * better, cfg.beta * worse)


METHOD = Method(
    record="chip",
    config=Config,
    stages=(
        PairStage(
            data=corrected_pairs, loss=loss, views=views, prepare=add_noise, tokens=token_weights,
            lab=lab(1e-4), paper=PAPER,
        ),
    ),
    condition={"prior": "half"},
    ablations={
        "no segment term": {"segment_term": False}, "no token term": {"token_term": False},
        "no image term": {"image_term": False},
    },
    expectations=(
        Expectation(
            id="hallucinates-less-than-dpo", text="CHiP hallucinates less than DPO on its pairs.",
            metric="chair_i", direction="lower", of="chip", against="dpo",
            claim="fewer-hallucinated-objects", primary=True,
        ),
        Expectation(
            id="the-image-term-is-why",
            text="Without the image term hits exceed false alarms by less.",
            metric="presence", direction="lower", of="no image term", against="chip",
        ),
        Expectation(
            id="segments-help", text="Without the segment term it hallucinates more.",
            metric="chair_i", direction="higher", of="no segment term", against="chip",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
