"""Rules about ids: they are unique, and whatever is referred to exists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmalign.characters import quoted
from mmalign.check.context import Context
from mmalign.records.model import Method
from mmalign.records.problems import Finding, Location
from mmalign.vocabulary import KINDS


def file_names(context: Context) -> Iterator[Finding]:
    """The name of a file is the id inside it."""
    named = [(file, paper.id) for file, paper in context.records.papers.items()]
    named += [(file, facet.id) for file, facet in context.records.facets.items()]
    for file, id_ in named:
        stem = Path(file).stem
        if stem != id_:
            message = f"id: {quoted(id_)} stands in the file {quoted(Path(file).name)}"
            # A name that no id can have would be a problem of its own inside the file.
            fits = re.fullmatch(r"[a-z0-9-]+|[a-z_]+", stem, re.ASCII)
            hint = f"write `id: {stem}`, or rename the file" if fits else "rename the file"
            yield Finding("R001", file, ("id",), message, hint)


def unique_ids(context: Context) -> Iterator[Finding]:
    """An id is unique among things of its kind (a term's in its facet)."""
    for kind, ids in context.ids.items():
        for id_, places in ids.items():
            for file, location in places[1:]:
                message = f"{kind} id {quoted(id_)} is also in {places[0][0]}"
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


def _repeated(
    file: str, where: str | Location, items: Iterable[Any], what: str
) -> Iterator[Finding]:
    location = (where,) if isinstance(where, str) else where
    seen: set[str] = set()
    for number, item in enumerate(items):
        if item.id in seen:
            message = f"{what} id {quoted(item.id)} stands twice in this list"
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
    pool = (each for kind in kinds for each in context.ids[kind])
    what = kinds[0] if len(kinds) == 1 else "entry or paper"
    hint = context.nearest(",".join(kinds), pool, id_)
    elsewhere = [kind for kind in KINDS if kind not in kinds and id_ in context.ids.get(kind, {})]
    if elsewhere:
        hint = f"{quoted(id_)} is a {elsewhere[0]}"
    return Finding("R003", file, location, f"no {what} has the id {quoted(id_)}", hint)


def _about(context: Context, file: str, location: Location, ref: str) -> Iterator[Finding]:
    kind, colon, id_ = ref.partition(":")
    if kind not in KINDS or not colon:
        hint = f"write `kind:id` with one of {', '.join(KINDS)}"
        yield Finding("R003", file, location, f"{quoted(ref)} is not a full name", hint)
    elif kind == "term":
        facet, _, term = id_.partition("/")
        if term not in context.terms.get(facet, {}) and facet not in context.records.unread_ids:
            yield Finding(
                "R003", file, location, f"no term is {quoted(ref)}", "write `term:facet/id`"
            )
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
                message = f"{name}: {quoted(value)} is also in {first}"
                hint = "one of the two is wrong, or both records are the same paper"
                yield Finding("R008", file, (name,), message, hint)
