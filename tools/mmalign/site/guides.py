"""Computed passages of the home page and the guides: lists that answer a question of a reader.

`<!-- mmalign:methods annotation human -->` is the answer to `mmalign query --annotation human`, and
`tests/site/test_guides.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmalign.ask import views
from mmalign.records.kb import AnyNode
from mmalign.records.model import Facet, Paper
from mmalign.site.address import address
from mmalign.site.atlas import Atlas, Page, badge
from mmalign.site.network import first_seen
from mmalign.site.parts import bullets, join, severity
from mmalign.site.text import escape, table

HAS = ("code", "impl", "results")
SHORTCUTS = {"scenario": "What hurts?", "annotation": "Who can judge?"}
"""Facets whose terms the home page leads to, with the question that they answer."""
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


# --- methods that fit ----------------------------------------------------------------------------


def methods(page: Page, asked: str | None) -> str:
    """The methods that a query finds, those that can be run first; `asked` are its options.

    `annotation human has impl` is `--annotation human --has impl`; nothing asks for all of them.
    ValueError for what the records do not know.
    """
    options = parsed(page.atlas, asked or "")
    found = chosen(page.atlas, options)
    groups: dict[str, list[AnyNode]] = {
        "With a script in the lab": [],
        "With public code, not in the lab yet": [],
        "Without public code": [],
    }
    runs, public, paper_only = groups.values()
    for node in found:
        has = views.has(node)
        (runs if "impl" in has else public if "code" in has else paper_only).append(node)
    if not found:
        return "No method of the atlas fits."
    several = f"{len(found)} methods fit" if len(found) > 1 else "One method fits"
    lines = [
        f"{title} ({len(nodes)}): {page.refs(node.ref for node in nodes)}"
        for title, nodes in groups.items()
        if nodes
    ]
    link = page.to(explorer(options), "open them in the explorer")
    return join(f"{several}; {link}.", bullets(lines))


def parsed(atlas: Atlas, asked: str) -> list[tuple[str, str]]:
    """`annotation human` as (option, word) pairs; an option is that of `mmalign query`."""
    words = asked.split()
    options = list(zip(words[::2], words[1::2], strict=False))
    facets = {views.key(facet) for facet in atlas.kb.facets.values()}
    if len(words) % 2:
        raise ValueError(f"mmalign:methods wants pairs of an option and a word, not '{asked}'")
    for option, word in options:
        if option == "has":
            if word not in HAS:
                raise ValueError(f"mmalign:methods has: '{word}' is none of {', '.join(HAS)}")
        elif option.replace("-", "_") not in facets:
            raise ValueError(f"mmalign:methods knows no option '{option}'")
    return options


def chosen(atlas: Atlas, options: Sequence[tuple[str, str]]) -> list[AnyNode]:
    """Methods that fit, as `mmalign query` chooses them: any word of an option, all options."""
    by_option: dict[str, list[str]] = {}
    for option, word in options:
        by_option.setdefault(option, []).append(word)
    return [
        node
        for node in atlas.kb.nodes("method")
        if all(fits(atlas, node, option, words) for option, words in by_option.items())
    ]


def fits(atlas: Atlas, node: AnyNode, option: str, words: Sequence[str]) -> bool:
    if option == "has":
        return set(words) <= set(views.has(node))
    key = option.replace("-", "_")
    facet = next(facet for facet in atlas.kb.facets.values() if views.key(facet) == key)
    carried = set(atlas.kb.facet_values(node, facet.id))

    def under(word: str) -> bool:
        return bool(carried & atlas.kb.term_closure(facet.id, word))

    wanted = [word for word in words if not word.startswith("!")]
    barred = [word[1:] for word in words if word.startswith("!")]
    return (not wanted or any(map(under, wanted))) and not any(map(under, barred))


def explorer(options: Sequence[tuple[str, str]], kind: str = "method") -> str:
    """Path of the explorer with a choice made: `explorer.md?kind=method&scenario=safety`."""
    joined: dict[str, list[str]] = {"kind": [kind]} if kind else {}
    for option, word in options:
        joined.setdefault(option.replace("-", "_"), []).append(word)
    return "explorer.md?" + "&".join(f"{name}={','.join(ws)}" for name, ws in joined.items())


# --- the lab -------------------------------------------------------------------------------------


def scripts(page: Page, _: str | None) -> str:
    """The methods that can be run, with what the lab has found out about each."""
    rows = []
    for node in page.atlas.kb.nodes("method"):
        if not node.entry.reference_impl:
            continue
        verdicts = [
            verdict["verdict"]
            for result in page.atlas.results.get(node.id, ())
            for verdict in result["verdicts"]
        ]
        counts = [
            f"{badge(name, name)} {verdicts.count(name)}"
            for name in ("shown", "contradicted", "equivalent", "undecided")
            if name in verdicts
        ]
        rows.append(
            [
                page.link(node.ref),
                page.chips(node, "scenario"),
                page.chips(node, "objective_family"),
                " ".join(counts) or "no study yet",
            ]
        )
    return table(["Method", "For", "Objective", "Claims in the lab"], rows)


# --- the home page -------------------------------------------------------------------------------


def find(page: Page, _: str | None) -> str:
    """A search field and shortcuts, all of which lead into the explorer. No script is needed."""
    action = address(page.path, "explorer.md")
    form = (
        f'<form class="find" action="{action}" role="search" aria-label="Entries of the atlas">'
        '<label for="find-text">Method, data set, benchmark, author or topic</label>'
        '<input id="find-text" type="search" name="text" autocomplete="off">'
        '<button type="submit">Search</button></form>'
    )
    facets = page.atlas.kb.facets
    rows = [(ask, terms(page, facets[name])) for name, ask in SHORTCUTS.items() if name in facets]
    ready = [
        page.to(explorer([("has", "impl")]), "script in the lab", "chip"),
        page.to(explorer([("has", "lab")]), "lab result", "chip"),
        page.to(explorer([("has", "code")]), "public code", "chip"),
    ]
    lines = [*rows, ("Ready to run?", " ".join(ready))]
    shown = "\n".join(f"- **{title}** {links}" for title, links in lines if links)
    return join(form, f'<div class="shortcuts" markdown>\n\n{shown}\n\n</div>')


def terms(page: Page, facet: Facet) -> str:
    """Leaves of a facet that methods carry, each a link into the explorer with its number."""
    above = {term.parent for term in facet.terms}
    found = []
    for term in facet.terms:
        refs = page.atlas.carriers.get(f"term:{facet.id}/{term.id}", ())
        count = sum(ref.startswith("method:") for ref in refs)
        if count and term.id not in above and term.id not in ("not-stated", "none", "baseline"):
            target = explorer([(views.key(facet), term.id)])
            label = f"{escape(term.label)} {count}"
            found.append(page.to(target, label, f"chip {facet.id.replace('_', '-')}"))
    return " ".join(found)


def newest(page: Page, number: str | None) -> str:
    """The newest papers with a method, by the month that their arXiv number names."""
    papers = [p for p in page.atlas.kb.papers.values() if p.arxiv and p.methods]
    papers.sort(key=lambda paper: (paper.arxiv, paper.id), reverse=True)
    lines = []
    for paper in papers[: int(number or 5)]:
        names = page.links("method", [method.id for method in paper.methods])
        lines.append(f"{names} <small>{month(paper)}</small><br>{escape(paper.title)}")
    return bullets(lines)


def month(paper: Paper) -> str:
    """`March 2025` of arXiv 2503.14504."""
    year, number = first_seen(paper)
    return f"{MONTHS[number - 1]} {year}"


def latest_errata(page: Page, number: str | None) -> str:
    """The errata checked last; slips and what is outdated are left to the page of all."""
    left = ("typo", "outdated-since")
    items = [item for item in reversed(page.atlas.kb.errata) if item.severity not in left]
    items.sort(key=lambda item: str(item.checked), reverse=True)
    return bullets(
        f"{severity(item)} {page.to(f'errata.md#{item.id}', escape(item.where))}: "
        f"{escape(item.correct)}"
        for item in items[: int(number or 5)]
    )


FRAGMENTS = {
    "methods": methods,
    "scripts": scripts,
    "find": find,
    "newest": newest,
    "latest-errata": latest_errata,
}
"""Name of a mark -> function of the page and the mark's argument."""
