"""Methods whose pairs come from a judge that they train: what the judge is asked, who is chosen."""

import dataclasses
import math

import pytest
import torch

from reference_impls.core.data.criticism import claim_odds, judged_claims, struck_out
from reference_impls.core.data.rows import text
from reference_impls.core.data.sources import SOURCES
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer
from reference_impls.core.objective.reward import verdict
from reference_impls.core.stages import run_stages
from reference_impls.core.worlds.protocol import Segment
from tests.impls.scripts import SCRIPTS
from tests.impls.test_heads import stage_run
from tests.impls.test_objectives import batch

CRITIC, ALIGN = (SCRIPTS[name].module for name in ("llava_critic", "align_anything"))
DPO = SCRIPTS["dpo"].module


def config(module, **changes):
    return dataclasses.replace(module.Config(), **changes)


# --- LLaVA-Critic --------------------------------------------------------------------------------


class Liking:
    """A critic that doubts red things: its log-odds of "right" are 2, and -1 for what is red."""

    def __init__(self):
        self.asked = []

    def rewards(self, rows, response):
        self.asked += rows
        assert all(text(row[response]) == "yes" for row in rows)
        return [-1.0 if "red" in text(row["prompt"]) else 2.0 for row in rows]


RED, BLUE, GREEN = "a red circle", "a blue square", "a green star"


def critic_lab(world, policy, monkeypatch, *samples):
    lab = Lab(world, world.tasks["brief"], policy, policy, None, seed=1, count=len(samples[0]))
    lab.trained = {"critic": Liking()}
    given = iter([list(each) for each in samples])
    monkeypatch.setattr(Lab, "answer", lambda self, temperature: next(given))
    return lab


def test_a_rating_is_the_claims_expected_right_less_those_expected_wrong(
    world, policy, monkeypatch
):
    lab = critic_lab(world, policy, monkeypatch, [""])
    right, wrong = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(1.0))
    one, other = (right - (1 - right)), (wrong - (1 - wrong))
    for answer, expected in (
        (f"{BLUE} , {RED} .", one + other), (f"{BLUE} , {BLUE} .", one - 1), (f"{BLUE} .", one),
        ("nothing .", 0.0),
    ):  # fmt: skip
        (found,) = CRITIC.ratings(lab, [answer], CRITIC.Config())
        assert found == pytest.approx(expected, abs=1e-6)
    assert len(lab.trained["critic"].asked) == 4  # what is said twice is asked once


def test_the_best_rated_answer_is_set_against_the_worst(world, policy, monkeypatch):
    samples = [
        [f"{BLUE} , {RED} .", f"{BLUE} ."], [f"{BLUE} , {GREEN} .", f"{BLUE} ."],
        [f"{RED} .", f"{BLUE} ."],
    ]  # fmt: skip
    lab = critic_lab(world, policy, monkeypatch, *samples)
    (row,) = CRITIC.criticised(lab, config(CRITIC, candidates=3))
    assert (text(row["chosen"]), text(row["rejected"])) == (f"{BLUE} , {GREEN} .", f"{RED} .")
    assert lab.tally.rules == {"best against worst by the critic": 1, "not told apart": 1}


def test_with_ratings_one_by_one_the_order_of_r_is_that_of_the_ratings():
    """The equation of the page, a_ij = s_j - s_i, summed as it stands: r_i = 2 (K s_i - sum s)."""
    ratings = [0.3, -1.2, 2.0, 0.7, -0.1]
    everyone = range(len(ratings))
    r = [
        sum(ratings[i] - ratings[k] for k in everyone if k != i)
        - sum(ratings[n] - ratings[i] for n in everyone if n != i)
        for i in everyone
    ]
    assert r == pytest.approx([2 * (5 * s - sum(ratings)) for s in ratings])
    assert sorted(everyone, key=r.__getitem__) == sorted(everyone, key=ratings.__getitem__)


def test_the_critic_learns_from_judged_claims(world, policy):
    workshop = Workshop()
    lab = Lab(world, world.tasks["brief"], policy, policy, workshop, seed=1, count=2)
    there = lab.items[0].scene.names[0]
    answers = [f"there are a {there} and {RED} .", "nothing ."]
    rows = judged_claims(lab, "rule", answers)
    asked = [text(row["prompt"]) for row in rows]
    assert [there in asked[0], "red circle" in asked[1]] == [True, True]
    truth = [1.0, 1.0 if "red circle" in lab.items[0].scene.names else -1.0]
    assert [row["label"] for row in rows] == truth
    assert all(row["images"] and text(row["chosen"]) == "yes" for row in rows)


def test_a_verdict_is_the_cross_entropy_of_a_label():
    outputs = torch.tensor([[[9.0], [1.5]], [[0.5], [9.0]]], dtype=torch.float64)
    pairs = batch()
    pairs.chosen.mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    pairs.extra = {"label": torch.tensor([1.0, -1.0])}
    losses, metrics = verdict({"chosen": outputs}, pairs, CRITIC.Config())
    expected = [math.log1p(math.exp(-1.5)), math.log1p(math.exp(0.5))]
    assert losses.tolist() == pytest.approx(expected, abs=1e-12)
    assert metrics["accuracy"].tolist() == [1.0, 0.0]
    pairs.extra = {}
    with pytest.raises(ValueError, match="needs the column `label`"):
        verdict({"chosen": outputs}, pairs, CRITIC.Config())


def test_without_gamma_the_variants_are_dpo_and_with_it_they_differ():
    pairs = batch()
    plain = DPO.loss(pairs, DPO.Config())[0]
    chosen = pairs.chosen
    sums = -(chosen.logps * chosen.mask).sum(-1)
    added = {"paper": sums / chosen.mask.sum(-1), "code": sums.sum() / chosen.mask.sum()}
    for variant, nll in added.items():
        found = CRITIC.loss(pairs, config(CRITIC, variant=variant))[0]
        assert torch.allclose(found, plain, atol=1e-12)
        found = CRITIC.loss(pairs, config(CRITIC, variant=variant, gamma=0.1))[0]
        assert torch.allclose(found, plain + 0.1 * nll, atol=1e-12)


def test_the_critic_is_trained_once_and_reads_every_round(tiny_base, world, tmp_path, monkeypatch):
    run = stage_run("llava_critic", world, tiny_base, tmp_path, rounds=2, candidates=2)
    drawn = iter(range(10**6))
    names = ("red circle", "blue square", "green star", "white cross", "red star")
    monkeypatch.setattr(
        Lab, "answer",
        lambda self, *_, **__: [f"a {names[next(drawn) % 5]} ." for _ in self.items],
    )  # fmt: skip
    monkeypatch.setitem(SOURCES, "ensemble", lambda lab: lab.answer())
    run.changes = {"pairs": 8, "steps": 4, "batch_size": 4}
    critic, last = run.script.method.stages
    assert (run.settings(critic).pairs, run.settings(last).pairs) == (8, 4)
    monkeypatch.setattr(CRITIC, "ratings", lambda lab, answers, cfg: [
        float(sum(map(ord, answer))) for answer in answers if "critic" in lab.trained
    ])  # fmt: skip
    run_stages(run)
    assert sorted(run.tallies) == ["critic", "train-1", "train-2"]
    assert set(run.trained) == {"critic"}
    no_critic = config(CRITIC, critic_term=False)
    assert not critic.takes_place(no_critic)


# --- Align-Anything ------------------------------------------------------------------------------


def test_what_is_criticised_is_struck_out_and_the_rest_stays_in_form():
    answer = f"row one : {RED} , {BLUE} . row two : {RED} ."
    claims = [Segment(3, 6, True), Segment(7, 10, True), Segment(14, 17, True)]

    def without(*numbers):
        told = [
            Segment(claim.start, claim.stop, number not in numbers)
            for number, claim in enumerate(claims)
        ]
        return struck_out(answer, told)

    assert without() == answer
    assert without(0) == f"row one : {BLUE} . row two : {RED} ."
    assert without(1) == f"row one : {RED} . row two : {RED} ."
    assert without(2) == f"row one : {RED} , {BLUE} ."
    assert without(0, 1) == f"row two : {RED} ."
    assert without(0, 1, 2) == ""


def test_the_second_answer_is_the_first_without_what_is_criticised(world, policy, monkeypatch):
    first = [f"row one : {BLUE} , {RED} .", f"row one : {BLUE} .", f"row one : {RED} ."]
    lab = critic_lab(world, policy, monkeypatch, first)
    lab.task = world.tasks["describe"]
    lab.trained = {"feedback": Liking()}
    (row,) = ALIGN.second_answers(lab, ALIGN.Config())
    assert (text(row["chosen"]), text(row["rejected"])) == (f"row one : {BLUE} .", first[0])
    assert lab.tally.rules == {
        "mended after feedback": 1, "nothing to say": 1, "nothing of it is left in form": 1,
    }  # fmt: skip


def test_what_is_said_again_is_criticised_whatever_its_odds(world, policy, monkeypatch):
    lab = critic_lab(world, policy, monkeypatch, [f"{BLUE} , {GREEN} , {BLUE} ."])
    ((claims, odds),) = claim_odds(lab, Liking(), lab.answer(1.0), "feedback model")
    assert odds.tolist() == [2.0, 2.0, 2.0]
    assert [claim.right for claim in claims] == [True, True, False]


def test_binary_feedback_asks_people_and_no_feedback_model(world, policy, monkeypatch):
    lab = critic_lab(world, policy, monkeypatch, ["a .", "a a ."], ["b b .", "b ."])
    lab.trained = {}
    judged = []
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: judged.append(kind))
    monkeypatch.setattr(Lab, "sampled_pairs", lambda self, who, one, other: [(one, other)])
    cfg = config(ALIGN, language_term=False)
    assert ALIGN.second_answers(lab, cfg) == [(["a .", "a a ."], ["b b .", "b ."])]
    assert judged == ["human"]
    assert not SCRIPTS["align_anything"].method.stages[0].takes_place(cfg)


def test_the_code_leaves_out_the_first_tokens_of_every_answer():
    """Of seven ids the last two end the answer. The code cuts the last five out of the conversation
    and scores all of these but the first: ids 3 to 6, numbered from 0."""
    answer = Answer("abcde", list(range(7)), [(n, n + 1) for n in range(5)] + [(5, 5), (5, 5)])
    views = {"chosen": answer, "rejected": answer}
    found = ALIGN.unscored({}, views, config(ALIGN, variant="code"))["unscored"]
    assert found["chosen"] == found["rejected"] == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert ALIGN.unscored({}, views, ALIGN.Config()) == {}
    # What stands for no character before the text, LLaMA's blank before a number, is not an ending.
    blank = {"chosen": Answer("3 dogs", [1, 2, 3, 4], [(0, 0), (0, 1), (1, 6), (6, 6)])}
    found = ALIGN.unscored({}, blank, config(ALIGN, variant="code"))["unscored"]
    assert found["chosen"] == [1.0, 1.0, 0.0, 0.0]


def test_paper_and_code_of_align_anything_differ_in_what_is_scored():
    pairs = batch()
    marked = torch.zeros(3, 5, dtype=torch.float64)
    marked[:, :2] = 1
    pairs.extra = {"chosen_unscored": marked, "rejected_unscored": marked}
    for view in (pairs.chosen, pairs.rejected):
        view.logps.requires_grad_()
    plain = DPO.loss(pairs, DPO.Config())[0]
    for variant in ("paper", "survey"):
        assert torch.equal(ALIGN.loss(pairs, config(ALIGN, variant=variant))[0], plain)
    found = ALIGN.loss(pairs, config(ALIGN, variant="code"))[0]
    assert not torch.allclose(found, plain)
    found.sum().backward()
    for view in (pairs.chosen, pairs.rejected):
        assert not view.logps.grad[:, :2].any() and view.logps.grad[:, 2].all()
    pairs.extra = {}
    assert torch.equal(ALIGN.loss(pairs, config(ALIGN, variant="code"))[0], plain)
