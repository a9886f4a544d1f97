"""Rules over the whole knowledge base: what no single field can know.

Each rule is a function from a `Context` to findings; `RULES` lists them. All run on every check, in
linear time, and each reports everything that it finds.
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mmalign import graph, latex
from mmalign.kb import COLLECTIONS, KnowledgeBase
from mmalign.model import KINDS, Benchmark, Dataset, Entry, Facet, Method, ModelEntry, Paper
from mmalign.problems import Finding, Location

if TYPE_CHECKING:
    from mmalign.load import Records

MODELS = {"method": Method, "dataset": Dataset, "benchmark": Benchmark, "model": ModelEntry}
"""Kind of entry that can carry facets -> its class."""

TERM_FIELDS = {
    "method": (
        "scenario",
        "modality",
        "data_source",
        "response_source",
        "annotation",
        "pair_difference",
        "objective.family",
        "addresses",
    ),
    "dataset": (
        "scenario",
        "modality",
        "data_source",
        "response_source",
        "annotation",
        "pair_difference",
    ),
    "benchmark": ("dimension", "modality"),
    "model": ("modality",),
}
"""Fields that hold terms: for each there must be a facet."""

METHOD_FACETS = tuple(f for f in TERM_FIELDS["method"] if "." not in f and f != "addresses")

BIBLIOGRAPHY = ("title", "authors", "year", "venue", "arxiv", "openreview", "doi")
"""Fields that an evidence for `bibliography` covers."""

SOURCE = re.compile(
    r"arxiv:\d{4}\.\d{4,5}(v\d+)?(#\S.*)?"
    r"|repo:[\w.-]+/[\w.-]+@[0-9a-f]{7,40}(:[^\s#:][^#:]*(#L\d+(-L?\d+)?)?)?"
    r"|https?://[^\s/]+\.[^\s]+"
)
SOURCE_FORMS = (
    "`arxiv:2503.14504#3.1`, `repo:owner/name@0123abc:path/file.py#L10-L20` (7 to 40 hexadecimal "
    "digits) or an address `https://...`"
)

MAX_SUGGESTIONS = 200
"""Looking for similar ids costs their number: no more often than this per check."""


@dataclass(frozen=True)
class Place:
    """An entry of a paper and where it stands."""

    file: str
    location: Location
    kind: str
    entry: Entry
    paper: Paper


@dataclass
class Context:
    """What rules look at. `places` lists all entries; `ids` says per kind where an id stands."""

    kb: KnowledgeBase
    records: Records
    today: datetime.date
    places: list[Place] = field(default_factory=list)
    ids: dict[str, dict[str, list[tuple[str, Location]]]] = field(default_factory=dict)
    terms: dict[str, dict[str, str | None]] = field(default_factory=dict)
    suggestions: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ids = {kind: {} for kind in KINDS}
        for file, paper in self.records.papers.items():
            self.ids["paper"].setdefault(paper.id, []).append((file, ("id",)))
            for kind, collection in COLLECTIONS.items():
                for number, entry in enumerate(getattr(paper, collection)):
                    location = (collection, number)
                    self.places.append(Place(file, location, kind, entry, paper))
                    places = self.ids[kind].setdefault(entry.id, [])
                    places.append((file, (*location, "id")))
        for facet in self.records.facets.values():
            self.terms[facet.id] = {term.id: term.parent for term in facet.terms}

    def known(self, kind: str, id_: str) -> bool:
        """Does this id exist? One in a record that could not be read does."""
        return id_ in self.ids[kind] or id_ in self.records.unread_ids

    def methods(self) -> Iterator[Place]:
        return (place for place in self.places if place.kind == "method")

    def nearest(self, pool_name: str, pool: Iterable[str], word: str) -> str:
        """A hint that names the id or term most like `word`, or nothing."""
        key = (pool_name, word)
        if key not in self.suggestions:
            if len(self.suggestions) >= MAX_SUGGESTIONS:
                return ""
            near = difflib.get_close_matches(word, sorted(pool), 1, 0.6)
            self.suggestions[key] = f"did you mean '{near[0]}'?" if near else ""
        return self.suggestions[key]


def findings(kb: KnowledgeBase, records: Records, today: datetime.date) -> Iterator[Finding]:
    """Everything that any rule has to say. `today` is the last day that a check can be dated."""
    context = Context(kb, records, today)
    for rule in RULES:
        yield from rule(context)


# --- ids ---------------------------------------------------------------------------------------


def file_names(context: Context) -> Iterator[Finding]:
    """The name of a file is the id inside it."""
    for file, record in [*context.records.papers.items(), *context.records.facets.items()]:
        stem = Path(file).stem
        if stem != record.id:
            message = f"id: '{record.id}' stands in the file '{Path(file).name}'"
            yield Finding("R001", file, ("id",), message, f"write `id: {stem}`, or rename the file")


def unique_ids(context: Context) -> Iterator[Finding]:
    """An id is unique among things of its kind (a term's in its facet)."""
    for kind, ids in context.ids.items():
        for id_, places in ids.items():
            for file, location in places[1:]:
                message = f"{kind} id '{id_}' is also in {places[0][0]}"
                yield Finding("R002", file, location, message, "keep one, or rename one")
    for file, facet in context.records.facets.items():
        yield from _repeated(file, "terms", facet.terms, "term")
    for file, relations in context.records.relations.items():
        yield from _repeated(file, "relations", relations.relations, "relation")
    for file, errata in context.records.errata.items():
        yield from _repeated(file, "errata", errata.errata, "erratum")
    for place in context.methods():
        claims = _repeated(place.file, (*place.location, "claims"), place.entry.claims, "claim")
        yield from claims


def _repeated(file: str, where: str | Location, items: Iterable[Any], what: str):
    location = (where,) if isinstance(where, str) else where
    seen: set[str] = set()
    for number, item in enumerate(items):
        if item.id in seen:
            message = f"{what} id '{item.id}' stands twice in this list"
            yield Finding("R002", file, (*location, number, "id"), message, "rename one")
        seen.add(item.id)


def dangling_ids(context: Context) -> Iterator[Finding]:
    """Whatever is referred to exists."""
    for place in context.places:
        entry, at = place.entry, place.location
        if isinstance(entry, Method):
            for name, kind in (
                ("trains_on", "dataset"),
                ("benchmarks", "benchmark"),
                ("base_models", "model"),
                ("compares_with", "method"),
            ):
                for number, id_ in enumerate(getattr(entry, name)):
                    if not context.known(kind, id_):
                        yield _dangling(context, place.file, (*at, name, number), (kind,), id_)
            parent = entry.objective.parent
            if parent and not context.known("method", parent):
                location = (*at, "objective", "parent")
                yield _dangling(context, place.file, location, ("method",), parent)
            for number, result in enumerate(entry.results):
                if not context.known("benchmark", result.benchmark):
                    location = (*at, "results", number, "benchmark")
                    yield _dangling(context, place.file, location, ("benchmark",), result.benchmark)
            for number, claim in enumerate(entry.claims):
                if claim.against != "base" and not context.known("method", claim.against):
                    location = (*at, "claims", number, "against")
                    found = _dangling(context, place.file, location, ("method",), claim.against)
                    hint = found.hint or "write a method's id, or `base` for the model before"
                    yield Finding(found.code, found.file, location, found.message, hint)
        for number, id_ in enumerate(entry.related):
            kinds = tuple(kind for kind in KINDS if kind != "term")
            if not any(context.known(kind, id_) for kind in kinds):
                yield _dangling(context, place.file, (*at, "related", number), kinds, id_)
    for file, paper in context.records.papers.items():
        for number, id_ in enumerate(paper.related):
            if not context.known("paper", id_):
                yield _dangling(context, file, ("related", number), ("paper",), id_)
    for file, errata in context.records.errata.items():
        for number, erratum in enumerate(errata.errata):
            for each, ref in enumerate(erratum.about):
                yield from _about(context, file, ("errata", number, "about", each), ref)


def _dangling(
    context: Context, file: str, location: Location, kinds: tuple[str, ...], id_: str
) -> Finding:
    pool = {each for kind in kinds for each in context.ids[kind]}
    what = kinds[0] if len(kinds) == 1 else "entry or paper"
    hint = context.nearest(",".join(kinds), pool, id_)
    elsewhere = [kind for kind in KINDS if kind not in kinds and id_ in context.ids.get(kind, {})]
    if elsewhere:
        hint = f"'{id_}' is a {elsewhere[0]}"
    return Finding("R003", file, location, f"no {what} has the id '{id_}'", hint)


def _about(context: Context, file: str, location: Location, ref: str) -> Iterator[Finding]:
    kind, colon, id_ = ref.partition(":")
    if kind not in KINDS or not colon:
        hint = f"write `kind:id` with one of {', '.join(KINDS)}"
        yield Finding("R003", file, location, f"'{ref}' is not a full name", hint)
    elif kind == "term":
        facet, _, term = id_.partition("/")
        if term not in context.terms.get(facet, {}) and facet not in context.records.unread_ids:
            yield Finding("R003", file, location, f"no term is '{ref}'", "write `term:facet/id`")
    elif not context.known(kind, id_):
        yield _dangling(context, file, location, (kind,), id_)


def identifiers(context: Context) -> Iterator[Finding]:
    """An arXiv id, DOI or OpenReview id belongs to one record."""
    for name in ("arxiv", "doi", "openreview"):
        seen: dict[str, str] = {}
        for file, paper in context.records.papers.items():
            value = getattr(paper, name)
            if value is None:
                continue
            first = seen.setdefault(value.lower(), file)
            if first != file:
                message = f"{name}: '{value}' is also in {first}"
                hint = "one of the two is wrong, or both records are the same paper"
                yield Finding("R008", file, (name,), message, hint)


# --- taxonomy ----------------------------------------------------------------------------------


def facets_fit(context: Context) -> Iterator[Finding]:
    """The field of a facet exists, and each field that holds terms has its facet."""
    covered = set()
    for file, facet in context.records.facets.items():
        for number, kind in enumerate(facet.applies_to):
            covered.add((kind, facet.field))
            if facet.field not in TERM_FIELDS[kind]:
                message = f"a {kind} has no field '{facet.field}' with terms"
                hint = f"it has {', '.join(TERM_FIELDS[kind])}"
                yield Finding("R019", file, ("applies_to", number), message, hint)
    read = {*context.records.facets, *context.records.relations, *context.records.errata}
    if any(file.startswith("taxonomy/") and file not in read for file in context.records.paths):
        return  # a facet that could not be read is no missing one
    for kind, fields in TERM_FIELDS.items():
        for name in fields:
            if (kind, name) not in covered:
                message = f"no facet has `field: {name}` and applies to {kind}"
                yield Finding("R020", "taxonomy", (), message, "add it, or its file, to taxonomy/")


def unknown_terms(context: Context) -> Iterator[Finding]:
    """Entries carry terms of the facet only."""
    by_kind = {kind: [] for kind in COLLECTIONS}
    for facet in context.records.facets.values():
        for kind in facet.applies_to:
            if facet.field in TERM_FIELDS[kind]:
                by_kind[kind].append((facet, tuple(facet.field.split("."))))
    for place in context.places:
        for facet, path in by_kind[place.kind]:
            value: Any = place.entry
            for part in path:
                value = getattr(value, part)
            terms = context.terms[facet.id]
            if isinstance(value, str):
                if value not in terms:
                    yield _unknown_term(context, place, path, facet, value)
            else:
                for number, term in enumerate(value or ()):
                    if term not in terms:
                        yield _unknown_term(context, place, (*path, number), facet, term)


def _unknown_term(
    context: Context, place: Place, path: Location, facet: Facet, term: str
) -> Finding:
    hint = context.nearest(f"term:{facet.id}", context.terms[facet.id], term)
    message = f"'{term}' is not a term of {facet.id}"
    hint = hint or f"see taxonomy/{facet.id}.yaml, or add it there"
    return Finding("R004", place.file, (*place.location, *path), message, hint)


def term_parents(context: Context) -> Iterator[Finding]:
    """The parent of a term is a term of the same facet, and no term is its own ancestor."""
    for file, facet in context.records.facets.items():
        places = {term.id: ("terms", n, "parent") for n, term in enumerate(facet.terms)}
        parents = context.terms[facet.id]
        for term, parent in parents.items():
            if parent and parent not in parents:
                message = f"parent '{parent}' is not a term of {facet.id}"
                hint = context.nearest(f"term:{facet.id}", parents, parent)
                yield Finding("R005", file, places[term], message, hint)
        for cycle in _cycles({term: [p] if p else [] for term, p in parents.items()}):
            message = f"terms are their own ancestors: {' -> '.join([*cycle, cycle[0]])}"
            yield Finding("R006", file, places[cycle[0]], message, "delete one of the parents")


def lineage(context: Context) -> Iterator[Finding]:
    """No objective is its own ancestor."""
    places = {place.entry.id: place for place in context.methods()}
    parents = {id_: place.entry.objective.parent for id_, place in places.items()}
    for cycle in _cycles({method: [p] if p else [] for method, p in parents.items()}):
        place = places[cycle[0]]
        message = f"objectives are their own ancestors: {' -> '.join([*cycle, cycle[0]])}"
        location = (*place.location, "objective", "parent")
        yield Finding("R007", place.file, location, message, "delete one of the parents")


def _cycles(targets: dict[str, list[str]]) -> Iterator[list[str]]:
    """One cycle of each knot of a directed graph, from its smallest member on; in linear time."""
    state: dict[str, int] = {}  # 1: on the current way, 2: done
    for start in sorted(targets):
        if start in state:
            continue
        way, stack = [start], [iter(targets[start])]
        state[start] = 1
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                state[way.pop()] = 2
            elif state.get(step) == 1:
                cycle = way[way.index(step) :]
                least = cycle.index(min(cycle))
                yield cycle[least:] + cycle[:least]
            elif step in targets and step not in state:
                state[step] = 1
                way.append(step)
                stack.append(iter(targets[step]))


def relations_fit(context: Context) -> Iterator[Finding]:
    """Edges of the graph have the types, ends and direction that relations.yaml says."""
    if not context.records.relations:
        if "taxonomy/relations.yaml" not in context.records.paths:
            message = "taxonomy/relations.yaml is missing"
            yield Finding("R020", "taxonomy/relations.yaml", (), message, "it types the edges")
        return
    file, declared = next(iter(context.records.relations.items()))
    at = {relation.id: ("relations", n) for n, relation in enumerate(declared.relations)}
    known = {relation.id: relation for relation in declared.relations}
    for name in at:
        if name not in graph.RELATIONS:
            message = f"no edge is of the type '{name}'"
            hint = context.nearest("relation", graph.RELATIONS, name)
            yield Finding("R017", file, (*at[name], "id"), message, hint)
    for name in graph.RELATIONS:
        if name not in known:
            yield Finding("R020", file, (), f"relation '{name}' is missing", "add it")
    seen: set[tuple[str, str, str]] = set()
    loose: dict[str, dict[str, list[str]]] = {}
    for edge in graph.edges(context.kb):
        relation = known.get(edge.relation)
        if relation is None:
            continue
        source, target = graph.kind_of(edge.source), graph.kind_of(edge.target)
        if relation.acyclic and source == target and edge.relation not in ("broader", "extends"):
            ways = loose.setdefault(edge.relation, {})
            ways.setdefault(edge.source, []).append(edge.target)
        if (edge.relation, source, target) in seen:
            continue
        seen.add((edge.relation, source, target))
        for side, kind, allowed in (
            ("domain", source, relation.domain),
            ("range", target, relation.range),
        ):
            if kind not in allowed:
                message = (
                    f"{edge.relation}: {kind} is not in its {side}, but there is "
                    f"{edge.source} -> {edge.target}"
                )
                hint = f"add {kind} to `{side}`, or correct the record"
                yield Finding("R017", file, (*at[edge.relation], side), message, hint)
    for name, ways in loose.items():
        for cycle in _cycles(ways):
            message = f"{name} is acyclic, but there is {' -> '.join([*cycle, cycle[0]])}"
            yield Finding("R017", file, (*at[name], "acyclic"), message, "correct the records")


# --- evidence ----------------------------------------------------------------------------------


def evidence_sources(context: Context) -> Iterator[Finding]:
    """A source has one of three forms, and a check has a day that has been."""
    for file, paper in context.records.papers.items():
        for number, item in enumerate(paper.evidence):
            at = ("evidence", number)
            if not SOURCE.fullmatch(item.source):
                message = f"'{item.source}' is not the form of a source"
                yield Finding("R009", file, (*at, "source"), message, f"write {SOURCE_FORMS}")
            yield from _date(context, file, (*at, "checked"), item.checked)
    for file, errata in context.records.errata.items():
        for number, erratum in enumerate(errata.errata):
            at = ("errata", number)
            if not SOURCE.fullmatch(erratum.proof):
                message = f"'{erratum.proof}' is not the form of a source"
                yield Finding("R009", file, (*at, "proof"), message, f"write {SOURCE_FORMS}")
            yield from _date(context, file, (*at, "checked"), erratum.checked)


def _date(context: Context, file: str, location: Location, text: str) -> Iterator[Finding]:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        hint = "write the day of the check as 2026-01-31"
        yield Finding("R012", file, location, f"the day '{text}' does not exist", hint)
        return
    if day > context.today:
        hint = "write the day on which it was checked"
        yield Finding("R012", file, location, f"the day '{text}' lies in the future", hint)


def evidence_paths(context: Context) -> Iterator[Finding]:
    """What an evidence covers exists."""
    for file, paper in context.records.papers.items():
        known: set[str] = set()  # paths repeat within a record
        for number, item in enumerate(paper.evidence):
            for each, path in enumerate(item.for_):
                if path in known:
                    continue
                wrong = _unresolved(paper, path)
                if wrong is None:
                    known.add(path)
                    continue
                part, choices = wrong
                location = ("evidence", number, "for", each)
                near = difflib.get_close_matches(part, choices, 1, 0.6)
                hint = f"did you mean '{near[0]}'?" if near else f"here: {', '.join(choices)}"
                message = f"'{path}' is no field of this record: there is no '{part}'"
                yield Finding("R010", file, location, message, hint if choices else "")


def _unresolved(paper: Paper, path: str) -> tuple[str, list[str]] | None:
    """The part of a path that does not exist and what does in its place; None if all exist.

    Items of a list are named by id, name, benchmark, symbol, framework or number.
    """
    if path == "bibliography":
        return None
    value: Any = paper
    parts = path.split(".")
    for place, part in enumerate(parts):
        if isinstance(value, BaseModel):
            fields = type(value).model_fields
            if part == "facets" and isinstance(value, Method):
                return None if place == len(parts) - 1 else (parts[place + 1], [])
            name = "for_" if part == "for" else part
            if name not in fields:
                return part, [*fields, "bibliography"] if place == 0 else list(fields)
            value = getattr(value, name)
        elif isinstance(value, tuple):
            names = [_item_name(item) for item in value]
            rest = ".".join(parts[place:])
            if rest in names:  # a name that holds dots, such as `lr.vision`
                return None
            if part in names:
                value = value[names.index(part)]
            elif part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return part, names
        else:
            return part, []
    return None


def _item_name(item: Any) -> str:
    for name in ("id", "name", "benchmark", "symbol", "framework"):
        value = getattr(item, name, None)
        if isinstance(value, str):
            return value
    return str(item) if isinstance(item, str) else ""


def evidence_coverage(context: Context) -> Iterator[Finding]:
    """Facts that matter have an evidence."""
    for file, paper in context.records.papers.items():
        covered = {path for item in paper.evidence for path in item.for_}
        if "bibliography" in covered:
            covered.update(BIBLIOGRAPHY)
        for name in ("title", "authors", "year", "venue"):
            if name not in covered:
                hint = f"add it, or `bibliography`, to the `for` of an evidence: `{name}`"
                yield Finding("R011", file, (name,), f"{name} has no evidence", hint)
        if "methods" not in covered:
            for number, method in enumerate(paper.methods):
                yield from _method_coverage(file, ("methods", number), method, covered)
        if "datasets" not in covered:
            for number, dataset in enumerate(paper.datasets):
                at, path = ("datasets", number), f"datasets.{dataset.id}"
                for name in ("size_paper", "size_released", "licence", "location"):
                    if getattr(dataset, name) is not None:
                        yield from _covered(file, (*at, name), path, name, covered)


def _method_coverage(
    file: str, location: Location, method: Method, covered: set[str]
) -> Iterator[Finding]:
    path = f"methods.{method.id}"
    if path in covered:
        return
    if f"{path}.facets" not in covered:
        missing = [
            name
            for name in METHOD_FACETS
            if getattr(method, name) and f"{path}.{name}" not in covered
        ]
        if missing:
            message = f"{path}: no evidence for {', '.join(missing)}"
            hint = f"add `{path}.facets` to the `for` of an evidence"
            yield Finding("R011", file, (*location, missing[0]), message, hint)
    yield from _covered(file, (*location, "objective"), path, "objective", covered)
    for name in ("hyperparameters", "results", "claims"):
        if getattr(method, name):
            yield from _covered(file, (*location, name), path, name, covered)


def _covered(
    file: str, location: Location, path: str, name: str, covered: set[str]
) -> Iterator[Finding]:
    if path not in covered and f"{path}.{name}" not in covered:
        message = f"{path}.{name} has no evidence"
        hint = f"add `{path}.{name}` to the `for` of an evidence"
        yield Finding("R011", file, location, message, hint)


# --- methods -----------------------------------------------------------------------------------


def scripts(context: Context) -> Iterator[Finding]:
    """A checkout holds the script of each method that names one, and no other script."""
    folder = context.records.root / "reference_impls" / "methods"
    if not folder.is_dir():  # installed data without the scripts beside it
        return
    present = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    owner: dict[str, Place] = {}
    for place in context.methods():
        name = place.entry.reference_impl
        if name is None:
            continue
        location = (*place.location, "reference_impl")
        first = owner.setdefault(name, place)
        if first is not place:
            message = f"the script '{name}' already belongs to method '{first.entry.id}'"
            yield Finding("R015", place.file, location, message, "each method has its own script")
        elif name not in present:
            message = f"reference_impls/methods/{name}.py does not exist"
            hint = context.nearest("script", present, name) or "write it, or delete the line"
            yield Finding("R013", place.file, location, message, hint)
    for name in sorted(present - set(owner)):
        if name.replace("_", "-") in context.records.unread_ids:
            continue  # perhaps it is named there
        file = f"reference_impls/methods/{name}.py"
        hint = f"write `reference_impl: {name}` into the record of its method"
        yield Finding("R014", file, (), "no record names this script", hint)


def equations(context: Context) -> Iterator[Finding]:
    """Equations are LaTeX that the site can show. Each distinct text is checked once."""
    for place in context.methods():
        objective, at = place.entry.objective, (*place.location, "objective")
        texts = [((*at, "latex"), objective.latex)]
        texts += [
            ((*at, "symbols", n, "symbol"), each.symbol) for n, each in enumerate(objective.symbols)
        ]
        texts += [
            ((*at, "variants", n, "latex"), each.latex)
            for n, each in enumerate(objective.variants)
            if each.latex
        ]
        for location, text in texts:
            for message in latex.problems(text):
                yield Finding("R016", place.file, location, message)


def drafts(context: Context) -> Iterator[Finding]:
    """Texts that `mmalign new` leaves to a person who has read the paper (see `mmalign.draft`)."""
    hint = "open the paper, write it, and name the place in the evidence"
    for file, paper in context.records.papers.items():
        texts: list[tuple[Location, str | None]] = [
            (("summary",), paper.summary),
            (("venue",), paper.venue),
            *((("evidence", n, "note"), item.note) for n, item in enumerate(paper.evidence)),
        ]
        if paper.authors[-1] in ("others", "TODO"):
            message = "the list of authors is not complete"
            yield Finding(
                "R021", file, ("authors", len(paper.authors) - 1), message, "name them all"
            )
        for collection in COLLECTIONS.values():
            for number, entry in enumerate(getattr(paper, collection)):
                at = (collection, number)
                texts.append(((*at, "summary"), entry.summary))
                if isinstance(entry, Method):
                    objective = entry.objective
                    texts.append(((*at, "objective", "latex"), objective.latex))
                    texts.append(((*at, "objective", "place"), objective.place))
                    texts += [
                        ((*at, "claims", n, "metric"), claim.metric)
                        for n, claim in enumerate(entry.claims)
                    ]
                elif isinstance(entry, Benchmark):
                    texts += [
                        ((*at, "metrics", n, "name"), metric.name)
                        for n, metric in enumerate(entry.metrics)
                    ]
        for location, text in texts:
            if text is not None and text.startswith("TODO"):
                yield Finding("R021", file, location, "the draft still says TODO here", hint)


def single_results(context: Context) -> Iterator[Finding]:
    """One number alone says little: it has no second to compare it with."""
    for place in context.methods():
        if len(place.entry.results) == 1:
            message = f"methods.{place.entry.id}.results: a single result"
            hint = "add at least one more that the paper reports, or leave results out"
            yield Finding("R018", place.file, (*place.location, "results"), message, hint)


RULES = (
    file_names,
    unique_ids,
    dangling_ids,
    identifiers,
    facets_fit,
    unknown_terms,
    term_parents,
    lineage,
    relations_fit,
    evidence_sources,
    evidence_paths,
    evidence_coverage,
    scripts,
    equations,
    single_results,
    drafts,
)
