"""References from BibTeX and from arXiv, and how they are matched with records."""

from __future__ import annotations

import http.server
import threading

import pytest

from mmalign.ask import views
from mmalign.curate.reference import (
    Reference,
    differences,
    fetch_arxiv,
    match,
    read_atom,
    read_bibtex,
)
from mmalign.errors import BadReference
from mmalign.export.bibtex import to_bibtex

BIBTEX = r"""
@article{kept,
  title = {{RLHF-V}: A \& B {\"u}ber M{\o}ller},
  author = {M{\"u}ller, J{\'o}zef and {The Big Team} and van der Berg, Hans and others},
  journal = {arXiv preprint arXiv:2312.00849},
  year = {2023}
}
@inproceedings{forum,
  title = "Another", author = "Eva Probe", year = 2024, booktitle = {ICLR},
  url = {https://openreview.net/forum?id=ab_C-1}, doi = {10.48550/arXiv.2401.00001}
}
"""
ATOM = b"""<?xml version="1.0"?>
<feed xmlns="http://www.w3.org/2005/Atom"><entry>
<id>http://arxiv.org/abs/2401.00001v3</id><published>2024-01-02T00:00:00Z</published>
<title>A title
  in two lines</title><author><name>Zo\xc3\xab M\xc3\xbcller</name></author>
<author><name>Bo Sample</name></author></entry></feed>"""


def test_bibtex_is_read_with_accents_names_and_identifiers():
    kept, forum = read_bibtex(BIBTEX, "x.bib")
    assert kept.title == "RLHF-V: A & B über Møller"
    assert kept.authors == ("Józef Müller", "The Big Team", "Hans van der Berg", "others")
    assert (kept.arxiv, kept.venue, kept.year, kept.complete) == (
        "2312.00849", "arXiv", 2023, False,
    )  # fmt: skip
    assert (forum.openreview, forum.arxiv, forum.doi) == ("ab_C-1", "2401.00001", None)
    assert forum.venue == "ICLR"


def test_broken_bibtex_is_refused_with_its_line():
    with pytest.raises(BadReference, match=r"^x\.bib:3: .*Unexpected block start"):
        read_bibtex("\n\n@article{a, title={x}\n@article{b, title={y}}", "x.bib")
    with pytest.raises(BadReference, match=r"^x\.bib:2: entry 'a' has no title"):
        read_bibtex("\n@misc{a, year={2020}}", "x.bib")


def test_what_is_exported_is_read_back_without_a_difference(kb):
    papers = [views.paper_summary(paper) for paper in kb.papers.values()]
    for reference in read_bibtex(to_bibtex(papers), "all.bib"):
        paper = match(reference, papers)
        assert paper["id"] == reference.key
        assert differences(reference, paper) == []


def test_authors_left_out_are_no_difference_and_survive_the_export(kb):
    paper = views.paper_summary(kb.papers["plain-pairs"])
    short = Reference("k", paper["title"], (paper["authors"][0], "others"), paper["year"])
    assert differences(short, paper) == []
    text = to_bibtex([{**paper, "authors": [*short.authors]}])
    assert "and others" in text
    assert read_bibtex(text, "x.bib")[0].authors == short.authors


def test_differences_are_named(kb):
    paper = views.paper_summary(kb.papers["plain-pairs"])
    other = Reference("k", "Plain Pears", ("Ada Example", "Bo Simple"), 1999, arxiv=paper["arxiv"])
    assert match(other, [paper]) is paper
    assert differences(other, paper) == [
        "title: Plain Pears / Plain Pairs",
        "year: 1999 / 2020",
        "authors: Bo Simple / Bo Sample",
    ]


def test_arxiv_is_asked_and_its_answer_read():
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ATOM if "2401.00001" in self.path else b"<feed/>")

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = f"http://127.0.0.1:{server.server_port}/query"
        found = fetch_arxiv("arXiv:2401.00001v3", api)
        with pytest.raises(BadReference, match=r"arXiv has no paper 2401\.00002"):
            fetch_arxiv("2401.00002", api)
        server.shutdown()
    assert found.title == "A title in two lines"
    assert found.authors == ("Zoë Müller", "Bo Sample")
    assert (found.year, found.venue, found.arxiv) == (2024, "arXiv", "2401.00001")


def test_what_is_no_arxiv_id_or_no_answer_is_said():
    with pytest.raises(BadReference, match="'abc' is not an arXiv id"):
        fetch_arxiv("abc")
    with pytest.raises(BadReference, match="cannot be read"):
        read_atom(b"<html>", "2401.00001")
