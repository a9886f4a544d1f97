"""MPO (mixed preference optimization), record `mpo`, arXiv:2411.10442.

Section 4.1, r(y) = beta log pi_theta(y|x)/pi_ref(y|x):

    L   = w_p L_p + w_q L_q + w_g L_g
    L_p = -log sigma( r(y_c) - r(y_r) )                                 preference: DPO
    L_q = -log sigma( r(y_c) - delta ) - log sigma( -(r(y_r) - delta) )  quality: BCO
    L_g = -log pi_theta(y_c|x) / |y_c|                                   generation: SFT
    delta: the reward shift, a moving average of previous rewards

Own: the objective and the data recipe.

State: `extra["state"]` = [mean of rewards, number of steps averaged]. The paper's delta is the
mean of PREVIOUS rewards, so this step's loss uses the mean before the update (0 at step 0); the
code updates first (`variant="code"`). No gradient flows through delta.

Simplifications
1. Pairs: of two samples a right answer against a wrong one, judged by rule (everything that is
   plain is named, nothing invented); where the rule does not tell them apart, the rejected answer
   is the chosen one cut in half and continued by the policy without the image (DropoutNTP). The
   run prints how many pairs each of the two decided. MMPR has 2.5 million of the first and 750,000
   of the second kind (section 3).
2. Without the image means with a grey one: the lab's policy never read its question alone. The
   authors leave the image out; they find noise in its place worse (section 5.2.2).

Official code: OpenGVLab/InternVL@2410d1db:internvl_chat/internvl/train/trainer_dpo.py
- #L254-L285: 0.8 sigmoid + 0.2 bco_pair + 1.0 NLL; #L147-L162: the NLL averages over all chosen
  tokens of the micro-batch, not per answer (the same at the released batch of 1 per device).
- TRL v0.10.1 trl/trainer/dpo_trainer.py#L1215-L1227, trl/trainer/utils.py#L570-L608: delta is the
  cumulative mean over all steps so far, this one included; it is not saved with a checkpoint.
  Ours is.
- TRL 1.16's `bco_pair` has no delta at all, so its recipe for MPO is not this objective.
- Survey, Table 1 (`variant="survey"`): the rejected term lacks its minus, so that minimising it
  raises the rejected answer, and the generation term is taken under the reference, so that it is
  a constant."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.images import blank
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import (
    batch_mean_nll,
    implicit_rewards,
    reward_metrics,
    token_mean_nll,
)
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=5e-6,  # supplement, section 7
    epochs=1,  # supplement, section 7
    batch_size=256,  # supplement, section 7
    warmup_ratio=0.05,  # supplement, section 7
    weight_decay=0.05,  # supplement, section 7
    train_vision=True,  # shell/internvl2.0_mpo/preference_optimization/...: --freeze_backbone False
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values, and a factor on the reward shift so that it can be taken away."""

    beta: float = 0.1  # supplement, section 7
    w_p: float = 0.8  # supplement, section 7
    w_q: float = 0.2  # supplement, section 7
    w_g: float = 1.0  # supplement, section 7
    shift: float = 1.0  # section 4.1
    right: float = 0.9  # ours: score from which the rule calls an answer right
    variant: Variant = "paper"


def ruled_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """Right against wrong samples by rule; else a sample against its own blind continuation."""
    first, second = lab.answer(), lab.answer()
    halves = [" ".join(answer.split()[: len(answer.split()) // 2]) for answer in first]
    unseen = [[blank(image) for image in shown.images] for shown in lab.media]
    blind = lab.policy.continue_items(
        lab.items, unseen, halves, temperature=1.0, max_new_tokens=lab.task.max_new_tokens
    )
    rows = []
    for place, item in enumerate(lab.items):
        right = [lab.task.score(item, a[place]) >= cfg.right for a in (first, second)]
        if right[0] != right[1]:
            pair = (first[place], second[place])
            chosen, rejected = pair if right[0] else pair[::-1]
            lab.tally.count("by rule")
        else:
            chosen, rejected = first[place], blind[place]
            if chosen == rejected:
                lab.tally.count("the blind continuation is the same")
                continue
            lab.tally.count("continued without the image")
        rows.append(lab.pair(place, chosen, rejected))
    return rows


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; `metrics["state"]` is the state after this step."""
    chosen, rejected = implicit_rewards(batch, cfg.beta)
    before = batch.extra.get("state")
    if before is None:
        before = torch.zeros(2, dtype=torch.float64)
    mean, steps = before[0], before[1]
    step_mean = ((chosen.mean() + rejected.mean()) / 2).detach().double().to(mean.device)
    after = torch.stack([mean + (step_mean - mean) / (steps + 1), steps + 1])
    delta = cfg.shift * (after[0] if cfg.variant == "code" else mean).to(chosen)

    preference = -logsigmoid(chosen - rejected)
    sign = 1.0 if cfg.variant == "survey" else -1.0
    quality = -logsigmoid(chosen - delta) - logsigmoid(sign * (rejected - delta))
    generation = token_mean_nll(batch.chosen)
    if cfg.variant == "code":
        generation = batch_mean_nll(batch.chosen)
    elif cfg.variant == "survey":
        scores = batch.chosen
        frozen = scores.reference() * scores.mask
        generation = -frozen.sum(-1) / scores.mask.sum(-1).clamp(min=1)
    losses = cfg.w_p * preference + cfg.w_q * quality + cfg.w_g * generation
    return losses, reward_metrics(chosen, rejected) | {
        "state": after,
        "delta": delta.detach().reshape(1),
        "preference_term": preference.detach(),
        "quality_term": quality.detach(),
        "generation_term": token_mean_nll(batch.chosen).detach(),
    }


METHOD = Method(
    record="mpo",
    config=Config,
    stages=(
        PairStage(
            data=ruled_pairs, loss=loss, views=VIEWS, couples_rows=True, lab=lab(3e-4), paper=PAPER
        ),
    ),
    ablations={"no quality term": {"w_q": 0.0}, "no generation term": {"w_g": 0.0},
               "no reward shift": {"shift": 0.0}},
    expectations=(
        Expectation(
            id="better-than-dpo", text="MPO hallucinates less than DPO on the same pairs.",
            metric="chair_i", direction="lower", of="mpo", against="dpo", primary=True,
        ),
        Expectation(
            id="generation-term-keeps-recall",
            text="Without the generation term fewer objects are named.",
            metric="recall", direction="lower", of="no generation term", against="mpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
