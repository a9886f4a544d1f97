"""Segments of answers, and the tokens that they consist of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from reference_impls.core.method import Answer
from reference_impls.core.worlds.protocol import Segment

CLAUSE_ENDS = (".", ",", ";", "!", "?")


def parts(text: str, ends: Callable[[str], object]) -> list[tuple[int, int]]:
    """(first word, word after the last) of what words that end something cut a text into, these
    words included."""
    found, start = [], 0
    words = text.split()
    for place, word in enumerate(words, 1):
        if ends(word) or place == len(words):
            found.append((start, place))
            start = place
    return found


def clauses(text: str) -> list[tuple[int, int]]:
    """`parts` between marks of punctuation."""
    return parts(text, lambda word: word.endswith(CLAUSE_ENDS))


def labelled(parts: Sequence[tuple[int, int]], claims: Sequence[Segment]) -> list[int]:
    """Of each part of an answer: 1 where its claims are right, -1 where one is wrong, 0 of none.

    A claim belongs to the part in which it begins.
    """
    labels = []
    for start, stop in parts:
        own = [claim.right for claim in claims if start <= claim.start < stop]
        labels.append(0 if not own else 1 if all(own) else -1)
    return labels


def numbered(answer: Answer, parts: Sequence[tuple[int, int]]) -> list[int]:
    """For each token of an answer the number of its part, from 1; 0 outside of all.

    Parts are words split at blanks. Tokens of the answer's ending belong to none.
    """
    words = [found.span() for found in re.finditer(r"\S+", answer.text)]
    spans = [(words[start][0], words[stop - 1][1]) for start, stop in parts if stop > start]
    numbers = []
    for first, last in answer.spans:
        own = [n for n, (start, stop) in enumerate(spans, 1) if first < stop and last > start]
        numbers.append(own[0] if own else 0)
    return numbers
