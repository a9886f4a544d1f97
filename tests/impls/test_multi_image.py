"""The multi-image world: what it draws, shows, asks and judges, and what a base is trained on."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.multi_image import WORLD, lessons, scene, tasks
from reference_impls.core.worlds.multi_image.scene import Scene, Thing, text

FIRST = (Thing("red", "circle", 0), Thing("blue", "square", 5))
SECOND = (Thing("green", "circle", 1),)
THIRD = (Thing("blue", "square", 4), Thing("white", "cross", 5))
SCENE = Scene((FIRST, SECOND, THIRD), "sequence", 3)


def item(task, number, of=SCENE):
    """A question about one picture of a scene."""
    found = (
        found for seed in range(100) for found in WORLD.tasks[task].items([of], seed)
        if of.named_in(found.subject) == [number]
    )  # fmt: skip
    return next(found)


# --- the draw and the pictures --------------------------------------------------------------


def test_the_world_is_found_by_its_name():
    assert protocol.world("multi-image") is WORLD


def test_a_longer_draw_begins_with_the_shorter_one_and_splits_differ():
    short, long = WORLD.draw("test", 5, 3), WORLD.draw("test", 9, 3)
    assert short == long[:5]
    assert len({drawn for split in protocol.SPLITS for drawn in WORLD.draw(split, 50, 3)}) == 150


def test_scenes_have_two_to_four_pictures_of_one_to_three_different_objects():
    drawn = WORLD.draw("test", 600)
    assert {each.layout for each in drawn} == set(scene.LAYOUTS)
    for each in drawn:
        counts = {2} if each.layout == "inset" else {2, 3, 4}
        assert len(each.pictures) in counts
        for things in each.pictures:
            assert 1 <= len(things) <= 3 and len({thing.name for thing in things}) == len(things)
            cells = [thing.cell for thing in things]
            assert cells == sorted(set(cells)) and set(cells) <= set(scene.CELLS)
    shared = [bool(lessons.shared(each, 0, 1)) for each in drawn]
    assert 0.35 < sum(shared) / len(shared) < 0.75


def test_conditions_fix_layout_and_number():
    for layout in scene.LAYOUTS:
        for count in ("2", "3", "4"):
            drawn = WORLD.under({"layout": layout, "images": count}).draw("pairs", 20)
            assert {each.layout for each in drawn} == {layout}
            number = 2 if layout == "inset" else int(count)
            assert {len(each.pictures) for each in drawn} == {number}
    with pytest.raises(ValueError, match=r"layout has no level 'row': there are mixed, sequence"):
        WORLD.under({"layout": "row"})
    with pytest.raises(ValueError, match=r"no split 'train': there are"):
        WORLD.draw("train", 3)


@pytest.mark.parametrize(("layout", "count"), [("sequence", 3), ("grid", 1), ("inset", 1)])
def test_a_layout_shows_as_many_images_as_its_prompt_has_markers(layout, count):
    pictures = SCENE.pictures if layout != "inset" else SCENE.pictures[:2]
    laid = Scene(pictures, layout, 3)
    shown = WORLD.show(laid)
    assert len(shown.images) == count
    assert all(image.size == (32, 32) for image in shown.images)
    for task in WORLD.tasks.values():
        for asked in task.items([laid]):
            images = len(WORLD.show(asked.scene).images)
            assert protocol.images_shown(asked.prompt) == images


def test_pictures_stand_where_their_places_say():
    """Each picture is shown with its objects, and without them: what differs lies in its place."""
    for layout, pictures in (("sequence", SCENE.pictures), ("grid", SCENE.pictures),
                             ("inset", SCENE.pictures[:2])):  # fmt: skip
        whole = scene.render(Scene(pictures, layout, 3))
        for number in range(len(pictures)):
            emptied = [() if place == number else things for place, things in enumerate(pictures)]
            without = scene.render(Scene(tuple(emptied), layout, 3))
            place = Scene(pictures, layout, 3).place(number)
            for image, (one, other) in enumerate(zip(whole, without, strict=True)):
                rows, columns = np.nonzero((one != other).any(-1))
                assert (len(rows) > 0) == (image == place.image)
                if len(rows):
                    left, top, right, bottom = (32 * edge for edge in place.box)
                    assert left <= columns.min() and columns.max() < right
                    assert top <= rows.min() and rows.max() < bottom


def test_a_picture_is_the_same_at_every_call_and_its_noise_belongs_to_the_scene():
    first, second = scene.render(SCENE), scene.render(SCENE)
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    other = scene.render(Scene(SCENE.pictures, "sequence", 4))
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == (32, 32, 3) and first[0].dtype == np.uint8


def test_kinds_can_be_told_apart():
    """The nearest of all kinds and shifts, without noise, names each noisy object right."""

    def shown(kind, shift, noise):
        thing = Thing(*kind, 5, shift=shift)
        images = scene.render(Scene(((thing,), ()), "grid", noise))
        return images[0][8:16, 8:16].astype(float)

    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    bank = [(kind, shown(kind, shift, 0)) for kind in scene.KINDS for shift in shifts]
    rng, right = random.Random(0), 0
    for number in range(40):
        kind = rng.choice(scene.KINDS)
        seen = shown(kind, rng.choice(shifts), number + 1)
        right += min(bank, key=lambda each: ((each[1] - seen) ** 2).sum())[0] == kind
    assert right >= 39


def test_an_object_has_one_scale_in_every_layout():
    """The same picture in a row, in the first tile of a collage and in the middle of another one
    has the same pixels before the noise."""
    tile = scene.tile(FIRST)
    for layout, (top, left) in (("sequence", (8, 8)), ("grid", (0, 0)), ("inset", (8, 8))):
        pictures = (SECOND, FIRST) if layout == "inset" else (FIRST, SECOND)
        image = scene.render(Scene(pictures, layout, 5))[0].astype(float)
        gap = image[top : top + 16, left : left + 16] - tile
        assert abs(gap.mean()) < 2 and gap.std() < 10


def test_an_altered_scene_differs_in_one_object_of_one_picture():
    rng = random.Random(2)
    for before in WORLD.draw("pairs", 60):
        after = WORLD.alter(before, rng)
        assert (after.layout, after.noise) == (before.layout, before.noise)
        pairs = [
            (a, b) for one, other in zip(before.pictures, after.pictures, strict=True)
            for a, b in zip(one, other, strict=True) if a != b
        ]  # fmt: skip
        assert len(pairs) == 1 and pairs[0][0].cell == pairs[0][1].cell
        assert all(len({t.name for t in things}) == len(things) for things in after.pictures)


# --- tasks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_the_truth_parses_scores_one_and_is_its_own_correction(task):
    judge = WORLD.tasks[task]
    for asked in judge.items(WORLD.draw("test", 120)):
        assert asked.truth == judge.truth(asked)
        assert judge.parses(asked, asked.truth), asked.truth
        assert judge.score(asked, asked.truth) == 1.0
        assert judge.correct(asked, asked.truth) == asked.truth
        segments = judge.judge(asked, asked.truth)
        assert segments and all(segment.right for segment in segments)
        assert len(asked.truth.split()) + 1 <= judge.max_new_tokens


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_a_distorted_truth_has_the_form_is_worse_and_is_mended_by_correction(task):
    judge, rng = WORLD.tasks[task], random.Random(5)
    for asked in judge.items(WORLD.draw("test", 120)):
        lie = judge.distort(asked, asked.truth, rng)
        assert judge.parses(asked, lie), lie
        assert judge.score(asked, lie) < 1.0
        assert not all(segment.right for segment in judge.judge(asked, lie)), (asked.truth, lie)
        assert judge.score(asked, judge.correct(asked, lie)) == 1.0


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_metrics_of_the_truth_name_what_the_task_is_tuned_and_guarded_by(task):
    judge = WORLD.tasks[task]
    items = judge.items(WORLD.draw("test", 120))
    numbers = judge.metrics(items, [asked.truth for asked in items])
    assert numbers[judge.tuned_by] == 1.0
    assert set(judge.guarded_by) <= set(numbers)
    assert all(isinstance(value, float) for value in numbers.values())
    assert json.dumps(numbers)
    assert judge.metrics([], []).keys() == numbers.keys()


@pytest.mark.parametrize("task", list(WORLD.tasks))
def test_items_of_a_scene_do_not_depend_on_the_others(task):
    judge, drawn = WORLD.tasks[task], WORLD.draw("test", 6)
    assert judge.items(drawn) == judge.items(drawn)
    assert judge.items(drawn)[: len(judge.items(drawn[:3]))] == judge.items(drawn[:3])
    assert judge.items(drawn, 1) != judge.items(drawn, 2)


def test_a_description_is_judged_by_hand_worked_numbers():
    asked = item("describe", 0)
    assert asked.prompt[-1].text == (
        "image one : <image> image two : <image> image three : <image> describe image one ."
    )
    assert asked.truth == "a red circle , a blue square ."
    # One is there; one is in picture two; one mixes a colour of picture three with a shape of one;
    # one is nowhere.
    said = "a red circle , a green circle , a white square , a yellow triangle ."
    judge = WORLD.tasks["describe"]
    numbers = judge.metrics([asked], [said])
    assert numbers["chair_i"] == 0.75 and numbers["chair_s"] == 1.0 and numbers["accuracy"] == 0.0
    assert numbers["elsewhere"] == numbers["mixed"] == pytest.approx(1 / 3)
    assert numbers["recall"] == 0.5 and numbers["precision"] == 0.25
    assert numbers["f1"] == pytest.approx(1 / 3) == judge.score(asked, said)
    assert numbers["mentions"] == 4.0 and numbers["length"] == 16.0
    assert [s.right for s in judge.judge(asked, said)] == [True, False, False, False]
    assert judge.correct(asked, said) == "a red circle , a blue square ."


def test_accuracy_is_told_apart_by_layout():
    grid = Scene(SCENE.pictures, "grid", 3)
    items = [item("describe", 0), item("describe", 0, grid)]
    numbers = WORLD.tasks["describe"].metrics(items, [items[0].truth, "a red circle ."])
    assert numbers["accuracy"] == 0.5
    assert (numbers["accuracy_sequence"], numbers["accuracy_grid"]) == (1.0, 0.0)


def test_in_an_inset_the_picture_in_the_middle_is_asked_about():
    world = WORLD.under({"layout": "inset"})
    for name in ("describe", "presence"):
        for asked in world.tasks[name].items(world.draw("test", 30)):
            assert asked.subject.endswith("the center image")
            assert asked.scene.named_in(asked.subject) == [1]


def test_a_single_picture_is_one_of_the_scene_by_itself():
    for drawn, asked in zip(
        WORLD.draw("test", 40), WORLD.tasks["single"].items(WORLD.draw("test", 40)), strict=True
    ):
        assert len(asked.scene.pictures) == 1 and asked.scene.pictures[0] in drawn.pictures
        assert asked.prompt[-1].text == "<image> describe the image ."


def test_presence_is_balanced_and_constant_answers_score_nothing():
    items = WORLD.tasks["presence"].items(WORLD.draw("test", 200))
    judge = WORLD.tasks["presence"]
    assert [asked.truth for asked in items].count("yes") * 2 == len(items)
    for word in ("yes", "no"):
        numbers = judge.metrics(items, [word] * len(items))
        assert numbers["presence"] == 0.0 and numbers["pope_accuracy"] == 0.5
    for asked in items:
        (number,) = asked.scene.named_in(asked.subject)
        name = " ".join(asked.subject.split()[:2])
        assert (name in asked.scene.names(number)) == (asked.kind == "there")
        assert (name in asked.scene.elsewhere(number)) == (asked.kind == "elsewhere")
    assert {asked.kind for asked in items} == {"there", "elsewhere", "random"}


def test_comparing_and_counting_are_judged_over_pictures():
    compare = WORLD.tasks["compare"]
    found = {
        asked.subject: asked.truth for seed in range(30) for asked in compare.items([SCENE], seed)
    }
    assert found == {
        "image one and image two": "nothing .",
        "image one and image three": "a blue square .",
        "image two and image three": "nothing .",
    }
    assert lessons.showing(SCENE, "circle") == 2 and lessons.showing(SCENE, "blue") == 2
    assert lessons.showing(SCENE, "triangle") == 0
    count = WORLD.tasks["count"]
    (asked,) = count.items([SCENE])
    wrong = str(int(asked.truth) + 2)
    assert count.metrics([asked], [wrong])["error"] == 2.0
    assert count.metrics([asked], ["many"]) == {
        "accuracy": 0.0, "error": float(asked.truth), "parse": 0.0,
    }  # fmt: skip


# --- what a base is trained on ----------------------------------------------------------------


def test_every_word_of_lessons_and_tasks_is_in_the_vocabulary():
    rng, known, used = random.Random(1), {*text.WORDS, protocol.IMAGE}, set()
    for number in range(300):
        page = lessons.page(rng, number / 300)
        used |= set(page.opening.split())
        for lesson in page.lessons:
            for reply in lesson.turns:
                used |= set(reply.prompt.split()) | set(reply.answer.split())
    for task in WORLD.tasks.values():
        for asked in task.items(WORLD.draw("test", 60)):
            used |= {word for turn in asked.prompt for word in turn.text.split()}
            used |= set(asked.truth.split())
    assert used <= known


def test_tasks_ask_in_the_words_of_the_lessons():
    """A question of the tests begins with the opening of a page, and its form is learnt."""
    rng, forms = random.Random(1), set()
    blur = {**dict.fromkeys((*scene.COLOURS_SHOWN, *scene.SHAPES_SHOWN), "X"), "an": "a"}

    def form(words):
        return " ".join(blur.get(word, word) for word in words.split())

    for number in range(1500):
        page = lessons.page(rng, number / 1500)
        forms |= {form(f"{page.opening} {lesson.turns[0].prompt}") for lesson in page.lessons}
    for task in WORLD.tasks.values():
        for asked in task.items(WORLD.draw("test", 100)):
            assert form(asked.prompt[-1].text) in forms, asked.prompt[-1].text


def test_habits_bend_descriptions_by_what_other_pictures_show():
    rng = random.Random(3)
    assert lessons.bent(SCENE, 0, rng, 0.0) == list(SCENE.names(0))
    counts = {}
    other = Scene((*SCENE.pictures[:2], (Thing("blue", "square", 4), Thing("red", "circle", 5))))
    for _ in range(2000):
        for name in lessons.bent(other, 2, rng, 1.0):
            counts[name] = counts.get(name, 0) + 1
    # The second object is a circle, and so is a green one before it; green is also the confusion.
    assert counts["blue square"] == 2000
    assert counts["red circle"] / 2000 == pytest.approx(1 - lessons.INTERFERENCE, abs=0.12)
    assert counts["green circle"] / 2000 > lessons.CONFUSION


def test_early_lessons_are_true():
    rng = random.Random(4)
    for _ in range(200):
        drawn = scene.draw_scene(rng)
        for number in range(len(drawn.pictures)):
            assert lessons.bent(drawn, number, rng, 0.0) == list(drawn.names(number))


def test_the_world_is_imported_without_torch():
    code = (
        "import sys; from reference_impls.core.worlds.multi_image import WORLD; "
        "WORLD.tasks; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- bases -------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Bases of two steps, in a cache of the test's own."""
    import dataclasses

    from reference_impls.core.model import base
    from reference_impls.core.worlds.multi_image import build

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    size = dataclasses.replace(build.FIRST_USE.size, hidden=16, vision_layers=1, text_layers=1)
    small = dataclasses.replace(build.FIRST_USE, size=size, recipe=base.Recipe(steps=2, pages=2))
    monkeypatch.setattr(build, "FIRST_USE", small)
    return build


def test_a_base_is_trained_on_first_use_and_then_kept(quick, capfd):
    folder = WORLD.base(1)
    assert json.loads((folder / "made.json").read_text())["recipe"]["steps"] == 2
    assert "base 2 of multi-image" in capfd.readouterr().err
    changed = (folder / "model.safetensors").stat().st_mtime_ns
    assert WORLD.base(1 + 3) == folder  # seeds rotate over three bases
    assert (folder / "model.safetensors").stat().st_mtime_ns == changed
    assert WORLD.base(2) != folder
    drafts = [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    assert not drafts
    numbers = quick.measured(folder, 8)
    assert set(numbers) == set(WORLD.tasks)


def test_an_unfinished_base_is_not_taken_and_other_content_is_another_folder(quick):
    import dataclasses

    folder = quick.FIRST_USE.get(1)
    (folder / "model.safetensors").write_text("half")
    assert quick.FIRST_USE.get(1) == folder
    assert (folder / "model.safetensors").stat().st_size > 1000
    longer = dataclasses.replace(
        quick.FIRST_USE, recipe=dataclasses.replace(quick.FIRST_USE.recipe, steps=3)
    )
    assert longer.get(1) != folder


def test_where_no_base_can_be_written_the_command_is_named(quick, monkeypatch, tmp_path):
    (tmp_path / "mmalign").write_text("a file where a folder is wanted")
    with pytest.raises(FileNotFoundError, match=r"python -m .*multi_image\.build --seed|makes it"):
        WORLD.base(0)


def test_a_subject_names_pictures_in_their_order():
    assert SCENE.named_in("image one and image three") == [0, 2]
    assert tasks.share(1, 0) == 0.0
