"""What a job of a study does: train one row with one seed, and measure it.

Names of results hold this module and `experiment`: what a study makes of them is elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reference_impls.bench import cache
from reference_impls.core import measure
from reference_impls.core.data.rows import Tally
from reference_impls.core.doctor import LOG
from reference_impls.core.method import Row, load_script
from reference_impls.core.stages import Run, model_digest, run_stages

if TYPE_CHECKING:
    from reference_impls.bench.experiment import Experiment
    from reference_impls.core.model.policy import Policy
    from reference_impls.core.train.head import TrainedHead

K = TypeVar("K")
V = TypeVar("V")
CURVES = ("chosen_reward", "rejected_reward", "reward", "true_score", "kl", "answer_tokens")
"""What is drawn step by step, where a trainer logs it."""


@dataclass(frozen=True)
class Task:
    """One training of one row, and what its model is asked."""

    method: str
    row: str
    seed: int
    split: str
    held_out: int
    blocks: int
    settings: tuple[tuple[str, Any], ...] = ()
    config: tuple[tuple[str, Any], ...] = ()
    levels: tuple[tuple[str, str], ...] = ()


def work(task: Task) -> dict[str, Any]:
    """Train a row and measure it: `{"metrics": {...}, "blocks": {...}}`, of a row that is trained
    with its budget, of the method's own with the tallies of its data steps, too.

    Rows that studies have in common, the base and a baseline on the same pairs, are made once.
    """
    from reference_impls.bench.experiment import Experiment
    from reference_impls.core.command_line import quiet_libraries
    from reference_impls.core.worlds.protocol import world

    quiet_libraries()
    script = load_script(task.method)
    method = script.method
    where = world(method.world).under({**method.condition, **dict(task.levels)})
    own = task.row not in ("base", *method.baselines)
    changes = method.ablations.get(task.row, {}) if own else {}
    config = {**changes, **(dict(task.config) if own else {})}
    with tempfile.TemporaryDirectory() as folder:
        experiment = Experiment(
            script=script,
            cfg=dataclasses.replace(method.config(), **config),
            preset="lab",
            changes=dict(task.settings) if own else {},
            world=where,
            output=Path(folder),
            base=str(where.base(task.seed)),
            seed=task.seed,
            split=task.split,
        )
        if own:
            run = experiment.method_run()
            run.made = _room(_MADE)
            measured = _trained(experiment, task, run)
            as_it_is = task.row == method.record and not task.settings and not task.config
            if as_it_is and experiment.trains_for_rows:
                _room(_ROWS)[_rows_name(task)] = run.last_rows, run.trained
            return measured | {"budget": _budget(run), "data": run.tallies}
        parts = {**experiment.judged_by(task.held_out), "base": model_digest(experiment.base)}
        parts["blocks"] = task.blocks
        if task.row == "base":
            run = experiment.run_of(script, experiment.cfg, Path(folder), None)
            return cache.kept(
                "base",
                parts,
                lambda: _measured(experiment, task, experiment.policy_of_base(run)),
                _whole,
            )
        rows = _rows(experiment, task)
        settings, config = dict(task.settings), dict(task.config)
        parts |= experiment.baseline_parts(task.row, rows, settings, config)
        run = experiment.baseline_run(task.row, rows, settings, config)
        kept = cache.kept(task.row, parts, lambda: _trained(experiment, task, run), _whole)
        return kept | {"budget": _budget(run)}


def _trained(experiment: Experiment, task: Task, run: Run) -> dict[str, Any]:
    measured = _measured(experiment, task, run_stages(run))
    if task.split == "test":
        measured["curve"] = _curve(run.output, run.script.method.last.name)
    return measured


def _curve(output: Path, stage: str) -> dict[str, list[float]]:
    """What a stage logged at each step, all rounds in a row; nothing without training."""
    files = [file for name in (stage, f"{stage}-[0-9]*") for file in output.glob(f"{name}/{LOG}")]
    found: dict[str, list[float]] = {}
    for file in sorted(files, key=lambda file: (len(file.parent.name), file.parent.name)):
        for line in file.read_text(encoding="utf-8").splitlines():
            step = json.loads(line)
            for name in CURVES:
                if name in step:
                    found.setdefault(name, []).append(round(step[name], 4))
    return found


def _measured(experiment: Experiment, task: Task, policy: Policy) -> dict[str, Any]:
    # A point of the grid is chosen by its task's own metric alone: probes and fixed pairs took a
    # fifth of a tuning job.
    tuning = task.split == "validation"
    metrics, blocks = measure.behaviour_in_blocks(
        policy, experiment.world, experiment.task, task.split, task.held_out, task.blocks,
        probes=() if tuning else experiment.world.probes,
    )  # fmt: skip
    held_out = None if tuning else experiment.held_out()
    scored = held_out.measure(policy) if held_out is not None else {}
    return {
        "metrics": {name: round(value, 6) for name, value in {**metrics, **scored}.items()},
        "blocks": {name: [round(v, 5) for v in values] for name, values in blocks.items()},
    }


def _budget(run: Run) -> dict[str, int | None]:
    """What a run is given to learn from, all rounds together: the scenes of the last stage that
    trains, and the steps of all stages of its kind."""
    method, rounds = run.script.method, run.script.method.rounds_of(run.cfg)
    last = method.adjusted[0]
    settings = run.settings(last)
    alike = [s for s in method.stages if type(s) is type(last) and s.takes_place(run.cfg)]
    steps = [(run.settings(stage).steps, 1 if stage.once else rounds) for stage in alike]
    whole = [own * times for own, times in steps if own is not None]
    return {
        "scenes": settings.pairs * rounds,
        "steps": sum(whole) if len(whole) == len(steps) else None,
        "batch": settings.batch_size,
    }


def _whole(found: Any) -> bool:
    return isinstance(found, dict) and {"metrics", "blocks"} <= set(found)


KEPT_ROWS = 6
_ROWS: dict[tuple[Any, ...], tuple[Sequence[Row], Mapping[str, TrainedHead]]] = {}
"""What methods train on, and the heads trained before, which a baseline's reward may read."""
_MADE: dict[str, tuple[Sequence[Row], Tally]] = {}
"""Data steps of the last jobs: the points of a grid differ in rate, mostly."""


def _room(kept: dict[K, V]) -> dict[K, V]:
    """The same with room for one more."""
    while len(kept) >= KEPT_ROWS:
        del kept[next(iter(kept))]
    return kept


def _rows_name(task: Task) -> tuple[Any, ...]:
    return (task.method, task.seed, task.levels)


def _rows(experiment: Experiment, task: Task) -> Sequence[Row]:
    """What the method trains on at its own settings; a worker keeps the last ones in memory, since
    rounds of training may stand behind them. The experiment is given the heads that were trained
    on the way."""
    name = _rows_name(task)
    if name not in _ROWS:
        rows = experiment.method_rows(_room(_MADE))
        _room(_ROWS)[name] = rows, experiment.trained
    rows, experiment.trained = _ROWS[name]
    return rows
