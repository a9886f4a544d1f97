"""The nouns that the method scripts share.

Importing it loads nothing: a name is imported when it is asked for, since torch takes seconds, and
the options of a script are to be read where torch is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_impls.core.scores import PairBatch, Scores

__all__ = ["PairBatch", "Scores"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from reference_impls.core import scores

        return getattr(scores, name)
    raise AttributeError(f"module 'reference_impls.core' has no attribute '{name}'")
