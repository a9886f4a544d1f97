"""Where answers come from besides the policy: other models, a writer, other scenes, corruption.

A source gives one answer to each item of a lab's round. How good its answers truly are is measured
with each use (`Tally`), as an annotator's agreement is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from reference_impls.core.data.retrieval import nearest

if TYPE_CHECKING:
    from reference_impls.core.lab import Lab

Source = Callable[["Lab"], list[str]]
OTHERS = 2
"""Bases beside the policy's own that an ensemble consists of."""


def policy(lab: Lab) -> list[str]:
    """A sample of the policy."""
    return lab.answer()


def ensemble(lab: Lab) -> list[str]:
    """Samples of separately trained bases, each scene answered by one of them in turn."""
    answers: list[str] = [""] * len(lab.items)
    for number in range(OTHERS):
        places = range(number, len(lab.items), OTHERS)
        other = lab.workshop.other_base(lab, number + 1)
        given = other.answer_items(
            [lab.items[place] for place in places],
            [lab.media[place] for place in places],
            1.0,
            lab.task.max_new_tokens,
        )
        for place, answer in zip(places, given, strict=True):
            answers[place] = answer
    return answers


def writer(lab: Lab) -> list[str]:
    """True answers of somebody who sees what the condition `sight` lets writers perceive."""
    sight = lab.world.level("sight") if "sight" in lab.world.conditions else 0.0
    return [lab.task.correct(item, item.truth, sight) for item in lab.items]


def retrieval(lab: Lab) -> list[str]:
    """The true answer to the scene, among the others of the round, whose truth is most alike: most
    words in common, counted as often as they occur. Of a single scene its own."""
    truths = [item.truth for item in lab.items]
    return [truths[(others or [place])[0]] for place, others in enumerate(nearest(truths, 1))]


def corruption(lab: Lab) -> list[str]:
    """A true answer with one claim made wrong."""
    rng = lab.rng("corruption")
    return [lab.task.distort(item, item.truth, rng) for item in lab.items]


SOURCES: Mapping[str, Source] = {
    "policy": policy,
    "ensemble": ensemble,
    "writer": writer,
    "retrieval": retrieval,
    "corruption": corruption,
}
"""By name; `lab.source(name)` asks one and measures it."""
