"""How long and how fast to train: everything that is not the method's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """Rate, steps, batch and amount of data of one training.

    `steps` wins over `epochs`. `pairs` is the number of images that the lab draws pairs or prompts
    from. `batch_size` counts pairs (or, in reinforcement, prompts), over all devices.
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
    gradient_checkpointing: bool = False
    seed: int = 1


# The lab's common budget. A method's own rate is chosen out of one grid on the validation split
# (reference_impls/results/) and stands in its script.
LAB_STEPS, LAB_BATCH, LAB_PAIRS = 60, 32, 400


def lab(learning_rate: float, **changes) -> TrainSettings:
    """The lab's settings at a learning rate."""
    changes = {"steps": LAB_STEPS, "batch_size": LAB_BATCH, "pairs": LAB_PAIRS} | changes
    return TrainSettings(learning_rate=learning_rate, **changes)
