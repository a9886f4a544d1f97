"""What is not read: files and folders that were named, or that lie where records lie.

`mmalign validate` must never say "no problems" of something that nobody has looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmalign.records.collect import FOLDERS, Records, name_of
from mmalign.records.problems import Problem

RECORDS = "records are papers/<id>.yaml, the taxonomy is taxonomy/*.yaml"
MAX_WALK = 20_000
"""Files and folders that are looked at below one folder."""


def located(path: str | os.PathLike[str]) -> Path:
    """An absolute path whose folder is real, while a link in its last place stays a link.

    Raises FileNotFoundError where nothing is there; a link to nothing is something.
    """
    whole = os.path.abspath(path)
    if not os.path.lexists(whole):
        raise FileNotFoundError(f"{os.fspath(path)} does not exist")
    return Path(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))


def elsewhere(root: Path, named: Iterable[Path]) -> tuple[list[Path], list[Problem]]:
    """Of the named paths outside a root: the files to be read as papers, and what is not read."""
    files: list[Path] = []
    problems: list[Problem] = []
    for path in named:
        if path == root or root in path.parents:
            continue
        if not path.is_dir():
            files.append(path)
        elif path in root.parents:
            message = "the folder holds the root, and only the root is read of it"
            problems.append(_unread(path.as_posix(), message, f"name {root.as_posix()}"))
        else:
            below = list(_below(path))
            found = [each for each in below if each.suffix == ".yaml"]
            files += found
            for each in below:
                if each.suffix != ".yaml" and each.suffix.lower() in (".yaml", ".yml"):
                    hint = f"rename it to {each.stem}.yaml"
                    name = each.as_posix()
                    problems.append(Problem("R001", name, 1, 1, "the file is not read", hint))
            if len(below) >= MAX_WALK:
                message = f"the folder holds {MAX_WALK:,} files and more, and not all are read"
                problems.append(_unread(path.as_posix(), message, "name the files"))
            elif not found:
                message = "the folder holds no YAML file, and nothing of it is read"
                problems.append(_unread(path.as_posix(), message, RECORDS))
    return files, problems


def unread(records: Records, named: Iterable[Path]) -> Iterator[Problem]:
    """What lies beside the records, or was named below the root, and is not read."""
    said = {problem.file for problem in records.problems} | set(records.paths)
    for problem in _beside(records, said):
        said.add(problem.file)
        yield problem
    for path in named:
        file = name_of(records.root, path)
        if records.root not in path.parents or file in said or file in FOLDERS:
            continue
        said.add(file)
        if not path.is_dir() or path.is_symlink():
            yield _unread(file, "the file is not read", RECORDS)
        elif not any(each.startswith(f"{file}/") for each in said):
            yield _unread(file, "nothing in this folder is read", RECORDS)


def _beside(records: Records, said: set[str]) -> Iterator[Problem]:
    for folder in FOLDERS:
        top = records.root / folder
        if folder in said:  # a link that leads out of the root
            continue
        for path in _below(top, skip=said, root=records.root):
            file = name_of(records.root, path)
            schema = path.suffix == ".json" and path.parent == top / "schema"
            if file in said or (schema and folder == "taxonomy"):
                continue
            if path.parent != top:
                yield _unread(file, f"the file is not read: folders of {folder}/ are not", RECORDS)
            elif path.is_dir():
                yield _unread(file, "the folder is not read", RECORDS)
            else:
                message = "the file is not read: it is not a YAML file"
                yield _unread(file, message, f"move it out of {folder}/, or delete it")


def _below(top: Path, skip: Iterable[str] = (), root: Path | None = None) -> Iterator[Path]:
    """Files below a folder, links to folders (not followed), and folders that cannot be listed."""
    seen = 0
    closed: list[OSError] = []
    for folder, folders, files in os.walk(top, onerror=closed.append):
        base = Path(folder)
        links = [name for name in folders if (base / name).is_symlink()]
        folders[:] = sorted(
            name for name in folders if root is None or name_of(root, base / name) not in skip
        )
        for name in sorted([*files, *links]):
            seen += 1
            if seen > MAX_WALK:
                return
            yield base / name
    for error in closed:
        yield Path(os.fsdecode(error.filename))


def _unread(file: str, message: str, hint: str) -> Problem:
    return Problem("Y017", file, 1, 1, message, hint)
