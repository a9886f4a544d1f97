"""`mmalign worlds`: what the lab's worlds ask, and under which conditions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from mmalign.cli import options, output
from mmalign.cli.run import missing
from mmalign.names import nearest
from mmalign.vocabulary import Json


@click.command()
@click.argument("names", nargs=-1, metavar="[WORLD]...")
@options.listing(*output.TABLE_FORMATS)
def worlds(names: tuple[str, ...], listing: output.Listing) -> None:
    """List worlds of the lab: version, tasks, conditions and their levels.

    Needs the extra `train`, as `mmalign run` does.
    """
    try:
        from reference_impls.core.worlds import protocol
    except ModuleNotFoundError as error:
        raise missing(error) from None
    try:
        there = protocol.worlds()
    except ModuleNotFoundError as error:
        raise missing(error) from None
    for name in names:
        if name not in there:
            near = nearest(name, there)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(there)}"
            raise click.UsageError(f"no world is called '{name}'; {hint}")
    asked = [there[name] for name in dict.fromkeys(names) or there]
    if listing.format == "json":
        listing.refuse("does not go with the whole worlds of --format json; take jsonl")
        output.write_json([_row(world) for world in asked])
        return
    read = listing.format in ("jsonl", "csv")  # by a program, which takes a level as it is
    rows = [line for world in asked for line in _lines(_row(world), bracketed=not read)]
    columns = ("world", "version", "kind", "id", "says", "levels", *(("default",) if read else ()))
    heads = [{"kind": "what", "id": "name"}.get(column, column) for column in columns]
    output.write_table(rows, listing, columns, heads)


def _row(world: Any) -> Json:
    return {
        "kind": "world",
        "id": world.name,
        "version": world.version,
        "says": world.says,
        "tasks": [
            {
                "id": task.id,
                "says": task.says,
                "tuned_by": task.tuned_by,
                "guarded_by": list(task.guarded_by),
            }
            for task in world.tasks.values()
        ],
        "conditions": [
            {
                "id": condition.id,
                "says": condition.says,
                "levels": list(condition.levels),
                "default": condition.default,
            }
            for condition in world.conditions.values()
        ],
    }


def _lines(row: Json, bracketed: bool) -> Iterator[Json]:
    """A world, its tasks and its conditions, each as a row; the level that holds in brackets, or in
    a column of its own."""
    for kind, parts in (("world", [row]), ("task", row["tasks"]), ("condition", row["conditions"])):
        for part in parts:
            default = part.get("default", "")
            levels = [
                f"[{level}]" if bracketed and level == default else level
                for level in part.get("levels", ())
            ]
            yield {
                "kind": kind,
                "world": row["id"],
                "version": row["version"],
                "id": part["id"],
                "says": part["says"],
                "levels": levels,
                **({} if bracketed else {"default": default}),
            }
