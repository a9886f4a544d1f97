"""What a scene is, how scenes are drawn and shown, and what their pictures are called.

Shapes and their words are those of the scenes world; nothing else of this package imports it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.protocol import IMAGE, Pixels
from reference_impls.core.worlds.scenes import picture, text
from reference_impls.core.worlds.scenes.scene import COLOURS, GRID, Thing
from reference_impls.core.worlds.scenes.scene import Scene as Grid

__all__ = ["Scene", "Thing", "draw_scene", "render", "text"]

SPLITS = ("base", "pairs", "validation", "test")
LAYOUTS = ("sequence", "grid", "inset")
ALONE = "alone"  # one picture, for the probe of single pictures
COUNTS = (2, 3, 4)
COLOURS_SHOWN = (*COLOURS[:5], "white")
SHAPES_SHOWN = ("circle", "triangle", "cross")
KINDS = tuple((colour, shape) for colour in COLOURS_SHOWN for shape in SHAPES_SHOWN)
NAMES = tuple(" ".join(kind) for kind in KINDS)

SIDE = 2  # cells per side of a picture
CELLS = tuple(row * GRID + column for row in range(SIDE) for column in range(SIDE))
PATCH = picture.CELL // 2
"""Pixels per side of a cell as it is shown, at one scale in every layout."""
TILE = SIDE * PATCH
SIZE = 2 * TILE
"""Pixels per side of an image: a picture in a margin, a collage, a picture in another one."""
MARGIN = 16.0  # grey of what belongs to no picture
NOISE = 6.0  # standard deviation of the sensor's noise, grey levels of 255
SHARED = 0.5  # chance that a picture holds an object of the picture before it

NUMBERS = text.ROWS  # one, two, three, four


@dataclass(frozen=True)
class Place:
    """Where a picture is shown: the number of the image, and the box on it (left, top, right,
    bottom) as shares of width and height."""

    image: int
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """Pictures of one to three objects, how they are laid out, and the seed of the noise.

    layout: `sequence`, one image each, in a margin; `grid`, tiles of one collage in reading order;
    `inset`, the second in the middle of the first, whose cells are its corners; `alone`, one
    picture. A cell has 8 x 8 pixels, one patch of the base, in every layout.
    """

    pictures: tuple[tuple[Thing, ...], ...]
    layout: str = "sequence"
    noise: int = 0

    def names(self, number: int) -> tuple[str, ...]:
        """The objects of a picture in reading order."""
        return tuple(thing.name for thing in self.pictures[number])

    def elsewhere(self, number: int) -> tuple[str, ...]:
        """The objects of the other pictures, in their order, without those of this one."""
        others = [n for place in range(len(self.pictures)) if place != number
                  for n in self.names(place)]  # fmt: skip
        return tuple(name for name in dict.fromkeys(others) if name not in self.names(number))

    def called(self, number: int) -> str:
        """What a picture is called: `image two`, `the center image`."""
        if self.layout == ALONE:
            return "the image"
        if self.layout == "inset":
            return ("the background image", "the center image")[number]
        return f"image {NUMBERS[number]}"

    @property
    def opening(self) -> str:
        """The text that shows the images."""
        if self.layout != "sequence":
            return IMAGE
        return " ".join(f"{self.called(n)} : {IMAGE}" for n in range(len(self.pictures)))

    def place(self, number: int) -> Place:
        """Where a picture is shown."""
        middle = (0.25, 0.25, 0.75, 0.75)
        if self.layout == "grid":
            top, left = number // 2 / 2, number % 2 / 2
            return Place(0, (left, top, left + 0.5, top + 0.5))
        if self.layout == "inset":
            return Place(0, middle) if number else Place(0)
        return Place(number, middle)

    def named_in(self, subject: str) -> list[int]:
        """Numbers of the pictures that a text names, in their order."""
        return [n for n in range(len(self.pictures)) if self.called(n) in subject]

    def alone(self, number: int) -> Scene:
        """One picture by itself."""
        return Scene((self.pictures[number],), ALONE, self.noise)


def draw_scene(rng: random.Random, *, layout: str = "", count: int = 0) -> Scene:
    """A scene; `layout` and `count` fix what is drawn otherwise. An inset has two pictures."""
    layout = layout or rng.choice(LAYOUTS)
    count = {"inset": 2, ALONE: 1}.get(layout, count or rng.choice(COUNTS))
    pictures: list[tuple[Thing, ...]] = []
    for number in range(count):
        kinds = rng.sample(KINDS, rng.randint(1, 3))
        if number and rng.random() < SHARED:
            thing = rng.choice(pictures[number - 1])
            kind = (thing.colour, thing.shape)
            if kind not in kinds:
                kinds[rng.randrange(len(kinds))] = kind
        cells = sorted(rng.sample(CELLS, len(kinds)))
        pictures.append(
            tuple(
                Thing(*kind, cell, shift=(rng.randint(-1, 1), rng.randint(-1, 1)))
                for kind, cell in zip(kinds, cells, strict=True)
            )
        )
    return Scene(tuple(pictures), layout, rng.getrandbits(32))


Paint = tuple[int, int, int]


def tile(things: Sequence[Thing], paints: Sequence[Paint] = ()) -> NDArray[np.float32]:
    """(16, 16, 3) one picture before the noise, 0 to 255; `paints` in place of the objects' own
    colours."""
    whole = picture.clean(Grid(tuple(things)), paints)[: 2 * TILE, : 2 * TILE]
    half: NDArray[np.float32] = whole.reshape(TILE, 2, TILE, 2, 3).mean((1, 3))
    return half


def render(scene: Scene, paints: Sequence[Sequence[Paint]] = ()) -> tuple[Pixels, ...]:
    """The images of a scene, each (32, 32, 3) uint8, the same at every call."""
    tiles = [
        tile(things, paints[number] if paints else ())
        for number, things in enumerate(scene.pictures)
    ]
    start, stop = (SIZE - TILE) // 2, (SIZE + TILE) // 2
    images: list[NDArray[np.float32]] = []
    if scene.layout == "grid":
        collage = np.full((SIZE, SIZE, 3), MARGIN, np.float32)
        for number, pixels in enumerate(tiles):
            top, left = number // 2 * TILE, number % 2 * TILE
            collage[top : top + TILE, left : left + TILE] = pixels
        images.append(collage)
    elif scene.layout == "inset":
        around, inside = tiles
        outer = np.empty((SIZE, SIZE, 3), np.float32)
        outer[:] = picture.BACKGROUND
        for here, there in itertools.product(((0, 0), (PATCH, SIZE - PATCH)), repeat=2):
            (top, down), (left, right) = here, there  # the cells go into the corners
            outer[down : down + PATCH, right : right + PATCH] = around[
                top : top + PATCH, left : left + PATCH
            ]
        outer[start:stop, start:stop] = inside
        images.append(outer)
    else:
        for pixels in tiles:
            image = np.full((SIZE, SIZE, 3), MARGIN, np.float32)
            image[start:stop, start:stop] = pixels
            images.append(image)
    rng = np.random.default_rng(scene.noise)
    return tuple(
        np.clip(pixels + NOISE * rng.standard_normal(pixels.shape, np.float32), 0, 255).astype(
            np.uint8
        )
        for pixels in images
    )
