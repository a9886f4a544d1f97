"""Boxes: how much two overlap, and the average precision of a set of them. Pure numbers.

A box is (x1, y1, x2, y2), x to the right and y down, in any unit.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from reference_impls.core.data.rules import listed_json

Box = Sequence[float]
Labelled = tuple[str, Box]

THRESHOLDS = tuple(0.5 + step * ((0.95 - 0.5) / 9) for step in range(10))
"""Overlaps from which on COCO counts a box as found: .5, .55, ... .95."""
RECALLS = tuple(step * 0.01 for step in range(101))
"""Recalls at which COCO reads off precision."""
MOST = 100
"""Boxes per label that COCO looks at."""
LARGEST = 1e15
"""Of a coordinate; a box with a larger one is none."""


def numbers_of(value: Any) -> list[float] | None:
    """The four numbers of a box, where a value is a list of these; None elsewhere."""
    if not (isinstance(value, list) and len(value) == 4):
        return None
    if not all(type(n) in (int, float) and abs(n) <= LARGEST for n in value):
        return None
    return [float(n) for n in value]


def one_box(text: str) -> list[float]:
    """The box of a text that is nothing else, `[x1, y1, x2, y2]`. Raises ValueError."""
    try:
        box = numbers_of(json.loads(text))
    except (ValueError, RecursionError):
        box = None
    if box is None:
        raise ValueError(f"{text[:60]!r} is not a box, which is written [x1, y1, x2, y2]")
    return box


def one_detection(text: str) -> list[Any]:
    """What a true answer lists: entries with box and label in a block of JSON, nothing for `None`.

    Raises ValueError for any other text, and for a list of which no entry has both.
    """
    if text.strip() == "None":
        return []
    listed = listed_json(text)
    if "```json" not in text or (listed and not labelled(listed)):
        raise ValueError(
            f"{text[:60]!r} is not a detection, which is `None` or a block ```json of a list of "
            '{"bbox_2d": [x1, y1, x2, y2], "label": ...}'
        )
    return listed


def area(box: Box) -> float:
    """0 for a box whose corners are in the wrong order, or with what is not a number or too large
    (`LARGEST`)."""
    if not all(abs(number) <= LARGEST for number in box):
        return 0.0
    x1, y1, x2, y2 = box
    return max(0.0, x2 - x1) * max(0.0, y2 - y1)


def iou(one: Box, other: Box, pixel: float = 0.0) -> float:
    """Intersection over union of two boxes, 0 to 1; 0 where either has no area.

    An overlap that is no wider or no higher than `pixel` counts as none.
    """
    first, second = area(one), area(other)
    if not first or not second:
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= pixel or height <= pixel or width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return min(1.0, shared / (first + second - shared))


def labelled(entries: Sequence[Any]) -> list[Labelled]:
    """(label, box) of the entries that have both, as Qwen2.5-VL writes detections:
    `{"bbox_2d": [x1, y1, x2, y2], "label": "a dog"}`. Others are left out; what stands behind the
    four numbers of a box, such as a confidence, is not read."""
    found: list[Labelled] = []
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        label: Any = entry.get("label")
        given = entry.get("bbox_2d")
        box = numbers_of(given[:4]) if isinstance(given, list) else None
        if isinstance(label, str) and box is not None:
            found.append((label, box))
    return found


def _found(overlaps: Sequence[Sequence[float]], threshold: float) -> list[bool]:
    """Whether each box finds one that no earlier box has found: the one it overlaps most.

    overlaps: of each box, in order, with each true one.
    """
    free = list(range(len(overlaps[0]))) if overlaps else []
    found = []
    for values in overlaps:
        best, taken = threshold, -1
        for number in free:
            if values[number] >= best:
                best, taken = values[number], number
        if taken >= 0:
            free.remove(taken)
        found.append(taken >= 0)
    return found


def _average_precision(found: Sequence[bool], count: int) -> float:
    """Mean over `RECALLS` of the best precision at that recall or above; `count` are to be found.

    Boxes of equal confidence are taken in their order.
    """
    recall: list[float] = []
    precision: list[float] = []
    hits = 0
    for number, hit in enumerate(found, 1):
        hits += hit
        recall.append(hits / count)
        precision.append(hits / number)
    for number in range(len(precision) - 1, 0, -1):
        precision[number - 1] = max(precision[number - 1], precision[number])
    places = [bisect_left(recall, wanted) for wanted in RECALLS]
    return sum(precision[place] for place in places if place < len(precision)) / len(RECALLS)


def mean_average_precision(
    predicted: Sequence[Labelled],
    true: Sequence[Labelled],
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """COCO's mean average precision of one picture, every box with the same confidence.

    The mean over labels of `true` and over thresholds (Lin et al. 2014, arXiv:1405.0312, section
    5.2 and the authors' evaluation code). A label that is not in `true` costs nothing. 0 where
    nothing is true.
    """
    labels = list(dict.fromkeys(label for label, _ in true))
    values = []
    for label in labels:
        there = [box for name, box in true if name == label]
        given = [box for name, box in predicted if name == label][:MOST]
        overlaps = [[iou(box, true_one) for true_one in there] for box in given]
        for threshold in thresholds:
            reached = min(threshold, 1 - 1e-10)
            values.append(_average_precision(_found(overlaps, reached), len(there)))
    return sum(values) / len(values) if values else 0.0


def whole_numbers(found: re.Match[str] | None) -> list[int] | None:
    """What the groups of a match say; None without a match, or with a number of over 18 digits,
    zeros before it aside: Python itself refuses to read thousands of them."""
    digits = [group.lstrip("0") or "0" for group in found.groups()] if found else []
    if not digits or max(map(len, digits)) > 18:
        return None
    return [int(each) for each in digits]
