"""`mmalign similar`: what to read next, and why."""

from __future__ import annotations

import click

from mmalign.cli import output
from mmalign.cli.arguments import Kind, Name, resolve
from mmalign.vocabulary import KINDS

REASONS = 3
"""Reasons that the table shows; the other formats give all."""


@click.command()
@click.argument("id_", type=Name(), metavar="ID")
@click.option("--kind", type=Kind(KINDS[:-1]), help="What to look for.  [default: the same kind]")
@click.option(
    "--limit", type=click.IntRange(min=1), default=10, show_default=True, metavar="N",
    help="At most N entries.",
)  # fmt: skip
@output.listing_options
@click.pass_context
def similar(
    ctx: click.Context, id_: str, kind: str | None, limit: int, format_: str, as_json: bool
) -> None:
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
    found = nearness.similar(row, catalogue.rows(kind), limit)
    rows = [{**one.row, "score": one.score, "reasons": list(one.reasons)} for one in found]
    format_ = "json" if as_json else format_
    if format_ == "table" and rows:
        body = [
            [row["id"], f"{row['score']:.2f}", "; ".join(row["reasons"][:REASONS])] for row in rows
        ]
        output.write(output.align(["ID", "SCORE", "WHY"], body))
        return
    output.write_rows(rows, kind, format_, catalogue)
