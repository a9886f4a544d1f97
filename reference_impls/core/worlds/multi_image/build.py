"""How a base of this world is trained, and what it reaches.

    python -m reference_impls.core.worlds.multi_image.build --seed 1

trains it where it is not in the cache yet, and prints every metric of every task on held-out
scenes as JSON.

Measured on seed 1, one thread, 192 test scenes: 227 CPU-seconds on a busy machine. A picture alone
is named with an F1 of .997, one of several with .59 (right in a row .09, in a collage .16, inside
another one .51), and 99 % of the wrong mentions are objects of another picture. Presence: hits
exceed false alarms by .31. In 125 CPU-seconds, with fewer lessons on a page, a picture alone
reached .77 and shapes were still confused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reference_impls.core.model import base
from reference_impls.core.model.first_use import MADE, FirstUse
from reference_impls.core.worlds.multi_image import WORLD, lessons, scene

HELD_OUT_SCENES = 512
FIRST_USE = FirstUse(
    world=WORLD.name,
    words=scene.text.WORDS,
    size=base.Size(image=scene.SIZE, patch=scene.PATCH, positions=512),
    recipe=base.Recipe(steps=1250),
    page=lessons.page,
    code=tuple(
        f"worlds/{name}.py"
        for name in (
            "multi_image/scene",
            "multi_image/lessons",
            "scenes/scene",
            "scenes/picture",
            "scenes/text",
        )
    ),
    command="python -m reference_impls.core.worlds.multi_image.build",
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
    parser = argparse.ArgumentParser(description="Train a base of the multi-image world.")
    parser.add_argument("--seed", type=int, default=1)
    folder = FIRST_USE.get(parser.parse_args().seed)
    made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    print(json.dumps({"folder": str(folder), "made": made, "test": measured(folder)}, indent=1))


if __name__ == "__main__":
    main()
