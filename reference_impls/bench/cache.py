"""What runs share and need not do twice: metrics of the base and of baselines, by content.

A name is made of everything that a number depends on: weights, rows, settings, and the code that
trains and measures, without its comments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from reference_impls.core import provenance
from reference_impls.core.cache import folder as folder
from reference_impls.core.train.checkpoints import digest, read_json, write_json

MEASURING = ("measure.py", *provenance.TRAINING)


T = TypeVar("T", bound=dict[str, Any])


def numbers_only(found: Any) -> bool:
    """Is it a table of numbers by name?"""
    return isinstance(found, dict) and all(isinstance(v, (int, float)) for v in found.values())


def name_of(parts: Mapping[str, Any]) -> str:
    """A name for numbers that depend on `parts` and on the code that measures."""
    code = provenance.code_digest(provenance.CORE / name for name in MEASURING)
    return digest(repr(sorted(parts.items())), code, repr(provenance.versions()))


def kept(
    label: str,
    parts: Mapping[str, Any],
    make: Callable[[], T],
    whole: Callable[[Any], bool] = numbers_only,
) -> T:
    """What has that name; made and kept where it is not there yet, or is not whole."""
    path = folder() / f"{label}-{name_of(parts)}.json"
    found = read_json(path)
    if whole(found):
        return cast(T, found)
    made = make()
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        write_json(path, made)
    return made
