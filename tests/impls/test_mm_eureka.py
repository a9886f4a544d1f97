"""MM-Eureka: which questions are kept, which answers are right, and what the code adds."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from reference_impls.core.data.rules import (
    last_number,
    only_number,
    reward_final_answer,
    reward_number,
)
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.objective.groups import rloo_advantages, whitened_tokens
from reference_impls.core.worlds import protocol
from reference_impls.methods import mm_eureka, r1_v
from reference_impls.methods.mm_eureka import Config

VECTORS = Path(mm_eureka.__file__).parent.parent / "conformance" / "mm_eureka.json"
CASES = json.loads(VECTORS.read_text())
VARIANTS = ("paper", "code", "survey")


# --- rewards -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["id"]) for c in CASES if c["kind"] == "rewards"]
)
def test_rewards_agree_with_the_vectors(case):
    found = mm_eureka.rewards(Config(variant=case["variant"]))
    texts, answers = case["inputs"]["completions"], case["inputs"]["answers"]
    for name, expected in case["outputs"].items():
        points = found[name](texts, answers)
        wrong = [text for text, *pair in zip(texts, points, expected, strict=True)
                 if pair[0] != pair[1]]  # fmt: skip
        assert not wrong, name


def test_every_variant_has_rewards_among_the_vectors():
    assert {case["variant"] for case in CASES if case["kind"] == "rewards"} == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("split", ["pairs", "validation", "test"])
def test_the_truth_earns_the_whole_reward(variant, split):
    method = mm_eureka.METHOD
    own = protocol.world(method.world)
    items = own.tasks[method.task].items(own.draw(split, 500, 0), 0)
    texts = [item.truth for item in items]
    answers = [str(last_number(text)) for text in texts]
    cfg = Config(variant=variant)
    points = {
        name: torch.tensor([reward(texts, answers)])
        for name, reward in mm_eureka.rewards(cfg).items()
    }
    assert torch.equal(mm_eureka.weighted(points, cfg), torch.full((1, 500), 1.5))


def test_a_true_answer_that_is_not_one_number_is_not_its_last_digits():
    tags = "<think> a </think> <answer> {} </answer>".format
    for true in ("3,000", "1/2", "$\\frac{1}{2}$", "A"):
        assert mm_eureka.reward_accuracy([tags(true), tags("0"), tags("2")], [true] * 3) == [
            1,
            0,
            0,
        ]
    assert mm_eureka.reward_accuracy([tags("A"), tags("$A$"), tags("2.0")], ["$A$", "A", "2"]) == [
        1, 1, 1,
    ]  # fmt: skip
    # In the code a text that is not marked as a formula cannot be read, and all are right.
    unread = mm_eureka.reward_accuracy_or_unread
    assert unread([tags("no")] * 4, ["three", "$A$", "\\pi", "1/2"]) == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "accuracy", "form"),
    [
        ("<think> a . </think> <answer> 1/2 </answer>", 0, 1),  # two numbers are no answer
        ("<think> a . </think> <answer> 1 2 3 </answer>", 0, 1),
        ("<think> a . </think> <answer> 2² </answer>", 0, 1),
        ("<think> a . </think> <answer> ２ </answer>", 0, 1),
        ("<think> a . </think> <answer> 2e3 </answer>", 0, 1),
        ("<think> a . </think> <answer> 2 </answer> <think> </think>", 1, 0),
        ("</think> <think> a . <answer> 2 </answer>", 1, 0),
        ("<think> a . </think> <answer> </answer> 2", 0, 0),
        ("<think> a . </think> </answer> 2 <answer>", 0, 0),
        ("<answer> 9 . so 2", 1, 0),
        ("\n<think> a . </think>\n\n<answer> 2 </answer>\n", 1, 1),
        ("__import__('os').abort()", 0, 0),
        ("2 ** 9 ** 9 ** 9", 0, 0),
    ],
)
def test_what_a_policy_may_write(text, accuracy, form):
    assert mm_eureka.reward_accuracy([text], ["2"]) == [accuracy]
    assert mm_eureka.reward_format([text], ["2"]) == [form]


@pytest.mark.parametrize(
    "text",
    [
        "1" * 1_000_000,
        "1.1" * 300_000,
        "-" * 1_000_000,
        " " * 1_000_000,
        "<think>" * 150_000,
        "<think></think><answer></answer>" * 30_000,
        "<think>" + "a " * 500_000 + "</think>" + " " * 100_000 + "<answer>3",
        "<answer>" + "2 " * 500_000 + "</answer>",
    ],
    ids=lambda text: text[:12].strip() or "blanks",
)
def test_a_megabyte_is_judged_at_once(text):
    """One backtracking rule would take minutes here."""
    began = time.process_time()
    for variant in VARIANTS:
        for reward in mm_eureka.rewards(Config(variant=variant)).values():
            assert reward([text], ["2"]) == [0.0]
    assert time.process_time() - began < 10


def test_where_the_reference_has_no_number_the_code_rewards_everything():
    for variant, points in (("paper", [1.0, 0.0]), ("survey", [1.0, 0.0]), ("code", [1.0, 1.0])):
        reward = mm_eureka.rewards(Config(variant=variant))["accuracy"]
        assert reward(["<answer> a square </answer>", "b"], ["a square"] * 2) == points


def test_text_around_costs_the_format_in_the_paper_only():
    text = "well : <think> a . </think> <answer> 2 </answer> ."
    for variant, point in (("paper", 0.0), ("survey", 0.0), ("code", 1.0)):
        assert mm_eureka.rewards(Config(variant=variant))["format"]([text], ["2"]) == [point]


def test_numbers_are_exact_and_plain():
    assert [only_number(text) for text in ("0.1", "so -2 .", "$3$")] == [Fraction(1, 10), -2, 3]
    assert [only_number(text) for text in ("", "1/2", "1 1")] == [None] * 3
    assert last_number("x2 2x 1.2.3 ² ٣ 1e5 " + "1" * 31) is None
    assert last_number("1 : a , 0.2 ! no") == Fraction(1, 5)
    for text, value in (
        ("(3)", 3), ("**3**", 3), ("x=3", 3), ("answer:3", 3), ("$\\boxed{3}$.", 3), ("5 - 3", 3),
        ("\N{MINUS SIGN}3", -3), ("\N{EN DASH}3", -3), ("<answer>3</answer>", 3),
    ):  # fmt: skip
        assert last_number(text) == value, text


NOT_PLAIN = (
    "3,000", "1/3", "3%", "x^3", "<3", "3\\pi", "\\sqrt{3}", "3:45", "3.0.0", "--3", "- 3", "3+4i",
    "1 / 3", "3 / 1", "3 %", "x ^ 3", "\\sqrt { 3 }", "\\sqrt{ 3 }", "3²", "3½", "3e8", "3=",
)  # fmt: skip


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_a_value_that_is_not_plain_is_not_taken_for_one_of_its_digits(text):
    """Neither as an answer nor as the truth: 3 is not the square root of 3."""
    inside = f"<think> a 3 </think> <answer> {text} </answer>"
    plain = "<think> a </think> <answer> 3 </answer>"
    assert only_number(text) is None and last_number(f"3 then {text}") is None
    for reward in (mm_eureka.reward_accuracy, reward_number, reward_final_answer):
        assert reward([inside], ["3"]) == [0.0]
        assert reward([plain], [text]) == [0.0]
    assert r1_v.reward_accuracy([inside], ["3"]) == [0.0]
    assert r1_v.reward_accuracy([text], ["3"]) == [0.0]


def test_what_stands_behind_an_equals_sign_is_the_value_and_not_the_only_one():
    assert last_number("2+1=3") == 3 and only_number("2+1=3") is None
    assert last_number("the box is \\boxed{ 3 }") == 3 == last_number("\\boxed { 3 }")
    assert last_number("3 + 1 = 4") == 4


def test_nothing_is_not_the_same_as_a_dollar_sign():
    assert reward_final_answer(["<answer></answer>", ""], ["$", ""]) == [0.0, 0.0]


def test_a_long_text_is_searched_for_numbers_at_once():
    began = time.perf_counter()
    for text in ("1 " * 50_000, "<" * 100_000, "-" * 100_000, "1=:" * 33_000, "\\boxed{" * 14_000):
        last_number(text + "3"), only_number(text + "3")
    assert time.perf_counter() - began < 2


# --- the objective -------------------------------------------------------------------------------


def numbers_of(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_code_counts_tokens_where_the_paper_counts_answers():
    # Rewards 1 and 0: advantages 1 and -1. Answers of 1 and 3 tokens: over the tokens the mean is
    # (1 - 3) / 4 = -1/2, the variance (9/4 + 3 * 1/4) / 4 = 3/4: 1.5 / 0.866 and -0.5 / 0.866.
    mask = numbers_of([[1, 0, 0], [1, 1, 1]])
    raw = mm_eureka.advantages(numbers_of([[1, 0]]), Config()).flatten()[:, None].expand(2, 3)
    logps = (-torch.ones(2, 3).double() * mask).requires_grad_()
    for variant, expected in (("paper", (1, -1)), ("code", (3**0.5, -(3**-0.5)))):
        value, _ = mm_eureka.loss(logps, logps.detach(), None, raw, mask, Config(variant=variant))
        (gradient,) = torch.autograd.grad(value, logps)
        # An answer's tokens share -A / 2 among them.
        assert gradient.sum(1).tolist() == pytest.approx([-each / 2 for each in expected])
        assert not gradient[0, 1:].any()


def test_whitened_advantages_have_no_mean_and_no_signal_stays_none():
    mask = (torch.rand(12, 7, generator=torch.Generator().manual_seed(1)) < 0.6).double()
    mask[:, 0] = 1
    rewards = torch.randint(0, 4, (3, 4), generator=torch.Generator().manual_seed(2)) / 2
    raw = rloo_advantages(rewards.double()).flatten()[:, None].expand(12, 7)
    white = whitened_tokens(raw, mask)
    assert white.sum().item() == pytest.approx(0, abs=1e-9)
    assert (white**2).sum().item() == pytest.approx(mask.sum().item())
    # Another scale of the reward is the same; what stands on padding does not count.
    assert torch.allclose(whitened_tokens(raw * 7, mask), white)
    assert torch.allclose(whitened_tokens(raw + 5 * (1 - mask), mask), white)
    for same in (0.0, -777.77, 100.7, 2.7):
        assert not whitened_tokens(torch.full((64, 48), same), torch.ones(64, 48)).any()
    assert not whitened_tokens(raw, torch.zeros(12, 7)).any()


def test_the_format_weighs_lambda():
    points = {"accuracy": torch.tensor([[1.0, 0.0]]), "format": torch.tensor([[1.0, 1.0]])}
    assert mm_eureka.weighted(points, Config()).tolist() == [[1.5, 0.5]]
    assert mm_eureka.weighted(points, Config(format_weight=1.0)).tolist() == [[2.0, 1.0]]


# --- filters -------------------------------------------------------------------------------------


def test_the_online_filter_leaves_out_groups_all_right_or_all_wrong():
    points = {
        "accuracy": torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]),
        "format": torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]),
    }
    online = replace(Config(), **mm_eureka.METHOD.ablations["online filter"])
    assert mm_eureka.mixed_groups(points, online).tolist() == [False, False, True]
    assert mm_eureka.mixed_groups(points, Config()).tolist() == [True] * 3
    # Where nothing would be left, all is.
    few = {name: value[:2] for name, value in points.items()}
    assert mm_eureka.mixed_groups(few, online).tolist() == [True] * 2


@pytest.fixture
def lab(world, policy):
    return Lab(world, world.tasks["count"], policy, policy, Workshop(), 1, 12)


def test_questions_that_are_always_or_never_right_are_thrown_out(lab, monkeypatch):
    """Of 12 questions the first three are never answered right, the next three always."""
    calls = []

    def answer(temperature=1.0, policy=None):
        calls.append(temperature)
        right = [(place >= 6 and (place + len(calls)) % 2) or 3 <= place < 6 for place in range(12)]
        return [
            item.truth if each else "<answer> 99 </answer>"
            for item, each in zip(lab.items, right, strict=True)
        ]

    monkeypatch.setattr(lab, "answer", answer)
    rows = mm_eureka.solvable(lab, Config())
    assert calls == [1.0] * 8
    assert [row["item"] for row in rows] == lab.items[6:]
    assert lab.tally.rules == {"never right": 3, "always right": 3, "kept": 6}
    for row in rows:
        assert mm_eureka.reward_accuracy([row["worked"]], [row["answer"]]) == [1.0]
    calls.clear()
    plain = replace(Config(), **mm_eureka.METHOD.ablations["no difficulty filter"])
    assert len(mm_eureka.solvable(lab, plain)) == 12 and not calls


def test_a_policy_that_is_never_right_keeps_all_its_questions(lab, monkeypatch):
    monkeypatch.setattr(lab, "answer", lambda temperature=1.0, policy=None: ["no"] * 12)
    assert len(mm_eureka.solvable(lab, Config())) == 12
    assert lab.tally.rules == {"never right": 12}


def test_a_record_of_the_published_layout():
    record = {
        "id": "0",
        "conversations": [
            {"role": "system", "content": "be exact"},
            {"role": "user", "content": "<image>\nQuestion: 1 + 1?"},
        ],
        "answer": "$2$",
        "images": [Image.new("RGB", (4, 4))],
    }
    row = mm_eureka.read_record(record)
    asked = [{"type": "image"}, {"type": "text", "text": "Question: 1 + 1?"}]
    assert row["prompt"] == [
        {"role": "system", "content": "be exact"},
        {"role": "user", "content": asked},
    ]
    assert mm_eureka.reward_accuracy(["<think>x</think><answer>$2$</answer>"], [row["answer"]]) == [
        1.0
    ]
