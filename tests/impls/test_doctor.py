"""The health of a run: each sign is seen where it should be, and nowhere else."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest

from reference_impls.core import doctor
from reference_impls.core.doctor import ADVICE, NoRun, Sign, examine

DOCS = Path(__file__).parents[2] / "docs"
STEPS = 40


def log(**metrics):
    """Steps whose metrics are functions of the share of the training done."""
    made = []
    for number in range(STEPS):
        done = number / (STEPS - 1)
        step = {name: of(done) for name, of in metrics.items()}
        made.append({"step": number + 1, "loss": 0.7 - 0.3 * done, "grad_norm": 1.0, **step})
    return made


def noisy(at, to, width, seed=0):
    rng = random.Random(seed)
    return lambda done: at + (to - at) * done + rng.gauss(0, width)


SICK = {
    "not-finite": {"loss": lambda done: math.nan if done > 0.5 else 0.7},
    "dead-gradients": {"grad_norm": lambda done: 0.0 if done > 0.4 else 1.0},
    "loss-at-zero": {"loss": lambda done: 0.7 * (1 - done) ** 4, "chosen_reward": lambda done: 1.0},
    "chosen-falls": {"chosen_reward": noisy(0, -1, 0.1)},
    "far-from-reference": {"kl": noisy(0, 2, 0.1)},
    "entropy-collapses": {"entropy": lambda done: 0.02 + 0.98 * (1 - done) ** 4},
    "entropy-grows": {"entropy": noisy(0.3, 2, 0.1)},
    "clipped": {"clip_fraction": noisy(0.1, 0.6, 0.02)},
    "length-drifts": {"answer_tokens": noisy(20, 60, 1)},
    "no-signal": {"groups_without_signal": lambda done: 0.5 + 0.5 * done},
    "reward-hacked": {"reward": noisy(0, 1, 0.1), "true_score": noisy(0.6, 0.4, 0.02, 1)},
}


@pytest.mark.parametrize("sign", SICK)
def test_a_sign_for_each_kind_of_log(sign):
    assert [name for name, _ in doctor.of_steps(log(**SICK[sign]))] == [sign]


@pytest.mark.parametrize(
    "healthy",
    [
        {},
        {"chosen_reward": noisy(0, 1, 0.1), "loss": lambda done: 0.7 - 0.4 * done},
        {"chosen_reward": noisy(0, 0, 0.1)},  # no further than chance
        {"reward": noisy(0, 1, 0.1), "true_score": noisy(0.5, 0.6, 0.02, 1)},
        {"reward": noisy(0, 1, 0.1), "true_score": noisy(0.5, 0.5, 0.1, 1)},
        {"reward": noisy(0, 0, 0.1), "true_score": noisy(0.6, 0.4, 0.02, 1)},
        {"kl": noisy(0, 0.2, 0.02), "entropy": noisy(0.5, 0.2, 0.02)},
        {"answer_tokens": noisy(20, 25, 1), "clip_fraction": noisy(0.0, 0.1, 0.02)},
        {"loss": lambda done: -0.01 * done},  # of reinforcement: no pairs, and below 0
    ],
)
def test_a_healthy_log_has_no_signs(healthy):
    assert doctor.of_steps(log(**healthy)) == []


def test_metrics_of_some_steps_and_logs_of_few():
    steps = log(kl=lambda done: 5.0)
    for step in steps[::2]:
        del step["kl"]
    assert [name for name, _ in doctor.of_steps(steps)] == ["far-from-reference"]
    assert doctor.of_steps(steps[:19]) == []
    assert [name for name, _ in doctor.of_steps([{"step": 1, "loss": math.inf}])] == ["not-finite"]
    assert doctor.of_steps([]) == []


BASE = {"length": 20.0, "chosen_logp": -9.0, "image_sensitivity": 5.0, "parse": 1.0, "recall": 0.8}


@pytest.mark.parametrize(
    ("sign", "changed"),
    [
        ("length-drifts", {"length": 31.0, "recall": 0.7}),
        ("length-drifts", {"length": 13.0, "recall": 0.7}),
        ("chosen-falls", {"chosen_logp": -10.5, "recall": 0.9}),
        ("image-unused", {"image_sensitivity": 0.4, "recall": 0.9}),
        ("unreadable", {"parse": 0.9}),
        ("unchanged", {"recall": 0.805, "chosen_logp": -9.05}),
    ],
)
def test_a_sign_for_each_kind_of_result(sign, changed):
    rows = {"base": BASE, "dpo": BASE | changed}
    assert [name for name, _ in doctor.of_rows("dpo", rows)] == [sign]
    assert doctor.of_rows("dpo", {"dpo": rows["dpo"]}) == []
    assert doctor.of_rows("dpo", {"base": BASE, "dpo": BASE | {"recall": 0.9}}) == []


def test_the_folder_of_a_run(tmp_path):
    with pytest.raises(NoRun, match="holds neither"):
        examine(tmp_path)
    stage = tmp_path / "baselines" / "sft" / "train"
    stage.mkdir(parents=True)
    lines = [json.dumps(step) for step in log(kl=lambda done: 2.0)]
    (stage / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 41, "lo')
    (sign,) = examine(tmp_path)
    assert sign == Sign(
        "far-from-reference", "baselines/sft/train",
        "KL from the reference went from 2 to 2 nats per token",
    )  # fmt: skip
    assert sign.advice == ADVICE["far-from-reference"]
    result = {"method": "dpo", "rows": {"base": BASE, "dpo": BASE | {"parse": 0.5}}}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert [sign.where for sign in examine(tmp_path)] == ["baselines/sft/train", "result"]
    (tmp_path / "result.json").write_text("{")
    assert [sign.where for sign in examine(tmp_path)] == ["baselines/sft/train"]
    (stage / "metrics.jsonl").write_text("")
    with pytest.raises(NoRun, match="is not the result of a run"):
        examine(tmp_path)
    (tmp_path / "result.json").unlink()
    with pytest.raises(NoRun, match="no step yet"):
        examine(tmp_path)


def test_what_is_not_a_number_is_left_out_and_steps_are_put_in_order(tmp_path):
    path = tmp_path / "metrics.jsonl"
    odd = [None, "abc", [1], True, 10**400, {"mean": 1}]
    lines = [
        {"step": 1 + n, "loss": odd[n % 6], "kl": 1e308, "note": "a\u2028b"} for n in range(30)
    ]
    lines += [{"step": 2, "loss": 0.5}, {"step": "x", "loss": math.nan}, [1], 3]
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in reversed(lines))
    path.write_text("\ufeff" + text + "[" * 100_000)
    steps = doctor.read_log(path)
    assert [step["step"] for step in steps] == list(range(1, 31))
    assert not any("loss" in step or "note" in step for step in steps[2:])
    assert doctor.of_steps(steps) == []  # no mean of such numbers can be had
    for value in odd:
        rows = {"base": BASE, "dpo": BASE | {"length": value, "recall": 0.9}}
        (tmp_path / "result.json").write_text(json.dumps({"method": "dpo", "rows": rows}))
        assert examine(tmp_path) == []
    (tmp_path / "result.json").write_text(json.dumps({"method": "xpo", "rows": rows}))
    with pytest.raises(NoRun, match="no rows of the base and of 'xpo'"):
        examine(tmp_path)


@pytest.mark.parametrize(
    "harmless",
    [
        {"chosen_reward": lambda done: -1e-12 * done},
        {"entropy": lambda done: -1.0},
        {"entropy": lambda done: 1e-9 * done},
        {"loss": lambda done: 0.0, "chosen_reward": lambda done: 1.0},
        {"kl": lambda done: 40.0 if done == 1 else 0.01},
    ],
)
def test_what_is_hardly_there_is_not_a_sign(harmless):
    assert doctor.of_steps(log(**harmless)) == []


def test_runs_below_a_folder_are_read_too(tmp_path):
    for name, length in (("a", 20.0), ("b", 60.0)):
        (tmp_path / name).mkdir()
        rows = {"base": BASE, "dpo": BASE | {"length": length, "recall": 0.9}}
        result = json.dumps({"method": "dpo", "rows": rows})
        (tmp_path / name / "result.json").write_text(result)
    assert [(s.id, s.where) for s in examine(tmp_path)] == [("length-drifts", "b/result")]
    (tmp_path / "b" / "result.json").write_text('{"another": "program\'s"}')
    assert examine(tmp_path) == []


def test_every_sign_is_in_the_guide_and_is_seen_in_a_test():
    page = (DOCS / "guide" / "when-it-goes-wrong.md").read_text()
    for name, advice in ADVICE.items():
        assert f"| `{name}` | " in page and f" | {advice} |" in page, name
    seen = {*SICK, "image-unused", "unreadable", "unchanged"}
    assert seen == set(ADVICE)


def test_reading_a_run_needs_no_torch():
    code = "import sys, reference_impls.core.doctor; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
