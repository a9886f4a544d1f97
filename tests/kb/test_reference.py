"""References from BibTeX and from arXiv, and how they are matched with records."""

from __future__ import annotations

import http.server
import re
import threading
import time

import pytest

from mmalign.ask import views
from mmalign.curate import arxiv, draft, identifiers, intake, tex
from mmalign.curate.known import Known, differences
from mmalign.curate.reference import Reference, decode, read_bibtex
from mmalign.errors import BadReference
from mmalign.export.bibtex import to_bibtex
from mmalign.export.csl import to_csl

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
    kept, forum = read_bibtex(BIBTEX).references
    assert kept.title == "RLHF-V: A & B über Møller"
    assert kept.authors == ("Józef Müller", "The Big Team", "Hans van der Berg", "others")
    assert (kept.arxiv, kept.venue, kept.year, kept.complete) == (
        "2312.00849", "arXiv", 2023, False,
    )  # fmt: skip
    assert (forum.openreview, forum.arxiv, forum.doi) == ("ab_C-1", "2401.00001", None)
    assert forum.venue == "ICLR"


def test_an_entry_without_a_title_is_named_and_the_others_are_read():
    read = read_bibtex("\n@misc{a, year={2020}}\n@misc{b, title={B}}")
    assert [problem.render("x.bib") for problem in read.problems] == [
        "x.bib:2: entry 'a': has no title"
    ]
    assert [reference.key for reference in read.references] == ["b"]


def test_what_is_exported_is_read_back_without_a_difference(kb):
    papers = [views.paper_summary(paper) for paper in kb.papers.values()]
    read, known = read_bibtex(to_bibtex(papers)), Known(papers)
    assert len(read.references) == len(papers)
    assert not read.problems
    assert not read.notes
    for reference in read.references:
        match = known.match(reference)
        assert match is not None
        assert match.paper["id"] == reference.key
        assert differences(reference, match.paper) == []


def test_authors_left_out_are_no_difference_and_survive_the_export(kb):
    paper = views.paper_summary(kb.papers["plain-pairs"])
    short = Reference("k", paper["title"], (paper["authors"][0], "others"), paper["year"])
    assert differences(short, paper) == []
    text = to_bibtex([{**paper, "authors": [*short.authors]}])
    assert "and others" in text
    assert read_bibtex(text).references[0].authors == short.authors


def test_differences_are_named(kb):
    paper = views.paper_summary(kb.papers["plain-pairs"])
    other = Reference("k", "Plain Pears", ("Ada Example", "Bo Simple"), 1999, arxiv=paper["arxiv"])
    assert Known([paper]).match(other).paper is paper
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
        found = arxiv.fetch("arXiv:2401.00001v3", api)
        with pytest.raises(BadReference, match=r"arXiv has no paper 2401\.00002"):
            arxiv.fetch("2401.00002", api)
        server.shutdown()
    assert found.title == "A title in two lines"
    assert found.authors == ("Zoë Müller", "Bo Sample")
    assert (found.year, found.venue, found.arxiv) == (2024, "arXiv", "2401.00001")


def test_what_is_no_arxiv_id_or_no_answer_is_said():
    with pytest.raises(BadReference, match="'abc' is not an arXiv id"):
        arxiv.fetch("abc")
    with pytest.raises(BadReference, match="cannot be read"):
        arxiv.read_atom(b"<html>", "2401.00001")


def only(text: str) -> Reference:
    read = read_bibtex(text)
    assert not read.problems, read.problems
    (reference,) = read.references
    return reference


@pytest.mark.parametrize(
    ("written", "id_"),
    [
        ("2503.14504", "2503.14504"),
        ("arXiv:2503.14504v2", "2503.14504"),
        (" arxiv: 2503.14504 [cs.CV] ", "2503.14504"),
        ("https://arxiv.org/abs/2503.14504", "2503.14504"),
        ("https://arxiv.org/pdf/2503.14504v2.pdf", "2503.14504"),
        ("https://arxiv.org/html/2503.14504v1", "2503.14504"),
        ("https://www.alphaxiv.org/abs/2503.14504", "2503.14504"),
        ("https://huggingface.co/papers/2503.14504", "2503.14504"),
        ("10.48550/arXiv.2503.14504", "2503.14504"),
        ("https://doi.org/10.48550/arXiv.2503.14504", "2503.14504"),
        ("'2503.14504", "2503.14504"),
        ('="2503.14504"', "2503.14504"),
        ("1412.6980v9", "1412.6980"),
        ("hep-th/9901001v2", "hep-th/9901001"),
        ("math.GT/0309136", "math.GT/0309136"),
    ],
)
def test_an_arxiv_id_is_taken_in_every_form_that_people_paste(written, id_):
    assert identifiers.arxiv_id(written) == id_


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2503.1450", "2503.14500"),
        ("2503.145", "2503.14500"),
        ("2503.1", "2503.10000"),
        ("2503,14504", "2503.14504"),
        ("704.0001", "0704.0001"),
        ("1412.698", "1412.6980"),
    ],
)
def test_an_arxiv_id_that_a_spreadsheet_has_spoilt_is_refused_with_what_was_meant(written, meant):
    with pytest.raises(BadReference, match=rf"did you mean {re.escape(meant)}\?"):
        identifiers.arxiv_id(written)


@pytest.mark.parametrize(
    "written", ["", "abc", "2513.00001", "0612.0001", "12345678.123456", "10.1109/5.771073", "25"]
)
def test_what_is_not_an_arxiv_id_is_said(written):
    with pytest.raises(BadReference, match="is not an arXiv id such as"):
        identifiers.arxiv_id(written)


def test_two_arxiv_ids_are_not_one():
    with pytest.raises(BadReference, match=r"names several papers: 2401\.00001, 2503\.14504"):
        identifiers.arxiv_id("2503.14504 2401.00001")


@pytest.mark.parametrize(
    "field",
    [
        "eprint = {2401.00001}",
        "eprint = {arXiv:2401.00001v3}, archivePrefix = {arXiv}",
        "eprint = {https://arxiv.org/abs/2401.00001}",
        "url = {https://arxiv.org/pdf/2401.00001v2.pdf}",
        "journal = {arXiv preprint arXiv:2401.00001v2}",
        "journaltitle = {arXiv e-prints}, number = {arXiv:2401.00001}",
        "journal = {CoRR}, volume = {abs/2401.00001}",
        "note = {Preprint, arXiv:2401.00001.}",
        "howpublished = {\\url{https://arxiv.org/abs/2401.00001}}",
        "doi = {10.48550/arXiv.2401.00001}",
        "doi = {https://doi.org/10.48550/ARXIV.2401.00001}",
        "arxiv = {2401.00001}",
    ],
)
def test_the_arxiv_id_of_an_entry_is_found_wherever_it_stands(field):
    found = only(f"@misc{{a, title={{T}}, {field}}}")
    assert (found.arxiv, found.venue, found.doi) == ("2401.00001", "arXiv", None)


@pytest.mark.parametrize(
    "field",
    [
        "doi = {10.1145/2401.00001}",
        "url = {https://dl.acm.org/doi/abs/10.1145/2401.00001}",
        "pages = {2401.00001}",
        "eprint = {2401.00001}, archivePrefix = {JSTOR}",
        "note = {version 2401.00001}",
    ],
)
def test_what_only_looks_like_an_arxiv_id_is_none(field):
    assert only(f"@misc{{a, title={{T}}, {field}}}").arxiv is None


@pytest.mark.parametrize(
    "written",
    [
        "https://doi.org/10.18653/v1/2024.x-main.1",
        "http://dx.doi.org/10.18653/V1/2024.X-main.1", "doi:10.18653/v1/2024.x-main.1",
        "DOI: 10.18653/v1/2024.x-main.1.", "doi.org/10.18653/v1/2024.x-main.1",
        "https://doi.org/10.18653%2Fv1%2F2024.x-main.1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["doi", "url", "note"])
def test_a_doi_is_found_in_every_spelling(written, field):
    found = only(f"@misc{{a, title={{T}}, {field}={{{written}}}}}")
    assert found.doi.lower() == "10.18653/v1/2024.x-main.1"
    assert found.acl == "2024.x-main.1"


@pytest.mark.parametrize(
    ("written", "doi"),
    [
        ("10.1/a", "10.1/a"),
        (r"10.1007/978-3-031-73116-7\_23", "10.1007/978-3-031-73116-7_23"),
        (r"10.1007/978-3-031-73116-7{\_}23", "10.1007/978-3-031-73116-7_23"),
        ("10.1002/(SICI)1097(1998)49:8<693::AID>3.0.CO;2-O",
         "10.1002/(SICI)1097(1998)49:8<693::AID>3.0.CO;2-O"),
        ("https://dl.acm.org/doi/pdf/10.1145/3503161.3548190?download=true",
         "10.1145/3503161.3548190"),
        ("https://link.springer.com/content/pdf/10.1007/s11432-024-4231-5.pdf",
         "10.1007/s11432-024-4231-5"),
    ],
)  # fmt: skip
def test_a_doi_keeps_its_own_characters_only(written, doi):
    assert identifiers.find_doi(written, says_so=True) == doi


@pytest.mark.parametrize(
    ("written", "id_"),
    [
        ("https://aclanthology.org/2024.emnlp-main.460/", "2024.emnlp-main.460"),
        ("https://aclanthology.org/2024.emnlp-main.460.pdf", "2024.emnlp-main.460"),
        ("https://www.aclweb.org/anthology/P18-1001", "p18-1001"),
        ("https://www.aclweb.org/anthology/papers/P/P18/P18-1001/", "p18-1001"),
        ("10.18653/v1/P18-1001", "p18-1001"),
        ("10.3115/v1/D14-1162", "d14-1162"),
        ("https://aclanthology.org/venues/acl/", None),
    ],
)
def test_papers_of_the_acl_anthology_are_told_by_address_and_doi(written, id_):
    assert identifiers.find_acl(written) == id_


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"{\"u}ber M{\o}ller", "über Møller"),
        (r"\'{e}t\'e \v{c}\c c \ss\ \aa {\'\i} \H{o} \u{\i}", "été čç ß åí ő ĭ"),
        (r"$\beta$-DPO: 50% of R$^2$ \& $\alpha$", "β-DPO: 50% of R^2 & α"),
        (r"The {\LaTeX} of \BibTeX", "The LaTeX of BibTeX"),
        (r"\mkbibquote{kept} \emph{\textbf{deep}} --- ``so''", "kept deep — “so”"),
        (r"less than \$3, 5\% \{x\}", "less than $3, 5% {x}"),
        ("{" * 5000 + "x" + "}" * 5000, "x"),
        (r"\begin{broken} $open {\frac", "open"),
        ("a\x1b]0;b\x07\u202ec", "a]0;bc"),
    ],
)
def test_tex_becomes_text(written, text):
    found = tex.plain(written)
    assert found == text if "broken" not in written else text in found


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("Smith, John, Jr", ["John Smith Jr"]),
        ("Smith, Jr., John", ["John Smith Jr."]),
        ("van der Berg, Hans and others", ["Hans van der Berg", "others"]),
        ("Ludwig van Beethoven AND de la Cruz, Ana", ["Ludwig van Beethoven", "Ana de la Cruz"]),
        ("{The Big Team} and {Barnes and Noble, Inc.}", ["The Big Team", "Barnes and Noble, Inc."]),
        (r"{\"U}nl{\"u}, Ali", ["Ali Ünlü"]),
        ("family=Berg, given=Hans, prefix=van der", ["Hans van der Berg"]),
        ("A. One, B. Two, C. Three", ["A. One", "B. Two", "C. Three"]),
        ("Ann One; Bob Two", ["Ann One", "Bob Two"]),
        ("Ann One et al.", ["Ann One", "others"]),
        ("Ann One and", ["Ann One"]),
        ("a, b, c, d, e", ["a, b, c, d, e"]),
        ("", []),
    ],
)
def test_names_are_read_as_people_write_them(written, names):
    assert list(tex.names(written)) == names


def test_what_follows_a_family_name_is_no_family_name():
    paper = {"id": "x", "title": "T", "authors": ["John Smith Jr."], "year": 2024, "type": "paper"}
    for written in ("John Smith", "Smith, Jr, John", "Smith, J. III"):
        match = Known([paper]).match(Reference("k", "T", tex.names(written), 2024))
        assert match and differences(Reference("k", "T", tex.names(written), 2024), paper) == []
        assert draft.id_of(Reference("k", "Long title", tex.names(written), 2024)) == (
            "smith-2024-long"
        )
    whole = {**paper, "venue": "V 2024", "authors": ["John van der Smith Jr.", "Vi Iv", "Bo Ito"]}
    text = to_bibtex([whole])
    assert "author = {van der Smith, Jr., John and Vi Iv and Bo Ito}" in text
    (back,) = read_bibtex(text).references
    assert list(back.authors) == whole["authors"]
    first = to_csl([whole])[0]["author"][0]
    assert (first["family"], first["suffix"]) == ("Smith", "Jr.")


def test_a_known_paper_is_told_by_any_identifier_and_not_by_a_similar_title():
    paper = {
        "id": "x", "title": "Aligning Pictures with Words by Preference", "authors": ["Ann One"],
        "year": 2024, "arxiv": "2401.00001", "doi": "10.18653/v1/2024.x-main.1",
        "openreview": "aB_1", "page": None, "code": None, "type": "paper",
    }  # fmt: skip
    known = Known([paper])

    def by(**fields: str) -> str | None:
        match = known.match(Reference("k", fields.pop("title", "Else"), ("Ann One",), **fields))
        return match and match.by

    assert by(arxiv="2401.00001") == "arxiv"
    assert by(doi="10.18653/V1/2024.X-MAIN.1") == "doi"
    assert by(acl="2024.x-main.1") == "acl"
    assert by(openreview="aB_1") == "openreview"
    assert by(openreview="ab_1") is None  # their ids differ in case
    assert by(title="aligning pictures with words: by preference") == "title"
    assert by(title=paper["title"], arxiv="2402.00002") is None
    assert known.match(Reference("k", paper["title"], ("Bob Two",))) is None
    near = Reference("k", "Aligning Pictures and Words by Preference", ("Ann One",))
    assert known.match(near) is None
    assert known.like(near) is paper
    assert known.like(Reference("k", "Something else", ("Ann One",))) is None


def test_a_paper_that_stands_twice_in_a_file_is_drafted_once():
    text = """@misc{a, title={One}, author={A B}, eprint={2401.00001}}
@inproceedings{b, title={One, longer}, author={A B}, url={https://arxiv.org/abs/2401.00001v2}}
@misc{c, title={one}, author={Ada B}, note={no identifier}, url={https://x.org}}
@misc{d, title={One}, author={A B}, eprint={2402.00002}}
@proceedings{e, title={All of them}, editor={C D}, year=2024, url={https://x.org/e}}"""
    items = intake.compare(read_bibtex(text).references, [])
    assert [item.status for item in items] == ["new", "repeated", "repeated", "new", "collection"]
    assert items[1].remark.render("x.bib") == (
        "x.bib:2: entry 'b': the same paper as 'a' in line 1"
    )
    made, left = intake.drafts(items, ["b-one"], "2026-01-01")
    assert len(made) == len({data["id"] for data in made}) == 2
    assert not left


def test_a_draft_is_made_from_what_an_entry_says_and_the_rest_is_left_out_and_said():
    text = "@misc{a, title={One}, author={A B}}\n@misc{b, title={Two}, doi={10.1/b}}"
    items = intake.compare(read_bibtex(text).references, [])
    made, left = intake.drafts(items, [], "2026-01-01")
    assert [data["title"] for data in made] == ["Two"]
    assert made[0]["authors"] == [draft.TODO]
    assert [remark.key for remark in left] == ["a"]


def test_bytes_that_are_not_utf_8_are_one_clear_line():
    assert decode(b"\xef\xbb\xbf@misc{a}", "x.bib") == "@misc{a}"
    with pytest.raises(BadReference, match=r"^x\.bib:2: byte 0xe9 is not UTF-8; save the file"):
        decode("@misc{a,\n title={é}}".encode("latin-1"), "x.bib")


@pytest.mark.parametrize(
    "api",
    ["notaurl", "", "file:///etc/passwd", "ftp://x.org", "http://", "http://a b/", "http://[x",
     "http://x:99999999/", "javascript:1", "//x.org/a"],
)  # fmt: skip
def test_only_addresses_of_the_web_are_asked(api):
    with pytest.raises(BadReference, match="is not an http or https address"):
        arxiv.fetch("2401.00001", api)


def _of(**fields: str) -> str:
    return "@a{k, title={T}, " + ", ".join(f"{n} = {{{v}}}" for n, v in fields.items()) + "}"


@pytest.mark.parametrize(
    "text",
    [
        _of(doi="x" + " " * 40_000 + "x"),
        _of(doi="doi " * 10_000),
        _of(doi="10.1/" + ")" * 40_000),
        _of(url="aclanthology.org/2020." + "a-" * 20_000),
        _of(url="openreview.net/?" * 3_000),
        _of(author="A; B" + " " * 40_000 + "C"),
        _of(author="A" + "," * 40_000 + "C"),
        _of(author="x" + " and" * 10_000 + " x"),
        "".join(
            f"@a{{k{n}, title={{T}}, xdata={{{','.join(f'k{m}' for m in range(40))}}}}}\n"
            for n in range(40)
        ),
        '@string{s = "' + "x" * 90_000 + '"}\n' + "@a{k, title={T}, f = s#s}\n" * 20_000,
    ],
    ids=["blanks", "doi", "brackets", "acl", "openreview", "semicolon", "commas", "and", "xdata",
         "macros"],
)  # fmt: skip
def test_no_field_takes_more_than_a_moment_however_it_is_repeated(text):
    began = time.process_time()
    read_bibtex(text)
    assert time.process_time() - began < 3


def test_an_identifier_is_found_between_many_blanks_and_names_between_many_commas():
    (reference,) = read_bibtex(
        _of(
            doi="doi: \n   10.1000/x",
            url="https://openreview.net/forum?noteId=1&id=AbC",
            author="and Ann Bee   ;\n  Carl Dee ,, et al.",
        )
    ).references
    assert (reference.doi, reference.openreview) == ("10.1000/x", "AbC")
    assert reference.authors == ("Ann Bee", "Carl Dee", "others")
