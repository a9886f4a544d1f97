"""`mmalign bib`."""

from __future__ import annotations

import click

from mmalign.cli import output
from mmalign.cli.arguments import Name, resolve


@click.group()
def bib() -> None:
    """BibTeX of the papers."""


@bib.command()
@click.argument("ids", nargs=-1, type=Name(), metavar="[ID]...")
@click.option("--output", "-o", "path", type=click.Path(dir_okay=False), help="Write to this file.")
@click.pass_context
def export(ctx: click.Context, ids: tuple[str, ...], path: str | None) -> None:
    """Write papers as BibTeX: those of the entries named, else all. Keys are ids of papers."""
    from mmalign.export.bibtex import to_bibtex

    catalogue = output.catalogue(ctx)
    if not ids:
        papers = [row["paper"] for row in catalogue.rows("paper")]
    else:
        refs = [resolve(catalogue, name) for name in ids]
        for name, ref in zip(ids, refs, strict=True):
            if ref.startswith("term:"):
                raise click.UsageError(f"'{name}' is a term and has no paper")
        papers = [catalogue.card(ref)["paper"] for ref in refs]
    output.write(to_bibtex(papers), path)
