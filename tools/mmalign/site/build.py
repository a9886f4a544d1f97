"""Reads what the site is made of. The only module of this package that touches files."""

from __future__ import annotations

from pathlib import Path

import yaml

from mmalign.check.run import check
from mmalign.errors import BadSource, LoadError, MmalignError
from mmalign.records import lab
from mmalign.records.problems import render as render_problems
from mmalign.records.read import load
from mmalign.site import api, render
from mmalign.site.address import address_of
from mmalign.site.atlas import Atlas, path_of


def hand_written(root: Path) -> dict[str, str]:
    """The Markdown files of docs/, by their path there. Raises BadSource."""
    docs = root / "docs"
    return {
        file.relative_to(docs).as_posix(): lab.text(file) for file in sorted(docs.rglob("*.md"))
    }


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
    atlas = Atlas(load(root), lab.results(root), lab.scripts(root), lab.smoke_runs(root))
    written = hand_written(root)
    made = render(atlas, written, commands)
    file = root / "docs" / "redirects.yml"
    # A paper with one entry is shown on the page of the entry; its own address stays good.
    merged = {address_of(path_of(paper)): address_of(atlas.path(paper)) for paper in atlas.sole}
    try:
        table = yaml.safe_load(lab.text(file)) if file.exists() else None
        old = api.redirects(merged | dict(table or {}), {*made, *written}, site_url)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise BadSource(f"{file}: {' '.join(str(error).split())}") from None
    return made, api.files(atlas, site_url) | old
