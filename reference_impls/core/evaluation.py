"""Held-out metrics of a model in a world: what it says, and how it scores fixed answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image

from reference_impls.core import pairs
from reference_impls.core.generation import encode
from reference_impls.core.policy import Policy
from reference_impls.core.worlds import DrawnWorld

HELD_OUT_SCENES = 512
HELD_OUT_PAIRS = 256


@torch.no_grad()
def answer_logps(model, processor, prompts, answers, images, batch_size: int = 128) -> torch.Tensor:
    """(N,) log pi(answer | image, prompt), summed over the answer's tokens and its end token."""
    device, totals = next(model.parameters()).device, []
    model.eval()
    end = processor.tokenizer.eos_token
    for start in range(0, len(prompts), batch_size):
        chunk = slice(start, start + batch_size)
        inputs = encode(processor, prompts[chunk], images[chunk])
        tail = processor.tokenizer(
            [f"{answer} {end}" for answer in answers[chunk]], padding=True, padding_side="right",
            add_special_tokens=False, return_tensors="pt",
        )  # fmt: skip
        ids = torch.cat([inputs["input_ids"], tail["input_ids"]], 1)
        mask = torch.cat([inputs["attention_mask"], tail["attention_mask"]], 1)
        more = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
        for name in ("mm_token_type_ids", "token_type_ids"):
            if name in more:
                more[name] = torch.cat([more[name], torch.zeros_like(tail["input_ids"])], 1)
        batch = {"input_ids": ids, "attention_mask": mask, **more}
        logits = model(**{k: v.to(device) for k, v in batch.items()}).logits
        width = tail["input_ids"].shape[1]
        logps = logits[:, -width - 1 : -1].float().log_softmax(-1)
        picked = logps.gather(-1, tail["input_ids"].to(device).unsqueeze(-1)).squeeze(-1)
        totals.append((picked * tail["attention_mask"].to(device)).sum(-1).cpu())
    return torch.cat(totals)


@dataclass(frozen=True)
class HeldOut:
    """Fixed pairs to score: the base's own answers, ordered by an annotator who is never wrong.

    The better answer is scored under the true image, a blank one and another scene's; the worse one
    under the true image.
    """

    prompts: list[str]
    chosen: list[str]
    rejected: list[str]
    images: list[Image.Image]

    def measure(self, model, processor) -> dict[str, float]:
        """chosen_logp, rejected_logp: mean log-probability in nats. image_sensitivity: how much
        more likely the better answer is under its image than under a blank and another one, in
        nats."""
        blank = [Image.new("RGB", image.size, (70, 70, 74)) for image in self.images]
        shuffled = self.images[1:] + self.images[:1]

        def scored(answers, images):
            return answer_logps(model, processor, self.prompts, answers, images)

        chosen, rejected = scored(self.chosen, self.images), scored(self.rejected, self.images)
        wrong = (scored(self.chosen, blank) + scored(self.chosen, shuffled)) / 2
        return {
            "chosen_logp": chosen.mean().item(),
            "rejected_logp": rejected.mean().item(),
            "reward_accuracy": (chosen > rejected).float().mean().item(),
            "image_sensitivity": (chosen - wrong).mean().item(),
        }


@dataclass(frozen=True)
class HeldOutPrompts:
    """Questions of a real dataset that were kept back, judged by the script's own rewards."""

    rows: list[dict]
    rewards: dict

    def measure(self, model, processor) -> dict[str, float]:
        """Mean of each reward over greedy answers."""
        answers = Policy(model, processor).answer(
            [pairs.text(row["prompt"]) for row in self.rows],
            [row["images"][0] for row in self.rows],
            max_new_tokens=256,
        )
        truths = [row["answer"] for row in self.rows]
        return {
            name: sum(reward(answers, truths)) / len(answers)
            for name, reward in self.rewards.items()
        }


def held_out(world: DrawnWorld, base: Policy, annotator) -> HeldOut:
    """Held-out pairs of a world: answers of the base to scenes that no training sees."""
    rows = pairs.sampled_pairs(world, base, annotator)
    return HeldOut(
        prompts=[pairs.text(row["prompt"]) for row in rows],
        chosen=[pairs.text(row["chosen"]) for row in rows],
        rejected=[pairs.text(row["rejected"]) for row in rows],
        images=[row["images"][0] for row in rows],
    )


def held_out_rows(rows: list[dict]) -> HeldOut:
    """The same for pairs of a real dataset that were kept back."""
    return HeldOut(
        prompts=[pairs.text(row["prompt"]) for row in rows],
        chosen=[pairs.text(row["chosen"]) for row in rows],
        rejected=[pairs.text(row["rejected"]) for row in rows],
        images=[row["images"][0] for row in rows],
    )


def behaviour(policy: Policy, world: DrawnWorld) -> dict[str, float]:
    """Greedy answers of a model to held-out scenes: CHAIR, recall, length, POPE."""
    rules = world.rules
    captions = policy.answer([rules.CAPTION_PROMPT] * len(world.scenes), world.images)
    rng = world.rng("questions")
    questions = [rules.presence_question(scene, rng, world.split) for scene in world.scenes]
    answers = policy.answer(
        [rules.presence_prompt(name) for name, _ in questions], world.images, max_new_tokens=4
    )
    truths = [truth for _, truth in questions]
    return rules.chair(world.scenes, captions) | rules.pope(truths, answers)
