"""`mmalign cite`: the papers of entries as citations."""

from __future__ import annotations

import click

from mmalign.cli import output
from mmalign.cli.arguments import Name
from mmalign.cli.bib import papers_of

FORMATS = ("bibtex", "csl", "ris")


@click.command()
@click.argument("ids", nargs=-1, required=True, type=Name(), metavar="ID...")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="bibtex",
              show_default=True, help="csl is CSL-JSON, for Zotero and pandoc.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format csl.")
@click.pass_context
def cite(ctx: click.Context, ids: tuple[str, ...], format_: str, as_json: bool) -> None:
    """Print citations of the papers behind entries, in the order given, each once.

    \b
    mmalign cite mdpo rlaif-v
    mmalign cite mdpo --format ris
    """
    papers = papers_of(output.catalogue(ctx), ids)
    if as_json or format_ == "csl":
        from mmalign.export.csl import to_csl

        output.write_json(to_csl(papers))
    elif format_ == "ris":
        from mmalign.export.ris import to_ris

        output.write(to_ris(papers))
    else:
        from mmalign.export.bibtex import to_bibtex

        output.write(to_bibtex(papers))
