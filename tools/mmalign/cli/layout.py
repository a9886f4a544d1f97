"""Text laid out for a width: wrapped and stacked rather than cut, so that nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from mmalign.characters import printable
from mmalign.cli import output

NARROWEST = 20
"""Columns below which no layout is tried."""


def text_width() -> int | None:
    """Columns to write for: COLUMNS where it is set, else the terminal's; None where stdout is no
    terminal and nobody said anything."""
    said = os.environ.get("COLUMNS", "")
    if said.isascii() and said.isdigit() and int(said[:6]) > 0:
        return max(int(said[:6]), NARROWEST)
    found = output.terminal_width()
    # Some terminals say that they have none.
    return None if found is None else max(found or 80, NARROWEST)


def wrap(text: str, size: int, lead: str = "", further: str = "") -> list[str]:
    """Lines of at most `size` columns: broken at blanks, a word that is longer than a line within.

    `lead` stands before the first line, `further` before all others. At least one line is given.
    """
    lines = [lead]
    empty = True
    for word in printable(text).split(" "):
        glue = "" if empty else " "
        if empty or output.width(lines[-1] + glue + word) <= size:
            lines[-1] += glue + word
        else:
            lines.append(further + word)
        empty = False
        while output.width(lines[-1]) > size:
            head = _cut(lines[-1], size)
            if len(head) <= len(further):  # no room for a single character
                break
            lines[-1:] = [head, further + lines[-1][len(head) :]]
    return [line.rstrip() for line in lines]


def _cut(text: str, size: int) -> str:
    """As many characters as a width has room for."""
    if text.isascii():
        return text[:size]
    taken = 0
    for place, char in enumerate(text):
        taken += output.width(char)
        if taken > size:
            return text[:place]
    return text


def cells(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Aligned columns where they fit, else one block per row: see `stacked`."""
    limit = text_width()
    shown = [[printable(text) for text in row] for row in body]
    widths = [max(map(output.width, column)) for column in zip(heads, *shown, strict=True)]
    if limit and sum(widths) + 2 * (len(widths) - 1) > limit:
        return stacked(heads, shown, limit)
    return output.align([head.replace("_", " ").upper() for head in heads], shown)


def stacked(heads: Sequence[str], body: Iterable[Sequence[str]], size: int) -> str:
    """A block per row: `head: text` of its first cell as a heading, and below it of each other."""
    blocks = []
    for first, *others in body:
        heading = f"{heads[0]}: {first}" if heads[0] else first
        lines = [output.bold(line) for line in wrap(heading, size)]
        for head, text in zip(heads[1:], others, strict=True):
            if text:
                lines += wrap(text, size, f"  {head}: ", "    ")
        blocks.append("\n".join(lines))
    return "\n".join(blocks) + "\n" if blocks else ""
