"""How problems are printed."""

from __future__ import annotations

import json
import re

import pytest

from mmalign.records.problems import CODES, Problem, render

ONE = Problem("S002", "papers/x.yaml", 12, 3, "yaer: unknown key", "did you mean 'year'?")
TWO = Problem("Y006", "papers/a, b.yaml", 2, 1, "100% wrong:\na: b, c", severity="warning")


def test_text_is_sorted_by_place():
    assert render([ONE, TWO]) == (
        "papers/a, b.yaml:2:1: Y006 warning: 100% wrong:\na: b, c\n"
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
        "mapping; YAML would keep the last in silence.::100%25 wrong:%0Aa: b, c",
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
