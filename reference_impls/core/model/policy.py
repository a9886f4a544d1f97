"""A model that answers: what a data step is given as `policy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from reference_impls.core.model.encode import Encoder, Messages
from reference_impls.core.model.generation import generate


@dataclass
class Policy:
    """Model and processor with a stream of sampling seeds: the same seed gives the same answers.

    An `Encoder` may be given in place of its processor, and is then used as it is."""

    model: Any
    processor: Any
    seed: int = 0
    draws: int = 0
    encoder: Encoder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = self.processor
        self.encoder = given if isinstance(given, Encoder) else Encoder(given)
        self.processor = self.encoder.processor

    def answer(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        temperature: float | None = None,
        max_new_tokens: int = 48,
    ) -> list[str]:
        """One answer per prompt; greedy unless a temperature is given, then new at every call."""
        if temperature is not None:
            self.draws += 1
        return generate(
            self.model, self.encoder, prompts, images, temperature=temperature,
            max_new_tokens=max_new_tokens, seed=1000 * self.seed + self.draws,
        )  # fmt: skip
