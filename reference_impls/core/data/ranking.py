"""Pairs out of several rated answers to one question."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

Pair = tuple[str, str]
"""The better and the worse answer."""


def pairs_of(scored: Sequence[tuple[str, float]], least_gap: float = 0.0) -> list[Pair]:
    """(better, worse) of every two (answer, score) whose scores differ, and by `least_gap` at
    least. Answers of the same words make no pair."""
    pairs = []
    for (one, first), (other, second) in combinations(scored, 2):
        if first != second and abs(first - second) >= least_gap and one.split() != other.split():
            pairs.append((one, other) if first > second else (other, one))
    return pairs


def best_and_worst(scored: Sequence[tuple[str, float]]) -> Pair | None:
    """(best, worst) of (answer, score), the first one among equals; None where all scores are equal
    or both have the same words."""
    best, worst = max(scored, key=lambda each: each[1]), min(scored, key=lambda each: each[1])
    apart = best[1] != worst[1] and best[0].split() != worst[0].split()
    return (best[0], worst[0]) if apart else None
