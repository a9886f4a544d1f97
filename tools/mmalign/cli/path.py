"""`mmalign path`: how two entries hang together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import click

from mmalign.characters import printable
from mmalign.cli import output
from mmalign.cli.arguments import Name, Whole, resolve

if TYPE_CHECKING:
    import networkx

    from mmalign.records.model import Relation

    Graph = networkx.MultiDiGraph[str]

# Cost of a step: what the field calls lineage is nearest, then use, then a shared term. Steps over
# a node that everything hangs on cost more on top: two methods of one modality are no relatives.
COST = {
    "extends": 1.0, "introduces": 1.0, "trains_on": 1.5, "compares_with": 1.5, "related": 1.5,
    "evaluated_on": 3.0, "addresses": 3.0, "broader": 3.0, "annotated_by": 4.0, "has_term": 4.0,
}  # fmt: skip


@click.command()
@click.argument("start", type=Name(), metavar="FROM")
@click.argument("end", type=Name(), metavar="TO")
@click.option("--relation", "relations", type=click.Choice(list(COST)), multiple=True,
              help="Use only edges of this type; repeatable.")  # fmt: skip
@click.option("--number", type=Whole(1, 20), default=1, show_default=True, metavar="N",
              help="Show the N best paths.")  # fmt: skip
@click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How to write the path.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.pass_context
def path(
    ctx: click.Context,
    start: str,
    end: str,
    relations: tuple[str, ...],
    number: int,
    format_: str,
    as_json: bool,
) -> None:
    """Show how FROM and TO hang together: objective lineage first, then data, then terms.

    Edges may be walked in both directions. Exit status 1 if there is no path.
    """
    from mmalign.ask.graph import build
    from mmalign.records.read import load

    catalogue = output.catalogue(ctx)
    one, other = resolve(catalogue, start), resolve(catalogue, end)
    if one == other:
        raise click.UsageError(f"both are {one}; two different entries are needed")
    kb = load(catalogue.root)
    graph = build(kb)
    found = list(islice(_paths(graph, one, other, relations), number))
    if not found:
        raise click.ClickException(f"no path leads from {one} to {other}")
    paths = [_steps(graph, nodes, relations) for nodes in found]
    if as_json or format_ == "json":
        output.write_json([{"kind": "path", "steps": steps} for steps in paths])
        return
    output.write("\n".join(_text(graph, steps, kb.relations) for steps in paths))


def _paths(graph: Graph, one: str, other: str, relations: tuple[str, ...]) -> Iterator[list[str]]:
    """Paths as lists of nodes, the cheapest first."""
    import networkx

    simple: networkx.Graph[str] = networkx.Graph()
    for source, target, data in graph.edges(data=True):
        if relations and data["relation"] not in relations:
            continue
        # Half of the cost of the busier end's degree, in bits.
        crowd = max(graph.degree(source), graph.degree(target))
        cost = COST[data["relation"]] + 0.5 * math.log2(crowd)
        if not simple.has_edge(source, target) or simple[source][target]["cost"] > cost:
            simple.add_edge(source, target, cost=cost)
    if one not in simple or other not in simple or not networkx.has_path(simple, one, other):
        return iter(())
    return networkx.shortest_simple_paths(simple, one, other, weight="cost")


def _steps(graph: Graph, nodes: list[str], relations: tuple[str, ...]) -> list[dict[str, str]]:
    """Edges along a path: the cheapest between each two nodes, in their true direction."""
    steps = []
    for here, there in pairwise(nodes):
        edges = [
            (COST[data["relation"]], source, target, data["relation"])
            for source, target in ((here, there), (there, here))
            for data in (graph.get_edge_data(source, target) or {}).values()
            if not relations or data["relation"] in relations
        ]
        _, source, target, relation = min(edges)
        steps.append(
            {
                "source": source, "relation": relation, "target": target,
                "direction": "forward" if source == here else "backward",
            }
        )  # fmt: skip
    return steps


def _text(graph: Graph, steps: list[dict[str, str]], relations: Mapping[str, Relation]) -> str:
    lines: list[str] = []
    for step in steps:
        forward = step["direction"] == "forward"
        here, there = (step["source"], step["target"]) if forward else (
            step["target"], step["source"]
        )  # fmt: skip
        if not lines:
            lines.append(f"{printable(graph.nodes[here]['label'])}  ({here})")
        relation = relations.get(step["relation"])
        if relation is None:  # a root whose taxonomy lacks it; `mmalign validate` says so
            said = step["relation"] if forward else f"{step['relation']} (backward)"
        else:
            said = relation.label if forward else relation.inverse_label
        label = printable(graph.nodes[there]["label"])
        lines.append(f"  {printable(said)}: {label}  ({there})")
    return "\n".join(lines) + "\n"
