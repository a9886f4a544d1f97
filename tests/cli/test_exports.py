"""Exports are the same on every run, and other readers read them."""

from __future__ import annotations

import csv
import io
import json
import re
from xml.etree import ElementTree

import bibtexparser
import networkx
import pytest
from pylatexenc.latex2text import LatexNodes2Text

from mmalign.ask.graph import build
from mmalign.cli.graph import FORMATS as OFFERED
from mmalign.export import awesome, graphs
from mmalign.export.bibtex import entry_type, to_bibtex

PAPER = {
    "id": "odd-one",
    "type": "paper",
    "title": "100% of R&D in $5_000: RLHF-V, mDPO and {braces} ~ C# \\ <tag> for Übermut",
    "authors": ["Zoë Müller-Lüdenscheidt", "João da Silva", "Team A, B and C", "王 小明"],
    "year": 2025,
    "venue": "CVPR 2025",
    "arxiv": "2501.01234",
    "openreview": None,
    "doi": "10.1000/a_b%c",
    "code": "https://github.com/example/odd_one",
    "page": None,
}


@pytest.fixture
def graph(kb):
    return build(kb)


def names(graph) -> set[str]:
    return set(graph.nodes)


def edges(graph) -> list[tuple[str, str, str]]:
    return sorted((s, d["relation"], t) for s, t, d in graph.edges(data=True))


def test_the_command_offers_every_format():
    assert tuple(graphs.FORMATS) == OFFERED


@pytest.mark.parametrize("format_", OFFERED)
def test_graphs_are_the_same_whatever_the_order(graph, format_):
    turned = networkx.MultiDiGraph()
    turned.add_nodes_from(reversed(list(graph.nodes(data=True))))
    turned.add_edges_from(reversed(list(graph.edges(keys=True, data=True))))
    write = graphs.FORMATS[format_]
    assert write(graph) == write(turned)
    assert write(graph).endswith("\n")


def test_json_is_read_back(graph):
    data = json.loads(graphs.to_json(graph))
    back = networkx.node_link_graph(data, edges="edges")
    assert names(back) == names(graph)
    assert edges(back) == edges(graph)
    assert back.nodes["method:red-lantern"] == {
        "kind": "method",
        "label": "Red Lantern",
        "ref": "method:red-lantern",
    }


def test_graphml_is_read_back(graph):
    text = graphs.to_graphml(graph)
    back = networkx.parse_graphml(text, force_multigraph=True)
    assert names(back) == names(graph)
    assert edges(back) == edges(graph)
    ids = [e.get("id") for e in ElementTree.fromstring(text).iter() if e.tag.endswith("edge")]
    assert len(ids) == len(set(ids)) == graph.number_of_edges()


def test_graphml_holds_no_character_that_xml_forbids():
    graph = networkx.MultiDiGraph()
    graph.add_node("a", kind="paper", label="a\0b\x1bc\ufffed\ud800e\tf")
    back = networkx.parse_graphml(graphs.to_graphml(graph))
    assert back.nodes["a"]["label"] == "a\ufffdb\ufffdc\ufffdd\ufffde\tf"


def test_csv_is_read_back(graph):
    rows = list(csv.DictReader(io.StringIO(graphs.to_csv(graph))))
    assert {row["source"] for row in rows} | {row["target"] for row in rows} - {""} == names(graph)
    found = sorted((r["source"], r["relation"], r["target"]) for r in rows if r["target"])
    assert found == edges(graph)


def test_dot_and_mermaid_hold_every_node_and_edge(graph):
    dot, mermaid = graphs.to_dot(graph), graphs.to_mermaid(graph)
    assert len(re.findall(r'^  "[^"]+" \[label=', dot, re.M)) == len(graph)
    assert len(re.findall(r'^  "[^"]+" -> "[^"]+" \[label="\w+"\];$', dot, re.M)) == len(
        edges(graph)
    )
    assert len(re.findall(r'^  n\d+\["[^"]*"\]$', mermaid, re.M)) == len(graph)
    assert len(re.findall(r"^  n\d+ -->\|\w+\| n\d+$", mermaid, re.M)) == len(edges(graph))


def test_skos_is_read_by_another_reader(graph, kb):
    import rdflib

    skos, terms = rdflib.SKOS, [node for node in kb.nodes("term")]
    read = rdflib.Graph().parse(data=graphs.to_skos(graph), format="turtle")
    name = rdflib.URIRef("urn:mmalign:term:scenario/hallucination")
    assert len(set(read.subjects(rdflib.RDF.type, skos.Concept))) == len(terms)
    assert len(set(read.subjects(rdflib.RDF.type, skos.ConceptScheme))) == len(kb.facets)
    assert str(read.value(name, skos.broader)) == "urn:mmalign:term:scenario/general-image"
    assert str(read.value(name, skos.notation)) == "hallucination"
    carriers = {str(s) for s in read.subjects(rdflib.DCTERMS.subject, name)}
    assert "urn:mmalign:method:red-lantern" in carriers
    # Every scheme names its top concepts, and they name it.
    top = {(str(s), str(o)) for s, o in read.subject_objects(skos.hasTopConcept)}
    assert top == {(str(o), str(s)) for s, o in read.subject_objects(skos.topConceptOf)}
    assert {scheme for scheme, _ in top} == {f"urn:mmalign:facet:{facet}" for facet in kb.facets}
    # What carries a term has the class of its kind, which is described in the same file.
    for carrier in set(read.subjects(rdflib.DCTERMS.subject)):
        kind = read.value(carrier, rdflib.RDF.type)
        assert str(kind) == "urn:mmalign:kind:" + str(carrier).split(":")[2]
        assert (kind, rdflib.RDF.type, rdflib.RDFS.Class) in read
        assert read.value(kind, rdflib.RDFS.label)
    dataset = rdflib.URIRef("urn:mmalign:kind:dataset")
    assert read.value(dataset, rdflib.RDFS.subClassOf) == rdflib.DCMITYPE.Dataset
    # Every concept is in a scheme and has a place in it.
    for concept in read.subjects(rdflib.RDF.type, skos.Concept):
        assert read.value(concept, skos.inScheme)
        assert read.value(concept, skos.broader) or read.value(concept, skos.topConceptOf)
        assert read.value(concept, skos.definition)


def test_skos_escapes_what_turtle_would_read():
    import rdflib

    graph = networkx.MultiDiGraph()
    data = {"facet": "f", "facet_label": "F", "definition": 'a "b" \\ c', "label": "x\ny"}
    graph.add_node("term:f/x", kind="term", id="x", **data)
    read = rdflib.Graph().parse(data=graphs.to_skos(graph), format="turtle")
    name = rdflib.URIRef("urn:mmalign:term:f/x")
    assert str(read.value(name, rdflib.SKOS.definition)) == 'a "b" \\ c'
    assert str(read.value(name, rdflib.SKOS.prefLabel)) == "x y"


def test_labels_are_escaped():
    graph = networkx.MultiDiGraph()
    graph.add_node("a", kind="paper", label='say "no" \\ <b> #1\nnext')
    assert r'label="say \"no\" \\ <b> #1\nnext"' in graphs.to_dot(graph)
    assert 'n0["say #34;no#34; #92; #60;b#62; #35;1 next"]' in graphs.to_mermaid(graph)


def test_the_graph_command(mm, data, tmp_path):
    assert len(data("graph")["nodes"]) > 30
    near = data("graph", "--around", "lamp-train")
    assert {node["id"] for node in near["nodes"]} == {"framework:lamp-train", "paper:lamp"}
    result = mm("graph", "--format", "dot", "--output", str(tmp_path / "graph.dot"))
    assert (result.exit_code, result.stdout) == (0, "")
    text = (tmp_path / "graph.dot").read_bytes().decode("utf-8")
    assert text == mm("graph", "--format", "dot").stdout


def test_bibtex_is_read_back_without_loss():
    text = to_bibtex([PAPER])
    library = bibtexparser.parse_string(text)
    assert library.failed_blocks == []
    (entry,) = library.entries
    fields = {name: field.value for name, field in entry.fields_dict.items()}
    plain = LatexNodes2Text().latex_to_text
    assert (entry.key, entry.entry_type) == ("odd-one", "inproceedings")
    assert plain(fields["title"]).replace("\xa0", " ") == PAPER["title"]
    assert fields["author"] == (
        "Zoë Müller-Lüdenscheidt and João da Silva and {Team A, B and C} and 王 小明"
    )
    assert (fields["eprint"], fields["archivePrefix"]) == ("2501.01234", "arXiv")
    assert fields["doi"] == PAPER["doi"]
    assert "{RLHF-V}, {mDPO}" in fields["title"]
    assert to_bibtex([PAPER, PAPER]) == text
    assert to_bibtex([]) == ""


def test_bibtex_written_again_is_the_same():
    text = to_bibtex([PAPER])
    layout = bibtexparser.BibtexFormat()
    layout.indent, layout.trailing_comma = "  ", True
    again = bibtexparser.write_string(bibtexparser.parse_string(text), bibtex_format=layout)
    assert again.rstrip("\n") == text.rstrip("\n")


def test_bibtex_read_by_another_reader():
    from pybtex.database import parse_string

    entry = parse_string(to_bibtex([PAPER]), "bibtex").entries["odd-one"]
    people = entry.persons["author"]
    assert [str(person) for person in people][2] == "{Team A, B and C}"
    assert people[1].last_names == ["Silva"]
    assert entry.fields["year"] == "2025"


@pytest.mark.parametrize(
    ("venue", "kind"),
    [
        ("CVPR 2025", "inproceedings"),
        ("Findings of ACL 2024", "inproceedings"),
        ("TMLR 2024", "article"),
        ("IEEE Transactions on Pattern Analysis 2024", "article"),
        ("arXiv", "misc"),
        ("GitHub", "misc"),
        ("ICLR 2025 submission (rejected)", "misc"),
    ],
)
def test_types_of_bibtex_entries(venue, kind):
    assert entry_type({**PAPER, "venue": venue}) == kind


def test_the_bib_command(mm, tmp_path):
    every = mm("bib", "export").stdout
    assert [e.key for e in bibtexparser.parse_string(every).entries] == [
        "blue-kite",
        "lamp",
        "plain-pairs",
        "red-lantern",
    ]
    one = mm("bib", "export", "bench-one", "dataset:red-lantern")
    assert [e.key for e in bibtexparser.parse_string(one.stdout).entries] == ["red-lantern"]
    assert mm("bib", "export", "term:scenario/medicine").exit_code == 2
    mm("bib", "export", "--output", str(tmp_path / "all.bib"))
    assert (tmp_path / "all.bib").read_text(encoding="utf-8") == every


def test_awesome_lists_escape_markdown():
    row = {"kind": "paper", "title": "A [b] *c* <d> | $e$ & `f`", "paper": PAPER}
    assert awesome.item(row).startswith(
        r"**A \[b\] \*c\* \<d\> \| \$e\$ &amp; \`f\`**. Zoë Müller-Lüdenscheidt et al."
    )
    assert awesome._address("https://x.org/a b(c)") == "https://x.org/a%20b%28c%29"
