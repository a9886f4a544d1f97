"""What every reinforcement script bears: padding with anything in it, masks and rewards of any
type, ratios that ran away, settings out of range."""

import math
from dataclasses import replace

import pytest
import torch

from reference_impls.core.data.boxes import mean_average_precision
from reference_impls.core.data.rules import reward_number
from reference_impls.core.method import VARIANTS, GroupStage, PpoStage
from reference_impls.core.objective import groups, ppo
from reference_impls.methods import (
    fact_rlhf,
    lmm_r1,
    rl4vlm,
    vision_r1,
    visualthinker_r1_zero,
    vlm_r1,
)
from tests.impls.scripts import SCRIPTS

NAMES = [n for n, s in SCRIPTS.items() if isinstance(s.method.last, (GroupStage, PpoStage))]
COMPARED = [n for n in NAMES if isinstance(SCRIPTS[n].method.last, GroupStage)]
EACH = pytest.mark.parametrize(
    ("module", "variant"),
    [pytest.param(SCRIPTS[n].module, v, id=f"{n}-{v}") for n in NAMES for v in VARIANTS],
)


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


def drawn(dtype=torch.float64):
    """Six answers of 1 to 7 tokens with all that a loss may be given."""
    draw = torch.Generator().manual_seed(1)
    mask = (torch.arange(7) < torch.tensor([7, 5, 1, 3, 6, 2])[:, None]).double()
    one, two, three, adv, value, old, back, mark = (
        torch.randn(6, 7, generator=draw, dtype=torch.float64) for _ in range(8)
    )
    logps = -one.abs()
    given = {
        "logps": logps, "old_logps": logps + 0.3 * two, "ref_logps": logps + 0.4 * three,
        "advantages": adv[:, :1].expand(6, 7), "mask": torch.ones(6, 7), "values": value,
        "old_values": old, "returns": back, "weights": (mark > 0).double(),
    }  # fmt: skip
    return {name: (each * mask).to(dtype) for name, each in given.items()}


def taken(module, cfg, given):
    """The loss, and its gradients with respect to log-probabilities and values."""
    given = dict(given)
    leaves = [given[name].clone().requires_grad_() for name in ("logps", "values")]
    given["logps"], given["values"] = leaves
    names = ("logps", "old_logps", "ref_logps", "advantages", "mask")
    loss, metrics = module.loss(*(given.pop(name) for name in names), cfg, **given)
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    slopes = [torch.zeros_like(e) if g is None else g for e, g in zip(leaves, found, strict=True)]
    return loss.detach(), slopes, metrics


def finite(found):
    loss, slopes, metrics = found
    return all(torch.isfinite(each.double()).all() for each in (loss, *slopes, *metrics.values()))


@EACH
def test_what_stands_in_padding_does_not_matter(module, variant):
    cfg, given = module.Config(variant=variant), drawn()
    if module.__name__.endswith("fact_rlhf") and variant == "code":
        # This code's means run over padding, too: one more empty column changes the loss.
        wider = {name: torch.nn.functional.pad(each, (0, 1)) for name, each in given.items()}
        assert taken(module, cfg, wider)[0].item() != pytest.approx(
            taken(module, cfg, given)[0].item()
        )
        return
    loss, slopes, _ = taken(module, cfg, given)
    for junk in (5.0, float("nan"), float("-inf")):
        for name in sorted(set(given) - {"mask"}):
            other = {**given, name: torch.where(given["mask"] > 0, given[name], junk)}
            found, theirs, _ = taken(module, cfg, other)
            assert found.item() == pytest.approx(loss.item(), abs=1e-12), name
            assert all(map(torch.allclose, theirs, slopes)), name
    # On the other side, too.
    lengths = given["mask"].sum(1).int().tolist()
    left = {
        name: torch.stack([row.roll(-n) for row, n in zip(each, lengths, strict=True)])
        for name, each in given.items()
    }
    assert taken(module, cfg, left)[0].item() == pytest.approx(loss.item(), abs=1e-12)


@EACH
def test_masks_of_any_type_and_empty_ones(module, variant):
    cfg, given = module.Config(variant=variant), drawn()
    loss = taken(module, cfg, given)[0].item()
    for kind in (torch.bool, torch.int64):
        other = {**given, "mask": given["mask"].to(kind)}
        assert taken(module, cfg, other)[0].item() == pytest.approx(loss, abs=1e-12)
        assert finite(taken(module, cfg, {**other, "weights": None}))
    assert finite(taken(module, cfg, {name: 0 * each for name, each in given.items()}))
    assert finite(taken(module, cfg, {name: each[:1, :1] for name, each in given.items()}))


@EACH
@pytest.mark.parametrize("distance", [100.0, 1000.0, -1000.0])
def test_a_ratio_that_ran_away_is_a_number(module, variant, distance):
    cfg, given = module.Config(variant=variant), drawn(torch.float32)
    for name in ("old_logps", "ref_logps"):
        far = given["logps"] + distance * given["mask"]
        loss, slopes, _ = taken(module, cfg, {**given, name: far})
        assert torch.isfinite(loss) and all(torch.isfinite(each).all() for each in slopes)


@EACH
def test_rewards_of_any_type(module, variant):
    cfg = module.Config(variant=variant)
    if module in [SCRIPTS[name].module for name in COMPARED]:
        rewards = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]])
        wanted = module.advantages(rewards.double(), cfg)
        for kind in (torch.int64, torch.bool):
            assert torch.allclose(module.advantages(rewards.to(kind), cfg).double(), wanted)
        with pytest.raises(ValueError, match="groups of 1 have no other"):
            module.advantages(rewards[:, :1], cfg)
    else:
        given = drawn()
        rewards, values, mask = given["returns"].round(), given["values"], given["mask"]
        wanted = module.gae(rewards, values, mask, cfg)
        assert all(map(torch.allclose, module.gae(rewards.long(), values, mask, cfg), wanted))


def test_a_reference_that_is_far_off_does_not_matter_without_kl():
    given = drawn()
    far = {**given, "ref_logps": given["logps"] + 500}
    for module, changes in ((vlm_r1, {}), (vision_r1, {"whole_answers": True})):
        cfg = module.Config(beta=0.0, **changes)
        assert taken(module, cfg, far)[0] == taken(module, cfg, given)[0]


@EACH
def test_a_loss_that_reads_the_reference_does_not_do_without_it(module, variant):
    cfg, given = module.Config(variant=variant), drawn()
    with_it = taken(module, cfg, given)[0]
    moved = given["ref_logps"] + 0.1 * given["values"] * (given["mask"] > 0)
    if taken(module, cfg, {**given, "ref_logps": moved})[0] == with_it:
        assert taken(module, cfg, {**given, "ref_logps": None})[0] == with_it
    else:
        with pytest.raises(ValueError, match="needs `ref_logps`"):
            taken(module, cfg, {**given, "ref_logps": None})


def test_a_ratio_is_exact_below_its_bound():
    """e^30 is no rounding; and the bound is in the range of float32."""
    assert groups.likelihood_ratio(numbers([30.0])).tolist() == [numbers(30.0).exp()]
    assert torch.isfinite(groups.likelihood_ratio(torch.tensor([1e9])))


def test_without_weights_no_token_is_a_thoughts():
    given = drawn() | {"weights": None}
    assert taken(rl4vlm, rl4vlm.Config(), given)[2]["thought_share"] == 0


def test_the_first_token_of_an_answer_is_its_own():
    """Not the first place: an answer may be padded at its beginning."""
    cfg, mask = rl4vlm.Config(variant="code"), numbers([[0, 0, 1, 1, 1, 1]])
    weights = numbers([[0, 0, 1, 1, 1, 0]])
    found = rl4vlm.log_probability(numbers([[9, 9, -1, -2, -4, -8]]), mask, weights, cfg)
    assert found.tolist() == [0.5 * (-2 - 4) - 8]


def test_rewards_that_differ_by_a_rounding_are_equal():
    """.1 + .6 and .2 + .5 are the same number, in float32 not to the last digit."""
    parts = torch.tensor([[0.1, 0.2, 0.1, 0.2], [0.6, 0.5, 0.6, 0.5]])
    for scale in (1.0, 1e6, 1e-6):
        rewards = parts.sum(0, keepdim=True) * scale
        assert not torch.all(rewards == rewards[:, :1])
        assert groups.alike(rewards).tolist() == [True]
        assert groups.group_advantages(rewards).tolist() == [[0.0] * 4]
        assert groups.group_advantages(rewards, 1e-4).tolist() == [[0.0] * 4]
    small = torch.tensor([[0.7, 0.7 + 1e-4, 0.7, 0.7]])
    assert not groups.alike(small).item() and groups.group_advantages(small)[0, 1] > 1.4
    assert groups.alike(torch.zeros(1, 3)).item()


def test_what_stands_behind_an_answer_does_not_reach_fact_rlhfs_loss():
    """The code's means go over these places, but over zeros there."""
    mask = numbers([[1, 1, 0, 0]])

    def given(behind):
        rows = [[-1.0, -2.0], [-1.0, -2.1], [0.5, -0.5], [0.2, 0.1], [0.1, 0.2], [1.0, 0.0]]
        return [numbers([[*row, behind, behind]]) for row in rows]

    for variant in ("paper", "code", "survey"):
        cfg = fact_rlhf.Config(variant=variant)
        found = []
        for behind in (0.0, 7.0, math.nan):
            logps, old, gain, values, before, returns = given(behind)
            value, _ = fact_rlhf.loss(
                logps, old, None, gain, mask, cfg, values=values, old_values=before, returns=returns
            )
            shaped = fact_rlhf.shaped(numbers([1.0]), logps, old, mask, cfg, 0.1)
            found.append((value.item(), shaped.tolist()))
        assert found[0] == found[1] == found[2]


def test_integer_rewards_are_not_rounded_on_the_way():
    rewards, values, mask = torch.tensor([[0, 1]]), numbers([[0.25, 0.5]]), numbers([[1, 1]])
    advantages, returns = ppo.gae(rewards, values, mask, 0.5, 0.5)
    assert advantages.tolist() == [[0 + 0.25 - 0.25 + 0.25 * 0.5, 0.5]]
    assert returns.tolist() == [[0.375, 1.0]]


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_settings_out_of_range_are_refused(name):
    config = SCRIPTS[name].module.Config
    assert config.not_negative
    for field in config.not_negative + config.up_to_one:
        for wrong in (-0.1, float("nan")):
            with pytest.raises(ValueError, match=f"^{field} is {wrong}; it must be"):
                replace(config(), **{field: wrong})
        assert replace(config(), **{field: 0}) is not None
    for field in config.up_to_one:
        with pytest.raises(ValueError, match=f"^{field} is 1.5; it must be from 0 to 1"):
            replace(config(), **{field: 1.5})


# --- rewards of the codes, as their expressions decide -------------------------------------------


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("<think>a</answer></think><answer>2</answer>", 1.0),  # the other part's closing tag
        ("<think>a</think><answer></think>2</answer>", 1.0),
        ("<think>a</think></think><answer>2</answer>", 0.0),
        ("<think>a</think><answer>2</answer></answer>", 0.0),
        ("<think><think>a</think><answer>2</answer>", 0.0),
        ("<think></think><answer>", 0.0),
        ("\r\n<think>a\n</think><answer>\n2</answer>\n", 1.0),
        ("x<think>a</think><answer>2</answer>", 0.0),
    ],
)
def test_lmm_r1_code_reads_the_format_as_its_expression_does(text, points):
    assert lmm_r1.reward_format_strict([text], ["2"]) == [points]


@pytest.mark.parametrize(
    ("text", "true", "points"),
    [
        ("<answer>A B</answer>", "A", 1.0),  # the blank behind A is not there for B
        ("<answer>A B</answer>", "B", 0.0),
        ("<answer>A  B</answer>", "B", 1.0),
        ("<answer>(B)</answer>", "B", 1.0),
        ("<answer>2\n</answer>", "2", 0.0),  # no tags on one line: the whole text is compared
        ("<answer>\n</answer> <answer>2</answer>", "2", 1.0),
        (" 2\n", "2", 1.0),
    ],
)
def test_visualthinker_code_reads_answers_as_its_expressions_do(text, true, points):
    assert visualthinker_r1_zero.reward_accuracy_as_text([text], [true]) == [points]


def test_words_are_no_number():
    """Else any text without a number would be right where the truth is `A`."""
    assert reward_number(["hello", "4", "A"], ["A", "4 .", "A"]) == [0.0, 1.0, 0.0]
    # A truth of two numbers, or of none, is no text's last number.
    assert reward_number(["5,234", "4", "1,234"], ["1,234", "3/4", "1,234"]) == [0.0] * 3


def test_many_boxes_of_one_label_are_matched_at_once():
    """COCO looks at a hundred; all of these are found."""
    boxes = [("a", [n, 0, n + 0.9, 1]) for n in range(100)]
    assert mean_average_precision(boxes, boxes) == pytest.approx(1.0)
    assert mean_average_precision([], boxes) == 0
