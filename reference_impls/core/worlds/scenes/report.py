"""The numbers of the bases in `docs/lab/scenes.md`, from each base's `made.json`.

    python -m reference_impls.core.worlds.scenes.report

writes the tables between their markers anew; a test fails where they are out of date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reference_impls.core.worlds import report
from reference_impls.core.worlds.report import Gate, table
from reference_impls.core.worlds.scenes import BASE_SEEDS, BASES, WORLD

PAGE = report.PAGES / "scenes.md"
SHOWN = {
    "describe": (
        "chair_i", "chair_first", "chair_late", "prior_share", "recall_plain", "recall_faint",
        "recall_hidden", "recall_held_out", "f1", "mentions",
    ),
    "presence": (
        "presence", "hit_plain", "hit_faint", "hit_hidden", "no_random", "no_near", "no_suggested",
    ),
    "premise": ("chair_i", "adopted"),
    "dialogue": ("chair_i", "recall"),
    "count": ("accuracy_trained", "accuracy_held_out", "error"),
    "text": ("accuracy",),
}  # fmt: skip

Made = Mapping[str, Any]


def made() -> list[Made]:
    """What is known of each shipped base, in the order of `BASE_SEEDS`."""
    files = [BASES / str(seed) / "made.json" for seed in BASE_SEEDS]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def gates(bases: Sequence[Made]) -> str:
    """One row per gate; a number that does not reach its gate is bold."""
    rows = []
    for place, kept in enumerate(bases[0]["gates"] if bases else ()):
        gate = Gate(**{name: kept[name] for name in ("task", "metric", "least", "most")})
        cells = [gate.shown(base["gates"][place]["value"]) for base in bases]
        rows.append([f"{gate.task}: `{gate.metric}`", gate.bounds, *cells])
    return table(["gate", "bound", *(f"base {base['seed']}" for base in bases)], rows)


def numbers(bases: Sequence[Made]) -> str:
    rows = [
        [task, f"`{metric}`", *(f"{base['metrics'][task][metric]:.3f}" for base in bases)]
        for task, metrics in SHOWN.items()
        for metric in metrics
    ]
    return table(["task", "metric", *(f"base {base['seed']}" for base in bases)], rows)


def builds(bases: Sequence[Made]) -> str:
    rows = [
        [
            str(base["seed"]),
            f"`{base['command']}`",
            f"{base['parameters']:,}",
            f"{base['steps']:,}",
            f"{base['cpu_seconds'] / 60:.0f}",
        ]
        for base in bases
    ]
    return table(["base", "command", "parameters", "steps", "CPU minutes"], rows)


def filled(page: str) -> str:
    """The page with every `<!-- scenes:NAME -->` part written anew."""
    bases = made()
    parts = {
        "tasks": report.tasks(WORLD),
        "conditions": report.conditions(WORLD),
        "gates": gates(bases),
        "numbers": numbers(bases),
        "builds": builds(bases),
    }
    return report.filled(page, WORLD.name, parts)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
