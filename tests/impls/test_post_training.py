"""Preference phases of released models: which pairs they learn from, and what their losses add."""

import dataclasses

import pytest
import torch

from reference_impls.core.data.rows import text
from reference_impls.core.data.sources import SOURCES
from reference_impls.core.lab import Lab
from reference_impls.core.measure import asked
from reference_impls.core.stages import run_stages
from reference_impls.core.worlds.protocol import shows_media
from tests.impls.scripts import SCRIPTS
from tests.impls.test_heads import stage_run
from tests.impls.test_objectives import batch

QWEN, OMNI, LLAMA = (SCRIPTS[name].module for name in ("qwen2_5_vl", "omnialign_v", "llama_3_1"))
DPO = SCRIPTS["dpo"].module


def config(module, **changes):
    return dataclasses.replace(module.Config(), **changes)


def lab_of(world, policy, count=6, judges=None):
    return Lab(world, world.tasks["brief"], policy, policy, judges, seed=1, count=count)


class Judges:
    """A workshop whose only annotator likes the shorter answer."""

    kind = "human"

    def annotator(self, kind, lab):
        return self

    def scores(self, items, media, answers):
        return [-float(len(answer.split())) for answer in answers]

    def compare(self, items, media, first, second):
        from reference_impls.core.data.annotators import Choice

        both = zip(first, second, strict=True)
        return [Choice(len(a.split()) < len(b.split()), 1.0) for a, b in both]


# --- what is shown -------------------------------------------------------------------------------


def test_who_asks_in_words_is_shown_no_picture(world, policy):
    lab = Lab(world, world.tasks["text"], policy, policy, None, seed=1, count=3)
    assert all(not shows_media(item.prompt) and not shown.images
               for item, shown in zip(lab.items, lab.media, strict=True))  # fmt: skip
    items, media = asked(world, world.tasks["text"], "test", 3)
    assert len(items) == 3 and all(not shown.images for shown in media)
    assert all(shown.images for shown in lab_of(world, policy, 3).media)


# --- Qwen2.5-VL ----------------------------------------------------------------------------------


def mixed(world, policy, monkeypatch, share, count=8):
    spoken = iter(range(1000))
    monkeypatch.setattr(
        Lab, "answer",
        lambda self: [" ".join(["a"] * (1 + next(spoken) % 7)) + " ." for _ in self.items],
    )  # fmt: skip
    lab = lab_of(world, policy, count, Judges())
    return lab, QWEN.both_kinds(lab, config(QWEN, text_share=share))


def test_a_share_of_the_pairs_has_no_picture(world, policy, monkeypatch):
    lab, rows = mixed(world, policy, monkeypatch, 0.5)
    with_picture = [bool(row["images"]) for row in rows]
    assert lab.tally.rules["with a picture"] == sum(with_picture) == 4
    assert lab.tally.rules["without a picture"] == len(rows) - 4 > 0
    assert with_picture[:4] == [True, False, True, False]
    for row in rows:
        parts = [part["type"] for turn in row["prompt"] for part in turn["content"]]
        assert ("image" in parts) == bool(row["images"]) == ("item" in row)


def test_without_a_share_of_text_all_pairs_have_a_picture(world, policy, monkeypatch):
    lab, rows = mixed(world, policy, monkeypatch, 0.0)
    assert len(rows) == 8 and all(row["images"] for row in rows)
    assert "without a picture" not in lab.tally.rules


def test_pairs_with_and_without_pictures_are_trained_together(tiny_base, world, tmp_path):
    run = stage_run("qwen2_5_vl", world, tiny_base, tmp_path)
    run.changes = {"pairs": 12, "steps": 3, "batch_size": 4, "learning_rate": 1e-2}
    settings = run.settings(run.script.method.last)
    assert not settings.train_vision
    run_stages(run)
    rows = run.last_rows
    assert {bool(row["images"]) for row in rows} == {True, False}


# --- OmniAlign-V ---------------------------------------------------------------------------------


def test_the_rejected_answer_is_the_worst_sample_of_the_base(world, policy, monkeypatch):
    samples = iter([["a ."] * 2, ["a b c ."] * 2, ["a b ."] * 2])
    speakers = []

    def answer(self, temperature, speaker):
        speakers.append(speaker)
        return next(samples)

    monkeypatch.setattr(Lab, "answer", answer)
    monkeypatch.setitem(SOURCES, "writer", lambda lab: ["a b c .", "true ."])
    lab = lab_of(world, policy, 2, Judges())
    lab.base = object()
    rows = OMNI.written_and_astray(lab, config(OMNI, candidates=3))
    assert [text(row["chosen"]) for row in rows] == ["true ."]
    assert [text(row["rejected"]) for row in rows] == ["a b c ."]
    assert speakers == [lab.base] * 3
    assert lab.tally.rules == {"the sample is the answer": 1, "worst by the judge": 1}
    samples = iter([["a ."] * 2, ["a b c ."] * 2])
    rows = OMNI.written_and_astray(lab, config(OMNI, candidates=2, worst_term=False))
    assert [text(row["rejected"]) for row in rows] == ["a .", "a ."]


def test_dpo_begins_and_is_held_where_sft_ended(tiny_base, world, tmp_path):
    run = stage_run("omnialign_v", world, tiny_base, tmp_path, judge="human", candidates=2)
    sft, dpo = run.script.method.stages
    assert [view.name for view in sft.views_of(run.cfg)] == ["chosen"]
    assert (sft.start, dpo.start, dpo.reference) == ("previous", "previous", "start")
    assert not sft.takes_place(config(OMNI, sft_term=False))
    run_stages(run)
    assert sorted(run.tallies) == ["dpo", "sft"]
    chosen = {text(row["chosen"]) for row in run.last_rows}
    assert chosen <= {item.truth for item in lab_items(run)}


def test_of_a_dataset_earlier_stages_learn_from_its_rows_and_draw_no_scenes(
    tiny_base, world, tmp_path, monkeypatch
):
    monkeypatch.setattr(Lab, "source", lambda self, name: pytest.fail("a scene was asked for"))
    from reference_impls.core.data.rows import said

    row = {"images": [], "prompt": [{"role": "user", "content": "count to 2 ."}]}
    run = stage_run("omnialign_v", world, tiny_base, tmp_path)
    run.rows = [{**row, "chosen": said("1 , 2 ."), "rejected": said("1 .")}] * 8
    run.rows_digest = "rows"
    run_stages(run)
    assert list(run.tallies) == ["sft", "dpo"] and run.last_rows is run.rows


def lab_items(run):
    return run.task.items(run.world.draw("pairs", 6, 1), 1)


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_omnialign_v_is_dpo_unless_gamma_is_set(variant):
    pairs = batch()
    plain = DPO.loss(pairs, DPO.Config())[0]
    assert torch.allclose(OMNI.loss(pairs, config(OMNI, variant=variant))[0], plain, atol=1e-12)
    sums = -(pairs.chosen.logps * pairs.chosen.mask).sum(-1)
    added = sums.sum() / pairs.chosen.mask.sum()
    if variant != "code":
        added = sums / pairs.chosen.mask.sum(-1)
    found = OMNI.loss(pairs, config(OMNI, variant=variant, gamma=0.1))[0]
    assert torch.allclose(found, plain + 0.1 * added, atol=1e-12)


# --- Llama 3.1 -----------------------------------------------------------------------------------


def marked(pairs, chosen, rejected):
    extra = {"chosen_formatting": chosen, "rejected_formatting": rejected}
    return dataclasses.replace(pairs, extra=extra)


def test_llama_3_1_adds_a_fifth_of_the_mean_likelihood_to_dpo():
    pairs = batch()
    plain = DPO.loss(pairs, DPO.Config())[0]
    mean = -(pairs.chosen.logps * pairs.chosen.mask).sum(-1) / pairs.chosen.mask.sum(-1)
    for variant in ("paper", "code", "survey"):
        found = LLAMA.loss(pairs, config(LLAMA, variant=variant))[0]
        assert torch.allclose(found, plain + 0.2 * mean, atol=1e-12)
    assert torch.allclose(LLAMA.loss(pairs, config(LLAMA, alpha=0.0))[0], plain, atol=1e-12)


def test_formatting_tokens_count_for_the_likelihood_alone():
    pairs = batch()
    last = torch.zeros(3, 5, dtype=torch.float64)
    last[:, -1] = 1
    pairs = marked(pairs, last, last)
    for view in (pairs.chosen, pairs.rejected):
        view.logps.requires_grad_()
    LLAMA.loss(pairs, LLAMA.Config())[0].sum().backward()
    chosen, rejected = pairs.chosen.logps.grad, pairs.rejected.logps.grad
    assert (rejected[1:, -1] == 0).all() and (rejected[1:, :-1] > 0).all()
    assert chosen[1:, -1].tolist() == pytest.approx([-0.2 / 5] * 2)
    assert (chosen[1:, :-1] < -0.2 / 5).all()
    scored = LLAMA.loss(pairs, config(LLAMA, formatting_term=False))[0]
    without = LLAMA.loss(dataclasses.replace(pairs, extra={}), LLAMA.Config())[0]
    assert torch.equal(scored, without)
    assert not torch.allclose(scored, LLAMA.loss(pairs, LLAMA.Config())[0])


def test_what_stands_for_no_character_of_an_answer_is_formatting(loaded, world):
    from reference_impls.core.data.rows import pair_row
    from reference_impls.core.model.encode import Encoder
    from reference_impls.core.train import forward
    from reference_impls.core.train.pairs import token_columns

    task = world.tasks["brief"]
    (item,) = task.items(world.draw("pairs", 1, 1), 1)
    row = pair_row(item, world.show(item.scene), item.truth, "a red circle .")
    views = LLAMA.METHOD.last.views_of(LLAMA.Config())
    given = forward.Scorer(Encoder(loaded[1]), views, shared=False).collate([row])
    found = token_columns(LLAMA.formatting, [row], given, LLAMA.Config())["formatting"]
    for view, answer in (("chosen", item.truth), ("rejected", "a red circle .")):
        words = len(answer.split())
        assert found[view][0, :words].tolist() == [0.0] * words
        assert found[view][0, words : len(given.answers[view][0].ids)].tolist() == [1.0]


class People(Judges):
    """Like the shorter answer, by the difference in words; an edit says "true"."""

    def compare(self, items, media, first, second):
        from reference_impls.core.data.annotators import Choice

        both = [(len(a.split()), len(b.split())) for a, b in zip(first, second, strict=True)]
        return [Choice(a < b, abs(a - b) / 10) for a, b in both]

    def correct(self, items, media, answers):
        return ["true"] * len(answers)


def test_comparisons_are_clear_ones_and_edits_stand_above_the_chosen(world, policy, monkeypatch):
    for share, expected in (
        (0.0, [("a", "b c d")]), (1.0, [("a", "b c d"), ("true", "a")])
    ):  # fmt: skip
        given = iter([["a", "a b", "c"], ["b c d", "a b c", "c"]])
        monkeypatch.setattr(Lab, "answer", lambda self, given=given: next(given))
        lab = lab_of(world, policy, 3, People())
        monkeypatch.setattr(Lab, "annotator", lambda self, kind: self.workshop)
        rows = LLAMA.compared(lab, config(LLAMA, edited=share, least_gap=0.15))
        assert [(text(row["chosen"]), text(row["rejected"])) for row in rows] == expected
        assert lab.tally.rules["too alike"] == 2


def test_sft_learns_the_sample_that_the_reward_model_rates_highest(world, policy, monkeypatch):
    class Longest:
        def rewards(self, rows, response):
            return [float(len(text(row[response]))) for row in rows]

    given = iter([["a", "b b b"], ["a a", "b"], ["a a", "b b"]])
    monkeypatch.setattr(Lab, "answer", lambda self: next(given))
    lab = lab_of(world, policy, 2)
    lab.trained = {"reward": Longest()}
    rows = LLAMA.best_by_reward(lab, config(LLAMA, candidates=3))
    assert [text(row["chosen"]) for row in rows] == ["a a", "b b b"]
    assert all("rejected" not in row for row in rows)


def test_a_reward_model_comes_once_then_sft_and_dpo_in_each_round(tiny_base, world, tmp_path):
    cfg = {"rounds": 2, "candidates": 1, "least_gap": 0.0, "edited": 0.0}
    run = stage_run("llama_3_1", world, tiny_base, tmp_path, **cfg)
    run.changes = {"pairs": 12, "steps": 2, "batch_size": 4, "learning_rate": 1e-3}
    run_stages(run)
    assert list(run.tallies) == ["reward", "sft-1", "dpo-1", "sft-2", "dpo-2"]
