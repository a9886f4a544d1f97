"""The checked records as one typed object: what `mmalign.load()` returns.

Pure: it is built from records that have been read already and touches no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, Literal, TypeVar, overload

from mmalign import names
from mmalign.records.model import (
    Benchmark,
    Dataset,
    Entry,
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
from mmalign.vocabulary import COLLECTIONS, KINDS, USES, EntryKind, Kind

Record = Entry | Paper | Term
R = TypeVar("R", bound=Record, covariant=True)
E = TypeVar("E", bound=Entry | Paper, covariant=True)


@dataclass(frozen=True)
class Node(Generic[R]):
    """One thing that has a page: a paper, an entry of a paper, or a term."""

    kind: Kind
    id: str
    entry: R

    @property
    def ref(self) -> str:
        """Full name, `kind:id`; a term is `term:facet/id`, since facets share words."""
        return f"{self.kind}:{self.id}"

    @property
    def name(self) -> str:
        """What a reader calls it: an entry's name, a paper's title, a term's label."""
        entry = self.entry
        if isinstance(entry, Entry):
            return entry.name
        return entry.title if isinstance(entry, Paper) else entry.label

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names; a paper has none."""
        return () if isinstance(self.entry, Paper) else self.entry.aliases


@dataclass(frozen=True)
class EntryNode(Node[E]):
    """A paper, or an entry of one. `paper` is the record that it stands in."""

    paper: Paper


@dataclass(frozen=True)
class TermNode(Node[Term]):
    """A term of the taxonomy, in its facet."""

    facet: str

    @property
    def ref(self) -> str:
        """Full name, `term:facet/id`."""
        return f"term:{self.facet}/{self.id}"


AnyNode = EntryNode[Entry] | EntryNode[Paper] | TermNode


def entries_of(paper: Paper) -> Iterator[tuple[EntryKind, Entry]]:
    """Every entry of a paper with its kind, in the order of `mmalign.vocabulary.ENTRY_KINDS`."""
    for entry in paper.methods:
        yield "method", entry
    for dataset in paper.datasets:
        yield "dataset", dataset
    for benchmark in paper.benchmarks:
        yield "benchmark", benchmark
    for model in paper.models:
        yield "model", model
    for framework in paper.frameworks:
        yield "framework", framework


def terms_of(entry: Entry, path: str) -> tuple[str, ...]:
    """The terms that an entry carries in a field, such as `scenario` or `objective.family`."""
    value: object = entry
    for part in path.split("."):
        value = getattr(value, part, None)
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, tuple) else ()


def term_names(facet: Facet) -> list[names.TermNames]:
    """The terms of a facet as `mmalign.names.closure` takes them."""
    return [names.TermNames(t.id, t.label, t.parent, t.aliases) for t in facet.terms]


@dataclass(frozen=True)
class KnowledgeBase:
    """All records, by kind and id, in sorted order."""

    papers: dict[str, Paper]
    facets: dict[str, Facet]
    relations: dict[str, Relation] = field(default_factory=dict)
    errata: tuple[Erratum, ...] = ()
    _nodes: dict[str, AnyNode] = field(init=False, repr=False, compare=False)
    _names: dict[str, list[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        nodes: dict[str, AnyNode] = {}
        for paper in self.papers.values():
            nodes.setdefault(f"paper:{paper.id}", EntryNode("paper", paper.id, paper, paper))
            for kind, entry in entries_of(paper):
                nodes.setdefault(f"{kind}:{entry.id}", EntryNode(kind, entry.id, entry, paper))
        for facet in self.facets.values():
            for term in facet.terms:
                node = TermNode("term", term.id, term, facet.id)
                nodes.setdefault(node.ref, node)
        order = {kind: place for place, kind in enumerate(KINDS)}
        ordered = sorted(nodes.values(), key=lambda node: (order[node.kind], node.ref))
        called = ((node.ref, (node.id, *node.aliases, node.name)) for node in ordered)
        object.__setattr__(self, "_nodes", {node.ref: node for node in ordered})
        object.__setattr__(self, "_names", names.index(called))

    @property
    def names(self) -> dict[str, list[str]]:
        """Name in lower case -> full names of what is called so (`mmalign.names.index`)."""
        return self._names

    @overload
    def nodes(self, kind: Literal["method"]) -> Iterator[EntryNode[Method]]: ...
    @overload
    def nodes(self, kind: Literal["dataset"]) -> Iterator[EntryNode[Dataset]]: ...
    @overload
    def nodes(self, kind: Literal["benchmark"]) -> Iterator[EntryNode[Benchmark]]: ...
    @overload
    def nodes(self, kind: Literal["model"]) -> Iterator[EntryNode[ModelEntry]]: ...
    @overload
    def nodes(self, kind: Literal["framework"]) -> Iterator[EntryNode[Framework]]: ...
    @overload
    def nodes(self, kind: Literal["paper"]) -> Iterator[EntryNode[Paper]]: ...
    @overload
    def nodes(self, kind: Literal["term"]) -> Iterator[TermNode]: ...
    @overload
    def nodes(self, kind: EntryKind) -> Iterator[EntryNode[Entry]]: ...
    @overload
    def nodes(self, kind: Kind | None = None) -> Iterator[AnyNode]: ...
    def nodes(self, kind: Kind | None = None) -> Iterator[AnyNode]:
        """All nodes, or those of one kind, in the order of `KINDS` and then by id."""
        return iter(self._nodes.values() if kind is None else self._of_kind[kind])

    def node(self, ref: str) -> AnyNode:
        """The node of a full name. Raises KeyError; `find` takes what people write."""
        return self._nodes[ref]

    def entries(self, kind: Kind) -> dict[str, AnyNode]:
        """Nodes of one kind by id (terms by `facet/id`)."""
        return {node.ref.partition(":")[2]: node for node in self.nodes(kind)}

    @cached_property
    def _of_kind(self) -> dict[str, list[AnyNode]]:
        found: dict[str, list[AnyNode]] = {kind: [] for kind in KINDS}
        for node in self._nodes.values():
            found[node.kind].append(node)
        return found

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

    def find(self, name: str) -> tuple[AnyNode, ...]:
        """Every node that `name` may mean, the preferred one first: `mmalign.names.find`.

        Raises UnknownId when nothing is called so.
        """
        return tuple(self._nodes[ref] for ref in names.find(self._names, self._nodes, name))

    def term_closure(self, facet: str, term: str) -> frozenset[str]:
        """`term` and everything below it in `facet`. Raises UnknownId for an unknown term."""
        return names.closure(facet, term_names(self.facets[facet]), term)

    def facet_values(self, node: AnyNode, facet: str) -> tuple[str, ...]:
        """Terms that an entry carries on a facet; for a paper, those of all its entries."""
        if isinstance(node, TermNode):
            return ()
        definition = self.facets[facet]
        if isinstance(node.entry, Paper):
            values: Iterable[str] = (
                value
                for kind, entry in entries_of(node.entry)
                if kind in definition.applies_to
                for value in terms_of(entry, definition.field)
            )
            return tuple(dict.fromkeys(values))
        return terms_of(node.entry, definition.field) if node.kind in definition.applies_to else ()

    def evidence_for(self, node: AnyNode) -> tuple[Evidence, ...]:
        """Evidence of the record that covers this entry (for a paper, all of it)."""
        if isinstance(node, TermNode):
            return ()
        if node.kind == "paper":
            return node.paper.evidence
        collection = COLLECTIONS[node.kind]
        found = self._evidence.get((node.paper.id, collection), [])
        own = self._evidence.get((node.paper.id, f"{collection}.{node.id}"), [])
        return tuple(node.paper.evidence[place] for place in sorted({*found, *own}))

    def errata_about(self, node: AnyNode) -> tuple[Erratum, ...]:
        """Errata that name this entry, or for an entry its paper."""
        refs = {node.ref}
        if isinstance(node, EntryNode):
            refs.add(f"paper:{node.paper.id}")
        places = {place for ref in refs for place in self._errata.get(ref, ())}
        return tuple(self.errata[place] for place in sorted(places))

    def carriers(self, node: TermNode) -> tuple[str, ...]:
        """Full names of the entries that carry a term or one below it, by kind and then by id."""
        return self._carriers.get((node.facet, node.id), ())

    def users(self, node: AnyNode) -> tuple[str, ...]:
        """Full names of the methods that name an entry in a field of `USES`."""
        return tuple(self._users.get(node.ref, ()))

    def extensions(self, node: AnyNode) -> tuple[str, ...]:
        """Full names of the methods whose objective extends that of this one."""
        return tuple(self._extensions.get(node.ref, ()))

    # What is asked of every entry in turn is looked up in an index that is made once: a search
    # through all the others would make the whole quadratic.

    @cached_property
    def _evidence(self) -> dict[tuple[str, str], list[int]]:
        """(paper, first two parts of a field's path) -> places in the paper's list."""
        found: dict[tuple[str, str], list[int]] = {}
        for paper in self.papers.values():
            for place, item in enumerate(paper.evidence):
                for head in {".".join(path.split(".")[:2]) for path in item.for_}:
                    found.setdefault((paper.id, head), []).append(place)
        return found

    @cached_property
    def _errata(self) -> dict[str, list[int]]:
        """Full name -> places in the list of errata."""
        found: dict[str, list[int]] = {}
        for place, erratum in enumerate(self.errata):
            for ref in erratum.about:
                found.setdefault(ref, []).append(place)
        return found

    @cached_property
    def _users(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for method in self.nodes("method"):
            named = {
                f"{kind}:{id_}" for f, kind in USES.items() for id_ in getattr(method.entry, f)
            }
            for ref in named:
                found.setdefault(ref, []).append(method.ref)
        return found

    @cached_property
    def _extensions(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for method in self.nodes("method"):
            if method.entry.objective.parent:
                parent = f"method:{method.entry.objective.parent}"
                found.setdefault(parent, []).append(method.ref)
        return found

    @cached_property
    def _carriers(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(facet, term) -> entries that carry the term or one below it."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for facet in self.facets.values():
            own: dict[str, list[int]] = {}
            entries = [node for kind in facet.applies_to for node in self.nodes(kind)]
            for place, node in enumerate(entries):
                for value in set(self.facet_values(node, facet.id)):
                    own.setdefault(value, []).append(place)
            for term in facet.terms:
                below = self.term_closure(facet.id, term.id)
                places = sorted({place for each in below for place in own.get(each, ())})
                found[facet.id, term.id] = tuple(entries[place].ref for place in places)
        return found
