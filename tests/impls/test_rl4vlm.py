"""RL4VLM: what a thought's tokens weigh, both value losses, and episodes that train a policy."""

import dataclasses
import json
import math
import random

import pytest
import torch

from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer
from reference_impls.core.model.load import load
from reference_impls.core.train.checkpoints import begin
from reference_impls.core.train.ppo import train_ppo
from reference_impls.core.worlds.agent import WORLD, text
from reference_impls.methods import rl4vlm
from reference_impls.methods.rl4vlm import METHOD, Config, thoughts

# Two answers: three tokens of thought and two of action; one of thought and two of action.
MASK = torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.float64)
MARKS = torch.tensor([[1.0, 1, 1, 0, 0], [1, 0, 0, 0, 0]], dtype=torch.float64)
LOGPS = -0.1 * torch.arange(1, 11, dtype=torch.float64).view(2, 5) * MASK
GAIN = torch.tensor([1.0, -2.0], dtype=torch.float64)
FAR = {"values": [0.5, 0.0], "old_values": [0.0, 0.0], "returns": [1.0, 1.0]}


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def gradient(cfg, old=LOGPS, gain=GAIN, marks=MARKS, mask=MASK):
    """(loss, gradient of the log-probabilities) without values."""
    leaf = LOGPS.clone().requires_grad_()
    value, _ = rl4vlm.loss(leaf, old, None, gain, mask, cfg, weights=marks)
    value.backward()
    return value.item(), leaf.grad


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.5, 1.0])
def test_a_thought_counts_lambda_times_and_the_action_once(lam):
    """On policy the gradient of a token is -A/B times its weight in equation 4.3."""
    value, found = gradient(Config(lam=lam))
    assert value == pytest.approx(-(1.0 - 2.0) / 2)
    expected = -(GAIN[:, None] / 2) * (lam * MARKS + (1 - MARKS)) * MASK
    assert torch.allclose(found, expected)


def test_lambda_decides_how_far_the_ratio_moves():
    """A thought that became e^0.2 likelier in each of three tokens: rho is e^(0.6 lambda)."""
    one = [slice(0, 1)] * 4
    for lam, ratio in ((0.0, 1.0), (0.1, math.exp(0.06)), (1.0, 1.1)):
        old = LOGPS - 0.2 * MARKS
        given = [each[s] for each, s in zip((LOGPS, old, GAIN, MASK), one, strict=True)]
        value, metrics = rl4vlm.loss(
            given[0], given[1], None, given[2], given[3], Config(lam=lam), weights=MARKS[:1]
        )
        assert value.item() == pytest.approx(-ratio)  # e^0.6 is clipped at 1.1
        assert metrics["clip_fraction"] == float(lam == 1.0)


def test_an_answer_is_one_action_whatever_its_length():
    """Nothing is divided by the number of tokens: a thought twice as long weighs twice as much."""
    long = torch.cat([MARKS[:1, :3], MARKS[:1, :3], MARKS[:1, 3:]], 1)
    leaf = torch.zeros(1, 8, dtype=torch.float64, requires_grad=True)
    value, _ = rl4vlm.loss(
        leaf, torch.zeros(1, 8), None, GAIN[:1], torch.ones_like(long), Config(), weights=long
    )
    value.backward()
    assert (leaf.grad * long).sum() == pytest.approx(-6 * 0.5)


def test_value_losses_of_paper_and_code():
    """Paper: 0.5 mean (V - R)^2. Code: 0.25 mean of the larger one of it and of the error of V kept
    within 0.1 of the old value: V = 0.5 from 0 counts as 0.1, and 0.9^2 is above 0.5^2."""
    given = {name: numbers(values) for name, values in FAR.items()}
    losses = {}
    for variant in ("paper", "code", "survey"):
        cfg = Config(variant=variant)
        policy, _ = rl4vlm.loss(LOGPS, LOGPS, None, GAIN, MASK, cfg, weights=MARKS)
        whole, metrics = rl4vlm.loss(LOGPS, LOGPS, None, GAIN, MASK, cfg, weights=MARKS, **given)
        losses[variant] = (whole - policy).item()
        assert losses[variant] == pytest.approx(cfg.c * metrics["value_loss"].item())
    assert losses["paper"] == losses["survey"] == pytest.approx(0.5 * (0.25 + 1.0) / 2)
    assert losses["code"] == pytest.approx(0.25 * (0.81 + 1.0) / 2)


def test_a_value_that_moved_too_far_has_no_gradient_in_the_code():
    for variant, expected in (("paper", 0.5 * 2 * -0.5 / 2), ("code", 0.0)):
        given = {name: numbers(values) for name, values in FAR.items()}
        given["values"].requires_grad_()
        cfg = Config(variant=variant)
        value, _ = rl4vlm.loss(LOGPS, LOGPS, None, GAIN, MASK, cfg, weights=MARKS, **given)
        value.backward()
        assert given["values"].grad[0].item() == pytest.approx(expected)


def test_the_code_stops_pushing_down_what_became_ten_times_likelier():
    """Ratio e^3 and advantage -2: PPO pushes down, the code's clipped term has no gradient."""
    old = LOGPS - torch.tensor([[0.0] * 5, [0, 3.0, 0, 0, 0]], dtype=torch.float64)
    paper, code = (gradient(Config(variant=variant), old)[1][1] for variant in ("paper", "code"))
    assert paper[1].item() == pytest.approx(2 * math.exp(3) / 2)
    assert torch.all(code == 0)
    nearly = LOGPS - torch.tensor([[0.0] * 5, [0, 2.3, 0, 0, 0]], dtype=torch.float64)
    assert gradient(Config(variant="code"), nearly)[1][1][1].item() > 9  # e^2.3 is below 10


def test_the_code_leaves_the_first_token_of_a_thought_out():
    _, paper = gradient(Config())
    _, code = gradient(Config(variant="code"))
    assert torch.all(paper[0] != 0)
    assert code[0, 0] == 0.0 and torch.equal(code[0, 1:], paper[0, 1:])
    # Of an action alone every token is scored.
    none = torch.zeros_like(MARKS)
    assert torch.equal(gradient(Config(), marks=none)[1],
                       gradient(Config(variant="code"), marks=none)[1])  # fmt: skip


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_padding_and_order_change_nothing(variant):
    cfg = Config(variant=variant)
    given = {name: numbers(values) for name, values in FAR.items()}
    old = LOGPS + 0.05
    value, _ = rl4vlm.loss(LOGPS, old, None, GAIN, MASK, cfg, weights=MARKS, **given)
    # An empty row, wider tensors, the other order, and one number per token.
    wide = [
        torch.nn.functional.pad(each, (0, 3, 0, 1)).flip(0) for each in (LOGPS, old, MASK, MARKS)
    ]
    per_token = {
        name: torch.nn.functional.pad(each[:, None] * MASK, (0, 3, 0, 1)).flip(0)
        for name, each in {"gain": GAIN, **given}.items()
    }
    gain = per_token.pop("gain")
    same, _ = rl4vlm.loss(wide[0], wide[1], None, gain, wide[2], cfg, weights=wide[3], **per_token)
    assert same.item() == pytest.approx(value.item())


def test_estimates_are_normalised_over_the_steps_that_took_place():
    estimates, mask = numbers([[1.0, 3.0, 9.0], [5.0, 0.0, 0.0]]), numbers([[1, 1, 0], [1, 0, 0]])
    found = rl4vlm.normalised(estimates, mask, Config())
    spread = 2.0 + 1e-5  # 1, 3, 5: mean 3, sample deviation 2
    assert torch.allclose(found, numbers([[-2 / spread, 0, 0], [2 / spread, 0, 0]]))
    alone = rl4vlm.normalised(numbers([[4.0]]), numbers([[1]]), Config())
    assert alone.tolist() == [[0.0]]


def test_nothing_is_expected_after_an_episode():
    """A cut-off episode ends as one that came to its end."""
    cfg = Config(gamma=0.5, gae_lambda=1.0)
    given = numbers([[0.0, 1.0]]), numbers([[0.2, 0.6]]), numbers([[1, 1]])
    advantages, returns = rl4vlm.gae(*given, cfg)
    assert returns.tolist() == [[0.5, 1.0]]  # lambda 1: what was earned, discounted
    assert torch.allclose(advantages, returns - given[1])


# --- marks --------------------------------------------------------------------------------------


def words(said):
    """An answer whose tokens are its words, and an ending."""
    spans, place = [], 0
    for word in said.split(" "):
        spans.append((place, place + len(word)))
        place += len(word) + 1
    return Answer(said, list(range(len(spans) + 1)), [*spans, (len(said), len(said))])


def test_what_stands_before_the_key_is_the_thought():
    said = text.answer("+", "so")
    marks = thoughts(words(said), Config())
    before = said.split(" ").index('"action"')
    assert marks == [1.0] * before + [0.0] * (len(marks) - before)
    # A key inside the thought is not the last one.
    quoted = thoughts(words('{ "thoughts" : " "action" : x " , "action" : " + " }'), Config())
    assert quoted.index(0.0) == 9
    # The action alone: what opens the object is all that stands before.
    assert thoughts(words(text.answer("+")), Config())[:2] == [1.0, 0.0]


def test_an_answer_without_a_key_is_all_thought_or_its_last_five_tokens_are_the_action():
    answer = words("I would rather add one here now please")
    assert thoughts(answer, Config()) == [1.0] * 9
    assert thoughts(answer, Config(variant="survey")) == [1.0] * 9
    assert thoughts(answer, Config(variant="code")) == [1.0] * 4 + [0.0] * 5
    # Five tokens are the action, and of four there is none: the fourth from the end is place 0.
    assert thoughts(words("add one here now"), Config(variant="code")) == [0.0] * 5
    assert thoughts(words("add one here"), Config(variant="code")) == [1.0] * 4


def test_a_token_that_holds_the_beginning_of_the_key_is_the_actions():
    said = '{"a":1,"action":"+"}'
    answer = Answer(said, [1, 2, 3, 4], [(0, 6), (6, 15), (15, 20), (20, 20)])
    assert thoughts(answer, Config()) == [1.0, 0.0, 0.0, 0.0]


# --- the stage ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Folder of a base of the agent world that has learnt nothing."""
    from reference_impls.core.model import base
    from reference_impls.core.worlds.agent.build import FIRST_USE

    torch.manual_seed(0)
    model, processor = base.build(FIRST_USE.words, dataclasses.replace(FIRST_USE.size, hidden=32))
    folder = tmp_path_factory.mktemp("agent")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def test_the_stage_plays_whole_episodes_and_marks_their_thoughts(untrained, tmp_path, monkeypatch):
    """An expert's answers in place of the policy's: they are paid, marked, and made likelier where
    they were better than expected."""
    from reference_impls.core.train.ppo import PpoTrainer

    task = WORLD.tasks["act"]
    stage, given = METHOD.last, []
    rng = random.Random(0)

    def expert(self, rows, stream):
        return [
            task.answer(row["item"].scene, rng.choice(row["item"].scene.actions)) for row in rows
        ]

    def loss(*tensors, **more):
        given.append((tensors, more))
        return rl4vlm.loss(*tensors, **more)

    monkeypatch.setattr(PpoTrainer, "_answers", expert)
    model, processor = load(untrained)
    lab = Lab(WORLD, task, None, None, None, 1, 8)
    rows = stage.data(lab, Config())
    settings = dataclasses.replace(stage.lab, pairs=8, steps=4, batch_size=8)
    train_ppo(
        model, processor, rows, cfg=Config(),
        stage=dataclasses.replace(stage, loss=loss, minibatches=1),
        settings=settings, output=tmp_path, lab=lab, resume_from=begin(tmp_path, {}, False),
    )  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(given) == 4  # four epochs of one batch
    (_, old, reference, gain, mask, _), more = given[0]
    assert reference is None
    marks = more["weights"]
    # Each answer has a thought, and behind it the same number of tokens of the action.
    assert torch.all((marks * mask).sum(1) > 5)
    assert set(((1 - marks) * mask).sum(1).tolist()) == {
        6.0 + 1.0
    }  # `"action" : " + " }` and the end
    assert len(mask) == round(log[0]["episode_steps"] * 8)
    kept = rl4vlm.of_answers(gain, mask)
    assert kept.mean().item() == pytest.approx(0, abs=1e-5)
    assert kept.std().item() == pytest.approx(1, abs=1e-3)
    after = given[-1][0][0].detach()
    moved = rl4vlm.log_probability(after - old, mask, marks, Config())
    assert (moved * kept).mean() > 0


def test_rows_of_a_task_without_episodes_are_refused(world):
    lab = Lab(world, world.tasks["describe"], None, None, None, 1, 2)
    with pytest.raises(ValueError, match="'describe' of the world scenes is asked once"):
        rl4vlm.games(lab, [], Config())


def test_every_beginning_carries_what_an_imitator_needs():
    task = WORLD.tasks["act"]
    lab = Lab(WORLD, task, None, None, None, 1, 20)
    for row in rl4vlm.beginnings(lab, Config()):
        assert task.score(row["item"], row["worked"]) == 1.0
