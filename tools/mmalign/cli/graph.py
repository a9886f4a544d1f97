"""`mmalign graph`."""

from __future__ import annotations

import click

from mmalign.cli import output
from mmalign.cli.arguments import Name, Place, Whole, resolve

FORMATS = ("json", "graphml", "dot", "mermaid", "csv", "skos")


@click.command()
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="json",
    show_default=True,
    help="csv: one edge a line. skos: the taxonomy and what carries each term, in Turtle.",
)
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.option("--around", type=Name(), metavar="ID", help="Only what is near this entry.")
@click.option(
    "--depth",
    type=Whole(min=1),
    default=1,
    show_default=True,
    help="How many steps away from --around.",
)
@click.option("--output", "-o", "path", type=Place(dir_okay=False), help="Write to this file.")
@click.pass_context
def graph(
    ctx: click.Context,
    format_: str,
    as_json: bool,
    around: str | None,
    depth: int,
    path: str | None,
) -> None:
    """Write papers, entries and terms as a graph with typed edges."""
    from mmalign.ask.graph import build
    from mmalign.export.graphs import FORMATS as writers
    from mmalign.records.read import load

    catalogue = output.catalogue(ctx)
    whole = build(load(catalogue.root))
    if around is not None:
        import networkx

        ref = resolve(catalogue, around)
        whole = networkx.ego_graph(whole, ref, radius=depth, undirected=True)
    output.write(writers["json" if as_json else format_](whole), path)
