"""Reads every file below a root: text and shape, nothing across files."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmalign.records import shape, source
from mmalign.records.kb import KnowledgeBase
from mmalign.records.model import Errata, Facet, Paper, Relations
from mmalign.records.problems import Finding, Problem

File = Paper | Facet | Relations | Errata
"""What one file of a root holds."""
FILES: tuple[type[File], ...] = (Paper, Facet, Relations, Errata)

FOLDERS = ("papers", "taxonomy")
"""What is read below a root: the YAML files of these folders, and nothing in folders of theirs."""

_ID_LINE = re.compile(r"^[ -]*id: *[\"']?([a-z0-9-]+)", re.MULTILINE)


@dataclass
class Records:
    """Everything that was read from one root, by file, with what is wrong in it."""

    root: Path
    papers: dict[str, Paper] = field(default_factory=dict)
    facets: dict[str, Facet] = field(default_factory=dict)
    relations: dict[str, Relations] = field(default_factory=dict)
    errata: dict[str, Errata] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread_ids: set[str] = field(default_factory=set)
    """Ids in files whose shape is broken: they exist, so that pointing to them is no problem."""
    unshaped: dict[str, source.Data] = field(default_factory=dict)
    """Data of papers whose shape is broken."""

    def add(self, file: str, record: File) -> None:
        """Put a record where those of its class are."""
        if isinstance(record, Paper):
            self.papers[file] = record
        elif isinstance(record, Facet):
            self.facets[file] = record
        elif isinstance(record, Relations):
            self.relations[file] = record
        else:
            self.errata[file] = record

    def all(self) -> list[tuple[str, File]]:
        """Every record with the name of its file, in the order in which they were read."""
        return [
            *self.papers.items(),
            *self.facets.items(),
            *self.relations.items(),
            *self.errata.items(),
        ]

    def knowledge_base(self) -> KnowledgeBase:
        """What could be read, as one object. Of papers with the same id the first counts."""
        papers: dict[str, Paper] = {}
        for paper in self.papers.values():
            papers.setdefault(paper.id, paper)
        relations = {r.id: r for file in self.relations.values() for r in file.relations}
        errata = tuple(e for file in self.errata.values() for e in file.errata)
        facets = {facet.id: facet for facet in self.facets.values()}
        return KnowledgeBase(dict(sorted(papers.items())), facets, relations, errata)

    def locate(self, findings: Iterable[Finding]) -> list[Problem]:
        """Findings with line and column. Each file is read once more, however many there are."""
        by_file: dict[str, list[Finding]] = {}
        for finding in findings:
            by_file.setdefault(finding.file, []).append(finding)
        problems = []
        for file, group in by_file.items():
            try:
                content, _ = _content(self.root, self.paths[file])
            except (KeyError, OSError):  # a file that should be there and is not
                content = b""
            places = source.locate(content, [finding.location for finding in group])
            for finding, (line, column, raw) in zip(group, places, strict=True):
                said = shape.with_raw(finding, raw)
                problems.append(Problem(said.code, file, line, column, said.message, said.hint))
        return problems


def read(root: Path, extra: Iterable[Path] = ()) -> Records:
    """Every record and taxonomy file below a root, and `extra` papers from elsewhere.

    An extra paper takes the place of a record with the same file name.
    """
    records = Records(root)
    outside = [path for path in extra if root not in path.parents]
    replaced = {path.name for path in outside}
    papers, taxonomy = (_listed(records, name) for name in FOLDERS)
    with no_garbage_collection():
        for path in [*(p for p in papers if p.name not in replaced), *outside]:
            _read_file(records, path, Paper)
        for path in taxonomy:
            special: dict[str, type[File]] = {"relations.yaml": Relations, "errata.yaml": Errata}
            _read_file(records, path, special.get(path.name, Facet))
    return records


def _listed(records: Records, name: str) -> list[Path]:
    """The files of a folder of the root to be read. What only looks like one of them is said."""
    folder = records.root / name
    if not within(folder, records.root):
        message, hint = "the link leads out of the root and is not read", "put the files here"
        records.problems.append(Problem("Y014", name, 1, 1, message, hint))
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".yaml":
            found.append(path)
        elif path.suffix.lower() in (".yaml", ".yml"):
            file, hint = name_of(records.root, path), f"rename it to {path.stem}.yaml"
            records.problems.append(Problem("R001", file, 1, 1, "the file is not read", hint))
    return found


def name_of(root: Path, path: Path) -> str:
    """What problems call a file: relative to the root where it lies inside."""
    return path.relative_to(root).as_posix() if root in path.parents else path.as_posix()


def within(path: Path, folder: Path) -> bool:
    """Does a path, with all its links followed, lie in a folder (whose own links are followed)?"""
    real = Path(os.path.realpath(path))
    return real == folder or folder in real.parents


def _content(root: Path, path: Path) -> tuple[bytes, int]:
    """Bytes of a regular file, at most one more than are allowed, and its size.

    A link is followed within the root (or, for a file elsewhere, within its own folder), so that
    no problem ever quotes what lies outside. Raises OSError with the reason.
    """
    base = root if root in path.parents else path.parent
    if path.is_symlink() and not within(path, base):
        raise OSError(0, f"the link leads out of {'the root' if base == root else 'its folder'}")
    _regular(os.stat(path).st_mode)  # before it is opened: opening alone can block or act
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(handle)
        _regular(status.st_mode)
        return stream.read(source.MAX_BYTES + 1), status.st_size


def _regular(mode: int) -> None:
    for test, what in (
        (stat.S_ISREG, ""),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            if what:
                raise OSError(0, f"it is {what}")
            return
    raise OSError(0, "it is a device")


def _read_file(records: Records, path: Path, model: type[File]) -> None:
    file = name_of(records.root, path)
    records.paths[file] = path
    try:
        content, size = _content(records.root, path)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        hint = "a record is a file of its own, papers/<id>.yaml"
        records.problems.append(Problem("Y014", file, 1, 1, message, hint))
        return
    document = source.parse(content, file, size)
    records.problems += document.problems
    findings: list[Finding] = []
    if document.data is not None:
        shaped, findings = shape.build(model, document.data, file)
        if shaped is not None:
            records.add(file, shaped)
            return
        if model is Paper:
            records.unshaped[file] = document.data
    records.problems += records.locate(findings)
    records.unread_ids |= {path.stem, *_ID_LINE.findall(content.decode("utf-8", "replace"))}


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Reading makes many objects and no cycles: looking for cycles would take half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
