"""Pages of terms, of facets, and of the taxonomy as a whole."""

from __future__ import annotations

from mmalign.ask import views
from mmalign.records.kb import TermNode
from mmalign.records.model import Facet
from mmalign.site import charts, equations, parts
from mmalign.site.address import address
from mmalign.site.atlas import Atlas, Page, path_of
from mmalign.site.parts import bullets, facts, join, section
from mmalign.site.text import code, escape, front_matter, table
from mmalign.vocabulary import LABELS

OVERVIEW, EXPLORER = "terms/index.md", "explorer.md"
FIRST = ("scenario", "family", "annotation", "dimension")


def term(atlas: Atlas, node: TermNode) -> str:
    page, entry, facet = Page(atlas, path_of(node.ref)), node.entry, atlas.kb.facets[node.facet]
    narrower = [each for each in facet.terms if each.parent == entry.id]
    children = [
        f"{page.link(f'term:{facet.id}/{each.id}')}: {escape(each.definition)}" for each in narrower
    ]
    carriers = atlas.carriers_below(facet.id, entry.id)
    groups = []
    for kind in facet.applies_to:
        refs = [ref for ref in carriers if atlas.nodes[ref].kind == kind]
        if refs:
            many, listed = LABELS[kind][1], _carriers(page, node, refs)
            groups.append(section(f"{many} ({len(refs)})", many.lower(), listed))
    broader = page.link(f"term:{facet.id}/{entry.parent}") if entry.parent else ""
    query = ""
    if "method" in facet.applies_to:
        option = facet.field.rpartition(".")[2].replace("_", "-")
        query = code(f"mmalign query --{option} {entry.id}")
    return join(
        front_matter(f"{entry.label} ({facet.label})", entry.definition, hide=["navigation"]),
        page.crumbs(("terms/index.md", "Taxonomy"), (f"terms/{facet.id}/index.md", facet.label)),
        f"# {escape(entry.label)}",
        f"{escape(entry.definition)}\n{{ .lead }}",
        facts(
            [
                ("Part of", broader),
                ("Also called", parts.names_of(node)),
                ("Survey section", escape(entry.survey) if entry.survey else "not in the survey"),
                ("Ask for it", query),
            ]
        ),
        section("In one notation", "form", equations.block(entry.form) if entry.form else ""),
        section("Open questions", "questions", bullets(escape(each) for each in entry.questions)),
        section("Narrower terms", "narrower", bullets(children)),
        *groups,
        "" if groups else "No entry carries this term yet.",
        parts.errata(page, node),
    )


def _carriers(page: Page, node: TermNode, refs: list[str]) -> str:
    """One line per entry; the narrower term through which it belongs here is named."""
    lines = []
    for ref in refs:
        carrier = page.atlas.nodes[ref]
        if isinstance(carrier, TermNode):  # no term carries a term
            continue
        terms = page.atlas.kb.facet_values(carrier, node.facet)
        below = page.atlas.kb.term_closure(node.facet, node.id)
        through = [each for each in terms if each in below and each != node.id]
        chips = " ".join(page.chip(node.facet, each) for each in through)
        lines.append(f"{page.link(ref)}: {escape(carrier.entry.summary)} {chips}".rstrip())
    return f'<div class="carriers">{bullets(lines)}</div>'


def tree(page: Page, facet: Facet) -> str:
    """All terms of a facet as a nested list, with the entries that carry each."""

    def below(parent: str | None, depth: int, seen: frozenset[str]) -> list[str]:
        lines = []
        for each in facet.terms:
            if each.parent == parent and each.id not in seen:
                link = page.link(f"term:{facet.id}/{each.id}")
                count = entries_of(page, facet, each.id)
                lines.append(f'{"    " * depth}- {link} <span class="count">{count}</span>')
                lines += below(each.id, depth + 1, seen | {each.id})
        return lines

    return '<div class="tree" markdown>\n\n' + "\n".join(below(None, 0, frozenset())) + "\n\n</div>"


def facet(atlas: Atlas, definition: Facet) -> str:
    page = Page(atlas, f"terms/{definition.id}/index.md")
    rows = [
        [page.link(f"term:{definition.id}/{each.id}"), escape(each.definition)]
        for each in definition.terms
    ]
    kinds = ", ".join(LABELS[kind][1].lower() for kind in definition.applies_to)
    return join(
        front_matter(definition.label, definition.definition, hide=["navigation"]),
        page.crumbs(("terms/index.md", "Taxonomy")),
        f"# {escape(definition.label)}",
        f"{escape(definition.definition)}\n{{ .lead }}",
        facts(
            [
                ("Carried by", kinds),
                ("Survey section", escape(definition.survey) if definition.survey else ""),
                ("Record", code(f"taxonomy/{definition.id}.yaml")),
            ]
        ),
        section("Terms", "terms", tree(page, definition)),
        section("Definitions", "definitions", table(["Term", "Definition"], rows), search=False),
    )


def overview(atlas: Atlas) -> str:
    """All facets: a sunburst of each beside the same as a list, and links that act as tabs."""
    page = Page(atlas, OVERVIEW)
    # Those that most readers ask by come first.
    rank = {key: place for place, key in enumerate(FIRST)}
    facets = sorted(atlas.kb.facets.values(), key=lambda f: rank.get(views.key(f), len(rank)))
    tabs = "".join(f'<a href="#{each.id}">{escape(each.label)}</a>' for each in facets)
    return join(
        front_matter("Taxonomy", "The facets of every entry.", hide=["navigation", "toc"]),
        "# Taxonomy",
        "Every entry is classified along these facets. In a picture, a slice is as wide as its "
        "number of entries, an entry with several terms counts at each, and a hollow slice is a "
        "term that no entry carries yet.\n{ .lead }",
        charts.assets(OVERVIEW, "charts.js"),
        f'<nav class="facet-tabs" aria-label="Facets">{tabs}</nav>',
        *(_view(page, each) for each in facets),
        crossing(page, "scenario", "objective_family"),
    )


def _view(page: Page, facet: Facet) -> str:
    """One facet of the overview."""
    slices = _slices(page, facet)
    carriers = {ref for term in facet.terms for ref in page.atlas.carriers_below(facet.id, term.id)}
    label = f"{facet.label}: terms by number of entries"
    picture = charts.sunburst(slices, label, len(carriers)) if carriers else ""
    return join(
        '<div class="facet-view" markdown>',
        f"## {page.to(f'terms/{facet.id}/index.md', escape(facet.label))} {{ #{facet.id} }}",
        escape(facet.definition),
        '<div class="facet-both" markdown>',
        charts.figure(
            "facet-picture",
            picture,
            key=views.key(facet),
            explorer=address(page.path, EXPLORER),
        )
        if picture
        else "",
        tree(page, facet),
        "</div>",
        "</div>",
    )


def _slices(page: Page, facet: Facet) -> tuple[charts.Slice, ...]:
    """The terms of a facet as slices of a sunburst."""

    def below(parent: str | None, seen: frozenset[str]) -> tuple[charts.Slice, ...]:
        return tuple(
            charts.Slice(
                each.id,
                each.label,
                address(page.path, f"terms/{facet.id}/{each.id}.md"),
                by_kind(page.atlas, facet, each.id),
                len(page.atlas.carriers.get(f"term:{facet.id}/{each.id}", ())),
                below(each.id, seen | {each.id}),
            )
            for each in facet.terms
            if each.parent == parent and each.id not in seen
        )

    return below(None, frozenset())


def by_kind(atlas: Atlas, facet: Facet, term: str) -> dict[str, int]:
    """How many entries of each kind carry a term or one below it; kinds without any are absent."""
    refs = atlas.carriers_below(facet.id, term)
    counts = {kind: sum(ref.startswith(f"{kind}:") for ref in refs) for kind in facet.applies_to}
    return {kind: count for kind, count in counts.items() if count}


def entries_of(page: Page, facet: Facet, term: str) -> str:
    """Links to the explorer with the entries of a term, one for each kind."""
    shown = []
    for kind, count in by_kind(page.atlas, facet, term).items():
        query = f"?kind={kind}&{views.key(facet)}={term}"
        words = charts.plural(count, *(each.lower() for each in LABELS[kind]))
        shown.append(f'<a href="{address(page.path, EXPLORER + query)}">{words}</a>')
    return ", ".join(shown) or "none"


def crossing(page: Page, rows: str, columns: str) -> str:
    """Two facets crossed: how many methods carry both terms. Empty cells are open ground."""
    kb, atlas = page.atlas.kb, page.atlas
    if rows not in kb.facets or columns not in kb.facets:
        return ""

    def methods(facet: str, id_: str) -> set[str]:
        return {ref for ref in atlas.carriers_below(facet, id_) if ref.startswith("method:")}

    def leaves(facet: str) -> dict[str, set[str]]:
        parents = {each.parent for each in kb.facets[facet].terms}
        ids = [each.id for each in kb.facets[facet].terms if each.id not in parents]
        return {id_: methods(facet, id_) for id_ in ids}

    across = {id_: found for id_, found in leaves(columns).items() if found}
    down = leaves(rows)
    if not across:
        return ""
    body = []
    for id_, carriers in down.items():
        counts = [len(carriers & others) for others in across.values()]
        cells = [str(count) if count else "·" for count in counts]
        body.append([page.link(f"term:{rows}/{id_}"), *cells])
    head = [
        escape(kb.facets[rows].label),
        *(page.link(f"term:{columns}/{id_}") for id_ in across),
    ]
    text = (
        f"Methods by {escape(kb.facets[rows].label.lower())} and "
        f"{escape(kb.facets[columns].label.lower())}. A dot is a combination that no catalogued "
        "method has tried."
    )
    return section(
        "Where the methods are",
        "crossing",
        text,
        '<div class="crossing" markdown>\n\n' + table(head, body) + "\n\n</div>",
        search=False,
    )
