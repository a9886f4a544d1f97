"""Identifiers of papers, in whatever form people write them.

arXiv: https://info.arxiv.org/help/arxiv_identifier.html (four digits after the point until 1412,
five from 1501; `archive/YYMMNNN` before 0704). ACL Anthology: its DOIs are
`10.18653/v1/<anthology id>` (before: `10.3115/v1/`).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from mmalign.errors import BadReference

_ARXIV = re.compile(r"(?<!\d)(?<!\d\.)(\d\d(?:0[1-9]|1[0-2]))\.(\d{4,5})(?:v\d+)?(?!\d)(?!\.\d)")
_OLD_ARXIV = re.compile(
    r"(?<![\w.-])([a-z]+(?:-[a-z]+)?(?:\.[A-Z]{2})?/\d\d(?:0[1-9]|1[0-2])\d{3})(?:v\d+)?(?!\d)"
)
_SAYS_ARXIV = re.compile(r"arxiv|\bcorr\b|(?<![/\w])abs/|huggingface\.co/papers", re.IGNORECASE)
_KEPT_BADLY = re.compile(r"(?<![\d.])(\d{3,4})[.,](\d{1,6})(?!\d)")
_DOI = re.compile(r"10\.\d{1,9}(?:\.\d+)*/\S*[^\s.,;:]")
_DOI_PREFIX = re.compile(r" ?(?:(?:https?://)?(?:dx\.|www\.)?doi\.org/|doi ?:? ?)+", re.IGNORECASE)
_AFTER_DOI = re.compile(r"(?:[?#].*|/(?:full|abstract|meta|pdf|epdf|html)|\.pdf)$", re.IGNORECASE)
_ACL = re.compile(
    r"(?:aclanthology\.org|aclweb\.org/anthology)/(?:papers/\w/\w+/)?"
    r"(\d{4}\.[a-z0-9_-]{1,40}-[a-z0-9]{1,40}\.\d{1,6}|[A-Z]\d{2}-\d{4})(?![\d-])",
    re.IGNORECASE,
)
_ACL_DOI = re.compile(r"10\.(?:18653|3115)/v1/(.+)", re.IGNORECASE)
_OPENREVIEW = re.compile(
    r"openreview\.net/[^?\s]{0,60}\?(?:[^#\s]{0,300}&)?id=([\w-]{1,60})", re.IGNORECASE
)
MAX_TEXT = 2_000
"""Characters in which an identifier is looked for: what is longer is prose, or made to be slow."""
_ADDRESS = re.compile(r"https?://[^\s{}<>\"\\^`|]+", re.IGNORECASE)


def arxiv_id(text: str) -> str:
    """The arXiv id, without version, that somebody wrote or pasted: an id, address or DOI.

    Raises BadReference, with what was probably meant where a spreadsheet has spoilt the id.
    """
    found = {_bare(match) for match in _ARXIV.finditer(_tidy(text))} - {None}
    found |= {match[1] for match in _OLD_ARXIV.finditer(_tidy(text))}
    if len(found) == 1:
        return str(found.pop())
    shown = f"'{text if len(text) <= 60 else text[:57] + '...'}'"
    if found:
        raise BadReference(f"{shown} names several papers: {', '.join(sorted(map(str, found)))}")
    hint = _meant(text[:MAX_TEXT])
    raise BadReference(
        f"{shown} is not an arXiv id such as 2503.14504"
        + (f"; {hint} (a spreadsheet drops zeros: format its column as text)" if hint else "")
    )


def find_arxiv(text: str, says_so: bool = False) -> str | None:
    """The first arXiv id in a text that says that it holds one, or is known to (`says_so`)."""
    text = _tidy(text)
    if not (says_so or _SAYS_ARXIV.search(text)):
        return None
    for match in _ARXIV.finditer(text):
        if bare := _bare(match):
            return bare
    old = _OLD_ARXIV.search(text)
    return old[1] if old else None


def _bare(match: re.Match[str]) -> str | None:
    """The id without version, None where it has too few or too many digits for its month."""
    month, number = match[1], match[2]
    digits = 4 if month < "1501" else 5
    return f"{month}.{number}" if month >= "0704" and len(number) == digits else None


def _meant(text: str) -> str | None:
    """What an id was before a spreadsheet took it for a number."""
    found = _KEPT_BADLY.search(text)
    if found is None:
        return None
    month, number = found[1].zfill(4), found[2]
    digits = 4 if month < "1501" else 5
    if month < "0704" or not "01" <= month[2:] <= "12" or len(number) > digits:
        return None
    return f"did you mean {month}.{number.ljust(digits, '0')}?"


def _tidy(text: str) -> str:
    """The beginning of a text without TeX and percent signs, each run of blanks as one."""
    return " ".join(unquote(_unescaped(text)).replace("{", "").replace("}", "").split())


def _unescaped(text: str) -> str:
    return re.sub(r"\\([_%&#~])", r"\1", text[:MAX_TEXT])


def find_doi(text: str, says_so: bool = False) -> str | None:
    """A DOI from whatever form it has: with or without `doi:` or resolver, or in an address.

    `says_so`: the text stands in a field for DOIs. An address counts if it holds one.
    """
    text = _tidy(text).replace("$", "").strip()
    bare = _DOI_PREFIX.sub("", text)
    if bare == text and not says_so and "://" not in text:
        return None
    found = _DOI.search(bare)
    if found is None or (says_so and found.start() > 0 and "://" not in bare):
        return None
    doi = found[0]
    if "://" in bare:
        while (cut := _AFTER_DOI.sub("", doi)) != doi:
            doi = cut
    while doi.endswith(")") and doi.count(")") > doi.count("("):
        doi = doi[:-1]
    return doi


def find_acl(text: str) -> str | None:
    """The id of the ACL Anthology, in lower case, that an address or a DOI names."""
    text = text[:MAX_TEXT].strip()
    found = _ACL.search(text) or _ACL_DOI.fullmatch(text)
    return found[1].lower() if found else None


def find_openreview(text: str) -> str | None:
    """The id of the forum that an address of OpenReview names."""
    found = _OPENREVIEW.search(_tidy(text))
    return found[1] if found else None


def find_address(text: str) -> str | None:
    """The first web address in a text."""
    found = _ADDRESS.search(_unescaped(text))
    return found[0].rstrip(".,;)") if found else None
