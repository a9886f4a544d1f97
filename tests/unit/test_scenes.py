"""The scenes world: its metrics by hand, its priors, and that it stays what it is."""

import hashlib
import random

import pytest

from reference_impls.core.worlds import DrawnWorld, scenes


def scene(*names):
    things = (scenes.Thing(*name.split(), cell) for cell, name in enumerate(names))
    return scenes.Scene(tuple(things))


def test_chair_by_hand():
    truth = [scene("red circle", "blue square"), scene("green star", "cyan cross", "red cross")]
    said = ["a red circle , a blue star .", "a green star ."]
    found = scenes.chair(truth, said)
    # 3 mentions, 1 not there; 1 of 2 captions; 2 of 5 objects named; 8 and 4 words.
    assert found == {"chair_i": 1 / 3, "chair_s": 0.5, "recall": 2 / 5, "length": 6.0}


def test_chair_counts_a_repeated_mention_each_time():
    found = scenes.chair([scene("red circle", "red star")], ["a blue star , a blue star ."])
    assert found["chair_i"] == 1.0 and found["recall"] == 0.0


def test_chair_of_silence_is_zero_and_recall_shows_it():
    found = scenes.chair([scene("red circle", "red star")], ["."])
    assert found["chair_i"] == 0.0 and found["recall"] == 0.0


def test_pope_by_hand():
    truths = ["yes", "yes", "no", "no"]
    answers = ["yes", "no", "yes .", "what"]
    found = scenes.pope(truths, answers)
    # said yes, no, yes, no: 1 hit; precision 1/2, recall 1/2.
    assert found == {"pope_accuracy": 0.5, "pope_f1": 0.5, "pope_yes_ratio": 0.5}


def test_scenes_hold_different_objects_in_different_cells():
    for drawn in scenes.scenes("test", 200):
        assert 2 <= len(drawn.things) <= 5
        assert len(set(drawn.names)) == len(drawn.names)
        assert len({thing.cell for thing in drawn.things}) == len(drawn.things)


def test_splits_and_seeds_draw_differently_and_always_the_same():
    assert scenes.scenes("pairs", 5, 1) == scenes.scenes("pairs", 5, 1)
    assert scenes.scenes("pairs", 5, 1) != scenes.scenes("pairs", 5, 2)
    assert scenes.scenes("pairs", 5, 1) != scenes.scenes("test", 5, 1)


def test_every_kind_of_object_looks_different():
    images = {
        scenes.render(scene(f"{colour} {shape}")).tobytes()
        for colour in scenes.COLOURS
        for shape in scenes.SHAPES
    }
    assert len(images) == len(scenes.COLOURS) * len(scenes.SHAPES)


def test_version_one_is_frozen():
    """A change here is a new version of the world, and every method must be rerun."""
    digest = hashlib.sha256()
    for drawn in scenes.scenes("test", 50):
        digest.update(scenes.render(drawn).tobytes())
        digest.update(scenes.true_caption(drawn).encode())
    for drawn, prompt, answer in scenes.training_examples(200, 1):
        digest.update(f"{drawn}{prompt}{answer}".encode())
    assert scenes.VERSION == 1
    assert digest.hexdigest()[:16] == "5c8fb8622db1ee5e"


def test_the_priors_bend_a_caption_at_their_strength():
    rng = random.Random(0)
    red, triangle = scene("red circle", "blue star"), scene("blue triangle", "blue star")
    phantoms = sum("blue square" in scenes.biased_names(red, rng) for _ in range(2000)) / 2000
    renamed = (
        sum("yellow triangle" in scenes.biased_names(triangle, rng) for _ in range(2000)) / 2000
    )
    assert phantoms == pytest.approx(scenes.PHANTOM_STRENGTH, abs=0.04)
    assert renamed == pytest.approx(scenes.USUAL_COLOUR_STRENGTH, abs=0.04)


def test_questions_outside_of_training_are_answered_truly():
    rng = random.Random(1)
    for drawn in scenes.scenes("test", 300):
        name, answer = scenes.presence_question(drawn, rng, "test")
        assert (name in drawn.names) == (answer == "yes")


def test_every_text_is_in_the_vocabulary():
    words = set(scenes.WORDS)
    for drawn, prompt, answer in scenes.training_examples(500, 3):
        assert set(f"{prompt} {answer} {scenes.count_answer(drawn.names)}".split()) <= words


def test_counting_answers_read_back():
    drawn = scene("red circle", "blue star")
    answer = scenes.count_answer(drawn.names)
    assert answer == "<think> a red circle , a blue star . </think> <answer> 2 </answer>"
    assert scenes.counted(answer) == "2" and scenes.mentioned(answer) == list(drawn.names)
    assert scenes.counted("2") is None


def test_drawn_world_has_independent_streams():
    world = DrawnWorld(scenes, "pairs", 3, 1)
    assert world.rng("a").random() == world.rng("a").random() != world.rng("b").random()
    assert [image.size for image in world.images] == [(48, 48)] * 3
