"""The reference's log-probabilities on disk: whose they are, and when they are scored again."""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing

import pytest
import torch

from reference_impls.core.command_line import run
from reference_impls.core.model.encode import Encoder
from reference_impls.core.train import forward
from reference_impls.core.train.checkpoints import SaveFailed
from reference_impls.core.train.forward import Scorer
from reference_impls.core.train.reference import (
    fingerprint,
    read_reference,
    reference_folder,
    write_reference,
)
from tests.impls import tiny_models
from tests.impls.test_forward import ROWS, A, C, asked, picture, row, said

PAIR = ("chosen", "rejected")


@pytest.fixture
def model():
    return copy.deepcopy(tiny_models.build("llava")[0])


@pytest.fixture
def processor():
    return tiny_models.build("llava")[1]


def stored(model, processor, path, rows=ROWS, **options):
    """(numbers of rows that were scored, what was stored), as a process of its own would find."""
    scorer = Scorer(Encoder(processor), PAIR, shared=False)
    numbers = []
    real = scorer.score

    def score(model, batch):
        numbers.extend(int(name.removeprefix("row ")) for name in batch.names)
        return real(model, batch)

    scorer.score = score
    return numbers, scorer.store(model, rows, batch_size=2, path=path, **options)


def values(found, processor, rows=ROWS):
    return found.of(Scorer(Encoder(processor), PAIR).collate(rows))


def test_a_second_run_scores_no_row_and_finds_the_same_numbers(model, processor, tmp_path, caplog):
    numbers, first = stored(model, processor, tmp_path)
    assert numbers == [0, 1, 2]
    with caplog.at_level(logging.INFO):
        numbers, second = stored(model, processor, tmp_path)
    assert numbers == []
    assert "reference: 0 of 3 rows scored, the others were kept in" in caplog.text
    for view in PAIR:
        assert torch.equal(
            values(first, processor)[view], values(second, processor)[view]
        )  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [{"images": [C]}, {"chosen": said("no")}, {"prompt": asked("Where?")}],
    ids=["image", "answer", "question"],
)
def test_only_a_row_that_changed_is_scored(model, processor, tmp_path, changed):
    stored(model, processor, tmp_path)
    numbers, _ = stored(model, processor, tmp_path, [ROWS[0], ROWS[1] | changed, ROWS[2]])
    assert numbers == [1]


def test_a_changed_weight_is_another_model(model, processor, tmp_path):
    stored(model, processor, tmp_path)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1e-3
    numbers, _ = stored(model, processor, tmp_path)
    assert numbers == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_pixels_read_in_another_way_or_other_precision_are_not_mixed(model, processor, tmp_path):
    here = reference_folder(tmp_path, model, processor)
    assert here == reference_folder(tmp_path, copy.deepcopy(model), processor)
    other = copy.deepcopy(processor)
    other.image_processor.image_mean = [0.5, 0.5, 0.5]
    assert reference_folder(tmp_path, model, other) != here
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = reference_folder(tmp_path, model, processor)
    assert rounded != here
    assert reference_folder(tmp_path, model.bfloat16(), processor) not in (here, rounded)


def test_a_model_is_known_wherever_it_lies_and_below_an_adapter_that_is_off(model, tmp_path):
    from peft import LoraConfig, get_peft_model

    for name in ("here", "there"):
        model.save_pretrained(tmp_path / name)
    model, other = (type(model).from_pretrained(tmp_path / name) for name in ("here", "there"))
    plain = fingerprint(model)
    assert plain == fingerprint(other)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    tuned = fingerprint(adapted)
    with adapted.disable_adapter():
        assert fingerprint(adapted) == plain
    assert tuned != plain
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    assert fingerprint(adapted) != tuned
    with adapted.disable_adapter():
        assert fingerprint(adapted) == plain


def test_a_file_that_was_cut_is_said_and_scored_again(model, processor, tmp_path, caplog):
    _, first = stored(model, processor, tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    numbers, again = stored(model, processor, tmp_path)
    assert numbers == [0, 1, 2]
    assert caplog.text.count("is left out, its answers are scored again") == 1
    assert file.name in caplog.text
    for view in PAIR:
        assert torch.equal(values(first, processor)[view], values(again, processor)[view])
    caplog.clear()
    assert stored(model, processor, tmp_path)[0] == []  # the cut one was written anew
    assert "left out" not in caplog.text


def test_what_was_scored_before_a_pass_ended_is_kept(model, processor, tmp_path, monkeypatch):
    monkeypatch.setattr(forward, "KEPT", 2)
    rows = [*ROWS, row(asked("Why?"), [picture(7)], [A], "yes", "no")]
    scorer = Scorer(Encoder(processor), PAIR)
    real = scorer.score

    def killed(model, batch):
        if "row 2" in batch.names:
            raise KeyboardInterrupt
        return real(model, batch)

    scorer.score = killed
    with pytest.raises(KeyboardInterrupt):
        scorer.store(model, rows, batch_size=2, path=tmp_path)
    numbers, _ = stored(model, processor, tmp_path, rows)
    assert numbers == [2, 3]


def test_a_folder_that_cannot_be_written_is_one_line(model, processor, tmp_path):
    (tmp_path / "file").write_text("")
    scorer = Scorer(Encoder(processor), PAIR)
    scorer.score = None  # it is refused before anything is scored
    with pytest.raises(SaveFailed, match=r"cannot write '.*file'"):
        scorer.store(model, ROWS, batch_size=2, path=tmp_path / "file")


def write(folder, first):
    keys = [f"{number:032x}" for number in range(first, first + 200)]
    for start in range(0, 200, 10):
        write_reference(
            folder, {key: torch.full((3,), int(key, 16)) for key in keys[start : start + 10]}
        )


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=write, args=(tmp_path, first)) for first in (0, 0, 100)]
    for process in both:
        process.start()
    for process in both:
        process.join()
        assert process.exitcode == 0
    found = read_reference(tmp_path)
    assert len(found) == 300
    assert all(
        torch.equal(value, torch.full((3,), float(int(key, 16)))) for key, value in found.items()
    )
    assert not [each for each in tmp_path.iterdir() if each.suffix != ".safetensors"]


# --- from the command line -----------------------------------------------------------------------


def test_a_grid_of_runs_scores_its_rows_once(tmp_path, tiny_base, capsys, monkeypatch):
    from reference_impls.core import measure
    from reference_impls.core.worlds.scenes.tasks import Count, Description, Presence

    monkeypatch.setattr(measure, "PAIRS", 8)
    for task in (Description, Presence, Count):
        monkeypatch.setattr(task, "max_new_tokens", 6)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = []
    real = Scorer.store

    def counted(self, model, given, **options):
        score = self.score
        self.score = lambda *asked: rows.append(len(asked[1])) or score(*asked)
        try:
            return real(self, model, given, **options)
        finally:
            self.score = score

    monkeypatch.setattr(Scorer, "store", counted)
    told = []
    for rate, name in (("1e-4", "first"), ("2e-4", "second")):
        command = [
            "--model", tiny_base, "--preset", "lab", "--pairs", "12", "--steps", "1", "--scenes",
            "8", "--batch-size", "4", "--no-baselines", "--learning-rate", rate, "--output",
            str(tmp_path / name), "--reference-cache", str(tmp_path / "kept"),
        ]  # fmt: skip
        assert run("dpo", command) == 0
        told.append((sum(rows), capsys.readouterr().err))
        rows.clear()
    (first, said_first), (second, said_second) = told
    assert first > 0 and second == 0
    assert f"reference: {first} of {first} rows scored" in said_first
    assert f"reference: 0 of {first} rows scored" in said_second
    files = [tmp_path / name / "train" / "metrics.jsonl" for name in ("first", "second")]
    losses = [file.read_text() for file in files]
    assert len({json.loads(each.splitlines()[0])["loss"] for each in losses}) == 1


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dpo", ["--live-reference"], "not --live-reference"),
        ("sft", [], "sft has no reference that could be kept: it has none"),
        ("chip", [], "compares whole distributions with it"),
        ("grpo", [], "does not train on pairs"),
    ],
)
def test_a_cache_that_nothing_would_read_is_refused(method, options, message, tmp_path, capsys):
    assert run(method, [*options, "--reference-cache", str(tmp_path / "kept")]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
