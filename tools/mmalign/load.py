"""From a folder of YAML files to a checked knowledge base.

`load` is for users: the records, or `LoadError`. `check` is for curators: every problem, each with
file, line and column. Both read the same way (`read`): text, shape, and for `check` the rules.

This module can be called like its function `load`, since `mmalign.load` is the name of both.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import re
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mmalign import cache, shape, source
from mmalign.kb import KnowledgeBase
from mmalign.model import Errata, Facet, Paper, Relations
from mmalign.problems import Finding, Problem, render

_ID_LINE = re.compile(r"^[ -]*id: *[\"']?([a-z0-9-]+)", re.MULTILINE)


class RootNotFound(FileNotFoundError):
    """There is no data where it was looked for."""


class LoadError(Exception):
    """The records cannot be used. `problems` says why; the text of the error lists them."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(problems)
        super().__init__("the records have problems:\n" + render(self.problems))


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

    def add(self, file: str, record: Paper | Facet | Relations | Errata) -> None:
        """Put a record where those of its class are."""
        kinds = {Paper: self.papers, Facet: self.facets, Relations: self.relations}
        kinds.get(type(record), self.errata)[file] = record

    def all(self) -> list[tuple[str, Paper | Facet | Relations | Errata]]:
        """Every record with the name of its file, in the order in which they were read."""
        kinds = (self.papers, self.facets, self.relations, self.errata)
        return [each for kind in kinds for each in kind.items()]

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


def find_root(root: str | Path | None = None) -> Path:
    """The folder that holds papers/ and taxonomy/.

    The given one; else the nearest one upwards from the working directory; else the data that is
    installed with the package. Raises RootNotFound.
    """
    if root is not None:
        path = Path(root)
        if not _is_root(path):
            raise RootNotFound(f"{path} does not hold both papers/ and taxonomy/")
        return path.resolve()
    here = Path.cwd()
    package = Path(__file__).resolve().parent
    # In an editable install the package stands in the checkout, at tools/mmalign.
    for path in (here, *here.parents, package / "_data", package.parent.parent):
        if _is_root(path):
            return path
    raise RootNotFound(
        f"no folder with papers/ and taxonomy/ in or above {here}, and no data is installed with "
        "mmalign; name one with --root DIR"
    )


def _is_root(path: Path) -> bool:
    return (path / "papers").is_dir() and (path / "taxonomy").is_dir()


def load(root: str | Path | None = None) -> KnowledgeBase:
    """The records of a root (see `find_root`), typed. Checks their shape, not the rules.

    Raises LoadError with every problem of shape, RootNotFound where there is no data.
    """
    found = find_root(root)
    kept = cache.get(found, {model.__name__: model for model in (Paper, Facet, Relations, Errata)})
    if kept is not None:
        records = Records(found)
        for file, record in kept:
            records.add(file, record)
        return records.knowledge_base()
    before = cache.stamp(found)
    records = read(found)
    if records.problems:
        raise LoadError(records.problems)
    cache.put(found, before, records.all())
    return records.knowledge_base()


def check(
    root: str | Path | None = None,
    paths: Iterable[str | Path] | None = None,
    today: datetime.date | None = None,
) -> tuple[KnowledgeBase | None, list[Problem]]:
    """All problems of text, shape and rules, sorted by place, and the knowledge base.

    `paths` restricts the report to these files and folders; all others are still read, since rules
    look across files. A file outside the root is checked as if it were one of its papers.
    The knowledge base is None where the shape of any record is broken.
    Raises RootNotFound; FileNotFoundError for a path that does not exist.
    """
    from mmalign import rules

    found = find_root(root)
    wanted = None if paths is None else [Path(path).resolve() for path in paths]
    for path in wanted or ():
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    records = read(found, _yaml_files(wanted) if wanted else ())
    shaped = not records.problems
    kb = records.knowledge_base()
    with _no_garbage_collection():
        findings = list(rules.findings(kb, records, today or datetime.date.today()))
    problems = [*records.problems, *records.locate(findings)]
    if wanted is not None:
        problems = [p for p in problems if _inside(found / p.file, wanted)]
    return (kb if shaped else None), sorted(set(problems), key=lambda problem: problem.place)


def _inside(path: Path, wanted: list[Path]) -> bool:
    return any(path == each or each in path.parents for each in wanted)


def _yaml_files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
    return files


def read(root: Path, extra: Iterable[Path] = ()) -> Records:
    """Every record and taxonomy file below a root, and `extra` papers from elsewhere.

    An extra paper takes the place of a record with the same file name.
    """
    records = Records(root)
    outside = [path for path in extra if root not in path.parents]
    replaced = {path.name for path in outside}
    papers = sorted(p for p in (root / "papers").glob("*.yaml") if p.name not in replaced)
    with _no_garbage_collection():
        for path in [*papers, *outside]:
            _read_file(records, path, Paper)
        for path in sorted((root / "taxonomy").glob("*.yaml")):
            special = {"relations.yaml": Relations, "errata.yaml": Errata}
            _read_file(records, path, special.get(path.name, Facet))
    for path in sorted([*(root / "papers").glob("*.yml"), *(root / "taxonomy").glob("*.yml")]):
        name, hint = _name(root, path), f"rename it to {path.stem}.yaml"
        records.problems.append(Problem("R001", name, 1, 1, "the file is not read", hint))
    return records


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if root in path.parents else path.as_posix()


def _read_file(records: Records, path: Path, model: type) -> None:
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
def _no_garbage_collection() -> Iterator[None]:
    """Reading makes many objects and no cycles: looking for cycles would take half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Callable(types.ModuleType):
    """Lets `mmalign.load()` work although `mmalign.load` is this module."""

    def __call__(self, root: str | Path | None = None) -> KnowledgeBase:
        return load(root)


sys.modules[__name__].__class__ = _Callable


def main(arguments: list[str] | None = None) -> int:
    """`python -m mmalign.load [PATH...]`: print problems, exit 1 if there are any.

    The same as `mmalign validate`, for when the command line is not installed.
    """
    paths = sys.argv[1:] if arguments is None else arguments
    _, problems = check(paths=paths or None)
    if problems:
        print(render(problems))
    print(f"{len(problems)} problems", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
