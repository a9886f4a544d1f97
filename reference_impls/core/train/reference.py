"""The reference's log-probabilities, scored once and looked up by content."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reference_impls.core.model.encode import digest
from reference_impls.core.train.layout import ViewBatch


class StoredReferenceError(ValueError):
    """A stored reference does not hold what is asked of it."""


@dataclass
class StoredReference:
    """Log-probabilities of answers under the reference, by digest of prompt, images and answer."""

    logps: dict[str, Tensor] = field(default_factory=dict)

    def of(self, batch: ViewBatch, views: Sequence[str] | None = None) -> dict[str, Tensor]:
        """By view (B, T), on the device of the batch's masks.

        Raises StoredReferenceError where an answer of the batch, to its prompt about its images,
        is not one that was scored."""
        found = {}
        for name in [view.name for view in batch.views] if views is None else views:
            mask = batch.masks[name]
            values = torch.zeros(mask.shape)
            for row, key in enumerate(batch.keys[name]):
                kept, length = self.logps.get(key), len(batch.answers[name][row].ids)
                if kept is None or len(kept) != length:
                    raise StoredReferenceError(
                        f"row {batch.numbers[row]}, view '{name}': the reference has not scored "
                        "this answer to this prompt about these images"
                    )
                values[row, :length] = kept
            found[name] = values.to(mask.device)
        return found


def read_reference(file: Path) -> dict[str, Tensor]:
    """What a file of stored log-probabilities holds; nothing where there is none."""
    if not file.is_file():
        return {}
    from safetensors.torch import load_file

    return dict(load_file(file))


def write_reference(file: Path, logps: Mapping[str, Tensor]) -> None:
    """Keep log-probabilities in a file, which is there whole or not at all."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    save_file(dict(logps), unfinished)
    unfinished.replace(file)


def bare(model: nn.Module) -> Any:
    """The transformers model inside wrappers (DDP, FSDP, PEFT)."""
    inner: Any = model
    while True:
        if hasattr(inner, "get_base_model"):
            inner = inner.get_base_model()
        elif isinstance(getattr(inner, "module", None), nn.Module):
            inner = inner.module
        else:
            return inner


def fingerprint(model: nn.Module) -> str:
    """Digest of a model's settings, weights and active adapters."""
    inner = bare(model)
    parts = [inner.config.to_json_string().encode()]
    adapters = getattr(model, "active_adapters", None)
    disabled = any(getattr(module, "disable_adapters", False) is True for module in model.modules())
    parts.append(f"{[] if disabled or callable(adapters) else adapters}".encode())
    for name, value in sorted(inner.state_dict().items()):
        if disabled and "lora_" in name:
            continue
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        parts.append(f"{name} {digest(raw)}".encode())
    return digest(b"\n".join(parts))
