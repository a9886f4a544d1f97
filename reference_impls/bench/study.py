"""The whole protocol for a method: every row tuned on one grid, then reported over other seeds.

A row is the base, a baseline on the method's rows, the method, or an ablation. Each training is a
job (`jobs`) whose result is kept by its content, so that a study goes on where it ended, and two
studies share what they have in common. The result is one small table of numbers with provenance:
`reference_impls/results/<method>.json`.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from reference_impls.bench import cache, ledger, protocol, statistics
from reference_impls.bench.jobs import Job, JobFailed, run_jobs
from reference_impls.core import measure, provenance
from reference_impls.core.data.rows import Tally
from reference_impls.core.doctor import LOG
from reference_impls.core.method import (
    ContractError,
    Expectation,
    PpoStage,
    Row,
    SamplingStage,
    Script,
    Stage,
    load_script,
)
from reference_impls.core.stages import Run, model_digest, run_stages
from reference_impls.core.train.checkpoints import digest, read_json

if TYPE_CHECKING:
    from reference_impls.bench.experiment import Experiment
    from reference_impls.core.model.policy import Policy
    from reference_impls.core.train.head import TrainedHead

K = TypeVar("K")
V = TypeVar("V")
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Row of a table -> one result per seed."""


@dataclass(frozen=True)
class Plan:
    """How large a study is; the default is the protocol."""

    tuning: tuple[int, ...] = protocol.TUNING_SEEDS
    reporting: tuple[int, ...] = protocol.REPORTING_SEEDS
    further: tuple[int, ...] = protocol.FURTHER_SEEDS
    held_out: int = protocol.HELD_OUT
    tuning_held_out: int = 512
    blocks: int = protocol.BLOCKS
    rates: tuple[float, ...] = protocol.RATES
    grid: bool = True
    ablations: bool = True

    @property
    def whole(self) -> bool:
        """Is it the protocol as it was fixed?"""
        return self in (Plan(), SAMPLING)

    def of(self, script: Script) -> Plan:
        """The plan for a method: under the protocol, a smaller one for who samples answers."""
        samples = isinstance(script.method.last, SamplingStage)
        return SAMPLING if samples and self == Plan() else self


SAMPLING = Plan(tuning=protocol.TUNING_SEEDS[:1], further=(), rates=protocol.SAMPLING_RATES)
"""The protocol for methods that learn from their own answers."""


MAKING = ("judges.py", "lab.py", "method.py", "settings.py", "stages.py", "supervision.py")
"""Modules of the core that rows and stages depend on, besides those that train and measure."""

SMOKE = Plan(
    tuning=(), reporting=(1,), further=(), held_out=128, blocks=8, grid=False, ablations=False
)
"""One seed at the script's own settings, and two steps of each ablation: does everything run?"""


def trial(stage: Stage) -> protocol.Point:
    """What an ablation is tried with where it has no row: its numbers are thrown away. Six rounds
    share the scenes, and not each makes a pair: a batch is as small as the stage can take."""
    cut = stage.minibatches if isinstance(stage, PpoStage) else 1
    return protocol.Point({"steps": 2, "pairs": 64, "batch_size": max(2, cut)})


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
    """What a run's policy is given to learn from, all rounds together: the scenes of the last
    stage, and the steps of all stages of its kind."""
    method, rounds = run.script.method, run.script.method.rounds_of(run.cfg)
    settings = run.settings(method.last)
    alike = [s for s in method.stages if type(s) is type(method.last) and s.takes_place(run.cfg)]
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


# --- a study -------------------------------------------------------------------------------------


@dataclass
class Study:
    """The jobs of one method under one plan, and what comes of them."""

    script: Script
    plan: Plan
    cores: int = 1

    @property
    def folder(self) -> Path:
        """Where results of jobs are kept."""
        return cache.folder() / "jobs"

    @property
    def rows(self) -> list[str]:
        """All rows of the table, the base first."""
        method = self.script.method
        ablations = method.ablations if self.plan.ablations else ()
        return ["base", *method.baselines, method.record, *ablations]

    def job(self, task: Task) -> Job:
        """The job of a task; its name holds the code that makes its rows, trains and measures it: a
        baseline's script besides the method's, whose rows it learns from."""
        scripts = (self.script, self._script_of(task.row))
        files = dict.fromkeys(Path(str(each.module.__file__)) for each in scripts)
        code = provenance.code_digest(files)
        core = provenance.code_digest(provenance.CORE / n for n in (*MAKING, *cache.MEASURING))
        bench = provenance.code_digest([Path(__file__).with_name("experiment.py")])
        name = digest(repr(task), code, core, bench, repr(provenance.versions()))
        label = f"{task.method}, {task.row}, seed {task.seed}"
        if task.settings or task.config:
            label += f", {protocol.Point(dict(task.settings), dict(task.config)).label}"
        return Job(label, task, self.folder / f"{name}.json")

    def done(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        """Results of tasks, in their order. Raises JobFailed with the first that could not be."""
        jobs = [self.job(task) for task in tasks]
        failures = run_jobs(jobs, work, self.cores)
        if failures:
            raise failures[0]
        found = [read_json(job.result) for job in jobs]
        if any(each is None for each in found):
            raise JobFailed("a result is missing although its job was done")
        return [dict(each) for each in found if each is not None]

    def paper_beta(self, row: str) -> float | None:
        """The paper's beta of a row whose objective has one and that is tuned over it. An ablation
        that sets a beta is not: the grid's would take the place of its own. Nor is one that leaves
        the last stage out, and with it the objective: nobody would read the beta."""
        script = self._script_of(row)
        fixed = "beta" in self.script.method.ablations.get(row, {})
        if fixed or isinstance(script.method.last, SamplingStage) or not self._has_objective(row):
            return None
        beta: float | None = getattr(script.method.config(), "beta", None)
        return beta

    def _script_of(self, row: str) -> Script:
        return load_script(row) if row in self.script.method.baselines else self.script

    def _has_objective(self, row: str) -> bool:
        """Whether the last stage is run in a row."""
        script, changes = self._script_of(row), self.script.method.ablations.get(row, {})
        return script.method.last.takes_place(
            dataclasses.replace(script.method.config(), **changes)
        )

    def grid(self, row: str) -> list[protocol.Point]:
        """The points that a row is tuned over."""
        script, beta = self._script_of(row), self.paper_beta(row)
        if isinstance(script.method.last, SamplingStage) or not self._has_objective(row):
            return protocol.grid(None, False, self.plan.rates)
        views = getattr(script.method.last, "views_of", lambda cfg: ())(script.method.config())
        return protocol.grid(beta, len(views) == 1 and beta is None, self.plan.rates)

    def tuned(self) -> dict[str, dict[str, Any]]:
        """Row -> its best point on the validation split, and how all points did."""
        if not self.plan.grid:
            return {row: {"point": protocol.Point(), "scores": {}} for row in self.rows[1:]}
        found = self._scores({row: self.grid(row) for row in self.rows[1:]})
        for row, scores in found.items():
            if all(map(math.isnan, scores.values())):
                raise JobFailed(f"{self.script.name}, {row}: no point of the grid has a score")
        further = self._scores(
            {
                row: protocol.beyond(_best(scores), self.paper_beta(row), self.plan.rates)
                for row, scores in found.items()
            }
        )
        whole = {row: {**scores, **further[row]} for row, scores in found.items()}
        return {row: {"point": _best(scores), "scores": scores} for row, scores in whole.items()}

    def _scores(
        self, points: Mapping[str, Sequence[protocol.Point]]
    ) -> dict[str, dict[protocol.Point, float]]:
        """Row -> the mean of each of its points over the tuning seeds. All rows are asked at once:
        a core waits once for the others and not after every row."""
        plan, metric = self.plan, self._tuned_by()
        asked = [(row, point) for row, each in points.items() for point in each]
        tasks = [
            self._task(row, seed, "validation", plan.tuning_held_out, 1, point)
            for row, point in asked
            for seed in plan.tuning
        ]
        values = [result["metrics"][metric] for result in self.done(tasks)]
        count = len(plan.tuning)
        found: dict[str, dict[protocol.Point, float]] = {row: {} for row in points}
        for number, (row, point) in enumerate(asked):
            found[row][point] = fmean(values[number * count : (number + 1) * count])
        return found

    def _tuned_by(self) -> str:
        from reference_impls.core.worlds.protocol import world

        tasks = world(self.script.method.world).tasks
        return tasks[self.script.method.task or next(iter(tasks))].tuned_by

    def _task(
        self,
        row: str,
        seed: int,
        split: str,
        held_out: int,
        blocks: int,
        point: protocol.Point,
        levels: Mapping[str, str] | None = None,
    ) -> Task:
        return Task(
            self.script.name, row, seed, split, held_out, blocks,
            tuple(sorted(point.settings.items())), tuple(sorted(point.config.items())),
            tuple(sorted((levels or {}).items())),
        )  # fmt: skip

    def _report(
        self,
        rows: Sequence[str],
        tuned: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[int],
        levels: Mapping[str, str] | None = None,
    ) -> list[Task]:
        """One task per seed and row, on the test split; all rows of a seed together."""
        plan = self.plan
        return [
            self._task(
                row, seed, "test", plan.held_out, plan.blocks,
                tuned[row]["point"] if row in tuned else protocol.Point(), levels,
            )
            for seed in seeds
            for row in rows
        ]  # fmt: skip

    def reported(self, tuned: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> Rows:
        """Row -> one result per seed, on the test split."""
        results = self.done(self._report(self.rows, tuned, seeds))
        return {row: results[place :: len(self.rows)] for place, row in enumerate(self.rows)}

    def at_levels(
        self, tuned: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]
    ) -> dict[str, Rows]:
        """Level -> rows, for the levels that expectations compare besides the usual one.

        Settings stay as they were tuned at the usual level: what is asked is how a gain changes
        with the condition, not what could be had under it.
        """
        found: dict[str, Rows] = {}
        for level, (rows, levels) in self._other_levels().items():
            results = self.done(self._report(rows, tuned, seeds, levels))
            found[level] = {row: results[place :: len(rows)] for place, row in enumerate(rows)}
        return found

    def _other_levels(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """Level -> the rows that are compared there, and the condition at that level."""
        (condition, usual), *_ = [*self.script.method.condition.items(), ("", "")]
        found: dict[str, tuple[list[str], dict[str, str]]] = {}
        for each in self.script.method.expectations:
            for level in each.levels[:1] + each.levels[-1:]:
                asked = [row for row in (each.of, each.against) if row in self.rows]
                if asked and level != usual:
                    known, _ = found.setdefault(level, ([], {condition: level}))
                    known += [row for row in asked if row not in known]
        return found

    def untuned(self) -> list[Job]:
        """All jobs of a study without a grid, for one worker, ablations that are only tried
        included. The method comes before its baselines: what it trained on is theirs, too, and
        need not be made again."""
        plan, tuned, method = self.plan, self.tuned(), self.script.method
        tasks = self._report(self.rows, tuned, plan.reporting)
        for rows, levels in self._other_levels().values():
            tasks += self._report(rows, tuned, plan.reporting, levels)
        tasks.sort(key=lambda task: task.row in method.baselines)
        tasks += [
            self._task(row, plan.reporting[0], "test", 8, 1, trial(method.last))
            for row in method.ablations
            if row not in self.rows
        ]
        return [dataclasses.replace(self.job(task), group=self.script.name) for task in tasks]

    def run(self) -> dict[str, Any]:
        """Tune, report, decide; the content of the result file.

        Raises ContractError, before anything is trained, for an expectation about a metric that
        nobody measures.
        """
        self._check_metrics()
        tuned = self.tuned()
        seeds = list(self.plan.reporting)
        rows, levels = self.reported(tuned, seeds), self.at_levels(tuned, seeds)
        if self.plan.further and self._straddles(rows, levels):
            seeds += self.plan.further
            rows, levels = self.reported(tuned, seeds), self.at_levels(tuned, seeds)
        return self.result(tuned, seeds, rows, levels)

    def _check_metrics(self) -> None:
        plan = self.plan
        task = self._task(
            "base", plan.reporting[0], "test", plan.held_out, plan.blocks, protocol.Point()
        )
        measured = self.done([task])[0]["metrics"]
        for each in self.script.method.expectations:
            if each.metric not in measured:
                raise ContractError(
                    f"{self.script.name}.py: expectation '{each.id}': nobody measures "
                    f"'{each.metric}'; there are {', '.join(measured)}"
                )

    def result(
        self,
        tuned: Mapping[str, Mapping[str, Any]],
        seeds: Sequence[int],
        rows: Rows,
        levels: Mapping[str, Rows],
    ) -> dict[str, Any]:
        """What is committed: a table of numbers per seed, verdicts, and where they come from."""
        from reference_impls.core.worlds.protocol import world

        method = self.script.method
        where = world(method.world)
        condition = ", ".join(f"{name} {level}" for name, level in method.condition.items())
        tables = [
            self._table(
                "Held-out metrics",
                f"Condition: {condition or 'as the world is'}. Tuned by {self._tuned_by()}.",
                tuned,
                rows,
            )
        ]
        for level, found in levels.items():
            name = next(iter(method.condition))
            tables.append(
                self._table(
                    f"The same with {name} {level}",
                    "Settings as they were tuned for the table above.",
                    tuned,
                    found,
                )
            )
        return {
            "method": method.record,
            "world": where.name,
            "world_version": where.version,
            "condition": dict(method.condition),
            "date": datetime.date.today().isoformat(),
            "machine": f"{os.cpu_count()} CPU cores, one process and thread each",
            "protocol": "whole" if self.plan.whole else dataclasses.asdict(self.plan),
            "seeds": list(seeds),
            "tuned": {
                row: {point.label: round(s, 5) for point, s in each["scores"].items()}
                for row, each in tuned.items()
            },
            "tables": tables,
            "checks": {
                "edge": [row for row, each in tuned.items() if _at_the_edge(each)],
                "budget": {
                    row: found[0]["budget"] for row, found in rows.items() if "budget" in found[0]
                },
                "data": rows[method.record][0].get("data", {}),
            },
            "verdicts": [self.contrast(each, rows, levels) for each in method.expectations],
            "curves": _curves(tuned, rows) if self.plan.grid else [],
            "versions": provenance.versions(),
            "code": provenance.training_digest(Path(str(self.script.module.__file__))),
            "commit": provenance.commit(),
            "cpu_seconds": {row: found[0].get("cpu_seconds") for row, found in rows.items()},
            "command": self._command(),
        }

    def _command(self) -> str:
        smoke = " --smoke" if self.plan == SMOKE else ""
        return f"mmalign bench {self.script.method.record}{smoke} --jobs {self.cores}"

    def _table(
        self, title: str, note: str, tuned: Mapping[str, Mapping[str, Any]], rows: Rows
    ) -> dict[str, Any]:
        used = {each.metric for each in self.script.method.expectations}
        measured = next(iter(rows.values()))[0]["metrics"]
        columns = [name for name in measured if name in used or name in SHOWN]
        return {
            "title": title,
            "note": note,
            "columns": columns,
            "rows": [
                {
                    "name": row,
                    "settings": _settings(tuned[row]["point"]) if row in tuned else {},
                    "metrics": {
                        name: [result["metrics"][name] for result in results] for name in columns
                    },
                }
                for row, results in rows.items()
            ],
        }

    def _straddles(self, rows: Rows, levels: Mapping[str, Rows]) -> bool:
        for each in self.script.method.expectations:
            difference = self._difference(each, rows, levels)
            smallest = statistics.smallest_effect(each.metric)
            if difference and smallest and statistics.straddles(difference, smallest):
                return True
        return False

    def _difference(
        self, expectation: Expectation, rows: Rows, levels: Mapping[str, Rows]
    ) -> statistics.Difference | None:
        """The contrast, or how it differs between two levels; None of a single seed."""
        if len(rows["base"]) < 2:
            return None
        if not expectation.levels:
            return statistics.crossed_bootstrap(_contrast(expectation, rows))
        first, last = (
            _contrast(expectation, levels.get(level, rows))
            for level in (expectation.levels[0], expectation.levels[-1])
        )
        return statistics.crossed_bootstrap(first - last)

    def contrast(
        self, expectation: Expectation, rows: Rows, levels: Mapping[str, Rows]
    ) -> dict[str, Any]:
        """An expectation with its difference, interval and verdict, for itself alone."""
        made: dict[str, Any] = {
            "claim": expectation.claim or expectation.id,
            "text": expectation.text,
            "metric": expectation.metric,
            "direction": expectation.direction,
            "of": expectation.of,
            "against": expectation.against,
            "levels": list(expectation.levels),
            "primary": expectation.primary,
        }
        difference = self._difference(expectation, rows, levels)
        if difference is None:
            return made | {"verdict": "undecided", "numbers": {"seeds": 1}}
        smallest = statistics.smallest_effect(expectation.metric) or 0.0
        verdict = statistics.verdict(difference, expectation.direction, smallest)
        numbers = {
            "difference": round(difference.estimate, 4),
            "low": round(difference.low, 4),
            "high": round(difference.high, 4),
            "p": round(difference.p, 5),
            "smallest_effect": smallest,
            "seeds": difference.seeds,
            "blocks": difference.blocks,
        }
        return made | {"verdict": verdict, "numbers": numbers}


SHOWN = (
    "chair_i", "chair_s", "recall", "f1", "parse", "pope_accuracy", "presence", "accuracy",
    "accuracy_seen", "accuracy_held_out", "format", "length", "chosen_logp", "rejected_logp",
    "image_sensitivity",
)  # fmt: skip
"""Metrics that every table shows where the world reports them, besides those of predictions."""


CURVES = ("chosen_reward", "rejected_reward", "reward", "true_score", "kl", "answer_tokens")
"""What is drawn step by step, where a trainer logs it."""


def _curves(tuned: Mapping[str, Mapping[str, Any]], rows: Rows) -> list[dict[str, Any]]:
    """By metric, a line per row that has it on every seed: the mean over seeds at each step."""
    found = []
    for metric in CURVES:
        lines = []
        for row, results in rows.items():
            seeds = [each.get("curve", {}).get(metric) for each in results]
            if not all(seeds):
                continue
            values = [round(fmean(step), 4) for step in zip(*seeds, strict=False)]
            rate = tuned[row]["point"].settings.get("learning_rate")
            lines.append({"row": row, "rate": rate, "values": values})
        if lines:
            found.append({"metric": metric, "lines": lines})
    return found


def _settings(point: protocol.Point) -> dict[str, Any]:
    return {**point.settings, **point.config}


def _at_the_edge(tuned: Mapping[str, Any]) -> bool:
    """Whether the best point has the smallest or the largest rate or beta that was tried, so that a
    better one may lie beyond."""
    best: protocol.Point = tuned["point"]
    for name in ("learning_rate", "beta"):
        tried = {value for each in tuned["scores"] if (value := _axis(each, name)) is not None}
        if len(tried) > 1 and _axis(best, name) in (min(tried), max(tried)):
            return True
    return False


def _axis(point: protocol.Point, name: str) -> float | None:
    value: float | None = {**point.settings, **point.config}.get(name)
    return value


def _best(scores: Mapping[protocol.Point, float]) -> protocol.Point:
    """The point with the highest score; the smaller rate where two are equal."""
    known = {point: score for point, score in scores.items() if not math.isnan(score)}
    return max(known, key=lambda p: (known[p], -p.settings["learning_rate"]))


def _contrast(expectation: Expectation, rows: Rows) -> NDArray[np.float64]:
    """(seeds, blocks) how far `of` is from `against`; one block where a metric has none."""
    metric = expectation.metric

    def of(row: str) -> NDArray[np.float64]:
        return np.array(
            [each["blocks"].get(metric, [each["metrics"][metric]]) for each in rows[row]]
        )

    return of(expectation.of) - of(expectation.against)


def _study(name: str, plan: Plan, cores: int) -> Study:
    script = load_script(name)
    return Study(script, plan.of(script), cores)


def bench(
    names: Iterable[str], plan: Plan, cores: int, folder: Path | None = None
) -> list[dict[str, Any]]:
    """Studies of methods, one after the other; each result is written when it is there, and all of
    the folder are decided together. A method that fails does not stop the others.

    Raises JobFailed, at the end, with all that failed; before anything is done, ContractError for a
    script and NotAResult for a file of the folder.
    """
    studies = [_study(name, plan, cores) for name in names]
    if folder is not None:
        ledger.settle(folder)  # what is not a result is told now, not after the night
    found, failures = [], []
    if not plan.grid:  # no job waits for another one's result
        failed = run_jobs([job for each in studies for job in each.untuned()], work, cores)
        failures = [str(each) for each in failed]
        studies = [each for each in studies if all(job.done for job in each.untuned())]
    for study in studies:
        try:
            result = study.run()
        except (ContractError, JobFailed) as error:
            failures.append(str(error))
            print(f"no result of {study.script.name}: {error}", file=sys.stderr, flush=True)
            continue
        if folder is not None:
            ledger.add(folder, study.script.name, result)
        found.append(result)
    if failures:
        raise JobFailed("; ".join(failures))
    return found
