"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm
from transformers import TrainerCallback


class Progress(TrainerCallback):
    """Shows steps, loss and time left of one training."""

    def __init__(self, label: str):
        self.label, self.bar, self.began, self.told = label, None, 0.0, 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.began = self.told = time.monotonic()
        if state.is_world_process_zero and sys.stderr.isatty():
            self.bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc=self.label, unit="step"
            )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        if self.bar is not None:
            self.bar.n = state.global_step
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")
        elif time.monotonic() - self.told > 10 or state.global_step == state.max_steps:
            self.told = time.monotonic()
            print(
                f"{self.label}: step {state.global_step}/{state.max_steps}, "
                f"loss {float(logs['loss']):.3f}, {self.told - self.began:.0f} s",
                file=sys.stderr,
            )

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.close()
