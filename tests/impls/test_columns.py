"""A dataset that lacks a column is refused before anything is loaded, whichever method asks."""

import json
import time

import pytest
from PIL import Image

from reference_impls.core.columns import Column, wants
from reference_impls.core.command_line import run
from reference_impls.core.data.readers import (
    DataError,
    first_row,
    needed,
    open_records,
    read_rows,
)
from reference_impls.core.method import VARIANTS
from tests.impls.scripts import SCRIPTS

PAIR = {"image": "a.png", "chosen": "It is a red disc. It is big.", "rejected": "It is 3 cats."}
FURTHER = {
    "margin": 0.5, "label": [1], "segments": [[0, 2]], "chosen_score": 0.3, "rejected_score": 0.1,
    "negative_images": "b.png", "revised": "It is a red disc.", "target": "A disc.",
    "target_images": ["b.png"], "target_prompt": "What is it?",
    "facts": "There is a red disc.",
}  # fmt: skip
"""All that a method here asks of a row beside a pair."""
ON_PAIRS = [name for name, script in SCRIPTS.items() if script.method.last.read is None]


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (24, 16), (200, 30, 30)).save(tmp_path / f"{name}.png")
    return tmp_path


def written(folder, *changes, **further):
    """A dataset of four pairs; `changes` are columns that rows have besides, None for those that
    they lack."""
    rows = [{"question": f"What is {n}?", **PAIR, **further} for n in range(4)]
    for row, change in zip(rows, changes, strict=False):
        row |= change
    kept = [{name: cell for name, cell in row.items() if cell is not None} for row in rows]
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, kept)))
    return str(path)


def read(script, path, cfg=None):
    method = script.method
    cfg = cfg or method.config()
    return read_rows(path, method.last, cfg, fed=method.fed(cfg))


def asked(script, path):
    """What a script asks of a pair that it has not."""
    cfg = script.method.config()
    _, row = first_row(open_records(path))
    return wants(script.method.fed(cfg), cfg, row)


@pytest.mark.parametrize("name", ON_PAIRS)
def test_data_with_all_columns_is_read_and_each_that_is_missing_is_named(name, folder):
    script = SCRIPTS[name]
    if needed(script.method.last, script.method.config()) == {"answer"}:
        assert read(script, written(folder, answer=3))[0]["answer"] == "3"
        with pytest.raises(
            DataError, match=r"data\.jsonl, row 0, column 'answer': the column is m"
        ):
            read(script, written(folder))
        return
    for variant in VARIANTS:
        rows = read(script, written(folder, **FURTHER), script.method.config(variant=variant))
        assert len(rows) == 4
        first = rows[0]
    found = asked(script, written(folder))
    wanted = found.needed | ({"margin"} if "margin" in found.problem else set())
    wanted |= {"label"} if "`label`" in found.problem else set()
    assert wanted <= set(FURTHER) and wanted <= set(first)
    for column in wanted:
        read_until = time.monotonic()
        with pytest.raises(DataError, match=rf"data\.jsonl, row 0.*\b{column}\b"):
            read(script, written(folder, **{**FURTHER, column: None}))
        # In a later row alone: the loss wants it of all or of none.
        with pytest.raises(DataError, match=rf"data\.jsonl, row 2.*\b{column}\b"):
            read(script, written(folder, {}, {}, {column: None}, **FURTHER))
        assert time.monotonic() - read_until < 5
    for column in ("chosen", "rejected"):
        with pytest.raises(DataError, match=rf"data\.jsonl, row 2.*\b{column}\b"):
            read(script, written(folder, {}, {}, {column: None}, **FURTHER))


def test_there_are_methods_that_ask_for_more_than_a_pair(folder):
    path = written(folder)
    found = {name: asked(SCRIPTS[name], path) for name in ON_PAIRS}
    wanted = {name: each.needed for name, each in found.items()}
    assert wanted["re_align"] == {"negative_images"} and wanted["opa_dpo"] == {"revised"}
    assert wanted["dama"] == {"chosen_score", "rejected_score"}
    assert wanted["mdpo"] == wanted["dpo"] == set()  # mDPO makes its own negative images
    assert found["re_align"].columns == {"negative_images": Column("images")}
    assert found["ha_dpo"].columns["target_prompt"] == Column("prompt", "target_images")


def test_a_score_by_rule_gets_the_true_answer_that_data_has(folder):
    rows = read(SCRIPTS["fact_rlhf"], written(folder, answer="Yes", facts="A disc."))
    assert [row["answer"] for row in rows] == ["Yes"] * 4
    assert "answer" not in read(SCRIPTS["fact_rlhf"], written(folder, facts="A disc."))[0]


def test_further_columns_arrive_as_what_they_are(folder):
    row = read(SCRIPTS["ha_dpo"], written(folder, **FURTHER))[0]
    assert row["target"] == [{"role": "assistant", "content": "A disc."}]
    assert row["target_images"][0].size == (24, 16)
    assert row["target_prompt"] == [{"role": "user", "content": "What is it?"}]
    assert "label" not in row and "revised" not in row  # what it does not ask for
    row = read(SCRIPTS["dama"], written(folder, **FURTHER))[0]
    assert (row["chosen_score"], row["rejected_score"]) == (0.3, 0.1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("re_align", {"negative_images": "c.png"}, "column 'negative_images': there is no file"),
        ("opa_dpo", {"revised": 3}, "column 'revised': "),
        ("dama", {"chosen_score": [None]}, "column 'chosen_score': neither numbers nor text"),
        ("dama", {"chosen_score": float("nan")}, "column 'chosen_score': neither numbers"),
        ("ha_dpo", {"target_prompt": "<image> and <image>"}, "column 'target_prompt': "),
    ],
)
def test_a_further_column_is_checked_in_each_row(name, change, message, folder):
    with pytest.raises(DataError, match=rf"data\.jsonl, row 1, {message}"):
        read(SCRIPTS[name], written(folder, {}, change, **FURTHER))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("re-align", "row 0: the method needs negative_images"),
        ("opa-dpo", "row 0: the method needs revised"),
        ("llava-critic", "row 0: a head that judges claims needs the column `label`"),
    ],
)
def test_a_run_stops_before_it_loads_a_model(name, said, folder, tiny_base, capsys, monkeypatch):
    from reference_impls.core import stages

    monkeypatch.setattr(stages, "load", lambda *args: pytest.fail("a model was loaded"))
    out = folder / "out"
    arguments = ["--model", tiny_base, "--dataset", written(folder), "--output", str(out)]
    assert run(name, arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: --dataset: ") and f"data.jsonl, {said}" in told
    assert told.count("\n") == 1 and not out.exists()


def test_an_early_stage_that_may_be_left_out_is_named(folder):
    """Rows with a true answer are enough for reinforcement, and not for a cold start before it."""
    method = SCRIPTS["vision_r1"].method
    path = folder / "data.jsonl"
    rows = [{"image": "a.png", "problem": "How many?", "answer": "3"}] * 4
    path.write_text("\n".join(map(json.dumps, rows)))
    said = r"data\.jsonl, row 0: the stage cold-start needs chosen, .*leave this stage out"
    with pytest.raises(DataError, match=said):
        read(SCRIPTS["vision_r1"], str(path))
    assert len(read(SCRIPTS["vision_r1"], str(path), method.config(cold_term=False))) == 4


def test_a_switch_changes_what_is_asked(folder):
    method = SCRIPTS["re_align"].method
    rows = read(SCRIPTS["re_align"], written(folder), method.config(image_term=False))
    assert len(rows) == 4
