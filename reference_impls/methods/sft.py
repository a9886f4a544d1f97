"""SFT (supervised fine-tuning on the chosen answers), record `sft`: the baseline without
preferences, as the survey (arXiv:2503.14504) has it.

    L = -1/|y_w| sum_t log pi_theta(y_w,t | x, y_w,<t)

Own: nothing. In the lab it is the first row of every table: what the chosen answers alone teach.

Simplifications
1. Pairs as for DPO; the rejected answers are not looked at.

Official code: eric-mitchell/direct-preference-optimization@f8b8c0f4:trainers.py#L258-L262 sums
over an answer's tokens (`variant="code"`); TRL averages over all tokens of a batch. The survey
has no equation: survey = paper, the mean per answer (as MPO's equation 8)."""

from __future__ import annotations

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row
from reference_impls.core.objective.preference import SftConfig as Config
from reference_impls.core.objective.preference import sft as loss
from reference_impls.core.settings import TrainSettings, lab

VIEWS = ("chosen",)
PAPER = TrainSettings(
    learning_rate=5e-7,  # official config/config.yaml#L51: lr, for SFT and DPO alike
    epochs=1,  # official config/config.yaml#L68: n_epochs
    batch_size=64,  # ours: DPO's, appendix B of its paper (official config/config.yaml#L8: 4)
    scheduler="constant_with_warmup",  # official trainers.py#L277
    warmup_ratio=0.05,  # ours: a share, where config/config.yaml#L83 warms up over 150 steps
    max_grad_norm=10.0,  # official config/config.yaml#L59
)


def preferred_answers(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a human; only the better one is learnt."""
    return lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())


METHOD = Method(
    record="sft",
    config=Config,
    stages=(
        PairStage(
            data=preferred_answers, loss=loss, views=VIEWS, reference="none", lab=lab(3e-4),
            paper=PAPER,
        ),
    ),
    baselines=(),
    expectations=(
        Expectation(
            id="hallucinates-less", text="SFT on preferred answers lowers the base's CHAIR_i.",
            metric="chair_i", direction="lower", of="sft", against="base", primary=True,
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
