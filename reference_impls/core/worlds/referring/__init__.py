"""The referring world: an expression that fits one of several shapes, and the box that it means.

What VLM-R1 trains on is referring expressions with boxes (arXiv:2504.07615, section 4.2); answers
are written as there, JSON in tags after a thought. How well a box fits is graded, and half of the
expressions need a second object ("the circle left of the square").

`scene` draws and renders, `text` writes and reads answers, `tasks` ask and judge, `lessons` are
what a base is trained on, `build` trains it on first use, `report` writes its numbers down.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.protocol import Media, Task
from reference_impls.core.worlds.referring import tasks
from reference_impls.core.worlds.referring.scene import (
    GRID,
    Scene,
    check_split,
    draw_scene,
    render,
)

BASE_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Referring(protocol.Conditioned):
    """The world under some levels of its conditions (see `protocol.World`)."""

    name: str = "referring"
    version: int = 1
    probes: tuple[str, ...] = ("name",)
    says: str = "an expression that fits one of several shapes, and the box that it means"

    @property
    def tasks(self) -> Mapping[str, Task[Scene]]:
        every: tuple[Task[Scene], ...] = (tasks.Refer(), tasks.Name())
        return {task.id: task for task in every}

    def draw(self, split: str, count: int, seed: int = 0) -> list[Scene]:
        check_split(split)
        rng = random.Random(f"{self.name}/{self.version}/{split}/{seed}")
        return [draw_scene(rng, split) for _ in range(count)]

    def show(self, scene: Scene) -> Media:
        return Media(images=(Image.fromarray(render(scene)),))

    def alter(self, scene: Scene, rng: random.Random) -> Scene:
        """The object that is meant stands elsewhere, where the expression still fits it alone if
        there is such a place."""
        target = scene.target
        others = [thing for thing in scene.things if thing != target]
        taken = {thing.cell for thing in scene.things}
        free = [replace(target, cell=cell) for cell in range(GRID * GRID) if cell not in taken]
        kept = [moved for moved in free if scene.asked.fitting([*others, moved]) == [moved]]
        moved = rng.choice(kept or free)
        return replace(
            scene, things=tuple(moved if thing == target else thing for thing in scene.things)
        )

    def base(self, seed: int = 0) -> Path:
        """Trained on first use (about two minutes on one core), then kept in the user's cache."""
        from reference_impls.core.worlds.referring.build import FIRST_USE

        return FIRST_USE.get(BASE_SEEDS[seed % len(BASE_SEEDS)])


WORLD = Referring()
