"""xGen-MM and others against hallucination: how their data steps provoke a wrong answer, and what
their own terms act on."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from PIL import Image

from reference_impls.bench.experiment import Experiment
from reference_impls.core import PairBatch, Scores
from reference_impls.core.data.images import without_pixels
from reference_impls.core.data.retrieval import likeness, nearest
from reference_impls.core.data.rows import text
from reference_impls.core.data.segments import by_sentence
from reference_impls.core.data.situations import (
    cut_off,
    sentences,
    told_before,
    with_pictures,
    without_what_was_looked_at,
)
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer, PairStage, View
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.policy import Policy
from reference_impls.core.settings import lab as settings_of
from reference_impls.core.stages import Run, stage_rows
from reference_impls.core.train.checkpoints import begin
from reference_impls.core.train.forward import Scorer
from reference_impls.core.train.pairs import train_pairs
from reference_impls.core.worlds.protocol import Item, Media, Segment, Turn, ask
from reference_impls.methods import (
    dpo,
    hdpo,
    lrv_instruction,
    opa_dpo,
    povid,
    re_align,
    sft,
    xgen_mm,
)
from tests.impls.scripts import SCRIPTS
from tests.impls.test_objectives import batch, scores


@dataclass
class Speaker:
    """Stands in for a policy: `say(item, shown)` is what it answers."""

    say: Callable[[Item[Any], Media], str]

    def answer_items(
        self, items: Sequence[Item[Any]], media: Sequence[Media], *how: Any
    ) -> list[str]:
        return [self.say(item, shown) for item, shown in zip(items, media, strict=True)]


def drawn(world, policy, *, count=6, task="brief", **others) -> Lab:
    """A round in which `policy` answers, and `others` are the separately trained bases."""

    class Room(Workshop):
        def other_base(self, lab, number):
            return others[f"base_{number}"]

    return Lab(world, world.tasks[task], policy, policy, Room(), seed=1, count=count)


def losses(script, pairs, **config):
    return script.loss(pairs, replace(script.Config(), **config))[0]


def answer(*logps: float, reference: float = -1.0) -> Scores:
    """One row; the reference has every token at the same log-probability."""
    row = torch.tensor([logps], dtype=torch.float64, requires_grad=True)
    ones = torch.ones(1, len(logps), dtype=torch.float64)
    return Scores(row, reference * ones, ones)


def minus_log_sigmoid(x: float) -> float:
    return math.log(1 + math.exp(-x))


def pulls(script, pairs: PairBatch, views: Sequence[str], **config) -> dict[str, float]:
    """By view, the gradient of a row's loss with respect to its answer's log-probability."""
    losses(script, pairs, **config).sum().backward()
    found = {}
    for name in views:
        grad = pairs.need(name).logps.grad
        found[name] = 0.0 if grad is None else grad[0, 0].item()
        pairs.need(name).logps.grad = None
    return found


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# --- situations that a model errs in --------------------------------------------------------------


def test_pictures_are_changed_and_nothing_else():
    shown = Media(images=(Image.new("RGB", (2, 2)), Image.new("RGB", (3, 1))), sampling_rate=8)
    (found,) = with_pictures([shown], lambda image: image.resize((5, 5)))
    assert [image.size for image in found.images] == [(5, 5)] * 2 and found.sampling_rate == 8
    assert [image.size for image in shown.images] == [(2, 2), (3, 1)]


def test_a_text_is_cut_at_the_ends_of_sentences():
    said = "row one : a cup . Is it? No! row two : a cat ."
    assert sentences(said) == ["row one : a cup .", "Is it?", "No!", "row two : a cat ."]
    assert cut_off(said, 2) == "row one : a cup . Is it?"
    assert cut_off(said, 0) == said
    assert cut_off(said, 4) == cut_off(said, 9) == cut_off("", 1) == ""


def test_a_statement_stands_behind_the_pictures_and_before_the_question():
    item = Item(None, ask("what is there ?", images=2, system="be kind ."), "nothing .")
    found = told_before(item, "there is a cup .")
    assert found.prompt[-1] == Turn("user", "<image> <image> there is a cup . what is there ?")
    assert found.prompt[0] == item.prompt[0] and found.truth == "nothing ."
    more = Turn("assistant", "a cat ."), Turn("user", "sure ?")
    later = replace(item, prompt=(*item.prompt, *more))
    assert told_before(later, "no .").prompt[-1].text == "no . sure ?"


def test_the_most_attended_parts_of_a_picture_are_painted_over():
    white = Image.new("RGB", (4, 6), "white")
    found = without_what_was_looked_at(white, [0.1, 0.4, 0.3, 0.2], 0.5)  # two by two parts
    grey = [[found.getpixel((x, y)) == (128, 128, 128) for x in range(4)] for y in range(6)]
    assert grey == [[False, False, True, True]] * 3 + [[True, True, False, False]] * 3
    assert white.getcolors() == [(24, (255, 255, 255))]
    with pytest.raises(ValueError, match="square"):
        without_what_was_looked_at(white, [0.1] * 3, 0.5)


# --- xGen-MM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [xgen_mm, hdpo])
@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_where_data_alone_is_new_the_loss_is_that_of_dpo_whatever_the_variant(script, variant):
    pairs = batch()
    near(losses(script, pairs, variant=variant), losses(dpo, pairs))


def test_the_best_of_other_models_stands_against_their_worst_and_against_an_answer_to_noise(world):
    """One of the others tells the truth, one tells nothing; the policy is misled by noise alone."""
    plain = {}

    def policy(item, shown):
        plain.setdefault(item.scene, world.show(item.scene).images[0].tobytes())
        return "a white cross ." if shown.images[0].tobytes() != plain[item.scene] else item.truth

    others = {
        "base_1": Speaker(lambda item, shown: item.truth),
        "base_2": Speaker(lambda item, shown: "nothing ."),
    }
    lab = drawn(world, Speaker(policy), **others)
    rows = xgen_mm.rated_pairs(lab, xgen_mm.Config())
    rules = {"best against worst": 6, "best against an answer to noise": 6}
    assert len(rows) == 12 and lab.tally.rules == rules
    assert all(text(row["chosen"]) == row["item"].truth for row in rows)
    assert [text(row["rejected"]) for row in rows] == ["nothing .", "a white cross ."] * 6
    # The picture that is trained on is the true one, also where the answer was given under noise.
    for row in rows:
        assert row["images"][0].tobytes() == plain[row["item"].scene]
    bare = drawn(world, Speaker(policy), **others)
    assert len(xgen_mm.rated_pairs(bare, xgen_mm.Config(noise_term=False))) == 6
    assert set(bare.tally.rules) == {"best against worst"}


def test_answers_that_are_rated_alike_have_no_worst(world, monkeypatch):
    others = {f"base_{n}": Speaker(lambda item, shown, n=n: f"{n} .") for n in (1, 2)}
    lab = drawn(world, Speaker(lambda item, shown: "a white cross ."), **others)

    class Judge:
        def scores(self, items, media, answers):
            return [5.0] * len(items)

    monkeypatch.setattr(type(lab), "annotator", lambda self, kind: Judge())
    rows = xgen_mm.rated_pairs(lab, xgen_mm.Config())
    assert [text(row["rejected"]) for row in rows] == ["a white cross ."] * 6
    assert lab.tally.rules["best against worst: equal, dropped"] == 6


# --- POVID ----------------------------------------------------------------------------------------


def three_answers() -> PairBatch:
    """Log-ratios 2, -1 and 0.5 of the reference answer, the spoilt one, the tokens under noise."""
    return PairBatch(
        answer(0.0, 0.0), answer(-2.0), views={"rejected_noise": answer(-1.0, -0.5)}
    )  # fmt: skip


def test_povid_by_hand_one_sigmoid_in_the_paper_and_two_in_the_code():
    weights = {"alpha": 1.0, "beta_1": 0.5, "beta_2": 2.0, "beta": 0.3}
    paper = minus_log_sigmoid(1.0 * 2 - (0.5 * -1 + 2.0 * 0.5))
    code = (minus_log_sigmoid(0.3 * (2 + 1)) + minus_log_sigmoid(0.3 * (2 - 0.5))) / 2
    for variant, expected in (("paper", paper), ("survey", paper), ("code", code)):
        found = losses(povid, three_answers(), variant=variant, **weights).item()
        assert found == pytest.approx(expected, abs=1e-12)
    assert paper != pytest.approx(code, abs=0.1)


def test_a_pair_that_is_won_takes_the_gradient_from_the_other_one_in_the_paper_alone():
    """The spoilt answer is far below: the tokens under noise are still lowered by the code."""

    def pull(spoilt, variant):
        pairs = replace(three_answers(), rejected=answer(spoilt))
        return pulls(povid, pairs, ["rejected_noise"], variant=variant)["rejected_noise"]

    for variant, kept in (("paper", False), ("code", True)):
        even, won = pull(-1.0, variant), pull(-100.0, variant)
        assert even > 0 and (won > even / 2) == kept


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_without_the_tokens_under_noise_povid_is_dpo(variant):
    pairs = batch(views={"rejected_noise": scores(8)})
    bare = losses(povid, pairs, variant=variant, noise_term=False)
    near(bare, losses(dpo, pairs))
    first, _ = povid.text_loss(replace(pairs, views={}), povid.Config(variant=variant))
    near(first, losses(dpo, pairs))
    assert not torch.allclose(losses(povid, pairs, variant=variant), bare)


def test_the_paper_scores_under_the_noisy_image_and_the_code_under_the_clean_one():
    named = {v.name: v for v in povid.METHOD.last.views_of(povid.Config())}
    assert named["rejected_noise"].images == "noisy_images"
    assert named["rejected_noise"].picked_by == "policy" and "noise" not in named
    named = {v.name: v for v in povid.METHOD.last.views_of(povid.Config(variant="code"))}
    assert named["rejected_noise"].images == "images"
    assert named["rejected_noise"].picked_in == "noise" and not named["noise"].reference
    bare = povid.METHOD.last.views_of(povid.Config(noise_term=False))
    assert [view.name for view in bare] == ["chosen", "rejected"]


def test_faint_noise_on_black_stays_dark_in_the_paper_and_wraps_around_in_the_code():
    """One step moves values by a few levels; below black the code comes out at the other end."""
    for level, beyond in ((0, range(246, 256)), (255, range(10))):
        row = {"images": [Image.new("RGB", (32, 32), (level,) * 3)]}
        made = {
            variant: povid.add_noise(
                row, random.Random(1), povid.Config(variant=variant, noise_step=1)
            )["noisy_images"][0].tobytes()
            for variant in ("paper", "survey", "code")
        }
        assert made["paper"] == made["survey"]
        assert all(abs(value - level) < 10 for value in made["paper"])
        wrapped = [value for value in made["code"] if value in beyond]
        assert 0.05 < len(wrapped) / len(made["code"]) < 0.5
        rest = [value for value in made["code"] if value not in beyond]
        assert all(abs(value - level) < 10 for value in rest)


def test_povids_rejected_answers_are_the_reference_with_errors(world):
    lab = drawn(world, Speaker(lambda item, shown: ""), task="describe")
    rows = povid.spoilt_answers(lab, povid.Config(errors=1))
    assert len(rows) == 6 and lab.tally.rules == {"errors written in": 6}
    for row in rows:
        spoilt = text(row["rejected"])
        assert text(row["chosen"]) == row["item"].truth
        wrong = [not claim.right for claim in lab.task.judge(row["item"], spoilt)]
        assert sum(wrong) == 1 and lab.task.parses(row["item"], spoilt)


@pytest.mark.parametrize(
    ("config", "changes", "steps"),
    [
        ({}, {}, 60),
        ({"text_term": False}, {}, 15),
        ({}, {"steps": 2}, 2),
        ({}, {"steps": None}, None),
    ],
)
def test_a_baseline_has_the_steps_of_all_stages(config, changes, steps, world, tiny_base, tmp_path):
    made = Experiment(
        SCRIPTS["povid"], povid.Config(**config), "lab", changes, world, tmp_path, tiny_base
    )
    baseline = SCRIPTS["dpo"]
    run = made.run_of(baseline, baseline.method.config(), tmp_path, None)
    assert run.settings(baseline.method.last).steps == steps


@pytest.mark.parametrize("name", ["povid", "opa_dpo"])
def test_a_dataset_takes_the_place_of_scenes_in_both_stages(name, world, tiny_base, tmp_path):
    script = SCRIPTS[name]
    given = [{"prompt": "a photo", "chosen": "", "rejected": "", "revised": ""}]
    run = Run(
        script, script.module.Config(), "paper", {}, world, world.tasks["describe"], tiny_base,
        tmp_path, rows=given,
    )  # fmt: skip
    for stage in script.method.stages:
        assert stage_rows(run, stage, 0, tiny_base)[0] is given


@pytest.mark.parametrize("picked_by", ["policy", "each"])
def test_the_reference_scores_what_the_policy_picks_or_what_it_picks_itself(
    picked_by, loaded, world, tmp_path
):
    """Trained against another reference for a step: whose tokens its log-probabilities are of."""
    model, processor = loaded
    torch.manual_seed(1)
    other = copy.deepcopy(model)
    for weight in other.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    view = View("likeliest", scored="likeliest", picked_by=picked_by)
    seen: list[PairBatch] = []

    def loss(pairs: PairBatch, cfg: Any) -> Any:
        seen.append(pairs)
        return -pairs.need("likeliest").log_ratio(), {}

    settings = settings_of(1e-9, steps=1, batch_size=4, pairs=4)
    stage = PairStage(data=povid.spoilt_answers, loss=loss, views=(view,), lab=settings,
                      paper=settings)  # fmt: skip
    rows = povid.spoilt_answers(drawn(world, None, count=4), povid.Config())
    with torch.no_grad():
        scorer = Scorer(Encoder(processor), (view,))
        before = scorer.score(model, scorer.collate(rows))
        picks = before.picks if picked_by == "policy" else None
        frozen = scorer.score(other, scorer.collate(rows), picks=picks).logps["likeliest"]
        alone = scorer.score(other, scorer.collate(rows)).logps["likeliest"]
    assert torch.equal(alone, frozen) == (picked_by == "each")
    begin(tmp_path, {}, False)
    train_pairs(model, processor, rows, stage=stage, cfg=None, settings=settings, output=tmp_path,
                reference_model=other)  # fmt: skip
    (pairs,) = seen
    found = pairs.need("likeliest")
    for mine, theirs in ((found.logps, before.logps["likeliest"]), (found.ref_logps, frozen)):
        mine, theirs = mine.sum(-1).sort().values, theirs.sum(-1).sort().values
        assert torch.allclose(mine, theirs, atol=1e-4)


# --- HDPO -----------------------------------------------------------------------------------------


def test_each_cause_has_its_turn_and_its_own_situation(world, policy):
    """Six scenes, three causes: what the policy was shown, told, and made to go on with."""
    lab = drawn(world, policy, task="describe")
    rows = hdpo.provoked_pairs(lab, hdpo.Config())
    assert lab.tally.rules == {"distracted": 2, "long context": 2, "conflict": 2}
    for place, row in enumerate(rows):
        item, cause = lab.items[place], hdpo.CAUSES[place % 3]
        shown, rejected = lab.media[place].images[0], text(row["rejected"])
        assert text(row["chosen"]) == item.truth != rejected
        assert row["images"][0].tobytes() == shown.tobytes()
        begun = cut_off(item.truth, 2)
        if cause == "long context":
            assert rejected.startswith(begun)
        told = row["prompt"][-1]["content"][-1]["text"]
        if cause == "conflict":
            statement = told.partition(" . ")[0]
            named = statement.removeprefix("there is a").lstrip("n").strip()
            assert statement.startswith("there is a") and named not in item.scene.names
            assert told.endswith("describe the image in detail .")
        else:
            assert told == "describe the image in detail ."


def test_a_cause_that_is_off_leaves_its_scenes_to_the_others(world, policy):
    lab = drawn(world, policy, task="describe")
    hdpo.provoked_pairs(lab, hdpo.Config(distracted_term=False))
    assert set(lab.tally.rules) == {"long context", "conflict"}
    with pytest.raises(ValueError, match="no cause"):
        hdpo.causes(hdpo.Config(distracted_term=False, long_term=False, conflict_term=False))
    generic = drawn(world, policy, task="describe")
    rows = hdpo.provoked_pairs(generic, hdpo.Config(targeted_term=False))
    assert rows and not set(generic.tally.rules) & set(hdpo.CAUSES)


def test_the_picture_that_distracts_hides_what_the_answer_looked_at(world, policy):
    """The rejected answer is asked about a picture of which half is grey, and no other is."""
    seen = []

    class Watched(Policy):
        def answer_items(self, items, media, *how):
            seen.append([each.images[0] for each in media])
            return super().answer_items(items, media, *how)

    watched = Watched(policy.model, policy.encoder, seed=1)
    lab = drawn(world, watched, task="describe", count=2)
    config = hdpo.Config(long_term=False, conflict_term=False)
    hdpo.provoked_pairs(lab, config)
    whole, pruned = seen
    for before, after, each in zip(whole, pruned, lab.media, strict=True):
        assert before.tobytes() == each.images[0].tobytes()
        grey = sum(count for count, colour in after.getcolors(1 << 16) if colour == (128,) * 3)
        assert grey >= after.width * after.height // 2 > 0


# --- LRV-Instruction ------------------------------------------------------------------------------


def test_the_paper_sums_over_an_answer_and_the_code_averages_over_the_batch():
    """Answers of 3 and 5 tokens: the code's rows are one number, in which long answers weigh more
    than in a mean per answer; alone, an answer's mean is that of SFT."""
    pairs = batch()
    near(losses(lrv_instruction, pairs), losses(sft, pairs, variant="code"))
    near(losses(lrv_instruction, pairs, variant="survey"), losses(lrv_instruction, pairs))
    code = losses(lrv_instruction, pairs, variant="code")
    chosen = pairs.chosen
    near(code, (-(chosen.logps * chosen.mask).sum() / chosen.mask.sum()).expand(3))
    assert not torch.allclose(code.mean(), losses(sft, pairs).mean())
    alone = PairBatch(answer(-1.0, -0.5, -3.0))
    near(losses(lrv_instruction, alone, variant="code"), losses(sft, alone))
    near(losses(lrv_instruction, alone), 3 * losses(sft, alone))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_balance_of_instructions_is_the_share_that_was_asked_for(share, world):
    lab = drawn(world, None, count=32, task="describe")
    rows = lrv_instruction.instructions(lab, lrv_instruction.Config(negative_share=share))
    assert len(rows) == 64
    negative = [rule for rule in lab.tally.rules if rule.startswith("negative")]
    assert sum(lab.tally.rules[rule] for rule in negative) == 64 * share
    if share == 0.5:
        assert {"negative: premise", "negative: random", "positive: there"} <= set(lab.tally.rules)


def test_negative_instructions_are_denied_and_all_answers_are_true(world):
    lab = drawn(world.under({"context": "premise"}), None, count=64, task="describe")
    denied = affirmed = told = 0
    for row in lrv_instruction.instructions(lab, lrv_instruction.Config()):
        item, said = row["item"], text(row["chosen"])
        asked = row["prompt"][-1]["content"][-1]["text"]
        assert said == item.truth
        if asked.startswith("is there"):
            there = item.subject in item.scene.names
            assert said == ("yes" if there else "no")
            denied, affirmed = denied + (not there), affirmed + there
        elif asked.startswith("there is"):
            assert item.subject not in item.scene.names and item.subject not in said
            told += 1
    assert denied > affirmed > 0 and told > 0


def test_a_share_that_cannot_be_is_refused(world):
    with pytest.raises(ValueError, match="from 0 to 1"):
        lrv_instruction.instructions(drawn(world, None), lrv_instruction.Config(negative_share=1.5))


# --- Re-Align -------------------------------------------------------------------------------------


def test_the_nearest_have_most_words_in_common_each_counted_as_often_as_it_occurs():
    texts = ["a a b", "a b c", "a a d", "e"]
    assert nearest(texts, 2) == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert nearest(["alone"], 3) == [[]] and nearest(["a", "a"], 3) == [[1], [0]]


def test_likeness_is_the_share_of_words_that_stay():
    assert likeness("a b c d", "a b c d") == 1 == likeness("", "")
    assert likeness("a b c d", "a x c d") == 0.75
    assert likeness("a b", "a b c d") == 0.5 and likeness("a", "b") == 0


def test_a_gap_is_filled_under_the_nearest_picture_that_makes_the_text_unlike_enough(world):
    """A policy that fills in the truth under the nearest picture, and something else under the
    second: the second is taken, and is the negative image."""
    lab = drawn(world, None, task="describe", count=8)
    order = nearest([item.truth for item in lab.items], 10)
    pixels = [each.images[0].tobytes() for each in lab.media]
    asked = []

    class Filler:
        def continue_items(self, items, images, begun, *how):
            found = []
            for item, shown, start in zip(items, images, begun, strict=True):
                place, other = lab.items.index(item), pixels.index(shown[0].tobytes())
                asked.append((place, other))
                true = " ".join(item.truth.split()[len(start.split()) :])
                found.append(f"{start} {true if other == order[place][0] else 'a white cross .'}")
            return found

    lab.policy = Filler()
    rows = re_align.refilled_pairs(lab, re_align.Config(masked=1, tau=0.999))
    assert lab.tally.rules == {"under a later one": 8, "too alike under all, dropped": 0}
    for place, row in enumerate(rows):
        second = order[place][1]
        assert row["negative_images"][0].tobytes() == pixels[second]
        assert [other for asker, other in asked if asker == place] == order[place][:2]
        kept, new = row["item"].truth.split(), text(row["rejected"]).split()
        at = next(n for n in range(len(new)) if new[n : n + 3] == ["a", "white", "cross"])
        assert kept[:at] == new[:at] and kept[at + 3 :] == new[at + 3 :]
    lab = drawn(world, lab.policy, task="describe", count=8)
    assert re_align.refilled_pairs(lab, re_align.Config(masked=1, tau=0.999, retrieved=1)) == []
    assert lab.tally.rules == {"too alike under all, dropped": 8}


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_without_the_image_term_re_align_is_dpo_and_with_it_two_terms_of_equal_weight(variant):
    pairs = batch()
    near(losses(re_align, pairs, variant=variant, image_term=False), losses(dpo, pairs))
    image = replace(pairs, rejected=pairs.chosen_corrupt)
    both = losses(dpo, pairs) + losses(dpo, image)
    near(losses(re_align, pairs, variant=variant), both)


def test_the_image_term_lowers_the_answer_under_the_retrieved_image_and_nothing_does_without_it():
    pairs = PairBatch(answer(-0.5), answer(-1.5), chosen_corrupt=answer(-0.9))
    found = pulls(re_align, pairs, ["chosen", "chosen_corrupt"])
    assert found["chosen"] < 0 < found["chosen_corrupt"]
    bare = pulls(re_align, pairs, ["chosen_corrupt"], image_term=False)
    assert bare["chosen_corrupt"] == 0.0


def test_the_paper_scores_the_rejected_answer_and_the_code_the_likeliest_other_tokens(
    loaded, world
):
    """The two variants have one loss of given numbers; on the same rows they are given others."""
    model, processor = loaded
    shown = {}
    for variant in ("paper", "survey", "code"):
        views = re_align.views(re_align.Config(variant=variant))
        scorer = Scorer(Encoder(processor), views)
        lab = drawn(world, None, task="describe", count=2)
        rows = [
            lab.pair(n, item.truth, "nothing .", negative_images=list(lab.media[1 - n].images))
            for n, item in enumerate(lab.items)
        ]
        with torch.no_grad():
            shown[variant] = scorer.score(model, scorer.collate(rows)).logps
    for view in ("chosen", "rejected", "chosen_corrupt"):
        assert torch.equal(shown["paper"][view], shown["survey"][view])
        same = torch.allclose(shown["paper"][view], shown["code"][view], atol=1e-5)
        assert same == (view == "chosen")
    assert len(re_align.views(re_align.Config(variant="code", image_term=False))) == 2


# --- OPA-DPO --------------------------------------------------------------------------------------


def five_views() -> PairBatch:
    """Log-ratios: good answer 1 + 0, generated one -1, revised one 0.5; under the masked image 0.2
    and 0.1. Weights of h_hw 2.5 and 2, of h_iw 3."""
    pairs = PairBatch(
        answer(0.0, -1.0), answer(-2.0), chosen_corrupt=answer(-0.8, -1.0),
        views={"revised": answer(-0.5), "revised_corrupt": answer(-0.9)},
        extra={"image_weights": torch.tensor([[3.0]], dtype=torch.float64)},
    )  # fmt: skip
    pairs.rejected.weights = torch.tensor([[2.5]], dtype=torch.float64)
    pairs.need("revised").weights = torch.tensor([[2.0]], dtype=torch.float64)
    return pairs


def test_opa_dpo_by_hand_in_the_paper_and_per_position_in_the_code():
    cfg = {"beta": 1.0, "gamma_1": 0.5, "gamma_2": 0.25}
    paper = (
        minus_log_sigmoid(1 + 1) + minus_log_sigmoid(2 * 0.5 + 2.5)
        + 0.5 * (minus_log_sigmoid(1 - 0.2) + minus_log_sigmoid(3 * 0.5 - 3 * 0.1))
        + 0.25 * (minus_log_sigmoid(1) + minus_log_sigmoid(0.5))
    )  # fmt: skip
    # The anchor of the revised answer is turned round, and both count twice; the second position
    # has margin 0 everywhere.
    first = (
        minus_log_sigmoid(1 + 1) + minus_log_sigmoid(2 * 0.5 + 2.5)
        + 0.5 * (minus_log_sigmoid(1 - 0.2) + minus_log_sigmoid(3 * 0.5 - 3 * 0.1))
        + 2 * 0.25 * (minus_log_sigmoid(1) + minus_log_sigmoid(-0.5))
    )  # fmt: skip
    code = (first + (2 + 2 * 0.5 + 4 * 0.25) * math.log(2)) / 2
    for variant, expected in (("paper", paper), ("survey", paper), ("code", code)):
        found = losses(opa_dpo, five_views(), variant=variant, **cfg).item()
        assert found == pytest.approx(expected, abs=1e-12)
    assert abs(paper - code) > 0.1


def test_the_anchor_holds_the_revised_answer_up_in_the_paper_and_down_in_the_code():
    """Pulls on the revised answer from the anchor alone: with the term less without it."""
    views = ["chosen", "revised"]
    for variant, sign in (("paper", -1), ("code", 1)):
        told = {}
        for on in (True, False):
            config = {"variant": variant, "anchor_term": on}
            told[on] = pulls(opa_dpo, five_views(), views, **config)
        assert math.copysign(1, told[True]["revised"] - told[False]["revised"]) == sign
        assert told[True]["chosen"] < told[False]["chosen"] < 0


def test_without_the_image_terms_the_code_has_anchors_of_rewards_of_zero():
    rest = {"variant": "code", "image_term": False, "beta": 1.0, "delta": 0.3, "gamma_2": 0.25}
    anchors = losses(opa_dpo, five_views(), **rest) - losses(
        opa_dpo, five_views(), **rest, anchor_term=False
    )
    first = minus_log_sigmoid(1 - 0.3) + minus_log_sigmoid(0.3 - 0.5)
    zero = minus_log_sigmoid(-0.3) + minus_log_sigmoid(0.3)
    # The second position has a reward of 0 in both, with the two of the missing image pairs.
    near(anchors, torch.tensor([0.25 * (first + zero + 2 * zero) / 2], dtype=torch.float64))


def test_each_own_term_of_opa_dpo_reads_its_views_and_without_all_of_them_it_is_dpo():
    bare = {"revised_term": False, "image_term": False, "anchor_term": False}
    pairs = batch()
    near(losses(opa_dpo, pairs, **bare), losses(dpo, pairs))
    everything = five_views()
    full = losses(opa_dpo, everything).item()
    for switch in ("revised_term", "image_term", "anchor_term", "weights_term"):
        assert losses(opa_dpo, everything, **{switch: False}).item() != pytest.approx(full)
    names = [
        view if isinstance(view, str) else view.name
        for view in opa_dpo.views(opa_dpo.Config(image_term=False))
    ]
    assert names == ["chosen", "rejected", "revised"]
    with pytest.raises(ValueError, match="revised"):
        losses(opa_dpo, pairs)
    pulled = pulls(opa_dpo, five_views(), ["chosen_corrupt", "revised_corrupt"])
    assert all(value > 0 for value in pulled.values())


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_rows_of_opa_dpo_do_not_read_one_another_but_for_the_width_of_a_batch(variant):
    pairs = five_views()
    alone = losses(opa_dpo, pairs, variant=variant, positions=6)
    wide = replace(pairs, rejected=answer(-2.0, -1.0, -1.0, -1.0, -1.0))
    wide.rejected.weights = torch.tensor([[2.5, 1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    near(losses(opa_dpo, wide, variant=variant, positions=6), alone)  # log-ratios of 0 add nothing
    same = torch.allclose(
        losses(opa_dpo, wide, variant=variant), losses(opa_dpo, pairs, variant=variant)
    )
    assert same == (variant == "paper")
    assert opa_dpo.METHOD.last.couples_rows


def test_sentences_are_graded_by_the_share_of_wrong_claims():
    said = "a b c d e f . g h . i ."
    claims = [Segment(0, 2, True), Segment(2, 4, True), Segment(4, 6, False), Segment(7, 8, False)]
    assert opa_dpo.graded(said, claims) == [3, 1, 4]
    half = [Segment(0, 2, True), Segment(2, 4, False)]
    assert opa_dpo.graded(said, half) == [2, 4, 4]


def test_a_token_has_the_number_of_its_sentence_and_the_ending_that_of_the_last():
    spoken = Answer(
        "a b . c .", [1, 2, 3, 4, 5, 6], [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (0, 0)]
    )
    assert by_sentence(spoken, [2.0, 3.0]) == [2.0, 2.0, 2.0, 3.0, 3.0, 3.0]
    with pytest.raises(ValueError, match="1 values for 2 sentences"):
        by_sentence(spoken, [1.0])
    row = {"grades": [1, 4], "revised_grades": [4, 3]}
    told = {"rejected": spoken, "revised": spoken}
    found = opa_dpo.token_weights(row, told, opa_dpo.Config())
    assert found["weights"]["rejected"] == [2.5, 2.5, 2.5, 1.0, 1.0, 1.0]
    assert found["weights"]["revised"] == [1.0, 1.0, 1.0, 1.5, 1.5, 1.5]
    assert found["image_weights"] == {"revised": [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]}
    code = opa_dpo.token_weights(row, told, opa_dpo.Config(variant="code"))
    assert code["weights"]["rejected"] == [2.5, 2.5, 2.5, 1.0, 1.0, 0.0]
    assert opa_dpo.token_weights(row, told, opa_dpo.Config(weights_term=False)) == {}
    assert opa_dpo.token_weights({}, told, opa_dpo.Config()) == {}


def test_opa_dpos_rows_hold_the_generated_the_revised_and_the_good_answer(world):
    """Both stages see the answers of the start model, whatever the policy is by then."""
    start = Speaker(lambda item, shown: "row one : a white cross . row two : a white cross .")
    lab = drawn(world, Speaker(lambda item, shown: "nothing ."), task="describe", count=8)
    lab.base = start
    rows = opa_dpo.revised_answers(lab, opa_dpo.Config())
    assert len(rows) == 8 and lab.tally.rules["sentences of grade 1"] > 8
    for row in rows:
        assert text(row["chosen"]) == row["item"].truth
        assert "white cross" in text(row["rejected"]) and len(row["grades"]) == 2
        assert len(row["revised_grades"]) == len(sentences(text(row["revised"])))


def test_pixels_are_taken_away_at_the_share_that_was_asked_for():
    image = Image.new("RGB", (10, 10), (10, 20, 60))
    found = without_pixels(image, random.Random(1), 0.3)
    assert sorted(found.getcolors()) == [(30, (30, 30, 30)), (70, (10, 20, 60))]
    assert image.getcolors() == [(100, (10, 20, 60))]


def test_the_first_stage_learns_both_answers_alike():
    nll, _ = opa_dpo.alignment(five_views(), opa_dpo.Config())
    near(nll, torch.tensor([(0.5 + 0.5) / 2], dtype=torch.float64))
    stages = opa_dpo.METHOD.stages
    assert [s.takes_place(opa_dpo.Config(alignment_term=False)) for s in stages] == [False, True]
