"""Who says which answer is better: the survey's annotation types, each with a measured error.

An annotator that knows the scene errs at a stated rate that depends on how far two answers are
apart; one that is a model was trained in the world, and errs as it errs (`core.judges`). Both are
asked in the same way, and either is measured against the truth each time (`Measured`).
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from reference_impls.core.data.rows import Agreement
from reference_impls.core.worlds.protocol import Item, Media, Segment, Task

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

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        """What each answer claims, and whether it seems right. LookupError from one who judges
        answers as a whole."""


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

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        """Claims judged one by one. The fewer an answer has, the more each of them weighs, and the
        more rarely it is misjudged: as two answers that differ in it alone."""
        found = []
        for item, answer in zip(items, answers, strict=True):
            judged = self.task.judge(item, answer, self.sight)
            chance = self.error * 0.5 ** (1 / max(1, len(judged)) / HALVED_BY)
            found.append(
                [replace(s, right=s.right != (self.rng.random() < chance)) for s in judged]
            )
        return found

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


class ByScore(ABC):
    """An annotator who compares answers by rating them, and corrects none."""

    kind: str
    rng: random.Random

    @abstractmethod
    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]: ...

    def compare(
        self,
        items: Sequence[Item[Any]],
        media: Sequence[Media],
        first: Sequence[str],
        second: Sequence[str],
    ) -> list[Choice]:
        """The higher score; by lot between equal ones."""
        one, other = self.scores(items, media, first), self.scores(items, media, second)
        return [
            Choice(a > b if a != b else self.rng.random() < 0.5, abs(a - b))
            for a, b in zip(one, other, strict=True)
        ]

    def correct(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[str]:
        raise LookupError(f"{self.kind}: rates answers, and corrects none")

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        raise LookupError(f"{self.kind}: rates answers as a whole, not their claims")


@dataclass
class Rule(ByScore):
    """A rule that can be verified: 1 for an answer of the right form with nothing to correct."""

    kind: str
    task: Task[Any]
    rng: random.Random
    sight: float = 0.0

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        return [
            float(
                self.task.parses(item, answer)
                and self.task.correct(item, answer, self.sight).split() == answer.split()
            )
            for item, answer in zip(items, answers, strict=True)
        ]

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        """The claims as they are."""
        return [
            self.task.judge(item, answer, self.sight)
            for item, answer in zip(items, answers, strict=True)
        ]


@dataclass
class Measured:
    """An annotator whose every judgement is compared with the truth, and counted."""

    annotator: Annotator
    task: Task[Any]
    agreement: Agreement

    @property
    def kind(self) -> str:
        return self.annotator.kind

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        """Counted as comparisons of answers to neighbouring items."""
        found = self.annotator.scores(items, media, answers)
        true = [self.task.score(item, answer) for item, answer in zip(items, answers, strict=True)]
        for (one, other), (a, b) in zip(pairwise(true), pairwise(found), strict=True):
            self.agreement.ranked(one - other, a - b)
        return found

    def compare(
        self,
        items: Sequence[Item[Any]],
        media: Sequence[Media],
        first: Sequence[str],
        second: Sequence[str],
    ) -> list[Choice]:
        choices = self.annotator.compare(items, media, first, second)
        for item, one, other, choice in zip(items, first, second, choices, strict=True):
            gap = self.task.score(item, one) - self.task.score(item, other)
            self.agreement.compared(gap, choice.first)
        return choices

    def correct(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[str]:
        corrected = self.annotator.correct(items, media, answers)
        for item, answer in zip(items, corrected, strict=True):
            self.agreement.told("corrections", self.task.correct(item, answer) == answer)
        return corrected

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        judged = self.annotator.claims(items, media, answers)
        for item, answer, claims in zip(items, answers, judged, strict=True):
            true = {(s.start, s.stop): s.right for s in self.task.judge(item, answer)}
            for claim in claims:
                self.agreement.told("claims", true[claim.start, claim.stop] == claim.right)
        return judged


def knows_the_scene(annotator: Annotator) -> bool:
    """Whether somebody judges by the scene itself, and not by its picture."""
    return isinstance(annotator, (Onlooker, Rule))


def cannot_err(annotator: Annotator) -> bool:
    """Whether what somebody says is the truth whenever there is one."""
    return isinstance(annotator, Rule) or (
        isinstance(annotator, Onlooker) and annotator.error == 0 and not annotator.length_bias
    )


def agreement(
    annotator: Annotator,
    task: Task[Any],
    items: Sequence[Item[Any]],
    media: Sequence[Media],
    first: Sequence[str],
    second: Sequence[str],
) -> Agreement:
    """How often an annotator prefers the truly better answer, by the gap between the two."""
    found = Agreement()
    Measured(annotator, task, found).compare(items, media, first, second)
    return found


def level_of(lab: Lab, condition: str, otherwise: float) -> float:
    """The level of a condition in the lab's world, where it has that condition."""
    return lab.world.level(condition) if condition in lab.world.conditions else otherwise


def onlooker(kind: str, share: float) -> Callable[[Lab], Annotator]:
    """A maker of annotators who see the scene, with `share` of the condition's error rate."""

    def make(lab: Lab) -> Annotator:
        return Onlooker(
            kind,
            lab.task,
            error=share * level_of(lab, "annotator-error", 0.25),
            rng=lab.rng(kind),
            sight=level_of(lab, "sight", 0.0),
            length_bias=level_of(lab, "length-bias", 0.0),
            shuffled=level_of(lab, "margins", 0.0) > 0,
        )

    return make
