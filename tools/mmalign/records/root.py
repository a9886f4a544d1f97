"""Where the records are.

Written with os.path: importing pathlib would cost the fast commands what their cache saves.
"""

from __future__ import annotations

import os

from mmalign.errors import RootNotFound

PACKAGE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
"""The folder of the package `mmalign`."""
INSTALLED = os.path.join(PACKAGE, "_data")
"""Where an installed wheel keeps papers/ and taxonomy/. Nothing is ever written there."""


def find_root(root: str | os.PathLike[str] | None = None) -> str:
    """The folder that holds papers/ and taxonomy/, as an absolute path.

    The given one; else the nearest one upwards from the working directory; else the data that is
    installed with the package. Raises RootNotFound.
    """
    if root is not None:
        if not is_root(root):
            raise RootNotFound(f"{os.fspath(root)} does not hold both papers/ and taxonomy/")
        return os.path.realpath(root)
    try:
        here = os.getcwd()
    except OSError:
        raise RootNotFound(
            "the working directory is gone; name the folder of the data with --root DIR"
        ) from None
    candidates = [here]
    while os.path.dirname(candidates[-1]) != candidates[-1]:
        candidates.append(os.path.dirname(candidates[-1]))
    # In an editable install the package stands in the checkout, at tools/mmalign.
    candidates += [INSTALLED, os.path.dirname(os.path.dirname(PACKAGE))]
    for path in candidates:
        if is_root(path):
            return path
    raise RootNotFound(
        f"no folder with papers/ and taxonomy/ in or above {here}, and no data is installed with "
        "mmalign; name one with --root DIR"
    )


def is_above(folder: str) -> bool:
    """Is a folder the working directory, or does it hold it?"""
    here = os.path.realpath(os.getcwd())
    return os.path.commonpath([here, os.path.realpath(folder)]) == os.path.realpath(folder)


def is_root(path: str | os.PathLike[str]) -> bool:
    """Does a folder hold both papers/ and taxonomy/?"""
    return all(os.path.isdir(os.path.join(path, name)) for name in ("papers", "taxonomy"))
