"""`mmalign run` as a user meets it: results, files, stops and bad input."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from reference_impls.core.command_line import chosen_config, chosen_world, run, table
from reference_impls.core.method import ContractError
from tests.impls.scripts import SCRIPTS

QUICK = ["--steps", "2", "--pairs", "12", "--batch-size", "4"]
METRICS = {
    "chair_i", "chair_s", "recall", "pope_accuracy", "pope_f1", "length", "chosen_logp",
    "rejected_logp", "image_sensitivity",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small_evaluation(monkeypatch, tmp_path, tiny_base):
    """Few scenes, short answers, and a base that has learnt nothing."""
    from reference_impls.core import measure
    from reference_impls.core.worlds.scenes import Scenes
    from reference_impls.core.worlds.scenes.tasks import Count, Description, Presence

    monkeypatch.setattr(measure, "SCENES", 8)
    monkeypatch.setattr(measure, "PAIRS", 8)
    monkeypatch.setattr(Scenes, "base", lambda world, seed=0: Path(tiny_base))
    for task in (Description, Presence, Count):
        monkeypatch.setattr(task, "max_new_tokens", 6)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_run_prints_its_rows_and_leaves_its_files(tmp_path, capsys):
    assert run("mdpo", [*QUICK, "--output", str(tmp_path / "out"), "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert list(result["rows"]) == ["base", "sft", "dpo", "mdpo"]
    assert all(set(row) >= METRICS for row in result["rows"].values())
    assert {"method", "world", "seed", "device", "preset", "seconds"} <= set(result)
    assert result["method"] == "mdpo" and result["preset"] == "lab"
    assert "training" in captured.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "result.json", "table.txt", "train"} <= names
    inside = {path.name for path in (tmp_path / "out" / "train").iterdir()}
    assert {"metrics.jsonl", "run.json", "model"} <= inside
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["config"]["beta"] == 0.1 and config["versions"]["trl"].startswith("1.16")
    assert config["changes"]["steps"] == 2 and config["versions"]["mmalign"]
    assert (tmp_path / "out" / "table.txt").read_text() == table(result) + "\n"


def test_baselines_come_from_the_cache_the_second_time(tmp_path, capsys):
    command = [*QUICK, "--output", str(tmp_path / "out"), "--json"]
    assert run("dpo", command) == 0
    first = json.loads(capsys.readouterr().out)["rows"]
    assert len(list((tmp_path / "cache" / "mmalign" / "lab").glob("sft-*.json"))) == 1
    assert run("dpo", command) == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["rows"] == first
    assert "sft: step" not in again.err


def test_a_reinforcement_run_has_its_parent_in_place_of_dpo(tmp_path, capsys):
    options = [
        "--steps",
        "1",
        "--pairs",
        "8",
        "--batch-size",
        "2",
        "--output",
        str(tmp_path),
        "--json",
    ]
    assert run("r1-v", options) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert list(rows) == ["base", "sft", "grpo", "r1-v"]
    assert "accuracy" in rows["r1-v"]


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("mddpo", [], "did you mean mdpo or ddpo"),
        ("mdpo", ["--sed", "3"], "No such option"),
        ("mdpo", ["--steps", "none"], "'none' is not a valid integer"),
        ("mdpo", ["--learning-rate", "inf"], "inf is not a finite number"),
        ("mdpo", ["--epochs", "nan"], "not a finite number"),
        ("r1-v", ["--temperature", "1e-320"], "is not in the range"),
        ("mdpo", ["--seed", "-5"], "is not in the range"),
        ("easyr1", ["--set", "clip_ratio_dual=0.5"], "it must be 1 or more"),
        ("mm-eureka", ["--set", "tries=1"], "it must be 2 or more"),
        ("best-of-n", ["--set", "n=0"], "n is 0; it must be 1 or more"),
        ("dpo", ["--learning-rate", "1e300"], "is not in the range"),
        ("mdpo", ["--set", "anchr=0"], "did you mean anchor"),
        ("mdpo", ["--set", "anchor=much"], "'much' is not float"),
        ("mdpo", ["--set", "anchor"], "NAME=VALUE"),
        ("mdpo", ["--set", "anchor=nan"], "not a finite number"),
        ("r1-v", ["--set", "format_reward=maybe"], "not true or false"),
        ("mdpo", ["--set", "variant=code"], "use --variant"),
        ("mdpo", ["--condition", "prior"], "NAME=LEVEL"),
        ("mdpo", ["--condition", "prior=often"], "no level 'often'"),
        ("mdpo", ["--condition", "weather=wet"], "no condition 'weather'"),
        ("mdpo", ["--world", "moon"], "no world 'moon'"),
        ("mdpo", ["--steps", "2", "--epochs", "1"], "not both"),
        ("rl4vlm", ["--world", "scenes"], "--world: the world scenes has no task 'act'"),
        ("rl4vlm", ["--model", ".", "--dataset", "."], "no row of a dataset begins an episode"),
        ("rl4vlm", ["--dataset", "."], "no row of a dataset begins an episode"),
        ("mdpo", ["--model", "./nowhere"], "there is nothing at './nowhere'"),
        ("mdpo", ["--dataset", "./nowhere"], "there is nothing at './nowhere'"),
        ("mdpo", ["--dataset", "a:b/c", "--model", "a:b/c"], "there is nothing at 'a:b/c'"),
        ("mdpo", ["--output", ""], "a value is wanted"),
        ("mdpo", ["--device", "tpu"], "none of cpu, cuda, mps"),
        ("mdpo", ["--variant", "papper"], "'papper' is not one of"),
        ("mdpo", ["--resume", "--output", "./nowhere"], "no run in 'nowhere'"),
        ("dpo", ["--batch-size", "4", "--per-device-batch-size", "3"], "passes of 3 do not divide"),
        ("best-of-n", ["--batch-size", "4", "--per-device-batch-size", "3"], "do not divide"),
        ("ppo", ["--batch-size", "1"], "cannot be cut into 2 minibatches"),
        ("ppo", ["--batch-size", "1", "--model", ".", "--dry-run"], "into 2 minibatches"),
        ("ppo", ["--per-device-batch-size", "16"], "grpo, train: a batch of 8 is 8 per process"),
        ("vision-r1", ["--per-device-batch-size", "8"], "suppressed: a batch of 4 is 4"),
        ("fact-rlhf", ["--batch-size", "48", "--per-device-batch-size", "24"], "reward: a batch"),
        ("ppo", ["--dtype", "float16"], "ppo, train: --dtype float16"),
        ("grpo", ["--lora-alpha", "4"], "grpo, train: --lora-alpha"),
        ("ppo", ["--stored-reference"], "--stored-reference: ppo has no reference"),
        ("mmr1-math-v0", ["--set", "tries=0"], "tries is 0; it must be 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_two(
    method, options, said, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run(method, options) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and said in captured.err
    assert len(captured.err.strip().splitlines()) == 1 and "Traceback" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyError("x"), 70), (TypeError("x"), 70), (AssertionError(), 70), (ValueError("x"), 1),
     (RuntimeError("x"), 1), (OSError("x"), 1), (ContractError("x"), 1)],
)  # fmt: skip
def test_a_fault_of_the_lab_is_told_from_trouble_outside(error, status, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("reference_impls.core.command_line.check_paths", fail)
    assert run("dpo", QUICK) == status
    said = capsys.readouterr().err.strip()
    assert said.startswith("Error: ") and "\n" not in said and "MMALIGN_DEBUG" in said


def test_an_output_that_cannot_be_written_is_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert run("mdpo", ["--output", str(tmp_path / "file" / "out")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_folder_that_is_no_model_is_refused(capsys, tmp_path):
    (tmp_path / "model").mkdir()
    assert run("dpo", ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")]) in (
        1,
        2,
    )
    error = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "".join(error) and error[-1].startswith("Error:")


def test_config_values_keep_their_types():
    cfg = chosen_config(SCRIPTS["mdpo"], "code", ("anchor=0", "beta=0.2"))
    assert (cfg.variant, cfg.anchor, cfg.beta) == ("code", 0.0, 0.2)
    assert chosen_config(SCRIPTS["r1_v"], None, ("format_reward=no",)).format_reward is False
    assert chosen_config(SCRIPTS["r1_v"], None, ("format_reward=yes",)).format_reward is True


def test_a_level_that_the_script_asks_for_is_not_laid_to_an_option():
    script = SCRIPTS["dpo"]
    method = dataclasses.replace(script.method, condition={"prior": "often"})
    with pytest.raises(click.UsageError, match=r"dpo\.py, METHOD: .*no level 'often'"):
        chosen_world(dataclasses.replace(script, method=method), None, ())


@pytest.mark.slow
def test_a_signal_stops_a_run_that_can_be_resumed(tmp_path, tiny_base):
    """The real program, interrupted in the middle of training, goes on and ends well."""
    command = [
        sys.executable, "-m", "reference_impls.methods.dpo", "--pairs", "40", "--steps", "40",
        "--batch-size", "8", "--no-baselines", "--output", str(tmp_path / "out"), "--model",
        tiny_base, "--preset", "lab", "--scenes", "8",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "out" / "train" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= 3:
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=120)[1]
    assert running.returncode == 130, error
    assert "--resume" in error and "Traceback" not in error
    done = len(metrics.read_text().splitlines())
    assert 3 <= done < 40
    finished = subprocess.run(
        [*command, "--resume"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 41))


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("mdpo", ["--group-size", "4"]),
        ("fdpo", ["--group-size", "4"]),
        ("ppo", ["--group-size", "4"]),
        ("sft", ["--temperature", "0.7"]),
        ("dpo", ["--answer-length", "8"]),
        ("simpo", ["--generate-with", "vllm"]),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(method, option, capsys):
    assert run(method, option) == 2
    said = capsys.readouterr().err
    assert ("samples groups" in said) == (option[0] == "--group-size")  # PPO does sample
    assert f"{option[0]} would change nothing: " in said and "Traceback" not in said
