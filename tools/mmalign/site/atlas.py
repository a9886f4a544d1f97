"""Where every node has its page, and links between pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from mmalign.ask import graph, similar, views
from mmalign.records.kb import AnyNode, KnowledgeBase, entries_of
from mmalign.records.model import Method
from mmalign.site.address import address
from mmalign.site.text import attribute, escape
from mmalign.vocabulary import COLLECTIONS, KINDS, Json, Kind

FOLDERS = {**COLLECTIONS, "paper": "papers"}
"""Kind -> folder of its pages; a term is at terms/<facet>/<id>."""


def path_of(ref: str) -> str:
    """Page of a full name: `method:mdpo` is at `methods/mdpo.md`. See also `Atlas.path`."""
    kind, _, name = ref.partition(":")
    return f"terms/{name}.md" if kind == "term" else f"{FOLDERS[kind]}/{name}.md"


class Atlas:
    """The knowledge base, the lab's results, smoke runs and scripts (name -> source), and lookups
    in them."""

    def __init__(
        self,
        kb: KnowledgeBase,
        results: Iterable[Json] = (),
        scripts: Mapping[str, str] | None = None,
        smoke: Iterable[Json] = (),
    ):
        self.kb = kb
        self.nodes: dict[str, AnyNode] = {node.ref: node for node in kb.nodes()}
        self._rows: dict[str, list[Json]] = {}
        self._neighbours: dict[str, similar.Neighbours] = {}
        self.scripts = dict(scripts or {})
        self.smoke: dict[str, Json] = {run["method"]: run for run in smoke}
        self.results: dict[str, list[Json]] = {}
        for result in sorted(results, key=lambda r: (r["method"], r["world"], r["world_version"])):
            self.results.setdefault(result["method"], []).append(result)

    @cached_property
    def sole(self) -> dict[str, str]:
        """Paper -> its entry, of papers with exactly one: the entry's page is the paper's too.

        A baseline is only a part of what its paper is about.
        """
        found = {}
        for paper in self.kb.papers.values():
            entries = {f"{kind}:{entry.id}": entry for kind, entry in entries_of(paper)}
            if len(entries) == 1:
                ((ref, entry),) = entries.items()
                if not (isinstance(entry, Method) and entry.own == ("baseline",)):
                    found[f"paper:{paper.id}"] = ref
        return found

    def rows(self, kind: Kind) -> list[Json]:
        """The short views of all nodes of a kind."""
        if kind not in self._rows:
            self._rows[kind] = [views.row(self.kb, node) for node in self.kb.nodes(kind)]
        return self._rows[kind]

    def neighbours(self, kind: Kind) -> similar.Neighbours:
        """The entries of a kind, ready to be asked which are nearest to one."""
        if kind not in self._neighbours:
            self._neighbours[kind] = similar.Neighbours(self.rows(kind))
        return self._neighbours[kind]

    def path(self, ref: str) -> str:
        """Page on which a node is shown."""
        return path_of(self.sole.get(ref, ref))

    @cached_property
    def incoming(self) -> dict[tuple[str, str], list[str]]:
        """(relation, target) -> sources, full names. `starts_from` is base_models."""
        found: dict[tuple[str, str], list[str]] = {}
        for edge in graph.edges(self.kb):
            found.setdefault((edge.relation, edge.target), []).append(edge.source)
        for method in self.kb.methods.values():
            for model in dict.fromkeys(method.base_models):
                sources = found.setdefault(("starts_from", f"model:{model}"), [])
                sources.append(f"method:{method.id}")
        return found

    def sources(self, relation: str, target: str) -> list[str]:
        """Full names of the nodes whose `relation` edge ends at `target`."""
        return self.incoming.get((relation, target), [])

    @cached_property
    def carriers(self) -> dict[str, list[str]]:
        """Full name of a term -> entries that carry it themselves (not a narrower one)."""
        found: dict[str, list[str]] = {}
        for node in self.nodes.values():
            if node.kind in ("term", "paper"):
                continue
            for facet in self.kb.facets:
                for term in self.kb.facet_values(node, facet):
                    found.setdefault(f"term:{facet}/{term}", []).append(node.ref)
        return found

    def carriers_below(self, facet: str, term: str) -> list[str]:
        """Entries that carry a term or one below it, in the order of kinds and ids."""
        found = {
            ref
            for each in self.kb.term_closure(facet, term)
            for ref in self.carriers.get(f"term:{facet}/{each}", ())
        }
        return [ref for ref in self.nodes if ref in found]

    def resolve(self, id_: str, kinds: Iterable[str] = KINDS, but: str = "") -> str | None:
        """Full name of a bare id, in the order of `KINDS`; never `but` itself."""
        refs = (f"{kind}:{id_}" for kind in kinds)
        return next((ref for ref in refs if ref in self.nodes and ref != but), None)


class Page:
    """Links as seen from one page."""

    def __init__(self, atlas: Atlas, path: str):
        self.atlas, self.path = atlas, path

    def to(self, path: str, label: str, classes: str = "") -> str:
        """A link to another page of the site, as HTML (`path` may end in #anchor or ?query).

        `label` is HTML already; `classes` are names of classes with spaces between.
        """
        attributes = f' class="{classes}"' if classes else ""
        return f'<a href="{address(self.path, path)}"{attributes}>{label}</a>'

    def link(self, ref: str | None, label: str = "", classes: str = "") -> str:
        """A link to a node's page; only its name if there is no such node."""
        node = self.atlas.nodes.get(ref or "")
        if node is None:
            return escape(label or (ref or "").rpartition(":")[2].rpartition("/")[2])
        shown = escape(label or node.name)
        path = self.atlas.path(node.ref)
        if path == self.path:
            return f"<b>{shown}</b>"
        return self.to(path, shown, classes)

    def links(self, kind: str, ids: Iterable[str]) -> str:
        """Links to entries of one kind, with commas."""
        return ", ".join(self.link(f"{kind}:{id_}") for id_ in dict.fromkeys(ids))

    def refs(self, refs: Iterable[str]) -> str:
        return ", ".join(self.link(ref) for ref in dict.fromkeys(refs))

    def chip(self, facet: str, term: str) -> str:
        """A term as a small label that leads to its page."""
        return self.link(f"term:{facet}/{term}", classes=f"chip {facet.replace('_', '-')}")

    def chips(self, node: AnyNode, facet: str) -> str:
        return " ".join(self.chip(facet, term) for term in self.atlas.kb.facet_values(node, facet))

    def crumbs(self, *steps: tuple[str, str]) -> str:
        """Where this page belongs: (path, label) pairs, outermost first."""
        shown = " / ".join(self.to(path, escape(label)) for path, label in steps)
        return f"{shown}\n{{ .crumbs data-search-exclude }}"


def badge(text: str, kind: str = "", title: str = "") -> str:
    """A small mark that is no link."""
    hint = f' title="{attribute(title)}"' if title else ""
    return f'<span class="badge {kind or text}"{hint}>{escape(text)}</span>'
