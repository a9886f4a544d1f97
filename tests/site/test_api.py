"""The doors for machines: every file is there, and other programs can read it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import bibtexparser
import networkx
import pytest
import rdflib
import yaml
from click.testing import CliRunner

from mmalign import __version__
from mmalign.ask import views
from mmalign.cli import cli
from mmalign.site import api, pages
from mmalign.site.atlas import Atlas

LINK = re.compile(r'href="\.\./\.\./([^"?]+)"')


@pytest.fixture(scope="module")
def atlas(kb, result) -> Atlas:
    return Atlas(kb, [result])


@pytest.fixture(scope="module")
def made(atlas) -> dict[str, str]:
    return api.files(atlas)


def test_the_page_the_index_and_the_files_agree(atlas, made):
    named = {door.path for door in api.doors()}
    assert named | {"robots.txt"} == set(made)
    index = json.loads(made["api/index.json"])
    assert {file["path"] for file in index["files"]} == named
    assert index["schema"] == api.SCHEMA and index["version"] == __version__
    assert named <= set(LINK.findall(api.page(atlas)))


def test_the_files_are_the_same_every_time(atlas, made):
    assert api.files(atlas) == made


def test_lists_hold_what_the_index_counts(made):
    index = json.loads(made["api/index.json"])
    lists = [file for file in index["files"] if file["format"] == "json" and "kind" in file]
    assert len(lists) == 15
    for file in lists:
        value = json.loads(made[file["path"]])
        assert set(value) >= {"schema", "version", "kind", "count", "entries"}
        assert value["kind"] == file["kind"]
        assert value["count"] == file["count"] == len(value["entries"])
        assert value["count"] == index["counts"][file["kind"]]
        assert all(entry["kind"] == file["kind"] for entry in value["entries"])
        assert len({entry["ref"] for entry in value["entries"]}) == value["count"]


def test_entries_are_the_views(kb, made):
    assert json.loads(made["api/methods.json"])["entries"] == json.loads(
        json.dumps([views.row(kb, node) for node in kb.nodes("method")])
    )
    whole = json.loads(made["api/papers-full.json"])["entries"]
    assert whole == json.loads(json.dumps([views.card(kb, node) for node in kb.nodes("paper")]))


def test_one_entry_stands_on_a_line(kb, made):
    lines = made["api/methods.json"].splitlines()
    assert len(lines) == len(kb.methods) + 2
    assert [json.loads(line.rstrip(","))["kind"] for line in lines[1:-1]] == ["method"] * (
        len(kb.methods)
    )


def test_an_empty_list_is_valid():
    assert json.loads(api.listing("method", []))["entries"] == []


def test_terms_come_with_their_facets(kb, made):
    facets = json.loads(made["api/terms.json"])["facets"]
    assert set(facets) == set(kb.facets)
    assert facets["objective_family"]["key"] == "family"


def test_bibtex_is_read_back(kb, made):
    library = bibtexparser.parse_string(made["atlas.bib"])
    assert not library.failed_blocks
    assert {entry.key for entry in library.entries} == set(kb.papers)
    # The explorer cuts the file at these places.
    starts = re.findall(r"^@\w+\{([^,]+),", made["atlas.bib"], re.MULTILINE)
    assert starts == [entry.key for entry in library.entries]
    assert made["atlas.bib"].count("\n@") == len(starts) - 1


def test_graphs_are_read_back(kb, made):
    names = {node.ref for node in kb.nodes()}
    graph = networkx.read_graphml(io.BytesIO(made["atlas.graphml"].encode("utf-8")))
    assert set(graph) == names
    linked = networkx.node_link_graph(json.loads(made["api/graph.json"]), edges="edges")
    assert set(linked) == names
    assert linked.number_of_edges() == graph.number_of_edges()


def test_skos_is_read_back(kb, made):
    graph = rdflib.Graph().parse(data=made["taxonomy.ttl"], format="turtle")
    concepts = set(graph.subjects(rdflib.RDF.type, rdflib.SKOS.Concept))
    assert len(concepts) == sum(1 for _ in kb.nodes("term"))


@pytest.mark.parametrize("kind", ["methods", "datasets", "benchmarks", "papers"])
def test_the_lists_are_those_of_the_command_line(kind, made, data_root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = CliRunner().invoke(cli, ["--root", str(data_root), "list", kind, "--format", "md"])
    assert run.exit_code == 0, run.output
    file = "awesome.md" if kind == "methods" else f"awesome-{kind}.md"
    assert made[file] == run.stdout


def test_robots_names_the_sitemap_only_where_its_address_is_known():
    assert "Sitemap" not in api.robots("")
    assert "\nSitemap: https://a.example/b/sitemap.xml\n" in api.robots("https://a.example/b/")


# --- redirects -----------------------------------------------------------------------------------


def test_the_table_of_redirects_leads_to_pages(kb, checkout):
    table = yaml.safe_load((checkout / "docs/redirects.yml").read_text("utf-8"))
    written = {
        p.relative_to(checkout / "docs").as_posix() for p in (checkout / "docs").rglob("*.md")
    }
    assert table
    assert len(api.redirects(table, {*pages(kb), *written})) == len(table)


def test_a_redirect_is_a_page_with_a_relative_way():
    found = api.redirects({"a/b/": "methods/x/#lab"}, ["methods/x.md"])
    text = found["a/b/index.html"]
    assert 'content="0; url=../../methods/x/#lab"' in text
    assert '<link rel="canonical" href="../../methods/x/#lab">' in text
    whole = api.redirects({"a/": ""}, ["index.md"], "https://x.example/y/")["a/index.html"]
    assert '<link rel="canonical" href="https://x.example/y/">' in whole
    assert "url=../" in whole


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("methods/x/", "methods/x/", "of no page"),
        ("/a/", "methods/x/", "of no page"),
        ("a", "methods/x/", "of no page"),
        ("../a/", "methods/x/", "of no page"),
        ("a/", "methods/y/", "where no page is"),
        ("a/", "https://x.example/", "where no page is"),
    ],
)
def test_a_redirect_that_makes_no_sense_stops_the_build(old, new, words):
    with pytest.raises(ValueError, match=words):
        api.redirects({old: new}, ["methods/x.md"])


# --- built by mkdocs -----------------------------------------------------------------------------


def test_the_files_are_in_the_built_site(built):
    for door in api.doors():
        assert (built.folder / door.path).is_file(), door.path
    assert not (built.folder / "awesome").exists()
    assert not (built.folder / "redirects.yml").exists()
    page = built.html["reference/machine/index.html"]
    for path in set(LINK.findall(page.partition("<article")[2].partition("</article>")[0])):
        target = built.folder / path
        assert target.is_file() or (target / "index.html").is_file(), path


@pytest.fixture(scope="module")
def published(checkout: Path, tmp_path_factory) -> Path:
    """The fabricated records, built as for an address that is known."""
    root = tmp_path_factory.mktemp("published")
    shutil.copytree(checkout / "tests/kb/data", root, dirs_exist_ok=True)
    # Of the hand-written pages none: they name entries that only the real records have.
    (root / "docs").mkdir()
    (root / "docs" / "index.md").write_text("# Home\n", encoding="utf-8")
    shutil.copy(checkout / "docs" / "redirects.yml", root / "docs")
    shutil.copy(checkout / "mkdocs.yml", root)
    (root / "tools").symlink_to(checkout / "tools")
    (root / "reference_impls" / "results").mkdir(parents=True)
    run = subprocess.run(
        # Not strictly, since the navigation names those pages.
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(root / "site")],
        cwd=root, capture_output=True, encoding="utf-8", timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1",
             "MMALIGN_SITE_URL": "https://who.example/atlas/"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return root / "site"


def test_the_sitemap_lists_every_page_by_its_whole_address(published):
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    tree = ElementTree.parse(published / "sitemap.xml").getroot()
    assert tree.tag == f"{space}urlset"
    found = [each.text for each in tree.iter(f"{space}loc")]
    assert len(found) == len(set(found)) > 30
    for address in found:
        assert address.startswith("https://who.example/atlas/")
        path = address.removeprefix("https://who.example/atlas/")
        assert (published / path / "index.html").is_file(), address
    assert "https://who.example/atlas/explorer/" in found
    redirected = "https://who.example/atlas/explore/"
    assert redirected not in found and (published / "explore/index.html").is_file()


def test_crawlers_are_told_of_the_sitemap(published):
    robots = (published / "robots.txt").read_text("utf-8")
    assert "Sitemap: https://who.example/atlas/sitemap.xml" in robots
    page = (published / "explorer/index.html").read_text("utf-8")
    assert re.search(r'rel="?canonical"? href="https://who\.example/atlas/explorer/"', page)
    moved = (published / "explore/index.html").read_text("utf-8")
    assert '<link rel="canonical" href="https://who.example/atlas/explorer/">' in moved
