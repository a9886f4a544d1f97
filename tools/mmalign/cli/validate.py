"""`mmalign validate`."""

from __future__ import annotations

import click


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True), metavar="[PATH]...")
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

    All files are read; with PATHs, only problems in those files and folders are reported.
    Exit status 1 if there are any.
    """
    from mmalign.ask import catalogue
    from mmalign.check.run import check
    from mmalign.cli.output import speaks_unicode, write
    from mmalign.records import problems

    root = catalogue.find_root(ctx.find_root().obj)
    _, found = check(root, list(paths) or None)
    format_ = "json" if as_json else format_
    text = problems.render(found, format_)
    if format_ == "json" and not speaks_unicode():
        text = text.encode("ascii", "backslashreplace").decode()
    if text:
        write(text + "\n")
    count = len(found)
    click.echo("no problems" if not count else f"{count} problem{'s' * (count > 1)}", err=True)
    ctx.exit(1 if count else 0)
