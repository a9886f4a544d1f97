"""Rejection sampling: of a policy's own answers those that are rewarded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reference_impls.core.data.rows import said
from reference_impls.core.method import Reward, Row
from reference_impls.core.settings import TrainSettings

if TYPE_CHECKING:
    from reference_impls.core.model.policy import Policy


def rewarded_answers(
    policy: Policy,
    rows: Sequence[Row],
    rewards: Mapping[str, Reward],
    settings: TrainSettings,
    tries: int,
) -> list[Row]:
    """Rows with `chosen`: of `tries` sampled answers to each question the different ones whose
    first reward is above 0, in the order of the questions.

    Raises ValueError where there is no reward of strings, or no answer is rewarded.
    """
    if not rewards:
        raise ValueError("rejection sampling needs a reward of strings, and the method has none")
    reward = next(iter(rewards.values()))
    asked = list(rows)
    answers = [str(row["answer"]) for row in asked]
    found: list[dict[str, None]] = [{} for _ in asked]
    for _ in range(tries):
        said_now = policy.answer(
            [row["prompt"] for row in asked], [row["images"] for row in asked],
            settings.temperature, settings.max_new_tokens,
        )  # fmt: skip
        points = reward(said_now, answers)
        for kept, answer, point in zip(found, said_now, points, strict=True):
            if point > 0:
                kept[answer] = None
    chosen = [
        {**row, "chosen": said(answer)}
        for row, kept in zip(asked, found, strict=True)
        for answer in kept
    ]
    if not chosen:
        raise ValueError(f"none of {tries} answers to {len(asked)} questions is rewarded")
    return chosen
