"""Records that were read before, kept as JSON lines in the user's cache folder, one file per root.

Reading YAML takes ten times as long as making the same objects from JSON. What is kept is used only
if no file of the root, and nothing in this package that reads them, has changed in name, size or
time since. A cache that cannot be read or written is no error.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import zlib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from mmalign import __version__

SETTLED = 2.0
"""Seconds for which a file must have been left alone: two changes within a tick of the file
system's clock look like one."""


def path_of(root: Path) -> Path:
    """Where the records of a root are kept. The folder need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    number = zlib.crc32(str(root).encode(errors="replace"))
    return Path(base, "mmalign", f"records-{number:08x}.jsonl")


def stamp(root: Path) -> tuple[bytes, float]:
    """A line that changes with every file that counts, and the time of the latest change (s)."""
    package = os.path.dirname(os.path.abspath(__file__))  # mmalign.records
    files = []
    for name in ("cache.py", "model.py", "shape.py", "source.py"):
        status = os.stat(os.path.join(package, name))
        files.append((name, status.st_mtime_ns, status.st_size))
    for folder in ("papers", "taxonomy"):
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.name.endswith((".yaml", ".yml")):
                    try:
                        status = entry.stat()
                        changed, size = status.st_mtime_ns, status.st_size
                    except OSError:  # a link to nothing: whoever reads it will say so
                        changed, size = 0, -1
                    files.append((f"{folder}/{entry.name}", changed, size))
    latest = max(changed for _, changed, _ in files) / 1e9
    return json.dumps([__version__, str(root), sorted(files)]).encode(), latest


def get(root: Path, models: dict[str, type[BaseModel]]) -> list[tuple[str, BaseModel]] | None:
    """Name of file and object of each record, or None if nothing fresh is kept.

    `models` are the classes by name that objects may have.
    """
    try:
        wanted, _ = stamp(root)
        lines = path_of(root).read_bytes().split(b"\n")
        if lines[0] != wanted or lines[-1] != b"end":
            return None
        found = []
        for line in lines[1:-1]:
            file, name, text = line.split(b"\t", 2)
            model = models[name.decode()]
            record = model.model_validate_json(text, by_alias=True, by_name=False)
            found.append((file.decode(), record))
        return found
    except (OSError, ValueError, KeyError, ValidationError):
        return None


def put(root: Path, before: tuple[bytes, float], records: list[tuple[str, BaseModel]]) -> None:
    """Keep records that were read after the stamp `before` was taken."""
    if time.time() - before[1] < SETTLED:
        return
    lines = [before[0]]
    for file, record in records:
        text = record.model_dump_json(by_alias=True, exclude_unset=True)
        lines.append(b"\t".join([file.encode(), type(record).__name__.encode(), text.encode()]))
    path = path_of(root)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed: another process never sees half of it.
        handle, aside = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(b"\n".join([*lines, b"end"]))
            os.replace(aside, path)
        except OSError:
            os.unlink(aside)
            raise
