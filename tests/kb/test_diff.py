"""What changed between two revisions, in words."""

from __future__ import annotations

import shutil
import subprocess
import zipfile

import pytest

from mmalign.ask import diff


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
    shutil.copytree(tree.root, tmp_path / "bad")
    (tmp_path / "bad/papers/lamp.yaml").write_text("id: [", encoding="utf-8")
    with pytest.raises(diff.NoRevision, match=r"papers/lamp\.yaml:\d+: "):
        diff.read(str(tmp_path / "bad"), tree.root)
