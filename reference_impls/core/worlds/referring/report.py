"""The numbers of the bases in `docs/lab/referring.md`, from `bases.json`.

    python -m reference_impls.core.worlds.referring.report

writes the tables between their markers anew; a test fails where they are out of date.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reference_impls.core.worlds import report
from reference_impls.core.worlds.report import Gate, known, table

NUMBERS = Path(__file__).with_name("bases.json")
"""What each base reaches, by its seed: `build --write` keeps it."""
PAGE = report.PAGES / "referring.md"


GATES = (
    Gate("refer", "parse", 0.95),
    Gate("refer", "accuracy", 0.3, 0.6),
    Gate("refer", "format", 0.3, 0.9),
    Gate("tries", "pass_at_8", 0.75),
    Gate("name", "accuracy_seen", 0.8),
)
SHOWN = {
    "refer": (
        "iou", "accuracy", "accuracy_attribute", "accuracy_beside", "accuracy_stacked",
        "accuracy_seen", "accuracy_held_out", "exact", "mistaken", "format", "parse", "length",
    ),
    "tries": ("accuracy", "pass_at_8"),
    "name": ("accuracy", "accuracy_seen", "accuracy_held_out"),
}  # fmt: skip


def gates(bases: Mapping[str, Any]) -> str:
    """One row per gate; a number that does not reach its gate is bold."""
    rows = []
    for gate in GATES:
        values = [base[gate.task][gate.metric] for base in bases.values()]
        cells = [gate.shown(value) for value in values]
        rows.append([f"{gate.task}: `{gate.metric}`", gate.bounds, *cells])
    return table(["gate", "bound", *(f"base {seed}" for seed in bases)], rows)


def numbers(bases: Mapping[str, Any]) -> str:
    rows = [
        [task, f"`{metric}`", *(f"{base[task][metric]:.3f}" for base in bases.values())]
        for task, metrics in SHOWN.items()
        for metric in metrics
    ]
    rows.append(
        ["training", "CPU-seconds", *(f"{base['cpu_seconds']:.0f}" for base in bases.values())]
    )
    return table(["task", "metric", *(f"base {seed}" for seed in bases)], rows)


def filled(page: str) -> str:
    """The page with every `<!-- referring:NAME -->` part written anew."""
    bases = known(NUMBERS)
    parts = {"gates": "No base was measured yet.", "numbers": ""}
    if bases:
        parts = {"gates": gates(bases), "numbers": numbers(bases)}
    return report.filled(page, "referring", parts)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
