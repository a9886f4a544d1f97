"""The strict build of the real records."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mmalign.site import hook

# What a browser fetches by itself, unlike the target of a link.
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*\b(?:src|data)\s*=\s*[\"']?(?:https?:)?//"
    r"|<link\b(?=[^>]*\brel=\"?(?:stylesheet|preconnect|icon|preload|manifest))[^>]*\bhref=\"?(?:https?:)?//",
    re.IGNORECASE,
)


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
    from mmalign.load import load
    from mmalign.site.atlas import path_of

    for node in load(checkout).nodes():
        page = path_of(node.ref).removesuffix(".md") + "/index.html"
        assert page in built.html


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


def test_the_hook_is_small():
    text = Path(hook.__file__).read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 15
