"""Rules about the taxonomy: facets, terms, lineage, and types of relation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmalign.ask import graph
from mmalign.characters import quoted
from mmalign.check.context import Context, Place
from mmalign.records.model import Entry, Facet
from mmalign.records.problems import Finding, Location
from mmalign.vocabulary import COLLECTIONS, TERM_FIELDS, TODO_ID, kind_of


def facets_fit(context: Context) -> Iterator[Finding]:
    """The field of a facet exists, and each field that holds terms has its facet."""
    covered: set[tuple[str, str]] = set()
    for file, facet in context.records.facets.items():
        for number, kind in enumerate(facet.applies_to):
            covered.add((kind, facet.field))
            if facet.field not in TERM_FIELDS[kind]:
                message = f"a {kind} has no field {quoted(facet.field)} with terms"
                hint = f"it has {', '.join(TERM_FIELDS[kind])}"
                yield Finding("R019", file, ("applies_to", number), message, hint)
    read = {*context.records.facets, *context.records.relations, *context.records.errata}
    if any(file.startswith("taxonomy/") and file not in read for file in context.records.paths):
        return  # a facet that could not be read is no missing one
    for carrier, fields in TERM_FIELDS.items():
        for name in fields:
            if (carrier, name) not in covered:
                message = f"no facet has `field: {name}` and applies to {carrier}"
                yield Finding("R020", "taxonomy", (), message, "add it, or its file, to taxonomy/")


def unknown_terms(context: Context) -> Iterator[Finding]:
    """Entries carry terms of the facet only."""
    by_kind: dict[str, list[tuple[Facet, tuple[str, ...]]]] = {kind: [] for kind in COLLECTIONS}
    for facet in context.records.facets.values():
        for carrier in facet.applies_to:
            if facet.field in TERM_FIELDS[carrier]:
                by_kind[carrier].append((facet, tuple(facet.field.split("."))))
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
    context: Context, place: Place[Entry], path: Location, facet: Facet, term: str
) -> Finding:
    if term == TODO_ID:  # what `mmalign new` leaves
        hint = f"terms of {facet.id}: {', '.join(context.terms[facet.id])}"
        message = "the draft still says todo here"
        return Finding("R021", place.file, (*place.location, *path), message, hint)
    hint = context.nearest(f"term:{facet.id}", context.terms[facet.id], term)
    message = f"{quoted(term)} is not a term of {facet.id}"
    hint = hint or f"see taxonomy/{facet.id}.yaml, or add it there"
    return Finding("R004", place.file, (*place.location, *path), message, hint)


def term_parents(context: Context) -> Iterator[Finding]:
    """The parent of a term is a term of the same facet, and no term is its own ancestor."""
    for file, facet in context.records.facets.items():
        places = {term.id: ("terms", n, "parent") for n, term in enumerate(facet.terms)}
        parents = context.terms[facet.id]
        for term, parent in parents.items():
            if parent and parent not in parents:
                message = f"parent {quoted(parent)} is not a term of {facet.id}"
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
            message = f"no edge is of the type {quoted(name)}"
            hint = context.nearest("relation", graph.RELATIONS, name)
            yield Finding("R017", file, (*at[name], "id"), message, hint)
    for name in graph.RELATIONS:
        if name not in known:
            yield Finding("R020", file, (), f"relation {quoted(name)} is missing", "add it")
    seen: set[tuple[str, str, str]] = set()
    loose: dict[str, dict[str, list[str]]] = {}
    for edge in graph.edges(context.kb):
        relation = known.get(edge.relation)
        if relation is None:
            continue
        source, target = kind_of(edge.source), kind_of(edge.target)
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
