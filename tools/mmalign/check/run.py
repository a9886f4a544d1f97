"""Every problem of the records: text, shape and rules, each with file, line and column.

Each rule is a function from a `Context` to findings; `RULES` lists them. All run on every check, in
linear time, and each reports everything that it finds.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path

from mmalign.check import evidence, files, ids, methods, taxonomy
from mmalign.check.context import Context
from mmalign.records.collect import Records, no_garbage_collection, read
from mmalign.records.kb import KnowledgeBase
from mmalign.records.problems import Finding, Problem, capped
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
    evidence.addresses,
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
    look across files. A file outside the root is checked as if it were one of its papers. What is
    named, or lies in papers/ or taxonomy/, and is not read is a problem, too.
    Of each file at most `problems.MAX_PROBLEMS` are listed, and the others are counted.
    The knowledge base is None where the shape of any record is broken.
    Raises RootNotFound; FileNotFoundError for a path that does not exist.
    """
    found = Path(find_root(root))
    wanted = None if paths is None else [_wanted(found, path) for path in paths]
    drafts, unread = files.elsewhere(found, wanted or ())
    records = read(found, drafts)
    shaped = not records.problems
    kb = records.knowledge_base()
    with no_garbage_collection():
        found_by_rules = list(findings(kb, records, today or datetime.date.today()))
    problems = [*records.problems, *records.locate(found_by_rules), *unread]
    problems += files.unread(records, wanted or ())
    if wanted is not None:
        named = frozenset(wanted)
        problems = [p for p in problems if _inside(found / p.file, named)]
    unique = sorted(dict.fromkeys(problems), key=lambda problem: problem.place)
    return (kb if shaped else None), capped(unique)


def _wanted(root: Path, path: str | os.PathLike[str]) -> Path:
    """A named path; a folder outside the root may be named by a link to it."""
    place = files.located(path)
    inside = root in place.parents
    return place if inside or not place.is_dir() else Path(os.path.realpath(place))


def _inside(path: Path, wanted: Container[Path]) -> bool:
    return path in wanted or any(parent in wanted for parent in path.parents)
