"""The pages of the fabricated records."""

from __future__ import annotations

import posixpath
import re

import pytest

from mmalign.site import fragments, lab, pages
from mmalign.site.atlas import Atlas, path_of

HAND_WRITTEN = {"about/errata-policy.md", "lab/scenes.md", "index.md", "guide/run-a-method.md"}
LINK = re.compile(r"\]\(([^)\s]+\.md)(?:#([\w-]+))?\)")


@pytest.fixture(scope="module")
def made(kb, result) -> dict[str, str]:
    return pages(kb, [result])


def test_every_node_and_facet_has_a_page(kb, made):
    assert {path_of(node.ref) for node in kb.nodes()} <= set(made)
    assert {f"terms/{facet}/index.md" for facet in kb.facets} <= set(made)
    for path in ("methods", "papers", "datasets", "benchmarks", "models", "frameworks", "terms"):
        assert f"{path}/index.md" in made
    assert {"errata.md", "lab/results.md", "reference/cli.md"} <= set(made)


def test_the_pages_are_the_same_every_time(kb, result, made):
    assert pages(kb, [result]) == made
    assert list(made) == sorted(made)


def test_every_link_has_a_target(made):
    count = 0
    for path, text in made.items():
        for target, anchor in LINK.findall(text):
            count += 1
            full = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            assert full in made or full in HAND_WRITTEN, f"{path} links to {target}"
            if anchor and full in made:
                assert re.search(rf"\{{ #{anchor}[ }}]", made[full]), f"{path}: #{anchor}"
    assert count > 100


def test_titles_are_first_and_only(made):
    for path, text in made.items():
        assert text.startswith("---\ntitle: "), path
        body = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        assert len(re.findall(r"^# ", body, re.MULTILINE)) == 1, path


def sections(text: str) -> dict[str, str]:
    """Anchor of each second-level section -> its Markdown."""
    parts = re.split(r"^## .*?\{ #([\w-]+).*?\}$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_a_method_shows_everything_of_its_record(made):
    text = made["methods/red-lantern.md"]
    found = sections(text)
    assert list(found) == [
        "objective", "variants", "training", "results", "claims", "lab", "errata", "lineage",
        "cite", "evidence",
    ]  # fmt: skip
    assert "[Fewer" not in text
    assert "](../terms/scenario/hallucination.md){ .chip .scenario }" in text
    assert "Extends [PlainPairs](plain-pairs.md). Adds the anchor." in found["objective"]
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in found["objective"]
    assert "<td>the anchor, 0</td>" in found["objective"]
    assert "blob/0123abc/train.py#L10-L20" in found["variants"]
    assert "The code trains plain pairs." in found["variants"]
    assert "<td>beta</td><td>0.1</td><td>section 4</td>" in found["training"]
    assert "[Lamp 7B](../models/lamp-7b.md)" in found["training"]
    assert "**12.5** %" in found["results"]
    assert "@inproceedings{red-lantern," in found["cite"]
    assert "../errata.md#red-lantern-year" in found["errata"]
    assert "- [PlainPairs](plain-pairs.md)\n    - **Red Lantern**\n" in found["lineage"]
    assert "        - [Blue Kite](blue-kite.md)" in found["lineage"]
    assert "A baseline in the papers of [Blue Kite](blue-kite.md)." in found["lineage"]
    assert '<span class="badge verified">verified</span>' in found["evidence"]


def test_empty_sections_are_left_out(made):
    assert set(sections(made["methods/blue-kite.md"])) == {
        "objective", "training", "lineage", "cite", "evidence"
    }  # fmt: skip


def test_edges_are_seen_from_both_ends(made):
    assert "[Red Lantern](../methods/red-lantern.md)" in made["datasets/red-lantern.md"]
    assert "[Red Lantern](../methods/red-lantern.md)" in made["models/lamp-7b.md"]
    reported = sections(made["benchmarks/bench-one.md"])["reported"]
    assert reported.count("[Red Lantern](../methods/red-lantern.md)") == 2
    contributes = sections(made["papers/red-lantern.md"])["contributes"]
    assert "(../datasets/red-lantern.md)" in contributes
    assert "(../benchmarks/bench-one.md)" in contributes
    assert "(../../methods/red-lantern.md)" in made["terms/scenario/hallucination.md"]


def test_an_id_that_nothing_has_is_plain_text(tree):
    from mmalign.load import load

    tree.edit("papers/blue-kite.yaml", "trains_on: [red-lantern]", "trains_on: [not-there]")
    text = pages(load(tree.root))["methods/blue-kite.md"]
    assert "| Trains on | not-there |" in text


# --- the lab -------------------------------------------------------------------------------------


def test_the_interval_is_students():
    # Mean 2, standard deviation 1, t(0.975, 2) = 4.303: 4.303 / sqrt(3) = 2.484.
    mean, half = lab.interval([1, 2, 3])
    assert mean == 2
    assert half == pytest.approx(2.4843, abs=1e-4)
    assert lab.interval([5.0]) == (5.0, None)
    assert lab.interval([4.0] * 10) == (4.0, 0.0)


@pytest.mark.parametrize(
    ("df", "quantile"),
    [(1, 12.706), (4, 2.776), (9, 2.262), (30, 2.042), (60, 2.000), (120, 1.980)],
)
def test_the_quantiles_are_those_of_a_printed_table(df, quantile):
    values = [0.0, 1.0] + [0.5] * (df - 1)  # variance 0.5 / df
    mean, half = lab.interval(values)
    assert mean == 0.5
    assert half == pytest.approx(quantile * (0.5 / df / (df + 1)) ** 0.5, rel=0.002)


def test_results_and_verdicts(made):
    found = sections(made["methods/red-lantern.md"])
    row = "| **dpo** | learning_rate 0.00001 | 0.200 <small>± 0.248</small> |"
    assert row in found["lab"]
    assert "| **red-lantern** | learning_rate 0.00001, delta 0 | 0.050 |  |" in found["lab"]
    assert "Made up &#124; for tests." in found["lab"]
    assert "mmalign run red-lantern --seeds 1,2,3" in found["lab"]
    assert '<span class="badge not-shown">not shown</span>' in found["claims"]
    assert '<span class="badge open">not run yet</span>' in found["claims"]
    assert "(../methods/red-lantern.md#lab)" in made["lab/results.md"]


def test_results_of_two_worlds(kb, result):
    made = pages(kb, [result, {**result, "world": "video"}])
    found = sections(made["methods/red-lantern.md"])
    assert {"lab-scenes", "lab-video"} <= set(found)
    assert "(../methods/red-lantern.md#lab-video)" in made["lab/results.md"]


def test_a_result_of_an_unknown_method_is_listed_without_a_link(kb, result):
    made = pages(kb, [{**result, "method": "no-such"}])
    assert "| no-such | scenes, version 1 |" in made["lab/results.md"]


# --- passages of hand-written pages --------------------------------------------------------------


def test_marks_are_replaced(kb, result):
    text = "# Home\n\n<!-- mmalign:counts -->\n\n<!-- mmalign:baselines scenes -->\n\nEnd.\n"
    plain = {"guide/x.md": text, "about/y.md": "# Y\n"}
    made = pages(kb, [result], plain)
    assert "[**3** methods](../methods/index.md)" in made["guide/x.md"]
    assert "| **base** |" in made["guide/x.md"]
    assert "red-lantern**" not in made["guide/x.md"]
    assert made["guide/x.md"].endswith("\n\nEnd.\n")
    assert "about/y.md" not in made


def test_an_unknown_mark_stops_the_build(kb):
    with pytest.raises(ValueError, match=r"docs/a\.md: no passage is called 'cuonts'; there are"):
        fragments.fill(Atlas(kb), "a.md", "<!-- mmalign:cuonts -->")


def test_every_passage_works_without_results(kb):
    for name in fragments.FRAGMENTS:
        assert fragments.fill(Atlas(kb), "index.md", f"<!-- mmalign:{name} -->").strip()
