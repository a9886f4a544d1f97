"""The problems world: questions whose answer is a number that follows from what is shown.

A scene has two or three kinds of objects in a grid, and two or three bars of a chart; objects, the
chart, or words about the objects are shown. A right answer thinks first, in tags: it lists what is
seen, then computes (DeepSeek-R1's format, arXiv:2501.12948, table 1). Kinds of objects,
combinations of numbers and counts are held out of every training text.

`scene` draws and renders, `text` has the problems and reads answers, `tasks` ask and judge,
`lessons` are what a base is trained on, `build` trains it on first use.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from PIL import Image

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.problems import tasks
from reference_impls.core.worlds.problems.scene import (
    CAUSES,
    MOST_HEIGHT,
    SEEN_KINDS,
    SPLITS,
    Scene,
    draw_scene,
    render,
)
from reference_impls.core.worlds.protocol import Condition, Media, Task

CONDITIONS = (
    Condition(
        "format",
        "how often the base keeps the format: of the colours asked about, the share for which it "
        "does; each level has bases of its own",
        "data",
        {"mostly": 0.75, "half": 0.5, "never": 0.0},
        "mostly",
    ),
    *protocol.ANNOTATION,
)
BASE_SEEDS = (1, 2, 3)
NEW = 0.5  # share of the test split's scenes that are asked something new


@dataclass(frozen=True)
class Problems(protocol.Conditioned):
    """The world under some levels of its conditions (see `protocol.World`)."""

    knobs: ClassVar[Sequence[Condition]] = CONDITIONS
    name: str = "problems"
    version: int = 1
    probes: tuple[str, ...] = ()
    says: str = "problems with one number as answer, about objects, bar charts and words"

    @property
    def tasks(self) -> Mapping[str, Task[Scene]]:
        every = (tasks.COUNT, tasks.ARITHMETIC, tasks.DIAGRAM, tasks.TOLD)
        return {task.id: task for task in every}

    def draw(self, split: str, count: int, seed: int = 0) -> list[Scene]:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        rng = random.Random(f"{self.name}/{self.version}/{split}/{seed}")
        drawn = []
        for _ in range(count):
            new = rng.choice(CAUSES) if split == "test" and rng.random() < NEW else ""
            drawn.append(draw_scene(rng, new))
        return drawn

    def show(self, scene: Scene) -> Media:
        return Media(images=(Image.fromarray(render(scene)),))

    def alter(self, scene: Scene, rng: random.Random) -> Scene:
        """One object becomes one of another kind, of which there stay two or more; in a chart one
        bar is of another height."""
        if scene.chart:
            place = rng.randrange(len(scene.bars))
            bars = list(scene.bars)
            others = [h for h in range(1, MOST_HEIGHT + 1) if h != bars[place].height]
            bars[place] = replace(bars[place], height=rng.choice(others))
            return replace(scene, bars=tuple(bars))
        place = rng.randrange(len(scene.things))
        things = list(scene.things)
        before = things[place]
        left = {(thing.colour, thing.shape) for thing in things if thing is not before}
        kinds = [
            kind
            for kind in SEEN_KINDS
            if kind != (before.colour, before.shape) and len({*left, kind}) > 1
        ]
        colour, shape = rng.choice(kinds)
        things[place] = replace(before, colour=colour, shape=shape)
        return replace(scene, things=tuple(things))

    def base(self, seed: int = 0) -> Path:
        """Trained on first use (some two minutes of a core), then kept in the user's cache."""
        from reference_impls.core.worlds.problems.build import first_use

        return first_use(self.levels["format"]).get(BASE_SEEDS[seed % len(BASE_SEEDS)])


WORLD = Problems()
