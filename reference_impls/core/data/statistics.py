"""What a pass over data counts: repeated rows and lengths of answers, in bounded memory."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

LONGEST = 1 << 16
"""Characters from which answers count as equally long in `PairLengths.auc`."""


class Digests:
    """Digests of things in the order in which they were met, 8 bytes each: which come twice.

    Two different ones of n share a digest with a chance of n * n / 2 ** 65: 3e-6 for ten million.
    `add` takes one as `hash` gives it.
    """

    def __init__(self) -> None:
        self._kept = array("q")
        self.add = self._kept.append

    def __len__(self) -> int:
        return len(self._kept)

    def all(self) -> NDArray[np.int64]:
        """All of them, in their order."""
        return np.frombuffer(self._kept, dtype=np.int64) if self._kept else np.empty(0, np.int64)

    def repeats(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of those that were met before, ascending, and of where each was met first."""
        digests = self.all()
        _, first, which = np.unique(digests, return_index=True, return_inverse=True)
        again = np.flatnonzero(first[which] != np.arange(len(digests)))
        return again, first[which][again]

    def among(self, others: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of those that are among others, ascending, and of the first such other."""
        mine, theirs = self.all(), others.all()
        distinct, first = np.unique(theirs, return_index=True)
        if not len(distinct):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(distinct, mine), len(distinct) - 1)
        found = np.flatnonzero(distinct[places] == mine)
        return found, first[places[found]]


class PairLengths:
    """How long chosen and rejected answers are, and how well length alone tells them apart."""

    def __init__(self) -> None:
        self.pairs = self.longer = self.shorter = 0
        self._sums = [0, 0]
        self._counts = [array("q", bytes(8 * (LONGEST + 1))) for _ in range(2)]

    def add(self, chosen: int, rejected: int) -> None:
        """Lengths of the two answers of one pair."""
        self.pairs += 1
        self.longer += chosen > rejected
        self.shorter += chosen < rejected
        for side, length in enumerate((chosen, rejected)):
            self._sums[side] += length
            self._counts[side][min(length, LONGEST)] += 1

    def means(self) -> tuple[float, float]:
        """Of the chosen and of the rejected; 0.0 without pairs."""
        chosen, rejected = (total / max(1, self.pairs) for total in self._sums)
        return chosen, rejected

    def auc(self) -> float:
        """Chance that a chosen answer is longer than the rejected one of any pair; half of the
        chance that they are equally long counts. 0.5 without pairs."""
        chosen, rejected = (np.frombuffer(counts, dtype=np.int64) for counts in self._counts)
        if not self.pairs:
            return 0.5
        shorter = np.concatenate(([0], np.cumsum(rejected)[:-1]))
        won = float(chosen @ shorter) + float(chosen @ rejected) / 2
        return won / self.pairs**2
