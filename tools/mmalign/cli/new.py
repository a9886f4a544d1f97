"""`mmalign new`: a record to fill in."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmalign.characters import printable, quoted
from mmalign.cli import output
from mmalign.cli.arguments import FILE
from mmalign.vocabulary import ENTRY_KINDS

if TYPE_CHECKING:
    from mmalign.curate.reference import Reference
    from mmalign.vocabulary import Json

FEW = 5
"""Drafts, or entries left out, up to this number are named one by one."""


@click.command()
@click.option("--arxiv", metavar="ID", help="Ask arXiv for the paper.")
@click.option("--bibtex", type=FILE, metavar="FILE",
              help="Take the only entry of a BibTeX file.")  # fmt: skip
@click.option("--issue", type=FILE, metavar="FILE",
              help="Take the text of the issue form `Add a paper`.")  # fmt: skip
@click.option("--id", "id_", metavar="ID", help="Id of the record.  [default: made from the title]")
@click.option("--kind", type=click.Choice(ENTRY_KINDS), help="Prepare an entry of this kind in it.")
@click.option("--source", metavar="SOURCE",
              help="Where the entry was read.  [default: arXiv, its DOI or address]")  # fmt: skip
@click.option("--stdout", is_flag=True, help="Print the record; write no file.")
@click.option(
    "--api", metavar="URL", envvar="MMALIGN_ARXIV_API", help="Another address of arXiv's API."
)
@click.pass_context
def new(
    ctx: click.Context,
    arxiv: str | None,
    bibtex: str | None,
    issue: str | None,
    id_: str | None,
    kind: str | None,
    source: str | None,
    stdout: bool,
    api: str | None,
) -> None:
    """Write a new record, papers/<id>.yaml, and say what is left to do.

    The draft says TODO wherever only somebody who has read the paper can write; mmalign validate
    reports these places until they are filled. FILE may be - for standard input.

    \b
    mmalign new --arxiv 2503.14504 --kind method
    mmalign new --issue issue.md
    """
    from mmalign.curate import draft, known
    from mmalign.errors import BadReference

    if sum(value is not None for value in (arxiv, bibtex, issue)) != 1:
        raise click.UsageError("give one of --arxiv, --bibtex and --issue")
    catalogue = output.catalogue(ctx)
    folder = None if stdout else checkout(catalogue.root)
    entry, fields = None, None
    try:
        if arxiv is not None:
            reference = _from_arxiv(arxiv, api)
        elif bibtex is not None:
            reference = _only(bibtex)
        elif issue is not None:
            from mmalign.curate.issue_form import MAX_BYTES, read

            filled = read(read_text(issue, MAX_BYTES))
            reference, entry, fields = filled.reference, filled.entry, filled.fields
            kind, source = kind or filled.kind, source or filled.source
    except BadReference as error:
        raise click.ClickException(printable(error)) from None
    papers = known.Known(row["paper"] for row in catalogue.rows("paper"))
    match = papers.match(reference)
    if match is not None:
        raise click.ClickException(f"papers/{match.paper['id']}.yaml has this paper already")
    like = papers.like(reference)
    if like is not None:
        output.note(f"papers/{like['id']}.yaml has a title like this: {like['title']}")
    id_ = _free_id(Path(catalogue.root) / "papers", reference, id_)
    source = source or draft.source_of(reference)
    if source is None:
        raise click.ClickException(
            f"{quoted(reference.key)} has no arXiv id, DOI or address; say with --source where "
            "it was read"
        )
    data = draft.record(reference, id_, today(), source, kind=kind, entry=entry, fields=fields)
    if folder is None:
        output.write(draft.to_yaml(data))
    else:
        write_drafts(catalogue.root, folder, [data])


def today() -> str:
    """The day on which a draft is made, ISO 8601."""
    return datetime.date.today().isoformat()


def checkout(root: str) -> Path:
    """The folder of a root in which records are written.

    ClickException where these are the records that were installed with mmalign, or where nothing
    can be written.
    """
    from mmalign.records.root import PACKAGE

    real = Path(root).resolve()
    if real.is_relative_to(PACKAGE) or {"site-packages", "dist-packages"} & set(real.parts):
        raise click.ClickException(
            "the records that are installed with mmalign are not written to; work in a checkout "
            "of the repository, or name its folder with --root DIR"
        )
    folder = Path(root) / "papers"
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.ClickException(f"{folder} cannot be written to; name a checkout with --root")
    return folder


def write_drafts(root: str, folder: Path, records: list[Json]) -> None:
    """Write drafts, all or none; print their paths, and what is left to do, from one check."""
    from mmalign.check.run import check
    from mmalign.curate.draft import to_yaml
    from mmalign.records import problems, write

    files = {f"{data['id']}.yaml": to_yaml(data) for data in records}
    if not files:
        return
    try:
        paths = write.create(folder, files)
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} exists; nothing was written") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise click.ClickException(f"nothing was written to {folder}: {reason}") from None
    output.write("".join(f"{path}\n" for path in paths))
    _, found = check(root, paths)
    if len(paths) > FEW:
        output.note(f"{len(found)} places are left to write or correct; see mmalign validate")
    elif found:
        output.note("left to write or correct:")
        click.echo(problems.render(found), err=True)


def read_text(path: str, limit: int) -> str:
    """The text of a file, or of standard input for `-`. Raises BadReference, also where it has
    more than `limit` bytes."""
    from mmalign.curate.reference import decode

    return decode(output.read_bytes(path, limit), name_of(path), limit)


def name_of(path: str) -> str:
    """What messages call a file that was named."""
    return "standard input" if path == "-" else path


def _from_arxiv(id_: str, api: str | None) -> Reference:
    from mmalign.curate import arxiv, identifiers
    from mmalign.errors import BadReference

    if api is not None:
        try:
            arxiv.check_address(api)
        except BadReference as error:
            raise click.UsageError(f"{error} (--api, MMALIGN_ARXIV_API)") from None
    try:
        identifiers.arxiv_id(id_)
    except BadReference as error:
        raise click.UsageError(f"--arxiv: {printable(error)}") from None
    try:
        return arxiv.fetch(id_, api or arxiv.API)
    except OSError as error:
        reason = printable(getattr(error, "reason", None) or error, 200)
        raise click.ClickException(
            f"arXiv cannot be reached ({reason}); save the paper's BibTeX entry and use "
            "--bibtex FILE"
        ) from None


def _free_id(folder: Path, reference: Reference, id_: str | None) -> str:
    """The id of a new record: the wished one, else one from the title. ClickException if taken."""
    from mmalign.curate.draft import id_of, slug

    wished = id_ if id_ is not None else id_of(reference)
    if slug(wished) != wished:
        raise click.UsageError(f"{quoted(wished)} is not an id; write {slug(wished)}")
    if (folder / f"{wished}.yaml").exists():
        taken = {path.stem for path in folder.iterdir()}
        raise click.ClickException(
            f"papers/{wished}.yaml exists; give another --id, such as {id_of(reference, taken)}"
        )
    return wished


def _only(file: str) -> Reference:
    """The only entry of a BibTeX file. Raises BadReference where it cannot be read."""
    from mmalign.curate.reference import MAX_BYTES, read_bibtex
    from mmalign.errors import BadReference

    name = name_of(file)
    read = read_bibtex(read_text(file, MAX_BYTES))
    for note in read.notes:
        output.note(note.render(name))
    if read.problems:
        raise BadReference(read.problems[0].render(name))
    if len(read.references) != 1:
        raise click.UsageError(
            f"{name} holds {len(read.references)} entries; one is wanted (mmalign bib import "
            "takes many)"
        )
    return read.references[0]
