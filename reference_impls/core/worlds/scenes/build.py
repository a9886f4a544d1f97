"""Makes a base of this world and measures its gates.

    python -m reference_impls.core.worlds.scenes.build --seed 1

trains on one thread, writes `bases/1/` and, beside the weights, `made.json`: the command, versions,
first losses, and every number of every task on held-out scenes. `--gates-only` measures a base that
is there.

A base first learns to see, then to speak. How long it takes before anything is seen differs much
between seeds, so that all bases begin with the same eyes (kept in the user's cache), and each
learns to speak on its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from reference_impls.core import cache
from reference_impls.core.model import base
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.generation import generate
from reference_impls.core.model.load import load
from reference_impls.core.worlds.protocol import Item, Page, conversation, images_shown
from reference_impls.core.worlds.report import Gate
from reference_impls.core.worlds.scenes import BASES, WORLD, lessons, picture, text
from reference_impls.core.worlds.scenes.scene import Scene

SIZE = base.Size(image=picture.SIZE, patch=picture.CELL)
SEEING = base.Recipe(steps=9000)
SEEN = 3780  # steps of it that are walked: rates stay high, which it takes to begin to see
SPEAKING = base.Recipe(steps=3800, rate=1.2e-3, matrix_rate=3.6e-3)
FINISHING = base.Recipe(steps=1600, rate=6e-4, matrix_rate=1.8e-3)
FINISHED = 100  # added to a base's seed: pages of its last part are others than of the second
EYES = 1  # the seed of what all bases see with
HELD_OUT_SCENES = 1024


GATES = (
    *(Gate(task, "format" if task == "count" else "parse", 0.98) for task in WORLD.tasks),
    Gate("presence", "no_random", 0.8),
    Gate("presence", "no_suggested", most=0.6),
    Gate("describe", "recall_plain", 0.9),
    Gate("describe", "chair_i", 0.1, 0.15),
)


def answers(
    model: Any, encoder: Encoder, items: Sequence[Item[Scene]], max_new_tokens: int
) -> list[str]:
    """Greedy answers."""
    pictures = [WORLD.show(i.scene).images if images_shown(i.prompt) else () for i in items]
    prompts = [conversation(item.prompt) for item in items]
    return generate(model, encoder, prompts, pictures, max_new_tokens=max_new_tokens)


def measure(model: Any, encoder: Encoder, scenes: Sequence[Scene]) -> dict[str, dict[str, float]]:
    """Every metric of every task."""
    numbers = {}
    for task in WORLD.tasks.values():
        items = task.items(scenes)
        said = answers(model, encoder, items, task.max_new_tokens)
        numbers[task.id] = {k: round(v, 4) for k, v in task.metrics(items, said).items()}
    return numbers


def gate_report(numbers: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """One line per gate: its bounds, the number, and whether it is reached."""
    return [
        {
            "task": gate.task,
            "metric": gate.metric,
            "least": gate.least,
            "most": gate.most,
            "value": numbers[gate.task][gate.metric],
            "reached": gate.reached(numbers[gate.task][gate.metric]),
        }
        for gate in GATES
    ]


def told(steps: int) -> Callable[[int, float, Any], None]:
    """A report of a training: its smoothed loss every 100 steps."""
    start = time.process_time()
    smooth = 0.0

    def report(step: int, loss: float, trained: Any) -> None:
        nonlocal smooth
        smooth = loss if step == 1 else 0.97 * smooth + 0.03 * loss
        if step % 100 == 0:
            seconds = time.process_time() - start
            print(f"{step}/{steps} loss {smooth:.2f} {seconds:.0f} s", flush=True)

    return report


def seeing(rng: random.Random, progress: float) -> Page:
    """Pages of the first part."""
    return lessons.page(rng, 0.0)


def speaking(rng: random.Random, progress: float) -> Page:
    """Pages of the second part."""
    return lessons.page(rng, lessons.LOOKING_UNTIL + progress * (1 - lessons.LOOKING_UNTIL))


def finishing(rng: random.Random, progress: float) -> Page:
    """Pages of the last part: the text with all of its habits."""
    return lessons.page(rng, 1.0)


def eyes() -> Path:
    """The folder of what all bases begin with; trained where the cache has none."""

    def train(folder: Path) -> None:
        torch.manual_seed(EYES)
        model, processor = base.build(text.WORDS, SIZE)
        began = time.process_time()
        losses = base.train(
            model, processor, SIZE, seeing, SEEING, seed=EYES, report=told(SEEN), stop_after=SEEN
        )
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        known = {
            "first_losses": [round(loss, 4) for loss in losses[:10]],
            "last_loss": round(sum(losses[-100:]) / len(losses[-100:]), 4),
            "cpu_seconds": round(time.process_time() - began),
        }
        (folder / "eyes.json").write_text(json.dumps(known))

    parts = {"seed": EYES, "recipe": repr(SEEING), "steps": SEEN, "size": repr(SIZE)}
    code = ("model/base.py", "model/build.py", "worlds/scenes", "worlds/protocol.py")
    return cache.kept_folder("eyes-scenes", parts, code, train)


def make(seed: int, output: Path) -> None:
    """Train a base and write it."""
    torch.set_num_threads(1)
    first = eyes()
    seen = json.loads((first / "eyes.json").read_text())
    model, processor = load(str(first), "cpu", "float32")
    began = time.process_time()
    base.train(model, processor, SIZE, speaking, SPEAKING, seed=seed, report=told(SPEAKING.steps))
    losses = base.train(
        model, processor, SIZE, finishing, FINISHING, seed=FINISHED + seed,
        report=told(FINISHING.steps),
    )  # fmt: skip
    trained_in = round(time.process_time() - began)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    made = {
        "command": f"python -m {__spec__.name} --seed {seed}",
        "world": WORLD.name,
        "world_version": WORLD.version,
        "seed": seed,
        "steps": SEEN + SPEAKING.steps + FINISHING.steps,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cpu_seconds": seen["cpu_seconds"] + trained_in,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "first_losses": seen["first_losses"],
        "seen_with_loss": seen["last_loss"],
        "last_loss": round(sum(losses[-100:]) / len(losses[-100:]), 4),
    }
    (output / "made.json").write_text(json.dumps(made, indent=1) + "\n")


def gates(folder: Path) -> bool:
    """Measure a base's gates and write them into its `made.json`; whether all are reached."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    auto: Any = AutoProcessor
    model.eval()
    processor = auto.from_pretrained(folder)
    numbers = measure(model, Encoder(processor), WORLD.draw("test", HELD_OUT_SCENES))
    made = json.loads((folder / "made.json").read_text())
    made |= {"scenes": HELD_OUT_SCENES, "gates": gate_report(numbers), "metrics": numbers}
    (folder / "made.json").write_text(json.dumps(made, indent=1) + "\n")
    for gate in made["gates"]:
        bounds = f"{gate['least']} to {gate['most']}"
        print(f"{gate['task']} {gate['metric']}: {gate['value']} ({bounds}) "
              f"{'reached' if gate['reached'] else 'NOT REACHED'}")  # fmt: skip
    return all(gate["reached"] for gate in made["gates"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a base of the scenes world.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--gates-only", action="store_true")
    options = parser.parse_args()
    output = options.output or BASES / str(options.seed)
    if not options.gates_only:
        make(options.seed, output)
    raise SystemExit(0 if gates(output) else 1)


if __name__ == "__main__":
    main()
