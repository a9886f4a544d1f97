"""The page of the explorer, made from the fabricated records."""

from __future__ import annotations

import html
import re

import pytest

from mmalign.records.read import load
from mmalign.site import explorer, pages
from mmalign.site.address import address_of
from mmalign.site.atlas import Atlas


@pytest.fixture
def nodes(kb) -> list:
    return [node for kind in explorer.SHOWN for node in kb.nodes(kind)]


def rows(page: str) -> dict[str, str]:
    """Full name -> HTML of its row."""
    found = re.findall(r'<tr data-ref="([^"]+)".*?</tr>', page)
    return dict(zip(found, re.findall(r"<tr data-ref=.*?</tr>", page), strict=True))


def choices(page: str) -> dict[str, tuple[str, str]]:
    """Number of a choice -> key of its group and id, as the script reads them."""
    found, key = {}, ""
    for match in re.finditer(
        r'data-key="([^"]*)" data-mode|data-n="(\d+)" data-id="([^"]+)"', page
    ):
        key = match[1] or key
        if match[2]:
            found[match[2]] = (key, match[3])
    return found


def chosen(page: str, ref: str) -> set[tuple[str, str]]:
    numbers = re.search(r'data-n="([\d ]*)"', rows(page)[ref])[1].split()
    return {choices(page)[number] for number in numbers}


def test_every_entry_has_a_row_without_a_script(kb, nodes):
    page = explorer.page(Atlas(kb))
    assert list(rows(page)) == [node.ref for node in nodes]
    for node in nodes:
        assert explorer.escape(node.name) in rows(page)[node.ref]
        assert str(node.paper.year) in rows(page)[node.ref]


def test_the_interactive_part_is_one_block(kb):
    # Markdown inside of it would take the form apart, and the hook takes only single lines.
    lines = [line for line in explorer.page(Atlas(kb)).split("\n") if "explorer-tools" in line]
    assert len(lines) == 1
    assert lines[0].startswith('<div class="explorer">') and lines[0].endswith("</div>")


def test_rows_name_their_terms_and_those_above(kb, result):
    page = explorer.page(Atlas(kb, [result]))
    found = chosen(page, "method:red-lantern")
    assert {("kind", "method"), ("has", "code"), ("has", "lab"), ("scenario", "hallucination")} <= (
        found
    )
    facet = kb.facets["scenario"]
    parents = {term.id: term.parent for term in facet.terms}
    for ref, node in ((node.ref, node) for node in kb.nodes("method")):
        for term in kb.facet_values(node, "scenario"):
            while term:
                assert ("scenario", term) in chosen(page, ref)
                term = parents[term]
    assert ("has", "lab") in chosen(page, "paper:red-lantern")
    assert ("has", "lab") not in chosen(page, "method:blue-kite")


def test_a_term_that_nothing_carries_is_not_offered(kb):
    atlas = Atlas(kb)
    offered = {pair for pair in choices(explorer.page(atlas)).values()}
    for facet in kb.facets.values():
        key = explorer.views.key(facet)
        for term in facet.terms:
            carried = bool(atlas.carriers_below(facet.id, term.id))
            assert ((key, term.id) in offered) == carried


def test_choices_are_numbered_without_gaps(kb):
    numbers = sorted(map(int, choices(explorer.page(Atlas(kb)))))
    assert numbers == list(range(len(numbers)))


def test_links_lead_to_pages(kb, result):
    made = pages(kb, [result])
    known = {address_of(path) for path in made}
    targets = re.findall(
        r'href="\.\./([^"#]*)', made[explorer.PATH].partition('<div class="expl')[2]
    )
    assert len(targets) > 20
    assert set(targets) <= known


def test_columns_shown_before_the_script_are_those_of_all_kinds(kb, checkout):
    shown = ["all" in column.default for column in explorer.columns(Atlas(kb))]
    assert shown == [True] * 5 + [False] * (len(shown) - 5)
    style = (checkout / "docs/assets/explorer.css").read_text("utf-8")
    assert "nth-child(n + 6)" in style


def test_the_script_is_small_and_only_on_this_page(kb, checkout):
    assert (checkout / "docs/assets/explorer.js").stat().st_size < 25_000
    made = pages(kb)
    assert [path for path, text in made.items() if "explorer.js" in text] == [explorer.PATH]


def test_hostile_records_stay_text(tree):
    title = '<script>alert(1)</script> "quoted" & <b>bold</b>'
    tree.edit(
        "papers/red-lantern.yaml",
        'title: "Red Lantern: Fewer Invented Objects"',
        f"title: '{title}'",
    )
    tree.edit("papers/red-lantern.yaml", "name: Red Lantern\n", f"name: '{title}'\n")
    tree.edit("papers/red-lantern.yaml", "- Cleo Muster", f"- '{title}'")
    page = explorer.page(Atlas(load(tree.root)))
    row = rows(page)["method:red-lantern"]
    assert "<script" not in row and "<b>" not in row
    assert title in html.unescape(row)
    attributes = re.sub(r'="[^"]*"', "", re.search(r"<tr [^>]*>", row)[0])
    assert attributes == "<tr data-ref data-paper data-n data-also>"
