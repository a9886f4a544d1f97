"""Equations: what is refused, and that what is allowed comes out as MathML."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as xml

import pytest

from mmalign.check import latex

WRONG = {
    r"\frac{a}{b": r"{ is never closed",
    r"a}": "} closes nothing",
    r"\left( a": r"\left is never closed",
    r"a \right)": r"\right closes nothing",
    r"\left( {a \right) }": r"\right comes where { is still open",
    r"\left a \right": "needs a delimiter",
    r"\begin{aligned} a": r"\begin{aligned} is never closed",
    r"\begin{aligned} a \end{cases}": r"\end{cases} comes where \begin{aligned} is still open",
    r"\begin{tikzpicture} a \end{tikzpicture}": "environment tikzpicture is not in our list",
    r"\begin a": "environment (none)",
    r"\simga": r"did you mean \sigma?",
    r"\operatorname*{arg} x": r"\operatorname* is shown with its star",
    r"\newcommand{\x}{y}": r"\newcommand is not in the list",
    r"\frac{a}": r"\frac needs 2 arguments",
    r"\sqrt": r"\sqrt needs 1 arguments",
    r"a & b": "& outside an environment",
    r"$a$": "leave dollar signs out",
    r"a % b": r"write \%",
    "a # b": r"write \#",
    "a \\": "is not in the list",
    r"a \@ b": r"\@ is not in the list",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_equations_are_refused_in_words(text):
    found = latex.problems(text)
    assert found
    assert WRONG[text] in " / ".join(found)


def test_all_unknown_macros_are_reported():
    assert len(latex.problems(r"\fooo + \baar + \fooo")) == 2


RIGHT = (
    r"-\log \sigma \left( \beta \log \frac{\pi_\theta(y \mid x)}{\pi_{\mathrm{ref}}(y)} \right)",
    r"\begin{aligned} a &= b \\ &\quad + c \end{aligned}",
    r"\mathbb{E}_{(x, y) \sim \mathcal{D}} \left[ r \right] - \beta\,\mathbb{D}_{\mathrm{KL}}",
    r"\left\{ x \;\middle|\; y \right. , \{a\}, \Big\{ b \Big\}",
    r"\begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{else} \end{cases}",
    r"\begin{array}{cc} a & b \end{array}",
    r"\argmax_{\theta} \sum_{\substack{i \\ j}} \hat{A}_i, \frac12, \sqrt[3]{x}, \frac\pi2",
)


@pytest.mark.parametrize("text", RIGHT)
def test_right_equations_become_mathml(text):
    assert latex.problems(text) == ()
    pytest.importorskip("latex2mathml")
    shown = "".join(xml.fromstring(latex.to_mathml(text)).itertext())
    assert "\\" not in shown


ONE = "hat widehat bar overline tilde widetilde vec dot ddot underline mathcal mathbb mathbf mathrm"
ONE += " mathit mathsf mathtt mathfrak boldsymbol text textbf textit textrm sqrt overbrace"
ONE += " underbrace operatorname substack"
TWO = "frac dfrac tfrac binom overset underset stackrel"


def _use(macro: str) -> str:
    """The shortest equation that uses a macro."""
    if macro in ONE.split():
        return rf"\{macro}{{x}}"
    if macro in TWO.split():
        return rf"\{macro}{{x}}{{y}}"
    if macro.lower().startswith("big"):
        return rf"\{macro}( x"
    special = {
        "left": r"\left( x \right)",
        "right": r"\left( x \right)",
        "middle": r"\left( x \middle| y \right)",
        "begin": r"\begin{matrix} x \end{matrix}",
        "end": r"\begin{matrix} x \end{matrix}",
        "limits": r"\sum\limits_x^y",
        "nolimits": r"\int\nolimits_x^y",
    }
    return special.get(macro, rf"x \{macro} y")


def test_every_macro_of_the_list_is_understood_by_latex2mathml():
    pytest.importorskip("latex2mathml")
    assert len(latex.MACROS) > 150
    for macro in sorted(latex.MACROS):
        text = _use(macro)
        assert latex.problems(text) == (), macro
        shown = "".join(xml.fromstring(latex.to_mathml(text)).itertext())
        words = {"Pr", "lt", "gt", "to"}
        if len(macro) > 2 and shown.replace("x", "").replace("y", "").strip() == macro:
            functions = "lim max min sup inf log exp sin cos tan tanh det dim gcd deg"
            words |= set(functions.split())
            assert macro in words, f"\\{macro} is shown as its own name"


@pytest.mark.parametrize("name", sorted(latex.ENVIRONMENTS))
def test_every_environment_becomes_a_table(name):
    pytest.importorskip("latex2mathml")
    columns = "{cc}" if name == "array" else ""
    text = rf"x = \begin{{{name}}}{columns} a & b \\ c & d \end{{{name}}}"
    assert latex.problems(text) == ()
    cells = xml.fromstring(latex.to_mathml(text)).findall(".//{*}mtd")
    letters = [letter for cell in cells for letter in "".join(cell.itertext()).split()]
    assert letters == ["a", "b", "c", "d"]


def test_mathml_that_is_no_xml_is_found():
    assert "broken MathML" in latex.problems(r"\text{if } a < b \text{ and a < c}")[0]


def test_macros_that_latex2mathml_would_leak_are_found():
    pytest.importorskip("latex2mathml")
    assert re.search(r"\\notag", latex.to_mathml(r"a \notag"))
    assert latex.problems(r"a \notag")


HOSTILE = (
    r"\text{<script>alert(1)</script>}",
    r"\text {<img src=x onerror=alert(1)>}",
    r"\textbf{</math><b>}",
    r"\textit{<!-- }",
    r"\textrm{a & b}",
    r"\text{&#x3c;script&#x3e;}",
    r"\text{&lt;script&gt;}",
    r"\text{x > y}",
    r"\text<script>",
    r"\begin{cases} a & \text{<svg onload=alert(1)>} \end{cases}",
    r"\begin{matrix} &#x3c;script> \end{matrix}",
    r"\mathrm{<script>alert(1)</script>}",
    r'\mathbf{<img src="x" onerror=alert(1)>}',
    r"\mathcal{<!-- x -->}",
    r"\operatorname{<b>x</b>}",
    r"\operatorname*{<b>}",
    r"\frac{<iframe src=x>}{y}",
    r"\sqrt[<b>]{x}",
    r"\overset{</mo>}{=}",
    r"x_{<script>}^{</script>}",
    r"<?xml version='1.0'?>",
    r"\href{javascript:alert(1)}{x}",
    r"\href{https://example.org}{x}",
    r"\class{a}{x}",
    r"\style{background:url(https://example.org)}{x}",
    r"\color{red}{x}",
    r"\textcolor{red}{x}",
    r"\colorbox{red}{x}",
    r"\fcolorbox{red}{blue}{x}",
    r"\rule{1em}{1em}",
    r"\unicode{x3c}",
    r"\verb|<script>|",
    r"\mbox{<b>}",
    r"\hbox{<b>}",
    r"\fbox{<b>}",
    r"\tag{<b>}",
    r"\emph{<b>}",
    r"\texttt{<b>}",
    r"\newcommand{\x}{<b>}",
    r"\def\x{<b>}",
    r"\require{html}",
    r"\includegraphics{x}",
    r"\hspace{1em}",
)


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_equations_is_a_problem_with_and_without_latex2mathml(
    text, installed, monkeypatch
):
    monkeypatch.setattr(latex, "convertible", lambda: installed)
    latex.problems.cache_clear()
    assert latex.problems(text)
    latex.problems.cache_clear()


@pytest.mark.parametrize("text", [*HOSTILE, *RIGHT, *WRONG, "a \x00 b", "x" * 6000])
@pytest.mark.parametrize("display", ["block", "inline"])
def test_whatever_an_equation_says_its_page_holds_listed_mathml_only(text, display):
    pytest.importorskip("latex2mathml")
    from mmalign.site import equations

    tree = xml.fromstring(equations.mathml(text, display))
    if tree.tag == "code":  # the LaTeX itself, as text
        assert list(tree) == []
        assert not tree.attrib
        return
    for element in tree.iter():
        name = element.tag.removeprefix(f"{{{latex.NAMESPACE}}}")
        assert name in latex.ELEMENTS
        for attribute, value in element.attrib.items():
            assert latex.ATTRIBUTES[attribute].fullmatch(value)


def test_no_attribute_of_the_list_can_name_an_address_or_a_script():
    for name, pattern in latex.ATTRIBUTES.items():
        assert not name.startswith("on")
        assert name not in ("href", "src", "style", "class", "id", "xlink:href", "actiontype")
        for value in ("javascript:alert(1)", "https://x.y", "url(x)", 'a" onclick="b', "<b>", ""):
            assert not pattern.fullmatch(value), (name, value)


def test_what_the_converter_makes_is_checked_again_at_render(monkeypatch):
    converter = pytest.importorskip("latex2mathml.converter")
    from mmalign.site import equations

    def hostile(change):
        def convert(text, **options):
            math = xml.Element("math", {"xmlns": latex.NAMESPACE, "display": "block"})
            change(math)
            return math

        return convert

    for number, change in enumerate(
        (
            lambda math: xml.SubElement(math, "script"),
            lambda math: xml.SubElement(math, "mi", {"onclick": "x"}),
            lambda math: xml.SubElement(math, "mrow", {"href": "javascript:x"}),
            lambda math: xml.SubElement(math, "mstyle", {"mathcolor": "red"}),
            lambda math: xml.SubElement(math, "mspace", {"width": "1em;x"}),
            lambda math: setattr(math, "text", "loose"),
            lambda math: xml.SubElement(xml.SubElement(math, "mtext"), "mi"),
            lambda math: setattr(xml.SubElement(math, "mi"), "text", "\u202e"),
        )
    ):
        monkeypatch.setattr(converter, "convert_to_element", hostile(change))
        with pytest.raises(latex.NotMathML):
            latex.to_mathml("x")
        text = rf"x_{{{number}}}"
        latex.problems.cache_clear()
        assert "not in the list" in latex.problems(text)[0]
        assert equations.mathml.__wrapped__(text).startswith("<code>")
    latex.problems.cache_clear()
    monkeypatch.setattr(
        converter, "convert_to_element", hostile(lambda m: setattr(xml.SubElement(m, "mtext"),
                                                                   "text", "<b>&#x3c;i&#x3e;</b>"))
    )  # fmt: skip
    assert "<mtext>&lt;b&gt;&lt;i&gt;&lt;/b&gt;</mtext>" in equations.mathml.__wrapped__("x")


@pytest.mark.parametrize("text", [r"a < b, y_{<t}, 0<x, i < j > k", r"p(y_t \mid y_{<t}) > 0, a>b"])
def test_relations_are_no_markup(text):
    assert latex.problems(text) == ()


def test_words_keep_the_blanks_around_them():
    pytest.importorskip("latex2mathml")
    from mmalign.site import equations

    assert "<mtext>\xa0if\xa0</mtext>" in equations.mathml(r"1 \text{ if } x")


def test_hostile_lengths_cost_no_time():
    start = time.perf_counter()
    for text in ("{" * 4900, "x_" * 2400, r"\frac" * 900, r"\left(" * 700, r"\zzz" * 1200,
                 r"\sqrt{" * 700 + "x" + "}" * 700, "{" * 2400 + "}" * 2400, "x" * 10**6,
                 "<" * 4900, "<a " * 1600, "<a " + "=" * 4900, "<a =" * 1200, r"\frac{" * 800,
                 r"\sqrt[" * 800, r"\text{" * 800, "^" * 4900, "'" * 4900):  # fmt: skip
        latex.problems(text)
    deep = r"\sqrt{" * 50 + "x" + "}" * 50
    assert "nested more than 40 deep" in latex.problems(deep)[0]
    assert latex.problems(r"\sqrt{" * 30 + "x" + "}" * 30) == ()
    many = "".join(f"\\{a}{b}{c}x " for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh")
    assert len(latex.problems(many)) == latex.MAX_MESSAGES
    assert time.perf_counter() - start < 5
