"""`mmalign evaluate`: a model on POPE, CHAIR or AMBER, or the answers that somebody else got."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmalign.cli import output
from mmalign.cli.arguments import Place, Whole
from mmalign.cli.run import missing

BENCHMARKS = ("pope", "chair", "amber")
EXPORTS = ("vlmevalkit", "lmms-eval")
STOPPED = 130

Folder = Place(file_okay=False, path_type=Path)
Existing = Place(exists=True, path_type=Path)


@click.command()
@click.argument("benchmark", type=click.Choice(BENCHMARKS))
@click.option("--data", type=Existing, required=True, metavar="DIR",
              help="The benchmark's own files, as they are published.")  # fmt: skip
@click.option("--model", metavar="MODEL", help="Folder of a model, or its id on the hub.")
@click.option(
    "--image-root", type=Folder, metavar="DIR", help="Folder of the images.  [default: DIR]"
)
@click.option("--split", "splits", multiple=True, metavar="NAME", help="Only this one; repeatable.")
@click.option("--limit", type=Whole(min=1), help="Questions of each split, at most.")
@click.option("--seed", type=int, help="Draw them at random; else the first ones are taken.")
@click.option("--prompt", metavar="TEXT",
              help="What is asked; {question} in it is the benchmark's own text.")  # fmt: skip
@click.option("--batch-size", type=Whole(min=1), default=4, show_default=True,
              help="Questions that are answered together.")  # fmt: skip
@click.option("--max-new-tokens", type=Whole(min=1),
              help="Of an answer.  [default: pope 16, else 512]")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32",
              show_default=True, help="Of the weights.")  # fmt: skip
@click.option("--predictions", type=Place(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where answers are written.  [default: in --output]")  # fmt: skip
@click.option("--score-only", type=Place(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="Score these answers; no model is asked.")  # fmt: skip
@click.option("--partial", is_flag=True, help="Score what is answered where questions are not.")
@click.option("--export", "exports", multiple=True, type=click.Choice(EXPORTS),
              help="Write the answers as another evaluator has them, too.")  # fmt: skip
@click.option("--output", "folder", type=Folder, metavar="DIR",
              help="Folder of the results.  [default: runs/BENCHMARK-MODEL]")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the answers that are in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    benchmark: str,
    folder: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Evaluate a model on POPE, CHAIR or AMBER, or score answers.

    Metrics are in per cent. Progress goes to stderr; answers, result and exports go into the output
    folder; --score-only writes nothing without one. Asking a model needs the extra `train`.
    """
    asked, scored = given["model"], given["score_only"]
    if (asked is None) == (scored is None):
        raise click.UsageError("give --model to ask one, or --score-only to score answers")
    if scored is not None:
        for name in ("predictions", "resume"):
            if given[name]:
                raise click.UsageError(f"--{name}: nothing is asked with --score-only")
        if given["exports"] and folder is None:
            raise click.UsageError("--export: say where to (--output)")
    if given["seed"] is not None and given["limit"] is None:
        raise click.UsageError("--seed: there is nothing to draw without --limit")
    try:
        from reference_impls.core.command_line import (
            check_device,
            check_paths,
            make_folder,
            quiet_libraries,
        )
        from reference_impls.evaluate import run
        from reference_impls.evaluate.exports import plain
    except ModuleNotFoundError as error:
        raise missing(error) from None
    if scored is None:
        folder = folder or Path("runs") / f"{benchmark}-{plain(asked)}"
    try:
        if scored is None:
            check_paths(asked, None)
            check_device(given["device"])
            quiet_libraries()
        if folder is not None:
            make_folder(folder, given["resume"])
        options = run.Options(benchmark=benchmark, output=folder, **given)
        result = run.evaluate(options, output.note)
    except ModuleNotFoundError as error:
        raise missing(error) from None
    except run.Stopped as stopped:
        click.echo(str(stopped), err=True)
        ctx.exit(STOPPED)
    except (run.BadInput, run.FolderInUse, OSError) as error:
        raise click.ClickException(" ".join(str(error).split())) from None
    for remark in result["remarks"]:
        output.note(remark)
    if as_json:
        output.write_json(result)
    else:
        _table(result["metrics"])
    where = f"; files in {folder}" if folder is not None else ""
    output.note(f"{benchmark}: {result['answered']} answers scored{where}")


def _table(metrics: dict[str, dict[str, float | None]]) -> None:
    columns = list(dict.fromkeys(name for own in metrics.values() for name in own))
    body = [
        [group, *("-" if own.get(name) is None else f"{own[name]:.1f}" for name in columns)]
        for group, own in metrics.items()
    ]
    output.write(output.align(["", *columns], body))
