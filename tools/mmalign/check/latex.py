r"""LaTeX of the records: is it well formed, and is it something that the site can show?

`latex2mathml`, which makes MathML when the site is built, prints macros and environments that it
does not know as letters and lets open braces through without a word. So equations are checked here
first, against a list of macros that a test has sent through it. Adding one is a matter of a line.

Nor does it escape anything: the words of `\text{...}` come out as they went in, markup too. So
words are plain by rule, with or without latex2mathml at hand; and what it makes is taken as a tree,
whose elements, attributes and values have to be those of a list, and is written out escaped.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import itertools
import re
import xml.etree.ElementTree as xml
from collections.abc import Iterator

from mmalign.characters import UNWANTED, printable, quoted

MAX_LENGTH = 5_000
"""Characters of an equation: the longest of the atlas has a quarter of it."""
MAX_DEPTH = 40
"""Braces and environments inside each other; the deepest braces of the atlas are four."""
MAX_MESSAGES = 20
"""Of one equation; whoever mends these will see the next."""

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

WORDS = frozenset(("text", "textbf", "textit", "textrm"))
"""Macros whose argument latex2mathml prints as it stands."""

_WORDS = re.compile(r"\s*\{([^{}]*)\}")
# What a browser would read as a tag or a comment; `a < b` and `y_{<t}` are none.
_MARKUP = re.compile(r"</?[A-Za-z][\w:-]*(?:\s(?=[^<>]*=)[^<>]*|\s*/?)>|</[A-Za-z]|<[!?]")
_TOKEN = re.compile(r"\\(?:([A-Za-z]+)|(.)|$)|([{}&$%#])", re.DOTALL)
_NAME = re.compile(r"\s*\{([A-Za-z]+\*?)\}")
_DELIMITER = re.compile(r"\s*(\\[A-Za-z]+|\\[{}|]|[()\[\]|./<>])")


@functools.lru_cache(maxsize=4096)
def problems(text: str) -> tuple[str, ...]:
    """What is wrong with a LaTeX equation (without dollar signs), in plain words; empty if nothing.

    Structure first; only what is well formed is tried with latex2mathml, where that is installed
    (`convertible`).
    """
    if len(text) > MAX_LENGTH:
        return (f"the equation has {len(text):,} characters, {MAX_LENGTH:,} are allowed",)
    found = tuple(itertools.islice(dict.fromkeys(_structure(text)), MAX_MESSAGES))
    return found or tuple(_conversion(text))


@functools.lru_cache(maxsize=1)
def convertible() -> bool:
    """Is latex2mathml here, which is part of the extra `site`? Else only structure is checked."""
    return importlib.util.find_spec("latex2mathml") is not None


def _structure(text: str) -> Iterator[str]:
    markup = _MARKUP.search(text)
    if markup:
        shown = quoted(markup.group(), 30)
        yield f"{shown} looks like markup; write \\lt and \\gt, or blanks around < and >"
    ends = _ends(text)
    open_: list[str] = []  # "{", "left" and names of environments, as they were opened
    for token in _TOKEN.finditer(text):
        macro, symbol, plain = token.groups()
        if plain == "{":
            open_.append("{")
            if len(open_) > MAX_DEPTH:
                yield f"the equation is nested more than {MAX_DEPTH} deep"
                return
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
                shown = printable(name.group(1), 40) if name else "(none)"
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
            near = _nearest(macro)
            hint = f"; did you mean \\{near}?" if near else ""
            shown = printable(macro, 40)
            yield f"macro \\{shown} is not in the list of mmalign.check.latex{hint}"
        elif macro in WORDS:
            words = _WORDS.match(text, token.end())
            if not words:
                yield f"\\{macro} needs 1 arguments in braces, and no braces in it"
            elif not markup and re.search("[<>&]", words.group(1)):
                yield "latex2mathml makes broken MathML of it; write < and & outside \\text{...}"
            elif "\\" in words.group(1):
                yield f"\\{macro}{{...}} holds plain words; end it before a macro"
        elif macro in ARGUMENTS:
            if macro == "operatorname" and text.startswith("*", token.end()):
                yield "\\operatorname* is shown with its star; write \\operatorname or \\argmax"
            elif not _has_arguments(text, token.end(), ARGUMENTS[macro], ends):
                yield f"\\{macro} needs {ARGUMENTS[macro]} arguments in braces"
        elif macro is None and (symbol is None or not (symbol in SYMBOLS or symbol.isspace())):
            yield f"\\{printable(symbol or '')} is not in the list of mmalign.check.latex"
    if open_:
        yield f"{_shown(open_[-1])} is never closed"


@functools.lru_cache(maxsize=1024)
def _nearest(macro: str) -> str | None:
    if len(macro) > 20:  # longer than any: not worth the search
        return None
    near = difflib.get_close_matches(macro, sorted(MACROS), 1, 0.7)
    return near[0] if near else None


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_OPTION = re.compile(r"\s*\[[^]]*\]")
_ARGUMENT = re.compile(r"\s*(\\[A-Za-z]+|\\.|[^\s}&])")


def _ends(text: str) -> dict[int, int]:
    """Place of each opening brace that is closed -> the place after its closing one."""
    ends: dict[int, int] = {}
    open_: list[int] = []
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            open_.append(match.start())
        elif match.group() == "}" and open_:
            ends[open_.pop()] = match.end()
    return ends


def _has_arguments(text: str, place: int, count: int, ends: dict[int, int]) -> bool:
    """Do `count` arguments follow? Braces that do not balance are another problem's matter."""
    option = _OPTION.match(text, place)
    place = option.end() if option else place
    for _ in range(count):
        start = _ARGUMENT.match(text, place)
        if not start:
            return False
        place = start.end()
        if start.group(1) == "{":
            place = ends.get(place - 1, len(text))
    return True


def _shown(opened: str) -> str:
    return {"{": "{", "left": "\\left"}.get(opened, f"\\begin{{{opened}}}")


def _unopened(closer: str, open_: list[str]) -> str:
    if not open_:
        return f"{closer} closes nothing"
    return f"{closer} comes where {_shown(open_[-1])} is still open"


def _conversion(text: str) -> Iterator[str]:
    if not convertible():
        return
    try:
        mathml = to_mathml(text)
    except NotMathML as error:
        yield f"latex2mathml makes {error} of it, which is not in the list of mmalign.check.latex"
        return
    except Exception as error:  # the package has no common base class for its errors
        yield f"latex2mathml cannot convert it ({type(error).__name__})"
        return
    leaked = re.search(r"\\([A-Za-z]+|[^<])", mathml)  # \backslash stands alone before its end tag
    if leaked:
        yield f"latex2mathml does not understand {leaked.group()}"


# --- MathML --------------------------------------------------------------------------------------

NAMESPACE = "http://www.w3.org/1998/Math/MathML"

_LENGTH = r"[+-]?\d*\.?\d+(?:em|ex|px|pt)?(?: \d*\.?\d+(?:em|ex|px|pt)?)*"
_VALUES = {
    "xmlns": re.escape(NAMESPACE),
    "display": "block|inline",
    "mathvariant": "normal|bold|italic|bold-italic|double-struck|script|bold-script|fraktur"
    "|bold-fraktur|sans-serif|bold-sans-serif|sans-serif-italic|sans-serif-bold-italic|monospace",
    "form": "prefix|infix|postfix",
    "columnalign": "left|center|right",
    "scriptlevel": "[0-3]",
    **dict.fromkeys(("columnlines", "rowlines"), r"(?:(?:solid|dashed|none)(?: (?!$)|$))+"),
    **dict.fromkeys(
        ("stretchy", "fence", "movablelimits", "largeop", "accent", "accentunder",
         "separator", "displaystyle"),
        "true|false",
    ),
    **dict.fromkeys(
        ("width", "height", "depth", "voffset", "lspace", "rspace", "minsize", "maxsize",
         "linethickness", "columnspacing", "rowspacing"),
        _LENGTH,
    ),
}  # fmt: skip
ATTRIBUTES = {name: re.compile(pattern) for name, pattern in _VALUES.items()}
"""Attribute -> form of its values. None of them names an address, a style or a script."""

TOKENS = frozenset(("mi", "mn", "mo", "mtext", "mspace"))
"""Elements that hold text, and no other elements."""
ELEMENTS = TOKENS | frozenset(
    (
        *("math", "mrow", "mstyle", "mpadded", "mphantom", "mfrac", "msqrt", "mroot"),
        *("msub", "msup", "msubsup", "munder", "mover", "munderover"),
        *("mtable", "mtr", "mtd"),
    )
)

# latex2mathml writes characters as numbers, and leaves it to others to read them.
_NUMBER = re.compile(r"&#x([0-9A-Fa-f]{1,6});")

# Environments that latex2mathml prints as plain letters, and what looks the same.
_SAME = {"{aligned}": "{split}", "{gathered}": "{matrix}"}


class NotMathML(ValueError):
    """latex2mathml has made something that is not in our list; the text names it."""


def to_mathml(text: str, display: str = "block") -> str:
    """MathML of a LaTeX equation, `display` "block" or "inline". Check it with `problems` first.

    Whatever the equation says, the result is well formed, its elements and attributes are those of
    `ELEMENTS` and `ATTRIBUTES`, and text is escaped. Raises NotMathML where that cannot be; and
    ImportError without latex2mathml (extra `site`).
    """
    from latex2mathml.converter import convert_to_element

    for environment, same in _SAME.items():
        text = text.replace(environment, same)
    tree: xml.Element = convert_to_element(text, xmlns=NAMESPACE, display=display)
    for element in tree.iter():
        _check_element(element)
    return xml.tostring(tree, encoding="unicode")


def _check_element(element: xml.Element) -> None:
    """Put characters in place of their numbers. Raises NotMathML for what is not in our lists."""
    if element.tag not in ELEMENTS:
        raise NotMathML(f"the element {quoted(element.tag)}")
    for name, value in element.attrib.items():
        if name not in ATTRIBUTES or not ATTRIBUTES[name].fullmatch(value):
            raise NotMathML(f"the attribute {quoted(f'{name}={value}')}")
    if element.tag in TOKENS and len(element):
        raise NotMathML(f"an element inside {quoted(element.tag)}")
    # Words keep the blanks and line breaks of the source, which mean the same.
    text = re.sub(r"[ \t\r\n]+", " ", element.text or "")
    text = _NUMBER.sub(lambda match: chr(min(int(match[1], 16), 0x10FFFF)), text)
    if (text and element.tag not in TOKENS) or (element.tail or "").strip():
        raise NotMathML(f"text outside of a token, {quoted(element.text or element.tail)}")
    if UNWANTED.search(text):
        raise NotMathML(f"the character {quoted(text)}")
    # After \big and its like, the backslash of a brace stays in what is shown.
    element.text = {"\\{": "{", "\\}": "}"}.get(text, text) or None
