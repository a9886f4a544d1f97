"""Sections that the pages of several kinds share."""

from __future__ import annotations

import html
from collections.abc import Iterable
from urllib.parse import quote

from mmalign.ask.views import paper_summary
from mmalign.export.bibtex import to_bibtex
from mmalign.records.kb import AnyNode, TermNode
from mmalign.records.model import Erratum, Evidence, Method, Paper, Result, SurveyPlace
from mmalign.site.atlas import Page, badge
from mmalign.site.text import code, escape, external, linked, shown_url, table
from mmalign.vocabulary import KINDS

SURVEY = "2503.14504"


def join(*parts: str) -> str:
    """Parts of a page with blank lines between; empty ones vanish."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def section(title: str, anchor: str, *parts: str, search: bool = True) -> str:
    """A second-level section, or nothing if it has no content."""
    body = [part for part in parts if part.strip()]
    if not body:
        return ""
    excluded = "" if search else " data-search-exclude"
    return join(f"## {title} {{ #{anchor}{excluded} }}", *body)


def facts(rows: Iterable[tuple[str, str]], kind: str = "") -> str:
    """Label and value side by side; rows without a value vanish. `kind` is a CSS class."""
    rows = [(label, value) for label, value in rows if value]
    if not rows:
        return ""
    body = "".join(
        f'<tr><th scope="row">{label}</th><td>{value}</td></tr>' for label, value in rows
    )
    return f'<div class="{f"facts {kind}".strip()}"><table><tbody>{body}</tbody></table></div>'


def bullets(items: Iterable[str]) -> str:
    """Items that are HTML already as a list on one line, which Markdown passes through."""
    listed = "".join(f"<li>{item}</li>" for item in items if item)
    return f"<ul>{listed}</ul>" if listed else ""


def survey_place(place: SurveyPlace | None) -> str:
    if place is None:
        return ""
    words = []
    if place.sections:
        words.append(f"section{'s' * (len(place.sections) > 1)} {', '.join(place.sections)}")
    if place.tables:
        tables = ", ".join(map(str, place.tables))
        words.append(f"Table{'s' * (len(place.tables) > 1)} {tables}")
    if place.figures:
        figures = ", ".join(map(str, place.figures))
        words.append(f"Figure{'s' * (len(place.figures) > 1)} {figures}")
    if place.reference:
        words.append(f"reference [{place.reference}]")
    return external("; ".join(words), f"https://arxiv.org/abs/{SURVEY}") if words else ""


def published(paper: Paper) -> str:
    """Venue, with the year where the venue does not say it."""
    year = str(paper.year)
    return escape(paper.venue if year in paper.venue else f"{paper.venue}, {year}")


def paper_links(paper: Paper) -> str:
    """Where a paper can be read and its code had."""
    found = []
    if paper.arxiv:
        found.append(external(f"arXiv {paper.arxiv}", f"https://arxiv.org/abs/{paper.arxiv}"))
    if paper.openreview:
        url = f"https://openreview.net/forum?id={quote(paper.openreview, safe='')}"
        found.append(external("OpenReview", url))
    if paper.doi:
        found.append(external("DOI", f"https://doi.org/{paper.doi}"))
    if paper.page:
        found.append(external("project page", paper.page))
    return " · ".join(found)


def code_link(paper: Paper) -> str:
    if not paper.code:
        return ""
    licence = f" (licence: {escape(paper.licence)})" if paper.licence else ""
    return shown_url(paper.code) + licence


def authors(paper: Paper, most: int = 0) -> str:
    names = paper.authors
    if most and len(names) > most:
        return escape(", ".join(names[:most])) + " and others"
    return escape(", ".join(names))


def names_of(node: AnyNode) -> str:
    return escape(", ".join(node.aliases)) if node.aliases else ""


def related(page: Page, node: AnyNode) -> str:
    if isinstance(node, TermNode):
        return ""
    kinds = ("paper",) if node.kind == "paper" else KINDS
    refs = [page.atlas.resolve(id_, kinds, but=node.ref) for id_ in node.entry.related]
    return page.refs(ref for ref in refs if ref)


def citation(*papers: Paper | None) -> str:
    found = [paper_summary(paper) for paper in papers if paper is not None]
    if not found:
        return ""
    # As the theme shows a block of code, with its copy button, but without colours: those would
    # take longer than all the rest of the page.
    text = html.escape(to_bibtex(found)).replace("\n", "&#10;")
    block = f'<div class="highlight bibtex"><pre><code>{text}</code></pre></div>'
    return section("Cite", "cite", block, search=False)


def errata(page: Page, node: AnyNode) -> str:
    """The errors that name this node, as a list that leads to the errata page."""
    items = []
    for item in page.atlas.kb.errata_about(node):
        if node.kind not in ("paper", "term") and node.ref not in item.about:
            # An entry shows its paper's errata only if they name no other entry of it.
            entries = [ref for ref in item.about if not ref.startswith("paper:")]
            if entries:
                continue
        place = page.to(f"errata.md#{item.id}", escape(item.where))
        items.append(f"{severity(item)} {place}: {escape(item.correct)}")
    return section("Errata", "errata", bullets(items))


def severity(item: Erratum) -> str:
    """What an erratum is, as a badge; what is outdated says since when, if that is known."""
    if item.severity != "outdated-since":
        return badge(item.severity)
    return badge(f"outdated since {item.since}" if item.since else "outdated", item.severity)


def objective_place(paper: Paper, method: Method) -> str:
    """Where the equation stands, after a word on how far it was read in the paper itself."""
    path = f"methods.{method.id}"
    # The evidence of the equation itself goes first, then that of what it is a part of.
    for covering in (f"{path}.objective.latex", f"{path}.objective", path, "methods"):
        items = [item for item in paper.evidence if covering in item.for_]
        if items:
            break
    statuses = {item.status for item in items}
    if "inferred" in statuses or not items:
        said = "Put together from what could be read"
    elif "reported" in statuses:
        said = "Not read in the paper, but as others report it"
    elif paper.type == "repository":
        said = "As the repository has it"
    elif any(_is_paper(item.source, paper) for item in items):
        said = "As the paper defines it"
    else:
        said = "Not read in the paper, but at another source"
    return f"{said}: {linked(method.objective.place)}."


def _is_paper(source: str, paper: Paper) -> bool:
    """Is this source the paper of the record?"""
    names = (paper.arxiv, paper.openreview, paper.doi)
    return any(name is not None and name in source for name in names)


def result_place(result: Result) -> str:
    """Where a number stands: in the paper, or in the source that is named as not being it."""
    if result.measured_by is None:
        return linked(result.place)
    elsewhere = badge("not this paper's", "elsewhere")
    return f"{elsewhere} {linked(result.measured_by)}: {linked(result.place)}"


def similar(page: Page, node: AnyNode, most: int = 5) -> str:
    """The nearest entries of the same kind, each with its reasons."""
    rows = [
        [f"<b>{page.link(one.row['ref'])}</b>", escape("; ".join(one.reasons[:4]))]
        for one in page.atlas.neighbours(node.kind).of(node.ref, most)
    ]
    if not rows:
        return ""
    note = (
        "Computed from shared terms, objectives, data, benchmarks and authors, from the words of "
        f"the records and from links between them: {code(f'mmalign similar {node.ref}')}.\n"
        "{ .note }"
    )
    return section("Similar", "similar", table(["Entry", "Why"], rows), note, search=False)


def erratum(page: Page, item: Erratum) -> str:
    """One erratum in full."""
    about = []
    for ref in item.about:
        node = page.atlas.nodes.get(ref)
        about.append(page.link(ref) if node else code(ref))
    quote = f"“{escape(item.quote)}” " if item.quote else ""
    rows = [
        ("says", escape(item.says)),
        ("correct is", escape(item.correct)),
        ("proof", f"{quote}{linked(item.proof)}"),
        ("about", ", ".join(about)),
    ]
    lines = [f"**{label}**{{ .label }} {value}" for label, value in rows if value]
    return "\n".join(
        [
            '<div class="erratum" markdown>',
            "",
            f"{severity(item)} [{escape(item.where)}](#{item.id})"
            f" <small>checked {item.checked}</small>",
            f"{{ #{item.id} .place }}",
            "",
            "\n\n".join(lines),
            "",
            "</div>",
        ]
    )


def evidence(items: Iterable[Evidence], prefix: str = "") -> str:
    """Where the facts of a page were read. Of an entry's page, `prefix` begins the paths of its
    fields; it is left out, and so are the paths of other entries.
    """
    rows = []
    whole = (prefix[:-1], prefix.partition(".")[0])
    for item in items:
        paths = ["everything" if path in whole else path for path in item.for_]
        if prefix:
            own = [path for path in paths if path.startswith((prefix, "everything"))]
            paths = [path.removeprefix(prefix) for path in own]
        fields = code(", ".join(dict.fromkeys(paths)))
        note = f"<br><small>{escape(item.note)}</small>" if item.note else ""
        rows.append([badge(item.status), fields, linked(item.source) + note, item.checked])
    if not rows:
        return ""
    body = table(["Status", "Covers", "Read at", "Checked"], rows)
    return section("Evidence", "evidence", body, search=False)


def record_path(paper: Paper | None) -> str:
    return code(f"papers/{paper.id}.yaml") if paper else ""
