"""Ranked full-text search (BM25 with weighted fields), small enough to read.

An index is plain data, so that it can be kept as JSON:
`{"lengths": [float per document], "postings": {word: [document, weight, document, weight, ...]}}`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

# How fast repeated words stop counting, and how far long documents are held back: the usual values.
SATURATION, LENGTH_PENALTY = 1.2, 0.75
CORRECTED = 20
"""So many words of a text are looked up with a typo forgiven, and none that is longer than:"""
LONGEST = 40
_LETTERS = "abcdefghijklmnopqrstuvwxyz-"
_WORD = re.compile(r"\w+(?:-\w+)*")


class Index(TypedDict):
    """See above: a document is the place of its length."""

    lengths: list[float]
    postings: dict[str, list[float]]


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


def index(documents: Iterable[Iterable[tuple[float, str]]]) -> Index:
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


def rank(index: Index, text: str) -> list[tuple[int, float]]:
    """Documents that hold a word of `text`, as (number, score), best first.

    A word that no document holds stands for those it begins (`halluc`), and one that begins none
    for the word that it was meant to be (`corrections`); both count half. Scores are multiplied by
    the share of the words found, so that documents with all of them come first.
    """
    lengths, postings = index["lengths"], index["postings"]
    wanted = list(dict.fromkeys(words(text)))
    meant = corrections(index, text)
    known = list(postings)
    average = sum(lengths) / len(lengths) if lengths else 0.0
    scores: dict[int, float] = {}
    found: dict[int, int] = {}
    for word in wanted:
        pairs = _postings(postings, known, meant.get(word, word), 0.5 if word in meant else 1.0)
        rarity = math.log(1 + (len(lengths) - len(pairs) + 0.5) / (len(pairs) + 0.5))
        for number, weight in pairs.items():
            longer = 1 - LENGTH_PENALTY + LENGTH_PENALTY * lengths[number] / average
            gain = weight * (SATURATION + 1) / (weight + SATURATION * longer)
            scores[number] = scores.get(number, 0.0) + rarity * gain
            found[number] = found.get(number, 0) + 1
    ranked = ((number, score * found[number] / len(wanted)) for number, score in scores.items())
    return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))


def _postings(
    postings: Mapping[str, Sequence[float]], known: Sequence[str], word: str, share: float
) -> dict[int, float]:
    """Document -> weight of a word in it, or of the words that it begins. `known` is sorted."""
    if word in postings:
        flat = postings[word]
        return {int(n): share * w for n, w in zip(flat[::2], flat[1::2], strict=True)}
    merged: dict[int, float] = {}
    for other in _beginning(known, word):
        flat = postings[other]
        for number, weight in zip(flat[::2], flat[1::2], strict=True):
            merged[int(number)] = max(merged.get(int(number), 0.0), weight / 2)
    return merged


def _beginning(known: Sequence[str], word: str) -> Iterator[str]:
    """The known words that a word of three or more letters begins."""
    if len(word) >= 3:
        for place in range(bisect_left(known, word), len(known)):
            if not known[place].startswith(word):
                return
            yield known[place]


def corrections(index: Index, text: str) -> dict[str, str]:
    """Words of a text that no document holds, each with the known word that it was meant to be.

    One letter too many, too few or wrong, or two letters in the wrong order: that is forgiven in
    words of four letters and more, two of them in words of eight and more, and letters in the wrong
    order in three letters, too. Digits are never changed: `7b` is not `8b`. Of several known words
    the one with the fewest changes is meant, then the one that says most.
    """
    postings = index["postings"]
    known = list(postings)
    meant: dict[str, str] = {}
    tried = 0
    for word in dict.fromkeys(words(text)):
        parts = word.split("-")
        if len(parts) > 1 and all(part in postings for part in parts):
            continue  # its parts will be found
        if any(word in other.split("-") for other in meant):
            continue  # it has been put right as a part of that one
        if tried == CORRECTED or word in postings or any(_beginning(known, word)):
            continue
        tried += 1
        found = _nearest(postings, word)
        if found is not None:
            meant[word] = found
    return meant


def _nearest(postings: Mapping[str, Sequence[float]], word: str) -> str | None:
    if not 3 <= len(word) <= LONGEST:
        return None
    swapped = {word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1)}
    steps: list[Iterable[str]] = [swapped]
    if len(word) >= 4:
        steps.append(_one_change(word))
    if len(word) >= 8:
        near = (w for w in postings if abs(len(w) - len(word)) <= 2)
        steps.append(other for other in near if _changes(word, other) <= 2)
    digits = [char for char in word if char.isdigit()]
    for candidates in steps:
        found = [
            other
            for other in candidates
            if other in postings and [char for char in other if char.isdigit()] == digits
        ]
        if found:
            return min(found, key=lambda other: (-sum(postings[other][1::2]), other))
    return None


def _one_change(word: str) -> Iterator[str]:
    """What one letter more, one less, or another one makes of a word."""
    for at in range(len(word) + 1):
        before, after = word[:at], word[at:]
        for letter in _LETTERS:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]
        if after:
            yield before + after[1:]


def _changes(one: str, other: str) -> int:
    """Letters to put in, take out, replace or swap with the next, at least; 3 for more than 2."""
    if len(set(one) ^ set(other)) > 4:  # a change touches two letters at most
        return 3
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, wanted in enumerate(other, 1):
            least = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                least = min(least, before[column - 2] + 1)
            line.append(least)
        if min(line) > 2:
            return 3
        before, last = last, line
    return last[-1]
