"""Real data in place of the lab's data step: published layouts -> rows as `pairs.row` makes them.

| layout | columns |
| --- | --- |
| TRL | `images` or `image`, `prompt`, `chosen`, `rejected`, as messages or as text |
| RLAIF-V | `image`, `question`, `chosen`, `rejected` |
| RLHF-V | `image`, `text`: a JSON object with `question`, `chosen`, `rejected` |
| MMPR | `image` (a path), `question`, `chosen`, `rejected`, one JSON object per line |
| mDPO | `img_path`, `prompt`, `chosen`, `rejected` |
| VLFeedback | `image`, `prompt`, `completions` with `response` and rated `annotations` |

A dataset is a hub id, a folder written by `save_to_disk`, a folder with parquet, JSON or
JSON-lines files, or one such file. Paths of images are relative to it. Rows are decoded when they
are asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from reference_impls.core.data.rows import said, text
from reference_impls.core.method import Row, Stage

FILES = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}


class UnknownLayout(ValueError):
    """A record has none of the layouts above."""


@dataclass(frozen=True)
class Records(Sequence[Row]):
    """Records of a dataset and the folder that their image paths start from."""

    data: Any
    folder: Path

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self.data):
            raise IndexError(number)
        return opened(self.data[number], self.folder)


def load_records(name: str) -> Records:
    """The training split of a dataset.

    Raises FileNotFoundError for a path without data files, OSError when the hub cannot be reached.
    """
    from datasets.load import load_dataset, load_from_disk

    path = Path(name).expanduser()
    if (path / "state.json").exists():
        return Records(load_from_disk(str(path)), path)
    if path.is_file() and path.suffix in FILES:
        files, folder = [path], path.parent
    elif path.is_dir():
        files, folder = sorted(f for f in path.rglob("*") if f.suffix in FILES), path
    else:
        return Records(load_dataset(name, split="train"), Path())
    if not files:
        raise FileNotFoundError(f"no {', '.join(FILES)} file in {path}")
    kind = FILES[files[0].suffix]
    data = load_dataset(
        kind, data_files=[str(f) for f in files if FILES[f.suffix] == kind], split="train"
    )
    return Records(data, folder)


def opened(record: Row, folder: Path) -> Row:
    """The record with `images`, a list of RGB images, in place of whatever held them."""
    held = next((record[c] for c in ("images", "image", "img_path") if record.get(c)), None)
    if held is None:
        raise UnknownLayout(f"a record has no image; its columns are {', '.join(record)}")
    held = held if isinstance(held, list) else [held]
    return {**record, "images": [to_image(item, folder) for item in held]}


def to_image(item: Any, folder: Path) -> Image.Image:
    """An image from a PIL image, bytes as the hub stores them, or a path."""
    if isinstance(item, dict):
        item = io.BytesIO(item["bytes"]) if item.get("bytes") else item["path"]
    if isinstance(item, str):
        item = folder / item
    image = item if isinstance(item, Image.Image) else Image.open(item)
    return image.convert("RGB")


def as_text(value: Any) -> str:
    """Text of a message list or of a string, without the image placeholder."""
    words = value if isinstance(value, str) else text(value)
    return words.replace("<image>", "").strip()


def as_pair(record: Row, number: int) -> Row:
    """One record in any of the layouts as a preference pair. Raises UnknownLayout."""
    if isinstance(record.get("text"), str):  # RLHF-V
        record = {**record, **json.loads(record["text"])}
    if "completions" in record:  # VLFeedback
        record = {**record, **best_and_worst(record["completions"])}
    prompt = record.get("prompt", record.get("question"))
    answers = record.get("chosen"), record.get("rejected")
    if prompt is None or None in answers:
        raise UnknownLayout(
            f"record {number} is not a preference pair; its columns are {', '.join(record)}"
        )
    row: Row = {
        "images": record["images"],
        "prompt": [{"role": "user", "content": as_text(prompt)}],
        "chosen": said(as_text(answers[0])),
        "rejected": said(as_text(answers[1])),
    }
    if "margin" in record:
        row["margin"] = record["margin"]
    return row


@dataclass(frozen=True)
class Read(Sequence[Row]):
    """Records read as a stage reads them."""

    records: Records
    stage: Stage

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: Any) -> Any:
        record = self.records[number]
        return self.stage.read(record) if self.stage.read is not None else as_pair(record, number)


def read_rows(name: str, stage: Stage) -> Sequence[Row]:
    """A dataset as the rows of a stage; the first record is read at once, so that a wrong layout
    fails before anything is trained. Raises UnknownLayout."""
    rows = Read(load_records(name), stage)
    if len(rows):
        rows[0]
    return rows


def best_and_worst(completions: Any) -> dict[str, str]:
    """The responses with the highest and the lowest mean rating.

    `completions` is a list of objects, or an object of lists as the hub's loader gives it. An
    aspect that was not rated is left out; a response without any rating counts as 0."""
    if isinstance(completions, dict):
        columns = completions.items()
        count = len(completions["response"])
        completions = [{name: values[i] for name, values in columns} for i in range(count)]

    def rating(completion: Row) -> float:
        ratings = [aspect["Rating"] for aspect in completion["annotations"].values() if aspect]
        given = [float(rating) for rating in ratings if str(rating).replace(".", "", 1).isdigit()]
        return sum(given) / len(given) if given else 0.0

    ranked = sorted(completions, key=rating)
    return {"chosen": ranked[-1]["response"], "rejected": ranked[0]["response"]}
