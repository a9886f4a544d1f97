"""What a run leaves on disk, and what a later one may go on from.

A folder of a run holds `run.json`, its identity: everything that its numbers depend on. A run goes
on (`--resume`) only where the identity is the same; a new one clears what an older one left, so
that leftovers are never taken for its own. A checkpoint counts once its last file, `complete.json`,
is written: a process may be killed in the middle of saving.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IDENTITY, COMPLETE = "run.json", "complete.json"


class OtherRun(ValueError):
    """The folder holds another run than the one that is to go on. The text says what differs."""


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps(value, indent=1) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any | None:
    """The content of a JSON file; None where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def step_of(checkpoint: Path) -> int:
    """Number of optimizer steps of a folder `checkpoint-N`; -1 where the name has another form."""
    number = checkpoint.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [path for path in folder.glob("checkpoint-*") if step_of(path) >= 0]
    whole = [path for path in found if is_complete(path)]
    return sorted(whole, key=step_of)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, or None."""
    return next(reversed(checkpoints(folder)), None)


def mark_complete(checkpoint: Path) -> None:
    """Say that everything of a checkpoint is on disk: file names with their sizes."""
    sizes = {
        path.relative_to(checkpoint).as_posix(): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != COMPLETE
    }
    write_json(checkpoint / COMPLETE, sizes)


def is_complete(checkpoint: Path) -> bool:
    """Whether all that `mark_complete` counted is there, each file with its size."""
    sizes = read_json(checkpoint / COMPLETE)
    if not isinstance(sizes, dict):
        return False
    for name, size in sizes.items():
        path = checkpoint / name
        if not path.is_file() or path.stat().st_size != size:
            return False
    return True


def begin(folder: Path, identity: Mapping[str, Any], resume: bool) -> Path | None:
    """Make a folder ready for a run; the checkpoint to go on from, or None for the beginning.

    Without `resume`, checkpoints and metrics of an older run are deleted. With it, the folder's
    identity must be this run's: raises OtherRun with the first things that differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps(identity))
    if resume and (folder / IDENTITY).exists():
        found = read_json(folder / IDENTITY)
        if found != wanted:
            raise OtherRun(f"{folder} holds another run: {_difference(found, wanted)}")
        return last_checkpoint(folder)
    if resume and any(folder.glob("checkpoint-*")):
        raise OtherRun(f"{folder} holds checkpoints of an unknown run ({IDENTITY} is missing)")
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    for name in (IDENTITY, "metrics.jsonl"):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / IDENTITY, wanted)
    return None


def _difference(found: Any, wanted: Any, limit: int = 3) -> str:
    parts = list(_differences(found, wanted))
    more = f" and {len(parts) - limit} more" if len(parts) > limit else ""
    return "; ".join(parts[:limit]) + more


def _differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    if found == wanted:
        return []
    if isinstance(found, dict) and isinstance(wanted, dict):
        said: list[str] = []
        for name in dict.fromkeys((*wanted, *found)):
            where = f"{path}.{name}" if path else str(name)
            said += _differences(found.get(name), wanted.get(name), where)
        return said
    return [f"{path or 'it'} is {_short(found)} there and {_short(wanted)} here"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def digest(*parts: bytes | str) -> str:
    """A short name for some content: equal names mean equal content."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:20]
