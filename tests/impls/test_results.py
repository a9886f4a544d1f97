"""The committed results: verdicts follow from the numbers, scripts use the rates found."""

import json
import statistics

import pytest

from reference_impls import study
from tests.impls.scripts import SCRIPTS

RESULTS = {path.stem: json.loads(path.read_text()) for path in study.RESULTS.glob("*.json")}
EACH = pytest.mark.parametrize("name", sorted(RESULTS))


def rows(result, table):
    found = next((t for t in result["tables"] if t["id"] == table), result["tables"][0])
    return {row["name"]: row for row in found["rows"]}


def test_the_methods_of_the_first_release_have_results():
    assert {"mdpo", "ddpo", "mpo", "r1_v"} <= set(RESULTS)


@EACH
def test_every_verdict_follows_from_the_table(name):
    result, script = RESULTS[name], SCRIPTS[name]
    claims = study.claims(script)
    assert len(claims) > len(script.EXPECTATIONS) or name == "r1_v"
    for said, expected in zip(result["verdicts"], claims, strict=True):
        claim, text, metric, direction, row, against, rate = expected
        table = rows(result, "main" if rate == "best" else "shared-rate")
        seeds = len(result["seeds"])
        first, second = (
            table[side]["metrics"][metric] * (seeds if side == "base" else 1)
            for side in (row, against)
        )
        again = study.verdict({"id": claim, "text": text, "direction": direction}, first, second)
        assert said["claim"] == claim and said["verdict"] == again["verdict"]
        assert said["numbers"] == pytest.approx(again["numbers"], abs=2e-4)


@EACH
def test_rows_have_every_seed_and_every_metric(name):
    result = RESULTS[name]
    assert len(result["seeds"]) >= 3
    for row in rows(result, "main").values():
        count = 1 if row["name"] == "base" else len(result["seeds"])
        assert all(len(values) == count for values in row["metrics"].values()), row["name"]
    assert {"base", "sft", SCRIPTS[name].RECORD, *SCRIPTS[name].ABLATIONS} <= set(
        rows(result, "main")
    )


@EACH
def test_the_script_trains_at_the_rate_that_was_found(name):
    row = rows(RESULTS[name], "main")[SCRIPTS[name].RECORD]
    assert SCRIPTS[name].LAB.learning_rate == row["settings"]["learning_rate"]


def test_the_world_can_compare():
    """What the world was frozen on: the base hallucinates, and no good row sits at zero."""
    table = rows(RESULTS["mdpo"], "main")
    mean = {name: statistics.mean(row["metrics"]["chair_i"]) for name, row in table.items()}
    assert mean["base"] >= 0.10
    assert mean["dpo"] < mean["base"]
    assert min(mean["sft"], mean["dpo"]) >= mean["base"] / 3


def test_the_verdict_by_hand():
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), half width 4.303/sqrt(3) = 2.484."""
    claim = {"id": "c", "text": "t", "direction": "higher"}
    found = study.verdict(claim, [2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found["verdict"] == "not shown"
    assert found["numbers"]["half_width_95"] == pytest.approx(2.4843, abs=1e-3)
    assert study.verdict(claim, [9.0, 9.1, 9.2], [1.0, 1.0, 1.0])["verdict"] == "shown"
    assert study.verdict(claim, [1.0, 1.0, 1.0], [9.0, 9.1, 9.2])["verdict"] == "contradicted"


def test_equal_by_hand():
    claim = {"id": "c", "text": "t", "direction": "equal"}
    assert study.verdict(claim, [0.5, 0.51, 0.5], [0.5, 0.5, 0.51])["verdict"] == "shown"
    assert study.verdict(claim, [0.9, 0.9, 0.9], [0.5, 0.5, 0.5])["verdict"] == "contradicted"
    assert study.verdict(claim, [0.3, 0.7, 0.5], [0.5, 0.5, 0.5])["verdict"] == "not shown"
