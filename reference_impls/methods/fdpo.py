"""FDPO (fine-grained direct preference optimization), record `fdpo`, arXiv:2308.06394.

Section "Fine-grained Direct Preference Optimization", over labelled segments y, each after its
context x (image, prompt and what was written before), of class c:

    L = -E[ log sigma(beta k) ],  k = r for an accurate segment, -r for an inaccurate one
    r = log pi_theta(y|x)/pi_ref(y|x)

Own: the objective and the data recipe.

`extra["segment"]` (B, T): number of a token's segment, 0 outside of all; `extra["label"]` (B, S):
1 accurate, -1 inaccurate, 0 ignored (analysis, unsure). A row's loss is the mean over its labelled
segments, 0 where it has none. The paper's k is minus infinity for ignored segments, which makes the
loss infinite; they are left out, as its text says.

The paper's other use of the labels is `candidates` above 1: a head is trained to tell accurate from
inaccurate segments, and of so many samples of the unchanged model the one whose segments look most
accurate is the answer (rejection sampling).

Simplifications
1. Segments are what punctuation cuts an answer into; a human of stated error labels the claims in
   each. In M-HalDetect people set the borders (16,000 descriptions by InstructBLIP).
2. The head tells two classes, not three: no clause of the lab is analysis.
3. beta and the settings of training: the paper's could not be read, and no code was released. DPO's
   stand in their place.
4. Answers weigh the same whatever the number of their labelled segments; read as one mean over all
   segments the paper's equation gives answers with many of them more weight.
5. Four hundred answers make a weak classifier: on others' segments its AUC is .62 (one seed), and
   less after five times the steps, at 1e-3 and 3e-3. It chooses among samples at temperature 1,
   a third of whose claims are labelled wrong; the other rows answer greedily.

Official code: none; hendryx-scale/mhal-detect@6ef75f54:README.md#L1-L8 holds data alone, so that
`variant="code"` is the paper's. Survey, Table 1 (`variant="survey"`): log sigma(beta r_w) minus
log sigma(beta r_l), read over accurate and inaccurate segments, since FDPO has no pairs. It has no
lower bound: an inaccurate segment can fall for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.labels import clauses, labelled, numbered
from reference_impls.core.lab import Lab
from reference_impls.core.method import (
    Answer,
    Expectation,
    HeadStage,
    Method,
    PairStage,
    Row,
    SelectStage,
    Variant,
)
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen",)
PAPER = TrainSettings(
    learning_rate=1e-6,  # ours: DPO's (appendix B of arXiv:2305.18290)
    epochs=1,  # ours: the paper's could not be read
    batch_size=64,  # ours: DPO's
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The objective's only hyperparameter, and the recipe's."""

    beta: float = 0.1  # ours: DPO's; the paper's could not be read
    candidates: int = 1  # above 1: rejection sampling in place of training; the paper: 16 and 64
    segment_term: bool = True  # False: one label for the whole answer
    variant: Variant = "paper"


def labelled_answers(lab: Lab, cfg: Config) -> list[Row]:
    """An answer of the policy to each image, its segments labelled by a human."""
    answers = lab.answer()
    judged = lab.annotator("human").claims(lab.items, lab.media, answers)
    rows = []
    for place, (answer, claims) in enumerate(zip(answers, judged, strict=True)):
        parts = clauses(answer) if cfg.segment_term else [(0, len(answer.split()))]
        labels = labelled(parts, claims)
        for name, label in (("accurate", 1), ("inaccurate", -1), ("ignored", 0)):
            lab.tally.count(name, labels.count(label))
        if not any(labels):
            continue
        row = lab.prompt(place, segments=parts, label=labels)
        rows.append({**row, "chosen": [{"role": "assistant", "content": answer}]})
    return rows


def segment_numbers(
    row: Row, answers: Mapping[str, Answer], cfg: Config
) -> dict[str, dict[str, Sequence[float]]]:
    """`extra["segment"]`: the number of each token's segment."""
    return {"segment": {"chosen": numbered(answers["chosen"], row["segments"])}}


def of_segments(values: Tensor, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """(B, S) sums of (B, T) values over each segment's tokens; (B, S) whether it is labelled."""
    missing = [name for name in ("segment", "label") if name not in batch.extra]
    if missing:
        raise ValueError(f"this objective needs `extra[{missing[0]!r}]`")
    segment, label = batch.extra["segment"], batch.extra["label"]
    numbers = torch.arange(1, label.shape[1] + 1, device=segment.device)
    inside = (segment[:, None, :] == numbers[:, None]) & (batch.chosen.mask[:, None, :] > 0)
    sums = (inside.to(values.dtype) * values[:, None, :]).sum(-1)
    return sums, (label != 0) & inside.any(-1)


def mean_over(terms: Tensor, kept: Tensor) -> Tensor:
    """(B,) means of (B, S) terms over kept segments, 0 where none is kept."""
    return torch.where(kept, terms, 0.0).sum(-1) / kept.sum(-1).clamp(min=1)


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; `extra["segment"]` (B, T) and `extra["label"]` (B, S)."""
    ratios, kept = of_segments(batch.chosen.log_ratios(), batch)
    label = batch.extra["label"].to(ratios)
    terms = -logsigmoid(cfg.beta * label * ratios)
    if cfg.variant == "survey":
        terms = -label * logsigmoid(cfg.beta * ratios)
    rewards = cfg.beta * ratios.detach()
    good, bad = mean_over(rewards, kept & (label > 0)), mean_over(rewards, kept & (label < 0))
    return mean_over(terms, kept), {
        "chosen_reward": good,
        "rejected_reward": bad,
        "reward_accuracy": mean_over((rewards * label > 0).to(rewards.dtype), kept),
    }


def classified(
    outputs: Mapping[str, Tensor], batch: PairBatch, cfg: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) cross-entropy of accurate against inaccurate, read after each segment's last token."""
    segment = batch.extra["segment"]
    following = torch.cat([segment[:, 1:], torch.zeros_like(segment[:, :1])], -1)
    values = outputs["chosen"][..., 0] * (segment != following)
    logits, kept = of_segments(values, batch)
    label = batch.extra["label"].to(logits)
    right = (logits.detach() * label > 0).to(logits.dtype)
    return mean_over(-logsigmoid(label * logits), kept), {"accuracy": mean_over(right, kept)}


def looks_accurate(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[float]:
    """Mean log-probability of "accurate" over an answer's segments, by the trained head."""
    asked = [{**row, "chosen": row["response"]} for row in rows]
    scores = []
    for answer, outputs in lab.trained["classifier"].read(asked, "chosen"):
        numbers = numbered(answer, clauses(answer.text))
        ends = [n for n, own in enumerate(numbers) if own and own not in numbers[n + 1 :]]
        found = logsigmoid(outputs[ends, 0])
        scores.append(found.mean().item() if ends else float("-inf"))
    return scores


METHOD = Method(
    record="fdpo",
    config=Config,
    stages=(
        HeadStage(
            name="classifier", data=labelled_answers, loss=classified, views=VIEWS,
            tokens=segment_numbers, lab=lab(1e-3), paper=PAPER,
            when=lambda cfg: cfg.candidates > 1,
        ),
        SelectStage(
            name="select", data=labelled_answers, score=looks_accurate,
            candidates=lambda cfg: cfg.candidates, lab=lab(1e-3), paper=PAPER,
            when=lambda cfg: cfg.candidates > 1,
        ),
        PairStage(
            data=labelled_answers, loss=loss, views=VIEWS, tokens=segment_numbers, lab=lab(3e-4),
            paper=PAPER, when=lambda cfg: cfg.candidates == 1,
        ),
    ),
    baselines=("sft",),
    ablations={"best of 16": {"candidates": 16}, "one label": {"segment_term": False}},
    expectations=(
        Expectation(
            id="hallucinates-less", text="Segment labels alone lower the base's CHAIR_i.",
            metric="chair_i", direction="lower", of="fdpo", against="base", primary=True,
            claim="fewer-hallucinated-objects",
        ),
        Expectation(
            id="selection-does-more",
            text="The best of 16 by the segment classifier hallucinates less than FDPO.",
            metric="chair_i", direction="lower", of="best of 16", against="fdpo",
        ),
        Expectation(
            id="segments-are-why", text="With one label for an answer CHAIR_i is higher.",
            metric="chair_i", direction="higher", of="one label", against="fdpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
