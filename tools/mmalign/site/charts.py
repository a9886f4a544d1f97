"""Pictures as HTML on one line: sunbursts, marks and links inside SVG, and tables with wide heads.

Pure geometry and text: nothing is read here. All texts pass `attribute`, since `escape` writes
`<code>`, which SVG does not know. Lengths are SVG user units, angles turns (0 to 1) clockwise from
the top. The pictures are complete without scripts; docs/assets/charts.js only adds to them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmalign.site.address import address
from mmalign.site.text import attribute

MARKS = {
    "method": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "dataset": "M-4-4h8v8h-8z",
    "benchmark": "M0-5.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
    "model": "M0-5l5 9h-10z",
    "framework": "M-2-5h4v3h3v4h-3v3h-4v-3h-3v-4h3z",
    "paper": "M-3-4.5h6v9h-6z",
}
"""Kind -> outline of its mark round (0, 0): kinds differ by shape, not by colour alone."""

HOLE, RIM = 72, 310
"""Radius of the empty middle of a sunburst, and of its outer edge."""

LEAST = 0.35
"""Weight of a term that no entry carries, so that it can be seen and clicked at all."""


def assets(origin: str, *names: str) -> str:
    """The style sheet of the charts and scripts, for the page that needs them."""
    base = address(origin, "assets.md")
    scripts = "".join(f'<script src="{base}{name}" defer></script>' for name in names)
    return f'<link rel="stylesheet" href="{base}charts.css">{scripts}'


def figure(classes: str, inner: str, label: str = "", **data: object) -> str:
    """A figure on one line, which goes round Markdown. One with a label is a region that scrolls by
    itself and can be reached by keyboard."""
    region = f' role="region" tabindex="0" aria-label="{attribute(label)}"' if label else ""
    more = "".join(f' data-{name}="{attribute(str(value))}"' for name, value in data.items())
    return f'<figure class="{classes}"{region}{more}>{inner}</figure>'


def svg(box: Sequence[float], label: str, inner: str, classes: str = "", more: str = "") -> str:
    """`box` is left, top, width, height. A group, not an image: its links have to stay links."""
    shown = " ".join(number(each) for each in box)
    kind = f' class="{classes}"' if classes else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg"{kind} viewBox="{shown}" role="group"'
        f' aria-label="{attribute(label)}"{more}>{inner}</svg>'
    )


def link(href: str, title: str, inner: str, classes: str = "", more: str = "") -> str:
    """A link inside an SVG; `title` is its tooltip and its name."""
    kind = f' class="{classes}"' if classes else ""
    return (
        f'<a href="{href}"{kind}{more} aria-label="{attribute(title)}">'
        f"<title>{attribute(title)}</title>{inner}</a>"
    )


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{number(x)}" y="{number(y)}"{more}>{attribute(words)}</text>'


def mark(kind: str, x: float, y: float) -> str:
    """The mark of a kind at a place."""
    return f'<path d="{MARKS[kind]}" transform="translate({number(x)} {number(y)})"/>'


def number(value: float) -> str:
    """At most one digit behind the point, and no minus before a zero."""
    return f"{round(value, 1) + 0:g}"


def short(words: str, most: int) -> str:
    """At most so many characters."""
    return words if len(words) <= most else words[: max(most - 1, 1)].rstrip() + "…"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


# --- sunburst ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """A term: how many entries of each kind carry it or a term below it, and how many themselves.

    `own` and the slices below add up to its size, so an entry with two terms counts at both.
    """

    id: str
    label: str
    href: str
    kinds: Mapping[str, int]
    own: int
    below: tuple[Slice, ...] = ()

    @property
    def count(self) -> int:
        return sum(self.kinds.values())

    @property
    def weight(self) -> float:
        return (self.own + sum(each.weight for each in self.below)) or LEAST


@dataclass(frozen=True)
class Placed:
    """A slice with its place: turns from `start` to `end`, ring `depth` (0 is the inner one)."""

    slice: Slice
    start: float
    end: float
    depth: int
    hue: int


def placed(slices: Sequence[Slice]) -> list[Placed]:
    """Every slice with its place, each before those below it. What entries carry of a term itself,
    and of no narrower one, leaves a gap at the end of the outer ring."""
    found: list[Placed] = []

    def place(row: Sequence[Slice], start: float, turn: float, depth: int, hue: int) -> None:
        """`turn` is the width of one entry."""
        for position, each in enumerate(row):
            end = start + turn * each.weight
            own_hue = hue if depth else round(360 * (position + 0.5) / len(row))
            found.append(Placed(each, start, end, depth, own_hue))
            place(each.below, start, turn, depth + 1, own_hue)
            start = end

    place(slices, 0.0, 1 / (sum(each.weight for each in slices) or 1), 0, 0)
    return found


def radii(depths: int) -> list[float]:
    """Inner edge of each ring, and the rim."""
    return [round(HOLE + (RIM - HOLE) * n / depths, 1) for n in range(depths + 1)]


def ring(start: float, end: float, inner: float, outer: float) -> str:
    """Outline of a part of a ring. charts.js draws the same."""
    if end - start > 0.9999:
        # An arc from a point to itself is nothing: a whole ring is two circles of two arcs each.
        sizes = [(number(r), number(-r)) for r in (outer, inner)]
        return "".join(f"M0 {n}A{r} {r} 0 1 1 0 {r}A{r} {r} 0 1 1 0 {n}z" for r, n in sizes)
    large = int(end - start > 0.5)
    corners = [(outer, start), (outer, end), (inner, end), (inner, start)]
    a, b, c, d = (
        f"{number(r * math.sin(math.tau * t))} {number(-r * math.cos(math.tau * t))}"
        for r, t in corners
    )
    out, back = f"{number(outer)} {number(outer)}", f"{number(inner)} {number(inner)}"
    return f"M{a}A{out} 0 {large} 1 {b}L{c}A{back} 0 {large} 0 {d}z"


def sunburst(slices: Sequence[Slice], label: str, entries: int) -> str:
    """One ring per level of terms, one link per term, as wide as its number of entries.

    `entries` is the number of all entries that carry any of them, shown in the middle.
    """
    spread = placed(slices)
    edges = radii(1 + max((each.depth for each in spread), default=0))
    inner = "".join(_slice(each, edges) for each in spread)
    middle = (
        f'<g class="middle"><text class="big" y="4">{entries}</text>'
        f'<text y="24">{"entry" if entries == 1 else "entries"}</text></g>'
    )
    more = f' data-edges="{" ".join(map(number, edges))}"'
    box = (-RIM - 5, -RIM - 5, 2 * RIM + 10, 2 * RIM + 10)
    return svg(box, label, inner + middle, "sunburst", more)


def _slice(each: Placed, edges: Sequence[float]) -> str:
    inner, outer = edges[each.depth : each.depth + 2]
    width, middle = each.end - each.start, (each.start + each.end) / 2
    # 6.1 units a character at 11 units a line: what does not fit is in the tooltip and the list.
    fits = width * math.tau * (inner + outer) / 2 >= 12
    words = short(each.slice.label, int((outer - inner - 12) / 6.1))
    turn = 360 * middle - (90 if middle < 0.5 else -90)
    radius = (inner + outer) / 2
    x, y = radius * math.sin(math.tau * middle), -radius * math.cos(math.tau * middle)
    label = text(
        0, 0, words,
        f' dy="4" transform="translate({number(x)} {number(y)}) rotate({number(turn)})"'
        + ("" if fits else ' class="off"'),
    )  # fmt: skip
    kinds = " ".join(f"{kind}:{count}" for kind, count in each.slice.kinds.items())
    data = (
        f' style="--hue:{each.hue}" data-id="{each.slice.id}" data-at="{each.start:.5f}'
        f' {each.end:.5f} {each.depth}" data-kinds="{kinds}"'
    )
    classes = f"slice depth-{min(each.depth, 2)}" + ("" if each.slice.count else " empty")
    title = f"{each.slice.label}: {plural(each.slice.count, 'entry', 'entries')}"
    path = f'<path d="{ring(each.start, each.end, inner, outer)}"/>'
    return link(each.slice.href, title, path + label, classes, data)


# --- tables with numbers -------------------------------------------------------------------------


def matrix(
    corner: str,
    groups: Iterable[tuple[str, Sequence[str]]],
    rows: Iterable[tuple[str, Sequence[str]]],
    caption: str,
) -> str:
    """A table with row heads and heads that stand upright; all cells are whole `<td>` elements.

    `groups` are (label of the group or nothing, heads of its columns).
    """
    groups = list(groups)
    above = "".join(
        f'<th scope="colgroup" colspan="{len(heads)}"><span>{label}</span></th>'
        for label, heads in groups
    )
    named = any(label for label, _ in groups)
    first = f"<tr><td></td>{above}</tr>" if named else ""
    edge = [n == 0 and named for _, heads in groups for n in range(len(heads))]
    heads = [head for _, heads in groups for head in heads]
    second = "".join(
        f'<th scope="col"{" class=edge" if new else ""}><span>{head}</span></th>'
        for head, new in zip(heads, edge, strict=True)
    )
    body = "".join(f'<tr><th scope="row">{head}</th>{"".join(cells)}</tr>' for head, cells in rows)
    return (
        f'<table class="matrix"><caption>{caption}</caption><thead>{first}'
        f'<tr><th scope="col" class="corner">{corner}</th>{second}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def heat(value: float, most: float) -> int:
    """0 for nothing, else 1 to 5: the square root of the share, since most cells are small."""
    return math.ceil(5 * math.sqrt(value / most)) if value and most else 0
