"""CSL-JSON of papers: what Zotero, pandoc and citeproc read.

Fields and types: https://docs.citationstyles.org/en/stable/specification.html, appendices III and
IV; schema: https://github.com/citation-style-language/schema, csl-data.json.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmalign import people
from mmalign.characters import UNWANTED
from mmalign.export.bibtex import address, entry_type, journal
from mmalign.vocabulary import Json

_TYPES = {"inproceedings": "paper-conference", "article": "article-journal"}


def to_csl(papers: Iterable[Json]) -> list[Json]:
    """Paper summaries (`mmalign.ask.views.paper_summary`) as items, each once; ids are ours.

    A preprint is an `article` that arXiv or OpenReview publishes, a repository is `software`.
    """
    unique = {paper["id"]: paper for paper in papers}
    return [_item(paper) for paper in unique.values()]


def _item(paper: Json) -> Json:
    kind, venue = entry_type(paper), one_line(paper["venue"])
    whole = paper.get("type") == "repository"
    arxiv = paper.get("arxiv")
    item: Json = {
        "id": paper["id"],
        "type": "software" if whole else _TYPES.get(kind, "article"),
        "title": one_line(paper["title"]),
        "author": [name(author, whole) for author in map(one_line, paper["authors"]) if author],
        "issued": {"date-parts": [[paper["year"]]]},
    }
    if kind == "misc":
        item["publisher"] = venue
        if arxiv:
            item["number"] = f"arXiv:{arxiv}"
    else:
        item["container-title"] = journal(venue) if kind == "article" else venue
    if arxiv:
        item |= {"archive": "arXiv", "archive_location": arxiv}
    for field, value in (("DOI", paper.get("doi")), ("URL", address(paper))):
        if value:
            item[field] = one_line(value)
    return item


def name(text: str, whole: bool = False) -> dict[str, str]:
    """A name, given name first, in parts; `whole` for one that has none, such as an owner."""
    parts = None if whole else people.parts(text)
    if parts is None:
        return {"literal": text}
    return {"non-dropping-particle" if part == "von" else part: v for part, v in parts.items()}


def one_line(text: str) -> str:
    """A text in one line, without the characters that no record may hold."""
    return " ".join(UNWANTED.sub(" ", text).split())
