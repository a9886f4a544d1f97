"""Work that the tests of jobs hand to workers: it must be importable where they run."""

import os
import sys
import time
from pathlib import Path

from reference_impls.bench.jobs import Job, run_jobs


def work(task):
    """Note that it began; wait for a file, if one is named; fail, if it is told to."""
    with Path(task["log"]).open("a", encoding="utf-8") as log:
        log.write(f"{task['name']} {os.getpid()}\n")
    if "wait" in task:
        deadline = time.monotonic() + 60
        while not Path(task["wait"]).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    if "fail" in task:
        raise ValueError(task["fail"])
    return {"name": task["name"]}


def jobs(folder, **more):
    """Three jobs; `more` changes their tasks by name."""
    folder = Path(folder)
    return [
        Job(name, {"name": name, "log": str(folder / "log"), **more.get(name, {})},
            folder / f"{name}.json")
        for name in ("one", "two", "three")
    ]  # fmt: skip


if __name__ == "__main__":
    run_jobs(jobs(sys.argv[1], two={"wait": str(Path(sys.argv[1]) / "go")}), work)
