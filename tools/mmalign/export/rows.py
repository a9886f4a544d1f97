"""Listings as JSON, JSON lines and CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmalign.characters import printable_json

Row = Mapping[str, Any]
"""The view of one entry, as JSON has it."""

FORMULA = tuple("=+-@\t\n\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the beginning of a formula, or skips before one; the last four are
full-width. Source: OWASP, CSV injection."""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def to_json(value: object, ascii_only: bool = False) -> str:
    """Indented JSON with a newline at the end."""
    return printable_json(json.dumps(value, indent=2, ensure_ascii=ascii_only)) + "\n"


def to_json_lines(rows: Iterable[Row], ascii_only: bool = False) -> str:
    """One object a line."""
    return "".join(printable_json(json.dumps(r, ensure_ascii=ascii_only)) + "\n" for r in rows)


def to_csv(rows: Iterable[Row]) -> str:
    """One line per row, with a header. Mappings become columns `paper.title`; lists are joined
    with `; `, since no id holds a semicolon.

    A text that a spreadsheet would run as a formula gets an apostrophe before it (`harmless`); who
    needs the very text of the record reads JSON.
    """
    import csv
    import io

    flat = [{harmless(k): harmless(v) for k, v in _flatten(row)} for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def harmless(text: str) -> str:
    """A cell's text, with an apostrophe before it where it would be a formula. Numbers are none.

    A carriage return becomes a line feed: it would end the row for some readers.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(FORMULA) and not _NUMBER.fullmatch(text) else text


def _flatten(row: Row, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, cell(value)


def cell(value: object, joint: str = "; ") -> str:
    """A value as one cell: lists joined, nothing as an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return joint.join(cell(each, joint) for each in value)
    if isinstance(value, Mapping):
        said = value.get("text") or value.get("name") or value.get("id")
        return str(said or ", ".join(f"{key} {_short(each)}" for key, each in value.items()))
    return str(value)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else cell(value)
