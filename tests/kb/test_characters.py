"""Text of others, printed: nothing in it forges a line, drives a terminal or hides."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata

import pytest

from mmalign.characters import UNWANTED, printable, printable_json, quoted

CONTROLS = [chr(number) for number in (*range(0x20), *range(0x7F, 0xA0))]
BIDI = [c for c in map(chr, range(0x110000)) if unicodedata.bidirectional(c) in
        {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}]  # fmt: skip
NO_TEXT = [*"\u2028\u2029\u200b\u200e\u200f\u061c\u2060\ufeff\xad", "\ud800", "\udcff",
           "\U000e0041"]  # fmt: skip


@pytest.mark.parametrize("char", [*CONTROLS, *BIDI, *NO_TEXT], ids=lambda c: f"U+{ord(c):04X}")
def test_what_could_drive_a_terminal_or_hide_is_escaped(char):
    shown = printable(f"a{char}b")
    assert char not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert shown.isascii()
    assert UNWANTED.search(char)
    text = printable_json(json.dumps({"a": f"a{char}b"}, ensure_ascii=False))
    assert char not in text
    assert json.loads(text) == {"a": f"a{char}b"}


def test_the_table_of_bidirectional_controls_is_whole():
    assert len(BIDI) == 9


def test_every_character_of_no_width_is_escaped_where_it_cannot_be_meant():
    every = map(chr, range(0x110000))
    formats = [c for c in every if unicodedata.category(c) in ("Zl", "Zp", "Cs", "Cf")]
    # Marks of Arabic, Syriac and Kaithi numbers, of shorthand, music and hieroglyphs: they are
    # written or shape what is.
    meant = [(0x600, 0x605), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2),
             (0x110BD, 0x110CD), (0x13430, 0x1345F), (0x1BCA0, 0x1BCA3),
             (0x1D173, 0x1D17A)]  # fmt: skip
    for char in formats:
        if not any(low <= ord(char) <= high for low, high in meant):
            assert char not in printable(f"a{char}b"), f"U+{ord(char):04X}"


@pytest.mark.parametrize(
    "text",
    [
        "plain", r"\frac{a}{b} \n", "Müller, 陈 and José", "π ≤ 3.2 – “quoted” 100\xa0%",
        "می\u200cخواهم", "क्\u200dष", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "❤\ufe0f\u200d🔥",
        "1\ufe0f\u20e3", "葛\U000e0100",
    ],
)  # fmt: skip
def test_text_that_people_mean_stays(text):
    assert printable(text) == text
    assert not UNWANTED.search(text)


@pytest.mark.parametrize("text", ["a\u200db", "a\u200c", "\u200dक", "a\ufe0f", "क\u200d\u200dक"])
def test_joiners_and_selectors_that_join_nothing_are_escaped(text):
    assert printable(text).count("\\u") == sum(c in "\u200c\u200d\ufe0f" for c in text)


def test_no_quick_way_lets_anything_through():
    """`printable` leaves alone just what the expression would leave alone, of all there is."""
    for char in map(chr, range(0x110000)):
        assert (printable(f"a{char}b") == f"a{char}b") == (not UNWANTED.search(f"a{char}b")), (
            f"U+{ord(char):04X}"
        )


def test_printing_plain_text_compiles_no_expression():
    code = (
        "import re, mmalign.characters as c\nre.compile = None\n"
        "print(c.printable('M\\u00fcller \\u2264 \\u9648'))"
    )
    subprocess.run([sys.executable, "-X", "utf8", "-c", code], check=True)


def test_long_text_is_cut():
    assert printable("x" * 1000, 10) == "xxxxxxx..."
    assert quoted("y" * 10**6) == "'" + "y" * 117 + "...'"
    assert quoted("a\nb") == r"'a\nb'"
    assert printable(None) == "None"


def test_json_keeps_its_line_breaks():
    assert printable_json(json.dumps(["é"], indent=2, ensure_ascii=False)) == '[\n  "é"\n]'
