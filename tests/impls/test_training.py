"""The trainers as a script meets them: what a loss is given, what a step is, what a stop costs."""

import dataclasses
import json
import math
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerControl, TrainerState

from reference_impls.core import provenance
from reference_impls.core.data.images import blank
from reference_impls.core.data.rows import pair_row, prompt_row, said
from reference_impls.core.method import View
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import load
from reference_impls.core.objective.groups import group_advantages, grpo
from reference_impls.core.objective.preference import dpo
from reference_impls.core.train.callbacks import StopOnSignal
from reference_impls.core.train.checkpoints import (
    OtherRun,
    begin,
    checkpoints,
    last_checkpoint,
    mark_complete,
)
from reference_impls.core.train.forward import Scorer
from reference_impls.core.train.groups import train_groups
from reference_impls.core.train.pairs import Lazily, row_digest, train_pairs
from reference_impls.core.train.sampling import Repeated
from tests.impls.stages_for_tests import SETTINGS, Config, group_stage, running_mean
from tests.impls.stages_for_tests import pair_stage as stage


@pytest.fixture(scope="module")
def rows(request):
    from reference_impls.core.worlds import protocol

    world = protocol.world("scenes")
    items = world.tasks["brief"].items(world.draw("pairs", 8, 1), 1)
    found = []
    for number, item in enumerate(items):
        media = world.show(item.scene)
        row = pair_row(
            item, media, item.truth, "a red circle .", margin=number / 4, gap=float(number)
        )
        found.append(row | {"negative_images": [blank(image) for image in row["images"]]})
    return found


def trained(base, output, rows, of=None, settings=SETTINGS, resume=False, cfg=None):
    """(model, metrics of each step)"""
    model, processor = load(base)
    resume_from = begin(output, {"rows": row_digest(rows)}, resume)
    train_pairs(
        model, processor, rows, stage=of or stage(), cfg=cfg or Config(), settings=settings,
        output=output, resume_from=resume_from,
    )  # fmt: skip
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return model, [json.loads(line) for line in lines]


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


# --- what a loss is given ------------------------------------------------------------------------


def test_the_loss_is_given_views_margin_numbers_and_marks(tiny_base, rows, tmp_path):
    seen = []

    def loss(batch, cfg):
        seen.append(batch)
        return dpo(batch, cfg)

    def tokens(row, answers, cfg):
        marked = {
            name: [float(end > start) for start, end in each.spans]
            for name, each in answers.items()
        }
        return {"weights": marked, "segment": {"chosen": list(range(len(answers["chosen"].ids)))}}

    views = ("chosen", "rejected", View("other", response="rejected", images="negative_images"))
    trained(tiny_base, tmp_path, rows, stage(loss, views=views, tokens=tokens))
    batch = seen[0]
    assert batch.margin.shape == (4,) and batch.extra["gap"].tolist() == (batch.margin * 4).tolist()
    assert set(batch.views) == {"other"} and batch.chosen_corrupt is None
    for view in (batch.chosen, batch.rejected, batch.views["other"]):
        assert view.logps.shape == view.ref_logps.shape == view.mask.shape
        assert (view.logps * (1 - view.mask)).abs().max() == 0
        # The ending is a token of the answer that no character stands for: it is not marked.
        assert (view.weights.sum(1) == view.mask.sum(1) - 1).all()
    places = torch.arange(batch.chosen.mask.shape[1])
    assert torch.equal(batch.extra["segment"], places * batch.chosen.mask)
    # The other view is the rejected answer under the blank image: neither of the two named ones.
    assert torch.equal(batch.views["other"].mask, batch.rejected.mask)
    assert not torch.allclose(batch.views["other"].logps, batch.rejected.logps)


def test_each_view_has_answer_image_reference_and_marks_of_its_own_row(tiny_base, rows, tmp_path):
    """Against passes over one view alone: the right answer under the right image, everywhere."""
    columns = {
        "chosen": ("chosen", "images"), "rejected": ("rejected", "images"),
        "chosen_corrupt": ("chosen", "negative_images"),
        "rejected_corrupt": ("rejected", "negative_images"),
    }  # fmt: skip
    model, processor = load(tiny_base)
    truth = {}
    for name, (response, images) in columns.items():
        alone = Scorer(Encoder(processor), (View("x", response, images=images),), shared=False)
        batch = alone.collate(rows)
        truth[name] = alone.score(model, batch).logps["x"].detach(), batch.answers["x"]

    def tokens(row, answers, cfg):
        return {"weights": {name: long_words(each) for name, each in answers.items()}}

    def long_words(answer):
        return [float(stop - start > 4) for start, stop in answer.spans]

    seen = []

    def loss(batch, cfg):
        seen.append(batch)
        return dpo(batch, cfg)

    trained(tiny_base, tmp_path, rows, stage(loss, views=tuple(columns), tokens=tokens))
    for place, batch in enumerate(seen):
        numbers = [int(number) for number in batch.extra["gap"]]
        assert batch.margin.tolist() == [number / 4 for number in numbers]
        for name in columns:
            scores, (logps, answers) = getattr(batch, name), truth[name]
            for row, number in enumerate(numbers):
                length = len(answers[number].ids)
                expected = logps[number, :length]
                assert scores.mask[row].sum() == length
                torch.testing.assert_close(
                    scores.ref_logps[row, :length], expected, rtol=0, atol=1e-4
                )
                if not place:
                    torch.testing.assert_close(
                        scores.logps[row, :length], expected, rtol=0, atol=1e-4
                    )
                marks = long_words(answers[number])
                assert 0 < sum(marks) < length
                assert scores.weights[row, :length].tolist() == marks


def test_values_that_do_not_fit_the_tokens_are_refused(tiny_base, rows, tmp_path):
    wrong = stage(tokens=lambda row, answers, cfg: {"weights": {"chosen": [1.0]}})
    with pytest.raises(ValueError, match=r"'weights' of 'chosen' has 1 values for \d+ tokens"):
        trained(tiny_base, tmp_path, rows, wrong)


def test_a_number_in_some_rows_only_is_refused(tiny_base, rows, tmp_path):
    broken = [*rows[:-1], {**rows[-1], "gap": None}]
    with pytest.raises(ValueError, match="'gap' holds a number in some rows only"):
        trained(tiny_base, tmp_path, broken, settings=dataclasses.replace(SETTINGS, batch_size=8))


def test_without_a_reference_no_reference_is_scored(tiny_base, rows, tmp_path, monkeypatch):
    from reference_impls.core.train import common, forward

    for owner, name in ((common, "frozen_copy"), (forward.Scorer, "store")):
        monkeypatch.setattr(owner, name, lambda *given, **named: pytest.fail("a reference"))

    def loss(batch, cfg):
        assert batch.chosen.ref_logps is None
        return -(batch.chosen.logps.sum(1)), {}

    trained(tiny_base, tmp_path, rows, stage(loss, reference="none", views=("chosen",)))


def test_a_stored_reference_is_the_live_one(tiny_base, rows, tmp_path):
    views = ("chosen", "rejected", "chosen_corrupt")

    def loss(batch, cfg):
        losses, metrics = dpo(batch, cfg)
        return losses, metrics | {"corrupt": batch.chosen_corrupt.log_ratio().detach()}

    logs = [
        trained(
            tiny_base, tmp_path / str(stored), rows, stage(loss, views=views),
            dataclasses.replace(SETTINGS, stored_reference=stored),
        )[1]
        for stored in (True, False)
    ]  # fmt: skip
    for one, other in zip(*logs, strict=True):
        for name in ("loss", "chosen_reward", "corrupt"):
            assert one[name] == pytest.approx(other[name], abs=1e-5)


@pytest.mark.parametrize("stored", [True, False])
def test_the_reference_is_scored_in_the_precision_of_the_policy(tiny_base, rows, tmp_path, stored):
    """Before the first update the log-ratio is 0. A reference in float32 beside a policy in
    bfloat16 would leave their difference in rounding in every margin."""
    ratios = []

    def loss(batch, cfg):
        ratios.append(batch.chosen.log_ratio().detach().abs().max().item())
        return dpo(batch, cfg)

    settings = dataclasses.replace(
        SETTINGS, stored_reference=stored, dtype="bfloat16", batch_size=8
    )
    trained(tiny_base, tmp_path, rows, stage(loss), settings)
    assert ratios[0] < 1e-6 < ratios[1]


def test_kl_over_the_vocabulary_is_zero_at_the_reference_and_then_grows(tiny_base, rows, tmp_path):
    views = (View("chosen", vocabulary_kl=True), "rejected")

    def loss(batch, cfg):
        losses, metrics = dpo(batch, cfg)
        return losses, metrics | {"kl": batch.extra["chosen_kl"]}

    _, log = trained(tiny_base, tmp_path, rows, stage(loss, views=views))
    assert log[0]["kl"] == pytest.approx(0, abs=1e-5) and log[1]["kl"] > 1e-5


def test_negatives_are_made_of_the_policy_at_every_step(tiny_base, rows, tmp_path):
    calls = []

    def negatives(model, inputs, cfg):
        calls.append(len(inputs.rows))
        return {"chosen_corrupt": torch.zeros_like(inputs.inputs["chosen_corrupt"]["pixel_values"])}

    seen = []

    def loss(batch, cfg):
        seen.append(batch.chosen_corrupt.logps.detach())
        return dpo(batch, cfg)

    views = ("chosen", "rejected", "chosen_corrupt")
    trained(tiny_base, tmp_path / "own", rows, stage(loss, views=views, negatives=negatives))
    trained(tiny_base, tmp_path / "given", rows, stage(loss, views=views))
    assert calls == [4, 4]
    assert not torch.allclose(seen[0], seen[2])


# --- a step does not depend on how it is cut -----------------------------------------------------


@pytest.mark.parametrize(("loss", "coupled"), [(dpo, False), (running_mean, True)])
def test_accumulated_passes_take_the_step_of_the_whole_batch(
    loss, coupled, tiny_base, rows, tmp_path
):
    """Also in the last step of an epoch, which has three rows, two and one at a time."""
    of = stage(loss, couples_rows=coupled)
    runs = [
        trained(
            tiny_base, tmp_path / str(size), rows[:7], of,
            dataclasses.replace(SETTINGS, per_device_batch_size=size),
        )
        for size in (4, 2)
    ]  # fmt: skip
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        for name in ("loss", "chosen_reward", *(("shift",) if coupled else ())):
            assert one[name] == pytest.approx(other[name], abs=1e-5), name
    for name, value in weights(runs[0][0]).items():
        assert torch.allclose(value, runs[1][0].state_dict()[name], atol=2e-5), name


def test_a_batch_that_does_not_divide_is_refused(tiny_base, rows, tmp_path, monkeypatch):
    uneven = dataclasses.replace(SETTINGS, per_device_batch_size=3)
    with pytest.raises(ValueError, match="passes of 3 do not divide"):
        trained(tiny_base, tmp_path, rows, settings=uneven)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="4 cannot be divided over 3 processes"):
        trained(tiny_base, tmp_path, rows)


# --- going on ------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_is_not_logged_as_one(tiny_base, rows, tmp_path):
    def diverged(batch, cfg):
        return batch.chosen.logps.sum(-1) * math.nan, {}

    _, log = trained(tiny_base, tmp_path, rows, stage(diverged))
    assert [math.isnan(line["loss"]) for line in log] == [True, True]


def test_a_resumed_run_is_the_uninterrupted_one_state_included(tiny_base, rows, tmp_path):
    of = stage(running_mean, couples_rows=True)
    settings = dataclasses.replace(SETTINGS, steps=4)
    whole, log = trained(tiny_base, tmp_path / "whole", rows, of, settings)
    trained(tiny_base, tmp_path / "cut", rows, of, settings)
    kept = checkpoints(tmp_path / "cut")
    assert [path.name for path in kept] == ["checkpoint-3", "checkpoint-4"]
    # Killed while the last checkpoint was written: its last file is missing.
    (kept[-1] / "complete.json").unlink()
    assert last_checkpoint(tmp_path / "cut") == kept[0]
    again, resumed = trained(tiny_base, tmp_path / "cut", rows, of, settings, resume=True)
    assert same(weights(whole), weights(again))
    assert [line["step"] for line in resumed] == [1, 2, 3, 4]
    for one, other in zip(log, resumed, strict=True):
        assert one["shift"] == other["shift"] and one["loss"] == other["loss"]


def test_a_run_that_was_killed_after_its_last_checkpoint_is_not_trained_further(
    tiny_base, rows, tmp_path
):
    """Five steps end in the middle of an epoch of two."""
    settings = dataclasses.replace(SETTINGS, steps=5)
    whole, log = trained(tiny_base, tmp_path, rows, settings=settings)
    assert last_checkpoint(tmp_path).name == "checkpoint-5"
    again, resumed = trained(tiny_base, tmp_path, rows, settings=settings, resume=True)
    assert resumed == log and [line["step"] for line in log] == [1, 2, 3, 4, 5]
    assert same(weights(whole), weights(again))


def test_a_checkpoint_with_a_short_file_does_not_count(tmp_path):
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"12345678")
    mark_complete(folder)
    assert last_checkpoint(tmp_path) == folder
    (folder / "model.safetensors").write_bytes(b"1234")
    assert last_checkpoint(tmp_path) is None


def test_another_run_is_refused_and_leftovers_are_cleared(tmp_path):
    assert begin(tmp_path, {"method": "dpo", "seed": 1}, False) is None
    (tmp_path / "checkpoint-2").mkdir()
    with pytest.raises(OtherRun, match='method is "dpo" there and "mpo" here'):
        begin(tmp_path, {"method": "mpo", "seed": 1}, True)
    assert begin(tmp_path, {"method": "mpo", "seed": 1}, False) is None
    assert not list(tmp_path.glob("checkpoint-*"))
    (tmp_path / "run.json").unlink()
    (tmp_path / "checkpoint-2").mkdir()
    with pytest.raises(OtherRun, match="unknown run"):
        begin(tmp_path, {"method": "mpo"}, True)


def test_prepared_rows_are_the_same_every_time(rows):
    lazy = Lazily(rows, lambda row, rng, cfg: row | {"drawn": rng.random()}, Config(), 1)
    assert [row["drawn"] for row in lazy] == [row["drawn"] for row in lazy]
    assert len({row["drawn"] for row in lazy}) == len(rows)
    assert lazy[1:3] == [lazy[1], lazy[2]]
    assert random.Random("1/0").random() == lazy[0]["drawn"]


# --- groups --------------------------------------------------------------------------------------


def trained_in_groups(base, output, rows, of=None, resume=False, **changes):
    model, processor = load(base)
    settings = dataclasses.replace(SETTINGS, **{"batch_size": 2} | changes)
    resume_from = begin(output, {}, resume)
    train_groups(
        model, processor, rows, stage=of or group_stage(), cfg=Config(), settings=settings,
        output=output, resume_from=resume_from,
    )  # fmt: skip
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return model, [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def prompts(rows):
    kept = ("images", "prompt", "item")
    return [{name: row[name] for name in kept} | {"answer": str(n)} for n, row in enumerate(rows)]


def test_a_group_stays_together_and_the_first_ratio_is_one(tiny_base, prompts, tmp_path):
    seen = []

    def advantages(rewards, cfg):
        seen.append(rewards)
        return group_advantages(rewards)

    def loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more):
        assert torch.equal(logps.detach(), old_logps)
        assert torch.equal(advantages, advantages[:, :1].expand_as(advantages))
        expected = group_advantages(seen[-1]).flatten()
        assert torch.allclose(advantages[:, 0], expected)
        return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)

    _, log = trained_in_groups(
        tiny_base, tmp_path, prompts, group_stage(advantages=advantages, loss=loss)
    )
    assert [rewards.shape for rewards in seen] == [(2, 4), (2, 4)]
    # Rewards are kept apart in the log; what is trained on is their sum.
    assert log[0]["half"] == 0.5
    assert log[0]["reward"] == pytest.approx(log[0]["length"] + 0.5)
    assert {"groups_without_signal", "answer_tokens", "generating_share", "kl"} <= set(log[0])
    # An untrained model spreads over its words: nearly their number in e's powers.
    assert log[0]["entropy"] > 0


def test_a_groups_reference_is_scored_in_the_precision_of_the_policy(tiny_base, prompts, tmp_path):
    """Before the first update policy and reference agree to the last bit, in bfloat16, too."""
    gaps = []

    def loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more):
        gaps.append((old_logps - ref_logps).abs().max().item())
        return grpo(logps, old_logps, ref_logps, advantages, mask, cfg, **more)

    trained_in_groups(tiny_base, tmp_path, prompts, group_stage(loss=loss), dtype="bfloat16")
    assert gaps[0] == 0 < gaps[1]


def test_the_answers_of_a_group_are_to_one_prompt(tiny_base, prompts, tmp_path):
    """A reward that only the prompt decides is the same in a group, and differs between groups."""
    seen = []

    def advantages(rewards, cfg):
        seen.append(rewards)
        return group_advantages(rewards)

    def reward_truth(completions, answers):
        return [float(answer) for answer in answers]

    of = group_stage(advantages=advantages, rewards={"truth": reward_truth})
    trained_in_groups(tiny_base, tmp_path, prompts, of)
    for rewards in seen:
        assert torch.equal(rewards, rewards[:, :1].expand_as(rewards))
        assert rewards[0, 0] != rewards[1, 0]


def test_an_answer_that_was_cut_is_not_trained_to_end(tiny_base, prompts, tmp_path):
    """Its ending was never written. One that ended in time has its own as a token."""
    said, trained_on = [], []

    def reward_none(completions, answers):
        said.extend(len(text.split()) for text in completions)
        return [0.0] * len(completions)

    def loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more):
        trained_on.extend(mask.sum(1).tolist())
        return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)

    of = group_stage(loss=loss, rewards={"none": reward_none})
    trained_in_groups(tiny_base, tmp_path, prompts, of, max_new_tokens=3, group_size=16)
    assert trained_on == [min(words + 1, 3) for words in said] and 3 in said


def test_accumulated_groups_take_the_step_of_the_whole_batch(tiny_base, prompts, tmp_path):
    runs = [
        trained_in_groups(tiny_base, tmp_path / str(size), prompts, per_device_batch_size=size)
        for size in (2, 1)
    ]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert one["reward"] == other["reward"]
    for name, value in weights(runs[0][0]).items():
        assert torch.allclose(value, runs[1][0].state_dict()[name], atol=2e-5), name


def test_several_updates_use_one_batch_of_samples(tiny_base, prompts, tmp_path):
    seen = []

    def loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more):
        seen.append((logps.detach(), old_logps))
        return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)

    trained_in_groups(tiny_base, tmp_path, prompts, group_stage(loss=loss, updates=2))
    assert torch.equal(*seen[0]) and not torch.equal(*seen[1])
    assert torch.equal(seen[0][1], seen[1][1])


def test_a_run_with_several_updates_goes_on_where_it_was(tiny_base, prompts, tmp_path):
    """Also in the middle of an epoch: the same prompts come next, and the same answers."""
    of, settings = group_stage(updates=2), {"steps": 10, "batch_size": 2}
    whole, log = trained_in_groups(tiny_base, tmp_path / "whole", prompts, of, **settings)
    trained_in_groups(tiny_base, tmp_path / "cut", prompts, of, **settings)
    kept = checkpoints(tmp_path / "cut")
    assert [path.name for path in kept] == ["checkpoint-8", "checkpoint-10"]
    (kept[-1] / "complete.json").unlink()
    again, resumed = trained_in_groups(
        tiny_base, tmp_path / "cut", prompts, of, resume=True, **settings
    )
    for one, other in zip(log, resumed, strict=True):
        clock = {"generating_share": 0}
        assert one | clock == other | clock
    assert same(weights(whole), weights(again))


def test_batches_are_repeated_and_epochs_differ():
    order = Repeated(rows=7, batch=2, times=3, seed=1)
    first = list(order)
    assert len(order) == len(first) == 18
    batches = [first[start : start + 2] for start in range(0, 18, 2)]
    assert batches[0] == batches[1] == batches[2] != batches[3]
    assert len({row for batch in batches for row in batch}) == 6
    order.set_epoch(1)
    assert list(order) != first
    order.set_epoch(0)
    assert list(order) == first


def test_a_last_smaller_batch_keeps_its_groups(tiny_base, prompts, tmp_path):
    """Five prompts in batches of four, two and two at a time: the last batch has one."""
    seen = []

    def loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more):
        seen.append(advantages[:, 0])
        return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)

    numbered = group_stage(
        loss=loss, advantages=lambda rewards, cfg: torch.arange(rewards.numel()).view_as(rewards)
    )
    settings = {"batch_size": 4, "per_device_batch_size": 2, "group_size": 3, "steps": 2}
    trained_in_groups(tiny_base, tmp_path, prompts[:7], numbered, **settings)
    assert [len(each) for each in seen] == [12, 9]
    assert all(each.tolist() == list(range(len(each))) for each in seen)


def test_a_signal_waits_for_the_end_of_a_batch_of_samples(tmp_path):
    stop = StopOnSignal(every=2)
    stop.signalled = True
    for step, stopped in ((3, False), (4, True)):
        state, control = TrainerState(global_step=step), TrainerControl()
        stop.on_step_end(None, state, control)
        assert control.should_training_stop is control.should_save is stopped


def test_groups_that_are_not_kept_teach_nothing(tiny_base, prompts, tmp_path):
    before, _ = load(tiny_base)
    none = group_stage(keep=lambda rewards, cfg: torch.zeros(len(rewards["half"])).bool())
    after, log = trained_in_groups(tiny_base, tmp_path, prompts, none)
    assert log[0]["groups_kept"] == 0
    assert all(
        torch.allclose(value, after.state_dict()[name]) for name, value in weights(before).items()
    )


def test_rows_and_their_words(rows):
    row = prompt_row(rows[0]["item"], type("Shown", (), {"images": ()})(), answer="3")
    assert row["images"] == [] and row["answer"] == "3"
    assert said("yes") == [{"role": "assistant", "content": "yes"}]


# --- several processes ---------------------------------------------------------------------------


def of_processes(count, kind, base, rows, folder, batch, per_pass):
    """Metrics of each step of a training by so many processes (gloo, on the CPU)."""
    file, output = folder / "rows", folder / f"{kind}-{count}-{per_pass}"
    file.write_bytes(pickle.dumps(rows))
    script = Path(__file__).with_name("two_processes.py")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(count), str(script), base, str(file), str(output), kind, str(batch), str(per_pass),
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "coupled", "groups"])
@pytest.mark.parametrize("per_pass", [2, 1])
def test_two_processes_take_the_step_of_one(kind, per_pass, tiny_base, rows, prompts, tmp_path):
    """The same global batch, with and without accumulation: the same losses."""
    given = prompts if kind == "groups" else rows
    one = of_processes(1, kind, tiny_base, given, tmp_path, 4, 4)
    two = of_processes(2, kind, tiny_base, given, tmp_path, 4, per_pass)
    if kind == "groups":
        # Which answers are sampled depends on the process; what is made of them must not. The
        # first loss is beta times the divergence, 0 at the reference, whatever was sampled.
        assert one[0]["loss"] == pytest.approx(two[0]["loss"], abs=1e-5)
        assert [line["step"] for line in two] == [1, 2]
        return
    for ours, theirs in zip(one, two, strict=True):
        for name in ("loss", "chosen_reward", *(("shift",) if kind == "coupled" else ())):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


def test_an_adapter_begins_as_the_seed_says_whatever_was_drawn_before(tiny_base):
    """With one process and with two it began elsewhere, and no seed decided where."""
    from reference_impls.core.train import common

    def begun(seed):
        torch.rand(seed + 3)  # as sampling does, more or less of it in each process
        settings = dataclasses.replace(SETTINGS, lora_rank=2, seed=seed)
        made = common.make_trainable(load(tiny_base)[0], settings)
        return torch.cat([w.flatten() for n, w in made.named_parameters() if "lora_A" in n])

    assert torch.equal(begun(1), begun(1)) and not torch.equal(begun(1), begun(2))


@pytest.mark.parametrize("changed", ["data/rules.py", "worlds/agent.py", "train/ppo.py"])
def test_a_training_is_named_after_its_rewards_and_worlds_too(changed, tmp_path, monkeypatch):
    """A run that was resumed after a reward had changed went on as if it had not."""
    for name in ("script.py", "scores.py", "data/rules.py", "worlds/agent.py", "train/ppo.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("value = 1\n")
    for name in ("objective", "model"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(provenance, "CORE", tmp_path)
    before = provenance.training_digest(tmp_path / "script.py")
    (tmp_path / changed).write_text("value = 1  # one\n")
    assert provenance.training_digest(tmp_path / "script.py") == before
    (tmp_path / changed).write_text("value = 1 + 1\n")
    assert provenance.training_digest(tmp_path / "script.py") != before
