"""Verdicts of all studies together: of many claims some come out by chance.

Each study decides its claims for itself. The ledger, all committed results, then controls the share
of false discoveries among them, and what does not survive is neither shown nor contradicted. Both
the verdict and the p-value that was adjusted for it are written into the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from scipy.stats import false_discovery_control

from reference_impls.bench import cache, statistics
from reference_impls.core.train.checkpoints import digest, read_json, write_json


class NotAResult(ValueError):
    """A file beside the results that is not one. The text names it."""


def add(folder: Path, name: str, result: Mapping[str, Any]) -> None:
    """Write a method's result into a folder and decide all of them anew. Raises NotAResult."""
    with _held(folder):
        write_json(folder / f"{name}.json", result)
        _decide(folder)


def settle(folder: Path) -> list[Path]:
    """Decide the claims of all results of a folder together; the files that changed.

    Doing it again changes nothing. Raises NotAResult.
    """
    with _held(folder):
        return _decide(folder)


def _held(folder: Path) -> FileLock:
    """Waits for another bench: between its reading of a result and its writing of the verdicts, a
    new result would be lost. The lock does not lie among the results, which are committed."""
    where = cache.folder()
    where.mkdir(parents=True, exist_ok=True)
    return FileLock(where / f"ledger-{digest(str(folder.resolve()))}.lock")


def _decide(folder: Path) -> list[Path]:
    results: dict[Path, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        found = read_json(path)
        if not isinstance(found, dict) or "verdicts" not in found:
            raise NotAResult(f"{path} is not a result of the bench")
        results[path] = found
    claims = [
        each for found in results.values() for each in found["verdicts"] if "p" in each["numbers"]
    ]
    if not claims:
        return []
    before = {path: repr(found) for path, found in results.items()}
    adjusted = false_discovery_control([each["numbers"]["p"] for each in claims])
    for each, p in zip(claims, adjusted, strict=True):
        numbers = each["numbers"]
        numbers["p_adjusted"] = round(float(p), 5)
        difference = statistics.Difference(
            numbers["difference"], numbers["low"], numbers["high"], numbers["p"],
            numbers["seeds"], numbers["blocks"],
        )  # fmt: skip
        each["verdict"] = statistics.verdict(
            difference, each["direction"], numbers["smallest_effect"],
            bool(p <= statistics.FALSE_DISCOVERY),
        )  # fmt: skip
    changed = [path for path, found in results.items() if repr(found) != before[path]]
    for path in changed:
        write_json(path, results[path])
    return changed
