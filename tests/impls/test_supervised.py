"""Supervision beside methods that are rewarded: worked answers, final ones, the policy's own."""

import dataclasses

import pytest

from reference_impls.bench.experiment import Experiment
from reference_impls.core.data.rejection import rewarded_answers
from reference_impls.core.data.rows import text
from reference_impls.core.data.rules import reward_number
from reference_impls.core.method import SUPERVISED, Baseline, ContractError, load_script
from reference_impls.methods import grpo, sft

ROWS = [
    {"prompt": ["first"], "images": [], "answer": "2", "worked": "1 + 1 = 2"},
    {"prompt": ["second"], "images": [], "answer": "3"},
]
SETTINGS = grpo.METHOD.last.lab


class Says:
    """A policy whose answers are given, one list for each time that it is asked."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def answer(self, prompts, images, temperature, max_new_tokens):
        assert (temperature, max_new_tokens) == (SETTINGS.temperature, SETTINGS.max_new_tokens)
        assert len(prompts) == len(images) == 2
        return self.answers.pop(0)


def no_policy():
    raise AssertionError("nobody is asked")


def test_of_sampled_answers_the_different_rewarded_ones_are_kept():
    policy = Says(["2", "7"], ["so 2", "it is 3"], ["2", "3 4"])
    rows = rewarded_answers(policy, ROWS, {"number": reward_number}, SETTINGS, 3)
    assert [text(row["chosen"]) for row in rows] == ["2", "so 2", "it is 3"]
    assert [row["answer"] for row in rows] == ["2", "2", "3"]


def test_who_is_never_right_or_has_no_reward_cannot_learn_from_itself():
    policy = Says(["5", "5"], ["", "5"])
    with pytest.raises(ValueError, match="none of 2 answers to 2 questions is rewarded"):
        rewarded_answers(policy, ROWS, {"number": reward_number}, SETTINGS, 2)
    with pytest.raises(ValueError, match="needs a reward of strings"):
        rewarded_answers(Says(), ROWS, {}, SETTINGS, 1)


@pytest.mark.parametrize(
    ("target", "learnt"), [("worked", ["1 + 1 = 2", "3"]), ("answer", ["2", "3"])]
)
def test_a_target_is_what_is_learnt(target, learnt):
    cfg = sft.Config(target=target)
    rows = sft.imitated(no_policy, ROWS, {}, SETTINGS, cfg)
    assert [text(row["chosen"]) for row in rows] == learnt


def test_sampled_answers_are_learnt_with_the_first_reward():
    policy = Says(["2", "1"], ["1", "1"])
    cfg = sft.Config(target="sampled", tries=2)
    rows = sft.imitated(lambda: policy, ROWS, {"number": reward_number}, SETTINGS, cfg)
    assert [text(row["chosen"]) for row in rows] == ["2"]


def test_a_baseline_is_a_scripts_name_or_a_row_of_its_own():
    method = dataclasses.replace(grpo.METHOD, baselines=("rloo", *SUPERVISED))
    assert method.baseline_names == ("rloo", "sft", "sft-answers", "rejection-sampling")
    assert method.baseline("rloo") == Baseline(name="rloo", script="rloo")
    assert method.baseline("sft-answers").config == {"target": "answer"}
    expected = dataclasses.replace(method.expectations[0], against="rejection-sampling")
    dataclasses.replace(method, expectations=(expected,))
    with pytest.raises(ContractError, match="there is no row 'rejection-sampling'"):
        dataclasses.replace(grpo.METHOD, expectations=(expected,))


def test_baselines_of_a_method_that_is_rewarded_learn_what_their_row_says(
    tiny_base, world, tmp_path, monkeypatch
):
    """Each at the same questions; the policy is asked once, where its own answers are learnt."""
    script = load_script("grpo")
    method = dataclasses.replace(script.method, baselines=SUPERVISED)
    experiment = Experiment(
        script=dataclasses.replace(script, method=method), cfg=method.config(), preset="lab",
        changes={"pairs": 4, "steps": 1, "batch_size": 2}, world=world, output=tmp_path,
        base=tiny_base,
    )  # fmt: skip
    rows = experiment.method_rows()
    asked = []

    def answer(self, prompts, *given):
        asked.append(len(prompts))
        return ["nothing", *(row["answer"] for row in rows[1:])]

    monkeypatch.setattr("reference_impls.core.model.policy.Policy.answer", answer)
    learnt = {
        name: [text(row["chosen"]) for row in experiment.baseline_run(name, rows).rows]
        for name in method.baseline_names
    }
    assert learnt["sft"] == [row["worked"] for row in rows]
    assert learnt["sft-answers"] == [row["answer"] for row in rows]
    assert learnt["rejection-sampling"] == [row["answer"] for row in rows[1:]]
    assert asked == [4] * sft.Config().tries
    experiment.baseline_run("rejection-sampling", rows)
    assert len(asked) == sft.Config().tries
    parts = [experiment.baseline_parts(name, rows) for name in method.baseline_names]
    assert len({repr(part) for part in parts}) == 3
