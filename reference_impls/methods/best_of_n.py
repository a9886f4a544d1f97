"""Best-of-n, record `best-of-n`, arXiv:2112.09332: the baseline.

Section 3.2, item 4, in words; r is a reward model:

    y = argmax r(x, y_i) over y_1 ... y_n drawn from pi(.|x)

Own: the setting. Nothing of the policy is trained; an answer costs n.

Simplifications
1. The reward model is trained on two samples of the policy to each image, ordered by a human; the
   paper has about 16,000 comparisons, at temperature 0.8.

Official code: none. TRL's sampler, in the copy Kwai-YuanQi/MM-RLHF@7c8af1d2:
trl/extras/best_of_n_sampler.py#L98-L113, does the same: samples, scores, the best. The survey has
no equation of its own. Nothing is computed otherwise in any variant; n is part of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import (
    Expectation,
    HeadStage,
    Method,
    Row,
    SelectStage,
    Variant,
)
from reference_impls.core.objective.reward import pairwise
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=5e-6,  # appendix E (read in a copy): 0.05 of the 13B model's rate, 1e-4
    epochs=1,  # appendix E
    batch_size=64,  # appendix E
    temperature=0.8,  # section 4
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's value for its middle model."""

    n: int = 16  # section 4: 4 (760M), 16 (13B), 64 (175B)
    variant: Variant = "paper"
    least = (("n", 1.0),)  # of no answer none is the best


def compared(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a human."""
    return lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())


def reward(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[float]:
    """The trained reward model's scores of rows with `response`."""
    return lab.trained["reward"].rewards(rows, "response")


METHOD = Method(
    record="best-of-n",
    config=Config,
    stages=(
        HeadStage(
            name="reward", data=compared, loss=pairwise, views=VIEWS, lab=lab(3e-4, steps=150),
            paper=PAPER,
        ),
        SelectStage(
            name="select", data=compared, score=reward, candidates=lambda cfg: cfg.n,
            lab=lab(3e-4, temperature=0.8), paper=PAPER,
        ),
    ),
    baselines=("sft",),
    ablations={"best of 1": {"n": 1}, "best of 4": {"n": 4}, "best of 64": {"n": 64}},
    expectations=(
        Expectation(
            id="better-than-one", text="The answer chosen is better than one drawn.",
            metric="f1", direction="higher", of="best-of-n", against="best of 1", primary=True,
            claim="selection-raises-the-measure",
        ),
        Expectation(
            id="hallucinates-less", text="The answer chosen hallucinates less than the base.",
            metric="chair_i", direction="lower", of="best-of-n", against="base",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
