"""DDPO (dense direct preference optimization), record `ddpo`, RLHF-V, arXiv:2312.00849.

Equations 4 and 5 (section 3.1): DPO, with the score of an answer weighted towards the segments
that a human corrected (y_c) and away from those left alone (y_u):

    log pi(y|x) = 1/N [ sum_{i in y_u} log p(y_i|x,y_<i) + gamma sum_{i in y_c} log p(y_i|x,y_<i) ]
    N = |y_u| + gamma |y_c|
    L = -log sigma( beta log pi_theta(y_w|x)/pi_ref(y_w|x)
                    - beta log pi_theta(y_l|x)/pi_ref(y_l|x) )

Own: the objective and the data recipe: the rejected answer is the policy's own, the chosen one is
the same answer with its hallucinated segments corrected by a human.

Simplifications
1. The human corrects object mentions of a caption; people corrected free text (section 2.2).
2. Which tokens were corrected is found by comparing the two answers token by token, as the official
   code does, not noted down while correcting.
3. With beta 0.5 the paper's average leaves margins about N times smaller than a sum would: the lab
   trains it at its own best rate.

Official code: thunlp/Muffin@85d72b4b (the trainer that RLHF-V's readme runs)
- muffin/train/trainers.py#L141-L150 divides by N only with `dpo_use_average`, which is off by
  default and in the released command: `variant="code"` sums. N differs between answers, so this
  is no rescaling of beta. The released command also has gamma 1.1 and beta 0.1 (paper: 5 and
  0.5).
- RLHF-V/RLAIF-V@83d917b2:utils/diff_lib.py#L150-L151 marks a changed span only when it is not
  empty on both sides, after dropping matches of fewer than 3 tokens: pure insertions and
  deletions stay unmarked. `Config(variant="code")` marks so; the paper's variant marks every
  token without partner. The code compares prompt and answer (muffin/train/train_muffin.py#L240-L251
  of Muffin), so that what begins both answers is not a short match. Above 200 tokens difflib
  passes over frequent ones, which is not imitated.
- Survey, Table 1: gamma stands outside of the logarithm of the sigmoid and on the unchanged tokens,
  and there is no N. As printed (an indicator of a token around a ratio of sequences) it cannot be
  computed; `variant="survey"` reads it as two log-sigmoids over disjoint tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.segments import changed_tokens
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer, Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import reward_metrics
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=5e-7,  # section 4.1
    epochs=7,  # section 4.1
    batch_size=32,  # section 4.1
    warmup_ratio=0.1,  # appendix, implementation details
    dtype="bfloat16",  # ddpo_muffin_PATH.sh#L53
    train_vision=True,  # appendix C: all parameters; ddpo_muffin_PATH.sh#L49: --fully_tune
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 0.5  # section 4.1
    gamma: float = 5.0  # section 4.1
    smallest_match: int = 3  # official code: min_match_size of utils/diff_lib.py
    variant: Variant = "paper"


def corrected_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """The policy's answer, and the same one corrected by a human."""
    return lab.corrected_pairs(lab.annotator("human"), lab.answer())


def marks(chosen: list[int], rejected: list[int], cfg: Config) -> tuple[list[int], list[int]]:
    """1 on the tokens that the correction changed, for both answers; token ids in, lists out."""
    if cfg.variant == "code":
        return changed_tokens(
            chosen, rejected, smallest_match=cfg.smallest_match, mark_one_sided=False
        )
    return changed_tokens(chosen, rejected)


def token_weights(
    row: Row, answers: Mapping[str, Answer], cfg: Config
) -> dict[str, dict[str, Sequence[float]]]:
    """`weights` of both views: 1 on the tokens that the correction changed."""
    prompt = list(range(-cfg.smallest_match, 0)) if cfg.variant == "code" else []  # they share it
    better, worse = (prompt + answers[view].ids for view in VIEWS)
    chosen, rejected = (found[len(prompt) :] for found in marks(better, worse, cfg))
    return {"weights": {"chosen": chosen, "rejected": rejected}}


def weighted_log_ratio(scores: Scores, cfg: Config) -> Tensor:
    """(B,) log-ratio with gamma on marked tokens; divided by N unless as in the official code."""
    weights = scores.mask * torch.where(marked(scores), cfg.gamma, 1.0).to(scores.logps.dtype)
    total, count = (weights * scores.log_ratios()).sum(-1), weights.sum(-1)
    return total if cfg.variant == "code" else total / torch.where(count > 0, count, 1.0)


def marked(scores: Scores) -> Tensor:
    """(B, T) whether a token was changed. Raises ValueError where nobody marked any."""
    if scores.weights is None:
        raise ValueError("this objective needs `weights`: 1 on the corrected tokens")
    return scores.weights > 0


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses. `weights` of both views: 1 on corrected tokens."""
    chosen, rejected = batch.need("chosen"), batch.need("rejected")
    if cfg.variant == "survey":
        return _survey_loss(chosen, rejected, cfg)
    chosen_reward = cfg.beta * weighted_log_ratio(chosen, cfg)
    rejected_reward = cfg.beta * weighted_log_ratio(rejected, cfg)
    losses = -logsigmoid(chosen_reward - rejected_reward)
    return losses, reward_metrics(chosen_reward, rejected_reward)


def _survey_loss(chosen: Scores, rejected: Scores, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Table 1 as far as it can be read: ell(beta D_c) + gamma ell(beta D_u), D over tokens of a
    kind."""

    def ratio(scores: Scores, kept: Tensor) -> Tensor:
        return (scores.mask * kept * scores.log_ratios()).sum(-1)

    losses = torch.zeros_like(chosen.logps[:, 0])
    for changed, factor in ((True, 1.0), (False, cfg.gamma)):
        kept = [marked(s).eq(changed).to(s.logps.dtype) for s in (chosen, rejected)]
        there = (chosen.mask * kept[0]).sum(-1) + (rejected.mask * kept[1]).sum(-1) > 0
        margin = cfg.beta * (ratio(chosen, kept[0]) - ratio(rejected, kept[1]))
        losses = losses - factor * logsigmoid(margin) * there
    rewards = cfg.beta * chosen.log_ratio(), cfg.beta * rejected.log_ratio()
    return losses, reward_metrics(*rewards)


METHOD = Method(
    record="ddpo",
    config=Config,
    stages=(
        PairStage(
            data=corrected_pairs, loss=loss, views=VIEWS, tokens=token_weights, lab=lab(1e-4),
            paper=PAPER,
        ),
    ),
    condition={"objects": "8"},
    ablations={"no segment weight": {"gamma": 1.0}},
    expectations=(
        Expectation(
            id="better-than-dpo", text="DDPO hallucinates less than DPO on the same corrections.",
            metric="chair_i", direction="lower", of="ddpo", against="dpo", primary=True,
        ),
        Expectation(
            id="segment-weight-helps",
            text="Without the weight on corrected segments it hallucinates more.",
            metric="chair_i", direction="higher", of="no segment weight", against="ddpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
