"""MM-DPO, RLAIF-V and FDPO: what their variants read, and how their data steps decide."""

import dataclasses

import pytest
import torch

from reference_impls.core import PairBatch, Scores
from reference_impls.core.lab import Lab
from reference_impls.core.worlds.protocol import Segment
from tests.impls.scripts import SCRIPTS
from tests.impls.test_objectives import batch

MM, FDPO, RLAIF = (SCRIPTS[name].module for name in ("mm_dpo", "fdpo", "rlaif_v"))
DPO = SCRIPTS["dpo"].module


def config(module, **changes):
    return dataclasses.replace(module.Config(), **changes)


# --- MM-DPO --------------------------------------------------------------------------------------


def test_without_w_mm_dpo_is_dpo():
    pairs = batch(margin=torch.tensor([0.5, 2.0, -1.0]).double())
    found = MM.loss(pairs, config(MM, w=0.0))[0]
    assert torch.allclose(found, DPO.loss(pairs, DPO.Config())[0], atol=1e-12)


def test_beta_grows_with_the_margin_and_stays_in_its_range():
    margins = torch.tensor([-5.0, 0.0, 0.5, 2.0, 1e6], dtype=torch.float64)
    beta = MM.scale(PairBatch(None, margin=margins), margins, MM.Config()).tolist()
    assert beta[0] == beta[1] == pytest.approx(0.1)
    assert beta == sorted(beta) and beta[-1] == pytest.approx(0.15)


def test_the_margin_is_read_by_paper_and_survey_and_not_by_the_code():
    for variant, reads in (("paper", True), ("survey", True), ("code", False)):
        cfg = config(MM, variant=variant)
        losses = [
            MM.loss(
                batch(
                    margin=torch.full((3,), value, dtype=torch.float64),
                    extra={"drawn": torch.tensor([1.0, 0.0, 1.0])},
                ),
                cfg,
            )[0]
            for value in (0.2, 1.7)
        ]
        assert torch.equal(*losses) != reads, variant
    with pytest.raises(ValueError, match="needs `margin`"):
        MM.loss(batch(), MM.Config())


def test_the_codes_draw_is_four_fifths_of_the_batch_and_beta_has_no_gradient():
    pairs = batch()
    pairs.chosen.logps.requires_grad_()
    torch.manual_seed(0)
    cfg = config(MM, variant="code", w=3.0)
    losses, metrics = MM.loss(pairs, cfg)
    assert not metrics["beta"].requires_grad and metrics["beta"].shape == (1,)
    margins = (pairs.chosen.log_ratio() - pairs.rejected.log_ratio()).detach()
    # Of three rows two are drawn.
    possible = [
        0.1 * (1 + 3.0 * (margins[[a, b]].mean() - margins.mean()).item())
        for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert any(metrics["beta"].item() == pytest.approx(max(1e-3, each)) for each in possible)
    assert losses.requires_grad


def test_of_a_single_row_the_codes_beta_stays():
    one = PairBatch(*(Scores(-torch.ones(1, 2), -2 * torch.ones(1, 2), torch.ones(1, 2)),) * 2)
    assert MM.loss(one, config(MM, variant="code"))[1]["beta"].item() == pytest.approx(0.1)


# --- FDPO ----------------------------------------------------------------------------------------


def segments(**changes):
    pairs = batch()
    extra = {
        "segment": torch.tensor([[1, 1, 2, 0, 0], [1, 2, 2, 3, 3], [0, 1, 1, 2, 0]]).double(),
        "label": torch.tensor([[1, -1, 0], [-1, 0, 1], [1, 1, 0]]).double(),
    }
    return PairBatch(pairs.chosen, extra=extra | changes)


def test_ignored_segments_do_not_count():
    given = segments()
    losses = FDPO.loss(given, FDPO.Config())[0]
    given.chosen.logps[1, 1:3] -= 5.0
    assert torch.equal(FDPO.loss(given, FDPO.Config())[0], losses)
    given.chosen.logps[1, 3:5] -= 5.0
    assert FDPO.loss(given, FDPO.Config())[0][1] > losses[1]


def test_inaccurate_segments_are_lowered_and_accurate_ones_raised():
    given = segments()
    given.chosen.logps.requires_grad_()
    FDPO.loss(given, FDPO.Config())[0].sum().backward()
    gradient = given.chosen.logps.grad
    assert (gradient[0, :2] < 0).all() and gradient[0, 2] > 0 and (gradient[0, 3:] == 0).all()


def test_a_row_alone_has_the_loss_that_it_has_in_a_batch():
    given = segments()
    whole = FDPO.loss(given, FDPO.Config())[0]
    for row in range(3):
        part = slice(row, row + 1)
        scores = Scores(
            given.chosen.logps[part], given.chosen.ref_logps[part], given.chosen.mask[part]
        )
        alone = PairBatch(scores, extra={name: each[part] for name, each in given.extra.items()})
        assert FDPO.loss(alone, FDPO.Config())[0].item() == pytest.approx(whole[row].item())


def test_the_surveys_loss_has_no_lower_bound():
    given = segments()
    given.chosen.logps[0, 2] -= 1000.0
    assert FDPO.loss(given, config(FDPO, variant="survey"))[0][0] < -10
    assert (FDPO.loss(given, FDPO.Config())[0] >= 0).all()


def test_fdpo_says_which_column_is_missing():
    given = segments()
    del given.extra["label"]
    with pytest.raises(ValueError, match=r"extra\['label'\]"):
        FDPO.loss(given, FDPO.Config())


# --- RLAIF-V -------------------------------------------------------------------------------------


def test_pairs_are_all_two_answers_of_unequal_score():
    scored = [("a", 0), ("b", -1), ("c", -1), ("d", -3)]
    assert RLAIF.pairs_of(scored, 1) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert RLAIF.pairs_of(scored, 2) == [("a", "d"), ("b", "d"), ("c", "d")]
    assert RLAIF.pairs_of([("a b", 0), ("a  b", -1)], 1) == []


def test_a_chosen_answer_that_is_much_shorter_is_dropped():
    assert RLAIF.shorter(("a b", "a b c d"), 0.48) and not RLAIF.shorter(("a b", "a b c d"), 0.5)
    assert not RLAIF.shorter(("a b c", "a"), 0.0)


def test_the_share_brings_mean_lengths_closest():
    long, short = ("w " * 12, "w " * 10), ("w " * 5, "w " * 10)
    # With the short pair the means are 17 and 20 words, without it 12 and 10, with two long 29, 30.
    assert RLAIF.closest_in_length([long, short]) == 0.5
    assert RLAIF.closest_in_length([long, long, short]) == 0.5
    assert RLAIF.closest_in_length([("w " * 10, "w " * 10), short]) == 0.0
    assert RLAIF.closest_in_length([]) == 1.0


def test_rlaif_v_orders_by_denied_claims(world, policy, monkeypatch):
    lab = Lab(world, world.tasks["brief"], policy, policy, None, seed=1, count=2)
    # Nothing is asked about what claims nothing: "hm ." is no better than "x x .".
    answers = iter([["x x .", "y ."], ["z z .", "y ."], ["hm .", "hm ."]])
    claims = {"x x .": [False, False], "z z .": [True, True], "y .": [False], "hm .": []}

    class Judge:
        def claims(self, items, media, answers):
            return [[Segment(0, 1, right) for right in claims[answer]] for answer in answers]

    monkeypatch.setattr(Lab, "answer", lambda self, temperature: next(answers))
    monkeypatch.setattr(Lab, "annotator", lambda self, kind: Judge())
    rows = RLAIF.divided_and_judged(lab, config(RLAIF, candidates=3))
    assert [row["chosen"][0]["content"] for row in rows] == ["z z ."]
    assert [row["rejected"][0]["content"] for row in rows] == ["x x ."]
    assert lab.tally.rules["all answers of one score"] == 1


def test_rounds_share_scenes_and_steps(tiny_base, world, tmp_path):
    from tests.impls.test_heads import stage_run

    run = stage_run("rlaif_v", world, tiny_base, tmp_path)
    run.changes = {"pairs": 80, "steps": 8}
    stage = run.script.method.last
    shared = run.settings(stage)
    assert (shared.pairs, shared.steps) == (20, 2)
    run.cfg = config(RLAIF, rounds=1)
    assert (run.settings(stage).pairs, run.settings(stage).steps) == (80, 8)


def test_earlier_stages_of_a_small_run_are_small(tiny_base, world, tmp_path):
    from tests.impls.test_heads import stage_run

    run = stage_run("mm_dpo", world, tiny_base, tmp_path)
    run.changes = {"pairs": 8, "steps": 900, "learning_rate": 0.5}
    stage = run.script.method.stages[0]
    first = run.settings(stage)
    assert (first.pairs, first.steps) == (8, stage.lab.steps)
    assert first.learning_rate == stage.lab.learning_rate != 0.5
