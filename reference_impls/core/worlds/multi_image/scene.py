"""What a scene is, how scenes are drawn and shown, and what their pictures are called.

Shapes and their words are those of the scenes world; nothing else of this package imports it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.protocol import IMAGE, Pixels
from reference_impls.core.worlds.scenes2 import picture, text
from reference_impls.core.worlds.scenes2.scene import COLOURS, GRID, Thing
from reference_impls.core.worlds.scenes2.scene import Scene as Grid

__all__ = ["Scene", "Thing", "draw_scene", "render", "text"]

SPLITS = ("base", "pairs", "validation", "test")
LAYOUTS = ("sequence", "grid", "inset")
ALONE = "alone"  # one picture, for the probe of single pictures
COUNTS = (2, 3, 4)
COLOURS_SHOWN = (*COLOURS[:5], "white")
SHAPES_SHOWN = ("circle", "square", "triangle", "cross")
KINDS = tuple((colour, shape) for colour in COLOURS_SHOWN for shape in SHAPES_SHOWN)
NAMES = tuple(" ".join(kind) for kind in KINDS)

SIDE = 2  # cells per side of a picture
CELLS = tuple(row * GRID + column for row in range(SIDE) for column in range(SIDE))
SIZE = SIDE * picture.CELL
"""Pixels per side of whatever is shown: a picture, a collage, a picture with another one in it."""
HALF = SIZE // 2
EMPTY = 16.0  # grey of the tiles of a collage that hold no picture
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

    layout: `sequence`, one image each; `grid`, tiles of one collage in reading order; `inset`, the
    second in the middle of the first; `alone`, one picture.
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
        if self.layout == "grid":
            top, left = number // 2 / 2, number % 2 / 2
            return Place(0, (left, top, left + 0.5, top + 0.5))
        if self.layout == "inset":
            return Place(0, (0.25, 0.25, 0.75, 0.75)) if number else Place(0)
        return Place(number)

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


def clean(things: Sequence[Thing]) -> NDArray[np.float32]:
    """(32, 32, 3) one picture before the noise, 0 to 255."""
    return picture.clean(Grid(tuple(things)))[:SIZE, :SIZE]


def halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half as wide and high: the mean of each 2 x 2 pixels."""
    half: NDArray[np.float32] = pixels.reshape(HALF, 2, HALF, 2, 3).mean((1, 3))
    return half


def render(scene: Scene) -> tuple[Pixels, ...]:
    """The images of a scene, each (32, 32, 3) uint8, the same at every call."""
    pictures = [clean(things) for things in scene.pictures]
    if scene.layout == "grid":
        collage = np.full((SIZE, SIZE, 3), EMPTY, np.float32)
        for number, pixels in enumerate(pictures):
            top, left = number // 2 * HALF, number % 2 * HALF
            collage[top : top + HALF, left : left + HALF] = halved(pixels)
        pictures = [collage]
    elif scene.layout == "inset":
        around, inside = pictures
        start = HALF // 2
        around[start : start + HALF, start : start + HALF] = halved(inside)
        pictures = [around]
    rng = np.random.default_rng(scene.noise)
    return tuple(
        np.clip(pixels + NOISE * rng.standard_normal(pixels.shape, np.float32), 0, 255).astype(
            np.uint8
        )
        for pixels in pictures
    )
