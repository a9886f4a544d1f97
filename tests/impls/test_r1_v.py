"""R1-V and GRPO: objective by hand and by vectors, rewards, and training in the real trainer."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reference_impls.core.data.readers.cells import CellError
from reference_impls.core.objective.groups import group_advantages, grpo
from reference_impls.core.worlds import protocol
from reference_impls.methods import r1_v
from reference_impls.methods.grpo import Config as GrpoConfig

# transformers 5.24 renamed these; TRL 1.16 still reads and sets the old names.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning")

VECTORS = Path(r1_v.__file__).parent.parent / "conformance"


def cases(file: str, kind: str) -> list:
    found = [c for c in json.loads((VECTORS / file).read_text()) if c["kind"] == kind]
    assert found, f"{file} holds no case of kind {kind}"
    return [pytest.param(case, id=case["id"]) for case in found]


def numbers(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ours(case):
    """(advantages, loss, config) that a vector is for: the baseline's or the script's."""
    settings = case["config"] | {"variant": case["variant"]}
    if case["id"].startswith("grpo"):
        cfg = GrpoConfig(**settings)
        return lambda rewards, _: group_advantages(rewards), grpo, cfg
    return r1_v.advantages, r1_v.loss, r1_v.Config(**settings)


# --- conformance vectors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", cases("grpo.json", "advantages") + cases("r1_v.json", "advantages")
)
def test_advantages_agree_with_the_vectors(case):
    advantages, _, cfg = ours(case)
    result = advantages(numbers(case["inputs"]["rewards"]), cfg)
    expected = numbers(case["outputs"]["advantages"])
    torch.testing.assert_close(result, expected, rtol=0, atol=case.get("tolerance", 1e-9))


@pytest.mark.parametrize("case", cases("grpo.json", "loss") + cases("r1_v.json", "loss"))
def test_loss_and_gradient_agree_with_the_vectors(case):
    _, loss, cfg = ours(case)
    given = {name: numbers(values) for name, values in case["inputs"].items()}
    given["logps"].requires_grad_()
    value, _ = loss(
        *(given[n] for n in ("logps", "old_logps", "ref_logps", "advantages", "mask")), cfg
    )
    value.backward()
    near = {"rtol": 0, "atol": case.get("tolerance", 1e-9)}
    torch.testing.assert_close(value.detach(), numbers(case["outputs"]["loss"]), **near)
    expected = numbers(case["outputs"]["gradients"]["logps"])
    torch.testing.assert_close(given["logps"].grad, expected, **near)


@pytest.mark.parametrize("case", cases("r1_v.json", "rewards"))
def test_rewards_agree_with_the_official_functions(case):
    texts, truths = case["inputs"]["completions"], case["inputs"]["solutions"]
    assert r1_v.reward_accuracy(texts, truths) == case["outputs"]["accuracy"]
    assert r1_v.reward_format(texts, truths) == case["outputs"]["format"]


# --- the objective by hand -----------------------------------------------------------------------


def test_advantages_by_hand():
    # Rewards 2, 1, 0: mean 1, deviations 1, 0, -1, sample standard deviation sqrt(2 / 2) = 1.
    rewards = numbers([[2, 1, 0]])
    assert r1_v.advantages(rewards, r1_v.Config()).tolist() == [[1, 0, -1]]
    code = r1_v.advantages(rewards, r1_v.Config(variant="code"))
    assert code[0].tolist() == pytest.approx([1 / 1.0001, 0, -1 / 1.0001])
    # Each group has its own mean and deviation: rewards of another group change nothing.
    both = r1_v.advantages(numbers([[2, 1, 0], [50, 0, 7]]), r1_v.Config())
    assert both[0].tolist() == [1, 0, -1]


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_advantages_sum_to_zero_and_equal_rewards_teach_nothing(variant):
    cfg = r1_v.Config(variant=variant)
    rewards = torch.rand(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = r1_v.advantages(rewards, cfg)
    torch.testing.assert_close(result.sum(1), torch.zeros(50).double(), rtol=0, atol=1e-12)
    # 0.1 in float32: its mean over 3, 5, 6, 7 is not 0.1, so a tiny std must not blow up.
    for group in range(2, 9):
        assert not r1_v.advantages(torch.full((2, group), 0.1), cfg).any()


def batch(rows: int = 4, tokens: int = 5, seed: int = 0):
    """Random float64 log-probabilities, a ragged mask, and advantages that sum to 0."""
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.arange(tokens) < torch.randint(1, tokens + 1, (rows, 1), generator=draw)).double()
    logps, old, ref = (-torch.rand(rows, tokens, generator=draw).double() * mask for _ in range(3))
    rewards = torch.rand(1, rows, generator=draw).double()
    flat = group_advantages(rewards).flatten()
    return logps, old, ref, flat.unsqueeze(1).expand(rows, tokens), mask


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_on_the_first_update_the_loss_is_the_kl_alone(variant):
    logps, _, ref, advantages, mask = batch()
    cfg = r1_v.Config(variant=variant)
    value, metrics = r1_v.loss(logps, logps, ref, advantages, mask, cfg)
    # The ratio is 1 and the advantages sum to 0, so sum_i A_i is all that is left of the surrogate.
    assert value.item() == pytest.approx(cfg.beta * metrics["kl"].mean().item(), abs=1e-12)
    assert not metrics["clip_fraction"].any()
    # Policy = reference: no divergence either. Without KL no reference is needed.
    value, _ = r1_v.loss(logps, logps, logps, advantages, mask, cfg)
    assert value.item() == pytest.approx(0, abs=1e-12)
    no_kl = replace(cfg, **r1_v.METHOD.ablations["no KL"])
    value, _ = r1_v.loss(logps, logps, None, advantages, mask, no_kl)
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_kl_and_clip_by_hand():
    # One answer of one token, advantage 1, pi = e^-1, reference e^-2, old e^-1.5:
    # rho = e^0.5 = 1.6487 is clipped to 1.2; D = e^-1 + 1 - 1 = 0.36788.
    # L = -(1.2 - 0.04 * 0.36788) = -1.185285.
    one, cfg = numbers([[1.0]]), r1_v.Config()
    given = numbers([[-1.0]]), numbers([[-1.5]]), numbers([[-2.0]])
    value, metrics = r1_v.loss(*given, one, one, cfg)
    assert value.item() == pytest.approx(-1.185285, abs=1e-6)
    assert metrics["kl"].item() == pytest.approx(math.exp(-1))
    assert metrics["clip_fraction"].item() == 1
    # The code has no old policy: rho = 1. L = -(1 - 0.04 * 0.36788) = -0.985285.
    value, _ = r1_v.loss(*given, one, one, r1_v.Config(variant="code"))
    assert value.item() == pytest.approx(-0.985285, abs=1e-6)
    # A bad answer that became likelier is not clipped: min(-1.6487, -1.2) = -1.6487.
    value, _ = r1_v.loss(*given, -one, one, r1_v.Config(beta=0.0))
    assert value.item() == pytest.approx(math.exp(0.5))


def test_gradient_makes_better_answers_likelier():
    logps, _, _, advantages, mask = batch()
    logps.requires_grad_()
    value, _ = r1_v.loss(logps, logps.detach(), None, advantages, mask, r1_v.Config(beta=0.0))
    value.backward()
    assert torch.equal(torch.sign(-logps.grad), torch.sign(advantages) * mask)
    # Every answer weighs alike, however long: 1/G A_i in all.
    torch.testing.assert_close(logps.grad.sum(1), -advantages[:, 0] / len(advantages))


def test_padding_does_not_matter():
    (logps, old, ref, *rest), cfg = batch(), r1_v.Config()
    value, _ = r1_v.loss(logps, old, ref, *rest, cfg)
    noise = 1 - rest[-1]
    other, _ = r1_v.loss(logps - noise, old + noise, ref - 3 * noise, *rest, cfg)
    assert value.item() == other.item()


def test_survey_computes_the_papers():
    given = batch()
    paper, survey = (r1_v.loss(*given, r1_v.Config(variant=v))[0] for v in ("paper", "survey"))
    assert paper.item() == survey.item()


# --- rewards -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "accuracy", "form"),
    [
        ("<think> a red circle , a blue square . </think> <answer> 2 </answer>", 1, 1),
        ("<think> a red circle . </think> <answer> 1 </answer>", 0, 1),
        ("<answer> 2 </answer>", 1, 0),
        ("<think> 2 </think> <answer> 3 </answer>", 0, 1),
        ("<answer> 2 </answer> <think> a red circle . </think>", 1, 0),
        ("<think> a . </think> <answer> 2 </answer> and more", 1, 0),
        ("<think> a . </think> <answer> 12 </answer>", 0, 1),
        ("<think> </think> <answer> </answer>", 0, 1),
        ("", 0, 0),
    ],
)
def test_rewards_on_the_labs_texts(text, accuracy, form):
    assert r1_v.reward_accuracy([text], ["2"]) == [accuracy]
    assert r1_v.reward_format([text]) == [form]


def test_the_truth_earns_both_rewards_and_the_ablation_drops_one():
    own = protocol.world(r1_v.METHOD.world)
    items = own.tasks[r1_v.METHOD.task].items(own.draw("validation", 200, 0), 0)
    texts = [item.truth for item in items]
    answers = [r1_v.final_answer(text) for text in texts]
    functions = r1_v.rewards(r1_v.Config())
    for function in functions.values():
        assert function(texts, answers) == [1.0] * 200
    assert list(functions) == ["reward_accuracy", "reward_format"]
    ablated = replace(r1_v.Config(), **r1_v.METHOD.ablations["no format reward"])
    assert list(r1_v.rewards(ablated)) == ["reward_accuracy"]


def test_a_record_of_the_published_layout():
    record = {"images": [], "problem": "How many items?", "solution": "<answer> 3 </answer>"}
    row = r1_v.read_record(record)
    asked = row["prompt"][0]["content"]
    assert asked.startswith("How many items?  Output the thinking process in <think>")
    assert r1_v.reward_accuracy(["<think>x</think><answer>3</answer>"], [row["answer"]]) == [1.0]
    # A number where a text is expected: the hub's loader gives one.
    assert r1_v.read_record(record | {"solution": 3})["answer"] == "3"
    assert r1_v.read_record(record | {"solution": 3.0})["answer"] == "3"
    assert r1_v.read_record(record | {"solution": 2.5})["answer"] == "2.5"
    for column, wrong in (("solution", [3]), ("solution", True), ("solution", " "),
                          ("solution", float("nan")), ("problem", ["How many?"])):  # fmt: skip
        with pytest.raises(CellError) as error:
            r1_v.read_record(record | {column: wrong})
        assert error.value.column == column
