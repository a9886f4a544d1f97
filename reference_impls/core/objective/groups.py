"""GRPO, RLOO and REINFORCE++: advantages of a group of answers, and the losses that use them.

Pure functions; all of a step's answers are rows, (prompts x group, T), row-major.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class HasClip(Protocol):
    """A config with the weight of the KL and the width of the clip."""

    @property
    def beta(self) -> float: ...
    @property
    def epsilon(self) -> float: ...


LARGEST_EXPONENT = 80.0
"""Of a likelihood ratio. e^80 is in the range of float32; from e^89 on a ratio would be infinite,
and where a clip makes its gradient zero, 0 times infinity is not a number."""


def likelihood_ratio(log_ratio: Tensor) -> Tensor:
    """e to the power of `log_ratio`, of any shape; constant above e^80."""
    return log_ratio.clamp(max=LARGEST_EXPONENT).exp()


def kept(numbers: Tensor, mask: Tensor) -> Tensor:
    """`numbers` where the mask is 1, and 0 elsewhere whatever stands there; of one shape."""
    return torch.where(mask > 0, numbers, 0.0)


def floating(rewards: Tensor) -> Tensor:
    """Rewards as they are; whole numbers and truth values as floating-point ones."""
    return rewards if rewards.is_floating_point() else rewards.to(torch.get_default_dtype())


def beside_the_group(rewards: Tensor) -> Tensor:
    """(prompts, group): reward minus the group's mean.

    Raises ValueError for groups of one, which have nothing to be compared with.
    """
    size = rewards.shape[1]
    if size < 2:
        raise ValueError(f"answers are compared within a group; groups of {size} have no other")
    rewards = floating(rewards)
    return rewards - rewards.mean(1, keepdim=True)


def alike(rewards: Tensor) -> Tensor:
    """(prompts,): whether all rewards of a group (prompts, group) are the same number.

    Sums that are equal may differ in their last digits, such as .1 + .6 and .2 + .5. Divided by
    their standard deviation these would be a signal as strong as any.
    """
    rewards = floating(rewards)
    rounding = 8 * torch.finfo(rewards.dtype).eps * rewards.abs().amax(1)
    return rewards.amax(1) - rewards.amin(1) <= rounding


def group_advantages(rewards: Tensor, std_epsilon: float = 0.0) -> Tensor:
    """(prompts, group): how much better an answer is than its group, in standard deviations.

    (r_i - mean(r)) / std(r), section 4.1.2 of DeepSeekMath. The paper only writes "std": here it is
    the sample's (divided by G - 1), as in TRL and its descendants. A group of equal rewards gives
    0 (`alike`). `std_epsilon` is added to the standard deviation (there: 1e-4). Raises ValueError
    for groups of one.
    """
    centred = beside_the_group(rewards)
    rewards = floating(rewards)
    spread = rewards.std(1, keepdim=True) + std_epsilon
    equal = alike(rewards).unsqueeze(1)
    return torch.where(equal, torch.zeros_like(centred), centred / torch.where(equal, 1.0, spread))


def k1(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """log pi/pi_ref per token: the estimate of KL(pi || pi_ref) that may be negative."""
    return logps - ref_logps


def reference(logps: Tensor, ref_logps: Tensor | None, beta: float) -> Tensor:
    """`ref_logps`; where beta is 0 and there are none, `logps`, so that no divergence is seen.

    Raises ValueError where beta is not 0: the KL term would be left out in silence.
    """
    if ref_logps is None and beta:
        raise ValueError(f"beta is {beta:g}: the KL term needs `ref_logps`")
    return logps.detach() if ref_logps is None else ref_logps


def k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """pi_ref/pi - log(pi_ref/pi) - 1 per token: never negative, 0 where the two agree.

    Equation 4 of DeepSeekMath, `low_var_kl` in verl. The mean over samples of pi is
    KL(pi || pi_ref); its gradient is not that of the divergence.
    """
    log_ratio = ref_logps - logps
    return likelihood_ratio(log_ratio) - log_ratio - 1


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, low: float, high: float, dual: float | None = None
) -> Tensor:
    """min(rho A, clip(rho, 1 - low, 1 + high) A), to be maximised; all tensors of one shape.

    PPO has `low` = `high`, DAPO (arXiv:2503.14476) a wider range upwards. `dual` is the bound of
    dual-clip PPO (arXiv:1912.09729): where A < 0 the value is at least dual A, so that one answer
    whose ratio has run away does not rule the step.
    """
    clipped = ratio.clamp(1 - low, 1 + high)
    bounded = torch.min(ratio * advantages, clipped * advantages)
    if dual is None:
        return bounded
    return torch.where(advantages < 0, torch.max(bounded, dual * advantages), bounded)


def answer_mean(per_token: Tensor, mask: Tensor) -> Tensor:
    """(rows,): the mean over each answer's tokens, 0 of one without any. Answers weigh the same."""
    return answer_sum(per_token, mask) / mask.sum(-1).clamp(min=1)


def answer_sum(per_token: Tensor, mask: Tensor) -> Tensor:
    """(rows,): the sum over each answer's tokens."""
    return kept(per_token, mask).sum(-1)


def token_mean(per_token: Tensor, mask: Tensor) -> Tensor:
    """(): the mean over all answer tokens of a batch. Tokens weigh the same, long answers more."""
    return kept(per_token, mask).sum() / mask.sum().clamp(min=1)


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
    ratio = likelihood_ratio(kept(logps - old_logps, mask))
    surrogate = clipped_surrogate(ratio, advantages, cfg.epsilon, cfg.epsilon)
    divergence = k3(kept(logps, mask), kept(reference(logps, ref_logps, cfg.beta), mask))
    objective = answer_mean(surrogate, mask)
    if cfg.beta:
        objective = objective - cfg.beta * answer_mean(divergence, mask)
    metrics = {
        "kl": answer_mean(divergence.detach(), mask),
        "clip_fraction": answer_mean(outside(ratio, cfg.epsilon, cfg.epsilon), mask),
    }
    return -objective.mean(), metrics


def outside(ratio: Tensor, low: float, high: float) -> Tensor:
    """1 where a ratio lies beyond the clipping range, else 0, for the log."""
    return ((ratio < 1 - low) | (ratio > 1 + high)).detach().to(ratio.dtype)


def rloo_advantages(rewards: Tensor) -> Tensor:
    """(prompts, group): reward minus the mean reward of the group's other answers.

    RLOO, section 2.3 of arXiv:2402.14740 (not numbered): r_i - 1/(k - 1) sum_{j != i} r_j. Raises
    ValueError for groups of one, which have nothing to be compared with.
    """
    size = rewards.shape[1]
    if size < 2:
        raise ValueError(f"RLOO compares the answers of a group; groups of {size} have no other")
    rewards = floating(rewards)
    others = (rewards.sum(1, keepdim=True) - rewards) / (size - 1)
    return rewards - others


def whitened_tokens(advantages: Tensor, mask: Tensor, least_variance: float = 1e-8) -> Tensor:
    """(rows, T) advantages with mean 0 and variance 1 over all answer tokens, 0 elsewhere.

    OpenRLHF's normalisation, as in ModalMinds/MM-EUREKA@129fc9e8:
    openrlhf/trainer/ppo_utils/replay_buffer.py#L281-L314: a token counts once, so a long answer
    more than a short one; the variance is the population's and at least `least_variance`. Equal
    advantages give 0.
    """
    count = mask.sum().clamp(min=1)
    counted = mask.bool()
    highest = advantages.masked_fill(~counted, -torch.inf).amax() if counted.any() else 0.0
    below = kept(advantages - highest, mask)  # exactly 0 where all are equal, as a mean need not be
    centred = kept(below - below.sum() / count, mask)
    variance = (centred**2).sum() / count
    return centred * variance.clamp(min=least_variance).rsqrt()


def sequence_kl_in_reward(
    rewards: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, beta: float
) -> Tensor:
    """(prompts, group): r - beta log pi(y|x)/pi_ref(y|x), the log-ratio summed over an answer.

    RLOO and PPO put the KL here and not in the loss (arXiv:2402.14740, equations 3 and 4). `logps`,
    `ref_logps` and `mask` are (prompts, group, T).
    """
    return rewards - beta * answer_sum(logps - ref_logps, mask)


def minus_kl_to_go(
    advantages: Tensor, old_logps: Tensor, ref_logps: Tensor, mask: Tensor, beta: float
) -> Tensor:
    """(rows, T): an answer's advantage minus beta times the k1 of its tokens from each one on.

    REINFORCE++ (arXiv:2501.03262) takes the KL off the reward token by token and undiscounted: what
    a token can still change is the KL behind it. OpenRLHF's `get_cumulative_returns`.
    """
    spent = kept(k1(old_logps, ref_logps), mask)
    return advantages - beta * spent.flip(-1).cumsum(-1).flip(-1)


def reinforce(logps: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """REINFORCE on whole answers: -mean_i A_i sum_t log pi(y_it), a scalar to minimise.

    RLOO's gradient (arXiv:2402.14740, section 2.3): an answer is one action. `advantages` is (rows,
    T), equal over an answer's tokens.
    """
    answer_logps = answer_sum(logps, mask)
    of_answer = answer_mean(advantages, mask)
    return -(of_answer * answer_logps).mean(), {"answer_logp": answer_logps.detach()}
