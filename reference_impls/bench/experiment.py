"""One table: the base, the baselines on the same rows, the method, and their held-out metrics."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reference_impls.bench import cache
from reference_impls.core import measure, provenance
from reference_impls.core.data.rows import LazyRows, Tally, kept_back, said
from reference_impls.core.judges import Workshop
from reference_impls.core.method import (
    PairStage,
    PpoStage,
    Row,
    SamplingStage,
    Script,
    SelectStage,
    load_script,
)
from reference_impls.core.model.policy import Policy
from reference_impls.core.settings import TrainSettings
from reference_impls.core.stages import (
    Run,
    model_digest,
    note,
    rows_of_last,
    run_stages,
    stage_rows,
)
from reference_impls.core.train.common import check_batch
from reference_impls.core.train.pairs import row_digest
from reference_impls.core.worlds.protocol import Task, World

if TYPE_CHECKING:
    from reference_impls.core.train.head import TrainedHead

REAL_BATCH = 8
"""Rows of a real model that are measured together where no batch is asked for."""
KEPT_SETS = 6
WHAT_TRAINS = ("lora_rank", "lora_alpha", "lora_targets", "train_vision")
"""Settings that decide which weights train."""
_SAMPLED: dict[tuple[str, ...], measure.HeldOutPairs] = {}


@dataclass
class Experiment:
    """Everything that a run needs; `run()` does it.

    rows: a real dataset's, in place of the data steps (`stages.stage_rows` says of which stages).
    changes: settings that options change. baselines: whether they are trained, too. trained: the
    heads of the method's stages, for a baseline whose reward reads one.
    """

    script: Script
    cfg: Any
    preset: str
    changes: dict[str, Any]
    world: World[Any]
    output: Path
    base: str
    seed: int = 1
    split: str = "test"
    resume: bool = False
    baselines: bool = True
    rows: Sequence[Row] | None = None
    rows_digest: str = ""
    real_model: bool = False
    scenes: int = measure.SCENES
    workshop: Workshop = field(default_factory=Workshop)
    trained: Mapping[str, TrainedHead] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.script = self.script.under(self.cfg)

    @property
    def task(self) -> Task[Any]:
        """What the method is trained and judged on: its own task, or the world's first."""
        tasks = self.world.tasks
        return tasks[self.script.method.task or next(iter(tasks))]

    def run_of(self, script: Script, cfg: Any, output: Path, rows: Sequence[Row] | None) -> Run:
        """The run of a script in this experiment's world, from its base."""
        changes = dict(self.changes)
        if script is not self.script:
            # A baseline has a rate of its own; budget, batch and what trains are the method's.
            stage, own = self.script.method.last, script.method.last
            mine, theirs = (s.lab if self.preset == "lab" else s.paper for s in (stage, own))
            if not self.real_model:
                changes.pop("learning_rate", None)
            elif mine.lora_rank and not theirs.lora_rank:
                # The rate of all weights would leave an adapter nearly where it begins.
                changes.setdefault("learning_rate", mine.learning_rate)
            same_kind = isinstance(stage, PairStage) == isinstance(own, PairStage)
            if self.preset == "lab":
                changes.setdefault("steps", self._steps_in_the_lab())
            budget = ("pairs", "steps", "epochs", *(("batch_size",) if same_kind else ()))
            for name in (*budget, *WHAT_TRAINS):
                changes.setdefault(name, getattr(mine, name))
            if isinstance(stage, SamplingStage) and isinstance(own, SamplingStage):
                changes |= _same_answers(changes, stage, mine, own, theirs)
        return Run(
            script, cfg, self.preset, changes, self.world, self.task, self.base, output, self.seed,
            "pairs", self.resume, rows, self.rows_digest, self.workshop,
        )  # fmt: skip

    def _steps_in_the_lab(self) -> int | None:
        """Steps that the method's policy is trained for: of all its stages of the last one's kind
        that take place, not of that one alone."""
        stages, last = self.script.method.stages, self.script.method.last
        kept = [s for s in stages if type(s) is type(last) and s.takes_place(self.cfg)]
        steps = [stage.lab.steps for stage in kept]
        return None if None in steps else sum(each or 0 for each in steps)

    def policy_of_base(self, run: Run) -> Policy:
        """The model before any training."""
        settings = run.settings(run.script.method.last)
        return run.policy(self.base, settings)

    # --- evaluation ----------------------------------------------------------------------------

    def held_out(self, base: Policy | None = None) -> measure.HeldOutPairs | None:
        """Pairs that every row of the table is scored on; in the lab samples of the base, the last
        of which are kept in memory."""
        if self.rows is not None:
            kept = last_rows(self.rows)
            return measure.HeldOutPairs(kept) if "chosen" in kept[0] else None
        key = (model_digest(self.base), *map(str, self.judged_by(0).items()))
        if key not in _SAMPLED:
            if base is None:
                base = self.policy_of_base(self.run_of(self.script, self.cfg, self.output, None))
            while len(_SAMPLED) >= KEPT_SETS:
                del _SAMPLED[next(iter(_SAMPLED))]
            task = self.world.tasks[next(iter(self.world.tasks))]
            # Of one stream, whatever seed the run has: rows of a table, and rows that are kept for
            # other studies, are scored on the same pairs.
            sampler = replace(base, seed=0, draws=0)
            _SAMPLED[key] = measure.held_out_pairs(self.world, task, sampler, self.split)
        return _SAMPLED[key]

    def measured(self, policy: Policy, held_out: measure.HeldOutPairs | None) -> dict[str, float]:
        """Held-out metrics of a model, in lower case; of a real one in small batches."""
        if self.real_model:
            settings = self.run_of(self.script, self.cfg, self.output, None).settings(
                self.script.method.last
            )
            policy.batch_size = settings.per_device_batch_size or REAL_BATCH
        found: dict[str, float] = {}
        if self.rows is None:
            found = measure.behaviour(policy, self.world, self.task, self.split, self.scenes)
        else:
            found = self._rewarded(policy)
        if held_out is not None:
            found |= held_out.measure(policy)
        return {name: round(value, 6) for name, value in found.items()}

    def _rewarded(self, policy: Policy) -> dict[str, float]:
        """Of a real dataset of questions: the mean of each reward over greedy answers, which may be
        as long as those that are trained on. Scores by a model are none of these."""
        stage = self.script.method.last
        rewards = stage.rewards_of(self.cfg) if isinstance(stage, SamplingStage) else {}
        if not rewards or self.rows is None:
            return {}
        rows = list(last_rows(self.rows))
        run = self.run_of(self.script, self.cfg, self.output, None)
        answers = measure.answers_of(policy, rows, run.settings(stage).max_new_tokens)
        truths = [str(row["answer"]) for row in rows]
        return {
            name: sum(reward(answers, truths)) / len(answers) for name, reward in rewards.items()
        }

    # --- rows of the table -----------------------------------------------------------------------

    @property
    def trains_for_rows(self) -> bool:
        """Whether the rows of the last stage are there only when earlier ones have trained."""
        method = self.script.method
        return len(method.stages) > 1 or method.rounds_of(self.cfg) > 1

    def method_rows(
        self, made: MutableMapping[str, tuple[Sequence[Row], Tally]] | None = None
    ) -> Sequence[Row]:
        """What the method's last stage trains on, which its baselines are given, too; `made` keeps
        what data steps gave (`stages.Run`)."""
        run = self.run_of(self.script, self.cfg, self.output / "rows", None)
        run.made = made
        if not self.trains_for_rows:
            return stage_rows(run, self.script.method.last, 0, self.base)[0]
        rows = rows_of_last(run)
        self.trained = run.trained
        return rows

    def baseline_policy(
        self,
        name: str,
        rows: Sequence[Row],
        changes: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Policy:
        """A baseline trained on the method's rows, at a point of a grid."""
        return run_stages(self.baseline_run(name, rows, changes, config))

    def baseline_run(
        self,
        name: str,
        rows: Sequence[Row],
        changes: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Run:
        """The run of a baseline on the method's rows."""
        script = self._fitted(load_script(name))
        cfg = replace(script.method.config(), **dict(config or {}))
        folder = self.output / "baselines" / name
        run = self.run_of(script, cfg, folder, self._rows_for(script, rows))
        run.trained = dict(self.trained)
        run.changes = {**run.changes, **dict(changes or {})}
        return run

    def method_run(self) -> Run:
        """The run of the method itself."""
        return self.run_of(self.script, self.cfg, self.output, self.rows)

    def check_settings(self) -> None:
        """Raises ValueError where the settings of a stage, of the method or of a baseline, do not
        go together, or its batch cannot be divided as it would have to be."""
        names = self.script.method.baselines if self.baselines else ()
        for run in (self.method_run(), *(self.baseline_run(name, ()) for name in names)):
            method = run.script.method
            for stage in method.stages:
                if isinstance(stage, SelectStage) or not stage.takes_place(run.cfg):
                    continue
                try:
                    check_batch(stage, run.settings(stage))
                except ValueError as error:
                    raise ValueError(f"{method.record}, {stage.name}: {error}") from None

    def baseline(
        self, name: str, rows: Sequence[Row], held_out: measure.HeldOutPairs | None
    ) -> dict[str, float]:
        """Metrics of a baseline on the method's rows, kept for the next run on the same."""

        def make() -> dict[str, float]:
            note(f"{self.script.method.record}: baseline {name}")
            return self.measured(self.baseline_policy(name, rows), held_out)

        if self.real_model or self.rows is not None:
            return make()
        parts = {**self.baseline_parts(name, rows), **self.judged_by(self.scenes)}
        return cache.kept(name, parts, make)

    def baseline_parts(
        self,
        name: str,
        rows: Sequence[Row],
        changes: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What a baseline's model depends on besides code."""
        run = self.baseline_run(name, rows, changes, config)
        assert run.rows is not None
        scripts = [run.script]
        rewarded = isinstance(run.script.method.last, SamplingStage)
        if rewarded:
            scripts.append(self.script)  # whose reward it is given
        files = [Path(str(script.module.__file__)) for script in scripts]
        return {
            "baseline": name,
            "scripts": provenance.code_digest(files),
            "config": repr(run.cfg),
            "reward": repr(self.cfg) if rewarded else "",
            "settings": repr(run.settings(run.script.method.last)),
            "rows": row_digest(run.rows),
            "base": model_digest(self.base),
        }

    def judged_by(self, scenes: int) -> dict[str, Any]:
        """What the numbers of a model depend on besides the model and code."""
        return {
            "world": self.world.name,
            "version": self.world.version,
            "levels": dict(self.world.levels),
            "task": self.task.id,
            "split": self.split,
            "scenes": scenes,
        }

    def _fitted(self, script: Script) -> Script:
        """A baseline that samples is given the method's first reward, or its environments."""
        stage, own = self.script.method.last, script.method.last
        if not isinstance(stage, SamplingStage) or not isinstance(own, SamplingStage):
            return script
        given: dict[str, Any] = {"rewards": dict(list(stage.rewards_of(self.cfg).items())[:1])}
        if isinstance(own, PpoStage) and isinstance(stage, PpoStage):
            given |= self._learned(stage)
        fitted = replace(own, **given, lab=stage.lab, paper=stage.paper)
        method = replace(script.method, stages=(*script.method.stages[:-1], fitted))
        return Script(script.name, script.module, method)

    def _learned(self, stage: PpoStage) -> dict[str, Any]:
        """A method's first score, where it has no reward of strings, and its environments; both are
        called with the method's own config."""
        cfg = self.cfg
        scores = {} if stage.rewards_of(cfg) else dict(list(stage.scores_of(cfg).items())[:1])
        found: dict[str, Any] = {
            "scores": {
                name: lambda lab, rows, _, score=score: score(lab, rows, cfg)
                for name, score in scores.items()
            }
        }
        if stage.environments is not None:
            begin = stage.environments
            found |= {
                "environments": lambda lab, rows, _: begin(lab, rows, cfg),
                "kl": None,
                "shape": None,
                "reference": "none",
            }
        return found

    def _rows_for(self, script: Script, rows: Sequence[Row]) -> Sequence[Row]:
        """The method's rows; worked answers for a baseline of pairs beside groups. In the lab a
        baseline of pairs is given the columns of its own views alone, so that methods with the same
        pairs share its numbers whatever else their rows hold."""
        stage, own = self.script.method.last, script.method.last
        if isinstance(stage, SamplingStage) and not isinstance(own, SamplingStage):
            asked = rows

            def worked(number: int) -> Row:
                row = asked[number]
                told = row.get("worked", row.get("answer"))
                return row if told is None else {**row, "chosen": said(str(told))}

            lazy = LazyRows(len(asked), worked)
            rows = list(lazy) if isinstance(asked, list) else lazy
        if self.rows is not None or not isinstance(own, PairStage):
            return rows
        views = own.views_of(script.method.config())
        columns = {"item", *(column for view in views for column in view.columns)}
        return [{name: row[name] for name in row if name in columns} for row in rows]

    def run(self) -> dict[str, Any]:
        """Train and evaluate; the result in the form of the command line's contract."""
        began, method = time.monotonic(), self.script.method
        train = self.rows
        if self.rows is not None:
            train = LazyRows(len(self.rows) - kept_back(len(self.rows)), self.rows.__getitem__)
        run = self.run_of(self.script, self.cfg, self.output, train)
        base = self.policy_of_base(run)
        for line in run.what_trains(base.model):
            note(line)
        held_out = self.held_out(base)
        note(f"{method.record}: evaluating the base")
        table: dict[str, dict[str, float]] = {}
        if self.real_model or self.rows is not None:
            table["base"] = self.measured(base, held_out)
        else:
            parts = {"base": model_digest(self.base), **self.judged_by(self.scenes)}
            table["base"] = cache.kept("base", parts, lambda: self.measured(base, held_out))
        if self.real_model:
            # Training loads what it needs, and a large model has no room for a second one beside.
            del base
            free()
        note(f"{method.record}: training")
        policy = run_stages(run)
        self.trained = run.trained
        own = self.measured(policy, held_out)
        if self.real_model:
            del policy
            free()
        for name in method.baselines if self.baselines else ():
            table[name] = self.baseline(name, run.last_rows, held_out)
        table[method.record] = own
        return {
            "method": method.record,
            "world": None if self.rows is not None else self.world.name,
            "world_version": None if self.rows is not None else self.world.version,
            "condition": None if self.rows is not None else dict(self.world.levels),
            "task": None if self.rows is not None else self.task.id,
            "model": self.base if self.real_model else None,
            "seed": self.seed,
            "preset": self.preset,
            "config": dataclasses.asdict(self.cfg),
            "data": run.tallies,
            "seconds": round(time.monotonic() - began, 1),
            "rows": table,
        }


def _same_answers(
    changes: Mapping[str, Any],
    stage: SamplingStage,
    mine: TrainSettings,
    own: SamplingStage,
    theirs: TrainSettings,
) -> dict[str, float]:
    """Steps (or epochs) and batch with which a baseline samples as many answers as the method does,
    in as many batches: a step of PPO may share its samples with others, and a group has several
    answers."""
    many, few = stage.answers(mine), own.answers(theirs)
    found: dict[str, float] = {"batch_size": max(1, changes["batch_size"] * many // few)}
    if changes["steps"] is not None:
        found["steps"] = max(1, -(-changes["steps"] // stage.updates) * own.updates)
    else:
        found["epochs"] = changes["epochs"] * many / few
    return found


def last_rows(rows: Sequence[Row]) -> LazyRows:
    """The rows that are kept back."""
    kept = kept_back(len(rows))
    return LazyRows(kept, lambda number: rows[len(rows) - kept + number])


def free() -> None:
    """Give back the memory of models that nothing refers to; trainers hold them in circles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
