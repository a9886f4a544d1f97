"""Verdicts of all studies together: of many claims some come out by chance.

Each study decides its claims for itself. The ledger, all committed results, then controls the share
of false discoveries among them, and what does not survive is neither shown nor contradicted. Both
the verdict and the p-value that was adjusted for it are written into the results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy.stats import false_discovery_control

from reference_impls.bench import statistics
from reference_impls.core.train.checkpoints import read_json, write_json


class NotAResult(ValueError):
    """A file beside the results that is not one. The text names it."""


def settle(folder: Path) -> list[Path]:
    """Decide the claims of all results of a folder together; the files that changed.

    Doing it again changes nothing. Raises NotAResult.
    """
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
