"""The baselines' objectives: SFT, DPO, GRPO. A catalogued method's own terms stand in its script.

Each is a pure function of a batch of log-probabilities, and knows no trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.scores import PairBatch, Scores

Variant = Literal["paper", "code", "survey"]


class HasBeta(Protocol):
    beta: float


@dataclass(frozen=True)
class SftConfig:
    variant: Variant = "paper"


def token_mean_nll(scores: Scores) -> Tensor:
    """(B,) negative log-likelihood per response token: -1/|y| sum_t log pi(y_t)."""
    return -(scores.logps * scores.mask).sum(-1) / scores.mask.sum(-1).clamp(min=1)


def sft(batch: PairBatch, cfg: SftConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Supervised fine-tuning on the chosen answers.

    Every answer counts alike: the negative log-likelihood is averaged over an answer's tokens.
    That is what the papers here mean by an SFT or generation term (MPO, equation 8).
    `variant="code"` is what
    eric-mitchell/direct-preference-optimization@f8b8c0f4:trainers.py#L258-L262 trains with: the
    sum over an answer's tokens. The survey has no equation of its own: survey = paper."""
    losses = token_mean_nll(batch.chosen)
    if cfg.variant == "code":
        losses = -(batch.chosen.logps * batch.chosen.mask).sum(-1)
    return losses, {"nll": token_mean_nll(batch.chosen).detach()}


def implicit_rewards(batch: PairBatch, beta: float) -> tuple[Tensor, Tensor]:
    """(B,), (B,): beta log pi_theta/pi_ref of the chosen and of the rejected answer (DPO, eq.
    5)."""
    return beta * batch.need("chosen").log_ratio(), beta * batch.need("rejected").log_ratio()


def reward_metrics(chosen_reward: Tensor, rejected_reward: Tensor) -> dict[str, Tensor]:
    """What every pairwise objective reports, per row and without gradient."""
    chosen, rejected = chosen_reward.detach(), rejected_reward.detach()
    return {
        "chosen_reward": chosen,
        "rejected_reward": rejected,
        "reward_accuracy": (chosen > rejected).to(chosen.dtype),
    }


def dpo(batch: PairBatch, cfg: HasBeta) -> tuple[Tensor, dict[str, Tensor]]:
    """DPO, equation 7 of arXiv:2305.18290: -log sigma(r_w - r_l), r = beta log pi_theta/pi_ref.

    Survey, paper and official code (trainers.py#L45-L87 at f8b8c0f4) compute the same.
    """
    chosen_reward, rejected_reward = implicit_rewards(batch, cfg.beta)
    losses = -logsigmoid(chosen_reward - rejected_reward)
    return losses, reward_metrics(chosen_reward, rejected_reward)


@dataclass(frozen=True)
class GrpoConfig:
    """GRPO of DeepSeekMath (arXiv:2402.03300)."""

    variant: Variant = "paper"
    beta: float = 0.04  # section 4.2
    epsilon: float = 0.2  # the paper names no value; this is PPO's and TRL's


class HasClip(Protocol):
    beta: float
    epsilon: float


def group_advantages(rewards: Tensor, std_epsilon: float = 0.0) -> Tensor:
    """(prompts, group): how much better an answer is than its group, in standard deviations.

    (r_i - mean(r)) / std(r), section 4.1.2 of DeepSeekMath. The paper only writes "std": here it is
    the sample's (divided by G - 1), as in TRL and its descendants. A group of equal rewards gives
    0. `std_epsilon` is added to the standard deviation (there: 1e-4).
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    spread = rewards.std(1, keepdim=True) + std_epsilon
    equal = (rewards == rewards[:, :1]).all(1, keepdim=True)  # the mean may be off by a rounding
    return torch.where(equal, torch.zeros_like(centred), centred / torch.where(equal, 1.0, spread))


def grpo(
    logps: Tensor,
    old_logps: Tensor,
    ref_logps: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    cfg: HasClip,
    *,
    values: Tensor | None = None,
    old_values: Tensor | None = None,
    returns: Tensor | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """GRPO, equations 3 and 4 of DeepSeekMath, negated: a scalar to minimise.

    All tensors are (prompts x group, T), row-major. Per token
    min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A) - beta D with rho = pi_theta/pi_old and
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1; mean over an answer's tokens, then over answers.
    `ref_logps` may be None when beta is 0. GRPO has no values, returns or token weights. The
    authors published no training code and the survey has prose only: all variants are the paper's.
    """
    ratio = (logps - old_logps).exp()
    clipped = ratio.clamp(1 - cfg.epsilon, 1 + cfg.epsilon)
    surrogate = torch.min(ratio * advantages, clipped * advantages)
    log_ref_ratio = torch.zeros_like(logps) if ref_logps is None else ref_logps - logps
    divergence = log_ref_ratio.exp() - log_ref_ratio - 1

    def answer_mean(per_token: Tensor) -> Tensor:
        return (per_token * mask).sum(-1) / mask.sum(-1).clamp(min=1)

    objective = answer_mean(surrogate)
    if cfg.beta:
        objective = objective - cfg.beta * answer_mean(divergence)
    metrics = {
        "kl": answer_mean(divergence.detach()),
        "clip_fraction": answer_mean((clipped != ratio).detach().to(logps.dtype)),
    }
    return -objective.mean(), metrics
