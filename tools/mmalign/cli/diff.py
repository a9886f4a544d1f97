"""`mmalign diff`: what changed between two revisions of the records."""

from __future__ import annotations

from pathlib import Path

import click

from mmalign.cli import output
from mmalign.errors import NoRevision


@click.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", required=False)
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
    two releases. Without NEW, OLD is compared with the records as they are now.

    \b
    mmalign diff v0.1.0 v0.2.0
    mmalign diff HEAD
    """
    from mmalign.ask import diff as changes
    from mmalign.records.root import find_root

    root = Path(find_root(ctx.find_root().obj))
    try:
        before = changes.read(old, root)
        after = changes.read(str(root) if new is None else new, root)
    except NoRevision as error:
        raise click.ClickException(str(error)) from None
    found = changes.compare(before, after)
    shown = [c for c in found if evidence or not c.field.startswith("evidence")]
    line = changes.summary(found)
    if as_json or format_ == "json":
        output.write_json([change.as_dict() for change in shown])
        return
    if summary:
        output.write(line + "\n")
    elif format_ == "md":
        from mmalign.export.awesome import escape

        output.write(f"{line}\n\n" + "".join(f"- {escape(c.text)}\n" for c in shown))
    else:
        output.write(line + "\n" + "".join(f"  {change.text}\n" for change in shown))
    hidden = len(found) - len(shown)
    if hidden and not summary:
        output.note(f"{hidden} changes of evidence are not shown; --evidence shows them")
