"""Pictures of scenes: 64 x 64 pixels, drawn by numpy, with the sensor's noise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.scenes2.scene import GRID, Scene

CELL = 16
SIZE = GRID * CELL
BACKGROUND = (70, 70, 74)
RGB = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 230), "yellow": (235, 220, 50),
    "purple": (150, 50, 180), "orange": (240, 140, 30), "white": (240, 240, 240),
    "cyan": (60, 210, 220),
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


def clean(scene: Scene) -> NDArray[np.float32]:
    """(64, 64, 3) the picture before the noise, 0 to 255."""
    pixels = np.empty((SIZE, SIZE, 3), np.float32)
    pixels[:] = BACKGROUND
    for thing in scene.things:
        down, right = thing.shift
        mask = np.roll(_mask(thing.shape), (down, right), (0, 1))
        top, left = (thing.cell // GRID) * CELL, (thing.cell % GRID) * CELL
        contrast = thing.visibility * (np.array(RGB[thing.colour], np.float32) - BACKGROUND)
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


def render(scene: Scene) -> Pixels:
    """(64, 64, 3) uint8, the same at every call."""
    pixels: Pixels = np.clip(clean(scene) + noise(scene.noise), 0, 255).astype(np.uint8)
    return pixels


def render_all(scenes: Sequence[Scene]) -> Pixels:
    """(N, 64, 64, 3) uint8."""
    return np.stack([render(scene) for scene in scenes])
