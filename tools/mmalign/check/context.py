"""What the rules look at."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mmalign.characters import quoted
from mmalign.records.collect import Records
from mmalign.records.kb import KnowledgeBase
from mmalign.records.model import Entry, Method, Paper
from mmalign.records.problems import Location
from mmalign.vocabulary import COLLECTIONS, KINDS

MAX_COMPARISONS = 200_000
"""Looking for similar ids costs their number: no more words than this are compared per check."""


E = TypeVar("E", bound=Entry, covariant=True)


@dataclass(frozen=True)
class Place(Generic[E]):
    """An entry of a paper and where it stands."""

    file: str
    location: Location
    kind: str
    entry: E
    paper: Paper


@dataclass
class Context:
    """What rules look at. `places` lists all entries; `ids` says per kind where an id stands."""

    kb: KnowledgeBase
    records: Records
    today: datetime.date
    places: list[Place[Entry]] = field(default_factory=list)
    ids: dict[str, dict[str, list[tuple[str, Location]]]] = field(default_factory=dict)
    terms: dict[str, dict[str, str | None]] = field(default_factory=dict)
    suggestions: dict[tuple[str, str], str] = field(default_factory=dict)
    compared: int = 0

    def __post_init__(self) -> None:
        self.ids = {kind: {} for kind in KINDS}
        for file, paper in self.records.papers.items():
            self.ids["paper"].setdefault(paper.id, []).append((file, ("id",)))
            for kind, collection in COLLECTIONS.items():
                entries: tuple[Entry, ...] = getattr(paper, collection)
                for number, entry in enumerate(entries):
                    location = (collection, number)
                    self.places.append(Place(file, location, kind, entry, paper))
                    places = self.ids[kind].setdefault(entry.id, [])
                    places.append((file, (*location, "id")))
        for facet in self.records.facets.values():
            self.terms[facet.id] = {term.id: term.parent for term in facet.terms}

    def known(self, kind: str, id_: str) -> bool:
        """Does this id exist? One in a record that could not be read does."""
        return id_ in self.ids[kind] or id_ in self.records.unread_ids

    def methods(self) -> Iterator[Place[Method]]:
        for file, paper in self.records.papers.items():
            for number, method in enumerate(paper.methods):
                yield Place(file, ("methods", number), "method", method, paper)

    def nearest(self, pool_name: str, pool: Iterable[str], word: str) -> str:
        """A hint that names the id or term most like `word`, or nothing."""
        key = (pool_name, word)
        if key not in self.suggestions:
            if self.compared >= MAX_COMPARISONS:
                return ""
            words = sorted(pool)
            self.compared += len(words)
            near = difflib.get_close_matches(word[:200], words, 1, 0.6)
            self.suggestions[key] = f"did you mean {quoted(near[0])}?" if near else ""
        return self.suggestions[key]
