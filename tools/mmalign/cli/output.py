"""How listings are written: one switch for all, data on stdout, notes on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping

import click

from mmalign.ask.catalogue import Catalogue, open_catalogue

FORMATS = ("table", "json", "csv", "md", "ids", "bibtex")

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
    click.echo(f"note: {text}", err=True)


def catalogue(ctx: click.Context) -> Catalogue:
    """The catalogue of the root that `--root` names."""
    return open_catalogue(ctx.find_root().obj)


def format_options(*formats: str) -> Callable:
    """`--format` with these choices, `table` by default, and `--json`, short for one of them."""

    def decorate(function: Callable) -> Callable:
        short = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
        long = click.option(
            "--format", "format_", type=click.Choice(formats), default="table", show_default=True,
            help="How to write it.",
        )  # fmt: skip
        return long(short(function))

    return decorate


listing_options = format_options(*FORMATS)
"""Of listings of entries."""
table_options = format_options("table", "json", "csv", "md")
"""Of tables whose rows are no entries."""


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


def write(text: str, output: str | None = None) -> None:
    """Text to stdout, or to a file (UTF-8, on every platform with the same line ends)."""
    if output in (None, "-"):
        # Not click.echo: that writes UTF-8 where another encoding was asked for.
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            silence_stdout()
            raise click.exceptions.Exit(0) from None
        return
    with open(output, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)


def read_text(path: str) -> str:
    """A text file, or standard input for `-`. Raises ClickException where it is not UTF-8."""
    try:
        if path == "-":
            return sys.stdin.read()
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8") from None


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


def write_json(value) -> None:
    from mmalign.export.rows import to_json

    write(to_json(value, ascii_only=not speaks_unicode()))


def write_rows(
    rows: list[dict], kind: str, format_: str, catalogue: Catalogue, columns: tuple = ()
) -> None:
    """A listing in one of `FORMATS`. An empty one is no error; a note says so."""
    if format_ == "bibtex" and kind in ("term", "erratum"):
        raise click.UsageError(
            f"{'errata have' if kind == 'erratum' else 'terms have'} no papers; formats: "
            + ", ".join(FORMATS[:-1])
        )
    if not rows:
        note("nothing found")
    if format_ == "json":
        write_json(rows)
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
        write(table(rows, columns or COLUMNS[kind]))


def _id(row: Mapping) -> str:
    if row["kind"] in ("term", "claim"):
        return row["ref"].partition(":")[2]
    return row["id"]


def lookup(row: Mapping, path: str):
    """A value inside a view: `objective.family`."""
    value = row
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


def table(rows: list[dict], columns: tuple[str, ...]) -> str:
    """Aligned columns with a header; see `align`."""
    from mmalign.export.rows import cell

    heads = [column.rpartition(".")[2].replace("_", " ").upper() for column in columns]
    body = [
        [" ".join(cell(lookup(row, c)).split()).replace("; ", ", ") for c in columns]
        for row in rows
    ]
    return align(heads, body)


def align(heads: list[str], body: list[list[str]]) -> str:
    """Cells as text columns.

    On a terminal, the widest columns give way until a line fits; but ids are to be copied, so the
    first column stays whole.
    """
    lines = [heads, *body]
    widths = [max(width(line[place]) for line in lines) for place in range(len(heads))]
    limit = terminal_width()
    while limit and sum(widths) + 2 * (len(widths) - 1) > limit and max(widths[1:]) > 6:
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
