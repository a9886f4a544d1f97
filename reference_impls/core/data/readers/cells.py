"""Parts of a record: where they stand, what is wrong with them, and pictures not opened yet."""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from reference_impls.core.data.boxes import one_box
from reference_impls.core.data.images import ImageProblem, cut, opened


class DataError(ValueError):
    """Data that cannot be read. The text is one line: where, what is wrong, what to do."""


class CellError(ValueError):
    """What is wrong with a column of a row, and what to write instead."""

    def __init__(self, column: str, text: str) -> None:
        super().__init__(text)
        self.column = column


class Dropped(Exception):
    """A row that makes no example, and is no mistake either (a tie, two equal answers)."""


@dataclass(frozen=True)
class Place:
    """Where a value stands: a file (or the hub id), a row of it from 0, and a column."""

    file: str
    row: int
    column: str = ""

    def __str__(self) -> str:
        where = f"{self.file}, row {self.row}"
        return f"{where}, column '{self.column}'" if self.column else where


class Record(dict[str, Any]):
    """A row as its file has it. A column that is asked for by name has to be there, not null."""

    def __missing__(self, column: str) -> Any:
        raise CellError(column, f"the column is missing; the row has {listed(self)}")

    def __getitem__(self, column: str) -> Any:
        value = super().__getitem__(column)
        if value is None:
            raise CellError(column, "the cell is null; write a value, or take the row out")
        return value

    def text(self, column: str) -> str:
        """A column of text. Raises CellError for anything else."""
        return as_text(self[column], column)


def listed(columns: Iterable[str]) -> str:
    """Names of columns for a message, at most a dozen."""
    names = [cut(name) for name in columns]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more if names else "no columns"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{cut(twice)}' stands twice")
    return held


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def json_of(text: str | bytes) -> Any:
    """What a JSON text means. Raises ValueError, in one line, also where an object has a key twice
    (Python would take the last one) or is nested too deeply."""
    try:
        return _DECODER.decode(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def half_character(value: Any) -> bool:
    """Whether a lone surrogate stands anywhere in a value; no tokenizer takes it."""
    return re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)) is not None


def checked_characters(record: Record) -> None:
    """Raises CellError for a column with a lone surrogate."""
    for column, cell in record.items():
        if half_character([column, cell]):
            raise CellError(
                column,
                "holds half of a character (a lone surrogate, \\ud800 to \\udfff); write both "
                "halves or none",
            )


def as_final_answer(value: Any, column: str) -> str:
    """A true answer that completions are compared with, which may be a number: 3 and 3.0 are "3".

    Raises CellError for anything else, and for an empty text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise CellError(column, f"{value} is not a finite number")
        return str(int(value) if value == int(value) else value)
    text = as_text(value, column)
    if not text.strip():
        raise CellError(column, "the true answer is empty; write it, or take the row out")
    return text


def as_boxes(text: str, column: str) -> str:
    """A true answer that is one box, `[x1, y1, x2, y2]`, or a detection: a block of JSON, or `None`
    where nothing is. Raises CellError for any other text."""
    if "```json" in text or text == "None":
        return text
    try:
        left, top, right, bottom = one_box(text)
    except ValueError as error:
        raise CellError(column, f"{cut(str(error))}; nor is it a block of JSON") from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise CellError(column, f"{cut(text)} holds nothing; wanted is left, top, right, bottom")
    return text


def as_text(value: Any, column: str) -> str:
    """The value, which has to be a str. Raises CellError."""
    if isinstance(value, str):
        return value
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list",
             dict: "an object", type(None): "null", bytes: "bytes"}  # fmt: skip
    kind = kinds.get(type(value), type(value).__name__)
    shown = f" ({cut(str(value))})" if isinstance(value, (int, float)) else ""
    raise CellError(column, f"holds {kind}{shown} where text is wanted; write it in quotes")


@dataclass(frozen=True)
class Picture:
    """An image of a row that has not been opened.

    source: what the row holds: a path, bytes, or {bytes, path} as the hub stores it; None where
    rows were read without the bytes. file: the one that it is in, where it is a file of its own.
    """

    source: Any
    file: str | None
    place: Place

    @property
    def path(self) -> Path | None:
        """The file; of a hundred thousand rows few are asked for it, and to make one takes long."""
        return None if self.file is None else Path(self.file)

    def open(self) -> Image.Image:
        """The image as RGB. Raises DataError with its place where it cannot be read."""
        try:
            return opened(self.source if self.file is None else self.file, note=_several_frames)
        except ImageProblem as error:
            raise DataError(f"{self.place}: {error}") from None


def _several_frames(_: str) -> None:
    _say_once(
        "some images have several frames, of which the first is read; `mmalign data check` names "
        "them"
    )


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
