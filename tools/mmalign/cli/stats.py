"""`mmalign stats`."""

from __future__ import annotations

import click

from mmalign.cli import output


@click.command()
@click.option(
    "--format", "format_", type=click.Choice(["table", "json", "csv", "md"]), default="table",
    show_default=True, help="How to write the counts.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.pass_context
def stats(ctx: click.Context, format_: str, as_json: bool) -> None:
    """Count papers, entries, terms, evidence and errata."""
    counts = output.catalogue(ctx).stats
    if as_json or format_ == "json":
        output.write_json(counts)
        return
    rows = list(_rows(counts))
    if format_ == "csv":
        from mmalign.export.rows import to_csv

        names = ("group", "name", "count")
        output.write(to_csv([dict(zip(names, row, strict=True)) for row in rows]))
    elif format_ == "md":
        lines = ["| | | count |", "| --- | --- | ---: |"]
        lines += [f"| {group} | {name} | {count} |" for group, name, count in rows]
        output.write("\n".join(lines) + "\n")
    else:
        output.write(output.align(["COUNT OF", "", "NUMBER"], [list(map(str, r)) for r in rows]))


def _rows(counts: dict, group: str = ""):
    """Counts as (group, name, number)."""
    for name, value in counts.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            yield from _rows(value, f"{group}: {label}" if group else label)
        elif group:
            yield group, name, value
        else:
            yield label, "", value
