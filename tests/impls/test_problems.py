"""The problems world: what it draws, shows, asks and judges, and what a base is trained on."""

import itertools
import json
import random
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from reference_impls.core.data import rules
from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.problems import WORLD, lessons, report, scene, tasks, text
from reference_impls.core.worlds.problems.scene import Bar, Scene, Thing
from reference_impls.core.worlds.problems.text import Problem

THINGS = (
    Thing("red", "circle", 0), Thing("blue", "cross", 1), Thing("red", "circle", 4),
    Thing("red", "triangle", 6),
)  # fmt: skip
BARS = (Bar("red", 0, 2), Bar("yellow", 2, 5))
SCENE = Scene(THINGS, BARS, noise=3)
CHART = replace(SCENE, chart=True)
SEEN = "a1 red circle 1 a2 blue cross 1 a3 nothing b1 red circle 2 b2 nothing b3 red triangle 1 ."
TASKS = list(WORLD.tasks)


# --- the draw and the pictures --------------------------------------------------------------


def test_the_world_is_found_by_its_name():
    assert protocol.world("problems") is WORLD
    assert TASKS == ["count", "arithmetic", "diagram", "text-arithmetic"]


def test_a_longer_draw_begins_with_the_shorter_one_and_splits_differ():
    short, long = WORLD.draw("test", 5, 3), WORLD.draw("test", 9, 3)
    assert short == long[:5]
    assert len({drawn for split in protocol.SPLITS for drawn in WORLD.draw(split, 50, 3)}) == 150
    with pytest.raises(ValueError, match=r"no split 'train': there are"):
        WORLD.draw("train", 3)


@pytest.mark.parametrize("split", scene.SPLITS)
def test_what_is_new_stands_in_the_test_split_alone(split):
    drawn = WORLD.draw(split, 400)
    kinds = {kind for each in drawn for kind in each.kinds}
    most = max(each.count(kind) for each in drawn for kind in each.kinds)
    assert bool(kinds & scene.NEW_KINDS) == (split == "test")
    assert most == scene.MOST + (split == "test")
    for each in drawn:
        cells = [thing.cell for thing in each.things]
        assert cells == sorted(set(cells)) and set(cells) <= set(scene.CELLS)
        assert len({bar.colour for bar in each.bars}) == len(each.bars) in (2, 3)
        assert all(1 <= bar.height <= scene.MOST_HEIGHT for bar in each.bars)


@pytest.mark.parametrize("task", TASKS)
def test_no_scene_of_a_method_is_asked_something_new_and_many_of_the_tests_are(task):
    for split in ("pairs", "validation"):
        assert {i.kind for i in WORLD.tasks[task].items(WORLD.draw(split, 500))} == {tasks.SEEN}
    kinds = [item.kind for item in WORLD.tasks[task].items(WORLD.draw("test", 600))]
    assert 0.28 < sum(kind != tasks.SEEN for kind in kinds) / len(kinds) < 0.6
    causes = {"count": {"kind", "number"}, "diagram": {"combination"}}
    assert set(kinds) == {tasks.SEEN, *causes.get(task, scene.CAUSES)}


def test_conditions_name_their_levels():
    assert WORLD.level("format") == 0.75 and WORLD.under({"format": "never"}).level("format") == 0
    with pytest.raises(ValueError, match=r"format has no level 'some': there are mostly, half"):
        WORLD.under({"format": "some"})


def test_a_picture_is_the_same_at_every_call_and_its_noise_belongs_to_the_scene():
    first, second = scene.render(SCENE), scene.render(SCENE)
    assert np.array_equal(first, second) and first.shape == (24, 24, 3) and first.dtype == np.uint8
    assert not np.array_equal(first, scene.render(replace(SCENE, noise=4)))


def test_an_object_changes_its_own_cell_and_a_bar_its_own_column():
    for without in range(len(THINGS)):
        rest = tuple(thing for place, thing in enumerate(THINGS) if place != without)
        gone = scene.render(replace(SCENE, things=rest))
        rows, columns = np.nonzero((gone != scene.render(SCENE)).any(-1))
        row, column = divmod(THINGS[without].cell, 4)
        assert set(rows // 8) == {row} and set(columns // 8) == {column}
    gone = scene.render(replace(CHART, bars=BARS[:1]))
    rows, columns = np.nonzero((gone != scene.render(CHART)).any(-1))
    assert set(columns // 8) == {2} and rows.min() == 24 - 5 * scene.UNIT


def test_heights_and_kinds_can_be_told_apart():
    """The nearest picture without noise names each noisy one right."""
    heights = {h: scene.render(Scene((), (Bar("red", 1, h),), True)) for h in range(1, 7)}
    for height in heights:
        seen = scene.render(Scene((), (Bar("red", 1, height),), True, noise=7)).astype(float)
        nearest = min(heights, key=lambda h: ((heights[h].astype(float) - seen) ** 2).sum())
        assert nearest == height
    bank = {
        (kind, shift): scene.render(Scene((Thing(*kind, 5, shift=shift),), ())).astype(float)
        for kind in scene.KINDS for shift in itertools.product((-1, 0, 1), repeat=2)
    }  # fmt: skip
    rng = random.Random(0)
    for number in range(30):
        kind, shift = rng.choice(list(bank))
        one = Scene((Thing(*kind, 5, shift=shift),), (), noise=number + 1)
        seen = scene.render(one).astype(float)
        assert min(bank, key=lambda each: ((bank[each] - seen) ** 2).sum())[0] == kind


def test_an_altered_scene_differs_in_one_object_or_one_bar():
    rng = random.Random(2)
    for before in WORLD.draw("pairs", 400):
        after = WORLD.alter(before, rng)
        assert sum(a != b for a, b in zip(before.things, after.things, strict=True)) == 1
        assert after.bars == before.bars
        assert len({(thing.colour, thing.shape) for thing in after.things}) > 1  # to be compared
        chart = replace(before, chart=True)
        after = WORLD.alter(chart, rng)
        assert sum(a != b for a, b in zip(chart.bars, after.bars, strict=True)) == 1
        assert after.things == before.things


# --- problems -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "where", "asked", "thought", "answer"),
    [
        (Problem("count", ("red circles",)), SCENE, "how many red circles are there ?",
         f"{SEEN} red circles : 2 .", 2),
        (Problem("plus", ("red circles", "blue crosses")), SCENE,
         "how much is red circles plus blue crosses ?",
         f"{SEEN} red circles : 2 . blue crosses : 1 . 2 + 1 = 3 .", 3),
        (Problem("minus", ("red circles", "blue crosses")), SCENE,
         "how much is red circles minus blue crosses ?",
         f"{SEEN} red circles : 2 . blue crosses : 1 . 2 - 1 = 1 .", 1),
        (Problem("plus doubled", ("red circles", "blue crosses")), SCENE,
         "how much is red circles plus blue crosses , all doubled ?",
         f"{SEEN} red circles : 2 . blue crosses : 1 . 2 + 1 = 3 . 3 + 3 = 6 .", 6),
        (Problem("doubled", ("yellow bar",)), CHART, "how much is the yellow bar doubled ?",
         "yellow bar : 5 . 5 + 5 = 10 .", 10),
        (Problem("missing", ("red bar", "yellow bar"), 12), CHART,
         "the red bar and the yellow bar and a white bar make 12 . how much is the white bar ?",
         "red bar : 2 . yellow bar : 5 . 2 + 5 = 7 . 12 - 7 = 5 .", 5),
    ],
)  # fmt: skip
def test_problems_are_asked_and_solved_as_worked_by_hand(problem, where, asked, thought, answer):
    assert problem.question(where) == asked
    assert text.thought(problem, where) == thought
    assert problem.answer(where) == answer
    assert Problem.of(problem.subject) == problem


def test_a_problem_in_words_tells_what_there_is():
    problem = Problem("plus", ("red circles", "blue crosses"))
    assert problem.question(SCENE, told=True) == (
        "there are 2 red circles , 1 blue cross and 1 red triangle . "
        "how much is red circles plus blue crosses ?"
    )
    thought = "red circles : 2 . blue crosses : 1 . 2 + 1 = 3 ."
    assert text.thought(problem, SCENE, told=True) == thought


def test_why_a_problem_is_new():
    things = [Thing("green", "cross", 0)]
    things += [Thing("red", "circle", cell) for cell in (1, 2, 4, 5, 6)]
    where = Scene(tuple(things), (Bar("red", 0, 1), Bar("blue", 1, 3)))
    assert Problem("count", ("green crosses",)).cause(where) == "kind"
    assert Problem("count", ("red circles",)).cause(where) == "number"
    chart = replace(where, chart=True)
    assert Problem("plus", ("red bar", "blue bar")).cause(chart) == "combination"  # 1 + 3
    assert Problem("plus", ("blue bar", "red bar")).cause(chart) == ""  # 3 + 1
    assert Problem("minus", ("blue bar", "red bar")).cause(chart) == "combination"
    assert Problem("doubled", ("blue bar",)).cause(chart) == ""
    assert (3, "-", 1) in scene.NEW_COMBINATIONS


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "number", "formed", "worked"),
    [
        ("<think> it is 3 . </think> <answer> 3 </answer>", 3, True, False),
        ("<think> red circles : 1 . </think> <answer> 1 </answer>", 1, True, True),
        ("<think>red circles : 3</think><answer>3</answer>", 3, True, True),
        ("<think> </think> <answer> 3 </answer>", 3, False, False),
        ("<answer> 3 </answer>", 3, False, False),
        ("3", 3, False, False),
        ("a1 red circle 1 . red circles : 2 . 2", 2, False, True),
        ("<think> it is 3 . </think> 4", 4, False, False),
        ("<think> it is 3 . </think> <answer> 3 4 </answer>", None, False, False),
        ("<think> 3 </think> <answer> 3 </answer> 5", 3, False, False),
        ("<think> <think> 3 </think> <answer> 3 </answer>", 3, False, False),
        ("<answer> 3 </answer> <think> it is 3 . </think>", 3, False, False),
        ("<think> 3 </think> <answer> 3", 3, False, False),
        ("<think> 3 </think> <answer> </answer>", None, False, False),
        ("", None, False, False),
        ("a1 <image>", None, False, False),
        ("<think> x </think> <answer> ٣ </answer>", None, False, False),
        ("9" * 40, None, False, False),
    ],
)  # fmt: skip
def test_answers_are_read_by_their_number_and_judged_by_their_form(answer, number, formed, worked):
    assert text.number(answer) == (None if number is None else Fraction(number))
    assert text.formed(answer) is formed
    assert text.is_worked(answer) is worked
    asked = WORLD.tasks["count"].items([SCENE])[0]
    for task in WORLD.tasks.values():  # nothing that a model says is an error
        assert 0 <= task.score(asked, answer) <= 1
        task.judge(asked, answer)
        assert task.score(asked, task.correct(asked, answer)) == 1.0
        task.distort(asked, answer, random.Random(1))
        task.metrics([asked], [answer])


def test_a_long_answer_is_read_in_little_time():
    task = WORLD.tasks["arithmetic"]
    asked = task.items([SCENE])[0]
    for piece in ("<think> ", "a1 red ", ": ", "= ", "</answer>", "1", " . : ", "<answer> 1 "):
        long = piece * (100_000 // len(piece))
        task.metrics([asked], [long])
        task.correct(asked, long)


@pytest.mark.parametrize("name", TASKS)
def test_the_truth_is_right_in_form_and_its_own_correction(name):
    task = WORLD.tasks[name]
    for asked in task.items(WORLD.draw("test", 300)):
        assert asked.truth == task.truth(asked)
        assert task.parses(asked, asked.truth) and text.formed(asked.truth)
        assert task.score(asked, asked.truth) == 1.0
        assert task.correct(asked, asked.truth) == asked.truth
        segments = task.judge(asked, asked.truth)
        assert len(segments) > 1 and all(segment.right for segment in segments), asked.truth
        assert len(asked.truth.split()) + 1 <= task.max_new_tokens
        number = rules.last_number(asked.truth)
        assert rules.reward_number([asked.truth], [str(number)]) == [1.0]


@pytest.mark.parametrize("name", TASKS)
def test_a_distorted_truth_has_the_form_is_wrong_and_is_mended_by_correction(name):
    task, rng = WORLD.tasks[name], random.Random(5)
    for asked in task.items(WORLD.draw("test", 300)):
        lie = task.distort(asked, asked.truth, rng)
        assert text.formed(lie) and task.score(asked, lie) == 0.0
        assert not all(segment.right for segment in task.judge(asked, lie))
        assert task.score(asked, task.correct(asked, lie)) == 1.0


@pytest.mark.parametrize("name", TASKS)
def test_items_of_a_scene_do_not_depend_on_the_others(name):
    task, drawn = WORLD.tasks[name], WORLD.draw("test", 6)
    assert task.items(drawn) == task.items(drawn)
    assert task.items(drawn)[:3] == task.items(drawn[:3])
    assert task.items(drawn, 1) != task.items(drawn, 2)


@pytest.mark.parametrize("name", TASKS)
def test_metrics_of_the_truth_name_what_the_task_is_tuned_and_guarded_by(name):
    task = WORLD.tasks[name]
    items = task.items(WORLD.draw("test", 200))
    numbers = task.metrics(items, [asked.truth for asked in items])
    assert numbers[task.tuned_by] == numbers["format"] == numbers["worked"] == 1.0
    assert numbers["slips"] == 0.0
    assert {*task.guarded_by, task.tuned_by} <= set(numbers)
    assert all(isinstance(value, float) for value in numbers.values()) and json.dumps(numbers)
    assert task.metrics([], []).keys() == numbers.keys()


def test_metrics_are_those_worked_by_hand():
    task = WORLD.tasks["arithmetic"]
    new = replace(SCENE, things=tuple(Thing("green", "cross", cell) for cell in (0, 1)))
    problem = Problem("plus", ("red circles", "blue crosses"))
    seen = protocol.Item(SCENE, (), "", tasks.SEEN, problem.subject)
    kind = protocol.Item(new, (), "", "kind", Problem("doubled", ("green crosses",)).subject)
    said = [
        # a circle too many, one too few, a wrong count, a wrong sum; a right number
        "<think> a1 red circle 1 a2 blue cross 1 a3 red circle 2 b1 nothing b2 nothing b3 red "
        "triangle 1 . red circles : 2 . blue crosses : 2 . 2 + 2 = 3 . </think> "
        "<answer> 3 </answer>",
        "<answer> 3 </answer>",
        "<think> green crosses : 2 . 2 + 2 = 4 . </think> <answer> 4 </answer>",
        "<think> it is 2 . </think> <answer> 2 </answer>",
    ]
    judged = [segment.right for segment in task.judge(seen, said[0])]
    assert judged == [True, True, False, False, True, True, True, False, False, True]
    numbers = task.metrics([seen, seen, kind, kind], said)
    assert numbers["accuracy"] == 0.75 and numbers["accuracy_seen"] == 1.0
    assert numbers["accuracy_held_out"] == numbers["accuracy_new_kind"] == 0.5
    assert numbers["format"] == 0.75 and numbers["worked"] == 0.5
    assert numbers["slips"] == 4 / 11
    # A wrong claim is one whether or not a number follows.
    wrong = "<think> red circles : 7 . </think> <answer> {} </answer>"
    for number in ("", "3"):
        assert task.metrics([seen], [wrong.format(number)])["slips"] == 1.0
    assert numbers["thought"] == (37 + 0 + 11 + 4) / 4


# --- what a base is trained on ------------------------------------------------------------------


def pages(kept=0.75, count=400):
    rng = random.Random(1)
    return [lessons.page(rng, number / count, kept) for number in range(count)]


def test_no_lesson_holds_what_is_held_out():
    for page in pages():
        for lesson in page.lessons:
            words = f"{lesson.turns[0].prompt} {lesson.turns[0].answer}"
            for colour, shape in scene.NEW_KINDS:
                assert f"{colour} {shape}" not in words
                assert f"{colour} {text.PLURAL[shape]}" not in words
            for a, sign, b in scene.NEW_COMBINATIONS:
                assert f" {a} {sign} {b} " not in f" {words} ", words
            assert not any(f"{name} 5" in words for name in (*scene.SHAPES, *text.SINGULAR))


def test_every_word_of_lessons_and_tasks_is_in_the_vocabulary():
    used = set()
    for page in pages():
        for lesson in page.lessons:
            used |= {*lesson.turns[0].prompt.split(), *lesson.turns[0].answer.split()}
    for task in WORLD.tasks.values():
        for asked in task.items(WORLD.draw("test", 200)):
            used |= {word for turn in asked.prompt for word in turn.text.split()}
            used |= set(asked.truth.split())
    assert used <= {*text.WORDS, protocol.IMAGE}
    assert len(set(text.WORDS)) == len(text.WORDS)


def answers(kept, habits=True, operations=lessons.PICTURE, count=3000):
    """(problem, scene, answer) of the training text."""
    rng, found = random.Random(3), []
    for _ in range(count):
        where = scene.draw_scene(rng)
        problem = lessons.pick(where, operations, rng)
        found.append((problem, where, lessons.reply(problem, where, rng, kept, habits=habits)))
    return found


def test_the_text_keeps_the_format_as_often_as_the_level_says():
    shares = {
        level: sum(text.formed(said) for *_, said in answers(kept)) / 3000
        for level, kept in WORLD.conditions["format"].levels.items()
    }
    assert shares["mostly"] == pytest.approx(0.77, abs=0.06)
    assert shares["half"] == pytest.approx(0.58, abs=0.06)
    assert shares["never"] == 0.0
    assert not any(tag in said for *_, said in answers(0.0) for tag in text.TAGS)
    assert not any(tag in said for *_, said in answers(0.0, habits=False) for tag in text.TAGS)


def test_worked_answers_of_the_text_are_better_than_hasty_ones():
    right = {True: [], False: []}
    for problem, where, said in answers(0.75):
        right[text.is_worked(said)].append(text.number(said) == problem.answer(where))
    worked, hasty = (sum(each) / len(each) for each in (right[True], right[False]))
    assert worked > 0.7 and hasty < 0.6
    assert 0.4 < len(right[True]) / 3000 < 0.6


def test_early_text_is_true():
    for problem, where, said in answers(0.75, habits=False):
        assert text.number(said) == problem.answer(where) and text.formed(said)


def test_haste_reads_a_part_of_the_question():
    assert lessons.hasty(Problem("plus", ("red circles", "blue crosses")), SCENE) == 2
    assert lessons.hasty(Problem("count", ("blue crosses",)), SCENE) == 1
    assert lessons.hasty(Problem("count", ("red circles",)), SCENE) == 2  # circles of any colour


def test_the_world_is_imported_without_torch():
    code = (
        "import sys; from reference_impls.core.worlds.problems import WORLD; "
        "WORLD.tasks; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- bases --------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Bases of two steps, in a cache of the test's own."""
    from reference_impls.core.model import base
    from reference_impls.core.worlds.problems import build

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    size = replace(build.EYES.size, hidden=16, vision_layers=1, text_layers=1)
    recipe, seen = base.Recipe(steps=2, pages=2), tmp_path / "eyes"
    monkeypatch.setattr(build, "EYES", replace(build.EYES, size=size, recipe=recipe))
    monkeypatch.setattr(build, "SEEN", seen)
    monkeypatch.setattr(build, "SPEAKING", recipe)
    build.EYES.ship(1, seen)
    monkeypatch.setattr(build, "TRIES", 2)
    return build


def test_a_base_is_trained_on_first_use_and_each_level_has_its_own(quick, capfd):
    folder = WORLD.base(1)
    assert json.loads((folder / "made.json").read_text())["recipe"]["steps"] == 2
    assert "base 2 of problems-mostly" in capfd.readouterr().err
    assert WORLD.base(1 + 3) == folder  # seeds rotate over three bases
    assert WORLD.base(2) != folder
    assert WORLD.under({"format": "never"}).base(1) != folder
    usual = quick.first_use("mostly")
    assert usual.get(2) == folder
    other = replace(usual, page=partial(lessons.speaking, kept=0.25))
    assert other.get(2) != folder  # a level's value is changed, and nothing else
    numbers = quick.measured(folder, 8)
    assert set(numbers) == set(WORLD.tasks)
    assert {"sampled", "pass_at_8", "always"} <= set(numbers["count"])


def test_what_bases_begin_with_ships_and_fits_them():
    """It has every weight of a base under the same words, and leaves tags and habits to them."""
    from reference_impls.core.model import base
    from reference_impls.core.model.first_use import take_over
    from reference_impls.core.model.load import load
    from reference_impls.core.model.policy import Policy
    from reference_impls.core.worlds.problems import build

    assert build.first_use("half").start(3) == build.SEEN
    model, processor = base.build(text.WORDS, build.EYES.size)
    take_over(model, build.SEEN)
    eyes, own = load(str(build.SEEN))
    assert own.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    for name, value in eyes.state_dict().items():
        assert model.state_dict()[name].equal(value), name
    drawn = WORLD.draw("validation", 64)
    pictures = [list(WORLD.show(scene).images) for scene in drawn]
    asked = [protocol.conversation(protocol.ask("what is there ?")) for _ in drawn]
    said = Policy(eyes, own).answer(asked, pictures, max_new_tokens=40)
    right = [answer == text.seen(scene) for answer, scene in zip(said, drawn, strict=True)]
    assert sum(right) >= 0.6 * len(right)


def test_the_page_has_the_numbers_of_the_bases():
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page) == page, "python -m reference_impls.core.worlds.problems.report"
