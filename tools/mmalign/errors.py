"""What can go wrong for a user of mmalign. Every error is a `MmalignError` with one clear text.

Nothing but the standard library is imported at the top: the fast commands raise these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class MmalignError(Exception):
    """Base of all errors of mmalign; its text is for the person who gave the input."""


class RootNotFound(MmalignError, FileNotFoundError):
    """There is no data where it was looked for."""


class Located(Protocol):
    """What `LoadError` tells of a problem: `mmalign.records.problems.Problem` is one.

    This module stands below the records and cannot name their class.
    """

    @property
    def code(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def message(self) -> str: ...
    @property
    def hint(self) -> str: ...


class LoadError(MmalignError):
    """The records cannot be used. `problems` says why; the text of the error lists them."""

    def __init__(self, problems: Iterable[Located], text: str):
        """`text` is the list of the problems, one a line."""
        self.problems = tuple(problems)
        super().__init__("the records have problems:\n" + text)


class UnknownId(MmalignError, LookupError):
    """Nothing is called so. `nearest` holds the names that look most like it."""

    def __init__(self, message: str, nearest: Iterable[str] = ()):
        self.nearest = tuple(nearest)
        hint = f"; did you mean {' or '.join(self.nearest)}?" if self.nearest else ""
        super().__init__(message + hint)


class UnknownAxis(MmalignError, LookupError):
    """No axis of a table of gaps is called so; `known` lists those that exist."""

    def __init__(self, name: str, known: Iterable[str]):
        self.known = tuple(known)
        super().__init__(f"'{name}' is not one of {', '.join(self.known)}")


class NoRevision(MmalignError):
    """A revision of the records cannot be read. The text says why."""


class BadSource(MmalignError, ValueError):
    """A file beside the records that the site is made of cannot be used. The text says which."""


class BadReference(MmalignError, ValueError):
    """A bibliographic reference cannot be read. The text says where and why."""
