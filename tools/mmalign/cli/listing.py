"""`mmalign list` and `mmalign errata`."""

from __future__ import annotations

import click

from mmalign.cli import options, output
from mmalign.cli.arguments import Kind, Name, resolve
from mmalign.vocabulary import SEVERITIES


@click.command("list")
@click.argument("kind", type=Kind())
@options.since_option
@options.listing(*output.FORMATS)
@click.pass_context
def list_(ctx: click.Context, kind: str, since: str | None, listing: output.Listing) -> None:
    """List everything of one KIND.

    KIND is papers, methods, datasets, benchmarks, models, frameworks, terms, errata or claims.
    """
    catalogue = output.catalogue(ctx)
    test = options.since_test(catalogue, kind, since)
    rows = [row for row in catalogue.rows(kind) if test(row)]
    output.write_rows(rows, kind, listing, catalogue)


@click.command()
@click.option("--about", type=Name(), metavar="ID", help="Only errata about this entry.")
@click.option(
    "--source",
    type=click.Choice(["survey", "awesome-list", "paper", "code"]),
    help="Only errors of this source.",
)
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    help="Only errors of this severity.",
)
@options.listing(*output.FORMATS)
@click.pass_context
def errata(
    ctx: click.Context,
    about: str | None,
    source: str | None,
    severity: str | None,
    listing: output.Listing,
) -> None:
    """List errors of the survey, of its list and of papers, each with its proof."""
    catalogue = output.catalogue(ctx)
    rows = catalogue.rows("erratum")
    if about is not None:
        ref = resolve(catalogue, about)
        named = {erratum["id"] for erratum in catalogue.card(ref)["errata"]}
        rows = [row for row in rows if row["id"] in named]
    rows = [
        row
        for row in rows
        if source in (None, row["source"]) and severity in (None, row["severity"])
    ]
    output.write_rows(rows, "erratum", listing, catalogue)
