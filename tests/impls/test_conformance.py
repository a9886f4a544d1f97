"""The scripts' objectives against plain numbers that were made without them.

The vectors come from the papers' equations by hand and from the official repositories' own loss
code; `reference_impls/conformance/README.md` says how.
"""

import dataclasses
import importlib
import json
from pathlib import Path

import pytest
import torch

import reference_impls
from reference_impls.core import PairBatch, Scores

FOLDER = Path(reference_impls.__file__).parent / "conformance"


def cases(kind):
    """Cases of that kind of every file of the folder."""
    return [
        pytest.param(path.stem, case, id=f"{path.stem}-{case['id']}")
        for path in sorted(FOLDER.glob("*.json"))
        for case in json.loads(path.read_text())
        if case["kind"] == kind
    ]


def pair_cases():
    """Losses over views; those of groups of answers have advantages among their inputs."""
    return [case for case in cases("loss") if "advantages" not in case.values[1]["inputs"]]


def config(module, case):
    return dataclasses.replace(module.Config(), variant=case["variant"], **case["config"])


def batch(inputs):
    """A PairBatch in float64 whose log-probabilities take gradients."""
    leaves, views = {}, {}
    for view, columns in inputs.items():
        if view == "extra":
            continue
        values = {
            name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()
        }
        leaves[view] = values["logps"].requires_grad_()
        views[view] = Scores(**{"ref_logps": None, "weights": None} | values)
    extra = {
        name: torch.tensor(value, dtype=torch.float64)
        for name, value in inputs.get("extra", {}).items()
    }
    return PairBatch(**views, extra=extra), leaves


@pytest.mark.parametrize(("name", "case"), pair_cases())
def test_losses_and_gradients(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    pairs, leaves = batch(case["inputs"])
    losses, metrics = module.loss(pairs, config(module, case))
    tolerance = case.get("tolerance", 1e-9)
    expected = torch.tensor(case["outputs"]["losses"], dtype=torch.float64)
    assert losses.shape == expected.shape
    assert torch.allclose(losses, expected, rtol=0, atol=tolerance)
    losses.mean().backward()
    for path, gradient in case["outputs"]["gradients"].items():
        view = path.split(".")[0]
        found = leaves[view].grad
        found = torch.zeros_like(leaves[view]) if found is None else found
        assert torch.allclose(
            found, torch.tensor(gradient, dtype=torch.float64), rtol=0, atol=tolerance
        ), path
    if "state" in case["outputs"]:
        state = torch.tensor(case["outputs"]["state"], dtype=torch.float64)
        assert torch.allclose(metrics["state"], state, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "case"), cases("marking"))
def test_marked_tokens(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    marked = module.marks(
        case["inputs"]["chosen_ids"], case["inputs"]["rejected_ids"], config(module, case)
    )
    expected = case["outputs"]["chosen_weights"], case["outputs"]["rejected_weights"]
    assert [list(side) for side in marked] == [list(side) for side in expected]


def test_there_are_vectors_of_every_kind():
    assert len(pair_cases()) >= 28
    assert len(cases("marking")) >= 8
