"""Comparisons that are tables: objectives, data sets and results; and the page of them all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mmalign.records.kb import EntryNode
from mmalign.records.model import Dataset, Method, Result
from mmalign.site import equations, parts
from mmalign.site.atlas import Atlas, Page, badge
from mmalign.site.parts import join, section
from mmalign.site.text import escape, front_matter, number, shown_url, table

INDEX, OBJECTIVES = "compare/index.md", "compare/objectives.md"
DATASETS, RESULTS = "compare/datasets.md", "compare/results.md"

NOTATION = (
    ("I, x", "the image (or video, sound) and the prompt, which every term is given"),
    ("I^-", "a negative image: cropped, noised, painted, attacked or of something else"),
    ("y_w, y_l", "chosen and rejected response"),
    (r"\pi_\theta, \pi_{\mathrm{ref}}", "model in training and frozen reference"),
    (
        r"r(y \mid I) = \beta \log \frac{\pi_\theta(y \mid I, x)}{\pi_{\mathrm{ref}}(y \mid I, x)}",
        "implicit reward of a response: the scaled log-ratio of all its tokens",
    ),
    ("R", "reward of a whole response, by a model or a rule"),
    (r"\rho_t, A", "ratio of new to old probability of a token, and the advantage"),
    (r"\sigma", "the logistic function"),
)


def pages(atlas: Atlas) -> dict[str, str]:
    """Path -> Markdown of the four pages."""
    return {
        INDEX: index(atlas),
        OBJECTIVES: objectives(atlas),
        DATASETS: datasets(atlas),
        RESULTS: results(atlas),
    }


def _page(path: str, title: str, lead: str, *body: str) -> str:
    return join(
        front_matter(title, lead, hide=["navigation"]),
        f"# {title}",
        f"{lead}\n{{ .lead }}",
        *body,
    )


def index(atlas: Atlas) -> str:
    page = Page(atlas, INDEX)
    listed = [
        (OBJECTIVES, "Objectives", "every loss in one notation, by family: what Table 1 of the "
         "survey should have been"),
        (DATASETS, "Data sets", "sizes in the paper and as released, who answered, who judged, "
         "licences: what Table 2 should have been"),
        (RESULTS, "Reported results", "per benchmark, beside their baselines"),
        ("compare/coverage.md", "Coverage", "which method reports on which benchmark"),
        ("compare/timeline.md", "Timeline", "what came when, by scenario"),
        ("compare/gaps.md", "Gaps", "combinations that no catalogued method has tried"),
        ("graph.md", "Graph", "entries and how they hang together, with the lineage of objectives"),
        ("errata.md", "Errata", "what the survey, papers and code get wrong, with proof"),
        ("lab/results.md", "Lab results", "what happened to the claims that were run here"),
    ]  # fmt: skip
    items = [f"<b>{page.to(path, name)}</b>: {text}" for path, name, text in listed]
    return _page(INDEX, "Compare", "The same records, side by side.", parts.bullets(items))


# --- objectives ----------------------------------------------------------------------------------


def objectives(atlas: Atlas) -> str:
    page, kb = Page(atlas, OBJECTIVES), atlas.kb
    facet = kb.facets.get("objective_family")
    symbols = "".join(
        f"<tr><td>{equations.inline(symbol)}</td><td>{escape(meaning)}</td></tr>"
        for symbol, meaning in NOTATION
    )
    groups = []
    for term in facet.terms if facet else ():
        methods = [n for n in kb.nodes("method") if n.entry.objective.family == term.id]
        if methods:
            groups.append(
                section(
                    f"{escape(term.label)} ({len(methods)})",
                    term.id,
                    f"{page.link(f'term:objective_family/{term.id}')}: {escape(term.definition)}",
                    equations.block(term.form) if term.form else "",
                    _objectives(page, methods),
                    search=False,
                )
            )
    lead = (
        "Above each table stands the family's loss in one notation; in it, each method's own "
        "equation as its paper has it, and what the survey's Table 1 and the official code make "
        "of it."
    )
    notation = (
        '<table class="symbols"><thead><tr><th scope="col">Symbol</th><th scope="col">Meaning</th>'
        f"</tr></thead><tbody>{symbols}</tbody></table>"
    )
    return _page(
        OBJECTIVES, "Objectives", lead, section("One notation", "notation", notation), *groups
    )


def _objectives(page: Page, nodes: Iterable[EntryNode[Method]]) -> str:
    rows = []
    for node in nodes:
        method = node.entry
        parent = method.objective.parent
        extends = page.link(f"method:{parent}") if parent else ""
        rows.append(
            [
                f"<b>{page.link(node.ref)}</b>",
                f"{equations.block(method.objective.latex)}<small>"
                f"{parts.objective_place(node.paper, method)}</small>",
                f"{extends}<br>{escape(method.objective.difference or '')}",
                _needs(method),
                _deviations(page, method),
            ]
        )
    head = ["Method", "Objective", "Extends, and what is new", "Needs", "Told otherwise"]
    return f'<div class="wide">{table(head, rows)}</div>'


def _needs(method: Method) -> str:
    """What a run of this objective has to provide, read off the record."""
    latex = method.objective.latex
    family = method.objective.family
    found = []
    if method.pair_difference:
        pairs = {"text": "pairs of texts", "image": "pairs of images", "both": "pairs of both"}
        found.append(pairs.get(method.pair_difference, "pairs"))
    if "ref" in latex or "dpo" in latex.lower():
        found.append("a reference model")
    if family in ("grpo", "rloo", "rlhf-ppo", "agent-ppo"):
        found.append("sampling and a reward")
    return ", ".join(found)


def _deviations(page: Page, method: Method) -> str:
    """Where survey or code compute something else, as marks that lead to the passage."""
    counts: dict[str, int] = {}
    for variant in method.objective.variants:
        counts[variant.of] = counts.get(variant.of, 0) + 1
    words = {"survey": "by the survey", "code": "by the code", "paper": "in the paper"}
    return "<br>".join(
        page.to(f"methods/{method.id}.md#variants", badge(f"{words[of]}: {n}", f"source-{of}"))
        for of, n in counts.items()
    )


# --- data sets -----------------------------------------------------------------------------------


def datasets(atlas: Atlas) -> str:
    page = Page(atlas, DATASETS)
    nodes = list(atlas.kb.nodes("dataset"))
    cited = [node for node in nodes if _in_table_2(node)]
    head = [
        "Data set", "In the paper", "As released", "Images and prompts", "Responses by",
        "Annotated by", "Differs", "Licence", "Get it", "Table 2",
    ]  # fmt: skip
    groups = [
        ("Of the survey's Table 2", "table-2", cited),
        ("Others", "others", [node for node in nodes if node not in cited]),
    ]
    body = [
        section(
            f"{title} ({len(found)})",
            anchor,
            f'<div class="wide">{table(head, [_dataset(page, node) for node in found])}</div>',
            search=False,
        )
        for title, anchor, found in groups
        if found
    ]
    lead = (
        "What the survey's Table 2 should have been: sizes in the paper and as released, told "
        "apart; who answered and who judged; and where the table is wrong."
    )
    return _page(DATASETS, "Data sets", lead, *body)


def _in_table_2(node: EntryNode[Dataset]) -> bool:
    place = node.entry.survey or node.paper.survey
    return place is not None and 2 in place.tables


def _dataset(page: Page, node: EntryNode[Dataset]) -> list[str]:
    data = node.entry
    wrong = [e for e in page.atlas.kb.errata_about(node) if "Table 2" in e.where]
    return [
        f"<b>{page.link(node.ref)}</b><br><small>{node.paper.year}</small>",
        escape(data.size_paper.text) if data.size_paper else "",
        escape(data.size_released.text) if data.size_released else "",
        escape(", ".join(data.sources)) or page.chips(node, "data_source"),
        escape(", ".join(data.response_models)) or page.chips(node, "response_source"),
        escape(", ".join(data.annotators)) or page.chips(node, "annotation"),
        page.chips(node, "pair_difference"),
        escape(data.licence or ""),
        shown_url(data.location) if data.location else "",
        "<br>".join(page.to(f"errata.md#{e.id}", parts.severity(e)) for e in wrong),
    ]


# --- reported results ----------------------------------------------------------------------------


def results(atlas: Atlas) -> str:
    page, kb = Page(atlas, RESULTS), atlas.kb
    by_benchmark: dict[str, list[tuple[Method, Result]]] = {}
    for method in kb.methods.values():
        for each in method.results:
            by_benchmark.setdefault(each.benchmark, []).append((method, each))
    order = sorted(by_benchmark, key=lambda id_: (-len({m.id for m, _ in by_benchmark[id_]}), id_))
    listed = ", ".join(
        f'<a href="#{id_}">{escape(kb.benchmarks[id_].name)}</a> '
        f'<span class="count">{len({m.id for m, _ in by_benchmark[id_]})}</span>'
        for id_ in order
        if id_ in kb.benchmarks
    )
    groups = []
    for id_ in order:
        if id_ not in kb.benchmarks:
            continue
        directions = {m.name.lower(): m.direction for m in kb.benchmarks[id_].metrics}
        rows = [_result(page, m, each, directions) for m, each in _by_model(by_benchmark[id_])]
        head = ["Trained model", "Method", "Metric", "Value", "Baseline", "Change", "Place"]
        title = page.link(f"benchmark:{id_}")
        groups.append(
            section(title, id_, f'<div class="wide">{table(head, rows)}</div>', search=False)
        )
    lead = (
        "Numbers as their own papers report them, unless the place says otherwise, by benchmark "
        "and by the model that was trained. "
        "Decoding, judges and splits differ from paper to paper: compare a number with the "
        "baseline beside it, and two papers only where you have looked at both."
    )
    return _page(RESULTS, "Reported results", lead, f"<p>{listed}</p>", *groups)


def _by_model(found: Iterable[tuple[Method, Result]]) -> list[tuple[Method, Result]]:
    return sorted(found, key=lambda pair: (pair[1].model.lower(), pair[1].metric, pair[0].id))


ARROWS = {"higher": "↑", "lower": "↓", "none": ""}


def _direction(metric: str, directions: Mapping[str, str]) -> str:
    """Which way a reported metric is better: that of the benchmark's metric with which its name
    begins. A reduction or change of a metric is another quantity; what is not known has none."""
    said = metric.lower()
    if "reduction" in said or "change" in said:
        return "none"
    names = [name for name in directions if re.match(rf"{re.escape(name)}(?![\w-])", said)]
    return directions[max(names, key=len)] if names else "none"


def _result(page: Page, method: Method, each: Result, directions: Mapping[str, str]) -> list[str]:
    direction = _direction(each.metric, directions)
    change = ""
    if each.baseline_value is not None:
        gain = each.value - each.baseline_value
        better = "" if direction == "none" or not gain else (
            "better" if (gain > 0) == (direction == "higher") else "worse"
        )  # fmt: skip
        change = f"{gain:+.4g}" + (
            f" {badge(better, 'yes' if better == 'better' else 'no')}" if better else ""
        )
    against = " ".join(
        filter(
            None,
            (
                number(each.baseline_value) if each.baseline_value is not None else "",
                f"({escape(each.baseline)})" if each.baseline else "",
            ),
        )
    )
    unit = f" {escape(each.unit)}" if each.unit else ""
    return [
        escape(each.model),
        page.link(f"method:{method.id}"),
        f"{escape(each.metric)} {ARROWS[direction]}".strip(),
        f"<b>{number(each.value)}</b>{unit}",
        against,
        change,
        parts.result_place(each),
    ]
