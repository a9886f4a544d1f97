"""Which of several texts, or of the pictures that they describe, are most alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reference_impls.core.data.rules import word_edits


def nearest(texts: Sequence[str], count: int) -> list[list[int]]:
    """For each text the places of the `count` others that are most like it, the most alike first:
    most words in common, counted as often as they occur. Fewer where there are fewer others."""
    words = [Counter(text.split()) for text in texts]
    found = []
    for place, mine in enumerate(words):
        others = [number for number in range(len(words)) if number != place]
        others.sort(key=lambda number: -sum((mine & words[number]).values()))
        found.append(others[:count])
    return found


def likeness(one: str, other: str) -> float:
    """1 for the same words, 0 for none that can stay where it is: one minus the words to insert,
    delete or replace, as a share of the longer text."""
    longer = max(len(one.split()), len(other.split()))
    return 1 - word_edits(one, other) / longer if longer else 1.0
