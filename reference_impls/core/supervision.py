"""What supervision learns from the questions that reinforcement is given.

The papers of the R1 family compare with SFT on the same questions. These rows of a table are the
method with another stage in place of its own: `learn_by` of its config says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from reference_impls.core.data.rows import said
from reference_impls.core.lab import Lab
from reference_impls.core.method import Data, PairStage, Reward, Row
from reference_impls.core.objective.preference import token_mean_nll
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import TrainSettings, lab

LearnBy = Literal["rewards", "answers", "own answers"]
"""By reinforcement; by SFT on true answers alone; by SFT on the policy's own right answers."""
ROWS: dict[str, dict[str, LearnBy]] = {
    "SFT on answers": {"learn_by": "answers"},
    "rejection sampling": {"learn_by": "own answers"},
}
"""Rows of a table, as ablations of a method whose config has `learn_by`."""


def answers_alone(questions: Sequence[Row]) -> list[Row]:
    """Questions with the true answer in its tags as `chosen`, and no thought before it."""
    return [{**row, "chosen": said(f"<answer> {row['answer']} </answer>")} for row in questions]


def own_right_answers(lab: Lab, questions: Sequence[Row], reward: Reward, tries: int) -> list[Row]:
    """Rejection sampling: each question with the first of the policy's own answers that is right.

    The policy answers every item `tries` times, as often as a group of that size would. A question
    that it never answers right is left out; the tally counts them.
    """
    place_of = {id(item): place for place, item in enumerate(lab.items)}
    places = [place_of[id(row["item"])] for row in questions]
    answers = [str(row["answer"]) for row in questions]
    right: dict[int, str] = {}
    for _ in range(tries):
        every = lab.answer()
        texts = [every[place] for place in places]
        for number, points in enumerate(reward(texts, answers)):
            if points >= 1:
                right.setdefault(number, texts[number])
    lab.tally.count("right in some try", len(right))
    lab.tally.count("never right", len(questions) - len(right))
    return [{**questions[number], "chosen": said(right[number])} for number in sorted(right)]


def imitation(batch: PairBatch, cfg: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,): SFT's negative log-likelihood, averaged over an answer's tokens."""
    losses = token_mean_nll(batch.chosen)
    return losses, {"nll": losses.detach()}


def by_rewards(cfg: Any) -> bool:
    """Whether a config's method learns by its rewards."""
    return bool(cfg.learn_by == "rewards")


def instead_of_rewards(
    questions: Data, reward: Reward, drawn: int, paper: TrainSettings, tries: int = 8
) -> PairStage:
    """The stage that takes place where the method's config does not learn by rewards: SFT on the
    questions of its own data step, with true answers alone or the policy's own; `reward` says which
    of these are right. `drawn`: scenes that the questions are made of.
    """

    def rows(lab: Lab, cfg: Any) -> list[Row]:
        asked = questions(lab, cfg)
        if cfg.learn_by == "answers":
            return answers_alone(asked)
        return own_right_answers(lab, asked, reward, tries)

    return PairStage(
        name="imitation", data=rows, loss=imitation, views=("chosen",), reference="none",
        when=lambda cfg: not by_rewards(cfg), lab=lab(3e-4, pairs=drawn), paper=paper,
    )  # fmt: skip
