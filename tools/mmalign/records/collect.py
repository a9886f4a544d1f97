"""Reads every file below a root: text and shape, nothing across files."""

from __future__ import annotations

import contextlib
import gc
import re
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
                content = self.paths[file].read_bytes()
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
    papers = sorted(p for p in (root / "papers").glob("*.yaml") if p.name not in replaced)
    with no_garbage_collection():
        for path in [*papers, *outside]:
            _read_file(records, path, Paper)
        for path in sorted((root / "taxonomy").glob("*.yaml")):
            special: dict[str, type[File]] = {"relations.yaml": Relations, "errata.yaml": Errata}
            _read_file(records, path, special.get(path.name, Facet))
    for path in sorted([*(root / "papers").glob("*.yml"), *(root / "taxonomy").glob("*.yml")]):
        name, hint = _name(root, path), f"rename it to {path.stem}.yaml"
        records.problems.append(Problem("R001", name, 1, 1, "the file is not read", hint))
    return records


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if root in path.parents else path.as_posix()


def _read_file(records: Records, path: Path, model: type[File]) -> None:
    file = _name(records.root, path)
    records.paths[file] = path
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        records.problems.append(Problem("Y014", file, 1, 1, message))
        return
    document = source.parse(content, file)
    records.problems += document.problems
    findings: list[Finding] = []
    if document.data is not None:
        shaped, findings = shape.build(model, document.data, file)
        if shaped is not None:
            records.add(file, shaped)
            return
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
