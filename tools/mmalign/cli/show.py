"""`mmalign show`: one entry in full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from mmalign.characters import printable
from mmalign.cli import output
from mmalign.cli.arguments import Name, resolve
from mmalign.export.rows import cell
from mmalign.vocabulary import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

# What the head of a card says already.
_HEAD = {"kind", "id", "ref", "name", "paper", "summary", "definition", "title"}
_OF_PAPER = {"type", "authors", "year", "venue", "arxiv", "openreview", "doi", "code", "page",
             "licence", "beyond_survey"}  # fmt: skip
# Fields of a part of a card that open its line.
_FIRST = ("name", "id", "benchmark", "symbol", "framework", "of", "source")
# Fields of a part of a card that say nothing which its other fields do not.
_SAID = ("kind", "ref", "number", "where", "testable_in_lab")
# Lists of whole sentences.
_PROSE = ("notes", "questions")
_CONTRIBUTIONS = ("methods", "datasets", "benchmarks", "models", "frameworks")
PLAIN_WIDTH = 88


@click.command()
@click.argument("id_", type=Name(), metavar="ID")
@click.option(
    "--format", "format_", type=click.Choice(["text", "json", "bibtex"]), default="text",
    show_default=True, help="How to write the card.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.pass_context
def show(ctx: click.Context, id_: str, format_: str, as_json: bool) -> None:
    """Show everything about one entry, with its evidence and errata.

    ID is an id, an alias, a name, or a full name such as dataset:rlaif-v. A bare id means a method,
    else a dataset, benchmark, model, framework, paper, term.
    """
    catalogue = output.catalogue(ctx)
    card = catalogue.card(resolve(catalogue, id_))
    if as_json or format_ == "json":
        output.write_json(card)
    elif format_ == "bibtex":
        if "paper" not in card:
            raise click.UsageError(f"'{id_}' is a {card['kind']} and has no paper")
        from mmalign.export.bibtex import to_bibtex

        output.write(to_bibtex([card["paper"]]))
    elif output.terminal_width() is not None:
        _write_rich(card, color=ctx.color is not False)
    else:
        output.write(plain(card))


def facts(card: Json) -> list[tuple[str, str]]:
    """Short fields as pairs (label, text), without empty ones."""
    found = []
    for name, value in card.items():
        if name in _HEAD or name in _PROSE or isinstance(value, Mapping) or _parts(value):
            continue
        # Entries have a licence of their own; a paper's fields stand in its head.
        if card["kind"] == "paper" and name in _OF_PAPER:
            continue
        if value not in (None, [], ""):
            found.append((name.replace("_", " "), cell(value, ", ")))
    return found


def sections(card: Json) -> list[tuple[str, list[str]]]:
    """Longer fields as pairs (heading, items)."""
    found = []
    for name, value in card.items():
        if name in _HEAD or not value:
            continue
        if isinstance(value, Mapping):
            items = [
                f"{k.replace('_', ' ')}: {_text(v)}"
                for k, v in value.items()
                if v not in (None, [])
            ]
        elif card["kind"] == "paper" and name in _CONTRIBUTIONS:
            items = [f"{part['name']} ({part['id']}): {part['summary']}" for part in value]
        elif name in _PROSE or _parts(value):
            items = [_text(part) for part in value]
        else:
            continue
        found.append((name.replace("_", " "), items))
    return found


def _parts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _text(value: Any) -> str:
    """A value as running text."""
    if isinstance(value, Mapping):
        given = {k: v for k, v in value.items() if v not in (None, [], "")}
        for name in _SAID:
            given.pop(name, None)
        head = next((k for k in _FIRST if k in given), None)
        rest = "; ".join(
            f"{k.replace('_', ' ')}: {_text(v)}" for k, v in given.items() if k != head
        )
        return " | ".join(filter(None, (_text(given.get(head)), rest)))
    if isinstance(value, list):
        if _parts(value):
            return " / ".join(map(_text, value))
        return ", ".join(map(_text, value))
    return " ".join(cell(value).split())


def head(card: Json) -> list[str]:
    """Paper of an entry: title, authors and venue, where to find it."""
    from mmalign.export.awesome import published

    paper = card.get("paper")
    if not paper:
        return [f"term of the facet {card['facet']}"]
    names = paper["authors"]
    listed = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    links = [f"arXiv {paper['arxiv']}"] if paper["arxiv"] else []
    links += [f"doi {paper['doi']}"] if paper["doi"] else []
    links += [f"OpenReview {paper['openreview']}"] if paper["openreview"] else []
    links += [f"code {paper['code']}"] if paper["code"] else ["no code"]
    links += [f"page {paper['page']}"] if paper["page"] else []
    return [paper["title"], f"{listed}. {published(paper)}.", "; ".join(links)]


def plain(card: Json) -> str:
    """The card as text of at most `PLAIN_WIDTH` columns."""
    import textwrap

    def wrap(text: str, first: str = "", rest: str = "") -> list[str]:
        return textwrap.wrap(
            printable(text), PLAIN_WIDTH, initial_indent=first, subsequent_indent=rest,
            break_long_words=False, break_on_hyphens=False,
        ) or [first.rstrip()]  # fmt: skip

    lines = [printable(f"{card['name']}  ({card['ref']})")]
    for text in head(card):
        if text != card["name"]:
            lines += wrap(text)
    lines += ["", *wrap(card.get("summary") or card.get("definition") or "")]
    pairs = facts(card)
    if pairs:
        lines.append("")
        size = max(len(label) for label, _ in pairs)
        for label, text in pairs:
            lines += wrap(text, f"{label:<{size}}  ", " " * (size + 2))
    for heading, items in sections(card):
        lines += ["", heading.upper()]
        for item in items:
            lines += wrap(item, "- ", "  ")
    return "\n".join(lines) + "\n"


def _write_rich(card: Json, color: bool) -> None:
    """The card on a terminal."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text as Styled

    def text_of(text: str, style: str = "") -> Styled:
        return Styled(printable(text), style=style)

    parts: list[RenderableType] = [
        text_of(text, "dim") for text in head(card) if text != card["name"]
    ]
    parts += [Styled(), text_of(card.get("summary") or card.get("definition") or "")]
    grid = Table.grid(padding=(0, 2))
    for label, text in facts(card):
        grid.add_row(text_of(label, "cyan"), text_of(text))
    parts += [Styled(), grid]
    for heading, items in sections(card):
        parts += [Styled(), text_of(heading.upper(), "bold cyan")]
        bullets = Table.grid(padding=(0, 1))
        for item in items:
            bullets.add_row("-", text_of(item))
        parts.append(bullets)
    title = text_of(f"{card['name']}  ({card['ref']})", "bold")
    console = Console(no_color=not color, highlight=False)
    console.print(Panel(Group(*parts), title=title, title_align="left", padding=(1, 2)))
