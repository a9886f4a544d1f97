"""One run of one method: base, baselines on the same data, the method, and their held-out
metrics."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from reference_impls.core import base, evaluation, models, objectives, pairs
from reference_impls.core.annotators import Annotator, annotators
from reference_impls.core.counting import counting
from reference_impls.core.policy import Policy
from reference_impls.core.settings import TrainSettings, lab
from reference_impls.core.worlds import DrawnWorld

SFT = SimpleNamespace(
    RECORD="sft", VIEWS=("chosen",), REFERENCE=False, loss=objectives.sft,
    cfg=objectives.SftConfig(), LAB=lab(learning_rate=3e-4),
)  # fmt: skip
DPO = SimpleNamespace(
    RECORD="dpo", VIEWS=("chosen", "rejected"), REFERENCE=True, loss=objectives.dpo,
    cfg=SimpleNamespace(beta=0.1), LAB=lab(learning_rate=3e-4),
)  # fmt: skip


def group_baseline(script, cfg) -> SimpleNamespace:
    """GRPO with the first of a script's rewards alone: what a reinforcement table holds for DPO."""
    name, reward = next(iter(script.rewards(cfg).items()))
    return SimpleNamespace(
        RECORD="grpo", VIEWS=(), rewards=lambda _: {name: reward}, loss=objectives.grpo,
        advantages=lambda rewards, _: objectives.group_advantages(rewards),
        cfg=SimpleNamespace(beta=0.04, epsilon=0.2), LAB=script.LAB,
    )  # fmt: skip


def is_group(script) -> bool:
    """Does the script train on groups of its own answers, not on pairs?"""
    return hasattr(script, "rewards")


def note(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@dataclass
class Prepared(Sequence):
    """Rows as a script prepares them, one at a time and always the same way."""

    rows: Sequence[dict]
    script: Any
    cfg: Any
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict:
        if not 0 <= number < len(self.rows):
            raise IndexError(number)
        rng = random.Random(f"{self.seed}/{number}")
        return self.script.prepare(self.rows[number], rng, self.cfg)


@dataclass
class Experiment:
    """Everything that a run needs; `run()` does it."""

    script: ModuleType
    cfg: Any
    settings: TrainSettings
    world: ModuleType
    output: Path
    preset: str = "lab"
    model: str | None = None
    dataset: str | None = None
    resume: bool = False
    baselines: bool = True
    split: str = "test"

    def __post_init__(self):
        self.model_path = self.model or str(base.path(self.world))
        model, self.processor = models.load(
            self.model_path, self.settings.device, self.settings.dtype
        )
        self.base = Policy(model, self.processor, self.settings.seed)

    # --- data ------------------------------------------------------------------------------------

    def drawn(self) -> DrawnWorld:
        return DrawnWorld(self.world, "pairs", self.settings.pairs, self.settings.seed)

    def rows(self) -> Sequence[dict]:
        """The training data of the method: its own data step, or a real dataset in its place."""
        if self.dataset:
            from reference_impls.core.preference_data import load_preferences, load_records

            if is_group(self.script):
                return self.script.read_prompts(load_records(self.dataset))
            return load_preferences(self.dataset)
        drawn = self.drawn()
        if is_group(self.script):
            return self.script.make_prompts(drawn, self.cfg)
        return self.script.make_pairs(drawn, self.base, annotators(drawn), self.cfg)

    def prepared(self, script, cfg, rows: Sequence[dict]) -> Sequence[dict]:
        if not hasattr(script, "prepare"):
            return rows
        lazy = Prepared(rows, script, cfg, self.settings.seed)
        return lazy if self.dataset else list(lazy)

    # --- evaluation ------------------------------------------------------------------------------

    def held_out(self, rows: Sequence[dict]) -> tuple[Any, Sequence[dict]]:
        """What to score a model on, and the rows that are left to train on."""
        if self.dataset:
            kept = min(64, max(1, len(rows) // 10))
            held = [rows[len(rows) - 1 - number] for number in range(kept)]
            train = [rows[number] for number in range(len(rows) - kept)]
            if is_group(self.script):
                return evaluation.HeldOutPrompts(held, self.script.rewards(self.cfg)), train
            return evaluation.held_out_rows(held), train
        world = DrawnWorld(self.world, self.split, evaluation.HELD_OUT_PAIRS, 0)
        perfect = Annotator(self.world, 0.0, world.rng("perfect"))
        return evaluation.held_out(world, Policy(self.base.model, self.processor), perfect), rows

    def measure(self, model, held_out) -> dict[str, float]:
        """Held-out metrics of a model, in lower case."""
        policy = Policy(model, self.processor)
        metrics = held_out.measure(model, self.processor)
        if not self.dataset:
            world = DrawnWorld(self.world, self.split, evaluation.HELD_OUT_SCENES, 0)
            metrics = evaluation.behaviour(policy, world) | metrics
            if is_group(self.script):
                counted = counting(policy, world)
                counted["answer_length"] = counted.pop("length")
                metrics = counted | metrics
        return {name: round(value, 6) for name, value in metrics.items()}

    # --- training --------------------------------------------------------------------------------

    def train(self, script, cfg, rows, settings: TrainSettings, folder: Path):
        if is_group(script):
            from reference_impls.core.group_trainer import train_group

            return train_group(
                self.model_path, self.processor, rows, rewards=script.rewards(cfg),
                advantages=script.advantages, loss=script.loss, cfg=cfg, settings=settings,
                output=folder, resume=self.resume, label=script.RECORD,
                reference_needed=cfg.beta != 0,
            )  # fmt: skip
        from reference_impls.core.pair_trainer import train_pairs

        views = script.views(cfg) if hasattr(script, "views") else script.VIEWS
        return train_pairs(
            self.model_path,
            self.processor,
            self.prepared(script, cfg, rows),
            objective=script.loss,
            cfg=cfg,
            views=views,
            marks=(lambda a, b: script.marks(a, b, cfg)) if hasattr(script, "marks") else None,
            reference=getattr(script, "REFERENCE", True),
            settings=settings,
            output=folder,
            resume=self.resume,
            label=script.RECORD,
        )

    def all_baselines(self) -> tuple:
        """What every table holds: SFT, and DPO on the same pairs or GRPO on the same prompts."""
        if not is_group(self.script):
            return (SFT, DPO)
        parent = group_baseline(self.script, self.cfg)
        # A real dataset of questions has no worked answers to imitate.
        return (parent,) if self.dataset else (SFT, parent)

    def baseline_rows(self, baseline, rows):
        """Data of a baseline: the method's own; for SFT beside reinforcement, true answers."""
        if not is_group(self.script) or is_group(baseline) or self.dataset:
            return rows
        return [
            pairs.row(row["images"][0], pairs.text(row["prompt"]), answer, "")
            for row, answer in zip(rows, self.script.true_answers(self.drawn()), strict=True)
        ]

    def baseline_settings(self, baseline) -> TrainSettings:
        """The method's budget at the baseline's own rate; with a real model at the method's."""
        rate = baseline.LAB.learning_rate if not self.model else self.settings.learning_rate
        settings = replace(self.settings, learning_rate=rate)
        if is_group(self.script) and not is_group(baseline):
            settings = replace(settings, batch_size=baseline.LAB.batch_size)
        return settings

    def baseline(self, baseline, rows, held_out) -> dict[str, float]:
        """Metrics of a baseline on the same pairs; from the cache when the same was run before."""
        settings, data = self.baseline_settings(baseline), self.baseline_rows(baseline, rows)
        cached = None
        if not self.model and not self.dataset:
            key = fingerprint(baseline.RECORD, settings, data, self.model_path, self.split)
            cached = cache_folder() / f"{baseline.RECORD}-{key}.json"
            if cached.exists():
                return json.loads(cached.read_text())
        folder = self.output / "baselines" / baseline.RECORD
        model = self.train(baseline, baseline.cfg, data, settings, folder)
        metrics = self.measure(model, held_out)
        if cached is not None:
            # A cache that cannot be written only costs time.
            with contextlib.suppress(OSError):
                write_json(cached, metrics)
        return metrics

    def run(self) -> dict:
        """Train and evaluate; the result in the form of the command line's contract."""
        began = time.monotonic()
        method = self.script.RECORD
        note(f"{method}: data")
        all_rows = self.rows()
        if not len(all_rows):
            raise ValueError("the data step gave no pairs: the model's two answers never differ")
        held_out, rows = self.held_out(all_rows)
        note(f"{method}: {len(rows)} pairs; evaluating the base")
        table = {"base": self.measure(self.base.model, held_out)}
        for baseline in self.all_baselines() if self.baselines else ():
            if method != baseline.RECORD:
                note(f"{method}: baseline {baseline.RECORD}")
                table[baseline.RECORD] = self.baseline(baseline, rows, held_out)
        note(f"{method}: training")
        model = self.train(self.script, self.cfg, rows, self.settings, self.output)
        note(f"{method}: evaluating")
        table[method] = self.measure(model, held_out)
        model.save_pretrained(self.output / "model")
        self.processor.save_pretrained(self.output / "model")
        return {
            "method": method,
            "world": None if self.dataset else self.world.NAME,
            "world_version": None if self.dataset else self.world.VERSION,
            "dataset": self.dataset,
            "model": self.model,
            "seed": self.settings.seed,
            "device": self.settings.device,
            "preset": self.preset,
            "seconds": round(time.monotonic() - began, 1),
            "rows": table,
        }


# --- files ---------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where baselines are kept between runs: $XDG_CACHE_HOME/mmalign/lab."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "mmalign" / "lab"


def write_json(path: Path, value) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1) + "\n")
    draft.replace(path)


def fingerprint(name: str, settings: TrainSettings, rows, model_path: str, split: str) -> str:
    """A name for (code, base, data, settings): equal names mean equal results on one machine."""
    digest = hashlib.sha256(json.dumps([name, asdict(settings), split, versions()]).encode())
    core = Path(__file__).parent
    for path in sorted([*core.glob("*.py"), *core.glob("worlds/*.py")]):
        digest.update(path.read_bytes())
    for path in sorted(Path(model_path).glob("*.safetensors")):
        digest.update(path.read_bytes())
    for row in rows:
        words = [pairs.text(row[c]) for c in ("prompt", "chosen", "rejected") if c in row]
        words.append(str(row.get("answer")))
        digest.update("\n".join(words).encode())
        digest.update(row["images"][0].tobytes())
    return digest.hexdigest()[:20]


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("mmalign", "torch", "transformers", "trl", "accelerate", "peft", "datasets")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {"python": sys.version.split()[0], **found}
