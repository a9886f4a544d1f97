"""The words of the atlas: kinds, what a paper's lists and a reader call them, fields with terms.

Written once, here. Nothing but the standard library is imported, so that the fast commands can
have them for nothing.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

Json = dict[str, Any]
"""An object of JSON, such as a view of an entry: which fields it has depends on its `kind`."""

Kind = Literal["method", "dataset", "benchmark", "model", "framework", "paper", "term"]
"""A kind of node."""
EntryKind = Literal["method", "dataset", "benchmark", "model", "framework"]
"""A kind of entry: what a paper contributes."""
Listed = Literal[
    "method", "dataset", "benchmark", "model", "framework", "paper", "term", "erratum", "claim"
]
"""What can be listed: the kinds of node, errata, and claims of methods."""

ENTRY_KINDS: tuple[EntryKind, ...] = ("method", "dataset", "benchmark", "model", "framework")
KINDS: tuple[Kind, ...] = (*ENTRY_KINDS, "paper", "term")
"""Kinds of node, in the order in which a bare id is looked up."""
LISTED: tuple[Listed, ...] = (*KINDS, "erratum", "claim")

PLURALS: dict[str, str] = {
    "method": "methods",
    "dataset": "datasets",
    "benchmark": "benchmarks",
    "model": "models",
    "framework": "frameworks",
    "paper": "papers",
    "term": "terms",
    "erratum": "errata",
    "claim": "claims",
}
"""What can be listed -> its plural, in the command line and in sentences."""

Severity = Literal["wrong", "misleading", "missing", "typo", "outdated-since"]
"""What an erratum finds: false, mostly read wrongly, left out, a slip, right when printed."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From what misleads most to what is no error of its authors."""

COLLECTIONS: dict[str, str] = {kind: PLURALS[kind] for kind in ENTRY_KINDS}
"""Kind of entry -> field of a paper that holds such entries."""

LABELS: dict[str, tuple[str, str]] = {
    **{kind: (kind.capitalize(), PLURALS[kind].capitalize()) for kind in KINDS},
    "term": ("Term", "Taxonomy"),
}
"""Kind of node -> its heading for one and for many."""

TERM_FIELDS: dict[str, tuple[str, ...]] = {
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
    "framework": (),
}
"""Kind of entry -> its fields that hold terms: for each there must be a facet."""

USES: dict[str, Kind] = {
    "trains_on": "dataset",
    "benchmarks": "benchmark",
    "base_models": "model",
    "compares_with": "method",
}
"""Field of a method -> kind of what it names."""


TODO = "TODO"
"""A text of a draft that begins with this is still to be written."""
TODO_ID = "todo"
"""The same where an id or a term is wanted."""


def kind_of(ref: str) -> str:
    """Kind of a full name: `term` of `term:scenario/safety`."""
    return ref.partition(":")[0]


def facet_key(field: str) -> str:
    """Name of a facet as option and column: the last part of its field, such as `family`."""
    return field.rpartition(".")[2]
