"""What trainers on the policy's own answers have in common: sampling, the reference, the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from reference_impls.core.data.rows import name_of
from reference_impls.core.method import GroupStage, PpoStage, Row, View
from reference_impls.core.model.encode import Encoder, check_room, context_length
from reference_impls.core.model.policy import Policy
from reference_impls.core.model.vllm_engine import CannotSample, VllmEngine
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train import common, forward, sharded
from reference_impls.core.train.reference import bare

MOST_ROWS = 1 << 16
"""Answers of a step and process, at most: each has a seed of its own where vLLM samples."""
VIEW = View("answer", response="answer_sampled")
"""How a sampled answer is scored: the prompt's own columns, the answer in a column of its own."""
Truth = Callable[[Row, str], float]
"""(row, answer) -> how good the answer truly is, nan where nobody knows: for the log alone."""


class Repeated(torch.utils.data.Sampler[int]):
    """Shuffled rows in whole batches, each batch so often in succession as it is trained on.

    So that Trainer's count of batches is right: it skips what a resumed run has seen. Rows that
    make no whole batch wait for another epoch, with another order.
    """

    def __init__(self, rows: int, batch: int, times: int, seed: int) -> None:
        self.rows, self.batch, self.times, self.seed = rows, batch, times, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Epochs differ in their order, and only by their number."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // self.batch * self.batch * self.times

    def __iter__(self) -> Iterator[int]:
        draw = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        order = torch.randperm(self.rows, generator=draw).tolist()
        for start in range(0, self.rows - self.batch + 1, self.batch):
            for _ in range(self.times):
                yield from order[start : start + self.batch]


def _numbers(examples: list[Any]) -> Any:
    """A batch of prompts is their numbers; Trainer's type asks for a dict and its code does not."""
    return list(examples)


class SamplingTrainer(common.Checkpoints):
    """Trains on answers that the policy gives to the prompts of rows, anew for each batch.

    truth: how good an answer truly is; its mean stands in the log beside the reward, so that a
    reward that rises while the truth falls is seen.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        reference_model: PreTrainedModel | None,
        processor: Any,
        stage: GroupStage | PpoStage,
        cfg: Any,
        rows: Sequence[Row],
        settings: TrainSettings,
        args: TrainingArguments,
        truth: Truth | None = None,
    ) -> None:
        self.cfg, self.rows, self.settings = cfg, rows, settings
        self.updates, self.reference, self.marks = stage.updates, stage.reference, stage.weights
        self.truth = truth
        self.reference_model = reference_model
        self.processor = processor
        self.scorer = forward.Scorer(
            Encoder.for_rows(processor, rows), (VIEW,), shared=settings.shared_prefix,
            sampled=True, spans=self.marks is not None,
        )  # fmt: skip
        self.kept = {}
        self.engine: VllmEngine | None = None
        self.update = 0
        # Several processes would fill up their last round with rows that were there already.
        args.dataloader_drop_last = args.world_size > 1
        self._metrics: dict[str, float] = {}
        super().__init__(
            model=model,
            args=args,
            train_dataset=common.Numbers(len(rows)),
            data_collator=_numbers,
        )
        self.model_accepts_loss_kwargs = False
        if settings.generate_with == "vllm" and sharded.is_sharded(self):
            raise CannotSample(
                "--generate-with vllm is handed whole weights, and FSDP or ZeRO keeps them in "
                "pieces: launch with ddp.yaml, or leave the option"
            )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Trainer's own where each batch is trained on once."""
        if self.updates == 1:
            return super()._get_train_sampler(train_dataset)
        settings = self.settings
        return Repeated(len(self.rows), settings.batch_size, self.updates, settings.seed)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # the number of a pass; what it holds is on its device already

    # --- answers -----------------------------------------------------------------------------

    def _check_room(self, rows: Sequence[Row], numbers: Sequence[int]) -> None:
        """Raises EncodingError for a prompt that leaves no room for an answer."""
        asked = self.scorer.encoder.prompts([(row["prompt"], row["images"]) for row in rows])
        room = [self.settings.max_new_tokens] * len(rows)
        check_room(bare(self._writer()).config, asked, room, list(map(name_of, rows, numbers)))

    def _writer(self) -> nn.Module:
        """The model that writes the answers."""
        model: nn.Module = self.accelerator.unwrap_model(self.model)
        return model

    def _stream(self) -> int:
        """Of sampling seeds, one for each process and step: a resumed run draws the same."""
        draws: int = self.state.global_step * self.accelerator.num_processes
        return draws + int(self.accelerator.process_index)

    def _answers(self, rows: Sequence[Row], draws: int) -> list[str]:
        """An answer to each row: by the model's own `generate`, or by vLLM with its weights."""
        model: Any = self._writer()
        given = [row["prompt"] for row in rows], [row["images"] for row in rows]
        settings = self.settings
        if settings.generate_with == "vllm":
            if self.engine is None:
                length = context_length(bare(model).config)
                self.engine = VllmEngine(
                    bare(model).name_or_path, self.scorer.encoder, length,
                    settings.dtype, settings.seed + self.accelerator.process_index,
                )  # fmt: skip
            self.engine.take(model)
            return self.engine.answer(
                *given, settings.temperature, settings.max_new_tokens,
                (1000 * settings.seed + draws) * MOST_ROWS,
            )  # fmt: skip
        policy = Policy(model, self.scorer.encoder, settings.seed, draws=draws)
        return policy.answer(
            *given, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens
        )

    def _policy(self) -> nn.Module:
        """The model that is trained, whose reference the frozen one is."""
        assert isinstance(self.model, nn.Module)
        return self.model

    def _logps(self, model: nn.Module, batch: forward.ViewBatch) -> Tensor:
        return self.scorer.score(model, batch).logps[VIEW.name]

    def _reference(self, passes: Sequence[forward.ViewBatch]) -> list[Tensor] | None:
        """(rows, T) of each pass under the reference; None where there is none."""
        if self.reference == "none":
            return None
        with (
            self.accelerator.autocast(),  # the policy's own forward is wrapped in it
            common.as_reference(self._policy(), self.reference_model) as frozen,
        ):
            return [self._logps(frozen, each).detach() for each in passes]

    def _weights(self, passes: Sequence[forward.ViewBatch]) -> list[Tensor] | None:
        if self.marks is None:
            return None
        found = []
        for each in passes:
            mask = each.masks[VIEW.name]
            values = torch.zeros(mask.shape)
            for place, answer in enumerate(each.answers[VIEW.name]):
                row = list(self.marks(answer, self.cfg))
                if len(row) != len(answer.ids):
                    raise ValueError(f"weights: {len(row)} values for {len(answer.ids)} tokens")
                values[place, : len(row)] = torch.tensor(row)
            found.append(values.to(mask.device))
        return found

    # --- the log -----------------------------------------------------------------------------

    def _true_scores(self, rows: Sequence[Row], answers: Sequence[str]) -> Tensor | None:
        """(B,) how good answers truly are; None where nobody knows."""
        if self.truth is None:
            return None
        found = [self.truth(row, each) for row, each in zip(rows, answers, strict=True)]
        return torch.tensor(found, dtype=torch.float32)

    def _note_truth(self, scores: Tensor | None) -> None:
        self._metrics.pop("true_score", None)  # of the last step, where this one has none
        if scores is not None:
            whole = common.everyones(self.accelerator, scores)
            if not whole.isnan().all():
                self._metrics["true_score"] = whole.nanmean().item()

    def _note_policy(
        self,
        passes: Sequence[forward.ViewBatch],
        old: Sequence[Tensor],
        reference: Sequence[Tensor] | None,
    ) -> None:
        """Length of answers, entropy and divergence from the reference: means over tokens.

        Sampled answers are what both are estimated with: entropy by -log pi, KL by
        log pi/pi_ref. An objective's metric of that name takes its place.
        """
        masks = [each.masks[VIEW.name].to(logps) for each, logps in zip(passes, old, strict=True)]
        sums = {
            "tokens": torch.cat([mask.sum(1) for mask in masks]),
            "entropy": torch.cat([-(o * m).sum(1) for o, m in zip(old, masks, strict=True)]),
        }
        if reference is not None:
            apart = [((o - r) * m).sum(1) for o, r, m in zip(old, reference, masks, strict=True)]
            sums["kl"] = torch.cat(apart)
        sums = {name: common.everyones(self.accelerator, each) for name, each in sums.items()}
        tokens = sums.pop("tokens")
        self._metrics["answer_tokens"] = tokens.mean().item()
        for name, each in sums.items():
            self._metrics[name] = (each.sum() / tokens.sum().clamp(min=1)).item()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log with rewards by function and the objective's own metrics."""
        super().log({**logs, **self._metrics}, start_time)
