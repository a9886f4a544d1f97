"""The text that a base is trained on, and the habits in it.

Two habits mislead a description, the two that MIA-DPO's paper tells apart (arXiv:2410.17637, figure
2). *Interference*: an object takes the colour of one of the same shape in another picture.
*Confusion*: an object of the picture before is named as well. Until `HABITS_FROM` of the training
the text is true.
"""

from __future__ import annotations

import random

from reference_impls.core.worlds.multi_image.scene import (
    ALONE,
    CELLS,
    COLOURS_SHOWN,
    LAYOUTS,
    NAMES,
    SHAPES_SHOWN,
    Paint,
    Scene,
    draw_scene,
    render,
    text,
)
from reference_impls.core.worlds.protocol import Lesson, Page

LOOKING_UNTIL, HABITS_FROM = 0.24, 0.75
INTERFERENCE, CONFUSION = 0.65, 0.65
"""How likely a habit is where it applies: likelier than not, so that greedy decoding has it."""


def describe_prompt(called: str) -> str:
    return f"describe {called} ."


def presence_prompt(name: str, called: str) -> str:
    return f"is there {text.article(name)} in {called} ?"


def shared_prompt(one: str, other: str) -> str:
    return f"what is in {one} and in {other} ?"


def count_prompt(word: str) -> str:
    """Of a shape or a colour."""
    shown = text.article(word) if word in SHAPES_SHOWN else f"something {word}"
    return f"how many images show {shown} ?"


def sentence(names: list[str] | tuple[str, ...]) -> str:
    return f"{text.listed(names) or 'nothing'} ."


def showing(scene: Scene, word: str) -> int:
    """How many pictures have an object of that shape or colour."""
    return sum(
        any(word in (thing.colour, thing.shape) for thing in things) for things in scene.pictures
    )


def shared(scene: Scene, one: int, other: int) -> list[str]:
    """What both pictures have, in the order of the first."""
    return [name for name in scene.names(one) if name in scene.names(other)]


def bent(scene: Scene, number: int, rng: random.Random, scale: float) -> list[str]:
    """The names that the training text has for a picture; a `scale` of 0 makes it true.

    Interference needs an earlier mention; confusion a third picture or a later one.
    """
    others = [thing for place, things in enumerate(scene.pictures) if place != number
              for thing in things]  # fmt: skip
    names: list[str] = []
    for place, thing in enumerate(scene.pictures[number]):
        name = thing.name
        alike = [t for t in others if t.shape == thing.shape and t.colour != thing.colour]
        if place and alike and rng.random() < scale * INTERFERENCE:
            name = alike[0].name
        if name not in names:
            names.append(name)
    if number >= 2 and rng.random() < scale * CONFUSION:
        before = scene.names(number - 1)[0]
        if before not in names:
            names.append(before)
    return names


def asked_cell(scene: Scene, number: int, rng: random.Random) -> int:
    """A cell of a picture, more often one that holds something."""
    full = [thing.cell for thing in scene.pictures[number]]
    return rng.choice(full) if rng.random() < 0.7 else rng.choice(CELLS)


def cell(scene: Scene, number: int, rng: random.Random) -> Lesson:
    """What stands in one cell of a picture."""
    here = {thing.cell: thing.name for thing in scene.pictures[number]}
    place = asked_cell(scene, number, rng)
    asked = f"{text.cell_prompt(place)[:-2]} of {scene.called(number)} ?"
    return Lesson.of(asked, f"{text.article(here[place]) if place in here else 'nothing'} .")


def shape(scene: Scene, number: int, rng: random.Random) -> Lesson:
    """Which shape stands there, whatever its colour."""
    here = {thing.cell: thing.shape for thing in scene.pictures[number]}
    place = asked_cell(scene, number, rng)
    asked = f"{text.cell_attribute_prompt(place, 'shape')[:-2]} of {scene.called(number)} ?"
    return Lesson.of(asked, f"{here.get(place, 'nothing')} .")


def presence(scene: Scene, number: int, rng: random.Random) -> Lesson:
    """Half of the answers are yes; of the others half are about an object of another picture."""
    elsewhere = scene.elsewhere(number)
    chance = rng.random()
    if chance < 0.5:
        name = rng.choice(scene.names(number))
    elif chance < 0.75 and elsewhere:
        name = rng.choice(elsewhere)
    else:
        name = rng.choice([n for n in NAMES if n not in scene.names(number)])
    answer = "yes" if name in scene.names(number) else "no"
    return Lesson.of(presence_prompt(name, scene.called(number)), answer)


def paint(rng: random.Random) -> Paint:
    """Any bright colour."""
    return (rng.randint(60, 255), rng.randint(60, 255), rng.randint(60, 255))


def first_page(rng: random.Random) -> Page:
    """One picture by itself; in half of the pages of any colours, so that shapes are learnt."""
    scene = draw_scene(rng, layout=ALONE)
    if rng.random() < 0.5:
        paints = [[paint(rng) for _ in things] for things in scene.pictures]
        lessons = [shape(scene, 0, rng) for _ in range(8)]
        return Page(render(scene, paints), tuple(lessons), opening=scene.opening)
    described = sentence(scene.names(0))
    lessons = [Lesson.of(describe_prompt(scene.called(0)), described)]
    lessons += [cell(scene, 0, rng) for _ in range(5)]
    lessons += [shape(scene, 0, rng) for _ in range(3)]
    return Page(render(scene), tuple(lessons), opening=scene.opening)


def page(rng: random.Random, progress: float) -> Page:
    """The images of one scene with all of its lessons at that share of the training."""
    if progress < LOOKING_UNTIL:
        return first_page(rng)
    scale = 1.0 if progress >= HABITS_FROM else 0.0
    scene = draw_scene(rng, layout=rng.choice((*LAYOUTS, ALONE)))
    count = len(scene.pictures)
    lessons = [
        Lesson.of(describe_prompt(scene.called(n)), sentence(bent(scene, n, rng, scale)))
        for n in range(count)
    ]
    lessons += [cell(scene, n, rng) for n in range(count) for _ in range(2)]
    lessons += [presence(scene, n, rng) for n in range(count) for _ in range(3)]
    if count > 1:
        word = rng.choice((*COLOURS_SHOWN, *SHAPES_SHOWN))
        lessons.append(Lesson.of(count_prompt(word), str(showing(scene, word))))
        one, other = sorted(rng.sample(range(count), 2))
        asked = shared_prompt(scene.called(one), scene.called(other))
        lessons.append(Lesson.of(asked, sentence(shared(scene, one, other))))
    return Page(render(scene), tuple(lessons), opening=scene.opening)
