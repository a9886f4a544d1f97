"""Training on rows with answers: any objective over any views (`PairStage`).

Trainer does what it is good at (optimizer, schedule, mixed precision, Accelerate, checkpoints).
Ours are the batch, one pass over what views share (`forward`), and the step: where rows of a batch
depend on each other (`couples_rows`) the whole batch of an optimizer step, over accumulated passes
and processes, is scored without gradient first. The loss is then differentiated with respect to
those log-probabilities, and each pass takes its part of that gradient on to the weights. So neither
accumulation nor the number of processes changes the loss.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from reference_impls.core.method import (
    PairStage,
    Prepare,
    Row,
    TokenColumns,
    View,
    ViewInputs,
)
from reference_impls.core.model.encode import Encoder
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train import common, forward, sharded
from reference_impls.core.train.checkpoints import digest

KEPT_STATE = "state"
NAMED_VIEWS = ("chosen", "rejected", "chosen_corrupt", "rejected_corrupt", "target")
"""Views that a PairBatch has a field for; others are in its `views`."""


@dataclass
class Scored:
    """Log-probabilities of one pass: by view (B, T) each, and sums of KL by view (B,)."""

    logps: dict[str, Tensor]
    kl: dict[str, Tensor] = field(default_factory=dict)

    def detached(self) -> Scored:
        """The same as leaves that a gradient can be taken to."""
        return Scored(
            {name: each.detach().requires_grad_() for name, each in self.logps.items()},
            {name: each.detach().requires_grad_() for name, each in self.kl.items()},
        )

    def leaves(self) -> list[Tensor]:
        """All tensors, in one order."""
        return [*self.logps.values(), *self.kl.values()]


def numbers_of(rows: Sequence[Row]) -> dict[str, Tensor]:
    """Columns of numbers under their names: (B,) of one number per row, (B, S) of lists, padded
    with zeros to the longest of the batch.

    Raises ValueError for a column that holds numbers in some rows only.
    """
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if any(_is_number(value) for value in values):
            if not all(_is_number(value) for value in values):
                raise ValueError(f"the column '{name}' holds a number in some rows only")
            found[name] = torch.tensor([float(value) for value in values])  # type: ignore[arg-type]
        elif any(_are_numbers(value) and value for value in values):
            if not all(_are_numbers(value) for value in values):
                raise ValueError(f"the column '{name}' holds a list of numbers in some rows only")
            lists = [torch.tensor([float(each) for each in value or ()]) for value in values]
            found[name] = nn.utils.rnn.pad_sequence(lists, batch_first=True)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(_is_number(each) for each in value)


def token_columns(
    hook: TokenColumns | None, rows: Sequence[Row], batch: forward.ViewBatch, cfg: Any
) -> dict[str, dict[str, Tensor]]:
    """What a stage's `tokens` gives for a batch: name -> view -> (B, T), 0 on padding.

    Raises ValueError where it has another number of values than the answer has tokens.
    """
    tokens: dict[str, dict[str, Tensor]] = {}
    for place, row in enumerate(rows if hook is not None else ()):
        assert hook is not None
        answers = {view.name: batch.answers[view.name][place] for view in batch.views}
        for name, by_view in hook(row, answers, cfg).items():
            for view, values in by_view.items():
                into = tokens.setdefault(name, {}).setdefault(
                    view, torch.zeros(batch.masks[view].shape, dtype=torch.float32)
                )
                count = len(answers[view].ids)
                if len(values) != count:
                    raise ValueError(
                        f"tokens: '{name}' of '{view}' has {len(values)} values for {count} tokens"
                    )
                into[place, :count] = torch.tensor(list(values))
    return tokens


def pair_batch(
    scored: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
    tokens: Mapping[str, Mapping[str, Tensor]],
    extra: Mapping[str, Tensor],
) -> PairBatch:
    """A step's log-probabilities, (B, T) by view, as objectives take them.

    `tokens` is name -> view -> (B, T): `weights` goes to the view, all others to `extra`.
    """
    weights = tokens.get("weights", {})
    scores = {
        name: Scores(logps, reference.get(name), masks[name].to(logps.dtype), weights.get(name))
        for name, logps in scored.items()
    }
    more = dict(extra)
    for name, by_view in tokens.items():
        if name != "weights":
            for view, values in by_view.items():
                more[name if len(by_view) == 1 else f"{view}_{name}"] = values
    margin = more.pop("margin", None)
    named = {name: each for name, each in scores.items() if name in NAMED_VIEWS}
    others = {name: each for name, each in scores.items() if name not in NAMED_VIEWS}
    first = next(iter(scores.values()))
    return PairBatch(
        chosen=named.pop("chosen", first), **named, views=others, margin=margin, extra=more
    )


class PairTrainer(common.Checkpoints):
    """Trains with `stage.loss(batch: PairBatch, cfg) -> (losses (B,), metrics)`.

    State between steps (`metrics["state"]`) is handed to the next step as `extra["state"]`: updated
    once per optimizer step, from all rows of the step, and saved inside each checkpoint.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        reference_model: PreTrainedModel | None,
        scorer: forward.Scorer,
        stage: PairStage,
        cfg: Any,
        rows: Sequence[Row],
        args: TrainingArguments,
    ) -> None:
        self.stage, self.cfg, self.rows, self.scorer = stage, cfg, rows, scorer
        self.views = stage.views_of(cfg)
        self.reference_model = reference_model
        self.stored: forward.StoredReference | None = None
        self.kept = {}
        self._sums: dict[str, list[tuple[float, int]]] = {}
        self._step_rows = 0
        self._prepared: list[tuple[list[Tensor], Tensor]] = []
        super().__init__(
            model=model,
            args=args,
            train_dataset=common.Numbers(len(rows)),
            data_collator=self._collate,
        )
        self.model_accepts_loss_kwargs = False  # the loss of a pass is a mean over its rows

    # --- batches -----------------------------------------------------------------------------

    def _collate(self, numbers: list[int]) -> dict[str, Any]:
        rows = [self.rows[number] for number in numbers]
        batch = self.scorer.collate(rows, numbers)
        tokens = token_columns(self.stage.tokens, rows, batch, self.cfg)
        # Whole rows, with their images, are kept only for the hook that is given them.
        kept = numbers if self.stage.negatives is None else rows
        return {"views": batch, "tokens": tokens, "extra": numbers_of(rows), "rows": kept}

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        rows = inputs.pop("rows")
        moved: dict[str, Any] = super()._prepare_inputs(inputs)
        moved["views"] = moved["views"].to(self.args.device)
        moved["rows"] = inputs["rows"] = rows
        return moved

    # --- scores ------------------------------------------------------------------------------

    def _pixels(self, model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
        if self.stage.negatives is None:
            return {}
        given = ViewInputs(self.scorer.model_inputs(inputs["views"]), inputs["rows"])
        return dict(self.stage.negatives(self.accelerator.unwrap_model(model), given, self.cfg))

    def _score(
        self, model: nn.Module, inputs: Mapping[str, Any]
    ) -> tuple[Scored, dict[str, Tensor]]:
        """Policy's log-probabilities and KL sums by view, and the reference's log-probabilities."""
        batch: forward.ViewBatch = inputs["views"]
        wanted = [view.name for view in self.views if view.reference]
        pixels = self._pixels(model, inputs)
        reference: dict[str, Tensor] = {}
        vocabulary = tuple(view.name for view in self.views if view.vocabulary_kl)
        if self.stored is not None and not pixels and not vocabulary:
            reference = self.stored.of(batch, wanted)
            return Scored(self.scorer.score(model, batch, pixels=pixels).logps), reference
        if not wanted and not vocabulary:
            return Scored(self.scorer.score(model, batch, pixels=pixels).logps), {}
        picks: dict[str, Tensor] = {}
        by_policy = [view.name for view in self.views if view.picked_by == "policy"]
        if by_policy:
            with torch.no_grad():
                found = self.scorer.score(model, batch, pixels=pixels).picks
            picks = {name: found[name] for name in by_policy}
        with (
            torch.no_grad(),
            self.accelerator.autocast(),  # the policy's own forward is wrapped in it
            common.as_reference(model, self.reference_model) as frozen,
        ):
            theirs = self.scorer.score(
                frozen, batch, pixels=pixels, distributions=vocabulary, picks=picks
            )
        ours = self.scorer.score(
            model, batch, pixels=pixels, kl_from=theirs.distributions, picks=picks
        )
        reference = {name: theirs.logps[name] for name in wanted}
        return Scored(ours.logps, ours.kl), reference

    def _objective(
        self, scored: Scored, reference: Mapping[str, Tensor], inputs: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        extra = dict(inputs["extra"]) | {f"{n}_kl": kl for n, kl in scored.kl.items()}
        if KEPT_STATE in self.kept:
            extra[KEPT_STATE] = self.kept[KEPT_STATE]
        batch = pair_batch(scored.logps, inputs["views"].masks, reference, inputs["tokens"], extra)
        losses, metrics = self.stage.loss(batch, self.cfg)
        return losses, dict(metrics)

    # --- the step ----------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The passes of the next optimizer step; where rows are coupled, scored here as one."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._prepared = []
        self._step_rows = sum(len(batch["rows"]) for batch in batches)
        if self.stage.couples_rows and batches:
            several = len(batches) > 1 or self.accelerator.num_processes > 1
            if several:
                self._score_whole_step(batches)
        return batches, count

    def _score_whole_step(self, batches: Sequence[dict[str, Any]]) -> None:
        """Losses of the step's rows together, and their gradient with respect to each pass."""
        model = self.model_wrapped
        model.train()
        parts: list[tuple[Scored, dict[str, Tensor], dict[str, Any]]] = []
        with torch.no_grad():
            for inputs in batches:
                prepared = self._prepare_inputs(dict(inputs))
                scored, reference = self._score(model, prepared)
                parts.append((scored, reference, prepared))
        leaves = [scored.detached() for scored, _, _ in parts]
        whole = common.gather_rows(
            self.accelerator,
            [
                {
                    "logps": leaf.logps,
                    "kl": leaf.kl,
                    "masks": inputs["views"].masks,
                    "reference": reference,
                    "tokens": inputs["tokens"],
                    "extra": inputs["extra"],
                }
                for leaf, (_, reference, inputs) in zip(leaves, parts, strict=True)
            ],
        )
        extra = dict(whole["extra"]) | {f"{n}_kl": kl for n, kl in whole["kl"].items()}
        if KEPT_STATE in self.kept:
            extra[KEPT_STATE] = self.kept[KEPT_STATE]
        batch = pair_batch(
            whole["logps"], whole["masks"], whole["reference"], whole["tokens"], extra
        )
        losses, metrics = self.stage.loss(batch, self.cfg)
        loss = losses.mean()
        flat = [each for leaf in leaves for each in leaf.leaves()]
        gradients = torch.autograd.grad(loss, flat, allow_unused=True)
        self._note(dict(metrics))
        per_pass = len(leaves[0].leaves())
        for number in range(len(leaves)):
            part = gradients[number * per_pass : (number + 1) * per_pass]
            kept = [
                torch.zeros_like(leaf) if gradient is None else gradient
                for leaf, gradient in zip(leaves[number].leaves(), part, strict=True)
            ]
            self._prepared.append((kept, loss.detach()))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean loss of a pass, or what has its part of the whole step's gradient."""
        scored, reference = self._score(model, inputs)
        if self._prepared:
            gradients, loss = self._prepared.pop(0)
            # Trainer divides by the passes, and processes are averaged: the whole step's gradient
            # is a sum over both.
            factor = self.current_gradient_accumulation_steps * self.accelerator.num_processes
            surrogate = torch.stack(
                [(g * each).sum() for g, each in zip(gradients, scored.leaves(), strict=True)]
            ).sum()
            surrogate = surrogate * factor
            return surrogate - surrogate.detach() + loss
        losses, metrics = self._objective(scored, reference, inputs)
        self._note(metrics, gather=True)
        # A mean over the step's rows, also where a pass has fewer: Trainer divides by passes.
        return losses.sum() * (self.current_gradient_accumulation_steps / self._step_rows)

    def _note(self, metrics: dict[str, Tensor], gather: bool = False) -> None:
        """Keep the state, and the metrics for the log of this step."""
        if KEPT_STATE in metrics:
            self.kept[KEPT_STATE] = metrics.pop(KEPT_STATE).detach().double().cpu()
        for name, value in metrics.items():
            value = value.detach().float().reshape(-1)
            if gather and self.accelerator.num_processes > 1:
                value = self.accelerator.gather(value)
            self._sums.setdefault(name, []).append((value.sum().item(), value.numel()))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log with the objective's own metrics, averaged over the rows of a step."""
        own = {
            name: sum(total for total, _ in parts) / sum(count for _, count in parts)
            for name, parts in self._sums.items()
        }
        self._sums = {}
        super().log({**logs, **own}, start_time)


def train_pairs(
    model: PreTrainedModel,
    processor: Any,
    rows: Sequence[Row],
    *,
    stage: PairStage,
    cfg: Any,
    settings: TrainSettings,
    output: Path,
    resume_from: Path | None = None,
    reference_model: PreTrainedModel | None = None,
    label: str = "",
) -> PreTrainedModel:
    """Train `model` (in place) on rows; the trained model, without adapter wrapper's state.

    `reference_model` is the frozen reference where it is another one than `model` as it is given.
    Writes `metrics.jsonl` and checkpoints into `output`, which `checkpoints.begin` made ready.
    Raises Interrupted after SIGINT or SIGTERM, when the step in progress has been saved, ValueError
    where the rows or the batch do not fit.
    """
    if not rows:
        raise ValueError("there is no row to train on")
    if len(rows) < settings.batch_size:
        raise ValueError(f"{len(rows)} rows are too few for batches of {settings.batch_size}")
    views = stage.views_of(cfg)
    scorer = forward.Scorer(Encoder.for_rows(processor, rows), views, shared=settings.shared_prefix)
    wants_reference = any(view.reference or view.vocabulary_kl for view in views)
    storable = settings.stored_reference and not why_not_stored(stage, views)
    frozen = reference_model
    if wants_reference and not storable and frozen is None and not settings.lora_rank:
        frozen = common.frozen_copy(model)
    adapted = common.make_trainable(model, settings)
    trainer = PairTrainer(
        model=adapted,
        reference_model=frozen,
        scorer=scorer,
        stage=stage,
        cfg=cfg,
        rows=rows,
        args=TrainingArguments(**common.arguments(settings, output)),
    )
    if wants_reference and storable:
        source = frozen if frozen is not None else adapted
        with (
            torch.no_grad(),
            trainer.accelerator.autocast(),  # as the policy is scored, whose forward is wrapped
            common.as_reference(source, None) as scoring,
        ):
            trainer.stored = scorer.store(
                scoring,
                rows,
                batch_size=common.batch_layout(settings)[0],  # what fits in training fits here
                device=trainer.args.device,
                views=[view.name for view in views if view.reference],
                path=None if settings.reference_cache is None else Path(settings.reference_cache),
            )
        trainer.reference_model = None
        del frozen
    stop = common.watch(trainer, output, label)
    with stop:
        trainer.train_from(resume_from)
    trained: PreTrainedModel = sharded.whole(trainer, output)
    return trained


def why_not_stored(stage: PairStage, views: Sequence[View]) -> str:
    """Why a stage's reference is not scored once before training; "" where it is."""
    if stage.negatives is not None:
        return "makes other images at every step"
    if any(view.vocabulary_kl for view in views):
        return "compares whole distributions with it"
    if any(view.picked_by == "policy" for view in views):
        return "scores tokens that the policy picks anew at every step"
    if not any(view.reference for view in views):
        return "has none"
    return ""


@dataclass
class Lazily(Sequence[Row]):
    """Rows as a stage prepares them, one at a time and always the same way."""

    rows: Sequence[Row]
    prepare: Prepare
    cfg: Any
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if not 0 <= number < len(self.rows):
            raise IndexError(number)
        return self.prepare(self.rows[number], random.Random(f"{self.seed}/{number}"), self.cfg)


def row_digest(rows: Sequence[Row]) -> str:
    """A short name for the content of rows: texts, numbers and pixels."""
    parts: list[bytes | str] = []
    for row in rows:
        for name in sorted(row):
            value = row[name]
            if name == "item":
                continue
            parts.append(name)
            if isinstance(value, list) and value and isinstance(value[0], Image.Image):
                for image in value:
                    parts += [f"{image.mode} {image.size}", image.tobytes()]
            else:
                parts.append(repr(value))
    return digest(*parts)
