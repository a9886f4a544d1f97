"""The language of the world: words, prompts, answers, and how a box is read off an answer.

Boxes are written as VLM-R1 and Qwen2.5-VL write them, JSON with pixels: each coordinate is one
word, with its comma or bracket, so that a model of whole words writes JSON.
"""

from __future__ import annotations

import re

from reference_impls.core.worlds.referring.scene import (
    COLOURS,
    SHAPES,
    SIZE,
    SIZES,
    STEP,
    Box,
    Scene,
    Thing,
)
from reference_impls.core.worlds.scenes import text as scenes_text

PIXELS = tuple(range(0, SIZE + 1, STEP))
OPEN, CLOSE = '{"bbox_2d":', "}"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
WORDS = tuple(
    dict.fromkeys(
        (
            *scenes_text.WORDS, OPEN, CLOSE, "box",
            *(f"[{pixel}," for pixel in PIXELS),
            *(f"{pixel}," for pixel in PIXELS),
            *(f"{pixel}]" for pixel in PIXELS),
        )
    )
)  # fmt: skip
"""Those of the scenes world come first, so that a base may begin with one of that world."""


def written(box: Box) -> str:
    """`[8, 16, 24, 32]`"""
    return f"[{', '.join(map(str, box))}]"


def answer(box: Box) -> str:
    """A box in the answer's tags."""
    return f"{TAGS[2]} {OPEN} {written(box)} {CLOSE} {TAGS[3]}"


def thought(scene: Scene) -> str:
    """What is looked for first: the object that the relation is to, or what the target looks like.

    True of the scene, and of use: where the anchor stands decides which object is meant.
    """
    anchor = scene.anchor
    if anchor is None or scene.asked.anchor is None:
        return f"{TAGS[0]} it is a {scene.target.name} . {TAGS[1]}"
    return f"{TAGS[0]} {scene.asked.anchor.words} is at {written(anchor.box)} . {TAGS[1]}"


def worked(scene: Scene) -> str:
    """A right answer with its thought."""
    return f"{thought(scene)} {answer(scene.target.box)}"


def where(expression: str) -> str:
    return f"where is {expression} ?"


def what(box: Box) -> str:
    return f"what is at {written(box)} ?"


def named(thing: Thing) -> str:
    return f"a {thing.name} ."


# --- how answers are read ---------------------------------------------------------------------

_NUMBERS = r"\[([0-9]{1,9}), ?([0-9]{1,9}), ?([0-9]{1,9}), ?([0-9]{1,9})\]"
BOX = re.compile(_NUMBERS)
_WRITTEN = r"\[[0-9]{1,9}, [0-9]{1,9}, [0-9]{1,9}, [0-9]{1,9}\]"
_THOUGHT = (
    rf"(?:it is a (?:{'|'.join(SIZES)}) (?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
    rf"|the (?:(?:{'|'.join((*SIZES, *COLOURS))}) ){{0,2}}(?:{'|'.join(SHAPES)}) is at {_WRITTEN})"
)
FORM = re.compile(
    rf'<think> {_THOUGHT} \. </think> <answer> \{{"bbox_2d": {_WRITTEN} \}} </answer>'
)
NAME = re.compile(rf"a (?:{'|'.join(SIZES)}) (?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)}) \.")


def boxes(text: str) -> list[Box]:
    """Every box of four whole numbers that a text has, in order."""
    found = []
    for match in BOX.finditer(text):
        x1, y1, x2, y2 = map(int, match.groups())
        found.append((x1, y1, x2, y2))
    return found


def answered(text: str) -> Box | None:
    """The first box in the answer's tags; of a text without tags the last box, None without one."""
    start = text.find(TAGS[2])
    if start < 0:
        found = boxes(text)
        return found[-1] if found else None
    found = boxes(text[start:].partition(TAGS[3])[0])
    return found[0] if found else None


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes; 0 for a box without area."""

    def area(left: int, top: int, right: int, bottom: int) -> int:
        return max(0, right - left) * max(0, bottom - top)

    shared = area(
        max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])
    )
    if not shared:
        return 0.0
    return shared / (area(*one) + area(*other) - shared)
