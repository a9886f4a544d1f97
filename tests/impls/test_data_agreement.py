"""A check and a run refuse the same data: the hostile inputs of the other tests, through both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reference_impls.core.command_line import run
from reference_impls.core.data.check import STOPS, check_data
from tests.impls import tiny_models
from tests.impls.test_data_check import STOPS as ROWS_THAT_STOP
from tests.impls.test_images import NO_PICTURES, chunk, exif_of, png, random_levels, tiff
from tests.impls.test_readers import MISREAD, NO_LISTS, NO_ROWS, PAIR, WRONG, written

GOOD = [{**PAIR, "image": f"{n}.png", "question": f"What is item {n}?"} for n in range(4)]
WHOLE = "".join(json.dumps(each) + "\n" for each in GOOD)
Write = Callable[[Path], object]


def rows(*records: object, beside: bool = True) -> Write:
    """Records among good rows, or alone."""
    before, after = (GOOD[:2], GOOD[2:]) if beside else ([], [])
    return lambda folder: written(folder / "data.jsonl", *before, *records, *after)


def files(**content: str | bytes) -> Write:
    """Files by name; `__` stands for the point."""

    def write(folder: Path) -> None:
        for name, held in content.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(held if isinstance(held, bytes) else held.encode())

    return write


def picture(content: bytes) -> Write:
    """A picture among good ones."""

    def write(folder: Path) -> None:
        (folder / "odd.jpg").write_bytes(content)
        rows({**PAIR, "image": "odd.jpg"})(folder)

    return write


def several(*writes: Write) -> Write:
    return lambda folder: [write(folder) for write in writes]


SCENE = random_levels(255, 3)
RATED = {"image": "0.png", "prompt": "?", "completions": [
    {"response": word, "annotations": {"a": {"Rating": "4"}}} for word in "ab"]}  # fmt: skip
HOSTILE: dict[str, tuple[Write, bool]] = {
    "good rows": (rows(), False),
    "one row": (rows(GOOD[0], beside=False), True),
    "two rows": (rows(*GOOD[:2], beside=False), True),
    "three rows": (rows(*GOOD[:3], beside=False), False),
    "equal and empty answers": (rows({**GOOD[0], "rejected": "A cup."},
                                     {**GOOD[0], "chosen": " "}), False),
    "equal answers alone": (rows(*[{**GOOD[0], "rejected": "A cup."}] * 4, beside=False), True),
    "equal answers, and too few others": (
        rows(*[{**GOOD[0], "rejected": "A cup."}] * 4, *GOOD[:2], beside=False), True),
    "ties alone": (rows(*[RATED] * 4, beside=False), True),
    "rows twice": (rows(*GOOD), False),
    "a row that is too long": (rows({**GOOD[0], "chosen": "cup " * 3000}), True),
    "an image that is too wide for none": (picture(png(random_levels(1)[:1], 1, 0)), False),
    "a photo that lies": (picture(png(SCENE, 8, 2, chunk(b"eXIf", exif_of(6)))), False),
    "a scan in which zero is white": (picture(tiff(SCENE[..., 0].astype("u1"), 0)), False),
    "a margin in every row": (rows(*[{**each, "margin": n} for n, each in enumerate(GOOD)],
                                   beside=False), False),
    "a margin in one row": (rows({**GOOD[0], "margin": 1}), True),
    "a margin in all rows but one": (rows(*[{**each, "margin": 1} for each in GOOD], GOOD[0],
                                          beside=False), True),
    "a split beside": (files(train__jsonl=WHOLE, test__jsonl="{"), False),
    "no split to train on": (files(test__jsonl=WHOLE), True),
    "no split that can be told from others": (files(test__jsonl=WHOLE, val__jsonl=WHOLE), True),
    "two kinds of files": (files(a__jsonl=WHOLE, b__parquet=b"x"), True),
    "a packed file beside": (files(a__jsonl=WHOLE, b__jsonl__gz=b"x"), True),
    "an empty file": (files(data__jsonl=""), True),
    "an empty list": (files(data__json="[]"), True),
    "a parquet file that is cut": (files(data__parquet=b"PAR1" + bytes(20)), True),
    "no file": (files(), True),
    "not UTF-8": (files(data__jsonl=WHOLE.encode() + b'{"question": "\xff"}'), True),
    **{f"picture {n}": (picture(content), True) for n, (content, _) in enumerate(NO_PICTURES)},
    **{f"cell {n}, {column}": (rows({**GOOD[0], **change}), True)
       for n, (change, column, _) in enumerate(WRONG)},
    **{f"layout {n}, {column}": (rows(record, beside=False), True)
       for n, (record, column, _) in enumerate(MISREAD)},
    **{f"line {n}": (rows(line), True) for n, (line, _) in enumerate(NO_ROWS)},
    **{f"list {n}": (files(data__json=content.replace("%s", json.dumps(GOOD[0]))), True)
       for n, (content, _) in enumerate(NO_LISTS)},
    **{f"row, {name}": (rows({**row, "image": row["image"].replace("a.png", "0.png")}), True)
       for name, (row, _) in ROWS_THAT_STOP.items()},
}  # fmt: skip
"""How a folder is filled, and whether a run stops at it."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in tiny_models.build("llava"):
        part.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 6), (number * 60, 0, 0)).save(tmp_path / "data" / f"{number}.png")
    (tmp_path / "data" / "cut.png").write_bytes((tmp_path / "data" / "1.png").read_bytes()[:50])
    return tmp_path / "data"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_check_finds_what_a_run_would_stop_at_and_nothing_else(
    name, folder, model, tmp_path, capsys
):
    write, stops = HOSTILE[name]
    write(folder)
    found = check_data(str(folder), method="dpo", model=model, batch_size=2)
    codes = [each["code"] for each in found["findings"]]
    status = run("dpo", [
        "--model", model, "--dataset", str(folder), "--epochs", "1", "--batch-size", "2",
        "--no-baselines", "--output", str(tmp_path / "out"),
    ])  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert status == int(stops), said
    assert any(code in STOPS for code in codes) == stops, codes
    if stops:
        assert "Traceback" not in "".join(said)
        line = said[-1].removeprefix("Error: ").removeprefix("--dataset: ")
        places = [place for each in found["findings"] for place in each["places"]]
        place = re.split(r"[:;]|, view ", line)[0]
        assert any(place in each for each in places), (line, places)
