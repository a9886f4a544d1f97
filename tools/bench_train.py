"""CPU time of our DPO step against `trl.DPOTrainer`'s: same model, data, batch and log-probs.

python tools/bench_train.py [--groups 20]: prints a table of ratios, median and 95 % interval over
interleaved groups. A group is an epoch over its rows: collating, scoring, the reference (ours is
scored once and looked up, theirs is its own pass in each step), gradient and optimizer step. Time
is that of the process (`process_time`), on one thread. Images are decoded before.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from PIL import Image  # noqa: E402
from torch.nn.functional import logsigmoid  # noqa: E402

from reference_impls.core.model.encode import Encoder  # noqa: E402
from reference_impls.core.train.forward import Scorer  # noqa: E402

BETA, RATE = 0.1, 1e-5
WORDS = tuple(f"w{number}" for number in range(60))


@dataclass(frozen=True)
class Setting:
    """A model with its data: rows are made so that no two of them share an image."""

    name: str
    target: float
    build: Callable[[], tuple[Any, Any]]
    size: tuple[int, int]
    answer: Callable[[random.Random], str]
    prompt: str
    batch: int
    batches: int


def lab() -> tuple[Any, Any]:
    """The lab's LLaVA for 64 x 64 pixels in patches of 8: 64 image tokens."""
    from reference_impls.core.model import base

    return base.build(WORDS, base.Size(image=64, patch=8))


def qwen() -> tuple[Any, Any]:
    """A tiny Qwen2.5-VL with 306 tokens for an image of 504 x 476 pixels."""
    from tests.impls import tiny_models

    return tiny_models.qwen2_5_vl(image_tokens=400)


def words(rng: random.Random) -> str:
    """36 to 40 words: 37 to 41 tokens with the ending."""
    return " ".join(rng.choices(WORDS, k=rng.randint(36, 40)))


def letters(rng: random.Random) -> str:
    """26 to 30 letters: 28 to 32 tokens with the ending."""
    return "".join(rng.choices("abcdefghij ", k=rng.randint(26, 30)))


SETTINGS = (
    Setting("lab LLaVA", 0.5, lab, (64, 64), words, "w1 w2 w3 w4 w5 w6", 32, 2),
    Setting("tiny Qwen2.5-VL", 0.67, qwen, (504, 476), letters, "What is it?", 4, 2),
)


def rows_of(setting: Setting, seed: int) -> list[dict[str, Any]]:
    """Rows of one group."""
    rng, pixels = random.Random(seed), np.random.default_rng(seed)
    width, height = setting.size

    def picture() -> Image.Image:
        return Image.fromarray(pixels.integers(0, 255, (height, width, 3), dtype=np.uint8))

    def said() -> list[dict[str, str]]:
        return [{"role": "assistant", "content": setting.answer(rng)}]

    return [
        {
            "images": [picture()],
            "negative_images": [picture()],
            "prompt": [{"role": "user", "content": setting.prompt}],
            "chosen": said(),
            "rejected": said(),
        }
        for _ in range(setting.batch * setting.batches)
    ]


def chunks(rows: Sequence[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


class Ours:
    """A minimal loop over `Scorer` that trains `model`; the reference is scored once before, or
    (`stored=False`) at every step."""

    def __init__(
        self,
        model: Any,
        reference: Any,
        optimizer: torch.optim.Optimizer,
        processor: Any,
        batch: int,
        views: tuple[str, ...],
        shared: bool = True,
        stored: bool = True,
    ) -> None:
        self.model, self.reference, self.optimizer = model, reference, optimizer
        self.processor, self.batch, self.views = processor, batch, views
        self.shared, self.stored = shared, stored
        self.device = next(model.parameters()).device
        self.layouts: dict[bool, Any] = {}

    def scorer(self) -> Scorer:
        """One that has read nothing yet; the self-check of its layout is once in a run."""
        scorer = Scorer(Encoder(self.processor), self.views, self.shared)
        scorer.layouts = self.layouts
        return scorer

    def store(self, rows: list[dict[str, Any]]) -> Any:
        """The reference's log-probabilities of rows."""
        return self.scorer().store(self.reference, rows, batch_size=self.batch)

    def epoch(self, rows: list[dict[str, Any]], stored: Any = None) -> torch.Tensor:
        """One pass over rows; sums of log-probabilities of the first batch, (views, B)."""
        scorer = self.scorer()
        if self.stored and stored is None:
            stored = scorer.store(self.reference, rows, batch_size=self.batch)
        first: torch.Tensor | None = None
        self.model.train()
        for part in chunks(rows, self.batch):
            batch = scorer.collate(part).to(self.device)
            if self.stored:
                theirs = stored.of(batch)
            else:
                with torch.no_grad():
                    theirs = scorer.score(self.reference, batch).logps
            logps = scorer.score(self.model, batch).logps
            ratios = {name: (logps[name] - theirs[name]).sum(-1) for name in logps}
            loss = -logsigmoid(BETA * (ratios["chosen"] - ratios["rejected"]))
            if "chosen_corrupt" in ratios:
                loss = loss - logsigmoid(BETA * (ratios["chosen"] - ratios["chosen_corrupt"]))
            step(self.model, self.optimizer, loss.mean())
            if first is None:
                first = torch.stack([logps[name].sum(-1).detach() for name in self.views])
        assert first is not None
        return first


def step(model: Any, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """Gradient, clipping and the optimizer's step."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


class Theirs:
    """`trl.DPOTrainer`'s collator and loss, with the same gradient clipping and optimizer."""

    def __init__(
        self,
        model: Any,
        reference: Any,
        optimizer: torch.optim.Optimizer,
        processor: Any,
        batch: int,
        folder: Path,
    ) -> None:
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        self.batch, self.optimizer = batch, optimizer
        self.trainer = DPOTrainer(
            model=model,
            ref_model=reference,
            args=DPOConfig(
                output_dir=str(folder / "out"), beta=BETA, max_length=None,
                use_cpu=next(model.parameters()).device.type == "cpu",
                bf16=False, report_to="none", disable_tqdm=True, gradient_checkpointing=False,
                per_device_train_batch_size=batch, remove_unused_columns=False,
            ),
            processing_class=processor,
            train_dataset=Dataset.from_list(
                [
                    {
                        "images": [Image.new("RGB", (64, 64))],
                        "prompt": [{"role": "user", "content": "w1"}],
                        "chosen": [{"role": "assistant", "content": "w1"}],
                        "rejected": [{"role": "assistant", "content": "w2"}],
                    }
                ]
            ),
        )  # fmt: skip
        self.model = self.trainer.model

    def inputs(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What the collator makes of rows, on the model's device."""
        made = self.trainer.data_collator([dict(row) for row in rows])
        device = next(self.model.parameters()).device
        return {n: v.to(device) if torch.is_tensor(v) else v for n, v in made.items()}

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        """One pass over rows."""
        self.model.train()
        for part in chunks(rows, self.batch):
            loss = self.trainer._compute_loss(self.model, self.inputs(part), False)
            step(self.model, self.optimizer, loss)

    @torch.no_grad()
    def logps(self, rows: list[dict[str, Any]]) -> torch.Tensor:
        """(2, B) sums of log-probabilities of chosen and rejected answers."""
        inputs = self.inputs(rows)
        mask = inputs.pop("completion_mask")
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        scored = self.model(**inputs, labels=labels, fused_lm_head=True, use_cache=False)
        return torch.stack(scored.log_probs.sum(-1).chunk(2))


def seconds(work: Callable[[list[dict[str, Any]]], Any], rows: list[dict[str, Any]]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work(rows)
    return time.process_time() - start


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Median, and its 95 % percentile bootstrap interval."""
    rng, values = np.random.default_rng(0), np.asarray(ratios)
    medians = np.median(rng.choice(values, (2000, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


def measure(setting: Setting, groups: int) -> list[tuple[str, str, list[float], float, str]]:
    """Rows of the table: setting, what is compared, ratio of each group, target, note."""
    torch.manual_seed(0)
    model, processor = setting.build()
    model.eval()

    def pair() -> tuple[Any, Any, torch.optim.Optimizer]:
        trained = copy.deepcopy(model)
        frozen = copy.deepcopy(model).requires_grad_(False)
        return trained, frozen, torch.optim.AdamW(trained.parameters(), lr=RATE)

    def ours(views: tuple[str, ...], shared: bool = True) -> Ours:
        return Ours(*pair(), processor, setting.batch, views, shared)

    with tempfile.TemporaryDirectory() as folder:
        theirs = Theirs(*pair(), processor, setting.batch, Path(folder))
        two = ours(("chosen", "rejected"))
        plain = ours(("chosen", "rejected"), shared=False)
        three = ours(("chosen", "rejected", "chosen_corrupt"))
        warm = rows_of(setting, 0)
        expected = theirs.logps(warm[: setting.batch])
        gap = (two.epoch(warm)[:, : setting.batch] - expected).abs().max().item()
        if gap > 1e-4 * expected.abs().max().item():
            raise SystemExit(f"error: {setting.name}: sums of log-probs differ by {gap:.2g} nats")
        theirs.epoch(warm)
        plain.epoch(warm)
        three.epoch(warm)
        layout = two.layouts[True].name
        note = f"{layout} layout, largest difference {gap:.1e} of {expected.abs().max():.0f} nats"
        ratio: list[float] = []
        views: list[float] = []
        unshared: list[float] = []
        for group in range(1, groups + 1):
            rows = rows_of(setting, group)
            work = [("theirs", theirs), ("two", two), ("three", three), ("plain", plain)]
            random.Random(group).shuffle(work)
            spent = {name: seconds(each.epoch, rows) for name, each in work}
            ratio.append(spent["two"] / spent["theirs"])
            views.append(spent["three"] / spent["two"])
            unshared.append(spent["three"] / spent["plain"])
    return [
        (setting.name, "our step / trl.DPOTrainer's", ratio, setting.target, note),
        (setting.name, "three views / two", views, 1.45, "mDPO's views, two images"),
        (setting.name, "three views / two, plain layout", unshared, 1.45, "the same"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--groups", type=int, default=20, help="interleaved groups (20)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    print("| model | compared | median | 95 % | target | |\n| --- | --- | --- | --- | --- | --- |")
    for setting in SETTINGS:
        for name, what, ratios, target, note in measure(setting, options.groups):
            middle, low, high = interval(ratios)
            cells = [name, what, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"<= {target}", note]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
