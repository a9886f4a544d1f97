r"""LaTeX of the records: is it well formed, and is it something that the site can show?

`latex2mathml`, which makes MathML when the site is built, prints macros and environments that it
does not know as letters and lets open braces through without a word. So equations are checked here
first, against a list of macros that a test has sent through it. Adding one is a matter of a line.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import re
import xml.etree.ElementTree as xml

MACROS = frozenset(
    r"""
    alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi
    rho sigma tau upsilon phi varphi chi psi omega
    Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar nabla partial infty emptyset
    frac dfrac tfrac sqrt binom sum prod int lim max min sup inf log ln exp sin cos tan tanh det dim
    argmax argmin Pr gcd deg limits nolimits operatorname
    mathcal mathbb mathbf mathrm mathit mathsf mathtt mathfrak boldsymbol text textbf textit textrm
    hat widehat bar overline tilde widetilde vec dot ddot underline
    overbrace underbrace overset underset stackrel substack
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr
    cdot cdots ldots dots vdots ddots times div pm mp ast star circ bullet oplus otimes odot
    le leq ge geq neq ne lt gt ll gg equiv approx sim simeq propto cong
    in notin ni subset subseteq supset supseteq cup cap setminus forall exists neg lnot land lor
    wedge vee to rightarrow leftarrow Rightarrow Leftarrow leftrightarrow Leftrightarrow mapsto
    longrightarrow succ prec succeq preceq mid parallel perp colon triangleq
    langle rangle lfloor rfloor lceil rceil lbrace rbrace lbrack rbrack lvert rvert lVert rVert vert
    Vert backslash prime dagger top bot quad qquad begin end
    """.split()  # noqa: SIM905
)
"""Names of letters that may follow a backslash."""

SYMBOLS = frozenset(r"\ { } | , ; : ! _ & % # $".split()) | {" "}  # noqa: SIM905
"""Single characters that may follow a backslash."""

ENVIRONMENTS = frozenset(
    (
        *("aligned", "align*", "gathered", "split", "cases", "array"),
        *("matrix", "pmatrix", "bmatrix", "vmatrix"),
    )
)

ARGUMENTS = {"frac": 2, "dfrac": 2, "tfrac": 2, "binom": 2, "overset": 2, "underset": 2} | dict(
    stackrel=2, sqrt=1, operatorname=1, text=1, mathcal=1, mathbb=1, mathbf=1, mathrm=1, hat=1
)
"""How many arguments the commonest macros take: without one, latex2mathml makes broken MathML."""

_TOKEN = re.compile(r"\\(?:([A-Za-z]+)|(.)|$)|([{}&$%#])", re.DOTALL)
_NAME = re.compile(r"\s*\{([A-Za-z]+\*?)\}")
_DELIMITER = re.compile(r"\s*(\\[A-Za-z]+|\\[{}|]|[()\[\]|./<>])")


@functools.lru_cache(maxsize=4096)
def problems(text: str) -> tuple[str, ...]:
    """What is wrong with a LaTeX equation (without dollar signs), in plain words; empty if nothing.

    Structure first; only what is well formed is tried with latex2mathml, where that is installed.
    """
    found = tuple(dict.fromkeys(_structure(text)))
    return found or tuple(_conversion(text))


def _structure(text: str):
    open_: list[str] = []  # "{", "left" and names of environments, as they were opened
    for token in _TOKEN.finditer(text):
        macro, symbol, plain = token.groups()
        if plain == "{":
            open_.append("{")
        elif plain == "}":
            if not open_ or open_[-1] != "{":
                yield _unopened("}", open_)
                return
            open_.pop()
        elif plain == "&":
            if not any(each in ENVIRONMENTS for each in open_):
                yield "& outside an environment; write \\& or \\begin{aligned} ... \\end{aligned}"
        elif plain:
            what = {"$": "leave dollar signs out", "%": "write \\%", "#": "write \\#"}[plain]
            yield f"{plain} in an equation; {what}"
        elif macro in ("begin", "end"):
            name = _NAME.match(text, token.end())
            if not name or name.group(1) not in ENVIRONMENTS:
                shown = name.group(1) if name else "(none)"
                allowed = ", ".join(sorted(ENVIRONMENTS))
                yield f"environment {shown} is not in our list: {allowed}"
                return
            # The braces around the name are met again as tokens and balance each other.
            if macro == "begin":
                open_.append(name.group(1))
            elif not open_ or open_[-1] != name.group(1):
                yield _unopened(f"\\end{{{name.group(1)}}}", open_)
                return
            else:
                open_.pop()
        elif macro in ("left", "right"):
            if not _DELIMITER.match(text, token.end()):
                yield f"\\{macro} needs a delimiter, such as ( or . for none"
            if macro == "left":
                open_.append("left")
            elif not open_ or open_[-1] != "left":
                yield _unopened("\\right", open_)
                return
            else:
                open_.pop()
        elif macro and macro not in MACROS:
            near = difflib.get_close_matches(macro, sorted(MACROS), 1, 0.7)
            hint = f"; did you mean \\{near[0]}?" if near else ""
            yield f"macro \\{macro} is not in the list of mmalign.check.latex{hint}"
        elif macro in ARGUMENTS:
            if macro == "operatorname" and text.startswith("*", token.end()):
                yield "\\operatorname* is shown with its star; write \\operatorname or \\argmax"
            elif not _has_arguments(text, token.end(), ARGUMENTS[macro]):
                yield f"\\{macro} needs {ARGUMENTS[macro]} arguments in braces"
        elif macro is None and (symbol is None or not (symbol in SYMBOLS or symbol.isspace())):
            yield f"\\{symbol or ''} is not in the list of mmalign.check.latex"
    if open_:
        yield f"{_shown(open_[-1])} is never closed"


def _has_arguments(text: str, place: int, count: int) -> bool:
    """Do `count` arguments follow? Braces that do not balance are another problem's matter."""
    option = re.compile(r"\s*\[[^]]*\]").match(text, place)
    place = option.end() if option else place
    for _ in range(count):
        start = re.compile(r"\s*(\\[A-Za-z]+|\\.|[^\s}&])").match(text, place)
        if not start:
            return False
        place = start.end()
        depth = 1 if start.group(1) == "{" else 0
        while depth and place < len(text):
            skip = 2 if text[place] == "\\" else 1
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += skip
    return True


def _shown(opened: str) -> str:
    return {"{": "{", "left": "\\left"}.get(opened, f"\\begin{{{opened}}}")


def _unopened(closer: str, open_: list[str]) -> str:
    if not open_:
        return f"{closer} closes nothing"
    return f"{closer} comes where {_shown(open_[-1])} is still open"


def _conversion(text: str):
    if importlib.util.find_spec("latex2mathml") is None:  # it is part of the extra `site`
        return
    try:
        mathml = to_mathml(text)
    except Exception as error:  # the package has no common base class for its errors
        yield f"latex2mathml cannot convert it ({type(error).__name__})"
        return
    try:
        xml.fromstring(mathml)
    except xml.ParseError:
        yield "latex2mathml makes broken MathML of it; write < and & outside \\text{...}"
    leaked = re.search(r"\\([A-Za-z]+|.)", mathml)
    if leaked:
        yield f"latex2mathml does not understand {leaked.group()}"


# Environments that latex2mathml prints as plain letters, and what looks the same.
_SAME = {"{aligned}": "{split}", "{gathered}": "{matrix}"}


def to_mathml(text: str, display: str = "block") -> str:
    """MathML of a LaTeX equation, `display` "block" or "inline". Check it with `problems` first.

    Needs latex2mathml (extra `site`): ImportError without it.
    """
    from latex2mathml.converter import convert

    for environment, same in _SAME.items():
        text = text.replace(environment, same)
    # After \big and its like, the backslash of a brace stays in what is shown.
    return convert(text, display=display).replace(">\\{<", ">{<").replace(">\\}<", ">}<")
