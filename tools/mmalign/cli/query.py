"""`mmalign query`: entries by facet, by what they use, by year, and by text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmalign.ask.catalogue import Catalogue
from mmalign.cli import output
from mmalign.cli.arguments import Kind, Name, TermName, resolve
from mmalign.cli.options import listing as listing_options
from mmalign.cli.options import since_option, since_test
from mmalign.errors import UnknownId
from mmalign.vocabulary import KINDS, PLURALS, Json

if TYPE_CHECKING:
    YearsParam = click.ParamType[tuple[int, int]]
    HasParam = click.ParamType[list[str]]
else:  # not generic before click 8.4
    YearsParam = HasParam = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])
Test = Callable[[Json], bool]
"""Whether a row is kept."""

MEANINGS = {
    "scenario": "What the alignment is for",
    "modality": "Inputs besides text",
    "data_source": "Where images and prompts come from",
    "response_source": "Where the answers come from",
    "annotation": "Who or what judges the answers",
    "pair_difference": "What differs between chosen and rejected",
    "family": "Family of the objective",
    "dimension": "What a benchmark measures",
    "addresses": "Future direction that a method takes up",
}
"""The facets by the name of their option: the last part of the field that holds their terms."""
FACETS = tuple(MEANINGS)

# Option -> (kind of what it names, field of a method that holds such names).
USES = {
    "benchmark": ("benchmark", "benchmarks"),
    "dataset": ("dataset", "trains_on"),
    "base_model": ("model", "base_models"),
}
HAS = ("code", "impl", "results")


class Years(YearsParam):
    """`2024`, `2024..2025`, `2024..`, `..2024`; gives a pair of numbers, both included."""

    name = "years"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        # Not int(): that takes 2_024 and the digits of every script.
        parts = re.fullmatch(r"([0-9]{4})?(?:(\.\.)([0-9]{4})?)?", value)
        if parts is None:
            self.fail(f"'{value}' is no year and no range such as 2024..2025", param, ctx)
        first, dots, last = parts.groups()
        low = int(first or 0)
        high = int(last or 9999) if dots else low
        if low > high or not (first or last):
            self.fail(f"'{value}' holds no year", param, ctx)
        return low, high


class Has(HasParam):
    """A list with commas of `HAS`, each with `!` before it to exclude."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        wanted = [part.strip() for part in value.split(",")]
        for part in wanted:
            if part.removeprefix("!") not in HAS:
                self.fail(f"'{part}' is not one of {', '.join(HAS)}", param, ctx)
        return wanted


def _facet_options(function: F) -> F:
    for key in reversed(FACETS):
        function = click.option(
            f"--{key.replace('_', '-')}",
            key,
            type=TermName(key),
            metavar="TERM",
            multiple=True,
            help=f"{MEANINGS[key]}.",
        )(function)
    return function


@click.command()
@click.argument("text", nargs=-1)
@_facet_options
@click.option("--benchmark", type=Name(("benchmark",)), metavar="ID", multiple=True,
              help="Methods that report on it.")  # fmt: skip
@click.option("--dataset", type=Name(("dataset",)), metavar="ID", multiple=True,
              help="Methods that train on it.")  # fmt: skip
@click.option("--base-model", type=Name(("model",)), metavar="ID", multiple=True,
              help="Methods that start from it.")  # fmt: skip
@click.option("--kind", type=Kind(KINDS), help="What to look for.  [default: methods]")
@click.option("--year", type=Years(), metavar="YEARS", help="2024, 2024..2025, 2024.. or ..2024.")
@click.option("--has", type=Has(), multiple=True, metavar="LIST",
              help="Only with all of: code, impl (a script in the lab), results.")  # fmt: skip
@since_option
@listing_options(*output.FORMATS)
@click.pass_context
def query(
    ctx: click.Context,
    /,
    text: tuple[str, ...],
    kind: str | None,
    year: tuple[int, int] | None,
    has: tuple[list[str], ...],
    since: str | None,
    listing: output.Listing,
    **options: tuple[str, ...],
) -> None:
    """Find entries by facet and by TEXT.

    A facet option can be given several times: any of its terms will do, and all facets have to
    match. A term includes the terms below it; !TERM excludes (quote it in a shell). TEXT is ranked
    full-text search, best first; a typo is forgiven.

    \b
    mmalign query --scenario hallucination --annotation '!human' --has code
    mmalign query video preference --year 2025
    """
    catalogue = output.catalogue(ctx)
    kind = _kind(catalogue, kind, options)
    rows = catalogue.rows(kind)
    words = " ".join(text).strip()
    order = _ranked(catalogue, kind, words) if text else range(len(rows))
    keep = [*_filters(catalogue, kind, options), since_test(catalogue, kind, since)]
    wanted = [part for parts in has for part in parts]
    found = [
        row
        for row in map(rows.__getitem__, order)
        if all(test(row) for test in keep)
        and (year is None or _in_years(row, year))
        and all((p.removeprefix("!") in row.get("has", ())) != p.startswith("!") for p in wanted)
    ]
    output.write_rows(found, kind, listing, catalogue)


def _ranked(catalogue: Catalogue, kind: str, words: str) -> list[int]:
    """Positions of the rows that match a text, best first. Says which words were put right."""
    if not re.search(r"\w", words):
        raise click.UsageError(f"TEXT holds no word: '{words}'")
    for typed, meant in catalogue.corrections(kind, words).items():
        output.note(f"no text holds '{typed}'; looking for '{meant}'")
    return catalogue.search(kind, words)


def _kind(catalogue: Catalogue, kind: str | None, options: dict[str, tuple[str, ...]]) -> str:
    """The kind asked for, or the one that the facets given describe; UsageError if they clash."""
    given = [key for key in FACETS if options[key]]
    carriers = {
        key: [k for f in catalogue.facets.values() if f["key"] == key for k in f["applies_to"]]
        for key in given
    }
    chosen = kind or "method"
    for key in given:
        if not carriers[key]:
            raise click.UsageError(f"the taxonomy has no facet for --{key.replace('_', '-')}")
        if chosen in carriers[key] or chosen == "paper":
            continue
        kinds = " and ".join(PLURALS[k] for k in carriers[key])
        if kind is None and all(carriers[key][0] in carriers[other] for other in given):
            chosen = carriers[key][0]
            output.note(f"--{key} describes {kinds}; looking for {PLURALS[chosen]}")
            continue
        raise click.UsageError(
            f"--{key.replace('_', '-')} describes {kinds}, not {PLURALS[chosen]}; use "
            f"--kind {carriers[key][0]}"
        )
    for option in USES:
        if options[option] and chosen not in ("method", "paper"):
            raise click.UsageError(
                f"--{option.replace('_', '-')} describes methods, not {PLURALS[chosen]}"
            )
    return chosen


def _filters(catalogue: Catalogue, kind: str, options: dict[str, tuple[str, ...]]) -> list[Test]:
    """One test of a row per option given."""
    tests = []
    for facet, definition in catalogue.facets.items():
        terms = options.get(definition["key"], ())
        if not terms:
            continue
        # Papers carry the terms of what they introduce, in a list of the facet's own name.
        field = definition["key"] if kind == "paper" else definition["field"]
        wanted: set[str] = set()
        unwanted: set[str] = set()
        for term in terms:
            try:
                closure = catalogue.closure(facet, term.removeprefix("!"))
            except UnknownId as error:
                option = definition["key"].replace("_", "-")
                raise click.BadParameter(str(error), param_hint=f"--{option}") from None
            (unwanted if term.startswith("!") else wanted).update(closure)
        tests.append(_carries(field, wanted, unwanted))
    for option, (used, field) in USES.items():
        ids = {resolve(catalogue, n, (used,)).partition(":")[2] for n in options[option]}
        if ids and kind == "method":
            tests.append(_carries(field, ids, set()))
        elif ids:
            users = {m["paper"]["id"] for m in catalogue.rows("method") if ids & set(m[field])}
            tests.append(_carries("id", users, set()))
    return tests


def _carries(field: str, wanted: set[str], unwanted: set[str]) -> Test:
    def test(row: Json) -> bool:
        value = output.lookup(row, field)
        values = {value} if isinstance(value, str) else set(value or ())
        return (not wanted or bool(values & wanted)) and not values & unwanted

    return test


def _in_years(row: Json, years: tuple[int, int]) -> bool:
    return "paper" in row and years[0] <= row["paper"]["year"] <= years[1]
