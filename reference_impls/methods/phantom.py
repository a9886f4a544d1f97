"""Phantom Optimization, record `phantom`, arXiv:2409.14713.

Equation 4, over the mean log-probability of an answer of |y| tokens, without a reference:

    L = L_SFT - log sigma( beta/|y+| log pi_theta(y+|x) - beta/|y-| log pi_theta(y-|x) - gamma )

y+ is the given answer, y- a wrong and ambiguous rewrite of it of the same length. L_SFT is the
cross entropy of y+; the paper does not say how it is averaged: here over an answer's tokens, as in
`sft`.

Own: the objective (SFT and SimPO at once) and the data recipe: a model writes y-, another one is
asked whether it is wrong, and people look through what is left.

Simplifications
1. Given answers are a writer's, who sees what the condition `sight` shows. The rewrite makes one of
   its claims wrong, as often what habit suggests as any other thing; GPT-4o-mini's prompt asks for
   an answer that is wrong and ambiguous.
2. The check is a comparison with the given answer, by a strong model and then by a human: what
   either prefers is dropped.
3. Of the two steps only the first one, which has the preference term, is run, and it trains all
   weights; in the paper the language model is frozen there, and projector and new modules learn.
   The second step is SFT of everything.
4. The new modules (attention that widens queries, keys and values) are another matter: Table 4 has
   both parts alone.

Official code: ByungKwanLee/Phantom@aa618026 holds model, demo and evaluation; no training code was
published, so that `variant="code"` is the paper's. The nearest is another one's, read in release
1.16.0: huggingface/trl@f2cd5771:trl/experimental/cpo/cpo_trainer.py#L825-L844 has an SFT term over
the tokens of a batch, for texts. Survey, Table 1 (`variant="survey"`): both terms hold y+, and
gamma is missing. The difference is zero, so that a constant ln 2 and SFT are left."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import reward_metrics, token_mean_nll
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-5,  # section 4 (d); falls to 1e-6
    epochs=1,  # section 4 (c)
    batch_size=128,  # section 4 (d)
    pairs=2000000,  # section 3: triples after both reviews
    warmup_ratio=0.0,  # ours: the paper tells of none
    lora_rank=256,  # section 4 (c)
    lora_alpha=256,  # section 4 (c)
    train_vision=True,  # section 4 (c): vision encoders and language models
    dtype="bfloat16",  # section 4 (c)
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values, and switches of the terms and of the review."""

    beta: float = 2.0  # section 4 (d)
    gamma: float = 0.5  # section 4 (d)
    sft_term: bool = True  # equation 4
    preference_term: bool = True  # equation 4
    review_term: bool = True  # section 3: GPT-4o, then people
    variant: Variant = "paper"


def confusing_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """A writer's answers against rewrites with one claim made wrong, as far as reviewers agree."""
    given, rng = lab.source("writer"), lab.rng("rewrite")
    wrong = [lab.task.distort(i, answer, rng) for i, answer in zip(lab.items, given, strict=True)]
    left = list(range(len(lab.items)))
    for reviewer in ("closed-source-model", "human") if cfg.review_term else ():
        choices = lab.annotator(reviewer).compare(
            [lab.items[n] for n in left], [lab.media[n] for n in left],
            [given[n] for n in left], [wrong[n] for n in left],
        )  # fmt: skip
        kept = [n for n, choice in zip(left, choices, strict=True) if choice.first]
        lab.tally.count(f"dropped by the {reviewer}", len(left) - len(kept))
        left = kept
    lab.tally.count("kept", len(left))
    return [lab.pair(place, chosen=given[place], rejected=wrong[place]) for place in left]


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses. No reference is read."""
    nll = token_mean_nll(batch.need("chosen"))
    chosen, rejected = -cfg.beta * nll, -cfg.beta * token_mean_nll(batch.need("rejected"))
    margin = chosen - chosen if cfg.variant == "survey" else chosen - rejected - cfg.gamma
    preference = -logsigmoid(margin)
    losses = cfg.sft_term * nll + cfg.preference_term * preference
    return losses, reward_metrics(chosen, rejected) | {
        "nll": nll.detach(),
        "preference_term": preference.detach(),
    }


METHOD = Method(
    record="phantom",
    config=Config,
    stages=(
        PairStage(
            data=confusing_pairs, loss=loss, views=VIEWS, reference="none", lab=lab(1e-4),
            paper=PAPER,
        ),
    ),
    condition={"sight": "all"},
    ablations={
        "no preference term": {"preference_term": False}, "no SFT term": {"sft_term": False},
        "no review": {"review_term": False},
    },
    expectations=(
        Expectation(
            id="better-than-sft-alone",
            text="More of what is there, and less of what is not, is named than after SFT alone.",
            metric="f1", direction="higher", of="phantom", against="sft",
            claim="better-than-sft-alone", primary=True,
        ),
        Expectation(
            id="rejected-answers-less-likely",
            text="More rejected answers are rarer than the chosen ones than after SFT alone.",
            metric="reward_accuracy", direction="higher", of="phantom", against="sft",
            claim="rejected-answers-less-likely",
        ),
        Expectation(
            id="the-preference-term-is-why",
            text="Without the preference term more of what is named is not there.",
            metric="chair_i", direction="higher", of="no preference term", against="phantom",
        ),
        Expectation(
            id="sft-holds-the-chosen",
            text="Without the SFT term the chosen log-probability is lower.",
            metric="chosen_logp", direction="lower", of="no SFT term", against="phantom",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
