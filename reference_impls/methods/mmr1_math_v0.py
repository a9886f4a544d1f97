"""MMR1-Math-v0, record `mmr1-math-v0` (a repository, no paper): GRPO on few, balanced questions.

    L = - 1/G sum_i 1/|o_i| sum_t [ min(rho_it A_i, clip(rho_it, 1-epsilon, 1+epsilon) A_i)
                                    - beta D_it ]
    A_i = (r_i - mean(r)) / std(r),   r_i = accuracy(o_i) + format(o_i)
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1,   rho = pi_theta/pi_old

Own: data recipe. README.md@9ec3a05a says GRPO (DeepSeekMath, arXiv:2402.03300, equations 3 and 4)
and no more. Its own are 6,000 questions from public training sets: what is too easy is thrown out,
and what is left is drawn evenly over difficulty and kind of mathematics. There is no supervised
start. Its comparison is SFT on the same questions, on answers only and on worked answers, which
loses up to 15.3 points on MathVista (67.5 to 52.2) where GRPO gains 3.5.

Variants. Neither code, settings nor rewards of this version were published:
LengSicong/MMR1@9ec3a05a79560af1c775fdad96d94f144a17884e (branch mmr1_v0) has a README, and the
survey describes it in prose. All variants are GRPO's. The default branch is of a later method with
other data (arXiv:2509.21268); LengSicong/MMR1@d8161a0c0bb2933cae38b782aa75181663328de5 there trains
in a fork of EasyR1: a mean over tokens, clipped at 0.2 on both sides, without a dual clip
(verl/trainer/core_algos.py#L303-L347).

Simplifications

1. Sums of counted shapes stand for mathematics in pictures. An item's operation (the first
   part of its subject, such as `plus`) stands for the kind of mathematics, the share of tries that
   the start model answers right for difficulty. How the authors measure either is not said.
2. Rewards are the two rules of the R1 family; those of this version are not known. So are beta, the
   number of answers, and all but the epochs.
3. A dataset is taken as it is, since its kinds are not known: give it filtered, as the authors do.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.readers.cells import as_final_answer, as_text
from reference_impls.core.data.readers.messages import messages_of, prompt
from reference_impls.core.data.rules import last_number
from reference_impls.core.data.rules import reward_final_answer as reward_accuracy
from reference_impls.core.data.rules import reward_thought_then_answer as reward_format
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Reward, Row, Variant
from reference_impls.core.objective.groups import group_advantages, grpo
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.supervision import ROWS, LearnBy, by_rewards, instead_of_rewards

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER = TrainSettings(
    learning_rate=1e-6,  # ours: not said; EasyR1's, which README.md thanks. Not its schedule
    epochs=15,  # README.md, Key Highlights
    batch_size=128,  # ours: not said
    group_size=8,  # ours: not said
    max_new_tokens=4096,  # ours: not said
    temperature=1.0,  # ours: not said
    dtype="bfloat16",  # ours: not said
)
# Ours: the instruction of this version is not known.
INSTRUCTION = "{question} First think, then answer: <think> ... </think> <answer> ... </answer>"


@dataclass(frozen=True)
class Config(BaseConfig):
    """The recipe; what the README does not say is marked."""

    beta: float = 0.04  # ours: not said; GRPO's, section 4.2 of its paper
    epsilon: float = 0.2  # ours: not said; PPO's. Idle with one update per batch
    tries: int = 4  # ours: difficulty is measured, how is not said
    kept: float = 0.5  # ours: share of the candidates; 6k questions were selected, of how many?
    difficulty_term: bool = True  # README.md: overly simple questions are filtered out
    balance_term: bool = True  # README.md: uniform over difficulty and kind
    learn_by: LearnBy = "rewards"  # README.md, Ablation Studies: SFT on answers; own are ours
    variant: Variant = "paper"
    not_negative = "beta", "epsilon"
    up_to_one = ("kept",)
    least = (("tries", 1),)


def operation(subject: str) -> str:
    """The kind of mathematics of an item: its subject up to the first slash."""
    return subject.partition("/")[0]


def balanced(lab: Lab, cfg: Config) -> list[Row]:
    """Questions that are not always answered right, evenly over tries right and operations.

    Each pass takes one question of every group that still has one, until `kept` of the candidates
    are there.
    """
    answers = [str(last_number(item.truth)) for item in lab.items]
    right = [0.0] * len(answers)
    for _ in range(cfg.tries):
        points = reward_accuracy(lab.answer(), answers)
        right = [sum(pair) for pair in zip(right, points, strict=True)]
    groups: dict[tuple[float, str], list[int]] = {}
    for place, item in enumerate(lab.items):
        if cfg.difficulty_term and right[place] == cfg.tries:
            lab.tally.count("too easy")
            continue
        groups.setdefault((right[place], operation(item.subject)), []).append(place)
    wanted = max(1, round(cfg.kept * len(answers)))
    if cfg.balance_term:
        rounds = range(max(map(len, groups.values()), default=0))
        order = [groups[key][n] for n in rounds for key in sorted(groups) if n < len(groups[key])]
    else:
        order = sorted(place for group in groups.values() for place in group)
    for key, group in sorted(groups.items()):
        taken = len(set(order[:wanted]) & set(group))
        lab.tally.count(f"{key[0]:.0f} of {cfg.tries} right, {key[1]}: kept", taken)
    return [
        lab.prompt(place, answer=answers[place], worked=lab.items[place].truth)
        for place in sorted(order[:wanted])
    ]


def read_record(record: Row) -> Row:
    """A prompt from EasyR1's layout, which the data set has: `images`, `problem`, `answer`."""
    asked = messages_of(
        INSTRUCTION.format(question=as_text(record["problem"], "problem").strip()), "problem"
    )
    return {
        "prompt": prompt(asked, "problem", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(record["answer"], "answer"),
    }


REWARDS: dict[str, Reward] = {"accuracy": reward_accuracy, "format": reward_format}


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return group_advantages(rewards)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """GRPO's loss; all tensors (prompts x group, T). values, returns, weights are not used."""
    return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)


METHOD = Method(
    record="mmr1-math-v0",
    config=Config,
    stages=(
        instead_of_rewards(balanced, reward_accuracy, 320, PAPER),
        GroupStage(
            data=balanced, rewards=REWARDS, advantages=advantages, loss=loss, read=read_record,
            when=by_rewards,
            lab=lab(3e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
        ),
    ),
    world="problems",
    task="arithmetic",
    baselines=("sft", "grpo"),
    ablations={
        **ROWS,
        "easy ones kept": {"difficulty_term": False},
        "not balanced": {"balance_term": False},
        "neither": {"difficulty_term": False, "balance_term": False},
    },
    expectations=(
        Expectation(
            id="raises-accuracy", text="GRPO on selected questions raises accuracy.",
            metric="accuracy", direction="higher", of="mmr1-math-v0", against="base",
            claim="raises-accuracy", primary=True,
        ),
        Expectation(
            id="better-than-sft", text="It answers more right than SFT on answers.",
            metric="accuracy", direction="higher", of="mmr1-math-v0", against="SFT on answers",
            claim="better-than-sft",
        ),
        Expectation(
            id="better-than-sft-on-thoughts", text="It answers more right than SFT on thoughts.",
            metric="accuracy", direction="higher", of="mmr1-math-v0", against="sft",
        ),
        Expectation(
            id="selection-helps", text="As many questions as they come teach less.",
            metric="accuracy", direction="lower", of="neither", against="mmr1-math-v0",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
