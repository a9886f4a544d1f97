"""Models whose weights lie in pieces over processes (FSDP, DeepSpeed ZeRO-3)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer

from reference_impls.core.model.load import whole_model
from reference_impls.core.processes import by_main, wait_for_everyone
from reference_impls.core.train.reference import bare

GATHERED = "gathered"
"""Folder that a sharded model goes through on its way to a whole one."""


def is_sharded(trainer: Trainer) -> bool:
    """Whether no process has all weights."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def prepare(trainer: Trainer) -> None:
    """Tell FSDP which layers are units of their own, those that the model has, and generation that
    processes have to take as many steps as the one with the longest answer.

    Raises ValueError for an adapter. `whole` would read it back by `from_pretrained`, and there
    transformers 5.24 refuses PEFT before 0.22.0 (its `integrations/peft.py`, MIN_PEFT_VERSION). No
    newer PEFT has been tried.

    Accelerate 1.15 takes `_no_split_modules` as it is and ends with "Could not find the transformer
    layer class CLIPTextEmbeddings in the model" where that names layers of a part that is not there
    (LLaVA has no text tower of CLIP's).
    """
    assert isinstance(trainer.model, nn.Module)
    if is_sharded(trainer) and hasattr(trainer.model, "peft_config"):
        raise ValueError(
            "--lora-rank does not go with FSDP or DeepSpeed here: the adapter is read again after "
            "training, for which transformers wants PEFT 0.22 or newer, and that has not been "
            "tried; launch with ddp.yaml"
        )
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    bare(trainer.model)._is_fsdp_managed_module = True
    if plugin.transformer_cls_names_to_wrap is not None:
        return
    modules = list(trainer.model.modules())
    wanted = {name for each in modules for name in getattr(each, "_no_split_modules", None) or ()}
    plugin.transformer_cls_names_to_wrap = sorted(
        wanted & {type(each).__name__ for each in modules}
    )


def read_model(folder: Path) -> Any:
    """A model as it was saved."""
    return whole_model(folder, dtype="auto")


def whole(trainer: Trainer, output: Path, read: Callable[[Path], Any] = read_model) -> Any:
    """The trained model with all its weights in this process.

    A sharded one is written by all processes together and read again by each: what follows
    (sampling, evaluation, saving) is the same for every way of training.
    """
    if not is_sharded(trainer) or getattr(trainer, "only_loaded", False):
        return trainer.accelerator.unwrap_model(trainer.model)
    folder = output / GATHERED
    trainer.save_model(str(folder))
    wait_for_everyone()
    found = read(folder)
    wait_for_everyone()
    by_main(lambda: shutil.rmtree(folder, ignore_errors=True))
    return found.to(trainer.args.device)
