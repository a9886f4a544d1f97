"""`list`, `errata`, `tree` and `stats`: every kind in every format."""

from __future__ import annotations

import csv
import io

import pytest

from mmalign.cli.output import COLUMNS, FORMATS
from mmalign.vocabulary import KINDS, LISTED, PLURALS, SEVERITIES


def test_everything_that_is_listed_has_columns():
    assert set(LISTED) == set(PLURALS) == set(COLUMNS)


def test_methods_as_a_table(mm):
    result = mm("list", "methods")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout == (
        "ID           NAME         YEAR  SCENARIO       FAMILY    ANNOTATION"
        "                  HAS\n"
        "blue-kite    Blue Kite    2022  medicine       anchored  self\n"
        "plain-pairs  PlainPairs   2020  baseline       plain     human\n"
        "red-lantern  Red Lantern  2021  hallucination  anchored  human, closed-source-model"
        "  code, results\n"
    )


@pytest.mark.parametrize("kind", LISTED)
@pytest.mark.parametrize("format_", FORMATS)
def test_every_kind_in_every_format(mm, kind, format_):
    result = mm("list", PLURALS[kind], "--format", format_)
    if format_ == "bibtex" and kind in ("term", "erratum"):
        assert result.exit_code == 2
        assert "no papers; formats: table, json, csv, md, ids" in result.stderr
    else:
        assert result.exit_code == 0, result.stderr
        assert result.stdout.endswith("\n")
        assert mm("list", kind, "--format", format_).stdout == result.stdout  # singular


@pytest.mark.parametrize("kind", LISTED)
def test_every_json_object_says_what_it_is(data, kind):
    rows = data("list", kind)
    assert rows
    for row in rows:
        assert row["kind"] == kind
        assert row["ref"].startswith(f"{kind}:")
        assert row["id"]
        assert row["name"]
        assert kind in ("term", "erratum") or row["paper"]["title"]


def test_a_method_has_the_field_names_of_the_record(data):
    row = data("list", "methods")[2]
    assert row["id"] == "red-lantern"
    assert row["scenario"] == ["hallucination"]
    assert row["objective"] == {"family": "anchored", "parent": "plain-pairs"}
    assert row["pair_difference"] == "text"
    assert row["paper"]["arxiv"] == "2101.00001"
    assert row["paper"]["year"] == 2021


def test_a_table_fits_the_terminal(mm, monkeypatch):
    monkeypatch.setattr("mmalign.cli.output.terminal_width", lambda: 62)
    monkeypatch.setenv("NO_COLOR", "1")
    lines = mm("list", "methods").stdout.splitlines()
    assert max(map(len, lines)) <= 62
    assert lines[0].endswith("HAS")
    assert lines[3].startswith("red-lantern  ")
    assert all("\x1b" not in line for line in lines)
    monkeypatch.delenv("NO_COLOR")
    assert mm("list", "methods", color=True).stdout.startswith("\x1b[1mID")


def test_csv_is_read_back(mm, data):
    rows = list(csv.DictReader(io.StringIO(mm("list", "methods", "--format", "csv").stdout)))
    assert [row["id"] for row in rows] == [row["id"] for row in data("list", "methods")]
    assert rows[2]["annotation"] == "human; closed-source-model"
    assert rows[2]["paper.title"] == "Red Lantern: Fewer Invented Objects"
    assert rows[2]["paper.beyond_survey"] == "false"


def test_ids_go_back_into_show(mm):
    for kind in KINDS:
        for name in mm("list", kind, "--format", "ids").stdout.split():
            assert mm("show", f"{kind}:{name}").exit_code == 0, (kind, name)


def test_an_awesome_list_is_grouped_by_scenario(mm):
    text = mm("list", "methods", "--format", "md").stdout
    assert text.startswith("## General image")
    assert (
        "- **Red Lantern**: Red Lantern: Fewer Invented Objects. Cleo Muster and Dan Norm. "
        "EXAMPLE 2021. [paper](https://arxiv.org/abs/2101.00001) "
        "[code](https://github.com/example/red-lantern)\n"
    ) in text
    assert "\n\n\n" not in text


def test_an_unknown_kind_names_the_nearest(mm):
    result = mm("list", "methdos")
    assert result.exit_code == 2
    assert "did you mean methods or method?" in result.stderr
    assert result.stdout == ""


def test_errata_by_entry(data):
    assert [row["id"] for row in data("errata", "--about", "red-lantern")] == ["red-lantern-year"]
    assert data("errata", "--about", "lamp-7b") == []
    for severity in SEVERITIES:
        expected = ["red-lantern-year"] if severity == "wrong" else []
        assert [row["id"] for row in data("errata", "--severity", severity)] == expected


def test_claims_carry_their_method(data):
    assert [(row["method"], row["id"]) for row in data("list", "claims")] == [
        ("red-lantern", "fewer-objects"),
        ("red-lantern", "fewer-than-base"),
    ]


def test_tree_counts_what_is_below(mm):
    assert mm("tree", "scenario").stdout == (
        "scenario: Scenario\n"
        "├─ general-image (2)\n"
        "│  ├─ hallucination (2)\n"
        "│  └─ reasoning (0)\n"
        "├─ applications (1)\n"
        "│  └─ medicine (1)\n"
        "└─ baseline (1)\n"
    )


def test_tree_takes_the_name_of_an_option_and_shows_entries(mm):
    text = mm("tree", "family", "--entries").stdout
    assert "objective_family: Objective family" in text
    assert "method:red-lantern" in text
    wrong = mm("tree", "scenaro")
    assert wrong.exit_code == 2
    assert "did you mean scenario?" in wrong.stderr


@pytest.mark.parametrize("format_", FORMATS[:-1])
def test_tree_in_every_format(mm, format_):
    result = mm("tree", "--format", format_)
    assert result.exit_code == 0
    assert "medicine" in result.stdout


def test_tree_as_json_is_nested(data):
    (facet,) = data("tree", "scenario")
    assert facet["kind"] == "facet"
    assert [term["id"] for term in facet["children"][0]["children"]] == [
        "hallucination",
        "reasoning",
    ]


def test_stats_are_counted(data, mm, kb):
    counts = data("stats")
    assert counts["papers"] == len(kb.papers) == 4
    assert counts["entries"]["methods"] == 3
    assert counts["methods_with"] == {"code": 1, "impl": 0, "results": 1}
    assert counts["evidence"]["all"] == sum(len(paper.evidence) for paper in kb.papers.values())
    assert counts["errata"] == {"all": 1, **dict.fromkeys(SEVERITIES, 0), "wrong": 1}
    assert counts["facets"]["scenario"]["general-image"] == 2
    for format_ in ("table", "csv", "md"):
        assert "scenario" in mm("stats", "--format", format_).stdout
