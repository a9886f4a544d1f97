"""A bibliographic reference, as read from BibTeX or from arXiv, and the record that it means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mmalign.errors import BadReference

ARXIV_ID = re.compile(r"(?<!\d)(?<!\d\.)(\d{4}\.\d{4,5})(?:v\d+)?(?![\d.])")
ARXIV_API = "https://export.arxiv.org/api/query"
TIMEOUT = 20.0
"""Seconds to wait for arXiv."""
_ATOM = {"a": "http://www.w3.org/2005/Atom", "x": "http://arxiv.org/schemas/atom"}


@dataclass(frozen=True)
class Reference:
    """What a bibliography says about one paper. `key` is its BibTeX key or arXiv id.

    Authors have given names first; a last author `others` stands for those left out.
    """

    key: str
    title: str
    authors: tuple[str, ...] = ()
    year: int | None = None
    venue: str | None = None
    arxiv: str | None = None
    openreview: str | None = None
    doi: str | None = None
    url: str | None = None

    @property
    def complete(self) -> bool:
        """Whether all authors are named."""
        return bool(self.authors) and self.authors[-1] != "others"


# --- BibTeX --------------------------------------------------------------------------------------


def read_bibtex(text: str, file: str) -> list[Reference]:
    """All entries of a BibTeX text, accents decoded and braces taken off.

    Raises BadReference with file and line where the text is not BibTeX.
    """
    import logging

    import bibtexparser
    from bibtexparser import middlewares

    # It would log what is raised here.
    logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)
    steps = [
        middlewares.RemoveEnclosingMiddleware(),
        # Braces stay until names are split: what stands in them is one name.
        middlewares.LatexDecodingMiddleware(keep_braced_groups=True),
        middlewares.SeparateCoAuthors(),
        middlewares.SplitNameParts(),
        middlewares.MergeNameParts(style="first"),
    ]
    library = bibtexparser.parse_string(text, parse_stack=steps)
    for block in library.failed_blocks:
        reason = getattr(block.error, "abort_reason", None) or str(block.error)
        reason = " ".join(reason.split()) or "the entry cannot be read"
        raise BadReference(f"{file}:{(block.start_line or 0) + 1}: {reason}")
    references = []
    for entry in library.entries:
        fields = {field.key.lower(): field.value for field in entry.fields}
        line = f"{file}:{(entry.start_line or 0) + 1}"
        if not _plain(fields.get("title")):
            raise BadReference(f"{line}: entry '{entry.key}' has no title")
        references.append(_from_fields(entry.key, fields, line))
    return references


def _from_fields(key: str, fields: Mapping, line: str) -> Reference:
    year = re.search(r"\d{4}", str(fields.get("year") or fields.get("date") or ""))
    doi = _plain(fields.get("doi")) or None
    url = _address(fields.get("url")) or _address(fields.get("howpublished"))
    named = [fields.get("eprint"), url, fields.get("journal"), fields.get("note"), doi]
    arxiv = next((m[1] for text in named if text and (m := ARXIV_ID.search(str(text)))), None)
    if doi and doi.lower().startswith("10.48550/"):
        doi = None
    venue = next(
        (
            _plain(fields[name])
            for name in ("booktitle", "journal", "howpublished")
            if _plain(fields.get(name))
        ),
        None,
    )
    if venue and (venue.lower().startswith(("arxiv", "corr")) or "://" in venue):
        venue = None
    authors = fields.get("author") or ()
    if isinstance(authors, str):
        authors = (authors,)
    forum = re.search(r"openreview\.net/\w+\?id=([\w-]+)", url or "")
    return Reference(
        key=key,
        title=_plain(fields["title"]),
        authors=tuple(filter(None, map(_plain, authors))),
        year=int(year[0]) if year else None,
        venue=venue or ("arXiv" if arxiv else None),
        arxiv=arxiv,
        openreview=forum[1] if forum else None,
        doi=doi,
        url=url,
    )


def _plain(text) -> str:
    """A field as plain text."""
    return " ".join(str(text or "").replace("{", "").replace("}", "").split())


def _address(text) -> str | None:
    found = re.search(r"https?://[^\s{}]+", str(text or "").replace("\\_", "_"))
    return found[0] if found else None


# --- arXiv ---------------------------------------------------------------------------------------


def fetch_arxiv(id_: str, api: str = ARXIV_API) -> Reference:
    """One paper from arXiv's public API.

    Raises BadReference where the id has no paper, OSError where arXiv cannot be reached.
    """
    import urllib.request

    found = ARXIV_ID.search(id_)
    if found is None:
        raise BadReference(f"'{id_}' is not an arXiv id such as 2503.14504")
    request = urllib.request.Request(
        f"{api}?id_list={found[1]}&max_results=1", headers={"User-Agent": "mmalign"}
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return read_atom(answer.read(), found[1])


def read_atom(content: bytes, id_: str) -> Reference:
    """The paper `id_` in an answer of arXiv's API (Atom). Raises BadReference."""
    from xml.etree import ElementTree

    try:
        feed = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise BadReference(f"arXiv's answer cannot be read: {error}") from None
    for entry in feed.findall("a:entry", _ATOM):
        named = ARXIV_ID.search(entry.findtext("a:id", "", _ATOM))
        if named is None or named[1] != id_:
            continue
        published = entry.findtext("a:published", "", _ATOM)[:4]
        return Reference(
            key=id_,
            title=_plain(entry.findtext("a:title", "", _ATOM)),
            authors=tuple(
                _plain(author.findtext("a:name", "", _ATOM))
                for author in entry.findall("a:author", _ATOM)
            ),
            year=int(published) if published.isdigit() else None,
            # A journal reference is free text; the curator turns it into a venue.
            venue="arXiv",
            arxiv=id_,
            doi=entry.findtext("x:doi", None, _ATOM),
        )
    raise BadReference(f"arXiv has no paper {id_}")


# --- against the records -------------------------------------------------------------------------


def match(reference: Reference, papers: Iterable[Mapping]) -> Mapping | None:
    """The record (a paper's summary) that a reference means: same arXiv id, DOI, forum or title."""
    papers = list(papers)
    for field in ("arxiv", "doi", "openreview"):
        value = getattr(reference, field)
        for paper in papers:
            if value and (paper.get(field) or "").lower() == value.lower():
                return paper
    wanted = fold(reference.title)
    return next((paper for paper in papers if fold(paper["title"]) == wanted), None)


def differences(reference: Reference, paper: Mapping) -> list[str]:
    """What a reference and its record say differently, as `field: reference / record`."""
    found = []
    if fold(reference.title) != fold(paper["title"]):
        found.append(f"title: {reference.title} / {paper['title']}")
    if reference.year and reference.year != paper["year"]:
        found.append(f"year: {reference.year} / {paper['year']}")
    if reference.arxiv and reference.arxiv != paper.get("arxiv"):
        found.append(f"arxiv: {reference.arxiv} / {paper.get('arxiv') or 'none'}")
    ours = [fold(name).split()[-1:] for name in paper["authors"]]
    theirs = [fold(name).split()[-1:] for name in reference.authors]
    if not reference.complete:
        theirs = theirs[:-1]
        ours = ours[: len(theirs)]
    if theirs and theirs != ours:
        one = next(
            (r for r, o in zip(reference.authors, ours, strict=False) if fold(r).split()[-1:] != o),
            None,
        )
        found.append(
            f"authors: {one} / {paper['authors'][reference.authors.index(one)]}"
            if one
            else f"authors: {len(theirs)} / {len(paper['authors'])}"
        )
    return found


def fold(text: str) -> str:
    """A text for comparison: case, accents and punctuation taken off."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    kept = (char if char.isalnum() else " " for char in plain if not unicodedata.combining(char))
    return " ".join("".join(kept).split())
