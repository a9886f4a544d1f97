"""`mmalign worlds`: what the lab's worlds ask, without training anything."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the extra `train` is not installed")


def test_every_world_is_listed_with_its_tasks_and_conditions(data):
    from reference_impls.core.worlds import protocol

    found = {row["id"]: row for row in data("worlds")}
    assert set(found) == set(protocol.worlds()) and {"scenes", "multi-image"} <= set(found)
    for name, world in protocol.worlds().items():
        row = found[name]
        assert row["kind"] == "world" and row["version"] == world.version
        assert [task["id"] for task in row["tasks"]] == list(world.tasks)
        assert [each["id"] for each in row["conditions"]] == list(world.conditions)
        for each in row["conditions"]:
            assert each["default"] in each["levels"]
        for task in row["tasks"]:
            assert task["tuned_by"] and task["says"]


def test_one_world_can_be_asked_for(data):
    (row,) = data("worlds", "multi-image")
    assert row["id"] == "multi-image"
    layout = next(each for each in row["conditions"] if each["id"] == "layout")
    assert layout["levels"] == ["mixed", "sequence", "grid", "inset"]
    assert layout["default"] == "mixed"


def test_the_table_has_a_line_for_each_and_marks_the_level_that_holds(mm):
    result = mm("worlds", "multi-image", env={"COLUMNS": "400"})
    assert result.exit_code == 0 and result.stderr == ""
    lines = [line for line in result.stdout.splitlines() if line.startswith("multi-image")]
    assert sum(" task " in line for line in lines) == 5
    (layout,) = [line for line in lines if " layout " in line]
    assert "[mixed], sequence, grid, inset" in layout


@pytest.mark.parametrize("format_", ["csv", "md"])
def test_other_formats_hold_the_same_lines(mm, format_):
    result = mm("worlds", "--format", format_)
    assert result.exit_code == 0
    for word in ("scenes", "multi-image", "describe", "layout", "annotator-error"):
        assert word in result.stdout


def test_what_a_program_reads_has_levels_as_they_are(mm):
    """And a world that is named twice stands there once."""
    result = mm("worlds", "scenes", "scenes", "--format", "jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    (unseen,) = [row for row in rows if row["id"] == "unseen"]
    assert unseen["default"] in unseen["levels"] and "none" in unseen["levels"]
    written = mm("worlds", "scenes", "--format", "csv").stdout
    assert written.startswith("world,version,what,name,says,levels,default\n")
    assert "[" not in written


def test_an_unknown_world_is_named_with_the_nearest(mm):
    result = mm("worlds", "multi-imag")
    assert result.exit_code == 2 and result.stdout == ""
    assert "no world is called 'multi-imag'; did you mean multi-image?" in result.stderr


def test_a_world_that_is_like_none_gets_those_that_there_are(mm):
    result = mm("worlds", "zzz")
    assert result.exit_code == 2
    assert "no world is called 'zzz'; there are " in result.stderr
    assert "multi-image" in result.stderr and "scenes" in result.stderr


@pytest.mark.parametrize("package", ["numpy", "PIL"])
def test_without_the_extra_one_line_says_what_is_needed(program, package):
    block = (
        f"import sys; sys.modules[{package!r}] = None; "
        "from mmalign.cli import main; main()"
    )  # fmt: skip
    result = program("worlds", code=block)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr == (
        f"Error: '{package}' is not installed; running a method needs the extra `train`: "
        "pip install 'mmalign[train]'\n"
    )


def test_worlds_are_listed_without_torch(program):
    code = (
        "import sys; sys.modules['torch'] = None; from mmalign.cli import main; main()"
    )  # fmt: skip
    result = program("worlds", "--json", code=code)
    assert result.returncode == 0, result.stderr
    assert {row["id"] for row in json.loads(result.stdout)} >= {"scenes", "multi-image"}
