"""What is watched while training: progress for a person, metrics for a file, signals."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reference_impls.core.processes import any_process
from reference_impls.core.train.checkpoints import saving, write_text


class Interrupted(Exception):
    """A signal stopped the run after `step`; its checkpoint is on disk."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}")
        self.step = step


class Progress(TrainerCallback):
    """Steps, loss and time left on stderr: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None
        self.began = self.told = 0.0
        self.first = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.began = self.told = time.monotonic()
        self.first = state.global_step
        if state.is_world_process_zero and sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=self.first, desc=self.label, unit="step")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        loss, now = float(logs["loss"]), time.monotonic()
        if self.bar is not None:
            self.bar.n = state.global_step
            self.bar.set_postfix(loss=f"{loss:.3f}")
        elif now - self.told > 10 or state.global_step == state.max_steps:
            self.told = now
            done = max(state.global_step - self.first, 1)
            left = (now - self.began) / done * (state.max_steps - state.global_step)
            print(
                f"{self.label}: step {state.global_step}/{state.max_steps}, loss {loss:.3f}, "
                f"{now - self.began:.0f} s, {left:.0f} s left",
                file=sys.stderr,
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.close()


class MetricsFile(TrainerCallback):
    """Appends the metrics of each step to `metrics.jsonl`, one JSON object per line, on rank 0."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        # A resumed run repeats the steps after its checkpoint: forget those of the first try.
        kept = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                step = json.loads(line)["step"]
            except (ValueError, KeyError):  # the last line of a run that was killed
                continue
            if step <= state.global_step:
                kept.append(line + "\n")
        with saving(self.path):
            write_text(self.path, "".join(kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            with saving(self.path), self.path.open("a") as stream:
                stream.write(json.dumps({"step": state.global_step, **logs}) + "\n")


class StopOnSignal(TrainerCallback):
    """Finishes the step in progress on SIGINT or SIGTERM, saves, and raises Interrupted at the end.

    Where a run can go on from each `every` steps only, it stops at such a one. Of several processes
    all stop after the same step, whichever was told to. A second signal ends the program at once.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.signalled, self.step = False, 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> StopOnSignal:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.before[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not the main thread: nothing to catch signals with
                return self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.signalled and kind is None:
            raise Interrupted(self.step)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True
        signal.signal(number, self.before[number])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self.step = state.global_step
        self.signalled = any_process(self.signalled)
        if self.signalled and state.global_step % self.every == 0:
            control.should_save = control.should_training_stop = True
        return control
