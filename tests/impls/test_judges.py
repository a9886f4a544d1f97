"""Annotators and sources: how they err, what is measured of them, and who may not choose."""

import dataclasses
import random

import pytest
import torch

from reference_impls.core import cache, judges
from reference_impls.core.data.annotators import Measured, Onlooker, Rule, agreement
from reference_impls.core.data.rows import Agreement, Tally
from reference_impls.core.data.sources import SOURCES
from reference_impls.core.judges import (
    MAKERS,
    AsksClaims,
    Likelihood,
    Questioner,
    Workshop,
)
from reference_impls.core.lab import Lab
from reference_impls.core.settings import lab
from reference_impls.core.stages import run_stages
from reference_impls.core.train import clip
from reference_impls.core.train.checkpoints import is_complete
from reference_impls.core.worlds.protocol import Media
from tests.impls.test_heads import stage_run

TINY_CLIP = clip.ClipRecipe(scenes=8, steps=2, batch=4, width=16, layers=1, heads=2)


@pytest.fixture
def drawn(world, policy):
    """A lab of six scenes that are asked about briefly."""
    workshop = Workshop(clip=TINY_CLIP, comparisons=lab(1e-3, steps=1, batch_size=4, pairs=6))
    return Lab(world, world.tasks["brief"], policy, policy, workshop, seed=1, count=6)


@pytest.fixture
def pairs(world):
    """(task, items, media, better, worse): the truth against one to three distortions of it."""
    task, rng = world.tasks["describe"], random.Random(0)
    items = task.items(world.draw("pairs", 400, 3), 3)
    better = [item.truth for item in items]
    worse = list(better)
    for _ in range(3):
        worse = [
            task.distort(item, answer, rng) if rng.random() < 0.7 else answer
            for item, answer in zip(items, worse, strict=True)
        ]
    return task, items, [Media() for _ in items], better, worse


# --- people --------------------------------------------------------------------------------------


def test_agreement_rises_with_the_gap(pairs):
    task, items, media, better, worse = pairs
    human = Onlooker("human", task, error=0.4, rng=random.Random(0))
    found = Agreement()
    for _ in range(10):
        for what, count in agreement(human, task, items, media, better, worse).counts.items():
            for _ in range(count[0]):
                found.told(what, True)
            for _ in range(count[1] - count[0]):
                found.told(what, False)
    small, middle, large = (
        found.share(f"gap {which}") for which in ("below 0.2", "0.2 to 0.4", "above 0.4")
    )
    assert 0.6 < small < middle < large
    assert large > 0.93


def test_who_cannot_err_agrees_always_and_a_coin_half_of_the_time(pairs):
    task, *rest = pairs
    right = Onlooker("human", task, error=0.0, rng=random.Random(0))
    assert agreement(right, task, *rest).share() == 1.0

    class Coin(Rule):
        def scores(self, items, media, answers):
            return [self.rng.random() for _ in answers]

    assert 0.4 < agreement(Coin("rule", task, random.Random(0)), task, *rest).share() < 0.6


def test_claims_are_misjudged_at_the_rate_of_the_annotator(pairs):
    task, items, media, _, worse = pairs
    shares = []
    for error in (0.0, 0.2, 0.4):
        found = Agreement()
        human = Onlooker("human", task, error=error, rng=random.Random(0))
        Measured(human, task, found).claims(items, media, worse)
        shares.append(found.share("claims"))
    assert shares[0] == 1.0 and 1.0 > shares[1] > shares[2] > 0.6


def test_a_rule_says_right_or_wrong(pairs):
    task, items, media, better, worse = pairs
    rule = Rule("rule", task, random.Random(0))
    assert set(rule.scores(items, media, better)) == {1.0}
    told = rule.scores(items, media, worse)
    assert told == [float(one == other) for one, other in zip(better, worse, strict=True)]
    with pytest.raises(LookupError, match="corrects none"):
        rule.correct(items, media, worse)


def test_what_an_annotator_says_is_measured_and_printed(drawn):
    human = drawn.annotator("human")
    truths = [item.truth for item in drawn.items]
    wrong = drawn.source("corruption")
    human.compare(drawn.items, drawn.media, truths, wrong)
    human.claims(drawn.items, drawn.media, wrong)
    human.correct(drawn.items, drawn.media, wrong)
    made = drawn.tally.as_dict()
    assert made["agreement"]["human"]["pairs, judged"] == 6
    assert {"claims", "corrections"} <= set(made["agreement"]["human"])
    lines = "\n".join(drawn.tally.lines())
    assert "human agrees with the truth: pairs" in lines
    assert f"answers of corruption: true score {made['source_score']['corruption']:.2f}" in lines


def test_nothing_is_printed_of_who_was_not_asked():
    tally = Tally()
    tally.agreement("human")
    assert tally.lines() == []


# --- who may not choose --------------------------------------------------------------------------


def test_best_of_n_by_who_cannot_err_is_refused(drawn):
    drawn.world = drawn.world.under({"annotator-error": "0"})
    for kind in ("human", "closed-source-model", "rule"):
        with pytest.raises(ValueError, match=rf"cannot err \({kind}\) is refused"):
            drawn.best_of(kind, [["a"] * 6, ["b"] * 6])
        drawn.selecting = True
        with pytest.raises(ValueError, match=rf"cannot err \({kind}\) is refused"):
            drawn.annotator(kind)
        drawn.selecting = False


def test_who_chooses_an_answer_sees_the_picture_alone(drawn):
    drawn.selecting = True
    with pytest.raises(ValueError, match="best-of-n by human: who chooses is shown the picture"):
        drawn.annotator("human")
    assert drawn.annotator("self").kind == "self"


def test_best_of_n_in_a_data_step_takes_the_highest_rating(drawn):
    truths = [item.truth for item in drawn.items]
    chosen = drawn.best_of("human", [["a red circle ."] * 6, truths])
    assert sum(one == other for one, other in zip(chosen, truths, strict=True)) >= 5


def test_an_unknown_annotator_or_source_names_what_there_is(drawn):
    with pytest.raises(LookupError, match="no annotator 'cat'; there are human, "):
        drawn.annotator("cat")
    with pytest.raises(LookupError, match="no source 'cat'; there are policy, "):
        drawn.source("cat")


# --- models as judges ----------------------------------------------------------------------------


def test_the_tasks_of_descriptions_ask_about_claims(world):
    task = world.tasks["describe"]
    item = task.items(world.draw("pairs", 1, 1), 1)[0]
    assert isinstance(task, AsksClaims) and not isinstance(world.tasks["presence"], AsksClaims)
    assert task.question_of(item, "a red circle")[-1].text.endswith("is there a red circle ?")


def test_a_claim_is_denied_where_no_is_likelier(drawn, monkeypatch):
    judge = Questioner("open-source-model", drawn.policy, drawn.task, random.Random(0))
    asked = []

    def told(policy, rows, columns):
        asked.extend(row["prompt"][-1]["content"][-1]["text"] for row in rows)
        denied = torch.tensor([[float("circle" in text), 2.0] for text in asked[-len(rows) :]])
        return {"yes": -denied, "no": denied - 1}

    monkeypatch.setattr(judges, "scored", told)
    answers = ["a red circle , a blue star , a red circle ."] * 2 + ["nothing ."]
    given = drawn.items[:3], drawn.media[:3]
    claims = judge.claims(*given, answers)
    assert [[claim.right for claim in each] for each in claims] == [[False, True, False]] * 2 + [[]]
    assert len(asked) == 4, "a claim that stands twice in an answer is asked about once"
    assert judge.scores(*given, answers) == [-2.0, -2.0, 0.0]
    others = ["a blue star .", "a blue star .", "a green circle ."]
    choices = judge.compare(*given, answers, others)
    assert [(choice.first, choice.margin) for choice in choices] == [
        (False, 2.0), (False, 2.0), (True, 1.0),
    ]  # fmt: skip


def test_a_model_is_asked_yes_or_no(drawn):
    judge = drawn.workshop.annotator("self-critique", drawn)
    truths = [item.truth for item in drawn.items]
    claims = judge.claims(drawn.items, drawn.media, truths)
    assert [len(each) for each in claims] == [
        len(drawn.task.judge(item, item.truth)) for item in drawn.items
    ]
    row = judges.rows_of(drawn.items, drawn.media, truths)[0] | {"yes": "yes", "no": "no"}
    told = judges.scored(drawn.policy, [row], ("yes", "no"))
    assert told["yes"].shape == (1, 2) and told["yes"][0, 0] < 0
    # One word and the ending.
    assert told["yes"][0, 1] == told["no"][0, 1] == 2


def test_likelihood_does_not_count_length(drawn, monkeypatch):
    monkeypatch.setattr(
        judges, "scored", lambda *given: {"response": torch.tensor([[-6.0, 3.0], [-8.0, 4.0]])}
    )
    judge = Likelihood("self", drawn.policy, random.Random(0))
    assert judge.scores(drawn.items[:2], drawn.media[:2], ["a", "b"]) == [-2.0, -2.0]


def test_a_task_without_questions_is_judged_by_likelihood(drawn, world, monkeypatch, tiny_base):
    monkeypatch.setattr(type(world), "base", lambda self, seed=0: tiny_base)
    assert isinstance(MAKERS["open-source-model"](drawn), Questioner)
    drawn.task = world.tasks["presence"]
    assert isinstance(MAKERS["open-source-model"](drawn), Likelihood)
    critic = MAKERS["self-critique"](drawn)
    with pytest.raises(LookupError, match="presence has no questions on claims"):
        critic.claims(drawn.items, drawn.media, ["yes"] * len(drawn.items))


def test_another_base_is_loaded_once(drawn, world, monkeypatch, tiny_base):
    asked = []
    monkeypatch.setattr(type(world), "base", lambda self, seed=0: asked.append(seed) or tiny_base)
    first, again = (drawn.workshop.other_base(drawn, 1) for _ in range(2))
    assert asked == [2, 2] and first.model is again.model is not drawn.policy.model


def test_a_base_that_is_not_there_is_said(drawn, world, monkeypatch):
    def missing(self, seed=0):
        raise FileNotFoundError(f"no base {seed}")

    monkeypatch.setattr(type(world), "base", missing)
    with pytest.raises(FileNotFoundError, match="no base 2"):
        drawn.annotator("open-source-model")


def test_a_clip_is_trained_once_and_loads_back(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    judge = drawn.workshop.annotator("clip", drawn)
    (folder,) = cache.folder().glob("clip-*")
    assert is_complete(folder)
    truths = [item.truth for item in drawn.items]
    scores = judge.scores(drawn.items, drawn.media, truths)
    assert all(-1.0 <= score <= 1.0 for score in scores) and len(set(scores)) > 1
    monkeypatch.setattr(clip, "train", None)
    other = Lab(drawn.world, drawn.task, drawn.policy, drawn.policy, Workshop(clip=TINY_CLIP), 1, 6)
    again = other.workshop.annotator("clip", other)
    assert again.scores(drawn.items, drawn.media, truths) == pytest.approx(scores, abs=1e-6)
    with pytest.raises(LookupError, match="has no picture"):
        judge.scores(drawn.items[:1], [Media()], ["a"])


def test_clip_contrasts_texts_with_pictures_and_with_their_twins():
    unit = torch.eye(4)
    pictures, texts, twins = unit[:2], unit[:2], unit[2:]
    scale = torch.tensor(2.0)
    right = clip.contrast(pictures, texts, twins, scale)
    told = torch.tensor([2.0, 0, 0, 0]).log_softmax(0)[0]
    shown = torch.tensor([2.0, 0]).log_softmax(0)[0]
    assert right.item() == pytest.approx(-(told + shown).item() / 2, abs=1e-6)
    assert clip.contrast(pictures, twins, texts, scale) > right


def test_a_part_of_other_content_has_another_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def make(folder):
        made.append(folder)
        (folder / "x").write_text("x")

    first = cache.kept_folder("part", {"a": 1}, ("cache.py",), make)
    assert cache.kept_folder("part", {"a": 1}, ("cache.py",), make) == first and len(made) == 1
    assert cache.kept_folder("part", {"a": 2}, ("cache.py",), make) != first
    (first / "x").write_text("longer")
    assert cache.kept_folder("part", {"a": 1}, ("cache.py",), make) == first and len(made) == 3


def test_a_part_whose_making_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ZeroDivisionError):
        cache.kept_folder("part", {}, ("cache.py",), lambda folder: folder / str(1 / 0))
    assert list(cache.folder().iterdir()) == []


def test_a_reward_model_is_trained_on_scenes_of_its_own(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = {name: value.clone() for name, value in drawn.base.model.state_dict().items()}
    own = list(drawn.items)
    judge = drawn.workshop.annotator("reward-model", drawn)
    truths = [item.truth for item in drawn.items]
    assert len(judge.scores(drawn.items, drawn.media, truths)) == 6
    assert drawn.items == own
    after = drawn.base.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert len(list(cache.folder().glob("reward-model-*"))) == 1


def test_a_blind_reward_model_gives_one_reward_whatever_is_shown(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    drawn.workshop.comparisons = dataclasses.replace(drawn.workshop.comparisons, steps=20)
    answers = [item.truth for item in drawn.items]
    others = [*drawn.media[1:], drawn.media[0]]
    rewards = {}
    for kind in ("reward-model", "blind-reward-model"):
        judge = drawn.workshop.annotator(kind, drawn)
        assert judge.kind == kind and len(list(cache.folder().glob(f"{kind}-*"))) == 1
        rewards[kind] = [
            judge.scores(drawn.items, shown, answers) for shown in (drawn.media, others)
        ]
    assert rewards["blind-reward-model"][0] == rewards["blind-reward-model"][1]
    assert rewards["reward-model"][0] != rewards["reward-model"][1]
    assert len(set(rewards["blind-reward-model"][0])) > 1


# --- sources -------------------------------------------------------------------------------------


def test_every_source_answers_every_item(drawn, world, monkeypatch, tiny_base):
    monkeypatch.setattr(type(world), "base", lambda self, seed=0: tiny_base)
    drawn.task = world.tasks["brief"]
    for name in SOURCES:
        assert len(drawn.source(name)) == len(drawn.items), name
    assert set(drawn.tally.as_dict()["source_score"]) == set(SOURCES)


def test_a_writer_names_what_he_sees(drawn):
    assert drawn.source("writer") == [item.truth for item in drawn.items]
    drawn.world = drawn.world.under({"sight": "plain"})
    drawn.task = drawn.world.tasks["describe"]
    del drawn.items
    scores = drawn.task.score
    for item, answer in zip(drawn.items, drawn.source("writer"), strict=True):
        assert scores(item, answer, sight=1.0) == 1.0


def test_a_retrieved_answer_is_that_of_the_nearest_other_scene(drawn):
    truths = [item.truth for item in drawn.items]
    answers = drawn.source("retrieval")
    for place, answer in enumerate(answers):
        others = [n for n in range(6) if n != place]
        assert answer in {truths[n] for n in others}

        def alike(text, place=place):
            mine = truths[place].split()
            return sum(min(mine.count(w), text.split().count(w)) for w in set(mine))

        assert alike(answer) == max(alike(truths[n]) for n in others)


def test_corruption_is_truly_worse(drawn):
    for item, answer in zip(drawn.items, drawn.source("corruption"), strict=True):
        assert drawn.task.score(item, answer) < 1.0 and drawn.task.parses(item, answer)


def test_a_run_keeps_who_judged_and_how_well(tiny_base, world, tmp_path, monkeypatch):
    """An untrained base names nothing, so that no pair is better: its answers are made here."""
    truths = {}

    def answer(self, temperature=1.0, policy=None):
        first = truths.setdefault(id(self), True)
        truths[id(self)] = False
        return self.source("corruption") if first else [item.truth for item in self.items]

    monkeypatch.setattr(Lab, "answer", answer)
    run = stage_run("reward_model", world, tiny_base, tmp_path)
    run_stages(run)
    kept = run.tallies["train"]
    assert kept["agreement"]["human"]["pairs, judged"] == 6
    assert kept["source_score"]["corruption"] < 1.0
