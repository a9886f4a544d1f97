"""Comparisons that are pictures: the timeline, who reports on which benchmark, the map of gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mmalign.ask import gaps, views
from mmalign.errors import UnknownAxis
from mmalign.records.kb import EntryNode, entries_of
from mmalign.records.model import Facet, Method, Paper
from mmalign.site import charts
from mmalign.site.address import address
from mmalign.site.atlas import Atlas, Page
from mmalign.site.charts import link, mark, number, plural, text
from mmalign.site.network import first_seen
from mmalign.site.parts import join, section
from mmalign.site.text import escape, front_matter, table
from mmalign.vocabulary import COLLECTIONS, LABELS

TIMELINE, COVERAGE, GAPS = "compare/timeline.md", "compare/coverage.md", "compare/gaps.md"

MONTHS_FROM = 12
"""A year with so many papers of known month gets a column for each month."""

CROSSINGS = (
    ("scenario", "annotation"),
    ("scenario", "response_source"),
    ("scenario", "dimension"),
)
MOST_GAPS = 12
"""Pairs of axes of the map of gaps, and how many empty cells are listed for each."""


def pages(atlas: Atlas) -> dict[str, str]:
    """Path -> Markdown of the three pages."""
    return {TIMELINE: timeline(atlas), COVERAGE: coverage(atlas), GAPS: gaps_map(atlas)}


# --- timeline ------------------------------------------------------------------------------------

PITCH, LANE_LABEL, HEAD = 11, 186, 44
"""Sizes of the timeline: a mark, the names of lanes, the head."""
NO_SCENARIO = "No scenario"


@dataclass(frozen=True)
class Slot:
    """A column of the timeline. Month 0: the month is unknown; None: the whole year."""

    year: int
    month: int | None

    @property
    def across(self) -> int:
        """How many marks lie side by side."""
        return 3 if self.month is None else 2

    @property
    def width(self) -> int:
        return PITCH * self.across + 2

    @property
    def label(self) -> str:
        if self.month is None:
            return str(self.year)
        return f"{self.year}-{self.month:02}" if self.month else f"{self.year}, month not known"


def slots(papers: Iterable[Paper]) -> list[Slot]:
    """Columns from the first to the last paper: months where there are many papers, else years."""
    dates = [first_seen(paper) for paper in papers]
    known = Counter(year for year, month in dates if month)
    found = []
    for year in sorted({year for year, _ in dates}):
        if known[year] < MONTHS_FROM:
            found.append(Slot(year, None))
            continue
        months = [month for each, month in dates if each == year and month]
        # The first and the last of these years are seldom whole.
        before = any(slot.month is not None for slot in found)
        after = any(known[later] >= MONTHS_FROM for later in known if later > year)
        first, last = (1 if before else min(months)), (12 if after else max(months))
        found += [Slot(year, month) for month in range(first, last + 1)]
        if (year, 0) in dates:
            found.append(Slot(year, 0))
    return found


def slot_of(paper: Paper, columns: Sequence[Slot]) -> Slot:
    year, month = first_seen(paper)
    exact = Slot(year, month)
    return exact if exact in columns else Slot(year, None)


def timeline(atlas: Atlas) -> str:
    papers = [node for node in atlas.kb.nodes("paper")]
    papers.sort(key=lambda node: (*first_seen(node.entry), node.entry.title.lower()))
    facet = atlas.kb.facets.get("scenario")
    unknown = sum(not first_seen(node.entry)[1] for node in papers)
    return join(
        front_matter(
            "Timeline",
            "All papers by the month in which they came out.",
            hide=["navigation", "toc"],
        ),
        "# Timeline",
        "Every paper by the month of its arXiv number, the month of its first submission, "
        "in one lane per application scenario; a paper of several scenarios stands in each of "
        f"them. {plural(unknown, 'record')} without an arXiv number "
        f"{'is' if unknown == 1 else 'are'} placed by year. Early years are drawn as one column "
        "each.\n{ .lead }",
        charts.assets(TIMELINE),
        _key(),
        charts.figure("timeline", _timeline_svg(atlas, papers, facet), "Papers by month"),
        "## The same as a table { #table data-search-exclude }",
        '<div class="listing" markdown>',
        _timeline_table(atlas, papers, facet),
        "</div>",
    )


def _key() -> str:
    names = {kind: LABELS[kind][0].lower() for kind in COLLECTIONS} | {"paper": "none of these"}
    shown = "".join(
        f'<span><svg class="key {kind}" viewBox="-7 -7 14 14" aria-hidden="true">'
        f"{mark(kind, 0, 0)}</svg>{name}</span>"
        for kind, name in names.items()
    )
    return f'<figure class="keys"><span>A paper with:</span>{shown}</figure>'


def main_kind(paper: Paper) -> str:
    """Kind of the first entry of a paper, in the order of kinds; `paper` if it has none."""
    return next((kind for kind, _ in entries_of(paper)), "paper")


def lanes(
    atlas: Atlas, papers: Sequence[EntryNode[Paper]], facet: Facet | None
) -> dict[str, list[EntryNode[Paper]]]:
    """Label of a term -> papers with an entry that carries it, in the order of the taxonomy; last
    the papers without any."""
    carried = {node.ref: atlas.kb.facet_values(node, facet.id) if facet else () for node in papers}
    found = {
        term.label: [node for node in papers if term.id in carried[node.ref]]
        for term in (facet.terms if facet else ())
    }
    found[NO_SCENARIO] = [node for node in papers if not carried[node.ref]]
    return {label: inside for label, inside in found.items() if inside}


def _timeline_svg(atlas: Atlas, papers: Sequence[EntryNode[Paper]], facet: Facet | None) -> str:
    columns = slots(node.entry for node in papers)
    place, width = {}, LANE_LABEL
    for slot in columns:
        place[slot] = width
        width += slot.width
    marks, rules, top = [], [], float(HEAD)
    for label, inside in lanes(atlas, papers, facet).items():
        filled: dict[Slot, int] = {}
        for node in inside:
            slot = slot_of(node.entry, columns)
            row, side = divmod(filled.get(slot, 0), slot.across)
            filled[slot] = filled.get(slot, 0) + 1
            x, y = place[slot] + 7 + PITCH * side, top + 9 + PITCH * row
            kind = main_kind(node.entry)
            href = address(TIMELINE, atlas.path(node.ref))
            title = f"{node.entry.title} ({slot.label})"
            marks.append(link(href, title, mark(kind, x, y), kind))
        height = 8 + PITCH * max(-(-count // slot.across) for slot, count in filled.items())
        rules.append(
            f'<path class="rule" d="M0 {number(top)}H{width}"/>'
            + text(2, top + 13, f"{charts.short(label, 25)} ({len(inside)})", ' class="lane"')
        )
        top += height
    heads, last = [], None
    for slot, x in place.items():
        if slot.year != last:
            heads.append(f'<path class="rule" d="M{x} 6V{number(top)}"/>')
            heads.append(text(x + 3, 18, str(slot.year), ' class="year"'))
        last = slot.year
        if slot.month is not None:
            heads.append(text(x + 5, 36, str(slot.month or "?"), ' class="month"'))
    inner = f'{"".join(heads)}{"".join(rules)}<g class="nodes">{"".join(marks)}</g>'
    return charts.svg((0, 0, width + 22, top), "Papers by month and scenario", inner)


def _timeline_table(atlas: Atlas, papers: Sequence[EntryNode[Paper]], facet: Facet | None) -> str:
    page = Page(atlas, TIMELINE)
    labels = {term.id: term.label for term in facet.terms} if facet else {}
    rows = []
    for node in reversed(papers):
        year, month = first_seen(node.entry)
        terms = atlas.kb.facet_values(node, facet.id) if facet else ()
        rows.append(
            [
                f"{year}-{month:02}" if month else f"{year}",
                page.link(node.ref),
                escape(node.entry.venue),
                escape(", ".join(labels.get(term, term) for term in terms)),
            ]
        )
    return table(["First seen", "Paper", "Published", "Scenarios"], rows)


# --- coverage ------------------------------------------------------------------------------------


def reports(atlas: Atlas) -> dict[tuple[str, str], int]:
    """(method, benchmark) -> how many numbers are recorded; 0 where it only reports on it.

    Only benchmarks that have an entry.
    """
    known = atlas.kb.benchmarks
    found: dict[tuple[str, str], int] = {}
    for method in atlas.kb.methods.values():
        for benchmark in method.benchmarks:
            found.setdefault((method.id, benchmark), 0)
        for result in method.results:
            pair = method.id, result.benchmark
            found[pair] = found.get(pair, 0) + 1
    return {pair: count for pair, count in found.items() if pair[1] in known}


def coverage(atlas: Atlas) -> str:
    found = reports(atlas)
    methods = [node for node in atlas.kb.nodes("method") if any(node.id == m for m, _ in found)]
    methods.sort(key=lambda node: node.name.lower())
    used = Counter(benchmark for _, benchmark in found)
    silent = sum(1 for _ in atlas.kb.nodes("method")) - len(methods)
    unused = sum(1 for _ in atlas.kb.nodes("benchmark")) - len(used)
    return join(
        front_matter(
            "Methods and benchmarks", "Which method reports on which benchmark.",
            hide=["navigation", "toc"],
        ),
        "# Methods and benchmarks",
        "A number is how many values of a benchmark the record of a method holds; a dot says that "
        "the paper reports on it, and no value is recorded. An empty cell says only that nothing "
        "is recorded. Benchmarks are grouped by the first dimension that they measure, most used "
        f"first. {plural(silent, 'method')} and {plural(unused, 'benchmark')} without any cell are "
        "left out.\n{ .lead }",
        charts.assets(COVERAGE, "charts.js"),
        charts.figure("matrix-box sortable", _coverage(atlas, found, methods, used), "Coverage")
        if found
        else "No method reports on a benchmark yet.",
    )  # fmt: skip


def _coverage(
    atlas: Atlas,
    found: Mapping[tuple[str, str], int],
    methods: Sequence[EntryNode[Method]],
    used: Counter[str],
) -> str:
    page = Page(atlas, COVERAGE)
    facet = atlas.kb.facets.get("benchmark_dimension")
    benchmarks = atlas.kb.benchmarks
    groups: list[tuple[str, list[str]]] = []
    for id_, label in [(t.id, t.label) for t in facet.terms] if facet else []:
        inside = [each for each in used if benchmarks[each].dimension[0] == id_]
        inside.sort(key=lambda each: (-used[each], benchmarks[each].name.lower()))
        if inside:
            groups.append((label, inside))
    placed = {each for _, inside in groups for each in inside}
    rest = sorted(set(used) - placed)
    if rest:
        groups.append(("Other", rest))
    order = [each for _, inside in groups for each in inside]
    heads = [
        (escape(label), [page.link(f"benchmark:{each}") for each in inside])
        for label, inside in groups
    ]
    heads.insert(0, ("", ["Benchmarks", "Values"]))
    rows = []
    for node in methods:
        counts = [found.get((node.id, each)) for each in order]
        row = [
            f"<td>{sum(count is not None for count in counts)}</td>",
            f"<td>{sum(filter(None, counts))}</td>",
            *map(_coverage_cell, counts),
        ]
        rows.append((page.link(node.ref), row))
    return charts.matrix("Method", heads, rows, "Methods by benchmarks")


def _coverage_cell(count: int | None) -> str:
    if count is None:
        return "<td></td>"
    return f'<td class="heat-{charts.heat(count, 12) or 1}">{count or "·"}</td>'


# --- gaps ----------------------------------------------------------------------------------------


def gaps_map(atlas: Atlas) -> str:
    kb = atlas.kb
    facets, methods, benchmarks = views.facets(kb), atlas.rows("method"), atlas.rows("benchmark")
    found = []
    for names in CROSSINGS:
        try:
            axes = [gaps.axis(name, facets, methods, benchmarks) for name in names]
        except UnknownAxis:  # a taxonomy without that facet
            continue
        found.append(_crossing(atlas, *axes))
    return join(
        front_matter(
            "Gaps", "Combinations that no catalogued method has tried.", hide=["navigation"]
        ),
        "# Gaps",
        f"How many of the {len(methods)} methods are in each cell of two facets. An empty cell "
        "is the more surprising, the more methods its row and its column hold: what is expected is "
        "row times column over all methods, as if the two had nothing to do with each other. "
        "A gap is one of this catalogue; whether nobody has tried it, only a search can say."
        "\n{ .lead }",
        charts.assets(GAPS, "charts.js"),
        *found,
        "The same for any two facets: <code>mmalign gaps ROWS COLUMNS</code>.",
    )


def _named(atlas: Atlas, axis: gaps.Axis) -> tuple[str, str]:
    """Label of an axis, and id of the facet that has its values."""
    facet = next(f for f in atlas.kb.facets.values() if views.key(f) == axis.name)
    return facet.label, facet.id


def _crossing(atlas: Atlas, rows: gaps.Axis, columns: gaps.Axis) -> str:
    (row_label, row_facet), (label, facet) = (_named(atlas, axis) for axis in (rows, columns))
    page = Page(atlas, GAPS)
    cells = gaps.cross(rows, columns)
    most = max((len(cell.methods) for cell in cells), default=0)
    by_row = {value: [cell for cell in cells if cell.row == value] for value in rows.values}
    # The explorer filters methods by their own facets only.
    linked = "method" in atlas.kb.facets[facet].applies_to

    empty = gaps.empty(cells)
    shown_gaps = [cell for cell in empty[:MOST_GAPS] if cell.expected]

    def cell_html(cell: gaps.Cell) -> str:
        count = len(cell.methods)
        if cell in shown_gaps:
            return f'<td class="gap" title="expected {cell.expected:g}"></td>'
        if not count:
            return "<td></td>"
        shown = str(count)
        if linked:
            query = f"explorer.md?kind=method&{rows.name}={cell.row}&{columns.name}={cell.column}"
            shown = f'<a href="{address(GAPS, query)}">{count}</a>'
        return f'<td class="heat-{charts.heat(count, most)}">{shown}</td>'

    head = [page.link(f"term:{facet}/{value}") for value in columns.values]
    body = [
        (page.link(f"term:{row_facet}/{value}"), [cell_html(cell) for cell in by_row[value]])
        for value in rows.values
    ]
    title = f"{row_label} and {label.lower()}"
    grid = charts.matrix(escape(row_label), [("", head)], body, escape(title))
    listed = [
        [
            page.link(f"term:{row_facet}/{cell.row}"),
            page.link(f"term:{facet}/{cell.column}"),
            f"{cell.expected:g}",
            str(cell.in_row),
            str(cell.in_column),
        ]
        for cell in shown_gaps
    ]
    heads = [escape(row_label), escape(label), "Expected", "In row", "In column"]
    return section(
        escape(title),
        f"{rows.name}-{columns.name}".replace("_", "-"),
        f"{len(empty)} of {len(cells)} cells are empty, not counting baselines and values that say "
        "nothing.",
        charts.figure("matrix-box", grid, title),
        "The most surprising of them, framed in the table:" if listed else "",
        table(heads, listed) if listed else "",
    )
