"""`mmalign stats`."""

from __future__ import annotations

import datetime

import click

from mmalign.cli import output


@click.command()
@output.table_options
@click.option(
    "--age", is_flag=True, help="List records by the day of their last check, oldest first."
)
@click.option("--older-than", type=click.IntRange(min=0), metavar="DAYS",
              help="With --age: only records last checked more than DAYS days ago.")  # fmt: skip
@click.pass_context
def stats(
    ctx: click.Context, format_: str, as_json: bool, age: bool, older_than: int | None
) -> None:
    """Count papers, entries, terms, evidence and errata; with --age, show what to check again."""
    if older_than is not None and not age:
        raise click.UsageError("--older-than needs --age")
    if age:
        _write_ages(ctx, "json" if as_json else format_, older_than)
        return
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


def _write_ages(ctx: click.Context, format_: str, older_than: int | None) -> None:
    catalogue = output.catalogue(ctx)
    today = datetime.date.today()
    rows = []
    for row in catalogue.rows("paper"):
        evidence = catalogue.card(row["ref"])["evidence"]
        checked = sorted(item["checked"] for item in evidence)
        days = (today - datetime.date.fromisoformat(checked[-1])).days
        status = [item["status"] for item in evidence]
        rows.append(
            {
                "kind": "age", "paper": row["id"], "checked": checked[-1], "days": days,
                "oldest": checked[0],
                **{s: status.count(s) for s in ("verified", "reported", "inferred")},
            }
        )  # fmt: skip
    rows = [row for row in rows if older_than is None or row["days"] > older_than]
    # Of those checked on one day, what rests on the weakest evidence comes first.
    rows.sort(key=lambda row: (row["checked"], row["oldest"], row["verified"], row["paper"]))
    columns = ("paper", "checked", "days", "oldest", "verified", "reported", "inferred")
    if format_ == "json":
        output.write_json(rows)
    else:
        output.write_cells(list(columns), [[str(row[c]) for c in columns] for row in rows], format_)
    if not rows:
        output.note("nothing found")


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
