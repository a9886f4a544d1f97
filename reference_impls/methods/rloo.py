"""RLOO (REINFORCE leave-one-out), record `rloo`, Back to Basics, arXiv:2402.14740.

Section 2.3 (not numbered), over k answers to a prompt, as a loss to minimise:

    L = - 1/k sum_i [ R(y_i, x) - 1/(k-1) sum_{j != i} R(y_j, x) ] log pi_theta(y_i|x)
    R(y, x) = r(x, y) - beta log( pi_theta(y|x) / pi_ref(y|x) )      equations 3 and 4

Own: baseline. An answer is one action: its log-probability is summed over tokens, not averaged, and
the KL is part of the reward, not of the loss.

Simplifications
1. The reward is a rule, a right number, in place of a reward model (section 4).
2. Where a batch is used for two gradient steps (appendix C) the paper has no ratio; `lab` takes one
   step per batch, so that none is needed.

Official code: none was published by the authors; all variants are the paper's. TRL computes
something else: huggingface/trl@f2cd5771:trl/trainer/rloo_trainer.py#L1689-L1691 has PPO's clipped
ratio of whole sequences, and trl/trainer/rloo_config.py#L494-L495 a beta of 0.05."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rules import reward_number
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Row, Variant
from reference_impls.core.objective.groups import (
    reinforce,
    rloo_advantages,
    sequence_kl_in_reward,
)
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy answers, and a rule judges
PAPER = TrainSettings(
    learning_rate=1e-6,  # appendix C
    epochs=1,  # ours: appendix C counts 600 steps for TL;DR
    batch_size=256,  # appendix C: step batch
    group_size=4,  # section 5.1: k = 2 and 4
    scheduler="constant_with_warmup",  # appendix C
    warmup_ratio=0.03,  # appendix C
    dtype="bfloat16",  # ours
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's value."""

    beta: float = 0.03  # appendix C, TL;DR
    variant: Variant = "paper"
    not_negative = ("beta",)


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number."""
    return lab.questions()


def shaped(rewards: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, cfg: Config) -> Tensor:
    """(prompts, group): the reward minus beta times the log-ratio of the whole answer."""
    return sequence_kl_in_reward(rewards, logps, ref_logps, mask, cfg.beta)


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> what an answer gets above the others of its group."""
    return rloo_advantages(rewards)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """RLOO's loss; all tensors (prompts x group, T). Only logps, advantages and mask are used."""
    return reinforce(logps, advantages, mask)


METHOD = Method(
    record="rloo",
    config=Config,
    stages=(
        GroupStage(
            data=questions, rewards={"number": reward_number}, advantages=advantages, loss=loss,
            kl_in_reward=shaped,
            lab=lab(5e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
        ),
    ),
    task="count",
    baselines=("sft",),
    ablations={"no KL": {"beta": 0.0}},
    expectations=(
        Expectation(
            id="raises-accuracy", text="RLOO counts better than the base.", metric="accuracy",
            direction="higher", of="rloo", against="base", primary=True,
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
