"""What a scene is, and how scenes of a split are drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

GRID = 4
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "cyan")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
KINDS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

# One pair per colour, each shape once or twice, none that a prior suggests. No answer and no
# picture of any training holds them, the base's or a method's. A base sees up to nine objects and
# describes them, but never counts beyond five; a method's scenes hold five at most.
HELD_OUT = frozenset({
    ("red", "star"), ("green", "square"), ("blue", "cross"), ("yellow", "diamond"),
    ("purple", "triangle"), ("orange", "circle"), ("white", "cross"), ("cyan", "star"),
})  # fmt: skip
COUNTS = {"base": (3, 9), "pairs": (3, 5), "validation": (3, 9), "test": (3, 9)}
SPLITS = tuple(COUNTS)
TRAINING = frozenset({"base", "pairs"})

# How much of its contrast an object keeps: plain, faint, hidden by the sensor's noise.
PLAIN, FAINT, HIDDEN = 1.0, 0.3, 0.07
VISIBILITIES = (PLAIN, FAINT, HIDDEN)
UNSEEN_SHARE = 0.3  # of the objects, half faint and half hidden

# The language priors of the base's training text. A colour brings a phantom along; a shape is named
# with its usual colour. How strong: `text.strength`.
PHANTOMS = {
    "red": "blue square",
    "green": "white star",
    "purple": "yellow circle",
    "cyan": "orange cross",
}
USUAL_COLOURS = {"triangle": "yellow", "diamond": "green"}


@dataclass(frozen=True)
class Thing:
    """One object: its cell (0-15, in reading order), contrast, and offset in the cell (pixels)."""

    colour: str
    shape: str
    cell: int
    visibility: float = PLAIN
    shift: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def row(self) -> int:
        return self.cell // GRID


@dataclass(frozen=True)
class Scene:
    """Objects in reading order, no two alike, and the seed of the picture's noise."""

    things: tuple[Thing, ...]
    noise: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)

    def seen(self, sight: float = 0.0) -> tuple[Thing, ...]:
        """The objects of at least that visibility."""
        return tuple(thing for thing in self.things if thing.visibility >= sight)

    def suggested(self) -> tuple[str, ...]:
        """What the priors suggest for this scene and is not in it."""
        names = [PHANTOMS[thing.colour] for thing in self.things if thing.colour in PHANTOMS]
        names += [
            f"{USUAL_COLOURS[thing.shape]} {thing.shape}"
            for thing in self.things
            if thing.shape in USUAL_COLOURS
        ]
        return tuple(name for name in dict.fromkeys(names) if name not in self.names)


def _cells(rng: random.Random, count: int, split: str) -> list[int]:
    """Cells of `count` objects. Half of the scenes are crowded into few rows, those of the base
    into the fewest, so that full rows are seen in scenes of few objects too."""
    if rng.random() < 0.5:
        return sorted(rng.sample(range(GRID * GRID), count))
    fewest = -(-count // GRID)
    rows = rng.sample(range(GRID), fewest if split == "base" else max(2, fewest))
    return sorted(rng.sample([row * GRID + i for row in rows for i in range(GRID)], count))


def draw_scene(
    rng: random.Random,
    split: str = "test",
    *,
    count: int | None = None,
    unseen: float = UNSEEN_SHARE,
    prior_true: float = 0.0,
) -> Scene:
    """A scene of a split.

    `count` fixes the number of objects; `unseen` is the share of objects that are faint or hidden;
    with chance `prior_true` an object's phantom is there indeed, in the place of another object.
    """
    count = count or rng.randint(*COUNTS[split])
    kinds = list(KINDS if split not in TRAINING else [k for k in KINDS if k not in HELD_OUT])
    chosen = rng.sample(kinds, count)
    if prior_true:
        for place in range(count - 1):
            phantom = PHANTOMS.get(chosen[place][0])
            if phantom and rng.random() < prior_true:
                colour, shape = phantom.split()
                if (colour, shape) not in chosen:
                    chosen[place + 1] = (colour, shape)
    weights = (1 - unseen, unseen / 2, unseen / 2)
    things = tuple(
        Thing(
            colour,
            shape,
            cell,
            rng.choices(VISIBILITIES, weights)[0],
            (rng.randint(-1, 1), rng.randint(-1, 1)),
        )
        for (colour, shape), cell in zip(chosen, _cells(rng, count, split), strict=True)
    )
    return Scene(things, rng.getrandbits(32))


def names_of(things: Sequence[Thing]) -> tuple[str, ...]:
    return tuple(thing.name for thing in things)
