"""How a base of this world is trained, and what it reaches.

    python -m reference_impls.core.worlds.agent.build --seed 1

trains it where it is not in the cache yet, and prints every metric of every task on held-out
scenes as JSON.

MEASURED
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reference_impls.core.model import base
from reference_impls.core.model.first_use import MADE, FirstUse
from reference_impls.core.worlds.agent import WORLD, lessons, picture, text

HELD_OUT_SCENES = 512
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


def measured(folder: Path, scenes: int = HELD_OUT_SCENES) -> dict[str, dict[str, float]]:
    """Every metric of every task, of greedy answers to scenes of the test split."""
    from reference_impls.core.measure import asked
    from reference_impls.core.model.load import load
    from reference_impls.core.model.policy import Policy

    policy, found = Policy(*load(folder)), {}
    for task in WORLD.tasks.values():
        items, media = asked(WORLD, task, "test", scenes)
        answers = policy.answer_items(items, media, max_new_tokens=task.max_new_tokens)
        found[task.id] = {k: round(v, 4) for k, v in task.metrics(items, answers).items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a base of the agent world.")
    parser.add_argument("--seed", type=int, default=1)
    folder = FIRST_USE.get(parser.parse_args().seed)
    made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    print(json.dumps({"folder": str(folder), "made": made, "test": measured(folder)}, indent=1))


if __name__ == "__main__":
    main()
