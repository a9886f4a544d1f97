"""Bases that do not ship: trained on first use, then kept in the user's cache by content.

The folder is named after everything that the base depends on, so that a changed world is never
answered with an older base.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from reference_impls.core import cache, provenance
from reference_impls.core.model import base
from reference_impls.core.model.load import load
from reference_impls.core.train.checkpoints import COMPLETE, file_digest
from reference_impls.core.worlds.protocol import Page

MADE = "made.json"
"""What a base was made of, and its losses."""


@dataclass(frozen=True)
class FirstUse:
    """How the bases of a world are trained.

    page: as in `base.train`; what it depends on besides code is bound to it by name, with
    `functools.partial`. code: modules and folders of `core` that pages depend on. command:
    what makes a base by hand, for messages. start: `(seed)` -> the folder of a base of another
    world whose weights it begins with (`take_over`); from nothing, where it is None.
    """

    world: str
    words: Sequence[str]
    size: base.Size
    recipe: base.Recipe
    page: Callable[[Random, float], Page]
    code: tuple[str, ...]
    command: str
    start: Callable[[int], Path] | None = None

    def get(self, seed: int) -> Path:
        """The folder of a base, trained first where it is not there yet.

        Raises FileNotFoundError with the command where it cannot be kept: it would be trained anew
        for each run.
        """
        try:
            cache.folder().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileNotFoundError(
                f"no base of {self.world}, and none can be kept in {cache.folder()} "
                f"({error.strerror}): with XDG_CACHE_HOME on a folder that can be written, "
                f"{self.command} --seed {seed} makes it"
            ) from None
        parts = {
            "seed": seed,
            "size": repr(self.size),
            "recipe": repr(self.recipe),
            "words": list(self.words),
            # What a level of a condition sets: a value of the world, in none of the modules below.
            "page": repr(getattr(self.page, "keywords", {})),
        }
        if self.start is not None:
            parts["start"] = file_digest(self.start(seed) / "model.safetensors")
        code = ("model/base.py", "model/build.py", "model/first_use.py", *self.code)
        return cache.kept_folder(
            f"base-{self.world}-{seed}", parts, code, lambda folder: self._train(seed, folder)
        )

    def ship(self, seed: int, output: Path) -> None:
        """Put a base into `output`, a folder of the package: what other bases begin with, and what
        would take too long on first use."""
        output.mkdir(exist_ok=True)
        for file in self.get(seed).iterdir():
            if file.name != COMPLETE:
                shutil.copy(file, output)

    def _train(self, seed: int, output: Path) -> None:
        from rich.console import Console
        from rich.progress import Progress

        threads, began = torch.get_num_threads(), time.process_time()
        torch.set_num_threads(1)
        try:
            with (
                torch.random.fork_rng(devices=[]),
                Progress(console=Console(stderr=True)) as bar,
            ):
                torch.manual_seed(seed)
                line = bar.add_task(f"base {seed} of {self.world}", total=self.recipe.steps)
                made_model, processor = base.build(self.words, self.size)
                if self.start is not None:
                    take_over(made_model, self.start(seed))

                def report(step: int, loss: float, model: Any) -> None:
                    bar.update(line, completed=step)

                losses = base.train(
                    made_model, processor, self.size, self.page, self.recipe, seed=seed,
                    report=report,
                )  # fmt: skip
        finally:
            torch.set_num_threads(threads)
        made_model.save_pretrained(output)
        processor.save_pretrained(output)
        made = {
            "command": f"{self.command} --seed {seed}",
            "versions": provenance.versions(),
            "size": asdict(self.size),
            "recipe": asdict(self.recipe),
            "cpu_seconds": round(time.process_time() - began, 1),
            "loss": [round(sum(part) / len(part), 3) for part in _tenths(losses)],
        }
        (output / MADE).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


def _tenths(losses: Sequence[float]) -> list[Sequence[float]]:
    size = max(1, -(-len(losses) // 10))
    return [losses[start : start + size] for start in range(0, len(losses), size)]


def take_over(model: Any, folder: Path) -> None:
    """Begin with the weights of another model of the same size, kept in `folder`.

    Its words have to be the first ones of this model's; the others keep what they have. Raises
    ValueError where the sizes differ in anything else.
    """
    own, other = model.state_dict(), load(str(folder))[0].state_dict()
    for name, value in other.items():
        mine = own.get(name)
        if mine is None or mine.shape[1:] != value.shape[1:] or len(mine) < len(value):
            raise ValueError(f"{folder}: {name} is not of the size of this model")
        mine[: len(value)].copy_(value)
