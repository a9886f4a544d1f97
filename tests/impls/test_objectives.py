"""Identities that an objective must satisfy whatever the numbers, and agreement with TRL."""

import dataclasses
import json
import math

import pytest
import torch

from reference_impls.core import PairBatch, Scores
from reference_impls.core.method import Answer
from tests.impls.scripts import SCRIPTS

MODULES = {name: script.module for name, script in SCRIPTS.items()}
# Those whose loss is a number per row of these views, whatever else the batch holds.
PAIRWISE = {name: MODULES[name] for name in ("sft", "dpo", "mdpo", "ddpo", "mpo")}


def scores(seed, rows=3, length=5, equal=False):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, length, dtype=torch.float64)
    mask[0, 3:] = 0
    logps = -torch.rand(rows, length, generator=generator, dtype=torch.float64) * mask
    reference = logps.clone()
    if not equal:
        reference = -torch.rand(rows, length, generator=generator, dtype=torch.float64) * mask
    weights = (torch.rand(rows, length, generator=generator) > 0.5).double() * mask
    return Scores(logps=logps, ref_logps=reference, mask=mask, weights=weights)


def batch(equal=False, **changes):
    views = ("chosen", "rejected", "chosen_corrupt", "rejected_corrupt")
    made = {view: scores(number, equal=equal) for number, view in enumerate(views)}
    return PairBatch(**(made | changes))


def rows(script, pairs, **config):
    return script.loss(pairs, dataclasses.replace(script.Config(), **config))[0]


# Terms of -log sigma at a margin of 0 when the policy is the reference, and what is left besides.
AT_REFERENCE = {
    "dpo": lambda pairs: math.log(2),
    "mdpo": lambda pairs: 3 * math.log(2),
    "ddpo": lambda pairs: math.log(2),
    "mpo": lambda pairs: (0.8 + 2 * 0.2) * math.log(2) + nll(pairs.chosen),
}


def nll(view):
    return -(view.logps * view.mask).sum(-1) / view.mask.sum(-1)


@pytest.mark.parametrize("name", AT_REFERENCE)
def test_policy_equal_to_reference_gives_multiples_of_ln_2(name):
    pairs = batch(equal=True)
    expected = AT_REFERENCE[name](pairs) + torch.zeros(3, dtype=torch.float64)
    assert torch.allclose(rows(MODULES[name], pairs), expected, atol=1e-12)


def test_mdpo_without_its_own_terms_is_dpo():
    pairs = batch()
    bare = rows(MODULES["mdpo"], pairs, image_term=0.0, anchor=0.0)
    assert torch.allclose(bare, rows(MODULES["dpo"], pairs), atol=1e-12)


def test_mpo_with_the_preference_term_alone_is_dpo():
    pairs = batch()
    bare = rows(MODULES["mpo"], pairs, w_p=1.0, w_q=0.0, w_g=0.0)
    assert torch.allclose(bare, rows(MODULES["dpo"], pairs), atol=1e-12)


def test_mpo_with_the_generation_term_alone_is_sft():
    pairs = batch()
    bare = rows(MODULES["mpo"], pairs, w_p=0.0, w_q=0.0, w_g=1.0)
    assert torch.allclose(bare, rows(MODULES["sft"], pairs), atol=1e-12)


def test_ddpo_summed_without_weight_is_dpo():
    pairs = batch()
    bare = rows(MODULES["ddpo"], pairs, gamma=1.0, beta=0.1, variant="code")
    assert torch.allclose(bare, rows(MODULES["dpo"], pairs), atol=1e-12)


def test_ddpo_divides_by_the_weights_of_an_answer_whatever_they_are():
    """Equation 5: one marked token of weight 1/4 and log-ratio -2 is -2, and not -1/2."""
    ddpo = MODULES["ddpo"]
    one = torch.ones(1, 1, dtype=torch.float64)
    scores = Scores(-2 * one, 0 * one, one, one)
    found = ddpo.weighted_log_ratio(scores, ddpo.Config(gamma=0.25))
    assert found.tolist() == [-2.0]
    empty = Scores(-2 * one, 0 * one, 0 * one, one)
    assert ddpo.weighted_log_ratio(empty, ddpo.Config(gamma=0.25)).tolist() == [0.0]


def test_ddpo_compares_the_answers_behind_their_prompt():
    """In the code a run of fewer than three equal tokens counts as changed, but for one that the
    prompt, which is compared, too, leads into. The function itself has what it is given."""
    ddpo = MODULES["ddpo"]
    told = {
        name: Answer("", [1, 2, third, 4, 5, 6, 7, 0], [])
        for name, third in (("chosen", 30), ("rejected", 31))
    }
    cfg = ddpo.Config(variant="code")
    weights = ddpo.token_weights({}, told, cfg)["weights"]
    assert weights["chosen"] == weights["rejected"] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert ddpo.marks(told["chosen"].ids, told["rejected"].ids, cfg)[0] == [1, 1, 1] + [0] * 5


@pytest.mark.parametrize("name", ["dpo", "ddpo"])
def test_swapping_the_answers_mirrors_the_margin(name):
    pairs = batch()
    swapped = dataclasses.replace(pairs, chosen=pairs.rejected, rejected=pairs.chosen)
    there, back = rows(MODULES[name], pairs), rows(MODULES[name], swapped)
    # -log s(x) and -log s(-x) differ by x, and so do their exponentials add up to 1.
    assert torch.allclose(torch.exp(-there) + torch.exp(-back), torch.ones(3).double())


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_the_chosen_answer_is_raised_and_the_rejected_lowered(name, variant):
    pairs = batch()
    for view in ("chosen", "rejected"):
        getattr(pairs, view).logps.requires_grad_()
    rows(MODULES[name], pairs, variant=variant).mean().backward()
    kept = pairs.chosen.mask.bool()
    assert (pairs.chosen.logps.grad[kept] < 0).all()
    if pairs.rejected.logps.grad is not None:
        assert (pairs.rejected.logps.grad[pairs.rejected.mask.bool()] > 0).all()


@pytest.mark.parametrize("name", PAIRWISE)
def test_padding_and_order_do_not_matter(name):
    pairs, order = batch(), torch.tensor([2, 0, 1])

    def moved(view):
        padded = {
            field: torch.nn.functional.pad(getattr(view, field)[order], (2, 1))
            for field in ("logps", "ref_logps", "mask", "weights")
        }
        return Scores(**padded)

    views = {view: moved(getattr(pairs, view)) for view in ("chosen", "rejected", "chosen_corrupt")}
    again = rows(MODULES[name], PairBatch(**views))
    assert torch.allclose(again, rows(MODULES[name], pairs)[order], atol=1e-12)


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_every_variant_gives_one_finite_loss_per_row(name, variant):
    losses = rows(MODULES[name], batch(), variant=variant)
    assert losses.shape == (3,) and torch.isfinite(losses).all()


def test_a_missing_view_is_named():
    with pytest.raises(ValueError, match="chosen_corrupt"):
        rows(MODULES["mdpo"], batch(chosen_corrupt=None))


def test_mpo_state_is_the_running_mean_of_rewards():
    script, pairs = MODULES["mpo"], batch()
    beta = script.Config().beta
    mean = beta * (pairs.chosen.log_ratio().mean() + pairs.rejected.log_ratio().mean()) / 2
    first = script.loss(pairs, script.Config())[1]["state"]
    assert first.tolist() == pytest.approx([mean.item(), 1.0])
    pairs.extra["state"] = torch.tensor([1.0, 3.0], dtype=torch.float64)
    after = script.loss(pairs, script.Config())[1]["state"]
    assert after.tolist() == pytest.approx([1.0 + (mean.item() - 1.0) / 4, 4.0])


def test_dpo_is_trls(tiny_base, loaded, policy, world, tmp_path):
    """TRL's own trainer on the same pairs and weights reports the loss that ours does."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    from reference_impls.core.data.rows import pair_row
    from reference_impls.core.train import common
    from reference_impls.core.train.checkpoints import begin
    from reference_impls.core.train.pairs import train_pairs

    method = SCRIPTS["dpo"].method
    task = world.tasks["brief"]
    items = task.items(world.draw("pairs", 8, 1), 1)
    media = [world.show(item.scene) for item in items]
    rows_ = [
        pair_row(item, shown, item.truth, "a red circle .")
        for item, shown in zip(items, media, strict=True)
    ]
    settings = dataclasses.replace(method.last.lab, steps=3, batch_size=8, learning_rate=1e-3)
    given = common.arguments(settings, tmp_path / "theirs") | {"save_strategy": "no"}
    theirs = DPOTrainer(
        model=tiny_base,
        args=DPOConfig(**given, max_length=None, beta=0.1, disable_dropout=True),
        processing_class=loaded[1],
        train_dataset=Dataset.from_list(
            [{name: value for name, value in row.items() if name != "item"} for row in rows_]
        ),
    )
    theirs.train()
    begin(tmp_path / "ours", {}, False)
    train_pairs(
        *loaded, rows_, stage=method.last, cfg=method.config(), settings=settings,
        output=tmp_path / "ours",
    )  # fmt: skip
    told = (tmp_path / "ours" / "metrics.jsonl").read_text().splitlines()
    losses = [
        [float(log["loss"]) for log in theirs.state.log_history if "loss" in log],
        [json.loads(line)["loss"] for line in told],
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0][0] == pytest.approx(math.log(2), abs=1e-4) and losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_marks_and_masks_of_any_kind_take_tokens_out_of_an_answer(kind):
    pairs = batch()
    marked = torch.zeros(3, 5, dtype=kind)
    marked[:, 0] = 1
    kept = pairs.chosen.without(marked).log_ratio()
    assert torch.allclose(kept, pairs.chosen.log_ratio() - pairs.chosen.log_ratios()[:, 0])
    given = dataclasses.replace(pairs.chosen, mask=pairs.chosen.mask.to(kind))
    assert torch.equal(given.without(marked).log_ratio(), kept)


@pytest.mark.parametrize("shape", [(3, 4), (3, 1), (1, 5)])
def test_marks_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"marks of tokens have the shape .*mask \(3, 5\)"):
        batch().chosen.without(torch.ones(shape))
