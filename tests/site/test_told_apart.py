"""What a page says about who wrote an equation, who measured a number, and what was outdated."""

from __future__ import annotations

import re

import pytest

from mmalign.records.kb import KnowledgeBase
from mmalign.records.read import load
from mmalign.site import compare_tables, indexes, pages, parts
from mmalign.site.atlas import Atlas, Page

RED = "papers/red-lantern.yaml"
OBJECTIVE = "      - methods.red-lantern.objective\n"


@pytest.fixture(scope="module")
def real(checkout) -> KnowledgeBase:
    return load(checkout)


def evidence(source: str, status: str, path: str = "objective") -> str:
    return (
        f'  - for: [methods.red-lantern.{path}]\n    source: "{source}"\n'
        f'    status: {status}\n    checked: "2026-01-01"\n'
    )


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ((), "As the paper defines it"),
        (("arxiv:2101.00001v2#4", "verified"), "As the paper defines it"),
        (("arxiv:2101.00001#4", "reported"), "Not read in the paper, but as others report it"),
        (("https://example.org/note", "reported"), "Not read in the paper, but as others"),
        (("repo:example/red-lantern@0123abc:train.py", "inferred"), "Put together from what"),
        # What is said of the equation itself goes before what is said of the objective.
        (("arxiv:2101.00001#4", "inferred", "objective.latex"), "Put together from what"),
    ],
)
def test_the_line_below_an_equation_follows_its_evidence(tree, added, said):
    if added:
        tree.write(RED, tree.read(RED).rstrip("\n") + "\n" + evidence(*added))
    kb = load(tree.root)
    (line,) = re.findall(r"^.*: equation 7\.$", pages(kb)["methods/red-lantern.md"], re.MULTILINE)
    assert line.startswith(said)
    assert line in compare_tables.objectives(Atlas(kb))


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("repo:example/red-lantern@0123abc:train.py", "paper", "Not read in the paper, but at an"),
        ("arxiv:2202.00002#4", "paper", "Not read in the paper, but at another source"),
        ("repo:example/red-lantern@0123abc:train.py", "repository", "As the repository has it"),
    ],
)
def test_an_equation_read_elsewhere_is_not_called_the_papers(tree, source, kind, said):
    tree.edit(RED, OBJECTIVE, "")
    tree.edit(RED, "type: paper" if "type: paper" in tree.read(RED) else "id: red-lantern\n",
              f"type: {kind}\n" if "type: paper" in tree.read(RED) else
              f"id: red-lantern\ntype: {kind}\n")  # fmt: skip
    tree.write(RED, tree.read(RED).rstrip("\n") + "\n" + evidence(source, "verified"))
    node = next(n for n in load(tree.root).nodes("method") if n.id == "red-lantern")
    assert parts.objective_place(node.paper, node.entry).startswith(said)


def test_no_page_calls_an_equation_the_papers_that_was_not_read_there(real):
    elsewhere = re.compile(
        r"not (opened|read|seen|at hand)|reading note|usual form|put together|no equation|"
        r"in words|as a summary|transcri(bed|ption)|there is no paper"
    )
    said = {n.id: parts.objective_place(n.paper, n.entry) for n in real.nodes("method")}
    for id_, text in said.items():
        if text.startswith("As the paper defines it"):
            assert not elsewhere.search(text), (id_, text)
    assert said["mdpo"].startswith("As the paper defines it")
    assert said["chip"].startswith("Put together")
    assert said["dama"].startswith("Not read in the paper, but as others report it")
    assert said["r1-v"].startswith("As the repository has it")


def test_a_number_of_another_source_is_shown_as_such(tree):
    page = "methods/red-lantern.md"
    own = pages(load(tree.root))[page]
    assert "Numbers that the paper reports; nobody reran them" in own
    by = 'place: Table 1\n        measured_by: "arxiv:2202.00002#Table 3"\n'
    tree.edit(RED, "place: Table 1\n", by)
    mixed = pages(load(tree.root))
    assert "Numbers that the paper reports, but for those whose place names another" in mixed[page]
    for path in (page, "benchmarks/bench-one.md", "compare/results.md"):
        (cell,) = re.findall(r"<td>(<span class=\"badge elsewhere\">.*?)</td>", mixed[path])
        assert "not this paper's" in cell and "2202.00002" in cell and cell.endswith(": Table 1")
    tree.edit(RED, "value: 80\n        place: Table 1\n", f"value: 80\n        {by}")
    text = pages(load(tree.root))[page]
    assert "Numbers that another source reports, not the paper of this method" in text
    assert "Numbers that the paper reports" not in text


def test_the_pages_of_clip_dpo_and_video_salmonn_2_do_not_claim_their_numbers(real):
    made = pages(real)
    for id_ in ("clip-dpo", "video-salmonn-2"):
        text = made[f"methods/{id_}.md"]
        assert "Numbers that the paper reports" not in text
        assert text.count("not this paper's") == len(real.methods[id_].results)


@pytest.mark.parametrize(
    ("since", "shown"),
    [('\n    since: "2025-07"', "outdated since 2025-07"), ("", "outdated")],
)
def test_what_is_outdated_says_since_when(tree, since, shown):
    tree.edit("taxonomy/errata.yaml", "severity: wrong", f"severity: outdated-since{since}")
    kb = load(tree.root)
    badge = f'<span class="badge outdated-since">{shown}</span>'
    assert badge in indexes.errata(Atlas(kb))
    assert badge in pages(kb)["methods/red-lantern.md"]
    assert "red-lantern-year" not in parts.severity(kb.errata[0])


def test_errata_stand_from_what_misleads_most_to_what_is_outdated(real):
    text = indexes.errata(Atlas(real))
    survey = text[text.index("{ #survey }") : text.index("{ #awesome-list }")]
    order = re.findall(r'^<span class="badge ([\w-]+)">', survey, re.MULTILINE)
    assert list(dict.fromkeys(order)) == [
        "wrong", "misleading", "missing", "typo", "outdated-since",
    ]  # fmt: skip
    assert len(order) == sum(item.source == "survey" for item in real.errata)
    assert Page(Atlas(real), "errata.md").atlas.kb is real
