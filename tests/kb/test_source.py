"""What the text of a file can do wrong: each case with code, line and column."""

from __future__ import annotations

import time

import pytest

from mmalign.records import source
from mmalign.records.problems import total

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
    "C1": ("id: x\ntitle: a\x9bb\n".encode(), "Y004", 2, 9),
    "delete": (b"id: x\ntitle: a\x7fb\n", "Y004", 2, 9),
    "NUL": (b"id: x\ntitle: a\x00b\n", "Y004", 2, 9),
    "control character in a comment": (b"id: x\n# \x1b[2J\n", "Y004", 2, 3),
    "carriage return": (b"id: x\ntitle: a\rb\n", "Y015", 2, 9),
    "next line": ("id: x\ntitle: a\x85b\n".encode(), "Y015", 2, 9),
    "line separator": ("id: x\ntitle: a\u2028b\n".encode(), "Y015", 2, 9),
    "paragraph separator": ("id: x\ntitle: a\u2029b\n".encode(), "Y015", 2, 9),
    "bidirectional control": ("id: x\ntitle: a\u202eb\n".encode(), "Y015", 2, 9),
    "bidirectional isolate": ("id: x\ntitle: a\u2067b\n".encode(), "Y015", 2, 9),
    "bidirectional control in a comment": ("id: x\n# a\u202eb\n".encode(), "Y015", 2, 4),
    "zero width": ("id: x\ntitle: a\u200bb\n".encode(), "Y015", 2, 9),
    "joiner that joins nothing": ("id: x\ntitle: a\u200db\n".encode(), "Y015", 2, 9),
    "byte order mark inside": ("id: x\ntitle: a\ufeffb\n".encode(), "Y015", 2, 9),
    "tag character": ("id: x\ntitle: a\U000e0041b\n".encode(), "Y015", 2, 9),
    "soft hyphen in a key": ("id: x\nti\xadtle: ab\n".encode(), "Y015", 2, 3),
    "escaped control": (b'id: x\ntitle: "a\\eb"\n', "Y015", 2, 8),
    "escaped C1": (b'id: x\ntitle: "a\\x9bb"\n', "Y015", 2, 8),
    "escaped NUL": (b'id: x\ntitle: "a\\0b"\n', "Y015", 2, 8),
    "escaped tab": (b'id: x\ntitle: "a\\tb"\n', "Y015", 2, 8),
    "escaped bidirectional": (b'id: x\ntitle: "a\\u202Eb"\n', "Y015", 2, 8),
    "escaped separator": (b'id: x\ntitle: "a\\Lb"\n', "Y015", 2, 8),
    "escaped in a list": (b'id: x\nlist: [a, "b\\a"]\n', "Y015", 2, 11),
    "escaped in a key": (b'id: x\n"ti\\etle": ab\n', "Y015", 2, 1),
    "escaped surrogate": (b'id: x\ntitle: "\\ud800"\n', "Y004", 2, 11),
    "surrogate": (b"id: x\ntitle: a\xed\xa0\x80b\n", "Y001", 2, 9),
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


def test_every_character_is_reported_at_its_line_and_the_rest_is_still_read():
    text = "a: x\u202ey\r\nb:\t\x1b2J\x85\nc: \u2028d\n"
    document = source.parse(text.encode(), "x.yaml")
    places = [(problem.code, problem.line, problem.column) for problem in document.problems]
    assert places == [("Y015", 1, 5), ("Y005", 2, 3), ("Y004", 2, 4), ("Y015", 2, 7),
                      ("Y015", 3, 4)]  # fmt: skip
    assert document.data == {"a": "x y", "b": "2J", "c": "d"}
    assert source.locate(text.encode(), [("c",)]) == [(3, 1, "d")]


def test_line_ends_of_windows_and_scripts_that_need_joiners_are_fine():
    text = "a: x\r\nb: |\r\n  y\r\n  z\r\nc: می\u200cخواهم\r\n"
    document = source.parse(text.encode(), "x.yaml")
    assert document.problems == ()
    assert document.data == {"a": "x", "b": "y\nz\n", "c": "می\u200cخواهم"}


@pytest.mark.parametrize(
    "content",
    [b"\t\n" * 100_000, b"a: 1\n" * 100_000, "\u202e".encode() * 100_000, b"\x01\n" * 100_000,
     b"a: \t\n" * 100_000],
    ids=["tabs", "keys", "bidi", "controls", "both"],
)  # fmt: skip
def test_a_file_full_of_problems_costs_no_time_and_counts_them(content):
    start = time.perf_counter()
    document = source.parse(content, "x.yaml")
    assert len(document.problems) <= 10_002
    assert total(document.problems) >= 99_999
    assert time.perf_counter() - start < 20


def test_each_character_that_a_backslash_writes_is_named():
    document = source.parse(rb'id: "a\x1b\0\x1b\u202e"' + b"\n", "x.yaml")
    assert [problem.code for problem in document.problems] == ["Y015"] * 3
    said = " ".join(problem.message for problem in document.problems)
    assert all(f"U+{number}" in said for number in ("001B", "0000", "202E"))
