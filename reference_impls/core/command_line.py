"""The command line that every method script shares: `mmalign run METHOD`, or the script itself."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import os
import shlex
import sys
import warnings
from pathlib import Path

import click

METHODS = Path(__file__).resolve().parent.parent / "methods"


def scripts() -> list[str]:
    """Names of the scripts there are: the folder is the register."""
    return sorted(path.stem for path in METHODS.glob("[!_]*.py"))


def main(file: str) -> None:
    """Entry point of a script: `if __name__ == "__main__": main(__file__)`."""
    # The script ran as __main__; the run uses the module of its real name.
    sys.path.insert(0, str(METHODS.parent.parent))
    try:
        sys.exit(run(Path(file).stem, sys.argv[1:]))
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {error}; a script needs the extra `train`: pip install 'mmalign[train]'")


def run(method: str, arguments: list[str]) -> int:
    """Run a method (its id or its script's name); the exit status. Problems are one line each."""
    name = method.replace("-", "_")
    if name not in scripts():
        near = difflib.get_close_matches(name, scripts(), 2)
        hint = f"; did you mean {' or '.join(n.replace('_', '-') for n in near)}?" if near else ""
        click.echo(f"Error: there is no script for the method '{method}'{hint}", err=True)
        return 2
    try:
        return (
            command.main(
                [*arguments],
                prog_name=f"mmalign run {method}",
                standalone_mode=False,
                obj=(name, arguments),
            )
            or 0
        )
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        return 0
    except ModuleNotFoundError:
        raise  # the caller knows which extra is missing
    except Exception as error:
        if os.environ.get("MMALIGN_DEBUG"):
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        click.echo(f"Error: {text} (MMALIGN_DEBUG=1 shows where)", err=True)
        return 1


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seed", type=int, default=1, show_default=True, help="Of data, sampling, training.")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps; else the preset's.")
@click.option("--pairs", type=click.IntRange(2), help="Images that the lab draws data from.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Else the preset's.")
@click.option("--batch-size", type=click.IntRange(1), help="Pairs (or prompts) per step, in all.")
@click.option("--per-device-batch-size", type=click.IntRange(1), help="The rest is accumulated.")
@click.option("--preset", type=click.Choice(["lab", "paper"]), help="lab; paper with --model.")
@click.option("--variant", type=click.Choice(["paper", "code", "survey"]), help="Of the objective.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a Config value."
)
@click.option("--model", help="Checkpoint folder or hub id, in place of the lab's base.")
@click.option("--dataset", help="Preference data, in place of the lab's data step.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32")
@click.option("--lora-rank", type=click.IntRange(0), help="Train an adapter; 0 trains all weights.")
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, more time.")
@click.option("--baselines/--no-baselines", default=True, help="Also train SFT and DPO (GRPO).")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test", hidden=True)
@click.option("--output", type=click.Path(path_type=Path), help="Folder; else runs/METHOD-seedN.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.pass_obj
def command(asked, as_json, **options) -> int:
    """Train and evaluate one method beside its baselines.

    Progress goes to stderr, the table (or JSON) to stdout; configuration, versions, metrics of each
    step, the trained model and the table go into the output folder.
    """
    name, arguments = asked
    quiet_libraries()
    script = importlib.import_module(f"reference_impls.methods.{name}")
    preset = options["preset"] or ("paper" if options["model"] else "lab")
    settings = chosen_settings(script, preset, options)
    cfg = chosen_config(script, options["variant"], options["changes"])
    check_device(settings.device)
    check_paths(options["model"], options["dataset"])
    output = options["output"] or Path("runs") / f"{script.RECORD}-seed{settings.seed}"
    make_folder(output, options["resume"])

    from reference_impls.core.experiment import Experiment, versions, write_json
    from reference_impls.core.interrupt import Interrupted
    from reference_impls.core.worlds import scenes

    configuration = {
        "method": script.RECORD,
        "preset": preset,
        "model": options["model"],
        "dataset": options["dataset"],
        "settings": dataclasses.asdict(settings),
        "config": dataclasses.asdict(cfg),
        "versions": versions(),
        "command": shlex.join(["mmalign", "run", script.RECORD, *arguments]),
    }
    write_json(output / "config.json", configuration)
    try:
        result = Experiment(
            script, cfg, settings, scenes, output, preset, options["model"], options["dataset"],
            options["resume"], options["baselines"], options["split"],
        ).run()  # fmt: skip
    except Interrupted as stopped:
        click.echo(
            f"{stopped}; go on with the same command and --output {output} --resume", err=True
        )
        return 130
    write_json(output / "result.json", result)
    (output / "table.txt").write_text(table(result) + "\n")
    click.echo(json.dumps(result) if as_json else table(result))
    click.echo(f"{preset} preset, {result['seconds']} s; files in {output}", err=True)
    return 0


def quiet_libraries() -> None:
    """Libraries say much that a user of this command cannot act on."""
    for variable in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(variable, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings(
        "ignore", module=r"(torch|transformers|trl|accelerate|peft|datasets)\b.*"
    )
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def chosen_settings(script, preset: str, options):
    """The preset's settings with what the options change."""
    settings = script.LAB if preset == "lab" else script.PAPER
    names = [field.name for field in dataclasses.fields(settings)]
    given = {n: options[n] for n in names if options.get(n) is not None}
    return dataclasses.replace(settings, **given)


def chosen_config(script, variant: str | None, changes: tuple[str, ...]):
    """The script's Config with `--variant` and `--set` applied."""
    cfg = script.Config()
    types = {field.name: type(getattr(cfg, field.name)) for field in dataclasses.fields(cfg)}
    values = {"variant": variant} if variant else {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set wants NAME=VALUE, not '{change}'")
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(types)}"
            raise click.UsageError(f"--set: {script.RECORD} has no '{name}'{hint}")
        try:
            kind = types[name]
            values[name] = text.lower() in ("1", "true") if kind is bool else kind(text)
        except ValueError:
            raise click.UsageError(f"--set {name}: '{text}' is no {types[name].__name__}") from None
    return dataclasses.replace(cfg, **values)


def check_device(device: str) -> None:
    import torch

    kind = device.split(":")[0]
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if kind not in there:
        raise click.UsageError(f"--device: '{device}' is none of cpu, cuda, mps")
    if not there[kind]:
        raise click.UsageError(f"--device {device}: this torch sees no such device")


def check_paths(model: str | None, dataset: str | None) -> None:
    """Refuse a path that is not there before anything is loaded. Hub ids are `owner/name`."""
    for option, value in (("--model", model), ("--dataset", dataset)):
        if value is None or Path(value).expanduser().exists():
            continue
        if value.startswith((".", "/", "~")) or value.count("/") != 1:
            raise click.UsageError(f"{option}: there is nothing at '{value}'")
    if dataset and not model:
        raise click.UsageError(
            "--dataset needs --model: the lab's base knows only the lab's images"
        )


def make_folder(output: Path, resume: bool) -> None:
    """Create the output folder and make sure that it can be written."""
    if resume and not output.is_dir():
        raise click.UsageError(f"--resume: there is no run in '{output}'")
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise click.UsageError(f"--output: cannot write to '{output}': {reason}") from None


def table(result: dict) -> str:
    """The rows of a result in aligned columns."""
    rows = result["rows"]
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(f"  {column}" for column in columns)]
    for name, row in rows.items():
        cells = [f"{row[c]:.3f}" if c in row else "-" for c in columns]
        lines.append(
            name.ljust(width)
            + "".join(f"  {cell:>{len(c)}}" for cell, c in zip(cells, columns, strict=True))
        )
    return "\n".join(lines)
