"""Records that are kept between runs: used only while nothing has changed, never in the way."""

from __future__ import annotations

import os
import time

import pytest

from mmalign.errors import LoadError
from mmalign.records import cache
from mmalign.records import read as reading
from mmalign.records.read import load

BLUE = "papers/blue-kite.yaml"


@pytest.fixture
def settled(tree):
    """The tree as if nobody had touched it for an hour."""
    past = time.time() - 3600
    for path in tree.root.rglob("*.yaml"):
        os.utime(path, (past, past))
    return tree


@pytest.fixture
def settled_package(monkeypatch):
    """The package's own files may have been edited a second ago."""
    monkeypatch.setattr(cache, "SETTLED", -1e9)


@pytest.fixture
def reads(monkeypatch):
    """Counts how often YAML is read."""
    counted = []
    read = reading.read
    monkeypatch.setattr(reading, "read", lambda *given: counted.append(given) or read(*given))
    return counted


def test_the_second_load_reads_no_yaml_and_gives_the_same(settled, settled_package, reads):
    first, second = load(settled.root), load(settled.root)
    assert len(reads) == 1
    assert first == second
    assert list(first.nodes()) == list(second.nodes())
    assert first.papers["red-lantern"].evidence[0].for_[0] == "bibliography"


@pytest.mark.parametrize("change", ["text", "new", "gone", "taxonomy"])
def test_every_change_is_seen(settled, settled_package, reads, change):
    load(settled.root)
    if change == "text":  # of the same length
        settled.edit(BLUE, "title: Blue Kite", "title: Blue Bite")
    elif change == "new":
        text = settled.read(BLUE).replace("blue-kite", "new-kite")
        settled.write("papers/new-kite.yaml", text)
    elif change == "gone":
        (settled.root / BLUE).unlink()
    else:
        settled.edit("taxonomy/scenario.yaml", "label: Medicine", "label: Medical")
    kb = load(settled.root)
    assert len(reads) == 2
    assert ("blue-kite" in kb.papers) == (change != "gone")
    assert ("new-kite" in kb.papers) == (change == "new")
    if change == "text":
        assert kb.papers["blue-kite"].title == "Blue Bite"


def test_what_has_just_changed_is_not_kept(settled, reads):
    settled.edit(BLUE, "title: Blue Kite", "title: Blue Bite")
    load(settled.root)
    load(settled.root)
    assert len(reads) == 2


def test_broken_records_are_not_kept(settled, settled_package, reads):
    settled.edit(BLUE, "year: 2022", "year: soon")
    for _ in range(2):
        with pytest.raises(LoadError):
            load(settled.root)
    assert len(reads) == 2


@pytest.mark.parametrize(
    "spoil", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b.replace(b"2022", b"null")]
)
def test_a_spoilt_cache_is_no_error(settled, settled_package, reads, spoil):
    load(settled.root)
    path = cache.path_of(settled.root)
    path.write_bytes(spoil(path.read_bytes()))
    assert load(settled.root).papers["blue-kite"].year == 2022
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_is_no_error(
    settled, settled_package, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load(settled.root).papers == load(settled.root).papers
