"""The compiled catalogue answers what the records in memory answer, for all that is in it."""

from __future__ import annotations

import pytest

from mmalign.ask.catalogue import Catalogue, compile_values
from mmalign.errors import UnknownId
from mmalign.records.read import load


@pytest.fixture(scope="module")
def real(checkout):
    return load(checkout), Catalogue(str(checkout), compile_values(str(checkout)))


def answer(ask, *args):
    try:
        return ask(*args)
    except UnknownId as error:
        return str(error)


def test_every_name_finds_the_same(real):
    kb, catalogue = real
    names = {n for node in kb.nodes() for n in (node.id, node.ref, node.name, *node.aliases)}
    names |= {f"{kind}:{name}" for name in sorted(names)[::40] for kind in ("method", "paper")}
    names |= {name[:-1] for name in sorted(names)[::150]}
    assert len(names) > 1000
    for name in names:
        expected = answer(lambda name: [node.ref for node in kb.find(name)], name)
        assert answer(catalogue.find, name) == expected, name


def test_every_term_has_the_same_closure(real):
    kb, catalogue = real
    for facet in kb.facets.values():
        for term in facet.terms:
            for name in (term.id, term.label, *term.aliases):
                found = catalogue.closure(facet.id, name)
                assert found == kb.term_closure(facet.id, name)
                assert term.id in found or name != term.id


def test_what_is_looked_up_in_an_index_is_what_a_search_would_find(real):
    """By definition, on every node: the indexes of `KnowledgeBase` leave nothing out."""
    kb, _ = real
    for node in kb.nodes():
        paper = getattr(node, "paper", None)
        refs = {node.ref, f"paper:{paper.id}"} if paper else {node.ref}
        assert kb.errata_about(node) == tuple(e for e in kb.errata if refs & set(e.about))
        if node.kind == "term":
            terms = kb.term_closure(node.facet, node.id)
            assert kb.carriers(node) == tuple(
                other.ref
                for kind in kb.facets[node.facet].applies_to
                for other in kb.nodes(kind)
                if terms & set(kb.facet_values(other, node.facet))
            )
        elif node.kind != "paper":
            prefix = f"{node.kind}s.{node.id}"
            assert kb.evidence_for(node) == tuple(
                item
                for item in paper.evidence
                if any(p in (f"{node.kind}s", prefix) or p.startswith(prefix + ".")
                       for p in item.for_)
            )  # fmt: skip
            assert kb.extensions(node) == tuple(
                f"method:{m.id}"
                for m in kb.methods.values()
                if node.kind == "method" and m.objective.parent == node.id
            )
