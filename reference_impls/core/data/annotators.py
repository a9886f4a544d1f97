"""Who says which answer is better: the survey's annotation types, each with a measured error.

An annotator that knows the scene errs at a stated rate that depends on how far two answers are
apart; one that is a model was trained in the world, and errs as it errs. Both are asked in the same
way, and `agreement` measures either against the truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from reference_impls.core.worlds.protocol import Item, Media, Task

if TYPE_CHECKING:
    from reference_impls.core.lab import Lab

HALVED_BY = 0.1
"""Gap of true scores that halves the chance of an error."""
STRONG = 0.4
"""A strong model errs so much as often as a human of the same condition."""
RATING_NOISE = 0.4
"""Standard deviation of a rating's noise, as a share of the annotator's error rate."""


@dataclass(frozen=True)
class Choice:
    """Which of two answers is preferred, and by how much the annotator thinks it better (>= 0)."""

    first: bool
    margin: float


class Annotator(Protocol):
    """Somebody who rates, compares or corrects answers. All lists are in the order of `items`."""

    @property
    def kind(self) -> str:
        """The survey's annotation type: `human`, `closed-source-model`, `clip`, ..."""

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        """How good each answer seems; higher is better, the scale is the annotator's."""

    def compare(
        self,
        items: Sequence[Item[Any]],
        media: Sequence[Media],
        first: Sequence[str],
        second: Sequence[str],
    ) -> list[Choice]:
        """A forced choice for each item."""

    def correct(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[str]:
        """The answers with what seems wrong mended. LookupError from one who only compares."""


@dataclass
class Onlooker:
    """Somebody who sees the scene, and errs: a human, or a strong model.

    error: the chance to choose wrongly between answers that are almost equally good, halved by each
    `HALVED_BY` of true score between them. sight: the least visibility that is perceived.
    length_bias: score that each word of an answer adds. shuffled: margins belong to other pairs.
    """

    kind: str
    task: Task[Any]
    error: float
    rng: random.Random
    sight: float = 0.0
    length_bias: float = 0.0
    shuffled: bool = False

    def _seems(self, item: Item[Any], answer: str) -> float:
        true = self.task.score(item, answer, self.sight)
        return true + self.length_bias * len(answer.split())

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        noise = RATING_NOISE * self.error
        return [
            self._seems(item, answer) + self.rng.gauss(0.0, noise)
            for item, answer in zip(items, answers, strict=True)
        ]

    def compare(
        self,
        items: Sequence[Item[Any]],
        media: Sequence[Media],
        first: Sequence[str],
        second: Sequence[str],
    ) -> list[Choice]:
        choices = []
        for item, one, other in zip(items, first, second, strict=True):
            gap = self._seems(item, one) - self._seems(item, other)
            prefers_first = gap > 0 if gap else self.rng.random() < 0.5
            if self.rng.random() < self.error * 0.5 ** (abs(gap) / HALVED_BY):
                prefers_first = not prefers_first
            choices.append(Choice(prefers_first, abs(gap)))
        if self.shuffled:
            margins = [choice.margin for choice in choices]
            self.rng.shuffle(margins)
            choices = [
                Choice(choice.first, margin)
                for choice, margin in zip(choices, margins, strict=True)
            ]
        return choices

    def correct(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[str]:
        """Corrected answers; an answer is overlooked as a whole at the annotator's error rate."""
        return [
            answer
            if self.rng.random() < self.error
            else self.task.correct(item, answer, self.sight)
            for item, answer in zip(items, answers, strict=True)
        ]


def agreement(
    annotator: Annotator,
    task: Task[Any],
    items: Sequence[Item[Any]],
    media: Sequence[Media],
    first: Sequence[str],
    second: Sequence[str],
) -> float:
    """Share of pairs of unequal true score in which the annotator prefers the better answer."""
    choices = annotator.compare(items, media, first, second)
    right = told = 0
    for item, one, other, choice in zip(items, first, second, choices, strict=True):
        gap = task.score(item, one) - task.score(item, other)
        if gap:
            told += 1
            right += choice.first == (gap > 0)
    return right / told if told else 0.0


Maker = Callable[["Lab"], Annotator]


def _level(lab: Lab, condition: str, otherwise: float) -> float:
    return lab.world.level(condition) if condition in lab.world.conditions else otherwise


def onlooker(kind: str, share: float) -> Maker:
    """A maker of annotators who see the scene, with `share` of the condition's error rate."""

    def make(lab: Lab) -> Annotator:
        return Onlooker(
            kind,
            lab.task,
            error=share * _level(lab, "annotator-error", 0.25),
            rng=lab.rng(kind),
            sight=_level(lab, "sight", 0.0),
            length_bias=_level(lab, "length-bias", 0.0),
            shuffled=_level(lab, "margins", 0.0) > 0,
        )

    return make


@dataclass
class Workshop:
    """Makes annotators by the survey's annotation types; those that are models are kept."""

    makers: dict[str, Maker] = field(
        default_factory=lambda: {
            "human": onlooker("human", 1.0),
            "closed-source-model": onlooker("closed-source-model", STRONG),
        }
    )

    def annotator(self, kind: str, lab: Lab) -> Annotator:
        """Raises LookupError with what there is."""
        if kind not in self.makers:
            raise LookupError(f"no annotator '{kind}'; there are {', '.join(self.makers)}")
        return self.makers[kind](lab)
