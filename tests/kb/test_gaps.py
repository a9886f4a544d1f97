"""Crossing two axes of the fabricated methods."""

from __future__ import annotations

import pytest

from mmalign.ask import gaps, views
from mmalign.errors import UnknownAxis


@pytest.fixture
def parts(kb):
    facets = views.compiled(kb)["facets"]
    rows = [[views.row(kb, node) for node in kb.nodes(kind)] for kind in ("method", "benchmark")]
    return facets, *rows


def test_every_method_is_in_the_cells_of_its_values(parts):
    cells = gaps.cross(gaps.axis("scenario", *parts), gaps.axis("annotation", *parts))
    full = {(c.row, c.column): c.methods for c in cells if c.methods}
    assert full == {
        ("hallucination", "human"): ("red-lantern",),
        ("hallucination", "closed-source-model"): ("red-lantern",),
        ("medicine", "self"): ("blue-kite",),
        ("baseline", "human"): ("plain-pairs",),
    }
    cell = next(c for c in cells if (c.row, c.column) == ("medicine", "human"))
    # One of three methods is medicine, two of three are judged by humans: 1 x 2 / 3.
    assert (cell.in_row, cell.in_column, cell.expected) == (1, 2, 0.67)


def test_empty_cells_are_sorted_by_surprise_and_hold_no_baseline(parts):
    found = gaps.empty(gaps.cross(gaps.axis("scenario", *parts), gaps.axis("annotation", *parts)))
    assert found[0].expected == max(cell.expected for cell in found) == 0.67
    assert (found[0].row, found[0].column) == ("medicine", "human")
    assert not {"baseline", "none", "not-stated"} & {c.row for c in found}


def test_benchmarks_and_their_dimensions_are_axes(parts):
    benchmark = gaps.axis("benchmark", *parts)
    assert benchmark.of_method["red-lantern"] == {"bench-one"}
    assert gaps.axis("benchmark-dimension", *parts).of_method["red-lantern"] == {"hallucination"}
    with pytest.raises(UnknownAxis, match=r"'colour' is not one of .*scenario"):
        gaps.axis("colour", *parts)


def test_a_term_with_others_below_it_is_no_value(parts):
    facets = parts[0]
    parents = {term["parent"] for term in facets["scenario"]["terms"]} - {None}
    assert parents and not parents & set(gaps.axis("scenario", *parts).values)
