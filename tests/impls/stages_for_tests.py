"""Stages that the tests of the trainers train: no method of the catalogue."""

import dataclasses
import zlib

import torch
from torch.nn.functional import logsigmoid

from reference_impls.core.method import GroupStage, PairStage, PpoStage
from reference_impls.core.objective import ppo
from reference_impls.core.objective.groups import group_advantages, grpo
from reference_impls.core.objective.preference import dpo, implicit_rewards, reward_metrics
from reference_impls.core.settings import lab

# Without a warm-up: its first step has a rate of 0.
SETTINGS = lab(
    1e-3, steps=2, batch_size=4, pairs=8, warmup_ratio=0.0, group_size=4, max_new_tokens=5
)


@dataclasses.dataclass(frozen=True)
class Config:
    beta: float = 0.1
    epsilon: float = 0.2
    variant: str = "paper"


def running_mean(batch, cfg):
    """A loss with a state, a mean over the batch, and a token mean over the batch."""
    chosen, rejected = implicit_rewards(batch, cfg.beta)
    before = batch.extra.get("state", torch.zeros(2, dtype=torch.float64))
    mean = ((chosen.mean() + rejected.mean()) / 2).detach().double().cpu()
    after = torch.stack([before[0] + (mean - before[0]) / (before[1] + 1), before[1] + 1])
    tokens = -(batch.chosen.logps * batch.chosen.mask).sum() / batch.chosen.mask.sum()
    losses = -logsigmoid(chosen - rejected - after[0].to(chosen)) + tokens
    return losses, reward_metrics(chosen, rejected) | {"state": after, "shift": after[:1]}


def reward_length(completions, answers):
    return [float(len(text)) for text in completions]


def no_rows(lab, cfg):
    return []


def pair_stage(loss=dpo, **changes):
    given = {"data": no_rows, "loss": loss, "lab": SETTINGS, "paper": SETTINGS}
    return PairStage(**given | changes)


def group_stage(**changes):
    given = {
        "data": no_rows, "lab": SETTINGS, "paper": SETTINGS, "loss": grpo,
        "rewards": {"length": reward_length, "half": lambda texts, answers: [0.5] * len(texts)},
        "advantages": lambda rewards, cfg: group_advantages(rewards),
    }  # fmt: skip
    return GroupStage(**given | changes)


def fixed_answers(trainer, rows, draws):
    """Answers that depend on the picture alone, not on how prompts lie in batches or processes."""
    words, found = ("a", "red", "blue", "square", "circle"), []
    for row in rows:
        number = zlib.crc32(row["images"][0].tobytes())
        found.append(" ".join(words[(number >> 3 * n) % 5] for n in range(1 + number % 3)))
    return found


def ppo_loss(
    logps, old_logps, ref_logps, advantages, mask, cfg, *, values, old_values, returns, weights
):
    policy, clipped = ppo.clipped_policy_loss(logps, old_logps, advantages, mask, cfg.epsilon)
    critic = ppo.value_loss(values, old_values, returns, mask)
    return policy + critic, {"clip_fraction": clipped, "value_loss": critic}


def ppo_stage(**changes):
    given = {
        "data": no_rows, "lab": SETTINGS, "paper": SETTINGS, "loss": ppo_loss,
        "rewards": {"length": reward_length, "half": lambda texts, answers: [0.5] * len(texts)},
        "gae": lambda rewards, values, mask, cfg: ppo.gae(rewards, values, mask, 1.0, 0.95),
        "kl": lambda cfg: ppo.KlControl(cfg.beta, target=1.0, horizon=40),
        "epochs": 2, "minibatches": 2,
    }  # fmt: skip
    return PpoStage(**given | changes)


STAGES = {
    "pairs": pair_stage(),
    "coupled": pair_stage(running_mean, couples_rows=True),
    "groups": group_stage(),
    "ppo": ppo_stage(),
}
