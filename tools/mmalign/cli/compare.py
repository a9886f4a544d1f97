"""`mmalign compare`: entries side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from mmalign.cli import layout, output
from mmalign.cli.arguments import Name, resolve
from mmalign.export.rows import Row, cell

# Fields that are compared, in this order; those that no entry has are left out.
FIELDS = (
    "kind", "paper.year", "paper.venue", "paper.code", "scenario", "modality", "dimension",
    "data_source", "sources", "response_source", "response_models", "annotation", "annotators",
    "pair_difference", "objective.family", "objective.parent", "objective.difference",
    "objective.latex", "own", "base_models", "trains_on", "benchmarks", "size", "size_paper",
    "size_released", "sizes", "judge", "licence", "reference_impl", "has",
)  # fmt: skip
PLAIN_WIDTH = 110
NARROWEST = 16
"""Columns that the text of an entry needs at least to stand beside another."""


@click.command()
@click.argument("ids", nargs=-1, required=True, type=Name(), metavar="ID ID...")
@output.table_options
@click.pass_context
def compare(ctx: click.Context, ids: tuple[str, ...], format_: str, as_json: bool) -> None:
    """Show entries side by side: facets, objective, data, reported results.

    JSON gives the full cards, in the order asked for.
    """
    catalogue = output.catalogue(ctx)
    refs = list(dict.fromkeys(resolve(catalogue, name) for name in ids))
    if len(refs) < 2:
        raise click.UsageError("two different entries are needed to compare")
    cards = [catalogue.card(ref) for ref in refs]
    rows = list(side_by_side(cards))
    heads = ["", *(card["name"] for card in cards)]
    if as_json or format_ == "json":
        output.write_json(cards)
    elif format_ == "csv":
        from mmalign.export.rows import to_csv

        heads = ["field", *refs]
        output.write(to_csv([dict(zip(heads, row, strict=True)) for row in rows]))
    elif format_ == "md":
        from mmalign.export.awesome import escape

        lines = [heads, ["---"] * len(heads), *([escape(text) for text in row] for row in rows)]
        output.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    else:
        output.write(_grid(heads, rows))


def side_by_side(cards: Sequence[Row]) -> Iterator[list[str]]:
    """Lines of the comparison: field, then one text per card."""
    for field in FIELDS:
        texts = [cell(output.lookup(card, field), ", ") for card in cards]
        if any(texts):
            yield [field.replace("paper.", "").replace("_", " ").replace(".", " "), *texts]
    for name in _names(cards, "hyperparameters", ("name",)):
        yield [name[0], *(_values(card, "hyperparameters", ("name",), name) for card in cards)]
    keys = ("benchmark", "metric")
    for name in _names(cards, "results", keys):
        yield [" ".join(name), *(_values(card, "results", keys, name) for card in cards)]


def _names(cards: Sequence[Row], field: str, keys: tuple[str, ...]) -> list[tuple[str, ...]]:
    """What the lists of several cards talk about, each once, in order of appearance."""
    parts = (part for card in cards for part in card.get(field) or ())
    return list(dict.fromkeys(tuple(part[key] for key in keys) for part in parts))


def _values(card: Row, field: str, keys: tuple[str, ...], name: tuple[str, ...]) -> str:
    """What one card says about `name`: values, with the model where there is one."""
    return ", ".join(
        f"{part['value']}" + (f" ({part['model']})" if part.get("model") else "")
        for part in card.get(field) or ()
        if tuple(part[key] for key in keys) == name
    )


def _grid(heads: list[str], rows: list[list[str]]) -> str:
    """Columns of equal width, long texts wrapped inside them; one entry below the other where that
    would leave a column too narrow to read."""
    total = layout.text_width() or PLAIN_WIDTH
    first = min(max(output.width(row[0]) for row in rows), 24)
    size = (total - first) // (len(heads) - 1) - 2
    if size < NARROWEST:
        return layout.stacked(heads, rows, total)
    lines = []
    for number, row in enumerate([heads, *rows]):
        sizes = [first, *[size] * (len(row) - 1)]
        cells = [layout.wrap(t, s) for t, s in zip(row, sizes, strict=True)]
        for place in range(max(map(len, cells))):
            texts = [c[place] if place < len(c) else "" for c in cells]
            padded = [t + " " * (s - output.width(t)) for t, s in zip(texts, sizes, strict=True)]
            line = "  ".join(padded).rstrip()
            lines.append(output.bold(line) if number == 0 else line)
    return "\n".join(lines) + "\n"
