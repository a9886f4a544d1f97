"""Worlds whose truth is known exactly: one module each, and a draw of scenes from one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

from PIL import Image


@dataclass(frozen=True)
class DrawnWorld:
    """Scenes of one split of a world. What a data step is given as `world`."""

    rules: ModuleType
    split: str
    count: int
    seed: int

    @cached_property
    def scenes(self) -> list:
        return self.rules.scenes(self.split, self.count, self.seed)

    @cached_property
    def images(self) -> list[Image.Image]:
        return [self.rules.render(scene) for scene in self.scenes]

    def rng(self, purpose: str) -> random.Random:
        """A fresh random stream; streams of different purposes are independent."""
        return random.Random(f"{self.rules.NAME}/{self.split}/{self.seed}/{purpose}")
