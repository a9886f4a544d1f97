"""`mmalign worlds`: what the lab's worlds ask, and under which conditions."""

from __future__ import annotations

from typing import Any

import click

from mmalign.cli import output
from mmalign.cli.run import missing
from mmalign.names import nearest


@click.command()
@click.argument("names", nargs=-1, metavar="[WORLD]...")
@output.table_options
def worlds(names: tuple[str, ...], format_: str, as_json: bool) -> None:
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
    rows = [_row(there[name]) for name in names or there]
    if as_json or format_ == "json":
        output.write_json(rows)
        return
    heads = ["world", "version", "what", "name", "says", "levels"]
    body = [line for row in rows for line in _lines(row)]
    output.write_cells(heads, body, format_)


def _row(world: Any) -> dict[str, Any]:
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


def _lines(row: dict[str, Any]) -> list[list[str]]:
    own = [row["id"], str(row["version"])]
    found = [[*own, "world", row["id"], row["says"], ""]]
    found += [[*own, "task", task["id"], task["says"], ""] for task in row["tasks"]]
    found += [
        [*own, "condition", each["id"], each["says"],
         ", ".join(f"[{level}]" if level == each["default"] else level for level in each["levels"])]
        for each in row["conditions"]
    ]  # fmt: skip
    return found
