"""MM-DPO (dynamic reward scaling), record `mm-dpo`, arXiv:2502.10391.

Equation 4 with the beta of section 4.2; delta = r(y_w) - r(y_l) is the margin of a reward model:

    L = -log sigma( beta(delta) ( log pi_theta(y_w|x)/pi_ref(y_w|x)
                                  - log pi_theta(y_l|x)/pi_ref(y_l|x) ) )
    beta(delta) = beta (1 + w (1 - exp(-k delta)))

Own: the objective and the data recipe.

`batch.margin` (B,) is delta. A negative one (the reward model disagrees with the people) counts as
0, so that beta(delta) stays within [beta, (1 + w) beta], as section 4.2 wants it.

Simplifications
1. Pairs: two samples of the policy, ordered by a human; in place of 120,000 pairs of strong models'
   answers (section 2). A human does not write a better answer where both are bad.
2. The reward model is a head on the policy's own architecture, trained on the same comparisons. The
   paper's is a larger model that first writes a critique (section 3.2).
3. No SFT term by default: equation 4 has none, and 0 is among the weights that section 5.1
   searches; the released script has 0.25. `gamma` is its weight.

Official code: Kwai-YuanQi/MM-RLHF@7c8af1d2:trl/trainer/dpo_trainer.py#L736-L850 (`variant="code"`)
- #L797-L818: the beta of the data's `ls_factor` (#L791-L793) is computed and then overwritten,
  since `implicit_beta` is True wherever the loss is called. What counts is one beta for the batch,
  from the policy's own margins A in it, no reward model: draw 80 % of the rows without replacement
  with weights exp(-((A - mean) / std)^2 / 2); beta (1 + w (mean of the drawn - mean)), at least
  0.001, without gradient. `drawn` (B,) in `extra`, 1 on drawn rows, replaces the draw.
  Of a single row the standard deviation is not a number and the code stops; here beta stays.
- `implicit_beta=False`: beta (1 + w ls_factor), with `extra["ls_factor"]` (B,), 1 where the data
  has none (llava/train/train_dpo.py#L1233); nothing in the repository computes it.
- #L899-L910: the SFT term averages over all chosen tokens of the micro-batch. Here draw, beta and
  mean are over the whole step; the released script passes one pair per device at a time.
- Survey, Table 1 (`variant="survey"`): beta is multiplied by the bare margin, no w, no k."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, HeadStage, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import (
    batch_mean_nll,
    reward_metrics,
    token_mean_nll,
)
from reference_impls.core.objective.reward import pairwise
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-6,  # scripts/train/dpo_ov7b.sh; section 5.1 searches 1e-7 to 1e-5
    epochs=1,  # scripts/train/dpo_ov7b.sh
    batch_size=96,  # ours: 8 devices; the script has 1 pair x 12 accumulated steps on each
    warmup_ratio=0.1,  # scripts/train/dpo_ov7b.sh
    train_vision=False,  # section 5.1: all but the vision encoder
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 0.1  # section 5.1
    w: float = 0.5  # appendix F.2 (0.1 in the released script)
    k: float = 0.5  # appendix F.2
    gamma: float = 0.0  # equation 4 has no SFT term; 0.25 in the released script
    implicit_beta: bool = True  # official code, L744; read by variant="code" alone
    variant: Variant = "paper"


def compared(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a human."""
    return lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())


def scored(lab: Lab, cfg: Config) -> list[Row]:
    """The same, with the margin of the trained reward model in place of the human's."""
    rows = compared(lab, cfg)
    reward = lab.trained["reward"]
    better, worse = reward.rewards(rows, "chosen"), reward.rewards(rows, "rejected")
    margins = [one - other for one, other in zip(better, worse, strict=True)]
    lab.tally.count("reward model agrees", sum(margin > 0 for margin in margins))
    lab.tally.count("reward model disagrees", sum(margin <= 0 for margin in margins))
    return [
        {**row, "margin": margin} for row, margin in zip(rows, lab.margins(margins), strict=True)
    ]


def scale(batch: PairBatch, margins: Tensor, cfg: Config) -> Tensor:
    """(B,) or () beta, without gradient; `margins` (B,) are the policy's log-ratio differences."""
    if cfg.variant == "code":
        return _scale_of_code(batch, margins.detach(), cfg)
    if batch.margin is None:
        raise ValueError("this objective needs `margin`: the gap of a reward model's scores")
    gap = batch.margin.to(margins)
    if cfg.variant == "survey":
        return cfg.beta * gap
    return cfg.beta * (1 + cfg.w * (1 - torch.exp(-cfg.k * gap.clamp(min=0))))


def _scale_of_code(batch: PairBatch, margins: Tensor, cfg: Config) -> Tensor:
    if not cfg.implicit_beta:
        factor = batch.extra.get("ls_factor", torch.ones_like(margins)).to(margins)
        return (cfg.beta * (1 + cfg.w * factor)).clamp(min=1e-3)
    mean, count = margins.mean(), int(len(margins) * (1 - 0.2))
    drawn = batch.extra.get("drawn")
    if drawn is None:
        if len(margins) < 2:
            return margins.new_full((), cfg.beta)
        weights = torch.exp(-0.5 * ((margins - mean) / (margins.std() + 1e-7)) ** 2)
        drawn = torch.zeros_like(weights)
        drawn[torch.multinomial(weights, count, replacement=False)] = 1
    drawn = drawn.to(margins)
    of_drawn = (margins * drawn).sum() / drawn.sum()
    return (cfg.beta * (1 + cfg.w * (of_drawn - mean))).clamp(min=1e-3)


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; `margin` (B,), and in the code's variant `drawn` or `ls_factor` in `extra`."""
    chosen, rejected = batch.need("chosen"), batch.need("rejected")
    margins = chosen.log_ratio() - rejected.log_ratio()
    beta = scale(batch, margins, cfg)
    losses = -logsigmoid(beta * margins)
    nll = token_mean_nll(chosen)
    if cfg.variant == "code":
        nll = batch_mean_nll(chosen)
    rewards = cfg.beta * chosen.log_ratio(), cfg.beta * rejected.log_ratio()
    metrics = reward_metrics(*rewards) | {"beta": beta.detach().reshape(-1)}
    return losses + cfg.gamma * nll, metrics


METHOD = Method(
    record="mm-dpo",
    config=Config,
    stages=(
        HeadStage(
            name="reward", data=compared, loss=pairwise, lab=lab(3e-4, steps=150), paper=PAPER,
        ),
        PairStage(
            data=scored, loss=loss, views=VIEWS, couples_rows=True, lab=lab(3e-4), paper=PAPER,
        ),
    ),
    condition={"margins": "calibrated"},
    ablations={"one beta": {"w": 0.0}, "implicit margin": {"variant": "code"}},
    expectations=(
        Expectation(
            id="better-than-one-beta",
            text="With a beta by the reward model's margin answers are better than DPO's.",
            metric="f1", direction="higher", of="mm-dpo", against="dpo", primary=True,
            claim="margin-beats-one-beta",
        ),
        Expectation(
            id="the-margin-is-why",
            text="With margins that belong to other pairs the gain over one beta is smaller.",
            metric="f1", direction="higher", of="mm-dpo", against="one beta",
            levels=("calibrated", "shuffled"),
        ),
        Expectation(
            id="hallucinates-less", text="Fewer answers name an object that is not there.",
            metric="chair_s", direction="lower", of="mm-dpo", against="base",
            claim="fewer-hallucinated-answers",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
