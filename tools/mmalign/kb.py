"""The checked records as one typed object: what `mmalign.load()` returns.

Pure: it is built from records that have been read already and touches no file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mmalign.model import (
    KINDS,
    Benchmark,
    Dataset,
    Erratum,
    Evidence,
    Facet,
    Framework,
    Method,
    ModelEntry,
    Paper,
    Relation,
    Term,
)

COLLECTIONS = {
    "method": "methods",
    "dataset": "datasets",
    "benchmark": "benchmarks",
    "model": "models",
    "framework": "frameworks",
}
"""Kind of entry -> field of a paper that holds such entries."""


class UnknownId(LookupError):
    """No entry of that name. `nearest` holds the ids that look most like it."""

    def __init__(self, name: str, nearest: tuple[str, ...]):
        self.name, self.nearest = name, nearest
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(f"no entry is called '{name}'{hint}")


@dataclass(frozen=True)
class Node:
    """One thing that has a page: a paper, an entry of a paper, or a term."""

    kind: str
    id: str
    entry: Method | Dataset | Benchmark | ModelEntry | Framework | Paper | Term
    paper: Paper | None = None
    facet: str | None = None

    @property
    def ref(self) -> str:
        """Full name, `kind:id`; a term is `term:facet/id`, since facets share words."""
        return f"term:{self.facet}/{self.id}" if self.facet else f"{self.kind}:{self.id}"

    @property
    def name(self) -> str:
        entry = self.entry
        return getattr(entry, "name", None) or getattr(entry, "title", None) or entry.label


@dataclass(frozen=True)
class KnowledgeBase:
    """All records, by kind and id, in sorted order."""

    papers: dict[str, Paper]
    facets: dict[str, Facet]
    relations: dict[str, Relation] = field(default_factory=dict)
    errata: tuple[Erratum, ...] = ()

    def __post_init__(self) -> None:
        nodes: dict[str, Node] = {}
        for paper in self.papers.values():
            nodes.setdefault(f"paper:{paper.id}", Node("paper", paper.id, paper, paper))
            for kind, collection in COLLECTIONS.items():
                for entry in getattr(paper, collection):
                    nodes.setdefault(f"{kind}:{entry.id}", Node(kind, entry.id, entry, paper))
        for facet in self.facets.values():
            for term in facet.terms:
                node = Node("term", term.id, term, facet=facet.id)
                nodes.setdefault(node.ref, node)
        order = {kind: place for place, kind in enumerate(KINDS)}
        ordered = sorted(nodes.values(), key=lambda node: (order[node.kind], node.ref))
        object.__setattr__(self, "_nodes", {node.ref: node for node in ordered})
        names: dict[str, list[Node]] = {}
        for node in ordered:
            known_as = (node.id, *getattr(node.entry, "aliases", ()), node.name)
            for name in {name.lower() for name in known_as}:
                names.setdefault(name, []).append(node)
        object.__setattr__(self, "_names", names)

    def nodes(self, kind: str | None = None) -> Iterator[Node]:
        """All nodes, or those of one kind, in the order of `KINDS` and then by id."""
        return (node for node in self._nodes.values() if kind in (None, node.kind))

    def entries(self, kind: str) -> dict[str, Node]:
        """Nodes of one kind by id (terms by `facet/id`)."""
        return {node.ref.partition(":")[2]: node for node in self.nodes(kind)}

    @property
    def methods(self) -> dict[str, Method]:
        return {node.id: node.entry for node in self.nodes("method")}

    @property
    def datasets(self) -> dict[str, Dataset]:
        return {node.id: node.entry for node in self.nodes("dataset")}

    @property
    def benchmarks(self) -> dict[str, Benchmark]:
        return {node.id: node.entry for node in self.nodes("benchmark")}

    @property
    def models(self) -> dict[str, ModelEntry]:
        return {node.id: node.entry for node in self.nodes("model")}

    @property
    def frameworks(self) -> dict[str, Framework]:
        return {node.id: node.entry for node in self.nodes("framework")}

    def find(self, name: str) -> tuple[Node, ...]:
        """Every node that `name` may mean, the preferred one first.

        `name` is a full name (`method:mdpo`, `term:scenario/safety`, `term:safety`), a bare id, an
        alias or a display name; case does not matter.
        Raises UnknownId when nothing is called so.
        """
        wanted = name.strip().lower()
        if wanted in self._nodes:
            return (self._nodes[wanted],)
        kind, colon, rest = wanted.partition(":")
        # A title may hold a colon too: what stands before it is then no kind.
        full = bool(colon) and kind in KINDS
        found = [node for node in self._names.get(rest, ()) if node.kind == kind] if full else []
        found = found or self._names.get(wanted, [])
        if not found:
            pool = [n for n in self._nodes if n.startswith(kind + ":")] if full else self._names
            raise UnknownId(name, tuple(difflib.get_close_matches(wanted, sorted(pool), 3, 0.6)))
        # An id beats an alias: a bare id means what the contract says it means.
        return tuple(sorted(found, key=lambda node: node.id not in (wanted, rest)))

    def term_closure(self, facet: str, term: str) -> frozenset[str]:
        """`term` and everything below it in `facet`. Raises UnknownId for an unknown term."""
        terms = {t.id: t for t in self.facets[facet].terms}
        if term not in terms:
            by_alias = {a.lower(): t.id for t in terms.values() for a in (*t.aliases, t.label)}
            if term.lower() not in by_alias:
                near = difflib.get_close_matches(term, sorted(terms), 3, 0.5)
                raise UnknownId(term, tuple(near))
            term = by_alias[term.lower()]
        closure, grown = {term}, True
        while grown:
            more = {t.id for t in terms.values() if t.parent in closure} - closure
            closure, grown = closure | more, bool(more)
        return frozenset(closure)

    def facet_values(self, node: Node, facet: str) -> tuple[str, ...]:
        """Terms that an entry carries on a facet; for a paper, those of all its entries."""
        if isinstance(node.entry, Paper):
            values: Iterable[str] = (
                value
                for kind, collection in COLLECTIONS.items()
                for entry in getattr(node.entry, collection)
                for value in self.facet_values(Node(kind, entry.id, entry, node.paper), facet)
            )
            return tuple(dict.fromkeys(values))
        definition = self.facets[facet]
        if node.kind not in definition.applies_to:
            return ()
        value = node.entry
        for part in definition.field.split("."):
            value = getattr(value, part, None)
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)

    def evidence_for(self, node: Node) -> tuple[Evidence, ...]:
        """Evidence of the record that covers this entry (for a paper, all of it)."""
        if node.paper is None:
            return ()
        if node.kind == "paper":
            return node.paper.evidence
        prefix = f"{COLLECTIONS[node.kind]}.{node.id}"
        return tuple(
            item
            for item in node.paper.evidence
            if any(
                path == COLLECTIONS[node.kind] or path == prefix or path.startswith(prefix + ".")
                for path in item.for_
            )
        )

    def errata_about(self, node: Node) -> tuple[Erratum, ...]:
        """Errata that name this entry, or for an entry its paper."""
        refs = {node.ref} | ({f"paper:{node.paper.id}"} if node.paper else set())
        return tuple(erratum for erratum in self.errata if refs & set(erratum.about))
