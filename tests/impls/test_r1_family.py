"""Methods that followed DeepSeek-R1: rewards on what a policy may write, what each adds to GRPO.

Losses and advantages are compared with their vectors in test_conformance.py.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from reference_impls.core.data.readers.cells import CellError
from reference_impls.core.data.rows import said, text
from reference_impls.core.data.rules import (
    boxed,
    final_answer,
    same_answer,
    thought_then_answer,
)
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.method import (
    VARIANTS,
    ContractError,
    GroupStage,
    PairStage,
    PpoStage,
    load_script,
)
from reference_impls.core.model import base
from reference_impls.core.model.load import load
from reference_impls.core.objective.groups import grpo, minus_kl_to_go
from reference_impls.core.stages import Run, rows_of_last, run_stages, stage_rows
from reference_impls.core.supervision import ROWS, answers_alone, own_right_answers
from reference_impls.core.worlds.problems import text as problems
from reference_impls.core.worlds.protocol import world as world_named
from reference_impls.methods import easyr1, lmm_r1, mmr1_math_v0, vision_r1
from reference_impls.methods import visualthinker_r1_zero as visualthinker
from reference_impls.methods.grpo import Config as GrpoConfig

VECTORS = Path(easyr1.__file__).parent.parent / "conformance"
FAMILY = ("easyr1", "lmm_r1", "mmr1_math_v0", "vision_r1", "visualthinker_r1_zero")
RIGHT = "<think> 1 + 1 = 2 . </think> <answer> 2 </answer>"


def numbers(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(rows: int = 4, tokens: int = 5, seed: int = 0):
    """Random float64 log-probabilities of policy, sampler and reference, advantages and a mask."""
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.arange(tokens) < torch.randint(1, tokens + 1, (rows, 1), generator=draw)).double()
    logps, old, ref = (-torch.rand(rows, tokens, generator=draw).double() * mask for _ in range(3))
    advantages = torch.randn(rows, 1, generator=draw).double().expand(rows, tokens)
    return logps, old, ref, advantages, mask


def rewards_of(name: str, variant: str = "paper"):
    method = load_script(name).method
    return method.last.rewards_of(method.config(variant=variant))


# --- rewards -------------------------------------------------------------------------------------


def official_rewards():
    for file in ("easyr1.json", "visualthinker_r1_zero.json"):
        for case in json.loads((VECTORS / file).read_text()):
            if case["kind"] == "rewards":
                yield pytest.param(file.removesuffix(".json"), case, id=case["id"])


@pytest.mark.parametrize(("name", "case"), list(official_rewards()))
def test_rewards_agree_with_the_official_functions(name, case):
    found = rewards_of(name, case["variant"])
    texts, answers = case["inputs"]["completions"], case["inputs"]["answers"]
    for rule, expected in case["outputs"].items():
        points = found[rule](texts, answers)
        wrong = [t for t, a, b in zip(texts, points, expected, strict=True) if a != b]
        assert not wrong, rule


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("split", ["pairs", "validation", "test"])
def test_the_truth_earns_every_reward(name, variant, split):
    """Over a whole split, and the combined reward is the highest there is."""
    method = load_script(name).method
    cfg, stage, world = method.config(variant=variant), method.last, world_named(method.world)
    items = world.tasks[method.task].items(world.draw(split, 300, 0), 0)
    texts = [item.truth for item in items]
    answers = [str(final_answer(text)) for text in texts]
    points = {rule: reward(texts, answers) for rule, reward in stage.rewards_of(cfg).items()}
    assert points == {rule: [1.0] * len(texts) for rule in points}
    if stage.combine is not None:
        whole = stage.combine({rule: torch.tensor([p]) for rule, p in points.items()}, cfg)
        most = {"easyr1": 1.0, "lmm_r1": 1.5}.get(name, 2.0)
        assert whole.unique().tolist() == [most]


@pytest.mark.parametrize(
    ("text", "right", "form"),
    [
        (RIGHT, 1, 1),
        ("<think> a . </think> <answer> 3 </answer>", 0, 1),
        ("<answer> 2 </answer>", 1, 0),
        ("<think> 2 </think>", 0, 0),
        ("<think> a . </think> <answer> 12 </answer>", 0, 1),
        ("<think> a . </think> <answer> 2 . 5 </answer>", 0, 1),
        ("<think> a . </think> <answer> 1 + 1 </answer>", 0, 1),
        ("<think> a . </think> <answer> ２ </answer>", 0, 1),  # a full-width digit
        ("<think> a . </think> <answer> ² </answer>", 0, 1),
        ("<think> a . </think> <answer> 2e0 </answer>", 0, 1),
        ("<think> a . </think> <answer> " + "2" * 4000 + " </answer>", 0, 1),
        ("<think> a . </think> <answer> <image> </answer>", 0, 1),
        ("<image> <think> a . </think> <answer> 2 </answer>", 1, 0),
        ("<answer> 2 </answer> <think> a . </think>", 1, 0),
        ("<think> a . </think> <answer> 2", 0, 0),  # cut off
        ("<think> a . </think> <answer> 2 </answer> and more", 1, 0),
        ("<think> </think> <answer> </answer>", 0, 1),
        ("__import__('os').abort()", 0, 0),
        ("", 0, 0),
    ],
)
@pytest.mark.parametrize("name", FAMILY)
def test_what_a_policy_may_write(name, text, right, form):
    found = rewards_of(name)
    if name == "vision_r1":  # one hard reward: both or nothing
        assert found["format and result"]([text], ["2"]) == [float(right and form)]
        return
    assert found["accuracy"]([text], ["2"]) == [right]
    assert found["format"]([text], ["2"]) == [form]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("<think> <think> a </think> </think> <answer> 2 </answer>", 1),
        ("<think> a </think> <answer> 2 </answer> <answer> 3 </answer>", 1),
        ("<think> a </think> so <answer> 2 </answer>", 0),
        ("<think> a </think></answer>", 0),
        ("<think></answer>", 0),
        ("<think></think><answer></answer>", 1),
        ("<think></think><answer>", 0),
    ],
)
def test_tags_that_stand_twice(text, form):
    """As the lazy expression of the R1 family decides; Vision-R1's hard reward wants each once."""
    assert thought_then_answer(text) == form
    assert vision_r1.reward_format_result([text], ["2"]) == [0.0]


@pytest.mark.parametrize(
    "text",
    [
        " " * 100_000,
        "1" * 100_000,
        "<think>" * 15_000,
        "</think><answer>" * 6_000 + "</answer>",
        "<think>" + "</think><answer></answer>" * 4_000,
        "<think>" + ("</think>" + " " * 50) * 1_500 + "</answer>",
        "<answer>" * 12_000,
        "\\boxed{" * 15_000,
        "\\boxed{" + "{}" * 50_000,
        "A " * 50_000,
        "( [ A" * 20_000,
    ],
    ids=lambda text: repr(text[:14]),
)
@pytest.mark.parametrize("name", FAMILY)
def test_a_long_text_is_judged_at_once(name, text):
    """A backtracking rule would take minutes here."""
    began = time.process_time()
    for variant in VARIANTS:
        for reward in rewards_of(name, variant).values():
            assert reward([text], ["2"])[0] in (0.0, 1.0)
    assert time.process_time() - began < 2


def test_rules_for_final_answers():
    assert [boxed(t) for t in ("\\boxed{1} \\boxed{ {a} }", "\\boxed{1", "1")] == [
        "{a}",
        None,
        None,
    ]
    assert same_answer(" 2.0 ", "$2$") and same_answer("a b", "a b") and not same_answer("2 3", "2")
    assert not same_answer("1" * 40, "2" * 40) and same_answer("1" * 40, "1" * 40)
    assert not same_answer("", "2")


# --- supervision on the same questions -----------------------------------------------------------


def test_rejection_sampling_keeps_the_first_right_answer_of_each_question(lab, monkeypatch):
    """Of 40 questions the first two are right in the second try, another way in the third."""
    answers = [final_answer(item.truth) for item in lab.items]
    tries = [["no"] * 40]
    tries += [[f"{word} <answer> {a} </answer>" for a in answers[:2]] + ["no"] * 38
              for word in ("a", "b")]  # fmt: skip
    left = iter(tries)
    monkeypatch.setattr(lab, "answer", lambda temperature=1.0, policy=None: next(left))
    asked = lab.questions()[1:]  # a data step may have left some out
    rows = own_right_answers(lab, asked, mmr1_math_v0.reward_accuracy, tries=3)
    assert [row["item"] for row in rows] == lab.items[1:2]
    assert [text(row["chosen"]) for row in rows] == tries[1][1:2]
    assert lab.tally.rules == {"right in some try": 1, "never right": 38}
    alone = answers_alone(lab.questions())
    assert [text(row["chosen"]) for row in alone] == [f"<answer> {a} </answer>" for a in answers]


@pytest.mark.parametrize("name", ["visualthinker_r1_zero", "mmr1_math_v0"])
def test_a_row_of_supervision_is_another_stage(name):
    script = load_script(name)
    for row in ROWS:
        cfg = script.method.config(**script.method.ablations[row])
        (stage,) = script.under(cfg).method.stages
        assert isinstance(stage, PairStage) and stage.reference == "none"
    (stage,) = script.under(script.method.config()).method.stages
    assert isinstance(stage, GroupStage)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: easyr1.Config(loss_avg_mode="sequence"), "loss_avg_mode: 'sequence' is none of"),
        (lambda: mmr1_math_v0.Config(learn_by="words"), "learn_by: 'words' is none of 'rewards'"),
        (lambda: lmm_r1.Config(variant="ppo"), "variant: 'ppo' is none of 'paper', 'code'"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(make, message):
    """Any other mean than one over tokens would have been one over answers, in silence."""
    with pytest.raises(ValueError, match=message):
        make()


# --- EasyR1: what its settings change in GRPO ----------------------------------------------------


def test_easyr1_boxes_and_tags_are_both_answers():
    texts = ["<think> a </think> so \\boxed{2} .", "\\boxed{2}", "<think> a </think> \\boxed{3}"]
    assert easyr1.reward_accuracy(texts, ["2"] * 3) == [1, 1, 0]
    assert easyr1.reward_format(texts) == [1, 0, 1]
    # Blanks around the signs of a tag do not count in a text with a box; with tags, around which
    # there is nothing, they do: the repository has a rule for each.
    assert easyr1.reward_format(["< think > a < / think > \\boxed{2} "]) == [1]
    spaced = ["< think > a </think> <answer> 2 </answer>", "<think></think><answer></answer>\n"]
    assert easyr1.reward_format(spaced) == [0, 0]
    points = {"accuracy": torch.tensor([[1.0, 1.0, 0.0]]), "format": torch.tensor([[1.0, 0, 1.0]])}
    assert easyr1.weighted(points, easyr1.Config())[0].tolist() == pytest.approx([1.0, 0.9, 0.1])


def test_easyr1_long_answers_weigh_more_and_answer_means_do_not():
    # Answers of 1 and 3 tokens, advantages 1 and -1, ratio 1. Over four tokens each token weighs
    # 1/4, so the answers -1/4 and 3/4; by answers 1/2 each, shared by an answer's tokens.
    mask = numbers([[1, 0, 0], [1, 1, 1]])
    advantages = numbers([[1.0], [-1.0]]).expand(2, 3)
    for mode, expected in (("token", [-1 / 4, 3 / 4]), ("seq", [-1 / 2, 1 / 2])):
        logps = (-torch.ones(2, 3).double() * mask).requires_grad_()
        cfg = easyr1.Config(loss_avg_mode=mode, beta=0.0)
        value, _ = easyr1.loss(logps, logps.detach(), None, advantages, mask, cfg)
        (gradient,) = torch.autograd.grad(value, logps)
        assert gradient.sum(1).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "slope"),
    [
        (0.22, 1.0, -1.2461),  # e^0.22 = 1.246 lies between GRPO's 1.2 and 1.3: not clipped
        (0.30, 1.0, 0.0),
        (-0.40, 1.0, -0.6703),  # below the range, with A > 0: the smaller one counts
        (-0.40, -1.0, 0.0),
        (1.05, -1.0, 2.8577),  # a bad answer that became likelier
        (1.15, -1.0, 0.0),  # but not beyond a ratio of 3: the dual clip
    ],
)
def test_easyr1_clips_wider_upwards_and_bad_answers_at_three(log_ratio, advantage, slope):
    old, one = numbers([[-2.0]]), numbers([[1.0]])
    logps = (old + log_ratio).requires_grad_()
    cfg = easyr1.Config(beta=0.0)
    value, _ = easyr1.loss(logps, old, None, advantage * one, one, cfg)
    (gradient,) = torch.autograd.grad(value, logps)
    assert gradient.item() == pytest.approx(slope, abs=1e-4)


def test_easyr1_can_be_set_back_to_grpo():
    back = easyr1.Config(
        beta=0.04, loss_avg_mode="seq", clip_ratio_high=0.2, clip_ratio_dual=1e9, kl_limit=1e9
    )
    for seed in range(5):
        given = batch(seed=seed)
        ours, theirs = easyr1.loss(*given, back)[0], grpo(*given, GrpoConfig())[0]
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
        assert easyr1.loss(*given, easyr1.Config(beta=0.04))[0].item() != pytest.approx(
            theirs.item(), abs=1e-4
        )


def test_easyr1_cuts_the_kl_of_a_token_at_ten():
    one = numbers([[1.0]])
    given = numbers([[-5.0]]), numbers([[-5.0]]), numbers([[-1.0]])  # e^4 - 5 = 49.6
    value, metrics = easyr1.loss(*given, 0 * one, one, easyr1.Config())
    assert value.item() == pytest.approx(0.01 * 10) and metrics["kl"].item() == 10


# --- VisualThinker-R1-Zero -----------------------------------------------------------------------


def test_visualthinker_paper_and_code_differ_where_they_should():
    paper, code = visualthinker.Config(), visualthinker.Config(variant="code")
    rewards = numbers([[2, 1, 0]])
    assert visualthinker.advantages(rewards, paper).tolist() == [[1, 0, -1]]
    assert visualthinker.advantages(rewards, code)[0, 0].item() == pytest.approx(1 / 1.0001)
    # Ratio e^0.5 with advantage 1: clipped to 1.2 in the paper, 1 in the code.
    given = numbers([[-1.0]]), numbers([[-1.5]]), None, numbers([[1.0]]), numbers([[1.0]])
    no_kl = {"beta": 0.0}
    assert visualthinker.loss(*given, replace(paper, **no_kl))[0].item() == pytest.approx(-1.2)
    assert visualthinker.loss(*given, replace(code, **no_kl))[0].item() == pytest.approx(-1.0)
    # An answer that never opens its thought: the code's prompt has opened it.
    unopened = "1 + 1 = 2 . </think> <answer> 2.0 </answer>"
    found = {v: rewards_of("visualthinker_r1_zero", v) for v in ("paper", "code")}
    assert [found[v]["format"]([unopened], ["2"]) for v in found] == [[0.0], [1.0]]
    # The code compares texts, and takes a letter by itself for an option.
    assert [found[v]["accuracy"]([unopened], ["2"]) for v in found] == [[1.0], [0.0]]
    letter = "<answer> it is B </answer>"
    assert [found[v]["accuracy"]([letter], ["B"]) for v in found] == [[0.0], [1.0]]


def test_visualthinker_a_reward_for_length_prefers_the_longer_of_two_right_answers():
    texts = [RIGHT, RIGHT.replace("1 + 1", "1 + 1 = 2 . 1 + 1")]
    for weight in (0.0, 0.001):
        cfg = visualthinker.Config(length_weight=weight)
        found = visualthinker.rewards(cfg)
        points = {rule: torch.tensor([r(texts, ["2", "2"])]) for rule, r in found.items()}
        advantages = visualthinker.advantages(visualthinker.weighted(points, cfg).double(), cfg)
        assert (advantages[0, 1] > advantages[0, 0]).item() is bool(weight)


# --- MMR1: the choice of questions ---------------------------------------------------------------


@pytest.fixture
def lab(world, policy):
    return Lab(world, world.tasks["count"], policy, policy, Workshop(), 1, 40)


def test_mmr1_easy_questions_go_and_groups_are_even(lab, monkeypatch):
    """Of 40 questions the first 12 are always right; of the rest 20 are of one kind, 8 another."""
    items = [
        replace(item, subject="plus/a" if place < 32 else "minus/a")
        for place, item in enumerate(lab.items)
    ]
    lab.__dict__["items"] = items

    def answer(temperature=1.0, policy=None):
        return [it.truth if place < 12 else "no" for place, it in enumerate(items)]

    monkeypatch.setattr(lab, "answer", answer)
    cfg = mmr1_math_v0.Config(kept=0.4)
    chosen = [row["item"] for row in mmr1_math_v0.balanced(lab, cfg)]
    kinds = [mmr1_math_v0.operation(item.subject) for item in chosen]
    assert (kinds.count("plus"), kinds.count("minus")) == (8, 8)
    assert not {id(item) for item in chosen} & {id(item) for item in items[:12]}
    assert lab.tally.rules["too easy"] == 12
    # Without balance they are taken as they come, and without the filter the easy ones are, too.
    plain = replace(cfg, balance_term=False)
    assert [row["item"] for row in mmr1_math_v0.balanced(lab, plain)] == items[12:28]
    neither = replace(cfg, **mmr1_math_v0.METHOD.ablations["neither"])
    assert [row["item"] for row in mmr1_math_v0.balanced(lab, neither)] == items[:16]


# --- Vision-R1: stages ---------------------------------------------------------------------------


def test_vision_r1_an_answer_that_is_cut_off_earns_nothing():
    """This is how the first stage's cap shortens: what does not end in time has no reward."""
    long = vision_r1.checked(RIGHT, 1)
    assert long == "<think> 1 + 1 = 2 . 1 + 1 = 2 . </think> <answer> 2 </answer>"
    assert vision_r1.reward_format_result([long, RIGHT], ["2", "2"]) == [1, 1]
    words = long.split()
    for cap in range(len(words)):
        assert vision_r1.reward_format_result([" ".join(words[:cap])], ["2"]) == [0]
    assert vision_r1.reward_format_result(
        ["<think> a </think><answer> Final Answer:2 </answer>"], ["2"]
    ) == [1]


def test_vision_r1_lifts_the_cap_and_samples_less():
    method = vision_r1.METHOD
    taken = [stage for stage in method.stages if stage.takes_place(vision_r1.Config())]
    assert [stage.name for stage in taken] == ["cold-start", "suppressed", "relaxed"]
    task = world_named(method.world).tasks[method.task]
    assert taken[2].lab.max_new_tokens == task.max_new_tokens
    for preset in ("lab", "paper"):
        first, second = (getattr(stage, preset) for stage in taken[1:])
        assert first.max_new_tokens < second.max_new_tokens
        assert first.group_size > second.group_size
    # Without suppression there are as many steps, all of them under the later cap.
    cfg = replace(vision_r1.Config(), **method.ablations["no suppression"])
    others = [stage for stage in method.stages if stage.takes_place(cfg)]
    assert sum(s.lab.steps for s in others) == sum(s.lab.steps for s in taken)
    assert {s.lab.max_new_tokens for s in others if isinstance(s, GroupStage)} == {
        taken[2].lab.max_new_tokens
    }


def test_vision_r1_ratios_are_of_tokens_or_of_whole_answers():
    assert not vision_r1.Config().whole_answers
    # Two tokens with log-ratios 0.15 each: e^0.3 = 1.35 is clipped for the answer, and neither
    # e^0.15 = 1.16 would be by itself.
    old, mask = numbers([[-1.0, -1.0]]), numbers([[1.0, 1.0]])
    for whole, expected in ((True, 0.0), (False, -1.1618)):
        logps = (old + 0.15).requires_grad_()
        cfg = vision_r1.Config(beta=0.0, whole_answers=whole)
        value, metrics = vision_r1.loss(logps, old, None, mask, mask, cfg)
        (gradient,) = torch.autograd.grad(value, logps)
        assert gradient.sum().item() == pytest.approx(expected, abs=1e-4)
        assert metrics["clip_fraction"].tolist() == [float(whole)]
    # Of one token both are the same.
    given = batch(tokens=1)
    same = [vision_r1.loss(*given, vision_r1.Config(whole_answers=w))[0] for w in (True, False)]
    assert same[0].item() == pytest.approx(same[1].item(), abs=1e-12)


def test_vision_r1_of_a_dataset_no_stage_learns_the_labs_scenes(
    tiny_base, world, tmp_path, monkeypatch
):
    monkeypatch.setattr(Lab, "prompt", lambda self, place, **more: pytest.fail("a scene"))
    script, changes = load_script("vision_r1"), {"pairs": 8, "steps": 1, "batch_size": 4}
    task = world.tasks["count"]
    run = Run(script, vision_r1.Config(), "lab", changes, world, task, tiny_base, tmp_path)
    asked = [{"role": "user", "content": "count to 2 ."}]
    run.rows, run.rows_digest = [{"images": [], "prompt": asked, "answer": "2"}] * 8, "rows"
    cold, suppressed, _, relaxed = run.script.method.stages
    for stage in (suppressed, relaxed):
        assert stage_rows(run, stage, 0, tiny_base)[0] is run.rows
    with pytest.raises(ValueError, match=r"cold-start: the dataset's rows have no chosen; leave"):
        stage_rows(run, cold, 0, tiny_base)
    run.rows = [{**row, "chosen": said(RIGHT)} for row in run.rows]
    assert stage_rows(run, cold, 0, tiny_base)[0] is run.rows


# --- LMM-R1: text first, and what stands in place of the value model -----------------------------


def test_lmm_r1_code_wants_each_tag_once_and_pays_where_there_is_no_truth():
    twice = "<think> <think> a </think> <answer> 2 </answer>"
    assert lmm_r1.reward_format([twice], ["2"]) == [1.0]
    found = {variant: lmm_r1.rewards(lmm_r1.Config(variant=variant)) for variant in VARIANTS}
    assert [found[v]["format"]([twice], ["2"]) for v in VARIANTS] == [[1.0], [0.0], [1.0]]
    assert [found[v]["accuracy"](["no"], ["$$"]) for v in VARIANTS] == [[0.0], [1.0], [0.0]]


def test_lmm_r1_each_variant_has_its_own_baseline():
    rewards = numbers([[1.5, 0.5, 0.0]])
    found = {v: lmm_r1.advantages(rewards, lmm_r1.Config(variant=v)) for v in VARIANTS}
    assert found["paper"].tolist() == [[1.5, 0.5, 0.0]]  # the value model is PPO's
    assert found["code"][0].tolist() == pytest.approx([5 / 6, -1 / 6, -2 / 3])
    assert found["survey"][0].tolist() == pytest.approx([1.25, -0.25, -1.0])
    # The value loss is added where there are values: half the larger squared error.
    one = numbers([[1.0]])
    given = (-one, -one, None, 0 * one, one, lmm_r1.Config())
    alone, _ = lmm_r1.loss(*given)
    whole, metrics = lmm_r1.loss(*given, values=one, old_values=0 * one, returns=one)
    assert alone.item() == 0
    # |1 - 1| = 0, but within 0.2 of the old value 0 it is 0.2: 0.8^2 / 2.
    assert whole.item() == pytest.approx(0.32) and metrics["value_loss"].item() == whole.item()


def test_lmm_r1_gae_agrees_with_the_official_function():
    """get_advantages_and_returns of OpenRLHF, L556-L600 of experience_maker.py, gamma = lambda = 1:
    returns are the rewards to go, whatever the values say."""
    mask = numbers([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    rewards = numbers([[0.01, -0.02, 0, 1.5], [0.03, 0.5, 0, 0], [-0.01, 0.02, 0, 0]])
    values = numbers([[0.4, 0.6, 0.5, 0.9], [0.2, 0.3, 0, 0], [0.1, 0.2, 0.3, 0]])
    advantages, returns = lmm_r1.gae(rewards, values, mask, lmm_r1.Config())
    expected = [[1.09, 0.88, 1.0, 0.6], [0.33, 0.2, 0, 0], [-0.09, -0.18, -0.3, 0]]
    torch.testing.assert_close(advantages, numbers(expected))
    to_go = [[1.49, 1.48, 1.5, 1.5], [0.53, 0.5, 0, 0], [0.01, 0.02, 0, 0]]
    torch.testing.assert_close(returns, numbers(to_go))


def test_lmm_r1_code_takes_off_the_kl_that_is_still_to_come():
    # KL 1, 2, 3 at three tokens: to come are 6, 5, 3. Without it all tokens are alike.
    mask, ref = numbers([[1, 1, 1, 0]]), numbers([[-1, -2, -3, 9]])
    advantages = minus_kl_to_go(numbers([[2.0]]), 0 * ref, ref, mask, beta=0.5)
    assert advantages[0, :3].tolist() == [-1.0, -0.5, 0.5]
    logps = torch.zeros(1, 4).double().requires_grad_()
    given = (logps, logps.detach(), ref, numbers([[2.0]]).expand(1, 4), mask)
    for beta, signs in ((0.5, [1, 1, -1, 0]), (0.0, [0, 0, 0, 0])):
        cfg = lmm_r1.Config(variant="code", beta=beta)
        (gradient,) = torch.autograd.grad(lmm_r1.loss(*given, cfg)[0], logps)
        assert torch.sign(gradient)[0].tolist() == signs


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["text", "pictures"]),
        ({"variant": "code"}, ["text-in-groups", "pictures-in-groups"]),
        ({"variant": "survey"}, ["text-in-groups"]),
        ({"text_term": False}, ["pictures"]),
        ({"pictures_term": False}, ["text"]),
    ],
)
def test_lmm_r1_stages_of_each_variant(changes, names):
    """The last stage that takes place is the one whose model and rows are the method's."""
    script, cfg = load_script("lmm_r1"), lmm_r1.Config(**changes)
    under = script.under(cfg)
    assert [stage.name for stage in under.method.stages] == names
    assert under.method.last.name == names[-1] and len(script.method.stages) == 4
    kind = GroupStage if "variant" in changes else PpoStage
    assert all(isinstance(stage, kind) for stage in under.method.stages)
    asked = [stage.task for stage in under.method.stages]
    assert asked == ["text-arithmetic" if name.startswith("text") else "" for name in names]


def test_without_any_stage_there_is_no_method():
    nothing = lmm_r1.Config(text_term=False, pictures_term=False)
    with pytest.raises(ContractError, match="no stage takes place"):
        load_script("lmm_r1").under(nothing)
    same = load_script("easyr1")
    assert same.under(easyr1.Config()) is same


def test_a_stage_may_ask_another_task(tiny_base, world, tmp_path):
    """Its rows, its judge and its log are of that task; a name that is none is told."""
    method = easyr1.METHOD
    script, changes = load_script("easyr1"), {"pairs": 4, "steps": 1, "batch_size": 2}
    run = Run(
        script, easyr1.Config(), "lab", changes, world, world.tasks["count"], tiny_base, tmp_path
    )
    asked = {}
    for name in ("", "brief"):
        stage = replace(method.last, task=name, data=lambda lab, cfg: lab.items)
        items, lab, _ = stage_rows(run, stage, 0, tiny_base)
        assert lab.task.id == (name or "count")
        asked[name] = {item.prompt for item in items}
    assert not asked[""] & asked["brief"]
    with pytest.raises(ValueError, match=r"easyr1, train: .* no task 'sums'; there are describe"):
        stage_rows(run, replace(method.last, task="sums"), 0, tiny_base)


@pytest.mark.parametrize("name", FAMILY)
def test_stages_ask_tasks_of_their_world(name):
    method = load_script(name).method
    tasks = world_named(method.world).tasks
    assert {method.task, *(stage.task for stage in method.stages)} - {""} <= set(tasks)


# --- all of it -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A base of the problems world that has learnt nothing."""
    torch.manual_seed(0)
    model, processor = base.build(problems.WORDS, base.Size(image=64, patch=8, hidden=32))
    folder = tmp_path_factory.mktemp("problems")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("easyr1", {}),
        ("visualthinker_r1_zero", {}),
        ("mmr1_math_v0", {"tries": 1}),
        ("mmr1_math_v0", {"learn_by": "answers"}),
        ("vision_r1", {}),
        ("lmm_r1", {}),
        ("lmm_r1", {"variant": "code"}),
        ("lmm_r1", {"variant": "survey"}),
    ],
)
def test_every_stage_trains_one_after_another(name, changes, untrained, tmp_path):
    """Two steps of each stage, each from the checkpoint of the one before."""
    script = load_script(name)
    cfg = script.method.config(**changes)
    world = world_named(script.method.world).under(script.method.condition)
    small = {"pairs": 8, "steps": 2, "batch_size": 4, "max_new_tokens": 6, "seed": 1}
    run = Run(
        script.under(cfg), cfg, "lab", small, world, world.tasks[script.method.task], untrained,
        tmp_path,
    )  # fmt: skip
    policy = run_stages(run)
    names = [stage.name for stage in run.script.method.stages]
    assert list(run.tallies) == names and run.last_rows
    saved = load(str(tmp_path / names[-1] / "model"))[0].state_dict()
    after = policy.model.state_dict()
    assert all(torch.isfinite(each).all() for each in after.values())
    assert all(torch.equal(saved[each], after[each]) for each in saved)


def test_a_conversation_that_ends_with_a_question_has_no_true_answer():
    """Its question was taken for it, and who repeated the question was rewarded."""
    asked = {"role": "user", "content": "<image>How many?"}
    said = {"role": "assistant", "content": "3"}
    image = Image.new("RGB", (8, 8))
    whole = visualthinker.read_record({"messages": [asked, said], "images": [image]})
    assert whole["answer"] == "3"
    for turns in ([asked], [asked, said, asked]):
        with pytest.raises(CellError, match="true answer are wanted"):
            visualthinker.read_record({"messages": turns, "images": [image]})
    system = {"role": "system", "content": "You are helpful."}
    for turns in ([system, asked, said], [asked, said, asked, said], [said]):
        with pytest.raises(CellError, match="true answer are wanted"):
            visualthinker.read_record({"messages": turns, "images": [image]})


@pytest.mark.parametrize("name", ["vision_r1", "lmm_r1"])
def test_rows_of_the_last_stage_are_there_without_training_it(name, untrained, tmp_path):
    """A study hands a method's rows to its baselines: the last stage's training is not needed."""
    script = load_script(name)
    cfg = script.method.config()
    world = world_named(script.method.world)
    small = {"pairs": 4, "steps": 1, "batch_size": 4, "max_new_tokens": 6, "seed": 1}
    found = []
    for make in (rows_of_last, run_stages):
        folder = tmp_path / make.__name__
        run = Run(
            script.under(cfg), cfg, "lab", small, world, world.tasks[script.method.task],
            untrained, folder,
        )  # fmt: skip
        made = make(run)
        found.append(made if make is rows_of_last else run.last_rows)
    names = [stage.name for stage in run.script.method.stages]
    assert [row["item"] for row in found[0]] == [row["item"] for row in found[1]]
    before = {path.parent.name for path in (tmp_path / "rows_of_last").glob("*/model")}
    assert before == set(names[:-1]) and len(before) >= 1


@pytest.mark.parametrize("name", FAMILY)
def test_padding_changes_nothing(name):
    module = load_script(name).module
    logps, old, ref, advantages, mask = batch()
    wider = [torch.cat([each, 7 * torch.ones(4, 2).double()], 1) for each in (logps, old, ref)]
    wide_mask = torch.cat([mask, torch.zeros(4, 2).double()], 1)
    for variant in VARIANTS:
        cfg = module.Config(variant=variant)
        value, _ = module.loss(logps, old, ref, advantages, mask, cfg)
        padded, _ = module.loss(*wider, advantages[:, :1].expand(4, 7), wide_mask, cfg)
        assert padded.item() == pytest.approx(value.item(), abs=1e-12)
        order = [2, 0, 3, 1]
        turned = [each[order] for each in (logps, old, ref, advantages, mask)]
        assert module.loss(*turned, cfg)[0].item() == pytest.approx(value.item(), abs=1e-12)
