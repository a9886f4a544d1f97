"""Ids, kinds, terms and numbers as arguments: reading them, and completing them in a shell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from mmalign.ask.catalogue import Catalogue, open_catalogue
from mmalign.cli.output import note
from mmalign.errors import UnknownId
from mmalign.names import nearest
from mmalign.vocabulary import KINDS, LISTED, PLURALS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    TextParam = click.ParamType[str]
else:  # not generic before click 8.4
    TextParam = click.ParamType

Offered = Iterable[tuple[str, str]]
"""What a shell may offer: a word and what it means."""


class Whole(click.IntRange):
    """A whole number as people write it: digits 0 to 9 and a sign.

    Python's `int` also takes `2_024`, the digits of every script and blanks around them.
    """

    _WRITTEN = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not self._WRITTEN.fullmatch(value):
            self.fail(f"'{value}' is not a whole number", param, ctx)
        return super().convert(value, param, ctx)


class Place(click.Path):
    """A file or folder. An empty name would be taken for the folder that one stands in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            what = "folder" if not self.file_okay else "file" if not self.dir_okay else "path"
            self.fail(f"a {what} is wanted, not an empty name", param, ctx)
        return super().convert(value, param, ctx)


FILE = Place(exists=True, dir_okay=False, allow_dash=True)
"""A file to read, or `-` for standard input."""


class Kind(TextParam):
    """A kind, singular or plural; gives the singular."""

    name = "kind"

    def __init__(self, kinds: tuple[str, ...] = LISTED):
        self.kinds = kinds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        wanted = value.lower()
        for kind in self.kinds:
            if wanted in (kind, PLURALS[kind]):
                return kind
        known = [PLURALS[kind] for kind in self.kinds]
        near = nearest(wanted, [*known, *self.kinds])
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        self.fail(f"'{value}' is not one of {', '.join(known)}{hint}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(PLURALS[kind])
            for kind in self.kinds
            if PLURALS[kind].startswith(incomplete)
        ]


class Name(TextParam):
    """An id, alias or full name of an entry. Not looked up here: that needs the records."""

    name = "id"

    def __init__(self, kinds: tuple[str, ...] = KINDS):
        self.kinds = kinds

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return complete(ctx, incomplete, self._names)

    def _names(self, catalogue: Catalogue) -> Offered:
        for kind in self.kinds:
            for row in catalogue.rows(kind):
                # A colon ends a word for bash, so that full names are completed for terms only.
                yield row["id"], f"{kind}: {row['name']}"


class TermName(TextParam):
    """A term of one facet, `!` before it to exclude."""

    name = "term"

    def __init__(self, key: str):
        self.key = key

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return complete(ctx, incomplete, self._names)

    def _names(self, catalogue: Catalogue) -> Offered:
        for facet in catalogue.facets.values():
            if facet["key"] == self.key:
                yield from ((term["id"], term["label"]) for term in facet["terms"])


def complete(
    ctx: click.Context, incomplete: str, names: Callable[[Catalogue], Offered]
) -> list[CompletionItem]:
    """What of `names` begins as `incomplete` does, a `!` before it or not."""
    from click.shell_completion import CompletionItem

    sign = "!" if incomplete.startswith("!") else ""
    try:
        catalogue = open_catalogue(ctx.find_root().params.get("root"))
        found = dict(names(catalogue))
    except Exception:  # a shell must not print errors while one types
        return []
    return [
        CompletionItem(sign + name, help=help_)
        for name, help_ in sorted(found.items())
        if name.startswith(incomplete[len(sign) :])
    ]


def resolve(catalogue: Catalogue, name: str, kinds: tuple[str, ...] = KINDS) -> str:
    """The full name that `name` means; a note on stderr names what else it could mean."""
    try:
        first, *others = catalogue.find(name, kinds)
    except UnknownId as error:
        raise click.UsageError(str(error)) from None
    if others:
        note(f"'{name}' is taken as {first}; there is also {', '.join(others)}")
    return first
