"""`mmalign site`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import click

from mmalign.characters import printable, quoted
from mmalign.cli.arguments import Place, Whole
from mmalign.errors import LoadError
from mmalign.records.root import find_root

MARK = ".mmalign-site"
"""File that says of a folder that it holds an earlier build, so that it may be written again."""
_MARK_TEXT = "Written by `mmalign site build --out`, which replaces files in this folder.\n"
# What stands in every site that mkdocs has begun to write.
_OF_MKDOCS = ("404.html", "sitemap.xml", "search", os.path.join("assets", "javascripts"))


@click.group()
def site() -> None:
    """The docs site, built from the records."""


@site.command()
@click.option(
    "--out", type=Place(file_okay=False), metavar="DIR",
    help="Write all pages as Markdown to this folder, for another site generator: a new or empty "
    "one, or one that holds an earlier build.",
)  # fmt: skip
@click.pass_context
def build(ctx: click.Context, out: str | None) -> None:
    """Build the site into site/, strictly: a broken link is an error."""
    root = find_root(ctx.find_root().obj)
    if out is not None:
        _refuse(_not_ours(root, out))
    _need_extra()
    try:
        if out is None:
            ctx.exit(_mkdocs(root, "build", "--strict"))
        _write_pages(root, out)
    except LoadError as error:
        click.echo(str(error), err=True)
        ctx.exit(1)


@site.command()
@click.option("--port", type=Whole(1, 65535), default=8000, show_default=True, metavar="N")
@click.pass_context
def serve(ctx: click.Context, port: int) -> None:
    """Show the site at localhost, and build it again when a file changes."""
    root = find_root(ctx.find_root().obj)
    _need_extra()
    ctx.exit(_mkdocs(root, "serve", "--dev-addr", f"127.0.0.1:{port}"))


def _need_extra() -> None:
    from mmalign.site import needs

    _refuse(needs.missing())


def _refuse(reason: str | None) -> None:
    if reason:
        raise click.ClickException(reason)


# --- with mkdocs


def _mkdocs(root: str, command: str, *options: str) -> int:
    """Run mkdocs in the checkout; gives its exit status."""
    if not os.path.isfile(os.path.join(root, "mkdocs.yml")):
        raise click.ClickException(
            f"{root} holds no mkdocs.yml: the site is built in a checkout of the repository"
        )
    if command == "build":
        _refuse(_not_of_mkdocs(os.path.join(root, "site")))
        from mmalign.records.read import load

        load(root)  # the problems of a record, before mkdocs starts
    # mkdocs-material prints a long warning about MkDocs 2, which the version pins rule out.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.call(
        [sys.executable, "-m", "mkdocs", command, *options], cwd=root, env=environment
    )


def _not_of_mkdocs(folder: str) -> str | None:
    """Why mkdocs, which empties its folder first, must not have this one; or None."""
    if not os.path.lexists(folder) or _is_empty(folder):
        return None
    if any(os.path.exists(os.path.join(folder, name)) for name in _OF_MKDOCS):
        return None
    return f"{folder} holds something that is not a site; move it away, since it would be deleted"


# --- as Markdown


def _write_pages(root: str, out: str) -> None:
    from mmalign.cli import reference
    from mmalign.site.build import site as make

    url = os.environ.get("MMALIGN_SITE_URL", "")
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise click.UsageError(f"MMALIGN_SITE_URL: {quoted(url)} is not an address of the web")
    pages, plain = make(root, url, reference())
    _write_tree(os.path.join(root, "docs"), {**pages, **plain}, out)
    click.echo(
        f"{len(pages)} pages and {len(plain)} other files written to {printable(out)}", err=True
    )


def _not_ours(root: str, out: str) -> str | None:
    """Why pages must not be written to a folder, or None."""
    where = os.path.realpath(out)
    for name in ("docs", "papers", "taxonomy"):
        source = os.path.realpath(os.path.join(root, name))
        if os.path.commonpath([source, where]) == source:
            return f"--out: {out} lies in {name}/, which the site is made of"
    if not os.path.isdir(where) or _is_empty(where) or os.path.isfile(os.path.join(where, MARK)):
        return None
    return f"--out: {out} is not empty and holds no earlier build of the site; name another folder"


def _is_empty(folder: str) -> bool:
    if not os.path.isdir(folder):
        return False
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _write_tree(hand_written: str, generated: Mapping[str, str | bytes], out: str) -> None:
    """Hand-written pages and assets, and the generated pages, in one folder.

    Files of the same name are replaced; others in the folder are left alone.
    """
    os.makedirs(out, exist_ok=True)
    _write_file(out, MARK, _MARK_TEXT)
    for path, content in _files_below(hand_written):
        if path not in generated:
            _write_file(out, path, content)
    for path, text in generated.items():
        _write_file(out, path, text)


def _files_below(folder: str) -> Iterator[tuple[str, bytes]]:
    for here, _, names in os.walk(folder):
        for name in sorted(names):
            file = os.path.join(here, name)
            if os.path.isfile(file):
                with open(file, "rb") as stream:
                    yield os.path.relpath(file, folder).replace(os.sep, "/"), stream.read()


def _write_file(out: str, path: str, content: str | bytes) -> None:
    """One file below `out`. A link that stands in its place is replaced, not followed."""
    parts = path.split("/")
    assert not {"", ".", ".."} & set(parts), path
    file = os.path.join(out, *parts)
    folder = os.path.dirname(file)
    os.makedirs(folder, exist_ok=True)
    inside = os.path.realpath(out)
    if os.path.commonpath([inside, os.path.realpath(folder)]) != inside:
        raise click.ClickException(f"--out: {folder} is a link that leads out of {out}")
    if os.path.islink(file):
        os.unlink(file)
    with open(file, "wb") as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
