"""What the text of a file can do wrong: each case with code, line and column."""

from __future__ import annotations

import time

import pytest

from mmalign.records import source

CASES = {
    "not UTF-8": (b"id: x\nname: caf\xe9\n", "Y001", 2, 10),
    "UTF-16": ("id: x\n".encode("utf-16"), "Y001", 1, 1),
    "byte order mark": (b"\xef\xbb\xbfid: x\n", "Y002", 1, 1),
    "empty": (b"", "Y003", 1, 1),
    "only a comment": (b"# nothing\n", "Y003", 1, 1),
    "colon in text": (b"id: x\ntitle: Kite: a method\n", "Y004", 2, 12),
    "open quote": (b"id: x\ntitle: 'Kite\nyear: 1\n", "Y004", 2, 8),
    "open bracket": (b"id: x\nlist: [a, b\n", "Y004", 2, 7),
    "at sign": (b"id: @x\n", "Y004", 1, 5),
    "control character": (b"id: x\ntitle: a\x01b\n", "Y004", 2, 9),
    "LaTeX in double quotes": (b'id: x\nlatex: "\\sigma"\n', "Y004", 2, 9),
    "undefined directive": (b"%YAML 3.0\n---\nid: x\n", "Y004", 1, 1),
    "tab as indentation": (b"id: x\nlist:\n\t- a\n", "Y005", 3, 1),
    "tab inside a line": (b"id: x\nname:\ta\n", "Y005", 2, 6),
    "duplicate key": (b"id: x\nyear: 1\nid: z\n", "Y006", 3, 1),
    "duplicate key inside": (b"id: x\nsurvey:\n  a: 1\n  b: 2\n  a: 3\n", "Y006", 5, 3),
    "anchor": (b"id: x\nname: &n Kite\n", "Y007", 2, 7),
    "anchor in a list": (b"id: x\nlist: [&n a]\n", "Y007", 2, 8),
    "anchor on a mapping": (b"id: x\nsurvey: &s\n  a: 1\n", "Y007", 2, 9),
    "undefined alias": (b"id: x\nname: *n\n", "Y007", 2, 7),
    "merge key": (b"id: x\na: &s {b: 1}\nc:\n  <<: *s\n", "Y007", 2, 4),
    "two documents": (b"id: x\n---\nid: y\n", "Y008", 2, 1),
    "a list at the top": (b"- id: x\n", "Y009", 1, 1),
    "text at the top": (b"id x\n", "Y009", 1, 1),
    "custom tag": (b"id: x\nname: !foo bar\n", "Y010", 2, 7),
    "tag of YAML": (b"id: x\nyear: !!str 2024\n", "Y010", 2, 7),
    "object of Python": (b"id: !!python/object/apply:os.system [ls]\n", "Y010", 1, 5),
    "large": (b"id: x\n" + b"# comment\n" * 100_000, "Y011", 1, 1),
    "deep": (b"id: " + b"[" * 60 + b"]" * 60 + b"\n", "Y012", 1, 54),
    "very deep": (b"id: " + b"[" * 100_000 + b"\n", "Y012", 1, None),
    "deep block": (b"id:\n  " + b"- " * 100_000 + b"a\n", "Y012", 2, None),
    "list as a key": (b"id: x\n? [a, b]\n: c\n", "Y013", 2, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_text_is_one_problem_at_its_place(name):
    content, code, line, column = CASES[name]
    document = source.parse(content, "x.yaml")
    assert [problem.code for problem in document.problems] == [code], document.problems
    problem = document.problems[0]
    assert (problem.file, problem.line) == ("x.yaml", line)
    assert column is None or problem.column == column
    assert problem.message
    assert "\n" not in problem.message + problem.hint


def test_an_anchor_bomb_costs_one_line_and_no_time():
    # Ten levels of ten aliases each: 10 ** 10 items if anything expanded them.
    lines = ["a0: &a0 [x]"]
    for level in range(1, 11):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    start = time.perf_counter()
    document = source.parse("\n".join(lines).encode(), "bomb.yaml")
    assert time.perf_counter() - start < 1
    assert document.data is None
    (problem,) = document.problems
    assert (problem.code, problem.line, problem.column) == ("Y007", 1, 5)
    assert problem.message == "anchor '&a0' is not allowed"


def test_only_plain_words_and_decimal_numbers_are_not_text():
    text = """
    bools: [true, false, True, yes, no, on, off, "true"]
    nothing: [null, ~, Null, "null"]
    empty:
    integers: [0, 7, -12, 2024]
    floats: [0.5, -1.25, 1e-6, 5E3, 2403.1450]
    texts: [007, 1_000, 0x1f, 1:30, 2024-05-01, .inf, .nan, .5, -, +1, 1., 1e999, "7", '0.5', v2]
    block: |
      12
    """
    data = source.parse(text.replace("\n    ", "\n").encode(), "x.yaml").data
    assert data["bools"] == (True, False, "True", "yes", "no", "on", "off", "true")
    assert data["nothing"] == (None, None, "Null", "null")
    assert data["empty"] is None
    assert data["integers"] == (0, 7, -12, 2024)
    assert data["floats"] == (0.5, -1.25, 1e-6, 5e3, 2403.145)
    assert all(type(number) is float for number in data["floats"])
    assert all(type(text) is str for text in data["texts"])
    assert data["block"] == "12\n"


@pytest.mark.parametrize(
    "value", [r"'\mathcal{L} &= a &b * c'", r"'a *b* c'", "|-\n  x &= y \\\\\n  &b\n  *c"]
)
def test_latex_and_stars_are_no_anchors(value):
    document = source.parse(f"latex: {value}\n".encode(), "x.yaml")
    assert document.problems == ()
    assert document.data["latex"]


def test_the_first_of_two_equal_keys_counts():
    assert source.parse(b"a: 1\na: 2\n", "x.yaml").data == {"a": 1}


def test_all_tabs_are_reported_and_the_rest_is_still_read():
    document = source.parse(b"a:\t1\nb: 2\nb: 3\nc:\t4\n", "x.yaml")
    places = [(problem.code, problem.line) for problem in document.problems]
    assert sorted(places) == [("Y005", 1), ("Y005", 4), ("Y006", 3)]
    assert document.data == {"a": 1, "b": 2, "c": 4}


def test_locations_are_those_of_keys_and_items():
    content = b"a: 1\nlist:\n  - x: 1\n    y: 007\n  - z\n"
    wanted = [("a",), ("list",), ("list", 0), ("list", 0, "y"), ("list", 1), ("list", 0, "no"), ()]
    assert source.locate(content, wanted) == [
        (1, 1, "1"),
        (2, 1, None),
        (3, 5, None),
        (4, 5, "007"),
        (5, 5, "z"),
        (3, 5, None),
        (1, 1, None),
    ]
