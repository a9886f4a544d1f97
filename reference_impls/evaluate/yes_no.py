"""Answers that say yes or no, and how often they are right.

POPE's official rule (RUCAIBox/POPE@3df3ba1b110ecce25696989577fad583b67d4239:evaluate.py#L12-L21)
keeps the first sentence and calls it `no` where it holds the word `No`, `no` or `not`, else `yes`,
an empty answer included. AMBER's (junyangwang0410/AMBER@534babf6bbfcce2e735c26289dedfb21cef3c939:
inference.py#L189-L233) takes the exact words `Yes` and `No` only. Ours departs from the first:

- the word that an answer begins with decides: "Yes, and not a small one." is a yes;
- letters of either case, and `isn't`, `cannot` and their like, deny;
- an answer without any word is neither, and therefore wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from reference_impls.evaluate.benchmark import Metrics, share

Said = Literal["yes", "no", ""]

_SENTENCE = re.compile(r"[.!?\n]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
DENIALS = frozenset({"no", "not", "cannot", "nope", "none"})


def says(answer: str) -> Said:
    """`yes` or `no` where the first sentence of an answer has a word for it; else empty."""
    sentence = next((part for part in _SENTENCE.split(answer) if _WORD.search(part)), "")
    words = [word.casefold().replace("’", "'") for word in _WORD.findall(sentence)]
    if not words:
        return ""
    if words[0] in ("yes", "no"):
        return "yes" if words[0] == "yes" else "no"
    if any(word in DENIALS or word.endswith("n't") for word in words):
        return "no"
    return "yes" if "yes" in words else ""


def has_words(answer: str) -> bool:
    """Whether there is anything that could be read as an answer."""
    return _WORD.search(answer) is not None


def agreement(said: Sequence[Said], truths: Sequence[str], positive: Said) -> Metrics:
    """accuracy, precision, recall and F1 with `positive` as the positive class; in per cent.

    An answer that says neither is wrong, and adds to no answer's count of its kind.
    """
    pairs = list(zip(said, truths, strict=True))
    hits = sum(one == truth == positive for one, truth in pairs)
    told = sum(one == positive for one in said)
    there = sum(truth == positive for truth in truths)
    return {
        "accuracy": share(sum(one == truth for one, truth in pairs), len(pairs)),
        "precision": share(hits, told),
        "recall": share(hits, there),
        # The harmonic mean of the two, and 0 where one of them has no denominator.
        "F1": share(2 * hits, told + there),
    }
