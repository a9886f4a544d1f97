"""Drafts of records, and the issue form that they can come from."""

from __future__ import annotations

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
    # Empty lists that a person has to fill (S007), terms of another taxonomy (R004), TODO (R021).
    assert {problem.code for problem in problems} <= {"S007", "R004", "R021"}, problems


@pytest.mark.parametrize("kind", draft.SKELETONS)
def test_all_that_is_left_to_write_is_shown_at_once(tree, kind):
    # Whatever else is wrong: a list that is empty, a field of another shape.
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, kind=kind)
    data |= {"authors": ["Zoë Müller", "others"], "venue": "TODO", "year": "soon", "licence": []}
    tree.write("papers/mydpo.yaml", draft.to_yaml(data))
    problems = tree.problems(tree.root / "papers/mydpo.yaml")
    assert {"S003", "S004", "R021"} <= {problem.code for problem in problems}
    lines = tree.read("papers/mydpo.yaml").split("\n")
    left = [n for n, line in enumerate(lines, 1) if "TODO" in line or "others" in line]
    assert [problem.line for problem in problems if problem.code == "R021"] == left
    assert len(left) >= 4


def test_advice_for_what_is_empty_depends_on_whether_it_has_to_be_there(tree):
    data = draft.record(REFERENCE, "mydpo", "2026-01-05", SOURCE, kind="method")
    data |= {"doi": "", "code": None}
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
        ("### Year\n\n2025", "### Year\n\nsoon", "'soon' is no year"),
        ("### arXiv id\n\n2510.12345", "### arXiv id\n\n25", "'25' is not an arXiv id"),
        ("contributes\n\nmethod", "contributes\n\nmiracle", "'miracle' is not one of method,"),
    ],
)
def test_a_bad_answer_is_named(old, new, message):
    assert old in ISSUE
    with pytest.raises(BadReference, match=message):
        issue_form.read(ISSUE.replace(old, new))


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
