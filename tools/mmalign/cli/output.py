"""How listings are written: the same options for all, data on stdout, notes on stderr."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from mmalign.ask.catalogue import Catalogue, open_catalogue
from mmalign.names import nearest
from mmalign.vocabulary import Json

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv", "md", "ids", "jsonl", "bibtex")
TABLE_FORMATS = ("table", "json", "csv", "md", "jsonl")
"""Of tables whose rows are no entries."""

# Kind -> columns of its table. A dot goes into a mapping.
COLUMNS = {
    "method": ("id", "name", "paper.year", "scenario", "objective.family", "annotation", "has"),
    "dataset": ("id", "name", "paper.year", "modality", "annotation", "size_released", "has"),
    "benchmark": ("id", "name", "paper.year", "dimension", "modality", "judge"),
    "model": ("id", "name", "paper.year", "modality", "sizes"),
    "framework": ("id", "name", "paper.year", "location"),
    "paper": ("id", "year", "venue", "title", "has"),
    "term": ("facet", "id", "parent", "entries", "name"),
    "erratum": ("id", "severity", "where", "says", "correct"),
    "claim": ("method", "id", "metric", "direction", "against", "text"),
}


def note(text: str) -> None:
    """A remark for the person at the terminal, on stderr."""
    from mmalign.characters import printable

    click.echo(f"note: {printable(text)}", err=True)


def catalogue(ctx: click.Context) -> Catalogue:
    """The catalogue of the root that `--root` names."""
    return open_catalogue(ctx.find_root().obj)


def format_options(*formats: str) -> Callable[[F], F]:
    """`--format` with these choices, `table` by default, and `--json`, short for one of them."""

    def decorate(function: F) -> F:
        short = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
        long = click.option(
            "--format", "format_", type=click.Choice(formats), default="table", show_default=True,
            help="How to write it.",
        )  # fmt: skip
        return long(short(function))

    return decorate


listing_options = format_options(*FORMATS)
"""Of what is written as entries but is no flat list."""
table_options = format_options("table", "json", "csv", "md")
"""Of tables with a form of their own."""


@dataclass(frozen=True)
class Listing:
    """How a listing is written: what `listing` makes of its options."""

    format: str = "table"
    columns: tuple[str, ...] = ()
    sort: str | None = None
    limit: int | None = None

    def refuse(self, why: str) -> None:
        """Raise UsageError if an option is given that says which rows and columns to write."""
        given = {"--columns": self.columns, "--sort": self.sort, "--limit": self.limit}
        named = [name for name, value in given.items() if value]
        if named:
            raise click.UsageError(f"{named[0]} {why}")

    def arranged(self, rows: Sequence[Json], known: Iterable[Json]) -> list[Json]:
        """The rows in the order asked for, and as many. `known` rows say which columns exist."""
        ordered = list(rows)
        if self.sort is not None:
            path = column(self.sort.removeprefix("-"), known, "--sort")
            there = [row for row in ordered if lookup(row, path) not in (None, [], "")]
            missing = [row for row in ordered if lookup(row, path) in (None, [], "")]
            there.sort(key=lambda row: _order(lookup(row, path)), reverse=self.sort[0] == "-")
            ordered = there + missing
        return ordered[: self.limit]

    def chosen(self, known: Iterable[Json]) -> tuple[str, ...]:
        """Paths of the columns asked for; none where the usual ones will do."""
        rows = list(known) if self.columns else []
        return tuple(dict.fromkeys(column(name, rows, "--columns") for name in self.columns))


def column(name: str, known: Iterable[Json], option: str) -> str:
    """The path of a column in the rows that has this name or ends in it. Raises BadParameter."""
    paths: dict[str, None] = {}
    for row in known:
        paths |= dict.fromkeys(_paths(row))
    wanted = name.strip().lower().replace("-", "_").replace(" ", "_")
    ends = {path.rpartition(".")[2]: path for path in reversed(paths)}
    found = wanted if wanted in paths else ends.get(wanted)
    if found is None:
        near = nearest(wanted, [*paths, *ends])
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(paths)}"
        raise click.BadParameter(f"no column is called '{name}'; {hint}", param_hint=option)
    return found


def _paths(row: Json, before: str = "") -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _paths(dict(value), f"{before}{name}.")
        else:
            yield before + name


def _order(value: Any) -> tuple[int, float, str]:
    """What values of a column are sorted by: numbers by size, before texts."""
    if isinstance(value, bool | int | float):
        return (0, value, "")
    from mmalign.export.rows import cell

    return (1, 0, cell(value).casefold())


def write_cells(heads: list[str], body: list[list[str]], format_: str) -> None:
    """A table of texts as `csv`, `md` or aligned columns."""
    if format_ == "csv":
        from mmalign.export.rows import to_csv

        write(to_csv([dict(zip(heads, row, strict=True)) for row in body]))
    elif format_ == "md":
        from mmalign.export.awesome import escape

        lines = [heads, ["---"] * len(heads), *([escape(text) for text in row] for row in body)]
        write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    elif body:
        write(align([head.replace("_", " ").upper() for head in heads], body))


def write_columns(
    rows: Sequence[Json], columns: Sequence[str], format_: str, heads: Sequence[str] = ()
) -> None:
    """Some columns of rows in one of `TABLE_FORMATS`, under their own heads where there are."""
    from mmalign.export.rows import cell

    if format_ in ("json", "jsonl"):
        picked = [{"kind": r["kind"], **{c: lookup(r, c) for c in columns}} for r in rows]
        write_objects(picked, format_)
        return
    joint = "; " if format_ == "csv" else ", "
    body = [[cell(lookup(row, c), joint) for c in columns] for row in rows]
    if not heads:
        heads = columns if format_ == "csv" else [path.rpartition(".")[2] for path in columns]
    write_cells(list(heads), body, format_)


def write_objects(rows: Sequence[Json], format_: str) -> None:
    """Rows as one list of `json`, or as `jsonl`, one object a line."""
    if format_ == "json":
        write_json(list(rows))
        return
    from mmalign.export.rows import to_json_lines

    write(to_json_lines(rows, ascii_only=not speaks_unicode()))


def write_table(
    rows: Sequence[Json], how: Listing, columns: Sequence[str], heads: Sequence[str] = ()
) -> None:
    """Rows that are no entries, as asked for; `columns` are those of the table."""
    chosen, shown = how.chosen(rows), how.arranged(rows, rows)
    if chosen:
        write_columns(shown, chosen, how.format)
    elif how.format in ("json", "jsonl"):
        write_objects(shown, how.format)
    else:
        write_columns(shown, columns, how.format, heads)


def write(text: str, output: str | None = None) -> None:
    """Text to stdout, or to a file (UTF-8, whole or not at all: `mmalign.records.write`)."""
    if output in (None, "-"):
        # Not click.echo: that writes UTF-8 where another encoding was asked for.
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
            raise click.exceptions.Exit(0) from None
        return
    from mmalign.records.write import replace

    replace(output, text)


def read_bytes(path: str, limit: int) -> bytes:
    """A file, or standard input for `-`, up to one byte more than `limit`.

    A pipe is read as `<(...)` of a shell makes one. Nothing is waited for where no program holds
    the other end: such a pipe never ends. Raises ClickException for it.
    """
    if path == "-":
        return sys.stdin.buffer.read(limit + 1)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        piped = stat.S_ISFIFO(os.fstat(handle).st_mode)
        if piped:
            os.set_blocking(handle, True)
        content = stream.read(limit + 1)
    if piped and not content:
        raise click.ClickException(f"{path} is a pipe that nothing was written to")
    return content


def silence_stdout() -> None:
    """The reader has gone away: nothing more to say, also not when Python flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def bold(text: str) -> str:
    """Text in bold on a terminal, unless NO_COLOR is set."""
    plain = terminal_width() is None or os.environ.get("NO_COLOR")
    return text if plain else click.style(text, bold=True)


def speaks_unicode() -> bool:
    """Whether stdout can carry every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"


def write_json(value: object) -> None:
    """Data as indented JSON."""
    from mmalign.export.rows import to_json

    write(to_json(value, ascii_only=not speaks_unicode()))


def write_rows(
    rows: Sequence[Json],
    kind: str,
    how: Listing,
    catalogue: Catalogue,
    columns: Sequence[str] = (),
) -> None:
    """A listing of entries, as asked for. An empty one is no error; a note says so.

    `columns` are those of the table, where they are not the usual ones of the kind.
    """
    format_ = how.format
    if format_ == "bibtex" and kind in ("term", "erratum"):
        raise click.UsageError(
            f"{'errata have' if kind == 'erratum' else 'terms have'} no papers; formats: "
            + ", ".join(FORMATS[:-1])
        )
    if format_ in ("ids", "bibtex") and how.columns:
        raise click.UsageError(f"--columns does not go with --format {format_}")
    known = rows or catalogue.rows(kind)
    chosen, rows = how.chosen(known), how.arranged(rows, known)
    if not rows:
        note("nothing found")
    if chosen:
        write_columns(rows, chosen, format_)
    elif format_ in ("json", "jsonl"):
        write_objects(rows, format_)
    elif format_ == "ids":
        # A bare word may be a term of several facets.
        write("".join(f"{_id(row)}\n" for row in rows))
    elif format_ == "csv":
        from mmalign.export.rows import to_csv

        write(to_csv(rows))
    elif format_ == "md":
        from mmalign.export.awesome import to_markdown

        write(to_markdown(rows, catalogue.facets))
    elif format_ == "bibtex":
        from mmalign.export.bibtex import to_bibtex

        write(to_bibtex([row["paper"] for row in rows]))
    elif rows:
        write_columns(rows, columns or COLUMNS[kind], "table")


def _id(row: Json) -> str:
    if row["kind"] in ("term", "claim"):
        return str(row["ref"].partition(":")[2])
    return str(row["id"])


def lookup(row: Mapping[str, Any], path: str) -> Any:
    """A value inside a view: `objective.family`."""
    value: Any = row
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def terminal_width() -> int | None:
    """Columns of the terminal; None where stdout is no terminal, so that nothing is cut."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return 80


def align(heads: list[str], body: list[list[str]]) -> str:
    """Cells as text columns.

    On a terminal, the widest columns give way until a line fits; but ids are to be copied, so the
    first column stays whole.
    """
    from mmalign.characters import printable

    lines = [heads, *([printable(" ".join(text.split())) for text in row] for row in body)]
    widths = [max(width(line[place]) for line in lines) for place in range(len(heads))]
    limit = terminal_width()
    while limit and sum(widths) + 2 * (len(widths) - 1) > limit and max(widths[1:], default=0) > 6:
        widths[widths.index(max(widths[1:]), 1)] -= 1
    written = []
    for number, line in enumerate(lines):
        cells = [fit(text, size) for text, size in zip(line, widths, strict=True)]
        text = "  ".join(cells).rstrip()
        written.append(bold(text) if number == 0 else text)
    return "\n".join(written) + "\n"


def fit(text: str, size: int) -> str:
    """Text padded or cut to a width."""
    if width(text) > size:
        while width(text) > size - 3:
            text = text[:-1]
        text += "..."
    return text + " " * (size - width(text))


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
