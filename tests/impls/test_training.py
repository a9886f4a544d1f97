"""Training as the scripts do it: reproducible, resumable, and moving the policy alone."""

import dataclasses
import json
import random

import pytest
import torch

from reference_impls.core.annotators import annotators
from reference_impls.core.pair_trainer import ViewCollator, train_pairs
from reference_impls.core.worlds import scenes
from tests.impls.scripts import SCRIPTS

PAIRWISE = [name for name, script in SCRIPTS.items() if script.VIEWS]


def rows_of(script, world, policy, count=16):
    cfg = script.Config()
    rows = script.make_pairs(world, policy, annotators(world), cfg)[:count]
    if hasattr(script, "prepare"):
        rows = [script.prepare(row, random.Random(n), cfg) for n, row in enumerate(rows)]
    return rows


def train(name, base_path, processor, rows, output, steps=4, **more):
    script = SCRIPTS[name]
    cfg = script.Config()
    settings = dataclasses.replace(script.LAB, steps=steps, batch_size=8, learning_rate=1e-3)
    return train_pairs(
        base_path, processor, rows, objective=script.loss, cfg=cfg, views=script.VIEWS,
        settings=settings, output=output, reference=getattr(script, "REFERENCE", True),
        marks=(lambda a, b: script.marks(a, b, cfg)) if hasattr(script, "marks") else None, **more,
    )  # fmt: skip


def log(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", PAIRWISE)
def test_pairs_are_conversations_that_differ(name, world, policy):
    rows = rows_of(SCRIPTS[name], world, policy)
    assert len(rows) >= 8
    for row in rows:
        assert row["chosen"][0]["role"] == "assistant" and row["prompt"][0]["role"] == "user"
        assert row["chosen"] != row["rejected"]


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_few_steps_move_the_policy_and_nothing_else(
    name, base_path, loaded, world, policy, tmp_path
):
    before = {key: value.clone() for key, value in loaded[0].state_dict().items()}
    rows = rows_of(SCRIPTS[name], world, policy)
    model = train(name, base_path, loaded[1], rows, tmp_path)
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert moved, "no weight changed"
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert all(torch.equal(v, before[k]) for k, v in loaded[0].state_dict().items())
    logged = log(tmp_path)
    assert [entry["step"] for entry in logged] == [1, 2, 3, 4]
    assert all("state" not in entry for entry in logged), "state is no metric to average"


def test_the_same_seed_gives_the_same_log(base_path, loaded, world, policy, tmp_path):
    rows = rows_of(SCRIPTS["mdpo"], world, policy)
    logs = []
    for name in ("a", "b"):
        train("mdpo", base_path, loaded[1], rows, tmp_path / name, steps=3)
        logs.append([entry["loss"] for entry in log(tmp_path / name)])
    assert logs[0] == logs[1]


@pytest.mark.parametrize("name", ["mpo", "mdpo"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    name, base_path, loaded, world, policy, tmp_path, monkeypatch
):
    """Stopped after two steps and resumed: same losses, same weights, same carried state."""
    from reference_impls.core import interrupt

    rows = rows_of(SCRIPTS[name], world, policy)
    whole = train(name, base_path, loaded[1], rows, tmp_path / "whole")

    def stop_at_two(self, args, state, control, **kwargs):
        self.step = state.global_step
        if state.global_step == 2:
            self.signalled = control.should_save = control.should_training_stop = True
        return control

    with monkeypatch.context() as patch:
        patch.setattr(interrupt.StopOnSignal, "on_step_end", stop_at_two)
        with pytest.raises(interrupt.Interrupted, match="step 2"):
            train(name, base_path, loaded[1], rows, tmp_path / "parts")
    assert len(log(tmp_path / "parts")) == 2
    resumed = train(name, base_path, loaded[1], rows, tmp_path / "parts", resume=True)
    first, second = log(tmp_path / "whole"), log(tmp_path / "parts")
    assert [e["step"] for e in second] == [1, 2, 3, 4]
    for metric in first[-1]:
        if metric not in ("grad_norm", "epoch"):
            assert float(second[-1][metric]) == pytest.approx(
                float(first[-1][metric]), rel=1e-4, abs=1e-6
            )
    for key, value in whole.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[key], atol=1e-6), key


def test_mpo_state_is_saved_with_the_checkpoint(base_path, loaded, world, policy, tmp_path):
    train("mpo", base_path, loaded[1], rows_of(SCRIPTS["mpo"], world, policy), tmp_path)
    state = json.loads((tmp_path / "checkpoint-4" / "objective_state.json").read_text())
    assert len(state) == 2 and state[1] == 4.0


def test_the_collator_lays_out_every_view(loaded, world, policy):
    processor, script = loaded[1], SCRIPTS["mdpo"]
    rows = rows_of(script, world, policy, 3)
    batch = ViewCollator(processor, rows, script.VIEWS)([{"row": n} for n in range(3)])
    assert batch["input_ids"].shape[0] == batch["pixel_values"].shape[0] == 9
    assert torch.equal(batch["pixel_values"][0], batch["pixel_values"][3])
    assert not torch.equal(batch["pixel_values"][0], batch["pixel_values"][6])
    responses = [
        ids[kept.bool()]
        for ids, kept in zip(batch["input_ids"], batch["completion_mask"], strict=True)
    ]
    assert torch.equal(responses[0], responses[6]), "the corrupt view scores the chosen answer"
    said = processor.tokenizer.decode(responses[0], skip_special_tokens=True)
    assert said == rows[0]["chosen"][0]["content"]
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert (batch["input_ids"] == image).sum(1).tolist() == [36] * 9


def test_marked_tokens_are_the_corrected_ones(loaded, world, policy):
    processor, script = loaded[1], SCRIPTS["ddpo"]
    rows = rows_of(script, world, policy, 6)
    cfg = script.Config()
    collator = ViewCollator(processor, rows, script.VIEWS, lambda a, b: script.marks(a, b, cfg))
    batch = collator([{"row": n} for n in range(6)])
    for n, row in enumerate(rows):
        marked = batch["input_ids"][6 + n][batch["weights"][6 + n].bool()]
        words = processor.tokenizer.decode(marked).split()
        assert set(words) <= set(row["rejected"][0]["content"].split())
    assert batch["weights"].sum() > 0
    assert (batch["weights"] * (1 - batch["completion_mask"])).sum() == 0


@pytest.mark.slow
def test_the_anchor_holds_the_chosen_log_probability(base_path, loaded, policy, tmp_path):
    """The mechanism of mDPO's anchor, at a rate that is too high without it."""
    from reference_impls.core.worlds import DrawnWorld

    rows = rows_of(SCRIPTS["mdpo"], DrawnWorld(scenes, "pairs", 120, 1), policy, 64)
    last = {}
    for anchor in (1.0, 0.0):
        script = SCRIPTS["mdpo"]
        settings = dataclasses.replace(script.LAB, steps=30, batch_size=16, learning_rate=1e-3)
        folder = tmp_path / str(anchor)
        train_pairs(
            base_path, loaded[1], rows, objective=script.loss,
            cfg=script.Config(anchor=anchor, image_term=0.0), views=script.VIEWS,
            settings=settings, output=folder,
        )  # fmt: skip
        last[anchor] = sum(float(entry["chosen_reward"]) for entry in log(folder)[-5:]) / 5
    assert last[0.0] < last[1.0], last
    assert last[0.0] < 0
