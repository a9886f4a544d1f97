"""GRPO (group relative policy optimization), record `grpo`, DeepSeekMath, arXiv:2402.03300.

Equations 3 and 4 (section 4.1), negated, over G answers o_i to a question:

    L = - 1/G sum_i 1/|o_i| sum_t [ min(rho_it A_i, clip(rho_it, 1-epsilon, 1+epsilon) A_i)
                                    - beta D_it ]
    A_i = (r_i - mean(r)) / std(r)                     section 4.1.2, outcome supervision
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1,    rho = pi_theta/pi_old

Own: baseline. In the lab it is the row beside which reinforcement methods stand, trained with the
first of the method's rewards.

Simplifications
1. The reward is a rule, a right number, in place of a reward model (section 4.2).
2. The paper only writes "std": here it is the sample's (divided by G - 1), as in TRL and its
   descendants.
3. Iterative GRPO (algorithm 1: the reward model is trained again) is left out.

Official code: none was published; the repository deepseek-ai/DeepSeek-Math has no training code.
All variants are the paper's. TRL's defaults are another objective:
huggingface/trl@f2cd5771:trl/trainer/grpo_config.py#L671-L672 has beta 0, #L791-L792 the loss of
DAPO."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rules import reward_number
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Row, Variant
from reference_impls.core.objective.groups import group_advantages
from reference_impls.core.objective.groups import grpo as loss
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy answers, and a rule judges
PAPER = TrainSettings(
    learning_rate=1e-6,  # section 4.2
    epochs=1,  # ours: the paper names no number of steps
    batch_size=16,  # section 4.2: 1,024 answers in groups of 64
    group_size=64,  # section 4.2
    max_new_tokens=1024,  # section 4.2
    temperature=1.0,  # ours: the paper names none
    dtype="bfloat16",  # ours
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 0.04  # section 4.2
    epsilon: float = 0.2  # in no source; PPO's and TRL's. Idle with one update per batch
    variant: Variant = "paper"
    not_negative = "beta", "epsilon"


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number."""
    return lab.questions()


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return group_advantages(rewards)


METHOD = Method(
    record="grpo",
    config=Config,
    stages=(
        GroupStage(
            data=questions, rewards={"number": reward_number}, advantages=advantages, loss=loss,
            lab=lab(5e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
        ),
    ),
    task="count",
    baselines=("sft",),
    ablations={"no KL": {"beta": 0.0}},
    expectations=(
        Expectation(
            id="raises-accuracy", text="GRPO counts better than the base.", metric="accuracy",
            direction="higher", of="grpo", against="base", primary=True,
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
