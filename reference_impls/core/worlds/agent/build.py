"""How a base of this world is trained, and what it reaches.

    python -m reference_impls.core.worlds.agent.build --seed 1

trains it where it is not in the cache yet, and prints every metric of every game, with thoughts and
without, as JSON.

Measured on seed 1, one thread: 100 CPU-seconds on a busy machine. Of 256 states of the test split
and 128 episodes, with thoughts: number-line is read right always, and half of the episodes succeed
(those whose target is larger); seed 2 does the same. With questions about the games' own pictures
alone, no boards, the numbers of the line were read right by chance (.10) after 95 CPU-seconds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reference_impls.core.model import base
from reference_impls.core.model.first_use import MADE, FirstUse
from reference_impls.core.worlds.agent import WORLD, lessons, picture, text
from reference_impls.core.worlds.agent.games import GAMES

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
        )
    ),
    command="python -m reference_impls.core.worlds.agent.build",
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
    folder = FIRST_USE.get(parser.parse_args().seed)
    made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    print(json.dumps({"folder": str(folder), "made": made, "test": measured(folder)}, indent=1))


if __name__ == "__main__":
    main()
