"""mmalign: a checked knowledge base of multimodal-LLM alignment.

>>> import mmalign
>>> kb = mmalign.load()          # doctest: +SKIP

Importing the package imports nothing else: the records' models cost 0.1 s, which `mmalign --help`
must not pay. A name of `__all__` is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmalign.errors import (
        BadReference,
        BadSource,
        LoadError,
        MmalignError,
        NoRevision,
        RootNotFound,
        UnknownAxis,
        UnknownId,
    )
    from mmalign.records.kb import EntryNode, KnowledgeBase, Node, TermNode
    from mmalign.records.model import (
        Benchmark,
        Dataset,
        Erratum,
        Evidence,
        Facet,
        Framework,
        Method,
        ModelEntry,
        Paper,
        Relation,
        Term,
    )
    from mmalign.records.read import load

__all__ = [
    "BadReference",
    "BadSource",
    "Benchmark",
    "Dataset",
    "EntryNode",
    "Erratum",
    "Evidence",
    "Facet",
    "Framework",
    "KnowledgeBase",
    "LoadError",
    "Method",
    "MmalignError",
    "ModelEntry",
    "NoRevision",
    "Node",
    "Paper",
    "Relation",
    "RootNotFound",
    "Term",
    "TermNode",
    "UnknownAxis",
    "UnknownId",
    "__version__",
    "load",
]

_HOMES = ("mmalign.errors", "mmalign.records.read", "mmalign.records.kb", "mmalign.records.model")


def __getattr__(name: str) -> object:
    if name in __all__:
        import importlib

        for home in _HOMES:
            module = importlib.import_module(home)
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'mmalign' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
