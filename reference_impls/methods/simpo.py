"""SimPO (simple preference optimization), record `simpo`, arXiv:2405.14734.

The SimPO objective, over the mean log-probability of an answer of |y| tokens, without a reference:

    L = -log sigma( beta/|y_w| log pi_theta(y_w|x) - beta/|y_l| log pi_theta(y_l|x) - gamma )

Own: the objective. What is compared is the measure that decoding goes by, its length divided out,
and the chosen answer has to lead by a margin.

Simplifications
1. Pairs: two sampled answers to each image, ordered by a strong model that likes length a little
   (condition `length-bias`); the paper's are text only, ordered by PairRM or ArmoRM.
2. The official SFT term (`sft_weight`, off by default), label smoothing and the hinge loss (off by
   default) are left out.

Official code: princeton-nlp/SimPO@1b3e8f35
- scripts/simpo_trainer.py#L576-L595: gamma is given as `gamma_beta_ratio` and taken away before
  the factor: beta ( difference of means - gamma/beta ). `variant="code"` computes that form from
  the same gamma; beyond rounding the numbers are the paper's. scripts/simpo_config.py#L55-L56 has
  defaults of their own: beta 2.0, ratio 0.25, that is a gamma of 0.5.
- scripts/simpo_trainer.py#L673-L681: the mean runs over all tokens of the answer, its end included;
  the reference is nowhere loaded.
- The survey has no equation of it (section 6.6 names the idea): `variant="survey"` is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import reward_metrics, token_mean_nll
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=3e-7,  # README.md#L44, Mistral-Base
    epochs=1,  # training_configs/mistral-7b-base-simpo.yaml#L32
    batch_size=128,  # README.md#L36
    warmup_ratio=0.1,  # training_configs/mistral-7b-base-simpo.yaml#L45
    dtype="bfloat16",  # training_configs/mistral-7b-base-simpo.yaml#L15
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values of the paper's Mistral-Base, and a switch of the length normalisation."""

    beta: float = 2.0  # README.md#L44
    gamma: float = 1.6  # README.md#L44: gamma / beta is 0.8
    length_term: bool = True  # the objective: divided by |y|
    variant: Variant = "paper"


def rated_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a strong model."""
    return lab.sampled_pairs(lab.annotator("closed-source-model"), lab.answer(), lab.answer())


def measure(scores: Scores, cfg: Config) -> Tensor:
    """(B,) mean log-probability per token of an answer; the sum without `length_term`."""
    if cfg.length_term:
        return -token_mean_nll(scores)
    return (scores.logps * scores.mask).sum(-1)


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses. No reference is read."""
    chosen, rejected = (measure(batch.need(view), cfg) for view in VIEWS)
    if cfg.variant == "code":
        margin = cfg.beta * (chosen - rejected - cfg.gamma / cfg.beta)
    else:
        margin = cfg.beta * chosen - cfg.beta * rejected - cfg.gamma
    return -logsigmoid(margin), reward_metrics(cfg.beta * chosen, cfg.beta * rejected) | {
        "beyond_margin": (margin > 0).detach().to(margin.dtype)
    }


METHOD = Method(
    record="simpo",
    config=Config,
    stages=(
        PairStage(
            data=rated_pairs, loss=loss, views=VIEWS, reference="none", lab=lab(1e-4), paper=PAPER
        ),
    ),
    condition={"length-bias": "weak"},
    ablations={"no length normalisation": {"length_term": False}, "no margin": {"gamma": 0.0}},
    expectations=(
        Expectation(
            id="no-longer-than-dpo",
            text="Where the judge likes length SimPO's answers are shorter than DPO's.",
            metric="length", direction="lower", of="simpo", against="dpo",
            claim="no-longer-than-dpo", primary=True,
        ),
        Expectation(
            id="hallucinates-less-than-dpo",
            text="SimPO hallucinates less than DPO on the same pairs.",
            metric="chair_i", direction="lower", of="simpo", against="dpo",
        ),
        Expectation(
            id="length-normalisation-is-why",
            text="Without the length normalisation answers are longer.",
            metric="length", direction="higher", of="no length normalisation", against="simpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
