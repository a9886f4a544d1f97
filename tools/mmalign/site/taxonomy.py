"""Pages of terms, of facets, and of the taxonomy as a whole."""

from __future__ import annotations

from mmalign.kb import Node
from mmalign.model import Facet
from mmalign.site import parts
from mmalign.site.atlas import LABELS, Atlas, Page, path_of
from mmalign.site.parts import bullets, facts, join, section
from mmalign.site.text import code, escape, front_matter, table


def term(atlas: Atlas, node: Node) -> str:
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
        section("Open questions", "questions", bullets(escape(each) for each in entry.questions)),
        section("Narrower terms", "narrower", bullets(children)),
        *groups,
        "" if groups else "No entry carries this term yet.",
        parts.errata(page, node),
    )


def _carriers(page: Page, node: Node, refs: list[str]) -> str:
    """One line per entry; the narrower term through which it belongs here is named."""
    lines = []
    for ref in refs:
        carrier = page.atlas.nodes[ref]
        terms = page.atlas.kb.facet_values(carrier, node.facet)
        below = page.atlas.kb.term_closure(node.facet, node.id)
        through = [each for each in terms if each in below and each != node.id]
        chips = " ".join(page.chip(node.facet, each) for each in through)
        lines.append(f"{page.link(ref)}: {escape(carrier.entry.summary)} {chips}".rstrip())
    return bullets(lines)


def tree(page: Page, facet: Facet) -> str:
    """All terms of a facet as a nested list, with the number of entries that carry each."""

    def below(parent: str | None, depth: int, seen: frozenset[str]) -> list[str]:
        lines = []
        for each in facet.terms:
            if each.parent == parent and each.id not in seen:
                count = len(page.atlas.carriers_below(facet.id, each.id))
                link = page.link(f"term:{facet.id}/{each.id}")
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
    page = Page(atlas, "terms/index.md")
    facets = list(atlas.kb.facets.values())
    found = [
        join(
            f"## {page.to(f'terms/{each.id}/index.md', escape(each.label))} {{ #{each.id} }}",
            escape(each.definition),
            tree(page, each),
        )
        for each in facets
    ]
    return join(
        front_matter("Taxonomy", "The facets of every entry.", hide=["navigation"]),
        "# Taxonomy",
        "Every entry is classified along these facets. The number behind a term counts the entries "
        "that carry it or a narrower one.\n{ .lead }",
        crossing(page, "scenario", "objective_family"),
        '<div class="facets" markdown>',
        *(f'<div class="facet" markdown>\n\n{each}\n</div>' for each in found),
        "</div>",
    )


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
