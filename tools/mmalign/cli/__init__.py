"""The command line: `mmalign COMMAND`.

Commands are imported when they are called. Everything a query needs is click, json and
`mmalign.ask.catalogue`; pydantic, yaml, networkx and rich are imported where a command needs them,
and torch nowhere in this package.

Exit status: 0 done, 1 problems found or something outside is missing, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from mmalign import __version__
from mmalign.errors import RootNotFound, UnknownId
from mmalign.names import nearest

COMMANDS = {
    "validate": "validate:validate",
    "list": "listing:list_",
    "query": "query:query",
    "show": "show:show",
    "compare": "compare:compare",
    "similar": "similar:similar",
    "tree": "tree:tree",
    "path": "path:path",
    "gaps": "gaps:gaps",
    "graph": "graph:graph",
    "bib": "bib:bib",
    "errata": "listing:errata",
    "stats": "stats:stats",
    "new": "new:new",
    "diff": "diff:diff",
    "site": "site:site",
    "run": "run:run",
    "completion": "completion:completion",
}
"""Command -> `module:function` in this package, in the order of `--help`."""


class Commands(click.Group):
    """The commands of `COMMANDS`, each imported when it is called; and the way errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].partition(":")
        return getattr(importlib.import_module(f"mmalign.cli.{module}"), function)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; see mmalign --help"
            raise click.UsageError(f"no command is called '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, args=None, prog_name=None, standalone_mode=True, **extra):
        """As click's, but every way to fail ends in one line on stderr and a status."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name or "mmalign", standalone_mode=False, **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except click.ClickException as error:
            # One line: click's own form would put the usage above it.
            click.echo(f"Error: {error.format_message()}", err=True)
            status = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            status = 130
        except Exception as error:
            if os.environ.get("MMALIGN_DEBUG"):
                raise
            status = _explain(error)
        sys.exit(status if isinstance(status, int) else 0)


def _explain(error: Exception) -> int:
    """One line (or one per problem of a record) on stderr; gives the exit status."""
    if isinstance(error, UnknownId):
        click.echo(f"Error: {error}", err=True)
        return 2
    problems = getattr(error, "problems", None)
    if problems:
        first = problems[0]
        click.echo(
            f"Error: the records cannot be read: {first.file}:{first.line}: {first.message} "
            f"({len(problems)} problem{'s' if len(problems) > 1 else ''} in all; "
            "see mmalign validate)",
            err=True,
        )
        return 1
    if isinstance(error, OSError):
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        click.echo(f"Error: {named}", err=True)
        return 2 if isinstance(error, RootNotFound) else 1
    text = " ".join(str(error).split()) or "no message"
    click.echo(
        f"Error: {type(error).__name__}: {text} (set MMALIGN_DEBUG=1 to see where)", err=True
    )
    return 1


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--root",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Folder that holds papers/ and taxonomy/. By default the nearest one upwards, else the "
    "data installed with mmalign.",
)
@click.version_option(__version__, prog_name="mmalign")
@click.pass_context
def cli(ctx: click.Context, root: str | None) -> None:
    """An atlas of multimodal-LLM alignment: browse it, query it, rerun it.

    Data goes to stdout, notes to stderr. Exit status: 0 done, 1 problems found, 2 wrong usage.
    """
    ctx.obj = root
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows `?` instead of ending the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def main() -> None:
    """The console script."""
    cli()


def reference() -> str:
    """The help of every command as Markdown, for the page about the command line."""
    # The settings again: click keeps the help option of the first context that asks for it.
    settings = {**cli.context_settings, "max_content_width": 100, "terminal_width": 96}
    root = click.Context(cli, info_name="mmalign", **settings)
    parts = [_section(cli, root, "## mmalign")]
    for name in COMMANDS:
        command = cli.get_command(root, name)
        context = click.Context(command, info_name=name, parent=root, terminal_width=96)
        parts.append(_section(command, context, f"## mmalign {name}"))
        if isinstance(command, click.Group):
            for sub, subcommand in command.commands.items():
                inner = click.Context(subcommand, info_name=sub, parent=context, terminal_width=96)
                parts.append(_section(subcommand, inner, f"### mmalign {name} {sub}"))
    return "\n".join(parts)


def _section(command: click.Command, context: click.Context, heading: str) -> str:
    return f"{heading}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
