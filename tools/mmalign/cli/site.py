"""`mmalign site`."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from mmalign.ask import catalogue


@click.group()
def site() -> None:
    """The docs site, built from the records."""


@site.command()
@click.option(
    "--out", type=click.Path(file_okay=False),
    help="Write all pages as Markdown to this folder, for another site generator.",
)  # fmt: skip
@click.pass_context
def build(ctx: click.Context, out: str | None) -> None:
    """Build the site into site/, strictly: a broken link is an error."""
    root = catalogue.find_root(ctx.find_root().obj)
    if out is None:
        ctx.exit(_mkdocs(root, "build", "--strict"))
    from mmalign.cli import reference
    from mmalign.site.build import site as make

    pages, plain = make(root, os.environ.get("MMALIGN_SITE_URL", ""), reference())
    _write_tree(os.path.join(root, "docs"), pages | plain, out)
    click.echo(f"{len(pages)} pages and {len(plain)} other files written to {out}", err=True)


def _write_tree(hand_written: str, generated: dict[str, str | bytes], out: str) -> None:
    """Hand-written pages and assets, and the generated pages, in one folder.

    Files of the same name are replaced; others in the folder are left alone.
    """
    import shutil

    if os.path.isdir(hand_written):
        shutil.copytree(hand_written, out, dirs_exist_ok=True)
    for path, content in generated.items():
        file = os.path.join(out, *path.split("/"))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)


@site.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.pass_context
def serve(ctx: click.Context, port: int) -> None:
    """Show the site at localhost, and build it again when a file changes."""
    root = catalogue.find_root(ctx.find_root().obj)
    ctx.exit(_mkdocs(root, "serve", "--dev-addr", f"127.0.0.1:{port}"))


def _mkdocs(root: str, *args: str) -> int:
    """Run mkdocs in the checkout; gives its exit status."""
    import importlib.util

    if not os.path.exists(os.path.join(root, "mkdocs.yml")):
        raise click.ClickException(
            f"{root} holds no mkdocs.yml: the site is built in a checkout of the repository"
        )
    for package in ("mkdocs", "material"):
        if importlib.util.find_spec(package) is None:
            raise click.ClickException(
                "building the site needs the extra `site`: pip install 'mmalign[site]'"
            )
    # mkdocs-material prints a long warning about MkDocs 2, which the version pins rule out.
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.call([sys.executable, "-m", "mkdocs", *args], cwd=root, env=environment)
