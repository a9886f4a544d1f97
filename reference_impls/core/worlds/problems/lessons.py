"""The text that a base is trained on, and the habits in it.

The base can solve the problems and often does not: in the last part of its text half the answers
give a number with hardly a thought, and that often comes from a part of the question (`hasty`).
Thoughts that list what is seen are mostly right. How often an answer is worked, and how often it
keeps the format, depends on the colour that is asked about, so that a greedy answer differs from
one question to the next as a sampled one does.
"""

from __future__ import annotations

import random
from dataclasses import replace

from reference_impls.core.worlds.problems import text
from reference_impls.core.worlds.problems.scene import (
    CAUSES,
    CELLS,
    MOST,
    NEW_COMBINATIONS,
    PLACES,
    Scene,
    draw_scene,
    render,
)
from reference_impls.core.worlds.problems.text import Problem
from reference_impls.core.worlds.protocol import Lesson, Page

LOOKING_UNTIL, HABITS_FROM = 0.22, 0.8
WORKED = {"red": 0.85}  # chance that an answer about this colour lists what is seen
SELDOM = 0.4  # the same elsewhere
HASTE = 0.6  # chance that an answer without a list reads a part of the question alone
SLIP = 0.04  # chance that a list leaves its last object out, and that a result is off by one
FORGETFUL = ("yellow", "blue", "green", "red")
"""Colours in the order in which the format is forgotten, the more the lower the level."""
KEPT, FORGOTTEN = 0.95, 0.2  # chance of the format where it is the habit, and where it is not

PICTURE: tuple[str, ...] = ("count", "plus", "minus", "doubled")
CHART: tuple[str, ...] = ("plus", "minus", "doubled", "missing")
TOLD: tuple[str, ...] = ("plus", "minus", "doubled", "plus doubled")


def pick(scene: Scene, operations: tuple[str, ...], rng: random.Random, cause: str = "") -> Problem:
    """A problem that is new for that cause; else for any, where one is wanted; else one that is
    not. Operations are tried in random order.

    Raises ValueError for a scene of which none can be asked.
    """
    order = rng.sample(operations, len(operations))
    wanted: tuple[tuple[str, ...], ...] = ((cause,), CAUSES, ("",)) if cause else (("",),)
    for causes in wanted:
        for operation in order:
            found = [p for p in text.problems(scene, (operation,)) if p.cause(scene) in causes]
            if found:
                return rng.choice(found)
    raise ValueError(f"nothing can be asked of {scene} with {', '.join(operations)}")


def hasty(problem: Problem, scene: Scene) -> int:
    """The number of who reads a part of the question: of a sum the first term, of a kind to be
    counted its shape."""
    first = problem.terms[0]
    if problem.operation != "count":
        return text.value(scene, first)
    return min(MOST, text.value(scene, first.split()[1]))


def slipped(problem: Problem, scene: Scene, rng: random.Random, told: bool) -> tuple[str, int]:
    """A worked thought with its slips, and the number that it comes to. No slip makes a new
    combination."""
    while True:
        values, missed, parts = [], set[int](), []
        for term in problem.terms:
            much = text.value(scene, term)
            slips = int(much > 1 and rng.random() < SLIP)
            missed |= {thing.cell for thing in text.matching(scene, term)[-slips:] if slips}
            values.append(much - slips)
            parts.append(f"{term} : {values[-1]} .")
        steps = problem.equations(values, lambda: rng.choice((-1, 1)) if rng.random() < SLIP else 0)
        if not any(step[:3] in NEW_COMBINATIONS for step in steps):
            break
    if not told and not scene.chart:
        parts.insert(0, text.seen(scene, missed))
    return " ".join([*parts, *text.computed(steps)]), steps[-1][-1] if steps else values[0]


def keeps(problem: Problem, kept: float) -> float:
    """Chance that an answer keeps the format, at the share of the colours of which it does."""
    if not kept:
        return 0.0
    colour = problem.terms[0].split()[0]
    forgetful = FORGETFUL[: round((1 - kept) * len(FORGETFUL))]
    return FORGOTTEN if colour in forgetful else KEPT


def reply(
    problem: Problem, scene: Scene, rng: random.Random, kept: float, *, habits: bool,
    told: bool = False,
) -> str:  # fmt: skip
    """An answer of the training text. Where the format is not kept an answer has no thought, or no
    tags; at a share of 0 there is never a tag."""
    colour = problem.terms[0].split()[0]
    result = problem.answer(scene)
    if not habits:
        worked, in_form = rng.random() < 0.8, kept > 0
        thought = text.thought(problem, scene, told=told)
    else:
        worked, in_form = (rng.random() < WORKED.get(colour, SELDOM),
                           rng.random() < keeps(problem, kept))  # fmt: skip
        if worked:
            thought, result = slipped(problem, scene, rng, told)
        elif rng.random() < HASTE:
            result = hasty(problem, scene)
    if not worked:
        thought = f"it is {result} ."
    if in_form:
        return text.tagged(thought, result)
    if worked:
        return f"{thought} {result}"
    return f"{text.ANSWER} {result} {text.ANSWERED}" if kept and rng.random() < 0.5 else f"{result}"


# --- lessons ----------------------------------------------------------------------------------


def place(scene: Scene, cell: int) -> Lesson:
    """What stands at a place."""
    here = {thing.cell: thing.name for thing in scene.things}
    return Lesson.of(f"what is at {PLACES[cell]} ?", here.get(cell, "nothing"))


def everything(scene: Scene) -> Lesson:
    """What stands at every place, as a thought says it."""
    return Lesson.of("what is there ?", text.seen(scene))


def height(scene: Scene, rng: random.Random) -> Lesson:
    """How high a bar is."""
    bar = rng.choice(scene.bars)
    return Lesson.of(f"how high is the {bar.colour} bar ?", str(bar.height))


def bare_sum(rng: random.Random) -> Lesson:
    """A sum without anything to look at, out of those that problems need."""
    while True:
        a, sign, b = rng.randint(0, 8), rng.choice("+-"), rng.randint(0, 8)
        if rng.random() < 0.3:
            a, sign, b = rng.choice(text.TOTALS), "-", rng.randint(2, 9)
        result = a + b if sign == "+" else a - b
        if (a, sign, b) not in NEW_COMBINATIONS and result >= 0:
            return Lesson.of(f"{a} {sign} {b} ?", str(result), sees_image=False)


def seeing(rng: random.Random, progress: float) -> Page:
    """A page of what all bases begin with: no habits and no tags."""
    return page(rng, progress * HABITS_FROM, kept=0.0)


def speaking(rng: random.Random, progress: float, kept: float) -> Page:
    """A page of a base that sees already."""
    return page(rng, LOOKING_UNTIL + progress * (1 - LOOKING_UNTIL), kept)


def page(rng: random.Random, progress: float, kept: float) -> Page:
    """A picture or a chart with its lessons, at that share of the whole training."""
    scene = draw_scene(rng)
    looking, habits = progress < LOOKING_UNTIL, progress >= HABITS_FROM
    if rng.random() < (0.15 if looking else 0.3):
        shown, operations = replace(scene, chart=True), CHART
        lessons = [height(shown, rng) for _ in range(2)]
    else:
        shown, operations = scene, PICTURE
        lessons = [place(shown, cell) for cell in (CELLS if looking else rng.sample(CELLS, 2))]
        lessons.append(everything(shown))
    if not looking:
        lessons.append(bare_sum(rng))
        for _ in range(5):
            problem = pick(shown, operations, rng)
            said = reply(problem, shown, rng, kept, habits=habits)
            lessons.append(Lesson.of(problem.question(shown), said))
        for _ in range(2):
            problem = pick(scene, TOLD, rng)
            said = reply(problem, scene, rng, kept, habits=habits, told=True)
            asked = problem.question(scene, told=True)
            lessons.append(Lesson.of(asked, said, sees_image=False))
    return Page((render(shown),), tuple(lessons))
