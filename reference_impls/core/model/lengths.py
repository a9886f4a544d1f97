"""How many tokens a row takes, without making pixels of every image.

Text is read through `Encoder`, as in training. What images add depends on their sizes alone: it is
measured once for each size (each list of sizes, where a row has several), on blank images, and
remembered. Where text and image meet, a tokenizer may join or split a token otherwise: rows that
come so close to a model's limit that this could matter are encoded as a whole.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from transformers import AutoConfig

from reference_impls.core.model.encode import Encoder, EncodingError, Messages, context_length
from reference_impls.core.model.load import NO_LIMITS, PixelLimits, base_of, load_processor

Size = tuple[int, int]
REMEMBERED = 1 << 16
"""Sizes of images of which the number of tokens is remembered."""
JOINTS = 4
"""Tokens by which a count may be off at each place where text and image meet."""


@dataclass(frozen=True)
class Asked:
    """A row as its length depends on it: messages, sizes (width, height) of images, answers."""

    prompt: Messages
    sizes: tuple[Size, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """Tokens of the images of a row, and of prompt and longest answer together."""

    images: int
    all: int


class Lengths:
    """Lengths of rows as one processor writes them. `limit`: the model's context. `room`: tokens
    that are sampled where a row has no answer."""

    def __init__(self, processor: Any, limit: int | None, room: int = 0) -> None:
        self.processor, self.limit, self.room = processor, limit, room
        self.encoder = Encoder(processor)
        self.image_tokens = functools.lru_cache(REMEMBERED)(self._image_tokens)

    def of(self, rows: Sequence[Asked]) -> list[Taken | EncodingError]:
        """The length of each row, or why it has none."""
        # What an encoder has read it keeps for good.
        self.encoder = Encoder(self.processor)
        try:
            return list(self._together(rows))
        except EncodingError as error:
            if len(rows) == 1:
                return [error]
        middle = len(rows) // 2
        return [*self.of(rows[:middle]), *self.of(rows[middle:])]

    def _together(self, rows: Sequence[Asked]) -> list[Taken]:
        texts = [without_images(row.prompt) for row in rows]
        prompts = self.encoder.prompts([(text, ()) for text in texts])
        asked = [
            (prompt, text, answer)
            for prompt, text, row in zip(prompts, texts, rows, strict=True)
            for answer in row.answers
        ]
        answers = iter(self.encoder.answers(asked))
        taken = []
        for row, prompt in zip(rows, prompts, strict=True):
            longest = max((len(next(answers).ids) for _ in row.answers), default=self.room)
            images = self.image_tokens(row.sizes) if row.sizes else 0
            together = images + len(prompt.ids) + longest
            margin = JOINTS * (1 + len(row.sizes))
            if row.sizes and self.limit is not None and abs(together - self.limit) <= margin:
                together = len(self.encoder.prompt(row.prompt, blanks(row.sizes)).ids) + longest
            taken.append(Taken(images, together))
        return taken

    def _image_tokens(self, sizes: tuple[Size, ...]) -> int:
        asked = [{"role": "user", "content": "a"}]
        bare = self.encoder.prompt(asked)
        return len(self.encoder.prompt(asked, blanks(sizes)).ids) - len(bare.ids)


def blanks(sizes: Sequence[Size]) -> list[Image.Image]:
    """Black images of these sizes."""
    return [Image.new("RGB", size) for size in sizes]


def without_images(messages: Messages) -> list[Mapping[str, Any]]:
    """Messages without their places for images."""
    return [
        message
        if isinstance(message["content"], str)
        else {
            **message,
            "content": [part for part in message["content"] if part.get("type") != "image"],
        }
        for message in messages
    ]


def lengths_for(model: str, limits: PixelLimits = NO_LIMITS, room: int = 0) -> Lengths:
    """Lengths of rows for a checkpoint, of which only processor and configuration are read.

    Raises what `load_processor` raises, CannotLoad among it.
    """
    processor = load_processor(model, limits)
    config = AutoConfig.from_pretrained(base_of(model), trust_remote_code=False)
    return Lengths(processor, context_length(config), room)
