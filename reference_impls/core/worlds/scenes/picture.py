"""Pictures of scenes: 64 x 64 pixels, drawn by numpy, with the sensor's noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.scenes.scene import GRID, Scene

CELL = 16
SIZE = GRID * CELL
BACKGROUND = (56, 56, 60)
# All brighter than the background, so that a shape is told whatever its colour.
RGB = {
    "red": (250, 60, 50), "green": (60, 215, 80), "blue": (80, 115, 255), "yellow": (240, 225, 60),
    "purple": (190, 80, 240), "orange": (250, 150, 40), "white": (245, 245, 245),
    "cyan": (70, 220, 230),
}  # fmt: skip
# Standard deviation of the noise (grey levels of 255) in blocks of 1, 2, 4 and 8 pixels. Noise of
# one pixel alone hides nothing: a model averages it away over an object. Measured in
# `tests/impls/test_scenes_v2.py` with matched filters.
NOISE = {1: 20.0, 2: 14.0, 4: 12.0, 8: 10.0}

Pixels = NDArray[np.uint8]


@cache
def _mask(shape: str) -> NDArray[np.bool_]:
    """(16, 16) the pixels of a shape in the middle of its cell: 12 pixels wide."""
    y, x = np.mgrid[0:CELL, 0:CELL] - (CELL - 1) / 2
    inside: NDArray[np.bool_]
    if shape == "circle":
        inside = x**2 + y**2 <= 36
    elif shape == "square":
        inside = (abs(x) <= 5) & (abs(y) <= 5)
    elif shape == "triangle":
        inside = (y <= 6) & (abs(x) <= (y + 6) / 2)
    elif shape == "diamond":
        inside = abs(x) + abs(y) <= 6
    elif shape == "cross":
        inside = ((abs(x) <= 1.5) | (abs(y) <= 1.5)) & (abs(x) <= 6) & (abs(y) <= 6)
    else:  # star: two diagonals and an upright
        diagonal = abs(abs(x) - abs(y)) <= 1
        inside = (diagonal | (abs(x) <= 1)) & (abs(x) <= 6) & (abs(y) <= 6)
    return inside


Paint = tuple[int, int, int]


def _blob(seed: int) -> NDArray[np.bool_]:
    """(16, 16) a random figure of blocks, as large as the shapes and none of them."""
    figure = np.random.default_rng(seed).random((4, 4)) < 0.6
    mask = np.zeros((CELL, CELL), np.bool_)
    mask[2:-2, 2:-2] = figure.repeat(3, 0).repeat(3, 1)
    return mask


def clean(
    scene: Scene, paints: Sequence[Paint] = (), blobs: Sequence[int] = ()
) -> NDArray[np.float32]:
    """(64, 64, 3) the picture before the noise, 0 to 255.

    `paints` are other colours than the objects' own, `blobs` seeds of other shapes, one each.
    """
    pixels = np.empty((SIZE, SIZE, 3), np.float32)
    pixels[:] = BACKGROUND
    for place, thing in enumerate(scene.things):
        paint = paints[place] if paints else RGB[thing.colour]
        down, right = thing.shift
        shape = _blob(blobs[place]) if blobs else _mask(thing.shape)
        mask = np.roll(shape, (down, right), (0, 1))
        top, left = (thing.cell // GRID) * CELL, (thing.cell % GRID) * CELL
        contrast = thing.visibility * (np.array(paint, np.float32) - BACKGROUND)
        pixels[top : top + CELL, left : left + CELL] += mask[..., None] * contrast
    return pixels


def noise(seed: int) -> NDArray[np.float32]:
    """(64, 64, 3) the sensor's noise of one picture."""
    rng = np.random.default_rng(seed)
    total = np.zeros((SIZE, SIZE, 3), np.float32)
    for block, deviation in NOISE.items():
        side = SIZE // block
        part = rng.standard_normal((side, side, 3), np.float32) * deviation
        total += part.repeat(block, 0).repeat(block, 1)
    return total


def render(scene: Scene, paints: Sequence[Paint] = (), blobs: Sequence[int] = ()) -> Pixels:
    """(64, 64, 3) uint8, the same at every call."""
    pixels: Pixels = np.clip(clean(scene, paints, blobs) + noise(scene.noise), 0, 255).astype(
        np.uint8
    )
    return pixels


def render_all(scenes: Sequence[Scene]) -> Pixels:
    """(N, 64, 64, 3) uint8."""
    return np.stack([render(scene) for scene in scenes])
