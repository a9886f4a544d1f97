"""Training of a head on a model's last hidden states (`HeadStage`), and its use afterwards.

The head is one linear layer in float32 that begins at zero; the model below it is trained with it.
Both are saved as an ordinary checkpoint with one more file, `head.safetensors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from reference_impls.core.method import Answer, HeadStage, Row, View
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import load
from reference_impls.core.objective.reward import last_output
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train import common, forward, sharded
from reference_impls.core.train.pairs import numbers_of, pair_batch, token_columns
from reference_impls.core.train.reference import bare
from reference_impls.core.train.sharded import is_sharded

HEAD = "head.safetensors"
BATCH = 64
"""Answers that a trained head reads in one pass."""


class Headed(nn.Module):
    """A model under a linear head: `(scorer, batch)` -> outputs (B, T, k) by view."""

    def __init__(self, model: nn.Module, outputs: int) -> None:
        super().__init__()
        self.model = model
        layer = bare(model).get_output_embeddings()
        if layer.weight is not bare(model).get_input_embeddings().weight:
            layer.weight.requires_grad_(False)  # nothing is read from the vocabulary
        width = layer.weight.shape[1]
        self.head = nn.Linear(width, outputs, device=layer.weight.device, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, scorer: forward.Scorer, batch: forward.ViewBatch) -> dict[str, Tensor]:
        states = scorer.states(self.model, batch)
        # Autocast, which is on in training alone, would round the head's outputs to 16 bits.
        with torch.autocast(self.head.weight.device.type, enabled=False):
            return {view: self.head(each.float()) for view, each in states.items()}

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """As `Trainer` asks for it."""
        bare(self.model).gradient_checkpointing_enable(**options)

    def save(self, folder: Path, gathered: Mapping[str, Tensor] | None = None) -> None:
        """Write the model's checkpoint and the head's weights; `gathered` has them where they lie
        in pieces over processes."""
        folder.mkdir(parents=True, exist_ok=True)
        saved: Any = self.model
        both = self.state_dict() if gathered is None else gathered
        own, head = (
            {n.removeprefix(part): each for n, each in both.items() if n.startswith(part)}
            for part in ("model.", "head.")
        )
        saved.save_pretrained(folder, **({} if gathered is None else {"state_dict": own}))
        weights = {name: each.detach().cpu() for name, each in head.items()}
        save_file({name: each.contiguous() for name, each in weights.items()}, folder / HEAD)

    def load_head(self, folder: Path) -> None:
        """Read the head's weights from a checkpoint."""
        self.head.load_state_dict(load_file(folder / HEAD))


class HeadTrainer(common.Checkpoints):
    """Trains with `stage.loss(outputs by view, batch, cfg) -> (losses (B,), metrics)`."""

    def __init__(
        self,
        *,
        model: Headed,
        scorer: forward.Scorer,
        stage: HeadStage,
        cfg: Any,
        rows: Sequence[Row],
        args: TrainingArguments,
    ) -> None:
        self.stage, self.cfg, self.rows, self.scorer = stage, cfg, rows, scorer
        self.kept = {}
        self._sums: dict[str, list[float]] = {}
        self._step_rows = 0
        super().__init__(
            model=model,
            args=args,
            train_dataset=common.Numbers(len(rows)),
            data_collator=self._collate,
        )
        self.model_accepts_loss_kwargs = False  # the loss of a pass is a mean over its rows

    def _collate(self, numbers: list[int]) -> dict[str, Any]:
        rows = [self.rows[number] for number in numbers]
        batch = self.scorer.collate(rows, numbers)
        tokens = token_columns(self.stage.tokens, rows, batch, self.cfg)
        return {"views": batch, "tokens": tokens, "extra": numbers_of(rows)}

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The passes of the next optimizer step, whose rows are counted."""
        batches, count = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step_rows = sum(len(batch["views"]) for batch in batches)
        return batches, count

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The mean loss of a pass."""
        views: forward.ViewBatch = inputs["views"].to(self.args.device)
        outputs = model(self.scorer, views)
        nothing = {name: torch.zeros_like(mask) for name, mask in views.masks.items()}
        batch = pair_batch(nothing, views.masks, {}, inputs["tokens"], inputs["extra"])
        losses, metrics = self.stage.loss(outputs, batch, self.cfg)
        for name, value in metrics.items():
            value = value.detach().float().reshape(-1)
            if self.accelerator.num_processes > 1:
                value = self.accelerator.gather(value)
            self._sums.setdefault(name, []).append(value.mean().item())
        # A mean over the step's rows, also where a pass has fewer: Trainer divides by passes.
        share = len(losses) * self.current_gradient_accumulation_steps / self._step_rows
        return losses.mean() * share

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log with the objective's own metrics, averaged over the passes of a step."""
        own = {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._sums = {}
        super().log({**logs, **own}, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if is_sharded(self) and not self.is_world_process_zero():
            return  # all weights are gathered in one process
        folder = Path(output_dir or str(self.args.output_dir))
        self.accelerator.unwrap_model(self.model).save(folder, state_dict)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        headed: Headed = self.accelerator.unwrap_model(self.model if model is None else model)
        if is_sharded(self) and not self.only_loaded:
            super()._load_from_checkpoint(resume_from_checkpoint, headed)
            return
        super()._load_from_checkpoint(resume_from_checkpoint, headed.model)
        headed.load_head(Path(resume_from_checkpoint))


def train_head(
    model: PreTrainedModel,
    processor: Any,
    rows: Sequence[Row],
    *,
    stage: HeadStage,
    cfg: Any,
    settings: TrainSettings,
    output: Path,
    resume_from: Path | None = None,
    label: str = "",
) -> Headed:
    """Train a head, and `model` (in place) below it, on rows.

    Writes `metrics.jsonl` and checkpoints into `output`, which `checkpoints.begin` made ready.
    Raises Interrupted after SIGINT or SIGTERM, when the step in progress has been saved, ValueError
    where the rows or the batch do not fit.
    """
    if len(rows) < settings.batch_size:
        raise ValueError(f"{len(rows)} rows are too few for batches of {settings.batch_size}")
    trainer = HeadTrainer(
        model=Headed(common.make_trainable(model, settings), stage.outputs),
        scorer=forward.Scorer(Encoder.for_rows(processor, rows), stage.views_of(cfg), shared=False),
        stage=stage,
        cfg=cfg,
        rows=rows,
        args=TrainingArguments(**common.arguments(settings, output)),
    )
    with common.watch(trainer, output, label):
        trainer.train_from(resume_from)

    def read(folder: Path) -> Headed:
        headed = Headed(sharded.read_model(folder), stage.outputs)
        headed.load_head(folder)
        return headed

    trained: Headed = sharded.whole(trainer, output, read)
    return trained


@dataclass
class TrainedHead:
    """A head in use: it reads answers to pictures and gives numbers."""

    headed: Headed
    encoder: Encoder

    @torch.no_grad()
    def read(self, rows: Sequence[Row], response: str = "chosen") -> list[tuple[Answer, Tensor]]:
        """For each row, the answer of that column and what the head gives after each of its tokens,
        (T, k) on the CPU."""
        return [each for part in self._parts(rows, response) for each in part]

    def _parts(self, rows: Sequence[Row], response: str) -> Iterator[list[tuple[Answer, Tensor]]]:
        scorer = forward.Scorer(self.encoder, (View("chosen", reference=False),), shared=False)
        training = self.headed.training
        self.headed.eval()
        try:
            for start in range(0, len(rows), BATCH):
                part = [_asked(row, response) for row in rows[start : start + BATCH]]
                batch = scorer.collate(part, range(start, start + len(part)))
                outputs = self.headed(scorer, batch)["chosen"].cpu()
                answers = batch.answers["chosen"]
                yield [
                    (answer, outputs[place, : len(answer.ids)])
                    for place, answer in enumerate(answers)
                ]
        finally:
            self.headed.train(training)

    def rewards(self, rows: Sequence[Row], response: str = "chosen") -> list[float]:
        """The first output after the last token of each row's answer."""
        found = []
        for _, outputs in self.read(rows, response):
            whole = torch.ones(1, len(outputs))
            found.append(last_output(outputs[None], whole)[0, 0].item())
        return found


def _asked(row: Mapping[str, Any], response: str) -> Row:
    return {"images": row["images"], "prompt": row["prompt"], "chosen": row[response]}


def load_head(path: Path, device: str = "cpu", dtype: str = "float32") -> TrainedHead:
    """A head that was saved, with its model. Raises FileNotFoundError where there is none."""
    model, processor = load(path, device, dtype)
    weights = load_file(path / HEAD)
    headed = Headed(model, len(weights["weight"]))
    headed.load_head(path)
    return TrainedHead(headed, Encoder(processor))
