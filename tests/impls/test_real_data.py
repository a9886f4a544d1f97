"""Published data layouts and a real architecture, on small local files."""

import json

import pytest
from PIL import Image
from reference_impls.core.pairs import text
from reference_impls.core.preference_data import UnknownLayout, load_preferences, load_records

from reference_impls.core.command_line import run
from tests.impls.tiny_qwen import save_tiny_qwen2_5_vl


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "images" / "0.png"
    path.parent.mkdir()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path)
    return path


def json_lines(folder, records):
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


PAIR = {"chosen": "a red square", "rejected": "a blue square"}
LAYOUTS = {
    "trl": {"images": ["images/0.png"], "prompt": [{"role": "user", "content": "What?"}],
            "chosen": [{"role": "assistant", "content": PAIR["chosen"]}],
            "rejected": [{"role": "assistant", "content": PAIR["rejected"]}]},
    "rlaif-v": {"image": "images/0.png", "question": "What?", **PAIR},
    "rlhf-v": {"image": "images/0.png", "text": json.dumps({"question": "What?", **PAIR})},
    "mmpr": {"image": "images/0.png", "question": "<image>\nWhat?", **PAIR},
    "mdpo": {"img_path": "images/0.png", "prompt": "What?", **PAIR},
    "vlfeedback": {"img_path": "images/0.png", "prompt": "What?", "completions": [
        {"response": PAIR["rejected"], "annotations": {"Helpfulness": {"Rating": "2"}}},
        {"response": PAIR["chosen"], "annotations": {"Helpfulness": {"Rating": "5"}}},
        {"response": "a shape", "annotations": {"Helpfulness": {"Rating": "3"}}}]},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_reads_as_the_same_pair(layout, tmp_path, image):
    rows = load_preferences(str(json_lines(tmp_path, [LAYOUTS[layout]])))
    assert len(rows) == 1
    row = rows[0]
    assert text(row["prompt"]) == "What?"
    assert (text(row["chosen"]), text(row["rejected"])) == ("a red square", "a blue square")
    assert row["images"][0].size == (64, 48) and row["images"][0].mode == "RGB"


def test_a_dataset_saved_to_disk_and_a_folder_are_read(tmp_path, image):
    import datasets

    picture = Image.new("RGB", (64, 48))
    saved = datasets.Dataset.from_list([{"image": picture, "question": "What?", **PAIR}])
    saved.save_to_disk(str(tmp_path / "saved" / "here"))
    assert load_preferences(str(tmp_path / "saved" / "here"))[0]["images"][0].size == (64, 48)
    json_lines(image.parent, [LAYOUTS["rlaif-v"] | {"image": "0.png"}])
    assert text(load_preferences(str(image.parent))[0]["chosen"]) == "a red square"


def test_an_unknown_layout_names_its_columns(tmp_path, image):
    path = json_lines(tmp_path, [{"image": "images/0.png", "better": "a", "worse": "b"}])
    with pytest.raises(UnknownLayout, match="better"):
        load_preferences(str(path))


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="parquet"):
        load_records(str(tmp_path))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return str(save_tiny_qwen2_5_vl(tmp_path_factory.mktemp("qwen") / "model"))


def small(monkeypatch, tmp_path):
    from reference_impls.core import evaluation

    monkeypatch.setattr(evaluation, "HELD_OUT_SCENES", 4)
    monkeypatch.setattr(evaluation, "HELD_OUT_PAIRS", 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(("method", "row"), [("dpo", "dpo"), ("mdpo", "mdpo"), ("r1-v", "r1-v")])
def test_a_qwen2_5_vl_checkpoint_runs(method, row, qwen, tmp_path, capsys, monkeypatch):
    small(monkeypatch, tmp_path)
    options = [
        "--model",
        qwen,
        "--steps",
        "1",
        "--pairs",
        "6",
        "--batch-size",
        "2",
        "--dtype",
        "float32",
    ]
    assert run(method, [*options, "--output", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["preset"] == "paper" and result["model"] == qwen
    assert row in result["rows"]
    # mDPO's paper trains an adapter, and so does its preset.
    saved = "adapter_config.json" if method == "mdpo" else "config.json"
    assert (tmp_path / "out" / "model" / saved).exists()


def test_a_real_model_on_a_real_layout(qwen, tmp_path, image, capsys, monkeypatch):
    small(monkeypatch, tmp_path)
    data = json_lines(tmp_path, [LAYOUTS["rlhf-v"]] * 12)
    options = ["--model", qwen, "--dataset", str(data), "--steps", "1", "--batch-size", "2"]
    assert run("mdpo", [*options, "--output", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["dataset"] == str(data) and result["world"] is None
    assert set(result["rows"]["mdpo"]) == {
        "chosen_logp", "rejected_logp", "reward_accuracy", "image_sensitivity",
    }  # fmt: skip


def test_an_adapter_on_a_real_model(qwen, tmp_path, image, capsys, monkeypatch):
    small(monkeypatch, tmp_path)
    data = json_lines(tmp_path, [LAYOUTS["rlaif-v"]] * 12)
    options = ["--model", qwen, "--dataset", str(data), "--steps", "1", "--batch-size", "2"]
    options += ["--lora-rank", "2", "--no-baselines", "--output", str(tmp_path / "out"), "--json"]
    assert run("dpo", options) == 0
    assert (tmp_path / "out" / "model" / "adapter_config.json").exists()
