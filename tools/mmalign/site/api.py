"""Doors for machines: the records as static files beside the pages, and the page about them.

`files(atlas)` makes them all, as text. A JSON file is an object with `schema`, `version`, `kind`,
`count` and `entries`, and holds one entry a line, so that two versions can be compared by eye.
"""

from __future__ import annotations

import html
import json
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmalign import __version__
from mmalign.ask import graph, views
from mmalign.export import awesome, bibtex, graphs
from mmalign.records.kb import KnowledgeBase
from mmalign.site.address import address_of
from mmalign.site.atlas import FOLDERS, Atlas
from mmalign.site.parts import join
from mmalign.site.text import code, escape, front_matter, table
from mmalign.vocabulary import KINDS, LABELS, Json

PATH = "reference/machine.md"
SCHEMA = 1
"""Grows when a field of the JSON files is renamed, removed, or means something else."""
LISTED = tuple(kind for kind in KINDS if kind != "term")


@dataclass(frozen=True)
class Door:
    """One file: its path below the site, its format, and what it holds."""

    path: str
    format: str
    about: str
    kind: str = ""


def plural(kind: str) -> str:
    return FOLDERS[kind]


def doors() -> list[Door]:
    """All files but redirects and robots.txt, in the order of the page."""
    found = [Door("api/index.json", "json", "This list, with counts of everything")]
    for kind in LISTED:
        many = LABELS[kind][1]
        found.append(Door(f"api/{plural(kind)}.json", "json", f"{many}, a short row each", kind))
    for kind in LISTED:
        many, file = LABELS[kind][1], f"api/{plural(kind)}-full.json"
        found.append(Door(file, "json", f"{many}, the whole record with evidence and errata", kind))
    found += [
        Door("api/terms.json", "json", "The taxonomy: facets and terms", "term"),
        Door("api/claims.json", "json", "Claims of methods, each with its place", "claim"),
        Door("api/errata.json", "json", "Errata, each with its proof", "erratum"),
        Door("api/graph.json", "json", "The graph of entries, as node-link JSON"),
        Door("atlas.graphml", "graphml", "The same graph for Gephi, yEd and Cytoscape"),
        Door("atlas.bib", "bibtex", "BibTeX of every paper; the keys are the ids of papers"),
        Door("taxonomy.ttl", "turtle", "The taxonomy as SKOS, with the entries of each term"),
        Door("awesome.md", "markdown", "The list of methods, as Markdown", "method"),
    ]
    for kind in LISTED[1:]:
        about = f"The list of {LABELS[kind][1].lower()}, as Markdown"
        found.append(Door(f"awesome-{plural(kind)}.md", "markdown", about, kind))
    return found


def files(atlas: Atlas, site_url: str = "") -> dict[str, str]:
    """Path below the site -> text. `site_url` is where the site will be, if that is known."""
    kb = atlas.kb
    made: dict[str, str] = {}
    labelled = views.facets(kb)
    facets = {
        name: {field: value for field, value in facet.items() if field != "terms"}
        for name, facet in labelled.items()
    }
    for kind in LISTED:
        name = plural(kind)
        made[f"api/{name}.json"] = listing(kind, atlas.rows(kind))
        cards = [views.card(kb, node) for node in kb.nodes(kind)]
        made[f"api/{name}-full.json"] = listing(kind, cards)
        made["awesome.md" if kind == "method" else f"awesome-{name}.md"] = awesome.to_markdown(
            atlas.rows(kind), labelled
        )
    made["api/terms.json"] = listing("term", atlas.rows("term"), facets=facets)
    made["api/claims.json"] = listing("claim", _claims(kb))
    made["api/errata.json"] = listing("erratum", map(views.erratum, kb.errata))
    made["atlas.bib"] = bibtex.to_bibtex(views.paper_summary(p) for p in kb.papers.values())
    built = graph.build(kb)
    made["api/graph.json"] = graphs.to_json(built)
    made["atlas.graphml"] = graphs.to_graphml(built)
    made["taxonomy.ttl"] = graphs.to_skos(built)
    made["api/index.json"] = _index(atlas)
    made["robots.txt"] = robots(site_url)
    return dict(sorted(made.items()))


def listing(kind: str, entries: Iterable[Json], **more: object) -> str:
    """Entries of one kind as JSON, one a line."""
    lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
    head = {"schema": SCHEMA, "version": __version__, "kind": kind, "count": len(lines), **more}
    start = json.dumps(head, ensure_ascii=False).removesuffix("}")
    return f'{start}, "entries": [\n' + ",\n".join(lines) + "\n]}\n"


def _claims(kb: KnowledgeBase) -> list[Json]:
    return [claim for node in kb.nodes("method") for claim in views.claims(node)]


def counts(atlas: Atlas) -> dict[str, int]:
    """Kind -> number of entries; also of claims and errata."""
    kb = atlas.kb
    found: dict[str, int] = {kind: sum(1 for _ in kb.nodes(kind)) for kind in KINDS}
    return {**found, "claim": len(_claims(kb)), "erratum": len(kb.errata)}


def _index(atlas: Atlas) -> str:
    number = counts(atlas)
    listed = [
        {"path": door.path, "format": door.format, "about": door.about}
        | ({"kind": door.kind, "count": number[door.kind]} if door.kind else {})
        for door in doors()
    ]
    value = {
        "schema": SCHEMA,
        "name": "mmalign",
        "version": __version__,
        "counts": number,
        "files": listed,
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


# --- for crawlers, and for old addresses ---------------------------------------------------------


def robots(site_url: str) -> str:
    """robots.txt; only an absolute address of the sitemap is valid there."""
    lines = ["User-agent: *", "Allow: /"]
    if site_url:
        lines += ["", f"Sitemap: {site_url.rstrip('/')}/sitemap.xml"]
    return "\n".join(lines) + "\n"


def redirects(
    table: Mapping[str, str], pages: Collection[str], site_url: str = ""
) -> dict[str, str]:
    """Small pages that send old addresses (`list/`) to new ones (`explorer/`, `errata/#x`).

    `pages` are the paths of all Markdown pages. ValueError names an old address that is in use,
    and a new one that no page has.
    """
    known, made = {address_of(path) for path in pages}, {}
    for old, new in table.items():
        target, hash_, anchor = str(new).partition("#")
        if not str(old).endswith("/") or str(old).startswith(("/", ".")) or old in known:
            raise ValueError(f"redirects: '{old}' has to be an address such as a/b/ of no page")
        if target not in known:
            raise ValueError(f"redirects: '{old}' leads to '{new}', where no page is")
        way = posixpath.relpath("/" + target, "/" + old) + "/" + hash_ + anchor
        canonical = f"{site_url.rstrip('/')}/{new}" if site_url else way
        made[f"{old}index.html"] = _redirect(way, canonical)
    return made


def _redirect(way: str, canonical: str) -> str:
    shown, whole = html.escape(way), html.escape(canonical)
    # The script keeps what a shared link holds behind ? and #; without it the refresh leads on.
    script = (
        f"const to = new URL({json.dumps(way)}, location); to.search = location.search; "
        "if (location.hash) to.hash = location.hash; location.replace(to);"
    ).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Moved</title>\n'
        f'<link rel="canonical" href="{whole}">\n<script>{script}</script>\n'
        f'<meta http-equiv="refresh" content="0; url={shown}">\n</head>\n'
        f'<body><p>This page has <a href="{shown}">moved</a>.</p></body>\n</html>\n'
    )


# --- the page ------------------------------------------------------------------------------------

PARAMETERS = (
    ("kind", "One of method, dataset, benchmark, model, framework, paper", "kind=method"),
    ("text", "Words that all have to occur", "text=video+preference"),
    ("from, to", "Years, both included", "from=2024&to=2025"),
    ("has", "All of code, impl, results, lab, with commas", "has=code,lab"),
    ("sort", "Key of a column, with - before it to turn the order round", "sort=-year"),
    ("columns", "Keys of the columns to show", "columns=year,licence"),
)


def page(atlas: Atlas) -> str:
    """The page about the files. Their addresses are relative, as everything on the site."""
    number = counts(atlas)
    rows = [
        [
            f'<a href="../../{door.path}">{door.path}</a>',
            escape(door.about),
            f"{number[door.kind]}" if door.kind else "",
        ]
        for door in doors()
    ]
    return join(
        front_matter("For machines", "The records as JSON, BibTeX, GraphML, SKOS and Markdown."),
        "# For machines",
        "Everything that the pages say is also there as plain files, below the same address.\n"
        "{ .lead }",
        "## Files { #files }",
        table(["File", "What it holds", "Entries"], rows),
        "## JSON { #json }",
        f"Schema {SCHEMA}, version {__version__}. Every list is an object with `schema`, "
        "`version`, `kind`, `count` and `entries`; one entry stands on a line. Short rows are "
        "those of `mmalign list KIND --format json`, whole records those of "
        "`mmalign show ID --json`. The full name of an entry is its `ref`, such as "
        "`method:mdpo`; it is never renamed. "
        "The number `schema` grows when a field is renamed, removed, or means something else; "
        "new fields may come without that.",
        "`api/index.json` names all files and counts all entries. `api/graph.json` is what "
        '`networkx.node_link_graph(data, edges="edges")` reads.',
        "## Addresses { #addresses }",
        "The page of an entry is at its kind and id: `methods/mdpo/`, `benchmarks/amber/`, "
        "`terms/scenario/hallucination/`. An address that has to change keeps a page that leads to "
        "the new one. `sitemap.xml` lists all pages where the site is published under a known "
        "address.",
        "## Links into the explorer { #explorer }",
        "The explorer keeps its state in its address, so that other tools can link to a choice.",
        _parameters(atlas),
    )


def _parameters(atlas: Atlas) -> str:
    rows: list[Sequence[str]] = list(PARAMETERS)
    for facet in atlas.kb.facets.values():
        key, term = views.key(facet), facet.terms[0].id
        what = f"Terms of {facet.label}, any of them, with commas; !TERM leaves one out"
        rows.append((key, what, f"{key}={term}"))
    cells = []
    for name, what, query in rows:
        link = f'<a href="../../explorer/?{html.escape(query)}">{code(query)}</a>'
        cells.append([code(name), escape(what), link])
    return table(["Parameter", "Meaning", "Example"], cells)
