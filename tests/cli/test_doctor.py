"""`mmalign doctor`: the signs of a run, as a person and as a program reads them."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "train").mkdir(parents=True)
    steps = [{"step": n + 1, "loss": 0.5, "grad_norm": 1.0, "kl": 3.0} for n in range(25)]
    log = folder / "train" / "metrics.jsonl"
    log.write_text("".join(json.dumps(step) + "\n" for step in steps))
    return folder


def test_signs_are_lines_with_advice_and_exit_1(mm, run):
    result = mm("doctor", str(run))
    assert result.exit_code == 1
    first, second = result.stdout.splitlines()
    assert first.startswith("train: far-from-reference: KL from the reference")
    assert second.startswith("    look at: ")


def test_signs_as_json(mm, run):
    result = mm("doctor", str(run), "--json")
    assert result.exit_code == 1
    (sign,) = json.loads(result.stdout)
    assert set(sign) == {"id", "where", "says", "advice"}


def test_no_signs_are_exit_0(mm, run):
    log = run / "train" / "metrics.jsonl"
    log.write_text(log.read_text().replace("3.0}", "0.1}"))
    result = mm("doctor", str(run))
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(mm("doctor", str(run), "--json").stdout) == []


def test_what_is_not_a_run(mm, tmp_path, run):
    result = mm("doctor", str(tmp_path / "nothing"))
    assert result.exit_code == 2 and "there is no folder" in result.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    result = mm("doctor", str(empty))
    assert result.exit_code == 1 and "there is no run to look at" in result.stderr
    assert mm("doctor", "").exit_code == 2
    (run / "result.json").write_text("[]")
    (run / "train" / "metrics.jsonl").write_text("")
    result = mm("doctor", str(run))
    assert result.exit_code == 1 and "is not the result of a run" in result.stderr
    assert "Traceback" not in result.stderr
