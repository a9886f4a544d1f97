"""`mmalign run`: hands over to the lab, which is imported only here and only then."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import click

from mmalign.cli import output
from mmalign.cli.arguments import Name
from mmalign.errors import UnknownId
from mmalign.names import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# Packages of the extra `train`; that one of them is missing means that the extra is.
TRAINING = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "PIL", "tokenizers",
            "safetensors", "numpy", "gymnasium")  # fmt: skip


class Script(Name):
    """A method that has a script."""

    name = "method"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in scripts() if name.startswith(incomplete)]


def scripts() -> dict[str, str]:
    """Method id -> file name of its script without `.py`, from the folder; nothing is imported."""
    spec = importlib.util.find_spec("reference_impls")
    found = {}
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        methods = os.path.join(folder, "methods")
        for name in sorted(os.listdir(methods)) if os.path.isdir(methods) else ():
            stem, extension = os.path.splitext(name)
            if extension == ".py" and not stem.startswith("_"):
                found[stem.replace("_", "-")] = stem
    return found


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("method", type=Script())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(ctx: click.Context, method: str, args: tuple[str, ...]) -> None:
    """Train and evaluate METHOD in the lab.

    Everything after METHOD goes to its script: `mmalign run METHOD --help` lists its options.
    Needs the extra `train`: pip install 'mmalign[train]'.
    """
    method_id = _method(ctx, method)
    try:
        from reference_impls.core.command_line import run as run_method
    except ModuleNotFoundError as error:
        raise missing(error) from None
    try:
        status = run_method(method_id, list(args))
    except ModuleNotFoundError as error:
        raise missing(error) from None
    ctx.exit(status if isinstance(status, int) else 0)


def missing(error: ModuleNotFoundError) -> Exception:
    """What to tell somebody whose installation lacks a package of the lab."""
    package = (error.name or "").partition(".")[0]
    if package in TRAINING:
        return click.ClickException(
            f"'{package}' is not installed; running a method needs the extra `train`: "
            "pip install 'mmalign[train]'"
        )
    if package == "reference_impls":
        return click.ClickException("this installation of mmalign holds no lab (reference_impls)")
    return error


def _method(ctx: click.Context, name: str) -> str:
    """The id of a method that has a script; UsageError names the nearest ones."""
    known = scripts()
    wanted = name.lower().removeprefix("method:").replace("_", "-")
    if wanted in known:
        return wanted
    catalogued: list[str] = []
    try:
        catalogue = output.catalogue(ctx)
        catalogued = [row["id"] for row in catalogue.rows("method")]
        ref = catalogue.find(name, ("method",))[0]
    except UnknownId:
        pass
    except Exception:  # the lab runs without the records; `mmalign validate` says what is wrong
        pass
    else:
        method_id = ref.partition(":")[2]
        script = (catalogue.card(ref).get("reference_impl") or "").removesuffix(".py")
        if method_id in known or script in known.values():
            return method_id
        raise click.UsageError(f"'{method_id}' is catalogued, but has no script to run yet")
    near = nearest(wanted, [*known, *(n for n in catalogued if n in known)])
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}"
    raise click.UsageError(f"no method is called '{name}'{hint}")
