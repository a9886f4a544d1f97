"""What is made once and kept: trained parts of the lab, under names made of their content."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reference_impls.core import provenance
from reference_impls.core.train.checkpoints import digest, is_complete, mark_complete


def folder() -> Path:
    """Where the lab keeps things between runs: $XDG_CACHE_HOME/mmalign/lab."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    return base / "mmalign" / "lab"


def kept_path(label: str, parts: Mapping[str, Any], code: tuple[str, ...]) -> Path:
    """Where such a folder lies, or would lie. Its name is a digest of `parts` and of the code that
    it depends on: modules or folders of `core`."""
    modules = provenance.code_digest(provenance.CORE / name for name in code)
    name = digest(repr(sorted(parts.items())), modules, repr(provenance.versions()))
    return folder() / f"{label}-{name}"


def kept_folder(
    label: str, parts: Mapping[str, Any], code: tuple[str, ...], make: Callable[[Path], None]
) -> Path:
    """The folder that `make` filled, now or in an earlier run.

    A folder counts when it is whole; one that cannot be kept is made in a temporary place.
    """
    path = kept_path(label, parts, code)
    if is_complete(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{label}-", dir=path.parent))
    except OSError:
        draft = Path(tempfile.mkdtemp(prefix=f"{label}-"))
    try:
        make(draft)
        mark_complete(draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if draft.parent != path.parent:
        return draft
    if path.exists() and not is_complete(path):
        shutil.rmtree(path, ignore_errors=True)
    try:
        draft.rename(path)
    except OSError:  # another process was faster
        shutil.rmtree(draft, ignore_errors=True)
    return path
