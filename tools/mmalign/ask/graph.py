"""The knowledge base as a graph: papers, entries and terms, and ten types of edges.

`edges` lists the edges without any library; `build` makes a networkx MultiDiGraph of them. Types
of edges are those of taxonomy/relations.yaml. The order of nodes and edges is always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmalign.records.kb import AnyNode, KnowledgeBase, TermNode
from mmalign.records.model import Method, Paper
from mmalign.vocabulary import COLLECTIONS, KINDS, Json

if TYPE_CHECKING:
    import networkx

FACET_RELATIONS = {"annotation": "annotated_by", "future_direction": "addresses"}
"""Facets whose terms hang on an edge of their own type; those of all others on `has_term`."""

RELATIONS = (
    "introduces",
    "has_term",
    "broader",
    "extends",
    "trains_on",
    "annotated_by",
    "evaluated_on",
    "compares_with",
    "addresses",
    "related",
)
"""Types of edges that this module makes."""


@dataclass(frozen=True)
class Edge:
    """One edge between two full names; `facet` is that of the term, where there is one."""

    relation: str
    source: str
    target: str
    facet: str | None = None


def edges(kb: KnowledgeBase) -> Iterator[Edge]:
    """All edges whose two ends exist, by source in the order of `kb.nodes()`, each once."""
    known = {node.ref for node in kb.nodes()}
    for node in kb.nodes():
        seen = set()
        for edge in _edges_of(kb, node, known):
            if edge.target in known and edge not in seen:
                seen.add(edge)
                yield edge


def _edges_of(kb: KnowledgeBase, node: AnyNode, known: set[str]) -> Iterator[Edge]:
    if isinstance(node, TermNode):
        if node.entry.parent:
            above = f"term:{node.facet}/{node.entry.parent}"
            yield Edge("broader", node.ref, above, node.facet)
        return
    entry = node.entry
    if isinstance(entry, Paper):
        for kind, collection in COLLECTIONS.items():
            for each in getattr(entry, collection):
                yield Edge("introduces", node.ref, f"{kind}:{each.id}")
    else:
        for facet in sorted(kb.facets):
            relation = FACET_RELATIONS.get(facet, "has_term")
            for term in kb.facet_values(node, facet):
                yield Edge(relation, node.ref, f"term:{facet}/{term}", facet)
    if isinstance(entry, Method):
        if entry.objective.parent:
            yield Edge("extends", node.ref, f"method:{entry.objective.parent}")
        for relation, kind, ids in (
            ("trains_on", "dataset", entry.trains_on),
            ("evaluated_on", "benchmark", entry.benchmarks),
            ("evaluated_on", "benchmark", [result.benchmark for result in entry.results]),
            ("compares_with", "method", entry.compares_with),
        ):
            for id_ in ids:
                yield Edge(relation, node.ref, f"{kind}:{id_}")
    for id_ in entry.related:
        kinds = ("paper",) if isinstance(entry, Paper) else KINDS
        refs = (f"{kind}:{id_}" for kind in kinds if f"{kind}:{id_}" in known)
        # A method and its data set often share their id: an entry is not related to itself.
        target = next((ref for ref in refs if ref != node.ref), None)
        if target:
            yield Edge("related", node.ref, target)


def build(kb: KnowledgeBase) -> networkx.MultiDiGraph[str]:
    """The graph. Nodes are full names with `kind`, `id`, `label`; terms also have `facet`,
    `facet_label`, `definition` and `aliases`, a tuple. The key of an edge is its relation, and so
    is its attribute `relation`; `facet` as in `Edge`.
    """
    import networkx

    graph: networkx.MultiDiGraph[str] = networkx.MultiDiGraph()
    for node in kb.nodes():
        graph.add_node(node.ref, kind=node.kind, id=node.id, label=node.name, **_of_term(kb, node))
    for edge in edges(kb):
        facet = {"facet": edge.facet} if edge.facet else {}
        graph.add_edge(edge.source, edge.target, edge.relation, relation=edge.relation, **facet)
    return graph


def _of_term(kb: KnowledgeBase, node: AnyNode) -> Json:
    if not isinstance(node, TermNode):
        return {}
    aliases = {"aliases": node.entry.aliases} if node.entry.aliases else {}
    label = kb.facets[node.facet].label
    definition = node.entry.definition
    return {"facet": node.facet, "facet_label": label, "definition": definition, **aliases}
