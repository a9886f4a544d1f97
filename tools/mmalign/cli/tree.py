"""`mmalign tree`: the taxonomy with counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmalign.ask.catalogue import Catalogue
from mmalign.characters import printable
from mmalign.cli import layout, output
from mmalign.cli.arguments import TextParam, complete
from mmalign.names import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Branch = dict[str, Any]
"""A facet or a term as JSON has it, with the terms below it."""


class FacetName(TextParam):
    """A facet by its id or the name of its option."""

    name = "facet"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return complete(ctx, incomplete, lambda c: ((i, f["label"]) for i, f in c.facets.items()))


@click.command()
@click.argument("facet", type=FacetName(), required=False)
@click.option("--entries", is_flag=True, help="Show the entries of each term, too.")
@output.listing_options
@click.pass_context
def tree(ctx: click.Context, facet: str | None, entries: bool, format_: str, as_json: bool) -> None:
    """Show the taxonomy, or one FACET of it, with the number of entries of each term.

    A term counts what carries it or a term below it.
    """
    catalogue = output.catalogue(ctx)
    chosen = list(catalogue.facets) if facet is None else [_facet(catalogue, facet)]
    format_ = "json" if as_json else format_
    rows = [row for row in catalogue.rows("term") if row["facet"] in chosen]
    facets = [_branch(catalogue, name, rows) for name in chosen]
    if format_ == "json":
        output.write_json(facets)
    elif format_ == "table":
        output.write("\n".join(_draw(catalogue, one, entries) for one in facets))
    elif format_ == "md":
        output.write("\n".join(_markdown(catalogue, one, entries) for one in facets))
    else:
        output.write_rows(rows, "term", output.Listing(format_), catalogue)


def _facet(catalogue: Catalogue, name: str) -> str:
    wanted = name.lower().replace("-", "_").removeprefix("term:")
    for facet, definition in catalogue.facets.items():
        if wanted in (facet, definition["key"]):
            return facet
    near = nearest(wanted, [*catalogue.facets, *(f["key"] for f in catalogue.facets.values())])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise click.UsageError(
        f"no facet is called '{name}'{hint}; known: {', '.join(catalogue.facets)}"
    )


def _branch(catalogue: Catalogue, facet: str, rows: list[Branch]) -> Branch:
    """A facet with its terms nested below `children`."""
    own = {row["id"]: row for row in rows if row["facet"] == facet}

    def below(parent: str | None, depth: int) -> list[Branch]:
        if depth > len(own):  # a cycle; validation reports it
            return []
        return [
            {**own[term["id"]], "children": below(term["id"], depth + 1)}
            for term in catalogue.facets[facet]["terms"]
            if term["parent"] == parent and term["id"] in own
        ]

    definition = catalogue.facets[facet]
    return {
        "kind": "facet",
        "id": facet,
        "ref": f"facet:{facet}",
        "name": definition["label"],
        "definition": definition["definition"],
        "applies_to": definition["applies_to"],
        "children": below(None, 0),
    }


def _carriers(catalogue: Catalogue, term: Branch) -> list[str]:
    """Entries that carry this term itself, not one below it."""
    deeper = {ref for c in term["children"] for ref in catalogue.card(c["ref"])["entries"]}
    return [ref for ref in catalogue.card(term["ref"])["entries"] if ref not in deeper]


def _draw(catalogue: Catalogue, facet: Branch, entries: bool) -> str:
    unicode = output.speaks_unicode()
    turn, fork, bar = ("└─ ", "├─ ", "│  ") if unicode else ("`- ", "|- ", "|  ")
    size = layout.text_width()
    lines: list[str] = []

    def add(text: str, lead: str = "", further: str = "  ") -> None:
        lines.extend(
            layout.wrap(text, size, lead, further) if size else [f"{lead}{printable(text)}"]
        )

    add(f"{facet['id']}: {facet['name']}")

    def draw(nodes: list[Branch], indent: str) -> None:
        for place, node in enumerate(nodes):
            last = place == len(nodes) - 1
            deeper = indent + ("   " if last else bar)
            lead = bar if node["children"] else "   "
            add(
                f"{node['id']} ({node['entries']})",
                indent + (turn if last else fork),
                deeper + lead,
            )
            for ref in _carriers(catalogue, node) if entries else ():
                add(ref, deeper + lead, deeper + lead + "  ")
            draw(node["children"], deeper)

    draw(facet["children"], "")
    return "\n".join(lines) + "\n"


def _markdown(catalogue: Catalogue, facet: Branch, entries: bool) -> str:
    from mmalign.export.awesome import escape

    lines = [f"## {escape(facet['name'])}", "", escape(facet["definition"]), ""]

    def draw(nodes: list[Branch], indent: str) -> None:
        for node in nodes:
            lines.append(
                f"{indent}- **{escape(node['name'])}** (`{node['id']}`, {node['entries']}): "
                + escape(node["definition"])
            )
            if entries:
                lines.extend(f"{indent}  - `{ref}`" for ref in _carriers(catalogue, node))
            draw(node["children"], indent + "  ")

    draw(facet["children"], "")
    return "\n".join(lines) + "\n"
