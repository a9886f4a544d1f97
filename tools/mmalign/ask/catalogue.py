"""The compiled knowledge base: what `list`, `query` and `show` read.

Its values (`mmalign.ask.views.compiled`) come from the cache (`mmalign.records.cache`) where that
is fresh, else from the records. Nothing but the standard library is imported until it has to be
made. Values are parsed one by one, when they are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mmalign import names
from mmalign.errors import UnknownId
from mmalign.records import cache
from mmalign.records.root import find_root
from mmalign.vocabulary import KINDS, Json


def open_catalogue(root: str | None = None) -> Catalogue:
    """The catalogue of a root, from the cache where that is fresh.

    Raises RootNotFound, and LoadError where the records have problems of shape.
    """
    found = find_root(root)
    stamp = cache.stamp(found)
    values = cache.get(found, stamp) if stamp else None
    if values is None:
        values = compile_values(found)
        if stamp:
            cache.put(found, stamp, values)
    return Catalogue(found, values)


def compile_values(root: str) -> dict[str, bytes]:
    """What the cache keeps, made from the records: key -> JSON."""
    from mmalign.ask import views
    from mmalign.records.read import load

    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return {key: dump(value).encode() for key, value in views.compiled(load(root)).items()}


class Catalogue:
    """Everything the fast commands need, parsed value by value when asked for."""

    def __init__(self, root: str, values: Mapping[str, bytes]):
        self.root = root
        self._values = values
        self._parsed: dict[str, Any] = {}

    def _get(self, key: str) -> Any:
        if key not in self._parsed:
            self._parsed[key] = json.loads(self._values[key])
        return self._parsed[key]

    @property
    def facets(self) -> dict[str, Json]:
        """Facets by id: label, definition, survey, applies_to, field, key, terms."""
        return cast(dict[str, Json], self._get("facets"))

    @property
    def stats(self) -> Json:
        """Counts of everything, as `mmalign.ask.views.stats` gives them."""
        return cast(Json, self._get("stats"))

    def rows(self, kind: str) -> list[Json]:
        """The short view of everything of one kind (`LISTED`), in the order of ids."""
        return cast(list[Json], self._get(f"rows {kind}"))

    def card(self, ref: str) -> Json:
        """The full view of one node, by full name. Raises KeyError."""
        return cast(Json, self._get(ref))

    def find(self, name: str, kinds: Sequence[str] = KINDS) -> list[str]:
        """Full names of what `name` may mean, the preferred one first: `mmalign.names.find`."""
        # Cards are kept by full name, and no other key holds a colon.
        return names.find(self._get("names"), self._values, name, kinds)

    def closure(self, facet: str, term: str) -> frozenset[str]:
        """A term, given by id, alias or label, and everything below it. Raises UnknownId."""

        def of(definition: Json) -> list[names.TermNames]:
            return [
                names.TermNames(t["id"], t["label"], t["parent"], tuple(t["aliases"]))
                for t in definition["terms"]
            ]

        try:
            return names.closure(facet, of(self.facets[facet]), term)
        except UnknownId as error:
            other = [f for f, d in self.facets.items() if term in {t["id"] for t in d["terms"]}]
            if error.nearest or not other:
                raise
            message = f"'{term}' is not a term of the facet {facet}; it is one of "
            raise UnknownId(message + " and ".join(other)) from None

    def checked(self, paper: str) -> str:
        """The day on which a fact of a paper's record was last held against its source."""
        return cast(dict[str, str], self._get("checked"))[paper]

    def search(self, kind: str, text: str) -> list[int]:
        """Positions in `rows(kind)` of what matches a text, best first."""
        from mmalign.ask import search

        return [number for number, _ in search.rank(self._get(f"search {kind}"), text)]

    def corrections(self, kind: str, text: str) -> dict[str, str]:
        """Words of a text that `search` takes for another one, with that one."""
        from mmalign.ask import search

        return search.corrections(self._get(f"search {kind}"), text)
