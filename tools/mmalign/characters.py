"""Characters that a text of the atlas does not hold, and how text of others is printed.

Control characters drive terminals, line and paragraph separators forge lines, and what sets the
direction of writing or takes no room at all lets a text look like another one. Records that hold
them are refused (`mmalign.records.source`); whatever is printed all the same - a broken record, the
name of a file, the answer of a server - passes through `printable`.

Sources: Unicode 16, chapters 23.1 to 23.4 (control codes, layout and bidirectional controls,
variation selectors, tags); UTS 39 for what is invisible.

Nothing but the standard library is imported: the fast commands print, too. The expressions below
take longer to compile than a query to answer, so that they are compiled when a text needs them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

# Joiners shape letters of scripts from U+0300 on (Persian, Indic) and tie emoji together; a
# variation selector follows the character that it varies. Anywhere else they cannot be meant.
_JOINED = "\u0300-\u1fff\u2070-\ud7ff\ue000-\U000dffff"
_VARIED = "#*0-9\u00a9\u00ae\u0300-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\ud7ff\ue000-\ufdff"
_VARIED += "\ufe10-\U000dffff"

_ALONE = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f"  # C0 but line feed, delete, C1
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"  # shown as nothing
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing
    "\u2028\u2029"  # line and paragraph separator
    "\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # no width, deprecated, annotations
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # no characters at all
    "\U000e0000-\U000e00ff"  # tags
)
_BESIDE = (
    f"(?<![{_JOINED}])[\u200c\u200d]|[\u200c\u200d](?![{_JOINED}])"
    f"|(?<![{_VARIED}])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
_EXPRESSIONS = {
    "UNWANTED": f"[{_ALONE}\n]|{_BESIDE}",
    "in lines": f"[{_ALONE}]|{_BESIDE}",
    # One class of characters, which is searched several times as fast: nearly always it is enough.
    "perhaps": f"[{_ALONE}\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]",
}
# What `str.isprintable` lets through: letters and marks that are shown as nothing, and selectors.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0").union(
    map(chr, range(0xFE00, 0xFE10)), map(chr, range(0xE0100, 0xE01F0))
)

if TYPE_CHECKING:
    UNWANTED: re.Pattern[str]
    """One character that no text on one line holds."""


@functools.cache
def _compiled(name: str) -> re.Pattern[str]:
    return re.compile(_EXPRESSIONS[name])


def __getattr__(name: str) -> re.Pattern[str]:
    if name == "UNWANTED":
        return _compiled(name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}


def unwanted(text: str) -> Iterator[re.Match[str]]:
    """Every character of a text of several lines that it should not hold; line feeds are fine."""
    return _compiled("in lines").finditer(text) if _compiled("perhaps").search(text) else iter(())


def named(char: str) -> str:
    """A character as messages name it: `U+202E (right-to-left override)`."""
    import unicodedata

    name = unicodedata.name(char, "").lower()
    return f"U+{ord(char):04X}" + (f" ({name})" if name else "")


def printable(text: object, limit: int | None = None) -> str:
    r"""Text of others on one line: what could forge a line or drive a terminal is escaped.

    A line feed becomes the two characters `\n`, the escape character `\x1b`, a bidirectional
    override `\u202e`. All else stays as it is, backslashes too, so that LaTeX can be read. What is
    longer than `limit` characters is cut, and ends in `...`.
    """
    shown = str(text)
    if limit is not None and len(shown) > limit:
        shown = shown[: max(limit - 3, 0)] + "..."
    if shown.isprintable() and _BLANK.isdisjoint(shown):  # nearly always
        return shown
    return _compiled("UNWANTED").sub(lambda match: _escaped(match.group()), shown)


def quoted(text: object, limit: int = 120) -> str:
    """`printable` text in quotes, as messages name a value: `'image'`."""
    return f"'{printable(text, limit)}'"


def printable_json(text: str) -> str:
    r"""JSON text in which such characters stand as `\uXXXX`: the same data, safe to print.

    They can only stand inside strings there; line feeds between values stay.
    """
    if text.isascii():  # json.dumps escapes C0 itself; delete is the only other one
        return text.replace("\x7f", "\\u007f")
    return _compiled("UNWANTED").sub(
        lambda match: match.group() if match.group() == "\n" else _json_escape(match.group()), text
    )


def _escaped(char: str) -> str:
    number = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if number > 0xFFFF:
        return f"\\U{number:08x}"
    return f"\\u{number:04x}" if number > 0xFF else f"\\x{number:02x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
