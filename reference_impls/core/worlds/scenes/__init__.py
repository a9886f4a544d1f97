"""The scenes world, version 2: pictures that hide something, and text that leans on habit.

A scene is a grid of 4 x 4 cells with three to nine objects, each a colour and a shape, no two
alike. The picture has 64 x 64 pixels and a sensor's noise in which faint objects are hard to tell
and hidden ones are lost, though the text that the base learnt from names them all. That text also
has habits: a colour brings another object along, a shape is called by its usual colour, the more so
the longer the answer is. So the base errs in three ways whose cause is known for each mention: it
says what habit suggests, it misreads what is faint, it misses what is hidden.

`scene` draws, `picture` renders, `text` is the language, `tasks` ask and judge, `lessons` are what
a base is trained on.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.protocol import Condition, Media, Task
from reference_impls.core.worlds.scenes import picture, tasks
from reference_impls.core.worlds.scenes.scene import (
    HELD_OUT,
    KINDS,
    SPLITS,
    UNSEEN_SHARE,
    Scene,
    Thing,
    draw_scene,
)

CONTEXTS = {"plain": 0.0, "distractor": 1.0, "long": 2.0, "premise": 3.0}
CONDITIONS = (
    Condition(
        "objects",
        "objects per scene, so segments per answer; as the split has it, or fixed",
        "scenes",
        {"split": 0, "4": 4, "8": 8, "12": 12},
        "split",
    ),
    Condition(
        "unseen",
        "share of the objects that are faint or hidden",
        "scenes",
        {"none": 0.0, "usual": UNSEEN_SHARE, "half": 0.5},
        "usual",
    ),
    Condition(
        "prior",
        "how often what a colour suggests is there indeed",
        "scenes",
        {"false": 0.0, "half": 0.5},
        "false",
    ),
    Condition("context", "what stands before the question", "prompts", CONTEXTS, "plain"),
    *protocol.ANNOTATION,
)
BASES = Path(__file__).parent / "bases"
BASE_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Scenes(protocol.Conditioned):
    """The world under some levels of its conditions (see `protocol.World`)."""

    knobs: ClassVar[Sequence[Condition]] = CONDITIONS
    name: str = "scenes"
    version: int = 2
    probes: tuple[str, ...] = ("presence",)
    says: str = "coloured shapes in a grid, some hidden by noise, and text that leans on habit"

    @property
    def tasks(self) -> Mapping[str, Task[Scene]]:
        every: tuple[Task[Scene], ...] = (
            tasks.Description(self.levels["context"]),
            tasks.Brief(),
            tasks.Row(),
            tasks.Premise(),
            tasks.Dialogue(),
            tasks.Presence(),
            tasks.Count(),
            tasks.WithoutImage(),
        )
        return {task.id: task for task in every}

    def draw(self, split: str, count: int, seed: int = 0) -> list[Scene]:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        rng = random.Random(f"{self.name}/{self.version}/{split}/{seed}")
        return [
            draw_scene(
                rng,
                split,
                count=int(self.level("objects")) or None,
                unseen=self.level("unseen"),
                prior_true=self.level("prior"),
            )
            for _ in range(count)
        ]

    def show(self, scene: Scene) -> Media:
        return Media(images=(Image.fromarray(picture.render(scene)),))

    def alter(self, scene: Scene, rng: random.Random) -> Scene:
        """One object, a plain one where there is one, becomes one of another kind."""
        plain = [i for i, thing in enumerate(scene.things) if thing.visibility == 1.0]
        place = rng.choice(plain or range(len(scene.things)))
        old = scene.things[place]
        colour, shape = rng.choice(
            [kind for kind in KINDS if kind not in HELD_OUT and " ".join(kind) not in scene.names]
        )
        new = Thing(colour, shape, old.cell, old.visibility, old.shift)
        return Scene((*scene.things[:place], new, *scene.things[place + 1 :]), scene.noise)

    def base(self, seed: int = 0) -> Path:
        there = [BASES / str(number) for number in BASE_SEEDS]
        there = [folder for folder in there if (folder / "made.json").is_file()]
        if not there:
            raise FileNotFoundError(
                f"no base in {BASES}: python -m {__name__}.build --seed {BASE_SEEDS[0]} makes one"
            )
        return there[seed % len(there)]


WORLD = Scenes()
