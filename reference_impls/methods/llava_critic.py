"""LLaVA-Critic (iterative DPO by a critic), record `llava-critic`, arXiv:2410.02712.

The project's page, second scenario (the paper's own text could not be opened), of K answers y_1 ..
y_K of the current model, a_ij the critic's relative score of y_j given y_i:

    r_i = sum_{k != i} a_ki - sum_{l != i} a_il,   y+ = the highest r, y- = the lowest
    L   = -log sigma( beta log pi_theta(y+|x)/pi_ref(y+|x)
                      - beta log pi_theta(y-|x)/pi_ref(y-|x) )

The page names DPO and prints no equation; the second line is its usual form. pi_ref is the model at
the start of a round.

Own: the data recipe and the schedule. A critic learns to judge from a strong model's judgements of
other models' answers. It compares every two of several answers of the policy, in both orders; pairs
and reference are made anew in each of three rounds.

Simplifications
1. The critic is the base with a head that is asked about each claim of an answer and says whether
   it is right. It rates answers one by one, s = how many claims it expects to be right less how
   many to be wrong, and a_ij = s_j - s_i: then r_i = 2 (K s_i - sum s), and the order of r is that
   of s. LLaVA-Critic writes scores or comparisons, with reasons; a liking for the first or second
   place, which both orders cancel, cannot be seen here. Heads that read whole answers were tried:
   one that compares two, trained on 388 comparisons, was right on 51 % of 1,492 new ones, one that
   rates, on 1,600 ratings, on 57 % of 399; the sum over claims on 71 %.
2. Whoever judges for the critic sees the picture's truth and errs at a stated rate; in the paper
   GPT-4o gives scores or, knowing which answer is preferred, reasons.
3. The critic learns from answers of two other bases; the paper has 13 models.
4. Answers are sampled at the paper's temperature without its nucleus (top-p 0.9).
5. All rounds together have the lab's usual number of prompts and steps, so that rounds are compared
   with one run at an equal budget; the critic is trained once, before them. A dataset of pairs
   needs no critic: `--set critic_term=False`.

Official code: LLaVA-VL/LLaVA-NeXT@df179663
- trl/trainer/dpo_trainer.py#L766: DPO over sums of tokens. #L951-L957: an SFT loss on the chosen
  answers is added, their mean over all tokens of a pass, times `gamma`; #L30 of
  scripts/train/dpo_ov7b.sh sets gamma to 0, so that the three variants coincide. In
  `variant="code"` another gamma weighs that mean over the batch; in the others, where nobody has
  the term, each answer's own mean.
- docs/LLaVA_OneVision_Chat.md: K = 5; answers are rated, the best and the worst make the pair. No
  script that samples or scores is public.
- The survey has no equation of its own: survey = paper."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.criticism import claim_odds, judged_claims
from reference_impls.core.data.ranking import best_and_worst
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, HeadStage, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import (
    batch_mean_nll,
    dpo,
    token_mean_nll,
)
from reference_impls.core.objective.reward import verdict
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=5e-7,  # scripts/train/dpo_ov7b.sh#L56
    epochs=1,  # docs/LLaVA_OneVision_Chat.md: in each round
    batch_size=64,  # ours: 8 devices; dpo_ov7b.sh#L49-L51 has 1 pair x 8 accumulated steps on each
    pairs=28200,  # record: 9,400 prompts of LLaVA-RLHF in each of three rounds, second-hand
    warmup_ratio=0.1,  # scripts/train/dpo_ov7b.sh#L58
    temperature=0.7,  # docs/LLaVA_OneVision_Chat.md
    dtype="bfloat16",  # scripts/train/dpo_ov7b.sh#L45
    train_vision=True,  # scripts/train/dpo_ov7b.sh#L34
)
CRITIC = TrainSettings(
    learning_rate=2e-6,  # record: second-hand
    epochs=1,  # ours: not read
    batch_size=128,  # ours: not read
    pairs=112936,  # record: judgements in LLaVA-Critic-113k
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values of the page and of the official script."""

    beta: float = 0.1  # scripts/train/dpo_ov7b.sh#L15
    gamma: float = 0.0  # scripts/train/dpo_ov7b.sh#L30
    rounds: int = 3  # docs/LLaVA_OneVision_Chat.md
    candidates: int = 5  # docs/LLaVA_OneVision_Chat.md
    temperature: float = 0.7  # docs/LLaVA_OneVision_Chat.md
    critic_term: bool = True  # False: whoever judges for the critic rates the answers himself
    variant: Variant = "paper"


def judged(lab: Lab, cfg: Config) -> list[Row]:
    """Claims of other models' answers, judged by a strong model."""
    return judged_claims(lab, "closed-source-model", lab.source("ensemble"))


def ratings(lab: Lab, answers: list[str], cfg: Config) -> list[float]:
    """The critic's rating of one answer to each item; what is said again counts as wrong."""
    if not cfg.critic_term:
        return lab.annotator("closed-source-model").scores(lab.items, lab.media, answers)
    found = []
    told = claim_odds(lab, lab.trained["critic"], answers, "critic, of claims")
    for answer, (claims, odds) in zip(answers, told, strict=True):
        words = answer.split()
        said = {
            " ".join(words[claim.start : claim.stop]): value
            for claim, value in zip(claims, odds.tolist(), strict=True)
        }
        again = len(claims) - len(said)
        found.append(sum(math.tanh(value / 2) for value in said.values()) - again)
    return found


def criticised(lab: Lab, cfg: Config) -> list[Row]:
    """Of several samples of the policy the one that the critic prefers most, and least."""
    answers = [lab.answer(cfg.temperature) for _ in range(cfg.candidates)]
    rated = [ratings(lab, each, cfg) for each in answers]
    critic, rows = lab.tally.agreement("critic"), []
    for place, item in enumerate(lab.items):
        pair = best_and_worst(
            [(each[place], own[place]) for each, own in zip(answers, rated, strict=True)]
        )
        if pair is None:
            lab.tally.count("not told apart")
            continue
        lab.tally.count("best against worst by the critic")
        critic.compared(lab.task.score(item, pair[0]) - lab.task.score(item, pair[1]), True)
        rows.append(lab.pair(place, *pair))
    return rows


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's."""
    losses, metrics = dpo(batch, cfg)
    nll = batch_mean_nll if cfg.variant == "code" else token_mean_nll
    return losses + cfg.gamma * nll(batch.chosen), metrics


METHOD = Method(
    record="llava-critic",
    config=Config,
    stages=(
        HeadStage(
            name="critic", data=judged, loss=verdict, views=("chosen",), once=True,
            lab=lab(1e-3, steps=100, batch_size=64), paper=CRITIC,
            when=lambda cfg: cfg.critic_term,
        ),
        PairStage(
            data=criticised, loss=loss, views=VIEWS, couples_rows=True, lab=lab(3e-4), paper=PAPER,
        ),
    ),
    rounds=lambda cfg: cfg.rounds,
    ablations={"one round": {"rounds": 1}, "judged without a critic": {"critic_term": False}},
    expectations=(
        Expectation(
            id="rounds-help", claim="rounds-help",
            text="By a critic's preference among its own answers a model answers better.",
            metric="f1", direction="higher", of="llava-critic", against="base", primary=True,
        ),
        Expectation(
            id="less-hallucination", claim="less-hallucination",
            text="Fewer answers name an object that is not there.",
            metric="chair_s", direction="lower", of="llava-critic", against="base",
        ),
        Expectation(
            id="a-critic-costs-little",
            text="Ratings by whom the critic learnt from do little more than the critic's.",
            metric="f1", direction="equal", of="llava-critic", against="judged without a critic",
        ),
        Expectation(
            id="rounds-beat-one-run",
            text="Rounds do more than one run with as many prompts.",
            metric="f1", direction="higher", of="llava-critic", against="one round",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
