"""Nothing that a record says becomes markup."""

from __future__ import annotations

import html
import re

import pytest
import yaml

from mmalign.records.read import load
from mmalign.site import equations, pages
from mmalign.site.text import block_of_code, escape, external, front_matter, linked, number, table

ARXIV = "https://arxiv.org/abs/"
NASTY = (
    "<script>alert(1)</script> a|b {{ x }} {% y %} *em* **st** _u_ __v__ [l](javascript:1) ![i](x) "
    "&amp; &lt; # $m$ ~~s~~ ^p^ ==q== \\* \\( {: .c } { #d .e } [^1] <http://a.example> \"q\" 'r' "
    "<!-- c --> <!-- mmalign:counts --> :smile: @me --- 1. 2) + -"
)


def test_nasty_text_comes_out_as_itself(render):
    for source in (escape(NASTY), f"- {escape(NASTY)}", f"# {escape(NASTY)}"):
        found = render(source)
        # Of the list and the heading, the innermost element holds the text.
        inner = next(each for each in found if each.tag in ("p", "li", "h1"))
        assert inner.text.rstrip("¶").rstrip() == NASTY
        allowed = {"p", "ul", "li", "h1"}
        assert {each.tag for each in found if "headerlink" not in str(each.attributes)} <= allowed


def test_nasty_cells_stay_in_their_cell(render):
    found = render(table(["A", "B"], [[escape(NASTY), "second"]]))
    cells = [each.text for each in found if each.tag == "td"]
    assert cells == [NASTY, "second"]


@pytest.mark.parametrize(
    "text", ["- a", "+ a", "* a", "1. a", "12) a", "# a", "> a", "!!! note", "??? a", ": a",
             "---", "=== x", "``` x", "~~~", "[a]: b", "*[a]: b", "/// x", "    a", "|a|b|"]
)  # fmt: skip
def test_a_text_never_starts_a_block(render, text):
    found = render(escape(text))
    assert [each.tag for each in found] == ["p"]
    assert found[0].text == " ".join(text.split())


def test_underscores_never_become_emphasis(render):
    for text in ("a_b_c d_e", "_a b_", "a_ b _c", "__a__ b", "é_è_ x", "1_2_3", "x._y_.z"):
        found = render(escape(text))
        assert [(each.tag, each.text) for each in found] == [("p", text)]


def test_words_in_backticks_are_code(render):
    found = render(escape("see `a_b <i> |x|` and ` alone"))
    assert [(each.tag, each.text) for each in found] == [
        ("p", "see a_b <i> |x| and ` alone"),
        ("code", "a_b <i> |x|"),
    ]


@pytest.fixture
def nasty(tree) -> dict[str, str]:
    """Pages of records in which the texts are hostile."""
    quoted = "'" + NASTY.replace("'", "''") + "'"
    tree.edit("papers/red-lantern.yaml", 'title: "Red Lantern: Fewer Invented Objects"',
              f"title: {quoted}")  # fmt: skip
    for old in ("name: Red Lantern\n", "name: Red Lantern data\n", "name: Bench One\n"):
        tree.edit("papers/red-lantern.yaml", old, f"name: {quoted}\n")
    for old in ("summary: Adds an anchor to plain pairs.", "summary: Counts invented objects."):
        tree.edit("papers/red-lantern.yaml", old, f"summary: {quoted}")
    tree.edit("papers/red-lantern.yaml", "- Cleo Muster", f"- {quoted}")
    tree.edit("papers/red-lantern.yaml", "note: made up", f"note: {quoted}")
    tree.edit("papers/red-lantern.yaml", "differs: The anchor is off by default.",
              f"differs: {quoted}")  # fmt: skip
    tree.edit("papers/red-lantern.yaml", "        source: section 4", f"        source: {quoted}")
    tree.edit("taxonomy/errata.yaml", "says: Red Lantern is of 2019.", f"says: {quoted}")
    return pages(load(tree.root))


def test_no_page_of_hostile_records_holds_their_markup(nasty, render):
    places = 0
    for path, text in nasty.items():
        if path == "reference/cli.md":
            continue
        for element in render(text):
            # A script of the site's own is a file; nothing that a record says becomes one.
            source = element.attributes.get("src") or ""
            own = re.fullmatch(r"(\.\./)+assets/[\w-]+\.js", source)
            assert element.tag != "script" or (own and not element.text), path
            assert element.tag not in ("img", "strike", "del", "mark"), path
            assert element.tag != "i" or not element.text, path  # the swatch of a line's colour
            href = element.attributes.get("href") or ""
            assert not href.startswith("javascript"), path
            assert element.attributes.get("class") not in ("c", "e"), path
            places += NASTY in element.text and element.tag in ("h1", "td", "p", "li", "code")
    assert places > 20


def test_the_title_in_the_head_is_escaped_twice_over(nasty):
    head = nasty["papers/red-lantern.md"].split("---\n")[1]
    assert "<script" not in head
    assert "&lt;script&gt;" in head


def test_the_heading_is_the_title(nasty, render):
    heading = next(each for each in render(nasty["papers/red-lantern.md"]) if each.tag == "h1")
    assert heading.text == NASTY


def test_a_block_of_code_is_one_line_that_shows_every_character(render):
    text = "a\n```\n<script>x</script>\n    ````\u2028b\r\n<div>c</div>"
    made = block_of_code(text, "latex")
    assert len(made.splitlines()) == 1
    found = render(made)
    assert {each.tag for each in found} <= {"div", "pre", "code", "span"}
    assert next(each for each in found if each.tag == "code").text == " ".join(text.split())


def test_front_matter_holds_every_character():
    title = "\U0001d49fPO \U0001f600 \\ud835\\udc9f \ufffe \"quoted\" 'q': # x"
    read = yaml.safe_load(front_matter(title).split("---\n")[1])
    assert html.unescape(read["title"]) == title


@pytest.mark.parametrize(
    ("source", "target", "shown"),
    [
        ("arxiv:2406.11839#3.1", f"{ARXIV}2406.11839", "arXiv 2406.11839, section 3.1"),
        ("arxiv:2406.11839#2-3", f"{ARXIV}2406.11839", "arXiv 2406.11839, sections 2-3"),
        ("arxiv:2406.11839#Tables 1-4", f"{ARXIV}2406.11839", "arXiv 2406.11839, Tables 1-4"),
        ("arxiv:2406.11839", f"{ARXIV}2406.11839", "arXiv 2406.11839"),
        ("repo:a/b@0123abc:c/d_e.py#L1-L9", "https://github.com/a/b/blob/0123abc/c/d_e.py#L1-L9",
         "a/b c/d_e.py, lines 1-9"),
        ("repo:a/b@0123abcdef:c.py#L7", "https://github.com/a/b/blob/0123abcdef/c.py#L7",
         "a/b c.py, line 7"),
        ("repo:a/b.c@0123abcdef", "https://github.com/a/b.c/tree/0123abcdef", "a/b.c at 0123abc"),
        ("https://x.example/a_b?c=d&e", "https://x.example/a_b?c=d&e", "x.example/a_b?c=d&e"),
    ],
)  # fmt: skip
def test_sources_are_links(render, source, target, shown):
    link = next(each for each in render(linked(source)) if each.tag == "a")
    assert (link.attributes["href"], link.text) == (target, shown)


def test_sources_inside_a_text(render):
    text = linked("see repo:a/b@0123abc:c.py#L1 with d/e.py#L2-L3; also https://x.example/y.")
    found = render(text)
    assert [each.attributes["href"] for each in found if each.tag == "a"] == [
        "https://github.com/a/b/blob/0123abc/c.py#L1",
        "https://github.com/a/b/blob/0123abc/d/e.py#L2-L3",
        "https://x.example/y",
    ]
    assert found[0].text == ("see a/b c.py, line 1 with a/b d/e.py, lines 2-3; also x.example/y.")


def test_only_web_addresses_become_links(render):
    assert external("x", "javascript:alert(1)") == "x"
    link = render(external("x", 'https://x.example/"onclick="y'))[1]
    assert set(link.attributes) == {"class", "href"}


def test_numbers_carry_no_noise():
    assert [number(n) for n in (12.5, 80, 27.0, 1e-05, 5e-7, 0.1, 123456.0)] == [
        "12.5", "80", "27", "0.00001", "0.0000005", "0.1", "123,456",
    ]  # fmt: skip


def test_equations_in_cells_keep_their_cell(render):
    cell = equations.inline(r"|y_u| * \gamma_{a} \{ x \}")
    assert "|" not in cell
    found = render(table(["A", "B"], [[cell, "second"]]))
    assert [each.text for each in found if each.tag == "td"][1] == "second"
    assert "math" in {each.tag for each in found}
    assert "em" not in {each.tag for each in found}


def test_upright_letters_are_one_word():
    assert "<mi>DPO</mi>" in equations.inline(r"\mathcal{L}_{\mathrm{DPO}}")


def test_an_equation_that_cannot_be_converted_is_shown_as_code():
    shown = equations.block(r"<b> \frac")
    assert "<code>&lt;b&gt; &#92;frac</code>" in shown
