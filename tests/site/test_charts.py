"""Geometry of sunbursts, addresses, and the pages with pictures, on the fabricated records."""

from __future__ import annotations

import math
import posixpath
import re
from xml.etree import ElementTree

import pytest

from mmalign.records.model import Paper
from mmalign.records.read import load
from mmalign.site import charts, compare_charts, network, pages, taxonomy
from mmalign.site.address import address
from mmalign.site.atlas import Atlas

PICTURES = ["terms/index.md", "graph.md", "compare/timeline.md", "compare/gaps.md"]
ALL = [*PICTURES, "compare/coverage.md"]
WRITTEN = {"index.md", "guide/run-a-method.md", "lab/scenes.md", "about/errata-policy.md"}


@pytest.fixture(scope="module")
def made(kb, result) -> dict[str, str]:
    return pages(kb, [result])


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg\b.*?</svg>", text)]


# --- addresses and text --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "target", "wanted"),
    [
        ("compare/gaps.md", "methods/a.md", "../../methods/a/"),
        ("graph.md", "methods/a.md#lab", "../methods/a/#lab"),
        ("terms/index.md", "terms/scenario/b.md", "scenario/b/"),
        ("terms/index.md", "explorer.md?kind=a&b=c", "../explorer/?kind=a&amp;b=c"),
        ("terms/x/index.md", "terms/index.md", "../"),
        ("index.md", "graph.md", "graph/"),
        ("graph.md", "graph.md#table", "./#table"),
    ],
)
def test_an_address_leads_from_built_page_to_built_page(origin, target, wanted):
    assert address(origin, target) == wanted


def test_numbers_are_short():
    assert [charts.number(each) for each in (1.0, -0.04, 2.25, 1250.04, -3.0)] == [
        "1", "0", "2.2", "1250", "-3",
    ]  # fmt: skip


# --- sunburst ------------------------------------------------------------------------------------


def leaf(id_: str, count: int, below: tuple = (), own: int | None = None) -> charts.Slice:
    own = count if own is None else own
    return charts.Slice(id_, id_, f"{id_}/", {"method": count} if count else {}, own, below)


def test_slices_are_as_wide_as_their_entries():
    inner = (leaf("b", 3), leaf("c", 1))
    found = {each.slice.id: each for each in charts.placed([leaf("a", 5, inner, 1), leaf("d", 5)])}
    assert (found["a"].start, found["a"].end) == pytest.approx((0, 0.5))
    assert (found["d"].start, found["d"].end) == pytest.approx((0.5, 1))
    assert found["b"].end - found["b"].start == pytest.approx(0.3)
    # What `a` carries itself is a gap behind `c`.
    assert found["c"].end == pytest.approx(0.4)
    assert (found["b"].depth, found["b"].hue) == (1, found["a"].hue)


def test_a_term_without_entries_keeps_a_sliver():
    few = {each.slice.id: each for each in charts.placed([leaf("a", 9), leaf("b", 0)])}
    assert 0 < few["b"].end - few["b"].start < 0.05
    picture = charts.sunburst([leaf("a", 9), leaf("b", 0)], "x", 9)
    assert picture.count("empty") == 1
    assert charts.sunburst([], "nothing", 0).count("<a ") == 0


def test_a_ring_is_closed_and_a_whole_one_is_two_circles():
    quarter = charts.ring(0, 0.25, 50, 100)
    assert quarter == "M0 -100A100 100 0 0 1 100 0L50 0A50 50 0 0 0 0 -50z"
    assert charts.ring(0.2, 1.2, 50, 100).count("z") == 2
    assert " 0 1 1 " in charts.ring(0, 0.75, 50, 100)


def test_heat_grows_with_the_root():
    assert [charts.heat(value, 25) for value in (0, 1, 4, 9, 16, 25)] == [0, 1, 2, 3, 4, 5]
    assert charts.heat(0, 0) == 0


def test_every_term_has_a_slice_and_a_line(kb, made):
    text = made["terms/index.md"]
    for facet in kb.facets.values():
        assert f'<a href="#{facet.id}">' in text
        assert f"{{ #{facet.id} }}" in text
        carried = any(Atlas(kb).carriers_below(facet.id, term.id) for term in facet.terms)
        for term in facet.terms:
            assert (f'href="{facet.id}/{term.id}/"' in text) == carried, term.id
            assert f'<a href="{facet.id}/{term.id}/">' in text


def test_entries_of_a_term_lead_to_the_explorer(kb, made):
    text = made["terms/index.md"]
    assert '<a href="../explorer/?kind=method&amp;scenario=hallucination">1 method</a>' in text
    assert "?kind=method&amp;family=" in text
    assert "../../explorer/?kind=method" in made["terms/scenario/index.md"]
    atlas, facet = Atlas(kb), kb.facets["scenario"]
    for term in facet.terms:
        counts = taxonomy.by_kind(atlas, facet, term.id)
        assert sum(counts.values()) == len(atlas.carriers_below(facet.id, term.id))


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PICTURES[:3])
def test_drawings_are_xml_with_named_links(path, made):
    found = drawings(made[path])
    assert found
    for drawing in found:
        for link in drawing.iter("{http://www.w3.org/2000/svg}a"):
            assert link.get("aria-label") and link.get("href")


@pytest.mark.parametrize("path", ALL)
def test_raw_links_have_a_target(path, made, kb):
    folder = "/" + path.removesuffix(".md").removesuffix("index").rstrip("/")
    pages_there = {
        "/" + each.removesuffix(".md").removesuffix("index").rstrip("/") for each in made
    }
    hrefs = re.findall(r'<a\b[^>]*?href="([^"#?]*)[^"]*"', made[path])
    assert hrefs
    for href in hrefs:
        if href and not href.startswith("http"):
            target = posixpath.normpath(posixpath.join(folder, href))
            assert target in pages_there, href


@pytest.mark.parametrize("path", ALL)
def test_markup_in_a_record_stays_text(path, tree):
    bad = 'x</text></svg><script>alert(1)</script>"&`'
    tree.edit("papers/red-lantern.yaml", "name: Red Lantern", f"name: '{bad}'")
    tree.edit("papers/red-lantern.yaml", 'title: "Red Lantern: Fewer', f"title: '{bad} Fewer")
    tree.edit("papers/red-lantern.yaml", 'Objects"', "Objects'")
    tree.edit("papers/red-lantern.yaml", "difference: Adds the anchor.", f"difference: '{bad}'")
    tree.edit("taxonomy/scenario.yaml", "label: ", f"label: '{bad}' # ")
    text = pages(load(tree.root))[path]
    assert "<script>" not in text
    assert "alert" in text
    # What is not closed as it was opened does not parse.
    assert all(drawing is not None for drawing in drawings(text))


def test_pages_without_records_say_so(tree):
    for name in ("red-lantern", "blue-kite", "plain-pairs", "lamp"):
        (tree.root / "papers" / f"{name}.yaml").unlink()
    kb = load(tree.root)
    text = pages(kb)
    assert "No method reports on a benchmark yet." in text["compare/coverage.md"]
    assert "No objective is recorded" in text["graph.md"]
    assert "none</span>" in text["terms/index.md"]


# --- graph ---------------------------------------------------------------------------------------


def test_nodes_lie_apart_and_the_layout_is_the_same_every_time(kb):
    nodes = [node for node in kb.nodes() if node.kind in network.LANES]
    plan = network.layout(nodes)
    assert set(plan.places) == {node.ref for node in nodes}
    assert len(set(plan.places.values())) == len(nodes)
    assert network.layout(nodes) == plan
    assert all(0 < x < plan.width and 0 < y < plan.height for x, y in plan.places.values())
    # Later papers never lie left of earlier ones of the same kind.
    for kind in network.LANES:
        own = [node for node in nodes if node.kind == kind]
        own.sort(key=lambda node: network.first_seen(node.paper)[0])
        lefts = [plan.places[node.ref][0] for node in own]
        assert lefts == sorted(lefts)


def test_years_become_bands():
    assert network.year_bands([]) == []
    years = [2015, 2016] + [2023] * 8 + [2024] * 8
    assert [band.label for band in network.year_bands(years)] == ["2015 to 2016", "2023", "2024"]
    assert [band.label for band in network.year_bands([2024])] == ["2024"]


def test_the_edges_of_the_graph_are_those_of_the_records(kb):
    found = {(e.relation, e.source, e.target) for e in network.drawn_edges(Atlas(kb))}
    assert ("extends", "method:red-lantern", "method:plain-pairs") in found
    assert ("starts_from", "method:red-lantern", "model:lamp-7b") in found
    assert ("evaluated_on", "method:red-lantern", "benchmark:bench-one") in found
    # Related goes both ways, and is drawn once.
    ends = [frozenset(e[1:]) for e in found if e[0] == "related"]
    assert len(ends) == len(set(ends))


def test_the_table_of_the_graph_says_what_the_lines_say(made):
    table = made["graph.md"].split("{ #table")[1]
    row = next(row for row in table.split("<tr>") if "../methods/red-lantern/" in row[:80])
    assert '<a href="../methods/plain-pairs/">PlainPairs</a>' in row
    assert '<a href="../models/lamp-7b/">Lamp 7B</a>' in row


def test_the_tree_hangs_every_method_once(kb, made):
    below = network.children(Atlas(kb))
    assert [node.id for node in below[None]] == ["plain-pairs"]
    text = made["graph.md"].split("{ #lineage }")[1]
    assert '\n- <a href="../methods/plain-pairs/">PlainPairs</a>\n' in text
    assert '\n    - <a href="../methods/red-lantern/">Red Lantern</a>: Adds the anchor.\n' in text
    assert '\n        - <a href="../methods/blue-kite/">Blue Kite</a>' in text


# --- timeline ------------------------------------------------------------------------------------


def paper(year: int, arxiv: str | None) -> Paper:
    given = {"id": "a", "title": "A", "authors": ("B",), "year": year, "venue": "V", "summary": "S"}
    return Paper.model_construct(**given, arxiv=arxiv)


def test_the_month_comes_from_the_arxiv_number():
    assert network.first_seen(paper(2025, "2412.00001")) == (2024, 12)
    assert network.first_seen(paper(2025, None)) == (2025, 0)


def test_full_years_have_months_and_others_do_not():
    papers = [paper(2023, "2303.00001")] + [
        paper(2024, f"24{m:02}.00001") for m in range(2, 10)
    ] * 2
    found = compare_charts.slots([*papers, paper(2024, None)])
    assert found[0] == compare_charts.Slot(2023, None)
    assert [slot.month for slot in found[1:]] == [*range(2, 10), 0]
    assert compare_charts.slot_of(papers[0], found) == found[0]
    assert compare_charts.slot_of(papers[1], found).month == 2
    assert found[-1].label == "2024, month not known"


def test_every_paper_stands_in_the_timeline(kb, made):
    text = made["compare/timeline.md"]
    picture, table = text.split("{ #table")
    for node in kb.nodes("paper"):
        href = address("compare/timeline.md", Atlas(kb).path(node.ref))
        assert f'href="{href}"' in picture
        assert f'href="{href}"' in table
    assert "1 record" in picture or "records without an arXiv number" in picture


# --- coverage and gaps ---------------------------------------------------------------------------


def test_a_cell_counts_values_or_is_a_dot(kb, made):
    found = compare_charts.reports(Atlas(kb))
    values = sum(
        result.benchmark in kb.benchmarks for m in kb.methods.values() for result in m.results
    )
    assert sum(found.values()) == values > 0
    text = made["compare/coverage.md"]
    count = found["red-lantern", "bench-one"]
    assert re.search(rf'<td class="heat-\d">{count}</td>', text)


def test_a_method_without_values_has_a_dot(tree):
    tree.edit(
        "papers/blue-kite.yaml",
        "    own: [objective]",
        "    benchmarks: [bench-one]\n    own: [objective]",
    )
    assert '<td class="heat-1">·</td>' in pages(load(tree.root))["compare/coverage.md"]


def test_the_gaps_are_those_of_the_command(kb, made):
    from mmalign.ask import gaps, views

    facets = views.compiled(kb)["facets"]
    rows = [[views.row(kb, node) for node in kb.nodes(kind)] for kind in ("method", "benchmark")]
    text = made["compare/gaps.md"]
    for one, other in compare_charts.CROSSINGS:
        cells = gaps.cross(*(gaps.axis(name, facets, *rows) for name in (one, other)))
        assert f"{len(gaps.empty(cells))} of {len(cells)} cells are empty" in text
    query = "../../explorer/?kind=method&amp;scenario=hallucination&amp;annotation=human"
    assert f'<a href="{query}">1</a>' in text
    assert 'class="gap" title="expected 0.67"' in text


def test_turns_are_clockwise_from_the_top():
    each = charts.placed([leaf("a", 1), leaf("b", 1)])[0]
    x = math.sin(math.tau * (each.start + each.end) / 2)
    assert x > 0
