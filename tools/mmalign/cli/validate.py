"""`mmalign validate`."""

from __future__ import annotations

import click

from mmalign.characters import printable


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[PATH]...")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github: annotations of a pull request.",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.pass_context
def validate(ctx: click.Context, paths: tuple[str, ...], format_: str, as_json: bool) -> None:
    """Check the records: form, terms, ids, evidence, equations.

    All files are read; with PATHs, only problems in those files and folders are reported, and what
    of them is not read is a problem. Exit status 1 if there are any.
    """
    from mmalign.check import latex
    from mmalign.check.run import check
    from mmalign.cli.output import note, speaks_unicode, write
    from mmalign.records import problems
    from mmalign.records.root import find_root, is_above

    if "" in paths:
        raise click.UsageError("a file or folder is wanted, not an empty name")
    given = ctx.find_root().obj
    root = find_root(given)
    try:
        _, found = check(root, list(paths) or None)
    except FileNotFoundError as error:
        raise click.UsageError(printable(error, 300)) from None
    format_ = "json" if as_json else format_
    text = problems.render(problems.capped(found, problems.LISTED), format_)
    if format_ == "json" and not speaks_unicode():
        text = text.encode("ascii", "backslashreplace").decode()
    if text:
        write(text + "\n")
    if not latex.convertible():
        note(
            "equations: only their structure was checked, since latex2mathml is not installed "
            "(pip install 'mmalign[site]')"
        )
    if given is None and not is_above(root):
        note(f"there are no records in or above this folder; those of {printable(root)} are meant")
    count = problems.total(found)
    said = f"{count:,} problem{'s' * (count > 1)}" if count else "no problems"
    click.echo(said, err=True)
    ctx.exit(1 if count else 0)
