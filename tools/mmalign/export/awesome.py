"""The list that people know from `awesome-*` repositories, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from mmalign.export.rows import Row

# Facet that a kind of entry is grouped by.
GROUPED_BY = {
    "method": "scenario",
    "dataset": "scenario",
    "paper": "scenario",
    "benchmark": "dimension",
    "model": "modality",
    "term": "facet",
}
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$])")


def to_markdown(rows: Iterable[Row], facets: Mapping[str, Row] | None = None) -> str:
    """Rows of one kind, grouped by their main facet.

    An entry stands under each of its terms, since that is where readers look for it; one without
    any stands under `Other`. `facets` gives order and labels.
    """
    rows = list(rows)
    if not rows:
        return ""
    field = GROUPED_BY.get(rows[0]["kind"])
    if field is None:
        return "".join(f"- {line}\n" for line in map(item, rows))
    parts = [
        f"{heading}\n" + ("\n" if group else "") + "".join(f"- {item(row)}\n" for row in group)
        for heading, group in _groups(rows, field, facets or {})
    ]
    return "\n".join(parts)


def _groups(
    rows: list[Row], field: str, facets: Mapping[str, Row]
) -> Iterator[tuple[str, list[Row]]]:
    if field == "facet":
        for facet in dict.fromkeys(row["facet"] for row in rows):
            label = facets.get(facet, {}).get("label", facet)
            yield f"## {escape(label)}", [row for row in rows if row["facet"] == facet]
        return
    terms: list[Row] = next((f["terms"] for f in facets.values() if f["key"] == field), [])
    known = {term["id"]: term for term in terms}
    carried = {value for row in rows for value in row.get(field) or ()}
    for term in _in_tree_order(terms):
        below = _below(term["id"], terms)
        if below & carried:
            level, parent = 2, term["parent"]
            while parent in known and level < 6:
                level, parent = level + 1, known[parent]["parent"]
            group = [row for row in rows if term["id"] in (row.get(field) or ())]
            yield f"{'#' * level} {escape(term['label'])}", group
    for value in sorted(carried - set(known)):
        yield f"## {escape(value)}", [row for row in rows if value in (row.get(field) or ())]
    rest = [row for row in rows if not row.get(field)]
    if rest:
        yield ("## Other" if carried else "## All"), rest


def _in_tree_order(terms: list[Row], parent: str | None = None, depth: int = 0) -> list[Row]:
    if depth > len(terms):  # a cycle; validation reports it
        return []
    ordered = []
    for term in terms:
        if term["parent"] == parent:
            ordered += [term, *_in_tree_order(terms, term["id"], depth + 1)]
    return ordered


def _below(term: str, terms: list[Row]) -> set[str]:
    closure, grown = {term}, True
    while grown:
        more = {t["id"] for t in terms if t["parent"] in closure} - closure
        closure, grown = closure | more, bool(more)
    return closure


def item(row: Row) -> str:
    """One entry as Markdown, without the bullet."""
    kind = row["kind"]
    if kind == "erratum":
        return (
            f"**{escape(row['where'])}** says: {escape(row['says'])} Correct: "
            f"{escape(row['correct'])} (proof: {escape(row['proof'])})"
        )
    if kind == "claim":
        return f"**{escape(row['method'])}**: {escape(row['text'])} ({escape(row['place'])})"
    if kind == "term":
        return f"**{escape(row['name'])}** (`{row['id']}`): {escape(row['definition'])}"
    paper = row["paper"]
    if kind == "paper":
        head = f"**{escape(row['title'])}**"
    else:
        head = f"**{escape(row['name'])}**: {escape(paper['title'])}"
    links = [f"[{name}]({url})" for name, url in links_of(row).items()]
    tail = f" {' '.join(links)}" if links else ""
    return f"{head}. {escape(authors(paper))}. {escape(published(paper))}.{tail}"


def links_of(row: Row) -> dict[str, str]:
    """Where a reader can go: paper, code, page, data; by name, in this order."""
    paper = row["paper"]
    where: str | None
    if paper.get("arxiv"):
        where = f"https://arxiv.org/abs/{paper['arxiv']}"
    elif paper.get("openreview"):
        where = f"https://openreview.net/forum?id={paper['openreview']}"
    else:
        where = f"https://doi.org/{paper['doi']}" if paper.get("doi") else None
    found = {"paper": where, "code": paper.get("code"), "page": paper.get("page")}
    found["data"] = row.get("location")
    return {name: _address(url) for name, url in found.items() if url}


def authors(paper: Row) -> str:
    """`A. One`, `A. One and B. Two`, `A. One et al.`"""
    names = paper["authors"]
    if len(names) > 2:
        return f"{names[0]} et al"
    return " and ".join(names)


def published(paper: Row) -> str:
    """Venue with year."""
    year = str(paper["year"])
    return paper["venue"] if year in paper["venue"] else f"{paper['venue']} {year}"


def escape(text: str) -> str:
    """Text as Markdown that shows exactly this text, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split())).replace("&", "&amp;")


def _address(url: str) -> str:
    for char in ' ()<>"|':
        url = url.replace(char, f"%{ord(char):02X}")
    return url
