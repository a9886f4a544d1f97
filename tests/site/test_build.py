"""The strict build of the real records."""

from __future__ import annotations

import json
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from mmalign.site import hook

# What a browser fetches by itself, unlike the target of a link.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|data)\s*=\s*[\"']?(?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=\"?(?:stylesheet|preconnect|icon|preload|manifest))[^>]*\bhref=\"?(?:https?:)?//",
    re.IGNORECASE,
)


class Links(HTMLParser):
    """The links of a page, and what a link can lead to inside it."""

    def __init__(self, html: str):
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = {""}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])


def test_the_pattern_knows_what_is_fetched():
    for fetched in (
        '<script src="https://cdn.example/x.js">',
        "<img alt=x src=//cdn.example/x.png>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect">',
    ):
        assert FETCHED.search(fetched), fetched
    for not_fetched in ('<a href="https://x.example">', '<link rel="canonical" href="https://x">'):
        assert not FETCHED.search(not_fetched), not_fetched


def test_the_strict_build_is_clean(built):
    assert built.status == 0, built.output
    assert "WARNING" not in built.output


def test_the_build_is_quick(built):
    # 8 s for 250 papers, as CPU time and per page, so that a busy machine does not matter.
    assert built.cpu_seconds / len(built.html) < 0.04


def test_every_node_has_its_page(built, checkout):
    from mmalign.records.read import load
    from mmalign.site.atlas import Atlas, path_of

    kb = load(checkout)
    atlas = Atlas(kb)
    for node in kb.nodes():
        page = atlas.path(node.ref).removesuffix(".md") + "/index.html"
        assert page in built.html
        # An address that once was a page leads on for ever.
        assert path_of(node.ref).removesuffix(".md") + "/index.html" in built.html


def test_no_link_and_no_anchor_is_dead(built):
    pages = {path: Links(text) for path, text in built.html.items()}
    dead = []
    for path, page in pages.items():
        if path == "404.html":  # its addresses begin at the root of the host
            continue
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            target = unquote(target.partition("?")[0])
            there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            there = path if not target else there
            if target.endswith("/") or there == ".":
                there = posixpath.normpath(posixpath.join(there, "index.html"))
            known = there in pages or (built.folder / there).is_file()
            if not known or (anchor and there in pages and unquote(anchor) not in pages[there].ids):
                dead.append((path, link))
    assert dead == []
    assert sum(len(page.links) for page in pages.values()) > 20_000


def test_every_entry_is_two_clicks_from_home(built):
    def targets(path: str) -> set[str]:
        found = set()
        for link in Links(built.html[path]).links:
            if not re.match(r"[a-z]+:", link):
                bare = link.partition("#")[0].partition("?")[0]
                there = posixpath.normpath(
                    posixpath.join(posixpath.dirname(path), bare, "index.html")
                )
                found.add(there)
        return found & set(built.html)

    one = targets("index.html")
    two = set().union(*(targets(path) for path in one)) | one
    entries = [
        p for p in built.html if re.match(r"(methods|datasets|benchmarks|models|frameworks)/", p)
    ]
    assert len(entries) > 200
    assert [path for path in entries if path not in two] == []


def test_the_search_index_is_small(built):
    file = built.folder / "search" / "search_index.json"
    assert file.stat().st_size <= 2_000_000
    docs = json.loads(file.read_text(encoding="utf-8"))["docs"]
    assert any(each["location"] == "methods/mdpo/" for each in docs)
    assert not any(each["location"].endswith(("#evidence", "#cite")) for each in docs)


def test_no_page_fetches_from_another_host(built):
    for path, html in built.html.items():
        assert not FETCHED.search(html), path
        assert "mermaid" not in html.lower().replace(
            "graph --format mermaid", ""
        ) or path.startswith(("reference/", "about/decisions")), path
    for file in built.folder.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", file.read_text("utf-8")), file.name


def test_no_mark_and_no_template_is_left(built):
    for path, html in built.html.items():
        assert "<!-- mmalign:" not in html, path
        assert "finished-html-" not in html, path  # what the hook puts aside comes back


def test_the_hook_is_small():
    text = Path(hook.__file__).read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 50
