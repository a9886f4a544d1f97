"""What the lab's pages of worlds share: gates of bases, tables, and parts that are written anew.

A world's own `report` makes the parts out of its numbers; a test fails where a page is out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_impls.core.worlds.protocol import World

PAGES = Path(__file__).resolve().parents[3] / "docs" / "lab"


@dataclass(frozen=True)
class Gate:
    """What a base must be before anything is measured on it: a metric of a task within bounds."""

    task: str
    metric: str
    least: float = 0.0
    most: float = 1.0

    def reached(self, value: float) -> bool:
        return self.least <= value <= self.most

    def shown(self, value: float) -> str:
        """The number, bold where it does not reach the gate."""
        return f"{value:.3f}" if self.reached(value) else f"**{value:.3f}**"

    @property
    def bounds(self) -> str:
        if self.least == self.most:
            return f"{self.least:g}"
        if self.least > 0 and self.most < 1:
            return f"{self.least:g} to {self.most:g}"
        return f">= {self.least:g}" if self.least > 0 else f"<= {self.most:g}"


def known(numbers: Path) -> dict[str, Any]:
    """What a file holds of each base, by its seed; nothing where there is no file."""
    if not numbers.is_file():
        return {}
    found: dict[str, Any] = json.loads(numbers.read_text(encoding="utf-8"))
    return found


def keep(numbers: Path, seed: int, made: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
    """Write down how a base was made, its cost and its numbers, in place of what was there."""
    own = {key: made[key] for key in ("command", "recipe", "cpu_seconds")} | dict(measured)
    every = dict(sorted({**known(numbers), str(seed): own}.items()))
    numbers.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tasks(world: World[Any]) -> str:
    """The tasks as the world has them, with an example of each."""
    scene = world.draw("test", 1)[0]
    rows = []
    for task in world.tasks.values():
        item = task.items([scene])[0]
        asked = item.prompt[-1].text.replace("<image> ", "")
        rows.append([f"`{task.id}`", task.says, f"`{asked}`", f"`{item.truth}`"])
    return table(["task", "what", "asked", "a right answer"], rows)


def conditions(world: World[Any]) -> str:
    """The conditions as the world has them, the default level bold."""
    rows = []
    for condition in world.conditions.values():
        levels = ", ".join(
            f"**{level}**" if level == condition.default else level for level in condition.levels
        )
        rows.append([f"`{condition.id}`", condition.says, levels])
    return table(["condition", "what it sets", "levels (bold: default)"], rows)


def filled(page: str, world: str, parts: Mapping[str, str]) -> str:
    """The page with every `<!-- WORLD:NAME -->` part written anew.

    Raises KeyError for a part that is not given.
    """

    def part(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- {world}:{name} -->\n{parts[name]}\n<!-- /{world}:{name} -->"

    marked = rf"<!-- {world}:(\w+) -->.*?<!-- /{world}:\1 -->"
    return re.sub(marked, part, page, flags=re.S)
