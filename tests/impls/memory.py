"""Memory of a process."""

from pathlib import Path


def peak() -> float:
    """The most MB that this process has held in memory (Linux).

    Not `ru_maxrss`: a program that is started inherits it from the one that starts it, so that a
    child of a large pytest would never seem to grow."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
