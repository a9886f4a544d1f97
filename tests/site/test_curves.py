"""Learning curves: read from logs, drawn as lines, and told as numbers."""

from __future__ import annotations

import json
import re

import pytest

from mmalign.site import curves, lab
from reference_impls import study

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


def test_curves_are_the_mean_over_the_seeds_of_the_logs(tmp_path):
    for seed in study.SEEDS:
        folder = tmp_path / f"no-anchor-0.0003-{seed}"
        folder.mkdir()
        lines = [
            # A run that was stopped logged step 2 first in another state; the later line counts.
            {"step": 2, "chosen_reward": 9.0},
            {"step": 1, "chosen_reward": 0.0},
            {"step": 2, "chosen_reward": float(seed)},
        ]
        (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert study.curves(tmp_path, {"no anchor": 3e-4, "dpo": 1e-4}) == [
        {
            "metric": "chosen_reward",
            "lines": [{"row": "no anchor", "rate": 3e-4, "values": [0.0, 2.0]}],
        }
    ]


def test_the_committed_results_have_curves(checkout):
    for file in (checkout / "reference_impls" / "results").glob("*.json"):
        found = json.loads(file.read_text(encoding="utf-8"))["curves"]
        assert found, file.name
        assert all(len(line["values"]) >= 60 for each in found for line in each["lines"])
