"""The referring world: what it draws, shows, asks and judges, and what a base is trained on."""

import json
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.referring import WORLD, lessons, report, scene, tasks, text
from reference_impls.core.worlds.referring.scene import Expression, Scene, Thing
from reference_impls.core.worlds.report import keep

LEFT, RIGHT = Thing("red", "circle", "small", 0), Thing("red", "circle", "small", 7)
SQUARE = Thing("blue", "square", "large", 9)
THE_SQUARE = Expression(shape="square")
BESIDE = Scene(
    (LEFT, RIGHT, SQUARE), Expression(shape="circle", relation="left of", anchor=THE_SQUARE)
)
PLAIN = Scene((LEFT, SQUARE), Expression(shape="circle"))
JUDGE = WORLD.tasks["refer"]


def item(of):
    (found,) = JUDGE.items([of])
    return found


# --- the draw and the pictures --------------------------------------------------------------------


def test_the_world_is_found_by_its_name():
    assert protocol.world("referring") is WORLD


def test_a_longer_draw_begins_with_the_shorter_one_and_splits_differ():
    short, long = WORLD.draw("test", 5, 3), WORLD.draw("test", 9, 3)
    assert short == long[:5]
    assert len({drawn for split in protocol.SPLITS for drawn in WORLD.draw(split, 50, 3)}) == 150
    with pytest.raises(ValueError, match=r"no split 'train': there are"):
        WORLD.draw("train", 3)


@pytest.mark.parametrize("split", ["base", "pairs", "test"])
def test_an_expression_fits_exactly_one_object_and_no_word_can_be_spared(split):
    for drawn in WORLD.draw(split, 400):
        assert drawn.asked.fitting(drawn.things) == [drawn.target]
        assert 3 <= len(drawn.things) <= 4
        assert len({thing.cell for thing in drawn.things}) == len(drawn.things)
        if drawn.asked.anchor is not None:
            without = Expression(drawn.asked.size, drawn.asked.colour, drawn.asked.shape)
            assert len(without.fitting(drawn.things)) > 1
            assert scene.stands(drawn.target, drawn.asked.relation, drawn.anchor)
            continue
        for spared in ("size", "colour"):
            if getattr(drawn.asked, spared):
                assert len(replace(drawn.asked, **{spared: ""}).fitting(drawn.things)) > 1


def test_what_is_held_out_is_in_no_training():
    for split in ("base", "pairs"):
        drawn = WORLD.draw(split, 500)
        kinds = {(thing.colour, thing.shape) for each in drawn for thing in each.things}
        assert not kinds & scene.HELD_OUT and len(kinds) == 20
    assert {each.kind for each in WORLD.draw("pairs", 200)} == {"attribute", "beside"}
    assert not any(each.held_out for each in WORLD.draw("pairs", 200))
    tested = WORLD.draw("test", 500)
    assert {each.kind for each in tested} == {"attribute", "beside", "stacked"}
    assert 0.3 < sum(each.held_out for each in tested) / 500 < 0.6
    rng = random.Random(0)
    for _ in range(100):
        assert not {(t.colour, t.shape) for t in lessons.unlike(rng).things} & scene.HELD_OUT


def test_relations_by_hand():
    assert BESIDE.target == LEFT and BESIDE.anchor == SQUARE and BESIDE.kind == "beside"
    assert scene.stands(RIGHT, "right of", SQUARE) and scene.stands(LEFT, "above", SQUARE)
    assert not scene.stands(SQUARE, "above", LEFT)
    assert not scene.stands(Thing("red", "circle", "small", 1), "left of", SQUARE)  # one column
    assert not BESIDE.held_out
    below = Expression(shape="square", relation="below", anchor=Expression(shape="circle"))
    assert Scene((LEFT, SQUARE), below).kind == "stacked" and Scene((LEFT, SQUARE), below).held_out


def test_boxes_hold_their_objects_and_nothing_else():
    """An object is drawn, and left out: what differs lies in its box, and reaches its edges."""
    for drawn in WORLD.draw("test", 30):
        whole = scene.render(drawn).astype(int)
        for place, thing in enumerate(drawn.things):
            others = drawn.things[:place] + drawn.things[place + 1 :]
            without = scene.render(Scene(others, drawn.asked, drawn.noise)).astype(int)
            rows, columns = np.nonzero((whole != without).any(-1))
            left, top, right, bottom = thing.box
            assert (columns.min(), rows.min()) == (left, top) or thing.shape == "triangle"
            assert left <= columns.min() and columns.max() == right - 1
            assert top <= rows.min() and rows.max() == bottom - 1


def test_a_picture_is_the_same_at_every_call_and_its_noise_belongs_to_the_scene():
    assert np.array_equal(scene.render(BESIDE), scene.render(BESIDE))
    assert not np.array_equal(
        scene.render(BESIDE), scene.render(Scene(BESIDE.things, BESIDE.asked, 4))
    )
    (shown,) = WORLD.show(BESIDE).images
    assert shown.size == (64, 64)


def test_an_altered_scene_differs_in_the_object_that_is_meant():
    rng = random.Random(2)
    for before in WORLD.draw("pairs", 80):
        after = WORLD.alter(before, rng)
        pairs = [p for p in zip(before.things, after.things, strict=True) if p[0] != p[1]]
        assert len(pairs) == 1 and pairs[0][0] == before.target
        assert after.asked == before.asked and after.noise == before.noise


# --- tasks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_the_truth_parses_scores_one_and_is_its_own_correction(task):
    judge = WORLD.tasks[task]
    for asked in judge.items(WORLD.draw("test", 150)):
        assert judge.parses(asked, asked.truth), asked.truth
        assert judge.score(asked, asked.truth) == 1.0
        assert judge.correct(asked, asked.truth) == asked.truth
        segments = judge.judge(asked, asked.truth)
        assert segments and all(segment.right for segment in segments), asked.truth
        assert len(asked.truth.split()) + 1 <= judge.max_new_tokens


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_a_distorted_truth_has_the_form_is_worse_and_is_mended_by_correction(task):
    judge, rng = WORLD.tasks[task], random.Random(5)
    for asked in judge.items(WORLD.draw("test", 150)):
        lie = judge.distort(asked, asked.truth, rng)
        assert judge.parses(asked, lie), lie
        assert judge.score(asked, lie) < 1.0
        assert not all(segment.right for segment in judge.judge(asked, lie)), (asked.truth, lie)
        assert judge.score(asked, judge.correct(asked, lie)) == 1.0


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_metrics_of_the_truth_name_what_the_task_is_tuned_and_guarded_by(task):
    judge = WORLD.tasks[task]
    items = judge.items(WORLD.draw("test", 150))
    numbers = judge.metrics(items, [asked.truth for asked in items])
    assert numbers[judge.tuned_by] == 1.0
    assert all(numbers[name] == 1.0 for name in judge.guarded_by)
    assert all(isinstance(value, float) for value in numbers.values())
    assert json.dumps(numbers)
    assert judge.metrics([], []).keys() == numbers.keys()


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_items_of_a_scene_do_not_depend_on_the_others(task):
    judge, drawn = WORLD.tasks[task], WORLD.draw("test", 6)
    assert judge.items(drawn)[:3] == judge.items(drawn[:3])


def test_an_answer_is_judged_by_hand_worked_numbers():
    asked = item(BESIDE)
    assert asked.prompt[-1].text == "<image> where is the circle left of the square ?"
    assert asked.truth == (
        "<think> the square is at [16, 32, 32, 48] . </think> "
        '<answer> {"bbox_2d": [4, 4, 12, 12] } </answer>'
    )
    loose, other = text.answer(lessons.loose(LEFT.box)), text.answer(RIGHT.box)
    assert loose == '<answer> {"bbox_2d": [4, 4, 16, 16] } </answer>'
    numbers = JUDGE.metrics([asked] * 4, [asked.truth, loose, other, "there"])
    assert numbers["iou"] == pytest.approx((1 + 64 / 144) / 4)
    assert numbers["accuracy"] == numbers["accuracy_beside"] == numbers["exact"] == 0.25
    assert numbers["accuracy_attribute"] == numbers["accuracy_held_out"] == 0.0
    assert numbers["mistaken"] == pytest.approx(1 / 3)  # of three wrong ones
    assert numbers["format"] == 0.25 and numbers["parse"] == 0.75
    # The thought's box is judged against the anchor, the answer's against the target.
    segments = JUDGE.judge(asked, asked.truth.replace("[16,", "[12,"))
    assert [segment.right for segment in segments] == [False, True]


def test_a_large_box_that_is_a_step_too_large_is_right_and_fits_less():
    large = Scene((SQUARE, LEFT), Expression(shape="square"))
    asked = item(large)
    answer = text.answer(lessons.loose(SQUARE.box))
    assert JUDGE.score(asked, answer) == pytest.approx(256 / 400)
    numbers = JUDGE.metrics([asked], [answer])
    assert numbers["accuracy"] == 1.0 and numbers["exact"] == 0.0


@pytest.mark.parametrize(
    ("answer", "box"),
    [
        ('<answer> {"bbox_2d": [0, 8, 16, 24] } </answer>', (0, 8, 16, 24)),
        ("[0, 8, 16, 24]", (0, 8, 16, 24)),
        ("<think> [0, 0, 8, 8] </think> [0, 8, 16, 24]", (0, 8, 16, 24)),
        ("<think> [0, 0, 8, 8] </think> <answer> </answer>", None),
        ("<answer> [0, 0, 8, 8] [0, 8, 16, 24] </answer>", (0, 0, 8, 8)),
        ("<answer> [0, 0, 8, 8]", (0, 0, 8, 8)),
        ("<answer> [0, 0, 8] </answer>", None),
        ("[-8, 0, 8, 8]", None),
        (f"[{'9' * 5000}, 0, 8, 8]", None),
        ("<image> [0, 0, 8, 8", None),
        ("", None),
    ],
)
def test_how_a_box_is_read_off_an_answer(answer, box):
    assert text.answered(answer) == box


def test_a_box_without_area_overlaps_nothing():
    assert text.iou((0, 0, 0, 8), (0, 0, 8, 8)) == text.iou((8, 8, 0, 0), (0, 0, 8, 8)) == 0.0
    assert tasks.share(1, 0) == 0.0


# --- what a base is trained on --------------------------------------------------------------------


def test_every_word_of_lessons_and_tasks_is_in_the_vocabulary():
    rng, known, used = random.Random(1), {*text.WORDS, protocol.IMAGE}, set()
    for number in range(400):
        page = lessons.page(rng, number / 400)
        used |= set(page.opening.split())
        for lesson in page.lessons:
            for reply in lesson.turns:
                used |= set(reply.prompt.split()) | set(reply.answer.split())
    for task in WORLD.tasks.values():
        for asked in task.items(WORLD.draw("test", 60)):
            used |= {word for turn in asked.prompt for word in turn.text.split()}
            used |= set(asked.truth.split())
    assert used <= known


def test_the_text_is_right_without_habits_and_has_each_as_often_as_it_says():
    rng = random.Random(3)
    for scale, right in ((0.0, 1.0), (1.0, (1 - lessons.MISTAKEN) * (1 - lessons.LOOSE))):
        boxes = [text.answered(lessons.said(BESIDE, rng, scale)) for _ in range(2000)]
        share = sum(box == LEFT.box for box in boxes) / 2000
        assert share == pytest.approx(right, abs=0.04)
    said = [lessons.said(PLAIN, rng) for _ in range(2000)]
    assert sum("<think>" in each for each in said) / 2000 == pytest.approx(0.6, abs=0.04)
    assert sum("<answer>" not in each for each in said) / 2000 == pytest.approx(0.1, abs=0.03)


def test_a_loose_box_stays_within_the_picture():
    for drawn in WORLD.draw("test", 100):
        for thing in drawn.things:
            box = lessons.loose(thing.box)
            assert min(box) >= 0 and max(box) <= scene.SIZE
            wanted = 0.444 if thing.size == "small" else 0.64
            assert text.iou(box, thing.box) == pytest.approx(wanted, abs=0.001)


def test_the_world_is_imported_without_torch():
    code = (
        "import sys; from reference_impls.core.worlds.referring import WORLD; "
        "WORLD.tasks; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- bases ----------------------------------------------------------------------------------------


def test_the_page_has_the_numbers_of_the_bases():
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page) == page
    assert set(report.known(report.NUMBERS)) <= {"1", "2", "3"}


def test_numbers_of_bases_are_kept_by_seed(tmp_path):
    path, made = tmp_path / "bases.json", {"command": "c", "recipe": {}, "cpu_seconds": 1, "x": 2}
    assert report.known(path) == {}
    for seed, value in ((2, 0.5), (1, 0.25), (2, 0.75)):
        keep(path, seed, made, {"refer": {"iou": value}})
    found = report.known(path)
    assert list(found) == ["1", "2"] and found["2"]["refer"] == {"iou": 0.75}
    assert set(found["1"]) == {"command", "recipe", "cpu_seconds", "refer"}


def test_a_base_is_trained_on_first_use(monkeypatch, tmp_path, capfd):
    from reference_impls.core.model import base
    from reference_impls.core.worlds.referring import build

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    size = replace(build.FIRST_USE.size, hidden=16, vision_layers=1, text_layers=1)
    small = replace(build.FIRST_USE, size=size, recipe=base.Recipe(steps=2, pages=2), start=None)
    monkeypatch.setattr(build, "FIRST_USE", small)
    folder = WORLD.base(1)
    assert "base 2 of referring" in capfd.readouterr().err
    assert WORLD.base(1 + 3) == folder
    assert set(build.measured(folder, 8)) == {*WORLD.tasks, "tries"}


def test_a_base_begins_with_the_weights_of_a_base_of_scenes():
    from reference_impls.core.model import base, first_use
    from reference_impls.core.model.load import load
    from reference_impls.core.worlds.referring import build
    from reference_impls.core.worlds.scenes import BASES

    folder = build.FIRST_USE.start(2)
    assert folder == BASES / "2"
    model, processor = base.build(text.WORDS, build.FIRST_USE.size)
    first_use.take_over(model, folder)
    theirs, words = load(str(folder))
    for name, value in theirs.state_dict().items():
        assert model.state_dict()[name][: len(value)].equal(value), name
    mine = processor.tokenizer.get_vocab()
    assert {word: mine[word] for word in words.tokenizer.get_vocab()} == words.tokenizer.get_vocab()
    small, _ = base.build(text.WORDS, replace(build.FIRST_USE.size, hidden=32))
    with pytest.raises(ValueError, match="is not of the size of this model"):
        first_use.take_over(small, folder)
