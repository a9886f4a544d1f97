"""Reads what the site is made of. The only module of this package that touches files."""

from __future__ import annotations

import json
from pathlib import Path

from mmalign.load import load
from mmalign.site import pages


def results(root: Path) -> list[dict]:
    """The committed results of the lab, in the order of their file names."""
    folder = root / "reference_impls" / "results"
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def hand_written(root: Path) -> dict[str, str]:
    """The Markdown files of docs/, by their path there."""
    docs = root / "docs"
    return {
        file.relative_to(docs).as_posix(): file.read_text(encoding="utf-8")
        for file in sorted(docs.rglob("*.md"))
    }


def site_pages(root: str | Path) -> dict[str, str]:
    """All pages that are not plain files of docs/, for the checkout at `root`."""
    root = Path(root)
    return pages(load(root), results(root), hand_written(root))
