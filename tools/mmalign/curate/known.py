"""Which references the records hold already, and where the two differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmalign.curate import identifiers
from mmalign.curate.reference import Reference
from mmalign.people import family, fold
from mmalign.vocabulary import Json

Paper = Json
"""The summary of a paper: `mmalign.ask.views.paper_summary`."""
ALIKE = 0.6
"""Shared words of two titles, of all their words, from which they are called alike."""


@dataclass(frozen=True)
class Match:
    """A record that a reference means; `by` says what both have: `arxiv`, `doi`, `acl`, ..."""

    paper: Paper
    by: str


class Known:
    """The papers of the records, to be asked for one reference after the other.

    A paper is known by its arXiv id, DOI, id in the ACL Anthology or OpenReview id, a repository by
    its address. The title counts only where it is the same, the first author does not differ, and
    neither arXiv id nor DOI speaks against it; a title that is merely alike is a hint (`like`).
    """

    def __init__(self, papers: Iterable[Paper]):
        self.papers = list(papers)
        self._by: dict[tuple[str, str], Paper] = {}
        self._titles: dict[str, list[Paper]] = {}
        self._words: list[frozenset[str]] = []
        self._with: dict[str, list[int]] = {}
        for number, paper in enumerate(self.papers):
            for key in _of_paper(paper):
                self._by.setdefault(key, paper)
            title = fold(paper["title"])
            self._titles.setdefault(title, []).append(paper)
            self._words.append(frozenset(title.split()))
            for word in self._words[-1]:
                self._with.setdefault(word, []).append(number)

    def match(self, reference: Reference) -> Match | None:
        """The record of the same paper, None where there is none."""
        for key in of_reference(reference):
            if key in self._by:
                return Match(self._by[key], key[0])
        for paper in self._titles.get(fold(reference.title), ()):
            if not _contradict(reference, paper):
                return Match(paper, "title")
        return None

    def like(self, reference: Reference) -> Paper | None:
        """The record whose title is most like that of a reference, None where none is alike."""
        words = frozenset(fold(reference.title).split())
        if not words:
            return None
        # A title that shares enough shares one of its rarer words: the frequent ones lead to all.
        rare = sorted(words, key=lambda word: len(self._with.get(word, ())))
        enough = int(len(words) * (1 - ALIKE)) + 1
        near = {number for word in rare[:enough] for number in self._with.get(word, ())}
        scored = [
            (len(words & self._words[n]) / len(words | self._words[n]), -n) for n in sorted(near)
        ]
        score, number = max(scored, default=(0.0, 0))
        return self.papers[-number] if score >= ALIKE else None


def of_reference(reference: Reference) -> Iterator[tuple[str, str]]:
    """Everything that identifies a reference, the surest first."""
    if reference.arxiv:
        yield "arxiv", reference.arxiv
    if reference.doi:
        yield "doi", reference.doi.lower()
    if reference.acl:
        yield "acl", reference.acl
    if reference.openreview:
        yield "openreview", reference.openreview
    if reference.url:
        yield "address", _bare_address(reference.url)


def _of_paper(paper: Paper) -> Iterator[tuple[str, str]]:
    if paper.get("arxiv"):
        yield "arxiv", paper["arxiv"]
    doi = paper.get("doi") or ""
    if doi:
        yield "doi", doi.lower()
    for text in (doi, paper.get("page") or ""):
        if acl := identifiers.find_acl(text):
            yield "acl", acl
    for forum in (paper.get("openreview"), identifiers.find_openreview(paper.get("page") or "")):
        if forum:
            yield "openreview", forum
    if paper.get("type") == "repository":
        for text in (paper.get("code"), paper.get("page")):
            if text:
                yield "address", _bare_address(text)


def _bare_address(url: str) -> str:
    bare = url.partition("://")[2].partition("#")[0].lower().removeprefix("www.")
    return bare.rstrip("/").removesuffix(".git")


def _contradict(reference: Reference, paper: Paper) -> bool:
    """Does an identifier, or the first author, say that this is another paper of the same title?"""
    for name in ("arxiv", "doi"):
        ours, theirs = paper.get(name), getattr(reference, name)
        if ours and theirs and ours.lower() != theirs.lower():
            return True
    if not reference.authors or reference.authors[0] == "others" or not paper["authors"]:
        return False
    return family(reference.authors[0]) != family(paper["authors"][0])


def differences(reference: Reference, paper: Paper) -> list[str]:
    """What a reference and its record say differently, as `field: reference / record`."""
    found = []
    if fold(reference.title) != fold(paper["title"]):
        found.append(f"title: {reference.title} / {paper['title']}")
    if reference.year and reference.year != paper["year"]:
        found.append(f"year: {reference.year} / {paper['year']}")
    if reference.arxiv and reference.arxiv != paper.get("arxiv"):
        found.append(f"arxiv: {reference.arxiv} / {paper.get('arxiv') or 'none'}")
    if reference.doi and reference.doi.lower() != (paper.get("doi") or "").lower():
        found.append(f"doi: {reference.doi} / {paper.get('doi') or 'none'}")
    theirs = list(reference.authors)
    if not reference.complete:
        theirs = theirs[:-1]
    ours = paper["authors"][: len(theirs)] if not reference.complete else paper["authors"]
    pairs = zip(theirs, ours, strict=False)
    one = next(((t, o) for t, o in pairs if family(t) != family(o)), None)
    if one:
        found.append(f"authors: {one[0]} / {one[1]}")
    elif theirs and len(theirs) != len(ours):
        found.append(f"authors: {len(theirs)} / {len(paper['authors'])}")
    return found
