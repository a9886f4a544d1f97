"""Best of n: what a reward is worth before anything is optimised against it."""

import itertools
import random
from statistics import fmean
from types import MappingProxyType

import pytest

from reference_impls.core.data import selection
from reference_impls.core.data.rows import Tally


def test_the_best_of_n_is_the_mean_over_all_draws():
    draw = random.Random(1)
    by, values = ([draw.random() for _ in range(7)] for _ in range(2))
    for n in (1, 2, 3, 7):
        drawn = itertools.combinations(range(7), n)
        wanted = fmean(values[max(places, key=by.__getitem__)] for places in drawn)
        assert selection.expected_best(by, values, n) == pytest.approx(wanted)
    assert selection.expected_best(by, values, 1) == pytest.approx(fmean(values))
    with pytest.raises(ValueError, match="best of 8"):
        selection.expected_best(by, values, 8)


def test_a_reward_of_length_is_seen_through(policy, world):
    """The longest of n answers: its reward rises with n, and what is named wrongly with it."""
    from reference_impls.core.judges import Workshop
    from reference_impls.core.lab import Lab

    lab = Lab(world, world.tasks["brief"], policy, policy, Workshop(), 1, 8)

    def words(lab, rows, cfg):
        return [float(len(row["response"].split())) for row in rows]

    rows = [lab.prompt(place) for place in range(8)]
    selection.measure_selection(lab, MappingProxyType({"words": words}), rows, None)
    curve = lab.tally.selection["words"]
    assert curve["n"] == list(selection.COUNTS)
    assert curve["reward"] == sorted(curve["reward"]) and curve["reward"][0] < curve["reward"][-1]
    assert all(0 <= score <= 1 for score in curve["true_score"])
    assert lab.tally.as_dict()["selection"] == {"words": curve}
    selection.measure_selection(lab, MappingProxyType({"nothing": words}), [], None)
    assert list(lab.tally.selection) == ["words"]


def test_a_tally_prints_the_curve():
    tally = Tally()
    tally.selection["judge"] = {"n": [1, 4], "reward": [0.5, 1.25], "true_score": [0.8, 0.7]}
    assert tally.lines() == ["best of 1, 4 by judge: reward 0.5, 1.25; true score 0.8, 0.7"]
