"""`mmalign data check`: what a run would make of a preference file, before anything is loaded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmalign.characters import printable
from mmalign.cli import output
from mmalign.cli.arguments import Place, Whole
from mmalign.cli.run import Script, missing, scripts

if TYPE_CHECKING:
    from mmalign.vocabulary import Json

SLOW = 5.0
"""Seconds after which, and between which, progress is shown."""


@click.group()
def data() -> None:
    """Preference data of your own."""


@data.command()
@click.argument("path")
@click.option("--model", metavar="ID",
              help="Checkpoint folder or hub id whose context rows have to fit into; only its "
              "processor and configuration are read.")  # fmt: skip
@click.option("--min-pixels", type=Whole(min=1), metavar="N", help="As of a run with --model.")
@click.option("--max-pixels", type=Whole(min=1), metavar="N", help="As of a run with --model.")
@click.option("--method", type=Script(), metavar="METHOD",
              help="Read rows as this method does.  [default: as pairs]")  # fmt: skip
@click.option("--batch-size", type=Whole(min=1), metavar="N",
              help="As of a run.  [default: the paper's of --method, or else 1]")  # fmt: skip
@click.option("--answer-length", type=Whole(min=1), metavar="TOKENS",
              help="As of a run that samples.  [default: the paper's of --method]")  # fmt: skip
@click.option("--split", metavar="NAME",
              help="Split to check; others are compared with it.  [default: train]")  # fmt: skip
@click.option("--image-root", type=Place(path_type=Path), metavar="DIR",
              help="Folder that image paths start from.  [default: the data's own]")  # fmt: skip
@click.option("--limit", type=Whole(min=1), metavar="N", help="Only the first N rows.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text",
              show_default=True, help="How to write it.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
@click.pass_context
def check(
    ctx: click.Context,
    path: str,
    model: str | None,
    min_pixels: int | None,
    max_pixels: int | None,
    method: str | None,
    batch_size: int | None,
    answer_length: int | None,
    split: str | None,
    image_root: Path | None,
    limit: int | None,
    format_: str,
    as_json: bool,
) -> None:
    """Say what `mmalign run METHOD --dataset PATH` would make of PATH, and what is wrong with it.

    PATH is a folder, a file or a hub id. Exit status 1 if there are problems. Needs the extra
    `train`: pip install 'mmalign[train]'.
    """
    known = scripts()
    if method is not None and method.replace("_", "-") not in known:
        raise click.UsageError(f"no method is called '{method}'; known: {', '.join(known)}")
    if model is None and (min_pixels or max_pixels):
        raise click.UsageError("--min-pixels and --max-pixels need --model")
    try:
        from reference_impls.core.places import there

        for option, value in (("PATH", path), ("--model", model)):
            if value is not None and not there(value):
                raise click.UsageError(f"{option}: there is nothing at '{value}'")
        from reference_impls.core.command_line import quiet_libraries
        from reference_impls.core.data.check import CheckError, check_data
    except ModuleNotFoundError as error:
        raise missing(error) from None
    if model is not None or method is not None:  # else nothing of them is imported
        quiet_libraries()
    try:
        found = check_data(
            path, split=split, image_root=image_root, limit=limit, model=model,
            min_pixels=min_pixels, max_pixels=max_pixels, batch_size=batch_size,
            answer_length=answer_length,
            method=known[method.replace("_", "-")] if method else None, progress=Progress(),
        )  # fmt: skip
    except CheckError as error:
        raise click.ClickException(str(error)) from None
    except ModuleNotFoundError as error:
        raise missing(error) from None
    if as_json or format_ == "json":
        output.write_json(found)
    else:
        for line in lines(found):
            click.echo(printable(line))
    ctx.exit(0 if found["ok"] else 1)


class Progress:
    """Says on stderr how far a check has come, where that takes long from its first row on."""

    started = said = 0.0

    def __call__(self, rows: int) -> None:
        now = time.monotonic()
        if not self.started:
            self.started = self.said = now
        elif now - self.said >= SLOW:
            self.said = now
            rate = rows / (now - self.started)
            click.echo(f"{rows} rows read, {rate:.0f} per second", err=True)


def lines(found: Json) -> list[str]:
    """The result of a check as text, counts first."""
    rows, images, answers = found["rows"], found["images"], found["answers"]
    layouts = ", ".join(f"{each['name']} ({each['sets']})" for each in found["layouts"])
    made = [
        _line("data", found["path"], layouts and f"layout {layouts}"),
        _line(
            "rows",
            f"{rows['read']} read",
            f"{rows['kept']} kept",
            f"{rows['dropped']} left out",
            f"{rows['refused']} not readable",
            f"{rows['text_only']} without an image",
        ),
    ]
    if images["shown"]:
        sizes = [_size(images[name]) for name in ("smallest", "largest") if images[name]]
        made.append(
            _line(
                "images",
                f"{images['shown']} shown",
                f"{images['distinct']} distinct",
                f"{images['unreadable']} not readable",
                " to ".join(dict.fromkeys(sizes)),
            )
        )
    if answers["pairs"]:
        made.append(
            _line(
                "lengths",
                f"chosen {answers['chosen_characters']:.0f} characters on average",
                f"rejected {answers['rejected_characters']:.0f}",
                f"chosen longer in {answers['chosen_longer']:.0%}",
                f"shorter in {answers['rejected_longer']:.0%}",
                f"AUC of length alone {answers['length_auc']:.2f}",
            )
        )
    if found["tokens"]:
        made.append(_tokens(found["tokens"]))
    for name, split in found["splits"].items():
        made.append(
            _line(
                f"split {name}",
                f"{split['rows']} rows",
                f"{split['same_images_and_prompt']} with images and prompt of a row above",
                f"{split['same_image']} with an image",
                f"{split['same_prompt']} with a prompt",
            )
        )
    for finding in found["findings"]:
        more = finding["count"] - len(finding["places"])
        head = f"{finding['severity']} {finding['code']} ({finding['count']})"
        made.append(f"{head}: {finding['says']}")
        made += [f"    {place}" for place in finding["places"]]
        made += [f"    and {more} more"] if more else []
    if rows["not_compared"]:
        made.append(f"{rows['not_compared']} rows were not compared with others: too many")
    return [*made, "no problems"] if found["ok"] else made


def _line(head: str, *parts: str) -> str:
    return f"{head + ':':<10} " + ", ".join(part for part in parts if part)


def _size(size: list[int]) -> str:
    return f"{size[0]} x {size[1]}"


def _tokens(tokens: dict[str, Any]) -> str:
    def span(name: str) -> str:
        held = tokens[name]
        return f"{held['least']} to {held['most']}, {held['mean']:.0f} on average"

    limit = "unknown context" if tokens["context"] is None else f"context {tokens['context']}"
    return _line(
        "tokens", f"a row takes {span('row')}", f"its images {span('images')}", limit,
        f"{tokens['over']} rows over it" if tokens["context"] is not None else "",
    )  # fmt: skip
