"""`mmalign doctor`: what a run's log and result say of its health."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mmalign.characters import printable
from mmalign.cli import output
from mmalign.cli.arguments import Place


@click.command()
@click.argument("folder", type=Place(path_type=Path), metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="The signs as JSON on stdout.")
@click.pass_context
def doctor(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Say what the log and the result in the folder RUN show of its health.

    RUN may still be going on. A sign says what was measured, and what to look at first. Exit status
    1 if there are signs.
    """
    from reference_impls.core.doctor import NoRun, examine

    if not folder.is_dir():
        raise click.UsageError(f"there is no folder '{folder}'")
    try:
        signs = examine(folder)
    except NoRun as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    if as_json:
        output.write_json([{**asdict(sign), "advice": sign.advice} for sign in signs])
    else:
        for sign in signs:
            click.echo(printable(f"{sign.where}: {sign.id}: {sign.says}"))
            click.echo(f"    look at: {sign.advice}")
        if not signs:
            click.echo("no signs", err=True)
    ctx.exit(1 if signs else 0)
