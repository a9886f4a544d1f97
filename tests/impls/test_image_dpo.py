"""Image-DPO: what its loss reads, which images the official batch pairs, what is spoilt."""

import dataclasses
import random

import numpy as np
import pytest
import torch
from PIL import Image

from reference_impls.core.data.images import blurred, pixelated
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.worlds.protocol import Segment
from reference_impls.methods import dpo, image_dpo
from tests.impls.test_objectives import batch

CONFIG = image_dpo.Config()


def picture(seed, side=64):
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


# --- the loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_it_is_dpo_with_the_spoilt_image_in_the_place_of_the_other_answer(variant):
    pairs = batch()
    found, metrics = image_dpo.loss(pairs, image_dpo.Config(variant=variant))
    swapped = dataclasses.replace(pairs, rejected=pairs.chosen_corrupt)
    assert torch.equal(found, dpo.loss(swapped, dpo.Config(beta=0.5))[0])
    assert torch.equal(metrics["rejected_reward"], 0.5 * pairs.chosen_corrupt.log_ratio())


def test_no_other_answer_is_read_and_the_spoilt_image_is_named_where_it_is_missing():
    pairs = batch()
    losses = image_dpo.loss(pairs, CONFIG)[0]
    assert torch.equal(image_dpo.loss(dataclasses.replace(pairs, rejected=None), CONFIG)[0], losses)
    with pytest.raises(ValueError, match="chosen_corrupt"):
        image_dpo.loss(dataclasses.replace(pairs, chosen_corrupt=None), CONFIG)


def test_the_answer_rises_under_the_good_image_and_falls_under_the_spoilt_one():
    pairs = batch()
    for view in (pairs.chosen, pairs.chosen_corrupt):
        view.logps.requires_grad_()
    image_dpo.loss(pairs, CONFIG)[0].mean().backward()
    assert (pairs.chosen.logps.grad[pairs.chosen.mask.bool()] < 0).all()
    assert (pairs.chosen_corrupt.logps.grad[pairs.chosen_corrupt.mask.bool()] > 0).all()


# --- the official batch ---------------------------------------------------------------------------


def rows(count):
    return [{"chosen": k, "images": f"g{k}", "negative_images": f"b{k}"} for k in range(count)]


def seen(found):
    return [(row["chosen"], row["images"], row["negative_images"]) for row in found]


def test_the_code_gives_row_k_image_k_of_good_bad_good_bad():
    """Texts 0 1 2 0 1 2, images g0 b0 g1 b1 g2 b2."""
    found = seen(image_dpo.as_stacked(rows(3), 3))
    assert found == [(0, "g0", "b1"), (1, "b0", "g2"), (2, "g1", "b2")]


def test_a_pair_alone_on_its_device_has_its_own_images():
    assert image_dpo.as_stacked(rows(4), 1) == rows(4)


def test_the_last_batch_is_a_smaller_one():
    found = seen(image_dpo.as_stacked(rows(5), 3))
    assert found[3:] == [(3, "g3", "g4"), (4, "b3", "b4")]


def test_every_image_is_read_once_and_few_by_their_own_row():
    found = seen(image_dpo.as_stacked(rows(12), 12))
    assert sorted(image for _, *pair in found for image in pair) == sorted(
        f"{kind}{k}" for kind in "gb" for k in range(12)
    )
    own = sum((good, bad) == (f"g{k}", f"b{k}") for k, good, bad in found)
    assert own == 0 and [k for k, good, _ in found if good == f"g{k}"] == [0]


# --- the data step --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "stars"), [("", 0), ("0", 0), ("1", 5), ("1110", 3), ("11110", 4)]
)
def test_a_rating_is_a_cut_share_of_the_claims(right, stars):
    assert image_dpo.rating([Segment(0, 1, each == "1") for each in right]) == stars


@pytest.fixture
def drawn(world, policy):
    return Lab(world, world.tasks["brief"], policy, policy, Workshop(), seed=1, count=8)


def data(lab, monkeypatch, shares, **changes):
    """The rows of the step, the answers to each question rated with those stars in turn."""
    told = iter(shares)
    monkeypatch.setattr(
        Lab, "answer", lambda self, temperature: [f"{next(told)} star ."] * len(self.items)
    )

    class Critic:
        def claims(self, items, media, answers):
            return [[Segment(0, 1, k < int(a[0])) for k in range(5)] for a in answers]

    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Critic())
    return image_dpo.rated_answers(lab, image_dpo.Config(answers=len(shares), **changes))


def test_the_best_of_the_own_answers_is_kept_if_it_is_rated_above_three(drawn, monkeypatch):
    found = data(drawn, monkeypatch, [2, 4, 3])
    assert [row["chosen"][0]["content"] for row in found] == ["4 star ."] * 8
    assert {row["rejected"][0]["content"] for row in found} == {"2 star ."}
    assert data(drawn, monkeypatch, [2, 3]) == []
    rules = drawn.tally.rules
    assert (rules["kept"], rules["rated too low"]) == (8, 8)
    assert sum(count for rule, count in rules.items() if rule.startswith("spoilt: ")) == 8
    assert len(data(drawn, monkeypatch, [2, 3], above=-1)) == 8


def test_questions_are_about_edited_scenes(drawn, monkeypatch):
    found = data(drawn, monkeypatch, [5], spoilt="semantic")
    for row, item, media in zip(found, drawn.items, drawn.media, strict=True):
        assert row["item"].scene != item.scene and row["images"][0] != media.images[0]
        assert row["images"][0] == drawn.world.show(row["item"].scene).images[0]
        assert row["negative_images"] == list(media.images)


def test_the_codes_rows_have_other_images_than_the_papers(drawn, monkeypatch):
    paper = data(drawn, monkeypatch, [5])
    code = data(drawn, monkeypatch, [5], variant="code")
    assert [row["chosen"] for row in code] == [row["chosen"] for row in paper]
    assert code == image_dpo.as_stacked(paper, 12) != paper
    assert data(drawn, monkeypatch, [5], variant="survey") == paper


def test_three_kinds_of_spoilt_images_are_equally_frequent():
    row = {"images": [picture(0)], "before": [picture(1)]}
    rng, kinds = random.Random(0), {"before": 0, "squares": 0, "blur": 0}
    for _ in range(300):
        (spoilt,) = image_dpo.spoil(row, rng, CONFIG)["negative_images"]
        if spoilt == picture(1):
            kinds["before"] += 1
        else:
            kinds["squares" if spoilt == pixelated(picture(0), 2.0) else "blur"] += 1
    assert min(kinds.values()) > 70


def test_a_row_of_a_dataset_has_no_image_from_before_an_edit():
    row = {"images": [picture(0), picture(2)]}
    found = image_dpo.spoil(row, random.Random(0), image_dpo.Config(spoilt="semantic"))
    assert len(found["negative_images"]) == 2
    assert found["negative_images"][0] not in (picture(0), picture(2))
    assert image_dpo.spoil(found, random.Random(1), CONFIG) is found


@pytest.mark.parametrize(("spoilt", "own"), [("classic", False), ("semantic", True)])
def test_one_kind_can_be_asked_for(spoilt, own):
    row = {"images": [picture(0)], "before": [picture(1)]}
    for seed in range(20):
        found = image_dpo.spoil(row, random.Random(seed), image_dpo.Config(spoilt=spoilt))
        assert (found["negative_images"] == [picture(1)]) == own


def test_squares_have_the_mean_of_what_they_cover():
    image = Image.fromarray(
        np.array([[0, 100], [50, 250]], dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    )
    found = np.asarray(pixelated(image, 2))
    assert (found[:2, 2:] == 100).all() and (found[2:, :2] == 50).all()
    assert (np.asarray(pixelated(image, 4)) == 100).all()
    assert pixelated(image, 99).size == (4, 4)


def test_a_blur_keeps_the_mean_and_takes_the_contrast():
    sharp, soft = (np.asarray(each, dtype=float) for each in (picture(3), blurred(picture(3), 3)))
    assert soft.shape == sharp.shape and abs(soft.mean() - sharp.mean()) < 2
    assert soft.std() < sharp.std() / 3
