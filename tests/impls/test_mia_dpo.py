"""MIA-DPO: what its selection takes, what its two readings of the likelihood term compute."""

import dataclasses

import pytest
import torch

from reference_impls.core import PairBatch, Scores
from reference_impls.core.data.attention import Look
from reference_impls.core.data.rows import text
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.model import base
from reference_impls.core.model.policy import Policy
from reference_impls.core.worlds import protocol
from reference_impls.methods import dpo, mia_dpo

WORLD = protocol.world("multi-image")
# An untrained policy answers with words at random; nothing is said about them here.
LOOSE = mia_dpo.Config(length_ratio=1e9)


@pytest.fixture(scope="module")
def policy():
    from reference_impls.core.worlds.multi_image.build import FIRST_USE

    torch.manual_seed(0)
    size = dataclasses.replace(FIRST_USE.size, hidden=16, heads=2)
    return Policy(*base.build(FIRST_USE.words, size), seed=1)


def lab(policy, count=12, **levels):
    world = WORLD.under(levels)
    task = world.tasks["describe"]
    return Lab(world, task, policy, policy, Workshop(), seed=1, count=count)


def item(layout, count, number):
    """A question about one picture of a drawn scene."""
    world = WORLD.under({"layout": layout, "images": str(count)})
    for seed in range(50):
        (found,) = world.tasks["describe"].items(world.draw("pairs", 1), seed)
        if found.scene.named_in(found.subject) == [number]:
            return found
    raise AssertionError


# --- the selection --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "count", "share"),
    [("sequence", 2, 0.8), ("sequence", 3, 0.7), ("sequence", 4, 0.6), ("grid", 2, 0.7),
     ("grid", 3, 0.6), ("grid", 4, 0.5), ("inset", 2, 0.8)],
)  # fmt: skip
def test_thresholds_are_those_of_the_official_generators(layout, count, share):
    scene = item(layout, count, 1).scene
    assert mia_dpo.threshold(scene, mia_dpo.Config()) == share
    assert mia_dpo.threshold(scene.alone(0), mia_dpo.Config()) == 1.0
    half = mia_dpo.Config(threshold_scale=0.5)
    assert mia_dpo.threshold(scene, half) == share / 2
    assert mia_dpo.threshold(scene.alone(0), half) == 1.0


@pytest.mark.parametrize(
    ("layout", "at_the_threshold"), [("sequence", True), ("grid", False), ("inset", False)]
)
def test_at_the_threshold_an_answer_about_a_sequence_is_taken(
    layout, at_the_threshold, monkeypatch
):
    """The official generators have `<=` for sequences, `<` for collages and insets."""
    asked, cfg = item(layout, 2, 1), mia_dpo.Config()
    most = mia_dpo.threshold(asked.scene, cfg)
    for found, taken in ((most, at_the_threshold), (most - 1e-9, True), (most + 1e-9, False)):
        monkeypatch.setattr(mia_dpo, "share", lambda item, look, found=found: found)
        assert mia_dpo.misled(asked, None, cfg) is taken


def test_the_share_is_of_the_picture_that_is_asked_about():
    maps = (torch.full((16,), 1.0), torch.full((16,), 3.0))
    look = Look(maps, torch.zeros(1))
    assert mia_dpo.share(item("sequence", 2, 0), look) == pytest.approx(0.25)
    assert mia_dpo.share(item("sequence", 2, 1), look) == pytest.approx(0.75)
    # In a collage of four by four tokens the second of four pictures is the upper right quarter.
    quarter = torch.zeros(4, 4)
    quarter[:2, 2:] = 1.0
    quarter[2, 0] = 4.0
    look = Look((quarter.flatten(),), torch.zeros(1))
    assert mia_dpo.share(item("grid", 4, 1), look) == pytest.approx(0.5)
    assert mia_dpo.share(item("grid", 4, 2), look) == pytest.approx(0.5)
    assert mia_dpo.share(item("grid", 4, 3), look) == 0.0
    middle = torch.ones(4, 4)
    middle[1:3, 1:3] = 3.0
    look = Look((middle.flatten(),), torch.zeros(1))
    assert mia_dpo.share(item("inset", 2, 1), look) == pytest.approx(12 / 24)


@pytest.mark.parametrize(
    ("answer", "perplexity", "why"),
    [("a red circle .", 2.0, "too close to the reference"),
     ("a red square .", 1.1, "too sure"),
     ("a red square .", 1.11, ""),
     (" , ".join(["a red square"] * 3), 2.0, "too unlike in length"),
     (".", 2.0, "too unlike in length")],
)  # fmt: skip
def test_what_cannot_be_a_rejected_answer(answer, perplexity, why):
    assert mia_dpo.unfit("a red circle .", answer, perplexity, mia_dpo.Config()) == why


def test_rows_are_the_reference_against_an_answer_that_looked_too_little(policy):
    everything = lab(policy, 24)
    rows = mia_dpo.misled_pairs(everything, dataclasses.replace(LOOSE, selection_term=0.0))
    assert len(rows) == 24
    for row in rows:
        assert text(row["chosen"]) == row["item"].truth
        assert text(row["rejected"]) != row["item"].truth
        # Without the noise under which the answer was asked.
        shown = WORLD.show(row["item"].scene).images
        assert [i.tobytes() for i in row["images"]] == [i.tobytes() for i in shown]
    # A model that has learnt nothing looks everywhere alike: 1/2, 1/3, 1/4 of the pictures, all
    # below the thresholds, and above ones of 0.
    selected = lab(policy, 24)
    assert len(mia_dpo.misled_pairs(selected, LOOSE)) == 24
    assert sum(selected.tally.rules.values()) == 24
    strict = {f"{n}": 0.0 for n in ("sequence_two", "sequence_three", "sequence_four", "grid_two",
                                    "grid_three", "grid_four", "inset_two")}  # fmt: skip
    none = lab(policy, 24)
    assert mia_dpo.misled_pairs(none, dataclasses.replace(LOOSE, **strict)) == []
    assert none.tally.rules == {"looked at the right picture": 24}


def test_collages_and_insets_are_asked_under_noise_on_the_right_part():
    import random

    grid, inset, sequence = item("grid", 4, 1), item("inset", 2, 1), item("sequence", 3, 1)
    for asked, changed in ((grid, (0.25, 1 / 4)), (inset, (1.0, 1.0)), (sequence, (0.0, 0.0))):
        shown = WORLD.show(asked.scene).images
        noisy = mia_dpo.noisy(asked, shown, random.Random(0), mia_dpo.Config())
        differing = [
            (torch.tensor(list(a.getdata())) != torch.tensor(list(b.getdata()))).any(-1)
            for a, b in zip(shown, noisy, strict=True)
        ]
        share = torch.cat(differing).double().mean().item()
        assert changed[0] * 0.9 <= share <= changed[1]
        if asked is grid:
            assert differing[0].reshape(32, 32)[:16, 16:].double().mean() > 0.9


def test_single_pictures_are_those_that_were_asked_about(policy):
    rows = mia_dpo.misled_pairs(lab(policy), dataclasses.replace(LOOSE, several_term=0.0))
    assert rows and all(len(row["images"]) == 1 for row in rows)
    assert all(len(row["item"].scene.pictures) == 1 for row in rows)


# --- the loss -------------------------------------------------------------------------------------


def batch():
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.float64)

    def scores(seed):
        values = -torch.rand(2, 2, 4, dtype=torch.float64, generator=seed) * mask
        return Scores(values[0], values[1], mask)

    seed = torch.Generator().manual_seed(0)
    return PairBatch(chosen=scores(seed), rejected=scores(seed))


def losses(pairs, **changes):
    return mia_dpo.loss(pairs, mia_dpo.Config(**changes))[0]


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_without_the_likelihood_term_it_is_dpo(variant):
    pairs = batch()
    plain = dpo.loss(pairs, dpo.Config(beta=0.1))[0]
    assert torch.allclose(losses(pairs, gamma=0.0, variant=variant), plain, atol=1e-12)


def test_the_paper_sums_over_an_answer_and_the_code_averages_over_the_batch():
    """Chosen answers of log-probability -4 (4 tokens) and -1 (2 tokens); ratios of 0 give ln 2."""
    mask = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.float64)
    logps = torch.tensor([[-1.0, -1, -1, -1], [-0.5, -0.5, 0, 0]], dtype=torch.float64)
    pairs = PairBatch(chosen=Scores(logps, logps, mask), rejected=Scores(logps, logps, mask))
    ln2 = 0.6931471805599453
    assert losses(pairs).tolist() == pytest.approx([ln2 + 0.4, ln2 + 0.1])
    assert losses(pairs, variant="survey").tolist() == pytest.approx([ln2 + 0.4, ln2 + 0.1])
    assert losses(pairs, variant="code").tolist() == pytest.approx([ln2 + 0.1 * 5 / 6] * 2)


def test_the_likelihood_term_raises_the_chosen_answer_only():
    pairs = batch()
    pairs.chosen.logps.requires_grad_()
    pairs.rejected.logps.requires_grad_()
    for gamma, expected in ((0.0, False), (0.3, True)):
        pairs.chosen.logps.grad = pairs.rejected.logps.grad = None
        losses(pairs, gamma=gamma).mean().backward()
        if not expected:
            plain = pairs.chosen.logps.grad.clone(), pairs.rejected.logps.grad.clone()
    assert torch.allclose(pairs.rejected.logps.grad, plain[1])
    added = pairs.chosen.logps.grad - plain[0]
    assert torch.allclose(added, -0.3 / 2 * pairs.chosen.mask)
