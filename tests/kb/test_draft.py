"""Drafts of records, and the issue form that they can come from."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
import yaml

from mmalign.curate import draft, issue_form
from mmalign.curate.reference import Reference
from mmalign.errors import BadReference
from mmalign.records.read import load

REFERENCE = Reference(
    "k", "MyDPO: Pairs of Müller", ("Zoë Müller", "Bo Sample"), 2025, "arXiv", "2510.12345"
)
SOURCE = "arxiv:2510.12345#abstract"
ISSUE = """### Title

MyDPO: Pairs of Müller

### arXiv id

2510.12345

### Authors

Zoë Müller
Bo Sample

### Year

2025

### Venue

_No response_

### Official code

https://github.com/example/mydpo

### Where it was read

arxiv:2510.12345#3

### Summary

Prefers the answer that the picture supports.

### What it contributes

method

### Name of the contribution

MyDPO

### Scenario

hallucination, medicine

### Modality

image

### Data source

instruction-data

### Response source

policy

### Annotation

human

### Objective family

anchored

### Benchmark dimension

_No response_

### Objective in LaTeX

```latex
-\\log \\sigma(\\beta (r_w - r_l))
```

### Where the paper has it

equation 3

### A claim that a run can test

Fewer invented objects than plain pairs.
"""


@pytest.mark.parametrize(
    ("title", "id_"),
    [
        ("mDPO: Conditional Preference", "mdpo"),
        ("3D-CT-GPT++: Reports", "3d-ct-gpt-plus-plus"),
        ("Detecting and Preventing Hallucinations in Large Models", "muller-2025-detecting"),
        ("A very long head of a title: and more", "muller-2025-very"),
    ],
)
def test_ids(title, id_):
    assert draft.id_of(Reference("k", title, ("Zoë Müller",), 2025)) == id_


@pytest.mark.parametrize("kind", [None, *draft.SKELETONS])
def test_a_draft_has_the_shape_of_a_record_but_for_what_is_to_write(tree, kind):
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, kind=kind)
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    problems = tree.problems(tree.root / "papers/mydpo.yaml")
    assert problems
    assert {problem.code for problem in problems} == {"R021"}, problems
    todo = [
        n for n, line in enumerate(draft.to_yaml(data).splitlines(), 1) if "todo" in line.lower()
    ]
    assert sorted({problem.line for problem in problems}) == todo


@pytest.mark.parametrize("kind", [None, *draft.SKELETONS])
def test_a_draft_without_year_authors_and_venue_says_so_and_nothing_else(tree, kind):
    bare = Reference("k", "Bare", url="https://x.org/bare")
    data = draft.record(bare, "bare", "2026-01-05", "https://x.org/bare", kind=kind)
    tree.write("papers/bare.yaml", draft.to_yaml(data))
    problems = tree.problems(tree.root / "papers/bare.yaml")
    assert {problem.code for problem in problems} == {"R021"}, problems
    lines = {tree.line("papers/bare.yaml", words) for words in ("- TODO", "venue:", "the year")}
    assert lines <= {problem.line for problem in problems}


def test_the_hint_of_a_term_names_the_terms(tree):
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, kind="method")
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    line = tree.line("papers/mydpo.yaml", "scenario:") + 1
    (problem,) = [p for p in tree.problems(tree.root / "papers/mydpo.yaml") if p.line == line]
    assert "hallucination" in problem.hint


def test_the_editor_is_told_the_schema(checkout):
    first = draft.to_yaml({"id": "x"}).splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (checkout / "papers" / first.partition("=")[2]).is_file()


def test_ids_that_would_be_the_same_are_told_apart():
    titles = ("Learning one", "Learning two", "Learning two", "Learning", "Learning")
    taken: set[str] = set()
    for title in titles:
        taken.add(draft.id_of(Reference("k", title, ("Ann Zed",), 2024), taken))
    assert sorted(taken) == [
        "zed-2024-learning", "zed-2024-learning-2", "zed-2024-learning-3", "zed-2024-learning-two",
        "zed-2024-learning-two-2",
    ]  # fmt: skip


@pytest.mark.parametrize("title", ["x" * 100_000, "字" * 500, "... ???", "a: " + "b " * 1000])
def test_an_id_is_always_a_name_of_a_file(title):
    reference = Reference("k", title, ("字", "others"), None)
    id_ = draft.id_of(reference, {draft.id_of(reference)})
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", id_)
    assert len(id_) <= draft.MAX_ID


def test_an_old_id_of_arxiv_is_kept_as_an_address(tree):
    old = Reference("k", "Old", ("A B",), 1999, "arXiv", "hep-th/9901001")
    source = draft.source_of(old)
    assert source == "https://arxiv.org/abs/hep-th/9901001"
    tree.write("papers/old.yaml", draft.to_yaml(draft.record(old, "old", "2026-01-05", source)))
    (problem,) = tree.problems(tree.root / "papers/old.yaml")
    assert problem.code == "R021"


@pytest.mark.parametrize("kind", draft.SKELETONS)
def test_all_that_is_left_to_write_is_shown_at_once(tree, kind):
    # Whatever else is wrong: a list that is empty, a field of another shape.
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, kind=kind)
    data |= {"authors": ["Zoë Müller", "others"], "venue": "TODO", "year": "soon", "licence": []}
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    problems = tree.problems(tree.root / "papers/mydpo.yaml")
    assert {"S003", "S004", "R021"} <= {problem.code for problem in problems}
    lines = tree.read("papers/mydpo.yaml").split("\n")
    left = [n for n, line in enumerate(lines, 1) if "todo" in line.lower() or "others" in line]
    assert [problem.line for problem in problems if problem.code == "R021"] == left
    assert len(left) >= 4


def test_advice_for_what_is_empty_depends_on_whether_it_has_to_be_there(tree):
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, kind="method")
    data |= {"doi": "", "code": None}
    data["methods"][0]["scenario"] = []
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    hints = {
        problem.message.partition(":")[0]: problem.hint
        for problem in tree.problems(tree.root / "papers/mydpo.yaml")
        if problem.code == "S007"
    }
    assert hints == {
        "doi": "write at least one, or delete the key",
        "methods.mydpo.scenario": "write at least one",
    }


def test_todo_is_reported_until_it_is_written(tree):
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE)
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    (problem,) = tree.problems(tree.root / "papers/mydpo.yaml")
    assert (problem.code, problem.line) == ("R021", tree.line("papers/mydpo.yaml", "summary:"))
    tree.edit("papers/mydpo.yaml", data["summary"], "What it shows.")
    assert tree.problems(tree.root / "papers/mydpo.yaml") == []
    tree.edit("papers/mydpo.yaml", "Bo Sample", "others")
    (problem,) = tree.problems(tree.root / "papers/mydpo.yaml")
    assert (problem.code, problem.line) == ("R021", tree.line("papers/mydpo.yaml", "others"))


def test_yaml_is_read_back_with_all_its_text():
    fields = {"summary": "Says: yes # no\nand 'more'.", "page": "https://x.org"}
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, fields=fields)
    assert yaml.safe_load(draft.to_yaml(data)) == data
    assert "Müller" in draft.to_yaml(data)


def test_an_issue_becomes_a_draft(tree):
    filled = issue_form.read(ISSUE)
    assert filled.reference.authors == ("Zoë Müller", "Bo Sample")
    assert filled.entry["scenario"] == ["hallucination", "medicine"]
    data = draft.record(
        filled.reference, "mydpo", "2026-01-05", filled.source,
        kind=filled.kind, entry=filled.entry, fields=filled.fields,
    )  # fmt: skip
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    kb = load(tree.root)
    method = kb.methods["mydpo"]
    assert method.objective.latex == r"-\log \sigma(\beta (r_w - r_l))"
    assert (method.objective.place, method.objective.family) == ("equation 3", "anchored")
    assert kb.papers["mydpo"].code == "https://github.com/example/mydpo"
    codes = {p.code for p in tree.problems(tree.root / "papers/mydpo.yaml")}
    # Details of the claim, note of the evidence; and the baseline, which these records lack.
    assert codes == {"R021", "R003"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("### Year\n\n2025", "### Year\n\n_No response_", "'Year' is not answered"),
        ("### Year\n\n2025", "### Year\n\nsoon", "'soon' is not a year"),
        ("### arXiv id\n\n2510.12345", "### arXiv id\n\n25", "'25' is not an arXiv id"),
        ("contributes\n\nmethod", "contributes\n\nmiracle", "'miracle' is not one of method,"),
    ],
)
def test_a_bad_answer_is_named(old, new, message):
    assert old in ISSUE
    with pytest.raises(BadReference, match=message):
        issue_form.read(ISSUE.replace(old, new))


@pytest.mark.parametrize(
    "unit",
    [" ", "\t", "\n", "a ", "###", "### ", "### a\n", "```", "`", ";", " ,", "1", "10.1/", "{"],
)
@pytest.mark.parametrize("place", ["### Title", "### Authors\n\n", "### Year\n\n", "2510.12345"])
def test_a_long_form_takes_no_longer_than_it_is(unit, place):
    text = ISSUE.replace(place, place + unit * (400_000 // len(unit)) + "x", 1)
    start = time.process_time()
    with contextlib.suppress(BadReference):
        issue_form.read(text)
    assert time.process_time() - start < 2


def test_text_that_is_no_form_is_refused():
    with pytest.raises(BadReference, match="not the text of the form"):
        issue_form.read("please add my paper")


def test_the_committed_form_is_the_one_that_the_taxonomy_makes(checkout):
    committed = (checkout / issue_form.FILE).read_text(encoding="utf-8")
    made = issue_form.form(load(checkout).facets)
    assert committed == made, "run `python -m mmalign.curate.issue_form`"
    labels = [block["attributes"]["label"] for block in yaml.safe_load(made)["body"]]
    asked = [line[4:] for line in ISSUE.splitlines() if line.startswith("### ")]
    assert labels == asked
