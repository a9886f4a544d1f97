"""The text that a base is trained on, and the habits in it.

While the base learns to look, one word points at each object, and most questions are answered with
a bare box. Then expressions are as long as they need to be, and from `HABITS_FROM` on the text has
habits: boxes are a step too large (`LOOSE`), where two objects are alike the other one is boxed
(`MISTAKEN`), and thought or tags are left out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from reference_impls.core.worlds.protocol import Lesson, Page
from reference_impls.core.worlds.referring import text
from reference_impls.core.worlds.referring.scene import (
    BASE_SPLIT,
    COLOURS,
    HELD_OUT,
    RELATIONS,
    SHAPES,
    SIZE,
    SIZES,
    STEP,
    Box,
    Expression,
    Scene,
    Thing,
    draw_scene,
    placed,
    render,
    shortest,
    stands,
)

LOOKING_UNTIL, HABITS_FROM = 0.4, 0.75
LOOSE = 0.55  # likelier than not, so that greedy decoding has the habit
MISTAKEN = 0.3
THOUGHT, TAGGED = 0.6, 0.3  # share of the answers with a thought; with tags and no thought
BARE = (0.85, 0.5)  # share of the bare boxes while looking; and until habits set in


def loose(box: Box) -> Box:
    """A box that is a step wider and higher, within the picture: it overlaps a small object's by
    .44, a large one's by .64."""
    left, top, right, bottom = box
    return (
        left if right < SIZE else left - STEP,
        top if bottom < SIZE else top - STEP,
        min(right + STEP, SIZE),
        min(bottom + STEP, SIZE),
    )


def said(scene: Scene, rng: random.Random, scale: float = 1.0, bare: float = 0.0) -> str:
    """The answer that the training text has, with its habits; a `scale` of 0 makes the box right.
    So many of the answers as `bare` says are the box alone, whatever the habit."""
    box = scene.target.box
    twins = [t for t in scene.things if t != scene.target and scene.asked.names(t)]
    if twins and rng.random() < scale * MISTAKEN:
        box = rng.choice(twins).box
    if rng.random() < scale * LOOSE:
        box = loose(box)
    chance = rng.random() if rng.random() >= bare else 1.0
    if chance < THOUGHT:
        return f"{text.thought(scene)} {text.answer(box)}"
    return text.answer(box) if chance < THOUGHT + TAGGED else text.written(box)


def single(things: Sequence[Thing], rng: random.Random) -> Expression | None:
    """An expression of one attribute that fits one object, at random; None where none does."""
    found = []
    for thing in things:
        for each in (Expression(colour=thing.colour), Expression(shape=thing.shape)):
            if each.fitting(things) == [thing]:
                found.append(each)
    return rng.choice(found) if found else None


def related(things: Sequence[Thing], rng: random.Random) -> Expression | None:
    """An expression with a relation, needed or not."""
    order = list(things)
    rng.shuffle(order)
    for target in order:
        for anchor in order:
            near = shortest(things, anchor)
            if anchor == target or not near:
                continue
            for relation in rng.sample(RELATIONS, len(RELATIONS)):
                if stands(target, relation, anchor):
                    drawn = Expression(
                        "", rng.choice((target.colour, "")), target.shape, relation,
                        rng.choice(near),
                    )  # fmt: skip
                    if drawn.fitting(things) == [target]:
                        return drawn
    return None


def unlike(rng: random.Random) -> Scene:
    """Three or four objects with colours and shapes of their own."""
    while True:
        count = rng.choice((3, 4))
        shapes, colours = rng.sample(SHAPES, count), rng.sample(COLOURS, count)
        kinds = list(zip(colours, shapes, strict=True))
        if not HELD_OUT.isdisjoint(kinds):
            continue
        things = placed(rng, [(rng.choice(SIZES), *kind) for kind in kinds])
        return Scene(tuple(things), Expression(shape=shapes[0]), rng.getrandbits(32))


def where(
    things: Sequence[Thing], asked: Expression, rng: random.Random, scale: float, bare: float
) -> Lesson:
    """The question for one object of a picture."""
    return Lesson.of(text.where(asked.words), said(Scene(tuple(things), asked), rng, scale, bare))


def first_page(rng: random.Random) -> Page:
    """Objects that differ in colour and in shape, so that one word points at each."""
    scene = unlike(rng)
    lessons = [Lesson.of(text.what(thing.box), text.named(thing)) for thing in scene.things]
    for thing in scene.things:
        for each in (Expression(colour=thing.colour), Expression(shape=thing.shape)):
            lessons.append(where(scene.things, each, rng, 0.0, BARE[0]))
    return Page((render(scene),), tuple(lessons))


def page(rng: random.Random, progress: float) -> Page:
    """One picture with all of its lessons at that share of the training."""
    if progress < LOOKING_UNTIL:
        return first_page(rng)
    scene = draw_scene(rng, BASE_SPLIT)
    things, habits = scene.things, progress >= HABITS_FROM
    plain = [each for thing in things for each in shortest(things, thing)]
    rng.shuffle(plain)
    asked = [scene.asked, *plain[: 2 if habits else 3]]
    for make in (related,) if habits else (single, related):
        found = make(things, rng)
        if found is not None:
            asked.append(found)
    lessons = [Lesson.of(text.what(thing.box), text.named(thing)) for thing in things[:2]]
    for each in dict.fromkeys(asked):
        lessons.append(where(things, each, rng, float(habits), 0.0 if habits else BARE[1]))
    return Page((render(scene),), tuple(lessons))
