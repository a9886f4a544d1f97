"""`mmalign data check`: what is found, that a run agrees, that little is kept, what is printed."""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tracemalloc
import types
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from mmalign.cli import cli
from mmalign.cli import data as command
from reference_impls.core.command_line import run
from reference_impls.core.data import check as module
from reference_impls.core.data.check import NOTES, PROBLEMS, check, check_data
from reference_impls.core.data.images import look
from reference_impls.core.data.readers import DataError, Item, Place, open_records, opened
from reference_impls.core.data.statistics import Digests, PairLengths
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.lengths import Asked, Lengths, blanks
from tests.impls import tiny_models

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """A folder with `a.png`, `b.png` and `cut.png`, of which only the half is there."""
    for name, size in (("a", (8, 8)), ("b", (16, 8)), ("cut", (64, 64))):
        Image.effect_noise(size, 50).convert("RGB").save(tmp_path / f"{name}.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def pair(image="a.png", question="What?", chosen="A cup.", rejected="A cat.", **more):
    return {"image": image, "question": question, "chosen": chosen, "rejected": rejected, **more}


def write(folder: Path, *rows, name="train.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def found(result) -> dict[str, tuple[int, list[str]]]:
    """Code -> (count, places)."""
    return {each["code"]: (each["count"], each["places"]) for each in result["findings"]}


def test_clean_data(folder):
    result = check_data(str(write(folder, pair(), pair("b.png"), pair(None, "Is it so?"))))
    assert result["ok"] and result["findings"] == []
    assert result["rows"] == {
        "read": 3, "kept": 3, "dropped": 0, "refused": 0, "text_only": 1, "not_compared": 0,
    }  # fmt: skip
    assert result["images"] == {
        "shown": 2, "distinct": 2, "unreadable": 0, "smallest": [8, 8], "largest": [16, 8],
    }  # fmt: skip
    assert [layout["name"] for layout in result["layouts"]] == ["question"]


STOPS = {
    "a number": (pair(chosen=7), "column 'chosen': holds a number (7)"),
    "null": (pair(rejected=None), "column 'rejected': the cell is null"),
    "no such file": (pair("none.png"), "column 'image': there is no file 'none.png'"),
    "marks": (pair(question="<image><image> What?"), "column 'question': <image> stands 2 times"),
    "margin": (pair(margin=None), "column 'margin': the cell is null"),
    "half a character": (pair(chosen="a \udc00 b"), "column 'chosen': holds half of a character"),
    "cut": (pair("cut.png"), "cut.png' is truncated"),
}


@pytest.mark.parametrize(("row", "said"), STOPS.values(), ids=STOPS)
def test_where_a_run_would_stop_with_the_same_words(folder, row, said):
    write(folder, pair(), row, pair("b.png"))
    result = check_data(str(folder))
    ((count, places),) = found(result).values()
    assert not result["ok"]
    assert count == 1 and places[0].startswith("train.jsonl, row 1, column '") and said in places[0]
    assert result["rows"]["refused"] == 1 and result["rows"]["kept"] == 2
    assert stop_of_a_run(folder) == places[0]


def stop_of_a_run(folder) -> str:
    """The first problem of the rows that a run reads, their pictures opened."""
    for item in open_records(str(folder)).items():
        if item.problem:
            return item.problem
        for row in item.rows:
            try:
                opened(row)
            except DataError as error:
                return str(error)
    return ""


def test_a_line_that_is_not_json(folder):
    write(folder, pair())
    with (folder / "train.jsonl").open("a") as file:
        file.write("{broken\n")
    assert found(check_data(str(folder)))["unreadable"][1][0].startswith(
        "train.jsonl, row 1: the row is not JSON"
    )


def test_files_that_leave_a_choice_or_are_empty(folder):
    (folder / "train.jsonl").touch()
    result = check_data(str(folder))
    assert not result["ok"] and list(found(result)) == ["unreadable"]
    assert "train.jsonl is empty" in found(result)["unreadable"][1][0]


def test_rows_that_a_run_leaves_out_are_counted_with_the_reason(folder):
    tie = [{"response": word, "annotations": {"Helpfulness": {"Rating": "4"}}} for word in "ab"]
    rows = (
        pair(rejected="A cup."),
        pair(chosen=" "),
        pair(),
        pair(rejected="A cup. "),
        pair("b.png"),
    )
    result = check_data(str(write(folder, *rows)))
    assert result["dropped"] == {"an answer is empty": 1, "chosen equals rejected": 2}
    assert found(result) == {
        "equal-answers": (2, ["train.jsonl, row 0", "train.jsonl, row 3"]),
        "empty-answer": (1, ["train.jsonl, row 1"]),
    }
    write(folder, *({"image": "a.png", "prompt": "What?", "completions": tie} for _ in range(7)))
    result = check_data(str(folder))
    assert result["answers"]["tied"] == 1.0
    assert found(result)["nothing-left"] == (1, [str(folder)])
    count, places = found(result)["left-out"]
    assert count == 7 and places == [f"train.jsonl, row {row}" for row in range(5)]
    assert result["findings"][1]["says"] == "all ratings tie; a run leaves the row out"


def test_rows_that_come_twice(folder):
    (folder / "same.png").write_bytes((folder / "a.png").read_bytes())
    rows = [
        pair(), pair("b.png"), pair(), pair("same.png"), pair(chosen="A cat.", rejected="A cup."),
        pair(question="Where?"), pair(chosen="A cup!"),
    ]  # fmt: skip
    result = check_data(str(write(folder, *rows)))
    assert found(result) == {
        "duplicate": (
            2, ["train.jsonl, row 2 (as train.jsonl, row 0)",
                "train.jsonl, row 3 (as train.jsonl, row 0)"]),
        "contradiction": (1, ["train.jsonl, row 4 (as train.jsonl, row 0)"]),
    }  # fmt: skip
    assert result["images"]["distinct"] == 2


def test_rows_of_another_split(folder):
    write(folder, pair("a.png", "One?"), pair(None, "Text?"), pair("b.png", "Two?"))
    tested = [
        pair("b.png", "Two?", "Other.", "Answers."), pair("a.png", "New?"), pair(None, "Text?"),
        pair(None, "One?"), pair(None, "New text?"), pair("cut.png"),
    ]  # fmt: skip
    write(folder, *tested, name="test.jsonl")
    write(folder, pair("none.png"), pair("b.png", "Val?"), name="val.jsonl")
    result = check_data(str(folder))
    assert result["rows"]["read"] == 3
    assert result["splits"] == {
        "test": {"rows": 6, "same_images_and_prompt": 2, "same_image": 1, "same_prompt": 1},
        "validation": {"rows": 1, "same_images_and_prompt": 0, "same_image": 1, "same_prompt": 0},
    }
    assert found(result) == {
        "leak": (2, ["test.jsonl, row 0 (as train.jsonl, row 2)",
                     "test.jsonl, row 2 (as train.jsonl, row 1)"]),
        "leaked-image": (2, ["test.jsonl, row 1 (as train.jsonl, row 0)",
                             "val.jsonl, row 1 (as train.jsonl, row 2)"]),
        "shared-prompt": (1, ["test.jsonl, row 3 (as train.jsonl, row 0)"]),
    }  # fmt: skip
    other = check_data(str(folder), split="test")
    assert other["rows"]["read"] == 6 and set(other["splits"]) == {"train", "validation"}


def test_a_split_that_cannot_be_read_is_a_note(folder):
    write(folder, pair(), pair("b.png"))
    (folder / "test.jsonl").touch()
    result = check_data(str(folder))
    assert result["ok"] and result["splits"] == {}
    assert found(result)["split-unread"][1][0].startswith("test: test.jsonl is empty")


def test_images_inside_of_parquet(folder):
    from datasets import Dataset

    def held(name):
        return {"bytes": (folder / name).read_bytes(), "path": name}

    rows = [pair(held("a.png")), pair(held("b.png")), pair(held("a.png")), pair(held("cut.png"))]
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    result = check_data(str(folder))
    assert result["images"]["distinct"] == 2
    assert found(result)["duplicate"][1] == ["train.parquet, row 2 (as train.parquet, row 0)"]
    assert found(result)["image"][1][0].startswith(
        "train.parquet, row 3, column 'image': 'cut.png' is truncated"
    )


def test_frames_and_upright_sizes(folder):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "two.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(folder / "turned.jpg", exif=exif)
    result = check_data(str(write(folder, pair("two.gif"), pair("turned.jpg"))))
    assert result["ok"] and result["images"]["largest"] == [20, 40]
    assert found(result) == {"frames": (1, ["train.jsonl, row 0, column 'image': 2 frames"])}


def test_a_run_says_once_that_first_frames_are_read(folder, capsys):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("one", "two"):
        frames[0].save(folder / f"{name}.gif", save_all=True, append_images=frames[1:])
    write(folder, pair("one.gif"), pair("two.gif"))
    assert stop_of_a_run(folder) == ""
    assert capsys.readouterr().err.count("several frames, of which the first is read") == 1


def test_methods_with_columns_of_their_own(folder):
    write(folder, *({"image": "a.png", "problem": f"{n}?", "solution": n % 2} for n in (0, 1, 1)))
    result = check_data(str(folder), method="r1_v", batch_size=2)
    assert result["rows"]["kept"] == 3 and list(found(result)) == ["duplicate"]
    assert "no known layout" in found(check_data(str(folder)))["unreadable"][1][0]


def test_columns_that_a_method_needs_are_missed_as_by_a_run(folder):
    """VLGuard's answers have nobody to be better than: SFT takes them, DPO does not."""
    record = {
        "id": "1",
        "image": "a.png",
        "instr-resp": [{"instruction": "What?", "response": "A."}],
    }
    write(folder, *[record] * 2, name="train.json")
    assert "stops" not in found(check_data(str(folder), method="sft"))
    assert "the method needs rejected" in str(found(check_data(str(folder), method="dpo")))


def test_true_answers_that_no_reward_tells_from_others(folder):
    rows = [{"image": "a.png", "question": "How many?", "answer": answer} for answer in ANSWERS]
    result = check_data(str(write(folder, *rows)), method="ppo", batch_size=2)
    assert found(result)["unearned"] == (3, [f"train.jsonl, row {row}" for row in (1, 2, 4)])
    assert not result["ok"]
    right = [row for row in rows if row["answer"] in ("12", "-2.5")] * 4
    result = check_data(str(write(folder, *right)), method="ppo", batch_size=2)
    assert "unearned" not in found(result)


ANSWERS = ("12", "6 + 6 = 12", "1,234", "-2.5", "3%")


def test_a_folder_whose_list_of_splits_is_broken(folder):
    for content in ("{", "[]"):
        (folder / "dataset_dict.json").write_text(content)
        found = check_data(str(folder))
        assert not found["ok"] and "lists no splits" in found["findings"][0]["places"][0]


def test_a_list_without_rows(folder):
    (folder / "train.json").write_text("[]")
    assert found(check_data(str(folder))) == {"nothing-left": (1, [f"{folder} holds no rows"])}


def test_letters_that_are_written_as_escapes_are_no_problem(folder):
    result = check_data(str(write(folder, pair(chosen="\u00e9 \U0001f600"), pair(chosen="abc"))))
    assert result["ok"] and result["answers"]["chosen_characters"] == 3


def test_the_first_rows(folder):
    write(folder, pair(), pair("b.png"), pair("none.png"))
    assert check_data(str(folder), limit=2)["rows"]["read"] == 2
    assert check_data(str(folder), limit=2)["ok"]


# --- what is counted -----------------------------------------------------------------------------


def test_lengths_by_hand():
    """Chosen 3, 5, rejected 4, 5: of the four pairings 3 < 4, 3 < 5, 5 > 4, 5 = 5, so 1.5 / 4."""
    lengths = PairLengths()
    assert (lengths.auc(), lengths.means()) == (0.5, (0.0, 0.0))
    for chosen, rejected in ((3, 4), (5, 5)):
        lengths.add(chosen, rejected)
    assert lengths.auc() == 1.5 / 4
    assert lengths.means() == (4.0, 4.5)
    assert (lengths.pairs, lengths.longer, lengths.shorter) == (2, 0, 1)


def test_answers_of_any_length_are_counted():
    lengths = PairLengths()
    lengths.add(10**7, 0)
    assert lengths.auc() == 1.0 and lengths.means() == (10**7, 0)


@pytest.mark.parametrize("longer", ["chosen", "rejected"])
def test_a_length_that_tells_the_answers_apart_is_noted(folder, longer):
    rows = [pair(question=f"{n}?", **{longer: "A cup, and more words."}) for n in range(10)]
    result = check_data(str(write(folder, *rows)))
    said = "longer" if longer == "chosen" else "shorter"
    assert found(result) == {"length-bias": (1, [f"chosen answers are {said}"])}
    assert result["answers"][f"{longer}_longer"] == 1.0 and result["ok"]
    assert found(check_data(str(write(folder, *rows[:9])))) == {}


def test_digests():
    digests, others = Digests(), Digests()
    assert [each.tolist() for each in digests.repeats()] == [[], []]
    for number in (5, -7, 5, 9, -7, 5):
        digests.add(number)
    assert [each.tolist() for each in digests.repeats()] == [[2, 4, 5], [0, 1, 0]]
    assert [each.tolist() for each in digests.among(others)] == [[], []]
    for number in (9, 1, 9, 5):
        others.add(number)
    assert [each.tolist() for each in digests.among(others)] == [[0, 2, 3, 5], [3, 3, 0, 3]]


class Generated:
    """Records made one by one."""

    name, layouts = "made", ()

    def __init__(self, count):
        self.count = count

    def items(self):
        for number in range(self.count):
            answers = {
                side: [{"role": "assistant", "content": f"{side} {number} " + "x" * 500}]
                for side in ("chosen", "rejected")
            }
            prompt = [{"role": "user", "content": f"{number}? " + "y" * 500}]
            yield Item(Place("f", number), ({"images": [], "prompt": prompt, **answers},))


def test_rows_are_not_kept():
    def peak(count):
        tracemalloc.start()
        check(Generated(count))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(500), peak(4500)
    # Arrays grow by an eighth at a time, and are sorted once at the end.
    assert (many - few) / 4000 < 3 * module.BYTES_PER_ROW


def test_rows_beyond_the_bound_are_checked_but_not_compared(folder, monkeypatch):
    monkeypatch.setattr(module, "ROWS_COMPARED", 2)
    result = check_data(str(write(folder, pair(), pair(), pair(), pair("none.png"))))
    assert result["rows"]["not_compared"] == 1
    assert found(result)["duplicate"][0] == 1 and found(result)["unreadable"][0] == 1


def test_a_file_is_opened_once_for_all_rows_that_show_it(folder, monkeypatch):
    opened = []
    monkeypatch.setattr(module, "look", lambda path: opened.append(path) or look(path))
    write(folder, *(pair(question=f"{n}?") for n in range(5)))
    assert check_data(str(folder))["images"]["shown"] == 5
    assert opened == [folder / "a.png"]


READ = """
import sys, tempfile
from datasets import load_dataset
with tempfile.TemporaryDirectory() as cache:
    for row in load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=cache):
        pass
"""


@pytest.mark.slow
def test_a_check_takes_little_more_than_reading(folder):
    """CPU time of both as programs, of 100,000 rows; the check opens images besides."""
    words = [f"word{number}" for number in range(1000)]

    def said(number):
        return " ".join(words[number * step % 1000] for step in range(1, 40))

    rows = (
        pair("ab"[n % 2] + ".png", f"{n}? {said(n)}", said(n + 1), said(n + 2))
        for n in range(100_000)
    )
    write(folder, *rows)

    def seconds(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        path = os.pathsep.join((str(ROOT / "tools"), str(ROOT)))
        subprocess.run(
            [sys.executable, *arguments], check=True, capture_output=True,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    file = str(folder / "train.jsonl")
    checked = min(seconds("-m", "mmalign", "data", "check", file) for _ in range(2))
    read = min(seconds("-c", READ, file) for _ in range(2))
    assert checked <= 1.5 * read


# --- tokens --------------------------------------------------------------------------------------

ASKED = [
    Asked([{"role": "user", "content": "What is it?"}], (), ("a", "a longer one")),
    Asked([{"role": "user", "content": "What is it?"}], ((20, 30),), ("yes", "no")),
    Asked(
        [{"role": "user", "content": [{"type": "text", "text": "First "}, {"type": "image"},
                                      {"type": "text", "text": " then "}, {"type": "image"}]}],
        ((16, 16), (40, 20)), ("b",)),
]  # fmt: skip


@pytest.mark.parametrize("family", ["llava_next", "idefics3", "qwen2_5_vl"])
def test_tokens_are_those_of_a_run(family):
    processor = tiny_models.build(family)[1]
    encoder = Encoder(processor)
    true = []
    for asked in ASKED:
        images = blanks(asked.sizes)
        prompt = encoder.prompt(asked.prompt, images)
        answers = [encoder.answer(asked.prompt, images, each) for each in asked.answers]
        true.append(len(prompt.ids) + max(len(each.ids) for each in answers))
    for limit in (None, *true):
        taken = [each.all for each in Lengths(processor, limit).of(ASKED)]
        for count, right in zip(taken, true, strict=True):
            assert abs(count - right) <= 4
            assert limit is None or (count > limit) == (right > limit)


def test_a_row_that_a_processor_refuses_does_not_hide_the_others():
    """Qwen's processor takes no image that is 200 times as wide as high."""
    words = [Asked([{"role": "user", "content": f"{n}?"}], (), ("a",)) for n in range(5)]
    wide = Asked([{"role": "user", "content": "x"}], ((3000, 2),), ("a",))
    lengths = Lengths(tiny_models.build("qwen2_5_vl")[1], 100)
    taken = lengths.of([*words[:3], wide, *words[3:]])
    assert "aspect ratio" in str(taken.pop(3))
    assert taken == lengths.of(words)


def test_rows_that_are_too_long_for_a_model(folder, tiny_base):
    words = "there is a red circle "
    write(folder, pair(), pair("b.png", chosen=words * 2000), pair(None, "a red circle"))
    result = check_data(str(folder), model=tiny_base)
    tokens = result["tokens"]
    assert tokens["rows"] == 3 and tokens["over"] == 1 and tokens["row"]["most"] > tokens["context"]
    assert tokens["images"] == {"least": 0, "mean": 42.7, "most": 64}
    count, (place,) = found(result)["too-long"]
    assert count == 1
    assert re.fullmatch(
        rf"train.jsonl, row 1: {tokens['row']['most']} tokens, \d+ of them images", place
    )


def test_what_a_method_samples_needs_room_as_well(folder, tiny_base, capsys):
    """The same bound as that of the run, to the token."""
    rows = [{"image": "a.png", "problem": f"{n}?", "solution": n} for n in range(3)]
    write(folder, *rows)
    options = {"method": "r1_v", "model": tiny_base, "batch_size": 1}
    tokens = check_data(str(folder), **options, answer_length=1)["tokens"]
    room = tokens["context"] - tokens["row"]["most"] + 1
    for length, stops in ((room, False), (room + 1, True)):
        codes = found(check_data(str(folder), **options, answer_length=length))
        assert ("too-long" in codes) == stops
    status = run("r1-v", [
        "--model", tiny_base, "--dataset", str(folder), "--batch-size", "1", "--steps", "1",
        "--answer-length", str(room + 1), "--no-baselines", "--output", str(folder / "out"),
    ])  # fmt: skip
    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 1 and "are more than the 1024 that the model reads" in said


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def mm(monkeypatch):
    monkeypatch.chdir(ROOT)
    return lambda *args: CliRunner().invoke(cli, ["data", "check", *map(str, args)])


def test_the_page_shows_what_is_printed_and_explains_each_code(mm):
    page = (ROOT / "docs/guide/check-your-data.md").read_text()
    example, faulty = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    result = mm("tests/data/example_pairs")
    assert (result.exit_code, result.stdout) == (0, example)
    result = mm("tests/data/faulty_pairs")
    assert result.exit_code == 1
    assert result.stdout[result.stdout.index("problem unreadable") :] == faulty
    for code in itertools.chain(PROBLEMS, NOTES):
        assert f"`{code}`" in page


def test_json_is_stable_and_counts(mm):
    result = mm("tests/data/faulty_pairs", "--json")
    assert result.exit_code == 1
    held = json.loads(result.stdout)
    assert list(held) == [
        "kind", "path", "layouts", "rows", "dropped", "images", "answers", "tokens", "splits",
        "ok", "findings", "split", "limit", "method", "model",
    ]  # fmt: skip
    assert mm("tests/data/faulty_pairs", "--format", "json").stdout == result.stdout
    shown = {"image": 1, "unreadable": 2, "equal-answers": 1, "duplicate": 1, "contradiction": 1,
             "leak": 1, "leaked-image": 1}  # fmt: skip
    assert {code: count for code, (count, _) in found(held).items()} == shown


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        ([""], 2, "PATH: there is nothing at ''"),
        (["nowhere"], 2, "PATH: there is nothing at 'nowhere'"),
        (["term:scenario/x"], 2, "PATH: there is nothing at 'term:scenario/x'"),
        (["~nobody-of-this-name/x"], 2, "PATH: there is nothing at '~nobody-of-this-name/x'"),
        (["owner/"], 2, "PATH: there is nothing at 'owner/'"),
        (["tests/data/example_pairs", "--model", "./none"], 2, "--model: there is nothing at"),
        (["tests/data/example_pairs", "--method", "dpoo"], 2, "no method is called 'dpoo'"),
        (["tests/data/example_pairs", "--model", "tests/data"], 1, "Error: --model tests/data: "),
        (["tests/data/example_pairs", "--limit", "0"], 2, "--limit"),
    ],
)
def test_what_cannot_be_checked_is_one_line(mm, args, status, said):
    result = mm(*args)
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_text_from_the_data_cannot_write_to_the_terminal(mm, folder):
    result = mm(write(folder, pair("\x1b[31m\x07.png")))
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout and "\x07" not in result.stdout


def test_progress_is_said_where_it_takes_long(mm, monkeypatch):
    monkeypatch.setattr(command, "SLOW", 0.0)
    result = mm("tests/data/example_pairs")
    assert re.match(r"2 rows read, \d+ per second\n", result.stderr)
    assert result.exit_code == 0


def test_open_records_and_the_check_see_the_same(folder):
    write(folder, pair(), pair(chosen=7), pair(rejected="A cup."))
    items = list(open_records(str(folder)).items())
    rows = check_data(str(folder))["rows"]
    assert rows["kept"] == sum(len(item.rows) for item in items)
    assert (rows["refused"], rows["dropped"]) == (
        sum(bool(item.problem) for item in items), sum(bool(item.dropped) for item in items),
    )  # fmt: skip


def test_without_the_extra(mm, monkeypatch):
    missing = types.ModuleType("reference_impls.core.data.check")

    def absent(name):
        raise ModuleNotFoundError("No module named 'datasets'", name="datasets")

    missing.__getattr__ = absent
    monkeypatch.setitem(sys.modules, missing.__name__, missing)
    result = mm("tests/data/example_pairs")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: 'datasets' is not installed; ")
    assert "pip install 'mmalign[train]'" in result.stderr
