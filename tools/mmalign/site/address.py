"""Addresses of pages, from the paths of their Markdown files."""

from __future__ import annotations

import functools
import html


@functools.lru_cache(maxsize=65536)
def address_of(path: str) -> str:
    """Address of a page below the site: `methods/mdpo.md` is at `methods/mdpo/`."""
    bare = path.removesuffix(".md")
    folder = "" if bare == "index" else bare.removesuffix("/index")
    return f"{folder}/" if folder else ""


def address(origin: str, target: str) -> str:
    """Address of a page as the built page `origin` has to write it, for an HTML attribute.

    Both are paths of Markdown files; `target` may end in #anchor or ?query. HTML goes round the
    links that mkdocs rewrites: `compare/gaps.md` reaches `methods/a.md` as `../../methods/a/`.
    """
    end = min((at for at in map(target.find, "#?") if at >= 0), default=len(target))
    there, here = (address_of(path).split("/")[:-1] for path in (target[:end], origin))
    # As posixpath.relpath, which would take a tenth of the time in which a site is made.
    same = 0
    while same < min(len(there), len(here)) and there[same] == here[same]:
        same += 1
    steps = [".."] * (len(here) - same) + there[same:]
    return f"{'/'.join(steps) or '.'}/{html.escape(target[end:])}"
