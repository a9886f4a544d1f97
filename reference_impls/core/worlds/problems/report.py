"""Gates of the bases, and their numbers in `docs/lab/problems.md`, out of `bases.json`.

    python -m reference_impls.core.worlds.problems.report --measure mostly:1 --measure half:1

measures bases, by their level of `format` and seed (each is trained first where the cache has
none), and keeps the numbers in `bases.json`; without an option the page alone is written anew. A
test fails where it is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_impls.core.worlds.problems import BASE_SEEDS, WORLD

BASES = Path(__file__).with_name("bases.json")
PAGE = Path(__file__).resolve().parents[4] / "docs" / "lab" / "problems.md"
SHOWN = (
    "accuracy_seen", "accuracy_held_out", "format", "worked", "slips", "sampled", "pass_at_8",
    "always", "worked_seen", "worked_held_out", "hasty",
)  # fmt: skip

Made = Mapping[str, Any]


@dataclass(frozen=True)
class Gate:
    """What a base must be before anything is measured on it: a metric within bounds, in the tasks
    that are named, at the levels that are named."""

    metric: str
    least: float = 0.0
    most: float = 1.0
    levels: tuple[str, ...] = ("mostly", "half", "never")
    tasks: tuple[str, ...] = tuple(WORLD.tasks)


GATES = (
    Gate("parse", 0.98),
    Gate("accuracy_seen", 0.3, 0.65),
    Gate("worked_seen", 0.75),
    Gate("hasty", most=0.6),
    Gate("pass_at_8", 0.85),
    Gate("always", most=0.2),
    Gate("format", 0.65, 0.95, levels=("mostly",)),
    Gate("format", 0.35, 0.7, levels=("half",)),
    Gate("format", most=0.0, levels=("never",)),
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tasks() -> str:
    """The tasks as the world has them, with an example of each."""
    scene = WORLD.draw("test", 1)[0]
    rows = []
    for task in WORLD.tasks.values():
        item = task.items([scene])[0]
        asked = item.prompt[-1].text.replace("<image> ", "")
        rows.append([f"`{task.id}`", task.says, f"`{asked}`", f"`{item.truth}`"])
    return table(["task", "what", "asked", "a right answer"], rows)


def conditions() -> str:
    rows = [
        [
            f"`{condition.id}`",
            condition.says,
            ", ".join(
                f"**{level}**" if level == condition.default else level
                for level in condition.levels
            ),
        ]
        for condition in WORLD.conditions.values()
    ]
    return table(["condition", "what it sets", "levels (bold: default)"], rows)


def within(gate: Gate, value: float) -> bool:
    return gate.least <= value <= gate.most


def bounds(gate: Gate) -> str:
    if gate.least == gate.most:
        return f"{gate.least:g}"
    if gate.least > 0 and gate.most < 1:
        return f"{gate.least:g} to {gate.most:g}"
    return f">= {gate.least:g}" if gate.least > 0 else f"<= {gate.most:g}"


def gates(bases: Sequence[Made]) -> str:
    """One row per gate and level: least and greatest number over bases and tasks, and how many
    reach the gate."""
    rows = []
    for gate in GATES:
        for level in gate.levels:
            numbers = [
                base["test"][task][gate.metric]
                for base in bases
                if base["format"] == level
                for task in gate.tasks
            ]
            if numbers:
                reached = sum(within(gate, number) for number in numbers)
                shown = [f"{least:.3f}" if within(gate, least) else f"**{least:.3f}**"
                         for least in (min(numbers), max(numbers))]  # fmt: skip
                rows.append([f"`{gate.metric}`", level, bounds(gate), *shown,
                             f"{reached} of {len(numbers)}"])  # fmt: skip
    return table(["gate", "format", "bound", "least", "greatest", "reached"], rows)


def numbers(bases: Sequence[Made]) -> str:
    """Means over the bases of the default level that were measured, and what all took."""
    default = WORLD.conditions["format"].default
    own = [base for base in bases if base["format"] == default]
    if not own:
        return ""
    rows = [
        [f"`{metric}`"]
        + [f"{sum(b['test'][task][metric] for b in own) / len(own):.2f}" for task in WORLD.tasks]
        for metric in SHOWN
    ]
    seconds = [base["cpu_seconds"] for base in bases]
    counts = Counter(base["format"] for base in bases)
    which = ", ".join(f"{count} at `{level}`" for level, count in counts.items())
    cost = (
        f"Measured bases: {which}. Training took {min(seconds):.0f} to {max(seconds):.0f} "
        "CPU-seconds on a busy machine."
    )
    return table([f"mean of {len(own)}", *WORLD.tasks], rows) + f"\n\n{cost}"


def measured(level: str, seed: int) -> dict[str, Any]:
    """The numbers of a base, with its level, seed and cost."""
    from reference_impls.core.model.first_use import MADE
    from reference_impls.core.worlds.problems import build

    folder = build.first_use(level).get(seed)
    made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    return {
        "format": level,
        "seed": seed,
        "steps": made["recipe"]["steps"],
        "cpu_seconds": made["cpu_seconds"],
        "test": build.measured(folder),
    }


def known() -> list[Made]:
    """What `bases.json` holds."""
    found: list[Made] = json.loads(BASES.read_text(encoding="utf-8")) if BASES.is_file() else []
    return found


def filled(page: str) -> str:
    """The page with every `<!-- problems:NAME -->` part written anew."""
    bases = known()
    parts = {
        "tasks": tasks(),
        "conditions": conditions(),
        "gates": gates(bases),
        "numbers": numbers(bases),
    }

    def part(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- problems:{name} -->\n{parts[name]}\n<!-- /problems:{name} -->"

    return re.sub(r"<!-- problems:(\w+) -->.*?<!-- /problems:\1 -->", part, page, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the numbers of docs/lab/problems.md.")
    every = [f"{level}:{seed}" for level in WORLD.conditions["format"].levels
             for seed in BASE_SEEDS]  # fmt: skip
    parser.add_argument(
        "--measure", action="append", default=[], choices=every, metavar="LEVEL:SEED",
        help="measure this base first; may be given again",
    )  # fmt: skip
    bases = {(base["format"], base["seed"]): base for base in known()}
    for name in parser.parse_args().measure:
        level, seed = name.split(":")
        bases[level, int(seed)] = measured(level, int(seed))
    if bases:
        ordered = [bases[key] for key in sorted(bases)]
        BASES.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
