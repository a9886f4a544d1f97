"""`mmalign similar`: what to read next, and why."""

from __future__ import annotations

import click

from mmalign.cli import options, output
from mmalign.cli.arguments import Kind, Name, resolve
from mmalign.vocabulary import KINDS

REASONS = 3
"""Reasons that the table shows; the other formats give all."""


@click.command()
@click.argument("id_", type=Name(), metavar="ID")
@click.option("--kind", type=Kind(KINDS[:-1]), help="What to look for.  [default: the same kind]")
@options.listing(*output.FORMATS, limit=10)
@click.pass_context
def similar(ctx: click.Context, id_: str, kind: str | None, listing: output.Listing) -> None:
    """List the entries nearest to ID, each with its reasons.

    Nearness is computed from shared terms, objectives, data, models, benchmarks and authors, from
    the words of the records, and from links between them. What few entries share counts more.
    """
    from mmalign.ask import similar as nearness

    catalogue = output.catalogue(ctx)
    ref = resolve(catalogue, id_)
    own = ref.partition(":")[0]
    if own == "term":
        raise click.UsageError(f"'{id_}' is a term; mmalign show {id_} lists what carries it")
    row = next(row for row in catalogue.rows(own) if row["ref"] == ref)
    kind = kind or own
    # The nearest are taken before they are put into another order.
    found = nearness.similar(row, catalogue.rows(kind), listing.limit)
    rows = [{**one.row, "score": one.score, "reasons": list(one.reasons)} for one in found]
    if listing.format == "table" and not listing.columns and rows:
        body = [
            [row["id"], f"{row['score']:.2f}", "; ".join(row["reasons"][:REASONS])]
            for row in listing.arranged(rows, rows)
        ]
        output.write(output.align(["ID", "SCORE", "WHY"], body))
        return
    output.write_rows(rows, kind, listing, catalogue)
