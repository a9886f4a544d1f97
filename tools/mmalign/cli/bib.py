"""`mmalign bib`."""

from __future__ import annotations

import datetime

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


@bib.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--write", is_flag=True, help="Write a draft record for each paper that is new.")
@output.table_options
@click.pass_context
def import_(ctx: click.Context, file: str, write: bool, format_: str, as_json: bool) -> None:
    """Compare a BibTeX FILE with the records: what is known, what differs, what is new.

    Entries are matched by arXiv id, DOI, OpenReview id or title. FILE may be - for standard input.
    """
    from mmalign.cli.new import free_id, source_of, write_record
    from mmalign.curate import draft
    from mmalign.curate.reference import differences, match, read_bibtex
    from mmalign.errors import BadReference

    try:
        references = read_bibtex(output.read_text(file), file)
    except BadReference as error:
        raise click.ClickException(str(error)) from None
    catalogue = output.catalogue(ctx)
    papers = [row["paper"] for row in catalogue.rows("paper")]
    rows, unknown = [], []
    for reference in references:
        paper = match(reference, papers)
        if paper is None:
            unknown.append(reference)
        rows.append(
            {
                "kind": "reference", "key": reference.key,
                "status": "known" if paper else "new",
                "paper": paper["id"] if paper else None,
                "differs": differences(reference, paper) if paper else [],
                "title": reference.title,
            }
        )  # fmt: skip
    _write_comparison(rows, "json" if as_json else format_)
    if write:
        today = datetime.date.today().isoformat()
        for reference in unknown:
            source = source_of(reference)
            if source is None:
                output.note(f"'{reference.key}' has no arXiv id, DOI or address: left out")
                continue
            id_ = free_id(catalogue.root, papers, reference)
            write_record(catalogue.root, draft.record(reference, id_, today, source))
    elif unknown:
        output.note(f"{len(unknown)} are new; --write makes drafts of them")


def _write_comparison(rows: list[dict], format_: str) -> None:
    from mmalign.export.rows import cell

    if format_ == "json":
        output.write_json(rows)
    else:
        columns = ("key", "status", "paper", "differs", "title")
        shown = columns if format_ == "csv" else columns[:-1]
        body = [[cell(row[column]) for column in shown] for row in rows]
        output.write_cells(list(shown), body, format_)
    if not rows:
        output.note("the file holds no entries")
