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
1. Pairs: an answer that names what is there against one that does not, out of two samples, judged
   by the verifiable rule "every object named, none invented"; where that does not tell them
   apart, the rejected answer is the chosen one cut in half and continued without the image
   (DropoutNTP). MMPR pairs 2.5 million answers by correctness and 750,000 by DropoutNTP (section
   3).
2. The mean of the rewards is taken per process; the official code averages it over processes.

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
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.objectives import (
    Variant,
    implicit_rewards,
    reward_metrics,
    token_mean_nll,
)
from reference_impls.core.pairs import row
from reference_impls.core.settings import TrainSettings, lab

RECORD = "mpo"
VIEWS = ("chosen", "rejected")
LAB = lab(learning_rate=3e-4)  # best of the grid, results/mpo.json
PAPER = TrainSettings(
    learning_rate=5e-6,  # section 5.1
    epochs=1,  # section 5.1
    batch_size=256,  # section 5.1
    warmup_ratio=0.05,  # section 5.1
    weight_decay=0.05,  # section 5.1
)
ABLATIONS = {
    "no quality term": {"w_q": 0.0},
    "no generation term": {"w_g": 0.0},
    "no reward shift": {"shift": 0.0},
}
EXPECTATIONS = (
    ("reduces-hallucination", "MPO lowers the base's CHAIR_i.",
     "chair_i", "lower", "mpo", "base", "best"),
    ("better-than-dpo", "MPO hallucinates less than DPO on the same pairs.",
     "chair_i", "lower", "mpo", "dpo", "best"),
    ("generation-holds-the-chosen",
     "At a high rate the chosen log-probability lies lower without the generation term.",
     "chosen_logp", "lower", "no generation term", "mpo", "shared"),
    ("quality-keeps-the-chosen-above",
     "At a high rate the chosen log-probability lies lower without the quality term.",
     "chosen_logp", "lower", "no quality term", "mpo", "shared"),
    ("shift-matters", "Without the reward shift CHAIR_i is higher.",
     "chair_i", "higher", "no reward shift", "mpo", "best"),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The paper's values, and a factor on the reward shift so that it can be taken away."""

    beta: float = 0.1  # section 5.1
    w_p: float = 0.8  # section 5.1
    w_q: float = 0.2  # section 5.1
    w_g: float = 1.0  # section 5.1
    shift: float = 1.0  # section 4.1
    variant: Variant = "paper"


def make_pairs(world, policy, annotators, cfg: Config) -> list[dict]:
    rules, prompts = world.rules, [world.rules.CAPTION_PROMPT] * len(world.scenes)
    samples = [policy.answer(prompts, world.images, temperature=1.0) for _ in range(2)]
    blind = [images_of_nothing(image) for image in world.images]
    halves = [" ".join(answer.split()[: len(answer.split()) // 2]) for answer in samples[0]]
    endings = policy.answer(prompts, blind, temperature=1.0)
    rows = []
    for number, scene in enumerate(world.scenes):
        first, second = samples[0][number], samples[1][number]
        right = [correct(rules, scene, answer) for answer in (first, second)]
        if right[0] != right[1]:
            chosen, rejected = (first, second) if right[0] else (second, first)
        else:
            words = endings[number].split()
            chosen, rejected = first, " ".join([halves[number], *words[len(words) // 2 :]]).strip()
        if chosen != rejected:
            rows.append(row(world.images[number], prompts[number], chosen, rejected))
    return rows


def correct(rules, scene, answer: str) -> bool:
    """The verifiable rule: nothing invented and at least all but one object named."""
    named = set(rules.mentioned(answer))
    return named <= set(scene.names) and len(named) >= len(scene.names) - 1


def images_of_nothing(image):
    """An image of one grey, to answer without looking."""
    from PIL import Image

    return Image.new("RGB", image.size, (70, 70, 74))


def loss(batch, cfg: Config):
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
        scores = batch.chosen
        generation = -(scores.logps * scores.mask).sum() / scores.mask.sum().clamp(min=1)
    elif cfg.variant == "survey":
        scores = batch.chosen
        generation = -(scores.ref_logps * scores.mask).sum(-1) / scores.mask.sum(-1).clamp(min=1)
    losses = cfg.w_p * preference + cfg.w_q * quality + cfg.w_g * generation
    return losses, reward_metrics(chosen, rejected) | {
        "state": after,
        "delta": delta.detach().reshape(1),
        "preference_term": preference.detach(),
        "quality_term": quality.detach(),
        "generation_term": token_mean_nll(batch.chosen).detach(),
    }


if __name__ == "__main__":
    main(__file__)
