"""Answers of a model to prompts about images, greedy or sampled, in batches."""

from __future__ import annotations

import torch
from PIL import Image


def conversation(prompt: str) -> list[dict]:
    """TRL's conversational form of a prompt with one image."""
    return [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]},
    ]


def encode(processor, prompts: list[str], images: list[Image.Image | list[Image.Image]]):
    """Processor output for prompts that an answer is to follow, padded on the left."""
    texts = [
        processor.apply_chat_template(conversation(prompt), add_generation_prompt=True)
        for prompt in prompts
    ]
    images = [image if isinstance(image, list) else [image] for image in images]
    return processor(
        text=texts, images=images, padding=True, padding_side="left",
        add_special_tokens=False, return_tensors="pt",
    )  # fmt: skip


@torch.no_grad()
def generate(
    model,
    processor,
    prompts: list[str],
    images: list[Image.Image],
    *,
    max_new_tokens: int = 48,
    temperature: float | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress=None,
) -> list[str]:
    """One answer per prompt, without special tokens; greedy unless a temperature is given.

    The global random state is left as it was, so that sampling an answer does not change a run.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    answers: list[str] = []
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            chunk = slice(start, start + batch_size)
            inputs = encode(processor, prompts[chunk], images[chunk]).to(device)
            sampling = {"do_sample": False}
            if temperature is not None:
                sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, **sampling)
            completions = output[:, inputs["input_ids"].shape[1] :]
            answers += processor.tokenizer.batch_decode(completions, skip_special_tokens=True)
            if progress is not None:
                progress(len(answers))
    model.train(training)
    return [answer.strip() for answer in answers]
