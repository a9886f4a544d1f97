"""What of the lab belongs to a root: the scripts of its methods, and their committed results."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mmalign.errors import BadSource
from mmalign.records import root as places
from mmalign.vocabulary import Json

RESULT = ("method", "seeds", "tables", "verdicts")
"""What every result has, whoever reads it."""


def folder(root: str | os.PathLike[str]) -> Path:
    """The folder of the lab: in a checkout beside the records, where mmalign is installed beside
    the package. It need not exist."""
    beside = os.path.dirname(places.PACKAGE) if os.fspath(root) == places.INSTALLED else root
    return Path(beside) / "reference_impls"


def results(root: str | os.PathLike[str]) -> list[Json]:
    """The committed results of the lab, in the order of their file names. Raises BadSource."""
    return _read(folder(root) / "results")


def smoke_runs(root: str | os.PathLike[str]) -> list[Json]:
    """The committed smoke runs, as results. Raises BadSource."""
    return _read(folder(root) / "smoke")


def _read(place: Path) -> list[Json]:
    found = []
    for file in sorted(place.glob("*.json")):
        try:
            result = json.loads(text(file))
        except ValueError as error:
            raise BadSource(f"{file} is not JSON: {error}") from None
        if not isinstance(result, dict):
            raise BadSource(f"{file} does not hold a JSON object")
        missing = [key for key in RESULT if key not in result]
        if missing:
            raise BadSource(f"{file} has no '{missing[0]}', which a result of mmalign bench has")
        found.append(result)
    return found


def scripts(root: str | os.PathLike[str]) -> dict[str, str]:
    """The scripts of methods, by the name that a record calls them. Raises BadSource."""
    files = sorted((folder(root) / "methods").glob("[a-z]*.py"))
    return {file.stem: text(file) for file in files}


def text(file: Path) -> str:
    """A file of UTF-8. Raises BadSource where it is another one."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadSource(f"{file} is not UTF-8") from None
