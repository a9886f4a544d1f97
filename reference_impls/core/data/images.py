"""What recipes do to pictures: crops, noise, blanks. Pure functions of an image and a stream."""

from __future__ import annotations

import math
import random
from typing import Literal

import numpy as np
from PIL import Image

GREY = (128, 128, 128)


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


def blank(image: Image.Image, colour: tuple[int, int, int] = GREY) -> Image.Image:
    """An image of the same size that shows nothing."""
    return Image.new("RGB", image.size, colour)


Schedule = Literal["linear", "sigmoid"]


def diffusion_kept(step: int, steps: int = 1000, schedule: Schedule = "linear") -> float:
    """Share of the signal's variance that a diffusion leaves after `step` steps.

    The product of 1 - beta_t. linear: DDPM (Ho et al. 2020, section 4), beta_t evenly from 1e-4 to
    0.02. sigmoid: what papers on hallucination blur images with (VCD and its descendants;
    LVUGAI/CHiP@e7f51932:llava/train/train.py#L835-L846), beta_t from 1e-5 to 0.005 along a logistic
    curve from -6 to 6; it leaves 0.75 at step 500, the linear one 0.08. Raises ValueError for a
    step outside of the schedule.
    """
    if not 0 <= step <= steps:
        raise ValueError(f"step {step} is outside of a schedule of {steps} steps")
    kept = 1.0
    for number in range(step):
        place = number / (steps - 1)
        if schedule == "linear":
            kept *= 1 - (0.0001 + (0.02 - 0.0001) * place)
        else:
            kept *= 1 - (1e-5 + (0.005 - 1e-5) / (1 + math.exp(6 - 12 * place)))
    return kept


def diffused(
    image: Image.Image,
    rng: random.Random,
    step: int,
    steps: int = 1000,
    schedule: Schedule = "linear",
) -> Image.Image:
    """The image after `step` steps of forward diffusion, on pixel values scaled to [-1, 1]."""
    kept = diffusion_kept(step, steps, schedule)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 127.5 - 1
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape)
    mixed = math.sqrt(kept) * pixels + math.sqrt(1 - kept) * noise
    return Image.fromarray(np.clip((mixed + 1) * 127.5, 0, 255).round().astype(np.uint8))


def noised(
    image: Image.Image,
    rng: random.Random,
    deviation: float,
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> Image.Image:
    """The image with Gaussian noise (grey levels of 255) on a part of it, clipped to 0 .. 255.

    `box`: left, top, right, bottom as shares of width and height.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64).copy()
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    part = pixels[round(top * height) : round(bottom * height),
                  round(left * width) : round(right * width)]  # fmt: skip
    part += deviation * np.random.default_rng(rng.getrandbits(64)).standard_normal(part.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))
