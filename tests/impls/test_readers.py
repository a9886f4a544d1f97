"""Real data: what is read of published layouts, what is dropped and said, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from reference_impls.core.data.readers import (
    LAYOUTS,
    DataError,
    Picture,
    Rows,
    needed,
    open_records,
    read_rows,
)
from reference_impls.core.data.readers.files import split_of, splits_of
from reference_impls.core.method import load_script

CHOSEN, REJECTED = "A cup.", "A cat."
PAIR = {"question": "What is it?", "chosen": CHOSEN, "rejected": REJECTED}


@pytest.fixture
def folder(tmp_path):
    """A folder with four pictures in it, each of a colour of its own."""
    for number in range(4):
        Image.new("RGB", (8, 6), (number * 60, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def written(path: Path, *records: object) -> Path:
    """Records as JSON lines; text goes into the file as it is."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def items(folder: Path, *records: object, **options):
    return list(open_records(str(written(folder / "data.jsonl", *records)), **options).items())


def one(folder: Path, record: object, **options):
    """The only row of the only record, which has to be a good one."""
    (item,) = items(folder, record, **options)
    assert (item.problem, item.dropped) == ("", "")
    (row,) = item.rows
    return row


def text(message):
    return message[0]["content"]


def shown(row):
    """A row's prompt with its images as the names of their files."""
    pictures = iter(row["images"])
    return [
        (turn["role"],
         turn["content"] if isinstance(turn["content"], str) else
         [part.get("text") or next(pictures).path.name for part in turn["content"]])
        for turn in row["prompt"]
    ]  # fmt: skip


# --- layouts ---------------------------------------------------------------------------------

CAT = {"response": REJECTED, "annotations": {"Help": {"Rating": "1"}, "Sight": {"Rating": "2"}}}
CUP = {"response": CHOSEN, "annotations": {"Help": {"Rating": "5"}, "Sight": {"Rating": "4"}}}
DOG = {"response": "A dog.", "annotations": {"Help": {"Rating": "3"}, "Sight": {"Rating": "3"}}}
TURNS = [{"from": "human", "value": "<image>\nWhat is it?"}]
PUBLISHED = {
    "RLAIF-V": {"image": "0.png", "image_path": "gone.jpg", "idx": "0", **PAIR},
    "SPA-VL": {"image": "0.png", "image_name": "0.png", **PAIR},
    "MMPR": {"image": "0.png", **PAIR, "question": "<image>\nWhat is it?"},
    "RLHF-V": {"image": "0.png", "text": json.dumps(PAIR), "idx": 0},
    "VLFeedback": {"img_path": "0.png", "prompt": "What is it?", "completions": [CAT, CUP, DOG]},
    "VLFeedback, as the hub's loader gives it": {
        "img_path": "0.png",
        "prompt": "What is it?",
        "completions": {name: [each[name] for each in (DOG, CUP, CAT)] for name in CUP},
    },
    "POVID": {
        "image": "0.png",
        "conversations": [*TURNS, {"from": "gpt", "value": CHOSEN}],
        "rejected_conversations": [*TURNS, {"from": "gpt", "value": REJECTED}],
    },
    "LLaVA-Human-Preference": {
        "image": "0.png",
        "conversations": [*TURNS, {"from": "gpt", "value": "of another model"}],
        "output_1": {"from": "llava", "value": REJECTED},
        "output_2": {"from": "llava", "value": CHOSEN},
        "preference": 2,
    },
    "ShareGPT": {
        "images": ["0.png"],
        "conversations": TURNS,
        "chosen": {"from": "gpt", "value": CHOSEN},
        "rejected": {"from": "gpt", "value": REJECTED},
    },
    "HA-DPO, questions": {
        "image_id": 0, "image": "0.png", "question": "What is it?", "correct": False,
        "chosen": CHOSEN, "reject": REJECTED,
    },
    "mDPO": {
        "img_path": "0.png",
        "prompt": "A chat between a curious user and an artificial intelligence assistant. The "
        "assistant gives helpful answers. USER: <image>\nWhat is it? ASSISTANT:",
        "chosen": CHOSEN, "rejected": REJECTED,
    },
    "MM-RLHF": {"image": "0.png", "prompt": "<image>\nWhat is it?", "chosen": CHOSEN,
                "rejected": REJECTED, "chosen_reason": "", "rejected_reason": ""},
    "TRL, plain": {"image": "0.png", "prompt": "What is it?", "chosen": f" {CHOSEN}",
                   "rejected": f" {REJECTED}"},
    "TRL, conversational": {
        "images": ["0.png"],
        "prompt": [{"role": "user", "content": "What is it?"}],
        "chosen": [{"role": "assistant", "content": CHOSEN}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": REJECTED}]}],
    },
    "TRL, the prompt in the answers": {
        "images": ["0.png"],
        "chosen": [{"role": "user", "content": "What is it?"},
                   {"role": "assistant", "content": CHOSEN}],
        "rejected": [{"role": "user", "content": "What is it?"},
                     {"role": "assistant", "content": REJECTED}],
    },
    "TRL, the prompt in the answers and beside them": {
        "images": ["0.png"],
        "prompt": "What is it?",
        "chosen": [{"role": "user", "content": "What is it?"},
                   {"role": "assistant", "content": CHOSEN}],
        "rejected": [{"role": "user", "content": "What is it?"},
                     {"role": "assistant", "content": REJECTED}],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layout_is_read_as_a_pair(name, folder):
    row = one(folder, PUBLISHED[name])
    assert (text(row["chosen"]), text(row["rejected"])) == (CHOSEN, REJECTED)
    (turn,) = row["prompt"]
    asked = turn["content"]
    if isinstance(asked, list):
        assert asked[0] == {"type": "image"} and len(asked) == 2
        asked = asked[1]["text"]
    assert (turn["role"], asked) == ("user", "What is it?")
    (picture,) = row["images"]
    assert picture.path == folder / "0.png" and picture.open().getpixel((0, 0)) == (0, 0, 0)


def test_every_layout_has_an_example_here_and_a_line_in_the_guide(folder):
    names = set()
    for record in PUBLISHED.values():
        records = open_records(str(written(folder / "data.jsonl", record)))
        list(records.items())
        names |= {layout.name for layout in records.layouts}
    assert names | {"VLGuard"} == {layout.name for layout in LAYOUTS}
    guide = Path(__file__).parents[2] / "docs" / "guide" / "run-on-your-data.md"
    said = guide.read_text(encoding="utf-8")
    for layout in LAYOUTS:
        for column in (name for choice in layout.columns for name in choice.split("|")):
            assert f"`{column}`" in said, (layout.name, column)
        for source in layout.source.split("; "):
            assert source.split(" ")[0].split("@")[0].split("#")[0] in said, (layout.name, source)


@pytest.mark.parametrize("method", ["grpo", "rloo", "ppo"])
@pytest.mark.parametrize("column", ["question", "prompt", "problem"])
def test_rewards_by_rule_read_questions_with_their_true_answers(method, column, folder):
    """No pair is needed; one that is there is left alone."""
    script = load_script(method).method
    records = [{column: "How many?", "image": "0.png", "answer": answer} for answer in (3.0, "3")]
    records.append({"question": "How many?", "chosen": "3", "rejected": "4", "answer": "3"})
    rows = read_rows(str(written(folder / "data.jsonl", *records)), script.last, script.config())
    for row in rows:
        assert row["answer"] == "3" and set(row) == {"prompt", "images", "answer", "place"}
        assert row["prompt"] == [{"role": "user", "content": "How many?"}]
    written(folder / "data.jsonl", PAIR)
    with pytest.raises(DataError, match="column 'answer': the column is missing"):
        read_rows(str(folder / "data.jsonl"), script.last, script.config())


def test_ha_dpo_finds_visual_genome_by_id_and_asks_one_of_its_own_questions(folder):
    (folder / "VG_100K_2").mkdir()
    (folder / "0.png").rename(folder / "VG_100K_2" / "7.jpg")
    described = {"chosen": [CHOSEN, "A rewrite."], "rejected": [REJECTED, "Another."]}
    for name, content in (("a.json", [{"image_id": 7, **described}]), ("b.json", {"7": described})):
        (folder / name).write_text(json.dumps(content))
        (item,) = open_records(str(folder / name)).items()
        (row,) = item.rows
        assert row["images"][0].path == folder / "VG_100K_2" / "7.jpg"
        assert (text(row["chosen"]), text(row["rejected"])) == (CHOSEN, REJECTED)
        assert (
            row["prompt"][0]["content"] == "Could you describe the contents of this image for me?"
        )
    right = {"image_id": 7, "question": "Q?", "correct": True, "chosen": "a", "reject": "b"}
    (item,) = items(folder, right)
    assert item.dropped == "the model was right already"


def test_vlguard_gives_answers_without_a_rejected_one(folder):
    record = {
        "image": "1.png", "safe": True,
        "instr-resp": [{"safe_instruction": "Describe it.", "response": "Red."},
                       {"unsafe_instruction": "Insult it.", "response": "No."}],
    }  # fmt: skip
    (item,) = items(folder, record)
    assert [(row["prompt"][0]["content"], text(row["chosen"])) for row in item.rows] == [
        ("Describe it.", "Red."), ("Insult it.", "No."),
    ]  # fmt: skip
    rows = Rows(open_records(str(folder / "data.jsonl"), needs=frozenset({"chosen"})))
    rows.read_through()
    assert len(rows) == 2 and text(rows[1]["chosen"]) == "No."
    wants = Rows(open_records(str(folder / "data.jsonl"), needs=frozenset({"chosen", "rejected"})))
    with pytest.raises(DataError, match=r"data\.jsonl, row 0: the method needs rejected"):
        wants.read_through()


def test_a_video_is_ten_of_its_frames_in_the_order_of_their_names(folder):
    frames = folder / "video" / "clip"
    frames.mkdir(parents=True)
    for number in range(19):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(frames / f"f{number:03}.png")
    record = {"video": "video/clip", "prompt": "<image>\nWhat moves?", "chosen": "a",
              "rejected": "b"}  # fmt: skip
    row = one(folder, record)
    assert [picture.open().getpixel((0, 0))[0] for picture in row["images"]] == [*range(0, 19, 2)]
    assert [part["type"] for part in row["prompt"][0]["content"]] == ["image"] * 10 + ["text"]


def test_a_video_file_is_read_from_the_folder_of_its_name(folder):
    (folder / "clip.mp4").write_bytes(b"x")
    record = {"video": "clip.mp4", "prompt": "<video>\nWhat moves?", "chosen": "a",
              "rejected": "b"}  # fmt: skip
    (item,) = items(folder, record)
    assert item.problem == (
        "data.jsonl, row 0, column 'video': 'clip.mp4' is a video file, and videos are read as "
        "folders of frames: extract them into 'clip', for example with "
        "ffmpeg -i clip.mp4 clip/%05d.jpg"
    )
    (folder / "clip").mkdir()
    (item,) = items(folder, record)
    assert "'clip.mp4' holds no frame (.jpg," in item.problem
    Image.new("RGB", (4, 4), (9, 0, 0)).save(folder / "clip" / "00001.png")
    assert [each.open().getpixel((0, 0))[0] for each in one(folder, record)["images"]] == [9]
    (item,) = items(folder, {**record, "video": "none.mp4"})
    assert "there is no folder 'none.mp4'; --image-root" in item.problem


def test_an_mmpr_root_reads_the_sets_that_it_lists_each_below_its_own_folder(folder):
    (folder / "images" / "a").mkdir(parents=True)
    (folder / "0.png").rename(folder / "images" / "a" / "x.png")
    written(folder / "annotations" / "a.jsonl", {**PAIR, "image": "x.png"})
    written(folder / "annotations" / "b.jsonl", {**PAIR, "image": ""})
    listed = {
        "a": {"root": "MMPR/images/a", "annotation": "/disk/MMPR/annotations/a.jsonl"},
        "b": {"root": "MMPR/images/b", "annotation": "MMPR/annotations/b.jsonl", "repeat_time": 2},
    }
    (folder / "meta.json").write_text(json.dumps(listed))
    found = list(open_records(str(folder)).items())
    assert [str(item.place) for item in found] == [
        "annotations/a.jsonl, row 0", "annotations/b.jsonl, row 0",
    ]  # fmt: skip
    assert [len(item.rows[0]["images"]) for item in found] == [1, 0]
    (folder / "annotations" / "b.jsonl").unlink()
    with pytest.raises(DataError, match=r"meta\.json: the annotation file of 'b' is not at"):
        open_records(str(folder))


# --- text and images -----------------------------------------------------------------------------


def test_images_stand_where_marks_and_parts_have_them(folder):
    parts = [{"type": "text", "text": "First "}, {"type": "image"},
             {"type": "text", "text": " then "}, {"type": "image"}]  # fmt: skip
    typed = {"images": ["1.png", "2.png"], "prompt": [{"role": "user", "content": parts}],
             "chosen": "a", "rejected": "b"}  # fmt: skip
    marked = {**typed, "prompt": "First <image> then <image>"}
    expected = [("user", ["First ", "1.png", " then ", "2.png"])]
    assert shown(one(folder, typed)) == shown(one(folder, marked)) == expected


def test_marks_of_a_conversation_are_in_whichever_user_turn_has_them(folder):
    record = {
        "images": ["1.png", "2.png"],
        "prompt": [
            {"role": "system", "content": "Say <image> in verse."},
            {"role": "user", "content": "<image>\nOne?"},
            {"role": "assistant", "content": "An <image>."},
            {"role": "user", "content": "And now?\n<image>"},
        ],
        "chosen": "a <image>", "rejected": "b",
    }  # fmt: skip
    row = one(folder, record)
    assert shown(row) == [
        ("system", "Say <image> in verse."), ("user", ["1.png", "One?"]),
        ("assistant", "An <image>."), ("user", ["And now?", "2.png"]),
    ]  # fmt: skip
    assert text(row["chosen"]) == "a <image>"


def test_a_literal_mark_beside_typed_parts_is_text(folder):
    parts = [{"type": "image"}, {"type": "text", "text": "What does <image> mean?"}]
    record = {"image": "1.png", "prompt": [{"role": "user", "content": parts}], "chosen": "a",
              "rejected": "b"}  # fmt: skip
    assert shown(one(folder, record)) == [("user", ["1.png", "What does <image> mean?"])]


WRONG = [
    ({"question": "<image> and <image>?"}, "question", "stands 2 times, the row has 1 image;"),
    ({"question": "<image>?", "image": None}, "question", "the row has no image"),
    ({"question": "<image>?", "image": ["0.png", "1.png"]}, "question", "has 2 images"),
    ({"question": 3}, "question", "holds a number (3) where text is wanted"),
    ({"question": None}, "question", "is null"),
    ({"chosen": 5}, "chosen", "holds a number (5) where text is wanted; write it in quotes"),
    ({"rejected": None}, "rejected", "is null"),
    ({"rejected": True}, "rejected", "true or false"),
    ({"chosen": [{"role": "assistant", "content": "a"}] * 2}, "chosen", "here are 2 turns"),
    ({"chosen": [{"role": "user", "content": "a"}]}, "chosen", "here the user's"),
    ({"chosen": [{"role": "assistant", "content": [{"type": "image"}]}]}, "chosen", "an image"),
    ({"margin": None}, "margin", "is null"),
    ({"margin": "0.5"}, "margin", "without quotes"),
    ({"margin": float("nan")}, "margin", "not a finite number"),
    ({"image": "none.png"}, "image", "there is no file 'none.png'"),
    ({"image": ["0.png", None]}, "image", "an image is null"),
    ({"image": 7}, "image", "an image is int"),
    ({"image": "https://there/0.png"}, "image", "is an address"),
    ({"image": {"bytes": None, "path": None}}, "image", "neither bytes nor a path"),
    ({"image": {"bytes": "aGk="}}, "image", "in letters"),
    ({"image": "data:image/png;base64,aGk="}, "image", "in letters"),
    ({"image": "iVBORw0KGgo" * 1000}, "image", "in letters"),
    ({"image": "/9j/4AAQSkZJRgABAQ"}, "image", "in letters"),
    ({"image": "0.png\n\x00\x1b"}, "image", "there is no file '0.png\\n\\x00\\x1b' in"),
    ({"image": "."}, "image", "there is no file '.'"),
    ({"image": "/dev/zero"}, "image", "there is no file '/dev/zero'"),
    ({"image": [["0.png"]]}, "image", "an image is list"),
    ({"margin": 10**400}, "margin", "not a finite number"),
    ({"margin": "x" * 10_000}, "margin", "xxx... is not a number"),
    ({"image": None, "img": "0.png"}, "img", "is not read; rename it `image`"),
    ({"image": None, "videos": ["a"]}, "videos", "is not read; rename it `image`"),
    ({"image": None, "file_name": "0.png"}, "file_name", "is not read; rename it `image`"),
    ({"question": []}, "question", "a list where text is wanted"),
    ({"chosen": [{"role": ["assistant"], "content": "a"}]}, "chosen", "the role ['assistant']"),
    ({"chosen": [{"role": "assistant", "content": "a", "tool_calls": [1]}]}, "chosen", "tools"),
]
"""What one cell of a good row is changed to, the column that is to blame, and what is said."""


@pytest.mark.parametrize(("change", "column", "said"), WRONG)
def test_what_is_wrong_is_said_with_file_row_and_column(change, column, said, folder):
    good = {"image": "0.png", **PAIR}
    found = items(folder, good, {**good, **change}, good)
    assert [bool(item.rows) for item in found] == [True, False, True]
    start = f"data.jsonl, row 1, column '{column}': "
    assert found[1].problem.startswith(start) and said in found[1].problem
    assert "\n" not in found[1].problem
    with pytest.raises(DataError) as error:
        Rows(open_records(str(folder / "data.jsonl"))).read_through()
    assert str(error.value) == found[1].problem


TYPED = {"images": ["0.png", "1.png"], "chosen": CHOSEN, "rejected": REJECTED}


MISREAD = [
    ({**TYPED, "prompt": []}, "prompt", "there is no turn"),
    ({**TYPED, "prompt": {"role": "user", "content": "a"}}, "prompt", "holds an object"),
    ({**TYPED, "prompt": [{"role": "user", "content": [
        {"type": "image", "index": 1}, {"type": "image", "index": 0}]}]},
     "prompt", "the index 1 where image 0 comes"),
    ({**TYPED, "prompt": [{"role": "user", "content": [
        {"type": "image", "image": "1.png"}, {"type": "image"}]}]},
     "prompt", "an image of its own"),
    ({"image": "0.png", "text": "[" * 100_000}, "text", "nested too deeply"),
    ({"image": "0.png", "text": '{"question": "q", "chosen": "a", "chosen": "b"}'},
     "text", "the key 'chosen' stands twice"),
    ({"image": "0.png", "text": '{"question": "\\ud800", "chosen": "a", "rejected": "b"}'},
     "text", "in `question`: holds half of a character"),
    ({"image": "0.png", "prompt": "q", "completions": {"response": ["a"], "annotations": []}},
     "completions", "not all of one length"),
    ({"image": "0.png", "prompt": "q", "completions": {"response": 1}},
     "completions", "not all of one length"),
    ({"image": "0.png", "conversations": [*TURNS, {"from": "gpt", "value": "z"}],
      "output_1": "a", "output_2": "b", "preference": "output_2"},
     "preference", "'output_2' is not a number; write 1 or 2"),
]  # fmt: skip
"""Rows of other layouts."""


@pytest.mark.parametrize(("record", "column", "said"), MISREAD)
def test_a_cell_that_would_be_read_otherwise_than_it_was_meant_is_refused(
    record, column, said, folder
):
    (item,) = items(folder, record)
    assert item.problem.startswith(f"data.jsonl, row 0, column '{column}': ")
    assert said in item.problem and len(item.problem) < 400


def test_paths_are_followed_as_they_are_written(folder):
    (folder / "in").mkdir()
    (folder / "in" / "link.png").symlink_to(folder / "1.png")
    (folder / "in" / "loop.png").symlink_to("loop.png")
    (folder / "in" / "two é.png").symlink_to(folder / "2.png")
    for path, red in (("in/link.png", 60), ("./in/../3.png", 180), ("in/two é.png", 120)):
        (picture,) = one(folder, {"image": path, **PAIR})["images"]
        assert picture.open().getpixel((0, 0))[0] == red
    for path in ("in/loop.png", "in", "1.PNG", "in\\link.png", "in/link.png ", "in/two%20é.png"):
        (item,) = items(folder, {"image": path, **PAIR})
        assert f"there is no file '{path}' in" in item.problem


def test_an_empty_column_does_not_hide_the_image_in_the_next_one(folder):
    for empty in (None, "", []):
        (picture,) = one(folder, {"images": empty, "image": "1.png", **PAIR})["images"]
        assert picture.path == folder / "1.png"
    (picture,) = one(folder, {"image_id": 1, "images": ["1.png"], **PAIR})["images"]
    assert picture.path == folder / "1.png"
    assert one(folder, {"image": None, "img": "", "video": None, **PAIR})["images"] == []


def test_typed_parts_with_running_numbers_are_read(folder):
    parts = [{"type": "image", "index": 0, "text": None}, {"type": "text", "text": "a"},
             {"type": "image", "index": 1, "image": None}]  # fmt: skip
    row = one(folder, {**TYPED, "prompt": [{"role": "user", "content": parts}]})
    assert shown(row) == [("user", ["0.png", "a", "1.png"])]


@pytest.mark.parametrize("preferred", [0, None, "tie", 3])
def test_a_tie_in_any_spelling_is_no_pair(preferred, folder):
    turns = [*TURNS, {"from": "gpt", "value": "z"}]
    record = {"image": "0.png", "conversations": turns, "output_1": "a", "output_2": "b"}
    (item,) = items(folder, {**record, "preference": preferred})
    assert item.dropped == "nobody preferred one of the answers"
    assert text(one(folder, {**record, "preference": "2"})["chosen"]) == "b"


NO_LISTS = [
    ("[1, %s]", "data.json, row 0: where an object has to be stands '1'"),
    ('[%s, "x"]', "data.json, row 1: where an object has to be stands"),
    ("[%s %s]", "data.json, row 1: where a comma has to be stands '{'"),
    ("[%s,, %s]", "data.json, row 1: where an object has to be stands ','"),
    ("[%s]\n[%s]", "data.json: more stands behind the end of the list, which has 1 rows"),
    ("[%s] x", "data.json: more stands behind the end of the list"),
    ('{"a":' * 100_000, "data.json, row 0: the row is not JSON: it is nested too deeply"),
    ('{"question": "a", "question": "b"}', "row 0: the row is not JSON: the key 'question'"),
]
"""Files of JSON in which something stands where rows should; %s is a good row."""


@pytest.mark.parametrize(("content", "said"), NO_LISTS)
@pytest.mark.parametrize("window", [1 << 20, 7])
def test_a_list_of_something_else_loses_no_row_in_silence(
    content, said, window, folder, monkeypatch
):
    monkeypatch.setattr("reference_impls.core.data.readers.files.WINDOW", window)
    good = json.dumps({"image": "0.png", **PAIR})
    (folder / "data.json").write_text(content.replace("%s", good))
    with pytest.raises(DataError) as error:
        Rows(open_records(str(folder / "data.json"))).read_through()
    assert said in str(error.value)


def test_letters_that_are_no_utf_8_are_refused_and_keyed_rows_are_checked(folder):
    raw = b'{"question": "\xed\xa0\x80", "chosen": "a", "rejected": "b"}'
    (folder / "data.jsonl").write_bytes(raw)
    (item,) = open_records(str(folder / "data.jsonl")).items()
    assert "row 0: the row is not UTF-8" in item.problem
    keyed = '{"7": {"image": "0.png", "question": "%s", "chosen": "a", "rejected": "b"}}\n'
    for asked, problem in (("q", ""), ("\\ud800", "row 0, column 'question': holds half of")):
        (folder / "data.json").write_text(keyed % asked)  # a line break behind a single object
        (item,) = open_records(str(folder / "data.json")).items()
        assert problem in item.problem and bool(item.rows) != bool(problem)


@pytest.mark.parametrize("name", ["train-1.jsonl.gz", "train-0.csv"])
def test_rows_that_would_be_missed_beside_those_that_are_read_are_named(name, folder):
    written(folder / "train-0.jsonl", {"image": "0.png", **PAIR})
    (folder / "test.jsonl.gz").touch()
    (folder / "notes.csv").touch()
    assert len(list(open_records(str(folder)).items())) == 1
    (folder / name).touch()
    with pytest.raises(DataError, match=rf"{name} would not be read; .*, or move it away"):
        open_records(str(folder))


NO_ROWS = [
    ('{"image": "0.png", ', "row 1: the row is not JSON"),
    ("[1, 2]", "row 1: the row is a list; write an object"),
    ('{"image": "0.png", "chosen": "a", "rejected": "b"}', "row 1, column 'question'"),
]
"""Lines of a file of JSON lines."""


@pytest.mark.parametrize(("line", "said"), NO_ROWS)
def test_a_line_that_is_not_a_row_is_named(line, said, folder):
    good = {"image": "0.png", **PAIR}
    found = items(folder, good, line, good)
    assert said in found[1].problem and found[2].rows


def test_broken_json_in_a_cell_is_named_with_the_file(folder):
    found = items(folder, {"image": "0.png", "text": "{question: no"})
    assert found[0].problem.startswith("data.jsonl, row 0, column 'text': the text is not JSON")


def test_an_unknown_layout_is_named_with_its_columns_and_the_known_ones(folder):
    (item,) = items(folder, {"picture": "0.png", "better": "a", "worse": "b"})
    assert "picture, better, worse" in item.problem
    assert "question, chosen, rejected" in item.problem


def test_a_picture_that_cannot_be_read_is_named_when_it_is_opened(folder):
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:50])
    rows = Rows(open_records(str(written(folder / "data.jsonl", {"image": "cut.png", **PAIR}))))
    rows.read_through()
    with pytest.raises(DataError, match=r"data\.jsonl, row 0, column 'image': .*cut\.png"):
        rows[0]


def test_rows_without_an_image_stand_beside_rows_with_one(folder):
    found = items(folder, {"image": "0.png", **PAIR}, {"image": None, **PAIR}, PAIR)
    assert [len(item.rows[0]["images"]) for item in found] == [1, 0, 0]


# --- what is dropped -------------------------------------------------------------------------


def rated(*ratings):
    return [
        {"response": f"answer {n}", "annotations": {"a": {"Rating": r}, "b": {"Rating": r}}}
        for n, r in enumerate(ratings)
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chosen": f" {REJECTED} "}, "chosen equals rejected"),
        ({"rejected": " "}, "an answer is empty"),
        ({"completions": rated("4", "4"), "prompt": "?"}, "all ratings tie"),
        ({"completions": rated("4", "N/A"), "prompt": "?"}, "fewer than two rated answers"),
        ({"completions": rated("nan", "4"), "prompt": "?"}, "fewer than two rated answers"),
    ],
)
def test_what_makes_no_pair_is_dropped_and_counted(change, reason, folder):
    good = {"image": "0.png", **PAIR}
    bad = {**good, **change} if "completions" not in change else {"image": "0.png", **change}
    kept = {"image": "0.png", "prompt": "?", "completions": rated("5", "1")}
    records = [good, bad, good] if "completions" not in change else [kept, bad, kept]
    said: list[str] = []
    path = written(folder / "data.jsonl", *records, bad)
    rows = read_rows(str(path), load_script("dpo").method.last, None, note=said.append)
    assert len(rows) == 2 and dict(rows.dropped) == {reason: 2}
    assert len(said) == 1 and f"2 rows dropped ({reason} 2)" in said[0]
    with pytest.raises(DataError, match="no row is left"):
        read_rows(str(written(path, bad)), load_script("dpo").method.last, None)


def test_an_answer_that_is_not_rated_in_every_aspect_is_no_part_of_a_pair(folder):
    half = {"response": "half", "annotations": {"a": {"Rating": "5"}, "b": {"Rating": "N/A"}}}
    row = one(folder, {"image": "0.png", "prompt": "?", "completions": [*rated("3", "2"), half]})
    assert (text(row["chosen"]), text(row["rejected"])) == ("answer 0", "answer 1")


def test_nobodys_preference_makes_no_pair(folder):
    (item,) = items(folder, {**PUBLISHED["LLaVA-Human-Preference"], "preference": 0})
    assert item.dropped == "nobody preferred one of the answers"


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train-00000-of-00008.parquet", "train"), ("data/val.jsonl", "validation"),
        ("test/harm-00000.parquet", "test"), ("latest.jsonl", ""), ("dev/train.jsonl", "train"),
        ("contest_training.json", "train"), ("a.jsonl", ""),
    ],
)  # fmt: skip
def test_files_and_folders_name_splits(path, split):
    assert split_of(Path(path)) == split


def questions(folder, **options):
    return [
        row["prompt"][0]["content"]
        for item in open_records(str(folder), **options).items()
        for row in item.rows
    ]


def test_only_the_training_split_is_read_and_another_is_chosen_by_name(tmp_path):
    for name in ("train", "test"):
        written(tmp_path / f"{name}.jsonl", {**PAIR, "question": name})
    assert questions(tmp_path) == ["train"]
    assert questions(tmp_path, split="test") == ["test"]
    with pytest.raises(DataError, match=r"--split dev: .* holds test, train"):
        open_records(str(tmp_path), split="dev")
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(DataError, match="holds no split train, but test; choose one with --split"):
        open_records(str(tmp_path))


def test_two_kinds_of_files_are_refused_unless_the_split_tells_them_apart(tmp_path):
    written(tmp_path / "train.jsonl", PAIR)
    parquet(tmp_path / "test.parquet", [PAIR])
    assert questions(tmp_path) == ["What is it?"]
    (tmp_path / "test.parquet").rename(tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"kinds \.jsonl and \.parquet .*give one file"):
        open_records(str(tmp_path))


def test_a_file_of_other_columns_in_the_folder_is_named(tmp_path):
    written(tmp_path / "a_pairs.jsonl", PAIR)
    written(tmp_path / "labels.jsonl", {"id": 1, "rank": 2})
    with pytest.raises(DataError, match=r"labels\.jsonl, row 0: no known layout .* id, rank"):
        Rows(open_records(str(tmp_path))).read_through()


@pytest.mark.parametrize("content", ["", "\n\n", "[]", "[\n]"])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_an_empty_file_is_refused_in_one_line(content, suffix, tmp_path):
    path = tmp_path / f"data{suffix}"
    path.write_text(content)
    with pytest.raises(DataError, match=r"data\.jsonl? .*(is empty|holds no rows)"):
        Rows(open_records(str(path))).read_through()


def test_a_folder_without_data_and_a_file_of_another_kind_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no file of the kinds"):
        open_records(str(tmp_path))
    (tmp_path / "data.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"'\.csv' is none of the kinds"):
        open_records(str(tmp_path / "data.csv"))


def test_objects_of_a_json_list_are_found_whatever_their_strings_hold(tmp_path, monkeypatch):
    letters = ['"', "\\", "{", "}", "[", "]", ",", "é", "\n", "a", "<image>", "\U0001f600"]
    draw = random.Random(0)
    words = ["".join(draw.choices(letters, k=draw.randrange(12))) for _ in range(200)]
    records = [
        {
            **PAIR,
            "question": f"q{n} {word}".replace("<image>", "") + ".",
            "extra": {word: [word, {}]},
        }
        for n, word in enumerate(words)
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8-sig")
    for window in (1, 7, 1 << 20):
        monkeypatch.setattr("reference_impls.core.data.readers.files.WINDOW", window)
        assert questions(path) == [record["question"] for record in records]
    rows = Rows(open_records(str(path)))
    rows.read_through()
    assert rows[137]["prompt"][0]["content"] == records[137]["question"]
    path.write_text(json.dumps(records)[:-9], encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.json, row 199: the list does not end"):
        questions(path)


def test_texts_that_look_like_dates_or_numbers_stay_texts(tmp_path):
    row = one(
        tmp_path, {"question": "2024-01-01", "chosen": "2024-01-02T00:00:00", "rejected": "1"}
    )
    assert row["prompt"][0]["content"] == "2024-01-01"
    assert text(row["chosen"]) == "2024-01-02T00:00:00" and text(row["rejected"]) == "1"


def parquet(path: Path, records: list[dict]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(records), path)
    return path


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """`datasets` keeps what it reads in a folder of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_parquet_shards_hold_their_images_and_say_which_file_a_row_is_in(folder, cache):
    bytes_ = [(folder / f"{n}.png").read_bytes() for n in range(4)]
    cell = [{"bytes": each, "path": None} for each in bytes_]
    (folder / "data").mkdir()
    rows = [{"image": image, **PAIR} for image in (cell[0], None, cell[2], cell[3], cell[1])]
    rows[3]["chosen"] = ""
    parquet(folder / "data" / "a-0.parquet", rows[:2])
    parquet(folder / "data" / "a-1.parquet", rows[2:])
    rows = Rows(open_records(str(folder / "data")))
    rows.read_through()
    assert [len(row["images"]) for row in rows] == [1, 0, 1, 1]
    reds = [row["images"][0].getpixel((0, 0))[0] for row in rows if row["images"]]
    assert reds == [0, 120, 60] and dict(rows.dropped) == {"an answer is empty": 1}
    found = list(open_records(str(folder / "data")).items())
    assert str(found[3].place) == "a-1.parquet, row 1"
    assert found[2].rows[0]["images"][0].source["bytes"] == bytes_[2]
    light = list(open_records(str(folder / "data")).items(whole=False))
    assert [len(item.rows[0]["images"]) for item in light if item.rows] == [1, 0, 1, 1]


def test_lists_of_images_and_their_parts_come_back_from_a_saved_dataset(folder, cache):
    import datasets

    parts = [{"type": "text", "text": "First "}, {"type": "image", "text": None},
             {"type": "image", "text": None}]  # fmt: skip
    record = {
        "images": [str(folder / "1.png"), str(folder / "2.png")],
        "prompt": [{"role": "user", "content": parts}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    data = datasets.Dataset.from_list([record, {**record, "images": [str(folder / "3.png")] * 2}])
    data = data.cast_column("images", datasets.List(datasets.Image()))
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(folder / "saved"))
    rows = Rows(open_records(str(folder / "saved")))
    rows.read_through()
    assert [[image.getpixel((0, 0))[0] for image in row["images"]] for row in rows] == [
        [60, 120], [180, 180],
    ]  # fmt: skip
    kinds = [part["type"] for part in rows[0]["prompt"][0]["content"]]
    assert kinds == ["text", "image", "image"]
    with pytest.raises(DataError, match="no split validation, but train, test"):
        open_records(str(folder / "saved"), split="validation")


def test_a_webdataset_is_a_picture_and_its_object_under_one_key(folder, cache):
    import io
    import tarfile

    with tarfile.open(folder / "shard-0.tar", "w") as shard:
        for number in (1, 3):
            for ending, content in (("png", (folder / f"{number}.png").read_bytes()),
                                    ("json", json.dumps(PAIR).encode())):  # fmt: skip
                entry = tarfile.TarInfo(f"{number:04}.{ending}")
                entry.size = len(content)
                shard.addfile(entry, io.BytesIO(content))
    rows = Rows(open_records(str(folder / "shard-0.tar")))
    rows.read_through()
    assert [row["images"][0].getpixel((0, 0))[0] for row in rows] == [60, 180]
    assert text(rows[1]["chosen"]) == CHOSEN


CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: [one.parquet, "more/*.parquet"]
  - split: held
    path: two.parquet
---
# Pairs
"""


def test_the_card_of_a_data_set_says_which_files_are_which_split(tmp_path, cache):
    (tmp_path / "more").mkdir()
    for name in ("one", "two", "more/three", "notes"):
        parquet(tmp_path / f"{name}.parquet", [{**PAIR, "question": name}])
    (tmp_path / "README.md").write_text(CARD)
    assert questions(tmp_path) == ["one", "more/three"]
    assert questions(tmp_path, split="held") == ["two"]
    assert splits_of(str(tmp_path)) == ["held", "train"]
    with pytest.raises(DataError, match=r"--split dev: .* holds held, train"):
        open_records(str(tmp_path), split="dev")
    for files in ('"one.parquet"', '["one.parquet"]'):
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- data_files: {files}\n---\n")
        assert questions(tmp_path) == ["one"]
    (tmp_path / "README.md").write_text("# Pairs\n\nThey stand in parquet files.\n")
    assert len(questions(tmp_path)) == 4


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        ("[{config_name: a, data_files: x.jsonl}, {config_name: b, data_files: y.jsonl}]",
         "README.md lists the configurations a, b; give the folder or the file of one"),
        ("[{data_files: gone-*.jsonl}]", "README.md lists gone-*.jsonl, and there is no such file"),
        ("[{data_files: 'hf://other/x.jsonl'}]", "and there is no such file"),
        ("[{data_files: /etc/x.jsonl}]", "and there is no such file"),
        ("[{data_files: x.csv}]", "README.md lists x.csv, which is none of the kinds"),
        ("[{data_files: x", "README.md: its head is not YAML: "),
    ],
)  # fmt: skip
def test_a_card_that_leaves_a_choice_or_lists_what_is_not_there_is_refused(configs, said, tmp_path):
    for name in ("x", "y"):
        written(tmp_path / f"{name}.jsonl", {**PAIR, "question": name})
    (tmp_path / "x.csv").touch()
    (tmp_path / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    with pytest.raises(DataError) as error:
        open_records(str(tmp_path))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_of_several_configurations_the_default_one_is_read(tmp_path):
    for name in ("x", "y"):
        written(tmp_path / "in" / f"{name}.jsonl", {**PAIR, "question": name})
    for mark in ("config_name: default", "config_name: b, default: true"):
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- {config_name: a, data_files: in/x.jsonl}\n"
            f"- {{{mark}, data_dir: in, data_files: y.jsonl}}\n---\n"
        )
        assert questions(tmp_path) == ["y"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chosen": 5}, "its column 'chosen' holds numbers, and that of a-0.parquet text"),
        ({"extra": 5}, "its column 'extra' holds numbers, and that of a-0.parquet is not there"),
        ({"image": b"x"}, "its column 'image' holds bytes, and that of a-0.parquet an object"),
    ],
)
def test_parquet_files_of_unlike_columns_are_not_made_alike(change, said, folder):
    cell = {"bytes": (folder / "1.png").read_bytes(), "path": None}
    (folder / "data").mkdir()
    parquet(folder / "data" / "a-0.parquet", [{"image": cell, **PAIR}])
    parquet(folder / "data" / "a-1.parquet", [{"image": cell, **PAIR, **change}])
    with pytest.raises(DataError) as error:
        open_records(str(folder / "data"))
    assert str(error.value).startswith(f"a-1.parquet: {said}; write all files alike")


def test_large_texts_dictionaries_nulls_and_empty_files_are_read(folder, cache):
    import pyarrow as pa
    import pyarrow.parquet as pq

    cell = pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])
    text_ = pa.large_string()
    schema = pa.schema([("image", cell), *((name, text_) for name in PAIR)])
    held = {"bytes": (folder / "1.png").read_bytes(), "path": None}
    table = pa.Table.from_pylist([{"image": held, **PAIR}, {"image": None, **PAIR}], schema)
    (folder / "data").mkdir()
    pq.write_table(table, folder / "data" / "a-0.parquet")
    pq.write_table(table.slice(0, 0), folder / "data" / "a-1.parquet")
    small = table.set_column(2, "chosen", table["chosen"].dictionary_encode())
    small = small.set_column(0, "image", pa.nulls(2))
    for files, images in ((folder / "data", [1, 0]),
                          (parquet_of(folder / "b.parquet", small), [0, 0])):  # fmt: skip
        rows = Rows(open_records(str(files)))
        rows.read_through()
        assert [len(row["images"]) for row in rows] == images
        assert text(rows[1]["chosen"]) == CHOSEN and rows[1]["place"].endswith("row 1")


def parquet_of(path: Path, table) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("name", ["data.jsonl.gz", "data.zip"])
def test_packed_files_are_to_be_unpacked(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match="; unpack "):
            open_records(str(path))


def test_a_cut_parquet_file_is_named(folder):
    path = parquet(folder / "data.parquet", [PAIR])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"data\.parquet is not a whole parquet file"):
        open_records(str(path))


def test_a_hub_id_is_opened_by_datasets_with_its_split_and_configuration(monkeypatch, folder):
    import datasets

    asked = []

    def load(*given, **options):
        asked.append((given, options))
        return datasets.Dataset.from_list([PAIR])

    monkeypatch.setattr("datasets.load.load_dataset", load)
    assert questions("sqrti/SPA-VL:validation", split="validation") == ["What is it?"]
    assert questions("openbmb/RLAIF-V-Dataset") == ["What is it?"]
    assert asked == [
        (("sqrti/SPA-VL", "validation"), {"split": "validation"}),
        (("openbmb/RLAIF-V-Dataset", None), {"split": "train"}),
    ]

    def fail(*given, **options):
        raise RuntimeError("Dataset scripts are no longer supported,\nbut found VLFeedback.py")

    monkeypatch.setattr("datasets.load.load_dataset", fail)
    with pytest.raises(DataError, match=r"cannot be read: Dataset scripts .* its folder or file"):
        open_records("MMInstruction/VLFeedback")


def test_of_a_hub_id_with_a_limit_no_more_than_its_first_files_are_read(monkeypatch, folder):
    """Shards as a hub has them; the second is broken, so that whoever opens it fails."""
    import datasets

    pictures = datasets.Features(
        {"image": datasets.Image(), **{name: datasets.Value("string") for name in PAIR}}
    )
    for shard in range(2):
        images = [Image.new("RGB", (8, 8), (shard, number, 0)) for number in range(6)]
        rows = [{"image": image, **PAIR} for image in images]
        (folder / "data").mkdir(exist_ok=True)
        datasets.Dataset.from_list(rows, features=pictures).to_parquet(
            folder / "data" / f"train-0000{shard}-of-00002.parquet"
        )
    last = folder / "data" / "train-00001-of-00002.parquet"
    last.write_bytes(last.read_bytes()[:-20])
    real = datasets.load_dataset

    def from_the_hub(repo, configuration, **options):
        return real(str(folder), configuration, **options)

    monkeypatch.setattr("datasets.load.load_dataset", from_the_hub)
    found = list(open_records("somebody/pairs", limit=5).items())
    opened = [item.rows[0]["images"][0].open() for item in found]
    assert [image.getpixel((0, 0)) for image in opened] == [(0, n, 0) for n in range(5)]
    assert [str(item.place) for item in found[:2]] == [
        "somebody/pairs, row 0", "somebody/pairs, row 1"
    ]  # fmt: skip
    with pytest.raises(DataError, match="somebody/pairs cannot be read"):
        list(open_records("somebody/pairs", limit=7).items())
    with pytest.raises(DataError, match="somebody/pairs cannot be read"):
        open_records("somebody/pairs")


# --- options, stages, sizes ----------------------------------------------------------------------


def test_limit_reads_the_first_records_and_image_root_says_where_paths_begin(folder):
    (folder / "rows").mkdir()
    path = written(
        folder / "rows" / "data.jsonl", *[{"image": f"{n}.png", **PAIR} for n in range(4)]
    )
    found = list(open_records(str(path), image_root=folder, limit=3).items())
    assert [item.rows[0]["images"][0].path.name for item in found] == ["0.png", "1.png", "2.png"]
    with pytest.raises(DataError, match="--image-root: there is no folder"):
        open_records(str(path), image_root=folder / "nowhere")


def test_a_stage_reads_its_own_columns_under_the_same_rules(folder):
    stage = load_script("r1_v").method.last
    records = [{"image": f"{n}.png", "problem": "How many?", "solution": n} for n in range(3)]
    rows = read_rows(str(written(folder / "data.jsonl", *records)), stage, None)
    assert [row["answer"] for row in rows] == ["0", "1", "2"]
    assert rows[2]["images"][0].getpixel((0, 0)) == (120, 0, 0)
    for change, said in (({"solution": None}, "column 'solution': the cell is null"),
                         ({"problem": "<image> <image>"}, "stands 2 times")):  # fmt: skip
        written(folder / "data.jsonl", records[0], {**records[1], **change})
        with pytest.raises(DataError, match=rf"data\.jsonl, row 1, .*{said}"):
            read_rows(str(folder / "data.jsonl"), stage, None)
    written(folder / "data.jsonl", {"image": "0.png", "problem": "How many?"})
    with pytest.raises(DataError, match=r"row 0, column 'solution': the column is missing"):
        read_rows(str(folder / "data.jsonl"), stage, None)


def test_mm_eureka_keeps_its_images_where_they_stand(folder):
    stage = load_script("mm_eureka").method.last
    turns = [{"role": "system", "content": "Think."}]
    turns.append({"role": "user", "content": "A <image> B <image>"})
    record = {"images": ["1.png", "2.png"], "conversations": turns, "answer": 5}
    row = read_rows(str(written(folder / "data.jsonl", record)), stage, None)[0]
    assert row["answer"] == "5" and row["prompt"][0] == turns[0]
    assert [part["type"] for part in row["prompt"][1]["content"]] == ["text", "image"] * 2


def test_a_stage_is_asked_for_what_only_data_can_give():
    for name, wanted in (
        ("sft", {"chosen"}),
        ("mdpo", {"chosen", "rejected"}),
        ("r1_v", {"answer"}),
    ):
        method = load_script(name).method
        assert needed(method.last, method.config()) == wanted


def test_rows_are_opened_when_they_are_asked_for_and_their_content_has_a_name(folder):
    path = written(folder / "data.jsonl", *[{"image": f"{n}.png", **PAIR} for n in range(4)])
    rows = Rows(open_records(str(path)))
    rows.read_through()
    (folder / "2.png").unlink()
    assert [row["images"][0].getpixel((0, 0))[0] for row in (rows[0], rows[3])] == [0, 180]
    assert all(isinstance(image, Image.Image) for image in rows[1]["images"])
    with pytest.raises(DataError, match="row 2, column 'image'"):
        rows[2]
    (item, *_) = open_records(str(path)).items()
    assert isinstance(item.rows[0]["images"][0], Picture)
    written(path, *[{"image": f"{n}.png", **PAIR} for n in (1, 0)])
    other = Rows(open_records(str(path)))
    other.read_through()
    assert other.digest and other.digest != rows.digest


STREAMED = """
import json, sys, time
from reference_impls.core.data.readers import Rows, open_records
import reference_impls.core.data.images
from tests.impls.memory import peak
before, began = peak(), time.perf_counter()
rows = Rows(open_records(sys.argv[1]))
rows.read_through()
read = time.perf_counter() - began
assert rows[99_999]["prompt"][0]["content"] == "What is item 99999?", rows[99_999]
print(json.dumps({"rows": len(rows), "above": peak() - before, "seconds": read}))
"""


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_read_through_without_being_held(tmp_path):
    import subprocess
    import sys

    Image.new("RGB", (640, 480)).save(tmp_path / "0.jpg")
    with (tmp_path / "data.jsonl").open("w") as file:
        for number in range(100_000):
            row = {**PAIR, "image": "0.jpg", "question": f"What is item {number}?", "idx": number}
            row["chosen"] += " Seen." * 40  # 24 MB of answers
            file.write(json.dumps(row) + "\n")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", STREAMED, str(tmp_path)], capture_output=True, text=True, cwd=root
    )
    found = json.loads(done.stdout)
    # Places of rows are held, 16 + 16 bytes each; the texts alone would be 40 MB.
    assert found["rows"] == 100_000 and found["above"] < 30, found


@pytest.mark.slow
def test_training_on_936_pictures_of_640_x_480_takes_less_than_300_mb_above_the_model(tmp_path):
    """All of them decoded are 860 MB."""
    import subprocess
    import sys

    from tests.impls import tiny_models

    model, processor = tiny_models.build("llava")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    draw = random.Random(0)
    (tmp_path / "data").mkdir()
    records = []
    for number in range(936):
        small = Image.frombytes("RGB", (16, 12), draw.randbytes(16 * 12 * 3))
        small.resize((640, 480)).save(tmp_path / "data" / f"{number}.jpg")
        records.append({**PAIR, "image": f"{number}.jpg", "question": f"What is item {number}?"})
    written(tmp_path / "data" / "data.jsonl", *records)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, root / "tests" / "impls" / "peak.py", "mdpo", "--model",
         tmp_path / "model", "--dataset", tmp_path / "data", "--epochs", "1", "--batch-size", "16",
         "--no-baselines", "--output", tmp_path / "out"],
        capture_output=True, text=True, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["peak"] - found["model"] < 300, found
