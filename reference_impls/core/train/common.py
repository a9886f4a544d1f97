"""What every trainer is told, and how a model is made ready to be trained."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.accelerator import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer

from reference_impls.core.processes import world_size
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train.callbacks import MetricsFile, Progress, StopOnSignal
from reference_impls.core.train.checkpoints import mark_complete, read_json, saving

SAVES = 4
"""Checkpoints that are written in one training, evenly spaced."""


def batch_layout(settings: TrainSettings) -> tuple[int, int]:
    """(rows per process and forward pass, forward passes per optimizer step).

    Raises ValueError where the global batch cannot be divided without a remainder.
    """
    processes, whole = world_size(), settings.batch_size
    share, rest = divmod(whole, processes)
    if rest or not share:
        raise ValueError(f"a batch of {whole} cannot be divided over {processes} processes")
    per_pass = settings.per_device_batch_size or share
    if share % per_pass:
        raise ValueError(
            f"a batch of {whole} is {share} per process, which passes of {per_pass} do not divide"
        )
    return per_pass, share // per_pass


def arguments(settings: TrainSettings, output: Path, rows_per_unit: int = 1) -> dict[str, Any]:
    """TrainingArguments of every trainer here; nothing that matters is left to a default.

    `rows_per_unit` is how many rows stand for one unit of `batch_size` (answers of a prompt).
    """
    per_pass, accumulated = batch_layout(settings)
    on_cpu = settings.device == "cpu"
    return {
        "output_dir": str(output),
        "max_steps": settings.steps or -1,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": per_pass * rows_per_unit,
        "gradient_accumulation_steps": accumulated,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup_ratio,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "use_cpu": on_cpu,
        "ddp_backend": "gloo" if on_cpu and world_size() > 1 else None,
        "bf16": settings.dtype == "bfloat16",
        "fp16": settings.dtype == "float16",
        "remove_unused_columns": False,
        "dataloader_pin_memory": not on_cpu,
        "dataloader_drop_last": False,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": max(1, (settings.steps or 200) // SAVES),
        "save_total_limit": 2,  # the one before stays until the newest is whole
        "report_to": "none",
        "gradient_checkpointing": settings.gradient_checkpointing,
        "disable_tqdm": True,
    }


class Numbers(torch.utils.data.Dataset[int]):
    """Rows by number: they stay where they are, and an image is decoded when its batch is made."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> int:
        return number


class Checkpoints(Trainer):
    """A Trainer whose checkpoints are whole or do not count, and hold what the objective keeps.

    `kept` is saved inside each checkpoint and read back: the objective's state.
    """

    kept: dict[str, Any]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        with saving(folder):
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                torch.save(self.kept, folder / "kept.pt")
                mark_complete(folder)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        """Weights by name.

        transformers saves LLaVA and Qwen2-VL under their published names, which differ from the
        model's own. `Trainer` reads them back by the model's names, finds none, warns, and goes on
        from the weights that were there. `from_pretrained` translates the names.
        """
        model = self.model if model is None else model
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if sharded or hasattr(model, "peft_config") or not isinstance(model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
            model.load_state_dict(saved.state_dict())
        kept = Path(resume_from_checkpoint) / "kept.pt"
        self.kept = torch.load(kept, weights_only=True)

    def train_from(self, checkpoint: Path | None) -> None:
        """Train from the beginning or from a checkpoint.

        Trainer makes a step too many where the checkpoint is the last one and ends in the middle of
        an epoch: such a run only takes its weights.
        """
        state = read_json(checkpoint / "trainer_state.json") if checkpoint else None
        if state and state["global_step"] >= state["max_steps"]:
            self._load_from_checkpoint(str(checkpoint))
        else:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: a checkpoint is for going on, and a card would need the network."""


def watch(trainer: Trainer, output: Path, label: str, every: int = 1) -> StopOnSignal:
    """Add progress, the file of metrics and the way to stop to a trainer; gives the latter.

    A run can go on from each so many steps.
    """
    trainer.remove_callback(PrinterCallback)  # stdout is for results
    stop = StopOnSignal(every)
    for callback in (MetricsFile(output / "metrics.jsonl"), Progress(label), stop):
        trainer.add_callback(callback)
    return stop


VISION_TOWER = ("vision_tower", "visual", "vision_model", "vision_encoder")
"""Names that transformers' models give the part that sees."""


def make_trainable(model: PreTrainedModel, settings: TrainSettings) -> nn.Module:
    """The model as it is trained: with an adapter or whole, its vision tower frozen or not.

    LoRA goes on the linear layers of the language model, with alpha twice the rank.
    """
    if not settings.train_vision or settings.lora_rank:
        for name, parameter in model.named_parameters():
            if any(part in VISION_TOWER for part in name.split(".")):
                parameter.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if settings.gradient_checkpointing:
        model.config.use_cache = False
    if not settings.lora_rank:
        return model
    from peft import LoraConfig, get_peft_model

    rank = settings.lora_rank
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and "language_model" in name
        and not any(part in VISION_TOWER for part in name.split("."))
    ]
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets))
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()
    return adapted


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that is never trained."""
    twin: PreTrainedModel = copy.deepcopy(model)
    twin.eval()
    twin.requires_grad_(False)
    return twin


@contextlib.contextmanager
def as_reference(model: nn.Module, frozen: PreTrainedModel | None) -> Iterator[nn.Module]:
    """The reference: `frozen` where there is one, else the model without its adapter."""
    if frozen is not None:
        yield frozen
        return
    bare: Any = getattr(model, "module", model)
    was_training = model.training
    model.eval()
    try:
        if hasattr(bare, "disable_adapter"):
            with bare.disable_adapter():
                yield model
        else:
            yield model
    finally:
        model.train(was_training)


Part = Mapping[str, Any]


def gather_rows(accelerator: Accelerator, parts: Sequence[Part]) -> dict[str, Any]:
    """Passes of a step, of all processes, as one: nested mappings of (B,) or (B, T) tensors.

    Tensors of different T are padded with zeros on the right. Those of this process stay attached
    to the tensors that they were made of; those of the others are constants.
    """
    merged: dict[str, Any] = {}
    for name, first in parts[0].items():
        if isinstance(first, Mapping):
            merged[name] = gather_rows(accelerator, [part[name] for part in parts])
        else:
            merged[name] = gathered(accelerator, _stacked([part[name] for part in parts]))
    return merged


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    if tensors[0].dim() < 2:
        return torch.cat(list(tensors))
    width = max(tensor.shape[1] for tensor in tensors)
    return torch.cat([nn.functional.pad(each, (0, width - each.shape[1])) for each in tensors])


def gathered(accelerator: Accelerator, own: Tensor) -> Tensor:
    """Rows of all processes, in their order; this one's own stay attached to their graph."""
    if accelerator.num_processes == 1:
        return own
    device = accelerator.device
    if own.dim() > 1:
        width = accelerator.gather(torch.tensor([own.shape[1]], device=device)).max().item()
        own = nn.functional.pad(own, (0, int(width) - own.shape[1]))
    everyone: Tensor = accelerator.gather(own.detach().to(device).contiguous()).to(own.device)
    first = accelerator.process_index * own.shape[0]
    return torch.cat([everyone[:first], own, everyone[first + own.shape[0] :]])
