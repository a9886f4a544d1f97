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

from reference_impls.core.data.rows import name_of, said
from reference_impls.core.method import GroupStage, Row, View
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


@dataclass
class Rollout:
    """What was sampled for a batch of prompts of this process, cut into passes.

    rewards: name -> (prompts, group). advantages: (prompts, group). Passes hold the rows of whole
    groups, of the prompts from one of `cuts` to the next; old_logps and ref_logps are (rows, T) of
    each pass.
    """

    passes: list[forward.ViewBatch]
    cuts: list[int]
    texts: list[list[str]]
    old_logps: list[Tensor]
    ref_logps: list[Tensor] | None
    weights: list[Tensor] | None
    rewards: dict[str, Tensor]
    advantages: Tensor
    kept: Tensor
    seconds: float
    tokens: int


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


class GroupTrainer(common.Checkpoints):
    """Trains with `stage.advantages` and `stage.loss` on groups of sampled answers."""

    def __init__(
        self,
        *,
        model: nn.Module,
        reference_model: PreTrainedModel | None,
        processor: Any,
        stage: GroupStage,
        cfg: Any,
        rows: Sequence[Row],
        settings: TrainSettings,
        args: TrainingArguments,
    ) -> None:
        self.stage, self.cfg, self.rows, self.settings = stage, cfg, rows, settings
        self.reference_model = reference_model
        self.processor = processor
        self.scorer = forward.Scorer(
            Encoder.for_rows(processor, rows), (VIEW,), shared=settings.shared_prefix
        )
        self.kept = {}
        self.engine: VllmEngine | None = None
        self.rollout: Rollout | None = None
        self.update = 0
        self._metrics: dict[str, float] = {}
        self._gradients: list[tuple[Tensor, Tensor]] = []
        self.passes_per_step = common.batch_layout(settings)[1]
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
        if self.stage.updates == 1:
            return super()._get_train_sampler(train_dataset)
        settings = self.settings
        return Repeated(len(self.rows), settings.batch_size, self.stage.updates, settings.seed)

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

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # the number of a pass; what it holds is on its device already

    @torch.no_grad()
    def _sample(self, batches: Sequence[list[int]]) -> Rollout:
        began = time.perf_counter()
        model = self.accelerator.unwrap_model(self.model)
        group, prompts = self.settings.group_size, [n for batch in batches for n in batch]
        rows = [self.rows[number] for number in prompts]
        repeated = [row for row in rows for _ in range(group)]
        # A stream of its own for each process and step: a resumed run draws the same answers.
        draws = self.state.global_step * self.accelerator.num_processes
        draws += self.accelerator.process_index
        asked = self.scorer.encoder.prompts([(row["prompt"], row["images"]) for row in rows])
        room = [self.settings.max_new_tokens] * len(rows)
        check_room(model.config, asked, room, list(map(name_of, rows, prompts)))
        answers = self._answers(model, repeated, draws)
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
        return Rollout(
            passes,
            cuts,
            [answers[start * group : stop * group] for start, stop in pairwise(cuts)],
            old,
            reference,
            weights,
            rewards,
            advantages[first : first + len(rows)],
            kept[first : first + len(rows)],
            sampled,
            int(sum(each.masks[VIEW.name].sum().item() for each in passes)),
        )

    def _answers(self, model: Any, rows: Sequence[Row], draws: int) -> list[str]:
        """An answer to each row: by the model's own `generate`, or by vLLM with its weights."""
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
        assert isinstance(self.model, nn.Module)
        return self.model

    def _logps(self, model: nn.Module, batch: forward.ViewBatch) -> Tensor:
        return self.scorer.score(model, batch).logps[VIEW.name]

    def _reference(self, passes: Sequence[forward.ViewBatch]) -> list[Tensor] | None:
        """(rows, T) of each pass under the reference; None where there is none."""
        if self.stage.reference == "none":
            return None
        with (
            self.accelerator.autocast(),  # the policy's own forward is wrapped in it
            common.as_reference(self._policy(), self.reference_model) as frozen,
        ):
            return [self._logps(frozen, each).detach() for each in passes]

    def _weights(self, passes: Sequence[forward.ViewBatch]) -> list[Tensor] | None:
        if self.stage.weights is None:
            return None
        found = []
        for each in passes:
            mask = each.masks[VIEW.name]
            values = torch.zeros(mask.shape)
            for place, answer in enumerate(each.answers[VIEW.name]):
                row = list(self.stage.weights(answer, self.cfg))
                if len(row) != len(answer.ids):
                    raise ValueError(f"weights: {len(row)} values for {len(answer.ids)} tokens")
                values[place, : len(row)] = torch.tensor(row)
            found.append(values.to(mask.device))
        return found

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
        self._metrics["groups_without_signal"] = (
            (whole == whole[:, :1]).all(1).float().mean().item()
        )
        self._metrics["groups_kept"] = kept.float().mean().item()
        self._metrics["generating_share"] = generating

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
        sums = {name: common.gathered(self.accelerator, each) for name, each in sums.items()}
        tokens = sums.pop("tokens")
        self._metrics["answer_tokens"] = tokens.mean().item()
        for name, each in sums.items():
            self._metrics[name] = (each.sum() / tokens.sum().clamp(min=1)).item()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's log with rewards by function and the objective's own metrics."""
        super().log({**logs, **self._metrics}, start_time)


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
) -> PreTrainedModel:
    """Train `model` (in place) on groups of answers to rows; the trained model.

    A row has `prompt`, `images` and `answer` (the truth, a str). `settings.batch_size` counts
    prompts per batch of samples, `per_device_batch_size` prompts in one forward pass.
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
    )
    stop = common.watch(trainer, output, label, every=stage.updates)
    with stop:
        trainer.train_from(resume_from)
    trained: PreTrainedModel = sharded.whole(trainer, output)
    return trained
