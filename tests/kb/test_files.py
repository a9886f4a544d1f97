"""What is not read is said; what is read is a regular file inside the root, and no more of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mmalign.check.run import check
from mmalign.errors import LoadError
from mmalign.records import collect, source
from mmalign.records.read import load

SECRET = "id: secret-words\ntitle: [\n"


@pytest.fixture(autouse=True)
def no_hang():
    """A test that opens something that blocks fails instead of hanging."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("papers/other.yml", "R001"), ("papers/other.YAML", "R001"), ("papers/other.Yaml", "R001"),
        ("taxonomy/other.yml", "R001"), ("taxonomy/other.YML", "R001"),
        ("papers/README", "Y017"), ("papers/README.md", "Y017"), ("papers/notes.txt", "Y017"),
        ("papers/lamp.yaml~", "Y017"), ("papers/.lamp.yaml.swp", "Y017"),
        ("papers/lamp.yaml.orig", "Y017"), ("papers/lamp.part", "Y017"),
        ("papers/#lamp.yaml#", "Y017"), ("papers/lamp.json", "Y017"),
        ("papers/sub/x.yaml", "Y017"), ("papers/sub/deep/x.yaml", "Y017"),
        ("papers/sub/README", "Y017"), ("taxonomy/sub/x.yaml", "Y017"),
        ("taxonomy/README.md", "Y017"), ("taxonomy/schema/notes.txt", "Y017"),
        ("taxonomy/paper.json", "Y017"),
    ],
)  # fmt: skip
def test_what_lies_beside_the_records_and_is_not_read_is_a_problem(tree, file, code):
    tree.write(file, "id: [broken\n")
    (problem,) = tree.problems()
    assert (problem.code, problem.file, problem.line) == (code, file, 1)
    assert "not read" in problem.message
    assert problem.hint
    # The same where it, its folder or the whole root is named.
    for named in (tree.root / file, (tree.root / file).parent, tree.root):
        assert [p.file for p in tree.problems(named)] == [file]
    assert tree.problems(tree.root / "papers" / "blue-kite.yaml") == []


def test_generated_schemas_are_no_problem(tree):
    tree.write("taxonomy/schema/paper.json", "{}")
    assert tree.problems() == []


@pytest.mark.parametrize(
    "file",
    ["README.md", "docs/x.yaml", "tests/kb/papers/x.yaml", "x.yaml", "taxonomy/schema/paper.json",
     "pyproject.toml", "reference_impls/methods/_x.py"],
)  # fmt: skip
def test_what_is_named_below_the_root_and_not_read_is_a_problem(tree, file):
    tree.write(file, "id: [broken\n")
    assert tree.problems() == []
    (problem,) = tree.problems(tree.root / file)
    assert (problem.code, problem.file) == ("Y017", file)
    folder = (tree.root / file).parent
    if folder not in (tree.root, tree.root / "taxonomy"):
        (problem,) = tree.problems(folder)
        assert (problem.code, problem.file) == ("Y017", folder.relative_to(tree.root).as_posix())


def test_folders_of_the_root_without_a_record_are_a_problem(tree):
    for name in ("empty", "papers/empty"):
        (tree.root / name).mkdir()
        (problem,) = tree.problems(tree.root / name)
        assert (problem.code, problem.file) == ("Y017", name)


def test_folders_elsewhere(tree, tmp_path):
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    (problem,) = tree.problems(drafts)
    assert (problem.code, problem.file) == ("Y017", drafts.as_posix())
    text = tree.read("papers/blue-kite.yaml").replace("blue-kite", "draft")
    (drafts / "draft.yaml").write_text(text.replace("abcDEF123\nsummary", "other\nsummary"))
    assert tree.problems(drafts) == []
    (drafts / "other.yml").write_text("")
    (problem,) = tree.problems(drafts)
    assert (problem.code, problem.file) == ("R001", (drafts / "other.yml").as_posix())
    # A folder that holds the root: what else is in it is not looked for.
    (problem,) = tree.problems(tmp_path)
    assert (problem.code, problem.file) == ("Y017", tmp_path.as_posix())


def special(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "x.yaml").write_text("id: x\n")
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has to be short
        socket.socket(socket.AF_UNIX).bind(path.name)
        os.chdir(here)
    elif kind == "dangling":
        path.symlink_to("nowhere.yaml")
    elif kind == "itself":
        path.symlink_to(path.name)
    else:
        path.symlink_to({"zero": "/dev/zero", "tty": "/dev/tty", "folder link": "/"}[kind])


KINDS = ["pipe", "folder", "socket", "dangling", "itself", "zero", "tty", "folder link"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", ["papers", "taxonomy"])
def test_only_regular_files_are_read(tree, kind, folder):
    special(tree.root / folder / "odd.yaml", kind)
    file = f"{folder}/odd.yaml"
    found = [problem for problem in tree.problems() if problem.code != "R020"]
    assert [(problem.code, problem.file, problem.line) for problem in found] == [("Y014", file, 1)]
    assert [p.code for p in tree.problems(tree.root / file)] == ["Y014"]
    with pytest.raises(LoadError):
        load(tree.root)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_only_regular_files_are_read_elsewhere(tree, tmp_path, kind):
    special(tmp_path / "odd.yaml", kind)
    if kind == "folder link":
        (tmp_path / "odd.yaml").unlink()
        (tmp_path / "odd.yaml").symlink_to(tree.root.parent)
        assert [p.code for p in tree.problems(tmp_path / "odd.yaml")] == ["Y017"]
        return
    assert [p.code for p in tree.problems(tmp_path / "odd.yaml")] == ["Y014"]


def test_no_more_of_a_file_is_read_than_its_limit(tree):
    path = tree.root / "papers" / "large.yaml"
    with open(path, "wb") as stream:
        stream.truncate(50 * 10**9)  # a file of holes
    content, size = collect._content(tree.root, path)
    assert (len(content), size) == (source.MAX_BYTES + 1, 50 * 10**9)
    (problem,) = tree.problems()
    assert problem.code == "Y011"
    assert problem.message == "the file has 50,000,000,000 bytes, 1,000,000 are allowed"


@pytest.mark.parametrize("folder", ["papers", "taxonomy"])
@pytest.mark.parametrize("chain", [False, True])
def test_a_link_that_leads_out_of_the_root_is_a_problem_and_quotes_nothing(
    tree, tmp_path, folder, chain
):
    (tmp_path / "secret").write_text(SECRET)
    target = tmp_path / "secret"
    if chain:  # through a link inside the root
        (tree.root / "step").symlink_to(target)
        target = Path("..") / "step"
    (tree.root / folder / "odd.yaml").symlink_to(target)
    for named in (None, [tree.root / folder / "odd.yaml"], [tree.root / folder]):
        _, problems = check(tree.root, named)
        (problem,) = [each for each in problems if each.code != "R020"]
        assert (problem.code, problem.file) == ("Y014", f"{folder}/odd.yaml")
        assert "leads out of the root" in problem.message
        assert "secret-words" not in str(problems)


def test_a_folder_of_the_root_that_leads_out_is_a_problem_and_is_not_read(tree, tmp_path):
    (tree.root / "papers").rename(tmp_path / "outside")
    (tree.root / "papers").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "secret.yaml").write_text(SECRET)
    problems = [problem for problem in tree.problems() if problem.file == "papers"]
    assert [problem.code for problem in problems] == ["Y014"]
    assert "secret-words" not in str(tree.problems())


def test_a_folder_below_papers_that_leads_out_is_not_followed(tree, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.yaml").write_text(SECRET)
    (tree.root / "papers" / "sub").symlink_to(tmp_path / "outside")
    for named in ((), (tree.root / "papers" / "sub",)):
        (problem,) = tree.problems(*named)
        assert (problem.code, problem.file) == ("Y017", "papers/sub")


def test_a_link_elsewhere_is_followed_in_its_folder_only(tree, tmp_path):
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    (tmp_path / "secret").write_text(SECRET)
    (drafts / "draft.yaml").symlink_to(tmp_path / "secret")
    (problem,) = tree.problems(drafts / "draft.yaml")
    assert problem.code == "Y014"
    (drafts / "draft.yaml").unlink()
    (drafts / "real").write_text("id: [\n")
    (drafts / "draft.yaml").symlink_to("real")
    assert [p.code for p in tree.problems(drafts / "draft.yaml")] == ["Y004"]


def test_names_of_files_forge_no_lines(tree, checkout):
    odd = "a\nb\x1b[2J::error::x\u202e.txt"
    tree.write(f"papers/{odd}", "")
    (tree.root / "papers" / os.fsdecode(b"caf\xe9.txt")).write_text("")
    code = "from mmalign.cli import main; main()"
    for format in ("text", "github", "json"):
        for encoding in ("utf-8", "ascii"):
            found = subprocess.run(
                [sys.executable, "-c", code, "--root", str(tree.root), "validate", "--format",
                 format],
                capture_output=True, timeout=60, check=False,
                env={**os.environ, "PYTHONPATH": f"{checkout}/tools", "PYTHONIOENCODING": encoding},
            )  # fmt: skip
            out = found.stdout
            assert found.returncode == 1, found.stderr
            assert b"Traceback" not in found.stderr
            assert b"\x1b" not in out
            assert "\u202e".encode() not in out
            assert format == "json" or out.count(b"\n") == 2


def test_what_cannot_be_listed_or_is_too_much_is_said(tree, tmp_path, monkeypatch):
    tree.write("papers/sub/x.yaml", "id: [")
    walk = os.walk

    def closed(top, onerror):
        for folder, folders, files in walk(top):
            if Path(folder).name == "sub":  # for root, no folder is closed
                onerror(PermissionError(13, "Permission denied", folder))
                continue
            yield folder, folders, files

    monkeypatch.setattr("mmalign.check.files.os.walk", closed)
    (problem,) = tree.problems()
    assert (problem.code, problem.file) == ("Y017", "papers/sub")
    monkeypatch.setattr("mmalign.check.files.os.walk", lambda top, onerror: walk(top))
    monkeypatch.setattr("mmalign.check.files.MAX_WALK", 3)
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    for number in range(5):
        (drafts / f"d{number}.txt").write_text("")
    (problem,) = tree.problems(drafts)
    assert (problem.code, problem.file) == ("Y017", drafts.as_posix())
    assert "not all are read" in problem.message
