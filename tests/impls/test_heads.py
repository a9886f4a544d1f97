"""Heads on a VLM's hidden states: what they read, how they are trained, saved and found again."""

import dataclasses
import importlib
import json

import pytest
import torch

from reference_impls.core import PairBatch, Scores
from reference_impls.core.data.labels import clauses, labelled, numbered
from reference_impls.core.data.rows import pair_row
from reference_impls.core.method import Answer, View
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import load
from reference_impls.core.objective.reward import last_output, pairwise
from reference_impls.core.settings import lab
from reference_impls.core.stages import Run, run_stages
from reference_impls.core.train import forward
from reference_impls.core.train.checkpoints import begin, checkpoints
from reference_impls.core.train.head import Headed, TrainedHead, load_head, train_head
from reference_impls.core.train.pairs import numbers_of
from reference_impls.core.worlds.protocol import Segment
from tests.impls.scripts import SCRIPTS
from tests.impls.test_conformance import cases

SMALL = lab(1e-2, steps=2, batch_size=4, pairs=8)


@pytest.fixture
def rows(world):
    task = world.tasks["brief"]
    items = task.items(world.draw("pairs", 8, 1), 1)
    return [pair_row(item, world.show(item.scene), item.truth, "a red circle .") for item in items]


def test_a_state_is_the_one_after_its_token(loaded, rows):
    model, processor = loaded
    scorer = forward.Scorer(Encoder(processor), ("chosen", "rejected"), shared=False)
    batch = scorer.collate(rows[:2])
    found = scorer.states(model, batch)
    for view, inputs in scorer.model_inputs(batch).items():
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
        for row in range(2):
            start = len(batch.prompts[view][row].ids)
            count = len(batch.answers[view][row].ids)
            own = hidden[row, start : start + count]
            assert torch.allclose(found[view][row, :count], own, atol=1e-5)
            assert not found[view][row, count:].any()


def test_states_take_a_gradient_to_the_model(loaded, rows):
    model, processor = loaded
    scorer = forward.Scorer(Encoder(processor), ("chosen",), shared=False)
    scorer.states(model, scorer.collate(rows[:2]))["chosen"].sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert model.get_output_embeddings().weight.grad is None


@pytest.mark.parametrize(("name", "case"), cases("head"))
def test_losses_of_heads(name, case):
    stage = SCRIPTS[name].method.stages[0]
    outputs = {
        view: torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for view, values in case["inputs"]["outputs"].items()
    }
    views = {
        view: Scores(torch.zeros(len(mask), len(mask[0])), None, torch.tensor(mask))
        for view, mask in case["inputs"]["masks"].items()
    }
    config = SCRIPTS[name].method.config(variant=case["variant"], **case["config"])
    losses, _ = stage.loss(outputs, PairBatch(**views), config)
    assert losses.tolist() == pytest.approx(case["outputs"]["losses"], abs=1e-12)
    losses.mean().backward()
    for view, gradient in case["outputs"]["gradients"].items():
        expected = torch.tensor(gradient, dtype=torch.float64)
        assert torch.allclose(outputs[view].grad, expected, atol=1e-12)


def test_the_last_output_is_that_of_the_last_token():
    outputs = torch.arange(6.0).reshape(2, 3, 1)
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert last_output(outputs, mask)[:, 0].tolist() == [1.0, 5.0]


# --- training ------------------------------------------------------------------------------------


def trained(loaded, rows, folder, steps=2, resume=None):
    stage = SCRIPTS["reward_model"].method.last
    return train_head(
        *loaded, rows, stage=stage, cfg=stage and SCRIPTS["reward_model"].method.config(),
        settings=dataclasses.replace(SMALL, steps=steps), output=folder, resume_from=resume,
    )  # fmt: skip


def test_a_head_is_computed_in_float32_under_autocast(tiny_base, rows):
    model, processor = load(tiny_base)
    headed = Headed(model, 1)
    torch.nn.init.normal_(headed.head.weight)
    scorer = forward.Scorer(Encoder(processor), (View("chosen", reference=False),), shared=False)
    batch = scorer.collate(rows[:2])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = headed(scorer, batch)["chosen"]
        states = scorer.states(model, batch)["chosen"]
    assert found.dtype == torch.float32
    assert torch.equal(found, headed.head(states.float()))


def test_passes_do_not_change_the_loss_where_the_last_one_is_smaller(tiny_base, rows, tmp_path):
    """6 rows in passes of 4 and 2: a row counts a sixth, and not an eighth or a fourth."""
    stage = SCRIPTS["reward_model"].method.last
    heads = []
    for size in (None, 4):
        # Of two steps the second has six rows: an epoch of 14 ends there.
        settings = dataclasses.replace(SMALL, batch_size=8, per_device_batch_size=size)
        folder = tmp_path / str(size)
        begin(folder, {}, False)
        headed = train_head(
            *load(tiny_base), [*rows, *rows[:6]], stage=stage, output=folder, settings=settings,
            cfg=SCRIPTS["reward_model"].method.config(),
        )  # fmt: skip
        heads.append(headed.head.weight.detach().clone())
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        heads.append(torch.tensor([json.loads(line)["loss"] for line in lines]))
    assert torch.allclose(heads[0], heads[2], atol=1e-5)
    assert torch.allclose(heads[1], heads[3], atol=1e-5)


def test_numbers_that_the_first_row_lacks_are_not_left_out():
    with pytest.raises(ValueError, match="'margin' holds a number in some rows only"):
        numbers_of([{"gap": 1.0}, {"gap": 1.0, "margin": 2.0}])
    with pytest.raises(ValueError, match="'label' holds a list of numbers in some rows only"):
        numbers_of([{}, {"label": [1.0]}])


def test_a_trained_head_is_saved_and_loads_back(loaded, rows, tmp_path):
    begin(tmp_path, {}, False)
    headed = trained(loaded, rows, tmp_path)
    assert headed.head.weight.abs().sum() > 0
    headed.save(tmp_path / "model")
    loaded[1].save_pretrained(tmp_path / "model")
    again = load_head(tmp_path / "model")
    mine = TrainedHead(headed, Encoder(loaded[1]))
    for column in ("chosen", "rejected"):
        assert again.rewards(rows, column) == pytest.approx(mine.rewards(rows, column), abs=1e-6)
    answer, outputs = again.read(rows[:1])[0]
    assert outputs.shape == (len(answer.ids), 1)


def test_a_resumed_training_of_a_head_is_the_whole_one(tiny_base, rows, tmp_path):
    begin(tmp_path / "whole", {}, False)
    whole = trained(load(tiny_base), rows, tmp_path / "whole", steps=4)
    begin(tmp_path / "cut", {"a": 1}, False)
    trained(load(tiny_base), rows, tmp_path / "cut", steps=4)
    folder = tmp_path / "cut"
    first, last = checkpoints(folder)
    (last / "complete.json").unlink()
    resumed = begin(folder, {"a": 1}, True)
    assert resumed == first
    again = trained(load(tiny_base), rows, folder, steps=4, resume=resumed)
    for mine, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_reward_model_learns_the_order_of_its_pairs(loaded, rows, tmp_path):
    begin(tmp_path, {}, False)
    headed = trained(loaded, rows, tmp_path, steps=12)
    told = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert told[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert told[-1]["loss"] < 0.5 * told[0]["loss"]
    head = TrainedHead(headed, Encoder(loaded[1]))
    better, worse = head.rewards(rows, "chosen"), head.rewards(rows, "rejected")
    assert all(one > other for one, other in zip(better, worse, strict=True))


def test_too_few_rows_for_a_head_are_refused(loaded, rows, tmp_path):
    with pytest.raises(ValueError, match="3 rows are too few for batches of 4"):
        trained(loaded, rows[:3], tmp_path)


def test_the_output_layer_is_not_trained_with_a_head(loaded):
    headed = Headed(loaded[0], 3)
    assert headed.head.out_features == 3 and not headed.head.weight.any()
    tied = loaded[0].get_output_embeddings().weight is loaded[0].get_input_embeddings().weight
    assert loaded[0].get_output_embeddings().weight.requires_grad == tied


def stage_run(name, world, base, folder, **config):
    script = SCRIPTS[name]
    changes = {"pairs": 6, "steps": 3, "batch_size": 4, "learning_rate": 1e-2}
    cfg = script.method.config(**config)
    return Run(script, cfg, "lab", changes, world, world.tasks["brief"], base, folder, seed=1)


def test_a_head_leaves_the_policy_as_it_was(tiny_base, world, tmp_path):
    run = stage_run("reward_model", world, tiny_base, tmp_path)
    policy = run_stages(run)
    before = load(tiny_base)[0].state_dict()
    assert all(torch.equal(value, before[name]) for name, value in
               policy.model.state_dict().items())  # fmt: skip
    head = run.trained["train"]
    assert any(
        not torch.equal(mine, other)
        for mine, other in zip(
            head.headed.model.parameters(), policy.model.parameters(), strict=True
        )
    )
    row = {**run.last_rows[0], "response": run.last_rows[0]["chosen"]}
    assert list(policy.rates([row])) == head.rewards([row], "response")


def test_runs_that_differ_in_what_a_head_never_reads_share_it(
    tiny_base, world, tmp_path, monkeypatch
):
    """The second point of a grid has another beta, and the same reward model; another seed or
    another value that its data step reads has one of its own."""
    from reference_impls.core.train import head

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trained = []
    real = head.train_head
    monkeypatch.setattr(
        head, "train_head", lambda *args, **more: trained.append(1) or real(*args, **more)
    )
    plain = SCRIPTS["mm_dpo"]
    first = plain.method.stages[0]
    reads_w = dataclasses.replace(
        first, data=lambda lab, cfg: first.data(lab, cfg) if cfg.w > 0 else []
    )
    method = dataclasses.replace(plain.method, stages=(reads_w, *plain.method.stages[1:]))

    def run_of(number, made, seed=1, **config):
        run = stage_run("mm_dpo", world, tiny_base, tmp_path / f"{number}", **config)
        run.script = dataclasses.replace(plain, method=method)
        run.made, run.seed = made, seed
        policy = run_stages(run)
        return run, policy.model.state_dict()

    alone, weights = run_of(0, None, beta=0.3)
    assert len(trained) == 1
    run_of(1, {})
    assert len(trained) == 2
    shared, same = run_of(2, {}, beta=0.3)
    assert len(trained) == 2
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    assert shared.tallies == alone.tallies and set(shared.trained) == {"reward"}
    run_of(3, {}, w=0.7)
    run_of(4, {}, seed=2)
    assert len(trained) == 4
    run_of(5, {}, w=0.7, beta=0.9)
    run_of(6, {}, k=0.9)
    assert len(trained) == 4


def test_a_later_stage_finds_the_trained_head(tiny_base, world, tmp_path):
    run = stage_run("best_of_n", world, tiny_base, tmp_path, n=2)
    policy = run_stages(run)
    assert policy.candidates == 2 and set(run.trained) == {"reward"}
    items = world.tasks["brief"].items(world.draw("test", 2, 0), 0)
    media = [world.show(item.scene) for item in items]
    assert len(policy.answer_items(items, media, max_new_tokens=4)) == 2


def test_options_reach_what_a_selection_rests_on(tiny_base, world, tmp_path):
    """The head by which answers are selected is the last thing that trains: a rate that stopped at
    the selection would change nothing, and a grid over it would have equal points."""
    run = stage_run("best_of_n", world, tiny_base, tmp_path)
    run.changes = {"learning_rate": 7e-5, "steps": 3, "temperature": 0.5}
    head, select = run.script.method.stages
    assert (run.settings(head).learning_rate, run.settings(head).steps) == (7e-5, 3)
    assert run.settings(select).temperature == 0.5
    # Where the last stage trains, earlier ones keep their own rate.
    run = stage_run("fdpo", world, tiny_base, tmp_path)
    run.changes = {"learning_rate": 7e-5}
    classifier, _, pairs = run.script.method.stages
    assert run.settings(pairs).learning_rate == 7e-5
    assert run.settings(classifier) == dataclasses.replace(classifier.lab, seed=run.seed)


def test_a_finished_head_is_not_trained_again(tiny_base, world, tmp_path, capsys):
    run_stages(stage_run("reward_model", world, tiny_base, tmp_path))
    again = stage_run("reward_model", world, tiny_base, tmp_path)
    again.resume = True
    run_stages(again)
    assert "done before" in capsys.readouterr().err and set(again.trained) == {"train"}


# --- columns of numbers, segments ---------------------------------------------------------------


def test_lists_of_numbers_reach_extra_padded():
    rows = [{"label": [1, -1]}, {"label": []}, {"label": [0.5, 0, 2]}]
    expected = [[1, -1, 0], [0, 0, 0], [0.5, 0, 2]]
    assert numbers_of(rows)["label"].tolist() == expected


def test_numbers_in_some_rows_only_are_refused():
    with pytest.raises(ValueError, match="'label' holds a list of numbers in some rows only"):
        numbers_of([{"label": [1]}, {"label": "x"}])
    with pytest.raises(ValueError, match="'margin' holds a number in some rows only"):
        numbers_of([{"margin": None}, {"margin": 1.0}])
    assert numbers_of([{"images": [], "segments": [(0, 2)], "flag": True, "text": "x"}]) == {}


def test_punctuation_cuts_an_answer_into_clauses():
    assert clauses("row one : a red circle , a star . no") == [(0, 7), (7, 10), (10, 11)]


def test_a_clause_is_wrong_where_one_of_its_claims_is():
    claims = [Segment(0, 1, True), Segment(1, 2, False), Segment(4, 5, True)]
    assert labelled([(0, 2), (2, 4), (4, 6)], claims) == [-1, 0, 1]


def test_tokens_have_the_number_of_their_segment():
    answer = Answer(
        "a bb . c", [1, 2, 3, 4, 5, 9], [(0, 1), (2, 3), (3, 4), (5, 6), (7, 8), (8, 8)]
    )
    assert numbered(answer, [(0, 2), (3, 4)]) == [1, 1, 1, 0, 2, 0]


def test_a_segment_classifier_is_read_at_the_end_of_each_segment():
    module = importlib.import_module("reference_impls.methods.fdpo")
    outputs = torch.tensor([[[5.0], [2.0], [7.0], [-3.0], [9.0]]])
    mask = torch.ones(1, 5)
    extra = {"segment": torch.tensor([[1.0, 1, 2, 2, 0]]), "label": torch.tensor([[1.0, -1]])}
    batch = PairBatch(Scores(mask * 0, None, mask), extra=extra)
    losses, metrics = module.classified({"chosen": outputs}, batch, module.Config())
    expected = -torch.nn.functional.logsigmoid(torch.tensor([2.0, 3.0])).mean()
    assert losses.item() == pytest.approx(expected.item(), abs=1e-6)
    assert metrics["accuracy"].item() == 1.0


def test_pairwise_wants_both_views():
    mask = torch.ones(1, 2)
    with pytest.raises(ValueError, match="'rejected'"):
        pairwise({"chosen": torch.zeros(1, 2, 1)}, PairBatch(Scores(mask, None, mask)), None)


def test_views_of_a_head_ask_for_no_reference():
    assert all(not view.reference for view in SCRIPTS["reward_model"].method.last.views_of(None))
    assert View("chosen").reference
