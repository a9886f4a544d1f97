"""What a record can have wrong in itself: each case with code, line, column and advice."""

from __future__ import annotations

import pytest

FILE = "papers/red-lantern.yaml"

# name: (old text, new text, words of the line that is reported, column, code, words of the report)
CASES = {
    "wrong key": ("year: 2021", "yaer: 2021", "yaer:", 1, "S002", "did you mean 'year'?"),
    "wrong key inside": (
        "    base_models: [",
        "    basemodel: [",
        "basemodel:",
        5,
        "S002",
        "methods.red-lantern.basemodel: unknown key; did you mean 'base_models'?",
    ),
    "unlike any key": ("licence: MIT", "zzz: MIT", "zzz", 1, "S002", "known here: id, type"),
    "Python's name of an alias": ("  - for:\n", "  - for_:\n", "for_:", 5, "S002", "'for'"),
    "merge key": ("licence: MIT", "<<: {licence: MIT}", "<<", 1, "Y007", "merge keys"),
    "missing": ("venue: EXAMPLE 2021\n", "", "id: red-lantern", 1, "S001", "add `venue:`"),
    "missing in an entry": (
        "    modality: [image]\n",
        "",
        "  - id: red-lantern",
        5,
        "S001",
        "methods.red-lantern.modality",
    ),
    "unquoted arXiv id": (
        'arxiv: "2101.00001"',
        "arxiv: 2403.1450",
        "arxiv:",
        1,
        "S003",
        'the number 2403.145 and drops zeros at the end; put it in quotes: `arxiv: "2403.1450"`',
    ),
    "unquoted number": ('value: "0.1"', "value: 1e-6", "1e-6", 9, "S003", '`value: "1e-6"`'),
    "unquoted word": ("venue: EXAMPLE 2021", "venue: true", "venue", 1, "S003", "`true`"),
    "unquoted item": ('sections: ["9.9"]', "sections: [9.9]", "[9.9]", 14, "S003", '`- "9.9"`'),
    "list for text": ("venue: EXAMPLE 2021", "venue: [a]", "venue", 1, "S003", "a list"),
    "quoted number": ("year: 2021", 'year: "2021"', "year:", 1, "S004", "without quotes"),
    "float for a year": ("year: 2021", "year: 2021.5", "year:", 1, "S004", "whole number"),
    "not allowed": ("status: verified", "status: verfied", "verfied", 5, "S005", "'verified'"),
    "not allowed in a list": (
        "own: [objective, data recipe]",
        "own: [objektive]",
        "objektive",
        11,
        "S005",
        "did you mean 'objective'?",
    ),
    "not an id": ("id: bench-one", "id: Bench.One", "Bench.One", 5, "S006", "write 'bench-one'"),
    "arXiv id with version": (
        'arxiv: "2101.00001"',
        "arxiv: 2101.00001v2",
        "arxiv:",
        1,
        "S006",
        "write '2101.00001'",
    ),
    "no address": ("code: https://", "code: ", "code:", 1, "S006", "write 'https://github.com"),
    "script for an address": (
        "code: https://",
        "code: javascript:alert(1) #",
        "code:",
        1,
        "S006",
        "web address",
    ),
    "other digits": ('"2026-01-02"', '"２０２６-01-02"', 'checked: "２', 5, "S006", "a date"),
    "no date": ('"2026-01-02"', '"2 Jan"', "2 Jan", 5, "S006", "'2026-01-31'"),
    "no value": ("venue: EXAMPLE 2021", "venue:", "venue:", 1, "S007", "write a value"),
    "empty text": ("venue: EXAMPLE 2021", 'venue: ""', "venue:", 1, "S007", "at least one"),
    "empty list": ("    modality: [image]", "    modality: []", "[]", 5, "S007", "empty"),
    "yes": ("licence: MIT", "beyond_survey: yes", "yes", 1, "S008", "write `true` or `false`"),
    "True": ("licence: MIT", "beyond_survey: True", "True", 1, "S008", "small"),
    "text for a number": ("value: 12.5", "value: 12.5%", "12.5%", 9, "S009", "delete unit"),
    "quoted float": ("value: 12.5", 'value: "12.5"', '"12.5"', 9, "S009", "without quotes"),
    "text for a list": ("modality: [image]", "modality: image", "modality", 5, "S010", "`[image]`"),
    "mapping for a list": ("modality: [image]", "modality: {a: 1}", "{a", 5, "S010", "a list"),
    "text for a mapping": (
        'size_paper: {text: "1,000 pairs", number: 1000}',
        "size_paper: many",
        "many",
        5,
        "S011",
        "`key: value`",
    ),
    "out of range": ("year: 2021", "year: 202", "year:", 1, "S012", "1980"),
    "no such reference": ("reference: 7", "reference: 0", "reference", 3, "S012", "0"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_field_is_one_problem_at_its_place(tree, name):
    old, new, words, column, code, said = CASES[name]
    tree.edit(FILE, old, new)
    found = [p for p in tree.problems(tree.root / FILE) if p.code[0] in "YS"]
    # Renaming a required key leaves it missing as well.
    if name in ("wrong key", "Python's name of an alias"):
        assert [p.code for p in found if p.code != code] == ["S001"]
        found = [p for p in found if p.code == code]
    (problem,) = found
    assert (problem.code, problem.file) == (code, FILE)
    assert (problem.line, problem.column) == (tree.line(FILE, words), column)
    assert said in f"{problem.message}; {problem.hint}"


def test_several_problems_are_reported_at_once(tree):
    tree.edit(FILE, "year: 2021", "yaer: 2021")
    tree.edit(FILE, 'arxiv: "2101.00001"', "arxiv: 2403.1450")
    tree.edit(FILE, "licence: MIT\n", "licence: MIT\nlicence: MIT\n")
    tree.edit(FILE, "direction: lower", "direction: down")
    tree.edit("papers/lamp.yaml", "venue: GitHub\n", "")
    tree.write("papers/tab.yaml", "id: tab\n\tname: x\n")
    tree.write("taxonomy/scenario.yaml", b"id: caf\xe9\n")
    found = [(problem.file, problem.code) for problem in tree.problems()]
    assert found == sorted(found, key=lambda each: each[0])
    assert set(found) == {
        (FILE, "S001"),
        (FILE, "S002"),
        (FILE, "S003"),
        (FILE, "S005"),
        (FILE, "Y006"),
        ("papers/lamp.yaml", "S001"),
        ("papers/tab.yaml", "Y005"),
        ("taxonomy/scenario.yaml", "Y001"),
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "words", "code"),
    [
        ("taxonomy/scenario.yaml", "label: Scenario", "lable: Scenario", "lable", "S002"),
        ("taxonomy/scenario.yaml", "[method, dataset]", "[methods]", "[methods]", "S005"),
        ("taxonomy/relations.yaml", "acyclic: true", "acyclic: yes", "acyclic: yes", "S008"),
        ("taxonomy/errata.yaml", "severity: wrong", "severity: bad", "severity", "S005"),
    ],
)
def test_the_taxonomy_is_checked_too(tree, file, old, new, words, code):
    tree.edit(file, old, new)
    found = {(p.file, p.line, p.code) for p in tree.problems()}
    assert (file, tree.line(file, words), code) in found


def test_a_broken_record_does_not_make_others_point_to_nothing(tree):
    # blue-kite extends, trains on and compares with entries of this file.
    tree.edit(FILE, "year: 2021", "year: soon")
    assert [problem.code for problem in tree.problems()] == ["S004"]
    tree.edit(FILE, "year: soon", "\tyear: soon: now")
    assert {problem.code for problem in tree.problems()} == {"Y005"}
