"""The options that every listing takes, and `--since` of those whose rows have a record."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmalign.ask.catalogue import Catalogue
from mmalign.cli.arguments import TextParam, Whole
from mmalign.cli.output import Listing, format_options
from mmalign.vocabulary import PLURALS, Json

if TYPE_CHECKING:
    ListParam = click.ParamType[tuple[str, ...]]
else:  # not generic before click 8.4
    ListParam = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])


def listing(*formats: str, limit: int | None = None) -> Callable[[F], F]:
    """The options of every listing: `--format`, `--json`, `--columns`, `--sort` and `--limit`. The
    command gets them as one argument, `listing: Listing`."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(
            *args: Any, format_: str, as_json: bool, only: tuple[str, ...], sort: str | None,
            limit: int | None, **options: Any,
        ) -> Any:  # fmt: skip
            made = Listing("json" if as_json else format_, only, sort, limit)
            return function(*args, listing=made, **options)

        for option in (
            click.option("--limit", type=Whole(min=1), metavar="N", help="At most N of them.",
                         default=limit, show_default=limit is not None),
            click.option("--sort", type=Sort(), metavar="COLUMN",
                         help="Order by a column; -COLUMN from high to low."),
            click.option("--columns", "only", type=ColumnNames(), default=(), metavar="LIST",
                         help="Only these columns, such as id,year,paper.title."),
        ):  # fmt: skip
            command = option(command)
        return format_options(*formats)(command)  # type: ignore[return-value]  # as `function`

    return decorate


class ColumnNames(ListParam):
    """Names of columns with commas between. Not looked up here: that needs the rows."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(n.strip() for n in value.split(","))
        if "" in names:
            self.fail(f"'{value}' names a column that is empty", param, ctx)
        return names


class Sort(TextParam):
    """The name of a column, `-` before it for the other direction."""

    name = "column"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.removeprefix("-").strip():
            self.fail("a column has to be named", param, ctx)
        return str(value)


class Day(TextParam):
    """A day as `2025-03-01`; a month or a year means its first day."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        # Not date.fromisoformat alone: from Python 3.11 on that takes more forms.
        if re.fullmatch("[0-9]{4}(-[0-9]{2}){0,2}", value):
            day = str(value) + "-01" * (2 - value.count("-"))
            try:
                return datetime.date.fromisoformat(day).isoformat()
            except ValueError:
                pass
        self.fail(f"'{value}' is not a date such as 2025-03-01 or 2025-03", param, ctx)


since_option = click.option(
    "--since", type=Day(), metavar="DATE",
    help="Only what stands in a record that was added, or held against its sources again, on that "
    "day or later (2025-03-01, 2025-03 or 2025).",
)  # fmt: skip


def since_test(catalogue: Catalogue, kind: str, since: str | None) -> Callable[[Json], bool]:
    """Whether a row belongs to a record checked since then. Raises UsageError for kinds that stand
    in the record of no paper."""
    if since is None:
        return lambda row: True
    if kind in ("term", "erratum"):
        raise click.UsageError(f"--since asks for records of papers; {PLURALS[kind]} have none")
    return lambda row: catalogue.checked(row["paper"]["id"]) >= since
