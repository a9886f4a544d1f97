"""Listings as JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Row = Mapping[str, Any]
"""The view of one entry, as JSON has it."""


def to_json(value: object, ascii_only: bool = False) -> str:
    """Indented JSON with a newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=ascii_only) + "\n"


def to_csv(rows: Iterable[Row]) -> str:
    """One line per row, with a header. Mappings become columns `paper.title`; lists are joined
    with `; `, since no id holds a semicolon."""
    import csv
    import io

    flat = [dict(_flatten(row)) for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _flatten(row: Row, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, cell(value)


def cell(value: object) -> str:
    """A value as one cell: lists joined, nothing as an empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "; ".join(map(cell, value))
    if isinstance(value, Mapping):
        return str(value.get("text") or value.get("name") or value.get("id") or dict(value))
    return str(value)
