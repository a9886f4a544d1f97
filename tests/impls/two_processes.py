"""Run by torchrun: trains one stage on the rows of a file and leaves its metrics.

python -m torch.distributed.run --nproc-per-node 2 two_processes.py BASE ROWS OUTPUT KIND BATCH PASS
"""

import dataclasses
import pickle
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import torch  # noqa: E402

from reference_impls.core.command_line import quiet_libraries  # noqa: E402
from reference_impls.core.lab import Lab  # noqa: E402
from reference_impls.core.model.load import load  # noqa: E402
from reference_impls.core.train.groups import train_groups  # noqa: E402
from reference_impls.core.train.pairs import train_pairs  # noqa: E402
from reference_impls.core.train.ppo import PpoTrainer, train_ppo  # noqa: E402
from tests.impls import stages_for_tests as kinds  # noqa: E402


def in_no_world(model, processor, given, **options):
    """PPO on rewards of strings, which asks nothing of a lab."""
    lab = Lab(None, None, None, None, None, 1, len(given))
    return train_ppo(model, processor, given, lab=lab, truth=lambda row, answer: 0.5, **options)


def main() -> None:
    base, rows, output, kind, batch, per_pass = sys.argv[1:]
    quiet_libraries()
    torch.set_num_threads(1)
    settings = dataclasses.replace(
        kinds.SETTINGS, batch_size=int(batch), per_device_batch_size=int(per_pass),
        steps=6 if kind == "ppo" else kinds.SETTINGS.steps,
    )  # fmt: skip
    stage, cfg = kinds.STAGES[kind], kinds.Config()
    train = {"groups": train_groups, "ppo": in_no_world}.get(kind, train_pairs)
    # What is sampled depends on the process; these answers depend on the picture alone.
    PpoTrainer._answers = kinds.fixed_answers
    model, processor = load(base)
    Path(output).mkdir(parents=True, exist_ok=True)
    train(
        model, processor, pickle.loads(Path(rows).read_bytes()), stage=stage, cfg=cfg,
        settings=settings, output=Path(output),
    )  # fmt: skip


if __name__ == "__main__":
    main()
