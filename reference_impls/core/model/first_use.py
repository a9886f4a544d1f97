"""Bases that do not ship: trained on first use, then kept in the user's cache by content.

The folder is named after everything that the base depends on, so that a changed world is never
answered with an older base.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from reference_impls.core import provenance
from reference_impls.core.model import base
from reference_impls.core.train.checkpoints import digest
from reference_impls.core.worlds.protocol import Page

MADE = "made.json"
"""Written last: what a base was made of, and its losses."""


def cache_folder() -> Path:
    """Where bases are kept between runs: $XDG_CACHE_HOME/mmalign/bases."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return home / "mmalign" / "bases"


@dataclass(frozen=True)
class FirstUse:
    """How the bases of a world are trained.

    page: as in `base.train`. code: modules and folders that pages depend on, besides those of the
    trainer. command: what makes a base by hand, for messages.
    """

    world: str
    words: Sequence[str]
    size: base.Size
    recipe: base.Recipe
    page: Callable[[Random, float], Page]
    code: tuple[Path, ...]
    command: str

    def folder(self, seed: int) -> Path:
        """Where the base of a seed is, or will be."""
        parts = [*self.code, *(provenance.CORE / "model" / f"{n}.py" for n in ("base", "build"))]
        settings = f"{self.size} {self.recipe} {torch.__version__} {list(self.words)}"
        name = f"{provenance.code_digest(parts)}/{settings}"
        return cache_folder() / f"{self.world}-{digest(name)[:16]}" / str(seed)

    def get(self, seed: int) -> Path:
        """The folder of a base, trained first where it is not there yet.

        Raises FileNotFoundError with the command where it cannot be written.
        """
        folder = self.folder(seed)
        if (folder / MADE).is_file():
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{seed}-", dir=folder.parent))
        except OSError as error:
            raise FileNotFoundError(
                f"no base at {folder}, and none can be written there ({error.strerror}): with "
                f"XDG_CACHE_HOME on a folder that can be written, {self.command} makes it"
            ) from None
        try:
            self._train(seed, draft)
            shutil.rmtree(folder, ignore_errors=True)  # what is there has no last file: unfinished
            try:
                draft.rename(folder)
            except OSError:
                if not (folder / MADE).is_file():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

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
