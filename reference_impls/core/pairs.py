"""Preference pairs in TRL's conversational form, and the commonest ways to make them."""

from __future__ import annotations

import random

from PIL import Image


def row(image: Image.Image, prompt: str, chosen: str, rejected: str, **more) -> dict:
    """One pair: columns `images`, `prompt`, `chosen`, `rejected` and whatever a method adds."""
    return {
        "images": [image],
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        **more,
    }


def text(messages: list[dict]) -> str:
    """The words of a conversation's last message."""
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def sampled_pairs(world, policy, annotator, temperature: float = 1.0) -> list[dict]:
    """Two answers of the policy to each image, ordered by the annotator; equal texts are
    dropped."""
    prompts = [world.rules.CAPTION_PROMPT] * len(world.scenes)
    first = policy.answer(prompts, world.images, temperature)
    second = policy.answer(prompts, world.images, temperature)
    return [
        row(image, prompt, *annotator.compare(scene, a, b))
        for scene, image, prompt, a, b in zip(
            world.scenes, world.images, prompts, first, second, strict=True
        )
        if a != b
    ]


def random_resized_crop(
    image: Image.Image, rng: random.Random, scale: tuple[float, float]
) -> Image.Image:
    """A random rectangle that keeps `scale` of the area, blown up to the image's size.

    Aspect ratio 3/4 to 4/3, bilinear: torchvision's RandomResizedCrop, without torchvision.
    """
    width, height = image.size
    area, ratio = rng.uniform(*scale) * width * height, rng.uniform(3 / 4, 4 / 3)
    crop_width = max(1, min(width, round((area * ratio) ** 0.5)))
    crop_height = max(1, min(height, round((area / ratio) ** 0.5)))
    left, top = rng.randint(0, width - crop_width), rng.randint(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
