"""Files written whole or not at all.

A file is made beside its place under another name and then put there in one step: a full disk, a
folder that cannot be written or Ctrl-C leave what was there before. Signals that end a program are
held back meanwhile and take effect afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


def create(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """New files of a folder (name -> text): all of them, or none. Gives their paths, in order.

    Raises FileExistsError where there is one of that name, OSError where they cannot be written.
    """
    placed: list[Path] = []
    with _held_signals() as caught:
        work = Path(tempfile.mkdtemp(prefix=".mmalign-", dir=folder))
        try:
            for name, text in files.items():
                if caught:
                    break
                _write(work / name, text)
            for name in files:
                if caught:
                    break
                _place(work / name, folder / name)
                placed.append(folder / name)
            if caught:  # held back until now: nothing is left of it
                _undo(placed)
        except BaseException:
            _undo(placed)
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return placed


def replace(path: str | os.PathLike[str], text: str) -> None:
    """Write a file, in place of an old one if there is one. A device or pipe is written to.

    Raises OSError; the old file is whole then.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        _write(target, text)
        return
    with _held_signals():
        try:
            handle, name = tempfile.mkstemp(prefix=".mmalign-", dir=target.parent)
        except OSError as error:  # names the file beside it, which nobody asked for
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        os.close(handle)
        try:
            _write(Path(name), text)
            if target.exists():
                shutil.copymode(target, name)
            else:
                umask = os.umask(0)
                os.umask(umask)
                os.chmod(name, 0o666 & ~umask)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def _write(path: Path, text: str) -> None:
    """UTF-8, with the same line ends on every platform."""
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)


def _place(made: Path, target: Path) -> None:
    """Put a file where none is. A link fails where there is one, a renaming would replace it."""
    try:
        os.link(made, target)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "the file exists", str(target)) from None
    except OSError:  # a file system without links
        with open(target, "xb") as stream:
            try:
                stream.write(made.read_bytes())
                stream.flush()
            except BaseException:
                target.unlink()
                raise


def _undo(placed: list[Path]) -> None:
    for target in placed:
        with contextlib.suppress(OSError):
            target.unlink()


@contextlib.contextmanager
def _held_signals() -> Iterator[list[int]]:
    """Signals that would end the program are kept in the list given, and sent again at the end."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may handle signals
        return
    before = {}
    for name in _ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])
