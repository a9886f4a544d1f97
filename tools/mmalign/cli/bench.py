"""`mmalign bench`, `results`, `claims`: many runs, their tables, and what they decide."""

from __future__ import annotations

from pathlib import Path

import click

from mmalign.cli import options, output
from mmalign.cli.arguments import Place, Whole
from mmalign.cli.run import Script, missing, scripts
from mmalign.records import lab, root
from mmalign.vocabulary import Json


@click.command()
@click.argument("methods", nargs=-1, type=Script(), metavar="[METHOD]...")
@click.option("--jobs", type=Whole(min=1), default=1, show_default=True,
              help="Workers, one core each.")  # fmt: skip
@click.option("--smoke", is_flag=True, help="One seed at each script's own settings, few scenes.")
@click.option("--out", type=Place(file_okay=False, path_type=Path), metavar="DIR",
              help="Folder of the results.  [default: reference_impls/results of the checkout, "
              "runs/bench outside one; runs/smoke with --smoke]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.pass_context
def bench(
    ctx: click.Context,
    methods: tuple[str, ...],
    jobs: int,
    smoke: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the whole protocol for METHODs, or for all: tuning, ten seeds, verdicts.

    What is done is skipped, after kill -9, too; the time that is left is shown on stderr.
    """
    known = scripts()
    unknown = [name for name in methods if name.replace("_", "-") not in known]
    if unknown:
        raise click.UsageError(f"no method is called '{unknown[0]}'; known: {', '.join(known)}")
    try:
        from reference_impls.bench.jobs import JobFailed
        from reference_impls.bench.ledger import NotAResult
        from reference_impls.bench.study import SMOKE, Plan
        from reference_impls.bench.study import bench as study
        from reference_impls.core.method import ContractError
    except ModuleNotFoundError as error:
        raise missing(error) from None
    names = [known[name.replace("_", "-")] for name in methods] or list(known.values())
    of = root.find_root(ctx.find_root().obj)
    folder = out or (Path("runs") / "smoke" if smoke else results_folder(of))
    try:
        found = study(names, SMOKE if smoke else Plan(), jobs, folder)
    except (ContractError, JobFailed, NotAResult) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        output.write_json(found)
    for result in found:
        click.echo(f"{result['method']}: {_told(result)}", err=True)


def results_folder(of: str) -> Path:
    """Where results are written that nobody named a folder for: never into an installed package."""
    own = lab.folder(of)
    return own / "results" if own.is_dir() and of != root.INSTALLED else Path("runs") / "bench"


def _told(result: Json) -> str:
    return "; ".join(f"{each['claim']} {each['verdict']}" for each in result["verdicts"])


def committed(ctx: click.Context) -> list[Json]:
    """The results that are committed, in the order of their file names. Raises BadSource."""
    return lab.results(root.find_root(ctx.find_root().obj))


@click.command()
@options.listing(*output.TABLE_FORMATS)
@click.pass_context
def results(ctx: click.Context, listing: output.Listing) -> None:
    """Print the tables of the committed studies: means over seeds, a row of a table each line."""
    found = committed(ctx)
    if listing.format == "json":
        listing.refuse("does not go with the whole results of --format json; take jsonl")
    if not found:
        output.note("no result is committed yet")
    if listing.format == "json":
        output.write_json(found)
        return
    columns = list(dict.fromkeys(c for r in found for t in r["tables"] for c in t["columns"]))
    rows = [
        {
            "kind": "row",
            "method": result["method"],
            "table": table.get("title", ""),
            "row": row["name"],
            "seeds": len(result["seeds"]),
            **{column: _mean(row["metrics"].get(column)) for column in columns},
        }
        for result in found
        for table in result["tables"]
        for row in table["rows"]
    ]
    # A study under several levels of a condition has a table for each, with rows of the same names.
    several = ["table"] if len({row["table"] for row in rows}) > 1 else []
    output.write_table(rows, listing, ("method", *several, "row", "seeds", *columns))


def _mean(values: list[float] | None) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


@click.command()
@options.listing(*output.TABLE_FORMATS)
@click.pass_context
def claims(ctx: click.Context, listing: output.Listing) -> None:
    """Print the ledger: each tested claim with its verdict and numbers."""
    rows: list[Json] = [
        {
            "kind": "claim",
            "method": result["method"],
            "claim": verdict["claim"],
            "verdict": verdict["verdict"],
            "text": verdict["text"],
            "numbers": verdict["numbers"],
        }
        for result in committed(ctx)
        for verdict in result["verdicts"]
    ]
    if not rows:
        output.note("no claim is decided yet")
    output.write_table(rows, listing, ("method", "claim", "verdict", "numbers", "text"))
