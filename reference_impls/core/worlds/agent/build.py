"""How a base of this world is trained, and what it reaches.

    python -m reference_impls.core.worlds.agent.build --seed 1

trains it where it is not in the cache yet, and prints every metric of every game, with thoughts and
without, as JSON; `--write` keeps the numbers in `bases.json`, which the page is made from.

A base begins with one of the scenes world, which sees shapes and knows their places already. From
nothing, in the same time, the grid was read by chance; without boards of random figures, the
numbers of the line, too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from reference_impls.core.model import base
from reference_impls.core.model.first_use import MADE, FirstUse
from reference_impls.core.worlds.agent import WORLD, lessons, picture, text
from reference_impls.core.worlds.agent.games import GAMES
from reference_impls.core.worlds.agent.report import NUMBERS
from reference_impls.core.worlds.report import keep
from reference_impls.core.worlds.scenes import BASES

FIRST_USE = FirstUse(
    world=WORLD.name,
    words=text.WORDS,
    size=base.Size(image=picture.SIZE, patch=picture.CELL, positions=512),
    recipe=base.Recipe(steps=900),
    page=lessons.page,
    code=tuple(
        f"worlds/{name}.py"
        for name in (
            "agent/games",
            "agent/picture",
            "agent/text",
            "agent/lessons",
            "scenes/scene",
            "scenes/picture",
            "scenes/text",
        )
    ),
    command="python -m reference_impls.core.worlds.agent.build",
    start=lambda seed: BASES / str(seed),
)


def measured(folder: Path) -> dict[str, dict[str, float]]:
    """Every metric of greedy answers and episodes, by game and by the answer asked for."""
    from reference_impls.core.measure import behaviour
    from reference_impls.core.model.load import load
    from reference_impls.core.model.policy import Policy

    policy, found = Policy(*load(folder)), {}
    for game in GAMES:
        for answer in ("thought", "action"):
            world = WORLD.under({"game": game, "answer": answer})
            for task in world.tasks.values():
                numbers = behaviour(policy, world, task, "test")
                found[f"{game}, {answer}"] = {k: round(v, 4) for k, v in numbers.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a base of the agent world.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="keep the numbers for the page")
    options = parser.parse_args()
    folder = FIRST_USE.get(options.seed)
    made: dict[str, Any] = json.loads((folder / MADE).read_text(encoding="utf-8"))
    numbers = measured(folder)
    print(json.dumps({"folder": str(folder), "made": made, "test": numbers}, indent=1))
    if options.write:
        from reference_impls.core.measure import EPISODES, SCENES

        keep(NUMBERS, options.seed, made, {"scenes": SCENES, "episodes": EPISODES, **numbers})


if __name__ == "__main__":
    main()
