"""What changed between two revisions, in words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from mmalign.ask import diff
from mmalign.records import source


def texts(tree, data_root) -> list[str]:
    before, after = diff.read(str(data_root), data_root), diff.read(str(tree.root), tree.root)
    return [change.text for change in diff.compare(before, after)]


def test_nothing_changed(tree, data_root):
    assert texts(tree, data_root) == []
    assert diff.summary([]) == "nothing changed"


def test_values_lists_and_items_are_told_apart(tree, data_root):
    file = "papers/red-lantern.yaml"
    tree.edit(file, "venue: EXAMPLE 2021", "venue: EXAMPLE 2022")
    tree.edit(file, "response_source: [policy, corruption]", "response_source: [policy, retrieval]")
    tree.edit(file, "value: 12.5", "value: 12.4")
    tree.edit(file, "licence: MIT\n", "")
    assert texts(tree, data_root) == [
        "paper red-lantern: venue: EXAMPLE 2021 -> EXAMPLE 2022",
        "paper red-lantern: licence removed (was MIT)",
        "method red-lantern: response_source: + retrieval; - corruption",
        "method red-lantern: results[bench-one, invented objects, Lamp 7B].value: 12.5 -> 12.4",
    ]


def test_added_and_removed_things(tree, data_root):
    (tree.root / "papers/blue-kite.yaml").unlink()
    lamp = tree.read("papers/lamp.yaml").replace("lamp", "torch").replace("Lamp", "Torch")
    tree.write("papers/torch.yaml", lamp)
    found = texts(tree, data_root)
    assert found == [
        "removed paper blue-kite: Blue Kite (TEST 2022)",
        "added paper torch: Torch (GitHub)",
        "removed method blue-kite: Blue Kite",
        "added model torch-7b: Torch 7B",
        "added framework torch-train: Torch Train",
    ]
    before, after = diff.read(str(data_root), data_root), diff.read(str(tree.root), tree.root)
    assert diff.summary(diff.compare(before, after)) == (
        "papers: 1 added, 1 removed; methods: 1 removed; models: 1 added; frameworks: 1 added"
    )


def test_of_two_long_texts_the_difference_is_shown():
    old, new = "word " * 40 + "one end", "word " * 40 + "two end"
    (change,) = diff._fields("paper:x", {"summary": old}, {"summary": new})
    assert change.text.endswith(": ...word word word one end -> ...word word word two end")


def test_git_revisions_and_wheels_are_read(tree, data_root, tmp_path):
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tree.root)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*run, *command], check=True)
    assert diff.read("HEAD", tree.root) == diff.read(str(data_root), tree.root)
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        for path in data_root.rglob("*.yaml"):
            wheel.write(path, f"mmalign/_data/{path.relative_to(data_root).as_posix()}")
    assert diff.read(str(tmp_path / "x.whl"), tree.root) == diff.read(str(data_root), tree.root)


def test_what_is_no_revision_is_said(tree, tmp_path):
    with pytest.raises(diff.NoRevision, match="'nonsense' is no folder, wheel or git revision"):
        diff.read("nonsense", tree.root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(diff.NoRevision, match="holds no papers/"):
        diff.read(str(tmp_path / "empty"), tree.root)


@pytest.mark.parametrize("content", ["id: [", "", "- a", "\0"])
def test_a_file_that_cannot_be_read_is_named_and_the_rest_compared(tree, tmp_path, content):
    shutil.copytree(tree.root, tmp_path / "bad")
    (tmp_path / "bad/papers/lamp.yaml").write_text(content, encoding="utf-8")
    tree.edit("papers/red-lantern.yaml", "venue: EXAMPLE 2021", "venue: EXAMPLE 2022")
    good, bad = (diff.read(str(each), tree.root) for each in (tree.root, tmp_path / "bad"))
    for old, new, says in (
        (good, bad, "2022 -> EXAMPLE 2021"),
        (bad, good, "2021 -> EXAMPLE 2022"),
    ):
        # What stood in the broken file is neither gone nor new: nothing is known of it.
        assert [change.text for change in diff.compare(old, new)] == [
            f"paper red-lantern: venue: EXAMPLE {says}"
        ]
    assert diff.uncompared(good) == []
    (left,) = diff.uncompared(bad)
    assert left.startswith("papers/lamp.yaml, line ")


# --- what is no revision, and what git must never read as an option


NAMES = ["", " ", "-", "--output=FILE", "-o", "--", "a\nb", "a\0b", "a\x1bb", "x" * 100_000]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_name_reaches_git_that_is_not_a_revision(tree, monkeypatch, name):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("git was run"))
    with pytest.raises(diff.NoRevision):
        diff.read(name, tree.root)


def repository(root, *more: str) -> list[str]:
    """A git repository of all files of a folder, with one commit; gives git's command line."""
    run = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(root)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"], *map(str.split, more)):
        subprocess.run([*run, *command], check=True, capture_output=True)
    return run


@pytest.mark.parametrize(
    "name", ["HEAD:papers", "HEAD:papers/lamp.yaml", "@{u}", "^HEAD", "HEAD..HEAD", "HEAD^9", ":/x",
             ":papers/lamp.yaml", "HEAD@{9}", "HEAD~9", "refs/heads/none", "0" * 40],
)  # fmt: skip
def test_syntax_of_git_that_names_no_commit_is_said(tree, name):
    repository(tree.root)
    with pytest.raises(diff.NoRevision, match="is no folder, wheel or git revision with records: "):
        diff.read(name, tree.root)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("HEAD:papers", "it holds no papers/"),
     ("HEAD:papers/lamp.yaml", "it is neither a commit nor a folder of one"),
     (":papers/lamp.yaml", "it is neither a commit nor a folder of one"),
     ("none", "git knows no such revision")],
)  # fmt: skip
def test_what_git_knows_is_not_called_unknown(tree, name, reason):
    repository(tree.root)
    with pytest.raises(diff.NoRevision, match=f"with records: {reason}"):
        diff.read(name, tree.root)


def test_a_hook_of_another_repository_does_not_redirect_a_comparison(tree, tmp_path, monkeypatch):
    repository(tree.root)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert diff.read("HEAD", tree.root) == diff.read(str(tree.root), tree.root)


def test_a_warning_of_git_is_not_given_as_the_reason(tree):
    run = repository(tree.root)
    subprocess.run([*run, "tag", "HEAD"], check=False, capture_output=True)
    subprocess.run([*run, "update-ref", "refs/tags/HEAD", "HEAD"], check=True, capture_output=True)
    with pytest.raises(diff.NoRevision, match=": git knows no such revision"):
        diff.read("^HEAD", tree.root)


def test_names_of_one_commit_are_the_same(tree, data_root):
    run = repository(tree.root, "tag -a v1 -m x", "branch other")
    commit = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    wanted = diff.read(str(data_root), tree.root)
    for name in ("HEAD", "v1", "other", commit.strip(), commit[:9], "@", "HEAD^{tree}", "HEAD^0",
                 ":/on", "HEAD^{/one}"):  # fmt: skip
        assert diff.read(name, tree.root) == wanted, name


def test_a_repository_says_what_is_missing(tree, tmp_path):
    with pytest.raises(diff.NoRevision, match="is not in a git repository"):
        diff.read("HEAD", tree.root)
    (tmp_path / "other/papers").mkdir(parents=True)
    (tmp_path / "other/readme").write_text("x")
    repository(tmp_path / "other")
    with pytest.raises(diff.NoRevision, match="it holds no papers/"):
        diff.read("HEAD", tmp_path / "other")
    repository(tree.root)
    tree.edit("papers/lamp.yaml", "year: 2020", "year: 2021")
    repository(tree.root)
    shallow = tmp_path / "shallow"
    source = f"file://{tree.root}"
    subprocess.run(["git", "clone", "-q", "--depth=1", source, str(shallow)], check=True)
    assert len(diff.read("HEAD", shallow)) == len(diff.read("HEAD", tree.root))
    with pytest.raises(diff.NoRevision, match="this clone is shallow"):
        diff.read("HEAD~1", shallow)


def test_a_link_in_a_revision_is_not_followed(tree, tmp_path):
    (tree.root / "papers/link.yaml").symlink_to("/etc/passwd")
    repository(tree.root)
    with pytest.raises(
        diff.NoRevision, match=r"'papers/link\.yaml' in 'HEAD' is not a regular file"
    ):
        diff.read("HEAD", tree.root)


def test_only_regular_files_of_a_folder_are_read(tree):
    os.mkfifo(tree.root / "papers/pipe.yaml")
    with pytest.raises(diff.NoRevision, match=r"pipe\.yaml is not a regular file"):
        diff.read(str(tree.root), tree.root)
    (tree.root / "papers/pipe.yaml").unlink()
    (tree.root / "papers/zero.yaml").symlink_to("/dev/zero")
    with pytest.raises(diff.NoRevision, match=r"zero\.yaml is not a regular file"):
        diff.read(str(tree.root), tree.root)
    (tree.root / "papers/zero.yaml").unlink()
    (tree.root / "papers/none.yaml").symlink_to("nowhere")
    with pytest.raises(diff.NoRevision, match=r"none\.yaml: No such file"):
        diff.read(str(tree.root), tree.root)


def wheel(path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


GOOD = {"mmalign/_data/papers/a.yaml": b"id: a\n", "mmalign/_data/taxonomy/b.yaml": b"id: b\n"}


def why_not(revision: str, root) -> str | None:
    try:
        diff.read(revision, root)
    except diff.NoRevision as error:
        return str(error)
    return None


def test_a_bad_archive_is_one_line(tree, tmp_path):
    good = Path(wheel(tmp_path / "good.whl", GOOD)).read_bytes()
    assert set(diff.read(str(tmp_path / "good.whl"), tree.root)) == {
        "papers/a.yaml", "taxonomy/b.yaml",
    }  # fmt: skip
    bad = tmp_path / "bad.whl"
    contents = [b"", b"x", b"PK\x03\x04", b"\0" * 999, *(good[:n] for n in range(1, len(good), 7))]
    contents += [good[:n] + b"\xff\xff" + good[n + 2 :] for n in range(0, len(good), 3)]
    for content in contents:
        bad.write_bytes(content)
        error = why_not(str(bad), tree.root)  # a changed byte may also be one that nobody reads
        assert error is None or re.fullmatch(r"[^\n]*(bad\.whl|papers/|taxonomy/)[^\n]*", error)
    bad.unlink()
    bad.mkdir()
    with pytest.raises(diff.NoRevision, match="holds no papers/"):
        diff.read(str(bad), tree.root)
    dangling = tmp_path / "dangling.whl"
    dangling.symlink_to("nowhere")
    with pytest.raises(diff.NoRevision, match=r"dangling\.whl is not a regular file"):
        diff.read(str(dangling), tree.root)


@pytest.mark.parametrize(
    "name",
    ["papers/../a.yaml", "papers/a/b.yaml", "../papers/a.yaml", "a.yaml", "papers/.yaml/.yaml"],
)
def test_an_archive_holds_records_and_nothing_else(tree, tmp_path, name):
    path = wheel(tmp_path / "x.whl", GOOD | {f"mmalign/_data/{name}": b"id: a\n"})
    with pytest.raises(diff.NoRevision, match="which is not a record"):
        diff.read(path, tree.root)


def test_an_archive_that_unpacks_to_much_more_is_refused(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(diff, "MAX_TOTAL", 3_000_000)
    text = b"# " + b"x" * 990_000 + b"\nid: a\n"
    files = {f"mmalign/_data/papers/a{n}.yaml": text for n in range(5)}
    with pytest.raises(diff.NoRevision, match="bytes of records in one revision"):
        diff.read(wheel(tmp_path / "x.whl", files), tree.root)
    monkeypatch.setattr(diff, "MAX_FILES", 3)
    small = {name: b"id: a\n" for name in files}
    with pytest.raises(diff.NoRevision, match="more than 3 files"):
        diff.read(wheel(tmp_path / "y.whl", small), tree.root)
    bomb = {"mmalign/_data/papers/a.yaml": b"#" * 50_000_000}
    (left,) = diff.uncompared(diff.read(wheel(tmp_path / "z.whl", bomb), tree.root))
    assert left.startswith("papers/a.yaml, line 1: the file has")


# --- revisions of any shape


WRONG = [
    ("id: mdpo\nmethods: [x]\n", "papers/a.yaml: methods[0] is text, not a mapping"),
    ("id: mdpo\nmethods: {a: b}\n", "papers/a.yaml: methods is a mapping, not a list"),
    ("id: mdpo\nmethods: 7\n", "papers/a.yaml: methods is a number, not a list"),
    ("id: mdpo\nmethods: [{name: x}]\n", "papers/a.yaml: methods[0] has no id"),
    ("id: mdpo\nmethods: [[]]\n", "papers/a.yaml: methods[0] is a list, not a mapping"),
    ("id: mdpo\nmethods: [null]\n", "papers/a.yaml: methods[0] is nothing, not a mapping"),
    ("id: mdpo\nmethods: [{id: [a]}]\n", "papers/a.yaml: methods[0].id is not an id"),
    ("id: mdpo\nmethods: [{id: 7}]\n", "papers/a.yaml: methods[0].id is not an id"),
    ('id: mdpo\nmethods: [{id: "a\\nb"}]\n', "papers/a.yaml: methods[0].id is not an id"),
    (
        "id: m\nmethods: [{id: a}, {id: a}]\n",
        "papers/a.yaml: methods[1]: there is another method 'a'",
    ),
    ("title: mdpo\n", "papers/a.yaml has no id"),
    ("id: {a: b}\n", "papers/a.yaml.id is not an id"),
    ("id: true\n", "papers/a.yaml.id is not an id"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_compared_is_named(text, said):
    files = {"papers/a.yaml": source.parse(text.encode(), "a").data}
    assert diff.uncompared(files) == [said]
    diff.compare(files, {})
    assert all(change.ref for change in diff.compare({}, files))


def test_what_is_left_is_compared_all_the_same():
    old = {"papers/a.yaml": {"id": "a", "year": 1, "methods": ("x", {"id": "m", "own": ("p",)})}}
    new = {"papers/a.yaml": {"id": "a", "year": 2, "methods": ({"id": "m", "own": ("q",)}, 7)}}
    assert [change.text for change in diff.compare(old, new)] == [
        "paper a: year: 1 -> 2", "method m: own: + q; - p",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (True, 1, "paper a: x: yes -> 1"),
        (1, 1.0, "paper a: x: 1 -> 1.0"),
        ((True,), (1,), "paper a: x: "),
        ({"y": 0}, {"y": False}, "paper a: x.y: 0 -> no"),
        ((), "text", "paper a: x added: text"),
        ({"a": ({"id": ("b",)},)}, {"a": ({"id": {"b": "c"}},)}, "paper a: x.a: b -> b c"),
    ],
)
def test_a_change_of_type_is_a_change(old, new, text):
    files = [{"papers/a.yaml": {"id": "a", "x": value}} for value in (old, new)]
    (change,) = diff.compare(*files)
    assert change.text.startswith(text)


def test_nothing_is_as_good_as_an_empty_list():
    files = [{"papers/a.yaml": {"id": "a", **more}} for more in ({}, {"x": ()}, {"x": None})]
    assert [diff.compare(old, new) for old in files for new in files] == [[]] * 9
