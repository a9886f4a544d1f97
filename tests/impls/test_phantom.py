"""Phantom Optimization: its parts, what the survey's misprint leaves of them, and its reviewers."""

import dataclasses
import math

import pytest
import torch

from reference_impls.core.data.annotators import Choice
from reference_impls.core.data.rows import text
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.methods import phantom, sft, simpo
from tests.impls.test_objectives import batch


def config(**changes):
    return dataclasses.replace(phantom.Config(), **changes)


# --- the loss -------------------------------------------------------------------------------------


def test_it_is_sft_and_simpo():
    pairs = batch()
    imitation = sft.loss(pairs, sft.Config())[0]
    preference = simpo.loss(pairs, simpo.Config(beta=2.0, gamma=0.5))[0]
    found, metrics = phantom.loss(pairs, config())
    assert torch.allclose(found, imitation + preference, atol=1e-12)
    assert torch.allclose(phantom.loss(pairs, config(preference_term=False))[0], imitation)
    assert torch.allclose(phantom.loss(pairs, config(sft_term=False))[0], preference)
    assert torch.allclose(metrics["nll"] + metrics["preference_term"], found)


def test_no_reference_is_read():
    pairs = batch()
    found = phantom.loss(pairs, config())[0]
    for view in (pairs.chosen, pairs.rejected):
        view.ref_logps = None
    assert torch.equal(phantom.loss(pairs, config())[0], found)


def gradients(**changes):
    pairs = batch()
    for view in (pairs.chosen, pairs.rejected):
        view.logps.requires_grad_()
    phantom.loss(pairs, config(**changes))[0].sum().backward()
    return pairs.chosen.logps.grad, pairs.rejected.logps.grad


def test_the_survey_s_print_leaves_sft_and_a_constant():
    pairs = batch()
    paper, code, survey = (
        phantom.loss(pairs, config(variant=each))[0] for each in ("paper", "code", "survey")
    )
    assert torch.equal(paper, code)
    assert torch.allclose(survey, sft.loss(pairs, sft.Config())[0] + math.log(2), atol=1e-12)
    assert (paper - survey).abs().min() > 1e-3
    chosen, rejected = gradients(variant="survey")
    assert rejected is None and torch.allclose(chosen, gradients(preference_term=False)[0])


def test_the_preference_term_lowers_the_rejected_answer_and_sft_does_not():
    mask = batch().rejected.mask.bool()
    assert (gradients()[1][mask] > 0).all()
    assert (gradients(preference_term=False)[1] == 0).all()


def test_a_margin_that_is_kept_takes_the_pressure_off():
    pairs = batch()
    pairs.rejected.logps -= 50.0 * pairs.rejected.mask
    assert phantom.loss(pairs, config(sft_term=False))[0].max() < 1e-12


def test_length_is_divided_out():
    """Each token said twice: sums double, means do not."""
    pairs = batch()
    for view in (pairs.chosen, pairs.rejected):
        view.logps, view.mask = view.logps.repeat(1, 2), view.mask.repeat(1, 2)
    assert torch.allclose(phantom.loss(pairs, config())[0], phantom.loss(batch(), config())[0])


# --- the data step --------------------------------------------------------------------------------


@pytest.fixture
def drawn(world, policy):
    return Lab(world, world.tasks["describe"], policy, policy, Workshop(), seed=1, count=6)


def test_a_rewrite_is_wrong_in_one_claim_and_as_long(drawn):
    rows = phantom.confusing_pairs(drawn, config(review_term=False))
    assert drawn.tally.rules == {"kept": 6}
    for row, item in zip(rows, drawn.items, strict=True):
        given, wrong = text(row["chosen"]), text(row["rejected"])
        assert given == item.truth and len(wrong.split()) == len(given.split())
        assert [claim.right for claim in drawn.task.judge(item, wrong)].count(False) == 1


def test_what_a_reviewer_prefers_is_dropped(drawn, monkeypatch):
    """The strong model lets through all but the first, people all but the last of those."""
    asked = []

    class Reviewer:
        def __init__(self, kind):
            self.kind = kind

        def compare(self, items, media, first, second):
            asked.append((self.kind, len(items), list(first) == [item.truth for item in items]))
            place = 0 if self.kind == "closed-source-model" else len(items) - 1
            return [Choice(number != place, 0.1) for number in range(len(items))]

    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Reviewer(kind))
    rows = phantom.confusing_pairs(drawn, config())
    assert asked == [("closed-source-model", 6, True), ("human", 5, True)]
    assert [row["item"] for row in rows] == drawn.items[1:5]
    assert drawn.tally.rules == {
        "dropped by the closed-source-model": 1, "dropped by the human": 1, "kept": 4,
    }  # fmt: skip
