"""How a base of this world is trained, and what it reaches.

    python -m reference_impls.core.worlds.referring.build --seed 1

trains it where it is not in the cache yet, and prints every metric of every task on held-out
scenes as JSON; `--write` keeps the numbers in `bases.json`, which the page is made from.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from reference_impls.core.model import base
from reference_impls.core.model.first_use import MADE, FirstUse
from reference_impls.core.worlds.referring import WORLD, lessons, scene, text
from reference_impls.core.worlds.referring.report import NUMBERS
from reference_impls.core.worlds.report import keep
from reference_impls.core.worlds.scenes import BASES

HELD_OUT_SCENES = 512
TRIES = 8
FIRST_USE = FirstUse(
    world=WORLD.name,
    words=text.WORDS,
    size=base.Size(image=scene.SIZE, patch=scene.CELL),
    recipe=base.Recipe(steps=1300),
    page=lessons.page,
    code=(
        "worlds/referring/scene.py",
        "worlds/referring/text.py",
        "worlds/referring/lessons.py",
        "worlds/scenes/picture.py",
        "worlds/scenes/scene.py",
        "worlds/scenes/text.py",
    ),
    command="python -m reference_impls.core.worlds.referring.build",
    start=lambda seed: BASES / str(seed),
)


def measured(folder: Path, scenes: int = HELD_OUT_SCENES) -> dict[str, dict[str, float]]:
    """Every metric of every task, of greedy answers to scenes of the test split; and under `tries`
    what sampled answers reach: the mean, and the best of 8."""
    from reference_impls.core.measure import asked
    from reference_impls.core.model.load import load
    from reference_impls.core.model.policy import Policy
    from reference_impls.core.worlds.referring.tasks import RIGHT

    policy, found = Policy(*load(str(folder))), {}
    for task in WORLD.tasks.values():
        items, media = asked(WORLD, task, "test", scenes)
        answers = policy.answer_items(items, media, max_new_tokens=task.max_new_tokens)
        found[task.id] = {k: round(v, 4) for k, v in task.metrics(items, answers).items()}
    task = WORLD.tasks["refer"]
    items, media = asked(WORLD, task, "test", scenes)
    right = [[False] * len(items) for _ in range(TRIES)]
    for number in range(TRIES):
        answers = policy.answer_items(items, media, 1.0, task.max_new_tokens)
        right[number] = [task.score(i, a) > RIGHT for i, a in zip(items, answers, strict=True)]
    found["tries"] = {
        "accuracy": round(sum(map(sum, right)) / (TRIES * len(items)), 4),
        f"pass_at_{TRIES}": round(sum(map(any, zip(*right, strict=True))) / len(items), 4),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a base of the referring world.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="keep the numbers for the page")
    options = parser.parse_args()
    folder = FIRST_USE.get(options.seed)
    made: dict[str, Any] = json.loads((folder / MADE).read_text(encoding="utf-8"))
    numbers = measured(folder)
    print(json.dumps({"folder": str(folder), "made": made, "test": numbers}, indent=1))
    if options.write:
        keep(NUMBERS, options.seed, made, {"scenes": HELD_OUT_SCENES, **numbers})


if __name__ == "__main__":
    main()
