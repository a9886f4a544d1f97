"""DPO (Direct Preference Optimization), record `dpo`, arXiv:2305.18290: the baseline.

Equation 7:

    L = -log sigma( beta log pi_theta(y_w|x)/pi_ref(y_w|x)
                    - beta log pi_theta(y_l|x)/pi_ref(y_l|x) )

Own: the objective. In the lab it is the second row of every table, trained on the method's own
pairs.

Simplifications
1. Pairs: two sampled answers to each image, ordered by a human of stated error; the paper's own
   tasks are text only.
2. AdamW, where the paper (appendix B) and the official code train with RMSprop.

Official code: eric-mitchell/direct-preference-optimization@f8b8c0f4:trainers.py#L45-L87 computes
the paper's equation, and the survey prints it: the three variants coincide."""

from __future__ import annotations

from dataclasses import dataclass

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import dpo as loss
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-6,  # appendix B (official config/config.yaml#L51: 5e-7)
    epochs=1,  # official config/config.yaml#L68: n_epochs
    batch_size=64,  # appendix B (official config/config.yaml#L8: 4)
    scheduler="constant_with_warmup",  # official trainers.py#L277
    warmup_ratio=0.05,  # ours: a share, where appendix B warms up over 150 steps
    max_grad_norm=10.0,  # official config/config.yaml#L59
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """DPO's only hyperparameter."""

    beta: float = 0.1  # appendix B: beta = 0.1 unless noted
    variant: Variant = "paper"


def human_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a human."""
    return lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())


METHOD = Method(
    record="dpo",
    config=Config,
    stages=(PairStage(data=human_pairs, loss=loss, views=VIEWS, lab=lab(3e-4), paper=PAPER),),
    baselines=("sft",),
    expectations=(
        Expectation(
            id="hallucinates-less", text="DPO lowers the base's CHAIR_i.", metric="chair_i",
            direction="lower", of="dpo", against="base", primary=True,
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
