"""Speed of our DPO step on one GPU against `trl.DPOTrainer`'s, at the sizes of real models.

python tools/bench_gpu.py [--output FILE] [--minutes 8] [--tiny]: random weights in bf16 in the
shapes of Qwen2.5-VL-7B and 3B, pictures of 640 x 480 (391 tokens), answers of 120 tokens; nothing
is downloaded. Prints a table and writes JSON. What is compared takes the same step of the same
weights: collating, scoring, reference, gradient, clipping, AdamW.

- trl: `trl.DPOTrainer`, whose reference is a second model, run at every step;
- ours, with the shared prefix or one sequence per view, with a reference that was stored before
  (the time of storing is a row of its own) or one at every step; with two views, or with mDPO's
  three.

Groups are interleaved, in an order drawn for each; the table has medians of their ratios with 95 %
intervals. Where a shape does not fit into the GPU's memory, layers are left out until it does, and
its name says so. `--tiny` runs the same code on the CPU with a tiny model: to test the script, not
the speed.

No figure of a GPU has been measured with it yet: the machine that it was written on has none.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
import transformers  # noqa: E402

import bench_train  # noqa: E402
from bench_train import RATE, Ours, Setting, Theirs, interval, rows_of  # noqa: E402

TWO, THREE = ("chosen", "rejected"), ("chosen", "rejected", "chosen_corrupt")
SPARE = 10 << 30
"""Bytes of a GPU that are left for activations and logits of a step."""
PER_PARAMETER = 10
"""Bytes: weights, gradient and two states of Adam in bf16, and a frozen reference."""
LEAST_GROUPS, MOST_GROUPS = 5, 30


def published(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, tied: bool
) -> dict[str, Any]:
    """A shape of Qwen2.5-VL as its config.json has it (Qwen/Qwen2.5-VL-3B- and 7B-Instruct)."""
    return {
        "text": {
            "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary, "tie_word_embeddings": tied,
        },
        "vision": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "out_hidden_size": hidden, "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        "mrope_section": [16, 24, 24],
    }  # fmt: skip


SHAPES = {
    "7B": published(3584, 18944, 28, 28, 4, 152064, tied=False),
    "3B": published(2048, 11008, 36, 16, 2, 151936, tied=True),
}


def configuration(shape: dict[str, Any], layers: int) -> tuple[Any, Any]:
    """(configuration, processor) of a shape with so many layers of its decoder.

    The processor is the tests': that of Qwen2.5-VL with a tokenizer of bytes, whose ids are the
    first of the shape's vocabulary.
    """
    from tests.impls import tiny_models

    tiny, processor = tiny_models.qwen2_5_vl(image_tokens=400)
    if not shape:
        return tiny.config, processor
    own, text = tiny.config, dict(shape["text"], num_hidden_layers=layers)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": shape["mrope_section"]}
    config = type(own)(
        text_config={
            **text, "rope_parameters": rope, "pad_token_id": own.text_config.pad_token_id,
            "eos_token_id": own.text_config.eos_token_id, "bos_token_id": None,
        },
        vision_config=shape["vision"],
        tie_word_embeddings=text["tie_word_embeddings"],
        **{
            name: getattr(own, name)
            for name in (
                "image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"
            )
        },
    )  # fmt: skip
    return config, processor


def size_of(config: Any) -> int:
    """Parameters of a model, without making it."""
    with torch.device("meta"):
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    return sum(each.numel() for each in model.parameters())


def fitting(name: str, free: int) -> tuple[str, Any, Any]:
    """(name, configuration, processor) of a shape, with as many layers as there is room for."""
    shape = SHAPES.get(name, {})
    whole = shape["text"]["num_hidden_layers"] if shape else 2
    layers = whole
    while True:
        config, processor = configuration(shape, layers)
        if layers == 1 or PER_PARAMETER * size_of(config) + SPARE <= free:
            break
        layers //= 2
    label = name if layers == whole else f"{name}, {layers} of {whole} layers"
    return label, config, processor


def clock(device: str) -> float:
    """Seconds: of the GPU's clock on the wall once it is done, of the process on a CPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    name: str, setting: Setting, device: str, groups: int, deadline: float, free: int
) -> dict[str, Any]:
    """Seconds of each group by what was done, peaks of memory, and how the two agree."""
    label, config, processor = fitting(name, free)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    make = transformers.AutoModelForImageTextToText.from_config
    with torch.device(device):
        model, reference = (make(config, dtype=dtype) for _ in range(2))
    reference.load_state_dict(model.state_dict())
    reference.eval().requires_grad_(False)
    # One optimizer for all: each makes the same step of the same weights.
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def ours(views: tuple[str, ...], shared: bool, stored: bool) -> Ours:
        return Ours(model, reference, optimizer, processor, setting.batch, views, shared, stored)

    with tempfile.TemporaryDirectory() as folder:
        theirs = Theirs(model, reference, optimizer, processor, setting.batch, Path(folder))
        best = ours(TWO, True, True)
        three, plain_three = ours(THREE, True, True), ours(THREE, False, True)
        plain = ours(TWO, False, True)
        live, plain_live = ours(TWO, True, False), ours(TWO, False, False)
        warm = rows_of(setting, 0)
        expected = theirs.logps(warm[: setting.batch])
        found = best.epoch(warm)[:, : setting.batch]
        gap = (found.float() - expected.float()).abs().max().item()
        largest = expected.float().abs().max().item()
        if gap > (1e-4 if device == "cpu" else 0.02) * largest:
            raise SystemExit(f"error: {label}: sums of log-probs differ by {gap:.2g} nats")
        work: dict[str, Callable[[Any, Any], Any]] = {
            "trl": lambda rows, kept: theirs.epoch(rows),
            "ours, shared, stored": lambda rows, kept: best.epoch(rows, kept[TWO]),
            "ours, shared, live": lambda rows, kept: live.epoch(rows),
            "ours, plain, stored": lambda rows, kept: plain.epoch(rows, kept[TWO]),
            "ours, plain, live": lambda rows, kept: plain_live.epoch(rows),
            "ours, storing": lambda rows, kept: best.store(rows),
            "ours, three views, shared": lambda rows, kept: three.epoch(rows, kept[THREE]),
            "ours, three views, plain": lambda rows, kept: plain_three.epoch(rows, kept[THREE]),
        }
        spent: dict[str, list[float]] = {each: [] for each in work}
        peaks: dict[str, float] = {}
        for group in range(groups + 1):  # the first one warms up
            rows = rows_of(setting, group)
            kept = {TWO: best.store(rows), THREE: three.store(rows)}
            order = list(work)
            random.Random(group).shuffle(order)
            for each in order:
                if device != "cpu":
                    torch.cuda.reset_peak_memory_stats()
                start = clock(device)
                work[each](rows, kept)
                taken = clock(device) - start
                if group:
                    spent[each].append(taken)
                if device != "cpu":
                    peaks[each] = torch.cuda.max_memory_allocated() / (1 << 30)
            if group >= LEAST_GROUPS and time.monotonic() > deadline:
                break
    return {
        "shape": label,
        "parameters": sum(each.numel() for each in model.parameters()),
        "batch": setting.batch,
        "groups": len(spent["trl"]),
        "layout": best.layouts[True].name,
        "largest_difference_nats": gap,
        "largest_sum_nats": largest,
        "seconds": spent,
        "peak_gib": peaks,
    }


COMPARED = (
    ("our step / trl's, both with the reference at every step", "ours, shared, live", "trl", 0.67),
    ("our step, reference stored / trl's", "ours, shared, stored", "trl", 0.5),
    ("shared prefix / plain", "ours, shared, stored", "ours, plain, stored", None),
    ("reference stored / at every step", "ours, shared, stored", "ours, shared, live", None),
    ("storing / a step", "ours, storing", "ours, shared, stored", None),
    ("three views / two", "ours, three views, shared", "ours, shared, stored", 1.45),
    ("three views: shared / plain", "ours, three views, shared", "ours, three views, plain", None),
)


def ratios(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What is compared: median and interval of the groups' ratios, and the target."""
    rows = []
    for what, one, other, target in COMPARED:
        pairs = zip(found["seconds"][one], found["seconds"][other], strict=True)
        middle, low, high = interval([a / b for a, b in pairs])
        rows.append(
            {"shape": found["shape"], "compared": what, "median": middle, "low": low, "high": high,
             "target": target}
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/bench-gpu.json"))
    parser.add_argument("--minutes", type=float, default=8.0, help="of all together (8)")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, two groups")
    options = parser.parse_args()
    began = time.monotonic()
    if not options.tiny and not torch.cuda.is_available():
        sys.exit(
            "error: torch sees no CUDA device, and that is what is measured; "
            "--tiny runs the same code on the CPU"
        )
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = "cpu" if options.tiny else "cuda"
    name = "CPU" if options.tiny else torch.cuda.get_device_name()
    shapes = ["tiny"] if options.tiny else list(SHAPES)
    results, rows = [], []
    for place, shape in enumerate(shapes):
        setting = Setting(
            shape, 0.5, bench_train.qwen, (112, 84) if options.tiny else (640, 480),
            bench_train.letters if options.tiny else long_letters, "What is in the picture?",
            2 if options.tiny else 4, 1,
        )  # fmt: skip
        free = (1 << 40) if options.tiny else torch.cuda.mem_get_info()[0]
        # A share of the time for each shape, the last minute for making the next one's weights.
        deadline = began + 60 * (options.minutes - 1) * (place + 1) / len(shapes)
        found = measure(shape, setting, device, 2 if options.tiny else MOST_GROUPS, deadline, free)
        results.append(found)
        rows += ratios(found)
        if device != "cpu":
            torch.cuda.empty_cache()
    print(f"{name}, torch {torch.__version__}, {time.monotonic() - began:.0f} s")
    print("| shape | compared | median | 95 % | target |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        target = "" if row["target"] is None else f"<= {row['target']}"
        print(
            f"| {row['shape']} | {row['compared']} | {row['median']:.2f} | "
            f"{row['low']:.2f} to {row['high']:.2f} | {target} |"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"device": name, "torch": torch.__version__, "ratios": rows, "runs": results})
    )
    print(f"in full: {options.output}", file=sys.stderr)


def long_letters(rng: random.Random) -> str:
    """110 to 130 letters, a token each."""
    return "".join(rng.choices("abcdefghij ", k=rng.randint(110, 130)))


if __name__ == "__main__":
    main()
