"""OPA-DPO (on-policy alignment DPO), record `opa-dpo`, arXiv:2501.09695.

y_GT is the data set's good answer, y_Gen the start model's, y_Rev that one with what is wrong
mended; m is the image, m' the same one with pixels taken away, W token weights:

    L     = L_LC + gamma_1 L_IF + gamma_2 L_Anc
    L_LC  = -log s( h(y_GT,m) - h(y_Gen,m) )   -log s( h_hw(y_Rev,m) - h_hw(y_Gen,m) )
    L_IF  = -log s( h(y_GT,m) - h(y_GT,m') )   -log s( h_iw(y_Rev,m) - h_iw(y_Rev,m') )
    L_Anc = -log s( h(y_GT,m) - delta )        -log s( h(y_Rev,m) - delta )
    h(y,m) = beta sum_t W_t log( pi_theta(y_t|x,m,y_<t) / pi_OPA(y_t|x,m,y_<t) ),  s the sigmoid

W is 1 in h. In h_hw it is 2.5, 2, 1.5 or 1 for sentences of grade 1 to 4, how wrong they were; in
h_iw 3 for sentences with an error of seeing, else 1. pi_OPA is the model after a first stage, which
learns y_GT and y_Rev by SFT: both are then the model's own.

Own: the objective, the data recipe and the schedule.

Views: `chosen` is y_GT, `rejected` y_Gen, `revised` y_Rev; `chosen_corrupt` and `revised_corrupt`
the same under m'. `weights` of `rejected` and of `revised` are W of h_hw, and
`extra["image_weights"]`, (B, T) as `revised`, is W of h_iw, numbers and not marks; 1 where absent.

The paper's pages could not be opened; the equations are as the record has them, weights and
settings are the released script's.

Simplifications
1. A strong model judges each claim of y_Gen; a sentence has grade 4 where none is wrong, 3, 2 or 1
   where up to a third are, up to two thirds, more. Every error counts as one of seeing. A sentence
   of y_Rev has the grade of the sentence of y_Gen that it is most like.
2. Pixels are taken away once per pair, in eight bits; the code does it at every rollout.
3. The first stage averages per answer; the code over all tokens of a batch.
4. The lab's steps are shared evenly between the stages; baselines have the steps of both.

Official code: zhyang2226/OPA-DPO@db90180e:opadpo/dpo_models/dpo_trainer.py; `variant="code"`
- #L429-L473, #L582-L631: each term is taken per TOKEN POSITION, the t-th token of one answer inside
  the sigmoid with the t-th of the other, and averaged over positions. Behind both ends a position
  adds the constant of margin 0. The code pads to 896; here a batch has as many positions as its
  longest answer, or `positions` where that is more: a factor common to all terms.
- #L702-L710: the anchor of y_Rev has the opposite sign, it is held DOWN (the author confirms it:
  most of y_Rev is y_Gen's text). With the image terms on both anchors count twice; without them
  the second two are of rewards 0, a constant. Rewards in the anchors have no weights.
- utils/data_utils_dpo.py#L226-L233: the ending of y_Gen has weight 0 in h_hw.
- The survey mentions the method in section 3.1.1 and prints no loss: `variant="survey"` is the
  paper's."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from reference_impls.core.command_line import main
from reference_impls.core.data.images import without_pixels
from reference_impls.core.data.retrieval import likeness
from reference_impls.core.data.rows import said
from reference_impls.core.data.segments import by_sentence
from reference_impls.core.data.situations import sentences
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer, Expectation, Method, PairStage, Row, Variant, View
from reference_impls.core.objective.preference import reward_metrics, token_mean_nll
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.worlds.protocol import Segment

REVISED = View("revised", response="revised")
REVISED_CORRUPT = View("revised_corrupt", response="revised", images="negative_images")
VIEWS = ("chosen", "rejected", REVISED, "chosen_corrupt", REVISED_CORRUPT)
PAPER = TrainSettings(
    learning_rate=1e-6,  # run/train_opa_dpo.sh
    epochs=4,  # run/train_opa_dpo.sh; its bound of 500 steps is not reached
    batch_size=32,  # run/train_opa_dpo.sh
    pairs=4800,  # abstract
    warmup_ratio=0.0167,  # run/train_opa_dpo.sh: 5 steps, of 300 rollouts of 64
    lora_rank=256,  # run/train_opa_dpo.sh
    train_vision=True,  # run/train_opa.sh: TUNE_VISION_TOWER
    dtype="bfloat16",  # run/train_opa.sh#L82, opadpo_train_custom.py#L83
)
PAPER_ALIGNMENT = TrainSettings(
    learning_rate=2e-5,  # configs/llava/llava_training_base.yaml#L37
    epochs=2,  # run/train_opa.sh
    batch_size=64,  # run/train_opa.sh: 4 GPUs x 4 x 8 answers, two of which are a row's
    pairs=4800,  # abstract
    warmup_ratio=0.03,  # configs/llava/llava_training_base.yaml#L39
    lora_rank=256,  # run/train_opa.sh
    train_vision=True,  # run/train_opa.sh: TUNE_VISION_TOWER
    dtype="bfloat16",  # run/train_opa.sh#L82, opadpo_train_custom.py#L83
)
GRADES = {1: 2.5, 2: 2.0, 3: 1.5, 4: 1.0}
"""Weights of sentences by how wrong they were: utils/data_utils_dpo.py#L32-L37."""
SEEING, RIGHT = 3.0, 1.0
"""Weights of sentences with an error of seeing and without: utils/data_utils_dpo.py#L38-L42."""


@dataclass(frozen=True)
class Config(BaseConfig):
    """Values of the released script; switches for what the method adds to DPO."""

    beta: float = 0.1  # run/train_opa_dpo.sh: BETA
    gamma_1: float = 0.2  # run/train_opa_dpo.sh: COPO_COEF
    gamma_2: float = 1.0  # run/train_opa_dpo.sh: ANCHOR_COEF
    delta: float = 0.0  # run/train_opa_dpo.sh: ANCHOR
    masked: float = 0.3  # run/train_opa_dpo.sh: COPO_RATIO, COPO_METHOD random
    positions: int = 0  # ours: at least so many in the code's mean (its collator pads to 896)
    alignment_term: bool = True  # method section: the supervised stage
    revised_term: bool = True  # method section: pairs and anchor of the revised answer
    image_term: bool = True  # method section: L_IF
    anchor_term: bool = True  # method section: L_Anc
    weights_term: bool = True  # method section: W of h_hw and h_iw
    variant: Variant = "paper"


def views(cfg: Config) -> tuple[str | View, ...]:
    """What the terms that are on read."""
    revised = (REVISED,) if cfg.revised_term else ()
    if not cfg.image_term:
        return ("chosen", "rejected", *revised)
    corrupt = (REVISED_CORRUPT,) if cfg.revised_term else ()
    return ("chosen", "rejected", *revised, "chosen_corrupt", *corrupt)


def revised_answers(lab: Lab, cfg: Config) -> list[Row]:
    """The start model's answers, a strong model's revision of them, and a writer's own answers."""
    answers, judge = lab.answer(policy=lab.base), lab.annotator("closed-source-model")
    revised = judge.correct(lab.items, lab.media, answers)
    judged, truths = judge.claims(lab.items, lab.media, answers), lab.source("writer")
    rows = []
    for place, (answer, better, truth) in enumerate(zip(answers, revised, truths, strict=True)):
        if not answer.split() or not better.split():
            lab.tally.count("empty answers dropped")
            continue
        lab.tally.count("nothing to revise" if answer == better else "revised")
        parts, grades = sentences(answer), graded(answer, judged[place])
        like = [
            max(range(len(parts)), key=lambda n: likeness(parts[n], part))
            for part in sentences(better)
        ]
        rows.append(
            lab.pair(
                place, truth, answer, revised=said(better), grades=grades,
                revised_grades=[grades[number] for number in like],
            )
        )  # fmt: skip
        for grade in grades:
            lab.tally.count(f"sentences of grade {grade}")
    return rows


def graded(answer: str, claims: Sequence[Segment]) -> list[int]:
    """Per sentence 4 where all of its claims are right, and down to 1, the more of them are not."""
    found, start = [], 0
    for part in sentences(answer):
        stop = start + len(part.split())
        own = [claim.right for claim in claims if start <= claim.start < stop]
        wrong = own.count(False) / len(own) if own else 0.0
        found.append(4 if not wrong else 3 if wrong <= 1 / 3 else 2 if wrong <= 2 / 3 else 1)
        start = stop
    return found


def take_pixels_away(row: Row, rng: random.Random, cfg: Config) -> Row:
    """Add the masked image."""
    return row | {"negative_images": [without_pixels(i, rng, cfg.masked) for i in row["images"]]}


def token_weights(
    row: Row, answers: Mapping[str, Answer], cfg: Config
) -> dict[str, dict[str, Sequence[float]]]:
    """W of every token of the generated and of the revised answer; none without grades."""
    if not cfg.weights_term or not cfg.revised_term or "grades" not in row:
        return {}
    severity: dict[str, Sequence[float]] = {}
    for view, column in (("rejected", "grades"), ("revised", "revised_grades")):
        severity[view] = by_sentence(answers[view], [GRADES[grade] for grade in row[column]])
    if cfg.variant == "code":
        severity["rejected"] = [*severity["rejected"][:-1], 0.0]  # the ending
    seeing = [SEEING if grade < 4 else RIGHT for grade in row["revised_grades"]]
    return {
        "weights": severity,
        "image_weights": {"revised": by_sentence(answers["revised"], seeing)},
    }


def alignment(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses of the first stage: the mean over both answers of their negative log-likelihoods
    per token."""
    nll, revised = token_mean_nll(batch.need("chosen")), token_mean_nll(batch.need("revised"))
    return (nll + revised) / 2, {"nll": nll.detach(), "revised_nll": revised.detach()}


def rewards(scores: Scores, cfg: Config, width: int, weights: Tensor | None = None) -> Tensor:
    """(B,) h of an answer; in the code's variant (B, width), beta W_t times each log-ratio."""
    ratios = scores.log_ratios() * scores.mask
    if weights is not None and cfg.weights_term:
        ratios = ratios * weights.to(ratios.dtype)
    if cfg.variant != "code":
        return cfg.beta * ratios.sum(-1)
    return cfg.beta * pad(ratios, (0, width - ratios.shape[-1]))


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; VIEWS, or those of `views(cfg)`, `weights` and `extra["image_weights"]`."""
    scored = {}
    for view in views(cfg):
        name = view if isinstance(view, str) else view.name
        scored[name] = batch.need(name)
    width = max(cfg.positions, *(each.mask.shape[-1] for each in scored.values()))
    h = {name: rewards(each, cfg, width) for name, each in scored.items()}
    terms = {"text": -logsigmoid(h["chosen"] - h["rejected"])}
    if cfg.image_term:
        terms["image"] = -logsigmoid(h["chosen"] - h["chosen_corrupt"])
    if cfg.anchor_term:
        terms["anchor"] = -logsigmoid(h["chosen"] - cfg.delta)
    if cfg.revised_term:
        revised, generated = (
            rewards(scored[name], cfg, width, scored[name].weights)
            for name in ("revised", "rejected")
        )
        terms["text"] = terms["text"] - logsigmoid(revised - generated)
        seeing = batch.extra.get("image_weights")
        if cfg.image_term:
            seen, unseen = (
                rewards(scored[name], cfg, width, seeing) for name in ("revised", "revised_corrupt")
            )
            terms["image"] = terms["image"] - logsigmoid(seen - unseen)
        if cfg.anchor_term:
            sign = -1.0 if cfg.variant == "code" else 1.0
            terms["anchor"] = terms["anchor"] - logsigmoid(sign * (h["revised"] - cfg.delta))
    factors = {"text": 1.0, "image": cfg.gamma_1, "anchor": cfg.gamma_2}
    if cfg.variant == "code":
        terms = {name: term.mean(-1) for name, term in terms.items()}
        h = {name: reward.sum(-1) for name, reward in h.items()}
        if cfg.image_term:
            factors["anchor"] *= 2.0
        elif cfg.anchor_term:  # rewards of 0 stand in for those of the image pairs
            delta = terms["anchor"].new_tensor(cfg.delta)
            terms["anchor"] = terms["anchor"] - logsigmoid(-delta) - logsigmoid(delta)
    losses = sum((factors[name] * term for name, term in terms.items()), start=0.0 * terms["text"])
    logged = {f"{name}_term": term.detach() for name, term in terms.items()}
    logged |= {"revised_reward": h["revised"].detach()} if cfg.revised_term else {}
    return losses, reward_metrics(h["chosen"], h["rejected"]) | logged


METHOD = Method(
    record="opa-dpo",
    config=Config,
    stages=(
        PairStage(
            name="alignment", data=revised_answers, loss=alignment, views=("chosen", REVISED),
            reference="none", lab=lab(3e-4, steps=30), paper=PAPER_ALIGNMENT,
            when=lambda cfg: cfg.alignment_term,
        ),
        PairStage(
            name="preference", data=revised_answers, loss=loss, views=views,
            prepare=take_pixels_away, tokens=token_weights, couples_rows=True,
            lab=lab(3e-4, steps=30), paper=PAPER,
        ),
    ),
    condition={"sight": "all"},
    ablations={
        "no alignment": {"alignment_term": False}, "no revised answer": {"revised_term": False},
        "no image term": {"image_term": False}, "no anchor": {"anchor_term": False},
        "no weights": {"weights_term": False},
    },
    expectations=(
        Expectation(
            id="fewer-hallucinated-objects", claim="fewer-hallucinated-objects",
            text="Fewer of the named objects are not there than after DPO.",
            metric="chair_i", direction="lower", of="opa-dpo", against="dpo", primary=True,
        ),
        Expectation(
            id="fewer-hallucinated-answers", claim="fewer-hallucinated-answers",
            text="Fewer answers hallucinate than after DPO.",
            metric="chair_s", direction="lower", of="opa-dpo", against="dpo",
        ),
        Expectation(
            id="costs-detail", claim="costs-detail", text="Less of what is there is named.",
            metric="recall", direction="lower", of="opa-dpo", against="base",
        ),
        Expectation(
            id="alignment-is-why", text="Without the supervised stage it hallucinates more.",
            metric="chair_i", direction="higher", of="no alignment", against="opa-dpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
