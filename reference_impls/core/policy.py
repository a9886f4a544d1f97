"""A model that answers: what a data step is given as `policy`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from reference_impls.core.generation import generate


@dataclass
class Policy:
    """Model and processor with a stream of sampling seeds: the same seed gives the same answers."""

    model: Any
    processor: Any
    seed: int = 0
    draws: int = 0

    def answer(
        self,
        prompts: list[str],
        images: list[Image.Image],
        temperature: float | None = None,
        max_new_tokens: int = 48,
    ) -> list[str]:
        """One answer per prompt; greedy unless a temperature is given, then new at every call."""
        if temperature is not None:
            self.draws += 1
        return generate(
            self.model, self.processor, prompts, images, temperature=temperature,
            max_new_tokens=max_new_tokens, seed=1000 * self.seed + self.draws,
        )  # fmt: skip
