"""Qwen2.5-VL (its DPO phase), record `qwen2-5-vl`, arXiv:2502.13923.

Section 2.3.4 names DPO and prints no equation; its usual form, I absent where a pair has no image:

    L = -log sigma( beta log pi_theta(y_w|I,x)/pi_ref(y_w|I,x)
                    - beta log pi_theta(y_l|I,x)/pi_ref(y_l|I,x) )

Own: the setting only. The last phase of post-training, after SFT: pairs with a picture and pairs
of text alone are learnt together, each seen once, with the vision encoder frozen. The report says
nothing of where pairs come from, who judged them, their share, beta or the settings.

Simplifications
1. Who makes and judges a pair is ours. With a picture: two samples of the policy, ordered by a
   human of stated error. Without one: a sample against the true answer made wrong in one place,
   since the base knows its text so well that two samples hardly ever differ.
2. Half of the pairs have no picture, and beta is DPO's: the report has neither number.
3. The row of DPO, trained on the same pairs, is this method itself; SFT and the ablation are what
   it can be compared with.
4. The lab goes over its pairs several times, so that its steps are those of its neighbours; the
   report goes over them once.

Official code: none for this phase (QwenLM/Qwen2.5-VL@f0af2996 has inference, demos and notebooks,
and nothing that trains); eric-mitchell/direct-preference-optimization@f8b8c0f4:trainers.py#L45-L87
computes the usual form, so that `variant="code"` is the paper's. The survey has no equation of it:
survey = paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import text
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import dpo as loss
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-6,  # ours: DPO's (appendix B of arXiv:2305.18290); the report has none
    epochs=1,  # section 2.3.4: each sample is seen once
    batch_size=64,  # ours: DPO's; the report has none
    train_vision=False,  # section 2.3.4
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """What the report leaves open is ours."""

    beta: float = 0.1  # ours: DPO's; the report has none
    text_share: float = 0.5  # ours: of the pairs, those without a picture; the report has none
    annotator: str = "human"  # ours: the report names nobody
    variant: Variant = "paper"


def both_kinds(lab: Lab, cfg: Config) -> list[Row]:
    """Pairs with a picture and pairs of text alone, in turn as far as both go."""
    without = round(cfg.text_share * lab.count)
    seen = replace(lab, count=lab.count - without)
    rows = seen.sampled_pairs(seen.annotator(cfg.annotator), seen.answer(), seen.answer())
    lab.tally.count("with a picture", len(rows))
    return in_turn(rows, text_alone(lab, without, cfg) if without else [])


def text_alone(lab: Lab, count: int, cfg: Config) -> list[Row]:
    """Pairs without a picture; they have no item, since another task judges them."""
    asked = replace(lab, task=lab.world.tasks["text"], count=count)
    pairs = asked.sampled_pairs(
        asked.annotator(cfg.annotator), asked.answer(), asked.source("corruption")
    )
    right = sum(asked.task.score(row["item"], text(row["chosen"])) == 1.0 for row in pairs)
    lab.tally.count("without a picture", len(pairs))
    lab.tally.count("without a picture, chosen is right", right)
    return [{name: value for name, value in row.items() if name != "item"} for row in pairs]


def in_turn(first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    """One of each as long as both last, then the rest."""
    shorter = min(len(first), len(second))
    paired = [row for pair in zip(first, second, strict=False) for row in pair]
    return [*paired, *first[shorter:], *second[shorter:]]


METHOD = Method(
    record="qwen2-5-vl",
    config=Config,
    stages=(
        PairStage(
            data=both_kinds, loss=loss, views=VIEWS, lab=lab(3e-4, train_vision=False), paper=PAPER
        ),
    ),
    ablations={"pictures only": {"text_share": 0.0}},
    expectations=(
        Expectation(
            id="prefers-chosen", claim="prefers-chosen",
            text="Of two held-out answers the better is the likelier one more often than by SFT.",
            metric="reward_accuracy", direction="higher", of="qwen2-5-vl", against="sft",
            primary=True,
        ),
        Expectation(
            id="hallucinates-less", text="Fewer objects are named that are not there.",
            metric="chair_i", direction="lower", of="qwen2-5-vl", against="base",
        ),
        Expectation(
            id="text-takes-nothing-from-pictures",
            text="Half of the pairs without a picture leave answers on pictures as good.",
            metric="f1", direction="equal", of="qwen2-5-vl", against="pictures only",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
