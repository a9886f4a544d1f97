"""The pages of the fabricated records."""

from __future__ import annotations

import posixpath
import re

import pytest

from mmalign.site import fragments, lab, pages
from mmalign.site.address import address_of
from mmalign.site.atlas import Atlas, path_of

HAND_WRITTEN = {"about/errata-policy.md", "lab/scenes.md", "index.md", "guide/run-a-method.md"}
LINK = re.compile(r'<a href="(?!https?:)([^"?#]*)[^"#]*(?:#([\w-]+))?"')


@pytest.fixture(scope="module")
def made(kb, result) -> dict[str, str]:
    return pages(kb, [result])


def test_every_node_and_facet_has_a_page(kb, made):
    atlas = Atlas(kb)
    assert {atlas.path(node.ref) for node in kb.nodes()} <= set(made)
    # A paper with one entry is shown on the page of the entry; a baseline's paper is not.
    assert atlas.sole == {
        "paper:blue-kite": "method:blue-kite", "paper:plain-pairs": "method:plain-pairs",
    }  # fmt: skip
    assert not {path_of(ref) for ref in atlas.sole} & set(made)
    assert {f"terms/{facet}/index.md" for facet in kb.facets} <= set(made)
    for path in ("methods", "papers", "datasets", "benchmarks", "models", "frameworks", "terms"):
        assert f"{path}/index.md" in made
    assert {"errata.md", "lab/results.md", "reference/cli.md"} <= set(made)


def test_the_help_of_the_command_line_is_handed_in(kb, made):
    given = pages(kb, commands="## mmalign\n\nsome help\n")
    assert "## mmalign\n\nsome help" in given["reference/cli.md"]
    assert "`mmalign --help` lists the commands" in made["reference/cli.md"]


def test_the_pages_are_the_same_every_time(kb, result, made):
    assert pages(kb, [result]) == made
    assert list(made) == sorted(made)


def test_every_link_has_a_target(made):
    count = 0
    for path, text in made.items():
        for target, anchor in LINK.findall(text):
            count += 1
            if posixpath.splitext(target)[1]:  # a plain file; test_api reads those
                continue
            # Links are those of the built pages: `a/b.md` becomes `a/b/index.html`.
            folder = posixpath.normpath(posixpath.join(address_of(path), target))
            full = {f"{folder}.md", f"{folder}/index.md", "index.md" if folder == "." else ""}
            assert full & ({*made} | HAND_WRITTEN), f"{path} links to {target}"
            for there in full & set(made) if anchor else ():
                wanted = rf"\{{ #{anchor}[ }}]|id=\"{anchor}\""
                assert re.search(wanted, made[there]), f"{path}: #{anchor}"
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
        "recipe", "objective", "variants", "training", "results", "claims", "lab", "errata",
        "lineage", "similar", "cite", "evidence",
    ]  # fmt: skip
    assert "[Fewer" not in text
    chip = '<a href="../../terms/scenario/hallucination/" class="chip scenario">Hallucination</a>'
    assert chip in text
    parent = '<a href="../plain-pairs/">PlainPairs</a>'
    assert f"Extends {parent}. Adds the anchor." in found["objective"]
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in found["objective"]
    assert "<td>the anchor, 0</td>" in found["objective"]
    assert "blob/0123abc/train.py#L10-L20" in found["variants"]
    assert "The code trains plain pairs." in found["variants"]
    assert "<td>beta</td><td>0.1</td><td>section 4</td>" in found["training"]
    assert '<a href="../../models/lamp-7b/">Lamp 7B</a>' in found["training"]
    assert "<b>12.5</b> %" in found["results"]
    assert "@inproceedings{red-lantern," in found["cite"]
    assert "../../errata/#red-lantern-year" in found["errata"]
    child = '<a href="../blue-kite/">Blue Kite</a>'
    assert f"- {parent}\n    - <b>Red Lantern</b>\n" in found["lineage"]
    assert f"        - {child}" in found["lineage"]
    assert f"A baseline in the papers of {child}." in found["lineage"]
    assert '<span class="badge verified">verified</span>' in found["evidence"]


def test_empty_sections_are_left_out(made):
    assert set(sections(made["methods/blue-kite.md"])) == {
        "recipe", "objective", "training", "lineage", "similar", "cite", "evidence"
    }  # fmt: skip


def test_edges_are_seen_from_both_ends(made):
    method = '<a href="../../methods/red-lantern/">Red Lantern</a>'
    assert method in made["datasets/red-lantern.md"]
    assert method in made["models/lamp-7b.md"]
    reported = sections(made["benchmarks/bench-one.md"])["reported"]
    assert reported.count(method) == 2
    contributes = sections(made["papers/red-lantern.md"])["contributes"]
    assert '"../../datasets/red-lantern/"' in contributes
    assert '"../../benchmarks/bench-one/"' in contributes
    assert '"../../../methods/red-lantern/"' in made["terms/scenario/hallucination.md"]


def test_an_id_that_nothing_has_is_plain_text(tree):
    from mmalign.records.read import load

    tree.edit("papers/blue-kite.yaml", "trains_on: [red-lantern]", "trains_on: [not-there]")
    text = pages(load(tree.root))["methods/blue-kite.md"]
    assert '<th scope="row">Trains on</th><td>not-there</td>' in text


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
    row = "<td><b>dpo</b></td><td>learning_rate 0.00001</td><td>0.200 <small>± 0.248</small></td>"
    assert row in found["lab"]
    row = (
        "<td><b>red-lantern</b></td><td>learning_rate 0.00001, delta 0</td><td>0.050</td><td></td>"
    )
    assert row in found["lab"]
    assert "Made up &#124; for tests." in found["lab"]
    assert "mmalign run red-lantern --seeds 1,2,3" in re.sub("<[^>]+>", "", found["lab"])
    assert '<span class="badge undecided">undecided</span>' in found["claims"]
    assert '<span class="badge open">not run yet</span>' in found["claims"]
    assert '"../../methods/red-lantern/#lab"' in made["lab/results.md"]


def test_results_of_two_worlds(kb, result):
    made = pages(kb, [result, {**result, "world": "video"}])
    found = sections(made["methods/red-lantern.md"])
    assert {"lab-scenes", "lab-video"} <= set(found)
    assert '"../../methods/red-lantern/#lab-video"' in made["lab/results.md"]


def test_a_result_of_an_unknown_method_is_listed_without_a_link(kb, result):
    made = pages(kb, [{**result, "method": "no-such"}])
    assert "<td>no-such</td><td>scenes, version 1</td>" in made["lab/results.md"]


# --- passages of hand-written pages --------------------------------------------------------------


def test_marks_are_replaced(kb, result):
    text = "# Home\n\n<!-- mmalign:counts -->\n\n<!-- mmalign:baselines scenes -->\n\nEnd.\n"
    plain = {"guide/x.md": text, "about/y.md": "# Y\n"}
    made = pages(kb, [result], plain)
    assert '<a href="../../methods/"><b>3</b> methods</a>' in made["guide/x.md"]
    assert "<td><b>base</b></td>" in made["guide/x.md"]
    assert "<b>red-lantern</b>" not in made["guide/x.md"]
    assert made["guide/x.md"].endswith("\n\nEnd.\n")
    assert "about/y.md" not in made


def test_an_unknown_mark_stops_the_build(kb):
    with pytest.raises(ValueError, match=r"docs/a\.md: no passage is called 'cuonts'; there are"):
        fragments.fill(Atlas(kb), "a.md", "<!-- mmalign:cuonts -->")


def test_every_passage_works_without_results(kb):
    asked = {"methods": " annotation human"}
    for name in fragments.FRAGMENTS:
        mark = f"<!-- mmalign:{name}{asked.get(name, '')} -->"
        assert fragments.fill(Atlas(kb), "index.md", mark).strip()
