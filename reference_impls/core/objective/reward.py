"""What a reward model is trained with: outputs of a head, and which answer was preferred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.objective.preference import reward_metrics
from reference_impls.core.scores import PairBatch


def last_output(outputs: Tensor, mask: Tensor) -> Tensor:
    """(B, k): of outputs (B, T, k), those after an answer's last token; mask (B, T)."""
    last = (mask > 0).to(torch.long).cumsum(-1).argmax(-1)
    return outputs[torch.arange(len(outputs), device=outputs.device), last]


def rewards_of(
    outputs: Mapping[str, Tensor], batch: PairBatch, views: tuple[str, ...] = ("chosen", "rejected")
) -> list[Tensor]:
    """(B,) by view: the first output after the last token of each answer."""
    masks = {view: batch.need(view).mask for view in views}
    return [last_output(outputs[view], mask)[:, 0] for view, mask in masks.items()]


def pairwise(
    outputs: Mapping[str, Tensor], batch: PairBatch, cfg: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Bradley and Terry's log-likelihood of a comparison, (B,): -log sigma(r_w - r_l).

    Ouyang et al. 2022, arXiv:2203.02155, equation 1, one row per pair; outputs (B, T, 1) by view.
    """
    chosen, rejected = rewards_of(outputs, batch)
    return -logsigmoid(chosen - rejected), reward_metrics(chosen, rejected)


def verdict(
    outputs: Mapping[str, Tensor], batch: PairBatch, cfg: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) cross-entropy of right against wrong, -log sigma(label r), label 1 or -1.

    r is the first output after the last token of the view `chosen`; `extra["label"]` (B,). Raises
    ValueError where it is not there.
    """
    if "label" not in batch.extra:
        raise ValueError(
            "a head that judges claims needs the column `label`, 1 or -1, which a preference "
            "dataset does not have; the method's page names the switch that leaves the head out"
        )
    (told,) = rewards_of(outputs, batch, ("chosen",))
    odds = batch.extra["label"].to(told) * told
    return -logsigmoid(odds), {"accuracy": (odds.detach() > 0).to(told.dtype)}
