"""Training on groups of the policy's own answers (`GroupStage`): GRPO, RLOO, REINFORCE++.

A step takes a batch of prompts, samples a group of answers to each, rewards them, and makes
`updates` optimizer steps of them; an epoch goes through every prompt so often. The loss is taken
over all answers of the step at once, over accumulated passes and processes, and its gradient handed
to the passes (as in `pairs`): neither accumulation nor the number of processes changes it. What
stays together is known by place: answers of one prompt are neighbours, and prompts keep their
order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from reference_impls.core.data.rows import said
from reference_impls.core.method import GroupStage, Row
from reference_impls.core.objective.groups import alike
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train import common, forward, sharded
from reference_impls.core.train.sampling import VIEW, SamplingTrainer, Truth


@dataclass
class Rollout:
    """What was sampled for a batch of prompts of this process, cut into passes.

    advantages: (prompts, group). kept: (prompts,). Passes hold the rows of whole groups, of the
    prompts from one of `cuts` to the next; old_logps and ref_logps are (rows, T) of each pass.
    """

    passes: list[forward.ViewBatch]
    cuts: list[int]
    old_logps: list[Tensor]
    ref_logps: list[Tensor] | None
    weights: list[Tensor] | None
    advantages: Tensor
    kept: Tensor


class GroupTrainer(SamplingTrainer):
    """Trains with `stage.advantages` and `stage.loss` on groups of sampled answers."""

    def __init__(self, *, stage: GroupStage, settings: TrainSettings, **given: Any) -> None:
        self.stage = stage
        self.rollout: Rollout | None = None
        self._gradients: list[tuple[Tensor, Tensor]] = []
        super().__init__(stage=stage, settings=settings, **given)

    # --- a step ------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Answers to the next prompts, or the same answers again for a further update."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return [], None
        if self.rollout is None or self.update % self.stage.updates == 0:
            self.rollout = self._sample(batches)
        self.update += 1
        self._score_whole_step(self.rollout)
        return [{"pass": number} for number in range(len(self.rollout.passes))], None

    @torch.no_grad()
    def _sample(self, batches: Sequence[list[int]]) -> Rollout:
        began = time.perf_counter()
        group, prompts = self.settings.group_size, [n for batch in batches for n in batch]
        rows = [self.rows[number] for number in prompts]
        repeated = [row for row in rows for _ in range(group)]
        self._check_room(rows, prompts)
        answers = self._answers(repeated, self._stream())
        sampled = time.perf_counter() - began
        truths = [str(row.get("answer", "")) for row in repeated]
        rewards = {
            name: torch.tensor(list(reward(answers, truths)), dtype=torch.float32).view(-1, group)
            for name, reward in self.stage.rewards_of(self.cfg).items()
        }
        full = [
            {**row, VIEW.response: said(answer)}
            for row, answer in zip(repeated, answers, strict=True)
        ]
        cuts = [0]
        for batch in batches:  # the last one of an epoch may be smaller
            cuts.append(cuts[-1] + len(batch))
        passes = [
            self.scorer.collate(
                full[start * group : stop * group], list(range((stop - start) * group))
            ).to(self.args.device)
            for start, stop in pairwise(cuts)
        ]
        old = [self._logps(self._policy(), each).detach() for each in passes]
        reference = self._reference(passes)
        weights = self._weights(passes)
        everyone = {name: common.gathered(self.accelerator, each) for name, each in rewards.items()}
        whole = self._combined(everyone, old, reference, passes)
        advantages = self.stage.advantages(whole, self.cfg)
        kept = torch.ones(len(whole), dtype=torch.bool)
        if self.stage.keep is not None:
            kept = self.stage.keep(everyone, self.cfg)
        first = self.accelerator.process_index * len(rows)
        self._note_rewards(everyone, whole, kept, sampled / (time.perf_counter() - began))
        self._note_policy(passes, old, reference)
        self._note_truth(self._true_scores(repeated, answers))
        return Rollout(
            passes,
            cuts,
            old,
            reference,
            weights,
            advantages[first : first + len(rows)],
            kept[first : first + len(rows)],
        )

    def _combined(
        self,
        rewards: Mapping[str, Tensor],
        old: Sequence[Tensor],
        reference: Sequence[Tensor] | None,
        passes: Sequence[forward.ViewBatch],
    ) -> Tensor:
        """(prompts, group) of all processes: one reward per answer."""
        if self.stage.combine is not None:
            total = self.stage.combine(rewards, self.cfg)
        else:
            total = torch.stack(list(rewards.values())).sum(0)
        if self.stage.kl_in_reward is None:
            return total
        if reference is None:
            raise ValueError("kl_in_reward needs a reference, and this stage has none")
        whole = common.gather_rows(
            self.accelerator,
            [
                {"old": o, "ref": r, "mask": each.masks[VIEW.name].to(o.dtype)}
                for o, r, each in zip(old, reference, passes, strict=True)
            ],
        )
        shape = (*total.shape, -1)
        logps, ref, mask = (whole[name].view(shape).cpu() for name in ("old", "ref", "mask"))
        return self.stage.kl_in_reward(total, logps, ref, mask, self.cfg)

    # --- the loss ----------------------------------------------------------------------------

    def _score_whole_step(self, rollout: Rollout) -> None:
        """The loss over all answers of the step, and its gradient with respect to each pass."""
        model = self.model_wrapped
        group = self.settings.group_size
        if self.update % self.stage.updates == 1 or self.stage.updates == 1:
            current = rollout.old_logps  # the policy that sampled is the one that is updated
        else:
            with torch.no_grad():
                current = [self._logps(model, each).detach() for each in rollout.passes]
        leaves = [each.clone().requires_grad_() for each in current]
        parts = []
        for number, leaf in enumerate(leaves):
            of_pass = slice(rollout.cuts[number], rollout.cuts[number + 1])
            advantages = rollout.advantages[of_pass].reshape(-1, 1).to(leaf)
            kept = rollout.kept[of_pass].repeat_interleave(group).to(leaf)
            mask = rollout.passes[number].masks[VIEW.name].to(leaf.dtype) * kept.unsqueeze(1)
            part: dict[str, Any] = {
                "logps": leaf,
                "old_logps": rollout.old_logps[number],
                "advantages": advantages.expand_as(leaf),
                "mask": mask,
            }
            if rollout.ref_logps is not None:
                part["ref_logps"] = rollout.ref_logps[number]
            if rollout.weights is not None:
                part["weights"] = rollout.weights[number].to(leaf)
            parts.append(part)
        whole = common.gather_rows(self.accelerator, parts)
        keep = whole["mask"].sum(-1) > 0
        if not keep.any():
            keep[:] = True  # nothing to learn from: a step of zeros
        chosen = {name: value[keep] for name, value in whole.items()}
        loss, metrics = self.stage.loss(
            chosen["logps"],
            chosen["old_logps"],
            chosen.get("ref_logps"),
            chosen["advantages"],
            chosen["mask"],
            self.cfg,
            weights=chosen.get("weights"),
        )
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        self._gradients = [
            (torch.zeros_like(leaf) if gradient is None else gradient, loss.detach())
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
        for name, value in metrics.items():
            self._metrics[name] = value.detach().float().mean().item()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """What has a pass's part of the whole step's gradient, and the whole step's value."""
        assert self.rollout is not None
        gradient, loss = self._gradients[inputs["pass"]]
        logps = self._logps(model, self.rollout.passes[inputs["pass"]])
        factor = self.current_gradient_accumulation_steps * self.accelerator.num_processes
        surrogate = (gradient * logps).sum() * factor
        return surrogate - surrogate.detach() + loss

    # --- the log -----------------------------------------------------------------------------

    def _note_rewards(
        self, rewards: Mapping[str, Tensor], whole: Tensor, kept: Tensor, generating: float
    ) -> None:
        self._metrics |= {name: value.mean().item() for name, value in rewards.items()}
        self._metrics["reward"] = whole.mean().item()
        self._metrics["reward_std"] = whole.std(1).mean().item() if whole.shape[1] > 1 else 0.0
        self._metrics["groups_without_signal"] = alike(whole).float().mean().item()
        self._metrics["groups_kept"] = kept.float().mean().item()
        self._metrics["generating_share"] = generating


def train_groups(
    model: PreTrainedModel,
    processor: Any,
    rows: Sequence[Row],
    *,
    stage: GroupStage,
    cfg: Any,
    settings: TrainSettings,
    output: Path,
    resume_from: Path | None = None,
    reference_model: PreTrainedModel | None = None,
    label: str = "",
    truth: Truth | None = None,
) -> PreTrainedModel:
    """Train `model` (in place) on groups of answers to rows; the trained model.

    A row has `prompt`, `images` and `answer` (the truth, a str). `settings.batch_size` counts
    prompts per batch of samples, `per_device_batch_size` prompts in one forward pass. `truth`: how
    good an answer to a row truly is, for the log alone.
    Raises ValueError when there are fewer rows than prompts per batch, Interrupted after a signal.
    """
    if len(rows) < settings.batch_size:
        raise ValueError(f"{len(rows)} prompts are too few for batches of {settings.batch_size}")
    frozen = reference_model
    if stage.reference != "none" and frozen is None and not settings.lora_rank:
        frozen = common.frozen_copy(model)
    given = common.arguments(settings, output)
    if stage.updates > 1:
        # A checkpoint in the middle of a batch of samples could not go on with it.
        given["save_steps"] = -(-given["save_steps"] // stage.updates) * stage.updates
    trainer = GroupTrainer(
        model=common.make_trainable(model, settings),
        reference_model=frozen,
        processor=processor,
        stage=stage,
        cfg=cfg,
        rows=rows,
        settings=settings,
        args=TrainingArguments(**given),
        truth=truth,
    )
    stop = common.watch(trainer, output, label, every=stage.updates)
    with stop:
        trainer.train_from(resume_from)
    trained: PreTrainedModel = sharded.whole(trainer, output)
    return trained
