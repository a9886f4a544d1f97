"""The records of this repository. What a test says here is what a curator has to do."""

from __future__ import annotations

import pytest

from mmalign.ask import graph
from mmalign.check.run import check
from mmalign.records.problems import render


@pytest.fixture(scope="module")
def checked(checkout):
    return check(checkout)


def test_the_records_have_no_problems(checked):
    _, problems = checked
    assert not problems, f"{len(problems)} problems:\n{render(problems)}"


def test_the_records_are_there(checkout, checked):
    kb, _ = checked
    assert kb is not None
    assert len(kb.papers) == len(list((checkout / "papers").glob("*.yaml"))) >= 50
    assert len(kb.methods) >= 13
    assert len(kb.facets) == 9
    assert set(kb.relations) == set(graph.RELATIONS)


def test_all_types_of_edges_are_used(checked):
    kb, _ = checked
    assert {edge.relation for edge in graph.edges(kb)} == set(graph.RELATIONS)
