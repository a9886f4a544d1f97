"""JSON views of the knowledge base: the short row of a listing and the full card of one node.

Field names are the record's own. Added to them are `kind`, `id`, `ref`, `name`, `paper` (a summary)
and what is computed: `has`, `used_by`, `extended_by`, `entries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmalign.ask import search
from mmalign.records.kb import AnyNode, EntryNode, KnowledgeBase, TermNode, entries_of
from mmalign.records.model import Entry, Erratum, Evidence, Facet, Method, Paper
from mmalign.vocabulary import COLLECTIONS, ENTRY_KINDS, KINDS, SEVERITIES, Json, facet_key

PAPER_FIELDS = (
    "id", "type", "title", "authors", "year", "venue", "arxiv", "openreview", "doi", "code", "page",
    "licence", "beyond_survey",
)  # fmt: skip
# Fields of entries that a row leaves to the card.
LONG_FIELDS = {
    "hyperparameters", "results", "claims", "reproduction", "runs_in", "notes", "survey",
}  # fmt: skip


def key(facet: Facet) -> str:
    """Name of a facet as option and column."""
    return facet_key(facet.field)


def facets(kb: KnowledgeBase) -> dict[str, Json]:
    """Facets by id, as plain data with their `key`."""
    return {
        facet.id: {**facet.model_dump(mode="json", exclude={"id"}), "key": key(facet)}
        for facet in kb.facets.values()
    }


def paper_summary(paper: Paper) -> Json:
    """The bibliography of a paper."""
    dumped = paper.model_dump(mode="json", include=set(PAPER_FIELDS))
    return {field: dumped[field] for field in PAPER_FIELDS}


def has(node: AnyNode) -> list[str]:
    """Which of `code`, `impl` (a script in the lab) and `results` (reported) an entry has."""
    entry = node.entry
    entries = [e for _, e in entries_of(entry)] if isinstance(entry, Paper) else [entry]
    found = {
        "code": isinstance(node, EntryNode) and node.paper.code is not None,
        "impl": any(getattr(entry, "reference_impl", None) for entry in entries),
        "results": any(getattr(entry, "results", ()) for entry in entries),
    }
    return [name for name, there in found.items() if there]


def row(kb: KnowledgeBase, node: AnyNode) -> Json:
    """The short view: identity, facets, links to other entries, and the paper's summary."""
    view: Json = {"kind": node.kind, "id": node.id, "ref": node.ref, "name": node.name}
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
        view = {**view, "facet": node.facet, "entries": len(kb.carriers(node))}
    else:
        view["has"] = has(node)
        view["paper"] = paper_summary(node.paper)
    return view


def card(kb: KnowledgeBase, node: AnyNode) -> Json:
    """The full view: every field of the record, its evidence and its errata."""
    view: Json = {"kind": node.kind, "id": node.id, "ref": node.ref, "name": node.name}
    if isinstance(node, EntryNode):
        view["paper"] = paper_summary(node.paper)
    dumped = node.entry.model_dump(mode="json", by_alias=True)
    view |= {field: value for field, value in dumped.items() if field not in view}
    if isinstance(node, TermNode):
        view["facet"] = node.facet
        view["children"] = [
            term.id for term in kb.facets[node.facet].terms if term.parent == node.id
        ]
        view["entries"] = list(kb.carriers(node))
    else:
        view["has"] = has(node)
        view |= _uses(kb, node)
        view["evidence"] = [evidence(item) for item in kb.evidence_for(node)]
    view["errata"] = [erratum(item) for item in kb.errata_about(node)]
    return view


def _uses(kb: KnowledgeBase, node: AnyNode) -> Json:
    """Methods that name this entry: those that use it, and those whose objective extends it."""
    if node.kind == "paper":
        return {}
    users = list(kb.users(node))
    if node.kind == "method":
        return {"compared_by": users, "extended_by": list(kb.extensions(node))}
    return {"used_by": users}


def evidence(item: Evidence) -> Json:
    return item.model_dump(mode="json", by_alias=True)


def erratum(item: Erratum) -> Json:
    return {
        "kind": "erratum",
        "id": item.id,
        "ref": f"erratum:{item.id}",
        "name": item.where,
        **item.model_dump(mode="json"),
    }


def claims(node: EntryNode[Method]) -> list[Json]:
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


def stats(kb: KnowledgeBase) -> Json:
    """Counts of everything, computed."""
    methods = list(kb.nodes("method"))
    methods_have = [has(node) for node in methods]
    papers = kb.papers.values()
    status = dict.fromkeys(("verified", "reported", "inferred"), 0)
    for paper in papers:
        for proof in paper.evidence:
            status[proof.status] += 1
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
        "entries": {COLLECTIONS[kind]: len(kb.entries(kind)) for kind in ENTRY_KINDS},
        "terms": sum(1 for _ in kb.nodes("term")),
        "methods_with": {
            name: sum(name in found for found in methods_have)
            for name in ("code", "impl", "results")
        },
        "claims": sum(len(node.entry.claims) for node in methods),
        "reported_results": sum(len(node.entry.results) for node in methods),
        "evidence": {"all": sum(status.values()), **status},
        "errata": {"all": len(kb.errata), **severity},
        "years": {str(year): count for year, count in sorted(years.items())},
        "facets": {
            facet.id: {
                term.id: len(kb.carriers(TermNode("term", term.id, term, facet.id)))
                for term in facet.terms
            }
            for facet in kb.facets.values()
        },
    }


def _document(
    kb: KnowledgeBase, node: AnyNode, labels: Mapping[tuple[str, str], str]
) -> Iterable[tuple[float, str]]:
    """Pairs (weight, text) to search in. `labels` are those of terms, by facet and id."""
    entry = node.entry
    yield 6, " ".join(dict.fromkeys((node.id, node.name, *node.aliases)))
    yield 2, entry.summary if isinstance(entry, Entry | Paper) else entry.definition
    if isinstance(node, EntryNode):
        yield 3, node.paper.title
        yield 2, " ".join(node.paper.authors)
        yield 1, node.paper.venue
    for facet in kb.facets:
        for value in kb.facet_values(node, facet):
            yield 1, f"{value} {labels.get((facet, value), '')}"
    yield 1, " ".join(getattr(entry, "notes", ()))
    if isinstance(entry, Method):
        yield 1, entry.objective.difference or ""
        yield 1, " ".join(claim.text for claim in entry.claims)
    if isinstance(entry, Paper):
        for _, part in entries_of(entry):
            yield 3, f"{part.id} {part.name}"


def compiled(kb: KnowledgeBase) -> dict[str, object]:
    """Everything that `mmalign.ask.catalogue` keeps, by key: cards by full name, and with keys
    without a colon the rest."""
    labels = {(f.id, term.id): term.label for f in kb.facets.values() for term in f.terms}
    values: dict[str, object] = {
        "facets": facets(kb),
        "names": kb.names,
        "stats": stats(kb),
        "checked": {p.id: max(item.checked for item in p.evidence) for p in kb.papers.values()},
    }
    for kind in KINDS:
        values[f"rows {kind}"] = [row(kb, node) for node in kb.nodes(kind)]
        documents = (_document(kb, node, labels) for node in kb.nodes(kind))
        values[f"search {kind}"] = search.index(documents)
    values["rows erratum"] = [erratum(item) for item in kb.errata]
    values["rows claim"] = [claim for node in kb.nodes("method") for claim in claims(node)]
    for node in kb.nodes():
        values[node.ref] = card(kb, node)
    return values
