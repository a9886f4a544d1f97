"""BibTeX of papers, written by bibtexparser."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmalign.characters import UNWANTED
from mmalign.people import parts, without_suffix
from mmalign.vocabulary import Json

JOURNALS = ("TMLR", "JMLR", "TPAMI", "IJCV", "TACL", "TNNLS", "TMM", "TIP", "Nature", "Science")
_JOURNAL = re.compile(r"\b(Journal|Transactions|Letters|Magazine|Review)\b")
_YEAR_AT_END = re.compile(r"[ ,]*\(?\b(?:19|20)\d\d\)?$")

_ESCAPES = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "<": "$<$", ">": "$>$",
}  # fmt: skip

_UNBALANCED = {"{": r"\textbraceleft{}", "}": r"\textbraceright{}"}


def to_bibtex(papers: Iterable[Json]) -> str:
    """Paper summaries (`mmalign.ask.views.paper_summary`) as BibTeX; keys are the ids of papers.

    Accents stay as they are (UTF-8). Names stand as given, `Given Family`; a name that BibTeX
    would take apart, and the owner of a repository, is kept whole by braces. Capitals of acronyms
    and names (`RLHF`, `LLaVA-RLHF`, `mDPO`) are protected; addresses stay unescaped, as the url
    package wants them, but for what would end a field. Nothing in a record can leave its braces.
    """
    from bibtexparser.entrypoint import write_string
    from bibtexparser.library import Library
    from bibtexparser.model import Entry, Field
    from bibtexparser.writer import BibtexFormat

    unique = {paper["id"]: paper for paper in papers}
    if not unique:
        return ""
    library = Library()
    for paper in unique.values():
        fields = [Field(name, value) for name, value in _fields(paper).items() if value]
        library.add(Entry(entry_type(paper), paper["id"], fields))
    layout = BibtexFormat()  # type: ignore[no-untyped-call]
    layout.indent = "  "
    layout.block_separator = "\n"
    layout.trailing_comma = True
    text: str = write_string(library, bibtex_format=layout)
    return text.rstrip("\n") + "\n"


def entry_type(paper: Json) -> str:
    """`inproceedings`, `article`, or `misc` for what is on arXiv, OpenReview or GitHub only."""
    venue = paper["venue"]
    if (
        paper.get("type") == "repository"
        or _YEAR_AT_END.sub("", venue) in ("arXiv", "GitHub", "OpenReview", "Blog", "")
        or re.search(r"\b(rejected|withdrawn|submission|under review|preprint|blog)\b", venue, re.I)
    ):
        return "misc"
    if venue.startswith(JOURNALS) or _JOURNAL.search(venue):
        return "article"
    return "inproceedings"


def _fields(paper: Json) -> dict[str, str | None]:
    kind = entry_type(paper)
    venue = paper["venue"]
    arxiv = paper.get("arxiv")
    whole = paper.get("type") == "repository"
    return {
        "title": protect(paper["title"]),
        "author": " and ".join(_author(name, whole) for name in paper["authors"] if name.strip()),
        "year": str(paper["year"]),
        "booktitle": escape(venue) if kind == "inproceedings" else None,
        "journal": escape(journal(venue)) if kind == "article" else None,
        "howpublished": escape(venue) if kind == "misc" else None,
        "eprint": _verbatim(arxiv),
        "archivePrefix": "arXiv" if arxiv else None,
        "doi": _verbatim(paper.get("doi")),
        "url": _verbatim(address(paper)),
    }


def journal(venue: str) -> str:
    """The name of a journal, without the year that a venue ends with."""
    return _YEAR_AT_END.sub("", venue)


def address(paper: Json) -> str | None:
    """Where a paper can be read: arXiv, OpenReview, its page, its repository."""
    if paper.get("arxiv"):
        return f"https://arxiv.org/abs/{paper['arxiv']}"
    if paper.get("openreview"):
        return f"https://openreview.net/forum?id={paper['openreview']}"
    found: str | None = paper.get("page") or paper.get("code")
    return found


def _verbatim(text: str | None) -> str | None:
    """An identifier or address as it is, but for braces and backslashes, percent-encoded."""
    if text is None:
        return None
    one = "".join(UNWANTED.sub("", text).split())
    return re.sub(r"[{}\\]", lambda match: f"%{ord(match[0]):02X}", one)


def _author(name: str, whole: bool) -> str:
    text = escape(name)
    if name == "others" and not whole:  # BibTeX's own word for those left out
        return name
    if whole or "," in name or re.search(r"\b(and|others)\b", name, re.I):
        return f"{{{text}}}"
    if without_suffix(name)[1] and (found := parts(name)):
        # BibTeX would take the last word for the family name.
        family = " ".join(found[part] for part in ("von", "family") if part in found)
        return ", ".join(map(escape, (family, found["suffix"], found["given"])))
    return text


def escape(text: str) -> str:
    """Text with the characters that LaTeX reads as commands escaped."""
    # BibTeX counts escaped braces, too: only a text in which they match can hold them.
    braces = {"{": r"\{", "}": r"\}"} if _balanced(text) else _UNBALANCED
    escapes = _ESCAPES | braces
    return "".join(escapes.get(char, char) for char in " ".join(UNWANTED.sub(" ", text).split()))


def _balanced(text: str) -> bool:
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def protect(title: str) -> str:
    """A title, with words whose capitals carry meaning in braces."""
    words = []
    for word in title.split():
        core = word.strip(".,:;!?()[]\"'`“”‘’")
        start = word.find(core)
        if core and any(char.isupper() for char in core[1:]):
            before, after = word[:start], word[start + len(core) :]
            word = f"{escape(before)}{{{escape(core)}}}{escape(after)}"
        else:
            word = escape(word)
        words.append(word)
    return " ".join(words)
