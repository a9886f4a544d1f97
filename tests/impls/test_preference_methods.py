"""SimPO, HA-DPO, CHiP and DAMA: what their own terms act on, and where paper and code part."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import logsigmoid

from reference_impls.core import PairBatch, Scores
from reference_impls.core.data.annotators import onlooker
from reference_impls.core.data.images import diffusion_kept
from reference_impls.core.data.rows import said, text
from reference_impls.core.data.segments import changed_tokens
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer
from reference_impls.core.model.load import load
from reference_impls.core.settings import lab
from reference_impls.core.stages import Workshop
from reference_impls.core.train.checkpoints import begin
from reference_impls.core.train.pairs import row_digest, train_pairs
from reference_impls.methods import chip, dama, dpo, ha_dpo, povid, simpo
from tests.impls.test_objectives import batch as pairs_of
from tests.impls.test_objectives import scores


def numbers(values, **more) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, **more)


def answer(*logps, reference=None, marked=None) -> Scores:
    """One row; the reference has every token at -1 unless given."""
    row = numbers([logps], requires_grad=True)
    ref = numbers([[-1.0] * len(logps) if reference is None else reference])
    weights = None if marked is None else numbers([marked])
    return Scores(row, ref, torch.ones_like(ref), weights)


def full(equal=False) -> PairBatch:
    """Three rows with every view and extra that the four scripts read."""
    extra = {
        "chosen_kl": numbers([0.2, 0.4, 0.1]), "rejected_kl": numbers([0.5, 0.3, 0.2]),
        "chosen_score": numbers([0.3, 0.2, 0.4]), "rejected_score": numbers([0.2, 0.3, 0.1]),
        "drawn": numbers([1.0, 0.0, 1.0]),
    }  # fmt: skip
    if equal:
        extra |= {"chosen_kl": numbers([0.0] * 3), "rejected_kl": numbers([0.0] * 3)}
    return pairs_of(equal, target=scores(9), extra=extra)


def losses(script, pairs, **config):
    return script.loss(pairs, replace(script.Config(), **config))[0]


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# --- all four -------------------------------------------------------------------------------------


ALL = pytest.mark.parametrize("script", [simpo, ha_dpo, chip, dama])


@ALL
@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_every_variant_gives_one_finite_loss_per_row(script, variant):
    found = losses(script, full(), variant=variant)
    assert found.shape == (3,) and torch.isfinite(found).all()


@ALL
@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_padding_and_order_do_not_matter(script, variant):
    pairs, order = full(), torch.tensor([2, 0, 1])

    def moved(view):
        fields = {name: getattr(view, name) for name in ("logps", "ref_logps", "mask", "weights")}
        return Scores(**{n: torch.nn.functional.pad(v[order], (2, 1)) for n, v in fields.items()})

    names = ("chosen", "rejected", "chosen_corrupt", "target")
    again = PairBatch(
        **{name: moved(getattr(pairs, name)) for name in names},
        extra={name: value[order] for name, value in pairs.extra.items()},
    )
    near(losses(script, again, variant=variant), losses(script, pairs, variant=variant)[order])


@ALL
def test_views_are_read_wherever_the_batch_holds_them(script):
    pairs = full()
    names = ("rejected", "chosen_corrupt", "target")
    again = PairBatch(pairs.chosen, views={n: getattr(pairs, n) for n in names}, extra=pairs.extra)
    for variant in ("paper", "code"):
        near(losses(script, again, variant=variant), losses(script, pairs, variant=variant))


@pytest.mark.parametrize(
    ("script", "changes"),
    [
        (ha_dpo, {"auxiliary_term": False}),
        (ha_dpo, {"lambda_": 0.0}),
        (chip, {"beta": 0.1, "segment_term": False, "token_term": False, "image_term": False}),
        (dama, {"data_term": False, "model_term": False}),
    ],
    ids=["ha-dpo-switch", "ha-dpo-lambda", "chip", "dama"],
)
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_without_its_own_terms_the_method_is_dpo(script, changes, variant):
    pairs = full()
    expected = losses(dpo, pairs)
    if script is dama and variant == "code":  # the code trains on the drawn pairs only
        expected = expected * numbers([1.5, 0.0, 1.5])
    near(losses(script, pairs, variant=variant, **changes), expected)


def test_policy_equal_to_reference_gives_multiples_of_ln_2():
    pairs, ln2 = full(equal=True), numbers([math.log(2)] * 3)
    near(losses(ha_dpo, pairs, auxiliary_term=False), ln2)
    near(losses(chip, pairs, lambda_=2.0), 4 * ln2)  # response, 2 x segment, image
    near(losses(chip, pairs, variant="code", segment_term=False), ln2)  # one log-sigmoid
    near(losses(dama, pairs), ln2)


# --- SimPO ----------------------------------------------------------------------------------------


def test_simpo_by_hand_in_the_papers_and_in_the_codes_form():
    # Means: (-1 - 3) / 2 = -2 and -4. beta 2, gamma 1: x = 2 * 2 - 1 = 3.
    pairs = PairBatch(answer(-1.0, -3.0), answer(-4.0))
    for variant in ("paper", "code", "survey"):
        found = losses(simpo, pairs, beta=2.0, gamma=1.0, variant=variant)
        assert found.item() == pytest.approx(math.log(1 + math.exp(-3)), abs=1e-12)


def test_simpo_reads_no_reference():
    pairs = full()
    without = PairBatch(*(replace(view, ref_logps=None) for view in (pairs.chosen, pairs.rejected)))
    near(losses(simpo, without), losses(simpo, pairs))
    assert not any(view.reference for view in simpo.METHOD.last.views_of(simpo.Config()))


def test_length_normalisation_takes_the_pull_of_length_away():
    """Tokens of one quality: with it neither value nor total gradient depends on their number;
    without it a pair whose rejected answer is longer is won by length alone, and teaches nothing.
    """

    def told(length, **config):
        pairs = PairBatch(answer(-1.0, -1.0), answer(*[-1.0] * length))
        loss = losses(simpo, pairs, **config)
        loss.sum().backward()
        return loss.item(), pairs.rejected.logps.grad.sum().item()

    assert told(2) == pytest.approx(told(8))
    (short, pull), (long, pull_long) = told(2, length_term=False), told(8, length_term=False)
    assert long < short / 1000 and pull_long < pull / 1000


def test_the_margin_keeps_a_pair_that_is_won_in_training():
    pairs = PairBatch(answer(-0.5), answer(-1.0))  # ahead by beta * 0.5 = 1
    for gamma, slope in ((1.0, 0.5), (0.0, 1 / (1 + math.e))):
        pairs.chosen.logps.grad = None
        losses(simpo, pairs, gamma=gamma).sum().backward()
        assert pairs.chosen.logps.grad.item() == pytest.approx(-2.0 * slope)


# --- HA-DPO ---------------------------------------------------------------------------------------


def test_the_auxiliary_term_of_paper_code_and_survey():
    """Answers of 3 and 1 tokens at -1: the paper averages sums (2), the code tokens (1), and the
    survey has no weight."""
    target = Scores(
        numbers([[-1.0, -1.0, -1.0], [-1.0, 0.0, 0.0]]), None, numbers([[1, 1, 1], [1, 0, 0]])
    )
    equal = scores(1, rows=2, equal=True)
    pairs = PairBatch(equal, equal, target=target)
    ln2 = numbers([math.log(2)] * 2)
    near(losses(ha_dpo, pairs, lambda_=0.5), ln2 + 0.5 * 2)
    near(losses(ha_dpo, pairs, lambda_=0.5, variant="code"), ln2 + 0.5 * 1)
    near(losses(ha_dpo, pairs, lambda_=0.5, variant="survey"), ln2 + 2)
    given = PairBatch(equal, equal, extra={"lm_loss": numbers(0.3)})
    near(losses(ha_dpo, given, lambda_=0.5), ln2 + 0.15)


def test_without_an_auxiliary_batch_the_code_is_dpo_and_the_paper_says_what_is_missing():
    pairs = replace(full(), target=None)
    near(losses(ha_dpo, pairs, variant="code"), losses(dpo, pairs))
    with pytest.raises(ValueError, match="target"):
        losses(ha_dpo, pairs)
    assert len(ha_dpo.views(ha_dpo.Config(lambda_=0.0))) == 2
    assert not ha_dpo.AUXILIARY.reference
    assert ha_dpo.AUXILIARY.columns == ("target_images", "target_prompt", "target")


def test_the_auxiliary_term_holds_up_answers_that_a_pair_pulls_down():
    """One token that both the rejected and the auxiliary answer use: DPO alone drives its
    probability to nothing, lambda stops that."""

    def after(**config):
        shared = torch.zeros((), dtype=torch.float64, requires_grad=True)
        other = torch.zeros((), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([shared, other], lr=0.5)
        mask = numbers([[1.0]])
        for _ in range(400):
            used, new = logsigmoid(shared).reshape(1, 1), logsigmoid(other).reshape(1, 1)
            pairs = PairBatch(
                Scores(new, numbers([[-0.7]]), mask), Scores(used, numbers([[-0.7]]), mask),
                target=Scores(used, None, mask),
            )  # fmt: skip
            optimizer.zero_grad()
            losses(ha_dpo, pairs, beta=1.0, **config).mean().backward()
            optimizer.step()
        return logsigmoid(shared).item()

    assert after(auxiliary_term=False) < -3 < -1 < after()


# --- CHiP -----------------------------------------------------------------------------------------


def small_chip(grad=False) -> PairBatch:
    """Log-ratios 0.5 + 0.5 and 0 - 1; under noise 0.25; the second token is marked."""
    return PairBatch(
        answer(-0.5, -0.5, marked=[0, 1]),
        answer(-1.0, -2.0, marked=[0, 1]),
        chosen_corrupt=answer(-1.0, -0.75),
        extra={
            "chosen_kl": numbers([0.4], requires_grad=grad),
            "rejected_kl": numbers([0.1], requires_grad=grad),
        },
    )


def test_chip_by_hand_paper_and_code():
    cfg = {"beta": 1.0, "lambda_": 2.0, "gamma": 0.5, "token_weight": 3.0}

    def minus_log_sigmoid(x):
        return math.log(1 + math.exp(-x))

    # Response: 1 - (-1) = 2. Segment, means with weights 1 and 3: 0.5 - (-3/4) = 1.25. Token:
    # 0.4 - 0.1 = 0.3. Image: 1 - 0.25 = 0.75.
    paper = minus_log_sigmoid(2) + 2 * minus_log_sigmoid(1.25) + 0.5 * 0.3 + minus_log_sigmoid(0.75)
    assert losses(chip, small_chip(), **cfg).item() == pytest.approx(paper, abs=1e-12)
    # Code: weighted sums 0.5 + 1.5 = 2 and -3: text 5. Under noise the policy has -1 - 2.25, the
    # reference its plain sum -2 times 1 + 3: image 2 - (-3.25 + 8) = -2.75. KL 0.5 * (0.1 - 0.4).
    code = minus_log_sigmoid(5 - 2.75 + 0.15)
    found = losses(chip, small_chip(), variant="code", **cfg).item()
    assert found == pytest.approx(code, abs=1e-12)
    # Without dpo_token_weighted: text 2, image 0.75.
    plain = losses(chip, small_chip(), variant="code", **cfg, segment_term=False).item()
    assert plain == pytest.approx(minus_log_sigmoid(2 + 0.75 + 0.15), abs=1e-12)


def test_the_token_term_raises_the_rejected_kl_in_the_paper_and_lowers_it_in_the_code():
    """And the chosen answer's KL has a gradient in the survey's print only."""
    signs = {}
    for variant in ("paper", "code", "survey"):
        pairs = small_chip(grad=True)
        losses(chip, pairs, variant=variant).sum().backward()
        grads = [pairs.extra[name].grad for name in ("chosen_kl", "rejected_kl")]
        signs[variant] = [0 if g is None else int(torch.sign(g).item()) for g in grads]
    assert signs == {"paper": [0, -1], "code": [0, 1], "survey": [1, -1]}


def test_a_marked_token_is_pulled_as_much_more_as_its_weight_and_no_more_without_the_term():
    def pull(**config):
        pairs = small_chip()
        losses(chip, pairs, variant="code", token_weight=4.0, **config).sum().backward()
        plain, marked = pairs.rejected.logps.grad[0]
        return (marked / plain).item()

    assert pull() == pytest.approx(4.0)
    assert pull(segment_term=False) == pytest.approx(1.0)


def test_the_image_term_lowers_the_answer_under_noise_and_nothing_does_without_it():
    for variant in ("paper", "code"):
        pairs = small_chip()
        losses(chip, pairs, variant=variant).sum().backward()
        assert (pairs.chosen_corrupt.logps.grad > 0).all()
        pairs = small_chip()
        losses(chip, pairs, variant=variant, image_term=False).sum().backward()
        assert pairs.chosen_corrupt.logps.grad is None


def test_chip_says_what_it_misses():
    for missing, match in (("chosen_kl", "chosen_kl"), ("rejected_kl", "rejected_kl")):
        pairs = small_chip()
        del pairs.extra[missing]
        with pytest.raises(ValueError, match=match):
            losses(chip, pairs)
        assert torch.isfinite(losses(chip, pairs, token_term=False)).all()
    with pytest.raises(ValueError, match="weights"):
        losses(chip, replace(small_chip(), chosen=answer(-0.5, -0.5)))


def test_chip_asks_for_the_views_that_its_terms_read():
    named = {view.name: view for view in chip.views(chip.Config())}
    assert set(named) == {"chosen", "rejected", "chosen_corrupt"}
    assert named["chosen"].vocabulary_kl and named["rejected"].vocabulary_kl
    bare = chip.views(chip.Config(token_term=False, image_term=False))
    assert [(view.name, view.vocabulary_kl) for view in bare] == [
        ("chosen", False), ("rejected", False),
    ]  # fmt: skip


def test_chip_marks_the_noisy_view_like_the_chosen_one():
    told = {
        "chosen": Answer("", [1, 2, 3, 4, 5], []), "rejected": Answer("", [1, 2, 9, 4, 5], []),
    }  # fmt: skip
    marked = chip.token_weights({}, told, chip.Config())["weights"]
    assert marked["chosen"] == marked["chosen_corrupt"] == [0, 0, 1, 0, 0]
    assert set(chip.token_weights({}, told, chip.Config(image_term=False))["weights"]) == {
        "chosen", "rejected",
    }  # fmt: skip


def test_changed_tokens_of_paper_and_code():
    # One token added: marked, unless additions are not; a match of 2 is dropped where 3 are wanted.
    assert changed_tokens([1, 2, 9, 3], [1, 2, 3]) == ([0, 0, 1, 0], [0, 0, 0])
    assert changed_tokens([1, 2, 9, 3], [1, 2, 3], mark_one_sided=False) == ([0] * 4, [0] * 3)
    assert changed_tokens([1, 2, 8], [1, 2, 9], smallest_match=3) == ([1] * 3, [1] * 3)
    assert changed_tokens([], [1]) == ([], [1])


def test_the_sigmoid_schedule_leaves_more_than_the_linear_one():
    # Sum of beta over the first half: (ln 2 - ln(1 + e^-6)) / 12 * 1000 * 0.00499 + 500 * 1e-5.
    exponent = (math.log(2) - math.log(1 + math.exp(-6))) / 12 * 4.99 + 0.005
    assert diffusion_kept(500, schedule="sigmoid") == pytest.approx(math.exp(-exponent), abs=2e-3)
    assert diffusion_kept(500) < 0.1


@pytest.mark.parametrize("script", [chip, povid])
def test_noise_of_the_code_is_one_step_further(script, monkeypatch):
    """Both repositories index the schedule with 500, counted from 0: 501 factors 1 - beta."""
    steps = []
    monkeypatch.setattr(script, "diffused", lambda image, rng, step, *_, **__: steps.append(step))
    for variant in ("paper", "code", "survey"):
        script.add_noise({"images": ["an image"]}, random.Random(1), script.Config(variant=variant))
    assert steps == [500, 501, 500]
    kept = 1.0
    for index in range(501):
        if index == 500:
            paper = kept
        kept *= 1 - ((5e-3 - 1e-5) / (1 + math.exp(-(-6 + 12 * index / 999))) + 1e-5)
    found = [diffusion_kept(step, schedule="sigmoid") for step in steps[:2]]
    assert found == pytest.approx([paper, kept], abs=1e-12)
    assert [round(value, 4) for value in found] == [0.7467, 0.7448]


# --- DAMA -----------------------------------------------------------------------------------------


def gaps_of(*gaps, extra=None) -> PairBatch:
    """One token per answer; the gap between chosen and rejected is given."""
    chosen = numbers([[gap] for gap in gaps], requires_grad=True)
    zero = torch.zeros(len(gaps), 1, dtype=torch.float64)
    one = torch.ones_like(zero)
    scored = {"chosen_score": zero[:, 0], "rejected_score": zero[:, 0]}
    return PairBatch(
        Scores(chosen, zero, one), Scores(zero, zero, one), extra=scored | (extra or {})
    )


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_dama_by_hand_paper_and_code():
    """Gaps 1, 3 (drawn) and -5 (not); R_mean 0.5; the hardness is that of the mean pair."""
    extra = {"drawn": numbers([1.0, 1.0, 0.0]), "state": numbers([0.5])}
    cfg = {"beta": 0.1, "mean_gap": 0.0}
    paper, told = dama.loss(gaps_of(1.0, 3.0, -5.0, extra=extra), dama.Config(**cfg))
    beta = 0.1 * sigmoid(2) / sigmoid(0.5)
    near(paper, numbers([math.log(1 + math.exp(-beta * gap)) for gap in (1, 3, -5)]))
    near(told["state"], numbers([0.9 * 0.5 + 0.1 * 2]))
    code, told = dama.loss(gaps_of(1.0, 3.0, -5.0, extra=extra), dama.Config(variant="code", **cfg))
    beta = 0.1 * (sigmoid(1) + sigmoid(3)) / 2 / sigmoid(0.5)
    rows = [1.5 * math.log(1 + math.exp(-beta * gap)) for gap in (1, 3)]
    near(code, numbers([*rows, 0.0]))
    near(told["state"], numbers([0.9 * 0.5 + 0.1 * (1 + 3 - 5) / 3]))


def test_harder_pairs_get_less_beta_and_easy_ones_more():
    extra = {"chosen_score": numbers([0.0, 2.0]), "rejected_score": numbers([1.0, 0.0])}
    pairs = gaps_of(0.0, 0.0, extra=extra)
    used = dama.loss(pairs, dama.Config())[1]["beta_used"]
    assert used[0] < 0.1 < used[1]
    fixed = dama.loss(pairs, dama.Config(data_term=False))[1]["beta_used"]
    near(fixed, numbers([0.1, 0.1]))


def test_a_batch_that_is_ahead_of_the_running_gap_gets_more_beta():
    extra = {"drawn": numbers([1.0, 1.0]), "state": numbers([0.5])}
    cfg = dama.Config(data_term=False)
    for gap, ahead in ((0.2, False), (0.9, True)):
        used = dama.loss(gaps_of(gap, gap, extra=extra), cfg)[1]["beta_used"]
        assert ((used > 0.1) == ahead).all()
        fixed = replace(cfg, model_term=False)
        near(dama.loss(gaps_of(gap, gap, extra=extra), fixed)[1]["beta_used"], numbers([0.1] * 2))


def test_no_gradient_flows_through_beta():
    extra = {"drawn": numbers([1.0, 1.0]), "state": numbers([0.3])}
    pairs = gaps_of(0.4, 1.2, extra=extra)
    found, told = dama.loss(pairs, dama.Config())
    found.mean().backward()
    beta, gap = told["beta_used"], numbers([0.4, 1.2])
    expected = -beta * torch.sigmoid(-beta * gap) / 2
    near(pairs.chosen.logps.grad[:, 0], expected)
    assert not told["state"].requires_grad and told["state"].dtype == torch.float64


def test_the_filter_draws_four_fifths_and_leaves_outliers_out():
    gaps = torch.randn(20, generator=torch.Generator().manual_seed(0)).double()
    gaps[7], gaps[11] = 60.0, -60.0
    mean = torch.zeros(1, dtype=torch.float64)
    kept = dama.draw(gaps, mean, 3, dama.Config())
    assert kept.sum() == 16 and not kept[7] and not kept[11]
    near(kept, dama.draw(gaps.clone(), mean, 3, dama.Config()))  # replayed: the same
    assert dama.draw(gaps[:1], mean, 3, dama.Config()).tolist() == [1.0]
    # Far from the running gap all chances vanish in float32; the order of the chances is kept.
    far = torch.tensor([90.0, 91.0, 92.0, 93.0, 99.0]).double()
    assert dama.draw(far, mean, 3, dama.Config()).tolist() == [1, 1, 1, 1, 0]


def test_dama_says_what_it_misses():
    pairs = gaps_of(0.1, 0.2)
    del pairs.extra["chosen_score"]
    with pytest.raises(ValueError, match="chosen_score"):
        losses(dama, pairs)
    assert torch.isfinite(losses(dama, pairs, data_term=False)).all()


# --- data steps -----------------------------------------------------------------------------------


@pytest.fixture
def drawn(world, policy):
    """A lab of twelve scenes whose policy has learnt nothing."""
    task = world.tasks["brief"]
    return Lab(world, task, policy, policy, Workshop(), seed=1, count=12)


class Says:
    """A policy that gives the answers it was given."""

    def __init__(self, answers):
        self.answers = answers

    def answer_items(self, items, media, temperature=None, max_new_tokens=48):
        return list(self.answers)


def test_ha_dpo_pairs_differ_in_facts_and_not_in_form(drawn):
    task, rng = drawn.task, random.Random(1)
    said = [task.distort(item, item.truth, rng) for item in drawn.items[:6]]
    said += [f"{item.truth} {item.truth}" for item in drawn.items[6:9]]  # said twice
    said += ["a a a red"] * 3  # no grammar
    drawn.policy = Says(said)
    drawn.workshop = Workshop({"closed-source-model": onlooker("closed-source-model", 0.0)})
    rows = ha_dpo.restyled_pairs(drawn, ha_dpo.Config())
    assert len(rows) >= 9
    for row in rows:
        chosen, rejected = text(row["chosen"]), text(row["rejected"])
        assert task.parses(row["item"], chosen) and task.parses(row["item"], rejected)
        counts = [len(task.judge(row["item"], side)) for side in (chosen, rejected)]
        assert counts[0] == counts[1]
        assert task.score(row["item"], chosen) > task.score(row["item"], rejected)
        assert (
            text(row["target"]) and row["target_images"][0].tobytes() != row["images"][0].tobytes()
        )
    as_said = ha_dpo.restyled_pairs(drawn, ha_dpo.Config(style_term=False))
    assert {text(row["rejected"]) for row in as_said} <= set(said)
    assert any(not task.parses(row["item"], text(row["rejected"])) for row in as_said)


def test_chips_negative_image_is_the_true_one_with_noise(drawn):
    row = chip.add_noise(drawn.prompt(0), random.Random(1), chip.Config())
    (true,), (noisy,) = row["images"], row["negative_images"]
    assert noisy.size == true.size and noisy.tobytes() != true.tobytes()
    faint = chip.add_noise(drawn.prompt(0), random.Random(1), chip.Config(noise_step=1))

    def apart(image):
        return sum(abs(a - b) for a, b in zip(image.tobytes(), true.tobytes(), strict=True))

    assert apart(faint["negative_images"][0]) < apart(noisy) / 5


def test_dama_rows_hold_scores_and_the_mean_gap_of_the_data(drawn):
    task, rng = drawn.task, random.Random(1)
    truths = [item.truth for item in drawn.items]
    worse = [task.distort(item, item.truth, rng) for item in drawn.items]

    class Alternating(Says):
        def answer_items(self, *args, **more):
            self.answers, answers = worse, self.answers
            return answers

    drawn.policy = Alternating(truths)
    kinds = ("open-source-model", "clip")
    drawn.workshop = Workshop({kind: onlooker(kind, 0.0) for kind in kinds})
    rows = dama.scored_pairs(drawn, dama.Config())
    gaps = [row["chosen_score"] - row["rejected_score"] for row in rows]
    assert len(rows) == 12 and min(gaps) > 0
    assert [row["mean_gap"] for row in rows] == pytest.approx([sum(gaps) / 12] * 12)


# --- in the trainer -------------------------------------------------------------------------------


def trained(base, output, script, rows, cfg=None, **settings):
    """(the batches that the loss was given, metrics of each step)"""
    stage, seen = script.METHOD.last, []

    def watched(pairs, config):
        seen.append(pairs)
        return stage.loss(pairs, config)

    chosen = lab(
        1e-3, **({"steps": 2, "batch_size": 4, "pairs": 8, "warmup_ratio": 0.0} | settings)
    )
    given = begin(output, {"rows": row_digest(rows)}, False)
    train_pairs(
        *load(base), rows, stage=replace(stage, loss=watched), cfg=cfg or script.Config(),
        settings=chosen, output=output, resume_from=given,
    )  # fmt: skip
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return seen, [json.loads(line) for line in lines]


@pytest.fixture
def rows(drawn):
    rng = random.Random(2)
    return [
        drawn.pair(place, item.truth, drawn.task.distort(item, item.truth, rng))
        for place, item in enumerate(drawn.items[:8])
    ]


def test_simpo_trains_without_a_reference(tiny_base, rows, tmp_path):
    seen, steps = trained(tiny_base, tmp_path, simpo, rows)
    assert len(steps) == 2
    assert all(b.chosen.ref_logps is None and b.rejected.ref_logps is None for b in seen)


def test_the_auxiliary_answer_is_scored_under_its_own_image_and_prompt(tiny_base, rows, tmp_path):
    """Under the pair's image and prompt the same answer has another log-probability."""

    def told(name, place_of):
        made = [
            row | {"target": row["chosen"], "target_prompt": rows[place_of(n)]["prompt"],
                   "target_images": rows[place_of(n)]["images"]}
            for n, row in enumerate(rows)
        ]  # fmt: skip
        seen, _ = trained(tiny_base, tmp_path / name, ha_dpo, made, steps=1)
        return seen[0]

    own, other = told("own", lambda n: n), told("other", lambda n: (n + 1) % 8)
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(own.target.logps, own.chosen.logps, **close)
    assert not torch.allclose(other.target.logps, other.chosen.logps, **close)
    assert own.target.ref_logps is None and own.chosen.ref_logps is not None


def test_chip_is_given_divergences_that_begin_at_0_and_grow(tiny_base, rows, tmp_path):
    made = [chip.add_noise(row, random.Random(n), chip.Config()) for n, row in enumerate(rows)]
    seen, steps = trained(tiny_base, tmp_path, chip, made, steps=3)
    for name in ("chosen_kl", "rejected_kl"):
        assert seen[0].extra[name].shape == (4,)
        assert seen[0].extra[name].abs().max() < 1e-4 < seen[-1].extra[name].min()
    assert steps[0]["loss"] == pytest.approx(3 * math.log(2), abs=1e-3)
    marked = seen[0].chosen_corrupt.weights
    assert torch.equal(marked, seen[0].chosen.weights) and marked.sum() > 0


def test_dama_is_the_same_however_a_batch_is_cut_and_carries_its_state(tiny_base, rows, tmp_path):
    scored = [
        row | {"chosen_score": 0.3, "rejected_score": n / 8, "mean_gap": -0.1}
        for n, row in enumerate(rows)
    ]
    told = {}
    for cut in (4, 2):
        seen, told[cut] = trained(
            tiny_base, tmp_path / str(cut), dama, scored, steps=3, per_device_batch_size=cut
        )
        whole = [b for b in seen if b.chosen.logps.shape[0] == 4]
        assert [("state" in b.extra) for b in whole] == [False, True, True]
        assert whole[1].extra["state"].abs() < 1e-6 < whole[2].extra["state"].abs()
    for one, other in zip(told[4], told[2], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_ha_dpo_is_the_same_however_a_batch_is_cut(tiny_base, rows, tmp_path, variant):
    """Auxiliary answers of unlike lengths: a mean over the tokens of a pass would differ."""
    made = [
        row | {"target": said(text(row["chosen"]) if n % 3 else "a"),
               "target_prompt": rows[n - 1]["prompt"], "target_images": rows[n - 1]["images"]}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    told = [
        trained(
            tiny_base, tmp_path / str(cut), ha_dpo, made, ha_dpo.Config(variant=variant), steps=3,
            per_device_batch_size=cut,
        )[1]
        for cut in (4, 2)
    ]  # fmt: skip
    for one, other in zip(*told, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
