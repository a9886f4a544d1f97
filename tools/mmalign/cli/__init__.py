"""The command line: `mmalign COMMAND`.

Commands are imported when they are called. Everything a query needs is click, json and
`mmalign.ask.catalogue`; pydantic, yaml, networkx and rich are imported where a command needs them,
and torch nowhere in this package.

Exit status: 0 done, 1 problems found or something outside is missing, 2 wrong usage, 70 a fault of
mmalign itself (EX_SOFTWARE of BSD's sysexits.h), 130 stopped with Control-C.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any

import click

from mmalign import __version__
from mmalign.characters import printable
from mmalign.errors import MmalignError, RootNotFound, UnknownAxis, UnknownId
from mmalign.names import nearest

FAULT = 70
STOPPED = 130
LONGEST = 600
"""Characters of an error that are shown: who gives an id of 100 kB knows it already."""

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
    "cite": "cite:cite",
    "bib": "bib:bib",
    "errata": "listing:errata",
    "stats": "stats:stats",
    "new": "new:new",
    "diff": "diff:diff",
    "site": "site:site",
    "run": "run:run",
    "evaluate": "evaluate:evaluate",
    "worlds": "worlds:worlds",
    "bench": "bench:bench",
    "results": "bench:results",
    "claims": "bench:claims",
    "doctor": "doctor:doctor",
    "data": "data:data",
    "open": "open:open_",
    "completion": "completion:completion",
}
"""Command -> `module:function` in this package, in the order of `--help`."""


def _docstring(name: str) -> str | None:
    """The docstring of a command's function, out of the compiled module, which is not run."""
    module, _, function = COMMANDS[name].partition(":")
    full = f"mmalign.cli.{module}"
    spec = importlib.util.find_spec(full)
    get_code = getattr(spec and spec.loader, "get_code", None)
    code = get_code(full) if get_code else None
    for constant in code.co_consts if code else ():
        if isinstance(constant, types.CodeType) and constant.co_name == function:
            text = constant.co_consts[0]
            return text if isinstance(text, str) else None
    return None


class Commands(click.Group):
    """The commands of `COMMANDS`, each imported when it is called; and the way errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].partition(":")
        command = getattr(importlib.import_module(f"mmalign.cli.{module}"), function)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but no command is imported: that would take as long as a query."""
        commands = {name: click.Command(name, help=_docstring(name)) for name in COMMANDS}
        width = formatter.width - 6 - max(map(len, commands))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, command.get_short_help_str(width)) for name, command in commands.items()]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; see mmalign --help"
            raise click.UsageError(f"no command is called '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], *others: Any, **extra: Any
    ) -> click.Context:
        # No program can be given these by a shell, but by a caller in this process and by
        # Windows; as names of files they would raise. Bytes that are not UTF-8 are no such thing.
        for arg in args:
            if "\0" in arg:
                raise click.UsageError("an argument holds a NUL character")
            try:
                arg.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                raise click.UsageError(f"an argument holds no Unicode text: {arg}") from None
        with _reader_may_go():
            return super().make_context(info_name, args, *others, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_may_go():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but every way to fail ends in one line on stderr and a status."""
        # `python -m mmalign` is the same program.
        name = prog_name or "mmalign"

        def run() -> Any:
            return super(Commands, self).main(
                args,
                name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )

        if not standalone_mode:
            return run()
        try:
            status = run()
            if sys.stdout is not None:
                sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            status = error.exit_code
        except click.ClickException as error:
            # One line: click's own form would put the usage above it.
            _say(error.format_message())
            status = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            status = STOPPED
        except Exception as error:
            if os.environ.get("MMALIGN_DEBUG"):
                raise
            status = _explain(error)
        _let_go_of_stdout()
        sys.exit(status if isinstance(status, int) else 0)


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    """Whoever reads stdout has gone away, as `head` does: nothing is wrong."""
    try:
        yield
    except BrokenPipeError:
        from mmalign.cli.output import silence_stdout

        silence_stdout()
        raise click.exceptions.Exit(0) from None


def _let_go_of_stdout() -> None:
    """What stdout still holds and cannot be rid of would be a second error when Python ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        from mmalign.cli.output import silence_stdout

        silence_stdout()


def _say(text: str) -> None:
    """`Error: text` on stderr, in one line, whatever the text holds."""
    line = printable(" ".join(text.split()))
    if len(line) > LONGEST:
        # The end may hold the hint.
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 3 :]}"
    with contextlib.suppress(OSError):  # there is nobody left to tell
        click.echo(f"Error: {line}", err=True)


def _explain(error: Exception) -> int:
    """One line on stderr about what ended a command; gives the exit status."""
    problems = getattr(error, "problems", None)
    if problems:
        first = problems[0]
        _say(
            f"the records cannot be read: {first.file}:{first.line}: {first.message} "
            f"({len(problems)} problem{'s' if len(problems) > 1 else ''} in all; "
            "see mmalign validate)"
        )
        return 1
    if isinstance(error, (RootNotFound, UnknownId, UnknownAxis)):
        _say(str(error))
        return 2
    if isinstance(error, MmalignError):
        _say(str(error))
        return 1
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        if error.errno == errno.EBADF:
            reason = "standard output is closed"
        _say(f"{os.fsdecode(error.filename)}: {reason}" if error.filename else reason)
        return 1
    if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name or ""):
        _say(f"'{error.name}' is not installed; pip install mmalign brings what is needed")
        return 1
    text = " ".join(str(error).split()) or "no message"
    _say(f"{type(error).__name__}: {text[:LONGEST]} (set MMALIGN_DEBUG=1 to see where)")
    return FAULT


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("mmalign", "reference_impls")


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

    Data goes to stdout, notes to stderr. Exit status: 0 done, 1 problems found, 2 wrong usage, 70 a
    fault of mmalign itself.
    """
    if root == "":
        raise click.BadParameter("a folder is wanted, not an empty name", ctx, param_hint="--root")
    ctx.obj = root
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows `?` instead of ending the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def main() -> None:
    """The console script."""
    _open_streams()
    cli()


def _open_streams() -> None:
    """Put something where standard input, output and error are closed (`>&-`).

    Else the next file that is opened, the cache or a pipe to git, would take their place. Writing
    to a closed stdout stays an error, and reading from a closed stdin gives nothing.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given; for stdout it is one that cannot be written.
            os.set_inheritable(
                os.open(os.devnull, os.O_RDONLY if number < 2 else os.O_WRONLY), True
            )
    # Python has None for a stream that was closed when it began.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def reference() -> str:
    """The help of every command as Markdown, for the page about the command line."""
    # The settings again: click keeps the help option of the first context that asks for it.
    settings = {**cli.context_settings, "max_content_width": 100, "terminal_width": 96}
    root = click.Context(cli, info_name="mmalign", **settings)
    parts = [_section(cli, root, "## mmalign")]
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=96)
        parts.append(_section(command, context, f"## mmalign {name}"))
        if isinstance(command, click.Group):
            for sub, subcommand in command.commands.items():
                inner = click.Context(subcommand, info_name=sub, parent=context, terminal_width=96)
                parts.append(_section(subcommand, inner, f"### mmalign {name} {sub}"))
    return "\n".join(parts)


def _section(command: click.Command, context: click.Context, heading: str) -> str:
    return f"{heading}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
