"""`--annotator`: a dataset's questions are answered by the policy and judged by a model, once,
before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from reference_impls.core.method import Script
from reference_impls.core.places import there

if TYPE_CHECKING:
    from reference_impls.bench.experiment import Experiment
    from reference_impls.core.data.endpoint import Replier
    from reference_impls.core.data.readers import Rows
    from reference_impls.core.method import Row

F = TypeVar("F", bound=Callable[..., Any])

LENGTH = 256
"""Tokens of the policy's answers, at most, where no --answer-length is given."""
BATCH = 8
"""Answers that are sampled together, where no --per-device-batch-size is given."""

OPTIONS = (
    click.option(
        "--annotator",
        metavar="MODEL",
        help="Answer the questions of --dataset with the policy and let this model judge: a "
        "folder or hub id, or http(s)://host/v1 of an OpenAI-compatible endpoint.",
    ),
    click.option("--annotator-model", metavar="NAME", help="Which model of the endpoint."),
    click.option(
        "--annotator-key-variable",
        metavar="NAME",
        help="Environment variable with the endpoint's key.  [default: no key is sent]",
    ),
    click.option("--annotator-jobs", type=click.IntRange(1, 256), default=4, show_default=True,
                 help="Calls at a time."),
    click.option("--annotator-timeout", type=click.FloatRange(0, min_open=True), default=120.0,
                 show_default=True, help="Seconds for one call."),
    click.option("--annotator-attempts", type=click.IntRange(1), default=6, show_default=True,
                 help="Of one call, where a fault may pass."),
    click.option("--annotator-unreadable", type=click.FloatRange(0, 1), default=0.05,
                 show_default=True, help="Share of replies without the form asked for, at most."),
)  # fmt: skip


def annotator_options(command: F) -> F:
    """Adds the options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def check(options: Mapping[str, Any], script: Script, cfg: Any) -> Replier | None:
    """The model that judges; None without --annotator.

    Raises click.UsageError where the options or the method's data step cannot do with it: before
    any model is loaded.
    """
    name = options["annotator"]
    if name is None:
        for option in ("annotator_model", "annotator_key_variable"):
            if options[option] is not None:
                shown = option.replace("_", "-")
                raise click.UsageError(f"--{shown}: there is no --annotator that it is about")
        return None
    from reference_impls.core.data.endpoint import Endpoint, LocalModel, NoReply
    from reference_impls.core.dataset_lab import NeedsScene, rehearse
    from reference_impls.core.processes import world_size

    if not options["dataset"]:
        raise click.UsageError("--annotator needs --dataset: the lab has annotators of its own")
    if world_size() > 1:
        raise click.UsageError("--annotator works in one process; start the command by itself")
    try:
        rehearse(script.method.last.data, cfg)
    except NeedsScene as error:
        raise click.UsageError(
            f"--annotator: {script.method.record} cannot be given a judge: {error}; give a dataset "
            "that is judged, without --annotator"
        ) from None
    if "://" in name:
        try:
            return Endpoint(
                url=name,
                model=options["annotator_model"] or "",
                key_variable=options["annotator_key_variable"] or "",
                timeout=options["annotator_timeout"],
                attempts=options["annotator_attempts"],
                jobs=options["annotator_jobs"],
            )
        except NoReply as error:
            raise click.UsageError(f"--annotator: {error}") from None
    for option in ("annotator_model", "annotator_key_variable"):
        if options[option] is not None:
            shown = option.replace("_", "-")
            raise click.UsageError(f"--{shown} is for an endpoint, and '{name}' is a model here")
    if not there(name):
        raise click.UsageError(f"--annotator: there is nothing at '{name}'")
    return LocalModel(
        name,
        device=options["device"] or "cpu",
        dtype=options["dtype"] or "float32",
        batch_size=options["per_device_batch_size"] or BATCH,
    )


def questions(options: Mapping[str, Any]) -> Rows:
    """The questions of --dataset. Raises DataError."""
    from reference_impls.core.dataset_lab import questions_of

    return questions_of(
        options["dataset"], split=options["split"], image_root=options["image_root"],
        limit=options["limit"],
    )  # fmt: skip


def annotated(
    rows: Rows,
    model: Replier,
    experiment: Experiment,
    options: Mapping[str, Any],
    note: Callable[[str], None],
) -> tuple[Sequence[Row], dict[str, Any]]:
    """What the data step of the method's last stage makes of a dataset's questions, and what it
    took. The policy that answers is given back after it.

    Raises NoReply, also where nothing is left to train on, and DataError.
    """
    from reference_impls.core.data.annotators import Annotator
    from reference_impls.core.data.endpoint import Kept, NoReply
    from reference_impls.core.data.rows import Tally
    from reference_impls.core.data.verbal import Verbal
    from reference_impls.core.dataset_lab import Annotated, DatasetLab, Missing, NoTask
    from reference_impls.core.provenance import versions
    from reference_impls.core.stages import model_digest

    method, cfg = experiment.script.method, experiment.cfg
    label = f"{method.record}, annotator"
    rounds = method.rounds_of(cfg)
    if rounds > 1:
        note(f"{label}: answers are judged once, before the first of {rounds} rounds")
    run = experiment.run_of(experiment.script, cfg, experiment.output, None)
    settings = run.settings(method.last)
    policy = experiment.policy_of_base(run)
    policy.batch_size = settings.per_device_batch_size or BATCH
    length = options["answer_length"] or LENGTH
    kept = Kept(model, note=note)
    judges: list[Verbal] = []

    def judge(kind: str) -> Annotator:
        judges.append(Verbal(kind, kept, share=options["annotator_unreadable"]))
        return judges[-1]

    tally = Tally()
    lab = DatasetLab(
        cast("Any", Missing("the lab's world")), cast("Any", NoTask(length)), policy, policy,
        cast("Any", Missing("the lab's workshop")), settings.seed, len(rows), tally=tally,
        rows=rows, judge=judge, folder=experiment.output / "annotated",
        known_by={
            "model": model_digest(experiment.base), "rows": rows.digest, "seed": settings.seed,
            "max_new_tokens": length, "versions": versions(),
        },
    )  # fmt: skip
    note(f"{label}: {len(rows)} questions, judged by {model.name}")
    try:
        made = Annotated(method.last.data(lab, cfg))
        for each in judges:
            each.finish()
    except KeyboardInterrupt:
        note(f"{label}: answers and replies so far are kept; the same command goes on with them")
        raise
    finally:
        note(f"{label}: {kept.usage.line()}")
    for line in tally.lines():
        note(f"{label}: {line}")
    unreadable, ties = (sum(getattr(j, name) for j in judges) for name in ("unreadable", "ties"))
    note(f"{label}: {len(made)} rows; {unreadable} replies unreadable, {ties} ties")
    if len(made) < 2:
        raise NoReply(f"it left {len(made)} rows of {len(rows)} questions: too few to train on")
    return made, {
        "model": model.name,
        "questions": len(rows),
        "rows": len(made),
        "rules": tally.rules,
        "unreadable": unreadable,
        "ties": ties,
        **asdict(kept.usage),
    }
