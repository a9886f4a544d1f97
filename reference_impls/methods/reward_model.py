"""Reward model (Bradley-Terry), record `reward-model`, arXiv:2203.02155: the baseline.

Equation 1, over the pairs of K ranked answers to a prompt; here K = 2:

    L = -1/(K over 2) log sigma( r(x, y_w) - r(x, y_l) )

Own: the objective. The reward is a linear output after an answer's last token, in place of the
vocabulary. It is no policy: the row of the table answers as the base does. What it is for is seen
in `best_of_n`, and in the methods that train one for their own use.

Simplifications
1. Two answers of the policy to each image, ordered by a human; the paper has people rank 4 to 9.
   With K = 2 all pairs of a prompt share a batch element anyway.
2. The head starts at zero, on the policy's own weights, which are trained with it.
3. The zero of the reward is left where it falls; the paper moves it before PPO (section 3.5).

Official code: none for training (openai/following-instructions-human-feedback holds a model card
and samples); OpenRLHF/OpenRLHF@3c3be623:openrlhf/models/loss.py#L272-L284 computes the same, so
that `variant="code"` is the paper's. The survey has no equation of its own: survey = paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, HeadStage, Method, Row, Variant
from reference_impls.core.objective.reward import pairwise
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=9e-6,  # appendix C.2
    epochs=1,  # appendix C.2
    batch_size=64,  # appendix C.2: prompts
    scheduler="cosine",  # appendix C.2, there down to a tenth
    warmup_ratio=0.0,  # ours: appendix C.2 names none
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """Equation 1 has no hyperparameter."""

    variant: Variant = "paper"


def compared(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a human."""
    return lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())


def loss(
    outputs: Mapping[str, Tensor], batch: PairBatch, cfg: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; outputs (B, T, 1) by view."""
    return pairwise(outputs, batch, cfg)


METHOD = Method(
    record="reward-model",
    config=Config,
    stages=(
        HeadStage(
            data=compared, loss=loss, views=VIEWS, lab=lab(3e-4, steps=150), paper=PAPER
        ),
    ),
    baselines=(),
    expectations=(
        Expectation(
            id="ranks-better-than-likelihood",
            text="It ranks more held-out pairs right than the base's likelihood does.",
            metric="reward_accuracy", direction="higher", of="reward-model", against="base",
            primary=True, claim="predicts-held-out-preferences",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
