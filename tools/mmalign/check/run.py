"""Every problem of the records: text, shape and rules, each with file, line and column.

Each rule is a function from a `Context` to findings; `RULES` lists them. All run on every check, in
linear time, and each reports everything that it finds.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mmalign.check import evidence, ids, methods, taxonomy
from mmalign.check.context import Context
from mmalign.records.collect import Records, no_garbage_collection, read
from mmalign.records.kb import KnowledgeBase
from mmalign.records.problems import Finding, Problem
from mmalign.records.root import find_root

RULES: tuple[Callable[[Context], Iterator[Finding]], ...] = (
    ids.file_names,
    ids.unique_ids,
    ids.dangling_ids,
    ids.identifiers,
    taxonomy.facets_fit,
    taxonomy.unknown_terms,
    taxonomy.term_parents,
    taxonomy.lineage,
    taxonomy.relations_fit,
    evidence.evidence_sources,
    evidence.published_addresses,
    evidence.evidence_paths,
    evidence.evidence_coverage,
    evidence.measured_elsewhere,
    methods.scripts,
    methods.equations,
    methods.single_results,
    methods.drafts,
)


def findings(kb: KnowledgeBase, records: Records, today: datetime.date) -> Iterator[Finding]:
    """Everything that any rule has to say. `today` is the last day that a check can be dated."""
    context = Context(kb, records, today)
    for rule in RULES:
        yield from rule(context)


def check(
    root: str | os.PathLike[str] | None = None,
    paths: Iterable[str | os.PathLike[str]] | None = None,
    today: datetime.date | None = None,
) -> tuple[KnowledgeBase | None, list[Problem]]:
    """All problems of text, shape and rules, sorted by place, and the knowledge base.

    `paths` restricts the report to these files and folders; all others are still read, since rules
    look across files. A file outside the root is checked as if it were one of its papers.
    The knowledge base is None where the shape of any record is broken.
    Raises RootNotFound; FileNotFoundError for a path that does not exist.
    """
    found = Path(find_root(root))
    wanted = None if paths is None else [Path(path).resolve() for path in paths]
    for path in wanted or ():
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist")
    records = read(found, _yaml_files(wanted) if wanted else ())
    shaped = not records.problems
    kb = records.knowledge_base()
    with no_garbage_collection():
        found_by_rules = list(findings(kb, records, today or datetime.date.today()))
    problems = [*records.problems, *records.locate(found_by_rules)]
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
