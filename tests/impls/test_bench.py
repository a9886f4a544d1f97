"""The bench: statistics by hand and on simulated data, jobs that stop, numbers that are kept, a
study from its plan to its page."""

import contextlib
import dataclasses
import functools
import json
import math
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest

from reference_impls.bench import cache, experiment, ledger, protocol, statistics, study
from reference_impls.bench import work as working
from reference_impls.bench.jobs import _worker as run_worker
from reference_impls.bench.jobs import run_jobs
from reference_impls.bench.statistics import Difference, crossed_bootstrap, verdict
from reference_impls.core import provenance
from reference_impls.core.method import ContractError, PairStage, load_script, script_names
from reference_impls.core.settings import lab
from reference_impls.core.stages import Run
from reference_impls.core.train.checkpoints import read_json, write_json
from reference_impls.core.train.pairs import row_digest
from tests.impls.jobs_for_tests import jobs, work

# --- intervals -----------------------------------------------------------------------------------


def test_of_two_seeds_the_interval_reaches_from_one_to_the_other():
    """The mean of two drawn seeds is 1, 2 or 3 with chances 1/4, 1/2, 1/4: quantiles 1 and 3."""
    found = crossed_bootstrap([[1.0], [3.0]])
    assert (found.estimate, found.low, found.high) == (2.0, 1.0, 3.0)
    assert (found.seeds, found.blocks) == (2, 1)
    assert found.p == 1 / statistics.RESAMPLES  # none lies at or below 0: the least there is


def test_seeds_and_blocks_are_both_drawn():
    """Entries s + b of seeds 0, 4 and blocks 0, 1. The mean of drawn seeds is 0, 2 or 4 and that of
    drawn blocks 0, .5 or 1, each with chances 1/4, 1/2, 1/4: 0 and 5 have 1/16, more than 2.5 %.
    Over seeds alone the interval would be .5 to 4.5, over blocks alone 2 to 3."""
    found = crossed_bootstrap([[0.0, 1.0], [4.0, 5.0]])
    assert (found.estimate, found.low, found.high) == (2.5, 0.0, 5.0)
    assert found.p == pytest.approx(2 / 16, abs=0.03)  # twice the share of means at 0


@pytest.mark.parametrize(
    ("seeds", "p"), [((-1.0, 1.0), 1.0), ((-1.0, 3.0), 0.5), ((3.0, -1.0), 0.5)]
)
def test_the_p_value_is_twice_the_smaller_share(seeds, p):
    """-1 and 3: the mean is -1, 1 or 3 with chances 1/4, 1/2, 1/4, so 2 x 1/4. -1 and 1: 0 counts
    on both sides, so 2 x 3/4, which is at most 1."""
    assert crossed_bootstrap([[each] for each in seeds]).p == pytest.approx(p, abs=0.05)


def test_the_same_numbers_give_the_same_interval_and_none_the_same_is_no_spread():
    matrix = np.random.default_rng(0).normal(size=(5, 4))
    assert crossed_bootstrap(matrix) == crossed_bootstrap(matrix)
    flat = crossed_bootstrap(np.full((3, 4), 0.25))
    assert (flat.low, flat.estimate, flat.high) == pytest.approx((0.25, 0.25, 0.25))


def test_of_a_run_that_diverged_nothing_is_known():
    """Comparisons with nan are false: no resample would lie beside 0, and p would be the least."""
    found = crossed_bootstrap([[0.1, 0.2], [math.nan, 0.3], [0.2, 0.1]])
    assert found.p == 1.0 and math.isnan(found.estimate)
    assert verdict(found, "higher", 0.02) == "undecided"
    assert not statistics.straddles(found, 0.02)


def test_one_seed_has_no_spread():
    with pytest.raises(ValueError, match="1 seed has no spread"):
        crossed_bootstrap([[0.1, 0.2]])


def test_intervals_over_both_hold_the_true_mean_as_often_as_they_say():
    """Simulated differences: a true mean, an effect of each seed, of each block, and noise."""
    rng, held, seeds_only = np.random.default_rng(1), 0, 0
    runs = 200
    for _ in range(runs):
        matrix = (
            0.3 + rng.normal(0, 0.1, (10, 1)) + rng.normal(0, 0.2, (1, 16))
            + rng.normal(0, 0.1, (10, 16))
        )  # fmt: skip
        found = crossed_bootstrap(matrix, resamples=400)
        held += found.low <= 0.3 <= found.high
        alone = crossed_bootstrap(matrix.mean(1, keepdims=True), resamples=400)
        seeds_only += alone.low <= 0.3 <= alone.high
    assert 0.90 <= held / runs <= 0.99
    assert seeds_only / runs < 0.85  # whoever draws seeds alone is too sure


# --- verdicts ------------------------------------------------------------------------------------


def difference(estimate, low, high):
    return Difference(estimate, low, high, 0.01, 10, 32)


UP, DOWN = difference(0.05, 0.01, 0.09), difference(-0.05, -0.09, -0.01)
NEAR, WIDE = difference(0.0, -0.01, 0.01), difference(0.01, -0.03, 0.05)


@pytest.mark.parametrize(
    ("found", "higher", "lower", "equal"),
    [
        (UP, "shown", "contradicted", "contradicted"),
        (DOWN, "contradicted", "shown", "contradicted"),
        (NEAR, "equivalent", "equivalent", "shown"),
        (WIDE, "undecided", "undecided", "undecided"),
        # Sure to differ from 0, yet by less than matters to anybody.
        (difference(0.01, 0.005, 0.015), "equivalent", "equivalent", "shown"),
        (difference(0.015, 0.001, 0.03), "undecided", "undecided", "undecided"),
        # On the edge: an estimate of just the smallest effect counts; an interval that touches 0,
        # or the smallest effect, does not exclude it.
        (difference(0.02, 0.01, 0.03), "shown", "contradicted", "contradicted"),
        (difference(-0.02, -0.03, -0.01), "contradicted", "shown", "contradicted"),
        (difference(0.03, 0.0, 0.06), "undecided", "undecided", "undecided"),
        (difference(0.0, -0.02, 0.01), "undecided", "undecided", "undecided"),
        (difference(0.0, -0.01, 0.02), "undecided", "undecided", "undecided"),
    ],
)
def test_verdicts_of_every_direction(found, higher, lower, equal):
    assert verdict(found, "higher", 0.02) == higher
    assert verdict(found, "lower", 0.02) == lower
    assert verdict(found, "equal", 0.02) == equal


@pytest.mark.parametrize("direction", ["higher", "lower", "equal"])
def test_what_did_not_survive_the_correction_is_neither_shown_nor_contradicted(direction):
    for found in (UP, DOWN):
        assert verdict(found, direction, 0.02, significant=False) == "undecided"
    # Equivalence is no discovery of a difference.
    wanted = "shown" if direction == "equal" else "equivalent"
    assert verdict(NEAR, direction, 0.02, significant=False) == wanted


@pytest.mark.parametrize(
    ("found", "more"),
    [(WIDE, True), (UP, False), (NEAR, False), (difference(0.0, -0.02, 0.01), True),
     (difference(0.03, 0.0, 0.06), True), (difference(0.03, 0.001, 0.06), False),
     (difference(-0.0195, -0.027, -0.012), True), (difference(0.01, 0.001, 0.02), True)],
)  # fmt: skip
def test_more_seeds_are_asked_where_an_interval_does_not_decide(found, more):
    assert statistics.straddles(found, 0.02) is more


@pytest.mark.parametrize(
    ("metric", "smallest"),
    [("chair_i", 0.02), ("single_accuracy", 0.03), ("single_chair_i", 0.02), ("prior_share", None)],
)
def test_a_probes_metric_matters_as_much_as_the_metric_that_it_is(metric, smallest):
    assert statistics.smallest_effect(metric) == smallest


def claim(p, difference=0.05):
    """A claim that stands for itself alone, with that p-value."""
    return {
        "claim": "is-better", "text": "It is better.", "metric": "f1", "direction": "higher",
        "of": "dpo", "against": "base", "levels": [], "primary": True, "verdict": "shown",
        "numbers": {
            "difference": difference, "low": 0.001, "high": 0.1, "p": p, "smallest_effect": 0.02,
            "seeds": 10, "blocks": 32,
        },
    }  # fmt: skip


def test_claims_of_all_results_are_decided_together_as_worked_by_hand(tmp_path):
    """Benjamini and Hochberg: of m = 8 at 5 % the largest i with p(i) <= i / 8 x .05. Bounds are
    .00625, .0125, .01875, .025, ...; .013 misses the second, .018 keeps the third, and with it the
    two before; .027 misses the fourth, .5 and more the rest. The third's adjusted value is .018 x
    8 / 3 = .048, and so is the second's, whose own .013 x 8 / 2 = .052 is more."""
    values = [[0.5, 0.018, 0.001, 0.9], [0.013, 0.027, 0.7, 0.6]]
    for name, some in zip("ab", values, strict=True):
        result = {"method": name, "verdicts": [*map(claim, some), {"numbers": {"seeds": 1}}]}
        write_json(tmp_path / f"{name}.json", result)
    assert {path.name for path in ledger.settle(tmp_path)} == {"a.json", "b.json"}
    found = [
        each
        for name in "ab"
        for each in json.loads((tmp_path / f"{name}.json").read_text())["verdicts"][:4]
    ]
    shown = [each["verdict"] == "shown" for each in found]
    assert shown == [False, True, True, False, True, False, False, False]
    assert all(each["verdict"] in ("shown", "undecided") for each in found)
    assert [found[place]["numbers"]["p_adjusted"] for place in (1, 2, 4)] == [0.048, 0.008, 0.048]
    # Once more, and nothing changes; a result less, and what it had hidden is shown again.
    assert ledger.settle(tmp_path) == []
    (tmp_path / "a.json").unlink()
    ledger.settle(tmp_path)
    (first, *_), _ = json.loads((tmp_path / "b.json").read_text())["verdicts"][:4], None
    assert first["numbers"]["p_adjusted"] == 0.052 and first["verdict"] == "undecided"


def test_a_ledger_of_nothing_or_of_what_is_not_a_result(tmp_path):
    assert ledger.settle(tmp_path) == []
    write_json(tmp_path / "a.json", {"method": "a", "verdicts": [{"numbers": {"seeds": 1}}]})
    assert ledger.settle(tmp_path) == []
    write_json(tmp_path / "b.json", {"method": "b"})
    with pytest.raises(ValueError, match=r"b\.json is not a result"):
        ledger.settle(tmp_path)


def test_a_result_that_comes_while_another_bench_decides_is_not_lost(tmp_path, monkeypatch):
    """The first has read all results when the second one's new result is there to be written: it
    is written after the verdicts, which are those of the old one."""
    old, new = {"method": "a", "verdicts": [claim(0.2)]}, {"method": "a", "verdicts": [claim(1e-5)]}
    write_json(tmp_path / "a.json", old)
    second = threading.Thread(target=ledger.add, args=(tmp_path, "a", new))
    real = ledger.false_discovery_control

    def meanwhile(values):
        monkeypatch.setattr(ledger, "false_discovery_control", real)
        second.start()
        second.join(0.3)
        assert second.is_alive()
        return real(values)

    monkeypatch.setattr(ledger, "false_discovery_control", meanwhile)
    assert ledger.settle(tmp_path) == [tmp_path / "a.json"]
    second.join()
    (kept,) = json.loads((tmp_path / "a.json").read_text())["verdicts"]
    assert kept["numbers"]["p_adjusted"] == 1e-5 and kept["verdict"] == "shown"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]


# --- the grid ------------------------------------------------------------------------------------


def test_every_row_is_tuned_on_one_grid():
    rates = set(protocol.RATES)
    pairs = protocol.grid(0.1, trains_on_answers=False)
    assert {point.settings["learning_rate"] for point in pairs} == rates
    assert {point.config["beta"] for point in pairs} == {0.1, 0.5}
    assert len(pairs) == 8
    answers = protocol.grid(None, trains_on_answers=True)
    assert {point.settings["steps"] for point in answers} == {30, 60} and len(answers) == 8
    assert len(protocol.grid(None, trains_on_answers=False)) == 4
    fewer = protocol.grid(None, False, protocol.SAMPLING_RATES)
    assert {point.settings["learning_rate"] for point in fewer} == rates - {3e-5}


def test_who_samples_has_a_protocol_of_its_own():
    pairs, sampled = (study._study(name, study.Plan(), 1) for name in ("dpo", "easyr1"))
    assert pairs.plan == study.Plan() and sampled.plan == study.SAMPLING
    assert pairs.plan.whole and sampled.plan.whole
    assert len(sampled.plan.reporting) == 10 and not sampled.plan.further
    assert study._study("easyr1", study.SMOKE, 1).plan == study.SMOKE
    # Both of its rows have the fewer rates: a baseline of pairs is tuned as the method is.
    for row, points in (("easyr1", 3), ("sft", 6), ("grpo", 3)):
        found = {point.settings["learning_rate"] for point in sampled.grid(row)}
        assert found == set(protocol.SAMPLING_RATES) and len(sampled.grid(row)) == points
    lowest = protocol.Point({"learning_rate": 1e-4})
    beyond = protocol.beyond(lowest, None, protocol.SAMPLING_RATES)
    assert [point.settings["learning_rate"] for point in beyond] == pytest.approx([1e-4 / 3])
    assert protocol.beyond(protocol.Point({"learning_rate": 3e-4}), None, (3e-4, 1e-3)) != []


def test_an_ablation_of_beta_keeps_its_own():
    script = load_script("dpo")
    method = dataclasses.replace(script.method, ablations={"far": {"beta": 2.0}})
    asked = study.Study(dataclasses.replace(script, method=method), study.Plan())
    assert [point.config for point in asked.grid("far")] == [{}] * len(protocol.RATES)
    assert {point.config["beta"] for point in asked.grid("dpo")} == {0.1, 0.5}


def test_a_row_without_the_objective_is_tuned_by_its_rate_alone():
    """Selection by FDPO's classifier trains no policy: jobs at another beta would be the same."""
    asked = study.Study(load_script("fdpo"), study.Plan())
    rates = [{"learning_rate": rate} for rate in protocol.RATES]
    assert [point.settings for point in asked.grid("best of 16")] == rates
    assert all(not point.config for point in asked.grid("best of 16"))
    assert {point.config["beta"] for point in asked.grid("one label")} == {0.1, 0.5}


@pytest.mark.parametrize(
    ("rate", "further"), [(3e-5, [1e-5]), (1e-3, [3e-3]), (1e-4, []), (3e-4, [])]
)
def test_one_point_further_where_the_best_lies_on_the_edge(rate, further):
    best = protocol.Point({"learning_rate": rate, "steps": 30}, {"beta": 0.5})
    found = protocol.beyond(best)
    assert [each.settings["learning_rate"] for each in found] == pytest.approx(further)
    for each in found:
        assert each.settings["steps"] == 30 and each.config == best.config


@pytest.mark.parametrize(("beta", "further"), [(0.1, [0.02]), (0.5, [2.5]), (0.3, [])])
def test_one_beta_further_where_the_best_lies_on_the_edge(beta, further):
    best = protocol.Point({"learning_rate": 1e-4}, {"beta": beta})
    found = protocol.beyond(best, 0.1)
    assert [each.config["beta"] for each in found] == pytest.approx(further)
    assert all(each.settings == best.settings for each in found)


def test_a_corner_of_the_grid_is_left_along_both_axes():
    corner = protocol.Point({"learning_rate": protocol.RATES[-1]}, {"beta": 0.5})
    found = {tuple({**p.settings, **p.config}.values()) for p in protocol.beyond(corner, 0.1)}
    assert found == {(3e-3, 0.5), (1e-3, 2.5)}


def test_the_edge_of_either_axis_is_told():
    points = [
        protocol.Point({"learning_rate": rate}, {"beta": beta})
        for rate in (1e-5, 1e-4, 1e-3)
        for beta in (0.1, 0.5, 2.5)
    ]
    scores = dict.fromkeys(points, 0.5)
    edges = [study._at_the_edge({"point": point, "scores": scores}) for point in points]
    assert edges == [True, True, True, True, False, True, True, True, True]


def test_a_point_is_written_as_it_is():
    point = protocol.Point({"learning_rate": 1e-4}, {"beta": 0.5})
    assert point.label == "learning_rate=0.0001, beta=0.5"


def test_seeds_that_tune_are_never_reported():
    seeds = (*protocol.TUNING_SEEDS, *protocol.REPORTING_SEEDS, *protocol.FURTHER_SEEDS)
    assert len(set(seeds)) == len(seeds)


# --- jobs ----------------------------------------------------------------------------------------


def started(folder):
    """Names of jobs in the order in which they began, and the processes that did them."""
    path = Path(folder) / "log"
    lines = path.read_text().split("\n") if path.exists() else []
    return [tuple(line.split()) for line in lines if line]


def test_a_job_that_fails_does_not_stop_the_others_and_is_done_again(tmp_path):
    said = []
    failures = run_jobs(jobs(tmp_path, two={"fail": "no\nluck"}), work, report=said.append)
    assert [str(each) for each in failures] == ["two: no luck"]
    assert {path.name for path in tmp_path.glob("*.json")} == {"one.json", "three.json"}
    assert "[2/3] two: failed: no luck; about" in said[1]
    assert run_jobs(jobs(tmp_path), work, report=said.append) == []
    assert [name for name, _ in started(tmp_path)] == ["one", "two", "three", "two"]
    assert "2 of 3 jobs were done before" in said
    # A result that was cut off, or that holds something else, is not a result.
    for text in ('{"name": "o', "", "{}", "[]", "7"):
        (tmp_path / "one.json").write_text(text)
        assert not jobs(tmp_path)[0].done


def test_jobs_of_a_group_are_done_by_one_worker_in_their_order(tmp_path):
    asked = jobs(tmp_path, two={"fail": "no luck"})
    together = [dataclasses.replace(job, group="all") for job in asked]
    assert len(run_jobs(together, work, cores=3, report=lambda line: None)) == 1
    names, processes = zip(*started(tmp_path), strict=True)
    assert names == ("one", "two", "three") and len(set(processes)) == 1


def test_a_worker_goes_on_where_another_one_reads_the_queue(tmp_path):
    """`get_nowait` finds a queue empty that another process holds, and one core would be idle."""

    class Held:
        def __init__(self):
            self.found = [None, queue.Empty(), [1, 2], queue.Empty(), [0]]

        def get(self, timeout):
            each = self.found.pop()
            if isinstance(each, Exception):
                raise each
            return each

        def get_nowait(self):
            return self.get(0)

    told = queue.Queue()
    with contextlib.suppress(queue.Empty):
        run_worker(work, jobs(tmp_path), Held(), told)
    assert [name for name, _ in started(tmp_path)] == ["one", "two", "three"]
    assert [told.get()[:2] for _ in range(3)] == [(0, ""), (1, ""), (2, "")]


def until(happened, seconds=90):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(process):
    """Is it there, and not merely unreaped?"""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_killed_between_two_jobs_only_the_missing_ones_are_done(tmp_path):
    checkout = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.impls.jobs_for_tests", str(tmp_path)]
    parent = subprocess.Popen(command, cwd=checkout, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(started(tmp_path)) == 2)
        assert jobs(tmp_path)[0].done
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        (tmp_path / "go").touch()
        worker = started(tmp_path)[1][1]
        until(lambda: not alive(worker))
    finally:
        parent.kill()
        parent.wait()
    # The worker ended the job that it was at, and began no other: nobody waits for it any more.
    assert [name for name, _ in started(tmp_path)] == ["one", "two"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    said = []
    assert run_jobs(jobs(tmp_path), work, report=said.append) == []
    assert said[0] == "2 of 3 jobs were done before"
    assert [name for name, _ in started(tmp_path)] == ["one", "two", "three"]
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in before.items())
    for job in jobs(tmp_path):
        found = json.loads(job.result.read_text())
        assert found.pop("cpu_seconds") >= 0 and found == {"name": job.name}


# --- numbers that are kept -----------------------------------------------------------------------


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the core whose files can be changed."""
    copied = tmp_path / "core"
    shutil.copytree(provenance.CORE, copied, ignore=shutil.ignore_patterns("__pycache__", "bases"))
    monkeypatch.setattr(provenance, "CORE", copied)
    return copied


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(0, time.time_ns()))


def test_a_name_does_not_change_with_a_comment_and_does_with_what_code_does(code):
    name = cache.name_of({"seed": 1})
    edit(code / "measure.py", "\nBATCH = 64\n", "\n# As many as fit.\nBATCH = 64\n")
    edit(code / "measure.py", '"""Held-out metrics of a model', '"""Metrics of a model')
    (code / "train" / "pairs.py").write_text((code / "train" / "pairs.py").read_text() + "\n\n")
    assert cache.name_of({"seed": 1}) == name
    edit(code / "measure.py", "\nBATCH = 64\n", "\nBATCH = 65\n")
    assert cache.name_of({"seed": 1}) != name


@pytest.mark.parametrize("module", ["worlds/protocol.py", "data/rows.py", "train/pairs.py"])
def test_a_name_changes_with_all_code_that_trains_and_measures(code, module):
    name = cache.name_of({})
    (code / module).write_text((code / module).read_text() + "\nNEW = 1\n")
    assert cache.name_of({}) != name


@pytest.mark.parametrize("module", ["judges.py", "stages.py"])
def test_a_job_is_done_again_where_code_changed_that_its_rows_or_stages_depend_on(code, module):
    asked = study.Study(load_script("mdpo"), study.Plan())
    tasks = [asked._task(row, 1, "test", 8, 1, protocol.Point()) for row in ("mdpo", "dpo")]
    before = [asked.job(task).result for task in tasks]
    file = code / module
    file.write_text(file.read_text() + "\n# Why.\n")
    assert [asked.job(task).result for task in tasks] == before
    file.write_text(file.read_text() + "\nNEW = 1\n")
    assert all(asked.job(t).result != old for t, old in zip(tasks, before, strict=True))


def test_a_job_is_done_again_where_shipped_weights_changed(code):
    """A study reports the base and what was trained from it: both are others."""
    file = code / "worlds" / "problems" / "eyes" / "model.safetensors"

    def names():
        found = []
        for method in ("easyr1", "mdpo"):
            asked = study.Study(load_script(method), study.Plan())
            task = asked._task("base", 1, "test", 8, 1, protocol.Point())
            found.append(asked.job(task).result.name)
        return found

    before = names()
    assert names() == before
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    after = names()
    assert after[0] != before[0] and after[1] == before[1]


def test_a_baselines_job_is_done_again_where_its_script_changed(tmp_path, monkeypatch):
    script = tmp_path / "dpo.py"
    shutil.copy(load_script("dpo").module.__file__, script)
    module = types.ModuleType("dpo")
    module.__file__ = str(script)

    def loaded(name):
        found = load_script(name)
        return dataclasses.replace(found, module=module) if name == "dpo" else found

    monkeypatch.setattr(study, "load_script", loaded)
    asked = study.Study(loaded("mdpo"), study.Plan())
    rows = asked.rows

    def names():
        point = protocol.Point()
        return {row: asked.job(asked._task(row, 1, "test", 8, 1, point)).result for row in rows}

    before = names()
    edit(script, "beta: float = 0.1", "beta: float = 0.2")
    after = names()
    assert {row for row in rows if after[row] != before[row]} == {"dpo"}


def test_a_name_changes_with_a_weight_and_with_every_part(tiny_base, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    from reference_impls.core.stages import model_digest

    copied = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    names = {cache.name_of({"base": model_digest(str(copied)), "seed": 1})}
    assert cache.name_of({"seed": 1, "base": model_digest(tiny_base)}) in names
    names.add(cache.name_of({"base": model_digest(tiny_base), "seed": 2}))
    weights = load_file(copied / "model.safetensors")
    with torch.no_grad():
        next(iter(weights.values())).flatten()[0] += 1e-3
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    names.add(cache.name_of({"base": model_digest(str(copied)), "seed": 1}))
    assert len(names) == 3


def test_numbers_are_made_once_and_again_where_the_file_is_broken(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def make():
        calls.append(1)
        return {"chair_i": 0.25}

    for _ in range(2):
        assert cache.kept("base", {"a": 1}, make) == {"chair_i": 0.25}
    assert len(calls) == 1
    (path,) = cache.folder().glob("base-*.json")
    path.write_text('{"chair_i": 0.')
    assert cache.kept("base", {"a": 1}, make) == {"chair_i": 0.25} and len(calls) == 2
    cache.kept("base", {"a": 2}, make)
    assert len(calls) == 3


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "mmalign").write_text("a file where a folder is wanted")
    assert cache.kept("base", {}, lambda: {"a": 1.0}) == {"a": 1.0}


# --- a study -------------------------------------------------------------------------------------


@pytest.fixture
def tiny_study(tiny_base, tmp_path, monkeypatch):
    """DPO on a base that has learnt nothing, by a plan of few seeds and items, in this process."""
    from reference_impls.bench import experiment
    from reference_impls.core import measure
    from reference_impls.core.worlds.scenes import Scenes

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Scenes, "base", lambda self, seed=0: Path(tiny_base))
    few = functools.partial(measure.held_out_pairs, count=4)
    monkeypatch.setattr(measure, "held_out_pairs", few)
    monkeypatch.setattr(protocol, "FACTORS", (1.0,))
    monkeypatch.setattr(protocol, "SFT_STEPS", (1,))
    script = load_script("dpo")
    settings = lab(3e-4, steps=1, pairs=4, batch_size=4)
    stages = tuple(dataclasses.replace(s, lab=settings) for s in script.method.stages)
    assert isinstance(stages[0], PairStage)
    small = dataclasses.replace(script.method, task="brief", stages=stages)
    script = dataclasses.replace(script, method=small)
    load = {"dpo": script}
    for module in (study, working, experiment):
        real = module.load_script
        monkeypatch.setattr(
            module, "load_script", lambda name, real=real: load.get(name) or real(name)
        )
    done = []

    def here(asked, work, cores=1, report=None):
        for job in asked:
            if not job.done:
                write_json(job.result, work(job.task))
                done.append(job.task)
        return []

    monkeypatch.setattr(study, "run_jobs", here)
    plan = study.Plan(
        tuning=(101,), reporting=(1, 2), further=(), held_out=4, tuning_held_out=4, blocks=2,
        rates=(1e-4, 1e-3),
    )  # fmt: skip
    return study.Study(script, plan), done


def test_a_study_tunes_every_row_reports_other_seeds_and_has_the_form_of_its_page(tiny_study):
    import mmalign
    from mmalign.site import lab as page
    from mmalign.site import pages

    asked, done = tiny_study
    result = json.loads(json.dumps(asked.run()))

    # Tuning on the validation split with its own seeds, reporting on the test split with others.
    assert {(t.split, t.seed) for t in done} == {("validation", 101), ("test", 1), ("test", 2)}
    tuned = [task for task in done if task.split == "validation"]
    assert {task.row for task in tuned} == {"sft", "dpo"}
    for row in ("sft", "dpo"):
        rates = [dict(task.settings)["learning_rate"] for task in tuned if task.row == row]
        assert len(rates) == 3 and {1e-4, 1e-3} <= set(rates)  # and one beyond the edge
    # What a point is not chosen by is not measured there.
    for task in tuned:
        metrics = read_json(asked.job(task).result)["metrics"]
        assert "f1" in metrics and not {"presence", "chosen_logp"} & set(metrics)
    reported = [task for task in done if task.split == "test"]
    assert [task.row for task in reported[:3]] == ["base", "sft", "dpo"] and len(reported) == 6
    assert len({task.settings for task in reported if task.row == "dpo"}) == 1

    assert (result["method"], result["world"], result["world_version"]) == ("dpo", "scenes", 2)
    assert result["seeds"] == [1, 2] and result["protocol"] != "whole"
    (table,) = result["tables"]
    assert [row["name"] for row in table["rows"]] == ["base", "sft", "dpo"]
    assert "chair_i" in table["columns"]
    for row in table["rows"]:
        assert set(row["metrics"]) == set(table["columns"])
        assert all(len(values) == 2 for values in row["metrics"].values())
    assert {v["claim"] for v in result["verdicts"]} == {
        each.claim or each.id for each in asked.script.method.expectations
    }
    for each in result["verdicts"]:
        assert each["verdict"] in ("shown", "contradicted", "equivalent", "undecided")
        assert each["numbers"]["low"] <= each["numbers"]["difference"] <= each["numbers"]["high"]
    assert all("not installed" not in v for v in result["versions"].values())

    checks = result["checks"]
    assert set(checks["budget"]) == {"sft", "dpo"}
    assert checks["budget"]["dpo"] == {"scenes": 4, "steps": 1, "batch": 4}
    (tally,) = checks["data"].values()
    assert tally["pairs"] > 0 and 0 <= tally["truly_better"] <= 1
    best = {row["name"]: row["settings"] for row in table["rows"]}
    for row, scores in result["tuned"].items():
        rates = [float(point.split("learning_rate=")[1].split(",")[0]) for point in scores]
        ends = (min(rates), max(rates))  # as written, to six places
        at_edge = any(math.isclose(best[row]["learning_rate"], end, rel_tol=1e-4) for end in ends)
        assert (row in checks["edge"]) == at_edge

    # One step was trained: a line per trained row that logs a metric, the mean over two seeds.
    drawn = {curve["metric"]: curve["lines"] for curve in result["curves"]}
    assert {line["row"] for line in drawn["rejected_reward"]} == {"dpo"}
    assert {line["row"] for line in drawn["chosen_reward"]} >= {"dpo"}
    assert all(len(line["values"]) == 1 for lines in drawn.values() for line in lines)

    text = page.report(result)
    assert "### Learning curves" in text
    assert "### Held-out metrics" in text and "### Verdicts" in text
    assert "### What could mislead" in text and "truly better" in text
    assert result["command"] in re.sub("<[^>]*>", "", text)
    for column in table["columns"]:
        assert column in text
    made = pages(mmalign.load(), [result])
    assert "Held-out metrics" in made["methods/dpo.md"]
    assert "method" in made["lab/results.md"] and "No result" not in made["lab/results.md"]


def test_a_study_that_was_done_does_nothing_again_and_one_row_more_does_that_row(tiny_study):
    asked, done = tiny_study
    first = asked.run()
    count = len(done)
    assert asked.run() == first and len(done) == count
    results = sorted(asked.folder.glob("*.json"))
    results[0].unlink()
    assert asked.run() == first and len(done) == count + 1


@pytest.mark.parametrize(
    ("name", "steps"), [("dpo", 60), ("opa_dpo", 60), ("omnialign_v", 120), ("rlaif_v", 60)]
)
def test_a_budget_counts_the_steps_of_all_stages_and_rounds(name, steps, world, tmp_path):
    script = load_script(name)
    run = Run(
        script, script.method.config(), "lab", {}, world, world.tasks["describe"], "", tmp_path
    )
    assert working._budget(run)["steps"] == steps


def test_fixed_pairs_do_not_depend_on_the_seed_that_came_first(
    tiny_base, world, tmp_path, monkeypatch
):
    """Rows of one table were scored on different pairs where workers met a base by other seeds."""
    from reference_impls.bench import experiment
    from reference_impls.core import measure

    seen = []

    def sampled(world, task, base, split):
        seen.append((base.seed, base.draws))
        return measure.HeldOutPairs([])

    monkeypatch.setattr(measure, "held_out_pairs", sampled)
    script = load_script("dpo")
    for seed in (1, 4):
        monkeypatch.setattr(experiment, "_SAMPLED", {})
        experiment.Experiment(
            script, script.method.config(), "lab", {}, world, tmp_path, tiny_base, seed=seed
        ).held_out()
    assert len(seen) == 2 and len(set(seen)) == 1


def test_an_untuned_smoke_has_one_job_a_row(tiny_study):
    asked, done = tiny_study
    smoke = dataclasses.replace(study.SMOKE, held_out=4, blocks=2)
    result = study.Study(asked.script, smoke).run()
    assert [(task.row, task.seed) for task in done] == [("base", 1), ("sft", 1), ("dpo", 1)]
    assert result["seeds"] == [1]
    assert all(v["verdict"] == "undecided" for v in result["verdicts"])


def test_all_of_a_smoke_is_asked_at_once_and_one_failure_does_not_stop_the_others(
    tiny_study, tmp_path, monkeypatch
):
    from reference_impls.bench.jobs import JobFailed

    _, done = tiny_study
    smoke = dataclasses.replace(study.SMOKE, held_out=4, blocks=2)
    here, calls = study.run_jobs, []

    def failing(jobs, work, cores=1):
        calls.append([(job.group, job.task.row) for job in jobs])
        broken = [job for job in jobs if job.task.method == "simpo"]
        here([job for job in jobs if job not in broken], work)
        return [JobFailed(f"{job.name}: out of memory") for job in broken]

    monkeypatch.setattr(study, "run_jobs", failing)
    with pytest.raises(JobFailed, match=r"simpo, base.*out of memory"):
        study.bench(["simpo", "dpo"], smoke, 1, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["dpo.json"]
    # The method before its baselines, which are trained on what its data step made.
    assert calls[0][-3:] == [("dpo", "base"), ("dpo", "dpo"), ("dpo", "sft")]
    assert len(done) == 3
    # Ablations are tried, and have no row.
    simpo = [row for group, row in calls[0] if group == "simpo"]
    assert simpo == ["base", "simpo", "sft", "dpo", *load_script("simpo").method.ablations]
    rows = study.Study(load_script("simpo"), smoke).rows
    assert rows == ["base", "sft", "dpo", "simpo"]


def test_baselines_after_several_stages_have_the_rows_of_the_methods_own_run(
    tiny_study, monkeypatch
):
    from reference_impls.bench import experiment

    asked, _ = tiny_study
    (stage,) = asked.script.method.stages
    stages = (dataclasses.replace(stage, name="before"), stage)
    script = dataclasses.replace(
        asked.script, method=dataclasses.replace(asked.script.method, stages=stages)
    )
    real = load_script
    for module in (study, working, experiment):
        monkeypatch.setattr(
            module, "load_script", lambda name: script if name == "dpo" else real(name)
        )
    monkeypatch.setattr(working, "_ROWS", {})
    smoke = dataclasses.replace(study.SMOKE, held_out=4, blocks=2)
    tasks = {job.task.row: job.task for job in study.Study(script, smoke).untuned()}
    working.work(tasks["dpo"])
    ((name, own),) = working._ROWS.items()
    working._ROWS.clear()
    working.work(tasks["sft"])  # which runs the method for its rows, since nobody did
    assert row_digest(working._ROWS[name][0]) == row_digest(own[0])


def test_an_interaction_compares_the_contrast_at_two_levels(tiny_study):
    """(DPO - base) at one level less the same at another, with the settings tuned at the usual."""
    asked, done = tiny_study
    method = asked.script.method
    tested = dataclasses.replace(
        method.expectations[0], id="more-so", levels=("half", "none"), metric="recall"
    )
    script = dataclasses.replace(
        asked.script,
        method=dataclasses.replace(
            method, condition={"unseen": "half"}, expectations=(*method.expectations, tested)
        ),
    )
    found = study.Study(script, asked.plan).run()
    other = [task for task in done if task.levels]
    assert {task.levels for task in other} == {(("unseen", "none"),)}
    assert {(task.row, task.seed, task.split) for task in other} == {
        (row, seed, "test") for row in ("base", "dpo") for seed in (1, 2)
    }
    (used,) = {task.settings for task in done if task.split == "test" and task.row == "dpo"}
    assert dict(used)["learning_rate"] > 0
    usual, none = (
        {row["name"]: row["metrics"]["recall"] for row in table["rows"]}
        for table in found["tables"]
    )
    assert found["tables"][1]["title"] == "The same with unseen none"
    by_hand = [
        (u - b) - (v - c)
        for u, b, v, c in zip(usual["dpo"], usual["base"], none["dpo"], none["base"], strict=True)
    ]
    (verdict,) = [each for each in found["verdicts"] if each["levels"]]
    assert verdict["levels"] == ["half", "none"]
    assert len(by_hand) == verdict["numbers"]["seeds"] == 2
    assert verdict["numbers"]["difference"] == pytest.approx(sum(by_hand) / 2, abs=0.02)


def test_an_interaction_by_hand():
    """Gains of .3 and .5 at one level, of .1 and .2 at the other: (.2 + .3) / 2 = .25."""

    def table(gains):
        of = [{"metrics": {"f1": 0.4 + gain}, "blocks": {}} for gain in gains]
        return {"dpo": of, "base": [{"metrics": {"f1": 0.4}, "blocks": {}} for _ in gains]}

    asked = study.Study(load_script("dpo"), study.Plan())
    (first, *_) = asked.script.method.expectations
    tested = dataclasses.replace(first, metric="f1", levels=("half", "none"))
    levels = {"none": table([0.1, 0.2])}
    found = asked._difference(tested, table([0.3, 0.5]), levels)
    assert found is not None and found.estimate == pytest.approx(0.25)
    plain = asked._difference(dataclasses.replace(tested, levels=()), table([0.3, 0.5]), levels)
    assert plain is not None and plain.estimate == pytest.approx(0.4)


def test_a_curve_is_the_mean_over_seeds_of_what_every_seed_logged():
    rows = {
        "base": [{}, {}],
        "dpo": [{"curve": {"kl": [1.0, 2.0, 5.0]}}, {"curve": {"kl": [3.0, 4.0]}}],
        "half": [{"curve": {"kl": [1.0]}}, {}],
    }
    tuned = {"dpo": {"point": protocol.Point({"learning_rate": 0.1})}}
    (curve,) = study._curves(tuned, rows)
    assert curve == {
        "metric": "kl",
        "lines": [{"row": "dpo", "rate": 0.1, "values": [2.0, 3.0]}],
    }


def test_rounds_stand_in_a_row_in_a_curve(tmp_path):
    for number in (10, 2, 1):
        folder = tmp_path / f"train-{number}"
        folder.mkdir()
        line = json.dumps({"step": 1, "kl": float(number), "other": 3.0})
        (folder / "metrics.jsonl").write_text(line + "\n")
    assert working._curve(tmp_path, "train") == {"kl": [1.0, 2.0, 10.0]}


def test_the_base_and_a_baseline_on_the_same_pairs_are_made_once(tiny_study, monkeypatch):
    """Another method with the same rows takes their numbers."""
    asked, done = tiny_study
    asked.run()
    trained = []
    real = working.run_stages
    monkeypatch.setattr(working, "run_stages", lambda run: trained.append(run) or real(run))
    for task in [task for task in done if task.row in ("base", "sft")]:
        first = json.loads(asked.job(task).result.read_text())
        assert working.work(task) == first
    assert trained == []
    (task, *_) = [task for task in done if task.row == "sft"]
    working.work(dataclasses.replace(task, settings=(("learning_rate", 0.5), ("steps", 1))))
    assert [run.script.name for run in trained] == ["sft"]


def test_points_of_a_grid_share_their_data_step_and_give_what_each_alone_gives(
    tiny_study, monkeypatch
):
    """All but the rate alike: rows and tallies are made once, and nothing comes out otherwise."""
    asked, done = tiny_study
    asked.run()
    tasks = [task for task in done if task.row == "dpo" and task.seed == 101]
    assert len({task.settings for task in tasks}) == len(tasks) > 1
    last = asked.script.method.last
    made = []
    counted = dataclasses.replace(
        last, data=lambda lab, cfg: made.append(lab.seed) or last.data(lab, cfg)
    )
    method = dataclasses.replace(asked.script.method, stages=(counted,))
    script = dataclasses.replace(asked.script, method=method)
    monkeypatch.setattr(working, "load_script", lambda name: script)
    monkeypatch.setattr(working, "_MADE", {})
    together = [working.work(task) for task in tasks]
    assert made == [101]
    working.work(dataclasses.replace(tasks[0], seed=102))
    working.work(dataclasses.replace(tasks[0], config=(("beta", 0.7),)))
    assert made == [101, 102, 101]
    for task, found in zip(tasks, together, strict=True):
        monkeypatch.setattr(working, "_MADE", {})
        assert working.work(task) == found
        assert found["data"]


def test_a_misspelt_metric_is_found_before_anything_is_trained(tiny_study):
    asked, done = tiny_study
    (first, *_) = asked.script.method.expectations
    method = dataclasses.replace(
        asked.script.method, expectations=(dataclasses.replace(first, metric="chair"),)
    )
    wrong = study.Study(dataclasses.replace(asked.script, method=method), asked.plan)
    with pytest.raises(ContractError, match="nobody measures 'chair'; there are chair_i, chair_s"):
        wrong.run()
    assert {task.row for task in done} == {"base"}


def test_a_metric_that_nobody_measures_stops_no_other_study(tmp_path, monkeypatch):
    def run(asked):
        if asked.script.name == "simpo":
            raise ContractError("simpo.py: nobody measures 'chair'")
        return {"method": asked.script.name, "verdicts": []}

    monkeypatch.setattr(study.Study, "run", run)
    with pytest.raises(study.JobFailed, match="nobody measures 'chair'"):
        study.bench(["simpo", "dpo"], study.Plan(), 1, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dpo.json"]


def test_what_is_not_a_result_is_told_before_anything_is_done(tmp_path, monkeypatch):
    write_json(tmp_path / "notes.json", {"note": "mine"})
    monkeypatch.setattr(study.Study, "run", lambda asked: pytest.fail("it was begun"))
    with pytest.raises(ledger.NotAResult, match=r"notes\.json is not a result"):
        study.bench(["dpo"], study.Plan(), 1, tmp_path)


def test_a_row_whose_every_point_diverged_is_a_failure_with_its_name(monkeypatch):
    asked = study.Study(load_script("dpo"), study.Plan())
    monkeypatch.setattr(
        study.Study,
        "_scores",
        lambda self, points: {row: dict.fromkeys(each, math.nan) for row, each in points.items()},
    )
    with pytest.raises(study.JobFailed, match="dpo, sft: no point of the grid"):
        asked.tuned()


def test_every_expectation_is_about_a_metric_with_a_smallest_effect():
    for name in script_names():
        for each in load_script(name).method.expectations:
            assert statistics.smallest_effect(each.metric), (name, each.metric)


def test_a_failed_job_is_the_studys_error(tiny_study, monkeypatch):
    from reference_impls.bench.jobs import JobFailed

    asked, _ = tiny_study
    monkeypatch.setattr(study, "run_jobs", lambda *args: [JobFailed("dpo, base: out of memory")])
    with pytest.raises(JobFailed, match="out of memory"):
        asked.run()


def test_a_study_without_a_result_is_told_at_once_and_the_next_one_goes_on(monkeypatch, capsys):
    from reference_impls.bench.jobs import JobFailed

    def run(self):
        if self.script.name == "dpo":
            raise JobFailed("dpo, base: out of memory")
        assert "no result of dpo: dpo, base: out of memory" in capsys.readouterr().err
        return {"method": self.script.name}

    monkeypatch.setattr(study.Study, "run", run)
    with pytest.raises(JobFailed, match="out of memory"):
        study.bench(["dpo", "mdpo"], study.Plan(), 1)


def test_the_best_point_is_the_highest_and_of_equals_the_gentlest():
    slow, fast = (protocol.Point({"learning_rate": rate}) for rate in (1e-4, 1e-3))
    assert study._best({slow: 0.3, fast: 0.5}) == fast
    assert study._best({fast: 0.5, slow: 0.5}) == slow
    assert study._best({fast: math.nan, slow: 0.1}) == slow


def test_an_ablation_is_tried_with_a_batch_that_its_stage_can_cut():
    sizes = {
        n: study.trial(load_script(n).method.last).settings["batch_size"] for n in ("rl4vlm", "dpo")
    }
    # RL4VLM goes through a batch in four minibatches.
    assert sizes == {"rl4vlm": 4, "dpo": 2}


# --- baselines beside reinforcement ---------------------------------------------------------------


def test_a_baseline_of_groups_samples_as_many_answers_by_epochs_as_by_steps():
    """A pass over N prompts is N answers of PPO, and N times a group's of GRPO."""
    own, other = (load_script(name).method.last for name in ("ppo", "grpo"))
    theirs = dataclasses.replace(other.paper, group_size=8)
    changes = {"batch_size": 512, "steps": None, "epochs": 2.0}
    found = experiment._same_answers(changes, own, own.paper, other, theirs)
    assert found == {"batch_size": 64, "epochs": 0.25}


@pytest.mark.parametrize("name", ["easyr1", "fact_rlhf"])
def test_held_out_answers_of_real_data_are_as_long_as_those_trained_on(name, monkeypatch):
    """And a method that is paid by scores of a model alone asks for no true answers."""
    script = load_script(name)
    rows = [{"prompt": [], "images": [], "answer": "3"}] * 40
    if name == "fact_rlhf":
        rows = [{"prompt": [], "images": []}] * 40
    asked = []

    def answers(policy, kept, most):
        asked.append(most)
        return ["<think> a </think> <answer> 3 </answer>"] * len(kept)

    monkeypatch.setattr(experiment.measure, "answers_of", answers)
    run = types.SimpleNamespace(settings=lambda stage: stage.paper)
    own = types.SimpleNamespace(
        script=script, cfg=script.method.config(), rows=rows, output=None, run_of=lambda *given: run
    )
    found = experiment.Experiment._rewarded(own, None)
    if name == "fact_rlhf":
        assert found == {} and asked == []
    else:
        assert asked == [script.method.last.paper.max_new_tokens] == [2048]
        assert found == {"accuracy": 1.0, "format": 1.0}
