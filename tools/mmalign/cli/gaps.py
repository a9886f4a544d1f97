"""`mmalign gaps`: open research ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmalign.cli import layout, output
from mmalign.cli.arguments import TextParam, Whole, complete
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
@click.option("--limit", type=Whole(min=1), metavar="N", help="At most N cells of the list.")
@output.table_options
@click.pass_context
def gaps(
    ctx: click.Context,
    rows: str,
    columns: str,
    matrix: bool,
    everything: bool,
    limit: int | None,
    format_: str,
    as_json: bool,
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
    format_ = "json" if as_json else format_
    if matrix and format_ != "json":
        counts = {(cell.row, cell.column): len(cell.methods) for cell in cells}
        body = [
            [row, *(str(counts[row, column] or "-") for column in other.values)]
            for row in one.values
        ]
        _write([one.name, *other.values], body, format_)
        return
    found = cells if everything or matrix else ground.empty(cells)
    if format_ == "json":
        output.write_json([cell.as_dict() for cell in found[:limit]])
        return
    body = [
        [
            cell.row,
            cell.column,
            str(len(cell.methods)),
            f"{cell.expected:g}",
            str(cell.in_row),
            str(cell.in_column),
        ]
        for cell in found[:limit]
    ]
    if not body:
        output.note("no cell is empty")
    heads = [one.name, other.name, "methods", "expected", "in row", "in column"]
    _write(heads, body, format_)


def _write(heads: list[str], body: list[list[str]], format_: str) -> None:
    if format_ == "table" and body:
        output.write(layout.cells(heads, body))
    else:
        output.write_cells(heads, body, format_)
