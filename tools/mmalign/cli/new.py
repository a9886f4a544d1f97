"""`mmalign new`: a record to fill in."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmalign.cli import output

if TYPE_CHECKING:
    from mmalign.curate.reference import Reference

KINDS = ("method", "dataset", "benchmark", "model", "framework")
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


@click.command()
@click.option("--arxiv", metavar="ID", help="Ask arXiv for the paper.")
@click.option("--bibtex", type=FILE, metavar="FILE",
              help="Take the only entry of a BibTeX file.")  # fmt: skip
@click.option("--issue", type=FILE, metavar="FILE",
              help="Take the text of the issue form `Add a paper`.")  # fmt: skip
@click.option("--id", "id_", metavar="ID", help="Id of the record.  [default: made from the title]")
@click.option("--kind", type=click.Choice(KINDS), help="Prepare an entry of this kind in it.")
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
    from mmalign.curate import draft
    from mmalign.curate.reference import ARXIV_API, fetch_arxiv, read_bibtex
    from mmalign.errors import BadReference

    if sum(value is not None for value in (arxiv, bibtex, issue)) != 1:
        raise click.UsageError("give one of --arxiv, --bibtex and --issue")
    entry, fields = None, None
    try:
        if arxiv is not None:
            reference = fetch_arxiv(arxiv, api or ARXIV_API)
        elif bibtex is not None:
            reference = _only(read_bibtex(output.read_text(bibtex), bibtex), bibtex)
        else:
            from mmalign.curate.issue_form import read

            filled = read(output.read_text(issue))
            reference, entry, fields = filled.reference, filled.entry, filled.fields
            kind, source = kind or filled.kind, source or filled.source
    except BadReference as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise click.ClickException(
            f"arXiv cannot be reached ({reason}); save the paper's BibTeX entry and use "
            "--bibtex FILE"
        ) from None
    catalogue = output.catalogue(ctx)
    papers = [row["paper"] for row in catalogue.rows("paper")]
    id_ = free_id(catalogue.root, papers, reference, id_)
    source = source or source_of(reference)
    if source is None:
        raise click.ClickException(
            f"'{reference.key}' has no arXiv id, DOI or address; say with --source where it "
            "was read"
        )
    today = datetime.date.today().isoformat()
    data = draft.record(reference, id_, today, source, kind=kind, entry=entry, fields=fields)
    if stdout:
        output.write(draft.to_yaml(data))
    else:
        write_record(catalogue.root, data)


def free_id(root: str, papers: list[dict], reference: Reference, id_: str | None = None) -> str:
    """The id of a new record. ClickException where there is a record of the paper or of the id."""
    from mmalign.curate.draft import id_of, slug
    from mmalign.curate.reference import match

    known = match(reference, papers)
    if known is not None:
        raise click.ClickException(f"papers/{known['id']}.yaml has this paper already")
    id_ = id_ or id_of(reference)
    if slug(id_) != id_:
        raise click.UsageError(f"'{id_}' is not an id; write {slug(id_)}")
    if (Path(root) / "papers" / f"{id_}.yaml").exists():
        raise click.ClickException(f"papers/{id_}.yaml exists; give another --id")
    return id_


def write_record(root: str, data: dict) -> None:
    """Write a record whole or not at all, print its path, and note what is left to do."""
    from mmalign.check.run import check
    from mmalign.curate.draft import to_yaml
    from mmalign.records import problems

    path = Path(root) / "papers" / f"{data['id']}.yaml"
    part = path.with_suffix(".part")
    output.write(to_yaml(data), str(part))
    os.replace(part, path)
    output.write(f"{path}\n")
    _, found = check(root, [path])
    if found:
        output.note("left to write or correct:")
        click.echo(problems.render(found), err=True)


def source_of(reference: Reference) -> str | None:
    """Where a reference can be looked up, in the form of an evidence source."""
    if reference.arxiv:
        return f"arxiv:{reference.arxiv}#abstract"
    if reference.doi:
        return f"https://doi.org/{reference.doi}"
    return reference.url


def _only(references: list, file: str):
    if len(references) != 1:
        raise click.UsageError(
            f"{file} holds {len(references)} entries; one is wanted (mmalign bib import takes many)"
        )
    return references[0]
