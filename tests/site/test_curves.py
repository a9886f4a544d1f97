"""Learning curves: read from logs, drawn as lines, and told as numbers."""

from __future__ import annotations

import re

import pytest

from mmalign.site import curves, lab

DATA = {
    "metric": "chosen_reward",
    "lines": [
        {"row": "dpo", "rate": 0.1, "values": [0.0, -1.0, -2.0]},
        {"row": "a <b>", "rate": 0.1, "values": [0.0, 1.0, -2.0]},
    ],
}


def test_a_line_ends_where_its_last_value_is():
    text = curves.chart(DATA)
    assert "\n" not in text
    first, second = re.findall(r'points="([^"]*)"', text)
    assert len(first.split()) == len(second.split()) == 3
    # The highest value (1) is at the top of the chart, the lowest (-2) at its bottom.
    tops = [float(point.split(",")[1]) for point in second.split()]
    assert tops[1] == pytest.approx(curves.TOP)
    assert tops[2] == pytest.approx(curves.HEIGHT - curves.BOTTOM)
    # Both lines end at one place: their names do not stand on each other.
    names = re.findall(r'y="([\d.]+)" class="l\d"', text)
    assert abs(float(names[0]) - float(names[1])) >= 12
    assert "<b>" not in text.replace("<b>dpo", "")
    assert "<td>1</td><td>0</td><td>0</td>" in text


def test_a_flat_line_is_drawn():
    flat = {"metric": "kl", "lines": [{"row": "r1-v", "rate": 0.1, "values": [0.5]}]}
    assert "polyline" in curves.chart(flat)


def both(rewards, truths):
    def of(metric, values):
        return {"metric": metric, "lines": [{"row": "ppo", "rate": 0.1, "values": values}]}

    return [of("reward", rewards), of("true_score", truths)]


def test_reward_and_truth_are_two_lines_of_one_chart():
    """Each on its own scale: a reward that rises to 9 and a truth that falls to 0.4 cross."""
    (text,) = curves.beside_the_truth(both([1.0, 5.0, 9.0], [0.8, 0.6, 0.4]))
    reward, true = re.findall(r'points="([^"]*)"', text)
    heights = [[float(p.split(",")[1]) for p in line.split()] for line in (reward, true)]
    bottom = curves.HEIGHT - curves.BOTTOM
    assert heights[0][0] == heights[1][-1] == pytest.approx(bottom)
    assert heights[0][-1] == heights[1][0] == pytest.approx(curves.TOP)
    assert "<td>1</td><td>1</td><td>0.8</td>" in text and "\n" not in text
    assert curves.beside_the_truth(both([1.0], [0.5])[:1]) == []


def test_a_page_draws_them_once(result):
    text = lab.report({**result, "curves": both([1.0, 2.0], [0.5, 0.4])})
    assert text.count("<polyline") == 2 and "Reward (left scale)" in text
    assert (
        lab.report({**result, "curves": both([1.0, 2.0], [0.5, 0.4])[:1]}).count("<polyline") == 1
    )


def test_best_of_n_is_told_with_the_data_step():
    curve = {"n": [1, 4], "reward": [0.1, 0.9], "true_score": [0.8, 0.7]}
    told = lab._data_step("train", {"pairs": 0, "rules": {}, "selection": {"judge": curve}})
    assert "best of 1, 4 by judge: reward 0.1, 0.9; true score 0.8, 0.7" in told


def test_results_without_curves_have_no_section(result):
    assert "Learning curves" not in lab.report({**result, "curves": []})
    assert "### Learning curves" in lab.report({**result, "curves": [DATA]})
