"""Computed passages of the home page and the guides."""

from __future__ import annotations

import re
import shlex

import pytest
from click.testing import CliRunner

from mmalign.cli import cli
from mmalign.records.read import load
from mmalign.site import fragments, guides
from mmalign.site.atlas import Atlas, Page

MARK = re.compile(r"^<!-- mmalign:methods (.+) -->$", re.MULTILINE)
QUERY = re.compile(r"^\$ (mmalign query .*)$", re.MULTILINE)
METHOD = re.compile(r"methods/([a-z0-9-]+)(?:\.md|/)")
PAGE = "guide/choose-a-method.md"


@pytest.fixture(scope="module")
def page(kb, result) -> Page:
    return Page(Atlas(kb, [result]), PAGE)


@pytest.fixture(scope="module")
def guide(checkout) -> str:
    return (checkout / "docs" / PAGE).read_text("utf-8")


@pytest.fixture(scope="module")
def real(checkout) -> Page:
    return Page(Atlas(load(checkout)), PAGE)


def option_pairs(command: str) -> list[tuple[str, str]]:
    words = shlex.split(command)[2:]
    return [(name.removeprefix("--"), word) for name, word in zip(words[::2], words[1::2])]  # noqa: B905


# --- lists of methods ----------------------------------------------------------------------------


def test_the_list_is_what_the_query_finds(real, guide, checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    marks = MARK.findall(guide)
    assert len(marks) >= 10
    for asked in marks:
        options = guides.parsed(real.atlas, asked)
        arguments = [part for name, word in options for part in (f"--{name}", word)]
        command = ["--root", str(checkout), "query", *arguments, "--format", "ids"]
        ids = CliRunner().invoke(cli, command).stdout.split()
        text = guides.methods(real, asked)
        assert sorted(METHOD.findall(text)) == sorted(ids), asked
        assert ids, f"{asked}: nothing is found, so the guide has nothing to say"
        assert text.startswith(f"{len(ids)} methods fit" if len(ids) > 1 else "One method fits")


def test_every_list_stands_below_its_own_query(guide):
    shown = [
        ("query", command) if command else ("mark", asked)
        for command, asked in re.findall(
            rf"{QUERY.pattern}|{MARK.pattern}", guide, flags=re.MULTILINE
        )
    ]
    before: list[tuple[str, str]] = []
    for kind, text in shown:
        if kind == "query":
            before += option_pairs(text)
            continue
        words = text.split()
        wanted = list(zip(words[::2], words[1::2]))  # noqa: B905
        assert before[-len(wanted) :] == wanted, text


def test_no_method_is_listed_by_hand(guide):
    # Only those that the text speaks of: the one to start with.
    assert set(METHOD.findall(guide)) <= {"dpo"}


def test_methods_that_can_be_run_come_first(real):
    ids = METHOD.findall(guides.methods(real, "annotation external"))
    has = [bool(real.atlas.kb.methods[id_].reference_impl) for id_ in ids]
    assert has == sorted(has, reverse=True)
    assert any(has) and not all(has)


def test_a_broader_word_an_exclusion_and_two_options(page):
    def ids(asked: str) -> set[str]:
        return {n.id for n in guides.chosen(page.atlas, guides.parsed(page.atlas, asked))}

    everything = set(page.atlas.kb.methods)
    outside = ids("annotation external")
    assert outside
    assert ids("annotation !external") == everything - outside
    assert ids("annotation human annotation !human") == set()
    assert ids("has impl") == {i for i, m in page.atlas.kb.methods.items() if m.reference_impl}
    assert ids("annotation external has code") <= outside
    assert ids("") == everything
    assert guides.methods(page, "annotation human annotation !human").startswith("No method")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("annotation", "pairs"),
        ("colour red", "no option 'colour'"),
        ("has wings", "'wings' is none of"),
    ],
)
def test_a_wrong_mark_stops_the_build(page, asked, message):
    with pytest.raises(ValueError, match=message):
        guides.methods(page, asked)


def test_a_mark_takes_options(page):
    text = fragments.fill(page.atlas, PAGE, "<!-- mmalign:methods annotation !external -->")
    assert "methods fit" in text or "method fits" in text or "No method" in text
    assert "mmalign:" not in text


def test_the_link_to_the_explorer_makes_the_same_choice():
    path = guides.explorer([("annotation", "self"), ("annotation", "!external"), ("has", "code")])
    assert path == "explorer.md?kind=method&annotation=self,!external&has=code"
    assert guides.explorer([("pair-difference", "both")]).endswith("pair_difference=both")


# --- the home page -------------------------------------------------------------------------------


def test_the_search_needs_no_script_and_works_below_any_path(kb, render):
    for path, action in (("index.md", "explorer/"), ("guide/query.md", "../../explorer/")):
        elements = render(guides.find(Page(Atlas(kb), path), None))
        (form,) = [each for each in elements if each.tag == "form"]
        assert form.attributes["action"] == action
        (field,) = [each for each in elements if each.tag == "input"]
        assert field.attributes["name"] == "text"
        (label,) = [each for each in elements if each.tag == "label"]
        assert label.attributes["for"] == field.attributes["id"] and label.text


def test_shortcuts_count_methods(kb):
    atlas = Atlas(kb)
    text = guides.find(Page(atlas, "index.md"), None)
    link = r'href="explorer/\?kind=method&amp;(\w+)=([a-z-]+)"[^>]*>[^<]* (\d+)</a>'
    found = re.findall(link, text)
    assert found
    for key, term, count in found:
        assert int(count) == len(guides.chosen(atlas, [(key, term)]))


def test_newest_papers_come_by_arxiv_number(real):
    papers = real.atlas.kb.papers
    dated = sorted((p.arxiv, p.id) for p in papers.values() if p.arxiv and p.methods)[-6:]
    wanted = [method.id for _, id_ in reversed(dated) for method in papers[id_].methods]
    assert METHOD.findall(guides.newest(real, "6")) == wanted


def test_a_month_is_read_off_the_number(real):
    survey = real.atlas.kb.papers["mllm-alignment-survey"]
    assert survey.arxiv == "2503.14504"
    assert guides.month(survey) == "March 2025"


def test_latest_errata_are_errors_and_lead_to_the_proof(real):
    text = guides.latest_errata(real, "4")
    ids = re.findall(r'errata/#([\w-]+)"', text)
    by_id = {item.id: item for item in real.atlas.kb.errata}
    assert len(ids) == 4
    left = ("typo", "outdated-since")
    assert all(by_id[id_].severity not in left for id_ in ids)
    shown = [str(by_id[id_].checked) for id_ in ids]
    newest = max(str(item.checked) for item in by_id.values() if item.severity not in left)
    assert shown == sorted(shown, reverse=True) and shown[0] == newest


def test_texts_of_records_are_escaped(kb):
    bad = "<script>alert(1)</script>"
    paper = kb.papers["red-lantern"].model_copy(update={"title": bad, "arxiv": "2601.00001"})
    erratum = kb.errata[0].model_copy(
        update={"where": bad, "correct": bad, "severity": "wrong", "checked": "2026-12-01"}
    )
    spoilt = type(kb)(
        papers={**kb.papers, paper.id: paper}, facets=kb.facets, relations=kb.relations,
        errata=(*kb.errata, erratum),
    )  # fmt: skip
    page = Page(Atlas(spoilt), "index.md")
    text = guides.newest(page, "3") + guides.latest_errata(page, "3")
    assert "alert(1)" in text and "<script" not in text


def test_scripts_show_what_the_lab_decided(kb, result):
    paper = kb.papers["red-lantern"]
    script = "reference_impls/methods/red_lantern.py"
    runs = [m.model_copy(update={"reference_impl": script}) for m in paper.methods]
    papers = {**kb.papers, paper.id: paper.model_copy(update={"methods": tuple(runs)})}
    changed = type(kb)(papers=papers, facets=kb.facets)
    assert "no study yet" in guides.scripts(Page(Atlas(changed), PAGE), None)
    text = guides.scripts(Page(Atlas(changed, [result]), PAGE), None)
    assert 'methods/red-lantern/">Red Lantern</a>' in text and "no study" not in text
    for verdict in {each["verdict"] for each in result["verdicts"]}:
        number = sum(each["verdict"] == verdict for each in result["verdicts"])
        assert f">{verdict}</span> {number}" in text
