"""Training of a world's base: a small LLaVA that learns from nothing what the world shows.

A world hands in pages (`Page`): pictures and the lessons on them. All lessons of a page share one
row and one look at the pictures: a block mask lets a lesson see the pictures and itself, positions
restart, so that each is scored exactly as if it stood alone. A step of one picture thus teaches a
dozen answers. The model is the real `LlavaForConditionalGeneration`, only small; nothing of this
module is needed to use what it trains.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference_impls.core.worlds.protocol import IMAGE, Page


@dataclass(frozen=True)
class Size:
    """The shape of a model: pixels, layers, widths."""

    image: int
    patch: int
    hidden: int = 64
    vision_hidden: int = 96
    vision_layers: int = 2
    text_layers: int = 3
    heads: int = 4
    expansion: int = 3
    positions: int = 1024

    @property
    def tokens(self) -> int:
        """Image tokens per picture."""
        return (self.image // self.patch) ** 2


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a base is trained.

    The matrices of the layers are trained by Muon (Jordan et al. 2024, as in `torch.optim`), all
    else by AdamW: in the scenes world Muon gets in 100 CPU-seconds below the loss that AdamW alone
    had after 250, and what AdamW did not learn in ten minutes, one-word questions, is learnt.
    """

    steps: int
    pages: int = 12
    rate: float = 2e-3
    matrix_rate: float = 6e-3
    weight_decay: float = 0.01


def build(words: Sequence[str], size: Size) -> tuple[Any, Any]:
    """(model, processor), untrained."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    from reference_impls.core.model.build import build_processor

    processor = build_processor(tuple(words), size.image, size.patch)
    tokenizer = processor.tokenizer
    vision = CLIPVisionConfig(
        hidden_size=size.vision_hidden, intermediate_size=2 * size.vision_hidden,
        num_hidden_layers=size.vision_layers, num_attention_heads=size.heads,
        image_size=size.image, patch_size=size.patch, projection_dim=size.vision_hidden,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=size.hidden,
        intermediate_size=size.expansion * size.hidden, num_hidden_layers=size.text_layers,
        num_attention_heads=size.heads, num_key_value_heads=size.heads,
        max_position_embeddings=size.positions, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-1,
        vision_feature_select_strategy="default", image_seq_length=size.tokens,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    # CLIP starts its positions at 0.02, too faint beside patches to tell cells apart for long.
    torch.nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=0.3)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # A sampled image token would ask the next forward pass for an image that is not there.
    model.generation_config.suppress_tokens = [config.image_token_index]
    return model, processor


@dataclass
class Packed:
    """A batch of pages as tensors: B rows of L tokens, I pictures in all."""

    ids: Tensor  # (B, L)
    positions: Tensor  # (B, L)
    allowed: Tensor  # (B, 1, L, L) bool: may the row's token attend to the column's
    labels: Tensor  # (B, L) the token to be predicted AT each place, -100 where none is
    weights: Tensor  # (B, L) weight of that prediction
    pixels: Tensor  # (I, 3, H, W)


class Packer:
    """Pages -> `Packed`, for one tokenizer."""

    def __init__(self, processor: Any, size: Size) -> None:
        self.vocabulary: dict[str, int] = processor.tokenizer.get_vocab()
        self.size = size
        images = processor.image_processor
        self.mean = torch.tensor(images.image_mean).view(1, 3, 1, 1)
        self.deviation = torch.tensor(images.image_std).view(1, 3, 1, 1)

    def ids(self, text: str) -> list[int]:
        """Tokens of a text, a picture's marker as often as it has tokens; KeyError for a word that
        the vocabulary lacks."""
        ids: list[int] = []
        for word in text.split():
            ids += [self.vocabulary[word]] * (self.size.tokens if word == IMAGE else 1)
        return ids

    def page(self, page: Page) -> tuple[list[int], ...]:
        """One row: ids, positions, lesson (0 is what all share), whether the pictures are seen,
        labels, weights in thousandths."""
        word = self.vocabulary
        user, assistant, eos = word["<user>"], word["<assistant>"], word["<eos>"]
        ids = [word["<system>"], *self.ids(page.system)] if page.system else []
        ids.append(user)
        turn_end = len(ids)  # what a lesson without image sees
        ids += self.ids(page.opening)
        shared = len(ids)
        positions = list(range(shared))
        group, sees = [0] * shared, [0] * turn_end + [1] * (shared - turn_end)
        labels, weights = [-100] * shared, [0] * shared
        for number, lesson in enumerate(page.lessons, 1):
            part: list[int] = []
            goal: list[int] = []
            weight: list[int] = []
            for turn, reply in enumerate(lesson.turns):
                prompt = [*([user] if turn else []), *self.ids(reply.prompt), assistant]
                answer = [*self.ids(reply.answer), eos]
                heard = [*self.ids(reply.heard or reply.answer), eos]
                if len(heard) != len(answer):
                    raise ValueError(f"'{reply.heard}' is not as long as '{reply.answer}'")
                part += prompt + heard
                # The place before a token predicts it: the answer starts at <assistant>.
                goal += [-100] * (len(prompt) - 1) + answer + [-100]
                share = round(1000 / math.sqrt(len(answer)))
                weight += [0] * (len(prompt) - 1) + [share] * len(answer) + [0]
            start = shared if lesson.sees_image else turn_end
            ids += part
            positions += range(start, start + len(part))
            group += [number] * len(part)
            sees += [1 if lesson.sees_image else 0] * len(part)
            labels += goal
            weights += weight
        return ids, positions, group, sees, labels, weights

    def pack(self, pages: Sequence[Page]) -> Packed:
        rows = [self.page(page) for page in pages]
        length = -(-max(len(row[0]) for row in rows) // 16) * 16
        fill = (self.vocabulary["<pad>"], 0, -1, 0, -100, 0)
        table = np.empty((6, len(rows), length), np.int64)
        for column, value in enumerate(fill):
            table[column] = value
            for number, row in enumerate(rows):
                table[column, number, : len(row[column])] = row[column]
        ids, positions, group, sees, labels, weights = torch.from_numpy(table)
        same = group[:, :, None] == group[:, None, :]
        shared = (group[:, None, :] == 0) & (sees[:, None, :] <= sees[:, :, None])
        allowed = (same | shared) & torch.ones(length, length, dtype=torch.bool).tril()
        pictures = np.stack([image for page in pages for image in page.images])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return Packed(
            ids, positions, allowed[:, None], labels, weights.float() / 1000,
            (pixels - self.mean) / self.deviation,
        )  # fmt: skip


def answer_loss(model: Any, batch: Packed) -> Tensor:
    """Weighted negative log-likelihood of the answers, per page; one look at each picture."""
    inner = model.model
    embeddings = inner.get_input_embeddings()(batch.ids)
    if len(batch.pixels):
        features = inner.get_image_features(pixel_values=batch.pixels, return_dict=True)
        pooled = torch.cat(list(features.pooler_output)).to(embeddings.dtype)
        places = (batch.ids == model.config.image_token_index)[..., None].expand_as(embeddings)
        embeddings = embeddings.masked_scatter(places, pooled)
    hidden = inner.language_model(
        inputs_embeds=embeddings, attention_mask=batch.allowed,
        position_ids=batch.positions, use_cache=False,
    ).last_hidden_state  # fmt: skip
    places = batch.labels != -100
    logits = model.lm_head(hidden[places])
    each = torch.nn.functional.cross_entropy(logits, batch.labels[places], reduction="none")
    total: Tensor = (each * batch.weights[places]).sum() / len(batch.ids)
    return total


def _optimizers(model: Any, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest: embeddings, head, norms, biases."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, parameter in model.named_parameters():
        layer = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if layer else rest).append(parameter)
    adam = torch.optim.AdamW(
        rest, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay, fused=True
    )
    muon = torch.optim.Muon(
        matrices, lr=recipe.matrix_rate, weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    return [adam, muon]


def train(
    model: Any,
    processor: Any,
    size: Size,
    page: Callable[[random.Random, float], Page],
    recipe: Recipe,
    *,
    seed: int,
    report: Callable[[int, float, Any], None] | None = None,
    stop_after: int | None = None,
) -> list[float]:
    """Train in place on pages drawn as `page(rng, share of the training done)`; the losses.

    `report` is called after every step with its number, its loss and the model.

    3 % warm-up, then cosine to zero. One process, one thread: the same seed gives the same
    model on the same machine. `stop_after` ends early on the same path.
    """
    packer = Packer(processor, size)
    rng = random.Random(f"base/{seed}")
    optimizers = _optimizers(model, recipe)
    warm_up = max(1, round(0.03 * recipe.steps))

    def rate(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, recipe.steps - warm_up)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    model.train()
    losses: list[float] = []
    for step in range(recipe.steps if stop_after is None else stop_after):
        batch = packer.pack([page(rng, step / recipe.steps) for _ in range(recipe.pages)])
        loss = answer_loss(model, batch)
        model.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        losses.append(loss.item())
        if report is not None:
            report(step + 1, losses[-1], model)
    model.eval()
    return losses
