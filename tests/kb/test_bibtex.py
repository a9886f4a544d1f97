"""BibTeX as people have it: read entry by entry, each bad one reported by itself."""

from __future__ import annotations

import time

import pytest

from mmalign.curate.bibtex import MAX_VALUE, inherit, parse

GOOD = "@misc{good, title = {Good}}"


def fields(text: str) -> dict[str, str]:
    """The fields of the only entry of a text."""
    found = parse(text)
    assert not found.problems, found.problems
    (entry,) = found.entries
    return dict(entry.fields)


BAD = (
    "@misc{bad, title = {never closed, year = 2020}",
    "@misc{bad, title = {A}} , year = 2020}",
    '@misc{bad, title = "never closed, year = 2020}',
    '@misc{bad, title = "brace } closes", year = 2020}',
    "@misc{bad, title = {A}, year = 2020",
    "@misc{bad, title {A}}",
    "@misc{bad, title = , year = 2020}",
    "@misc{bad, title = Some Words, year = 2020}",
    "@misc{bad title = {A}}",
    "@misc{bad, title = {A} # , year = 2020}",
    "@misc(bad, title = {A}}",
    "@misc bad, title = {A}}",
    "@string{bad}",
    "@string{bad = }",
    "@misc{",
    "@misc{bad, = {A}}",
    "@misc{bad, title = {{{{{{{{A}}}",
)
# In the middle of a line, `@misc bad` is a comment like any text between entries.
PLACES = [
    (bad, between) for bad in BAD for between in ("\n", "\r\n", "\n\n% next\n", " ")
    if between != " " or not bad.startswith("@misc bad")
]  # fmt: skip


@pytest.mark.parametrize(("bad", "between"), PLACES)
def test_one_bad_entry_never_loses_the_others(bad, between):
    text = between.join((GOOD.replace("good", "first"), bad, GOOD, GOOD.replace("good", "last")))
    found = parse(text)
    keys = [entry.key for entry in found.entries if entry.key != "bad"]
    assert keys == ["first", "good", "last"]
    assert found.problems or "} , year" in bad  # what stands after a closed entry is a comment
    line = 1 + (between.count("\n") or 0)
    assert {problem.line for problem in found.problems} <= {line}


def test_a_bad_entry_is_named_with_line_and_key():
    found = parse(f"{GOOD}\n\n@article{{k,\n  title = {{A}}\n  oops\n}}\n{GOOD}")
    assert [problem.render("x.bib") for problem in found.problems] == [
        "x.bib:3: entry 'k': a comma or } is wanted, not 'oops' (line 5)"
    ]
    assert [entry.line for entry in found.entries] == [1, 7]


def test_what_a_message_quotes_drives_no_terminal():
    (problem,) = parse("@misc{a\x1b[31mb, \x9b oops}").problems
    line = problem.render("x\n.bib")
    assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        '@string{a = "Conf"}@misc{k, t = a # " on " # {Vision}}',
        "@string(a = {Conf on})@misc{k, t = A # { Vision}}",
        '@STRING{b = "Conf"} @string{a = b # { on}} @misc{k, t = a # " Vision"}',
        '@misc(k, t = "Conf on Vision")',
        "@misc { k , t = {Conf on Vision} , }",
        "@misc{k, t = {Conf on Vision} % } comment, with @misc{x,\n}",
        "@misc{k, % a comment = {x}\n t = {Conf on Vision}}",
        '@comment{ignored {really}} @preamble{ {x} # "y" } @misc{k, t = {Conf on Vision}}',
        "\ufeffreal text, 100 % of it\n@misc{k, t = {Conf on Vision}}",
        "@misc{k\n t = {Conf on Vision}}",
        "@misc{k, t = {Conf on Vision}, T = {Conf on Vision}}",
    ],
)
def test_values_are_resolved(text):
    assert fields(text) == {"t": "Conf on Vision"}


def test_months_numbers_and_macros_that_nobody_defined():
    found = parse("@misc{k, month = mar # 12, year = 2024, journal = tpami}")
    assert found.entries[0].fields == {"month": "mar12", "year": "2024", "journal": "tpami"}
    (note,) = found.notes
    assert note.message == "not defined in this file, taken as text: tpami"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (r"{a \"b\" {c}}", r"a \"b\" {c}"),
        (r'"M{\"u}ller {"} x"', r'M{\"u}ller {"} x'),
        (r'"M\"uller"', r"M\"uller"),
        ("{LeQua @ {CLEF}, a@b.org}", "LeQua @ {CLEF}, a@b.org"),
        ("{50% of it}", "50% of it"),
        (r"{ends with \\}", "ends with \\\\"),
        ("{a,\nb = c}", "a,\nb = c"),
    ],
)
def test_what_stands_in_a_value_stays(value, text):
    assert fields(f"@misc{{k, t = {value}, year = 2020}}") == {"t": text, "year": "2020"}


def test_a_key_that_stands_twice_loses_no_entry():
    found = parse("@misc{a, title={One}}\n@misc{a, title={Two}}\n@misc{b, title={Three}}")
    assert [entry.fields["title"] for entry in found.entries] == ["One", "Two", "Three"]
    assert [note.render("x.bib") for note in found.notes] == [
        "x.bib:2: entry 'a': the key stands in line 1, too; both are read"
    ]
    assert not found.problems


def test_entries_in_comments_are_not_read_and_are_counted():
    found = parse(f"% {GOOD}\n@comment{{ {GOOD} }}\n{GOOD}")
    assert len(found.entries) == 1
    assert found.notes[0].message == "2 entries are commented out from here"


def test_an_entry_without_key_and_a_missing_comma_are_read_and_said():
    found = parse("@misc{title = {A}}\n@misc{, title = {B}}\n@misc{c, title = {C} year = 2020}")
    assert [dict(entry.fields)["title"] for entry in found.entries] == ["A", "B", "C"]
    assert found.entries[2].fields["year"] == "2020"
    assert len(found.notes) == 3


@pytest.mark.parametrize("before", ["  ", "\t", "\n   ", "text "])
def test_an_entry_may_begin_anywhere_in_a_line(before):
    assert fields(f"{before}@misc {{k, t = {{T}}}}") == {"t": "T"}


def test_what_is_inherited():
    text = """
    @inproceedings{child, title = {Child}, crossref = {PARENT}, pages = 1}
    @inbook{part, title = {Part}, crossref = {book}}
    @misc{data, title = {Data}, xdata = {x1, missing}}
    @xdata{x1, publisher = {P}, xdata = {x2}}
    @xdata{x2, location = {L}}
    @proceedings{parent, title = {Proc}, editor = {E}, year = 2024, doi = {10.1/p}, pages = 9,
      crossref = {child}}
    @book{book, title = {Book}, author = {A}, ids = {other}}
    @inproceedings{lost, title = {Lost}, crossref = {nobody}}
    @misc{self, title = {Self}, crossref = {self}, xdata = {self}}"""
    entries, remarks = inherit(parse(text).entries)
    by = {entry.key: entry.fields for entry in entries}
    assert by["child"]["booktitle"] == "Proc"
    assert (by["child"]["year"], by["child"]["pages"]) == ("2024", "1")
    assert "doi" not in by["child"]
    assert (by["part"]["booktitle"], by["part"]["author"]) == ("Book", "A")
    assert (by["data"]["publisher"], by["data"]["location"]) == ("P", "L")
    assert [remark.key for remark in remarks] == ["data", "lost"]


def test_macros_that_double_each_other_fill_no_memory():
    text = "@string{m0 = {0123456789}}" + "".join(
        f"@string{{m{n + 1} = m{n} # m{n}}}\n" for n in range(60)
    )
    found = parse(text + GOOD)
    assert [entry.key for entry in found.entries] == ["good"]
    assert f"more than {MAX_VALUE:,} characters" in found.problems[0].message


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    ["@a{b,", "@a{", "{", "}", "@comment{", "@misc{k, t = {", "@misc{k, t = \"", "@", "%", " ",
     "\\", "@misc{k, t = {x} # ", "@misc{k,\n", "@misc{k, crossref = {k}}\n", "@misc{a b ",
     "a@a", "=",     "@misc{k, title={x}}\n", "@string{k = k # k}\n"],
)  # fmt: skip
def test_time_is_linear_in_whatever_repeats(unit):
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        best = 9.0
        for _ in range(3):
            start = time.perf_counter()
            inherit(parse(text).entries)
            best = min(best, time.perf_counter() - start)
        return best

    small, large = seconds(50_000), seconds(400_000)
    assert large < 5
    assert large < 24 * small + 0.05  # eight times as long
