"""How a base of this world is trained, and what it reaches.

    python -m reference_impls.core.worlds.problems.build --seed 1 --format mostly

trains it where it is not in the cache yet, and prints every metric of every task on held-out
scenes as JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

from reference_impls.core.model import base
from reference_impls.core.model.first_use import MADE, FirstUse
from reference_impls.core.worlds.problems import WORLD, lessons, scene, tasks, text

HELD_OUT_SCENES = 512
TRIES = 8
SPEAKING = base.Recipe(steps=700)
COMMAND = "python -m reference_impls.core.worlds.problems.build"
EYES = FirstUse(
    world=f"{WORLD.name}-eyes",
    words=text.WORDS,
    size=base.Size(image=scene.SIZE, patch=scene.PATCH, positions=256),
    recipe=base.Recipe(steps=10_000),
    page=lessons.seeing,
    code=(
        *(f"worlds/problems/{name}.py" for name in ("scene", "text", "lessons")),
        *(f"worlds/scenes/{name}.py" for name in ("scene", "picture")),
        "data/rules.py",
    ),
    command=f"{COMMAND} --eyes",
)
"""What every base begins with: it sees and computes, and has no habits yet."""
SEEN = Path(__file__).with_name("eyes")


def first_use(level: str) -> FirstUse:
    """How the bases at a level of the condition `format` are trained.

    Raises ValueError for a level that does not exist.
    """
    kept = WORLD.under({"format": level}).level("format")
    return replace(
        EYES,
        world=f"{WORLD.name}-{level}",
        recipe=SPEAKING,
        page=partial(lessons.speaking, kept=kept),
        command=f"{COMMAND} --format {level}",
        start=lambda seed: SEEN,
    )


def measured(folder: Path, scenes: int = HELD_OUT_SCENES) -> dict[str, dict[str, float]]:
    """Every metric of every task, of greedy answers to scenes of the test split.

    Besides, of `TRIES` answers that are sampled to each: `sampled`, the share of right ones;
    `pass_at_8`, of questions that one of them answers; `always`, of those that all do;
    `worked_seen`, `worked_held_out`, `hasty`: of worked answers to either half, and of the others,
    the share of right ones.
    """
    from reference_impls.core.measure import asked
    from reference_impls.core.model.load import load
    from reference_impls.core.model.policy import Policy

    policy, found = Policy(*load(folder)), {}
    for task in WORLD.tasks.values():
        items, media = asked(WORLD, task, "test", scenes)
        answers = policy.answer_items(items, media, max_new_tokens=task.max_new_tokens)
        numbers = task.metrics(items, answers)
        points, ways = [], dict[str, list[float]](worked_seen=[], worked_held_out=[], hasty=[])
        for _ in range(TRIES):
            tried = policy.answer_items(items, media, 1.0, task.max_new_tokens)
            points.append([task.score(*pair) for pair in zip(items, tried, strict=True)])
            for item, answer, point in zip(items, tried, points[-1], strict=True):
                half = "seen" if item.kind == tasks.SEEN else "held_out"
                ways[f"worked_{half}" if text.is_worked(answer) else "hasty"].append(point)
        right = [sum(each) for each in zip(*points, strict=True)]
        numbers["sampled"] = sum(right) / (TRIES * len(right))
        numbers["pass_at_8"] = sum(r > 0 for r in right) / len(right)
        numbers |= {way: sum(each) / max(1, len(each)) for way, each in ways.items()}
        numbers["always"] = sum(r == TRIES for r in right) / len(right)
        found[task.id] = {name: round(value, 4) for name, value in numbers.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a base of the problems world.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", default="mostly", choices=WORLD.conditions["format"].levels)
    parser.add_argument("--eyes", action="store_true", help="train what all bases begin with")
    options = parser.parse_args()
    if options.eyes:
        EYES.ship(1, SEEN)
        return
    folder = first_use(options.format).get(options.seed)
    made = json.loads((folder / MADE).read_text(encoding="utf-8"))
    print(json.dumps({"folder": str(folder), "made": made, "test": measured(folder)}, indent=1))


if __name__ == "__main__":
    main()
