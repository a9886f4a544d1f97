"""The multi-image world: several small pictures, and questions about one of them or across them.

A scene has two to four pictures of one to three coloured shapes. They are shown as MIA-DPO lays
them out (arXiv:2410.17637, figure 4): one image each (`sequence`), tiles of one collage (`grid`),
or one inside the other (`inset`). The text that the base learnt from lets objects of other pictures
mislead a description, so that the cause of an error is known.

`scene` draws and renders, `tasks` ask and judge, `lessons` are what a base is trained on, `build`
trains it on first use.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from PIL import Image

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.multi_image import tasks
from reference_impls.core.worlds.multi_image.scene import (
    KINDS,
    LAYOUTS,
    SPLITS,
    Scene,
    draw_scene,
    render,
)
from reference_impls.core.worlds.protocol import Condition, Media, Task

LAYOUT_OF = dict(enumerate(("", *LAYOUTS)))
CONDITIONS = (
    Condition(
        "layout",
        "how the pictures are shown; mixed draws one for each scene",
        "scenes",
        {"mixed": 0, "sequence": 1, "grid": 2, "inset": 3},
        "mixed",
    ),
    Condition(
        "images",
        "pictures per scene, two to four or fixed; an inset always has two",
        "scenes",
        {"mixed": 0, "2": 2, "3": 3, "4": 4},
        "mixed",
    ),
    *protocol.ANNOTATION,
)
BASE_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class MultiImage(protocol.Conditioned):
    """The world under some levels of its conditions (see `protocol.World`)."""

    knobs: ClassVar[Sequence[Condition]] = CONDITIONS
    name: str = "multi-image"
    version: int = 1
    probes: tuple[str, ...] = ("presence", "single")
    says: str = "several small pictures in a row, in a collage, or one inside the other"

    @property
    def tasks(self) -> Mapping[str, Task[Scene]]:
        every: tuple[Task[Scene], ...] = (
            tasks.Describe(),
            tasks.Presence(),
            tasks.Compare(),
            tasks.Count(),
            tasks.Single(),
        )
        return {task.id: task for task in every}

    def draw(self, split: str, count: int, seed: int = 0) -> list[Scene]:
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        rng = random.Random(f"{self.name}/{self.version}/{split}/{seed}")
        layout, images = LAYOUT_OF[int(self.level("layout"))], int(self.level("images"))
        return [draw_scene(rng, layout=layout, count=images) for _ in range(count)]

    def show(self, scene: Scene) -> Media:
        return Media(images=tuple(Image.fromarray(pixels) for pixels in render(scene)))

    def alter(self, scene: Scene, rng: random.Random) -> Scene:
        """One object of one picture becomes one of another kind."""
        number = rng.randrange(len(scene.pictures))
        things = list(scene.pictures[number])
        place = rng.randrange(len(things))
        kinds = [kind for kind in KINDS if " ".join(kind) not in scene.names(number)]
        colour, shape = rng.choice(kinds)
        things[place] = replace(things[place], colour=colour, shape=shape)
        pictures = list(scene.pictures)
        pictures[number] = tuple(things)
        return replace(scene, pictures=tuple(pictures))

    def base(self, seed: int = 0) -> Path:
        """Trained on first use (about four minutes on one core), then kept in the user's cache."""
        from reference_impls.core.worlds.multi_image.build import FIRST_USE

        return FIRST_USE.get(BASE_SEEDS[seed % len(BASE_SEEDS)])


WORLD = MultiImage()
