"""A small CLIP, trained in a world: how well does a text fit a picture?

The real `CLIPModel`, from nothing, on the world's pictures and true texts: the contrastive loss of
Radford et al. 2021 (arXiv:2103.00020, section 2.3), with each text's distorted twin as one more
negative, since a world's texts differ in a word.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from reference_impls.core.worlds.protocol import Task, World

PAD, EOS, UNKNOWN = 0, 1, 2
WORDS = "words.json"


@dataclass(frozen=True)
class ClipRecipe:
    """What a CLIP of a world is trained on, and how long: below a minute of one core."""

    scenes: int = 1024
    steps: int = 400
    batch: int = 32
    rate: float = 2e-3
    width: int = 64
    layers: int = 2
    heads: int = 4
    patch: int = 8
    longest: int = 96


@dataclass
class Clip:
    """A trained CLIP with its vocabulary: `fits` gives one cosine per picture and text."""

    model: Any
    words: dict[str, int]

    @classmethod
    def load(cls, folder: Path) -> Clip:
        """One that `save` wrote."""
        from transformers import CLIPModel

        words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        return cls(CLIPModel.from_pretrained(folder).eval(), words)

    def save(self, folder: Path) -> None:
        """Write the checkpoint and its vocabulary."""
        self.model.save_pretrained(folder)
        (folder / WORDS).write_text(json.dumps(self.words), encoding="utf-8")

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """(N, L) ids, padded on the right, and their mask."""
        longest = self.model.config.text_config.max_position_embeddings
        rows = [
            [*(self.words.get(word, UNKNOWN) for word in text.split()[: longest - 1]), EOS]
            for text in texts
        ]
        width = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, d) of length 1."""
        found = self.model.text_model(**self.tokens(texts)).pooler_output
        return unit(self.model.text_projection(found))

    def of_pictures(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, d) of length 1."""
        found = self.model.vision_model(pixel_values=pixels).pooler_output
        return unit(self.model.visual_projection(found))

    @torch.no_grad()
    def fits(self, images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> list[float]:
        """Cosine of each text and its pictures, whose vectors are averaged.

        Raises LookupError for a text without a picture.
        """
        if any(not each for each in images):
            raise LookupError("clip judges texts about pictures, and one has no picture")
        side = self.model.config.vision_config.image_size
        found: list[float] = []
        for start in range(0, len(texts), 256):
            part = images[start : start + 256]
            shown = self.of_pictures(pixels([each for given in part for each in given], side))
            ends = np.cumsum([len(given) for given in part]).tolist()
            vectors = torch.stack(
                [
                    shown[end - len(given) : end].mean(0)
                    for end, given in zip(ends, part, strict=True)
                ]
            )
            told = self.of_texts(texts[start : start + 256])
            found += (unit(vectors) * told).sum(-1).tolist()
        return found


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1."""
    lengths: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / lengths.clamp_min(1e-12)


def pixels(images: Sequence[Image.Image], side: int) -> Tensor:
    """(N, 3, side, side) in [-1, 1]."""
    arrays = [
        np.asarray(image.convert("RGB").resize((side, side)), dtype=np.float32) for image in images
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1


def build(words: Sequence[str], side: int, recipe: ClipRecipe) -> Clip:
    """An untrained one for pictures of side x side pixels."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    vocabulary = {word: number for number, word in enumerate(words, UNKNOWN + 1)}
    common: dict[str, Any] = {
        "hidden_size": recipe.width,
        "intermediate_size": 3 * recipe.width,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "projection_dim": recipe.width,
    }
    text = CLIPTextConfig(
        **common, vocab_size=len(vocabulary) + UNKNOWN + 1, pad_token_id=PAD, bos_token_id=UNKNOWN,
        eos_token_id=EOS, max_position_embeddings=recipe.longest,
    )  # fmt: skip
    vision = CLIPVisionConfig(**common, image_size=side, patch_size=recipe.patch)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=recipe.width
    )
    return Clip(CLIPModel(config), vocabulary)


def contrast(pictures: Tensor, texts: Tensor, twins: Tensor, scale: Tensor) -> Tensor:
    """() loss of (B, d) pictures with their texts, each text's distorted twin a further negative.

    Mean of both directions of -log softmax of scale times cosine, as in CLIP."""
    places = torch.arange(len(pictures), device=pictures.device)
    told = scale * pictures @ torch.cat([texts, twins]).T
    shown = scale * texts @ pictures.T
    return (cross_entropy(told, places) + cross_entropy(shown, places)) / 2


def train(world: World[Any], task: Task[Any], recipe: ClipRecipe, seed: int = 0) -> Clip:
    """A CLIP of the world's pictures and of true answers to a task; the same for the same seed."""
    rng = random.Random(f"clip/{seed}")
    items = task.items(world.draw("pairs", recipe.scenes, 7000 + seed), seed)
    shown = [world.show(item.scene).images for item in items]
    kept = [place for place, images in enumerate(shown) if images]
    if not kept:
        raise LookupError(f"the task {task.id} shows no picture for a clip to be trained on")
    first = [shown[place][0] for place in kept]
    side = -(-first[0].width // recipe.patch) * recipe.patch
    images = pixels(first, side)
    truths = [items[place].truth for place in kept]
    twins = [task.distort(items[place], items[place].truth, rng) for place in kept]
    words = sorted({word for text in (*truths, *twins) for word in text.split()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = build(words, side, recipe)
    model = clip.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.01)
    warm_up = max(1, recipe.steps // 20)
    for step in range(recipe.steps):
        rate = min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * rate
        chosen = rng.sample(range(len(kept)), min(recipe.batch, len(kept)))
        texts = clip.of_texts([truths[n] for n in chosen] + [twins[n] for n in chosen])
        own, other = texts[: len(chosen)], texts[len(chosen) :]
        scale = model.logit_scale.exp().clamp(max=100)
        loss = contrast(clip.of_pictures(images[chosen]), own, other, scale)
        model.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    return clip
