"""The command line that every method script shares: `mmalign run METHOD`, or the script itself."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import json
import logging as python_logging
import math
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reference_impls.core.annotating import annotated, annotator_options, questions
from reference_impls.core.annotating import check as check_annotator
from reference_impls.core.doctor import RESULT, NoRun, examine
from reference_impls.core.method import (
    METHODS,
    ContractError,
    GroupStage,
    Method,
    PairStage,
    PpoStage,
    SamplingStage,
    Script,
    SelectStage,
    load_script,
    script_names,
)
from reference_impls.core.places import there
from reference_impls.core.processes import FailedInMain, by_main, join, main_process

if TYPE_CHECKING:
    from reference_impls.core.method import Method, Row
    from reference_impls.core.worlds.protocol import World


CONFIG, TABLE = "config.json", "table.txt"
FAULT = 70
"""Exit status of a fault of the lab itself, as of every command of mmalign."""
FAULTS = (AssertionError, AttributeError, IndexError, KeyError, NameError, TypeError)
"""What no input may cause, and a mistake in a program does."""
GRACE = 2.0
"""Seconds that a process leaves the main one to say why a run ends: a launcher ends all processes
as soon as it sees one that failed."""


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
    if name not in script_names():
        near = difflib.get_close_matches(name, script_names(), 2)
        hint = f"; did you mean {' or '.join(n.replace('_', '-') for n in near)}?" if near else ""
        click.echo(f"Error: there is no script for the method '{method}'{hint}", err=True)
        return 2
    try:
        # As the name of a folder, nothing at all would mean the one that one stands in.
        empty = next((a for a in arguments if not a or re.fullmatch("--[a-z0-9-]+=", a)), None)
        if empty is not None:
            raise click.UsageError(f"{empty.rstrip('=') or 'an argument'}: a value is wanted")
        return (
            command.main(
                [*arguments],
                prog_name=f"mmalign run {method}",
                standalone_mode=False,
                obj=(name, arguments),
            )
            or 0
        )
    except FailedInMain:
        time.sleep(GRACE)
        return 1
    except click.ClickException as error:
        if not main_process():  # all processes were given the same options
            time.sleep(GRACE)
        else:
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
        who = "" if main_process() else f"process {os.environ['RANK']}: "
        click.echo(f"Error: {who}{text} (MMALIGN_DEBUG=1 shows where)", err=True)
        ours = isinstance(error, FAULTS) and not isinstance(error, ContractError)
        return FAULT if ours else 1


class Finite(click.FloatRange):
    """A number in a range that has an end: neither infinite nor nan."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Raises BadParameter."""
        if not math.isfinite(click.FLOAT.convert(value, param, ctx)):
            self.fail(f"{value} is not a finite number", param, ctx)
        found: float = super().convert(value, param, ctx)
        return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Of data, sampling, training.",
)
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps; else the preset's.")
@click.option("--epochs", type=Finite(0, min_open=True), help="In place of steps.")
@click.option("--pairs", type=click.IntRange(2), help="Scenes that the lab draws rows from.")
@click.option("--learning-rate", type=Finite(0, 1, min_open=True), help="Else the preset's.")
@click.option("--batch-size", type=click.IntRange(1), help="Pairs (or prompts) per step, in all.")
@click.option("--per-device-batch-size", type=click.IntRange(1), help="The rest is accumulated.")
@click.option("--group-size", type=click.IntRange(2), help="Answers per prompt (reinforcement).")
@click.option(
    "--answer-length", type=click.IntRange(1), help="Tokens of a sampled answer, at most."
)
@click.option("--temperature", type=Finite(1e-3), help="Of sampled answers.")
@click.option("--preset", type=click.Choice(["lab", "paper"]), help="lab; paper with --model.")
@click.option("--variant", type=click.Choice(["paper", "code", "survey"]), help="Of the objective.")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a Config value."
)
@click.option("--world", "world_name", help="Another world than the method's own (mmalign worlds).")
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="NAME=LEVEL",
    help="A level of one of the world's conditions (mmalign worlds).",
)
@click.option("--model", help="Checkpoint folder or hub id, in place of the lab's base.")
@click.option(
    "--dataset",
    help="Folder, file or hub id of preference data, in place of the lab's data step.",
)
@click.option("--split", help="Split of --dataset.  [default: train]")
@click.option(
    "--image-root",
    type=click.Path(path_type=Path),
    help="Folder that image paths of --dataset start from.  [default: its own]",
)
@click.option("--limit", type=click.IntRange(2), help="Read the first so many rows of --dataset.")
@annotator_options
@click.option("--device", help="cpu, cuda or mps.  [default: cpu]")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="What is computed in (float16: on a GPU); weights that train stay in float32.  [default: "
    "the preset's]",
)
@click.option("--lora-rank", type=click.IntRange(0), help="Train an adapter; 0 trains all weights.")
@click.option(
    "--lora-alpha",
    type=click.IntRange(1),
    help="An adapter's update counts alpha / rank.  [default: twice the rank]",
)
@click.option(
    "--lora-targets",
    metavar="NAMES",
    help="Linear layers that get an adapter, as q_proj,v_proj; all: those of the language model.",
)
@click.option("--load-in-4bit", is_flag=True, help="QLoRA: 4-bit weights below the adapter (CUDA).")
@click.option(
    "--train-vision/--freeze-vision",
    default=None,
    help="Train the vision tower, too; else the preset's, which mostly freezes it.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, more time.")
@click.option("--max-pixels", type=click.IntRange(1), help="Of an image (Qwen-VL): height x width.")
@click.option("--min-pixels", type=click.IntRange(1), help="Of an image (Qwen-VL), at least.")
@click.option(
    "--log-to",
    type=click.Choice(["none", "tensorboard", "wandb"]),
    help="Where metrics of each step go besides metrics.jsonl.",
)
@click.option(
    "--stored-reference/--live-reference",
    default=None,
    help="Score the reference once before training (default), or at every step.",
)
@click.option(
    "--reference-cache",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Keep the reference's log-probabilities there: runs on the same rows score them once.",
)
@click.option(
    "--shared-prefix/--plain-layout",
    default=None,
    help="One pass over what views of a row share (default), or one per view.",
)
@click.option(
    "--generate-with",
    type=click.Choice(["transformers", "vllm"]),
    help="What samples answers in reinforcement.  [default: transformers]",
)
@click.option("--baselines/--no-baselines", default=True, help="Also train the baselines.")
@click.option("--scenes", type=click.IntRange(8), hidden=True, help="Held-out scenes.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder; else runs/METHOD-seedN.")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in the folder.")
@click.option(
    "--overwrite", is_flag=True, help="Begin anew in a folder whose run has not come to its end."
)
@click.option(
    "--dry-run", is_flag=True, help="Say what it would take: rows, tokens, memory, time per GPU."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.pass_obj
def command(asked: tuple[str, list[str]], /, as_json: bool, **options: Any) -> int:
    """Train and evaluate one method beside its baselines.

    Progress goes to stderr, the table (or JSON) to stdout; configuration, versions, metrics of each
    step, the trained model and the table go into the output folder. Rate, steps, batch and rows
    change the method's last stage, and what a selection rests on; everything about the machine
    holds in all stages.
    """
    name, arguments = asked
    quiet_libraries()
    try:
        script = load_script(name)
    except ContractError as error:
        raise click.ClickException(str(error)) from None
    preset = options["preset"] or ("paper" if options["model"] else "lab")
    cfg = chosen_config(script, options["variant"], options["changes"])
    try:
        script = script.under(cfg)
    except ContractError as error:
        raise click.UsageError(str(error)) from None
    method = script.method
    changes = chosen_settings(options)
    check_reference_cache(script, cfg, options)
    check_device(options["device"] or "cpu")
    try:
        join(options["device"] or "cpu")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    check_packages(options["log_to"], options["load_in_4bit"])
    check_sampling(method, options)
    if options["generate_with"] == "vllm":
        from reference_impls.core.model.vllm_engine import CannotSample, check_vllm

        try:
            check_vllm(options["device"] or "cpu")
        except CannotSample as error:
            raise click.UsageError(f"--generate-with: {error}") from None
    if not options["model"] and (options["device"] or "cpu") == "cpu":
        # The lab's model is too small to share: two threads wait for each other longer than they
        # work, and sums of another number of threads are other sums.
        import torch

        torch.set_num_threads(1)
    check_episodes(method, options["dataset"])
    check_paths(options["model"], options["dataset"])
    lab_split = check_split(options)
    world = chosen_world(script, options["world_name"], options["conditions"])
    output = options["output"] or Path("runs") / f"{method.record}-seed{options['seed']}"
    from reference_impls.core.data.readers.cells import DataError

    annotator = check_annotator(options, script, cfg)
    rows = unjudged = None
    if options["dataset"]:
        from reference_impls.core.data.readers import read_rows

        try:
            if annotator is not None:
                unjudged = questions(options)
            else:
                rows = read_rows(
                    options["dataset"], method.last, cfg, split=options["split"],
                    image_root=options["image_root"], limit=options["limit"], note=said,
                    fed=method.fed(cfg),
                )  # fmt: skip
        except DataError as error:
            raise click.ClickException(f"--dataset: {error}") from None
        if rows is not None:
            check_enough(len(rows), method, preset, changes)
    from reference_impls.bench.experiment import Experiment
    from reference_impls.core import measure

    data = unjudged if rows is None else rows
    experiment = Experiment(
        script=script, cfg=cfg, preset=preset, changes=changes, world=world, output=output,
        base=options["model"] or "",  # the lab's is made when all else is in order
        seed=options["seed"],
        split=lab_split, resume=options["resume"], baselines=options["baselines"],
        rows=rows, rows_digest=data.digest if data is not None else "",
        real_model=options["model"] is not None, scenes=options["scenes"] or measure.SCENES,
    )  # fmt: skip
    try:
        experiment.check_settings()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if options["dry_run"]:
        return dry(method, cfg, preset, changes, options["model"], rows, as_json)
    by_main(lambda: claim(output, options["resume"], options["overwrite"]))

    from reference_impls.core.data.endpoint import NoReply
    from reference_impls.core.provenance import versions
    from reference_impls.core.stages import note
    from reference_impls.core.train.callbacks import Interrupted
    from reference_impls.core.train.checkpoints import OtherRun, SaveFailed, write_json, write_text

    experiment.base = options["model"] or by_main(lambda: str(world.base(options["seed"])))
    asked_for = {
        "method": method.record,
        "preset": preset,
        "model": options["model"],
        "dataset": options["dataset"],
        "split": options["split"],
        "limit": options["limit"],
        "annotator": options["annotator"],
        "annotator_model": options["annotator_model"],
        "world": world.name,
        "condition": dict(world.levels),
        "changes": changes,
        "config": dataclasses.asdict(cfg),
        "versions": versions(),
        "command": shlex.join(["mmalign", "run", method.record, *arguments]),
    }
    by_main(lambda: note_config(output / CONFIG, asked_for, options["resume"]))
    judged = None
    try:
        if annotator is not None and unjudged is not None:
            experiment.rows, judged = annotated(unjudged, annotator, experiment, options, note)
        result = experiment.run()
    except Interrupted as stopped:
        click.echo(
            f"{stopped}; go on with the same command and --output {output} --resume", err=True
        )
        return 130
    except OtherRun as error:
        raise click.ClickException(f"--resume: {error}") from None
    except SaveFailed as error:
        raise click.ClickException(
            f"{error}. What was saved before is whole: make room, then go on with the same "
            f"command and --output {output} --resume"
        ) from None
    except NoReply as error:
        raise click.ClickException(
            f"--annotator: {error}. Answers and replies so far are kept: the same command goes on"
        ) from None
    except DataError as error:  # an image that cannot be read
        raise click.ClickException(f"--dataset: {error}") from None
    result |= {"dataset": options["dataset"], "device": options["device"] or "cpu"}
    if judged is not None:
        result["annotator"] = judged
    if main_process():
        write_json(output / RESULT, result)
        write_text(output / TABLE, table(result) + "\n")
        click.echo(json.dumps(result) if as_json else table(result))
        try:  # the run is done, whatever else lies in its folder
            for sign in examine(output):
                click.echo(f"{sign.where}: {sign.id}: {sign.says}", err=True)
        except (NoRun, OSError) as error:
            click.echo(f"signs of the run could not be read: {error}", err=True)
        click.echo(f"{preset} preset, {result['seconds']} s; files in {output}", err=True)
    return 0


def dry(
    method: Method,
    cfg: Any,
    preset: str,
    changes: dict[str, Any],
    model: str | None,
    rows: Sequence[Row] | None,
    as_json: bool,
) -> int:
    """Say what a run of a method's last stage would take; nothing is trained or written."""
    from reference_impls.core import dry_run
    from reference_impls.core.data.rows import kept_back
    from reference_impls.core.settings import changed

    if model is None:
        raise click.UsageError("--dry-run needs --model: the lab's own runs take minutes on a CPU")
    stage = method.last
    settings = changed(stage.lab if preset == "lab" else stage.paper, changes)
    trained = None if rows is None else len(rows) - kept_back(len(rows))
    found = dry_run.dry_run(stage, cfg, settings, model, rows, trained)
    found = {"method": method.record, **found}
    if main_process():
        click.echo(json.dumps(found) if as_json else dry_run.told(found))
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
    ours = python_logging.getLogger("reference_impls")
    if not ours.handlers:
        ours.setLevel(python_logging.INFO)
        ours.addHandler(_Stderr())


class _Stderr(python_logging.Handler):
    """What our own code has to say, each line once, from one of several processes."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def emit(self, record: python_logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self.told and os.environ.get("RANK", "0") == "0":
            self.told.add(line)
            click.echo(line, err=True)


SETTINGS = {
    "steps": "steps", "epochs": "epochs", "pairs": "pairs", "learning_rate": "learning_rate",
    "batch_size": "batch_size", "per_device_batch_size": "per_device_batch_size",
    "group_size": "group_size", "answer_length": "max_new_tokens", "temperature": "temperature",
    "device": "device", "dtype": "dtype", "lora_rank": "lora_rank", "train_vision": "train_vision",
    "gradient_checkpointing": "gradient_checkpointing", "seed": "seed",
    "lora_alpha": "lora_alpha", "lora_targets": "lora_targets", "load_in_4bit": "load_in_4bit",
    "max_pixels": "max_pixels", "min_pixels": "min_pixels", "log_to": "log_to",
    "stored_reference": "stored_reference", "shared_prefix": "shared_prefix",
    "reference_cache": "reference_cache",
    "generate_with": "generate_with",
}  # fmt: skip
"""Option -> field of `TrainSettings` that it changes."""


def chosen_settings(options: dict[str, Any]) -> dict[str, Any]:
    """What the options change in the preset; an option that was not given changes nothing."""
    if options["steps"] is not None and options["epochs"] is not None:
        raise click.UsageError("give --steps or --epochs, not both")
    given = {
        field: options[name]
        for name, field in SETTINGS.items()
        if options[name] is not None and options[name] is not False
    }
    for flag in ("train_vision", "stored_reference", "shared_prefix"):
        if options[flag] is False:
            given[flag] = False
    if options["epochs"] is not None:
        given["steps"] = None
    return given


def check_sampling(method: Method, options: dict[str, Any]) -> None:
    """Refuse options of sampling where nothing would follow them."""
    groups = any(isinstance(stage, GroupStage) for stage in method.stages)
    samples = any(isinstance(stage, SamplingStage) for stage in method.stages)
    selects = any(isinstance(stage, SelectStage) for stage in method.stages)
    used = {
        "group_size": groups,
        "temperature": samples or selects,
        "answer_length": samples or options["annotator"] is not None,
        "generate_with": samples or options["generate_with"] == "transformers",
    }
    for name, of_use in used.items():
        if options[name] is not None and not of_use:
            sampled = "groups" if name == "group_size" else "from the model in training"
            raise click.UsageError(
                f"--{name.replace('_', '-')} would change nothing: {method.record} has no stage "
                f"that samples {sampled}"
            )


def check_reference_cache(script: Script, cfg: Any, options: dict[str, Any]) -> None:
    """Refuse --reference-cache, or --stored-reference, where no stage would store one."""
    cached = options["reference_cache"] is not None
    if not cached and not options["stored_reference"]:
        return
    if options["stored_reference"] is False:
        raise click.UsageError("--reference-cache keeps a stored reference: not --live-reference")
    from reference_impls.core.train.pairs import why_not_stored

    pairs = [stage for stage in script.method.stages if isinstance(stage, PairStage)]
    reasons = [why_not_stored(stage, stage.views_of(cfg)) for stage in pairs]
    if all(reasons):
        reason = reasons[-1] if reasons else "does not train on pairs"
        raise click.UsageError(
            f"--{'reference-cache' if cached else 'stored-reference'}: {script.method.record} has "
            f"no reference that could be kept: it {reason}"
        )


def chosen_world(script: Script, name: str | None, conditions: Sequence[str]) -> World[Any]:
    """The world with the levels that the method asks for and the options change."""
    from reference_impls.core.worlds.protocol import world

    levels: dict[str, str] = {} if name else dict(script.method.condition)
    for given in conditions:
        condition, equals, level = given.partition("=")
        if not equals:
            raise click.UsageError(f"--condition wants NAME=LEVEL, not '{given}'")
        levels[condition] = level
    own = f"{script.name}.py, METHOD"
    try:
        found = world(name or script.method.world).under(levels)
    except ValueError as error:
        place = "--condition" if conditions else "--world" if name else own
        raise click.UsageError(f"{place}: {error}") from None
    if script.method.task and script.method.task not in found.tasks:
        raise click.UsageError(
            f"{'--world' if name else own}: the world {found.name} has no task "
            f"'{script.method.task}', which {script.method.record} is trained on; "
            f"there are {', '.join(found.tasks)}"
        )
    return found


TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def chosen_config(script: Script, variant: str | None, changes: Sequence[str]) -> Any:
    """The script's Config with `--variant` and `--set` applied."""
    cfg = script.method.config()
    types = {field.name: type(getattr(cfg, field.name)) for field in dataclasses.fields(cfg)}
    values: dict[str, Any] = {"variant": variant} if variant else {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise click.UsageError(f"--set wants NAME=VALUE, not '{change}'")
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(types)}"
            raise click.UsageError(f"--set: {script.method.record} has no '{name}'{hint}")
        values[name] = _value(name, text.strip(), types[name])
    try:
        return dataclasses.replace(cfg, **values)
    except ValueError as error:
        raise click.UsageError(f"--set: {error}") from None


def _value(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in TRUE or text.lower() in FALSE:
            return text.lower() in TRUE
        raise click.UsageError(f"--set {name}: '{text}' is not true or false")
    if name == "variant":
        raise click.UsageError("--set variant: use --variant")
    try:
        value = kind(text)
    except ValueError:
        raise click.UsageError(f"--set {name}: '{text}' is not {kind.__name__}") from None
    if isinstance(value, float) and not value - value == 0:
        raise click.UsageError(f"--set {name}: '{text}' is not a finite number")
    return value


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


def check_packages(log_to: str | None, in_4bit: bool) -> None:
    """Refuse what a missing package is needed for."""
    if log_to not in (None, "none") and importlib.util.find_spec(log_to) is None:
        raise click.UsageError(f"--log-to {log_to}: it is not installed: pip install {log_to}")
    if in_4bit:
        from reference_impls.core.model.load import cannot_quantise

        missing = cannot_quantise()
        if missing:
            raise click.UsageError(f"--load-in-4bit needs {missing}")


def check_paths(model: str | None, dataset: str | None) -> None:
    """Refuse a path that is not there before anything is loaded."""
    for option, value in (("--model", model), ("--dataset", dataset)):
        if value is not None and not there(value):
            raise click.UsageError(f"{option}: there is nothing at '{value}'")
    if dataset and not model:
        raise click.UsageError(
            "--dataset needs --model: the lab's base knows only the lab's images"
        )


def check_episodes(method: Method, dataset: str | None) -> None:
    """Refuse a dataset for a method whose answers are moves in an environment."""
    plays = any(isinstance(s, PpoStage) and s.environments is not None for s in method.stages)
    if dataset and plays:
        raise click.UsageError(
            f"--dataset: {method.record} plays in environments of a world, and no row of a dataset "
            "begins an episode"
        )


def check_split(options: dict[str, Any]) -> str:
    """The lab's held-out split; options that only a dataset has are refused without one."""
    if options["dataset"]:
        return "test"
    for option in ("image_root", "limit"):
        if options[option] is not None:
            raise click.UsageError(f"--{option.replace('_', '-')} needs --dataset")
    split = options["split"] or "test"
    if split not in ("validation", "test"):
        raise click.UsageError("--split without --dataset is validation or test")
    return str(split)


def said(line: str) -> None:
    """A line for the person at the terminal, once for all processes."""
    if main_process():
        click.echo(line, err=True)


def check_enough(count: int, method: Method, preset: str, changes: dict[str, Any]) -> None:
    """Refuse a dataset that does not fill one batch beside the rows that are kept back."""
    from reference_impls.core.data.rows import too_few

    stage = method.last
    batch = changes.get("batch_size") or (stage.lab if preset == "lab" else stage.paper).batch_size
    if problem := too_few(count, batch):
        raise click.ClickException(f"--dataset: {problem}")


def make_folder(output: Path, resume: bool) -> None:
    """Create the output folder and make sure that it can be written."""
    if resume and not output.is_dir():
        raise click.UsageError(f"--resume: there is no run in '{output}'")
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".writable"
        try:
            probe.write_bytes(bytes(4096))  # an empty file fits on a full disk
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise click.UsageError(f"--output: cannot write to '{output}': {reason}") from None


def claim(output: Path, resume: bool, overwrite: bool) -> None:
    """Have the output folder to oneself, until the command ends.

    A run that has not come to its end is only begun anew where that was asked for: it may stand
    for days of work. The results of one that has are cleared, so that no folder ever holds the
    settings of one run and the numbers of another.
    """
    from reference_impls.core.train.checkpoints import FolderInUse, alone, checkpoints

    make_folder(output, resume)
    try:
        click.get_current_context().with_resource(alone(output))
    except FolderInUse as error:
        raise click.UsageError(f"--output: {error}") from None
    if resume:
        return
    unfinished = [path for path in output.glob("**/checkpoint-*") if checkpoints(path.parent)]
    if unfinished and not overwrite and not (output / RESULT).exists():
        raise click.UsageError(
            f"--output: '{output}' holds a run that has not come to its end; go on with --resume, "
            "or begin anew with --overwrite or in another folder"
        )
    for name in (RESULT, TABLE):
        (output / name).unlink(missing_ok=True)


DECIDED = ("method", "preset", "world", "condition", "annotator", "changes", "config")
"""What of a run's configuration has to be the same when it goes on. Model, data and code are known
by their content (`stages`)."""


def note_config(path: Path, asked: dict[str, Any], resume: bool) -> None:
    """Write what a run was asked for. Of one that goes on it stays as it was, or the folder would
    hold the settings of this command beside the numbers of another.

    Raises ClickException where this command asks for something else.
    """
    from reference_impls.core.settings import BESIDE_A_RUN
    from reference_impls.core.train.checkpoints import differing, read_json, write_json

    found = read_json(path) if resume else None
    if not isinstance(found, dict):
        write_json(path, asked)
        return

    def decided(config: dict[str, Any]) -> dict[str, Any]:
        changes = config.get("changes") or {}
        changes = {name: value for name, value in changes.items() if name not in BESIDE_A_RUN}
        return {name: config.get(name) for name in DECIDED} | {"changes": changes}

    differs = differing(decided(found), decided(asked))
    if differs:
        raise click.ClickException(f"--resume: {path.parent} holds another run: {differs}")


def table(result: dict[str, Any]) -> str:
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
