"""SFT and DPO, and what pairwise objectives share. Pure functions of log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.method import Variant
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import BaseConfig


class HasBeta(Protocol):
    """A config with the strength of the reference."""

    @property
    def beta(self) -> float: ...


def batch_mean_nll(scores: Scores) -> Tensor:
    """() negative log-likelihood per token of all responses of a batch: long ones count for more.

    What TRL and its copies train with; the loss of a row then depends on the others."""
    return -(scores.logps * scores.mask).sum() / scores.mask.sum().clamp(min=1)


@dataclass(frozen=True)
class SftConfig(BaseConfig):
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
