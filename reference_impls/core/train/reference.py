"""The reference's log-probabilities, scored once and looked up by content."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from reference_impls.core.model.encode import digest
from reference_impls.core.train.checkpoints import saving
from reference_impls.core.train.layout import ViewBatch

logger = logging.getLogger(__name__)


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
                        f"{batch.names[row]}, view '{name}': the reference has not scored "
                        "this answer to this prompt about these images"
                    )
                values[row, :length] = kept
            found[name] = values.to(mask.device)
        return found


def read_reference(folder: Path) -> dict[str, Tensor]:
    """What the files of a folder hold; nothing where there is none.

    A file that was cut or is of another kind is left out, with one line that says so."""
    from safetensors import SafetensorError, safe_open

    logps: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as held:
                keys, lengths = held.get_tensor("keys"), held.get_tensor("lengths")
                values = held.get_tensor("logps").split(lengths.tolist())
        except (SafetensorError, OSError, RuntimeError) as problem:
            reason = str(problem).strip().partition("\n")[0]
            logger.warning("%s is left out, its answers are scored again: %s", file, reason)
            continue
        logps |= zip((bytes(key).hex() for key in keys.numpy()), values, strict=True)
    return logps


def write_reference(folder: Path, logps: Mapping[str, Tensor]) -> None:
    """Keep log-probabilities in a file of the folder, named after what it holds: processes that
    write at once never write the same name with another content, and it is there whole or not at
    all.

    keys: (N, 16) bytes of the digests. lengths: (N,) tokens of each answer. logps: float32, one
    answer behind the other. Raises SaveFailed where it cannot be written."""
    from safetensors.torch import save_file

    keys = sorted(logps)
    file = folder / f"{digest(' '.join(keys).encode())}.safetensors"
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    held = {
        "keys": torch.tensor([list(bytes.fromhex(key)) for key in keys], dtype=torch.uint8),
        "lengths": torch.tensor([len(logps[key]) for key in keys]),
        "logps": torch.cat([logps[key].float() for key in keys]),
    }
    try:
        with saving(file):
            folder.mkdir(parents=True, exist_ok=True)
            save_file(held, draft)
            with draft.open("rb") as written:
                os.fsync(written.fileno())
            draft.replace(file)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def reference_folder(root: Path, model: nn.Module, processor: Any) -> Path:
    """Where log-probabilities under a model are kept: a name for all that decides them, but for
    prompt, images and answer, which every one of them is looked up by.

    A seed is not among it. It decides which images are made and in which order rows come, and both
    show in the images; nothing random takes part in scoring."""
    kind = next(model.parameters()).device.type
    rounded = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    reader = getattr(processor, "image_processor", None)
    parts = [fingerprint(model), kind, rounded, torch.__version__, transformers.__version__]
    parts.append(reader.to_json_string() if reader is not None else "")
    return root / digest(repr(parts).encode())


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
        name = name.replace(".base_layer.", ".")  # below an adapter that is off: the plain model
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        parts.append(f"{name} {digest(raw)}".encode())
    return digest(b"\n".join(parts))
