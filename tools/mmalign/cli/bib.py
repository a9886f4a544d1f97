"""`mmalign bib`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mmalign.cli import options, output
from mmalign.cli.arguments import FILE, Name, Place, resolve

if TYPE_CHECKING:
    from mmalign.ask.catalogue import Catalogue
    from mmalign.vocabulary import Json


@click.group()
def bib() -> None:
    """BibTeX of the papers."""


@bib.command()
@click.argument("ids", nargs=-1, type=Name(), metavar="[ID]...")
@click.option("--output", "-o", "path", type=Place(dir_okay=False), help="Write to this file.")
@click.pass_context
def export(ctx: click.Context, ids: tuple[str, ...], path: str | None) -> None:
    """Write papers as BibTeX: those of the entries named, else all. Keys are ids of papers."""
    from mmalign.export.bibtex import to_bibtex

    catalogue = output.catalogue(ctx)
    papers = papers_of(catalogue, ids) if ids else [row["paper"] for row in catalogue.rows("paper")]
    output.write(to_bibtex(papers), path)


def papers_of(catalogue: Catalogue, ids: tuple[str, ...]) -> list[Json]:
    """The papers of the entries named, in this order, each once. UsageError for a term."""
    found: dict[str, Json] = {}
    for name in ids:
        ref = resolve(catalogue, name)
        if ref.startswith("term:"):
            raise click.UsageError(f"'{name}' is a term and has no paper")
        paper = catalogue.card(ref)["paper"]
        found.setdefault(paper["id"], paper)
    return list(found.values())


@bib.command("import")
@click.argument("file", type=FILE)
@click.option("--write", is_flag=True, help="Write a draft record for each paper that is new.")
@options.listing(*output.TABLE_FORMATS)
@click.pass_context
def import_(ctx: click.Context, file: str, write: bool, listing: output.Listing) -> None:
    """Compare a BibTeX FILE with the records: what is known, what differs, what is new.

    Entries are matched by arXiv id, DOI, id of the ACL Anthology or OpenReview id, or by the same
    title and author; every entry that cannot be read is named, and the others are read. With
    --write all drafts are written, or none. FILE may be - for standard input.
    """
    from mmalign.cli.new import FEW, checkout, name_of, read_text, today, write_drafts
    from mmalign.curate import intake
    from mmalign.curate.reference import MAX_BYTES, read_bibtex
    from mmalign.errors import BadReference

    catalogue = output.catalogue(ctx)
    folder = checkout(catalogue.root) if write else None
    name = name_of(file)
    try:
        read = read_bibtex(read_text(file, MAX_BYTES))
    except BadReference as error:
        raise click.ClickException(str(error)) from None
    columns = ("key", "status", "paper", "differs", "title")
    papers = [row["paper"] for row in catalogue.rows("paper")]
    items = intake.compare(read.references, papers)
    for remark in read.problems:
        click.echo(remark.render(name), err=True)
    shown = columns if listing.format == "csv" else columns[:-1]
    output.write_table([item.row() for item in items], listing, shown)
    if not items:
        output.note("the file holds no entries")
    for remark in (*read.notes, *(item.remark for item in items if item.remark)):
        output.note(remark.render(name))
    new = sum(item.status == "new" for item in items)
    if folder is not None:
        taken = {paper["id"] for paper in papers} | {path.stem for path in folder.iterdir()}
        made, left = intake.drafts(items, taken, today())
        for remark in left[:FEW]:
            output.note(remark.render(name))
        if len(left) > FEW:
            output.note(f"{len(left) - FEW} more are left out for the same reason")
        write_drafts(catalogue.root, folder, made)
    elif new:
        output.note(f"{new} {'is' if new == 1 else 'are'} new; --write makes drafts")
    if read.problems:
        many = len(read.problems)
        entries = "1 entry" if many == 1 else f"{many} entries"
        raise click.ClickException(f"{entries} of {name} cannot be read; all others were")
