"""Smoke runs on the pages of methods: what they are is said, and nothing is concluded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmalign.errors import BadSource
from mmalign.records import lab as files
from mmalign.site import lab, pages, script

TALLY = {
    "pairs": 365, "rules": {"refilled": 365, "too alike, dropped": 35}, "truly_better": 0.9,
    "truly_equal": 0.05, "chosen_words": 20.5, "rejected_words": 22.1, "chosen_parsed": 1.0,
    "rejected_parsed": 0.98,
}  # fmt: skip


@pytest.fixture
def run(result):
    (table,) = result["tables"]
    rows = [
        {**row, "metrics": {name: values[:1] for name, values in row["metrics"].items()}}
        for row in table["rows"]
    ]
    return {
        **result,
        "seeds": [1],
        "verdicts": [],
        "tables": [{**table, "rows": rows}],
        "condition": {"prior": "half"},
        "protocol": {"held_out": 128, "grid": False},
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "cpu_seconds": {"base": 5.2, "dpo": 12.0, "red-lantern": 31.4},
        "checks": {
            "edge": [],
            "budget": {"red-lantern": {"scenes": 400, "steps": 60, "batch": 32}},
            "data": {"train": TALLY},
        },
        "command": "mmalign bench red-lantern --smoke --jobs 1",
    }


def test_a_smoke_run_says_what_it_is_and_what_its_data_step_did(run):
    text = lab.smoke(run)
    assert "one seed, smoke run, not a study" in text and "may be chance" in text
    assert "<code>0123456789</code>" in text and "prior half" in text and "128 held-out" in text
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td.*?</td>", text)]
    assert cells[cells.index("red-lantern") :][1:4] == ["31", "0.050", ""]
    assert "Budget: 400 scenes, 60 steps, 32 batch for red-lantern." in text
    assert "by rule: refilled 365, too alike, dropped 35; chosen truly better in 90%" in text
    assert "mmalign bench red-lantern --smoke" in re.sub("<[^>]*>", "", text)
    assert "±" not in text and "Verdict" not in text


def test_a_method_that_is_its_data_is_told_to_be(run):
    assert "Equal to the last digit" not in lab.smoke(run)
    rows = run["tables"][0]["rows"]
    rows[2]["metrics"] = rows[1]["metrics"]
    assert "Equal to the last digit: dpo, red-lantern." in lab.smoke(run)


def test_it_stands_on_the_page_of_its_method_alone_and_is_no_result(kb, run):
    made = pages(kb, smoke=[run])
    assert [path for path, text in made.items() if "smoke run, not a study" in text] == [
        "methods/red-lantern.md"
    ]
    assert "No result is committed yet" in made["lab/results.md"]
    assert "not a study" not in pages(kb)["methods/red-lantern.md"]


def test_a_script_says_which_objectives_it_shares():
    own = "from reference_impls.core.objective.preference import dpo as loss\n"
    assert script.shared(own).startswith("Its objective is <code>dpo</code> of")
    parts = "from reference_impls.core.objective.groups import (\n    k3,\n    grpo,\n)\n"
    assert script.shared(parts + "def loss():\n    return grpo\n") == (
        "It shares with other scripts <code>k3</code>, <code>grpo</code> of "
        "<code>core/objective/groups.py</code>."
    )
    assert script.shared("def loss():\n    pass\n") == ""


def test_committed_smoke_runs_are_of_scripts_that_there_are(checkout):
    scripts = {file.stem for file in (checkout / "reference_impls" / "methods").glob("[a-z]*.py")}
    for run in files.smoke_runs(checkout):
        assert run["method"].replace("-", "_") in scripts
        assert run["seeds"] == [1] and len(run["commit"]) == 40, "made from a clean checkout"
        assert lab.smoke(run)


def test_a_broken_smoke_run_is_named(tmp_path: Path):
    folder = tmp_path / "reference_impls" / "smoke"
    folder.mkdir(parents=True)
    (folder / "dpo.json").write_text(json.dumps({"method": "dpo"}))
    with pytest.raises(BadSource, match=r"smoke/dpo\.json has no 'seeds'"):
        files.smoke_runs(tmp_path)
