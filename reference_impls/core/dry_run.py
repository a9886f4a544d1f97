"""What a run would take: rows, tokens, steps, memory and time per kind of GPU. Nothing is trained.

A model is read from its configuration alone: parameters are counted on the meta device, so that a
folder with `config.json` is enough. With P parameters, T of which train, and sizes in bytes:

- weights: 4 P. With an adapter w P_base + 4 P_adapter, where w is 4, or 2 when computing in 16
  bits, or 0.52 for layers in 4 bits.
- 16-bit copies: 2 P_linear, which autocast makes of float32 weights and keeps for the backward
  pass.
- gradients: 4 T.
- Adam's states: 8 T.
- reference: w P where a model of its own is scored at every step. Stored log-probabilities lie in
  the computer's memory, 4 bytes per answer token and view.
- critic of PPO, where it is a model of its own: weights, copies, gradients, states and activations
  once more. It is not trained in pieces.
- activations: for n tokens in a forward pass, n times the sum of A over layers; with checkpointing
  n r h per layer and one layer's A.
- logits: 12 min(N V, CHUNK) for N answer tokens and a vocabulary V: in float32, with their gradient
  and softmax. Longer ones are made in pieces of CHUNK numbers (`train.forward`).
- self-check: the shared prefix is compared with the plain layout once, before there are gradients
  and Adam's states, with activations of two rows (one, where a pass has one) in the plain layout.
  Where that is more than a step, it is what a run needs.
- gathered layers: 4 bytes for each weight of the largest layers, where weights lie in pieces.

A, for one token in one decoder layer with width h, heads x head size q, feed-forward width i, c
bytes per number computed with (2 under autocast, else 4) and residual stream of r = 4 bytes:
two norms, each of which keeps what it is given and the normalised value, 4 r h; the inputs of the
linear layers, which autocast copies for each of them, 5 c h, or 2 c h without it; query, key, value
(repeated to all heads) and attention's output, 4 c q; gate, its activation, up and their product,
4 c i. Attention is SDPA, which keeps no matrix of scores. It is what Korthikanti et al. do for the
transformer of 2017 (arXiv:2205.05198, section 4.1), done for pre-norm, SwiGLU and autocast. A tower
that is frozen is run without a gradient and keeps nothing. Weights of FSDP and ZeRO-3 lie in pieces
over the processes, with gradients and Adam's states; of ZeRO-2 the latter two alone.

Time counts multiplications and additions of matrices, 2 per weight and token in the forward pass,
and the scores of the decoder's attention (a tower's are left out). The backward pass takes as many
for inputs and as many again for weights that train. Checkpointing runs the forward pass twice. A
GPU is taken to reach UTILISATION of its vendor's figure. Sampling of answers is not in it: that
reads all weights once per token, and how many answers fit beside each other decides.

Tests compare memory with the peak of a process on the CPU, a model of 7 million weights: within a
factor of 1.35 for all weights in float32 or under autocast, of 2 with checkpointing or an adapter,
where the process took 1.7 times the formula. Under checkpointing that is not in tensors: PyTorch's
profiler counts 103 MB of them at the peak of the backward pass, where weights, gradients,
activations and logits make 105 here. For an adapter the cause is not known (603 MB of a process
where the formula gave 333). Operations are within 15 % of PyTorch's own count. No figure has been
measured on a GPU.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from reference_impls.core.method import (
    HeadStage,
    PairStage,
    PpoStage,
    Row,
    SamplingStage,
    Stage,
    View,
)
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import CannotLoad, PixelLimits, base_of, load_processor
from reference_impls.core.processes import world_size
from reference_impls.core.settings import TrainSettings
from reference_impls.core.train import common
from reference_impls.core.train.forward import CHUNK
from reference_impls.core.train.layout import PROMPT, lay_out

GIB = 1 << 30
UTILISATION = 0.35
"""Share of a GPU's peak that matrix products of a training of this size reach: an assumption."""
RESERVED = 1.5 * GIB
"""CUDA's own context and libraries: an assumption."""
WASTE = 1.1
"""What the allocator holds beyond what is asked of it: an assumption."""
SAMPLE = 16
"""Rows whose tokens are counted."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight in 4 bits, with a constant of 8 bits per block of 64 and one of 32 bits per 256
of those (arXiv:2305.14314, section 3)."""


@dataclass(frozen=True)
class Gpu:
    """A kind of GPU: memory in GiB, dense bf16 tensor operations with float32 sums per second."""

    name: str
    memory: float
    flops: float
    source: str


A100_SHEET = (
    "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/"
    "nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf"
)
GPUS = (
    Gpu(
        "RTX 4090", 24, 165.2e12,
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    ),
    Gpu("A100 40 GB", 40, 312e12, A100_SHEET),
    Gpu("L40S", 48, 362.05e12, "https://www.nvidia.com/en-us/data-center/l40s/"),
    Gpu("A100 80 GB", 80, 312e12, A100_SHEET),
    Gpu("H100 SXM", 80, 989.5e12, "https://www.nvidia.com/en-us/data-center/h100/"),
    Gpu("H200 SXM", 141, 989.5e12, "https://www.nvidia.com/en-us/data-center/h200/"),
)  # fmt: skip
"""By memory. Pages that give a figure with sparsity are halved (H100 and H200: 1,979)."""


@dataclass(frozen=True)
class Layers:
    """A stack of transformer layers: how many, and their sizes. `wide`: heads x head size."""

    count: int
    hidden: int
    wide: int
    inner: int


@dataclass(frozen=True)
class Shape:
    """A model as far as memory and time depend on it. Counts are of parameters.

    linear: in layers that multiply (all but embeddings and norms). trained, adapter: as the
    settings have it. patches: tokens of the vision tower per token of an image.
    """

    name: str
    parameters: int
    language: int
    vision: int
    linear: int
    trained: int
    adapter: int
    vocabulary: int
    decoder: Layers
    tower: Layers | None
    patches: int
    vision_trains: bool
    kv_width: int


@dataclass(frozen=True)
class Tokens:
    """Per row: tokens of images, of the answers, and of the sequences that are run, with the sum of
    the squares of their lengths; `longest` is the largest row's tokens. `counted` rows were read; 0
    where nothing was, and the rest is assumed."""

    image: float
    answer: float
    sequence: float
    longest: int
    squares: float
    counted: int


ASSUMED = Tokens(image=391, answer=240, sequence=691, longest=900, squares=691.0**2, counted=0)
"""Where there are no rows: a picture of 640 x 480 in Qwen2.5-VL (17 x 23 tokens of 28 pixels), a
question of 60 tokens and two answers of 120 behind it."""


def read_shape(path: str, settings: TrainSettings) -> Shape:
    """The shape of a checkpoint from its configuration; no weights are read.

    Raises CannotLoad where that is not a model that reads images.
    """
    try:
        config = AutoConfig.from_pretrained(base_of(path), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CannotLoad(f"{path}: {str(error).strip().partition(chr(10))[0]}") from error
    return shape_of(config, settings, path)


def shape_of(config: Any, settings: TrainSettings, name: str = "") -> Shape:
    """The shape of a model with a configuration, trained as settings have it.

    Raises CannotLoad where it has no sizes of a decoder.
    """
    with torch.device("meta"):
        try:
            model: Any = AutoModelForImageTextToText.from_config(config)
        except (ValueError, KeyError) as error:
            raise CannotLoad(
                f"{name}: {type(config).__name__} is not of a model that reads images "
                "and writes text"
            ) from error
        whole = sum(each.numel() for each in model.parameters())
        vision = sum(
            each.numel()
            for part, each in model.named_parameters()
            if common.part_of(part) in ("vision tower", "projector")
        )
        linear = sum(
            module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear)
        )
        # 4-bit layers need a GPU; what trains is the same without them.
        trainable = common.make_trainable(model, replace(settings, load_in_4bit=False))
    found = common.weights_of(trainable)
    text = config.get_text_config()
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    tower, patches = _tower(getattr(config, "vision_config", None))
    return Shape(
        name=name or type(config).__name__,
        parameters=whole,
        language=whole - vision,
        vision=vision,
        linear=linear,
        trained=sum(found.trained.values()),
        adapter=found.trained.get("adapter", 0),
        vocabulary=text.vocab_size,
        decoder=Layers(
            text.num_hidden_layers, text.hidden_size, heads * size, text.intermediate_size
        ),
        tower=tower,
        patches=patches,
        vision_trains="vision tower" in found.trained,
        kv_width=2 * (getattr(text, "num_key_value_heads", None) or heads) * size,
    )


def _tower(config: Any) -> tuple[Layers | None, int]:
    """A vision tower, and its tokens per token that the decoder reads."""
    count = getattr(config, "depth", None) or getattr(config, "num_hidden_layers", None)
    hidden = getattr(config, "embed_dim", None) or getattr(config, "hidden_size", None)
    if not count or not hidden:
        return None, 1
    inner = getattr(config, "intermediate_size", None)
    inner = inner or int(hidden * getattr(config, "mlp_ratio", 4))
    return Layers(count, hidden, hidden, inner), getattr(config, "spatial_merge_size", 1) ** 2


# --- rows ----------------------------------------------------------------------------------------


def count_tokens(
    rows: Sequence[Row], stage: Stage, cfg: Any, processor: Any, settings: TrainSettings
) -> Tokens:
    """Tokens of up to SAMPLE rows, evenly spaced over all of them."""
    step = max(1, len(rows) // SAMPLE)
    numbers = range(0, len(rows), step)[:SAMPLE]
    encoder = Encoder(processor)
    image: list[int] = []
    answers: list[int] = []
    lengths: list[int] = []
    squares: list[int] = []
    for number in numbers:
        row = rows[number]
        if isinstance(stage, SamplingStage):
            group = answers_to_a_prompt(stage, settings)
            prompt = encoder.prompts([(row["prompt"], list(row["images"] or ()))])[0]
            image.append(_image_tokens(encoder, prompt.ids))
            answers.append(group * settings.max_new_tokens)
            each = len(prompt.ids) + settings.max_new_tokens
            lengths.append(group * each)
            squares.append(group * each**2)
            continue
        assert isinstance(stage, (PairStage, HeadStage))
        from reference_impls.core.train.forward import Scorer

        scorer = Scorer(encoder, _known(stage.views_of(cfg), row), shared=False)
        batch = scorer.collate([row], [number])
        shared = settings.shared_prefix and isinstance(stage, PairStage)
        laid = lay_out(batch, "shared" if shared else "plain", {}, encoder.pad_id)
        own = (laid.blocks >= PROMPT).sum(1)
        lengths.append(int(own.sum()))
        squares.append(int((own**2).sum()))
        answers.append(sum(len(each.ids) for given in batch.answers.values() for each in given))
        image.append(sum(_image_tokens(encoder, each.ids) for each in laid.prompts))
    count = len(lengths)
    return Tokens(
        sum(image) / count,
        sum(answers) / count,
        sum(lengths) / count,
        max(lengths),
        sum(squares) / count,
        count,
    )


def _known(views: tuple[View, ...], row: Row) -> tuple[View, ...]:
    """Views whose columns the row has as it is read; a stage's `prepare` makes others, which are
    taken to be like the first."""
    there = [view for view in views if all(column in row for column in view.columns)]
    return tuple(there) or views


def _image_tokens(encoder: Encoder, ids: Iterable[int]) -> int:
    placeholders = set(encoder.placeholder_ids())
    return sum(number in placeholders for number in ids)


# --- memory and time -----------------------------------------------------------------------------


def sharding() -> str:
    """How the launcher shares weights out: `none`, `zero2` or `all` (FSDP, ZeRO-3)."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        return "all"
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
        return {"3": "all", "2": "zero2"}.get(stage, "none")
    return "none"


def layer_activations(layers: Layers, settings: TrainSettings) -> int:
    """A: bytes that one token leaves in one layer for the backward pass."""
    autocast = settings.dtype != "float32"
    computed = 2 if autocast else 4
    return (
        4 * 4 * layers.hidden
        + (5 if autocast else 2) * computed * layers.hidden
        + 4 * computed * layers.wide
        + 4 * computed * layers.inner
    )


def stack_activations(layers: Layers, settings: TrainSettings) -> int:
    """Bytes that one token leaves in all layers."""
    once = layer_activations(layers, settings)
    if settings.gradient_checkpointing:
        return layers.count * 4 * layers.hidden + once
    return layers.count * once


def body_weights(shape: Shape) -> int:
    """Weights that a token is multiplied with in the decoder's layers."""
    decoder = shape.decoder
    attention = decoder.hidden * (2 * decoder.wide + shape.kv_width)
    return decoder.count * (attention + 3 * decoder.hidden * decoder.inner)


def memory(
    shape: Shape,
    tokens: Tokens,
    settings: TrainSettings,
    *,
    processes: int = 1,
    shared_out: str = "none",
    second_model: bool = False,
    critic: bool = False,
) -> dict[str, float]:
    """Bytes by part, on each of `processes` devices, at the largest pass.

    second_model: a frozen reference is scored at every step beside the model. critic: a second
    model trains beside it, as large.
    """
    adapter = bool(settings.lora_rank)
    autocast = settings.dtype != "float32"
    pieces = processes if shared_out == "all" else 1
    states = processes if shared_out in ("all", "zero2") else 1
    head = shape.vocabulary * shape.decoder.hidden
    width = 2.0 if adapter and autocast else 4.0
    weights = width * shape.parameters + 4.0 * shape.adapter
    if settings.load_in_4bit:
        quantised = shape.linear - head
        weights = NF4 * quantised + 4.0 * (shape.parameters - quantised + shape.adapter)
    rows = settings.per_device_batch_size or max(1, settings.batch_size // processes)
    in_pass = rows * tokens.longest
    answers = rows * tokens.answer * (tokens.longest / max(tokens.sequence, 1))
    decoder = shape.decoder
    kept: float = in_pass * stack_activations(decoder, settings)
    if shape.tower is not None:
        seen = rows * tokens.image * shape.patches
        if shape.vision_trains:
            kept += seen * stack_activations(shape.tower, settings)
        else:
            kept += 0.5 * seen * layer_activations(shape.tower, settings)  # alive in one layer
    found = {
        "weights": weights / pieces,
        "16-bit copies": 2.0 * shape.linear if autocast and not adapter and pieces == 1 else 0.0,
        "gradients": 4.0 * shape.trained / states,
        "Adam's states": 8.0 * shape.trained / states,
        "reference": width * shape.parameters if second_model and not adapter else 0.0,
        "critic": 0.0,
        "activations": float(kept),
        "logits": 12.0 * min(answers * shape.vocabulary, CHUNK),
        "gathered layers": 0.0
        if pieces == 1
        else 4.0 * (head + 2 * body_weights(shape) / decoder.count),
    }
    if critic:
        own = ("weights", "16-bit copies", "gradients", "Adam's states", "activations")
        found["critic"] = sum(found[part] for part in own)
    return found


def check_bytes(
    shape: Shape, tokens: Tokens, settings: TrainSettings, parts: dict[str, float]
) -> float:
    """What the self-check of the shared prefix needs before the first step: activations of up to
    two rows, beside weights that have no gradients or states yet."""
    if not settings.shared_prefix:
        return 0.0
    rows = min(2, settings.per_device_batch_size or settings.batch_size)
    kept = stack_activations(shape.decoder, settings)
    return parts["weights"] + parts["16-bit copies"] + rows * plain_tokens(tokens) * kept


def plain_tokens(tokens: Tokens) -> float:
    """Tokens of the largest row with a prompt for each of two answers."""
    answers = tokens.answer * tokens.longest / max(tokens.sequence, 1)
    return 2 * tokens.longest - answers


def needed_bytes(
    shape: Shape, tokens: Tokens, settings: TrainSettings, parts: dict[str, float]
) -> float:
    """What a device must have: the larger one of the self-check and a step, with what the allocator
    and CUDA take."""
    most = max(sum(parts.values()), check_bytes(shape, tokens, settings, parts))
    return most * WASTE + RESERVED


def row_flops(
    shape: Shape,
    tokens: Tokens,
    settings: TrainSettings,
    reference_passes: int = 0,
    critic: bool = False,
) -> float:
    """Operations that training on one row takes, once: forward, backward, critic, reference."""
    head = shape.vocabulary * shape.decoder.hidden
    decoder = shape.decoder
    # Scores and their product with values; half of them are behind the causal mask, which SDPA
    # with a mask of blocks computes nevertheless.
    scores = 4 * decoder.count * decoder.wide * tokens.squares
    forward = 2 * body_weights(shape) * tokens.sequence + scores + 2 * head * tokens.answer
    seen = 0.0
    if shape.tower is not None:
        seen = 2 * shape.vision * tokens.image * shape.patches
    again = forward if settings.gradient_checkpointing else 0.0
    backward = forward * (1 if settings.lora_rank else 2)
    of_tower = seen * (3 if shape.vision_trains else 1)
    trained = forward + again + backward + of_tower
    return (1 + critic) * trained + reference_passes * (forward + seen)


def estimate(
    shape: Shape,
    tokens: Tokens,
    settings: TrainSettings,
    rows: int,
    *,
    processes: int = 1,
    shared_out: str = "none",
    reference: str = "none",
    critic: bool = False,
    in_pieces: bool = True,
) -> dict[str, Any]:
    """Steps, memory by part and time per kind of GPU; what `--dry-run --json` prints.

    reference: `none`, `stored` (scored once per row) or `live` (at every step). critic: a second
    model trains. in_pieces: whether FSDP is allowed.
    """
    parts = memory(
        shape, tokens, settings, processes=processes, shared_out=shared_out,
        second_model=reference == "live", critic=critic,
    )  # fmt: skip
    steps = settings.steps or math.ceil(rows * settings.epochs / settings.batch_size)
    trained = steps * settings.batch_size
    live = row_flops(shape, tokens, settings, 1 if reference == "live" else 0, critic)
    once = row_flops(shape, tokens, settings, 1) - row_flops(shape, tokens, settings)
    total = trained * live + (rows * once if reference == "stored" else 0.0)
    needed = needed_bytes(shape, tokens, settings, parts)
    found = []
    for gpu in GPUS:
        hours = total / (gpu.flops * UTILISATION * processes) / 3600
        found.append(
            {
                "gpu": gpu.name,
                "memory_gib": gpu.memory,
                "fits": needed <= gpu.memory * GIB,
                "gpus_with_fsdp": _fewest(gpu, shape, tokens, settings, reference == "live")
                if in_pieces
                else None,
                "hours": round(hours, 3),
                "bf16_tflops": gpu.flops / 1e12,
                "source": gpu.source,
            }
        )
    return {
        "steps": steps,
        "processes": processes,
        "sharded": shared_out,
        "reference": reference,
        "memory_gib": {name: round(size / GIB, 3) for name, size in parts.items()},
        "needed_gib": round(needed / GIB, 2),
        "petaflops": round(total / 1e15, 3),
        "utilisation": UTILISATION,
        "gpus": found,
    }


def _fewest(
    gpu: Gpu, shape: Shape, tokens: Tokens, settings: TrainSettings, second_model: bool
) -> int | None:
    """The smallest power of two of GPUs on which the run fits with FSDP, up to 64."""
    for count in (1, 2, 4, 8, 16, 32, 64):
        if settings.per_device_batch_size is None and settings.batch_size % count:
            break
        parts = memory(
            shape, tokens, settings, processes=count, shared_out="all" if count > 1 else "none",
            second_model=second_model,
        )  # fmt: skip
        if needed_bytes(shape, tokens, settings, parts) <= gpu.memory * GIB:
            return count
    return None


# --- the command ---------------------------------------------------------------------------------


def dry_run(
    stage: Stage,
    cfg: Any,
    settings: TrainSettings,
    model: str,
    rows: Sequence[Row] | None,
    count: int | None = None,
) -> dict[str, Any]:
    """What a run of a method's last stage on a model would take, on `count` of the rows.

    Raises CannotLoad for a model that cannot be read, ValueError where the batch cannot be divided
    over processes or a row cannot become tokens.
    """
    if not isinstance(stage, (PairStage, SamplingStage, HeadStage)):
        raise ValueError("nothing is trained: answers are chosen among samples")
    common.check_batch(stage, settings)
    shape = read_shape(model, settings)
    trained = settings.pairs if rows is None else (len(rows) if count is None else count)
    tokens = ASSUMED
    if rows is not None:
        limits = PixelLimits(settings.min_pixels, settings.max_pixels)
        tokens = count_tokens(rows, stage, cfg, load_processor(model, limits), settings)
    elif isinstance(stage, SamplingStage):
        each = int(ASSUMED.image) + 60 + settings.max_new_tokens
        group = answers_to_a_prompt(stage, settings)
        tokens = Tokens(
            ASSUMED.image, group * settings.max_new_tokens, group * each, group * each,
            group * each**2, 0,
        )  # fmt: skip
    found = estimate(
        shape, tokens, settings, trained,
        processes=world_size(), shared_out=sharding(), reference=reference_of(stage, cfg, settings),
        critic=isinstance(stage, PpoStage) and stage.critic != "shared",
        in_pieces=not isinstance(stage, PpoStage),
    )  # fmt: skip
    return {
        "model": model,
        "rows": None if rows is None else trained,
        "tokens": asdict(tokens),
        "parameters": shape.parameters,
        "trained": shape.trained,
        "batch_size": settings.batch_size,
        "per_device_batch_size": settings.per_device_batch_size
        or settings.batch_size // world_size(),
        "dtype": settings.dtype,
        "lora_rank": settings.lora_rank,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "left_out": left_out(stage),
        **found,
    }


def left_out(stage: Stage) -> list[str]:
    """What a stage takes beside what is estimated."""
    if isinstance(stage, PpoStage) and stage.updates > 1:
        return [f"{stage.updates} updates of each batch of samples"]
    return []


def reference_of(stage: Stage, cfg: Any, settings: TrainSettings) -> str:
    """How the reference of a stage is scored: `none`, `stored` or `live`."""
    if isinstance(stage, PairStage):
        views = stage.views_of(cfg)
        vocabulary = any(view.vocabulary_kl for view in views)
        if not vocabulary and not any(view.reference for view in views):
            return "none"
        storable = settings.stored_reference and stage.negatives is None and not vocabulary
        return "stored" if storable else "live"
    return "live" if isinstance(stage, SamplingStage) and stage.reference != "none" else "none"


def answers_to_a_prompt(stage: Stage, settings: TrainSettings) -> int:
    """Answers that are sampled to each prompt of a stage."""
    return 1 if isinstance(stage, PpoStage) else settings.group_size


def told(found: dict[str, Any]) -> str:
    """The same for a person."""
    tokens = found["tokens"]
    read = (
        f"counted over {tokens['counted']} rows" if tokens["counted"] else "assumed: no --dataset"
    )
    rows = "rows of the lab" if found["rows"] is None else f"{found['rows']:,} rows"
    lines = [
        f"{found['model']}: {found['parameters'] / 1e9:.2f}B parameters, "
        f"{found['trained'] / 1e9:.3g}B of them trained",
        f"{rows}; tokens per row ({read}): {tokens['image']:.0f} of images, "
        f"{tokens['answer']:.0f} of answers, {tokens['sequence']:.0f} in all, "
        f"{tokens['longest']} at most",
        f"{found['steps']:,} steps of {found['batch_size']} rows, "
        f"{found['per_device_batch_size']} in a pass; {found['dtype']}, "
        f"{'LoRA of rank ' + str(found['lora_rank']) if found['lora_rank'] else 'all weights'}, "
        f"checkpointing {'on' if found['gradient_checkpointing'] else 'off'}, "
        f"reference {found['reference']}",
        "memory in GiB, on each GPU: "
        + ", ".join(f"{name} {size:.1f}" for name, size in found["memory_gib"].items() if size)
        + f"; {found['needed_gib']:.1f} with {(WASTE - 1):.0%} and {RESERVED / GIB:.1f} on top",
    ]
    lines.append(f"{'GPU':12}  {'memory':>6}  {'fits':>4}  {'with FSDP':>9}  {'hours':>7}")
    for gpu in found["gpus"]:
        several = gpu["gpus_with_fsdp"]
        lines.append(
            f"{gpu['gpu']:12}  {gpu['memory_gib']:>6g}  {'yes' if gpu['fits'] else 'no':>4}  "
            f"{f'{several} GPUs' if several else 'no':>9}  {gpu['hours']:>7.2f}"
        )
    if found["left_out"]:
        lines.append("Not in the estimate: " + "; ".join(found["left_out"]) + ".")
    lines.append(
        f"Estimates, not measured on a GPU; hours at {UTILISATION:.0%} of the vendor's bf16 figure"
        + (" on one GPU" if found["processes"] == 1 else f" on {found['processes']} GPUs")
        + ", without evaluation and sampling."
    )
    return "\n".join(lines)
