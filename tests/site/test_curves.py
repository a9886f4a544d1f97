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


def test_results_without_curves_have_no_section(result):
    assert "Learning curves" not in lab.report({**result, "curves": []})
    assert "### Learning curves" in lab.report({**result, "curves": [DATA]})
