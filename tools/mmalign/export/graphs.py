"""The graph (`mmalign.ask.graph.build`) in the formats of other tools.

Nodes and edges are sorted and attributes without a value left out, so that an export is the same
on every run. Edges have the attribute `relation`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import networkx


def _plain(value):
    if isinstance(value, (list, tuple, set, frozenset)):
        return "; ".join(sorted(map(str, value)) if isinstance(value, (set, frozenset)) else value)
    return value


def canonical(graph: networkx.MultiDiGraph) -> networkx.MultiDiGraph:
    """The same graph with everything in sorted order and scalar attributes only."""
    ordered = networkx.MultiDiGraph()
    for name, data in sorted(graph.nodes(data=True)):
        # Readers of node-link JSON and GraphML call the node's own name `id`.
        given = {**data, "ref": name}
        attributes = {k: _plain(v) for k, v in sorted(given.items()) if v is not None and k != "id"}
        ordered.add_node(name, **attributes)
    edges = sorted(
        graph.edges(data=True), key=lambda e: (e[0], e[2].get("relation", ""), e[1], str(e[2]))
    )
    for source, target, data in edges:
        relation = data.get("relation", "")
        attributes = {k: _plain(v) for k, v in sorted(data.items()) if v is not None}
        # The key becomes the id of the edge in GraphML, which has to be unique in the file.
        ordered.add_edge(source, target, key=f"{source} {relation} {target}", **attributes)
    return ordered


def to_json(graph: networkx.MultiDiGraph) -> str:
    """Node-link JSON, as `networkx.node_link_graph(data, edges="edges")` reads it.

    The `id` of a node is its full name, which is also its `ref`.
    """
    data = networkx.node_link_data(canonical(graph), edges="edges")
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def to_graphml(graph: networkx.MultiDiGraph) -> str:
    """GraphML, for Gephi, yEd, Cytoscape."""
    from xml.etree import ElementTree

    from networkx.readwrite.graphml import GraphMLWriter

    # Not `generate_graphml`: that changes its output where lxml is installed.
    writer = GraphMLWriter(encoding="utf-8", prettyprint=True, infer_numeric_types=False)
    writer.add_graph_element(canonical(graph))
    writer.indent(writer.xml)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(
        writer.xml, encoding="unicode"
    )


def to_dot(graph: networkx.MultiDiGraph) -> str:
    """Graphviz."""
    ordered = canonical(graph)
    lines = ["digraph mmalign {", "  rankdir=LR;", "  node [shape=box];"]
    for name, data in ordered.nodes(data=True):
        label, kind = data.get("label", name), data.get("kind", "")
        lines.append(f"  {_dot(name)} [label={_dot(label)}, class={_dot(kind)}];")
    for source, target, data in ordered.edges(data=True):
        lines.append(f"  {_dot(source)} -> {_dot(target)} [label={_dot(data['relation'])}];")
    return "\n".join([*lines, "}", ""])


def _dot(text) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def to_mermaid(graph: networkx.MultiDiGraph) -> str:
    """A Mermaid flowchart, which Markdown viewers draw."""
    ordered = canonical(graph)
    number = {name: f"n{place}" for place, name in enumerate(ordered)}
    lines = ["flowchart LR"]
    lines += [
        f"  {number[name]}{_mermaid(data.get('label', name))}"
        for name, data in ordered.nodes(data=True)
    ]
    lines += [
        f"  {number[source]} -->|{data['relation']}| {number[target]}"
        for source, target, data in ordered.edges(data=True)
    ]
    return "\n".join(lines) + "\n"


def _mermaid(label) -> str:
    text = " ".join(str(label).split()).replace("#", "#35;")
    for char, code in (('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(char, code)
    return f'["{text}"]'


def to_csv(graph: networkx.MultiDiGraph) -> str:
    """The edges, one a line; a node without edges stands alone in a line."""
    import csv
    import io

    ordered = canonical(graph)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    ends = [[end, f"{end}_kind", f"{end}_label"] for end in ("source", "target")]
    writer.writerow([*ends[0], "relation", *ends[1]])

    def describe(name):
        data = ordered.nodes[name]
        return [name, data.get("kind", ""), data.get("label", "")]

    for source, target, data in ordered.edges(data=True):
        writer.writerow([*describe(source), data["relation"], *describe(target)])
    for name in networkx.isolates(ordered):
        writer.writerow([*describe(name), "", "", "", ""])
    return stream.getvalue()


def to_skos(graph: networkx.MultiDiGraph) -> str:
    """The taxonomy as SKOS in Turtle, with the entries that carry each term.

    A facet is a concept scheme, a term a concept; what carries a term has it as `dcterms:subject`.
    Nodes are named `urn:mmalign:` and their full name, which stays the same wherever the site is.
    Edges between entries are not in it: SKOS has no words for them.
    """
    lines = [
        "@prefix dcterms: <http://purl.org/dc/terms/> .",
        "@prefix skos: <http://www.w3.org/2004/02/skos/core#> .",
    ]
    terms = {n: d for n, d in sorted(graph.nodes(data=True)) if d.get("kind") == "term"}
    edges = [
        (source, data["relation"], target)
        for source, target, data in graph.edges(data=True)
        if target in terms
    ]
    broader = {source: target for source, relation, target in edges if relation == "broader"}
    schemes = {data["facet"]: data["facet_label"] for data in terms.values()}
    for facet, label in sorted(schemes.items()):
        lines += ["", f"{_urn(f'facet:{facet}')} a skos:ConceptScheme ;"]
        lines.append(f"  skos:prefLabel {_turtle(label)} .")
    for name, data in terms.items():
        scheme = _urn(f"facet:{data['facet']}")
        says = [f"skos:prefLabel {_turtle(data['label'])}"]
        says += [f"skos:altLabel {_turtle(alias)}" for alias in sorted(data.get("aliases", ()))]
        says += [f"skos:notation {_turtle(data['id'], '')}"]
        says += [f"skos:definition {_turtle(data['definition'])}", f"skos:inScheme {scheme}"]
        above = broader.get(name)
        says.append(f"skos:broader {_urn(above)}" if above else f"skos:topConceptOf {scheme}")
        lines += ["", f"{_urn(name)} a skos:Concept ;", "  " + " ;\n  ".join(says) + " ."]
    subjects: dict[str, set[str]] = {}
    for source, relation, target in edges:
        if relation != "broader":
            subjects.setdefault(source, set()).add(target)
    for source, targets in sorted(subjects.items()):
        title = f"dcterms:title {_turtle(graph.nodes[source].get('label', source))}"
        listed = ", ".join(map(_urn, sorted(targets)))
        lines += ["", f"{_urn(source)} {title} ;", f"  dcterms:subject {listed} ."]
    return "\n".join(lines) + "\n"


def _urn(name: str) -> str:
    return f"<urn:mmalign:{name}>"


def _turtle(text: str, language: str = "@en") -> str:
    """A text as a literal."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"{language}'


FORMATS: dict[str, Callable[[networkx.MultiDiGraph], str]] = {
    "json": to_json,
    "graphml": to_graphml,
    "dot": to_dot,
    "mermaid": to_mermaid,
    "csv": to_csv,
    "skos": to_skos,
}
"""Name of a format -> function from a graph to text. `mmalign.cli.graph` has the same names."""
