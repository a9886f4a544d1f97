"""A model that answers: what a data step is given as `policy`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from reference_impls.core.model.encode import Encoder, Messages
from reference_impls.core.model.generation import generate
from reference_impls.core.worlds.protocol import Item, Media, conversation

Score = Callable[[Sequence[dict[str, Any]]], Sequence[float]]
"""Rows with `response` (the text of an answer) -> one number each; higher is better."""


@dataclass
class Policy:
    """Model and processor with a stream of sampling seeds: the same seed gives the same answers.

    An `Encoder` may be given in place of its processor, and is then used as it is. With `score`, an
    answer is the best of `candidates` sampled ones, whatever temperature is asked for. `rates` is
    how it ranks answers where it is a reward model; others rank by likelihood. `batch_size`:
    answers that are written together, which is what memory of a large model depends on.
    """

    model: Any
    processor: Any
    seed: int = 0
    draws: int = 0
    score: Score | None = None
    candidates: int = 1
    spread: float = 1.0
    rates: Score | None = None
    batch_size: int = 256
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
        if self.score is not None:
            return self._best(prompts, images, max_new_tokens)
        if temperature is not None:
            self.draws += 1
        return generate(
            self.model, self.encoder, prompts, images, temperature=temperature,
            max_new_tokens=max_new_tokens, seed=1000 * self.seed + self.draws,
            batch_size=self.batch_size,
        )  # fmt: skip

    def selecting(self, score: Score, candidates: int, temperature: float) -> Policy:
        """The same model, whose answer is the best of `candidates` samples by `score`."""
        return replace(
            self, processor=self.encoder, score=score, candidates=candidates, spread=temperature
        )

    def _best(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        max_new_tokens: int,
    ) -> list[str]:
        assert self.score is not None
        plain = replace(self, processor=self.encoder, score=None)
        best: list[tuple[float, str]] = [(float("-inf"), "")] * len(prompts)
        for _ in range(self.candidates):
            answers = plain.answer(prompts, images, self.spread, max_new_tokens)
            rows = [
                {"prompt": prompt, "images": list(shown), "response": answer}
                for prompt, shown, answer in zip(prompts, images, answers, strict=True)
            ]
            for place, value in enumerate(self.score(rows)):
                if value > best[place][0]:
                    best[place] = (float(value), answers[place])
        self.draws = plain.draws
        return [answer for _, answer in best]

    def answer_items(
        self,
        items: Sequence[Item[Any]],
        media: Sequence[Media],
        temperature: float | None = None,
        max_new_tokens: int = 48,
    ) -> list[str]:
        """One answer to each of a world's items."""
        return self.answer(
            [conversation(item.prompt) for item in items],
            [shown.images for shown in media],
            temperature,
            max_new_tokens,
        )

    def continue_items(
        self,
        items: Sequence[Item[Any]],
        images: Sequence[Sequence[Image.Image]],
        begun: Sequence[str],
        temperature: float | None = None,
        max_new_tokens: int = 48,
    ) -> list[str]:
        """Whole answers that begin with the given texts and are continued by the model."""
        if temperature is not None:
            self.draws += 1
        return generate(
            self.model, self.encoder, [conversation(item.prompt) for item in items], images,
            temperature=temperature, max_new_tokens=max_new_tokens,
            seed=1000 * self.seed + self.draws, begun=begun, batch_size=self.batch_size,
        )  # fmt: skip
