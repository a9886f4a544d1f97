"""Computed passages of hand-written pages: `<!-- mmalign:counts -->` on a line of its own.

So nobody types a number into a page that the records or the lab know.
"""

from __future__ import annotations

import re

from mmalign.site import guides, lab
from mmalign.site.atlas import Atlas, Page
from mmalign.site.text import escape, table
from mmalign.vocabulary import LABELS

_MARK = re.compile(r"^<!-- mmalign:([a-z-]+)(?: ([a-z0-9! -]+?))? -->$", re.MULTILINE)


def fill(atlas: Atlas, path: str, text: str) -> str:
    """A hand-written page with its marks replaced. ValueError names a mark that is unknown."""

    def replace(match: re.Match[str]) -> str:
        name, argument = match.groups()
        if name not in FRAGMENTS:
            known = ", ".join(sorted(FRAGMENTS))
            raise ValueError(f"docs/{path}: no passage is called '{name}'; there are {known}")
        return FRAGMENTS[name](Page(atlas, path), argument)

    return _MARK.sub(replace, text)


def counts(page: Page, _: str | None) -> str:
    """How many entries of each kind there are, as a row of links."""
    kb = page.atlas.kb
    scripts = sum(bool(method.reference_impl) for method in kb.methods.values())
    found = [
        (len(kb.methods), "methods", "methods/index.md"),
        (len(kb.papers), "papers", "papers/index.md"),
        (len(kb.datasets), "datasets", "datasets/index.md"),
        (len(kb.benchmarks), "benchmarks", "benchmarks/index.md"),
        (scripts, "runnable scripts", "guide/run-a-method.md"),
        (len(kb.errata), "errata, proven", "errata.md"),
    ]
    items = [f"- {page.to(path, f'<b>{number}</b> {label}')}" for number, label, path in found]
    return '<div class="counts" markdown>\n\n' + "\n".join(items) + "\n\n</div>"


def scenarios(page: Page, _: str | None) -> str:
    """The scenarios that have methods, each with its methods."""
    kb = page.atlas.kb
    facet = kb.facets.get("scenario")
    if facet is None:
        return ""
    cards = []
    for term in facet.terms:
        refs = page.atlas.carriers.get(f"term:scenario/{term.id}", ())
        methods = [ref for ref in refs if ref.startswith("method:")]
        if methods:
            title = page.link(f"term:scenario/{term.id}")
            cards.append(
                '<div class="card" markdown>\n\n'
                f'<b>{title}</b> <span class="count">{len(methods)}</span>\n\n'
                f"{page.refs(methods)}\n\n</div>"
            )
    return '<div class="cards" markdown>\n\n' + "\n\n".join(cards) + "\n\n</div>"


def evidence(page: Page, _: str | None) -> str:
    """How many pieces of evidence have which status."""
    counts = dict.fromkeys(("verified", "reported", "inferred"), 0)
    for paper in page.atlas.kb.papers.values():
        for item in paper.evidence:
            counts[item.status] += 1
    return table(["Status", "Pieces of evidence"], [[n, str(count)] for n, count in counts.items()])


def baselines(page: Page, world: str | None) -> str:
    """The rows that show whether a world can rank objectives."""
    results = [result for found in page.atlas.results.values() for result in found]
    return lab.baselines(results, world or "")


def facets(page: Page, _: str | None) -> str:
    """The facets as options of `mmalign query`."""
    rows = []
    for facet in page.atlas.kb.facets.values():
        option = facet.field.rpartition(".")[2].replace("_", "-")
        kinds = ", ".join(LABELS[kind][1].lower() for kind in facet.applies_to)
        name = page.to(f"terms/{facet.id}/index.md", escape(facet.label))
        rows.append([f"`--{option}`", name, escape(facet.definition), kinds])
    return table(["Option", "Facet", "Meaning", "Carried by"], rows)


FRAGMENTS = {
    "counts": counts,
    "scenarios": scenarios,
    "evidence": evidence,
    "baselines": baselines,
    "facets": facets,
    **guides.FRAGMENTS,
}
"""Name of a mark -> function of the page and the mark's argument."""
