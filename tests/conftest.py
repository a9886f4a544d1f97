"""Fixtures that several folders of tests share."""

from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path

import pytest

from mmalign.check.run import check
from mmalign.records.kb import KnowledgeBase
from mmalign.records.problems import Problem
from mmalign.records.read import load

# Before any library of the hub reads it: no test asks the hub, which would answer differently, or
# after many attempts.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

CHECKOUT = Path(__file__).resolve().parents[1]
FABRICATED = Path(__file__).parent / "kb" / "data"
TODAY = datetime.date(2026, 6, 1)
"""The day on which the fabricated records are checked in tests."""


class Tree:
    """A copy of the fabricated knowledge base that a test may spoil."""

    def __init__(self, root: Path):
        self.root = root

    def read(self, file: str) -> str:
        return (self.root / file).read_text(encoding="utf-8")

    def write(self, file: str, text: str | bytes) -> None:
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the first `old`, which must be there."""
        text = self.read(file)
        assert old in text, f"{file} does not hold {old!r}"
        self.write(file, text.replace(old, new, 1))

    def line(self, file: str, words: str) -> int:
        """Number of the first line that holds `words`."""
        lines = self.read(file).split("\n")
        return next(number for number, line in enumerate(lines, 1) if words in line)

    def problems(self, *paths: str | Path) -> list[Problem]:
        return check(self.root, paths or None, today=TODAY)[1]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A fresh, clean copy of the fabricated knowledge base."""
    shutil.copytree(FABRICATED, tmp_path / "kb")
    return Tree(tmp_path / "kb")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The fabricated knowledge base in the checkout: to be read only."""
    return FABRICATED


@pytest.fixture(scope="session")
def kb() -> KnowledgeBase:
    """The fabricated knowledge base, loaded."""
    return load(FABRICATED)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """Root of the repository."""
    return CHECKOUT
