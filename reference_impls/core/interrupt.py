"""Stopping a training run in a way that it can go on from."""

from __future__ import annotations

import signal

from transformers import TrainerCallback


class Interrupted(Exception):
    """A signal stopped the run after `step`; its checkpoint is on disk."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}")
        self.step = step


class StopOnSignal(TrainerCallback):
    """Finishes the step in progress on SIGINT or SIGTERM, saves, and raises Interrupted at the end.

    A second signal ends the program at once.
    """

    def __init__(self):
        self.signalled, self.step, self.before = False, 0, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self.before[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not the main thread: nothing to catch signals with
                return self
        return self

    def __exit__(self, kind, error, trace):
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.signalled and kind is None:
            raise Interrupted(self.step)

    def _on_signal(self, number, frame):
        self.signalled = True
        signal.signal(number, self.before[number])

    def on_step_end(self, args, state, control, **kwargs):
        self.step = state.global_step
        if self.signalled:
            control.should_save = control.should_training_stop = True
        return control
