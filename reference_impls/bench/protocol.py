"""The protocol of the bench, fixed beforehand: seeds, one grid for every row, and the budget.

Every row of a table, baselines included, is tuned on the same grid, by the task's `tuned_by` on the
validation split, with two seeds that are never reported. Ten other seeds report, with bases
rotated; five more where an interval still straddles what it is compared with.

A method that learns from its own answers has a smaller budget: most of its time goes into
generating them. Its rows are tuned on the three higher rates with one seed; ten others report.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TUNING_SEEDS = (101, 102)
REPORTING_SEEDS = tuple(range(1, 11))
FURTHER_SEEDS = tuple(range(11, 16))
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
SAMPLING_RATES = RATES[1:]
FACTORS = (1.0, 5.0)
"""Of the paper's beta."""
SFT_STEPS = (30, 60)
HELD_OUT, BLOCKS = 2048, 32


@dataclass(frozen=True)
class Point:
    """One point of the grid: settings and config values that it changes."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((*sorted(self.settings.items()), None, *sorted(self.config.items())))

    @property
    def label(self) -> str:
        """How it is written: `learning_rate=0.0001, beta=0.5`."""
        return ", ".join(f"{n}={v:g}" for n, v in {**self.settings, **self.config}.items())


def grid(
    beta: float | None, trains_on_answers: bool, rates: Sequence[float] = RATES
) -> list[Point]:
    """The points that a row is tuned over.

    beta: the paper's, or None where the objective has none. trains_on_answers: SFT, whose second
    axis is the number of steps.
    """
    if trains_on_answers:
        pairs = itertools.product(rates, SFT_STEPS)
        return [Point({"learning_rate": rate, "steps": steps}) for rate, steps in pairs]
    if beta is None:
        return [Point({"learning_rate": rate}) for rate in rates]
    return [
        Point({"learning_rate": rate}, {"beta": beta * factor})
        for rate, factor in itertools.product(rates, FACTORS)
    ]


def beyond(best: Point, beta: float | None = None, tried: Sequence[float] = RATES) -> list[Point]:
    """One point further along each axis on whose edge the best one lies; `beta` is the paper's,
    `tried` are the rates of the grid."""
    rate = best.settings["learning_rate"]
    rates = {tried[0]: tried[0] / 3, tried[-1]: tried[-1] * 3}
    found = []
    if rate in rates:
        found.append(Point({**best.settings, "learning_rate": rates[rate]}, best.config))
    if beta is not None and len(FACTORS) > 1:
        betas = {
            beta * FACTORS[0]: beta * FACTORS[0] / 5,
            beta * FACTORS[-1]: beta * FACTORS[-1] * 5,
        }
        if best.config["beta"] in betas:
            found.append(Point(best.settings, {**best.config, "beta": betas[best.config["beta"]]}))
    return found
