"""Situations that a model errs in: a picture that is changed, an answer that is to be gone on with,
something false that stands before the question. What it then says can be a rejected answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from reference_impls.core.data.images import GREY
from reference_impls.core.worlds.protocol import MARKERS, Item, Media

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_LEADING_MARKERS = re.compile(rf"(?:(?:{'|'.join(map(re.escape, MARKERS))})\s*)*")


def with_pictures(
    media: Sequence[Media], change: Callable[[Image.Image], Image.Image]
) -> list[Media]:
    """The media with every picture changed; sound, video and volumes stay."""
    return [replace(each, images=tuple(map(change, each.images))) for each in media]


def sentences(text: str) -> list[str]:
    """A text's sentences, their full stop, question or exclamation mark included."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def cut_off(text: str, count: int) -> str:
    """A text without its last `count` sentences; empty where it has no more than those."""
    return " ".join(sentences(text)[:-count] if count else sentences(text))


def told_before(item: Item[Any], statement: str) -> Item[Any]:
    """The item with a statement in front of its last question, behind the pictures of that turn."""
    last = item.prompt[-1]
    shown = _LEADING_MARKERS.match(last.text)
    place = shown.end() if shown else 0
    turn = replace(last, text=f"{last.text[:place]}{statement} {last.text[place:]}")
    return replace(item, prompt=(*item.prompt[:-1], turn))


def without_what_was_looked_at(
    image: Image.Image, attention: Sequence[float], share: float
) -> Image.Image:
    """The image with the most attended `share` of its parts grey; `attention` is one number per
    part, and the parts form a square. Raises ValueError where they do not."""
    width = math.isqrt(len(attention))
    if width * width != len(attention):
        raise ValueError(f"{len(attention)} parts of an image do not form a square")
    order = sorted(range(len(attention)), key=lambda number: -attention[number])
    covered = image.copy()
    for number in order[: round(share * len(attention))]:
        row, column = divmod(number, width)
        box = [
            round(place * size / width)
            for place, size in zip((column, row, column + 1, row + 1), image.size * 2, strict=True)
        ]
        covered.paste(GREY, (box[0], box[1], box[2], box[3]))
    return covered
