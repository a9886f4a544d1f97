"""Best of n: what a reward is worth before anything is optimised against it.

Of n sampled answers the one with the highest reward is kept. The reward of what is kept rises with
n whatever the reward is; where the true score falls meanwhile, the reward is what is wrong, and not
the way of optimising it (Gao et al. 2023, arXiv:2210.10760).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reference_impls.core.method import Row, Score

if TYPE_CHECKING:
    from reference_impls.core.lab import Lab

COUNTS = (1, 4, 16, 64)
SCENES = 24
"""Scenes that are asked about, at most; an eighth of the rows where that is less."""


def expected_best(by: Sequence[float], values: Sequence[float], n: int) -> float:
    """The value, on average, of the one with the highest `by` of n that are drawn without
    replacement; of equal ones the later. Raises ValueError where there are fewer than n.

    The k-th lowest of N (from 0) is the highest of n in C(k, n - 1) of C(N, n) draws.
    """
    total = len(by)
    if not 1 <= n <= total:
        raise ValueError(f"the best of {n} cannot be drawn from {total}")
    order = sorted(range(total), key=lambda place: by[place])
    ways = math.comb(total, n)
    return sum(math.comb(k, n - 1) / ways * values[place] for k, place in enumerate(order))


def measure_selection(
    lab: Lab, scores: Mapping[str, Score], rows: Sequence[Row], cfg: Any, temperature: float = 1.0
) -> None:
    """Sample answers to the first rows and note in the lab's tally what the best of n is worth, by
    each score: its own reward and the true score, means over rows. A row has its `item`. Without
    rows nothing is measured."""
    if not rows:
        return
    rows = rows[: min(SCENES, max(1, len(rows) // 8))]
    most = COUNTS[-1]
    repeated = [row for row in rows for _ in range(most)]
    answers = lab.policy.answer(
        [row["prompt"] for row in repeated], [row["images"] for row in repeated],
        temperature, lab.task.max_new_tokens,
    )  # fmt: skip
    told = [{**row, "response": answer} for row, answer in zip(repeated, answers, strict=True)]
    true = [lab.task.score(row["item"], row["response"]) for row in told]
    for name, score in scores.items():
        rated = list(score(lab, told, cfg))
        cuts = range(0, len(told), most)
        found: dict[str, list[float]] = {"n": list(COUNTS), "reward": [], "true_score": []}
        for n in COUNTS:
            for what, values in (("reward", rated), ("true_score", true)):
                best = [expected_best(rated[c : c + most], values[c : c + most], n) for c in cuts]
                found[what].append(round(sum(best) / len(best), 4))
        lab.tally.selection[name] = found
