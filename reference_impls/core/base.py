"""Base models: trained once in a world on text that lies a little, then frozen with the world.

The base of the scenes world ships with the package (`reference_impls/bases/scenes-v1`), so that a
first run trains nothing. `python -m reference_impls.core.base scenes` rebuilds it; `made.json`
beside it says how it was made, and a test walks the first steps of that path again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
from pathlib import Path

import torch

from reference_impls.core import models
from reference_impls.core.generation import encode

SHIPPED = Path(__file__).resolve().parent.parent / "bases"


def train(
    world,
    *,
    steps: int = 2600,
    batch_size: int = 64,
    rate: float = 2e-3,
    seed: int = 1,
    stop_after: int | None = None,
):
    """Train the base of `world` from nothing; (model, processor, loss of each step).

    AdamW, 5 % warm-up, then cosine to zero. Loss on answer tokens only. Some five minutes on two
    cores; `stop_after` ends early on the same path, which is how a test checks the shipped base's.
    """
    from tqdm.auto import tqdm

    torch.manual_seed(seed)
    processor = models.build_processor(world.WORDS, world.IMAGE_SIZE)
    model = models.build_model(processor, world.IMAGE_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    warm_up = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, 1.0, warm_up),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warm_up),
        ],
        [warm_up],
    )
    pool = world.training_examples(20_000, seed)
    rng = random.Random(seed)
    model.train()
    losses = []
    for _ in (bar := tqdm(range(stop_after or steps), desc=f"base of {world.NAME}", unit="step")):
        scenes, prompts, answers = zip(*rng.sample(pool, batch_size), strict=True)
        inputs = encode(processor, list(prompts), [world.render(scene) for scene in scenes])
        answer_inputs = processor.tokenizer(
            [f"{answer} <eos>" for answer in answers], padding=True, padding_side="right",
            add_special_tokens=False, return_tensors="pt",
        )  # fmt: skip
        prompt_ids, answer_ids = inputs["input_ids"], answer_inputs["input_ids"]
        labels = torch.cat([torch.full_like(prompt_ids, -100), answer_ids], 1)
        answer_mask = answer_inputs["attention_mask"]
        labels[:, prompt_ids.shape[1] :][answer_mask == 0] = -100
        loss = model(
            input_ids=torch.cat([prompt_ids, answer_ids], 1),
            attention_mask=torch.cat([inputs["attention_mask"], answer_mask], 1),
            pixel_values=inputs["pixel_values"],
            labels=labels,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{losses[-1]:.3f}")
    return model.eval(), processor, losses


def path(world) -> Path:
    """Folder of the base of a world's frozen version."""
    return SHIPPED / f"{world.NAME}-v{world.VERSION}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the base model of a world.")
    parser.add_argument("world")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    world = importlib.import_module(f"reference_impls.core.worlds.{options.world}")
    model, processor, losses = train(world, steps=options.steps, seed=options.seed)
    output = options.output or path(world)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    made = {
        "command": f"python -m reference_impls.core.base {options.world} --steps {options.steps} "
        f"--seed {options.seed}",
        "world_version": world.VERSION,
        "torch": torch.__version__,
        "first_losses": [round(loss, 4) for loss in losses[:20]],
    }
    (output / "made.json").write_text(json.dumps(made, indent=1) + "\n")
    print(output)


if __name__ == "__main__":
    main()
