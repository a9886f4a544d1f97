"""How long and how fast to train, and what every config of a method has in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

Variant = Literal["paper", "code", "survey"]
VARIANTS: tuple[Variant, ...] = ("paper", "code", "survey")


def _choices(config: type) -> dict[str, tuple[Any, ...]]:
    """Fields of a config that take one of some values, with these."""
    hints = get_type_hints(config)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


class BaseConfig:
    """What every script's `Config`, a frozen dataclass, derives from: it refuses a variant, or
    another choice, that there is not, which would be the last one in silence.

    Fields named in `not_negative` (weights, widths of clips) and in `up_to_one` (discounts, shares;
    neither negative) have these bounds; `least` has other ones from below.
    """

    variant: Variant
    not_negative: ClassVar[tuple[str, ...]] = ()
    up_to_one: ClassVar[tuple[str, ...]] = ()
    least: ClassVar[tuple[tuple[str, float], ...]] = ()

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for name, choices in _choices(type(self)).items():
            value = getattr(self, name)
            if value not in choices:
                known = ", ".join(map(repr, choices))
                raise ValueError(f"{name}: {value!r} is none of {known}")
        for name in self.not_negative + self.up_to_one:
            value, largest = getattr(self, name), 1.0 if name in self.up_to_one else math.inf
            if not 0 <= value <= largest:
                bound = "from 0 to 1" if name in self.up_to_one else "0 or more"
                raise ValueError(f"{name} is {value}; it must be {bound}")
        for name, bound_below in self.least:
            if not getattr(self, name) >= bound_below:
                value = getattr(self, name)
                raise ValueError(f"{name} is {value}; it must be {bound_below:g} or more")


@dataclass(frozen=True)
class TrainSettings:
    """Rate, steps, batch and amount of data of one training.

    `steps` wins over `epochs`. `pairs` is the number of scenes that the lab draws rows from.
    `batch_size` counts pairs (in reinforcement: prompts), over all devices and accumulated steps;
    `per_device_batch_size` counts them in one forward pass. `dtype` is what is computed in; weights
    are kept in float32 unless an adapter is trained. `stored_reference`: score the reference once
    before training, so that no second model stays in memory; `shared_prefix`: one pass over what
    views of a row have in common.

    The vision tower is frozen unless `train_vision` is set, as in most of the papers: LLaVA keeps
    it frozen in both stages (arXiv:2304.08485, section 4.2). The lab's is trained. `lora_rank`
    above 0 trains an adapter: `lora_alpha` is twice the rank where it is None, `lora_targets` names
    the layers that are adapted, separated by commas (`q_proj,v_proj`), or is `all`. `load_in_4bit`
    keeps the weights below an adapter in 4 bits. `max_pixels` and `min_pixels` bound the size of
    images where the processor knows such bounds. `log_to` is `none`, `tensorboard` or `wandb`.
    `reference_cache`: a folder in which stored references are kept for other runs.
    """

    learning_rate: float
    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 32
    pairs: int = 400
    warmup_ratio: float = 0.1
    scheduler: str = "cosine"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    group_size: int = 8
    max_new_tokens: int = 48
    temperature: float = 1.0
    device: str = "cpu"
    dtype: str = "float32"
    per_device_batch_size: int | None = None
    lora_rank: int = 0
    lora_alpha: int | None = None
    lora_targets: str = "all"
    load_in_4bit: bool = False
    train_vision: bool = False
    gradient_checkpointing: bool = False
    max_pixels: int | None = None
    min_pixels: int | None = None
    log_to: str = "none"
    stored_reference: bool = True
    reference_cache: str | None = None
    shared_prefix: bool = True
    generate_with: str = "transformers"
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "group_size", "max_new_tokens", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.learning_rate > 1:  # the weights would no longer be numbers after some steps
            raise ValueError(f"learning_rate is {self.learning_rate:g}; it must be 1 or less")
        if self.per_device_batch_size is not None and self.per_device_batch_size < 1:
            raise ValueError(f"per_device_batch_size is {self.per_device_batch_size}; at least 1")
        if self.dtype == "float16" and self.device == "cpu":
            # Accelerate would compute in float32 and say nothing.
            raise ValueError("--dtype float16 needs a GPU; a CPU computes in bfloat16 or float32")
        if self.load_in_4bit and not self.lora_rank:
            raise ValueError(
                "--load-in-4bit needs --lora-rank: weights of 4 bits cannot be trained, only an "
                "adapter on them"
            )
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_targets != "all"):
            raise ValueError(
                "--lora-alpha and --lora-targets need --lora-rank: there is no adapter"
            )
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(
                f"--min-pixels {self.min_pixels} is above --max-pixels {self.max_pixels}"
            )

    @property
    def adapter_alpha(self) -> int:
        """An adapter's update is scaled by this over the rank."""
        return 2 * self.lora_rank if self.lora_alpha is None else self.lora_alpha


BESIDE_A_RUN = ("log_to", "reference_cache")
"""Settings that change no number of a run: who is told of it, and what is kept for others."""

# The lab's common budget. A method's own rate is chosen out of one grid on the validation split
# (reference_impls/results/) and stands in its script.
LAB_STEPS, LAB_BATCH, LAB_PAIRS = 60, 32, 400


def changed(preset: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    """A preset with what options change in it.

    An adapter of another rank keeps the preset's ratio of alpha to rank. Without an adapter the
    preset's alpha and layers fall away, unless they are given. Raises ValueError, as TrainSettings.
    """
    rank = changes.get("lora_rank", preset.lora_rank)
    theirs: dict[str, Any] = {}
    if rank != preset.lora_rank and preset.lora_rank:
        if preset.lora_alpha is not None:
            theirs["lora_alpha"] = max(1, preset.lora_alpha * rank // preset.lora_rank)
        if not rank:
            theirs |= {"lora_alpha": None, "lora_targets": "all"}
    return replace(preset, **{**theirs, **changes})


def lab(learning_rate: float, **changes: Any) -> TrainSettings:
    """The lab's settings at a learning rate."""
    budget = {"steps": LAB_STEPS, "batch_size": LAB_BATCH, "pairs": LAB_PAIRS}
    changes = budget | {"train_vision": True} | changes
    return TrainSettings(learning_rate=learning_rate, **changes)
