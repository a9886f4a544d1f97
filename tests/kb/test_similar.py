"""Nearness on hand-made views, where every number can be worked out."""

from __future__ import annotations

import math

import pytest

from mmalign.ask import views
from mmalign.ask.similar import WEIGHTS, similar


def method(id_: str, **fields) -> dict:
    paper = {"id": id_, "title": "", "authors": []}
    return {
        "kind": "method",
        "id": id_,
        "ref": f"method:{id_}",
        "name": id_,
        "paper": paper,
        **fields,
    }


def test_a_shared_term_counts_by_how_rare_it_is():
    one = method("one", scenario=["video"])
    rows = [one, method("two", scenario=["video"]), method("three", scenario=["agent"])]
    (found,) = similar(one, rows)
    assert found.row["id"] == "two"
    # Of three entries two have `video`; each also has its own paper, which nobody shares:
    # cosine = v / (v + p) with v = ln(1 + 3/2) - ln 2 and p = ln(1 + 3/1) - ln 2.
    v, p = math.log(1.25), math.log(2)
    assert found.score == pytest.approx(WEIGHTS["shared"] * v / (v + p), abs=1e-4)
    assert found.reasons == ("same scenario: video",)


def test_what_all_have_is_no_reason():
    rows = [method(name, modality=["image"]) for name in ("one", "two", "three")]
    assert similar(rows[0], rows) == []


def test_links_are_told_in_their_direction():
    parent = method("dpo")
    child = method("mdpo", objective={"family": "x", "parent": "dpo"}, compares_with=["dpo"])
    said = ("mdpo extends the objective of dpo", "mdpo is compared with dpo")
    assert similar(child, [parent])[0].reasons == said
    assert similar(parent, [child])[0].reasons == said
    assert similar(parent, [child])[0].score == pytest.approx(WEIGHTS["link"])


def test_a_field_of_methods_names_no_data_set():
    child = method("mdpo", compares_with=["pairs"])
    data = {**method("pairs"), "kind": "dataset", "ref": "dataset:pairs"}
    assert similar(child, [data]) == []


def test_reasons_and_order_on_the_fabricated_records(kb):
    rows = [views.row(kb, node) for node in kb.nodes("method")]
    row = next(row for row in rows if row["id"] == "blue-kite")
    found = similar(row, rows)
    assert [one.row["id"] for one in found] == ["red-lantern", "plain-pairs"]
    assert found[0].reasons[:3] == (
        "Blue Kite extends the objective of Red Lantern",
        "Blue Kite is compared with Red Lantern",
        "Blue Kite names Red Lantern as related",
    )
    assert "both train on red-lantern" in found[0].reasons
    assert similar(row, list(reversed(rows))) == found
    assert all(0 < one.score <= 1 for one in found)
    assert similar(row, rows, 1) == found[:1]
