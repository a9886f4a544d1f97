"""Where a model looks while it answers: attention of the answer's tokens on the tokens of images.

For any decoder of `transformers` whose layers have a `self_attn` that gives its weights (eager
attention, which is switched on for the reading and off again). One layer is read, so that memory
does not grow with depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from reference_impls.core.model.encode import Encoder, Messages, Prompt
    from reference_impls.core.model.policy import Policy

Box = tuple[float, float, float, float]
"""left, top, right, bottom of a part of an image, as shares of its width and height."""


@dataclass(frozen=True)
class Look:
    """What one answer looked at.

    maps: for each image (tokens,), the mean over heads and answer tokens of the attention on each
    of its tokens. logps: (T,) log-probability of each token of the answer, its ending included.
    """

    maps: tuple[Tensor, ...]
    logps: Tensor

    @property
    def perplexity(self) -> float:
        """exp of minus the mean log-probability per token."""
        return math.exp(-self.logps.mean().item())

    def share_of_image(self, number: int) -> float:
        """The mean attention on an image's tokens, of the sum of those means over all images."""
        means = [each.mean().item() for each in self.maps]
        return means[number] / sum(means)

    def share_of_box(self, box: Box, number: int = 0, columns: int | None = None) -> float:
        """The attention on a part of an image, of that on the whole image.

        A token counts where its middle lies in the box. Tokens stand in rows of `columns`; without
        it they form a square. Raises ValueError where they do not.
        """
        map_ = self.maps[number]
        width = columns or math.isqrt(len(map_))
        height, rest = divmod(len(map_), width)
        if rest or (columns is None and height != width):
            raise ValueError(f"{len(map_)} tokens of an image do not fill rows of {width}")
        x = ((torch.arange(width) + 0.5) / width).expand(height, width)
        y = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
        left, top, right, bottom = box
        inside = (left <= x) & (x < right) & (top <= y) & (y < bottom)
        return (map_[inside.flatten()].sum() / map_.sum()).item()


@torch.no_grad()
def looks(
    policy: Policy,
    prompts: Sequence[Messages],
    images: Sequence[Sequence[Image.Image]],
    answers: Sequence[str],
    depth: float = 0.5,
    batch_size: int = 32,
) -> list[Look]:
    """The look of each answer, in their order.

    depth: which layer is read, as a share of the decoder's layers (0.5: layer 16 of 0 .. 31). An
    answer without a word looks at nothing: its maps are zeros.
    """
    model, encoder = policy.model, policy.encoder
    device, training = next(model.parameters()).device, model.training
    decoder = model.get_decoder()
    layer = decoder.layers[min(len(decoder.layers) - 1, int(depth * len(decoder.layers)))]
    found: list[Look] = []
    model.eval()
    try:
        with _eager(decoder), _weights_of(layer.self_attn) as seen:
            for start in range(0, len(prompts), batch_size):
                part = range(start, min(len(prompts), start + batch_size))
                asked = [encoder.prompt(prompts[n], images[n]) for n in part]
                said = [encoder.answer(prompts[n], images[n], answers[n]) for n in part]
                whole = [p.followed_by(a.ids) for p, a in zip(asked, said, strict=True)]
                inputs = encoder.for_sampling(whole)
                logits = model(
                    **{name: value.to(device) for name, value in inputs.items()}, use_cache=False
                ).logits
                weights, length = seen.pop().mean(1), logits.shape[1]  # (B, L, L): mean over heads
                for row, (prompt, answer) in enumerate(zip(asked, said, strict=True)):
                    first = length - len(answer.ids)  # rows are padded on the left
                    words = sum(left < right for left, right in answer.spans)
                    on = weights[row, first : first + words].sum(0) / max(1, words)
                    shift = first - len(prompt.ids)
                    maps = tuple(
                        on[[shift + place for place in places]].float().cpu()
                        for places in image_places(encoder, prompt)
                    )
                    before = logits[row, first - 1 : length - 1].float().log_softmax(-1)
                    ids = torch.tensor(answer.ids, device=device)
                    logps = before.gather(1, ids[:, None])[:, 0].cpu()
                    found.append(Look(maps, logps))
    finally:
        model.train(training)
    return found


def image_places(encoder: Encoder, prompt: Prompt) -> list[list[int]]:
    """For each image of a prompt the places of its tokens.

    Images that stand side by side are told apart by their number: then all have equally many
    tokens. Raises ValueError where neither tells.
    """
    media = set(encoder.placeholder_ids())
    places = [place for place, token in enumerate(prompt.ids) if token in media]
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    count = len(prompt.images)
    if len(runs) == count:
        return runs
    if not count or len(places) % count:
        raise ValueError(f"{len(places)} image tokens in {len(runs)} runs for {count} images")
    size = len(places) // count
    return [places[start : start + size] for start in range(0, len(places), size)]


@contextmanager
def _eager(decoder: Any) -> Iterator[None]:
    """Attention that computes its weights, within the block."""
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


@contextmanager
def _weights_of(attention: Any) -> Iterator[list[Tensor]]:
    """A list that gets (B, heads, L, L) at every pass through a layer's attention."""
    seen: list[Tensor] = []
    hook = attention.register_forward_hook(lambda _, __, output: seen.append(output[1].detach()))
    try:
        yield seen
    finally:
        hook.remove()
