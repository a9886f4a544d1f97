"""Names of people as the records have them: `Given von Family Suffix`."""

from __future__ import annotations

import re
import unicodedata

_SUFFIX = re.compile(r"(?:jr|sr)\.?|i{2,3}|iv", re.IGNORECASE)


def fold(text: str) -> str:
    """A text for comparison: case, accents and punctuation taken off."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    kept = (char if char.isalnum() else " " for char in plain if not unicodedata.combining(char))
    return " ".join("".join(kept).split())


def without_suffix(name: str) -> tuple[str, str]:
    """A name, and what stands behind the family name (`Jr`, `III`) or an empty text."""
    words = name.split()
    suffix = words.pop() if len(words) > 2 and _SUFFIX.fullmatch(words[-1]) else ""
    return " ".join(words), suffix


def family(name: str) -> str:
    """The last word of the family name, folded; empty where a name has no letters."""
    return fold(without_suffix(name)[0]).rpartition(" ")[2]


def parts(name: str) -> dict[str, str] | None:
    """`family`, `given`, `von` and `suffix` of a name, those that it has; None where it cannot be
    taken apart, or should not be: a group, or a single word."""
    from bibtexparser.middlewares.names import InvalidNameError, parse_single_name_into_parts

    rest, suffix = without_suffix(name)
    if " " not in rest or "," in name or re.search(r"\b(and|others)\b", name, re.IGNORECASE):
        return None
    try:
        found = parse_single_name_into_parts(rest)
    except InvalidNameError:
        return None
    words = {"family": found.last, "given": found.first, "von": found.von, "suffix": [suffix]}
    return {part: " ".join(each) for part, each in words.items() if any(each)}
