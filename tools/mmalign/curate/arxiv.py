"""A reference from arXiv's public API (https://info.arxiv.org/help/api/user-manual.html)."""

from __future__ import annotations

from urllib.parse import urlsplit

from mmalign.curate import identifiers, tex
from mmalign.curate.reference import Reference
from mmalign.errors import BadReference

API = "https://export.arxiv.org/api/query"
TIMEOUT = 20.0
"""Seconds to wait for arXiv."""
MAX_BYTES = 5_000_000
_ATOM = {"a": "http://www.w3.org/2005/Atom", "x": "http://arxiv.org/schemas/atom"}


def check_address(api: str) -> None:
    """Raises BadReference where an address is not one that can be asked: http or https, a host."""
    try:
        parts = urlsplit(api)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(char.isspace() or not char.isprintable() for char in api):
        raise BadReference(f"'{tex.clean(api)[:80]}' is not an http or https address")


def fetch(id_: str, api: str = API) -> Reference:
    """One paper. `id_` may be an id, an address or a DOI of arXiv.

    Raises BadReference where the id has no paper or the answer is no feed, OSError where arXiv
    cannot be reached.
    """
    import http.client
    import urllib.request

    wanted = identifiers.arxiv_id(id_)
    check_address(api)
    joint = "&" if urlsplit(api).query else "?"
    request = urllib.request.Request(
        f"{api}{joint}id_list={wanted}&max_results=1", headers={"User-Agent": "mmalign"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            content = answer.read(MAX_BYTES + 1)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from None
    if len(content) > MAX_BYTES:
        raise BadReference(f"arXiv's answer has more than {MAX_BYTES:,} bytes")
    return read_atom(content, wanted)


def read_atom(content: bytes, id_: str) -> Reference:
    """The paper `id_` in an answer of arXiv's API (Atom). Raises BadReference."""
    from xml.etree import ElementTree

    try:
        feed = ElementTree.fromstring(content)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise BadReference(f"arXiv's answer cannot be read: {error}") from None
    for entry in feed.findall("a:entry", _ATOM):
        if identifiers.find_arxiv(entry.findtext("a:id", "", _ATOM)) != id_:
            continue
        published = entry.findtext("a:published", "", _ATOM)[:4]
        title = tex.clean(entry.findtext("a:title", "", _ATOM))
        if not title:
            raise BadReference(f"arXiv's answer has no title for {id_}")
        authors = [
            tex.clean(author.findtext("a:name", "", _ATOM))
            for author in entry.findall("a:author", _ATOM)
        ]
        return Reference(
            key=id_,
            title=tex.plain(title),
            authors=tuple(filter(None, authors)),
            year=int(published) if published.isascii() and published.isdigit() else None,
            # A journal reference is free text; the curator turns it into a venue.
            venue="arXiv",
            arxiv=id_,
            doi=identifiers.find_doi(entry.findtext("x:doi", "", _ATOM), says_so=True),
        )
    raise BadReference(f"arXiv has no paper {id_}")
