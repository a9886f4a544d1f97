"""How sure a difference is: intervals over seeds and items, and verdicts.

A run's metric is kept for blocks of held-out items, too. A difference between two rows of the table
is then a matrix of seeds by blocks, and both are resampled: another seed and other items are what a
claim must survive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Verdict = Literal["shown", "contradicted", "equivalent", "undecided"]
Direction = Literal["lower", "higher", "equal"]
LEVEL = 0.95
RESAMPLES = 4000
FALSE_DISCOVERY = 0.05

SMALLEST_EFFECT = {
    "chair_i": 0.02, "chair_s": 0.02, "chair_plain": 0.02, "chair_faint": 0.02, "chair_late": 0.02,
    "recall": 0.02, "recall_plain": 0.02, "f1": 0.02,
    "pope_accuracy": 0.03, "pope_f1": 0.03, "presence": 0.03, "hit": 0.03,
    "accuracy": 0.03, "accuracy_held_out": 0.03, "format": 0.03, "reward_accuracy": 0.03,
    "success_rate": 0.03, "iou": 0.03,
    "chosen_logp": 1.0, "rejected_logp": 1.0, "image_sensitivity": 1.0,
    "length": 1.0,
}  # fmt: skip
"""Metric -> the smallest difference that would matter to anybody, in the metric's unit."""


def smallest_effect(metric: str) -> float | None:
    """The same for a probe's metric, which is named after the probe: `single_accuracy`."""
    while metric not in SMALLEST_EFFECT and "_" in metric:
        metric = metric.partition("_")[2]
    return SMALLEST_EFFECT.get(metric)


@dataclass(frozen=True)
class Difference:
    """An estimate with its interval and p-value; seeds and blocks that it rests on."""

    estimate: float
    low: float
    high: float
    p: float
    seeds: int
    blocks: int


def crossed_bootstrap(
    differences: ArrayLike, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """The mean of a (seeds, blocks) matrix, with a percentile interval over both.

    Each resample draws seeds and, independently, blocks, with replacement (the pigeonhole
    bootstrap, Owen 2007, doi:10.1214/07-AOAS122). The p-value is two-sided: twice the smaller share
    of resamples on either side of 0, at least 1 / `resamples`. Raises ValueError for fewer than two
    seeds, whose spread nobody knows.
    """
    matrix: NDArray[np.float64] = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    seeds, blocks = matrix.shape
    if seeds < 2:
        raise ValueError(f"{seeds} seed has no spread; at least two are needed")
    rng = np.random.default_rng(seed)
    rows = rng.integers(seeds, size=(resamples, seeds))
    columns = rng.integers(blocks, size=(resamples, blocks))
    # The mean over resampled rows and columns is a product with their counts.
    of_rows = np.stack([np.bincount(each, minlength=seeds) for each in rows]) / seeds
    of_columns = np.stack([np.bincount(each, minlength=blocks) for each in columns]) / blocks
    means = np.einsum("rs,sb,rb->r", of_rows, matrix, of_columns)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    p = 2 * min((means <= 0).mean(), (means >= 0).mean())
    return Difference(
        float(matrix.mean()), float(low), float(high), float(min(max(p, 1 / resamples), 1.0)),
        seeds, blocks,
    )  # fmt: skip


def verdict(
    difference: Difference, direction: Direction, smallest: float, significant: bool = True
) -> Verdict:
    """What an interval says of a claim, for a difference `of - against`.

    shown: the interval excludes 0 on the claimed side and the estimate is at least the smallest
    effect of interest. contradicted: the same on the other side. equivalent: the whole interval is
    closer to 0 than that. Else undecided. `significant` is false where the claim did not survive
    the correction for many claims: then it is neither shown nor contradicted.
    """
    within = -smallest < difference.low and difference.high < smallest
    above = difference.low > 0 and difference.estimate >= smallest and significant
    below = difference.high < 0 and -difference.estimate >= smallest and significant
    if direction == "equal":
        if within:
            return "shown"
        return "contradicted" if above or below else "undecided"
    claimed, against = (above, below) if direction == "higher" else (below, above)
    if claimed:
        return "shown"
    if against:
        return "contradicted"
    return "equivalent" if within else "undecided"


def straddles(difference: Difference, smallest: float) -> bool:
    """Does the interval leave open whether there is an effect that matters? It holds 0 and reaches
    beyond the smallest effect, or excludes 0 with an estimate below it. Then more seeds may decide;
    of a run that diverged they do not."""
    known = not math.isnan(difference.estimate)
    return known and verdict(difference, "equal", smallest) == "undecided"
