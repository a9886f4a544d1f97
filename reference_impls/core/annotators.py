"""Who says which answer is better: the survey's annotation types, with their errors.

An annotator of the lab knows the scene and is wrong at a stated rate. What tells a human from a
strong model in the lab is that rate alone; it is stated, so that a result can be read against it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

HUMAN_ERROR_RATE = 0.25
CLOSED_SOURCE_MODEL_ERROR_RATE = 0.1


@dataclass
class Annotator:
    """Judges and corrects descriptions of a scene; wrong at `error_rate`, independently each
    time."""

    rules: object
    error_rate: float
    rng: random.Random

    def score(self, scene, text: str) -> float:
        """Objects that are there and named, minus objects named that are not there."""
        named = self.rules.mentioned(text)
        right = len(set(named) & set(scene.names))
        return right - sum(name not in scene.names for name in named)

    def compare(self, scene, first: str, second: str) -> tuple[str, str]:
        """(chosen, rejected). Equal answers are told apart by a coin, as forced choices are."""
        gap = self.score(scene, first) - self.score(scene, second)
        prefers_first = gap > 0 if gap else self.rng.random() < 0.5
        if self.rng.random() < self.error_rate:
            prefers_first = not prefers_first
        return (first, second) if prefers_first else (second, first)

    def correct(self, scene, text: str) -> str:
        """The description with its wrong segments corrected, one by one.

        A named object that is not there is replaced by one that is there and not named yet, or
        struck out when none is left; it is overlooked at `error_rate`. The rest stays as it is, so
        that chosen and rejected differ in the corrected segments alone (RLHF-V, section 2.2).
        """
        named = self.rules.mentioned(text)
        missing = [name for name in scene.names if name not in named]
        kept: list[str] = []
        for name in named:
            if name not in scene.names and self.rng.random() >= self.error_rate:
                if not missing:
                    continue
                name = missing.pop(0)
            if name not in kept:
                kept.append(name)
        return self.rules.caption(kept) if kept else text


@dataclass(frozen=True)
class Annotators:
    """The lab's annotators by the survey's names; a data step picks the one its paper used."""

    human: Annotator
    closed_source_model: Annotator


def annotators(world) -> Annotators:
    """Annotators of a drawn world, each with its own random stream."""
    return Annotators(
        human=Annotator(world.rules, HUMAN_ERROR_RATE, world.rng("human")),
        closed_source_model=Annotator(
            world.rules, CLOSED_SOURCE_MODEL_ERROR_RATE, world.rng("closed-source model")
        ),
    )
