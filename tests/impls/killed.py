"""Run as a program: a method's run that is killed again and again, and goes on with --resume.

python killed.py KILLS SEED FOLDER METHOD ARGUMENTS...

A first run, `FOLDER/whole`, is left alone; it counts the moments at which a file is opened for
writing, renamed or removed. The runs `FOLDER/cut-N` are killed (SIGKILL) at a random moment, or up
to 50 ms after it, so often in the middle of saving; then they go on from what is on disk. Prints a
line of JSON for each run: its folder, and at which moment after its start each try was killed.
Tries are forked from one process, which has imported what takes long.
"""

import json
import os
import random
import signal
import sys
import threading
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import torch  # noqa: E402

from reference_impls.bench import experiment  # noqa: E402, F401
from reference_impls.core import measure  # noqa: E402
from reference_impls.core.command_line import run  # noqa: E402
from reference_impls.core.train import groups, pairs  # noqa: E402, F401

MOMENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def attempt(output: Path, arguments: list[str], kill_at: int | None, delay: float) -> int:
    """The run in a process of its own: the moments it saw, or -1 where it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        _, status = os.waitpid(child, 0)
        said = os.read(reading, 20).decode()
        os.close(reading)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return -1
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"a run in {output} ended with {os.waitstatus_to_exitcode(status)}")
        return int(said)
    seen = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def look(event: str, given: tuple) -> None:
        nonlocal seen
        written = event == "open" and isinstance(given[1], str) and given[1][0] in "wax"
        if (written or event in MOMENTS) and str(output) in str(given[0]):
            seen += 1
            if seen == kill_at:
                if delay:
                    threading.Timer(delay, die).start()
                else:
                    die()

    sys.addaudithook(look)
    torch.set_num_threads(1)
    measure.PAIRS = 4
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    status = run(arguments[0], [*arguments[1:], "--output", str(output)])
    os.write(writing, str(seen).encode())
    os._exit(status)


def main() -> None:
    kills, rng, folder = int(sys.argv[1]), random.Random(int(sys.argv[2])), Path(sys.argv[3])
    arguments = sys.argv[4:]
    moments = attempt(folder / "whole", arguments, None, 0.0)
    print(json.dumps({"folder": str(folder / "whole"), "moments": moments}), flush=True)
    left = number = 0
    left = kills
    while left:
        output, killed = folder / f"cut-{number}", []
        number += 1
        while left:
            at, delay = rng.randint(1, moments // 2), rng.choice((0.0, rng.uniform(0, 0.05)))
            go_on = ["--resume"] if output.is_dir() else []
            if attempt(output, [*arguments, *go_on], at, delay) >= 0:
                break
            killed.append(at)
            left -= 1
        else:
            attempt(output, [*arguments, "--resume"], None, 0.0)
        print(json.dumps({"folder": str(output), "killed": killed}), flush=True)


if __name__ == "__main__":
    main()
