"""The numbers of the bases in `docs/lab/scenes.md`, from each base's `made.json`.

    python -m reference_impls.core.worlds.scenes.report

writes the tables between their markers anew; a test fails where they are out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reference_impls.core.worlds.scenes import BASE_SEEDS, BASES, WORLD

PAGE = Path(__file__).resolve().parents[4] / "docs" / "lab" / "scenes.md"
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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bounds(gate: Mapping[str, float]) -> str:
    if gate["least"] > 0 and gate["most"] < 1:
        return f"{gate['least']:g} to {gate['most']:g}"
    return f">= {gate['least']:g}" if gate["least"] > 0 else f"<= {gate['most']:g}"


def gates(bases: Sequence[Made]) -> str:
    """One row per gate; a number that does not reach its gate is bold."""
    rows = []
    for place, gate in enumerate(bases[0]["gates"] if bases else ()):
        numbers = [base["gates"][place] for base in bases]
        cells = [f"{n['value']:.3f}" if n["reached"] else f"**{n['value']:.3f}**" for n in numbers]
        rows.append([f"{gate['task']}: `{gate['metric']}`", bounds(gate), *cells])
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


def filled(page: str) -> str:
    """The page with every `<!-- scenes:NAME -->` part written anew."""
    bases = made()
    parts = {
        "tasks": tasks(),
        "conditions": conditions(),
        "gates": gates(bases),
        "numbers": numbers(bases),
        "builds": builds(bases),
    }

    def part(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- scenes:{name} -->\n{parts[name]}\n<!-- /scenes:{name} -->"

    return re.sub(r"<!-- scenes:(\w+) -->.*?<!-- /scenes:\1 -->", part, page, flags=re.S)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
