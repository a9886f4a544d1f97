"""Reads what the site is made of. The only module of this package that touches files."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from mmalign.records.read import load
from mmalign.site import api, render
from mmalign.site.address import address_of
from mmalign.site.atlas import Atlas, path_of


def results(root: Path) -> list[dict]:
    """The committed results of the lab, in the order of their file names."""
    folder = root / "reference_impls" / "results"
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def scripts(root: Path) -> dict[str, str]:
    """The scripts of methods, by the name that a record calls them."""
    folder = root / "reference_impls" / "methods"
    return {
        file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("[a-z]*.py"))
    }


def hand_written(root: Path) -> dict[str, str]:
    """The Markdown files of docs/, by their path there."""
    docs = root / "docs"
    return {
        file.relative_to(docs).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(docs.rglob("*.md"))
    }


def site(
    root: str | Path, site_url: str = "", commands: str = ""
) -> tuple[dict[str, str], dict[str, str]]:
    """All pages that are not plain files of docs/, for the checkout at `root`; and all plain files
    that are made too: JSON, BibTeX, redirects, ...

    `site_url` is where the site will be, empty if that is not known; `commands` is the help of the
    command line as Markdown. ValueError names a line of
    docs/redirects.yml that leads nowhere.
    """
    root = Path(root)
    atlas, written = Atlas(load(root), results(root), scripts(root)), hand_written(root)
    made = render(atlas, written, commands)
    file = root / "docs" / "redirects.yml"
    table = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    # A paper with one entry is shown on the page of the entry; its own address stays good.
    merged = {address_of(path_of(paper)): address_of(atlas.path(paper)) for paper in atlas.sole}
    old = api.redirects(merged | (table or {}), {*made, *written}, site_url)
    return made, api.files(atlas, site_url) | old
