"""Pages of papers, datasets, benchmarks, models and frameworks."""

from __future__ import annotations

from mmalign.records.kb import EntryNode, entries_of
from mmalign.records.model import Benchmark, Dataset, Framework, ModelEntry, Paper, Size
from mmalign.site import parts
from mmalign.site.atlas import Atlas, Page, badge, path_of
from mmalign.site.parts import bullets, facts, join, section
from mmalign.site.text import code, escape, front_matter, linked, number, shown_url, table
from mmalign.vocabulary import COLLECTIONS, LABELS

Resource = Dataset | Benchmark | ModelEntry | Framework
"""What can be had somewhere, under a licence."""


def paper(atlas: Atlas, node: EntryNode[Paper]) -> str:
    page, record = Page(atlas, path_of(node.ref)), node.entry
    place = "not cited there" if record.beyond_survey else parts.survey_place(record.survey)
    introduced = [
        f"{badge(LABELS[kind][0], kind)} {page.link(f'{kind}:{entry.id}')}: {escape(entry.summary)}"
        for kind, entry in entries_of(record)
    ]
    return join(
        front_matter(record.title, record.summary, hide=["navigation"]),
        page.crumbs(("papers/index.md", "Papers")),
        f"# {escape(record.title)}",
        f"{parts.authors(record)}\n{{ .authors }}",
        f"{escape(record.summary)}\n{{ .lead }}",
        facts(
            [
                ("Published", parts.published(record)),
                ("Read it", parts.paper_links(record)),
                ("Code", parts.code_link(record)),
                ("In the survey", place),
                ("Related", parts.related(page, node)),
                ("Record", parts.record_path(record)),
            ],
            "head",
        ),
        section("What it contributes", "contributes", bullets(introduced)),
        parts.errata(page, node),
        parts.citation(record),
        parts.evidence(record.evidence),
    )


def dataset(atlas: Atlas, node: EntryNode[Dataset]) -> str:
    data = node.entry
    return _entry(
        atlas,
        node,
        [
            ("Size in the paper", _size(data.size_paper)),
            ("Size as released", _size(data.size_released)),
            ("Images and prompts from", escape(", ".join(data.sources))),
            ("Responses by", escape(", ".join(data.response_models))),
            ("Annotated by", escape(", ".join(data.annotators))),
        ],
        [("trains_on", "Methods that train on it")],
    )


def benchmark(atlas: Atlas, node: EntryNode[Benchmark]) -> str:
    entry = node.entry
    better = {"higher": "higher is better", "lower": "lower is better", "none": "neither way"}
    metrics = table(
        ["Metric", "Better", "Meaning"],
        [
            [escape(metric.name), better[metric.direction], escape(metric.meaning or "")]
            for metric in entry.metrics
        ],
    )
    return _entry(
        atlas,
        node,
        [
            ("Size", _size(entry.size)),
            ("Judge", escape(entry.judge) if entry.judge else "answers are matched by rule"),
        ],
        [("evaluated_on", "Methods that report on it")],
        section("Metrics", "metrics", metrics),
        _reported(atlas, node),
    )


def model(atlas: Atlas, node: EntryNode[ModelEntry]) -> str:
    sizes = [("Sizes", escape(", ".join(node.entry.sizes)))]
    return _entry(atlas, node, sizes, [("starts_from", "Methods that start from it")])


def framework(atlas: Atlas, node: EntryNode[Framework]) -> str:
    page = Page(atlas, path_of(node.ref))
    rows = [row for name, row in runs_in(page) if name.lower() in (node.id, node.name.lower())]
    offered = table(["Method", "Version", "Setting", "The paper's objective?"], rows)
    return _entry(
        atlas, node, [], [], section("Methods that it offers", "methods", offered if rows else "")
    )


def runs_in(page: Page) -> list[tuple[str, list[str]]]:
    """(framework's name, row of a table) for each method that says where it runs."""
    found = []
    for method in page.atlas.kb.methods.values():
        for each in method.runs_in:
            faithful = badge("yes", "yes") if each.faithful else badge("no", "no")
            name = page.link(f"method:{method.id}")
            found.append((each.framework, [name, escape(each.version), code(each.how), faithful]))
    return found


def _size(size: Size | None) -> str:
    return "" if size is None else linked(size.text + (f" ({size.source})" if size.source else ""))


def _entry(
    atlas: Atlas,
    node: EntryNode[Resource],
    own: list[tuple[str, str]],
    relations: list[tuple[str, str]],
    *sections: str,
) -> str:
    page, entry, record = Page(atlas, path_of(node.ref)), node.entry, node.paper
    facets = [
        (escape(facet.label), page.chips(node, facet.id)) for facet in atlas.kb.facets.values()
    ]
    sole = f"paper:{record.id}" in atlas.sole
    rows = [
        ("Paper", f"{page.link(f'paper:{record.id}')}<br>{parts.authors(record, 6)}"),
        (
            "Published",
            " · ".join(filter(None, (parts.published(record), parts.paper_links(record)))),
        ),
        ("Code", parts.code_link(record)),
        *own,
        *facets,
        ("Licence", escape(entry.licence) if entry.licence else ""),
        ("Get it", shown_url(entry.location) if entry.location else ""),
        ("Also called", parts.names_of(node)),
        ("In the survey", parts.survey_place(entry.survey or record.survey)),
        ("Related", parts.related(page, node)),
        *((label, page.refs(atlas.sources(relation, node.ref))) for relation, label in relations),
        ("Record", parts.record_path(record)),
    ]
    notes = entry.notes if isinstance(entry, (Dataset, Benchmark)) else ()
    return join(
        front_matter(entry.name, entry.summary, hide=["navigation"]),
        page.crumbs((path_of(f"{node.kind}:index"), LABELS[node.kind][1])),
        f"# {escape(entry.name)}",
        f"{escape(entry.summary)}\n{{ .lead }}",
        facts(rows, "head"),
        *sections,
        section("Notes", "notes", bullets(map(escape, notes))),
        parts.errata(page, node),
        parts.similar(page, node) if node.kind in ("dataset", "benchmark") else "",
        parts.citation(record),
        # Where the paper has no page of its own, its evidence stands here, too.
        parts.evidence(record.evidence)
        if sole
        else parts.evidence(atlas.kb.evidence_for(node), f"{COLLECTIONS[node.kind]}.{node.id}."),
    )


def _reported(atlas: Atlas, node: EntryNode[Benchmark]) -> str:
    """Numbers that methods report on a benchmark."""
    page, rows = Page(atlas, path_of(node.ref)), []
    for method in atlas.kb.methods.values():
        for each in method.results:
            if each.benchmark != node.id:
                continue
            unit = f" {escape(each.unit)}" if each.unit else ""
            baseline = number(each.baseline_value) if each.baseline_value is not None else ""
            against = f"({each.baseline})" if each.baseline else ""
            rows.append(
                [
                    page.link(f"method:{method.id}"),
                    escape(each.metric),
                    escape(each.model),
                    f"<b>{number(each.value)}</b>{unit}",
                    escape(f"{baseline} {against}"),
                    parts.result_place(each),
                ]
            )
    if not rows:
        return ""
    head = ["Method", "Metric", "Model", "Value", "Baseline", "Place"]
    note = (
        "Each number as its own paper reports it, unless its place says otherwise. Models, "
        "decoding and judges differ from paper to paper, so this is not a ranking.\n{ .note }"
    )
    return section("Reported on it", "reported", table(head, rows), note, search=False)
