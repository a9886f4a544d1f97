"""PPO: advantages over the steps of an answer or episode, its clipped losses, the KL in the reward.

Pure functions on (B, T) tensors: B answers of T tokens, or B episodes of T steps. `mask` is 1 on
what was done; other places are passed over, wherever they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference_impls.core.objective.groups import kept, likelihood_ratio


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation: (advantages, returns), (B, T), 0 where the mask is.

    Equations 11 and 12 of arXiv:1707.06347:  delta_t = r_t + gamma V_{t+1} - V_t,
    A_t = delta_t + gamma lam A_{t+1}, and V is 0 after a row's last step, which ends it. Returns,
    the targets of the values, are A + V. `values` are taken as they are: without gradient.
    """
    values = values.detach()
    rewards = rewards.to(torch.promote_types(rewards.dtype, values.dtype))  # they may be integers
    last = following = rewards.new_zeros(len(rewards))
    found = torch.zeros_like(rewards)
    for step in reversed(range(rewards.shape[1])):
        done = mask[:, step] > 0
        delta = rewards[:, step] + gamma * following - values[:, step]
        last = torch.where(done, delta + gamma * lam * last, last)
        following = torch.where(done, values[:, step], following)
        found[:, step] = torch.where(done, last, torch.zeros_like(last))
    return found, torch.where(mask > 0, found + values, torch.zeros_like(found))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """() mean over all places where the mask is 1; 0 where it is nowhere."""
    return kept(values, mask).sum() / mask.sum().clamp(min=1)


def clipped_policy_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, mask: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """() -L^CLIP, equation 7 of arXiv:1707.06347, a mean over steps; () share that was clipped.

    min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A) with rho = pi_theta/pi_old. Clipped are steps
    whose gradient is cut off: the bound is the smaller of the two.
    """
    ratio = likelihood_ratio(kept(logps - old_logps, mask))
    plain = ratio * advantages
    bounded = ratio.clamp(1 - epsilon, 1 + epsilon) * advantages
    share = masked_mean((bounded < plain).detach().to(ratio.dtype), mask)
    return -masked_mean(torch.min(plain, bounded), mask), share


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip: float | None = None,
) -> Tensor:
    """() mean over steps of (V - R)^2, equation 9's L^VF.

    With `clip`, the larger of that and of the error of V kept within `clip` of the old values, as
    in OpenAI's baselines; no factor of a half is in it.
    """
    values, returns = kept(values, mask), kept(returns, mask)
    error = (values - returns) ** 2
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.max(error, (near - returns) ** 2)
    return masked_mean(error, mask)


def token_rewards(
    scores: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, coefficient: float
) -> Tensor:
    """(B, T): -coefficient log pi/pi_ref per token, and the score (B,) at an answer's last token.

    Equation 2 of arXiv:2203.02155 (InstructGPT), taken token by token.
    """
    shaped = -coefficient * kept(logps - ref_logps, mask)
    return at_the_end(shaped, scores, mask)


def at_the_end(shaped: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """(B, T) rewards with the scores (B,) added at each row's last step."""
    last = (mask > 0).to(torch.long).cumsum(-1).argmax(-1)
    there = torch.arange(mask.shape[1], device=mask.device) == last[:, None]
    return shaped + torch.where(there & (mask > 0), scores[:, None].to(shaped), 0.0)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """(): 1 - Var(R - V) / Var(R) over steps. 1: the values say it all; 0: no more than a mean."""
    kept = mask > 0
    wanted, missed = returns[kept], (returns - values)[kept]
    spread = wanted.var(correction=0)
    if not spread > 0:
        return torch.zeros_like(spread)
    return 1 - missed.var(correction=0) / spread


@dataclass(frozen=True)
class KlControl:
    """Weight of the KL in the reward, fixed or adapted to a target (arXiv:1909.08593, section 2.2).

    coefficient: at the beginning. target: the KL of an answer to its prompt, in nats, that the
    weight is adapted to; None leaves it fixed. horizon: answers after which a KL of 1.2 times the
    target or more has multiplied the weight by e^0.2, about.
    """

    coefficient: float
    target: float | None = None
    horizon: int = 10_000

    def __post_init__(self) -> None:
        """Raises ValueError for a target or a horizon that is not above 0."""
        if (self.target is not None and self.target <= 0) or self.horizon <= 0:
            raise ValueError("the target of a KL and its horizon are above 0")

    def after(self, coefficient: float, kl: float, answers: int) -> float:
        """The next weight, when so many answers were `kl` nats from the reference on average."""
        if self.target is None:
            return coefficient
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        return coefficient * max(0.0, 1 + error * answers / self.horizon)
