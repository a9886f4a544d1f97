"""Training on preference pairs: TRL's DPOTrainer with any objective over any views.

TRL keeps what it is good at (loading, reference model or adapter, mixed precision, Accelerate,
checkpoints). Ours are the collator, which lays out one row per view, and the loss, which is the
script's own. With VIEWS = ("chosen", "rejected") and `dpo` as the loss this computes TRL's loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer
from trl.data_utils import apply_chat_template, prepare_multimodal_messages
from trl.trainer.utils import flush_left

from reference_impls.core.interrupt import StopOnSignal
from reference_impls.core.progress import Progress
from reference_impls.core.resume import ResumesWeights
from reference_impls.core.scores import PairBatch, Scores
from reference_impls.core.settings import TrainSettings

VIEW_COLUMNS = {
    "chosen": ("images", "chosen"),
    "rejected": ("images", "rejected"),
    "chosen_corrupt": ("negative_images", "chosen"),
    "rejected_corrupt": ("negative_images", "rejected"),
    "target": ("images", "target"),
}
"""View -> (column of its images, column of its response)."""

OURS = ("completion_mask", "weights", "margin", "ref_logps")
"""Keys of a collated batch that the model is not given."""


@dataclass
class ViewCollator:
    """Numbers of rows -> one batch that holds every view of those rows, view after view.

    TRL is given a dataset of row numbers; the rows stay here, so that an image is decoded when
    its batch is made and never written to disk again. `marks(chosen_ids, rejected_ids)` gives per
    token 1 where it counts as marked, for the chosen and for the rejected answer; both are lists
    of token ids, and so are the results lists of 0 and 1."""

    processor: Any
    rows: Sequence[dict]
    views: tuple[str, ...]
    marks: Callable[[list[int], list[int]], tuple[list[int], list[int]]] | None = None
    reference: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    texts: dict[tuple[int, str], tuple[str, str]] = field(default_factory=dict)

    def __call__(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        numbers = [example["row"] for example in examples]
        examples = [self.rows[number] for number in numbers]
        prompts, responses, images = [], [], []
        for view in self.views:
            image_column, response_column = VIEW_COLUMNS[view]
            for number, example in zip(numbers, examples, strict=True):
                pictures = list(example[image_column])
                if (number, view) not in self.texts:
                    self.texts[number, view] = self._texts(example, response_column, pictures)
                prompt, response = self.texts[number, view]
                prompts.append(prompt)
                responses.append(response)
                images.append(pictures)
        batch = self.processor(
            text=prompts, images=images, padding=True, padding_side="left",
            add_special_tokens=False, return_tensors="pt",
        )  # fmt: skip
        tail = self.processor.tokenizer(
            responses, padding=True, padding_side="right", add_special_tokens=False,
            return_tensors="pt",
        )  # fmt: skip
        head_mask, tail_mask = batch["attention_mask"], tail["attention_mask"]
        nothing = torch.zeros_like(tail["input_ids"])
        columns = {
            "input_ids": torch.cat([batch["input_ids"], tail["input_ids"]], 1),
            "completion_mask": torch.cat([torch.zeros_like(head_mask), tail_mask], 1),
        }
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in batch:
                columns[name] = torch.cat([batch[name], nothing], 1)
        if self.marks is not None:
            marked = self._marked(tail["input_ids"], tail_mask, len(examples))
            columns["weights"] = torch.cat([torch.zeros_like(head_mask), marked], 1)
        mask, *flushed = flush_left(torch.cat([head_mask, tail_mask], 1), *columns.values())
        out = dict(batch) | dict(zip(columns, flushed, strict=True)) | {"attention_mask": mask}
        if "margin" in examples[0]:
            out["margin"] = torch.tensor([float(example["margin"]) for example in examples])
        if self.reference:
            out["ref_logps"] = self._reference_logps(out, numbers)
        return out

    def _texts(self, example: dict, column: str, pictures: list) -> tuple[str, str]:
        """Prompt and response as the model's chat template writes them."""
        message = {
            "prompt": prepare_multimodal_messages(example["prompt"], images=pictures),
            "completion": prepare_multimodal_messages(example[column]),
        }
        texts = apply_chat_template(message, self.processor)
        return texts["prompt"], texts["completion"]

    def _marked(self, ids: torch.Tensor, mask: torch.Tensor, size: int) -> torch.Tensor:
        """(rows, T) marks of every view, from comparing chosen and rejected token by token."""

        def tokens(view: str, number: int) -> list[int]:
            row = self.views.index(view) * size + number
            return ids[row][mask[row].bool()].tolist()

        marked = torch.zeros_like(ids)
        for number in range(size):
            both = dict(
                zip(
                    ("chosen", "rejected"),
                    self.marks(tokens("chosen", number), tokens("rejected", number)),
                    strict=True,
                )
            )
            for place, view in enumerate(self.views):
                values = both.get(VIEW_COLUMNS[view][1])
                if values is not None:
                    marked[place * size + number, : len(values)] = torch.tensor(values)
        return marked

    def _reference_logps(self, out: dict, numbers: list[int]) -> torch.Tensor:
        """(rows, L - 1) stored log-probabilities, laid on the response tokens."""
        shifted = out["completion_mask"][:, 1:]
        logps = torch.zeros(shifted.shape)
        stored = [self.reference[view][number] for view in self.views for number in numbers]
        logps[shifted.bool()] = torch.cat(stored)
        return logps


class PairTrainer(ResumesWeights, DPOTrainer):
    """DPOTrainer whose loss is `objective(batch: PairBatch, cfg) -> (losses (B,), metrics)`.

    State between steps (`metrics["state"]`) is handed to the next step as `extra["state"]`, saved
    with each checkpoint and read back when a run is resumed.
    """

    def __init__(self, *, objective, cfg, views, marks=None, reference: bool = True, **kwargs):
        self.objective, self.cfg, self.views = objective, cfg, views
        self.reference, self.carried_state = reference, None
        rows = kwargs.pop("rows")
        collator = ViewCollator(kwargs["processing_class"], rows, views, marks)
        # TRL takes a dataset with a column `images` for a vision dataset; ours are in the collator.
        numbers = Dataset.from_dict({"row": range(len(rows)), "images": [[]] * len(rows)})
        super().__init__(data_collator=collator, train_dataset=numbers, **kwargs)
        self.remove_callback(PrinterCallback)  # stdout is for results

    def logps(self, model, inputs) -> torch.Tensor:
        """(rows, L - 1) log-probability of every response token, 0 elsewhere."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        asked = {k: v for k, v in inputs.items() if k not in OURS}
        output = model(**asked, use_cache=False, labels=labels, fused_lm_head=True)
        # Prompt-learning adapters prepend virtual tokens: keep the positions of the real ones.
        return output.log_probs[:, -(inputs["completion_mask"].shape[1] - 1) :]

    @torch.no_grad()
    def reference_logps(self, inputs) -> torch.Tensor:
        """The same under the frozen reference: its own model, or the policy without its adapter."""
        if self.ref_model is not None:
            return self.logps(self.ref_model, inputs)
        policy = self.accelerator.unwrap_model(self.model)
        with policy.disable_adapter():
            return self.logps(self.model, inputs)

    @torch.no_grad()
    def store_reference(self, batch_size: int) -> None:
        """Score every view of every row under the reference once, and drop the reference model.

        TRL refuses this for image data; here it is safe, since the images of all views are fixed.
        """
        collator, numbers = self.data_collator, range(len(self.data_collator.rows))
        stored: dict[str, list[torch.Tensor]] = {view: [] for view in self.views}
        for start in range(0, len(numbers), batch_size):
            examples = [{"row": number} for number in numbers[start : start + batch_size]]
            inputs = self._prepare_inputs(collator(examples))
            scored = self.reference_logps(inputs).float().cpu()
            mask = inputs["completion_mask"][:, 1:].bool().cpu()
            for number in range(len(scored)):
                view = self.views[number // len(examples)]
                stored[view].append(scored[number][mask[number]])
        collator.reference = stored

    def batch(self, inputs, logps: torch.Tensor, ref_logps: torch.Tensor | None) -> PairBatch:
        """Cut the rows of a step into its views."""
        count = len(self.views)
        mask = inputs["completion_mask"][:, 1:].to(logps.dtype)
        parts = [logps.chunk(count), mask.chunk(count)]
        parts.append(ref_logps.chunk(count) if ref_logps is not None else [None] * count)
        marked = inputs.get("weights")
        marked = None if marked is None else marked[:, 1:].to(logps.dtype)
        parts.append(marked.chunk(count) if marked is not None else [None] * count)
        scores = {
            view: Scores(logps=part, ref_logps=ref, mask=kept, weights=marked)
            for view, part, kept, ref, marked in zip(self.views, *parts, strict=True)
        }
        extra = {} if self.carried_state is None else {"state": self.carried_state}
        return PairBatch(**scores, margin=inputs.get("margin"), extra=extra)

    def _compute_loss(self, model, inputs, return_outputs=False):
        logps = self.logps(model, inputs)
        ref_logps = inputs.get("ref_logps")
        if ref_logps is None and self.reference:
            ref_logps = self.reference_logps(inputs)
        losses, metrics = self.objective(self.batch(inputs, logps, ref_logps), self.cfg)
        mode = "train" if self.model.training else "eval"
        if "state" in metrics:
            state = metrics.pop("state").detach().double().cpu()
            if mode == "train":
                self.carried_state = state
        for name, value in metrics.items():
            gathered = self.accelerator.gather_for_metrics(value.detach().float())
            self._metrics[mode][name].append(gathered.mean().item())
        return losses.mean()

    def _save_checkpoint(self, model, trial):
        super(DPOTrainer, self)._save_checkpoint(model, trial)
        if self.carried_state is not None:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (folder / "objective_state.json").write_text(json.dumps(self.carried_state.tolist()))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        path = Path(resume_from_checkpoint) / "objective_state.json"
        if path.exists():
            self.carried_state = torch.tensor(json.loads(path.read_text()), dtype=torch.float64)


class MetricsFile(TrainerCallback):
    """Appends each step's metrics to `metrics.jsonl`, one JSON object per line."""

    def __init__(self, path: Path, resumed: bool):
        self.path = path
        if not resumed:
            path.write_text("")

    def on_train_begin(self, args, state, control, **kwargs):
        # A resumed run repeats the steps after its checkpoint: forget those of the first try.
        kept = [
            line
            for line in self.path.read_text().splitlines()
            if json.loads(line)["step"] <= state.global_step
        ]
        self.path.write_text("".join(line + "\n" for line in kept))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def common_arguments(settings: TrainSettings, output: Path) -> dict:
    """What every TRL trainer here is told; nothing that matters is left to a default."""
    on_cpu = settings.device == "cpu"
    devices = 1 if on_cpu else max(torch.cuda.device_count(), 1)
    per_device = settings.per_device_batch_size or max(1, settings.batch_size // devices)
    return {
        "output_dir": str(output),
        "max_steps": settings.steps or -1,
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": max(1, settings.batch_size // (per_device * devices)),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.scheduler,
        "warmup_steps": settings.warmup_ratio,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "use_cpu": on_cpu,
        "bf16": settings.dtype == "bfloat16",
        "fp16": settings.dtype == "float16",
        "remove_unused_columns": False,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": max(1, (settings.steps or 200) // 4),
        "save_total_limit": 1,
        "report_to": "none",
        "gradient_checkpointing": settings.gradient_checkpointing,
        "disable_tqdm": True,
    }


def adapter(settings: TrainSettings):
    """LoRA on all linear layers with alpha twice the rank, or None when all weights are trained."""
    if not settings.lora_rank:
        return None
    from peft import LoraConfig

    rank = settings.lora_rank
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")


def last_checkpoint(output: Path) -> str | None:
    """Folder of the newest checkpoint of a run, or None."""
    found = sorted(output.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return str(found[-1]) if found else None


def train_pairs(
    model_path: str,
    processor,
    rows: Sequence[dict],
    *,
    objective,
    cfg,
    views: tuple[str, ...],
    settings: TrainSettings,
    output: Path,
    marks=None,
    reference: bool = True,
    resume: bool = False,
    label: str = "",
):
    """Train a copy of the model at `model_path` on pairs; the trained model.

    Writes `metrics.jsonl` and checkpoints into `output`; with `resume` goes on from the last one.
    Raises Interrupted after SIGINT or SIGTERM, when the step in progress has been saved.
    """
    output.mkdir(parents=True, exist_ok=True)
    last = last_checkpoint(output) if resume else None
    stop = StopOnSignal()
    trainer = PairTrainer(
        model=model_path,
        args=DPOConfig(
            **common_arguments(settings, output),
            max_length=None,  # truncation would cut image tokens
            precompute_ref_log_probs=False,
            disable_dropout=True,
            model_init_kwargs={"dtype": settings.dtype},
        ),
        rows=rows,
        processing_class=processor,
        peft_config=adapter(settings),
        objective=objective,
        cfg=cfg,
        views=views,
        marks=marks,
        reference=reference,
        callbacks=[MetricsFile(output / "metrics.jsonl", last is not None), Progress(label), stop],
    )
    if reference and settings.device == "cpu":
        trainer.store_reference(settings.batch_size)
    with stop:
        trainer.train(resume_from_checkpoint=last)
    return trainer.accelerator.unwrap_model(trainer.model)
