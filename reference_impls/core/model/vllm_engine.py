"""Sampling by vLLM in place of transformers' `generate` (`--generate-with vllm`).

Each process has an engine on its own GPU, beside the model that trains, and is handed that model's
weights before it samples. What vLLM documents is called: `LLM.generate` with `prompt_token_ids`
and `multi_modal_data`, and one `SamplingParams` per prompt (docs.vllm.ai, "Multimodal Inputs" and
"Sampling Parameters"). There is no documented way to hand weights over inside a process; TRL's is
taken (`trl/generation/vllm_generation.py` of TRL 1.16, `sync_weights`).

Tested with a stand-in for vLLM only: neither vLLM nor a GPU is there where this was written.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image
from torch import Tensor, nn

from reference_impls.core.model.encode import Encoder, Messages, Prompt

GPU_SHARE = 0.3
"""Of a GPU's memory, for vLLM's weights and cache; the rest is the training's."""
NEVER = -100.0
"""Added to a logit, rules its token out (`SamplingParams.logit_bias`)."""


class CannotSample(ValueError):
    """vLLM cannot be used as asked. The text is one line that says why."""


def check_vllm(device: str) -> None:
    """Raises CannotSample where vLLM is not installed, or there is no GPU for it."""
    if importlib.util.find_spec("vllm") is None:
        raise CannotSample("vllm is not installed: pip install 'trl[vllm]', or leave the option")
    if not device.startswith("cuda"):
        raise CannotSample(f"vLLM needs --device cuda, and the device is {device}")


class VllmEngine:
    """Answers of a model by vLLM. `path`: the checkpoint that it starts from; `length`: tokens of
    prompt and answer together, at most; None is the model's own."""

    def __init__(
        self, path: str, encoder: Encoder, length: int | None, dtype: str, seed: int
    ) -> None:
        from vllm import LLM

        self.encoder = encoder
        self.engine: Any = LLM(
            model=path,
            dtype=dtype,
            seed=seed,
            max_model_len=length,
            gpu_memory_utilization=GPU_SHARE,
            distributed_executor_backend="external_launcher",
            trust_remote_code=False,
        )

    def take(self, model: nn.Module) -> None:
        """Sample from these weights from now on; answers to earlier prompts are forgotten."""
        runner = self.engine.llm_engine.model_executor.driver_worker.model_runner
        runner.model.load_weights(merged_weights(model))
        self.engine.reset_prefix_cache()

    def answer(
        self,
        prompts: Sequence[Messages],
        images: Sequence[Sequence[Image.Image]],
        temperature: float,
        max_new_tokens: int,
        seed: int,
    ) -> list[str]:
        """One answer per prompt, each a `Sampled`; the same seed gives the same answers.

        Raises CannotSample for a prompt whose images vLLM could not be told of.
        """
        from vllm import SamplingParams

        asked, ways = [], []
        stop = sorted(set(self.encoder.stop_ids()))
        never = {number: NEVER for number in self.encoder.placeholder_ids()}
        given = list(zip(prompts, images, strict=True))
        for place, prompt in enumerate(self.encoder.prompts(given)):
            one: dict[str, Any] = {"prompt_token_ids": self._unexpanded(prompt)}
            if given[place][1]:
                one["multi_modal_data"] = {"image": list(given[place][1])}
            asked.append(one)
            ways.append(
                SamplingParams(
                    n=1,
                    temperature=temperature,
                    top_p=1.0,
                    top_k=0,
                    repetition_penalty=1.0,
                    max_tokens=max_new_tokens,
                    stop_token_ids=stop,
                    logit_bias=never,
                    seed=seed + place,
                )
            )
        outputs = self.engine.generate(asked, ways, use_tqdm=False)
        return [
            # vLLM also ends at the eos of the model's own configuration, which may be another one.
            self.encoder.sampled(ids, {*stop, *(ids[-1:] if reason == "stop" else ())})
            for ids, reason in (
                (list(each.outputs[0].token_ids), each.outputs[0].finish_reason) for each in outputs
            )
        ]

    def _unexpanded(self, prompt: Prompt) -> list[int]:
        """The prompt's tokens with one placeholder per image, which vLLM repeats itself."""
        placeholders = set(self.encoder.placeholder_ids())
        ids = [
            number
            for place, number in enumerate(prompt.ids)
            if number not in placeholders or place == 0 or prompt.ids[place - 1] != number
        ]
        left = sum(number in placeholders for number in ids)
        if left != len(prompt.images):
            raise CannotSample(
                f"--generate-with vllm: {left} runs of image tokens stand for "
                f"{len(prompt.images)} images; this processor lays an image out in several parts"
            )
        return ids


def merged_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights by their names in the model; an adapter's are added to those below it meanwhile."""
    adapted = hasattr(model, "merge_adapter")
    if not adapted:
        yield from ((name, each.detach()) for name, each in model.named_parameters())
        return
    inside: Any = model
    inside.merge_adapter()
    try:
        for name, each in model.named_parameters():
            if ".lora_" not in name:
                plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
                yield plain, each.detach()
    finally:
        inside.unmerge_adapter()
