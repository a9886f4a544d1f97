"""Pictures of the games: 64 x 64 pixels, four by four cells, with the sensor's noise.

Figures are a font of our own, so that a picture depends on no installed one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from reference_impls.core.worlds.agent.games import GRID, NUMBER_LINE, SIDE, Scene
from reference_impls.core.worlds.protocol import Pixels
from reference_impls.core.worlds.scenes import picture
from reference_impls.core.worlds.scenes.scene import Scene as Shapes
from reference_impls.core.worlds.scenes.scene import Thing

SIZE, CELL = picture.SIZE, picture.CELL
NOISE = 6.0  # standard deviation of the sensor's noise, grey levels of 255
SCALE = 3  # pixels per dot of a figure

# Five rows of three dots each.
FIGURES = {
    0: "### #.# #.# #.# ###", 1: ".#. ##. .#. .#. ###", 2: "### ..# ### #.. ###",
    3: "### ..# ### ..# ###", 4: "#.# #.# ### ..# ..#", 5: "### #.. ### ..# ###",
    6: "### #.. ### #.# ###", 7: "### ..# ..# .#. .#.", 8: "### #.# ### #.# ###",
    9: "### #.# ### ..# ###",
}  # fmt: skip
CURRENT, GOAL = 5, 10
"""Cells, in reading order, of the two numbers of the line."""
CARDS = (4, 6)
"""The left cells of the two cards; the second figure of a ten is in the cell beside."""


def figure(number: int) -> NDArray[np.bool_]:
    """(15, 9) the dots of a figure, enlarged."""
    rows = [[dot == "#" for dot in row] for row in FIGURES[number].split()]
    return np.array(rows, np.bool_).repeat(SCALE, 0).repeat(SCALE, 1)


Filled = Mapping[int, tuple[str, str]]
"""Cell in reading order -> its colour, and a digit or a shape."""


def filled(scene: Scene) -> dict[int, tuple[str, str]]:
    """What each cell of a state's picture holds.

    On the line the current number is white and the target red; cards are yellow; on the grid the
    player is a white triangle, the goal a red circle, and what is in the way a blue square.
    """
    if scene.game == GRID:
        cells = {cell: ("blue", "square") for cell in scene.blocks}
        return cells | {scene.goal: ("red", "circle"), scene.here: ("white", "triangle")}
    if scene.game == NUMBER_LINE:
        return {CURRENT: ("white", str(scene.here)), GOAL: ("red", str(scene.goal))}
    return {
        cell + place: ("yellow", digit)
        for card, cell in zip(scene.cards, CARDS, strict=True)
        for place, digit in enumerate(str(card))
    }


def clean(cells: Filled) -> NDArray[np.float32]:
    """(64, 64, 3) the picture before the noise, 0 to 255."""
    shapes = [(cell, *what) for cell, what in cells.items() if not what[1].isdecimal()]
    things = [Thing(colour, shape, cell) for cell, colour, shape in shapes]
    pixels = picture.clean(Shapes(tuple(things)))
    for cell, (colour, what) in cells.items():
        if what.isdecimal():
            mask = figure(int(what))
            top, left = (cell // SIDE) * CELL, (cell % SIDE) * CELL + 3
            part = pixels[top : top + mask.shape[0], left : left + mask.shape[1]]
            part[mask] = picture.RGB[colour]
    return pixels


def noisy(cells: Filled, *seeds: int) -> Pixels:
    """(64, 64, 3) uint8 with the sensor's noise of those seeds."""
    rng = np.random.default_rng(seeds)
    noise = NOISE * rng.standard_normal((SIZE, SIZE, 3), np.float32)
    pixels: Pixels = np.clip(clean(cells) + noise, 0, 255).astype(np.uint8)
    return pixels


def render(scene: Scene) -> Pixels:
    """(64, 64, 3) uint8, the same at every call. Noise belongs to the state: it is another one
    after each move."""
    return noisy(filled(scene), scene.noise, scene.moves)
