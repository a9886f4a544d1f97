"""The benchmark for a GPU: the same code on a CPU, and what it says without a GPU."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "tools" / "bench_gpu.py"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    found = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_without_a_gpu_it_is_refused_in_one_line(bench, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py"])
    with pytest.raises(SystemExit, match=r"^error: torch sees no CUDA device.*--tiny"):
        bench.main()


def test_a_shape_that_does_not_fit_loses_layers_and_says_so(bench):
    assert bench.size_of(bench.configuration(bench.SHAPES["7B"], 28)[0]) == pytest.approx(
        8.29e9, rel=2e-3
    )
    assert bench.fitting("7B", 141 << 30)[0] == "7B"
    name, config, _ = bench.fitting("7B", 60 << 30)
    assert name == "7B, 14 of 28 layers" and config.text_config.num_hidden_layers == 14
    assert bench.PER_PARAMETER * bench.size_of(config) + bench.SPARE <= 60 << 30


@pytest.mark.slow
def test_the_same_code_on_a_cpu(bench, monkeypatch, tmp_path, capsys):
    output = tmp_path / "out" / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--tiny", "--output", str(output)])
    bench.main()
    table = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert len(found["ratios"]) == len(bench.COMPARED) == table.count("| tiny |")
    run = found["runs"][0]
    assert run["layout"] == "shared" and run["groups"] == 2
    assert run["largest_difference_nats"] <= 1e-4 * run["largest_sum_nats"]
    assert all(taken > 0 for each in run["seconds"].values() for taken in each)
