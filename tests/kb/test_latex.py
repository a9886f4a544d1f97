"""Equations: what is refused, and that what is allowed comes out as MathML."""

from __future__ import annotations

import re
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
    pytest.importorskip("latex2mathml")
    assert "broken MathML" in latex.problems(r"\text{if } a < b \text{ and a < c}")[0]


def test_macros_that_latex2mathml_would_leak_are_found():
    pytest.importorskip("latex2mathml")
    assert re.search(r"\\notag", latex.to_mathml(r"a \notag"))
    assert latex.problems(r"a \notag")
