"""A bibliography against the records: what is known, what is new, and drafts of the new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mmalign.curate import draft
from mmalign.curate.bibtex import Remark
from mmalign.curate.known import Known, differences, of_reference
from mmalign.curate.reference import Reference
from mmalign.people import family, fold
from mmalign.vocabulary import Json

Status = Literal["known", "new", "repeated", "collection"]
"""`repeated`: the same paper as a new one earlier in the file; `collection`: holds papers."""


@dataclass(frozen=True)
class Item:
    """One reference and what the records have of it; `by` is what both share."""

    reference: Reference
    status: Status
    paper: str | None = None
    by: str | None = None
    differs: tuple[str, ...] = ()
    remark: Remark | None = None

    def row(self) -> Json:
        """The same as plain data."""
        return {
            "kind": "reference",
            "key": self.reference.key,
            "line": self.reference.line,
            "status": self.status,
            "paper": self.paper,
            "by": self.by,
            "differs": list(self.differs),
            "title": self.reference.title,
        }


def compare(references: Iterable[Reference], papers: Iterable[Json]) -> list[Item]:
    """Every reference with its record. `papers` are summaries of papers. Time is linear."""
    known = Known(papers)
    seen: dict[tuple[str, str], Reference] = {}
    items = []
    for reference in references:
        match = known.match(reference)
        if match is not None:
            found = tuple(differences(reference, match.paper))
            items.append(Item(reference, "known", match.paper["id"], match.by, found))
        elif reference.collection:
            items.append(Item(reference, "collection"))
        else:
            items.append(_new(reference, known, seen))
    return items


def _new(reference: Reference, known: Known, seen: dict[tuple[str, str], Reference]) -> Item:
    keys = [key for key in of_reference(reference) if key[0] != "address"]
    author = family(reference.authors[0]) if reference.authors else ""
    named = ("title", f"{fold(reference.title)} / {author}")
    first = next((seen[key] for key in keys if key in seen), None)
    if first is None and named in seen and not _two(reference, seen[named]):
        first = seen[named]
    for key in (*keys, named):
        seen.setdefault(key, reference)

    def remark(message: str) -> Remark:
        return Remark(reference.line, message, reference.key)

    if first is not None:
        message = f"the same paper as '{first.key}' in line {first.line}"
        return Item(reference, "repeated", remark=remark(message))
    like = known.like(reference)
    if like is None:
        return Item(reference, "new")
    message = f"its title is like that of papers/{like['id']}.yaml; no identifier is the same"
    return Item(reference, "new", remark=remark(message))


def _two(one: Reference, other: Reference) -> bool:
    """Do identifiers say that two references of the same title are two papers?"""
    return any(
        a and b and a.lower() != b.lower()
        for a, b in ((one.arxiv, other.arxiv), (one.doi, other.doi))
    )


def drafts(
    items: Iterable[Item], taken: Iterable[str], today: str
) -> tuple[list[Json], list[Remark]]:
    """A draft record for every new reference, ids free of each other and of those taken.

    Those that name no place where they could be read are left out, with a remark on each.
    """
    used = set(taken)
    numbers: dict[str, int] = {}
    made, left = [], []
    for item in items:
        if item.status != "new":
            continue
        reference = item.reference
        source = draft.source_of(reference)
        if source is None:
            message = "no arXiv id, DOI or address: left out"
            left.append(Remark(reference.line, message, reference.key))
            continue
        id_ = draft.id_of(reference, used, numbers)
        used.add(id_)
        made.append(draft.record(reference, id_, today, source))
    return made, left
