"""A run whose disk is full or read-only, whose files were cut, or which is not alone in its folder:
one line, nothing lost, and `--resume` ends as the run that nothing happened to."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reference_impls.core import measure
from reference_impls.core.command_line import run
from reference_impls.core.method import load_script
from reference_impls.core.stages import Run, _identity
from reference_impls.core.train import checkpoints

STEPS = 6
"""Checkpoints are written after each step, and the last two are kept."""


@pytest.fixture(autouse=True)
def _small_evaluation(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "PAIRS", 4)
    monkeypatch.setattr(measure, "SCENES", 8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def arguments(base, output, *more):
    return [
        "--model", base, "--preset", "lab", "--pairs", "12", "--steps", str(STEPS), "--batch-size",
        "4", "--no-baselines", "--scenes", "8", "--output", str(output), *more,
    ]  # fmt: skip


def tensors(output):
    return load_file(output / "train" / "model" / "model.safetensors")


def steps(output):
    lines = (output / "train" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def same(output, expected):
    ours, theirs = tensors(output), tensors(expected)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert steps(output) == steps(expected)
    results = [
        json.loads((each / "result.json").read_text())["rows"] for each in (output, expected)
    ]
    assert results[0] == results[1]


@pytest.fixture(scope="module")
def whole(tiny_base, tmp_path_factory):
    """The folder of a run that nothing happened to. MPO has a state between steps."""
    output = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "PAIRS", 4)
        assert run("mpo", arguments(tiny_base, output)) == 0
    assert [line["step"] for line in steps(output)] == list(range(1, STEPS + 1))
    return output


@pytest.fixture
def stopped(whole, tmp_path):
    """The same run as it lay there before its model was written: two checkpoints, no result."""
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    for name in ("result.json", "table.txt"):
        (output / name).unlink()
    shutil.rmtree(output / "train" / "model")
    return output


def one_line(capsys):
    error = capsys.readouterr().err.strip().splitlines()
    told = [line for line in error if line.startswith("Error:")]
    assert len(told) == 1 and "Traceback" not in "\n".join(error), error
    return told[0]


# --- files that were cut -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "kept.pt", "complete.json"])
def test_a_cut_file_in_the_newest_checkpoint_falls_back_to_the_one_before(
    name, stopped, whole, tiny_base, capsys
):
    file = stopped / "train" / f"checkpoint-{STEPS}" / name
    os.truncate(file, file.stat().st_size // 2)
    assert run("mpo", arguments(tiny_base, stopped, "--resume")) == 0
    error = capsys.readouterr().err
    assert f"checkpoint-{STEPS} is left out" in error
    same(stopped, whole)


def test_no_whole_checkpoint_is_the_beginning(stopped, whole, tiny_base, capsys):
    for step in (STEPS - 1, STEPS):
        os.truncate(stopped / "train" / f"checkpoint-{step}" / "model.safetensors", 10)
    assert run("mpo", arguments(tiny_base, stopped, "--resume")) == 0
    assert "has 10 of" in capsys.readouterr().err
    same(stopped, whole)


def test_a_cut_model_is_written_again(whole, tiny_base, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    os.truncate(output / "train" / "model" / "model.safetensors", 1000)
    assert run("mpo", arguments(tiny_base, output, "--resume")) == 0
    same(output, whole)


def test_a_damaged_identity_is_refused(stopped, tiny_base, capsys):
    (stopped / "train" / "run.json").write_text("{")
    assert run("mpo", arguments(tiny_base, stopped, "--resume")) == 1
    assert "run.json' is damaged" in one_line(capsys)


def test_the_model_of_an_older_run_is_not_taken_for_a_newer_ones(whole, tmp_path):
    """A finished run, another one begun in its folder and killed before its first checkpoint."""
    folder = tmp_path / "train"
    shutil.copytree(whole / "train", folder)
    identity = json.loads((folder / "run.json").read_text())
    assert checkpoints.finished(folder, identity)
    other = {**identity, "method": "another"}
    assert checkpoints.begin(folder, other, resume=False) is None
    assert not checkpoints.finished(folder, other)
    assert not (folder / "model").exists()


# --- disks that are full or read-only ------------------------------------------------------------


@pytest.fixture
def small_files():
    """Writing past half a megabyte fails, as on a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextlib.contextmanager
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


def test_a_checkpoint_that_cannot_be_written_is_one_line_and_loses_nothing(
    stopped, whole, tiny_base, capsys, small_files
):
    shutil.rmtree(stopped / "train" / f"checkpoint-{STEPS}")
    with small_files():
        assert run("mpo", arguments(tiny_base, stopped, "--resume")) == 1
    said = one_line(capsys)
    assert f"checkpoint-{STEPS}'" in said and "--resume" in said
    found = sorted(path.name for path in (stopped / "train").glob("checkpoint-*"))
    assert found == [f"checkpoint-{STEPS - 1}"]
    assert run("mpo", arguments(tiny_base, stopped, "--resume")) == 0
    same(stopped, whole)


def mounted(folder, *options):
    """Whether a file system in memory could be mounted: only root may, and not everywhere."""
    folder.mkdir(exist_ok=True)
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("size", [8192, 1_000_000, 2_000_000, 3_500_000, 5_000_000, 6_500_000])
def test_a_full_disk(size, whole, tiny_base, tmp_path, capsys):
    """From a disk that takes no file to one on which the model itself has no room left."""
    disk = tmp_path / "disk"
    if not mounted(disk, "-o", f"size={size}"):
        pytest.skip("no file system can be mounted here")
    try:
        assert run("mpo", arguments(tiny_base, disk / "out")) == 1
        one_line(capsys)
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        assert run("mpo", arguments(tiny_base, disk / "out", "--resume")) == 0
        same(disk / "out", whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("inside", ["", "out"])
def test_a_read_only_folder(inside, tiny_base, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid():
        disk.chmod(0o555)
    elif not mounted(disk, "-o", "ro"):
        pytest.skip("root writes everywhere, and nothing can be mounted here")
    try:
        assert run("mpo", arguments(tiny_base, disk / inside)) == 2
        assert "cannot write" in one_line(capsys)
        assert list(disk.iterdir()) == []
    finally:
        if os.geteuid():
            disk.chmod(0o755)
        else:
            subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_could_not_be_written_is_named_and_the_old_one_stays(tmp_path, small_files):
    file = tmp_path / "result.json"
    checkpoints.write_json(file, {"a": 1})
    with small_files(), pytest.raises(OSError, match=r"result\.json"):
        checkpoints.write_text(file, "x" * 600_000)
    assert json.loads(file.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


# --- two runs in one folder ----------------------------------------------------------------------


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_in_a_folder_is_refused_with_the_first_ones_process(
    whole, tiny_base, tmp_path, capsys
):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    reading, writing = os.pipe()
    ending = os.pipe()
    child = os.fork()
    if not child:
        with checkpoints.alone(output):
            os.write(writing, b"!")
            os.read(ending[0], 1)
        os._exit(0)
    os.read(reading, 1)
    before = contents(output)
    for more in ([], ["--resume"], ["--overwrite"]):
        assert run("mpo", arguments(tiny_base, output, *more)) == 2
        assert f"process {child}" in one_line(capsys)
    assert contents(output) == before
    os.write(ending[1], b"!")
    os.waitpid(child, 0)
    assert run("mpo", arguments(tiny_base, output, "--resume")) == 0


def test_a_killed_run_leaves_no_lock_behind(tmp_path):
    child = os.fork()
    if not child:
        lock = checkpoints.alone(tmp_path)
        lock.__enter__()
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with checkpoints.alone(tmp_path):
        assert json.loads((tmp_path / checkpoints.HOLDER).read_text())["pid"] == os.getpid()
    assert not (tmp_path / checkpoints.HOLDER).exists()


def test_an_unfinished_run_is_begun_anew_only_when_asked(stopped, whole, tiny_base, capsys):
    before = contents(stopped)
    assert run("mpo", arguments(tiny_base, stopped)) == 2
    assert "--resume" in one_line(capsys)
    after = {path for path in contents(stopped) if path.name != checkpoints.LOCK}
    assert after == {path for path in before if path.name != checkpoints.LOCK}
    assert run("mpo", arguments(tiny_base, stopped, "--overwrite")) == 0
    same(stopped, whole)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--learning-rate", "0.5"], "changes.learning_rate is null there and 0.5 here"),
        (["--set", "beta=0.7"], "config.beta is 0.1 there and 0.7 here"),
        (["--condition", "margins=shuffled"], "margins is "),
    ],
)
def test_to_go_on_with_other_settings_leaves_those_of_the_results(
    more, told, whole, tiny_base, tmp_path, capsys
):
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    before = contents(output)
    assert run("mpo", arguments(tiny_base, output, "--resume", *more)) == 1
    assert told in one_line(capsys)
    assert {p: t for p, t in contents(output).items() if p.name != checkpoints.LOCK} == {
        p: t for p, t in before.items() if p.name != checkpoints.LOCK
    }


def test_another_world_under_the_same_rows_is_another_run(tiny_base, tmp_path, world):
    """A judge or an environment that is asked in training shows in no row."""
    script = load_script("dpo")
    stage = script.method.last
    identities = []
    for level in ("0", "0.4"):
        under = world.under({"annotator-error": level})
        cfg, task = script.method.config(), under.tasks["describe"]
        asked = Run(script, cfg, "lab", {}, under, task, tiny_base, tmp_path)
        identities.append(_identity(asked, stage, stage.lab, [], tiny_base))
    assert identities[0] != identities[1]


def test_results_of_an_older_run_do_not_stay_beside_the_settings_of_a_newer(
    whole, tiny_base, tmp_path, monkeypatch
):
    from reference_impls.bench.experiment import Experiment

    output = tmp_path / "out"
    shutil.copytree(whole, output)
    monkeypatch.setattr(Experiment, "run", lambda self: 1 / 0)
    assert run("mpo", arguments(tiny_base, output, "--seed", "2")) == 1
    assert not (output / "result.json").exists() and not (output / "table.txt").exists()
    assert Path(output / "config.json").exists()
