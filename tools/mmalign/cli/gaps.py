"""`mmalign gaps`: open research ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmalign.cli import layout, options, output
from mmalign.cli.arguments import TextParam, complete
from mmalign.errors import UnknownAxis

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class AxisName(TextParam):
    """An axis of `mmalign.ask.gaps`."""

    name = "axis"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from mmalign.ask.gaps import axes

        return complete(ctx, incomplete, lambda c: ((name, "") for name in axes(c.facets)))


@click.command()
@click.argument("rows", type=AxisName(), default="scenario", metavar="[ROWS")
@click.argument("columns", type=AxisName(), default="annotation", metavar="COLUMNS]")
@click.option("--matrix", is_flag=True, help="Show all cells with their counts, as a table.")
@click.option("--all", "everything", is_flag=True, help="List full cells, too.")
@options.listing(*output.TABLE_FORMATS)
@click.pass_context
def gaps(
    ctx: click.Context,
    rows: str,
    columns: str,
    matrix: bool,
    everything: bool,
    listing: output.Listing,
) -> None:
    """Cross two axes and list the cells that no method is in.

    ROWS and COLUMNS (scenario and annotation by default) are facets of methods, benchmark, or
    dimension: what the benchmarks measure on which methods report. EXPECTED is what a cell would
    hold if the two axes had nothing to do with each other; the most surprising gaps come first.

    \b
    mmalign gaps scenario response-source
    mmalign gaps scenario dimension --matrix
    """
    from mmalign.ask import gaps as ground

    catalogue = output.catalogue(ctx)
    methods, benchmarks = catalogue.rows("method"), catalogue.rows("benchmark")
    try:
        one, other = (
            ground.axis(name, catalogue.facets, methods, benchmarks) for name in (rows, columns)
        )
    except UnknownAxis as error:
        raise click.UsageError(str(error)) from None
    if one.name == other.name:
        raise click.UsageError(f"two different axes are needed; {one.name} is given twice")
    cells = ground.cross(one, other)
    if matrix and listing.format not in ("json", "jsonl"):
        listing.refuse("does not go with --matrix, which shows all cells")
        counts = {(cell.row, cell.column): len(cell.methods) for cell in cells}
        body = [
            [row, *(str(counts[row, column] or "-") for column in other.values)]
            for row in one.values
        ]
        _write([one.name, *other.values], body, listing.format)
        return
    found = cells if everything or matrix else ground.empty(cells)
    heads = [one.name, other.name, "methods", "expected", "in row", "in column"]
    listed = [cell.as_dict() for cell in found]
    fields = ("row", "column", "count", "expected", "in_row", "in_column")
    if listing.format == "table" and not listing.columns:
        body = [
            [f"{row[f]:g}" if f == "expected" else str(row[f]) for f in fields]
            for row in listing.arranged(listed, listed)
        ]
        _write(heads, body, "table")
    else:
        output.write_table(listed, listing, fields, heads)
    if not found:
        output.note("no cell is empty")


def _write(heads: list[str], body: list[list[str]], format_: str) -> None:
    if format_ == "table" and body:
        output.write(layout.cells(heads, body))
    else:
        output.write_cells(heads, body, format_)
