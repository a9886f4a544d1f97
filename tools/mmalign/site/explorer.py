"""The explorer: all entries in one table, with filters that docs/assets/explorer.js brings to life.

Everything that the script needs stands in the page: terms have numbers, and each row names the
numbers of its terms (and of those above them). Without the script the filters stay hidden and the
table is whole. Cells are HTML, since the table goes round Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mmalign.ask import views
from mmalign.records.kb import EntryNode
from mmalign.records.model import (
    Benchmark,
    Dataset,
    Entry,
    Facet,
    Framework,
    ModelEntry,
    Paper,
    Term,
)
from mmalign.site import parts
from mmalign.site.atlas import Atlas, Page, badge
from mmalign.site.parts import join
from mmalign.site.text import attribute, escape, front_matter, web_address
from mmalign.vocabulary import ENTRY_KINDS, LABELS, Kind

PATH = "explorer.md"
Listed = EntryNode[Entry] | EntryNode[Paper]
"""What stands in a row."""
SHOWN: tuple[Kind, ...] = (*ENTRY_KINDS, "paper")
OPEN = ("scenario", "family", "annotation", "dimension")
"""Facets whose terms are in sight from the start."""
HAS = {"code": "code", "impl": "script", "results": "reported results", "lab": "lab result"}
"""What an entry can have -> its name. The first three are those of `mmalign query --has`."""
EXPORTS = {"bib": "BibTeX", "csv": "CSV", "json": "JSON"}


@dataclass(frozen=True)
class Column:
    """A column; `default` are the kinds that show it unasked (`all`: the page of all kinds)."""

    key: str
    label: str
    default: tuple[str, ...]
    cell: Callable[[Listed], str]


@dataclass(frozen=True)
class Choice:
    """One thing to filter by: a kind, a term, or something that an entry has."""

    id: str
    label: str
    classes: str = "chip"


@dataclass(frozen=True)
class Group:
    """Choices of one sort; `mode` says how several of them combine: `one`, `any`, or `all`."""

    key: str
    label: str
    mode: str
    choices: tuple[Choice, ...]
    facet: str = ""


def page(atlas: Atlas) -> str:
    entries = [node for kind in ENTRY_KINDS for node in atlas.kb.nodes(kind)]
    return render(atlas, [*entries, *atlas.kb.nodes("paper")])


def render(atlas: Atlas, nodes: Sequence[Listed]) -> str:
    """The page of these nodes, in this order."""
    listed, shown = groups(atlas, nodes), columns(atlas)
    return join(
        front_matter(
            "Explore",
            "Every method, data set, benchmark, model, framework and paper in one table.",
            hide=["navigation", "toc"],
        ),
        "# Explore { data-search-exclude }",
        "Every entry of the atlas in one table. The address of this page holds what you chose: "
        "share it, or keep it as a bookmark.\n{ .lead }",
        '<link rel="stylesheet" href="../assets/explorer.css">'
        '<script src="../assets/explorer.js" defer></script>',
        # One block on one line: Markdown inside of it would take the form apart.
        f'<div class="explorer">{tools(listed, shown)}'
        '<div class="explorer-box" role="region" aria-label="Entries" tabindex="0">'
        f"{table(atlas, nodes, listed, shown)}</div></div>",
    )


# --- what can be chosen --------------------------------------------------------------------------


def groups(atlas: Atlas, nodes: Sequence[Listed]) -> list[Group]:
    """Kinds, what an entry has, and the facets; of terms those that an entry carries."""
    kinds = [Choice(kind, LABELS[kind][1]) for kind in SHOWN]
    found = [
        Group("kind", "Kind", "one", tuple(kinds)),
        Group("has", "Has", "all", tuple(Choice(*each) for each in HAS.items())),
    ]
    for facet in atlas.kb.facets.values():
        carried = {term for node in nodes for term in above(atlas, node, facet)}
        classes = f"chip {facet.id.replace('_', '-')}"
        choices = [Choice(t.id, t.label, classes) for t in in_order(facet) if t.id in carried]
        if choices:
            key, label = views.key(facet), facet.label
            found.append(Group(key, label, "any", tuple(choices), facet.id))
    # Those in sight come first, in the order of OPEN.
    rank = {key: place for place, key in enumerate(("kind", "has", *OPEN))}
    return sorted(found, key=lambda group: rank.get(group.key, len(rank)))


def in_order(facet: Facet) -> list[Term]:
    """Terms with each one before those below it, whatever their order in the record."""
    below: dict[str | None, list[Term]] = {}
    for term in facet.terms:
        below.setdefault(term.parent, []).append(term)
    ordered, waiting = [], list(reversed(below.get(None, [])))
    while waiting:
        ordered.append(waiting.pop())
        waiting += reversed(below.get(ordered[-1].id, []))
    return ordered


def above(atlas: Atlas, node: Listed, facet: Facet) -> list[str]:
    """Terms that an entry carries on a facet, and all terms above them."""
    parents = {term.id: term.parent for term in facet.terms}
    found: dict[str, None] = {}
    for term in atlas.kb.facet_values(node, facet.id):
        step: str | None = term
        while step is not None and step not in found:
            found[step] = None
            step = parents.get(step)
    return list(found)


def has(atlas: Atlas, node: Listed) -> list[str]:
    """Which of `HAS` an entry has; a paper has what its entries have."""
    methods = [m.id for m in node.entry.methods] if isinstance(node.entry, Paper) else []
    if node.kind == "method":
        methods = [node.id]
    lab = ["lab"] if any(method in atlas.results for method in methods) else []
    return views.has(node) + lab


# --- HTML ----------------------------------------------------------------------------------------


def tools(listed: Sequence[Group], shown: Sequence[Column]) -> str:
    """The form of all filters, on one line; hidden until the script has read the table."""
    number = numbers(listed)
    by_key = {group.key: group for group in listed}

    def chips(group: Group) -> str:
        return "".join(
            f'<button type="button" class="{choice.classes}" aria-pressed="false"'
            f' data-n="{number[group.key, choice.id]}" data-id="{choice.id}">'
            f'{escape(choice.label)} <span class="count"></span></button>'
            for choice in group.choices
        )

    def start(group: Group) -> str:
        return f'data-key="{group.key}" data-mode="{group.mode}" data-facet="{group.facet}"'

    bars = "".join(
        f'<div role="group" aria-label="{group.label}" {start(group)}>{chips(group)}</div>'
        for group in (by_key["kind"], by_key["has"])
    )
    facets = "".join(
        f"<details {start(group)}{' open' if group.key in OPEN else ''}>"
        f"<summary>{escape(group.label)}</summary>{chips(group)}</details>"
        for group in listed
        if group.facet
    )
    boxes = "".join(
        f'<label><input type="checkbox" name="column" value="{column.key}"> {column.label}</label>'
        for column in shown[1:]
    )
    exports = "".join(
        f'<button type="button" data-export="{name}">{label}</button>'
        for name, label in EXPORTS.items()
    )
    return (
        '<form class="explorer-tools" aria-label="Filters" hidden><div class="explorer-bar">'
        '<input type="search" name="text" placeholder="Words in name, title, authors, summary …"'
        ' aria-label="Words" autocomplete="off" spellcheck="false">'
        '<span class="years">Years <input type="number" name="from" aria-label="From year"'
        ' placeholder="from"> – <input type="number" name="to" aria-label="To year"'
        f' placeholder="to"></span>{bars}</div>'
        '<details class="explorer-facets"><summary>Facets</summary><p class="note">Several terms of'
        " a facet: any of them. Shift with a click or with Enter leaves a term out.</p>"
        f'{facets}</details><div class="explorer-status"><output role="status"></output>'
        f'<details class="menu"><summary>Columns</summary><div>{boxes}</div></details>'
        f'<span role="group" aria-label="Export what is shown">{exports}</span>'
        '<button type="button" data-do="clear">Clear all</button>'
        '<ul class="chosen" aria-label="Chosen filters"></ul></div></form>'
    )


def numbers(listed: Sequence[Group]) -> dict[tuple[str, str], int]:
    """(key of the group, id) -> number of a choice; the script counts in the same order."""
    pairs = [(group.key, choice.id) for group in listed for choice in group.choices]
    return {pair: place for place, pair in enumerate(pairs)}


def table(
    atlas: Atlas, nodes: Iterable[Listed], listed: Sequence[Group], shown: Sequence[Column]
) -> str:
    """All rows, on one line. `data-n` are the numbers of a row's choices, `data-also` are words to
    find it by that stand in no cell."""
    number, facets = numbers(listed), list(atlas.kb.facets.values())
    heads = "".join(
        f'<th scope="col" data-key="{column.key}" data-default="{" ".join(column.default)}">'
        f"{column.label}</th>"
        for column in shown
    )
    rows = []
    for node in nodes:
        choices = [("kind", node.kind), *(("has", name) for name in has(atlas, node))]
        for facet in facets:
            choices += [(views.key(facet), term) for term in above(atlas, node, facet)]
        found = sorted(number[each] for each in choices if each in number)
        also = [*node.aliases, node.id, *node.paper.authors[3:]]
        first, *rest = (column.cell(node) for column in shown)
        rows.append(
            f'<tr data-ref="{node.ref}" data-paper="{node.paper.id}"'
            f' data-n="{" ".join(map(str, found))}" data-also="{attribute(" · ".join(also))}">'
            f'<th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        )
    return (
        '<table class="entries"><caption>All entries of the atlas</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def columns(atlas: Atlas) -> list[Column]:
    """All columns. Without a kind the first five are shown (explorer.css knows that number)."""
    defaults = {
        "scenario": ("method", "dataset"),
        "dimension": ("benchmark",),
        "family": ("method",),
        "annotation": ("method", "dataset"),
        "modality": ("dataset", "benchmark", "model"),
    }
    page, rank = Page(atlas, PATH), {key: place for place, key in enumerate(defaults)}
    facets = sorted(
        atlas.kb.facets.values(), key=lambda facet: rank.get(views.key(facet), len(rank))
    )

    def of_facet(facet: Facet) -> Column:
        key = views.key(facet)
        return Column(
            key, escape(facet.label), defaults.get(key, ()), lambda node: page.chips(node, facet.id)
        )

    every = ("all", *SHOWN)
    return [
        Column("name", "Name", every, lambda node: page.link(node.ref)),
        Column("kind", "Kind", ("all",), lambda node: LABELS[node.kind][0]),
        Column("year", "Year", every, lambda node: str(node.paper.year)),
        Column("summary", "Summary", ("all", "framework"), lambda node: escape(node.entry.summary)),
        Column("has", "Has", ("all", "method", "paper"), lambda node: _has(page, node)),
        *map(of_facet, facets),
        Column("size", "Size", ("dataset", "benchmark"), _size),
        Column("venue", "Venue", ("paper",), lambda node: escape(node.paper.venue)),
        Column("authors", "Authors", ("paper",), lambda node: parts.authors(node.paper, 3)),
        Column("licence", "Licence", ("dataset", "model", "framework"), _licence),
        Column("paper", "Paper", (), lambda node: page.link(f"paper:{node.paper.id}")),
    ]


def _has(page: Page, node: Listed) -> str:
    found = []
    for name in has(page.atlas, node):
        if name == "code":
            url = web_address(node.paper.code or "")
            found.append(f'<a class="badge code" href="{url}">{HAS[name]}</a>')
        elif name == "lab" and node.kind == "method":
            found.append(page.to(f"{page.atlas.path(node.ref)}#lab", HAS[name], "badge results"))
        else:
            found.append(badge(HAS[name], "results" if name == "lab" else "plain"))
    return " ".join(found)


def _size(node: Listed) -> str:
    entry = node.entry
    if isinstance(entry, ModelEntry):
        return escape(", ".join(entry.sizes))
    size = entry.size if isinstance(entry, Benchmark) else None
    if isinstance(entry, Dataset):
        size = entry.size_released or entry.size_paper
    return escape(size.text) if size else ""


def _licence(node: Listed) -> str:
    entry = node.entry
    if isinstance(entry, (Dataset, Benchmark, ModelEntry, Framework, Paper)):
        return escape(entry.licence or "")
    return ""
