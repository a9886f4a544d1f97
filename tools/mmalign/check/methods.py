"""Rules about methods: their scripts, equations and results, and drafts that are not finished."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from mmalign.characters import quoted
from mmalign.check import latex
from mmalign.check.context import Context, Place
from mmalign.records import lab
from mmalign.records.model import Method
from mmalign.records.problems import Finding, Location
from mmalign.vocabulary import TODO, TODO_ID


def scripts(context: Context) -> Iterator[Finding]:
    """There is a script of each method that names one, and no other script."""
    folder = lab.folder(context.records.root) / "methods"
    if not folder.is_dir():  # records without the lab
        return
    present = {path.stem for path in folder.glob("*.py") if not path.name.startswith("_")}
    owner: dict[str, Place[Method]] = {}
    for place in context.methods():
        name = place.entry.reference_impl
        if name is None:
            continue
        location = (*place.location, "reference_impl")
        first = owner.setdefault(name, place)
        if first is not place:
            message = f"the script {quoted(name)} already belongs to method '{first.entry.id}'"
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


MAX_EQUATIONS = 100_000
"""Characters of the equations of a file that are checked: to look at them is the costliest rule. No
record of the atlas has 2,000."""


def equations(context: Context) -> Iterator[Finding]:
    """Equations are LaTeX that the site can show. Each distinct text is checked once."""
    looked_at: dict[str, int] = {}
    for file, location, text in _equations(context):
        before = looked_at.get(file, 0)
        if before > MAX_EQUATIONS:
            continue
        looked_at[file] = before + len(text)
        if looked_at[file] > MAX_EQUATIONS:
            message = f"the equations of this file have more than {MAX_EQUATIONS:,} characters"
            hint = "split the record; from here on they are not checked"
            yield Finding("R016", file, location, message, hint)
        else:
            for said in latex.problems(text):
                yield Finding("R016", file, location, said)


def _equations(context: Context) -> Iterator[tuple[str, Location, str]]:
    """Every text that a page shows as an equation, with file and place."""
    for place in context.methods():
        objective, at = place.entry.objective, (*place.location, "objective")
        yield place.file, (*at, "latex"), objective.latex
        for number, symbol in enumerate(objective.symbols):
            yield place.file, (*at, "symbols", number, "symbol"), symbol.symbol
        for number, variant in enumerate(objective.variants):
            if variant.latex:
                yield place.file, (*at, "variants", number, "latex"), variant.latex
    for file, facet in context.records.facets.items():
        for number, term in enumerate(facet.terms):
            if term.form:
                yield file, ("terms", number, "form"), term.form


_TODO = re.compile(rf"{TODO}\b")


def drafts(context: Context) -> Iterator[Finding]:
    """Texts that `mmalign new` leaves to a person who has read the paper.

    Of a record whose shape is broken, too: whoever fills in a draft sees all that is left at once.
    """
    records: dict[str, Any] = {**context.records.papers, **context.records.unshaped}
    for file, record in records.items():
        authors = record.get("authors") if isinstance(record, dict) else record.authors
        if isinstance(authors, tuple) and authors and authors[-1] in ("others", TODO):
            message, at = "the list of authors is not complete", ("authors", len(authors) - 1)
            yield Finding("R021", file, at, message, "name them all")
        hint = "open the paper, write it, and name the place in the evidence"
        # Terms of a record that has its shape are looked at by `taxonomy.unknown_terms`.
        words = (TODO_ID,) if isinstance(record, dict) else ()
        for location in _todos(record, (), words):
            if location[0] != "authors":
                yield Finding("R021", file, location, "the draft still says TODO here", hint)


def _todos(value: Any, at: Location, words: tuple[str, ...]) -> Iterator[Location]:
    """Where a text begins with TODO, or is one of some words."""
    if isinstance(value, str):
        if _TODO.match(value) or value in words:
            yield at
    elif isinstance(value, tuple):
        for number, item in enumerate(value):
            yield from _todos(item, (*at, number), words)
    elif isinstance(value, (dict, BaseModel)):
        for name, item in value.items() if isinstance(value, dict) else value:
            if item:
                yield from _todos(item, (*at, name), words)


def single_results(context: Context) -> Iterator[Finding]:
    """One number alone says little: it has no second to compare it with."""
    for place in context.methods():
        if len(place.entry.results) == 1:
            message = f"methods.{place.entry.id}.results: a single result"
            hint = "add at least one more that the paper reports, or leave results out"
            yield Finding("R018", place.file, (*place.location, "results"), message, hint)
