"""Answers of a model to conversations, greedy or sampled, in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import GenerationConfig

from reference_impls.core.model.encode import Encoder, Messages, check_room


@torch.no_grad()
def generate(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Messages],
    images: Sequence[Sequence[Image.Image]],
    *,
    max_new_tokens: int = 48,
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    begun: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """One answer per prompt, each a `Sampled`; greedy unless a temperature is given.

    With `begun`, an answer begins with that text (which may be empty) and is continued; its tokens
    do not count towards `max_new_tokens`.

    Prompts are read in batches of like length and answered in the order they were given in. The
    global random state and the model's mode are left as they were, so that sampling an answer does
    not change a run. Raises EncodingError for a prompt that cannot become tokens, or is longer,
    with what is to be written, than the model reads.
    """
    if len(prompts) != len(images):
        raise ValueError(f"{len(prompts)} prompts, but images for {len(images)}")
    device, training = next(model.parameters()).device, model.training
    answers = [""] * len(prompts)
    asked = list(zip(prompts, images, strict=True))
    encoded = [
        prompt
        for start in range(0, len(asked), batch_size)
        for prompt in encoder.prompts(asked[start : start + batch_size])
    ]
    heads: list[list[int]] = [[] for _ in encoded]
    for number, text in enumerate(begun):
        if text:
            heads[number] = encoder.opening(prompts[number], images[number], text)
            encoded[number] = encoded[number].followed_by(heads[number])
    names = [f"prompt {number}" for number in range(len(encoded))]
    check_room(model.config, encoded, [max_new_tokens] * len(encoded), names)
    order = sorted(range(len(encoded)), key=lambda number: len(encoded[number].ids))
    options = _options(model, encoder, max_new_tokens, temperature)
    stop, done = frozenset(options["eos_token_id"]), 0
    model.eval()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for start in range(0, len(order), batch_size):
                numbers = order[start : start + batch_size]
                inputs = encoder.for_sampling([encoded[number] for number in numbers])
                output = model.generate(
                    **{name: value.to(device) for name, value in inputs.items()}, **options
                )
                written = output[:, inputs["input_ids"].shape[1] :].tolist()
                for number, ids in zip(numbers, written, strict=True):
                    head = heads[number]
                    answers[number] = encoder.sampled([*head, *ids], stop, begun=len(head))
                done += len(numbers)
                if progress is not None:
                    progress(done)
    finally:
        model.train(training)
    return answers


_SHAPING = {
    name
    for name in vars(GenerationConfig())
    if not name.startswith("_")
    and name not in ("bos_token_id", "decoder_start_token_id", "max_length", "transformers_version")
}
"""What a `generation_config.json` can say beside the model's own tokens."""


def _options(
    model: Any, encoder: Encoder, max_new_tokens: int, temperature: float | None
) -> dict[str, Any]:
    """Every decoding option that matters, whatever the checkpoint's own defaults are."""

    def ids(value: int | Sequence[int] | None) -> list[int]:
        return [] if value is None else [value] if isinstance(value, int) else list(value)

    config = model.generation_config
    usual = GenerationConfig._get_default_generation_params()
    # What a checkpoint asks for besides (`min_new_tokens`, `no_repeat_ngram_size`) would hold, too:
    # `generate` takes from it all that it is not told.
    theirs = [name for name in config.to_diff_dict() if name in _SHAPING]
    options: dict[str, Any] = {name: usual.get(name) for name in theirs} | {
        "max_new_tokens": max_new_tokens,
        "eos_token_id": sorted({*encoder.stop_ids(), *ids(config.eos_token_id)}),
        "pad_token_id": encoder.pad_id,
        "suppress_tokens": sorted({*encoder.placeholder_ids(), *ids(config.suppress_tokens)}),
        "num_beams": 1,
        "repetition_penalty": 1.0,
    }
    if temperature is None:
        return options | {"do_sample": False, "temperature": 1.0, "top_k": 50, "top_p": 1.0}
    return options | {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
