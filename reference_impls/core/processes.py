"""Processes that train together (`torchrun`, `accelerate launch`): who writes, and who waits.

Each process has the whole run in it: it reads the same data, trains its share of each batch and
evaluates the same model. One of them, the main one, writes files and speaks to the person at the
terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")
SHARDING = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""What `accelerate launch` sets -> what it stands for."""


class FailedInMain(RuntimeError):
    """The main process failed, and has said why: nothing is left to be told."""


def world_size() -> int:
    """Number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def main_process() -> bool:
    """Is this the process that writes results?"""
    return int(os.environ.get("RANK", "0")) == 0


def join(device: str) -> None:
    """Meet the other processes, over gloo on a CPU and NCCL on GPUs; nothing to do for one alone.

    From here on `cuda` is this process's own GPU. Raises ValueError for a device that does not fit
    what the launcher was told.
    """
    if ":" in device and not device.endswith(":0"):
        kind, _, number = device.partition(":")
        raise ValueError(
            f"--device {device}: choose the GPU with CUDA_VISIBLE_DEVICES={number} and "
            f"--device {kind}"
        )
    if world_size() == 1:
        return
    from accelerate.state import PartialState

    on_cpu = device == "cpu"
    if not on_cpu and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        raise ValueError(f"--device {device}, but the launcher was told to use the CPU")
    if ":" in device:
        raise ValueError(f"--device {device}: with several processes, each takes a GPU of its own")
    PartialState(cpu=on_cpu, **({"backend": "gloo"} if on_cpu else {}))
    shards = [name for name in SHARDING if os.environ.get(name, "").lower() == "true"]
    if on_cpu and shards and main_process():
        # Accelerate 1.15 takes neither on a CPU and says nothing (accelerate/state.py, where
        # AcceleratorState chooses the distributed type).
        print(
            f"{SHARDING[shards[0]]} does not share weights out on a CPU: every process has all of "
            "them, and gradients are averaged (DDP)",
            file=sys.stderr,
        )


def wait_for_everyone() -> None:
    """Go on when all processes are here."""
    if _joined():
        import torch

        torch.distributed.barrier()


def any_process(flag: bool) -> bool:
    """Whether a flag is set in one of the processes."""
    if not _joined():
        return flag
    import torch
    from accelerate.state import PartialState

    flags = torch.tensor([float(flag)], device=PartialState().device)
    torch.distributed.all_reduce(flags)
    return bool(flags.item())


def by_main(work: Callable[[], T]) -> T:
    """What the main process makes of `work`, in every process; the others wait for it.

    Its exception is raised there as it is, and in the others as FailedInMain.
    """
    if not _joined():
        return work()
    import torch

    made: list[Any] = [None, False]
    if not main_process():
        torch.distributed.broadcast_object_list(made)
        if not made[1]:
            raise FailedInMain("the main process failed")
        return cast(T, made[0])
    try:
        made = [work(), True]
        return cast(T, made[0])
    finally:
        torch.distributed.broadcast_object_list(made)


def _joined() -> bool:
    if world_size() == 1:
        return False
    import torch

    return torch.distributed.is_available() and torch.distributed.is_initialized()
