"""Fact-RLHF: what the judge is told, what answers earn, and where the code differs."""

import time

import pytest
import torch

from reference_impls.bench import work
from reference_impls.bench.experiment import Experiment
from reference_impls.core import PairBatch, Scores
from reference_impls.core.data.rows import text
from reference_impls.core.method import load_script
from reference_impls.core.worlds.protocol import world as world_of
from reference_impls.methods import fact_rlhf
from reference_impls.methods.fact_rlhf import Config

PAPER, CODE = Config(), Config(variant="code")


def T(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


# --- rewards of strings --------------------------------------------------------------------------


def test_every_gold_answer_gets_its_full_reward():
    """0.5 for each question of presence of a whole split; the code gives a right Yes nothing."""
    scenes = world_of("scenes")
    items = scenes.tasks["presence"].items(scenes.draw("pairs", 400, 1), 1)
    gold = [item.truth for item in items]
    assert set(gold) == {"yes", "no"}
    assert fact_rlhf.reward_correct(gold, gold) == [0.5] * len(gold)
    code = fact_rlhf.reward_correct_code(gold, gold)
    assert code == [0.5 if answer == "no" else 0.0 for answer in gold]
    letters = [f"{letter}. a cat" for letter in "ABCD"]
    assert fact_rlhf.reward_correct(letters, list("ABCD")) == [1.0] * 4


@pytest.mark.parametrize(
    ("said", "true", "paper", "code"),
    [
        ("no .", "no", 0.5, 0.5),
        ("yes .", "no", -0.5, -0.5),
        ("yes", "yes", 0.5, 0.0),
        ("no", "yes", -0.5, 0.0),
        (" No, there is none", "no", 0.5, 0.5),
        ("maybe", "no", 0.0, 0.0),
        ("Nothing is", "no", 0.0, 0.5),  # the code reads letters, and the paper's answers are words
        ("Not sure.", "no", 0.0, 0.5),
        ("now I see it : yes", "no", 0.0, 0.5),
        ("Yesterday", "yes", 0.0, 0.0),
        ("no", "NO", 0.5, 0.5),
        ("", "no", 0.0, 0.0),
        ("<answer> no </answer>", "no", 0.0, 0.0),  # read at its beginning, as in the code
        ("<image> no", "no", 0.0, 0.0),
        ("nо", "no", 0.0, 0.0),  # a Cyrillic o
        ("B.", "B", 1.0, 1.0),
        ("the correct option is b. sure", "B", 1.0, 1.0),
        ("A. or B.", "B", 0.0, 0.0),
        ("row one : a red circle .", "", 0.0, 0.0),
        ("9" * 400, "no", 0.0, 0.0),
    ],
)  # fmt: skip
def test_what_an_answer_earns(said, true, paper, code):
    assert fact_rlhf.reward_correct([said], [true]) == [paper]
    assert fact_rlhf.reward_correct_code([said], [true]) == [code]


def test_a_very_long_answer_is_read_at_once():
    began = time.perf_counter()
    fact_rlhf.reward_correct(["correct option is " * 6000, "no" * 50_000], ["b", "no"])
    assert time.perf_counter() - began < 1


def test_length_and_ending_cost_what_the_script_says():
    rows = [
        {"response": "a", "answer": "no", "tokens": 112, "finished": True},
        {"response": "no", "answer": "no", "tokens": 896, "finished": False},
    ]
    assert fact_rlhf.by_length(None, rows, PAPER) == [-1.25, -10.0]
    assert fact_rlhf.by_ending(None, rows, PAPER) == [0.0, -8.0]
    assert fact_rlhf.by_answer(None, rows, PAPER) == [0.0, 1.0]
    names = {name: list(fact_rlhf.scores(Config(**changes))) for name, changes in
             ({"": {}} | fact_rlhf.METHOD.ablations).items()}  # fmt: skip
    assert names[""] == ["reward_model", "correct", "length", "unfinished"]
    assert names["plain RLHF"] == ["reward_model", "unfinished"]


# --- what the judge reads ------------------------------------------------------------------------


class Heard:
    """A head that keeps what it was shown."""

    def __init__(self):
        self.prompts = []

    def rewards(self, rows, response):
        self.prompts += [row["prompt"] for row in rows]
        return [0.0] * len(rows)


class Bench:
    def __init__(self):
        self.trained = {"reward": Heard()}


def a_row():
    user = {"type": "text", "text": "describe the image ."}
    asked = [{"role": "user", "content": [{"type": "image"}, user]}]
    return {"prompt": asked, "facts": "row one : a red circle .", "images": [], "response": "x"}


@pytest.mark.parametrize("facts", [True, False])
def test_the_facts_reach_the_judge_and_not_the_policy(facts):
    """The mechanism: the reward model is asked behind the truth; the ablation's is not."""
    cfg, lab = Config(facts=facts), Bench()
    row = a_row()
    fact_rlhf.by_reward_model(lab, [row], cfg)
    (heard,) = lab.trained["reward"].prompts
    told = [message for message in heard if message["role"] == "assistant"]
    assert [text([message]) for message in told] == ([row["facts"]] if facts else [])
    assert heard[-1]["role"] == "user" and text(heard) == "describe the image ."
    assert len(row["prompt"]) == 1
    # Training and use read the same prompt.
    assert {view.prompt for view in fact_rlhf.JUDGED} == {"judged"}
    assert fact_rlhf.METHOD.stages[0].prepare(row, None, cfg)["judged"] == heard


# --- objectives: paper and code ------------------------------------------------------------------


def test_the_codes_kl_leaves_out_what_the_policy_likes_less():
    """Log-ratios 0.5 and -0.5: the paper takes 0.05 off and gives 0.05, the code gives nothing."""
    logps, ref, mask = T([[-1.0, -1.5]]), T([[-1.5, -1.0]]), T([[1, 1]])
    given = T([2.0]), logps, ref, mask
    assert fact_rlhf.shaped(*given, PAPER, 0.1)[0].tolist() == pytest.approx([-0.05, 2.05])
    assert fact_rlhf.shaped(*given, CODE, 0.1)[0].tolist() == pytest.approx([-0.05, 2.0])
    survey = fact_rlhf.shaped(*given, Config(variant="survey"), 0.1)
    assert torch.equal(survey, fact_rlhf.shaped(*given, PAPER, 0.1))


def test_the_code_multiplies_rewards_and_whitens_advantages():
    """One token each, values 0: rewards 1 and 3 are advantages; in the code 10 and 30, whitened."""
    given = T([[1.0], [3.0]]), T([[0.0], [0.0]]), T([[1.0], [1.0]])
    advantages, returns = fact_rlhf.gae(*given, PAPER)
    assert advantages.flatten().tolist() == returns.flatten().tolist() == [1, 3]
    assert fact_rlhf.normalised(advantages, given[2], PAPER).flatten().tolist() == [-1, 1]
    advantages, returns = fact_rlhf.gae(*given, CODE)
    assert advantages.flatten().tolist() == pytest.approx([-1, 1])
    assert returns.flatten().tolist() == [10, 30]
    assert torch.equal(fact_rlhf.normalised(advantages, given[2], CODE), advantages)


def test_padding_counts_in_the_codes_means():
    logps, mask = T([[0.1, 0.0]]), T([[1, 0]])
    zeros = torch.zeros_like(logps)
    given = {"values": zeros, "old_values": zeros, "returns": T([[1.0, 0.0]])}
    paper, _ = fact_rlhf.loss(logps, zeros, None, T([[1.0, 0.0]]), mask, PAPER, **given)
    code, _ = fact_rlhf.loss(logps, zeros, None, T([[1.0, 0.0]]), mask, CODE, **given)
    assert paper.item() == pytest.approx(2 * code.item())


def test_only_the_code_pulls_rewards_towards_zero():
    mask = T([[1.0]])
    batch = PairBatch(Scores(mask * 0, None, mask), Scores(mask * 0, None, mask))
    outputs = {"chosen": T([[[3.0]]]), "rejected": T([[[1.0]]])}
    paper, _ = fact_rlhf.judge_loss(outputs, batch, PAPER)
    code, _ = fact_rlhf.judge_loss(outputs, batch, CODE)
    assert (code - paper).item() == pytest.approx(0.004)


def test_a_loss_without_values_says_so():
    with pytest.raises(ValueError, match="needs `values`"):
        fact_rlhf.loss(*[T([[0.0]])] * 5, PAPER)


# --- beside its baselines ------------------------------------------------------------------------


def an_experiment(tmp_path, name="fact_rlhf", **changes):
    script = load_script(name)
    return Experiment(
        script, script.method.config(**changes), "lab", {}, world_of("scenes"), tmp_path, "base"
    )


def test_ppo_is_given_the_methods_own_reward_model(tmp_path, monkeypatch):
    """Its first score, alone and with the method's config; the heads that were trained with it."""
    experiment = an_experiment(tmp_path, facts=False)
    ppo = experiment._fitted(load_script("ppo")).method.last
    assert ppo.rewards == {} and list(ppo.scores) == ["reward_model"]
    lab, row = Bench(), a_row()
    ppo.scores["reward_model"](lab, [row], load_script("ppo").method.config())
    assert lab.trained["reward"].prompts == [row["prompt"]]  # without facts, as the method has it
    experiment.trained = lab.trained
    assert experiment.baseline_run("ppo", [row]).trained == lab.trained
    # A worker of the bench keeps rows and heads together.
    task = work.Task("fact_rlhf", "ppo", 1, "test", 8, 1)
    monkeypatch.setattr(work, "_ROWS", {work._rows_name(task): ([row], lab.trained)})
    again = an_experiment(tmp_path)
    assert work._rows(again, task) == [row] and again.trained == lab.trained


def test_ppo_beside_a_method_of_groups_is_given_its_first_reward(tmp_path):
    fitted = an_experiment(tmp_path, "r1_v")._fitted(load_script("ppo")).method.last
    assert list(fitted.rewards) == ["reward_accuracy"] and fitted.scores == {}
