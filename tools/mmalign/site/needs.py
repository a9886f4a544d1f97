"""What the site needs beyond the core of mmalign: the packages of the extra `site`."""

from __future__ import annotations

import importlib.util

PACKAGES = ("mkdocs", "material", "latex2mathml")
"""As they are imported. Without the last, pages would be built that show no equation."""


def missing() -> str | None:
    """What to say where a package of the extra is not installed, or None."""
    absent = [package for package in PACKAGES if not _is_there(package)]
    if not absent:
        return None
    verb = "are" if len(absent) > 1 else "is"
    return (
        f"{' and '.join(absent)} {verb} not installed; "
        "building the site needs the extra `site`: pip install 'mmalign[site]'"
    )


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
