"""A bibliographic reference, and how an entry of BibTeX becomes one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mmalign.curate import bibtex, identifiers, tex
from mmalign.curate.bibtex import Remark
from mmalign.errors import BadReference

MAX_BYTES = 64_000_000
"""Bytes of a bibliography; the whole ACL Anthology has fewer."""

_NO_WORKS = ("set", "xdata")
"""Types of biblatex whose entries are not works: they group others, or hold fields for them."""
_COLLECTIONS = (
    "proceedings", "mvproceedings", "collection", "mvcollection", "periodical", "reference",
    "mvreference", "conference-proceedings",
)  # fmt: skip
_OTHER_ARCHIVES = ("jstor", "pubmed", "hdl", "googlebooks", "ssrn", "biorxiv", "medrxiv", "osf")
_ARCHIVE = re.compile(r"arxiv|corr\b|abs/|e-?prints?\b", re.IGNORECASE)
# Fields in which people name the arXiv id, the surest first.
_NAMES_ARXIV = (
    "url", "howpublished", "journal", "journaltitle", "note", "number", "volume", "doi", "ee",
    "link", "pubstate", "publisher", "institution", "addendum", "archiveprefix",
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What a bibliography says about one paper. `key` is its BibTeX key or arXiv id.

    Authors have given names first; a last author `others` stands for those left out. `acl` is an
    id of the ACL Anthology, `line` where the entry begins (0: not read from a file). A `collection`
    holds papers and is none.
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
    acl: str | None = None
    line: int = 0
    collection: bool = False

    @property
    def complete(self) -> bool:
        """Whether all authors are named."""
        return bool(self.authors) and self.authors[-1] != "others"


@dataclass
class Read:
    """The references of a file, what of it could not be read, and what its reader should know."""

    references: list[Reference] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def decode(content: bytes, file: str, limit: int = MAX_BYTES) -> str:
    """The text of a file, without a byte order mark.

    Raises BadReference where it is not UTF-8 or has more than `limit` bytes.
    """
    if len(content) > limit:
        raise BadReference(f"{file} has more than {limit:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadReference(
            f"{file}:{line}: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def read_bibtex(text: str) -> Read:
    """All entries of a BibTeX text, entry by entry: macros, accents and braces resolved.

    What is inherited from `crossref` and `xdata` is filled in. Groups (`@set`) and `@xdata` are
    not references. An entry without a title is among the problems; nothing is raised.
    """
    parsed = bibtex.parse(text)
    entries, lost = bibtex.inherit(parsed.entries)
    read = Read([], parsed.problems, [*parsed.notes, *lost])
    for entry in entries:
        if entry.type in _NO_WORKS:
            continue
        title = tex.plain(entry.fields.get("title", ""))
        if title:
            read.references.append(_reference(entry, title, read.notes))
        else:
            read.problems.append(Remark(entry.line, "has no title", entry.key or None))
    read.problems.sort(key=lambda remark: remark.line)
    read.notes.sort(key=lambda remark: remark.line)
    return read


def _reference(entry: bibtex.Entry, title: str, notes: list[Remark]) -> Reference:
    fields = entry.fields
    key = tex.clean(entry.key) or f"line-{entry.line}"
    year = re.search(r"(?<!\d)\d{4}(?!\d)", fields.get("year") or fields.get("date") or "")
    addresses = [fields.get(name, "") for name in ("url", "howpublished", "ee", "link", "note")]
    url = next(filter(None, map(identifiers.find_address, addresses)), None)
    arxiv = _arxiv(fields, entry, notes)
    doi = identifiers.find_doi(fields.get("doi", ""), says_so=True)
    if doi is None:
        short = re.fullmatch(r"10/\w+", fields.get("doi", "").strip())
        if short:  # of https://shortdoi.org: it leads to the paper, but does not name it
            url = url or f"https://doi.org/{short[0]}"
        elif tex.plain(fields.get("doi", "")):
            notes.append(Remark(entry.line, f"'{fields['doi'][:60]}' is not a DOI", entry.key))
        doi = next(filter(None, map(identifiers.find_doi, addresses)), None)
    acl = next(filter(None, (identifiers.find_acl(text) for text in (doi or "", *addresses))), None)
    if doi and doi.lower().startswith("10.48550/"):
        doi = None
    forum = next(filter(None, map(identifiers.find_openreview, addresses)), None)
    authors = tex.names(fields.get("author") or fields.get("editor") or "")
    return Reference(
        key=key,
        title=title,
        authors=authors,
        year=int(year[0]) if year else None,
        venue=_venue(fields) or ("arXiv" if arxiv else None),
        arxiv=arxiv,
        openreview=forum,
        doi=doi,
        url=url,
        acl=acl,
        line=entry.line,
        collection=entry.type in _COLLECTIONS,
    )


def _arxiv(fields: Mapping[str, str], entry: bibtex.Entry, notes: list[Remark]) -> str | None:
    """The arXiv id that an entry names, wherever it does."""
    archive = (fields.get("archiveprefix") or fields.get("eprinttype") or "arxiv").lower()
    eprint = fields.get("eprint", "")
    kind = fields.get("primaryclass") or fields.get("eprintclass") or ""
    if eprint and archive.strip("{} ") not in _OTHER_ARCHIVES:
        found = identifiers.find_arxiv(eprint, says_so=True)
        if found is None and re.fullmatch(r"\d{7}", eprint.strip()):
            found = identifiers.find_arxiv(f"{kind.strip()}/{eprint.strip()}", says_so=True)
        if found:
            return found
        if "/" not in eprint and re.search(r"\d", eprint):
            try:
                identifiers.arxiv_id(eprint)
            except BadReference as error:
                notes.append(Remark(entry.line, f"eprint: {error}", entry.key))
    texts = (fields.get("arxiv", ""), fields.get("arxivid", ""))
    found = next((a for t in texts if (a := identifiers.find_arxiv(t, says_so=True))), None)
    return found or next(
        (a for n in _NAMES_ARXIV if (a := identifiers.find_arxiv(fields.get(n, "")))), None
    )


def _venue(fields: Mapping[str, str]) -> str | None:
    """Where it was published; None where that is arXiv, or nothing but an address."""
    for name in ("booktitle", "journaltitle", "journal", "eventtitle", "howpublished"):
        venue = tex.plain(fields.get(name, ""))
        if venue and "://" not in venue and not _ARCHIVE.match(venue):
            return venue
    return None
