"""`mmalign completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, ids and terms in a SHELL.

    \b
    bash: eval "$(mmalign completion bash)"   in ~/.bashrc
    zsh:  eval "$(mmalign completion zsh)"    in ~/.zshrc, after compinit
    fish: mmalign completion fish > ~/.config/fish/completions/mmalign.fish
    """
    from click.shell_completion import get_completion_class

    from mmalign.cli import cli
    from mmalign.cli.output import write

    found = get_completion_class(shell)
    assert found is not None, shell  # the choices above are those that click has
    write(found(cli, {}, "mmalign", "_MMALIGN_COMPLETE").source() + "\n")
