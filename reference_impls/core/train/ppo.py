"""Training with a value head on the policy's own answers (`PpoStage`).

A batch of prompts is answered once; rewards, values and advantages are worked out over the batch of
all processes, which then is gone through `epochs` times in `minibatches` optimizer steps. A row of
a batch is known by its prompt's number (and its step in an episode), and a minibatch is drawn over
these: neither the number of processes nor accumulation changes who is in it. The loss is taken over
the whole minibatch, and its gradient with respect to log-probabilities and values is handed to the
passes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from reference_impls.core.data.rows import said
from reference_impls.core.lab import Lab
from reference_impls.core.method import PpoStage, Row
from reference_impls.core.objective.ppo import at_the_end, explained_variance, token_rewards
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train import common, forward, sharded
from reference_impls.core.train.episodes import play
from reference_impls.core.train.head import HEAD, TrainedHead
from reference_impls.core.train.reference import bare
from reference_impls.core.train.sampling import VIEW, SamplingTrainer, Truth

CRITIC = "critic"
"""Folder of a critic's own model inside a checkpoint."""
KL = "kl_coefficient"


class ActorCritic(nn.Module):
    """A policy, and a linear head that says what is to be expected: `(scorer, batch)` -> (logps,
    values), (B, T) each. The head reads the policy's last hidden states, or those of `critic`."""

    def __init__(self, policy: nn.Module, critic: nn.Module | None) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic
        layer = bare(policy if critic is None else critic).get_output_embeddings()
        if critic is not None and layer.weight is not bare(critic).get_input_embeddings().weight:
            layer.weight.requires_grad_(False)  # nothing is read from the vocabulary
        width, device = layer.weight.shape[1], layer.weight.device
        self.head = nn.Linear(width, 1, device=device, dtype=torch.float32)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, scorer: forward.Scorer, batch: forward.ViewBatch) -> tuple[Tensor, Tensor]:
        scores = scorer.score(self.policy, batch, states=self.critic is None)
        states = scores.states
        if self.critic is not None:
            states = scorer.states(self.critic, batch, before=True)
        logps = scores.logps[VIEW.name]
        values: Tensor = self.head(states[VIEW.name].float())[..., 0]
        return logps, values * scores.masks[VIEW.name].to(values)

    def gradient_checkpointing_enable(self, **options: Any) -> None:
        """As `Trainer` asks for it."""
        for model in (self.policy, self.critic):
            if model is not None:
                bare(model).gradient_checkpointing_enable(**options)

    def save(self, folder: Path) -> None:
        """Write the policy's checkpoint, the head's weights beside it and the critic below it."""
        folder.mkdir(parents=True, exist_ok=True)
        policy: Any = self.policy
        policy.save_pretrained(folder)
        if self.critic is not None:
            critic: Any = self.critic
            critic.save_pretrained(folder / CRITIC)
        weights = {
            n: each.detach().cpu().contiguous() for n, each in self.head.state_dict().items()
        }
        save_file(weights, folder / HEAD)


def actor_critic(
    model: PreTrainedModel,
    settings: TrainSettings,
    kind: Literal["shared", "separate", "reward"],
    judge: TrainedHead | None,
) -> ActorCritic:
    """A model as the policy, with the critic of that kind; `judge` is a trained reward model.

    Raises ValueError where the reward model is asked for and there is none.
    """
    if kind == "shared":
        return ActorCritic(common.make_trainable(model, settings), None)
    if kind == "separate":
        twin = copy.deepcopy(model)
    elif judge is None:
        raise ValueError("the critic begins as the reward model, and no stage before trained one")
    else:
        twin = copy.deepcopy(bare(judge.headed.model))
        twin.requires_grad_(True)
    critic = common.make_trainable(twin, settings)
    made = ActorCritic(common.make_trainable(model, settings), critic)
    if kind == "reward" and judge is not None:
        first = {name: each[:1] for name, each in judge.headed.head.state_dict().items()}
        made.head.load_state_dict(first)
    return made


@dataclass
class Samples:
    """What was sampled for a batch of prompts: tensors over all processes, rows of this one.

    Rows are ordered by the number of their prompt (and step); `places` says where those of this
    process, `rows`, stand among the N of all. logps, ref_logps, values, advantages, returns, mask,
    weights: (N, T).
    """

    rows: list[Row]
    places: list[int]
    tensors: dict[str, Tensor]
    answers: int
    number: int
    split: dict[int, list[Tensor]] = field(default_factory=dict)

    def minibatch(self, seed: int, update: int, count: int) -> Tensor:
        """(M,) places of the rows of an update; those of an epoch take turns."""
        epoch, part = divmod(update, count)
        if epoch not in self.split:
            draw = torch.Generator().manual_seed(1_000_003 * seed + 1009 * self.number + epoch)
            order = torch.randperm(self.answers, generator=draw)
            self.split[epoch] = [each.sort().values for each in order.tensor_split(count)]
        return self.split[epoch][part]


class PpoTrainer(SamplingTrainer):
    """Trains with `stage.gae` and `stage.loss` on answers and values."""

    def __init__(
        self, *, stage: PpoStage, cfg: Any, settings: TrainSettings, lab: Lab, **given: Any
    ) -> None:
        self.stage, self.lab = stage, lab
        self.samples: Samples | None = None
        self._parts: list[forward.ViewBatch] = []
        self._gradients: list[tuple[Tensor, Tensor]] = []
        self._minibatch: dict[str, Tensor] | None = None
        self._loss = torch.zeros(())
        super().__init__(stage=stage, cfg=cfg, settings=settings, **given)
        if sharded.is_sharded(self):
            raise ValueError(
                "a policy with a value head is not trained in pieces here: launch with ddp.yaml, "
                "not with FSDP or DeepSpeed"
            )
        control = None if stage.kl is None else stage.kl(cfg)
        self.kl_control = control
        if control is not None:
            self.kept[KL] = control.coefficient

    @property
    def actor(self) -> ActorCritic:
        """The policy with its critic."""
        found: ActorCritic = self.accelerator.unwrap_model(self.model)
        return found

    def _writer(self) -> nn.Module:
        return self.actor.policy

    def _policy(self) -> nn.Module:
        return self.actor.policy

    # --- a step ------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """Answers to the next prompts, or the next minibatch of the ones that are there."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return [], None
        update = self.update % self.stage.updates
        if self.samples is None or not update:
            self.samples = self._sample([number for batch in batches for number in batch])
        self.update += 1
        places = self.samples.minibatch(self.settings.seed, update, self.stage.minibatches)
        self._score_minibatch(self.samples, places, len(batches), first=not update)
        return [{"pass": number} for number in range(len(batches))], None

    @torch.no_grad()
    def _sample(self, numbers: Sequence[int]) -> Samples:
        began = time.perf_counter()
        stage = self.stage
        rows = [self.rows[number] for number in numbers]
        if stage.environments is None:
            self._check_room(rows, numbers)
            answers = self._answers(rows, self._stream())
            keys = [(number, 0) for number in numbers]
            asked, paid, true = rows, None, self._true_scores(rows, answers)
        else:
            environments = stage.environments(self.lab, rows, self.cfg)
            played = play(environments, rows, self._answers, self._stream())
            keys = [(numbers[step.episode], step.number) for step in played.steps]
            asked, answers = [step.row for step in played.steps], [s.answer for s in played.steps]
            paid = torch.tensor([step.reward for step in played.steps])
            true = played.successes
        sampled = time.perf_counter() - began
        full = [
            {**row, VIEW.response: said(answer), "response": answer}
            for row, answer in zip(asked, answers, strict=True)
        ]
        size = common.batch_layout(self.settings)[0]
        passes = [
            self.scorer.collate(full[start : start + size]).to(self.args.device)
            for start in range(0, len(full), size)
        ]
        scored = [self._scored(each) for each in passes]
        reference = self._reference(passes)
        marks = self._weights(passes)
        for row, answer in zip(
            full, [a for each in passes for a in each.answers[VIEW.name]], strict=True
        ):
            row["finished"] = answer.finished
            row["tokens"] = len(answer.ids)
        own: dict[str, list[Tensor]] = {
            "mask": [each.masks[VIEW.name].float() for each in passes],
            "logps": [each[0] for each in scored],
            "values": [each[1] for each in scored],
        }
        if reference is not None:
            own["ref_logps"] = reference
        if marks is not None:
            own["weights"] = marks
        tensors = {
            name: common.everyones(self.accelerator, common.stacked(parts))
            for name, parts in own.items()
        }
        device = tensors["mask"].device
        known = common.everyones(self.accelerator, torch.tensor(keys, device=device))
        order = sorted(range(len(known)), key=lambda place: (*known[place].tolist(), place))
        tensors = {name: each[order] for name, each in tensors.items()}
        known = known[order]
        rewards = self._rewards(full) if paid is None else {"reward": paid}
        everyone = {
            name: common.everyones(self.accelerator, each.to(device))[order]
            for name, each in rewards.items()
        }
        # Rows of this process stand among those of all in the order of processes.
        counts = common.everyones(self.accelerator, torch.tensor([[len(full)]], device=device))
        start = int(counts[: self.accelerator.process_index].sum())
        back = {place: rank for rank, place in enumerate(order)}
        places = [back[start + number] for number in range(len(full))]
        if paid is None:
            self._estimate(tensors, everyone)
        else:
            self._estimate_episodes(tensors, everyone["reward"], known)
        self._note(tensors, everyone, sampled / (time.perf_counter() - began))
        self._note_truth(true)
        self._note_policy(passes, [each[0] for each in scored], reference)
        number = self.state.global_step // stage.updates
        return Samples(full, places, tensors, len(known), number)

    def _scored(self, batch: forward.ViewBatch) -> tuple[Tensor, Tensor]:
        """(logps, values) of a pass by the model as it is wrapped: in its precision."""
        found: tuple[Tensor, Tensor] = self.model_wrapped(self.scorer, batch)
        return found

    def _rewards(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Name -> (B,) of the rows of this process."""
        answers = [row["response"] for row in rows]
        truths = [str(row.get("answer", "")) for row in rows]
        found: dict[str, Sequence[float]] = {
            name: reward(answers, truths)
            for name, reward in self.stage.rewards_of(self.cfg).items()
        }
        for name, score in self.stage.scores_of(self.cfg).items():
            found[name] = score(self.lab, rows, self.cfg)
        return {name: torch.tensor(list(each), dtype=torch.float32) for name, each in found.items()}

    def _estimate(self, tensors: dict[str, Tensor], rewards: Mapping[str, Tensor]) -> None:
        """Add advantages and returns to what is known of all answers."""
        mask, stage = tensors["mask"], self.stage
        total = torch.stack(list(rewards.values())).sum(0)
        if stage.combine is not None:
            total = stage.combine(rewards, self.cfg)
        self._metrics["reward"] = total.mean().item()
        self._metrics["batch_without_signal"] = float((total == total[0]).all())
        logps, reference = tensors["logps"], tensors.get("ref_logps")
        coefficient = self.kept.get(KL, 0.0)
        if stage.shape is not None:
            shaped = stage.shape(total, logps, reference, mask, self.cfg, coefficient)
        elif reference is None or self.kl_control is None:
            shaped = at_the_end(torch.zeros_like(mask), total, mask)
        else:
            shaped = token_rewards(total, logps, reference, mask, coefficient)
        advantages, returns = stage.gae(shaped, tensors["values"], mask, self.cfg)
        if self.kl_control is not None and reference is not None:
            apart = ((logps - reference) * mask).sum(-1).mean().item()
            self._metrics |= {KL: coefficient, "kl_of_answer": apart}
            self.kept[KL] = self.kl_control.after(coefficient, apart, len(mask))
        self._finish(tensors, advantages, returns, mask)

    def _estimate_episodes(self, tensors: dict[str, Tensor], paid: Tensor, keys: Tensor) -> None:
        """The same where an answer is a step of an episode: GAE goes over steps."""
        # Steps of an episode follow each other, and 0 is the first of each.
        episode = (keys[:, 1] == 0).long().cumsum(0) - 1
        shape = int(episode[-1]) + 1, int(keys[:, 1].max()) + 1
        where = (episode, keys[:, 1])
        rewards, values, mask = (paid.new_zeros(shape) for _ in range(3))
        rewards[where], values[where], mask[where] = paid, tensors["values"][:, 0], 1.0
        self._metrics["reward"] = rewards.sum(1).mean().item()
        self._metrics["batch_without_signal"] = float((paid == paid[0]).all())
        self._metrics["episode_steps"] = mask.sum(1).mean().item()
        advantages, returns = self.stage.gae(rewards, values, mask, self.cfg)
        if self.stage.normalise is not None:
            advantages = self.stage.normalise(advantages, mask, self.cfg)
        self._metrics["explained_variance"] = explained_variance(values, returns, mask).item()
        of_token = tensors["mask"]
        tensors["advantages"] = advantages[where][:, None] * of_token
        tensors["returns"] = returns[where][:, None] * of_token
        tensors["values"] = values[where][:, None] * of_token

    def _finish(
        self, tensors: dict[str, Tensor], advantages: Tensor, returns: Tensor, mask: Tensor
    ) -> None:
        if self.stage.normalise is not None:
            advantages = self.stage.normalise(advantages, mask, self.cfg)
        variance = explained_variance(tensors["values"], returns, mask)
        self._metrics["explained_variance"] = variance.item()
        tensors |= {"advantages": advantages, "returns": returns}

    # --- the loss ----------------------------------------------------------------------------

    def _score_minibatch(self, samples: Samples, places: Tensor, passes: int, first: bool) -> None:
        """Divide a minibatch's rows of this process over passes, and take the loss over all of it.

        With one pass and one process the loss is taken in the pass itself; elsewhere here, and the
        passes are handed its gradient."""
        self._minibatch = None  # the last step's, which a step of several passes does not have
        chosen = {int(place): number for number, place in enumerate(places)}
        mine = [n for n, place in enumerate(samples.places) if place in chosen]
        mine.sort(key=lambda n: samples.places[n])  # as the minibatch's tensors lie
        cut = [each.tolist() for each in torch.tensor(mine, dtype=torch.long).tensor_split(passes)]
        # A pass without rows has one with a gradient of zero: every process makes as many.
        numbers = [each or [0] for each in cut]
        self._parts = [
            self.scorer.collate([samples.rows[n] for n in each], each).to(self.args.device)
            for each in numbers
        ]
        batch = {name: each[places] for name, each in samples.tensors.items()}
        if passes == 1 and self.accelerator.num_processes == 1:
            self._minibatch = batch
            return
        now = {"logps": batch["logps"], "values": batch["values"]}
        at = [[chosen[samples.places[n]] for n in each] for each in cut]
        if not first:
            with torch.no_grad():
                now = self._current(batch, at)
        leaves = [each.clone().requires_grad_() for each in now.values()]
        loss = self._loss_of(batch, *leaves)
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        whole = [
            torch.zeros_like(leaf) if each is None else each
            for each, leaf in zip(found, leaves, strict=True)
        ]
        self._loss = loss.detach()
        self._gradients = [(whole[0][rows], whole[1][rows]) for rows in at]

    def _current(self, batch: Mapping[str, Tensor], at: Sequence[list[int]]) -> dict[str, Tensor]:
        """(M, T) log-probabilities and values of a minibatch as the model is now."""
        now = {name: torch.zeros_like(batch[name]) for name in ("logps", "values")}
        for rows, part in zip(at, self._parts, strict=True):
            for name, each in zip(now, self._scored(part), strict=True):
                if rows:
                    now[name][rows, : each.shape[1]] = each.to(now[name])
        if self.accelerator.num_processes > 1:
            now = {n: self.accelerator.reduce(each, "sum") for n, each in now.items()}
        return now

    def _loss_of(self, batch: Mapping[str, Tensor], logps: Tensor, values: Tensor) -> Tensor:
        if self.stage.environments is not None:
            values = values[:, :1] * batch["mask"]
        loss, metrics = self.stage.loss(
            logps, batch["logps"], batch.get("ref_logps"), batch["advantages"], batch["mask"],
            self.cfg, values=values, old_values=batch["values"], returns=batch["returns"],
            weights=batch.get("weights"),
        )  # fmt: skip
        self._metrics |= {n: v.detach().float().mean().item() for n, v in metrics.items()}
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of a minibatch, or what has a pass's part of its gradient and its value."""
        number = inputs["pass"]
        logps, values = model(self.scorer, self._parts[number])
        if self._minibatch is not None:
            width = self._minibatch["mask"].shape[1]
            wide = [nn.functional.pad(e, (0, width - e.shape[1])) for e in (logps, values)]
            return self._loss_of(self._minibatch, *wide)
        by_logps, by_values = (each[:, : logps.shape[1]] for each in self._gradients[number])
        factor = self.current_gradient_accumulation_steps * self.accelerator.num_processes
        surrogate = (0 * logps).sum() + (0 * values).sum()
        if len(by_logps):
            surrogate = ((by_logps * logps).sum() + (by_values * values).sum()) * factor
        return surrogate - surrogate.detach() + self._loss

    # --- the log -----------------------------------------------------------------------------

    def _note(
        self, tensors: Mapping[str, Tensor], rewards: Mapping[str, Tensor], generating: float
    ) -> None:
        if self.stage.environments is None:
            self._metrics |= {name: each.mean().item() for name, each in rewards.items()}
        self._metrics["generating_share"] = generating

    # --- checkpoints -------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.actor.save(Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        actor, folder = self.actor, Path(resume_from_checkpoint)
        super()._load_from_checkpoint(str(folder), actor.policy)
        if actor.critic is not None:
            super()._load_from_checkpoint(str(folder / CRITIC), actor.critic)
        actor.head.load_state_dict(load_file(folder / HEAD))


def train_ppo(
    model: PreTrainedModel,
    processor: Any,
    rows: Sequence[Row],
    *,
    stage: PpoStage,
    cfg: Any,
    settings: TrainSettings,
    output: Path,
    lab: Lab,
    resume_from: Path | None = None,
    reference_model: PreTrainedModel | None = None,
    label: str = "",
    truth: Truth | None = None,
) -> PreTrainedModel:
    """Train `model` (in place) on its answers to rows; the trained model.

    A row has `prompt` and `images`, and `answer` (the truth, a str) where a reward function reads
    it. `settings.batch_size` counts prompts (or episodes) per batch of samples; a minibatch has its
    share of them. `lab` is what scores and environments are given, with the heads that earlier
    stages trained. Raises ValueError when there are fewer rows than prompts per batch, or fewer
    prompts than minibatches, Interrupted after a signal.
    """
    if len(rows) < settings.batch_size:
        raise ValueError(f"{len(rows)} prompts are too few for batches of {settings.batch_size}")
    common.check_batch(stage, settings)
    frozen = reference_model
    if stage.reference != "none" and frozen is None and not settings.lora_rank:
        frozen = common.frozen_copy(model)
    judge = list(lab.trained.values())[-1] if lab.trained else None
    given = common.arguments(settings, output)
    if stage.updates > 1:
        # A checkpoint in the middle of a batch of samples could not go on with it.
        given["save_steps"] = -(-given["save_steps"] // stage.updates) * stage.updates
    trainer = PpoTrainer(
        model=actor_critic(model, settings, stage.critic, judge),
        reference_model=frozen,
        processor=processor,
        stage=stage,
        cfg=cfg,
        rows=rows,
        settings=settings,
        lab=lab,
        args=TrainingArguments(**given),
        truth=truth,
    )
    with common.watch(trainer, output, label, every=stage.updates):
        trainer.train_from(resume_from)
    trained: Any = trainer.actor.policy
    found: PreTrainedModel = trained
    return found
