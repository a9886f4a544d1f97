"""The page of a method."""

from __future__ import annotations

from mmalign.records.kb import EntryNode
from mmalign.records.model import Method, Paper
from mmalign.site import equations, lab, parts, recipe, script
from mmalign.site.atlas import Atlas, Page, badge, path_of
from mmalign.site.parts import bullets, facts, join, section
from mmalign.site.text import (
    code,
    escape,
    front_matter,
    linked,
    number,
    shown_url,
    table,
)

FACETS = (
    "scenario",
    "modality",
    "data_source",
    "response_source",
    "annotation",
    "pair_difference",
    "objective_family",
    "future_direction",
)
SIGNS = {"lower": "lower than", "higher": "higher than", "equal": "the same as"}


def render(atlas: Atlas, node: EntryNode[Method]) -> str:
    page, method, paper = Page(atlas, path_of(node.ref)), node.entry, node.paper
    return join(
        front_matter(method.name, method.summary, hide=["navigation"], search={"boost": 2}),
        page.crumbs(("methods/index.md", "Methods")),
        f"# {escape(method.name)}",
        f"{escape(method.summary)}\n{{ .lead }}",
        _head(page, node),
        recipe.flow(page, node),
        _objective(page, method, paper),
        _variants(method),
        _training(page, method),
        _results(page, method),
        _claims(page, method),
        _lab(page, method),
        _smoke(page, method),
        _run(page, method),
        _reproduction(method),
        _frameworks(page, method),
        section("Notes", "notes", bullets(escape(note) for note in method.notes)),
        parts.errata(page, node),
        _lineage(page, method),
        parts.similar(page, node),
        parts.citation(paper),
        # Where the paper has no page of its own, all of its evidence stands here.
        parts.evidence(paper.evidence)
        if f"paper:{paper.id}" in atlas.sole
        else parts.evidence(atlas.kb.evidence_for(node), f"methods.{method.id}."),
    )


def _head(page: Page, node: EntryNode[Method]) -> str:
    method, paper, kb = node.entry, node.paper, page.atlas.kb
    rows = [
        ("Paper", f"{page.link(f'paper:{paper.id}')}<br>{parts.authors(paper, 6)}"),
        ("Published", parts.published(paper) + _and(parts.paper_links(paper))),
        ("Code", parts.code_link(paper)),
    ]
    rows += [
        (escape(kb.facets[facet].label), page.chips(node, facet))
        for facet in FACETS
        if facet in kb.facets
    ]
    rows += [
        ("Its own", escape(", ".join(method.own))),
        ("Also called", parts.names_of(node)),
        ("In the survey", parts.survey_place(method.survey or paper.survey)),
        ("Related", parts.related(page, node)),
        ("Record", parts.record_path(paper)),
    ]
    return facts(rows, "head")


def _and(text: str) -> str:
    return f" · {text}" if text else ""


def _objective(page: Page, method: Method, paper: Paper) -> str:
    objective = method.objective
    extends = ""
    if objective.parent:
        extends = f"Extends {page.link(f'method:{objective.parent}')}."
    difference = escape(objective.difference) if objective.difference else ""
    symbols = ""
    if objective.symbols:
        rows = "".join(
            f"<tr><td>{equations.inline(each.symbol)}</td><td>{escape(each.meaning)}</td></tr>"
            for each in objective.symbols
        )
        # Plain HTML on one line: nothing in it is a link, and MathML may hold any character.
        symbols = (
            '<table class="symbols"><thead><tr><th>Symbol</th><th>Meaning</th></tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )
    return section(
        "Objective",
        "objective",
        " ".join(filter(None, (extends, difference))),
        equations.block(objective.latex),
        f"{parts.objective_place(paper, method)}\n{{ .note }}",
        symbols,
        _parent_equation(page, method),
        equations.source(objective.latex),
    )


def _parent_equation(page: Page, method: Method) -> str:
    """The equation that this one extends, to be laid beside it."""
    parent = page.atlas.kb.methods.get(method.objective.parent or "")
    if parent is None:
        return ""
    return (
        f"<details><summary>The objective that it extends: {escape(parent.name)}</summary>"
        f"{equations.block(parent.objective.latex)}</details>"
    )


def _variants(method: Method) -> str:
    rows = []
    for variant in method.objective.variants:
        formula = f"<br>{equations.inline(variant.latex)}" if variant.latex else ""
        rows.append(
            [
                f"{badge(variant.of, 'source-' + variant.of)}<br>{linked(variant.place)}",
                escape(variant.differs) + formula,
                escape(variant.consequence),
            ]
        )
    if not rows:
        return ""
    return section(
        "Where survey and code differ from the paper",
        "variants",
        table(["Place", "What it computes instead", "What that changes"], rows),
    )


def _training(page: Page, method: Method) -> str:
    rows = [
        [escape(each.name), escape(each.value), linked(each.source), escape(each.note or "")]
        for each in method.hyperparameters
    ]
    return section(
        "Training",
        "training",
        facts(
            [
                ("Starts from", page.links("model", method.base_models)),
                ("Trains on", page.links("dataset", method.trains_on)),
                ("Evaluated on", page.links("benchmark", method.benchmarks)),
                ("Compared with", page.links("method", method.compares_with)),
            ]
        ),
        table(["Hyperparameter", "Value", "Source", "Note"], rows) if rows else "",
    )


def _results(page: Page, method: Method) -> str:
    rows = []
    for each in method.results:
        unit = f" {escape(each.unit)}" if each.unit else ""
        baseline = number(each.baseline_value) if each.baseline_value is not None else ""
        against = " ".join(filter(None, (baseline, f"({each.baseline})" if each.baseline else "")))
        rows.append(
            [
                page.link(f"benchmark:{each.benchmark}"),
                escape(each.metric),
                escape(each.model),
                f"<b>{number(each.value)}</b>{unit}",
                escape(against),
                parts.result_place(each),
                escape(each.note or ""),
            ]
        )
    if not rows:
        return ""
    head = ["Benchmark", "Metric", "Model", "Value", "Baseline", "Place", "Note"]
    elsewhere = sum(each.measured_by is not None for each in method.results)
    if not elsewhere:
        whose = "Numbers that the paper reports"
    elif elsewhere < len(rows):
        whose = "Numbers that the paper reports, but for those whose place names another source"
    else:
        whose = "Numbers that another source reports, not the paper of this method"
    note = f"{whose}; nobody reran them for this page.\n{{ .note }}"
    return section("Reported results", "results", table(head, rows), note, search=False)


def _claims(page: Page, method: Method) -> str:
    verdicts = lab.verdicts(page, method.id)
    rows = []
    for claim in method.claims:
        against = claim.against
        if f"method:{against}" in page.atlas.nodes:
            against = page.link(f"method:{against}")
        else:
            against = escape(against)
        verdict = verdicts.get(claim.id)
        if verdict:
            found = lab.verdict_badge(verdict["verdict"])
        elif claim.testable_in_lab:
            found = badge("not run yet", "open")
        else:
            found = badge("not testable", "open", "The lab has nothing to measure it with.")
        rows.append(
            [
                escape(claim.text),
                f"{code(claim.metric)} {SIGNS[claim.direction]} {against}",
                linked(claim.place),
                found,
            ]
        )
    if not rows:
        return ""
    head = ["The paper says", "To measure", "Place", "In the lab"]
    return section("Claims", "claims", table(head, rows))


def _lab(page: Page, method: Method) -> str:
    results = page.atlas.results.get(method.id, ())
    if len(results) < 2:
        return section("In the lab", "lab", *(lab.report(result) for result in results))
    return join(
        *(
            section(f"In the lab: {escape(r['world'])}", f"lab-{r['world']}", lab.report(r))
            for r in results
        )
    )


def _smoke(page: Page, method: Method) -> str:
    run = page.atlas.smoke.get(method.id)
    return section("Smoke run", "smoke", lab.smoke(run), search=False) if run else ""


def _run(page: Page, method: Method) -> str:
    """How to run the script, and the script itself."""
    if not method.reference_impl:
        return ""
    name = method.reference_impl.removesuffix(".py")
    path = f"reference_impls/methods/{name}.py"
    source = page.atlas.scripts.get(name)
    data = "" if source and script.plays(source) else "--dataset DATA "
    real = f"--model MODEL {data}--device cuda --dtype bfloat16"
    several = f"accelerate launch {path} {real} --no-baselines"
    rows = [
        ("In the lab, on a CPU", code(f"mmalign run {method.id}")),
        ("On a GPU, with a real model", code(f"mmalign run {method.id} {real}")),
        ("On several GPUs", code(several)),
    ]
    guide = page.to("guide/run-on-your-data.md", "Models, data and options")
    return section(
        "Run it",
        "run",
        facts(rows),
        f"{guide}; {code(f'mmalign run {method.id} --help')} lists all. "
        f"The script is {code(path)}.",
        f"<p>In it: {script.links(source)}.</p>" if source else "",
        script.shared(source) if source else "",
        script.listing(source) if source else "",
        search=False,
    )


def _yes(value: bool | None) -> str:
    return "" if value is None else badge("yes", "yes") if value else badge("no", "no")


def _reproduction(method: Method) -> str:
    card = method.reproduction
    if card is None:
        return ""
    blockers = bullets(
        escape(issue.text) + (f" {shown_url(issue.url)}" if issue.url else "")
        for issue in card.blockers
    )
    return section(
        "To get the paper's numbers",
        "reproduction",
        facts(
            [
                ("Code public", _yes(card.code_public)),
                ("Data public", _yes(card.data_public)),
                ("Weights public", _yes(card.weights_public)),
                ("Iterations", linked(card.iterations or "")),
                ("Decoding", linked(card.decoding or "")),
                ("Checkpoint", linked(card.checkpoint or "")),
                ("Data", linked(card.data or "")),
                ("Hardware", linked(card.hardware or "")),
            ]
        ),
        join("### Known obstacles", blockers) if blockers else "",
    )


def _frameworks(page: Page, method: Method) -> str:
    names = {node.name.lower(): node.ref for node in page.atlas.kb.nodes("framework")}
    rows = []
    for each in method.runs_in:
        ref = names.get(each.framework.lower())
        name = page.link(ref) if ref else escape(each.framework)
        note = f" {escape(each.note)}" if each.note else ""
        rows.append(
            [
                f"{name} {escape(each.version)}",
                code(each.how),
                _yes(each.faithful),
                linked(each.evidence) + note,
            ]
        )
    if not rows:
        return ""
    head = ["Framework", "Setting", "The paper's objective?", "Evidence"]
    return section("Runs in", "runs-in", table(head, rows))


def _lineage(page: Page, method: Method) -> str:
    """Ancestors, the method, and everything that extends it, as a nested list."""
    methods, seen = page.atlas.kb.methods, {method.id}
    ancestors: list[str] = []
    parent = method.objective.parent
    while parent and parent not in seen:
        ancestors.insert(0, parent)
        seen.add(parent)
        parent = methods[parent].objective.parent if parent in methods else None
    lines = [_item(page, id_, depth) for depth, id_ in enumerate(ancestors)]
    lines += descendants(page, method.id, len(ancestors), seen - {method.id})
    if len(lines) == 1:
        tree = ""
    else:
        tree = '<div class="tree" markdown>\n\n' + "\n".join(lines) + "\n\n</div>"
    compared = page.refs(page.atlas.sources("compares_with", f"method:{method.id}"))
    return section(
        "Lineage",
        "lineage",
        tree,
        f"A baseline in the papers of {compared}." if compared else "",
    )


def _item(page: Page, id_: str, depth: int) -> str:
    return f"{'    ' * depth}- {page.link(f'method:{id_}')}"


def descendants(page: Page, id_: str, depth: int, seen: set[str]) -> list[str]:
    """Lines of a nested list: a method and, below it, those whose objective extends it."""
    if id_ in seen:
        return []
    lines = [_item(page, id_, depth)]
    for ref in page.atlas.sources("extends", f"method:{id_}"):
        lines += descendants(page, ref.partition(":")[2], depth + 1, seen | {id_})
    return lines
