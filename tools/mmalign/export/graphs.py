"""The graph (`mmalign.ask.graph.build`) in the formats of other tools.

Nodes and edges are sorted and attributes without a value left out, so that an export is the same
on every run. Edges have the attribute `relation`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

import networkx

from mmalign.export import rows
from mmalign.vocabulary import LABELS

Graph: TypeAlias = "networkx.MultiDiGraph[str]"
"""What `mmalign.ask.graph.build` makes."""


def _plain(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return "; ".join(sorted(map(str, value)))
    if isinstance(value, (list, tuple)):
        return "; ".join(map(str, value))
    return value


def canonical(graph: Graph) -> Graph:
    """The same graph with everything in sorted order and scalar attributes only."""
    ordered: Graph = networkx.MultiDiGraph()
    for name, data in sorted(graph.nodes.items()):
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


def to_json(graph: Graph) -> str:
    """Node-link JSON, as `networkx.node_link_graph(data, edges="edges")` reads it.

    The `id` of a node is its full name, which is also its `ref`.
    """
    data = networkx.node_link_data(canonical(graph), edges="edges")
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 does not allow, not even as a number (https://www.w3.org/TR/xml/#charsets)."""


def to_graphml(graph: Graph) -> str:
    """GraphML, for Gephi, yEd, Cytoscape. A character that XML cannot hold becomes U+FFFD."""
    from xml.etree import ElementTree

    from networkx.readwrite.graphml import GraphMLWriter

    # Not `generate_graphml`: that changes its output where lxml is installed.
    writer = GraphMLWriter(encoding="utf-8", prettyprint=True, infer_numeric_types=False)
    writer.add_graph_element(canonical(graph))
    writer.indent(writer.xml)
    text = ElementTree.tostring(writer.xml, encoding="unicode")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + _NOT_XML.sub("\ufffd", text)


def to_dot(graph: Graph) -> str:
    """Graphviz."""
    ordered = canonical(graph)
    lines = ["digraph mmalign {", "  rankdir=LR;", "  node [shape=box];"]
    for name, data in ordered.nodes.items():
        label, kind = data.get("label", name), data.get("kind", "")
        lines.append(f"  {_dot(name)} [label={_dot(label)}, class={_dot(kind)}];")
    for source, target, data in ordered.edges(data=True):
        lines.append(f"  {_dot(source)} -> {_dot(target)} [label={_dot(data['relation'])}];")
    return "\n".join([*lines, "}", ""])


def _dot(text: object) -> str:
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def to_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart, which Markdown viewers draw."""
    ordered = canonical(graph)
    number = {name: f"n{place}" for place, name in enumerate(ordered)}
    lines = ["flowchart LR"]
    lines += [
        f"  {number[name]}{_mermaid(data.get('label', name))}"
        for name, data in ordered.nodes.items()
    ]
    lines += [
        f"  {number[source]} -->|{data['relation']}| {number[target]}"
        for source, target, data in ordered.edges(data=True)
    ]
    return "\n".join(lines) + "\n"


_NOT_PLAIN = re.compile(r"[^\w ,./()+-]")


def _mermaid(label: object) -> str:
    """A label in which only letters, digits and a few marks stand for themselves: a quote ends
    it, `%%{` begins a directive wherever it stands, `$$` a formula, a backtick Markdown."""
    text = " ".join(str(label).split())
    return f'["{_NOT_PLAIN.sub(lambda match: f"#{ord(match.group())};", text)}"]'


def to_csv(graph: Graph) -> str:
    """The edges, one a line; a node without edges stands alone in a line."""
    ordered = canonical(graph)
    of_edge = ("source", "source_kind", "source_label", "relation",
               "target", "target_kind", "target_label")  # fmt: skip

    def describe(name: str) -> list[str]:
        data = ordered.nodes[name]
        return [name, data.get("kind", ""), data.get("label", "")]

    found = [
        [*describe(source), data["relation"], *describe(target)]
        for source, target, data in ordered.edges(data=True)
    ]
    found += [[*describe(name), "", "", "", ""] for name in networkx.isolates(ordered)]
    return rows.to_csv(dict(zip(of_edge, each, strict=True)) for each in found)


def to_skos(graph: Graph) -> str:
    """The taxonomy as SKOS in Turtle, with the entries that carry each term.

    A facet is a concept scheme, a term a concept; what carries a term has it as `dcterms:subject`
    and the class of its kind as its type. Nodes are named `urn:mmalign:` and their full name, which
    stays the same wherever the site is. Edges between entries are not in it: SKOS has no words for
    them.
    """
    terms = {n: d for n, d in sorted(graph.nodes.items()) if d.get("kind") == "term"}
    edges = [
        (source, data["relation"], target)
        for source, target, data in graph.edges(data=True)
        if target in terms
    ]
    broader = {source: target for source, relation, target in edges if relation == "broader"}
    subjects: dict[str, set[str]] = {}
    for source, relation, target in edges:
        if relation != "broader":
            subjects.setdefault(source, set()).add(target)
    statements = []

    def state(name: str, *says: str) -> None:
        statements.append(f"{_urn(name)} " + " ;\n  ".join(filter(None, says)) + " .")

    schemes = {data["facet"]: data["facet_label"] for data in terms.values()}
    for facet, label in sorted(schemes.items()):
        top = [n for n, data in terms.items() if data["facet"] == facet and n not in broader]
        state(
            f"facet:{facet}",
            "a skos:ConceptScheme",
            f"skos:prefLabel {_turtle(label)}",
            f"skos:hasTopConcept {_urns(top)}" if top else "",
        )
    for name, data in terms.items():
        scheme = _urn(f"facet:{data['facet']}")
        above = broader.get(name)
        state(
            name,
            "a skos:Concept",
            f"skos:prefLabel {_turtle(data['label'])}",
            *(f"skos:altLabel {_turtle(alias)}" for alias in sorted(data.get("aliases", ()))),
            f"skos:notation {_turtle(data['id'], '')}",
            f"skos:definition {_turtle(data['definition'])}",
            f"skos:inScheme {scheme}",
            f"skos:broader {_urn(above)}" if above else f"skos:topConceptOf {scheme}",
        )
    for kind in sorted({graph.nodes[source]["kind"] for source in subjects}):
        more = f"rdfs:subClassOf dcmitype:{DCMI[kind]}" if kind in DCMI else ""
        state(f"kind:{kind}", "a rdfs:Class", f"rdfs:label {_turtle(LABELS[kind][0])}", more)
    for source, targets in sorted(subjects.items()):
        data = graph.nodes[source]
        state(
            source,
            f"a {_urn('kind:' + data['kind'])}",
            f"dcterms:title {_turtle(data.get('label', source))}",
            f"dcterms:subject {_urns(targets)}",
        )
    prefixes = "\n".join(f"@prefix {name}: <{uri}> ." for name, uri in PREFIXES.items())
    return "\n\n".join([prefixes, *statements]) + "\n"


PREFIXES = {
    "dcmitype": "http://purl.org/dc/dcmitype/",
    "dcterms": "http://purl.org/dc/terms/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
}
DCMI = {"dataset": "Dataset", "framework": "Software"}
"""Kind of entry -> the type of the DCMI Type Vocabulary that it is one of."""


def _urns(names: Iterable[str]) -> str:
    return ", ".join(map(_urn, sorted(names)))


def _urn(name: str) -> str:
    return f"<urn:mmalign:{name}>"


def _turtle(text: str, language: str = "@en") -> str:
    """A text as a literal."""
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"{language}'


FORMATS: dict[str, Callable[[Graph], str]] = {
    "json": to_json,
    "graphml": to_graphml,
    "dot": to_dot,
    "mermaid": to_mermaid,
    "csv": to_csv,
    "skos": to_skos,
}
"""Name of a format -> function from a graph to text. `mmalign.cli.graph` has the same names."""
