"""The graph of the fabricated records, edge by edge."""

from __future__ import annotations

from mmalign.ask import graph
from mmalign.records.model import Relations
from mmalign.vocabulary import kind_of

EXPECTED = {
    ("introduces", "paper:red-lantern", "dataset:red-lantern"),
    ("introduces", "paper:lamp", "framework:lamp-train"),
    ("has_term", "method:red-lantern", "term:scenario/hallucination"),
    ("has_term", "method:red-lantern", "term:objective_family/anchored"),
    ("has_term", "benchmark:bench-one", "term:benchmark_dimension/hallucination"),
    ("has_term", "model:lamp-7b", "term:modality/image"),
    ("broader", "term:scenario/hallucination", "term:scenario/general-image"),
    ("extends", "method:blue-kite", "method:red-lantern"),
    ("extends", "method:red-lantern", "method:plain-pairs"),
    ("trains_on", "method:blue-kite", "dataset:red-lantern"),
    ("annotated_by", "method:red-lantern", "term:annotation/closed-source-model"),
    ("annotated_by", "dataset:red-lantern", "term:annotation/human"),
    ("evaluated_on", "method:red-lantern", "benchmark:bench-one"),
    ("compares_with", "method:blue-kite", "method:plain-pairs"),
    ("addresses", "method:red-lantern", "term:future_direction/data-quality"),
    ("related", "method:red-lantern", "benchmark:bench-one"),
    ("related", "method:blue-kite", "method:red-lantern"),
    ("related", "paper:red-lantern", "paper:plain-pairs"),
}


def test_edges_of_all_types(kb):
    found = [(edge.relation, edge.source, edge.target) for edge in graph.edges(kb)]
    assert set(found) >= EXPECTED
    assert {relation for relation, _, _ in found} == set(graph.RELATIONS)
    assert len(found) == len(set(found))
    # The facets annotation and future_direction have edges of their own type.
    assert not [each for each in found if each[0] == "has_term" and "annotation/" in each[2]]


def test_edges_are_as_many_as_the_records_say(kb):
    counts: dict[str, int] = {}
    for edge in graph.edges(kb):
        counts[edge.relation] = counts.get(edge.relation, 0) + 1
    assert counts == {
        "introduces": 7,
        "has_term": 27,
        "broader": 9,
        "extends": 2,
        "trains_on": 2,
        "annotated_by": 5,
        "evaluated_on": 1,
        "compares_with": 3,
        "addresses": 1,
        "related": 3,
    }


def test_nodes_carry_kind_id_and_label(kb):
    built = graph.build(kb)
    assert built.number_of_nodes() == len(list(kb.nodes()))
    assert built.nodes["method:red-lantern"] == {
        "kind": "method",
        "id": "red-lantern",
        "label": "Red Lantern",
    }
    assert built.nodes["term:scenario/medicine"]["facet"] == "scenario"
    edge = built.edges["method:red-lantern", "term:scenario/hallucination", "has_term"]
    assert edge == {"relation": "has_term", "facet": "scenario"}


def test_no_edge_leads_out_of_the_nodes(tree):
    from mmalign.records.read import load

    tree.edit("papers/blue-kite.yaml", "trains_on: [red-lantern]", "trains_on: [nowhere]")
    kb = load(tree.root)
    built = graph.build(kb)
    assert built.number_of_nodes() == len(list(kb.nodes()))
    assert "dataset:nowhere" not in built


def test_the_order_is_that_of_kinds_and_ids_however_files_are_read(kb):
    from mmalign.records.kb import KnowledgeBase

    papers = dict(reversed(kb.papers.items()))
    facets = dict(reversed(kb.facets.items()))
    other = KnowledgeBase(papers, facets, kb.relations, kb.errata)
    assert list(graph.build(other).nodes) == list(graph.build(kb).nodes)
    assert list(graph.edges(other)) == list(graph.edges(kb))


def test_an_entry_is_not_related_to_itself(tree):
    from mmalign.records.read import load

    # Method and data set share the id: from the method, the id means the data set.
    tree.edit("papers/red-lantern.yaml", "related: [bench-one]", "related: [red-lantern]")
    edges = [e for e in graph.edges(load(tree.root)) if e.source == "method:red-lantern"]
    assert [e.target for e in edges if e.relation == "related"] == ["dataset:red-lantern"]


def test_kinds_of_the_relations_are_kinds_of_nodes(kb):
    assert set(kb.relations) == set(graph.RELATIONS)
    assert Relations.model_fields["relations"]
    for edge in graph.edges(kb):
        relation = kb.relations[edge.relation]
        assert kind_of(edge.source) in relation.domain
        assert kind_of(edge.target) in relation.range
