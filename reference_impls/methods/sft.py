"""SFT (supervised fine-tuning on the chosen answers), record `sft`: the baseline without
preferences, as the survey (arXiv:2503.14504) has it.

    L = -1/|y_w| sum_t log pi_theta(y_w,t | x, y_w,<t)

Own: nothing. In the lab it is the first row of every table: what the chosen answers alone teach.
Beside methods that are rewarded for sampled answers it learns worked answers to their questions;
`target` has it learn the final answers alone, or, as in rejection sampling, the policy's own
answers that are rewarded.

Simplifications
1. Pairs as for DPO; the rejected answers are not looked at.
2. `tries` is the group size of the methods that it stands beside, so that all sample alike.

Official code: eric-mitchell/direct-preference-optimization@f8b8c0f4:trainers.py#L258-L262 sums
over an answer's tokens (`variant="code"`); TRL averages over all tokens of a batch. The survey
has no equation: survey = paper, the mean per answer (as MPO's equation 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reference_impls.core.command_line import main
from reference_impls.core.data.rejection import rewarded_answers
from reference_impls.core.data.rows import LazyRows, said
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Reward, Row
from reference_impls.core.objective.preference import SftConfig
from reference_impls.core.objective.preference import sft as loss
from reference_impls.core.settings import TrainSettings, lab

if TYPE_CHECKING:
    from reference_impls.core.model.policy import Policy

VIEWS = ("chosen",)
PAPER = TrainSettings(
    learning_rate=5e-7,  # official config/config.yaml#L51: lr, for SFT and DPO alike
    epochs=1,  # official config/config.yaml#L68: n_epochs
    batch_size=64,  # ours: DPO's, appendix B of its paper (official config/config.yaml#L8: 4)
    warmup_ratio=0.05,  # ours: a share, where config/config.yaml#L83 warms up over 150 steps
)


@dataclass(frozen=True)
class Config(SftConfig):
    """What is learnt beside a method that is rewarded; alone and beside pairs nothing changes."""

    target: Literal["worked", "answer", "sampled"] = "worked"  # ours: what supervision can have
    tries: int = 8  # ours: as many answers to a question as a group of GRPO's has in the lab


def preferred_answers(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a human; only the better one is learnt."""
    return lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())


def imitated(
    policy: Callable[[], Policy], rows: Sequence[Row], rewards: Mapping[str, Reward],
    settings: TrainSettings, cfg: Config,
) -> Sequence[Row]:  # fmt: skip
    """The rows of a method that is rewarded, with `chosen`: what `target` says."""
    if cfg.target == "sampled":
        return rewarded_answers(policy(), rows, rewards, settings, cfg.tries)
    column = "worked" if cfg.target == "worked" else "answer"

    def learnt(number: int) -> Row:
        row = rows[number]
        return {**row, "chosen": said(str(row.get(column, row["answer"])))}

    return LazyRows(len(rows), learnt)


METHOD = Method(
    record="sft",
    config=Config,
    stages=(
        PairStage(
            data=preferred_answers, loss=loss, views=VIEWS, reference="none", imitates=imitated,
            lab=lab(3e-4), paper=PAPER,
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
