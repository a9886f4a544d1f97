"""TeX as plain text, and names of people as BibTeX writes them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import deque
from typing import TYPE_CHECKING

from mmalign.characters import UNWANTED

if TYPE_CHECKING:
    from pylatexenc.latex2text import LatexNodes2Text

MAX_TEX = 5_000
"""Characters of a text that is decoded: a longer one is not a title, venue or name."""
MAX_DEPTH = 30
_TEX = re.compile(r"[\\$~]|--|``|''")
_SUFFIX = re.compile(r"(?:jr|sr|i{2,3}|iv|v|ph\.? ?d)\.?", re.IGNORECASE)
_EXTENDED = re.compile(r"\s*(family|given|prefix|suffix)\s*=\s*", re.IGNORECASE)
_NAMED = re.compile(r"\s*(?:family|given|prefix|suffix)(?:-i)?\s*=", re.IGNORECASE)


def plain(tex: str) -> str:
    """A text without braces, macros and accents of TeX, without control characters, in one line.

    Formulas become what of them can be written in a line: `$\\beta$-DPO` is `β-DPO`.
    """
    if _TEX.search(tex) and len(tex) <= MAX_TEX and _depth(tex) <= MAX_DEPTH:
        return clean(_decode(tex))
    return clean(tex.replace("{", "").replace("}", ""))


def clean(text: str) -> str:
    """A text in one line, composed (NFC), without the characters that no record may hold."""
    one_line = " ".join(unicodedata.normalize("NFC", text).split())
    if one_line.isascii() and one_line.isprintable():
        return one_line
    return " ".join(UNWANTED.sub("", one_line).split())


def _depth(tex: str) -> int:
    depth = deepest = 0
    for char in tex:
        if char == "{":
            depth += 1
            deepest = max(deepest, depth)
        elif char == "}":
            depth -= 1
    # A formula or an optional argument nests, too.
    return max(deepest, tex.count("\\(") + tex.count("\\[") + tex.count("\\begin"))


def _decode(tex: str) -> str:
    try:
        # In a bibliography `50% of` is meant as written; for TeX it would begin a comment.
        tex = re.sub(r"(?<!\\)%", r"\\%", tex)
        text = _decoder().latex_to_text(tex, tolerant_parsing=True)  # type: ignore[no-untyped-call]
    except Exception:  # whatever a parser of TeX stumbles over, the letters are still there
        return re.sub(r"[\\{}]", "", tex)
    return str(text)


@functools.cache
def _decoder() -> LatexNodes2Text:
    import logging

    from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

    logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)
    known = get_default_latex_context_db()  # type: ignore[no-untyped-call]
    # Of a macro that is not known its argument stays; of `\\LaTeX` and `\\BibTeX` the name is all.
    logo = MacroTextSpec(  # type: ignore[no-untyped-call]
        "", lambda node: node.macroname if "TeX" in node.macroname else ""
    )
    known.set_unknown_macro_spec(logo)
    return LatexNodes2Text(  # type: ignore[no-untyped-call]
        latex_context=known, math_mode="text", strict_latex_spaces=False
    )


def names(tex: str) -> tuple[str, ...]:
    """People of an `author` field as `Given von Family Suffix`; a last `others` for those left out.

    `{The Big Team}` is one name. `Smith, John, Jr` is read as `Smith, Jr, John`. Where a whole list
    was written with commas or semicolons (`A. One, B. Two, C. Three`), it is read as that list.
    """
    from bibtexparser.middlewares.names import split_multiple_persons_names

    # With one blank between words, no expression looks at a place more often than is needed.
    tex = " ".join(tex.split())
    if ";" in tex and " and " not in tex.lower():
        tex = " ".join(re.sub(r"(?<!&amp);", " and ", tex).split())
    rest = re.search(r"(?<=[ ,])(?:and )?et[ ~]al\.?$", tex)
    if rest:
        tex = tex[: rest.start()].rstrip(" ,") + " and others"
    words = deque(tex.split())
    while words and words[0].lower() == "and":
        words.popleft()
    while words and words[-1].lower() == "and":
        words.pop()
    found: list[str] = []
    for each in split_multiple_persons_names(" ".join(words)):
        found += _name(each)
    return tuple(name for name in found if name)


def _name(tex: str) -> list[str]:
    from bibtexparser.middlewares.names import InvalidNameError, parse_single_name_into_parts

    tex = tex.strip().rstrip(",").rstrip()
    if tex.lower().strip("{}.") in ("others", "et al", "et~al"):
        return ["others"]
    if _NAMED.match(tex):
        return [_extended(tex)]
    sections = _sections(tex)
    if len(sections) > 2 and all(len(part.split()) > 1 for part in sections):
        return [name for part in sections for name in _name(part)]
    suffix = [bool(_SUFFIX.fullmatch(part.strip("{}"))) for part in sections]
    if suffix == [False, False, True]:
        tex = ", ".join((sections[0], sections[2], sections[1]))
    try:
        parts = parse_single_name_into_parts(tex, strict=True)
    except InvalidNameError:
        return [plain(tex)]
    return [plain(" ".join((*parts.first, *parts.von, *parts.last, *parts.jr)))]


def _extended(tex: str) -> str:
    """A name as biblatex has it since 3.5: `family=Berg, given=Hans, prefix=van der`."""
    parts = {}
    for section in _sections(tex):
        if match := _EXTENDED.match(section):
            parts[match[1].lower()] = section[match.end() :]
    order = ("given", "prefix", "family", "suffix")
    return plain(" ".join(parts[part].strip('" ') for part in order if part in parts))


def _sections(tex: str) -> list[str]:
    """A name cut at the commas outside braces."""
    found, depth = [""], 0
    for char in tex:
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            found.append("")
        else:
            found[-1] += char
    return [part.strip() for part in found]
