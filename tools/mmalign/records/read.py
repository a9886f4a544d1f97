"""From a folder of YAML files to a knowledge base: `mmalign.load`."""

from __future__ import annotations

import os
from pathlib import Path

from mmalign.errors import LoadError
from mmalign.records.collect import read
from mmalign.records.kb import KnowledgeBase
from mmalign.records.problems import LISTED, capped, render
from mmalign.records.root import find_root


def load(root: str | os.PathLike[str] | None = None) -> KnowledgeBase:
    """The records of a root (see `find_root`), typed. Checks their shape, not the rules.

    Raises LoadError with every problem of shape, RootNotFound where there is no data.
    """
    records = read(Path(find_root(root)))
    if records.problems:
        raise LoadError(records.problems, render(capped(records.problems, LISTED)))
    return records.knowledge_base()
