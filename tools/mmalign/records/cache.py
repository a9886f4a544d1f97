"""What was made of a root, kept as JSON lines in the user's cache folder, one file per root.

Reading and checking YAML costs more than answering a question. What is kept is used only while
nothing that it was made of has changed: every file of the records, and every module of this package
that has a part in it. A cache that cannot be read or written, or that something has spoilt, is no
error: its content is made again.

Lines of a file: 0 a checksum of all that follows, 1 the stamp, 2 the list of keys, then one value
per key. Nothing but the standard library is imported, and that only where it is needed.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from mmalign.records.root import PACKAGE

SETTLED = 2.0
"""Seconds within which two changes of a file may look like one: ticks of a file system's clock."""
LARGEST = 1_000_000_000
"""Bytes of what is read back; ten thousand records take a tenth of it."""
PARTS = ("", "records", "ask")
"""Folders of the package that have a part in what is kept; everything above them only shows it."""


@dataclass(frozen=True)
class Stamp:
    """One line that changes with everything that counts, and whether that has been left alone."""

    text: bytes
    settled: bool


def stamp(root: str) -> Stamp | None:
    """The stamp of a root as it is now; None where its folders cannot be listed."""
    now, settled = time.time(), True
    listed: list[tuple[str, tuple[int, ...]]] = []
    folders = [(os.path.join(PACKAGE, part), f"mmalign/{part}", ".py") for part in PARTS]
    folders += [(os.path.join(root, name), name, "") for name in ("papers", "taxonomy")]
    try:
        for folder, name, ending in folders:
            with os.scandir(folder) as entries:
                # Of the records' folders everything counts: what is no record may be a problem.
                for entry in entries:
                    if entry.name.endswith(ending):
                        listed.append((f"{name}/{entry.name}", _status(entry)))
    except OSError:
        return None
    for _, status in listed:
        # A time in the future is a wrong clock's, and says nothing about a change just now.
        settled = settled and all(abs(now - changed / 1e9) >= SETTLED for changed in status[1:3])
    return Stamp(json.dumps([sys.version, root, sorted(listed)]).encode(), settled)


def _status(entry: os.DirEntry[str]) -> tuple[int, ...]:
    """What changes with a file: size, times of its content and of its inode (ns), inode."""
    try:
        found = entry.stat()
    except OSError:  # a link to nothing: whoever reads it will say so
        return (-1,)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def path_of(root: str) -> str | None:
    """Where what was made of a root is kept, or None where there is no place. It need not exist."""
    try:  # a fifth of the time that hashlib takes to load its library
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b

    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # to be ignored then, says the specification
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):
        return None
    name = blake2b(os.fsencode(root), digest_size=16).hexdigest()
    return os.path.join(base, "mmalign", f"{name}.jsonl")


def get(root: str, wanted: Stamp) -> dict[str, bytes] | None:
    """Key -> JSON of what is kept under this stamp, or None if there is no such thing."""
    path = path_of(root)
    try:
        found = None if path is None else os.stat(path)
        if path is None or found is None or not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > LARGEST:
            return None
        with open(path, "rb") as stream:
            checksum, _, content = stream.read().partition(b"\n")
        if checksum != _checksum(content):
            return None
        kept, keys, *values = content.split(b"\n")
        if kept != wanted.text:
            return None
        return dict(zip(json.loads(keys), values, strict=True))
    except (OSError, ValueError, TypeError):
        return None


def put(root: str, made_of: Stamp, values: Mapping[str, bytes]) -> None:
    """Keep what was made after the stamp was taken. What has just changed is not kept: it may
    change once more and look the same."""
    path = path_of(root)
    if path is None or not made_of.settled:
        return
    content = b"\n".join([made_of.text, json.dumps(list(values)).encode(), *values.values()])
    _write(path, _checksum(content) + b"\n" + content)


def _checksum(content: bytes) -> bytes:
    return f"{zlib.crc32(content):08x}".encode()


def _write(path: str, content: bytes) -> None:
    """Written aside and renamed: another process never sees half of it."""
    import contextlib
    import tempfile

    aside = None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".part")
        with open(handle, "wb") as stream:
            stream.write(content)
        os.replace(aside, path)
        aside = None
    except OSError:
        pass
    finally:
        if aside is not None:
            with contextlib.suppress(OSError):
                os.unlink(aside)
