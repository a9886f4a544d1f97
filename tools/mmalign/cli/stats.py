"""`mmalign stats`."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import click

from mmalign.ask.catalogue import Catalogue
from mmalign.cli import options, output
from mmalign.cli.arguments import Whole
from mmalign.vocabulary import Json

AGE_COLUMNS = ("paper", "checked", "days", "oldest", "verified", "reported", "inferred")


@click.command()
@options.listing(*output.TABLE_FORMATS)
@click.option(
    "--age", is_flag=True, help="List records by the day of their last check, oldest first."
)
@click.option("--older-than", type=Whole(min=0), metavar="DAYS",
              help="With --age: only records last checked more than DAYS days ago.")  # fmt: skip
@click.pass_context
def stats(ctx: click.Context, age: bool, older_than: int | None, listing: output.Listing) -> None:
    """Count papers, entries, terms, evidence and errata; with --age, show what to check again.

    As JSON the counts are one object; as lines of JSON (jsonl) they are as the table has them.
    """
    if older_than is not None and not age:
        raise click.UsageError("--older-than needs --age")
    catalogue = output.catalogue(ctx)
    if age:
        rows = [row for row in _ages(catalogue) if older_than is None or row["days"] > older_than]
        output.write_table(rows, listing, AGE_COLUMNS)
        if not rows:
            output.note("nothing found")
    elif listing.format == "json":
        listing.refuse("does not go with the one object of --format json; take jsonl")
        output.write_json(catalogue.stats)
    else:
        rows = list(_counts(catalogue.stats))
        columns = ("group", "name", "count")
        heads = {"table": ("count of", "", "number"), "md": ("", "", "count")}
        output.write_table(rows, listing, columns, heads.get(listing.format, ()))


def _ages(catalogue: Catalogue) -> list[Json]:
    """Papers by the day of their last check, the longest ago first."""
    today = datetime.date.today()
    rows: list[Json] = []
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
    # Of those checked on one day, what rests on the weakest evidence comes first.
    rows.sort(key=lambda row: (row["checked"], row["oldest"], row["verified"], row["paper"]))
    return rows


def _counts(counts: Json, group: str = "") -> Iterator[Json]:
    """Counts as rows of group, name and number."""
    for name, value in counts.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            yield from _counts(value, f"{group}: {label}" if group else label)
        else:
            first, second = (group, name) if group else (label, "")
            yield {"kind": "count", "group": first, "name": second, "count": value}
