"""JSON views of the knowledge base: the short row of a listing and the full card of one node.

Field names are the record's own. Added to them are `kind`, `id`, `ref`, `name`, `paper` (a summary)
and what is computed: `has`, `used_by`, `extended_by`, `entries`.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmalign.ask import search
from mmalign.records.kb import AnyNode, EntryNode, KnowledgeBase, TermNode
from mmalign.records.model import Erratum, Evidence, Facet, Method, Paper
from mmalign.vocabulary import COLLECTIONS, KINDS, SEVERITIES, facet_key

PAPER_FIELDS = (
    "id", "type", "title", "authors", "year", "venue", "arxiv", "openreview", "doi", "code", "page",
    "licence", "beyond_survey",
)  # fmt: skip
# Fields of entries that a row leaves to the card.
LONG_FIELDS = {
    "hyperparameters", "results", "claims", "reproduction", "runs_in", "notes", "survey",
}  # fmt: skip
# Field of a method -> kind of what it names.
USES = {
    "trains_on": "dataset",
    "benchmarks": "benchmark",
    "base_models": "model",
    "compares_with": "method",
}


def key(facet: Facet) -> str:
    """Name of a facet as option and column."""
    return facet_key(facet.field)


def facets(kb: KnowledgeBase) -> dict[str, dict]:
    """Facets by id, as plain data with their `key`."""
    return {
        facet.id: {**facet.model_dump(mode="json", exclude={"id"}), "key": key(facet)}
        for facet in kb.facets.values()
    }


def paper_summary(paper: Paper) -> dict:
    """The bibliography of a paper."""
    dumped = paper.model_dump(mode="json", include=set(PAPER_FIELDS))
    return {field: dumped[field] for field in PAPER_FIELDS}


def has(node: AnyNode) -> list[str]:
    """Which of `code`, `impl` (a script in the lab) and `results` (reported) an entry has."""
    entries = [node.entry]
    if isinstance(node.entry, Paper):
        entries = [e for c in COLLECTIONS.values() for e in getattr(node.entry, c)]
    found = {
        "code": isinstance(node, EntryNode) and node.paper.code is not None,
        "impl": any(getattr(entry, "reference_impl", None) for entry in entries),
        "results": any(getattr(entry, "results", ()) for entry in entries),
    }
    return [name for name, there in found.items() if there]


def row(kb: KnowledgeBase, node: AnyNode) -> dict:
    """The short view: identity, facets, links to other entries, and the paper's summary."""
    view = {"kind": node.kind, "id": node.id, "ref": node.ref, "name": node.name}
    entry = node.entry
    if isinstance(entry, Paper):
        dumped = paper_summary(entry)
        view |= {field: dumped[field] for field in PAPER_FIELDS if field != "id"}
        view["summary"] = entry.summary
        view |= {c: [e.id for e in getattr(entry, c)] for c in COLLECTIONS.values()}
        view |= {key(f): list(kb.facet_values(node, f.id)) for f in kb.facets.values()}
    else:
        dumped = entry.model_dump(mode="json", by_alias=True, exclude=LONG_FIELDS)
        view |= {field: value for field, value in dumped.items() if field not in view}
        if isinstance(entry, Method):
            view["objective"] = {part: dumped["objective"][part] for part in ("family", "parent")}
    if isinstance(node, TermNode):
        view = {**view, "facet": node.facet, "entries": len(_carriers(kb, node))}
    else:
        view["has"] = has(node)
        view["paper"] = paper_summary(node.paper)
    return view


def card(kb: KnowledgeBase, node: AnyNode) -> dict:
    """The full view: every field of the record, its evidence and its errata."""
    view = {"kind": node.kind, "id": node.id, "ref": node.ref, "name": node.name}
    if isinstance(node, EntryNode):
        view["paper"] = paper_summary(node.paper)
    dumped = node.entry.model_dump(mode="json", by_alias=True)
    view |= {field: value for field, value in dumped.items() if field not in view}
    if isinstance(node, TermNode):
        view["facet"] = node.facet
        view["children"] = [
            term.id for term in kb.facets[node.facet].terms if term.parent == node.id
        ]
        view["entries"] = _carriers(kb, node)
    else:
        view["has"] = has(node)
        view |= _uses(kb, node)
        view["evidence"] = [evidence(item) for item in kb.evidence_for(node)]
    view["errata"] = [erratum(item) for item in kb.errata_about(node)]
    return view


def _carriers(kb: KnowledgeBase, node: TermNode) -> list[str]:
    """Full names of the entries that carry a term or one below it."""
    terms = kb.term_closure(node.facet, node.id)
    return [
        other.ref
        for kind in kb.facets[node.facet].applies_to
        for other in kb.nodes(kind)
        if terms & set(kb.facet_values(other, node.facet))
    ]


def _uses(kb: KnowledgeBase, node: AnyNode) -> dict:
    """Methods that name this entry: those that use it, and those whose objective extends it."""
    if node.kind == "paper":
        return {}
    fields = [field for field, kind in USES.items() if kind == node.kind]
    methods = list(kb.methods.values())
    found = {
        "used_by": [
            f"method:{m.id}" for m in methods if any(node.id in getattr(m, f) for f in fields)
        ]
    }
    if node.kind == "method":
        found["compared_by"] = found.pop("used_by")
        children = [m for m in methods if m.objective.parent == node.id]
        found["extended_by"] = [f"method:{m.id}" for m in children]
    return found


def evidence(item: Evidence) -> dict:
    return item.model_dump(mode="json", by_alias=True)


def erratum(item: Erratum) -> dict:
    return {
        "kind": "erratum",
        "id": item.id,
        "ref": f"erratum:{item.id}",
        "name": item.where,
        **item.model_dump(mode="json"),
    }


def claims(node: AnyNode) -> list[dict]:
    """The claims of a method, each with the method and the paper it stands in."""
    return [
        {
            "kind": "claim",
            "id": claim.id,
            "ref": f"claim:{node.id}/{claim.id}",
            "name": f"{node.name}: {claim.id}",
            "method": node.id,
            **claim.model_dump(mode="json", exclude={"id"}),
            "paper": paper_summary(node.paper),
        }
        for claim in node.entry.claims
    ]


def stats(kb: KnowledgeBase) -> dict:
    """Counts of everything, computed."""
    methods = list(kb.nodes("method"))
    papers = kb.papers.values()
    status = dict.fromkeys(("verified", "reported", "inferred"), 0)
    for paper in papers:
        for item in paper.evidence:
            status[item.status] += 1
    severity = dict.fromkeys(SEVERITIES, 0)
    for item in kb.errata:
        severity[item.severity] += 1
    years: dict[int, int] = {}
    for paper in papers:
        years[paper.year] = years.get(paper.year, 0) + 1
    return {
        "papers": len(kb.papers),
        "repositories": sum(paper.type == "repository" for paper in papers),
        "beyond_survey": sum(paper.beyond_survey for paper in papers),
        "entries": {c: sum(1 for _ in kb.nodes(k)) for k, c in COLLECTIONS.items()},
        "terms": sum(1 for _ in kb.nodes("term")),
        "methods_with": {
            name: sum(name in has(node) for node in methods) for name in ("code", "impl", "results")
        },
        "claims": sum(len(node.entry.claims) for node in methods),
        "reported_results": sum(len(node.entry.results) for node in methods),
        "evidence": {"all": sum(status.values()), **status},
        "errata": {"all": len(kb.errata), **severity},
        "years": {str(year): count for year, count in sorted(years.items())},
        "facets": {
            facet.id: {
                term.id: len(_carriers(kb, kb_node))
                for term in facet.terms
                if (kb_node := TermNode("term", term.id, term, facet.id))
            }
            for facet in kb.facets.values()
        },
    }


def _document(kb: KnowledgeBase, node: AnyNode) -> Iterable[tuple[float, str]]:
    """Pairs (weight, text) to search in."""
    entry = node.entry
    names = [node.id, node.name, *getattr(entry, "aliases", ())]
    yield 6, " ".join(dict.fromkeys(names))
    yield 2, getattr(entry, "summary", None) or getattr(entry, "definition", "")
    if isinstance(node, EntryNode):
        yield 3, node.paper.title
        yield 2, " ".join(node.paper.authors)
        yield 1, node.paper.venue
    for facet in kb.facets.values():
        labels = {term.id: term.label for term in facet.terms}
        for value in kb.facet_values(node, facet.id):
            yield 1, f"{value} {labels.get(value, '')}"
    yield 1, " ".join(getattr(entry, "notes", ()))
    if isinstance(entry, Method):
        yield 1, entry.objective.difference or ""
        yield 1, " ".join(claim.text for claim in entry.claims)
    if isinstance(entry, Paper):
        for collection in COLLECTIONS.values():
            for part in getattr(entry, collection):
                yield 3, f"{part.id} {part.name}"


def compiled(kb: KnowledgeBase) -> dict[str, object]:
    """Everything that `mmalign.ask.catalogue` keeps, by key; see there."""
    nodes = list(kb.nodes())
    values: dict[str, object] = {
        "facets": facets(kb),
        "names": kb.names,
        "stats": stats(kb),
    }
    for kind in KINDS:
        values[f"rows {kind}"] = [row(kb, node) for node in kb.nodes(kind)]
        values[f"search {kind}"] = search.index(_document(kb, node) for node in kb.nodes(kind))
    values["rows erratum"] = [erratum(item) for item in kb.errata]
    values["rows claim"] = [claim for node in kb.nodes("method") for claim in claims(node)]
    for node in nodes:
        values[f"card {node.ref}"] = card(kb, node)
    return values
