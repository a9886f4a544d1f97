"""Training on groups of sampled answers: TRL's GRPOTrainer with a script's own advantages and loss.

TRL keeps what it is good at (sampling, scoring, reference model or adapter, mixed precision,
Accelerate, checkpoints). Ours are the two functions that make the method: `advantages` and `loss`.
TRL 1.16's defaults are another objective than GRPO's paper (no KL, token mean over the batch), so
nothing that matters is left to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

from reference_impls.core.interrupt import StopOnSignal
from reference_impls.core.pair_trainer import (
    MetricsFile,
    adapter,
    common_arguments,
    last_checkpoint,
)
from reference_impls.core.progress import Progress
from reference_impls.core.resume import ResumesWeights
from reference_impls.core.settings import TrainSettings

Reward = Callable[[list[str], list[str]], list[float]]
"""(completions, answers) -> one reward per completion."""

VISION_INPUTS = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes",
    "num_tiles", "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
)  # fmt: skip


class GroupTrainer(ResumesWeights, GRPOTrainer):
    """GRPOTrainer that trains with `advantages(rewards, cfg)` and `loss(logps, ...)` of a script.

    A prompt's answers stay together in `advantages`, which sees the groups of all processes; TRL
    then shuffles the answers, so a loss must not rely on the order of its rows.
    """

    def __init__(self, *, advantages, loss, cfg, **kwargs):
        self.advantages, self.objective, self.cfg = advantages, loss, cfg
        self.rewards: torch.Tensor | None = None
        super().__init__(**kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        """(answers of all processes, reward functions); their sum over functions is kept."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.rewards = rewards.sum(1)
        return rewards

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        grouped = self.rewards.view(-1, self.num_generations)
        flat = self.advantages(grouped, self.cfg).flatten()
        first = self.accelerator.process_index * len(inputs)
        output["advantages"] = flat[first : first + len(inputs)]
        return output

    def _compute_loss(self, model, inputs):
        answers, mask = inputs["completion_ids"], inputs["completion_mask"]
        logps, entropies, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], answers], 1),
            torch.cat([inputs["prompt_mask"], mask], 1),
            answers.shape[1],
            compute_entropy=True,
            **{name: inputs.get(name) for name in VISION_INPUTS},
        )
        old_logps = inputs.get("old_per_token_logps")  # None: this is the first update
        loss, metrics = self.objective(
            logps,
            logps.detach() if old_logps is None else old_logps,
            inputs.get("ref_per_token_logps"),
            inputs["advantages"].unsqueeze(1).expand_as(logps),
            mask.to(logps.dtype),
            self.cfg,
        )
        training = self.model.training
        entropy = (entropies * mask).sum() / mask.sum().clamp(min=1)
        for name, value in {**metrics, "entropy": entropy}.items():
            gathered = self.accelerator.gather(value.detach().float())
            self._metrics["train" if training else "eval"][name].append(gathered.mean().item())
        # Trainer leaves the division by the accumulation steps to us (loss_is_scaled_for_ga).
        return loss / self.current_gradient_accumulation_steps if training else loss

    def create_model_card(self, *args, **kwargs):
        """None: a checkpoint is for going on, and the card would need the network."""


def on_texts(name: str, reward: Reward):
    """A reward on strings as TRL calls it: with conversations, and columns by their names."""

    def called_by_trl(completions, answer, **columns):
        return reward([messages[-1]["content"] for messages in completions], answer)

    called_by_trl.__name__ = name
    return called_by_trl


def train_group(
    model: str | Path,
    processor,
    rows: list[dict],
    *,
    rewards: dict[str, Reward],
    advantages,
    loss,
    cfg,
    settings: TrainSettings,
    output: Path,
    resume: bool = False,
    reference_needed: bool = True,
    label: str = "",
):
    """Train a copy of the model at `model` (a path or hub id) on groups of answers to `rows`.

    A row has `prompt` (conversation), `images` (list of PIL images) and `answer` (str); an answer's
    reward is the sum of `rewards`. `settings.batch_size` counts prompts per update (over all
    devices), `settings.per_device_batch_size` answers per forward pass. Writes `metrics.jsonl` and
    checkpoints into `output`; with `resume` goes on from the last one. Returns the trained model.

    Raises Interrupted after SIGINT or SIGTERM, when the step in progress has been saved, and
    ValueError when there are fewer rows than prompts per update.
    """
    if len(rows) < settings.batch_size:
        raise ValueError(f"{len(rows)} prompts are too few for updates of {settings.batch_size}")
    output.mkdir(parents=True, exist_ok=True)
    last = last_checkpoint(output) if resume else None
    answers = replace(settings, batch_size=settings.batch_size * settings.group_size)
    arguments = GRPOConfig(
        **common_arguments(answers, output),
        # One batch of samples per update: the policy that sampled is the one that is updated.
        num_iterations=1,
        num_generations=settings.group_size,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=1.0,
        top_k=0,
        min_p=None,
        repetition_penalty=1.0,
        mask_truncated_completions=False,
        disable_dropout=True,
        shuffle_dataset=True,
        # Only says whether TRL scores the reference; what weighs it stands in the script's loss.
        beta=1.0 if reference_needed else 0.0,
        # Not reached, since the script's loss and advantages stand in; told in case TRL reads them.
        loss_type="grpo",
        epsilon=0.2,
        scale_rewards="group",
        importance_sampling_level="token",
        use_bias_correction_kl=False,
        use_vllm=False,
        log_completions=False,
        model_init_kwargs={"dtype": settings.dtype},
    )
    stop = StopOnSignal()
    set_seed(settings.seed)
    trainer = GroupTrainer(
        model=str(model),
        reward_funcs=[on_texts(name, reward) for name, reward in rewards.items()],
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
        peft_config=adapter(settings),
        advantages=advantages,
        loss=loss,
        cfg=cfg,
        callbacks=[MetricsFile(output / "metrics.jsonl", last is not None), Progress(label), stop],
    )
    trainer.remove_callback(PrinterCallback)  # prints every step to stdout
    with stop:
        trainer.train(resume_from_checkpoint=last)
    return trainer.accelerator.unwrap_model(trainer.model)
