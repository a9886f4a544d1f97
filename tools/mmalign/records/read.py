"""From a folder of YAML files to a knowledge base: `mmalign.load`."""

from __future__ import annotations

import os
from pathlib import Path

from mmalign.errors import LoadError
from mmalign.records import cache
from mmalign.records.collect import FILES, Records, read
from mmalign.records.kb import KnowledgeBase
from mmalign.records.root import find_root


def load(root: str | os.PathLike[str] | None = None) -> KnowledgeBase:
    """The records of a root (see `find_root`), typed. Checks their shape, not the rules.

    Raises LoadError with every problem of shape, RootNotFound where there is no data.
    """
    found = Path(find_root(root))
    kept = cache.get(found, {model.__name__: model for model in FILES})
    if kept is not None:
        records = Records(found)
        for file, record in kept:
            records.add(file, record)
        return records.knowledge_base()
    before = cache.stamp(found)
    records = read(found)
    if records.problems:
        raise LoadError(records.problems)
    cache.put(found, before, records.all())
    return records.knowledge_base()
