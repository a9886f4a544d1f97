"""Many jobs on few cores: one long-lived, single-threaded worker per core.

A job's result is a file that is written whole when it is done. What is there is not done again, so
a bench goes on after any end, `kill -9` included. Importing torch and the libraries takes longer
than some jobs; a worker does it once.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_impls.core.train.checkpoints import read_json, write_json

Work = Callable[[Any], dict[str, Any]]
WAIT = 1.0
"""Seconds between looks at the workers."""


@dataclass(frozen=True)
class Job:
    """One piece of work: what is handed to the worker's function, and where its result goes.

    Jobs of one group are done by one worker, one after the other: it keeps in memory what they
    share. A job without a group stands alone.
    """

    name: str
    task: Any
    result: Path
    group: str = ""

    @property
    def done(self) -> bool:
        """Is a whole result there?"""
        found = read_json(self.result)
        return isinstance(found, dict) and bool(found)


class JobFailed(RuntimeError):
    """A job could not be done; the text has its name and the reason."""


def run_jobs(
    jobs: Sequence[Job], work: Work, cores: int = 1, report: Callable[[str], None] | None = None
) -> list[JobFailed]:
    """Do what is not done yet; the failures. `work` is a module-level function of a job's task,
    whose result is written with the CPU-seconds that it took.

    A job that fails does not stop the others. Ctrl-C stops the workers; what was done stays.
    """
    say = report or (lambda line: print(line, file=sys.stderr, flush=True))
    open_ = [job for job in jobs if not job.done]
    if len(open_) < len(jobs):
        say(f"{len(jobs) - len(open_)} of {len(jobs)} jobs were done before")
    if not open_:
        return []
    context = multiprocessing.get_context("spawn")
    todo: Any = context.Queue()
    told: Any = context.Queue()
    groups: dict[str, list[int]] = {}
    for number, job in enumerate(open_):
        groups.setdefault(job.group or f"job {number}", []).append(number)
    workers = [
        context.Process(target=_worker, args=(work, open_, todo, told), daemon=True)
        for _ in range(min(cores, len(groups)))
    ]
    for numbers in (*groups.values(), *[None] * len(workers)):
        todo.put(numbers)
    for worker in workers:
        worker.start()
    began, finished = time.monotonic(), 0
    failures: list[JobFailed] = []
    try:
        while finished < len(open_):
            try:
                number, error, seconds = told.get(timeout=WAIT)
            except queue.Empty:
                if not any(worker.is_alive() for worker in workers):
                    failures.append(JobFailed("all workers ended before the jobs did"))
                    break
                continue
            finished += 1
            job = open_[number]
            if error:
                failures.append(JobFailed(f"{job.name}: {error}"))
            left = (time.monotonic() - began) / finished * (len(open_) - finished)
            state = f"failed: {error}" if error else f"{seconds:.0f} s"
            say(f"[{finished}/{len(open_)}] {job.name}: {state}; about {_clock(left)} left")
    finally:
        for worker in workers:
            worker.terminate()
    return failures


def _worker(work: Work, jobs: Sequence[Job], todo: Any, told: Any) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        # A queue also looks empty while another worker reads it: only None is the end.
        try:
            numbers = todo.get(timeout=WAIT)
        except queue.Empty:
            continue
        if numbers is None:
            return
        for number in numbers:
            if parent is not None and not parent.is_alive():
                return  # a killed bench leaves no worker behind
            job, began, spent = jobs[number], time.monotonic(), time.process_time()
            try:
                found = work(job.task)
                took = round(time.process_time() - spent, 1)
                write_json(job.result, {**found, "cpu_seconds": took})
                told.put((number, "", time.monotonic() - began))
            except Exception as error:
                if os.environ.get("MMALIGN_DEBUG"):
                    traceback.print_exc()
                text = " ".join(str(error).split()) or type(error).__name__
                told.put((number, text, time.monotonic() - began))


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes} min" if minutes < 120 else (
        f"{minutes / 60:.1f} h"
    )  # fmt: skip
