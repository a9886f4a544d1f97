"""What a run leaves on disk, and what a later one may go on from.

A folder of a run holds `run.json`, its identity: everything that its numbers depend on. A run goes
on (`--resume`) only where the identity is the same; a new one clears what an older one left, so
that leftovers are never taken for its own. A checkpoint counts once its last file, `complete.json`,
is written, and while each file has the size noted there: a process may be killed in the middle of
saving, and a file may be cut later. One run at a time has a folder (`alone`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reference_impls.core.doctor import LOG

IDENTITY, COMPLETE, MODEL = "run.json", "complete.json", "model"
LOCK, HOLDER = ".lock", ".lock.json"


class OtherRun(ValueError):
    """The folder holds another run than the one that is to go on. The text says what differs."""


class FolderInUse(RuntimeError):
    """Another run, which is still going, has the folder."""


class SaveFailed(RuntimeError):
    """Something could not be written. The text names it and the reason; nothing half-written is
    left, and what was saved before is as it was."""


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all. Raises OSError, which names the file."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises OSError, which names the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder for as long as the context lasts, or the process lives.

    Raises FolderInUse, with the process that has it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        found = read_json(folder / HOLDER)
        holder = found if isinstance(found, dict) else {}
        host = holder.get("host")
        there = f" on {host}" if host not in (None, socket.gethostname()) else ""
        raise FolderInUse(
            f"another run is going on in '{folder}': process {holder.get('pid', '?')}{there}"
        ) from None
    try:
        write_json(folder / HOLDER, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """What is written inside the context is there whole, or not at all.

    Raises SaveFailed where it cannot be written (a full disk, a folder that became read-only);
    safetensors and torch tell of it in exceptions of their own.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        room = _room(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        if "inline_container" in reason:  # what torch.save says of a file that came out too short
            reason = "a file could not be written to its end"
        raise SaveFailed(f"cannot write '{path}': {reason}{room}") from error


def _room(path: Path) -> str:
    try:
        there = next(each for each in (path, *path.parents) if each.exists())
        return f"; {shutil.disk_usage(there).free / 1e6:,.1f} MB are free there"
    except (OSError, StopIteration):
        return ""


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
    """Say that everything of a checkpoint is on disk: file names with their sizes.

    Each file is handed to the disk first: after a power failure `complete.json` could otherwise
    speak of files whose content was never written.
    """
    sizes = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != COMPLETE:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
            sizes[path.relative_to(checkpoint).as_posix()] = path.stat().st_size
    write_json(checkpoint / COMPLETE, sizes)


def lacking(checkpoint: Path) -> str:
    """What a checkpoint lacks of what `mark_complete` counted; "" where it is whole."""
    sizes = read_json(checkpoint / COMPLETE)
    if not isinstance(sizes, dict):
        return "its saving was not finished"
    for name, size in sizes.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
    return ""


def is_complete(checkpoint: Path) -> bool:
    """Whether all that `mark_complete` counted is there, each file with its size."""
    return not lacking(checkpoint)


def finished(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a folder holds the trained model of this run."""
    wanted = json.loads(json.dumps(identity))
    return bool(read_json(folder / IDENTITY) == wanted and is_complete(folder / MODEL))


def begin(folder: Path, identity: Mapping[str, Any], resume: bool) -> Path | None:
    """Make a folder ready for a run; the checkpoint to go on from, or None for the beginning.

    Without `resume`, the model, checkpoints and metrics of an older run are deleted. With it, the
    folder's identity must be this run's: raises OtherRun with the first things that differ. A
    checkpoint that is not whole is deleted, with a line on stderr, and the one before is taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps(identity))
    if resume and (folder / IDENTITY).exists():
        found = read_json(folder / IDENTITY)
        if found is None:
            raise OtherRun(f"'{folder / IDENTITY}' is damaged, so that nobody knows whose it is")
        if found != wanted:
            raise OtherRun(f"{folder} holds another run: {differing(found, wanted)}")
        _drop_broken(folder)
        return last_checkpoint(folder)
    if resume and any(folder.glob("checkpoint-*")):
        raise OtherRun(f"{folder} holds checkpoints of an unknown run ({IDENTITY} is missing)")
    # The identity goes first: from here on nothing in the folder is anybody's.
    for name in (IDENTITY, LOG):
        (folder / name).unlink(missing_ok=True)
    for path in (*folder.glob("checkpoint-*"), folder / MODEL):
        if path.is_dir():
            shutil.rmtree(path)
    write_json(folder / IDENTITY, wanted)
    return None


def _drop_broken(folder: Path) -> None:
    """Delete what is not whole: Trainer counts checkpoints by name when it deletes old ones, and
    would keep a broken one in place of a whole one."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of)
    for path in found:
        lacks = lacking(path) if step_of(path) >= 0 else ""
        if lacks:
            print(f"{path} is left out: {lacks}", file=sys.stderr, flush=True)
            shutil.rmtree(path)
    if (folder / MODEL).is_dir() and not is_complete(folder / MODEL):
        shutil.rmtree(folder / MODEL)


def differing(found: Any, wanted: Any, limit: int = 3) -> str:
    """How two configurations differ, as JSON has them: the first few values; "" where they do
    not."""
    parts = _differences(json.loads(json.dumps(found)), json.loads(json.dumps(wanted)))
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


def file_digest(file: Path) -> str:
    """SHA-256 of a file of any size."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def digest(*parts: bytes | str) -> str:
    """A short name for some content: equal names mean equal content."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:20]
