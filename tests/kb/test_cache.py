"""The compiled catalogue is kept between runs: used only while nothing has changed, never in the
way, and never believed where something has spoilt it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from mmalign.ask import catalogue
from mmalign.errors import LoadError
from mmalign.records import cache

BLUE = "papers/blue-kite.yaml"


def open_(root) -> catalogue.Catalogue:
    return catalogue.open_catalogue(str(root))


def title(root) -> str:
    return open_(root).card("paper:blue-kite")["title"]


def kept(root) -> Path:
    return Path(cache.path_of(os.path.realpath(root)))


@pytest.fixture
def settled(monkeypatch):
    """As if nobody had touched records and package for a while."""
    monkeypatch.setattr(cache, "SETTLED", 0)


@pytest.fixture
def made(monkeypatch):
    """Counts how often the catalogue is made of the records."""
    counted = []
    compile_ = catalogue.compile_values
    monkeypatch.setattr(
        catalogue, "compile_values", lambda root: counted.append(root) or compile_(root)
    )
    return counted


def test_the_second_opening_makes_nothing_and_gives_the_same(tree, settled, made):
    first, second = open_(tree.root), open_(tree.root)
    assert len(made) == 1
    for kind in ("method", "paper", "term", "erratum", "claim"):
        assert first.rows(kind) == second.rows(kind)
    assert first.card("paper:red-lantern") == second.card("paper:red-lantern")


@pytest.mark.parametrize("change", ["text", "new", "gone", "taxonomy", "kept time", "replaced"])
def test_every_change_is_seen(tree, settled, made, change):
    open_(tree.root)
    path = tree.root / BLUE
    status = path.stat()
    if change == "new":
        tree.write("papers/new-kite.yaml", tree.read(BLUE).replace("blue-kite", "new-kite"))
    elif change == "gone":
        path.unlink()
    elif change == "taxonomy":
        tree.edit("taxonomy/scenario.yaml", "label: Medicine", "label: Medical")
    else:  # of the same length
        if change == "replaced":
            shutil.copy2(path, tree.root / "aside")
            os.replace(tree.root / "aside", path)
        tree.edit(BLUE, "title: Blue Kite", "title: Blue Bite")
        if change in ("kept time", "replaced"):
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert path.stat().st_mtime_ns == status.st_mtime_ns
    names = {row["id"] for row in open_(tree.root).rows("paper")}
    assert len(made) == 2
    assert ("blue-kite" in names) == (change != "gone")
    assert ("new-kite" in names) == (change == "new")
    if change in ("text", "kept time", "replaced"):
        assert title(tree.root) == "Blue Bite"


def test_every_module_that_the_answers_are_made_with_counts(tmp_path, tree):
    """Traced: whatever of the package is imported to make a catalogue is in the stamp."""
    code = (
        "import sys\nfrom mmalign.ask import catalogue\n"
        f"catalogue.compile_values({str(tree.root)!r})\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'mmalign'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package = Path(cache.PACKAGE)
    needed = {Path(file).relative_to(package).as_posix() for file in done.stdout.split()}
    assert {"records/source.py", "ask/views.py", "vocabulary.py"} <= needed
    listed = {
        name.replace("//", "/") for name, _ in json.loads(cache.stamp(str(tree.root)).text)[2]
    }
    assert {f"mmalign/{name}" for name in needed} <= listed


def test_a_module_that_changes_is_seen(tree, settled, made, monkeypatch, tmp_path):
    package = tmp_path / "package"
    shutil.copytree(cache.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "PACKAGE", str(package))
    open_(tree.root)
    open_(tree.root)
    assert len(made) == 1
    with (package / "records" / "shape.py").open("a") as stream:
        stream.write("# changed\n")
    open_(tree.root)
    assert len(made) == 2


def test_what_has_just_changed_is_not_kept(tree, made):
    open_(tree.root)
    open_(tree.root)
    assert len(made) == 2


def test_a_record_from_the_future_does_not_switch_it_off(tree, made, monkeypatch):
    later = time.time() + 86_400
    os.utime(tree.root / BLUE, (later, later))
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600)  # an hour has passed
    open_(tree.root)
    open_(tree.root)
    assert len(made) == 1


def test_broken_records_are_not_kept(tree, settled):
    tree.edit(BLUE, "year: 2022", "year: soon")
    for _ in range(2):
        with pytest.raises(LoadError):
            open_(tree.root)
    assert not kept(tree.root).exists()


def test_one_flipped_byte_anywhere_is_seen(tree, settled, made):
    open_(tree.root)
    path = kept(tree.root)
    content = path.read_bytes()
    places = [0, 8, 9, 40, *range(100, len(content), len(content) // 60), len(content) - 1]
    for count, place in enumerate(places, 2):
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        path.write_bytes(spoilt)
        assert title(tree.root) == "Blue Kite"
        assert len(made) == count, place
        assert path.read_bytes() == content  # made again, and kept again


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: [],
        lambda lines: lines[: len(lines) // 2],
        lambda lines: [*lines, b"{}"],
        lambda lines: [lines[0], b"{}", *lines[2:]],
        lambda lines: [lines[0], b"7", *lines[2:]],
        lambda lines: [lines[0], b"null"],
        lambda lines: [b"[]", *lines[1:]],
        lambda lines: [b"\xff\xfe" * 9, *lines[1:]],
        lambda lines: [lines[0], b"[[1]]", b"0"],
    ],
)
@pytest.mark.parametrize("checksum", [True, False])
def test_another_form_is_made_again(tree, settled, made, spoil, checksum):
    open_(tree.root)
    path = kept(tree.root)
    first, *lines = path.read_bytes().split(b"\n")
    content = b"\n".join(spoil(lines))
    if checksum:
        first = f"{zlib.crc32(content):08x}".encode()
    path.write_bytes(first + b"\n" + content)
    assert title(tree.root) == "Blue Kite"
    assert open_(tree.root).find("PP") == ["method:plain-pairs"]
    assert len(made) == 2


def test_what_is_kept_is_read_up_to_a_limit(tree, settled, made):
    open_(tree.root)
    os.truncate(kept(tree.root), cache.LARGEST + 1)  # takes no room on the disk
    assert title(tree.root) == "Blue Kite"
    assert len(made) == 2 and kept(tree.root).stat().st_size < 10**6


def test_what_the_reader_does_not_read_is_no_error(tree, settled, made):
    (tree.root / "papers" / "sub").mkdir()
    tree.write("papers/sub/blue-kite.yaml", tree.read(BLUE))
    tree.write("papers/README", "words")
    (tree.root / "papers" / "gone").symlink_to("nowhere")
    (tree.root / "papers" / "round").symlink_to("round")
    assert title(tree.root) == title(tree.root) == "Blue Kite"
    assert len(made) == 1


def test_two_roots_never_share_answers(tree, settled, tmp_path, monkeypatch):
    other = tmp_path / "other"
    shutil.copytree(tree.root, other)
    (other / BLUE).write_text((other / BLUE).read_text().replace("Blue Kite", "Other Kite"))
    assert kept(tree.root) != kept(other)
    # Even if their caches had one name.
    monkeypatch.setattr(cache, "path_of", lambda root: str(tmp_path / "one.jsonl"))
    for _ in range(2):
        assert title(tree.root) == "Blue Kite"
        assert title(other) == "Other Kite"


@pytest.mark.parametrize("where", ["a file", "relative", "no home", "read only", "a folder there"])
def test_no_place_to_keep_it_is_no_error(tree, settled, monkeypatch, tmp_path, where):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if where == "a file":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    elif where == "relative":
        monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    elif where == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    elif where == "read only":
        monkeypatch.setattr(os, "makedirs", lambda *_, **__: (_ for _ in ()).throw(PermissionError))
    else:
        kept(tree.root).mkdir(parents=True)
    assert title(tree.root) == title(tree.root) == "Blue Kite"
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "~").exists()


def test_a_full_disk_is_no_error_and_leaves_nothing_behind(tree, settled, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert title(tree.root) == "Blue Kite"
    assert list(kept(tree.root).parent.iterdir()) == []


def test_two_processes_at_once_both_answer(tree):
    code = (
        "from mmalign.records import cache; cache.SETTLED = 0\n"
        "from mmalign.ask.catalogue import open_catalogue\n"
        f"for _ in range(3): print(open_catalogue({str(tree.root)!r}).card('paper:blue-kite')"
        "['title'])"
    )
    command = [sys.executable, "-c", code]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert (out, err) == ("Blue Kite\n" * 3, "")
    assert [path.suffix for path in kept(tree.root).parent.iterdir()] == [".jsonl"]
