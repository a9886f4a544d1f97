"""Equations as MathML, made when the pages are written: a browser needs no script to show them."""

from __future__ import annotations

import functools
import html
import re

from mmalign.characters import printable
from mmalign.check.latex import to_mathml
from mmalign.site.text import block_of_code

# Between tags, Markdown would still read these (a bar ends a cell of a table).
_TEXT = re.compile(r">([^<]+)<")
# Not the blank that does not break: it stands for the blanks of words such as `if `.
_BLANKS = re.compile(r"[ \t\r\n]+")
_NESTED = re.compile(r"<mrow>\s*<mrow>((?:(?!</?mrow>).)*)</mrow>\s*</mrow>")
_WORD = re.compile(r'(?:<mi mathvariant="normal">[^<&]</mi>){2,}')
# As in TeX, thin spaces between a function and its neighbours.
_FUNCTION = re.compile(r"<mi>(?:log|ln|exp|max|min|argmax|argmin)</mi>")
_SPECIAL = re.compile(r"[\\`*_{}\[\]|~^]")


@functools.lru_cache(maxsize=8192)
def mathml(latex: str, display: str = "block") -> str:
    """MathML on one line. An equation that cannot be converted is shown as its LaTeX, as code.

    What comes from `to_mathml` is well formed, of listed elements, and escaped; what is done to it
    here moves its tags and turns characters into entities, and makes no new markup of any text.
    """
    try:
        made = _BLANKS.sub(" ", to_mathml(latex, display))
    except Exception:  # latex2mathml's errors have no common base; `mmalign validate` shows them
        return f"<code>{_quiet(html.escape(printable(_BLANKS.sub(' ', latex))))}</code>"
    # One bracket for several: half the work for every parser.
    made = _NESTED.sub(r"<mrow>\1</mrow>", made)
    made = _WORD.sub(_joined, made)
    made = _FUNCTION.sub(r'<mspace width="0.17em" />\g<0><mspace width="0.17em" />', made)
    return _TEXT.sub(lambda match: f">{_quiet(match[1])}<", made)


def _joined(match: re.Match[str]) -> str:
    """Upright letters that stand side by side are one word."""
    return f"<mi>{''.join(re.findall(r'>([^<]+)<', match[0]))}</mi>"


def _quiet(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"&#{ord(match.group())};", _BLANKS.sub(" ", text))


def inline(latex: str) -> str:
    return mathml(latex, "inline")


def block(latex: str) -> str:
    """A display equation that scrolls by itself where the page is too narrow for it.

    The tag comes first on its line, so that Markdown leaves all of it alone; a search for words
    has nothing to find in it.
    """
    return f'<div class="equation" tabindex="0" data-search-exclude>{mathml(latex)}</div>'


def source(latex: str) -> str:
    """The LaTeX to copy, folded away."""
    body = block_of_code(latex, "latex")
    return (
        '<details class="source" data-search-exclude markdown>\n<summary>LaTeX</summary>\n\n'
        f"{body}\n\n</details>"
    )
