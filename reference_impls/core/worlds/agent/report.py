"""Gates of the bases, and their numbers in `docs/lab/agent.md`, out of `bases.json`.

    python -m reference_impls.core.worlds.agent.report

writes the tables between their markers anew; a test fails where they are out of date.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reference_impls.core.worlds import report
from reference_impls.core.worlds.agent import WORLD
from reference_impls.core.worlds.agent.games import GAMES
from reference_impls.core.worlds.report import Gate, known, table

NUMBERS = Path(__file__).with_name("bases.json")
"""What each base reaches, by its seed: `build --write` keeps it."""
PAGE = report.PAGES / "agent.md"
ANSWERS = tuple(WORLD.conditions["answer"].levels)
SHOWN = ("reading", "action_accuracy", "format", "success_rate", "episode_return")
GATES = tuple(
    gate
    for game in GAMES
    for gate in (
        Gate(f"{game}, thought", "reading", 0.9),
        Gate(f"{game}, thought", "format", 0.95),
        Gate(f"{game}, thought", "success_rate", 0.1, 0.7),
    )
)


def gates(bases: Mapping[str, Any]) -> str:
    """One row per gate; a number that does not reach its gate is bold."""
    rows = [
        [gate.task, f"`{gate.metric}`", gate.bounds]
        + [gate.shown(base[gate.task][gate.metric]) for base in bases.values()]
        for gate in GATES
    ]
    return table(["game, answer", "gate", "bound", *(f"base {seed}" for seed in bases)], rows)


def numbers(bases: Mapping[str, Any]) -> str:
    """Every game under both answers: the numbers of all bases, in their order."""
    rows = []
    for game in GAMES:
        for answer in ANSWERS:
            own = [base[f"{game}, {answer}"] for base in bases.values()]
            cells = [", ".join(f"{base[metric]:.2f}" for base in own) for metric in SHOWN]
            if answer == "action":
                cells[SHOWN.index("reading")] = "-"  # nothing is said of the picture
            rows.append([f"{game}, {answer}", *cells])
    seconds = ", ".join(f"{base['cpu_seconds']:.0f}" for base in bases.values())
    cost = f"Bases {', '.join(bases)}. Training took {seconds} CPU-seconds on a busy machine."
    return table(["game, answer", *(f"`{m}`" for m in SHOWN)], rows) + f"\n\n{cost}"


def filled(page: str) -> str:
    """The page with every `<!-- agent:NAME -->` part written anew."""
    bases = known(NUMBERS)
    parts = {
        "gates": gates(bases) if bases else "No base was measured yet.",
        "numbers": numbers(bases) if bases else "",
    }
    return report.filled(page, WORLD.name, parts)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
