"""Annotators of the lab: right when they should be, wrong at their stated rate."""

import random

import pytest

from reference_impls.core.annotators import Annotator
from reference_impls.core.pairs import random_resized_crop, row, text
from reference_impls.core.worlds import scenes

SCENE = scenes.Scene((scenes.Thing("red", "circle", 0), scenes.Thing("blue", "star", 4)))
GOOD, BAD = "a red circle , a blue star .", "a red circle , a green cross ."


def annotator(error_rate, seed=0):
    return Annotator(scenes, error_rate, random.Random(seed))


def test_a_perfect_annotator_prefers_the_truer_answer():
    assert annotator(0.0).compare(SCENE, BAD, GOOD) == (GOOD, BAD)
    assert annotator(0.0).compare(SCENE, GOOD, BAD) == (GOOD, BAD)


def test_errors_come_at_the_stated_rate():
    human = annotator(0.25)
    wrong = sum(human.compare(SCENE, GOOD, BAD)[0] == BAD for _ in range(4000)) / 4000
    assert wrong == pytest.approx(0.25, abs=0.03)


def test_equal_answers_are_told_apart_by_a_coin():
    human = annotator(0.0)
    other = "a blue star , a red circle ."
    first = sum(human.compare(SCENE, GOOD, other)[0] == GOOD for _ in range(2000)) / 2000
    assert first == pytest.approx(0.5, abs=0.05)


def test_a_correction_changes_the_wrong_segment_alone():
    assert annotator(0.0).correct(SCENE, BAD) == GOOD
    assert annotator(0.0).correct(SCENE, GOOD) == GOOD
    struck = annotator(0.0).correct(SCENE, "a red circle , a blue star , a green cross .")
    assert struck == GOOD


def test_an_annotator_who_is_always_wrong_corrects_nothing():
    assert annotator(1.0).correct(SCENE, BAD) == BAD


def test_a_crop_keeps_size_and_shows_a_part():
    image = scenes.render(SCENE)
    crop = random_resized_crop(image, random.Random(1), (0.01, 0.2))
    assert crop.size == image.size and crop.tobytes() != image.tobytes()
    whole = random_resized_crop(image, random.Random(1), (1.0, 1.0))
    assert whole.size == image.size


def test_rows_are_conversations():
    made = row(scenes.render(SCENE), "describe", GOOD, BAD, margin=1.0)
    assert text(made["chosen"]) == GOOD and text(made["prompt"]) == "describe"
    assert made["margin"] == 1.0 and len(made["images"]) == 1
