"""Empty ground: two ways of sorting the methods, crossed, and the cells that no method is in.

An axis is a facet of methods (by its id or its field's last part), or what they report on:
`benchmark`, or `dimension`, the dimensions of those benchmarks. Pure: it works on the short views
of entries (`mmalign.ask.views.row`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmalign.errors import UnknownAxis
from mmalign.vocabulary import Json

OF_BENCHMARKS = ("benchmark", "dimension")

NO_GROUND = ("baseline", "none", "not-stated")
"""Values that say nothing about a method, so that a cell without any of them is no gap."""


@dataclass(frozen=True)
class Cell:
    """One cell: how many methods are in it, and in all of its row and column.

    `expected` is row x column / all methods: what the cell would hold if the two axes had nothing
    to do with each other. An empty cell between a full row and a full column says more than one
    between two rare terms.
    """

    row: str
    column: str
    methods: tuple[str, ...]
    in_row: int
    in_column: int
    expected: float

    def as_dict(self) -> Json:
        """The cell as JSON has it."""
        plain = {**asdict(self), "methods": list(self.methods), "count": len(self.methods)}
        return {"kind": "cell", **plain}


@dataclass(frozen=True)
class Axis:
    """Values in the order of the taxonomy, and for each method (by id) those that it has."""

    name: str
    values: tuple[str, ...]
    of_method: Mapping[str, frozenset[str]]


def axes(facets: Mapping[str, Json]) -> list[str]:
    """Names of all axes: the facets of methods, then `benchmark` and `dimension`."""
    own = [facet["key"] for facet in facets.values() if "method" in facet["applies_to"]]
    return [*own, *OF_BENCHMARKS]


def axis(
    name: str,
    facets: Mapping[str, Json],
    methods: Sequence[Json],
    benchmarks: Sequence[Json],
) -> Axis:
    """One axis over the methods. Raises UnknownAxis.

    A term that has others below it stands for them and is no value itself, unless a method carries
    it directly.
    """
    wanted = name.lower().replace("-", "_")
    if wanted == "benchmark":
        reported = {m["id"]: frozenset(m["benchmarks"]) for m in methods}
        return Axis(wanted, tuple(row["id"] for row in benchmarks), reported)
    if wanted in ("dimension", "benchmark_dimension"):
        dimensions = {row["id"]: row["dimension"] for row in benchmarks}
        measured = {
            m["id"]: frozenset(d for b in m["benchmarks"] for d in dimensions.get(b, ()))
            for m in methods
        }
        found = [facet["terms"] for facet in facets.values() if facet["key"] == "dimension"]
        if not found:
            raise UnknownAxis(name, axes(facets))
        terms = found[0]
        return Axis("dimension", _leaves(terms, measured), measured)
    for id_, facet in facets.items():
        if wanted in (id_, facet["key"]) and "method" in facet["applies_to"]:
            carried = {m["id"]: frozenset(_values(m, facet["field"])) for m in methods}
            return Axis(facet["key"], _leaves(facet["terms"], carried), carried)
    raise UnknownAxis(name, axes(facets))


def _values(row: Json, field: str) -> Iterable[str]:
    value: Any = row
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return (value,) if isinstance(value, str) else value or ()


def _leaves(terms: Sequence[Json], carried: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    parents = {term["parent"] for term in terms}
    used = frozenset().union(*carried.values()) if carried else frozenset()
    return tuple(t["id"] for t in terms if t["id"] not in parents or t["id"] in used)


def cross(rows: Axis, columns: Axis) -> list[Cell]:
    """Every cell, row by row."""
    methods = list(rows.of_method)
    in_row = {v: [m for m in methods if v in rows.of_method[m]] for v in rows.values}
    in_column = {v: {m for m in methods if v in columns.of_method[m]} for v in columns.values}
    return [
        Cell(
            row,
            column,
            tuple(m for m in in_row[row] if m in in_column[column]),
            len(in_row[row]),
            len(in_column[column]),
            round(len(in_row[row]) * len(in_column[column]) / len(methods), 2) if methods else 0.0,
        )
        for row in rows.values
        for column in columns.values
    ]


def empty(cells: Iterable[Cell]) -> list[Cell]:
    """Cells that no method is in, the most surprising first."""
    found = [
        cell
        for cell in cells
        if not cell.methods and cell.row not in NO_GROUND and cell.column not in NO_GROUND
    ]
    return sorted(found, key=lambda cell: (-cell.expected, cell.row, cell.column))
