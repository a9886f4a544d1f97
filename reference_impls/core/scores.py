"""What an objective is given: log-probabilities of responses under policy and reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor


@dataclass
class Scores:
    """One response per row, response tokens only; log-probabilities, not rewards.

    logps: (B, T) log pi_theta(y_t | image, prompt, y_<t), 0 where the mask is 0. ref_logps: (B,
    T) the same under the frozen reference; None for reference-free objectives. mask: (B, T) 1 on
    response tokens, else 0. weights: (B, T) 1 on marked tokens (changed segments, thoughts), else
    0; what a mark is worth and how it is normalised is the loss's business."""

    logps: Tensor
    ref_logps: Tensor | None
    mask: Tensor
    weights: Tensor | None = None

    def reference(self) -> Tensor:
        """(B, T) log-probabilities under the reference. Raises ValueError where none scored it."""
        if self.ref_logps is None:
            raise ValueError("this objective needs a reference, and no reference scored this view")
        return self.ref_logps

    def log_ratios(self) -> Tensor:
        """(B, T) log pi_theta(y_t|x) - log pi_ref(y_t|x)."""
        return self.logps - self.reference()

    def log_ratio(self) -> Tensor:
        """(B,) log pi_theta(y|x) - log pi_ref(y|x), summed over response tokens."""
        return (self.log_ratios() * self.mask).sum(-1)

    def without(self, marked: Tensor | None) -> Scores:
        """The scores as if marked tokens, (B, T) of ones and zeros, were none of the response.

        Raises ValueError for marks of another shape than the mask's."""
        if marked is None:
            return self
        if marked.shape != self.mask.shape:
            shapes = f"{tuple(marked.shape)}, and the mask {tuple(self.mask.shape)}"
            raise ValueError(f"marks of tokens have the shape {shapes}")
        return replace(self, mask=self.mask * (marked == 0))


@dataclass
class PairBatch:
    """The views of a batch of preference pairs; a script's VIEWS says which it needs."""

    chosen: Scores  # y_w under the true image
    rejected: Scores | None = None  # y_l under the true image
    chosen_corrupt: Scores | None = None  # y_w under the negative image
    rejected_corrupt: Scores | None = None  # y_l under the negative image
    target: Scores | None = None  # a reference answer under the true image
    views: dict[str, Scores] = field(default_factory=dict)  # further ones, named by the script
    margin: Tensor | None = None  # (B,) annotated reward gap r_w - r_l
    extra: dict[str, Tensor] = field(default_factory=dict)  # anything else, named by the script

    def need(self, view: str) -> Scores:
        """The view of that name. Raises ValueError when the batch does not hold it."""
        scores = getattr(self, view, None) or self.views.get(view)
        if scores is None:
            raise ValueError(
                f"this objective needs the view '{view}', which the batch does not hold"
            )
        return scores
