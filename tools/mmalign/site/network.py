"""The graph of entries and the tree of objectives, as pictures that are complete without scripts.

Places come from the records alone: years run from left to right, kinds lie in lanes, so that the
layout means something, is the same every time and costs nothing. Filters are checkboxes that
charts.css listens to; docs/assets/network.js adds zooming and the card of a chosen entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmalign.ask import graph
from mmalign.records.kb import EntryNode
from mmalign.records.model import Entry, Method, Paper
from mmalign.site import charts
from mmalign.site.address import address
from mmalign.site.atlas import Atlas, Page, path_of
from mmalign.site.charts import link, mark, number, short, text
from mmalign.site.parts import join
from mmalign.site.text import attribute, escape, front_matter, table
from mmalign.vocabulary import ENTRY_KINDS, LABELS, EntryKind, kind_of

PATH = "graph.md"
LANES: tuple[EntryKind, ...] = ("dataset", "method", "model", "benchmark")
"""Kinds in the picture, from top to bottom: what most edges join lies side by side."""

STARTS_FROM = ("starts_from", "starts from", "is a starting point of")
"""An edge that pages show and mmalign.ask.graph does not have: the base models of a method."""
DRAWN = ("extends", "trains_on", "compares_with", "related", "starts_from", "evaluated_on")
AT_FIRST = ("extends", "trains_on")
"""Relations in the picture, and those that are in sight from the start: the rest hides the few."""

COLUMN, ROW, LEFT, TOP = 122, 15, 86, 30
MOST_COLUMNS = 11
LETTERS = 16
"""Sizes of the graph: a column, a row, the room for labels of lanes and years; most columns (so
that the whole is about as wide as a page); most characters of a name."""


def first_seen(paper: Paper) -> tuple[int, int]:
    """Year and month in which a paper came out: those of its arXiv number, which is given out on
    the day of submission; else its year and 0, since no record holds another month."""
    if paper.arxiv:
        return 2000 + int(paper.arxiv[:2]), int(paper.arxiv[2:4])
    return paper.year, 0


def page(atlas: Atlas) -> str:
    there = Page(atlas, PATH)
    nodes = [n for kind in ENTRY_KINDS if kind in LANES for n in atlas.kb.nodes(kind)]
    edges = drawn_edges(atlas)
    return join(
        front_matter(
            "Graph",
            "How methods, data sets, models and benchmarks hang together.",
            hide=["navigation", "toc"],
        ),
        "# Graph",
        "Every method, dataset, model and benchmark, by the year in which its paper came out, and "
        "what joins them. Choose an entry to see its neighbours. The same is in "
        "[the table](#table); [who extends whom](#lineage) is a picture of its own.\n{ .lead }",
        charts.assets(PATH, "network.js"),
        picture(atlas, nodes, edges),
        "## Objectives: who extends whom { #lineage }",
        lineage(there),
        "## The graph as a table { #table data-search-exclude }",
        '<div class="listing" markdown>',
        as_table(atlas, nodes, edges),
        "</div>",
    )


def drawn_edges(atlas: Atlas) -> list[graph.Edge]:
    """The edges of the picture. Relations that go both ways are drawn once."""
    found = [
        edge
        for edge in graph.edges(atlas.kb)
        if edge.relation in DRAWN
        and kind_of(edge.source) in LANES
        and kind_of(edge.target) in LANES
    ]
    for method in atlas.kb.methods.values():
        for model in dict.fromkeys(method.base_models):
            if f"model:{model}" in atlas.nodes:
                found.append(graph.Edge("starts_from", f"method:{method.id}", f"model:{model}"))
    seen: set[tuple[object, ...]] = set()
    kept = []
    for edge in found:
        ends = frozenset((edge.source, edge.target))
        both = (edge.relation, ends if edge.relation == "related" else (edge.source, edge.target))
        if both not in seen:
            seen.add(both)
            kept.append(edge)
    return kept


# --- where everything lies -----------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """Years that lie side by side in some columns."""

    first: int
    last: int
    columns: int

    @property
    def label(self) -> str:
        return str(self.last) if self.first == self.last else f"{self.first} to {self.last}"


@dataclass(frozen=True)
class Layout:
    """Places of all nodes in units of the picture, and what frames them."""

    places: dict[str, tuple[float, float]]
    bands: tuple[tuple[Band, float], ...]
    lanes: tuple[tuple[str, float, float], ...]
    width: float
    height: float


def layout(nodes: Sequence[EntryNode[Entry]]) -> Layout:
    """A grid: bands of years from left to right, lanes of kinds from top to bottom; in a cell,
    column by column, by month and name."""
    dates = {node.ref: first_seen(node.paper) for node in nodes}
    bands = columns(year_bands(year for year, _ in dates.values()), nodes, dates)
    places, lanes, top = {}, [], float(TOP)
    for kind in LANES:
        cells = []
        for band in bands:
            inside = [n for n in nodes if n.kind == kind and in_band(band, dates[n.ref][0])]
            # A month that nobody knows comes last in its year.
            inside.sort(key=lambda n: (dates[n.ref][0], dates[n.ref][1] or 13, n.name.lower()))
            cells.append(inside)
        rows = max(
            (math.ceil(len(c) / b.columns) for c, b in zip(cells, bands, strict=True)), default=0
        )
        if not rows:
            continue
        left = float(LEFT)
        for band, inside in zip(bands, cells, strict=True):
            height = math.ceil(len(inside) / band.columns) or 1
            for position, node in enumerate(inside):
                column, row = divmod(position, height)
                places[node.ref] = (left + COLUMN * column + 8, top + ROW * (row + 0.5))
            left += COLUMN * band.columns
        lanes.append((kind, top, rows * ROW))
        top += rows * ROW + 10
    starts, left = [], float(LEFT)
    for band in bands:
        starts.append((band, left))
        left += COLUMN * band.columns
    return Layout(places, tuple(starts), tuple(lanes), left, top)


def in_band(band: Band, year: int) -> bool:
    return band.first <= year <= band.last


def year_bands(years: Iterable[int]) -> list[Band]:
    """One band a year; the early years, with an eighth of all nodes, share the first."""
    years = sorted(years)
    if not years:
        return []
    early = years[min(len(years) // 8, len(years) - 1)]
    first = [year for year in sorted(set(years)) if year < early]
    bands = [Band(first[0], first[-1], 1)] if first else []
    return bands + [Band(year, year, 1) for year in sorted(set(years)) if year >= early]


def columns(
    bands: Sequence[Band], nodes: Sequence[EntryNode[Entry]], dates: dict[str, tuple[int, int]]
) -> list[Band]:
    """The bands with columns shared out: each goes to the band that makes the picture lowest."""
    counts = [
        [sum(n.kind == kind and in_band(b, dates[n.ref][0]) for n in nodes) for kind in LANES]
        for b in bands
    ]
    given = [1] * len(bands)

    def rows(shares: Sequence[int]) -> tuple[int, int]:
        cells = [[math.ceil(n / share) for n in c] for c, share in zip(counts, shares, strict=True)]
        height = sum(max(lane) for lane in zip(*cells, strict=True))
        return height, sum(map(sum, cells))

    while bands and sum(given) < min(MOST_COLUMNS, len(nodes)):
        tries = [[n + (i == place) for i, n in enumerate(given)] for place in range(len(given))]
        given = min(tries, key=rows)
    return [Band(b.first, b.last, share) for b, share in zip(bands, given, strict=True)]


# --- the graph -----------------------------------------------------------------------------------


def picture(atlas: Atlas, nodes: Sequence[EntryNode[Entry]], edges: Sequence[graph.Edge]) -> str:
    """The figure: filters, buttons, SVG and the empty card, on one line."""
    plan = layout(nodes)
    order = {node.ref: place for place, node in enumerate(nodes)}
    frame = "".join(
        f'<path class="rule" d="M{number(x)} 4V{number(plan.height)}"/>'
        + text(x + 6, 18, band.label, ' class="year"')
        for band, x in plan.bands
    ) + "".join(
        f'<path class="rule" d="M0 {number(top - 5)}H{number(plan.width)}"/>'
        + text(4, top + 11, LABELS[kind][1], ' class="lane"')
        for kind, top, _ in plan.lanes
    )
    lines = "".join(_line(edge, plan, order) for edge in edges)
    marks = "".join(_node(node, plan, order[node.ref]) for node in nodes)
    box = (0, 0, plan.width, plan.height)
    inner = f'{frame}<g class="edges">{lines}</g><g class="nodes">{marks}</g>'
    drawing = charts.svg(box, "Entries by year and kind", inner, "network-svg")
    return charts.figure(
        "network",
        _tools(atlas, edges) + '<div class="network-box" tabindex="0" role="region" '
        f'aria-label="Picture of the graph">{drawing}</div>'
        '<div class="network-card" aria-live="polite"></div>',
    )


def relations(atlas: Atlas) -> dict[str, tuple[str, str]]:
    """Relation -> its words, and those of its inverse."""
    named = {each.id: (each.label, each.inverse_label) for each in atlas.kb.relations.values()}
    named[STARTS_FROM[0]] = STARTS_FROM[1:]
    return {relation: named.get(relation, (relation, relation)) for relation in DRAWN}


def _tools(atlas: Atlas, edges: Sequence[graph.Edge]) -> str:
    """Checkboxes of relations and kinds, and the buttons that only the script can serve."""
    boxes = []
    for relation, (label, inverse) in relations(atlas).items():
        count = sum(edge.relation == relation for edge in edges)
        checked = " checked" if relation in AT_FIRST else ""
        boxes.append(
            f'<label class="{relation}"><input type="checkbox" name="relation" value="{relation}"'
            f' data-label="{attribute(label)}" data-inverse="{attribute(inverse)}"{checked}> '
            f'<i></i>{escape(label)} <span class="count">{count}</span></label>'
        )
    kinds = "".join(
        f'<label><input type="checkbox" name="kind" value="{kind}" checked> '
        f'<svg class="key {kind}" viewBox="-7 -7 14 14" aria-hidden="true">{mark(kind, 0, 0)}</svg>'
        f"{LABELS[kind][1]}</label>"
        for kind in LANES
    )
    buttons = "".join(
        f'<button type="button" data-do="{do}" aria-label="{label}">{sign}</button>'
        for do, label, sign in (
            ("in", "Zoom in", "+"),
            ("out", "Zoom out", "−"),
            ("fit", "Show everything", "Fit"),
        )
    )
    return (
        '<form class="network-tools"><fieldset><legend>Lines</legend>'
        f"{''.join(boxes)}</fieldset><fieldset><legend>Entries</legend>{kinds}</fieldset>"
        f'<span class="zoom" role="group" aria-label="Zoom" hidden>{buttons}</span></form>'
    )


def _line(edge: graph.Edge, plan: Layout, order: dict[str, int]) -> str:
    (x1, y1), (x2, y2) = plan.places[edge.source], plan.places[edge.target]
    # Lines bend to one side, so that two between the same ends do not hide each other.
    bend = 0.12 + 0.05 * DRAWN.index(edge.relation)
    x, y = (x1 + x2) / 2 - (y2 - y1) * bend, (y1 + y2) / 2 + (x2 - x1) * bend
    kinds = " ".join(dict.fromkeys(f"k-{kind_of(end)}" for end in (edge.source, edge.target)))
    return (
        f'<path class="{edge.relation} {kinds}" data-ends="{order[edge.source]}'
        f' {order[edge.target]}" d="M{x1:.0f} {y1:.0f}Q{x:.0f} {y:.0f} {x2:.0f} {y2:.0f}"/>'
    )


def _node(node: EntryNode[Entry], plan: Layout, place: int) -> str:
    x, y = plan.places[node.ref]
    name = text(8, 4, short(node.name, LETTERS))
    inner = f'<path d="{charts.MARKS[node.kind]}"/>{name}'
    title = f"{node.name}, {LABELS[node.kind][0].lower()}, {first_seen(node.paper)[0]}"
    more = f' data-n="{place}" transform="translate({number(x)} {number(y)})"'
    return link(address(PATH, path_of(node.ref)), title, inner, node.kind, more)


def as_table(atlas: Atlas, nodes: Sequence[EntryNode[Entry]], edges: Sequence[graph.Edge]) -> str:
    """One row per entry, with what its lines say in words."""
    said: dict[str, dict[str, list[str]]] = {node.ref: {} for node in nodes}
    for edge in edges:
        label, inverse = relations(atlas)[edge.relation]
        said[edge.source].setdefault(label, []).append(edge.target)
        said[edge.target].setdefault(inverse, []).append(edge.source)
    page, rows = Page(atlas, PATH), []
    for node in nodes:
        words = "; ".join(
            f"{escape(label)} {page.refs(refs)}" for label, refs in said[node.ref].items()
        )
        year = str(first_seen(node.paper)[0])
        rows.append([page.link(node.ref), LABELS[node.kind][0], year, words or "nothing recorded"])
    return table(["Entry", "Kind", "Year", "Lines"], rows)


# --- who extends whom ----------------------------------------------------------------------------

STEP, LINE, WIDE = 190, 17, 26
"""Sizes of the tree: a generation, a line, most characters of a name."""


def children(atlas: Atlas) -> dict[str | None, list[EntryNode[Method]]]:
    """Method (none: those that extend nothing) -> methods whose objective extends it, by date.

    Of those that extend nothing, only those that something extends. A circle hangs nowhere.
    """
    methods = {node.id: node for node in atlas.kb.nodes("method")}
    found: dict[str | None, list[EntryNode[Method]]] = {}
    for node in sorted(methods.values(), key=lambda n: (*first_seen(n.paper), n.name.lower())):
        parent = node.entry.objective.parent
        found.setdefault(parent if parent in methods else None, []).append(node)
    found[None] = [node for node in found.get(None, []) if node.id in found]
    return found


def lineage(page: Page) -> str:
    """The tree as a picture and as a nested list that says what each changed."""
    below = children(page.atlas)
    if not below[None]:
        return "No objective is recorded as an extension of another."
    deepest = row = 0
    marks: list[str] = []
    lines: list[str] = []
    items: list[str] = []

    def hang(node: EntryNode[Method], depth: int) -> float:
        """Draws a method and all below it; returns its height."""
        nonlocal deepest, row
        deepest = max(deepest, depth)
        difference = node.entry.objective.difference if depth else ""
        said = f": {escape(difference)}" if difference else ""
        items.append(f"{'    ' * depth}- {page.link(node.ref)}{said}")
        ys = [hang(each, depth + 1) for each in below.get(node.id, [])]
        y = (ys[0] + ys[-1]) / 2 if ys else 14.0 + LINE * row
        row += not ys
        x = 8 + STEP * depth
        lines.extend(
            f'<path d="M{x} {number(y)}C{x + STEP * 0.75:.0f} {number(y)} {x + STEP * 0.6:.0f}'
            f' {number(each)} {x + STEP} {number(each)}"/>'
            for each in ys
        )
        title = node.name + (f": {difference}" if difference else "")
        # Lines leave a method to the right, so its name stands above it.
        name = text(-6, -9, short(node.name, WIDE)) if ys else text(9, 4, short(node.name, WIDE))
        inner = f'<path d="{charts.MARKS["method"]}"/>{name}'
        more = f' transform="translate({x} {number(y)})"'
        marks.append(link(address(PATH, path_of(node.ref)), title, inner, "method", more))
        return y

    roots = sorted(below[None], key=lambda node: -len(below[node.id]))
    for root in roots:
        hang(root, 0)
    inner = f'<g class="edges">{"".join(lines)}</g><g class="nodes">{"".join(marks)}</g>'
    width, height = 20 + STEP * (deepest + 1), 14 + LINE * row
    drawing = charts.svg((0, 0, width, height), "Objectives by what they extend", inner)
    listed = "\n".join(items)
    return join(
        f"{charts.plural(len(items), 'objective')} of "
        f"{charts.plural(sum(1 for _ in page.atlas.kb.nodes('method')), 'method')} extend another "
        "or are extended; children are in the order of their dates.",
        charts.figure("lineage", drawing, "Tree of objectives"),
        f'<div class="tree" markdown>\n\n{listed}\n\n</div>',
    )
