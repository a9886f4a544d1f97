"""What every trainer is told, and how a model is made ready to be trained."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.accelerator import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from reference_impls.core.doctor import LOG
from reference_impls.core.method import PpoStage, Stage
from reference_impls.core.model.load import whole_model
from reference_impls.core.processes import main_process, world_size
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train.callbacks import MetricsFile, Progress, StopOnSignal
from reference_impls.core.train.checkpoints import mark_complete, read_json, saving, write_json
from reference_impls.core.train.sharded import is_sharded, prepare

PRECISIONS = {"bfloat16": "bf16", "float16": "fp16"}
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


def check_batch(stage: Stage, settings: TrainSettings) -> None:
    """Raises ValueError where a stage cannot be trained with batches of this size."""
    batch_layout(settings)
    if isinstance(stage, PpoStage) and settings.batch_size < stage.minibatches:
        raise ValueError(
            f"a batch of {settings.batch_size} prompts cannot be cut into {stage.minibatches} "
            "minibatches"
        )


def arguments(settings: TrainSettings, output: Path, rows_per_unit: int = 1) -> dict[str, Any]:
    """TrainingArguments of every trainer here; nothing that matters is left to a default.

    `rows_per_unit` is how many rows stand for one unit of `batch_size` (answers of a prompt).
    """
    per_pass, accumulated = batch_layout(settings)
    on_cpu = settings.device == "cpu"
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", PRECISIONS.get(settings.dtype)):
        raise ValueError(
            f"the launcher's mixed_precision is {launched}, and --dtype is {settings.dtype}: leave "
            "the launcher's at 'no', since --dtype decides"
        )
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
        "logging_nan_inf_filter": False,  # it would write a loss that is nan as 0
        "save_strategy": "steps",
        "save_steps": max(1, (settings.steps or 200) // SAVES),
        "save_total_limit": 2,  # the one before stays until the newest is whole
        "report_to": settings.log_to,
        "run_name": str(output),
        "gradient_checkpointing": settings.gradient_checkpointing,
        # Runs layers again with the gradient's own graph: inputs need no gradient, so that it works
        # above a frozen vision tower and below an adapter.
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
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
    only_loaded = False
    """Whether nothing was left to train."""

    def __init__(self, *, args: TrainingArguments, **given: Any) -> None:
        # With several GPUs in sight and one process, Trainer would take them all by `DataParallel`:
        # another batch than the one that was asked for. Several GPUs have a process each.
        _ = args.device
        args._n_gpu = min(args._n_gpu, 1)
        super().__init__(args=args, **given)

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
        sharded = is_sharded(self) and not self.only_loaded
        if sharded or hasattr(model, "peft_config") or not isinstance(model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            saved = whole_model(resume_from_checkpoint, type(model), dtype=model.dtype)
            model.load_state_dict(saved.state_dict())

    def train_from(self, checkpoint: Path | None) -> None:
        """Train from the beginning or from a checkpoint.

        Trainer makes a step too many where the checkpoint is the last one and ends in the middle of
        an epoch: such a run only takes its weights.
        """
        prepare(self)
        if checkpoint is not None:
            self.kept = torch.load(checkpoint / "kept.pt", weights_only=True)
        state = read_json(checkpoint / "trainer_state.json") if checkpoint else None
        if state and state["global_step"] >= state["max_steps"]:
            self.only_loaded = True
            self._load_from_checkpoint(str(checkpoint))
        else:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: a checkpoint is for going on, and a card would need the network."""


def watch(trainer: Trainer, output: Path, label: str, every: int = 1) -> StopOnSignal:
    """Add progress, the file of metrics and the way to stop to a trainer; gives the latter.

    A run can go on from each so many steps. What trains is written into `weights.json`.
    """
    if main_process():
        assert isinstance(trainer.model, nn.Module)
        write_json(output / "weights.json", asdict(weights_of(trainer.model)))
    trainer.remove_callback(PrinterCallback)  # stdout is for results
    stop = StopOnSignal(every)
    for callback in (MetricsFile(output / LOG), Progress(label), stop):
        trainer.add_callback(callback)
    return stop


VISION_TOWER = frozenset({
    "vision_tower", "visual", "vision_model", "vision_encoder", "image_tower", "video_tower",
    "image_encoder", "high_res_vision_model", "vision_tokenizer", "vqmodel",
})  # fmt: skip
"""Names that transformers' models give the part that sees, or its several parts."""
AUDIO_TOWER = frozenset({"audio_tower", "audio_tokenizer", "embed_audio"})
"""Names of the part that hears, which no row has anything for: it never trains."""
PROJECTOR = frozenset({
    "multi_modal_projector", "mm_projector", "projector", "aligner", "connector", "merger",
    "deepstack_merger_list", "image_newline", "vision_projection", "language_projection",
    "image_to_text_projection", "high_res_vision_neck", "high_res_vision_proj", "qformer",
    "query_tokens", "resampler_model", "vision_resampler", "perceiver_resampler", "embed_vision",
    "vision_embed_tokens", "visual_embeddings_table",
})  # fmt: skip
"""Names of what turns its features into the language model's; Qwen's stands inside the tower."""


def part_of(name: str) -> str:
    """The part of a model that a parameter or module of that name belongs to."""
    names = set(name.split("."))
    if any(each.startswith("lora_") for each in names):
        return "adapter"
    if names & PROJECTOR:
        return "projector"
    if names & VISION_TOWER:
        return "vision tower"
    if names & AUDIO_TOWER:
        return "audio tower"
    return "head" if name.startswith("head.") else "language model"


@dataclass(frozen=True)
class Weights:
    """How many weights train and how many do not, by part; and the adapter, where there is one."""

    trained: dict[str, int]
    frozen: dict[str, int]
    adapter: dict[str, Any] | None = None

    def line(self) -> str:
        """What a run prints."""
        said = f"trains {_counted(self.trained)}"
        if self.adapter is not None:
            kinds = dict.fromkeys(name.rpartition(".")[2] for name in self.adapter["targets"])
            said += (
                f" (rank {self.adapter['rank']}, alpha {self.adapter['alpha']}, on "
                f"{len(self.adapter['targets'])} layers: {', '.join(sorted(kinds))})"
            )
        return f"{said}; frozen: {_counted(self.frozen)}" if self.frozen else said


def _counted(parts: Mapping[str, int]) -> str:
    total = sum(parts.values())
    inside = ", ".join(f"{name} {_short(count)}" for name, count in parts.items())
    return f"{_short(total)} weights ({inside})" if len(parts) > 1 else inside or "nothing"


def _short(count: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)


def weights_of(model: nn.Module) -> Weights:
    """What of a model trains as it is now."""
    trained: dict[str, int] = {}
    frozen: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        kind = trained if parameter.requires_grad else frozen
        # Two weights of 4 bits are kept in one number of 8.
        packed = 2 if type(parameter).__name__ == "Params4bit" else 1
        kind[part_of(name)] = kind.get(part_of(name), 0) + packed * parameter.numel()
    configs = [each for module in model.modules() for each in _adapters(module)]
    adapter = None
    if configs:
        # The configuration itself may hold suffixes in place of names.
        names = {n.partition(".lora_")[0] for n, _ in model.named_parameters() if ".lora_" in n}
        targets = sorted(name.removeprefix("base_model.model.") for name in names)
        adapter = {"rank": configs[0].r, "alpha": configs[0].lora_alpha, "targets": targets}
    return Weights(trained, frozen, adapter)


def _adapters(module: nn.Module) -> list[Any]:
    found = getattr(module, "peft_config", None)
    return list(found.values()) if isinstance(found, dict) else []


def adapted_layers(model: PreTrainedModel, settings: TrainSettings) -> list[str]:
    """Names of the linear layers that get an adapter.

    `all` are those of the language model but its output layer, as in QLoRA (arXiv:2305.14314,
    section 4) and in mDPO (luka-group/mDPO@ec316ce8:bunny/run_mdpo_bunny.py, which leaves out
    projector and vision tower); with `train_vision` those of the tower and the projector, too.
    Names that are given are looked for there, and in the projector. Raises ValueError for a name
    that no layer has, and says which there are.
    """
    output = model.get_output_embeddings()
    layers = {
        name: part_of(name)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output
    }
    everything = settings.lora_targets == "all"
    searched = {"language model"} if everything else {"language model", "projector"}
    searched |= {"vision tower", "projector"} if settings.train_vision else set()
    within = [name for name, part in layers.items() if part in searched]
    if everything:
        return within
    wanted = [name.strip() for name in settings.lora_targets.split(",") if name.strip()]
    there = {name.rpartition(".")[2] for name in within}
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise ValueError(
            f"--lora-targets: {type(model).__name__} has no linear layer "
            f"'{unknown[0] if unknown else settings.lora_targets}'; there are "
            + ", ".join(sorted(there))
        )
    return [name for name in within if name.rpartition(".")[2] in wanted]


def make_trainable(model: PreTrainedModel, settings: TrainSettings) -> nn.Module:
    """The model as it is trained: with an adapter, or whole but for its vision tower.

    Dropout is off: policy and reference are compared by their log-probabilities. Raises ValueError
    where the tower is to be frozen and no part of the model is known as one.
    """
    parts = {name: part_of(name) for name, _ in model.named_parameters()}
    if not settings.train_vision and "vision tower" not in parts.values():
        raise ValueError(
            f"{type(model).__name__} has no part that is known as its vision tower, so that none "
            "can be kept as it is: --train-vision trains all weights, or adapts all layers"
        )
    frozen = {"audio tower"} if settings.train_vision else {"audio tower", "vision tower"}
    for name, parameter in model.named_parameters():
        if parts[name] in frozen:
            parameter.requires_grad_(False)
    _without_dropout(model)
    if settings.gradient_checkpointing:
        model.config.use_cache = False
    if not settings.lora_rank:
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    targets = adapted_layers(model, settings)
    if settings.load_in_4bit:
        # Layers that are not quantised go to float32; checkpointing is the Trainer's.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    adapter = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.adapter_alpha, target_modules=targets
    )
    # It begins as the seed says, whatever was drawn before and in however many processes.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return get_peft_model(model, adapter)


def _without_dropout(model: nn.Module) -> None:
    """Shares that layers are dropped with are attributes of modules: `p` of torch's own, numbers
    like `attention_dropout`, `drop_prob` and `layerdrop` of those of transformers."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and "drop" in name:
                setattr(module, name, 0.0)


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
            merged[name] = gathered(accelerator, stacked([part[name] for part in parts]))
    return merged


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Rows of several tensors, (B,) or (B, T), one behind the other, padded with zeros."""
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


def everyones(accelerator: Accelerator, own: Tensor) -> Tensor:
    """Rows of all processes, which may have unequal numbers of them, in the order of processes;
    (B,) or (B, T), padded with zeros on the right. Constants."""
    own = own.detach()
    if accelerator.num_processes == 1:
        return own
    own = own.to(accelerator.device)
    shape = torch.tensor([[len(own), own.shape[1] if own.dim() > 1 else 0]], device=own.device)
    shapes = accelerator.gather(shape)
    most, width = (int(each) for each in shapes.max(0).values)
    if own.dim() > 1:
        own = nn.functional.pad(own, (0, width - own.shape[1]))
    filled = own.new_zeros((most, *own.shape[1:]))
    filled[: len(own)] = own
    whole: Tensor = accelerator.gather(filled)
    counts = shapes[:, 0].tolist()
    return torch.cat([whole[n * most : n * most + count] for n, count in enumerate(counts)])
