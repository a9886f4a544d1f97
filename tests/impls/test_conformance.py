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
from reference_impls.core.objective import ppo

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


def group_cases():
    """Losses over groups of answers."""
    return [case for case in cases("loss") if "advantages" in case.values[1]["inputs"]]


def config(module, case):
    return dataclasses.replace(module.Config(), variant=case["variant"], **case["config"])


def batch(inputs, gradients=()):
    """A PairBatch in float64 whose log-probabilities take gradients, and so do extras named in
    `gradients` (`extra.NAME`); these tensors by name."""
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
    for path in gradients:
        if path.startswith("extra."):
            leaves[path] = extra[path.removeprefix("extra.")].requires_grad_()
    fields = {field.name for field in dataclasses.fields(PairBatch)}
    named = {name: views.pop(name) for name in fields & set(views)}
    margin = extra.pop("margin", None)
    return PairBatch(**named, views=views, margin=margin, extra=extra), leaves


@pytest.mark.parametrize(("name", "case"), pair_cases())
def test_losses_and_gradients(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    gradients = case["outputs"]["gradients"]
    pairs, leaves = batch(case["inputs"], gradients)
    losses, metrics = module.loss(pairs, config(module, case))
    tolerance = case.get("tolerance", 1e-9)
    expected = torch.tensor(case["outputs"]["losses"], dtype=torch.float64)
    assert losses.shape == expected.shape
    assert torch.allclose(losses, expected, rtol=0, atol=tolerance)
    losses.mean().backward()
    for path, gradient in gradients.items():
        leaf = leaves[path.removesuffix(".logps")]
        found = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        assert torch.allclose(
            found, torch.tensor(gradient, dtype=torch.float64), rtol=0, atol=tolerance
        ), path
    if "state" in case["outputs"]:
        state = torch.tensor(case["outputs"]["state"], dtype=torch.float64)
        assert torch.allclose(metrics["state"], state, rtol=0, atol=tolerance)


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def close(found, expected, case):
    near = {"rtol": 0, "atol": case.get("tolerance", 1e-9)}
    torch.testing.assert_close(found, numbers(expected), **near)


@pytest.mark.parametrize(("name", "case"), cases("advantages"))
def test_advantages_of_groups(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    found = module.advantages(numbers(case["inputs"]["rewards"]), config(module, case))
    close(found, case["outputs"]["advantages"], case)


@pytest.mark.parametrize(("name", "case"), group_cases())
def test_losses_and_gradients_of_groups(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    given = {column: numbers(values) for column, values in case["inputs"].items()}
    gradients = case["outputs"]["gradients"]
    for column in gradients:
        given[column].requires_grad_()
    columns = ("logps", "old_logps", "ref_logps", "advantages", "mask")
    # Values, their targets and marks of tokens: of methods that have them.
    more = {column: value for column, value in given.items() if column not in columns}
    value, _ = module.loss(*(given.get(column) for column in columns), config(module, case), **more)
    value.backward()
    close(value.detach(), case["outputs"]["loss"], case)
    for column, gradient in gradients.items():
        close(given[column].grad, gradient, case)


@pytest.mark.parametrize(("name", "case"), cases("gae"))
def test_advantages_and_returns_of_steps(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    columns = ("rewards", "values", "mask")
    given = [numbers(case["inputs"][column]) for column in columns]
    found = module.gae(*given, config(module, case))
    for column, value in zip(("advantages", "returns"), found, strict=True):
        close(value, case["outputs"][column], case)


@pytest.mark.parametrize(("name", "case"), cases("token_rewards"))
def test_rewards_per_token(name, case):
    """Rewards per token at the weight of the KL that a run begins with."""
    module = importlib.import_module(f"reference_impls.methods.{name}")
    stage, cfg = module.METHOD.last, config(module, case)
    columns = ("rewards", "logps", "ref_logps", "mask")
    given = [numbers(case["inputs"][column]) for column in columns]
    coefficient = stage.kl(cfg).coefficient
    if stage.shape is None:
        found = ppo.token_rewards(*given, coefficient)
    else:
        found = stage.shape(*given, cfg, coefficient)
    close(found, case["outputs"]["rewards"], case)


@pytest.mark.parametrize(("name", "case"), cases("shaped"))
def test_rewards_with_the_kl_in_them(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    columns = ("rewards", "logps", "ref_logps", "mask")
    given = [numbers(case["inputs"][column]) for column in columns]
    found = module.METHOD.last.kl_in_reward(*given, config(module, case))
    close(found, case["outputs"]["rewards"], case)


@pytest.mark.parametrize(("name", "case"), cases("marking"))
def test_marked_tokens(name, case):
    module = importlib.import_module(f"reference_impls.methods.{name}")
    marked = module.marks(
        case["inputs"]["chosen_ids"], case["inputs"]["rejected_ids"], config(module, case)
    )
    expected = case["outputs"]["chosen_weights"], case["outputs"]["rejected_weights"]
    assert [list(side) for side in marked] == [list(side) for side in expected]


def test_there_are_vectors_of_every_kind():
    assert len(pair_cases()) >= 63
    assert len(group_cases()) >= 11
    assert len(cases("advantages")) >= 10
    assert len(cases("shaped")) >= 3
    assert len(cases("gae")) >= 4
    assert len(cases("marking")) >= 13
