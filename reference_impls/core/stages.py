"""Runs a method's stages and rounds, each from the checkpoint that it names."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import shutil
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reference_impls.core import cache, provenance
from reference_impls.core.data.rows import Tally
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.method import (
    ContractError,
    GroupStage,
    HeadStage,
    PairStage,
    PpoStage,
    Row,
    SamplingStage,
    Script,
    SelectStage,
    Stage,
)
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import PixelLimits, adapters_of, load
from reference_impls.core.model.policy import Policy
from reference_impls.core.processes import by_main, main_process
from reference_impls.core.settings import BESIDE_A_RUN, TrainSettings, changed
from reference_impls.core.train.checkpoints import (
    MODEL,
    begin,
    digest,
    file_digest,
    finished,
    is_complete,
    mark_complete,
    read_json,
    saving,
    write_json,
)
from reference_impls.core.train.common import make_trainable, weights_of
from reference_impls.core.train.pairs import Lazily, row_digest, train_pairs
from reference_impls.core.worlds.protocol import Task, World

if TYPE_CHECKING:
    from reference_impls.core.train.head import TrainedHead

EVERYWHERE = (
    "device", "dtype", "lora_rank", "lora_alpha", "lora_targets", "load_in_4bit", "train_vision",
    "gradient_checkpointing", "max_pixels", "min_pixels", "stored_reference", "shared_prefix",
    "per_device_batch_size", "generate_with", "seed", *BESIDE_A_RUN,
)  # fmt: skip
"""Settings that hold in every stage of a run; all others change the stages that are adjusted (see
`Method.adjusted`)."""
SHRUNK = ("pairs", "steps", "batch_size")
"""Settings of the last stage that earlier ones do not exceed: a run made small is small."""


def note(message: str) -> None:
    """A line for the person at the terminal, from one of the processes."""
    if main_process():
        print(message, file=sys.stderr, flush=True)


@dataclass
class Run:
    """One run of one method: where it begins, in which world, and what the options change.

    made: what data steps gave, where runs that differ in their training alone are to share it.
    """

    script: Script
    cfg: Any
    preset: str
    changes: Mapping[str, Any]
    world: World[Any]
    task: Task[Any]
    base: str
    output: Path
    seed: int = 1
    split: str = "pairs"
    resume: bool = False
    rows: Sequence[Row] | None = None
    rows_digest: str = ""
    workshop: Workshop = field(default_factory=Workshop)
    tallies: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_rows: Sequence[Row] = ()
    trained: dict[str, TrainedHead] = field(default_factory=dict)
    made: MutableMapping[str, tuple[Sequence[Row], Tally]] | None = None

    def settings(self, stage: Stage) -> TrainSettings:
        """The preset of a stage with what the options change in it.

        Scenes and steps are those of all rounds together: each has its share of them, so that
        rounds are compared with one run at an equal budget. A stage that takes place once has all.
        """
        preset = stage.lab if self.preset == "lab" else stage.paper
        adjusted = stage in self.script.method.adjusted
        names = [name for name in self.changes if adjusted or name in EVERYWHERE]
        whole = changed(preset, {"seed": self.seed, **{n: self.changes[n] for n in names}})
        if not adjusted:
            smaller = {n: self.changes[n] for n in SHRUNK if self.changes.get(n) is not None}
            smaller = {n: v for n, v in smaller.items() if v < (getattr(whole, n) or math.inf)}
            whole = replace(whole, **smaller)
        rounds = self.script.method.rounds_of(self.cfg)
        if rounds == 1 or stage.once:
            return whole
        steps = None if whole.steps is None else max(1, whole.steps // rounds)
        return replace(whole, pairs=max(1, whole.pairs // rounds), steps=steps)

    def loaded(self, path: str, settings: TrainSettings) -> tuple[Any, Any]:
        """(model, processor) of a checkpoint, as this run trains it."""
        limits = PixelLimits(settings.min_pixels, settings.max_pixels)
        return load(path, settings.device, master_dtype(settings), limits, settings.load_in_4bit)

    def what_trains(self, base: Any) -> list[str]:
        """By stage that trains, one line on what of a model like `base` does."""
        lines = []
        for stage in self.script.method.stages:
            if isinstance(stage, SelectStage) or not stage.takes_place(self.cfg):
                continue
            with torch.device("meta"):  # the shapes alone
                twin = type(base)._from_config(base.config)
                made: torch.nn.Module = make_trainable(twin, self.settings(stage))
                if isinstance(stage, HeadStage):
                    from reference_impls.core.train.head import Headed

                    made = Headed(made, stage.outputs)
                if isinstance(stage, PpoStage):
                    from reference_impls.core.train.ppo import ActorCritic

                    twin = type(base)._from_config(base.config)
                    own = stage.critic != "shared"
                    critic = make_trainable(twin, self.settings(stage)) if own else None
                    made = ActorCritic(made, critic)
            lines.append(f"{self.script.method.record}, {stage.name}: {weights_of(made).line()}")
        return lines

    def policy(self, path: str, settings: TrainSettings) -> Policy:
        """A checkpoint as something that answers."""
        model, processor = self.loaded(path, settings)
        return Policy(model, Encoder.for_rows(processor, self.rows), settings.seed)


def master_dtype(settings: TrainSettings) -> str:
    """Weights stay in float32 and are computed with in `dtype`: at a rate of 1e-6 weights of 16
    bits do not change. Only below an adapter, where they are frozen, are they kept in `dtype`."""
    return settings.dtype if settings.lora_rank else "float32"


def run_stages(run: Run) -> Policy:
    """Run every stage of every round; the policy of the last one.

    A stage whose model is there already, made from the same code, rows and beginning, is not
    trained again.
    """
    policy, _ = _run(run, run.script.method.stages)
    assert policy is not None
    return policy


def rows_of_last(run: Run) -> Sequence[Row]:
    """What the last stage trains on. Where it samples, only the stages before it are run: what it
    would learn from its questions is in none of them."""
    method = run.script.method
    if method.rounds_of(run.cfg) > 1 or not isinstance(method.last, SamplingStage):
        run_stages(run)
        return run.last_rows
    _, current = _run(run, method.stages[:-1])
    start = run.base if method.last.start == "base" else current
    return stage_rows(run, method.last, 0, start)[0]


def _run(run: Run, stages: Sequence[Stage]) -> tuple[Policy | None, str]:
    """Run stages; the policy of the last of them, if any, and the checkpoint of the last one that
    trained a policy."""
    method = run.script.method
    rounds, current = method.rounds_of(run.cfg), run.base
    policy: Policy | None = None
    for round_ in range(rounds):
        for stage in stages:
            if not stage.takes_place(run.cfg) or (stage.once and round_):
                continue
            where = stage.name if rounds == 1 or stage.once else f"{stage.name}-{round_ + 1}"
            start = run.base if stage.start == "base" else current
            if isinstance(stage, HeadStage) and run.made is not None and stage is not method.last:
                policy = _shared_head(run, stage, where, round_, start)
            else:
                policy = _run_stage(run, stage, where, round_, start)
            if isinstance(stage, (PairStage, GroupStage, PpoStage)):
                current = str(run.output / where / "model")
    return policy, current


def stage_lab(run: Run, stage: Stage, round_: int, start: str) -> Lab:
    """What a stage's data step (or selection) is given."""
    settings = run.settings(stage)
    policy = run.policy(start, settings)
    base = policy if start == run.base else run.policy(run.base, settings)
    return Lab(
        run.world, task_of(run, stage), policy, base, run.workshop, settings.seed, settings.pairs,
        run.split, round_, run.trained, isinstance(stage, SelectStage),
    )  # fmt: skip


def task_of(run: Run, stage: Stage) -> Task[Any]:
    """What is asked in a stage. Raises ValueError where the world has no task of that name."""
    if not stage.task:
        return run.task
    if stage.task not in run.world.tasks:
        raise ValueError(
            f"{run.script.method.record}, {stage.name}: the world {run.world.name} has no task "
            f"'{stage.task}'; there are {', '.join(run.world.tasks)}"
        )
    return run.world.tasks[stage.task]


def stage_rows(
    run: Run, stage: Stage, round_: int, start: str
) -> tuple[Sequence[Row], Lab, TrainSettings]:
    """What a stage trains on, the lab that its data step was given, and its settings."""
    settings, lab = run.settings(stage), stage_lab(run, stage, round_, start)
    if run.rows is not None and _from_dataset(run, stage):
        return run.rows, lab, settings
    # What came before a stage, a trained head or a round, is in no name.
    name = ""
    if run.made is not None and len(run.script.method.stages) == 1 and not round_:
        name = digest(
            run.script.name, repr(run.cfg), run.world.name, repr(sorted(run.world.levels.items())),
            run.task.id, run.split, model_digest(run.base), repr((settings.seed, settings.pairs)),
        )  # fmt: skip
        if name in run.made:
            rows, tally = run.made[name]
            lab.tally = copy.deepcopy(tally)
            return rows, lab, settings
    rows = stage.data(lab, run.cfg)
    if not len(rows):
        raise ValueError(f"{run.script.method.record}, {stage.name}: the data step gave no rows")
    if name and run.made is not None:
        run.made[name] = rows, copy.deepcopy(lab.tally)
    return rows, lab, settings


def _from_dataset(run: Run, stage: Stage) -> bool:
    """Whether a dataset takes the place of a stage's data step.

    Raises ValueError where its rows lack what the stage scores: it would teach a real model the
    lab's scenes.
    """
    if run.rows is None or stage not in run.script.method.fed(run.cfg):
        return False
    if isinstance(stage, PairStage):
        wanted = {view.response for view in stage.views_of(run.cfg)}
        missing = sorted(wanted - set(run.rows[0]))
        if missing:
            raise ValueError(
                f"{run.script.method.record}, {stage.name}: the dataset's rows have no "
                f"{', '.join(missing)}; leave this stage out (--set, see the script's Config), and "
                "begin at a model that had it"
            )
    return True


def _run_stage(run: Run, stage: Stage, where: str, round_: int, start: str) -> Policy:
    label = f"{run.script.method.record}, {where}"
    if isinstance(stage, SelectStage):
        settings, lab = run.settings(stage), stage_lab(run, stage, round_, start)
        count = stage.candidates_of(run.cfg)
        score = stage.score
        return lab.policy.selecting(
            lambda asked: score(lab, asked, run.cfg), count, settings.temperature
        )
    note(f"{label}: data")
    rows, lab, settings = stage_rows(run, stage, round_, start)
    policy, base = lab.policy, lab.base
    model, processor = policy.model, policy.processor
    tally = lab.tally
    if isinstance(rows, list):
        tally.add(rows, lab.task if "item" in rows[0] else None)
        tally.check()
    for line in tally.lines():
        note(f"{label}: {line}")
    run.tallies[where] = tally.as_dict()
    if isinstance(stage, (PairStage, HeadStage)) and stage.prepare is not None:
        rows = Lazily(rows, stage.prepare, run.cfg, settings.seed)
    last = run.script.method.last
    if stage is last or isinstance(last, SelectStage):
        again = round_ and run.rows is None  # a dataset's rows are the same in each round
        run.last_rows = [*run.last_rows, *rows] if again else rows
    folder = run.output / where
    identity = _identity(run, stage, settings, rows, start)
    if run.resume and by_main(lambda: finished(folder, identity)):
        note(f"{label}: done before")
        if isinstance(stage, HeadStage):
            return _with_head(run, stage, folder / MODEL, start, settings)
        return run.policy(str(folder / MODEL), settings)
    resume_from = by_main(lambda: begin(folder, identity, run.resume))
    note(f"{label}: training on {len(rows)} rows")
    reference = base.model if stage.reference == "base" and start != run.base else None
    if isinstance(stage, PairStage):
        trained = train_pairs(
            model, processor, rows, stage=stage, cfg=run.cfg, settings=settings, output=folder,
            resume_from=resume_from, reference_model=reference, label=label,
        )  # fmt: skip
    elif isinstance(stage, GroupStage):
        from reference_impls.core.train.groups import train_groups

        trained = train_groups(
            model, processor, rows, stage=stage, cfg=run.cfg, settings=settings, output=folder,
            resume_from=resume_from, label=label, truth=truth_of(run, lab.task, rows),
            reference_model=reference,
        )  # fmt: skip
    elif isinstance(stage, PpoStage):
        from reference_impls.core.train.ppo import train_ppo

        trained = train_ppo(
            model, processor, rows, stage=stage, cfg=run.cfg, settings=settings, output=folder,
            lab=lab, resume_from=resume_from, label=label, truth=truth_of(run, lab.task, rows),
            reference_model=reference,
        )  # fmt: skip
    elif isinstance(stage, HeadStage):
        from reference_impls.core.train.head import train_head

        headed = train_head(
            model, processor, rows, stage=stage, cfg=run.cfg, settings=settings, output=folder,
            resume_from=resume_from, label=label,
        )  # fmt: skip
        by_main(lambda: _save(folder / MODEL, headed.save, processor))
        return _with_head(run, stage, folder / MODEL, start, settings)
    else:
        raise ContractError(f"{label}: a {type(stage).__name__} has no trainer")
    by_main(lambda: _save(folder / MODEL, trained.save_pretrained, processor))
    return Policy(trained, Encoder.for_rows(processor, run.rows), settings.seed)


def truth_of(run: Run, task: Task[Any], rows: Sequence[Row]) -> Callable[[Row, str], float] | None:
    """How good an answer to a row truly is; nan of a row about something else, which has no `item`.
    None of a real dataset, whose truth nobody knows."""
    if run.rows is not None and not any("item" in row for row in rows[:64]):
        return None

    def score(row: Row, answer: str) -> float:
        return task.score(row["item"], answer) if "item" in row else math.nan

    return score


def _save(folder: Path, save: Callable[[Path], Any], processor: Any) -> None:
    with saving(folder):
        save(folder)
        processor.save_pretrained(folder)
        mark_complete(folder)


def _with_head(
    run: Run, stage: HeadStage, path: Path, start: str, settings: TrainSettings
) -> Policy:
    """The policy as it was before a head was trained, which later stages find in their lab."""
    from reference_impls.core.train.head import load_head

    head = load_head(path, settings.device, master_dtype(settings))
    run.trained[stage.name] = head
    policy = run.policy(start, settings)
    policy.rates = lambda rows: head.rewards(rows, "response")
    return policy


# --- heads that runs share ------------------------------------------------------------------------


def _shared_head(run: Run, stage: HeadStage, where: str, round_: int, start: str) -> Policy:
    """A head as an earlier run trained it, on this machine, or as this one does.

    The points of a grid and some ablations differ in what a later stage reads. Which values of the
    config a head depends on is seen while it is trained: two runs that agree in all that the first
    one read would do the same.
    """
    settings = run.settings(stage)
    if run.rows is not None or round_ or run.trained or isinstance(
        run.script.method.last, SelectStage
    ):  # fmt: skip
        return _run_stage(run, stage, where, round_, start)
    parts = {
        "code": provenance.code_digest([Path(str(run.script.module.__file__)), provenance.CORE]),
        "versions": provenance.versions(),
        "stage": f"{run.script.name} {where}",
        "world": [run.world.name, run.world.version, dict(run.world.levels), run.split],
        "task": task_of(run, stage).id,
        "start": model_digest(start),
        "settings": dataclasses.asdict(settings),
    }
    names = cache.folder() / f"head-{digest(repr(parts))}.json"

    def at(read: Sequence[str]) -> dict[str, Any]:
        return {**parts, "config": [(name, getattr(run.cfg, name)) for name in read]}

    known = read_json(names)
    if isinstance(known, list):
        path = cache.kept_path("head", at(known), ())
        tally = read_json(path / "tally.json")
        if is_complete(path) and isinstance(tally, dict):
            run.tallies[where] = tally
            return _with_head(run, stage, path, start, settings)
    seen: set[str] = set(known or ())
    watched = replace(run, cfg=_watched(run.cfg, seen), made=None)
    policy = _run_stage(watched, stage, where, round_, start)

    def keep(path: Path) -> None:
        shutil.copytree(run.output / where / MODEL, path, dirs_exist_ok=True)
        write_json(path / "tally.json", run.tallies[where])

    cache.kept_folder("head", at(sorted(seen)), (), keep)
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        write_json(names, sorted(seen))
    return policy


def _watched(cfg: Any, seen: set[str]) -> Any:
    """The same config, which notes the names of its values that are read."""
    kind, values = type(cfg), {f.name: getattr(cfg, f.name) for f in dataclasses.fields(cfg)}

    class Watched(kind):  # type: ignore[misc, valid-type]
        __wrapped__ = cfg

        def __getattribute__(self, name: str) -> Any:
            if name in values:
                seen.add(name)
            elif name == "__dict__":
                seen.update(values)  # all of them at once
            return super().__getattribute__(name)

    copied: Any = object.__new__(Watched)
    for name, value in values.items():
        object.__setattr__(copied, name, value)  # a config is frozen
    return copied


def _identity(
    run: Run, stage: Stage, settings: TrainSettings, rows: Sequence[Row], start: str
) -> dict[str, Any]:
    return {
        "method": run.script.method.record,
        "stage": stage.name,
        "config": dataclasses.asdict(getattr(run.cfg, "__wrapped__", run.cfg)),
        "settings": {
            name: value
            for name, value in dataclasses.asdict(settings).items()
            if name not in BESIDE_A_RUN
        },
        "rows": row_digest(rows)
        if run.rows is None or isinstance(rows, list)
        else [run.rows_digest, len(rows)],
        # Rows do not show all of it: an environment, or a judge that is asked in training.
        "world": {
            "name": run.world.name,
            "version": run.world.version,
            "task": stage.task or run.task.id,
            "levels": dict(run.world.levels),
        },
        "start": model_digest(start),
        "code": provenance.training_digest(Path(str(run.script.module.__file__))),
        "versions": provenance.versions(),
    }


DECIDES = {".safetensors", ".bin", ".json", ".jinja", ".model", ".txt"}
"""Endings of the files of a checkpoint that its answers depend on."""


def model_digest(path: str) -> str:
    """A name for all that a checkpoint's answers depend on: weights, configuration, tokenizer and
    template, of an adapter those of the model below it, too. A hub's id stands for itself."""
    base, adapters = adapters_of(path)
    parts = []
    for each in (base, *adapters):
        folder = Path(each).expanduser()
        if not folder.is_dir():
            parts.append(each)
            continue
        files = [file for file in sorted(folder.iterdir()) if file.suffix in DECIDES]
        parts += [f"{file.name} {file_digest(file)}" for file in files if file.is_file()]
    return parts[0] if parts == [path] else digest(*parts)
