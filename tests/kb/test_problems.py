"""How problems are printed."""

from __future__ import annotations

import json
import re

import pytest

from mmalign.records.problems import CODES, More, Problem, capped, render, total

ONE = Problem("S002", "papers/x.yaml", 12, 3, "yaer: unknown key", "did you mean 'year'?")
TWO = Problem("Y006", "papers/a, b.yaml", 2, 1, "100% wrong:\na: b, c", severity="warning")


def test_text_is_sorted_by_place():
    assert render([ONE, TWO]) == (
        "papers/a, b.yaml:2:1: Y006 warning: 100% wrong:\\na: b, c\n"
        "papers/x.yaml:12:3: S002 yaer: unknown key; did you mean 'year'?"
    )


def test_json_has_every_field_and_a_kind():
    assert json.loads(render([ONE], "json")) == [
        {
            "kind": "problem",
            "code": "S002",
            "file": "papers/x.yaml",
            "line": 12,
            "column": 3,
            "message": "yaer: unknown key",
            "hint": "did you mean 'year'?",
            "severity": "error",
        }
    ]


def test_github_escapes_what_would_end_a_field():
    assert render([TWO, ONE], "github").split("\n") == [
        "::warning file=papers/a%2C b.yaml,line=2,col=1,title=Y006 A key stands twice in one "
        "mapping; YAML would keep the last in silence.::100%25 wrong:\\na: b, c",
        "::error file=papers/x.yaml,line=12,col=3,title=S002 A key is not known here.::yaer: "
        "unknown key; did you mean 'year'?",
    ]


def test_nothing_is_nothing():
    assert render([]) == "" == render([], "github")
    assert json.loads(render([], "json")) == []


def test_unknown_codes_and_formats_are_refused():
    with pytest.raises(ValueError, match="X999"):
        Problem("X999", "f", 1, 1, "m")
    with pytest.raises(ValueError, match="xml"):
        render([ONE], "xml")


def test_codes_have_one_line_each():
    assert len(CODES) >= 45
    for code, text in CODES.items():
        assert re.fullmatch(r"[YSR]\d{3}", code)
        assert text.endswith(".")
        assert "\n" not in text


def test_every_code_but_the_catch_all_is_raised_in_a_test(checkout):
    tests = "".join(path.read_text() for path in (checkout / "tests/kb").glob("test_*.py"))
    missing = [code for code in CODES if f'"{code}"' not in tests and code != "S099"]
    assert not missing, f"no test raises {missing}"


FORGED = (
    "x\npapers/a.yaml:1:1: R999 forged\r::error::x\u2028::warning::y\x1b[2J\x9b31m\u202e\x00\x85"
)


@pytest.mark.parametrize("format", ["text", "json", "github"])
@pytest.mark.parametrize("field", ["file", "message", "hint"])
def test_no_value_forges_a_line_or_drives_a_terminal(format, field):
    values = {"file": "papers/x.yaml", "message": "m", "hint": "h"} | {field: FORGED}
    problem = Problem("S002", values["file"], 1, 1, values["message"], values["hint"])
    text = render([problem, ONE], format)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", text)
    assert len(text.splitlines()) == (22 if format == "json" else 2)
    if format == "github":
        assert [line.split(" ")[0] for line in text.split("\n")] == ["::error", "::error"]
    if format == "json":
        first = next(row for row in json.loads(text) if row["line"] == 1)
        assert first["file"] == values["file"]
        assert "\n" not in first["message"] + first["hint"]


def test_a_colon_or_comma_in_the_name_of_a_file_adds_no_property():
    name = "papers/x,line=7,title=y::z.yaml"
    line = render([Problem("S002", name, 1, 1, "m")], "github")
    assert line.startswith("::error file=papers/x%2Cline=7%2Ctitle=y%3A%3Az.yaml,line=1,")


def test_long_values_are_cut():
    problem = Problem("S002", "f" * 9000, 1, 1, "m" * 10**6, "h" * 10**6)
    for format in ("text", "github"):
        assert len(render([problem], format)) < 2200


def test_problems_of_a_file_are_counted_where_they_are_too_many():
    many = [Problem("Y005", "a.yaml", n, 1, "tab") for n in range(1, 501)]
    few = [Problem("Y005", "b.yaml", n, 1, "tab") for n in range(1, 4)]
    kept = capped([*many, *few], 100)
    assert total(kept) == 503
    assert len(kept) == 104
    again = capped(kept, 10)
    assert total(again) == 503
    lines = render(again).split("\n")
    assert lines[10] == "a.yaml:10:1: Y016 and 490 more; correct these first"
    assert [line.split(":")[0] for line in lines].count("b.yaml") == 3
    assert json.loads(render([More("Y016", "a", 1, 1, "m", count=3)], "json"))[0]["count"] == 3
