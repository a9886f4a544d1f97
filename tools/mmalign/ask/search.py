"""Ranked full-text search (BM25 with weighted fields), small enough to read.

An index is plain data, so that it can be kept as JSON:
`{"lengths": [float per document], "postings": {word: [document, weight, document, weight, ...]}}`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping

# How fast repeated words stop counting, and how far long documents are held back: the usual values.
SATURATION, LENGTH_PENALTY = 1.2, 0.75
_WORD = re.compile(r"\w+(?:-\w+)*")


def words(text: str) -> list[str]:
    """Words of a text, case and accents folded; `RLAIF-V` gives `rlaif-v`, `rlaif` and `v`."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    folded = "".join(char for char in folded if not unicodedata.combining(char))
    found = []
    for word in _WORD.findall(folded.replace("_", "-")):
        found.append(word)
        if "-" in word:
            found += word.split("-")
    return found


def index(documents: Iterable[Iterable[tuple[float, str]]]) -> dict:
    """The index of documents, each given as pairs (weight of the field, its text)."""
    lengths: list[float] = []
    postings: dict[str, list[float]] = {}
    for number, fields in enumerate(documents):
        weights: dict[str, float] = {}
        for weight, text in fields:
            for word in words(text):
                weights[word] = weights.get(word, 0) + weight
        lengths.append(round(sum(weights.values()), 3))
        for word, weight in weights.items():
            postings.setdefault(word, []).extend((number, round(weight, 3)))
    return {"lengths": lengths, "postings": dict(sorted(postings.items()))}


def rank(index: Mapping, text: str) -> list[tuple[int, float]]:
    """Documents that hold a word of `text`, as (number, score), best first.

    A word that no document holds stands for those it begins (`halluc`). Scores are multiplied by
    the share of the words found, so that documents with all of them come first.
    """
    lengths, postings = index["lengths"], index["postings"]
    wanted = list(dict.fromkeys(words(text)))
    average = sum(lengths) / len(lengths) if lengths else 0.0
    scores: dict[int, float] = {}
    found: dict[int, int] = {}
    for word in wanted:
        pairs = _postings(postings, word)
        rarity = math.log(1 + (len(lengths) - len(pairs) + 0.5) / (len(pairs) + 0.5))
        for number, weight in pairs.items():
            longer = 1 - LENGTH_PENALTY + LENGTH_PENALTY * lengths[number] / average
            gain = weight * (SATURATION + 1) / (weight + SATURATION * longer)
            scores[number] = scores.get(number, 0.0) + rarity * gain
            found[number] = found.get(number, 0) + 1
    ranked = ((number, score * found[number] / len(wanted)) for number, score in scores.items())
    return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))


def _postings(postings: Mapping, word: str) -> dict[int, float]:
    if word in postings:
        flat = postings[word]
        return dict(zip(flat[::2], flat[1::2], strict=True))
    merged: dict[int, float] = {}
    if len(word) >= 3:
        for other in postings:
            if other.startswith(word):
                flat = postings[other]
                for number, weight in zip(flat[::2], flat[1::2], strict=True):
                    merged[number] = max(merged.get(number, 0.0), weight / 2)
    return merged
