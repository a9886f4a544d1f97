"""Reads what the site is made of. The only module of this package that touches files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from mmalign.check.run import check
from mmalign.errors import BadSource, LoadError, MmalignError
from mmalign.records.problems import render as render_problems
from mmalign.records.read import load
from mmalign.site import api, render
from mmalign.site.address import address_of
from mmalign.site.atlas import Atlas, path_of


def results(root: Path) -> list[dict[str, Any]]:
    """The committed results of the lab, in the order of their file names. Raises BadSource."""
    folder = root / "reference_impls" / "results"
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            result = json.loads(_text(file))
        except ValueError as error:
            raise BadSource(f"{file} is not JSON: {error}") from None
        if not isinstance(result, dict):
            raise BadSource(f"{file} does not hold a JSON object")
        found.append(result)
    return found


def scripts(root: Path) -> dict[str, str]:
    """The scripts of methods, by the name that a record calls them. Raises BadSource."""
    folder = root / "reference_impls" / "methods"
    return {file.stem: _text(file) for file in sorted(folder.glob("[a-z]*.py"))}


def hand_written(root: Path) -> dict[str, str]:
    """The Markdown files of docs/, by their path there. Raises BadSource."""
    docs = root / "docs"
    return {file.relative_to(docs).as_posix(): _text(file) for file in sorted(docs.rglob("*.md"))}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadSource(f"{file} is not UTF-8") from None


def site(
    root: str | Path, site_url: str = "", commands: str = ""
) -> tuple[dict[str, str], dict[str, str]]:
    """All pages that are not plain files of docs/, for the checkout at `root`; and all plain files
    that are made too: JSON, BibTeX, redirects, ...

    `site_url` is where the site will be, empty if that is not known; `commands` is the help of the
    command line as Markdown. Raises LoadError with the problems of records of which no site can be
    made, BadSource for another file, such as a line of docs/redirects.yml that leads nowhere.
    """
    root = Path(root)
    try:
        return _made(root, site_url, commands)
    except MmalignError:
        raise
    except Exception as error:
        # Only the shape of records is checked when they are loaded. That a rule is broken mostly
        # does no harm to the site; where it does, the rule is the better message.
        problems = check(root)[1]
        if not problems:
            raise
        raise LoadError(problems, render_problems(problems)) from error


def _made(root: Path, site_url: str, commands: str) -> tuple[dict[str, str], dict[str, str]]:
    atlas, written = Atlas(load(root), results(root), scripts(root)), hand_written(root)
    made = render(atlas, written, commands)
    file = root / "docs" / "redirects.yml"
    # A paper with one entry is shown on the page of the entry; its own address stays good.
    merged = {address_of(path_of(paper)): address_of(atlas.path(paper)) for paper in atlas.sole}
    try:
        table = yaml.safe_load(_text(file)) if file.exists() else None
        old = api.redirects(merged | dict(table or {}), {*made, *written}, site_url)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise BadSource(f"{file}: {' '.join(str(error).split())}") from None
    return made, api.files(atlas, site_url) | old
