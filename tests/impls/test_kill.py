"""A run that is killed, during saves too, and goes on ends as the one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

CLOCK = {"generating_share"}
"""Metrics that are times."""


def steps(folder):
    """Metrics of each step, without what a clock says."""
    lines = (folder / "train" / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in CLOCK}
        for line in lines
    ]


def tensors(folder):
    found = {}
    for file in sorted((folder / "train" / "model").glob("*.safetensors")):
        found |= load_file(file)
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kills", "options"),
    [
        # 24 rows are 6 batches: 10 steps end in the middle of an epoch.
        ("mpo", 10, ["--pairs", "24", "--batch-size", "4"]),
        ("rloo", 6, ["--pairs", "12", "--batch-size", "2", "--group-size", "4"]),
    ],
)
def test_a_killed_run_ends_as_the_one_that_was_left_alone(
    method, kills, options, tiny_base, tmp_path
):
    command = [
        sys.executable, str(Path(__file__).with_name("killed.py")), str(kills), "7", str(tmp_path),
        method, "--model", tiny_base, "--preset", "lab", *options, "--steps", "10",
        "--answer-length", "24", "--no-baselines", "--scenes", "8",
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, check=False,
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    whole, *cut = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(len(run["killed"]) for run in cut) == kills
    expected = Path(whole["folder"])
    assert [line["step"] for line in steps(expected)] == list(range(1, 11))
    weights = tensors(expected)
    before = load_file(Path(tiny_base) / "model.safetensors")
    assert not all(torch.equal(before[name], value) for name, value in weights.items())
    for run in cut:
        folder = Path(run["folder"])
        assert steps(folder) == steps(expected), run
        ours = tensors(folder)
        assert ours.keys() == weights.keys()
        assert all(torch.equal(ours[name], value) for name, value in weights.items()), run
        results = [json.loads((each / "result.json").read_text()) for each in (folder, expected)]
        assert results[0]["rows"] == results[1]["rows"], run
