"""Silkie and its like: DPO on pairs that models wrote and models judged. What the data steps
decide, on answers small enough to judge by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from reference_impls.core.data.pool import Said, answers_of_pool
from reference_impls.core.data.ranking import best_and_worst, pairs_of
from reference_impls.core.data.rows import pair_row, text
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import load
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.train.forward import Scorer
from reference_impls.core.worlds.protocol import Segment
from reference_impls.methods import clip_dpo, dpo, pds_dpo, silkie, sima
from tests.impls.test_objectives import batch


@pytest.fixture
def drawn(world, policy):
    """Six scenes, an untrained policy, and other bases that are the policy's own."""
    workshop = Workshop()
    workshop.other_base = lambda lab, number: dataclasses.replace(policy, seed=number)
    return Lab(world, world.tasks["brief"], policy, policy, workshop, seed=1, count=6)


def sides(rows):
    return [(text(row["chosen"]), text(row["rejected"])) for row in rows]


# --- what they share: a pool, and pairs of rated answers --------------------------------------


def test_a_pool_answers_each_question_as_often_as_asked(drawn):
    found = answers_of_pool(drawn, ("other-1", "other-1", "policy", "writer"), 3)
    assert [len(each) for each in found] == [3] * 6
    for item, said in zip(drawn.items, found, strict=True):
        assert [each.text for each in said if each.member == "writer"] in ([], [item.truth])
    told = drawn.tally.as_dict()["source_score"]
    assert told["writer"] == 1.0 and set(told) == {"other-1", "policy", "writer"}


def test_a_member_that_stands_twice_is_sampled_anew(drawn):
    for one, other in answers_of_pool(drawn, ("other-1", "other-1")):
        assert one.member == other.member and one.text != other.text


def test_who_answers_is_drawn_by_lot(drawn):
    pool = ("other-1", "other-2", "policy", "writer")
    members = [tuple(each.member for each in said) for said in answers_of_pool(drawn, pool, 2)]
    assert len(set(members)) > 1 and all(len(set(each)) == 2 for each in members)


@pytest.mark.parametrize("count", [0, 3])
def test_a_pool_gives_no_more_answers_than_it_has_members(drawn, count):
    with pytest.raises(ValueError, match=f"{count} answers to a question .* a pool of 2"):
        answers_of_pool(drawn, ("policy", "writer"), count)


def test_a_member_that_does_not_exist_is_named(drawn):
    with pytest.raises(LookupError, match="no source 'other-9'"):
        answers_of_pool(drawn, ("other-9",))


def test_equal_scores_and_equal_words_make_no_pair():
    scored = [("a", 2.0), ("b", 2.0), ("a  a", 1.0), ("a a", 0.5)]
    assert pairs_of(scored) == [("a", "a  a"), ("a", "a a"), ("b", "a  a"), ("b", "a a")]
    assert pairs_of(scored, 1.5) == [("a", "a a"), ("b", "a a")]


def test_best_and_worst_are_the_first_ones_of_their_score():
    assert best_and_worst([("a", 1.0), ("b", 3.0), ("c", 3.0), ("d", 1.0)]) == ("b", "a")
    assert best_and_worst([("a", 1.0), ("b", 1.0)]) is None
    assert best_and_worst([("a b", 1.0), ("a  b", 2.0)]) is None


# Those whose loss is DPO's; what is their own is the data step.
LIKE_DPO = (silkie, sima, clip_dpo, pds_dpo)


@pytest.mark.parametrize("script", LIKE_DPO)
@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_the_loss_is_dpos(script, variant):
    pairs = batch()
    found = script.loss(pairs, script.Config(variant=variant))[0]
    assert torch.equal(found, dpo.loss(pairs, dpo.Config(beta=script.Config().beta))[0])


# --- Silkie -----------------------------------------------------------------------------------


def test_a_rating_is_a_whole_number_from_one_to_five():
    told = [silkie.stars(score) for score in (-0.4, 0.0, 0.12, 0.13, 0.5, 0.87, 0.88, 1.0, 1.3)]
    assert told == [1, 1, 1, 2, 3, 4, 5, 5, 5]


class Judge:
    """Gives each answer the ratings that it is told, one after the other."""

    def __init__(self, looks):
        self.looks = {answer: iter(given) for answer, given in looks.items()}

    def scores(self, items, media, answers):
        return [next(self.looks[answer]) for answer in answers]


def silkie_rows(lab, monkeypatch, looks, said, **changes):
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Judge(looks))
    monkeypatch.setattr(silkie, "answers_of_pool", lambda lab, pool, count: [said])
    lab.items = lab.items[:1]
    return sides(silkie.distilled_pairs(lab, silkie.Config(answers=len(said), **changes)))


SAID = [Said("other-1", "a"), Said("writer", "b"), Said("policy", "c c"), Said("other-2", "d")]
# Stars 5 5 1 (11), 3 4 4 (11), 5 5 5 (15), 1 1 2 (4).
LOOKS = {"a": [1.0, 1.0, 0.0], "b": [0.5, 0.75, 0.75], "c c": [1.0] * 3, "d": [0.0, 0.0, 0.2]}


def test_all_pairs_whose_mean_rating_differs_are_taken(drawn, monkeypatch):
    rows = silkie_rows(drawn, monkeypatch, LOOKS, SAID)
    assert rows == [("c c", "a"), ("a", "d"), ("c c", "b"), ("b", "d"), ("c c", "d")]
    assert drawn.tally.rules == {"not told apart": 1, "the rated one chosen": 5}


def test_one_rating_alone_orders_them_otherwise(drawn, monkeypatch):
    rows = silkie_rows(drawn, monkeypatch, LOOKS, SAID, ratings=1)
    assert ("a", "b") in rows and ("c c", "a") not in rows


def test_the_controls_choose_the_longest_answer_or_the_strongest_model(drawn, monkeypatch):
    longest = silkie_rows(drawn, monkeypatch, {}, SAID, best="longest")
    assert longest == [("c c", "a"), ("c c", "b"), ("c c", "d")]
    strongest = silkie_rows(drawn, monkeypatch, {}, SAID, best="strongest")
    assert strongest == [("b", "a"), ("b", "c c"), ("b", "d")]


def test_silkies_step_makes_pairs_of_a_world(drawn):
    rows = silkie.distilled_pairs(drawn, silkie.Config())
    rules = drawn.tally.rules
    assert sum(rules.values()) == 6 * 6 and len(rows) == rules["the rated one chosen"] > 0
    assert "closed-source-model" in drawn.tally.annotators


# --- SIMA -------------------------------------------------------------------------------------


def test_the_code_of_sima_scores_what_the_model_would_say_instead(tiny_base, world):
    """Numbers of both variants: the same pairs under the same policy and reference."""
    model, processor = load(tiny_base)
    reference, _ = load(tiny_base)
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.add_(0.02 * torch.sin(torch.arange(weight.numel()) + number).view_as(weight))
    task = world.tasks["brief"]
    items = task.items(world.draw("pairs", 3, 1), 1)
    rows = [pair_row(i, world.show(i.scene), i.truth, "a red circle .") for i in items]
    losses, rejected = {}, {}
    for variant in ("paper", "code", "survey"):
        cfg = sima.Config(variant=variant)
        scorer = Scorer(Encoder(processor), sima.views(cfg))
        collated = scorer.collate(rows)
        with torch.no_grad():
            ours, theirs = (scorer.score(each, collated).logps for each in (model, reference))
        pairs = {n: Scores(ours[n], theirs[n], collated.masks[n]) for n in sima.VIEWS}
        losses[variant] = sima.loss(PairBatch(**pairs), cfg)[0]
        rejected[variant] = pairs["rejected"].logps
    assert torch.equal(losses["paper"], losses["survey"])
    assert (losses["paper"] - losses["code"]).abs().min() > 1e-4
    assert (rejected["code"] - rejected["paper"]).max() > 0.01


def test_a_claim_of_the_known_answer_is_not_denied():
    claims = [Segment(0, 2, False), Segment(3, 5, False), Segment(6, 8, True)]
    answer = "red circle , blue star , green cross"
    assert sima.denied(answer, claims, frozenset()) == 2
    assert sima.denied(answer, claims, frozenset({"blue star", "star"})) == 1


@pytest.mark.parametrize(
    ("known", "sides_", "rules"),
    [
        (True, [("blue star .", "red circle .")], {"the sampled one chosen": 1, "no verdict": 1}),
        (False, [("red circle .", "blue star .")], {"the greedy one chosen": 1, "no verdict": 1}),
    ],
)
def test_the_own_verdict_orders_a_sampled_and_a_greedy_answer(
    drawn, monkeypatch, known, sides_, rules
):
    """The known answer has a blue star and no red circle; the critic alone denies the star."""
    drawn.items = drawn.items[:2]
    told = {0.8: ["blue star .", "red circle ."], None: ["red circle .", "red circle ."]}

    class Critic:
        def claims(self, items, media, answers):
            return [[Segment(0, 2, answer.startswith(told_right))] for answer in answers]

    told_right = "green" if known else "red"
    monkeypatch.setattr(Lab, "answer", lambda self, temperature: told[temperature])
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Critic())
    monkeypatch.setattr(Lab, "source", lambda self, name: ["blue star .", "blue star ."])
    found = sima.criticised_pairs(drawn, sima.Config(known_term=known))
    assert sides(found) == sides_ and drawn.tally.rules == rules


def test_simas_step_makes_pairs_of_a_world(drawn):
    rows = sima.criticised_pairs(drawn, sima.Config())
    rules = drawn.tally.rules
    assert sum(rules.values()) == 6 and len(rows) == 6 - rules.get("no verdict", 0)


# --- CLIP-DPO ---------------------------------------------------------------------------------


class Told:
    """Gives each answer the score that it is told."""

    def __init__(self, told):
        self.told = told

    def scores(self, items, media, answers):
        return [self.told[answer] for answer in answers]


CAPTIONS = {"a b c d": 0.60, "a b c e": 0.585, "a b c": 0.50, "f": 0.29}


def clip_rows(lab, monkeypatch, told, **changes):
    said = [Said("policy", answer) for answer in told]
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Told(told))
    monkeypatch.setattr(clip_dpo, "answers_of_pool", lambda lab, pool: [said])
    monkeypatch.setattr(clip_dpo, "POOL", told)
    lab.items = lab.items[:1]
    return sides(clip_dpo.matched_pairs(lab, clip_dpo.Config(**changes)))


def test_captions_are_filtered_and_paired_by_their_score(drawn, monkeypatch):
    rows = clip_rows(drawn, monkeypatch, CAPTIONS)
    assert rows == [("a b c d", "a b c"), ("a b c e", "a b c")]
    assert drawn.tally.rules == {
        "captions of a low score dropped": 1, "not told apart": 1, "of too different lengths": 0,
        "ranked by score": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ({"least_gap": 0.0}, 3),
        ({"least_gap": 0.0, "least_score": 0.0}, 3),
        ({"least_gap": 0.0, "least_score": 0.0, "most_longer": 1.0}, 6),
        ({"most_longer": 0.2}, 0),
        ({"most_words": 3}, 0),
    ],
)
def test_each_filter_of_clip_dpo_decides(drawn, monkeypatch, changes, pairs):
    assert len(clip_rows(drawn, monkeypatch, CAPTIONS, **changes)) == pairs


@pytest.mark.parametrize(("other", "pairs"), [(0.4799, [("a", "b")]), (0.4801, [])])
def test_a_gap_is_in_hundredths_of_a_cosine(drawn, monkeypatch, other, pairs):
    assert clip_rows(drawn, monkeypatch, {"a": 0.5, "b": other}) == pairs


# --- PDS-DPO ----------------------------------------------------------------------------------


def test_a_painting_differs_from_its_prompt_by_as_many_objects_as_are_told(drawn):
    rng, scene = drawn.rng("x"), drawn.items[0].scene
    told = set()
    for _ in range(20):
        made, mistakes = pds_dpo.painted(drawn, scene, rng, pds_dpo.Config())
        changed = sum(a != b for a, b in zip(made.things, scene.things, strict=True))
        assert changed <= mistakes and bool(changed) == bool(mistakes)
        told.add(mistakes)
    assert told == {0, 1, 2, 3}
    assert pds_dpo.painted(drawn, scene, rng, pds_dpo.Config(mistakes=0)) == (scene, 0)


class FewMistakes:
    """Likes paintings that show what the prompt says; knows the scenes."""

    def __init__(self, lab):
        self.lab = lab

    def scores(self, items, media, prompts):
        same = [self.lab.world.show(item.scene).images for item in items]
        return [
            -float(np.abs(np.asarray(a[0], float) - np.asarray(b.images[0], float)).sum())
            for a, b in zip(same, media, strict=True)
        ]


def test_the_painting_that_fits_its_prompt_best_is_kept(drawn, monkeypatch):
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: FewMistakes(self))

    def mistakes(images):
        drawn.tally.rules.clear()
        pds_dpo.best_paintings(drawn, pds_dpo.Config(images=images))
        assert sum(drawn.tally.rules.values()) == 6
        return sum(int(rule.split()[3]) * n for rule, n in drawn.tally.rules.items())

    assert mistakes(8) < mistakes(1)


def test_answers_are_about_the_painting_and_the_judge_takes_best_and_worst(drawn, monkeypatch):
    (scene,) = [drawn.world.alter(drawn.items[0].scene, drawn.rng("x"))]
    drawn.items = drawn.items[:1]
    asked = []

    def pool(lab, members):
        asked.append(lab.items[0].scene)
        return [[Said(member, text) for member, text in zip(members, "abc", strict=True)]]

    monkeypatch.setattr(pds_dpo, "answers_of_pool", pool)
    monkeypatch.setattr(pds_dpo, "best_paintings", lambda lab, cfg: [scene])
    told = {"a": 0.2, "b": 0.1, "c": 0.3}
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Told(told))
    (row,) = pds_dpo.synthetic_pairs(drawn, pds_dpo.Config())
    assert sides([row]) == [("c", "b")] and asked == [scene] and row["item"].scene == scene
    assert row["images"] == list(drawn.world.show(scene).images)
    told |= {"b": 0.2, "c": 0.2}
    assert pds_dpo.synthetic_pairs(drawn, pds_dpo.Config()) == []
    assert drawn.tally.rules == {"best against worst": 1, "not told apart": 1}
