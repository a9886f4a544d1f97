"""Several processes: one process's losses, whichever launch configuration and trainer.

They are forked from a fresh process (`joined`), with the environment that `accelerate launch` makes
of a configuration; one test starts the real launchers.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file

from reference_impls.core import processes
from reference_impls.core.settings import lab
from reference_impls.core.train import common, sharded
from tests.impls.joined import LAUNCH, environment, free_port

ROOT = LAUNCH.parents[1]
CONFIGURATIONS = sorted(path.stem for path in LAUNCH.glob("*.yaml"))
QUICK = [
    "--preset", "lab", "--pairs", "12", "--steps", "3", "--batch-size", "4", "--no-baselines",
    "--scenes", "8",
]  # fmt: skip
SAMPLED = ["--answer-length", "6", "--group-size", "4"]
"""What methods that sample in training are given besides."""


def in_processes(count, arguments, configuration=None, sharded=False):
    """Exit statuses of so many processes that run a method together, and what they said."""
    given = {"count": count, "arguments": arguments, "configuration": configuration}
    done = subprocess.run(
        [sys.executable, "-m", "tests.impls.joined", json.dumps(given | {"sharded": sharded})],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def metrics(output):
    lines = (output / "train" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def alike(ours, theirs):
    """The same losses and metrics of each step, and weights that differ by rounding alone."""
    for mine, other in zip(metrics(ours), metrics(theirs), strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"generating_share"}:
            assert mine[name] == pytest.approx(other[name], rel=2e-4, abs=2e-5), name
    file = next(path.name for path in (ours / "train" / "model").glob("*.safetensors"))
    first, second = (load_file(each / "train" / "model" / file) for each in (ours, theirs))
    assert first.keys() == second.keys()
    # Adam's first steps have the size of the rate wherever a gradient is not 0, whatever its size.
    apart = torch.cat([(first[name] - second[name]).abs().flatten() for name in first])
    assert apart.quantile(0.99) < 1e-5 if len(apart) < 2**24 else apart.mean() < 1e-6
    assert json.loads((ours / "result.json").read_text())["rows"].keys() == (
        json.loads((theirs / "result.json").read_text())["rows"].keys()
    )


METHODS = {
    "dpo": ["dpo"],
    "mpo": ["mpo", "--per-device-batch-size", "1"],
    "grpo": ["grpo", *SAMPLED],
    "reward_model": ["reward_model"],
    "lora": ["dpo", "--lora-rank", "4"],
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_configurations_are_read_by_accelerate(configuration):
    if configuration.startswith("zero"):
        pytest.importorskip("deepspeed")  # without it, accelerate's launcher ends
    found = environment(configuration)
    assert found.get("ACCELERATE_MIXED_PRECISION", "no") == "no"
    text = (LAUNCH / f"{configuration}.yaml").read_text()
    assert text.startswith("# ")
    if configuration == "fsdp2":
        assert found["ACCELERATE_USE_FSDP"] == "true" and found["FSDP_VERSION"] == "2"
        assert found["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_configurations_have_no_key_that_accelerate_does_not_know(configuration):
    """Its own reading, which needs no DeepSpeed and refuses keys that it does not know; the inner
    ones are options of its launcher (`--zero_stage`)."""
    found = load_config_from_file(str(LAUNCH / f"{configuration}.yaml"))
    options = vars(launch_command_parser().parse_args(["x"]))
    kind, inner = found.distributed_type.value, found.deepspeed_config | found.fsdp_config
    assert inner.keys() <= options.keys()
    if configuration.startswith("zero"):
        assert kind == "DEEPSPEED" and inner["zero_stage"] == int(configuration[-1])
        assert inner.get("zero3_save_16bit_model", False) == (configuration == "zero3")
    else:
        assert kind == {"ddp": "MULTI_GPU", "ddp-cpu": "MULTI_CPU", "fsdp2": "FSDP"}[configuration]


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tiny_base, tmp_path):
    """One method, a state between steps, over accumulated passes."""
    base = [*METHODS["mpo"], *QUICK, "--model", tiny_base]
    assert in_processes(1, [*base, "--output", str(tmp_path / "one")])[0] == [0]
    assert in_processes(2, [*base, "--output", str(tmp_path / "two")], "ddp-cpu")[0] == [0, 0]
    alike(tmp_path / "two", tmp_path / "one")
    assert not list((tmp_path / "two").glob("**/.*.lock*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("configuration", "method"),
    [
        (configuration, method)
        for configuration in ("ddp-cpu", "fsdp2")
        for method in METHODS
        if (configuration, method) != ("fsdp2", "lora")  # refused: see the next test
    ],
)
def test_every_trainer_in_two_processes(configuration, method, tiny_base, tmp_path):
    base = [*METHODS[method], *QUICK, "--model", tiny_base]
    sharded = configuration == "fsdp2"
    assert in_processes(1, [*base, "--output", str(tmp_path / "one")])[0] == [0]
    two = [*base, "--output", str(tmp_path / "two")]
    assert in_processes(2, two, configuration, sharded)[0] == [0, 0]
    alike(tmp_path / "two", tmp_path / "one")
    assert not (tmp_path / "two" / "train" / "gathered").exists()


@pytest.mark.slow
def test_an_adapter_in_pieces_is_refused(tiny_base, tmp_path):
    base = [*METHODS["lora"], *QUICK, "--model", tiny_base]
    two = [*base, "--output", str(tmp_path / "two")]
    found, said = in_processes(2, two, "fsdp2", sharded=True)
    assert found == [1, 1]
    assert "wants PEFT 0.22 or newer" in said


@pytest.mark.parametrize("fsdp", [True, False])
def test_an_adapter_in_pieces_is_refused_before_training(fsdp):
    model = torch.nn.Linear(1, 1)
    model.peft_config = {}
    trainer = SimpleNamespace(
        model=model, is_fsdp_enabled=fsdp, is_deepspeed_enabled=not fsdp,
        accelerator=SimpleNamespace(state=SimpleNamespace(fsdp_plugin=None)),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"wants PEFT 0\.22 or newer.*launch with ddp\.yaml"):
        sharded.prepare(trainer)
    trainer.is_fsdp_enabled = trainer.is_deepspeed_enabled = False
    sharded.prepare(trainer)  # every process has the whole model: nothing to refuse


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_exactly(tiny_base, tmp_path):
    """From the checkpoint before the last, as after a kill."""
    import shutil

    base = [*METHODS["mpo"], *QUICK, "--model", tiny_base, "--output"]
    assert in_processes(2, [*base, str(tmp_path / "one")], "ddp-cpu")[0] == [0, 0]
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "result.json").unlink()
    shutil.rmtree(tmp_path / "two" / "train" / "model")
    shutil.rmtree(tmp_path / "two" / "train" / "checkpoint-3")
    again = [*base, str(tmp_path / "two"), "--resume"]
    assert in_processes(2, again, "ddp-cpu")[0] == [0, 0]
    assert metrics(tmp_path / "two") == metrics(tmp_path / "one")
    models = [each / "train" / "model" / "model.safetensors" for each in tmp_path.iterdir()]
    assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_the_launchers_themselves(launcher, tiny_base, tmp_path):
    command = {
        "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        "accelerate": [
            "-m", "accelerate.commands.launch", "--config_file", str(LAUNCH / "ddp-cpu.yaml"),
            "--main_process_port", str(free_port()),
        ],
    }  # fmt: skip
    arguments = [*QUICK, "--model", tiny_base, "--output", str(tmp_path / "out"), "--json"]
    done = subprocess.run(
        [sys.executable, *command[launcher], "-m", "mmalign", "run", "dpo", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["rows"].keys() == {"base", "dpo"}  # one result, not two
    assert done.stderr.count("evaluating the base") == 1
    assert [line["step"] for line in metrics(tmp_path / "out")] == [1, 2, 3]


def test_a_fault_of_several_processes_is_one_line(tiny_base, tmp_path):
    (tmp_path / "out").write_text("")
    two = ["dpo", *QUICK, "--model", tiny_base, "--output", str(tmp_path / "out")]
    (first, second), said = in_processes(2, two, "ddp-cpu")
    assert first == 2 and second in (1, 2)  # it hears of it, or meets the same fault
    assert said.count("cannot write to") == 1


def test_a_device_or_precision_that_the_launcher_contradicts_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES=1"):
        processes.join("cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    with pytest.raises(ValueError, match="told to use the CPU"):
        processes.join("cuda")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(ValueError, match="--dtype decides"):
        common.arguments(lab(1e-4), Path("out"))
