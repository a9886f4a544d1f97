"""`mmalign diff`: what changed between two revisions of the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmalign.characters import printable
from mmalign.cli import output
from mmalign.cli.arguments import TextParam

SHOWN = 20
"""How many things that cannot be compared are named."""


class Revision(TextParam):
    """A text that may name a revision: not looked up here."""

    name = "revision"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from mmalign.ask.diff import reason_against

        reason = reason_against(value)
        if reason:
            self.fail(reason, param, ctx)
        return str(value)


@click.command()
@click.argument("old", metavar="OLD", type=Revision())
@click.argument("new", metavar="[NEW]", required=False, type=Revision())
@click.option("--summary", is_flag=True, help="Only the line of counts.")
@click.option("--evidence", is_flag=True, help="Show changes of evidence, too.")
@click.option(
    "--format", "format_", type=click.Choice(["text", "json", "md"]), default="text",
    show_default=True, help="How to write the changes.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.pass_context
def diff(
    ctx: click.Context,
    old: str,
    new: str | None,
    summary: bool,
    evidence: bool,
    format_: str,
    as_json: bool,
) -> None:
    """Say in words what changed in the records from OLD to NEW.

    OLD and NEW are git revisions or tags of the checkout, folders that hold papers/, or wheels of
    two releases. Without NEW, OLD is compared with the records as they are now. What cannot be
    compared, since it has not the shape of a record, is named on stderr, and the exit status is 1.

    \b
    mmalign diff v0.1.0 v0.2.0
    mmalign diff HEAD
    """
    from mmalign.ask import diff as changes
    from mmalign.records.root import find_root

    root = Path(find_root(ctx.find_root().obj))
    before = changes.read(old, root)
    after = changes.read(str(root) if new is None else new, root)
    found = changes.compare(before, after)
    shown = [c for c in found if evidence or not c.field.startswith("evidence")]
    line = changes.summary(found)
    if as_json or format_ == "json":
        output.write_json([change.as_dict() for change in shown])
    elif summary:
        output.write(line + "\n")
    elif format_ == "md":
        from mmalign.export.awesome import escape

        output.write(f"{line}\n\n" + "".join(f"- {escape(printable(c.text))}\n" for c in shown))
    else:
        output.write(line + "\n" + "".join(f"  {printable(change.text)}\n" for change in shown))
    hidden = len(found) - len(shown)
    if hidden and not summary and not as_json and format_ != "json":
        output.note(f"{hidden} changes of evidence are not shown; --evidence shows them")
    left = [
        f"cannot compare {place} ({name})"
        for name, files in ((old, before), (new or "now", after))
        for place in changes.uncompared(files)
    ]
    for text in left[:SHOWN]:
        output.note(printable(text))
    if len(left) > SHOWN:
        output.note(f"and {len(left) - SHOWN} more that cannot be compared")
    ctx.exit(1 if left else 0)
