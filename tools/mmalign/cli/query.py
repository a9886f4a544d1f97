"""`mmalign query`: entries by facet, by what they use, by year, and by text."""

from __future__ import annotations

import click

from mmalign.ask.catalogue import Catalogue
from mmalign.cli import output
from mmalign.cli.arguments import Kind, Name, TermName, resolve
from mmalign.errors import UnknownId
from mmalign.vocabulary import KINDS, PLURALS

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


class Years(click.ParamType):
    """`2024`, `2024..2025`, `2024..`, `..2024`; gives a pair of numbers, both included."""

    name = "years"

    def convert(self, value, param, ctx):
        first, dots, last = value.partition("..")
        try:
            low = int(first) if first else 0
            high = (int(last) if last else 9999) if dots else low
        except ValueError:
            self.fail(f"'{value}' is no year and no range such as 2024..2025", param, ctx)
        if low > high or not (first or last):
            self.fail(f"'{value}' holds no year", param, ctx)
        return low, high


class Has(click.ParamType):
    """A list with commas of `HAS`, each with `!` before it to exclude."""

    name = "list"

    def convert(self, value, param, ctx):
        wanted = [part.strip() for part in value.split(",") if part.strip()]
        for part in wanted:
            if part.removeprefix("!") not in HAS:
                self.fail(f"'{part}' is not one of {', '.join(HAS)}", param, ctx)
        return wanted


def _facet_options(function):
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
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N entries.")
@output.listing_options
@click.pass_context
def query(
    ctx: click.Context,
    text: tuple[str, ...],
    kind: str | None,
    year: tuple[int, int] | None,
    has: tuple[list[str], ...],
    limit: int | None,
    format_: str,
    as_json: bool,
    **options: tuple[str, ...],
) -> None:
    """Find entries by facet and by TEXT.

    A facet option can be given several times: any of its terms will do, and all facets have to
    match. A term includes the terms below it; !TERM excludes (quote it in a shell). TEXT is ranked
    full-text search, best first.

    \b
    mmalign query --scenario hallucination --annotation '!human' --has code
    mmalign query video preference --year 2025
    """
    catalogue = output.catalogue(ctx)
    kind = _kind(catalogue, kind, options)
    rows = catalogue.rows(kind)
    words = " ".join(text).strip()
    order = catalogue.search(kind, words) if words else range(len(rows))
    keep = _filters(catalogue, kind, options)
    wanted = [part for parts in has for part in parts]
    found = [
        row
        for row in map(rows.__getitem__, order)
        if all(test(row) for test in keep)
        and (year is None or _in_years(row, year))
        and all((p.removeprefix("!") in row.get("has", ())) != p.startswith("!") for p in wanted)
    ]
    output.write_rows(found[:limit], kind, "json" if as_json else format_, catalogue)


def _kind(catalogue: Catalogue, kind: str | None, options: dict) -> str:
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


def _filters(catalogue: Catalogue, kind: str, options: dict) -> list:
    """One test of a row per option given."""
    tests = []
    for facet, definition in catalogue.facets.items():
        terms = options.get(definition["key"], ())
        if not terms:
            continue
        # Papers carry the terms of what they introduce, in a list of the facet's own name.
        field = definition["key"] if kind == "paper" else definition["field"]
        wanted, unwanted = set(), set()
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


def _carries(field: str, wanted: set[str], unwanted: set[str]):
    def test(row: dict) -> bool:
        value = output.lookup(row, field)
        values = {value} if isinstance(value, str) else set(value or ())
        return (not wanted or bool(values & wanted)) and not values & unwanted

    return test


def _in_years(row: dict, years: tuple[int, int]) -> bool:
    return "paper" in row and years[0] <= row["paper"]["year"] <= years[1]
