"""What a scene is: objects of two sizes, an expression that fits one of them, and its picture.

A picture has 4 x 4 cells of 16 x 16 pixels, a cell being a patch of the base, and an object stands
in the middle of a cell: a large one fills it, a small one half of its width and height. Boxes have
corners on multiples of 4 pixels: one that is a step too large overlaps the true one in part.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.protocol import SPLITS, Pixels
from reference_impls.core.worlds.scenes.picture import BACKGROUND, RGB
from reference_impls.core.worlds.scenes.scene import HELD_OUT as HELD_OUT_THERE

CELL = 16
GRID = 4
STEP = 4
"""Pixels between the coordinates that boxes are written in."""
SIZE = GRID * CELL
NOISE = 6.0  # standard deviation of the sensor's noise, grey levels of 255
SIDES = {"small": 8, "large": 16}
"""Pixels per side of an object."""
SIZES = tuple(SIDES)
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross")
KINDS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
HELD_OUT = HELD_OUT_THERE & frozenset(KINDS)
"""Kinds that no picture of any training shows; the scenes world's bases, which those of this world
begin with, have seen none of them either."""
RELATIONS = ("left of", "right of", "above", "below")
TAUGHT = RELATIONS[:2]
"""The relations in what methods are trained on; a base is taught all four."""
BASE_SPLIT = "base"
TRAINING = (BASE_SPLIT, "pairs")
RELATED = 0.5  # share of the expressions that name a second object
THING = "thing"

Box = tuple[int, int, int, int]
"""(x1, y1, x2, y2) in pixels; x2 and y2 are the first ones that are not in the box."""


@dataclass(frozen=True)
class Thing:
    """One object: its kind, its size, and its cell (0 to 15, in reading order)."""

    colour: str
    shape: str
    size: str
    cell: int

    @property
    def name(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"

    @property
    def place(self) -> tuple[int, int]:
        """Column and row of its cell."""
        return (self.cell % GRID, self.cell // GRID)

    @property
    def box(self) -> Box:
        side = SIDES[self.size]
        left, top = (CELL * at + (CELL - side) // 2 for at in self.place)
        return (left, top, left + side, top + side)


@dataclass(frozen=True)
class Expression:
    """Words that point at an object: `the small red circle left of the blue square`.

    An attribute that is not said is empty; without a shape the object is called a thing. `relation`
    is to the object that `anchor` fits.
    """

    size: str = ""
    colour: str = ""
    shape: str = ""
    relation: str = ""
    anchor: Expression | None = None

    @property
    def words(self) -> str:
        said = (self.size, self.colour, self.shape or THING)
        head = " ".join(("the", *(word for word in said if word)))
        return f"{head} {self.relation} {self.anchor.words}" if self.anchor else head

    def names(self, thing: Thing) -> bool:
        """Do size, colour and shape fit, whatever the relation?"""
        said = ((self.size, thing.size), (self.colour, thing.colour), (self.shape, thing.shape))
        return all(word in ("", true) for word, true in said)

    def fitting(self, things: Sequence[Thing]) -> list[Thing]:
        """The objects of a picture that the whole expression fits."""
        named = [thing for thing in things if self.names(thing)]
        if self.anchor is None:
            return named
        anchors = self.anchor.fitting(things)
        return [
            thing
            for thing in named
            if any(stands(thing, self.relation, anchor) for anchor in anchors if anchor != thing)
        ]


def stands(one: Thing, relation: str, other: Thing) -> bool:
    """Is an object in a column or row on that side of another one's?"""
    axis = 0 if relation in TAUGHT else 1
    here, there = one.place[axis], other.place[axis]
    return here < there if relation in ("left of", "above") else here > there


@dataclass(frozen=True)
class Scene:
    """Three or four objects in cells of their own, the expression that is asked about, which fits
    exactly one of them, and the seed of the noise."""

    things: tuple[Thing, ...]
    asked: Expression
    noise: int = 0

    @property
    def target(self) -> Thing:
        """The object that is meant."""
        (found,) = self.asked.fitting(self.things)
        return found

    @property
    def anchor(self) -> Thing | None:
        """The object that the relation is to."""
        if self.asked.anchor is None:
            return None
        (found,) = self.asked.anchor.fitting(self.things)
        return found

    @property
    def kind(self) -> str:
        """`attribute`; `beside` for left and right, `stacked` for above and below."""
        if self.asked.anchor is None:
            return "attribute"
        return "beside" if self.asked.relation in TAUGHT else "stacked"

    @property
    def held_out(self) -> bool:
        """Is a relation asked for that methods are not taught, or of a kind of object that no
        training shows?"""
        named = [self.target, *([self.anchor] if self.anchor else [])]
        new = any((thing.colour, thing.shape) in HELD_OUT for thing in named)
        return new or self.kind == "stacked"


def shortest(things: Sequence[Thing], target: Thing) -> list[Expression]:
    """Expressions without relation that fit the target alone, and of which no word can be spared.

    The shape is said always; empty where another object is of the same kind and size.
    """
    found: list[Expression] = []
    for count in range(3):
        for said in itertools.combinations(("size", "colour"), count):
            given = Expression(
                target.size if "size" in said else "",
                target.colour if "colour" in said else "",
                target.shape,
            )
            spared = any(
                each.size in ("", given.size) and each.colour in ("", given.colour)
                for each in found
            )
            if not spared and given.fitting(things) == [target]:
                found.append(given)
    return found


def placed(rng: random.Random, kinds: Sequence[tuple[str, str, str]]) -> list[Thing]:
    """Objects of (size, colour, shape) in cells of their own."""
    cells = rng.sample(range(GRID * GRID), len(kinds))
    return [
        Thing(colour, shape, size, cell)
        for (size, colour, shape), cell in zip(kinds, cells, strict=True)
    ]


def _kinds(
    rng: random.Random, kinds: Sequence[tuple[str, str]], related: bool
) -> list[tuple[str, str, str]]:
    """(size, colour, shape) of a target, of objects that it is easily taken for, and of others."""
    colour, shape = rng.choice(kinds)
    target = (rng.choice(SIZES), colour, shape)
    others = [kind for kind in kinds if kind[1] != shape]
    if related:
        # Another one like it, and what both stand to.
        drawn = [target, target, (rng.choice(SIZES), *rng.choice(others))]
    else:
        alike = [kind for kind in kinds if kind[1] == shape and kind[0] != colour]
        other_size = SIZES[1 - SIZES.index(target[0])]
        twin = (other_size, colour, shape)
        cousin = (rng.choice(SIZES), *rng.choice(alike))
        drawn = [target, *rng.choice(([twin], [cousin], [twin, cousin]))]
    while len(drawn) < 3 or (len(drawn) < 4 and rng.random() < 0.5):
        drawn.append((rng.choice(SIZES), *rng.choice(others)))
    return drawn


def draw_scene(rng: random.Random, split: str = "test") -> Scene:
    """A scene of a split. Half of the expressions need a relation."""
    kinds = [kind for kind in KINDS if split not in TRAINING or kind not in HELD_OUT]
    relations = TAUGHT if split == "pairs" else RELATIONS
    related = rng.random() < RELATED
    relation = rng.choice(relations)
    while True:
        things = placed(rng, _kinds(rng, kinds, related))
        target = things[0]
        asked = shortest(things, target)
        if related:
            anchors = shortest(things, things[2])
            if not anchors or not stands(target, relation, things[2]):
                continue
            head = rng.choice(shortest([target, *things[2:]], target))
            asked = [Expression(head.size, head.colour, head.shape, relation, rng.choice(anchors))]
        if not asked:
            continue
        expression = rng.choice(asked)
        if expression.fitting(things) == [target]:
            rng.shuffle(things)
            return Scene(tuple(things), expression, rng.getrandbits(32))


@cache
def _mask(shape: str, side: int) -> NDArray[np.bool_]:
    """(side, side) the pixels of a shape that reaches the edges of its box."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side * 2 - 1  # -1 to 1
    inside: NDArray[np.bool_]
    if shape == "circle":
        inside = x**2 + y**2 <= 1
    elif shape == "square":
        inside = np.ones_like(x, dtype=np.bool_)
    elif shape == "triangle":
        inside = abs(x) <= (y + 1) / 2
    else:
        inside = (abs(x) <= 0.3) | (abs(y) <= 0.3)
    return inside


def render(scene: Scene) -> Pixels:
    """(64, 64, 3) uint8, the same at every call."""
    pixels = np.empty((SIZE, SIZE, 3), np.float32)
    pixels[:] = BACKGROUND
    for thing in scene.things:
        left, top, right, bottom = thing.box
        pixels[top:bottom, left:right][_mask(thing.shape, right - left)] = RGB[thing.colour]
    rng = np.random.default_rng(scene.noise)
    noisy = pixels + NOISE * rng.standard_normal(pixels.shape, np.float32)
    shown: Pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return shown


def check_split(split: str) -> None:
    """Raises ValueError for a split that does not exist."""
    if split not in (BASE_SPLIT, *SPLITS):
        raise ValueError(f"no split {split!r}: there are {', '.join((BASE_SPLIT, *SPLITS))}")
