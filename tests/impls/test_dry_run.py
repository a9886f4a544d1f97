"""What a run would take: against peaks of memory and counts of operations of the real trainer."""

import copy
import json
import os
import random
import re
from pathlib import Path

import peft  # noqa: F401 - whose import takes memory, before a child is forked
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2_5_VLConfig

from reference_impls.core import dry_run
from reference_impls.core.command_line import run
from reference_impls.core.model.load import CannotLoad
from reference_impls.core.settings import lab
from reference_impls.core.train import common
from reference_impls.core.train.pairs import train_pairs
from tests.impls import stages_for_tests, tiny_models

ROWS = 4
PROCESS = 60 << 20
"""Bytes that the libraries take when they are first used, whatever the model."""


def qwen(hidden, inner, layers, heads, kv_heads, vocabulary, tied):
    """Published shapes of Qwen2.5-VL (config.json of Qwen/Qwen2.5-VL-3B- and 7B-Instruct)."""
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary, "tie_word_embeddings": tied,
        },
        vision_config={
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "out_hidden_size": hidden, "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        tie_word_embeddings=tied,
    )  # fmt: skip


SHAPES = {
    "3B": qwen(2048, 11008, 36, 16, 2, 151936, True),
    "7B": qwen(3584, 18944, 28, 28, 4, 152064, False),
}


def settings(**changes):
    given = {"batch_size": 4, "dtype": "float32", "steps": 1, "warmup_ratio": 0.0}
    return lab(1e-5, **given | changes)


def middle():
    """(model, processor): a Qwen2.5-VL of 7 million parameters, for pictures of 36 tokens."""
    model, processor = tiny_models.qwen2_5_vl(image_tokens=36)
    config = copy.deepcopy(model.config)
    for name, value in {
        "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }.items():  # fmt: skip
        setattr(config.text_config, name, value)
    config.text_config.rope_parameters = {
        "rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 8, 8],
    }  # fmt: skip
    config.text_config.layer_types = ["full_attention"] * 8
    config.vision_config.out_hidden_size = 256
    torch.manual_seed(0)
    return type(model)(config), processor


def pairs():
    rng = random.Random(0)

    def said():
        return [{"role": "assistant", "content": "".join(rng.choices("abcdefgh ", k=120))}]

    return [
        {
            "images": [Image.new("RGB", (168, 168), (number, 0, 0))],
            "prompt": [{"role": "user", "content": "What is it? " * 8}],
            "chosen": said(),
            "rejected": said(),
        }
        for number in range(ROWS)
    ]


def field(name):
    with open("/proc/self/status") as status:
        line = next(each for each in status if each.startswith(name))
    return int(line.split()[1]) * 1024


def peak(chosen, folder):
    """Bytes that a process needs at most beside what it had before its model was made."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(1)
            model, processor = middle()
            rows = pairs()
            before = field("VmRSS") - sum(4 * each.numel() for each in model.parameters())
            with open("/proc/self/clear_refs", "w") as clear:
                clear.write("5")
            train_pairs(
                model, processor, rows, stage=stages_for_tests.STAGES["pairs"],
                cfg=stages_for_tests.Config(), settings=chosen, output=folder,
            )  # fmt: skip
            os.write(writing, str(field("VmHWM") - before).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    return int(os.read(reading, 20))


def shape_and_tokens(chosen):
    model, processor = middle()
    shape = dry_run.shape_of(model.config, chosen)
    stage = stages_for_tests.STAGES["pairs"]
    tokens = dry_run.count_tokens(pairs(), stage, stages_for_tests.Config(), processor, chosen)
    return shape, tokens


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux counts peaks")
@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        pytest.param({}, 1.35, id="float32"),
        pytest.param({"dtype": "bfloat16"}, 1.35, id="bfloat16", marks=pytest.mark.slow),
        # Under checkpointing, tensors alone are as the formula has them (see dry_run's docstring);
        # what an adapter's process takes beyond it is not explained.
        pytest.param(
            {"gradient_checkpointing": True}, 2, id="checkpointing", marks=pytest.mark.slow
        ),
        pytest.param({"lora_rank": 8}, 2, id="adapter", marks=pytest.mark.slow),
    ],
)
def test_memory_is_what_a_process_needs(changes, factor, tmp_path):
    chosen = settings(**changes)
    shape, tokens = shape_and_tokens(chosen)
    parts = dry_run.memory(shape, tokens, chosen)
    step, check = sum(parts.values()), dry_run.check_bytes(shape, tokens, chosen, parts)
    measured = peak(chosen, tmp_path) - PROCESS
    assert max(step, check) / factor < measured < max(step, check) * factor


def test_operations_are_what_pytorch_counts():
    """One row, forward and backward, in the plain layout, whose attention has no mask of blocks."""
    from reference_impls.core.model.encode import Encoder
    from reference_impls.core.train.forward import Scorer

    for changes in ({}, {"lora_rank": 8}, {"train_vision": True}):
        chosen = settings(shared_prefix=False, **{"train_vision": False} | changes)
        shape, tokens = shape_and_tokens(chosen)
        model, processor = middle()
        model.set_attn_implementation("eager")  # products inside SDPA are not counted on a CPU
        model = common.make_trainable(model, chosen)
        scorer = Scorer(Encoder(processor), ("chosen", "rejected"), shared=False)
        with FlopCounterMode(display=False) as counter:
            batch = scorer.collate(pairs()[:1])
            sum(each.sum() for each in scorer.score(model, batch).logps.values()).backward()
        assert dry_run.row_flops(shape, tokens, chosen) == pytest.approx(
            counter.get_total_flops(), rel=0.15
        )


def test_published_shapes_have_their_size_and_weights_are_never_made():
    """Sizes as published: 3.75 and 8.29 billion parameters (README of Qwen/Qwen2.5-VL)."""
    for name, size in (("3B", 3.75e9), ("7B", 8.29e9)):
        shape = dry_run.shape_of(SHAPES[name], settings(train_vision=False))
        assert shape.parameters == pytest.approx(size, rel=2e-3)
        assert shape.trained == pytest.approx(shape.language, rel=0.02)
        assert (shape.decoder.hidden, shape.patches) == ((2048, 4) if name == "3B" else (3584, 4))


def test_all_weights_of_a_7b_take_18_bytes_each_and_an_adapter_little_more_than_the_weights():
    full = settings(dtype="bfloat16", per_device_batch_size=1, train_vision=False)
    shape = dry_run.shape_of(SHAPES["7B"], full)
    parts = dry_run.memory(shape, dry_run.ASSUMED, full)
    assert parts["gradients"] == 4 * shape.trained and parts["Adam's states"] == 8 * shape.trained
    assert parts["weights"] == 4 * shape.parameters
    found = dry_run.estimate(shape, dry_run.ASSUMED, full, 1000)
    fits = {each["gpu"]: (each["fits"], each["gpus_with_fsdp"]) for each in found["gpus"]}
    assert fits["H200 SXM"] == (False, 2) and fits["RTX 4090"][0] is False
    adapter = settings(
        dtype="bfloat16", per_device_batch_size=1, lora_rank=64, gradient_checkpointing=True,
        train_vision=False,
    )  # fmt: skip
    small = dry_run.shape_of(SHAPES["7B"], adapter)
    found = dry_run.estimate(small, dry_run.ASSUMED, adapter, 1000)
    assert 16 < found["needed_gib"] < 24 and found["gpus"][0]["fits"]
    four = dry_run.memory(
        small, dry_run.ASSUMED, settings(dtype="bfloat16", lora_rank=64, load_in_4bit=True)
    )
    assert four["weights"] < 0.55 * dry_run.memory(small, dry_run.ASSUMED, adapter)["weights"]


PAGE = Path(__file__).parents[2] / "docs" / "guide" / "on-gpus.md"
TRAINED = {
    "all weights": {},
    "all weights, checkpointing": {"gradient_checkpointing": True},
    "adapter of rank 64, checkpointing": {"gradient_checkpointing": True, "lora_rank": 64},
}


@pytest.mark.parametrize(
    ("model", "trained", "gib"),
    re.findall(r"^\| (3B|7B) \| (.+?) \| (\d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE),
)
def test_the_guide_has_the_formulas_figures(model, trained, gib):
    chosen = settings(
        dtype="bfloat16", per_device_batch_size=1, train_vision=False, **TRAINED[trained]
    )
    shape = dry_run.shape_of(SHAPES[model], chosen)
    found = dry_run.estimate(shape, dry_run.ASSUMED, chosen, 1000, reference="stored")
    assert round(found["needed_gib"]) == int(gib)


def test_the_guide_has_the_gpus_figures():
    text = PAGE.read_text("utf-8")
    assert all(gpu.source in text and f"{gpu.flops / 1e12:g}" in text for gpu in dry_run.GPUS)


def test_pieces_shrink_what_lies_in_pieces():
    chosen = settings(per_device_batch_size=1)
    shape = dry_run.shape_of(SHAPES["3B"], chosen)

    def parts(**changes):
        return dry_run.memory(shape, dry_run.ASSUMED, chosen, **changes)

    one, zero2, whole = (
        parts(), parts(processes=4, shared_out="zero2"), parts(processes=4, shared_out="all"),
    )  # fmt: skip
    for name in ("gradients", "Adam's states"):
        assert zero2[name] == whole[name] == one[name] / 4
    assert zero2["weights"] == one["weights"] == 4 * whole["weights"]
    assert whole["gathered layers"] > 0 == one["gathered layers"]
    assert parts(second_model=True)["reference"] == one["weights"]
    # A reference at every step costs a forward pass of each row, a stored one a pass of its own.
    cost = {
        kind: dry_run.estimate(shape, dry_run.ASSUMED, chosen, 4, reference=kind)["petaflops"]
        for kind in ("none", "stored", "live")
    }
    assert cost["none"] < cost["stored"] == pytest.approx(cost["live"], rel=1e-3)


def test_a_configuration_that_reads_no_images_is_refused():
    from transformers import LlamaConfig

    with pytest.raises(CannotLoad, match="LlamaConfig is not of a model that reads images"):
        dry_run.shape_of(LlamaConfig(), settings(), "llama")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(20):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.png")
        rows.append(
            {"image": f"{number}.png", "question": "What is it?", "chosen": "a red square",
             "rejected": "a circle"}
        )  # fmt: skip
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_dry_run_prints_what_a_run_would_take_and_leaves_nothing(
    tiny_base, data, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    command = ["--model", tiny_base, "--dataset", str(data), "--dry-run", "--epochs", "2",
               "--batch-size", "4"]  # fmt: skip
    assert run("dpo", [*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # 64 x 64 pixels in patches of 8; what is kept back to be scored is not trained on.
    assert found["rows"] == 18 and found["tokens"]["image"] == 64
    assert found["steps"] == 9 and found["reference"] == "stored"
    assert [each["gpu"] for each in found["gpus"]] == [each.name for each in dry_run.GPUS]
    assert all(each["source"].startswith("https://") for each in found["gpus"])
    assert run("dpo", command) == 0
    assert "H100 SXM" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_reads_a_configuration_alone(tmp_path, capsys):
    SHAPES["3B"].save_pretrained(tmp_path / "qwen")
    for method in ("dpo", "chip", "grpo", "ppo", "reward_model"):
        assert run(method, ["--model", str(tmp_path / "qwen"), "--dry-run", "--json"]) == 0, method
        found = json.loads(capsys.readouterr().out)
        assert found["parameters"] == pytest.approx(3.75e9, rel=2e-3)
        assert found["rows"] is None and found["tokens"]["counted"] == 0
        assert found["reference"] == {"dpo": "stored", "reward_model": "none"}.get(method, "live")
        assert len(found["left_out"]) == (method == "ppo")
        parts = found["memory_gib"]
        own = ("weights", "16-bit copies", "gradients", "Adam's states", "activations")
        critic = sum(parts[part] for part in own) if method == "ppo" else 0
        assert parts["critic"] == pytest.approx(critic, abs=0.01)
        in_pieces = any((each["gpus_with_fsdp"] or 0) > 1 for each in found["gpus"])
        if method in ("dpo", "ppo"):  # a critic is not trained with FSDP
            assert in_pieces == (method == "dpo")
    assert run("ppo", ["--model", str(tmp_path / "qwen"), "--dry-run"]) == 0
    assert "Not in the estimate: 4 updates of each batch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "{empty}"], "config.json"),
        ([], "--dry-run needs --model"),
        (["--model", "{base}", "--batch-size", "6", "--per-device-batch-size", "4"], "do not div"),
    ],
)
def test_a_dry_run_that_cannot_be_is_one_line(options, said, tiny_base, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    given = [each.format(empty=tmp_path / "empty", base=tiny_base) for each in options]
    assert run("dpo", ["--dry-run", *given]) in (1, 2)
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("Error:"), error
    assert said in error[0] or "divide" in error[0]
