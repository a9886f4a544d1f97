"""One table per kind, and the page of errata."""

from __future__ import annotations

from collections.abc import Callable

from mmalign.records.kb import entries_of
from mmalign.site import entries, lab, parts
from mmalign.site.atlas import Atlas, Page, badge, path_of
from mmalign.site.parts import join
from mmalign.site.text import escape, front_matter, table
from mmalign.vocabulary import KINDS, LABELS, SEVERITIES, Kind

LEADS = {
    "method": "Every catalogued alignment method: what it is for, who judges its data, and which "
    "objective it trains.",
    "paper": "Every record of the atlas, newest first.",
    "dataset": "Data to align models with.",
    "benchmark": "What aligned models are measured with.",
    "model": "Multimodal models that methods start from.",
    "framework": "Training frameworks, and the methods that they offer today.",
}


Table = tuple[list[str], list[list[str]]]
"""Heads, and rows of cells that are HTML already."""


def index(atlas: Atlas, kind: Kind) -> str:
    page = Page(atlas, path_of(f"{kind}:index"))
    head, rows = COLUMNS[kind](page)
    # Facet columns are shut out of the search: their words would find every index first.
    body = f'<div class="listing" markdown>\n\n{table(head, rows)}\n\n</div>' if rows else ""
    return join(
        front_matter(LABELS[kind][1], LEADS[kind], hide=["navigation", "toc"]),
        _siblings(page, kind),
        f"# {LABELS[kind][1]} {{ data-search-exclude }}",
        f"{LEADS[kind]}\n{{ .lead }}",
        body,
        "" if rows else f"No {LABELS[kind][0].lower()} is catalogued yet.",
        _offers(page) if kind == "framework" else "",
    )


def _siblings(page: Page, kind: str) -> str:
    """Links to the other pages of the same tab, whose sidebar gives its room to the table."""
    group = ("dataset", "benchmark", "model", "framework")
    if kind not in group:
        return ""
    shown = [
        f"<b>{LABELS[each][1]}</b>"
        if each == kind
        else page.to(path_of(f"{each}:index"), LABELS[each][1])
        for each in group
    ]
    return " · ".join(shown) + "\n{ .crumbs data-search-exclude }"


def _methods(page: Page) -> Table:
    facets = ("scenario", "objective_family", "annotation", "pair_difference")
    known = [facet for facet in facets if facet in page.atlas.kb.facets]
    head = ["Method", "Year", *(escape(page.atlas.kb.facets[f].label) for f in known), "Has"]
    rows = []
    for node in page.atlas.kb.nodes("method"):
        has = [
            badge("code") if node.paper.code else "",
            badge("script") if node.entry.reference_impl else "",
            badge("lab results", "results") if node.id in page.atlas.results else "",
        ]
        rows.append(
            [
                f"<b>{page.link(node.ref)}</b>",
                str(node.paper.year),
                *(page.chips(node, facet) for facet in known),
                f'<span class="has">{" ".join(filter(None, has))}</span>',
            ]
        )
    return head, rows


def _papers(page: Page) -> Table:
    rows = []
    for node in sorted(
        page.atlas.kb.nodes("paper"), key=lambda each: (-each.entry.year, each.entry.title.lower())
    ):
        made = [
            page.link(f"{kind}:{entry.id}", classes=f"kind {kind}")
            for kind, entry in entries_of(node.entry)
        ]
        rows.append(
            [
                f"{page.link(node.ref)}<br><small>{parts.authors(node.entry, 3)}</small>",
                str(node.entry.year),
                escape(node.entry.venue),
                " ".join(made),
            ]
        )
    return ["Paper", "Year", "Venue", "Contributes"], rows


def _datasets(page: Page) -> Table:
    rows = []
    for node in page.atlas.kb.nodes("dataset"):
        size = node.entry.size_released or node.entry.size_paper
        rows.append(
            [
                f"<b>{page.link(node.ref)}</b>",
                escape(size.text) if size else "",
                page.chips(node, "annotation"),
                page.chips(node, "modality"),
                escape(node.entry.licence or ""),
                page.refs(page.atlas.sources("trains_on", node.ref)),
            ]
        )
    return ["Dataset", "Size", "Annotation", "Modality", "Licence", "Methods"], rows


def _benchmarks(page: Page) -> Table:
    arrows = {"higher": "↑", "lower": "↓", "none": ""}
    rows = [
        [
            f"<b>{page.link(node.ref)}</b>",
            page.chips(node, "benchmark_dimension"),
            page.chips(node, "modality"),
            escape(", ".join(f"{m.name} {arrows[m.direction]}" for m in node.entry.metrics)),
            page.refs(page.atlas.sources("evaluated_on", node.ref)),
        ]
        for node in page.atlas.kb.nodes("benchmark")
    ]
    return ["Benchmark", "Dimension", "Modality", "Metrics", "Methods"], rows


def _models(page: Page) -> Table:
    rows = [
        [
            f"<b>{page.link(node.ref)}</b>",
            escape(", ".join(node.entry.sizes)),
            page.chips(node, "modality"),
            escape(node.entry.licence or ""),
            page.refs(page.atlas.sources("starts_from", node.ref)),
        ]
        for node in page.atlas.kb.nodes("model")
    ]
    return ["Model", "Sizes", "Modality", "Licence", "Methods"], rows


def _frameworks(page: Page) -> Table:
    rows = [
        [
            f"<b>{page.link(node.ref)}</b>",
            escape(node.entry.summary),
            escape(node.entry.licence or ""),
        ]
        for node in page.atlas.kb.nodes("framework")
    ]
    return ["Framework", "What it is", "Licence"], rows


def _offers(page: Page) -> str:
    found = sorted(entries.runs_in(page), key=lambda pair: pair[0].lower())
    if not found:
        return ""
    head = ["Framework", "Method", "Version", "Setting", "The paper's objective?"]
    rows = [[escape(name), *row] for name, row in found]
    return join(
        "## Which method runs where { #runs-in data-search-exclude }",
        f'<div class="listing" markdown>\n\n{table(head, rows)}\n\n</div>',
    )


COLUMNS: dict[Kind, Callable[[Page], Table]] = {
    "method": _methods,
    "paper": _papers,
    "dataset": _datasets,
    "benchmark": _benchmarks,
    "model": _models,
    "framework": _frameworks,
}
assert set(COLUMNS) == set(KINDS) - {"term"}


def errata(atlas: Atlas) -> str:
    """All errata, by where they stand and then as recorded."""
    page = Page(atlas, "errata.md")
    headings = {
        "survey": "In the survey",
        "awesome-list": "In the survey's list of papers",
        "paper": "In papers",
        "code": "In official code",
    }
    groups = []
    for source, heading in headings.items():
        items = [item for item in atlas.kb.errata if item.source == source]
        # What misleads most comes first.
        items.sort(key=lambda item: SEVERITIES.index(item.severity))
        if items:
            title = f"## {heading} ({len(items)}) {{ #{source} }}"
            groups.append(join(title, *(parts.erratum(page, item) for item in items)))
    return join(
        front_matter("Errata", "Errors of the survey, with proof."),
        "# Errata",
        "What the survey and other sources say that their own sources contradict, or leave out: "
        "each with the proof. What is only outdated was right when it was printed. "
        f"{page.to('about/errata-policy.md', 'How an erratum gets here')}.\n{{ .lead }}",
        *groups,
    )


def results(atlas: Atlas) -> str:
    page = Page(atlas, "lab/results.md")
    return join(
        front_matter("Results of the lab", "What the lab measured, by method."),
        "# Results of the lab",
        "What was measured when methods ran side by side in a world whose truth is known. A "
        f"verdict holds for that world only: {page.to('lab/scenes.md', 'what it can show')}.\n"
        "{ .lead }",
        f'<div class="listing" markdown>\n\n{lab.overview(atlas)}\n\n</div>',
    )
