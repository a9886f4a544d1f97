"""What a scene is, how scenes are drawn and shown, and what no training text holds.

Shapes and colours are those of the scenes world, at half their size.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.protocol import Pixels
from reference_impls.core.worlds.scenes import picture
from reference_impls.core.worlds.scenes.scene import GRID, Thing
from reference_impls.core.worlds.scenes.scene import Scene as Grid

__all__ = ["Scene", "Thing", "draw_scene", "render"]

SPLITS = ("base", "pairs", "validation", "test")
COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "triangle", "cross")
KINDS = tuple(itertools.product(COLOURS, SHAPES))

SIDE = 3  # cells per side of a picture; columns of a chart
PLACES = {row * GRID + column: f"{'ab'[row]}{column + 1}" for row in range(2)
          for column in range(SIDE)}  # fmt: skip
"""Cell -> what it is called: two rows from the top, a and b, of three columns; nothing stands in
the third row, which charts need."""
CELLS = tuple(PLACES)
PATCH = picture.CELL // 2
SIZE = SIDE * PATCH
UNIT = PATCH // 2
"""Pixels by which a bar grows with 1."""
NOISE = 6.0  # standard deviation of the sensor's noise, grey levels of 255

# What neither a base's text nor a method's scenes hold; scenes of the test split do. A combination
# is two numbers with a sign between them, in this order: 3 + 1 is learnt, 1 + 3 is not.
NEW_KINDS = frozenset({("green", "cross"), ("blue", "triangle")})
NEW_COMBINATIONS = frozenset({
    (1, "+", 3), (2, "+", 3), (3, "+", 4), (4, "+", 2), (2, "+", 5), (5, "+", 1),
    (3, "-", 1), (4, "-", 2), (5, "-", 3),
})  # fmt: skip
MOST, MOST_HEIGHT = 4, 5  # of one kind and of a bar; `MOST` + 1 of one kind is new
SEEN_KINDS = tuple(kind for kind in KINDS if kind not in NEW_KINDS)
CAUSES = ("kind", "combination", "number")
"""Why a problem is new: what it asks about, two numbers put together, or how many there are."""


@dataclass(frozen=True)
class Bar:
    """A bar of a chart: its colour, its column from the left (0 to 2), its height."""

    colour: str
    column: int
    height: int


@dataclass(frozen=True)
class Scene:
    """Objects in a grid, and bars. One of the two is shown: bars where `chart` is set.

    new: what its problems have that no training text has, one of `CAUSES`, or nothing. noise: the
    seed of the sensor's noise.
    """

    things: tuple[Thing, ...]
    bars: tuple[Bar, ...]
    chart: bool = False
    new: str = ""
    noise: int = 0

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """Colour and shape of what is there, each once, in reading order."""
        return tuple(dict.fromkeys((thing.colour, thing.shape) for thing in self.things))

    def count(self, kind: tuple[str, str]) -> int:
        """How many objects are of a kind."""
        return sum((thing.colour, thing.shape) == kind for thing in self.things)


def draw_scene(rng: random.Random, new: str = "") -> Scene:
    """Two or three kinds of objects, up to four of each and six in all, and two or three bars.

    new: `kind`: one kind is a new one; `number`: there are five of one; `combination`: two numbers
    of objects, and two heights, can be put together in a new way.
    """
    while True:
        kinds = rng.sample(SEEN_KINDS, rng.randint(2, 3))
        if new == "kind":
            kinds[rng.randrange(len(kinds))] = rng.choice(sorted(NEW_KINDS))
        counts = [rng.randint(1, MOST) for _ in kinds]
        if new == "number":
            counts[rng.randrange(len(counts))] = MOST + 1
        heights = [rng.randint(1, MOST_HEIGHT) for _ in range(rng.randint(2, 3))]
        if sum(counts) > len(CELLS):
            continue
        if new != "combination" or all(map(_combines, (counts, heights))):
            break
    cells = rng.sample(CELLS, sum(counts))
    named = [kind for kind, count in zip(kinds, counts, strict=True) for _ in range(count)]
    things = [
        Thing(*kind, cell, shift=(rng.randint(-1, 1), rng.randint(-1, 1)))
        for kind, cell in zip(named, cells, strict=True)
    ]
    columns = sorted(rng.sample(range(SIDE), len(heights)))
    colours = rng.sample(COLOURS, len(heights))
    bars = tuple(Bar(*each) for each in zip(colours, columns, heights, strict=True))
    ordered = tuple(sorted(things, key=lambda thing: thing.cell))
    return Scene(ordered, bars, new=new, noise=rng.getrandbits(32))


def _combines(numbers: Sequence[int]) -> bool:
    """Can two of the numbers be put together in a new way?"""
    pairs = itertools.permutations(numbers, 2)
    return any((a, sign, b) in NEW_COMBINATIONS for a, b in pairs for sign in "+-")


Paint = tuple[int, int, int]


def render(scene: Scene, paints: Sequence[Paint] = ()) -> Pixels:
    """(24, 24, 3) uint8, the same at every call; `paints` in place of the objects' own colours."""
    clean: NDArray[np.float32]
    if scene.chart:
        clean = np.empty((SIZE, SIZE, 3), np.float32)
        clean[:] = picture.BACKGROUND
        for bar in scene.bars:
            left = bar.column * PATCH
            clean[SIZE - UNIT * bar.height :, left + 1 : left + PATCH - 1] = picture.RGB[bar.colour]
    else:
        whole = picture.clean(Grid(scene.things), paints)[: 2 * SIZE, : 2 * SIZE]
        clean = whole.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
    noise = np.random.default_rng(scene.noise).standard_normal(clean.shape, np.float32)
    pixels: Pixels = np.clip(clean + NOISE * noise, 0, 255).astype(np.uint8)
    return pixels
