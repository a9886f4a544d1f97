"""A site, and every export, of records that try to do harm with every field they have.

The records come from the record classes themselves: each text and each address of each class holds
an attack, so that a new field is attacked without anybody thinking of it. The same records with the
attacks' characters turned into letters are built beside them: the two sites have to consist of the
same elements with the same attributes, because nothing that a record says is markup.
"""

from __future__ import annotations

import csv
import functools
import html
import io
import itertools
import json
import os
import re
import subprocess
import sys
import types
import typing
import xml.etree.ElementTree as ElementTree
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from pydantic.fields import FieldInfo

from mmalign.ask import graph, views
from mmalign.export import awesome, bibtex, graphs
from mmalign.records import model
from mmalign.records.kb import KnowledgeBase
from mmalign.records.read import load

# --- what is tried -------------------------------------------------------------------------------

STARTS = (
    "<script>alert(%d)</script>",
    '"><img src=x onerror=alert(%d)>',
    "' onmouseover='alert(%d)",
    "[x](javascript:alert(%d)) ![i](//evil.example/%d.png)",
    '[x]: JaVaScRiPt:alert(%d) "y"',
    "<javascript:alert(%d)> <vbscript:x> <data:text/html,x>",
    "&lt;script&gt;alert(%d)&lt;/script&gt; &#106;avascript&#58;alert(%d) java scr\nipt:alert(%d)",
    "{{ config }} {%% raw %%} {{7*7}} {# c #} ${x} %d",
    'x {: onclick="alert(%d)" } ![z](x){onerror=alert(%d)} { .lead #id onclick=alert(%d) }',
    '--8<-- "/etc/passwd" %d',
    '!!! note "<script>alert(%d)</script>"\n    body',
    '???+ note "<b>"\n    body %d',
    '```mermaid\ngraph TD; A-->B\nclick A "javascript:alert(%d)"\n```',
    "`<script>alert(%d)</script>` ``` <b>",
    "<!-- mmalign:counts -->\n\n<!-- x %d",
    "finished-html-0\n\n<div onclick=alert(%d)>x</div>\n\nfinished-html-1",
    "=cmd|' /C calc'!A0 %d",
    "+1 %d",
    "-1+1 %d",
    "@SUM(%d)",
    '"]; x["y" --> n1 | %%%%{init: {"theme": "%d"}}%%%% click n1 call alert(%d)',
    "</title></style></textarea></script></code></pre></details><svg/onload=alert(%d)>",
    "Robert'); {Braces and} others \\textbf{x} @article{x, title={%d}}",
    ']]> <?xml version="1.0"?> <!DOCTYPE x [<!ENTITY e "%d">]> &e;',
    "* list %d\n* list\n\n1. one\n\n# head\n\n> quote\n\n| a | b |\n|---|---|\n| c | d |",
    "1. one %d",
    ": def %d\n\n[^1]: foot\n\n*[HTML]: x\n\n=== tab\n\n/// html",
    "../../../../outside/pwned/%d",
    "__proto__ %d",
    "$\\href{javascript:alert(%d)}{x}$ \\(x\\) $$y$$",
    "astral \U0001d49f \U0001f600 %d",
)
"""What a text begins with; `%d` is its number, so that what goes off says where it came from."""
LINKS = (
    ("see https://evil.example/%d<script>alert(1)</script>", "see https://evil.example/%d x"),
    ('repo:evil/x@abc1234:"><script>alert(%d)</script>', "repo:evil/x@abc1234:xx%d"),
    ('arxiv:2401.00001#"><b onclick=alert(%d)>', "arxiv:2401.00001#xx%d"),
)
"""Texts with something that becomes a link, and the same without harm."""
ADDRESSES = (
    'https://evil.example/"><script>alert(%d)</script>',
    "https://evil.example/')alert(%d)//`code`](javascript:alert(10))",
    "https://evil.example/%d\"onload='alert(1)'{:onclick=alert(2)}",
    "https://evil.example/%d?a=b&lt;c#<!--x-->",
    "https://evil.example/%d?a='onload=alert(1)&lt;b&gt;#javascript:alert(2)",
    "https://user@evil.example:8/%d;{{config}}/../..//%%0d%%0ax",
)
ALLOWED_SCHEMES = {"", "http", "https"}
NEVER = {"iframe", "object", "embed", "base", "applet", "frame", "frameset", "audio", "video"}
FACETS = {
    "scenario": "hallucination",
    "modality": "image",
    "data_source": "instruction-data",
    "response_source": "policy",
    "annotation": "human",
    "pair_difference": "text",
    "family": "anchored",
    "parent": "plain-pairs",
    "dimension": "hallucination",
    "related": "red-lantern",
    "base_models": "lamp-7b",
    "trains_on": "red-lantern",
    "benchmarks": "bench-one",
    "benchmark": "bench-one",
    "compares_with": "plain-pairs",
    "addresses": "data-quality",
}
"""Ids that have to be those of something: field -> one that is there."""


def harmless(text: str) -> str:
    """The same text with every character that could mean something turned into a letter."""
    return re.sub(r"[^\w\s`]", "x", re.sub(r"\s+", " ", text)).replace("_", "x").strip()


class Filler:
    """Fills a record class: each text with the next attack, everything else so that it fits."""

    def __init__(self, first: int, hurt: bool):
        self.place, self.hurt, self.number = first, hurt, 1000 * first

    def record(self, cls: type[model.Model], **given: object) -> dict[str, object]:
        filled = {}
        for name, field in cls.model_fields.items():
            key = field.alias or name
            filled[key] = given[key] if key in given else self.field(name, field)
        return filled

    def field(self, name: str, field: FieldInfo) -> object:
        return self.value(name, field.annotation, tuple(field.metadata))

    def value(self, name: str, kind: object, metadata: tuple[object, ...]) -> object:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self.value(name, arguments[0], metadata + arguments[1:])
        if origin in (typing.Union, types.UnionType):
            (kind,) = (each for each in arguments if each is not type(None))
            return self.value(name, kind, metadata)
        if origin is tuple:
            several = 1 if name in FACETS else 2
            return [self.value(name, arguments[0], ()) for _ in range(several)]
        if origin is typing.Literal:
            return arguments[0]
        if isinstance(kind, type) and issubclass(kind, model.Model):
            return self.record(kind)
        if kind is str:
            return self.text(name, metadata)
        return {bool: True, int: 2024, float: -1.5}[kind]

    def text(self, name: str, metadata: tuple[object, ...]) -> str:
        self.number += 1
        pattern = next((p for each in metadata if (p := getattr(each, "pattern", None))), None)
        if pattern and re.fullmatch(pattern, "https://evil.example/"):
            fit = [each for each in map(self.numbered, ADDRESSES) if re.fullmatch(pattern, each)]
            made = fit[self.number % len(fit)]
            return made if self.hurt else "https://evil.example/" + harmless(made[21:])
        if pattern:  # of a form that holds no attack: an id, a day, a number of arXiv
            fitting = (f"evil-{self.number}", "2026-01-01", f"2401.{self.number % 100000:05}")
            return FACETS.get(name) or next(v for v in fitting if re.fullmatch(pattern, v))
        start = STARTS[(self.place + self.number) % len(STARTS)]
        link, plain = LINKS[self.number % len(LINKS)]
        if name in ("latex", "symbol", "form"):
            # Shown as LaTeX, and as MathML where it can be one.
            made = self.numbered(start)
            return rf"\text{{{made}}}" if self.hurt else rf"\text{{{harmless(made)}}}"
        # The number comes last, so that no two texts are the same.
        made, end = self.numbered(start), f" n{self.number}"
        if self.hurt:
            return f"{made} {self.numbered(link)}{end}"
        return f"{harmless(made)} {self.numbered(plain)}{end}"

    def numbered(self, text: str) -> str:
        return text.replace("%d", str(self.number)).replace("%%", "%")


def write(root: Path, hurt: bool, papers: int = len(STARTS)) -> None:
    """The fabricated records of the tests, and beside them the hostile ones or their twins."""
    from shutil import copytree

    copytree(Path(__file__).parents[1] / "kb" / "data", root, dirs_exist_ok=True)
    for place in range(papers):
        fill = Filler(place, hurt)
        record = fill.record(model.Paper, id=f"evil-{place}", related=["red-lantern"])
        if place % 3 == 0:  # a paper whose only entry has its page
            record |= {name: [] for name in ("datasets", "benchmarks", "models", "frameworks")}
            record["methods"] = record["methods"][:1]
        (root / f"papers/evil-{place}.yaml").write_text(dump(record), encoding="utf-8")
    fill = Filler(99, hurt)
    scenario = yaml.safe_load((root / "taxonomy/scenario.yaml").read_text("utf-8"))
    scenario |= {"label": fill.text("label", ()), "definition": fill.text("definition", ())}
    scenario["terms"] = [
        {**fill.record(model.Term), **{k: v for k, v in term.items() if k in ("id", "parent")}}
        for term in scenario["terms"]
    ]
    for term in scenario["terms"]:
        if term["parent"] == "plain-pairs":
            term["parent"] = None
    (root / "taxonomy/scenario.yaml").write_text(dump(scenario), encoding="utf-8")
    relations = yaml.safe_load((root / "taxonomy/relations.yaml").read_text("utf-8"))
    for relation in relations["relations"]:
        for field in ("label", "inverse_label", "definition"):
            relation[field] = fill.text(field, ())
    (root / "taxonomy/relations.yaml").write_text(dump(relations), encoding="utf-8")
    about = ["method:red-lantern", *(f"paper:evil-{place}" for place in range(papers))]
    errata = [fill.record(model.Erratum, id=f"e-{n}", about=[*about]) for n in range(len(STARTS))]
    for place, source in enumerate(("survey", "awesome-list", "paper", "code")):
        errata[place]["source"] = source
    (root / "taxonomy/errata.yaml").write_text(dump({"errata": errata}), encoding="utf-8")


def dump(value: object) -> str:
    return yaml.dump(value, allow_unicode=False, sort_keys=False, width=1 << 20)


# --- a site of them ------------------------------------------------------------------------------

SCRIPT = '''"""</code></pre><script>alert("script")</script> {{ config }} finished-html-3"""
</code><div onclick=alert(1)>x</div>
<div onclick=alert(1)>x</div>
'''


def checkout_at(folder: Path, checkout: Path, hurt: bool) -> Path:
    """A checkout with these records, the site's own settings and one hand-written page, with all
    computed passages."""
    from shutil import copytree

    from mmalign.site.fragments import FRAGMENTS

    write(folder, hurt)
    copytree(checkout / "docs" / "assets", folder / "docs" / "assets")
    passages = [f"<!-- mmalign:{name} -->" for name in FRAGMENTS]
    (folder / "docs/index.md").write_text("# Home\n\n" + "\n\n".join(passages) + "\n", "utf-8")
    settings = (checkout / "mkdocs.yml").read_text("utf-8")
    settings = settings[: settings.index("\nnav:")]
    for relative in ("tools/mmalign/site/hook.py", "tools/mmalign/site/overrides"):
        settings = settings.replace(relative, str(checkout / relative), 1)
    settings = re.sub(r"(?m)^(watch|validation):.*\n(?: .*\n)*", "", settings)
    (folder / "mkdocs.yml").write_text(settings, encoding="utf-8")
    return folder


def build(folder: Path) -> Path:
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"],
        cwd=folder, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, encoding="utf-8", timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    return folder / "site"


Sites = tuple[Path, Path]


@pytest.fixture(scope="module")
def sites(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """The site of the hostile records, and that of their twins."""
    hostile, twin = (
        build(checkout_at(tmp_path_factory.mktemp(name), checkout, hurt))
        for name, hurt in (("hostile", True), ("twin", False))
    )
    return hostile, twin


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    folder = tmp_path_factory.mktemp("records")
    write(folder, hurt=True)
    return load(folder)


class Walk(HTMLParser):
    """Elements of a page with the names of their attributes, and what leads or loads elsewhere."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.formulas: Counter[tuple[str, ...]] = Counter()
        self.equation = self.listing = False
        self.targets: list[tuple[str, str, str]] = []
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = tuple(sorted(name for name, _ in attrs))
        self.listing = self.listing or tag == "pre"
        if self.listing and tag == "span":
            return  # a colour, which depends on what is coloured
        if self.equation:
            self.formulas[(tag, *names)] += 1
        elif tag in ("math", "code"):
            # LaTeX that makes no equation is shown as code.
            self.elements[("math or code",)] += 1
        else:
            self.elements[(tag, *names)] += 1
        self.equation = self.equation or tag == "math"
        for name, value in attrs:
            if name in ("href", "src", "action", "formaction", "srcset", "poster", "xlink:href"):
                self.targets.append((tag, name, value or ""))
            if tag == "meta" and name == "http-equiv":
                self.targets.append((tag, name, value or ""))

    def handle_endtag(self, tag: str) -> None:
        self.equation = self.equation and tag != "math"
        self.listing = self.listing and tag != "pre"

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


@functools.lru_cache(maxsize=2048)
def walked(file: Path) -> Walk:
    # What is similar depends on words, which the twins do not share.
    parts = re.split(r"(?=<h2)", file.read_text(encoding="utf-8"))
    text = "".join(part for part in parts if not re.match(r'<h2[^>]*id="similar"', part))
    return Walk(
        re.sub(r'<li class="md-nav__item">\s*<a href="#similar".*?</li>', "", text, flags=re.S)
    )


def pages_of(site: Path) -> dict[str, Path]:
    return {file.relative_to(site).as_posix(): file for file in sorted(site.rglob("*.html"))}


def test_every_text_of_every_record_class_is_attacked(hostile: KnowledgeBase) -> None:
    """The test of the test: what is filled in is long, and holds what it says."""
    paper = hostile.papers["evil-1"]
    said = json.dumps(paper.model_dump(mode="json"), ensure_ascii=False)
    for field in ("title", "venue", "doi", "openreview", "licence", "summary"):
        assert re.search(r"n\d+$", getattr(paper, field)), field
    assert said.count("alert(") > 100
    every = {text for each in hostile.papers.values() for text in [each.title, each.venue]}
    assert len(every) == 2 * len(hostile.papers)


def test_pages_consist_of_the_same_elements_whatever_the_records_say(sites: Sites) -> None:
    hostile, twin = map(pages_of, sites)
    assert list(hostile) == list(twin)
    assert len(hostile) > 150
    for path, file in hostile.items():
        here, there = walked(file).elements, walked(twin[path]).elements
        assert (path, here - there, there - here) == (path, Counter(), Counter())


def test_no_element_of_a_page_can_run_what_a_record_says(sites: Sites) -> None:
    for path, file in pages_of(sites[0]).items():
        found = walked(file)
        for tag, *names in [*found.elements, *found.formulas]:
            assert tag not in NEVER, (path, tag)
            assert not [name for name in names if name.startswith("on")], (path, tag, names)
            assert set(names) & {"srcdoc", "ping", "background"} == set(), (path, tag, names)


def test_links_lead_to_web_addresses_and_into_the_site(sites: Sites) -> None:
    for path, file in pages_of(sites[0]).items():
        for tag, name, value in walked(file).targets:
            scheme = re.match(r"\s*([a-zA-Z][\w+.-]*):", re.sub(r"[\x00-\x20]", "", value))
            assert (scheme[1].lower() if scheme else "") in ALLOWED_SCHEMES, (path, tag, value)
            if tag not in ("a", "link"):
                assert not re.match(r"(https?:)?//", value), (path, tag, name, value)
            assert not re.search(r"[\"'<>\s`]", value), (path, tag, name, value)


def test_no_page_sends_its_reader_elsewhere(sites: Sites) -> None:
    """Only the pages of old addresses do, and only within the site."""
    for path, file in pages_of(sites[0]).items():
        refresh = re.findall(r'http-equiv="refresh" content="([^"]*)"', file.read_text("utf-8"))
        assert all(re.fullmatch(r"0; url=[\w./-]+", each) for each in refresh), (path, refresh)


def test_no_mark_of_the_build_is_taken_from_a_record(sites: Sites) -> None:
    for path, file in pages_of(sites[0]).items():
        found = walked(file)
        assert found.comments == walked(sites[1] / path).comments, path
    # The words are there, as words.
    text = html.unescape((sites[0] / "errata/index.html").read_text("utf-8"))
    assert "finished-html-0" in text
    assert "<!-- mmalign:counts -->" in text
    index = (sites[1] / "search/search_index.json").read_text("utf-8")
    assert "finished-html" not in index


def test_what_a_record_says_is_shown_letter_by_letter(sites: Sites, hostile) -> None:
    class Words(HTMLParser):
        said = ""

        def handle_data(self, data: str) -> None:
            self.said += data

    for place in (1, 2, 4, 5):
        paper = hostile.papers[f"evil-{place}"]
        words = Words()
        words.feed((sites[0] / f"papers/evil-{place}/index.html").read_text("utf-8"))
        shown = " ".join(words.said.split())
        for text in (paper.title, paper.summary):
            # Words in backticks become code, everything else stays.
            wanted = re.sub(r"`([^`]+)`", r"\1", " ".join(text.split()))
            assert wanted in shown, (place, wanted)


def test_the_search_index_holds_text_and_no_markup(sites: Sites) -> None:
    """The theme puts its entries into the page as HTML."""
    docs, twins = (
        json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"] for site in sites
    )
    assert len(docs) == len(twins)
    for doc, twin in zip(docs, twins, strict=True):
        for field in ("title", "text"):
            assert Walk(doc[field]).elements == Walk(twin[field]).elements, doc["location"]


def test_files_for_machines_hold_what_the_records_say(sites: Sites, hostile) -> None:
    for file in (sites[0] / "api").glob("*.json"):
        json.loads(file.read_text("utf-8"))
    rows = json.loads((sites[0] / "api/papers-full.json").read_text("utf-8"))["entries"]
    titles = {row["id"]: row["title"] for row in rows}
    assert titles == {paper.id: paper.title for paper in hostile.papers.values()}
    assert not (sites[0].parent.parent / "outside").exists()
    for xml in ("sitemap.xml", "atlas.graphml"):
        ElementTree.parse(sites[0] / xml)


def check_cells(table: list[list[str]]) -> None:
    assert len({len(line) for line in table}) == 1
    assert len(table) > 30
    for cell in itertools.chain.from_iterable(table):
        assert not re.match(r"\s*[=+@\t\r-]", cell) or re.fullmatch(r"-?[\d.]+", cell), cell


# --- in a browser --------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_browser_runs_nothing_that_a_record_says(sites: Sites, browser) -> None:
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(sites[0]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/"
        page = browser.new_page()
        page.set_default_timeout(60_000)
        seen: list[str] = []
        page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("console", lambda said: said.type == "error" and seen.append(said.text))
        page.on("request", lambda asked: asked.url.startswith(base) or seen.append(asked.url))
        for path in ("", "explorer/", "graph/", "terms/", "errata/", "papers/evil-1/",
                     "methods/evil-3008/", "compare/results/", "compare/objectives/"):  # fmt: skip
            if not (sites[0] / path / "index.html").exists():
                path = next(f"methods/{p.name}/" for p in (sites[0] / "methods").glob("evil-*"))
            page.goto(base + path)
        page.goto(base + "explorer/?text=alert&scenario=<script>alert(1)</script>")
        page.locator(".explorer.ready").wait_for()
        page.locator(".explorer summary", has_text="Columns").click()
        page.locator(".explorer [name=text]").fill('"><img src=x onerror=alert(2)>')
        page.goto(base + "explorer/?columns=venue,authors,licence,size")
        page.locator(".explorer.ready").wait_for()
        with page.expect_download() as download:
            page.locator("[data-export=csv]").click()
        saved = download.value.path().read_text("utf-8")
        check_cells(list(csv.reader(io.StringIO(saved))))
        page.goto(base + "graph/")
        page.locator(".nodes a[href*=evil]").first.dispatch_event("click")
        page.locator(".network-card a").first.wait_for()
        page.goto(base + "terms/")
        page.locator(".slice").first.dispatch_event("click")
        # The theme's own search.
        page.goto(base)
        page.locator(".md-search__input").click()
        page.locator(".md-search-result__meta", has_text="Type to start").wait_for()
        page.locator(".md-search__input").press_sequentially("alert")
        page.locator(".md-search-result__link").first.wait_for(state="attached")
        page.locator(".md-search__input").press_sequentially(" onerror")
        page.wait_for_timeout(500)
        assert page.locator(".md-search-result img, .md-search-result script").count() == 0
        page.close()
        server.shutdown()
    assert seen == []


# --- exports -------------------------------------------------------------------------------------


def numbered_edges(built) -> Counter[tuple[str, str]]:
    return Counter((source, target) for source, target in built.edges())


def test_graphml_is_read_by_two_readers(hostile: KnowledgeBase) -> None:
    import networkx

    built = graph.build(hostile)
    text = graphs.to_graphml(built)
    ElementTree.fromstring(text)
    read = networkx.parse_graphml(text)
    assert numbered_edges(read) == numbered_edges(built)
    for name, data in built.nodes(data=True):
        assert read.nodes[name]["label"] == data["label"]


@pytest.mark.filterwarnings("ignore:.*deprecated.*")  # pydot calls pyparsing by its old names
def test_dot_is_read_by_another_reader(hostile: KnowledgeBase) -> None:
    import pydot

    # Some of it: the reader is slow.
    built = graph.build(hostile)
    ends = [name for name in built if name.startswith(("paper:evil", "term:scenario"))]
    built = built.subgraph([*ends, *(name for name in built if name.startswith("method:evil-1"))])
    (read,) = pydot.graph_from_dot_data(graphs.to_dot(built))
    nodes = {node.get_name() for node in read.get_nodes()} - {"node"}
    assert nodes == {f'"{name}"' for name in built}
    assert len(read.get_edges()) == built.number_of_edges()
    for node in read.get_nodes():
        if node.get_name() != "node":
            label = built.nodes[node.get_name().strip('"')]["label"]
            shown = node.get("label")[1:-1].replace('\\"', '"').replace("\\\\", "\\")
            assert shown.replace("\\n", " ").split() == label.replace("\\n", " ").split()


def test_mermaid_labels_hold_nothing_that_means_something(hostile: KnowledgeBase) -> None:
    built = graph.build(hostile)
    lines = graphs.to_mermaid(built).splitlines()
    assert lines[0] == "flowchart LR"
    nodes = [re.fullmatch(r'  (n\d+)\["((?:#\d+;|[\w ,./()+-])*)"\]', line) for line in lines[1:]]
    labels = [node[2] for node in nodes if node]
    edges = [line for line in lines[1:] if re.fullmatch(r"  n\d+ -->\|\w+\| n\d+", line)]
    assert (len(labels), len(edges)) == (built.number_of_nodes(), built.number_of_edges())
    assert len(labels) + len(edges) == len(lines) - 1
    shown = {re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label) for label in labels}
    assert shown == {" ".join(data["label"].split()) for _, data in built.nodes(data=True)}


def test_json_and_skos_are_read_by_other_readers(hostile: KnowledgeBase) -> None:
    import networkx
    import rdflib

    built = graph.build(hostile)
    back = networkx.node_link_graph(json.loads(graphs.to_json(built)), edges="edges")
    assert {n: d["label"] for n, d in back.nodes(data=True)} == {
        n: d["label"] for n, d in built.nodes(data=True)
    }
    read = rdflib.Graph().parse(data=graphs.to_skos(built), format="turtle")
    for node in hostile.nodes("term"):
        name = rdflib.URIRef(f"urn:mmalign:{node.ref}")
        assert str(read.value(name, rdflib.SKOS.definition)) == " ".join(
            node.entry.definition.split()
        )
    predicates = {str(predicate) for predicate in read.predicates()}
    assert all(re.match(r"http://(www\.w3|purl)\.org/", each) for each in predicates)


def test_no_cell_of_a_csv_file_is_a_formula(hostile: KnowledgeBase) -> None:
    from mmalign.export import rows

    built = graph.build(hostile)
    listed = [views.row(hostile, node) for node in hostile.nodes("method")]
    tables = (graphs.to_csv(built), rows.to_csv(listed))
    for text in tables:
        check_cells(list(csv.reader(io.StringIO(text))))


def test_bibtex_is_read_by_another_reader(hostile: KnowledgeBase) -> None:
    from pybtex.database import parse_string

    papers = [views.paper_summary(paper) for paper in hostile.papers.values()]
    read = parse_string(bibtex.to_bibtex(papers), "bibtex")
    assert set(read.entries) == set(hostile.papers)
    for entry in read.entries.values():
        assert set(entry.fields) <= {
            "title", "year", "booktitle", "journal", "howpublished", "eprint", "archivePrefix",
            "doi", "url",
        }  # fmt: skip
    for paper in hostile.papers.values():
        assert len(read.entries[paper.id].persons["author"]) == len(paper.authors)


def test_awesome_lists_are_lists_of_links(hostile: KnowledgeBase) -> None:
    import markdown

    for kind in ("method", "dataset", "benchmark", "model", "framework", "paper"):
        listed = [views.row(hostile, node) for node in hostile.nodes(kind)]
        made = markdown.markdown(awesome.to_markdown(listed, views.facets(hostile)))
        found = Walk(made)
        assert {tag for tag, *_ in found.elements} <= {"h2", "h3", "ul", "li", "p", "strong", "a"}
        assert all(value.startswith("https://") for _, _, value in found.targets)
        assert not found.comments


def test_no_id_leads_out_of_its_folder(tree) -> None:
    """Ids become addresses: an id that is a path has no shape."""
    for id_ in ("../../outside", "a/b", "..", "a.b", "__proto__", "<b>", "a\\n"):
        tree.edit("papers/lamp.yaml", "id: lamp", f'id: "{id_}"')
        assert [problem for problem in tree.problems() if problem.code == "S006"], id_
        tree.edit("papers/lamp.yaml", f'id: "{id_}"', "id: lamp")
