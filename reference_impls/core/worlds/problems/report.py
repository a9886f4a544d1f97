"""Gates of the bases, and their numbers in `docs/lab/problems.md`, out of `bases.json`.

    python -m reference_impls.core.worlds.problems.report --measure mostly:1 --measure half:1

measures bases, by their level of `format` and seed (each is trained first where the cache has
none), and keeps the numbers in `bases.json`; without an option the page alone is written anew. A
test fails where it is out of date.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from reference_impls.core.worlds import report
from reference_impls.core.worlds.problems import BASE_SEEDS, WORLD

BASES = Path(__file__).with_name("bases.json")
PAGE = report.PAGES / "problems.md"
SHOWN = (
    "accuracy_seen", "accuracy_held_out", "format", "worked", "slips", "sampled", "pass_at_8",
    "always", "worked_seen", "worked_held_out", "hasty",
)  # fmt: skip

Made = Mapping[str, Any]


@dataclass(frozen=True)
class Gate(report.Gate):
    """A gate at some levels of the condition `format`."""

    levels: tuple[str, ...] = ("mostly", "half", "never")


GATES = tuple(
    gate
    for task in WORLD.tasks
    for gate in (
        Gate(task, "parse", 0.98),
        Gate(task, "accuracy_seen", 0.3, 0.65),
        Gate(task, "worked_seen", 0.75),
        Gate(task, "hasty", most=0.6),
        Gate(task, "pass_at_8", 0.85),
        Gate(task, "always", most=0.2),
        Gate(task, "format", 0.65, 0.95, levels=("mostly",)),
        Gate(task, "format", 0.35, 0.7, levels=("half",)),
        Gate(task, "format", most=0.0, levels=("never",)),
    )
)


def gates(bases: Sequence[Made]) -> str:
    """One row per metric and level: least and greatest number over bases and tasks, and how many
    reach the gate."""
    found: dict[tuple[str, str, str], list[tuple[float, Gate]]] = {}
    for gate in GATES:
        for level in gate.levels:
            own = [base["test"][gate.task] for base in bases if base["format"] == level]
            row = found.setdefault((f"`{gate.metric}`", level, gate.bounds), [])
            row += [(numbers[gate.metric], gate) for numbers in own]
    rows, value = [], itemgetter(0)
    for head, numbers in found.items():
        if numbers:
            low, high = min(numbers, key=value), max(numbers, key=value)
            ends = [gate.shown(number) for number, gate in (low, high)]
            reached = sum(gate.reached(number) for number, gate in numbers)
            rows.append([*head, *ends, f"{reached} of {len(numbers)}"])
    return report.table(["gate", "format", "bound", "least", "greatest", "reached"], rows)


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
    return report.table([f"mean of {len(own)}", *WORLD.tasks], rows) + f"\n\n{cost}"


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
        "tasks": report.tasks(WORLD),
        "conditions": report.conditions(WORLD),
        "gates": gates(bases),
        "numbers": numbers(bases),
    }
    return report.filled(page, WORLD.name, parts)


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
