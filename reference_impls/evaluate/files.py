"""Reading of published JSON: each row with its place, each fault as one line that names it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """Data or answers that cannot be used. The text is one line: place, fault, what is wanted."""


@dataclass(frozen=True)
class Record:
    """One object of a file: its values, and the number of its row, from 0."""

    file: Path
    row: int
    values: Mapping[str, Any]

    def fault(self, column: str, fault: str) -> BadInput:
        """The error to raise for a column of this row."""
        return BadInput(f"{self.file}, row {self.row}, column '{column}': {fault}")

    def value(self, column: str) -> Any:
        """Raises BadInput where the row has no such column."""
        if column not in self.values:
            there = ", ".join(map(str, self.values)) or "none"
            raise self.fault(column, f"it is missing; the columns are {there}")
        return self.values[column]

    def text(self, column: str) -> str:
        """Text; raises BadInput for anything else."""
        value = self.value(column)
        if not isinstance(value, str):
            raise self.fault(column, f"{_short(value)} is not text")
        return value

    def integer(self, column: str) -> int:
        """A whole number, also one that is written as text; raises BadInput for anything else."""
        value = self.value(column)
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(column, f"{_short(value)} is not a whole number")
        return value

    def texts(self, column: str) -> list[str]:
        """A list of texts; raises BadInput for anything else."""
        value = self.value(column)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.fault(column, f"{_short(value)} is not a list of texts")
        return value

    def choice(self, column: str, known: Sequence[str]) -> str:
        """One of some words, in lower case; raises BadInput for anything else."""
        word = self.text(column).strip().lower()
        if word not in known:
            raise self.fault(column, f"{_short(word)} is none of {', '.join(known)}")
        return word


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=True, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def read_text(file: Path) -> str:
    """The text of a file. Raises BadInput where it cannot be read or is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from None


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises BadInput with the place of a fault."""
    text = read_text(file)
    if not text.strip():
        raise BadInput(f"{file}: it is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{file}: {place}: it is not JSON: {error.msg}") from None
    except RecursionError:
        raise BadInput(f"{file}: it is nested too deeply to be read") from None


def records(file: Path, values: Any) -> Iterator[Record]:
    """The objects of a list that stands in a file. Raises BadInput where it is something else."""
    if not isinstance(values, list):
        raise BadInput(f"{file}: a list of objects is wanted, not {type(values).__name__}")
    for row, value in enumerate(values):
        if not isinstance(value, dict):
            raise BadInput(f"{file}, row {row}: {_short(value)} is not an object")
        yield Record(file, row, value)


def rows(file: Path) -> list[Record]:
    """The rows of a file, whatever its ending: one JSON object per line, one list of objects, or
    with the ending .tsv or .csv a table with a head. Raises BadInput."""
    if file.suffix.lower() in (".tsv", ".csv"):
        return list(_table(file))
    text = read_text(file)
    if not text.strip():
        raise BadInput(f"{file}: it is empty")
    if text.lstrip()[0] == "[":
        return list(records(file, read_json(file)))
    found: list[Record] = []
    # Not splitlines(): JSON may hold U+2028 and its like inside a text.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            said = getattr(error, "msg", "it is nested too deeply")
            raise BadInput(
                f"{file}, row {len(found)} (line {number}): it is not JSON: {said}"
            ) from None
        if not isinstance(value, dict):
            raise BadInput(f"{file}, row {len(found)}: {_short(value)} is not an object")
        found.append(Record(file, len(found), value))
    return found


def _table(file: Path) -> Iterator[Record]:
    read_text(file)
    csv.field_size_limit(1 << 27)  # descriptions, and images that VLMEvalKit keeps in a cell
    with file.open(encoding="utf-8-sig", newline="") as stream:
        table = csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        try:
            for row, values in enumerate(table):
                if None in values or None in values.values():
                    wanted = len(table.fieldnames or ())
                    raise BadInput(f"{file}, row {row}: it does not have {wanted} cells")
                yield Record(file, row, values)
        except csv.Error as error:
            raise BadInput(f"{file}, line {table.line_num}: {error}") from None
    if not table.fieldnames:
        raise BadInput(f"{file}: it is empty")


def only_file(folder: Path, pattern: str, what: str) -> Path:
    """The one file of a folder that fits. Raises BadInput where there is none, or several."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise BadInput(f"{folder}: there is no {pattern}; {what}")
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise BadInput(f"{folder}: {pattern} fits {names}; keep one in the folder")
    return found[0]
