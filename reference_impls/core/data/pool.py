"""Answers of a pool of models: each question is answered by some of them, drawn by lot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reference_impls.core.data.sources import OTHERS

if TYPE_CHECKING:
    from reference_impls.core.lab import Lab
    from reference_impls.core.model.policy import Policy

OTHER_BASES: Mapping[str, int] = {f"other-{number}": number for number in range(1, OTHERS + 1)}
"""Members that are separately trained bases, and which of them each one is."""


@dataclass(frozen=True)
class Said:
    """An answer, and the name of the pool's member that gave it."""

    member: str
    text: str


def answers_of_pool(lab: Lab, pool: Sequence[str], count: int | None = None) -> list[list[Said]]:
    """By item, the answers of `count` members drawn without replacement; of all of them by default.

    pool: `policy` and the bases of `OTHER_BASES`, which are sampled, or another source of
    `Lab.source`. A name that stands several times weighs as much, and is sampled anew each time.
    What a member says is measured as that source. Raises ValueError for a count above the pool's,
    LookupError for a name that no source has.
    """
    count = len(pool) if count is None else count
    if not 0 < count <= len(pool):
        raise ValueError(f"{count} answers to a question are asked of a pool of {len(pool)}")
    rng = lab.rng("pool")
    drawn = [sorted(rng.sample(range(len(pool)), count)) for _ in lab.items]
    models: dict[str, Policy] = {}
    found: list[list[Said]] = [[] for _ in lab.items]
    for number, member in enumerate(pool):
        places = [place for place, members in enumerate(drawn) if number in members]
        for place, answer in zip(places, _answers(lab, member, places, models), strict=True):
            found[place].append(Said(member, answer))
    return found


def _answers(lab: Lab, member: str, places: Sequence[int], models: dict[str, Policy]) -> list[str]:
    """One answer of a member to each item at `places`."""
    if member != "policy" and member not in OTHER_BASES:
        given = lab.source(member)
        return [given[place] for place in places]
    if member not in models:
        number = OTHER_BASES.get(member)
        models[member] = lab.policy if number is None else lab.workshop.other_base(lab, number)
    items = [lab.items[place] for place in places]
    answers = models[member].answer_items(
        items, [lab.media[place] for place in places], 1.0, lab.task.max_new_tokens
    )
    lab.tally.source(member, (lab.task.score(i, a) for i, a in zip(items, answers, strict=True)))
    return answers
