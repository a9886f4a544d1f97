"""Loading of models and processors, from a folder or a hub.

What a checkpoint needs beside torch and transformers is said by name before its weights are read.
"""

from __future__ import annotations

import logging
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils.import_utils import is_torchvision_available

logger = logging.getLogger(__name__)

ADAPTER = "adapter_config.json"
"""What peft writes beside the weights of an adapter."""


class CannotLoad(ValueError):
    """A checkpoint that cannot be used as it is asked for. The text is one line that says why."""


@dataclass(frozen=True)
class PixelLimits:
    """Bounds of an image's height x width after resizing; None leaves the checkpoint's own."""

    least: int | None = None
    most: int | None = None

    def apply(self, processor: Any) -> None:
        """Set them in a processor.

        Raises CannotLoad where its images have no such bounds, or where the lower one would be
        above the upper one.
        """
        if self.least is None and self.most is None:
            return
        option = "--max-pixels" if self.most is not None else "--min-pixels"
        images = processor.image_processor
        if "max_pixels" not in getattr(images.valid_kwargs, "__annotations__", {}):
            raise CannotLoad(
                f"{option}: {type(processor).__name__} does not size images by their pixels "
                f"(its size is {dict(images.size)}); processors of the Qwen-VL family do"
            )
        # The names are historical: transformers keeps the bounds of pixels under those of edges
        # (models/qwen2_vl/image_processing_pil_qwen2_vl.py, `__init__`).
        size = dict(images.size)
        if self.least is not None:
            size["shortest_edge"] = self.least
        if self.most is not None:
            size["longest_edge"] = self.most
        if size["shortest_edge"] > size["longest_edge"]:
            raise CannotLoad(
                f"{option}: images would have at least {size['shortest_edge']} and at most "
                f"{size['longest_edge']} pixels"
            )
        images.size = type(images.size)(**size)


NO_LIMITS = PixelLimits()


def images_only(real: Any) -> Any:
    """A processor class without its video half, which needs torchvision; images do not.

    Files that it writes name the real class.
    """
    attributes = list(real.get_attributes())
    place = attributes.index("video_processor")

    class ImagesOnly(real):  # type: ignore[misc]
        # SmolVLM's reads its sampling of frames whatever a conversation holds.
        video_processor = types.SimpleNamespace(num_frames=None, fps=None, size=None)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [name for name in attributes if name != "video_processor"]

        @classmethod
        def _get_arguments_from_pretrained(cls, *given: Any, **named: Any) -> list[Any]:
            found: list[Any] = super()._get_arguments_from_pretrained(*given, **named)
            return [*found[:place], None, *found[place:]]

    ImagesOnly.__name__ = ImagesOnly.__qualname__ = real.__name__
    return ImagesOnly


def load_processor(path: str, limits: PixelLimits = NO_LIMITS) -> Any:
    """The checkpoint's own processor; where torchvision is missing, without its video half.

    Raises CannotLoad, which names the package, where one is missing that images need.
    """
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

    kind: Any = AutoProcessor
    try:
        # Without a word on it, transformers would ask at the terminal whether to run foreign code.
        config = AutoConfig.from_pretrained(base_of(path), trust_remote_code=False)
        real = PROCESSOR_MAPPING.get(type(config), None)
        if not is_torchvision_available() and "video_processor" in _attributes(real):
            kind = images_only(real)
        processor = kind.from_pretrained(path, trust_remote_code=False)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise CannotLoad(
            f"{path} brings code of its own, which is not run: take the checkpoint in the format "
            "of transformers (of InternVL, those whose names end in -hf)"
        ) from error
    except ImportError as error:
        name = getattr(kind, "__name__", "the processor")
        needed = [each for each in ("torchvision", "num2words") if each in str(error)]
        if not needed:
            raise
        raise CannotLoad(
            f"{path}: {name} needs {needed[0]}, which is not installed: pip install {needed[0]}"
        ) from error
    if not hasattr(processor, "image_processor"):
        raise CannotLoad(f"{path}: {type(processor).__name__} reads no images")
    if not (processor.chat_template or getattr(processor.tokenizer, "chat_template", None)):
        raise CannotLoad(
            f"{path}: its processor has no chat template (chat_template.jinja), which says how a "
            "conversation becomes text; a base model has none"
        )
    limits.apply(processor)
    _bring_to_size(processor.image_processor)
    return processor


def _bring_to_size(image_processor: Any) -> None:
    """Images of any size become those that the model takes, where it takes one size alone and its
    processor says which but leaves images as they are, as those of the lab's bases do: they are
    made for pictures that are drawn in that size, which this changes nothing about."""
    size = getattr(image_processor, "size", None) or {}
    if not image_processor.do_resize and size.get("height") and size.get("width"):
        image_processor.do_resize = True


def _attributes(processor: Any) -> list[str]:
    return [] if processor is None else list(processor.get_attributes())


def base_of(path: str) -> str:
    """The checkpoint that an adapter was trained on; other paths are their own."""
    return adapters_of(path)[0]


def adapters_of(path: str) -> tuple[str, list[str]]:
    """(checkpoint, folders of the adapters that were trained on it, in their order).

    An adapter that was trained on another one names its folder as its base. Raises CannotLoad where
    one of them is not there.
    """
    from peft import PeftConfig

    adapters: list[str] = []
    while (Path(path).expanduser() / ADAPTER).is_file():
        adapters.insert(0, path)
        base = str(PeftConfig.from_pretrained(path).base_model_name_or_path)
        if _is_folder(base) and not Path(base).expanduser().is_dir():
            raise CannotLoad(f"{path} is an adapter of {base}, which is not there")
        path = base
    return path, adapters


def _is_folder(path: str) -> bool:
    """Whether a path is not a hub's id (`owner/name`), as far as its form tells."""
    return path.startswith((".", "/", "~")) or path.count("/") != 1


def load(
    path: str | Path,
    device: str = "cpu",
    dtype: str = "float32",
    limits: PixelLimits = NO_LIMITS,
    in_4bit: bool = False,
) -> tuple[Any, Any]:
    """(model, processor) of a checkpoint folder or a hub id.

    A folder that holds an adapter gives its model with the adapter merged into the weights, and
    those that it was trained on before.
    `in_4bit`: linear layers are kept in NF4 with doubly quantised constants, computed with in
    `dtype` (QLoRA, arXiv:2305.14314, section 3); only an adapter can be trained on them.
    Raises FileNotFoundError for a local path that does not exist, OSError when the hub has no such
    model or cannot be reached, CannotLoad where it cannot be used as asked.
    """
    text = str(path)
    if _is_folder(text) and not Path(text).expanduser().is_dir():
        raise FileNotFoundError(f"no model at {text}")
    base, adapters = adapters_of(text)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if in_4bit and adapters:
        raise CannotLoad(
            f"{text} is an adapter, which 4-bit weights cannot take in: merge it first, or go on "
            "without --load-in-4bit"
        )
    processor = load_processor(text, limits)
    if in_4bit:
        options |= {"quantization_config": four_bits(dtype), "device_map": {"": device}}
    model = whole_model(base, **options)
    for adapter in adapters:
        model = _with_adapter(model, adapter).merge_and_unload()
        model.name_or_path = adapter  # what an adapter that is trained on it will name as its base
    return (model if in_4bit else model.to(device)), processor


SHOWN = 3
"""Weights that a message names."""


def whole_model(path: str | Path, kind: Any = AutoModelForImageTextToText, **options: Any) -> Any:
    """A model all of whose weights are in its checkpoint.

    transformers gives weights that it does not find random values and says so in a warning alone.
    Raises CannotLoad, which names them; weights that the model has no place for are said.
    """
    model, found = kind.from_pretrained(path, output_loading_info=True, **options)
    missing = sorted(found["missing_keys"])
    if missing:
        raise CannotLoad(
            f"{path}: its files lack {len(missing)} weights of a {type(model).__name__}, which "
            f"would be random: {_first(missing)}; take a whole checkpoint, or correct its "
            "config.json"
        )
    if found["unexpected_keys"]:
        more = sorted(found["unexpected_keys"])
        logger.info(
            "%s: a %s has no place for %d weights of its files, which are left out: %s",
            path, type(model).__name__, len(more), _first(more),
        )  # fmt: skip
    return model


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _with_adapter(model: Any, adapter: str) -> Any:
    """Raises CannotLoad where weights of the adapter are not in its file, which would be those that
    it began with."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            return PeftModel.from_pretrained(model, adapter)
        except UserWarning as lacking:
            said = str(lacking).partition("[")[2].partition("]")[0]
            names = sorted(name.strip(" '") for name in said.split(","))
            raise CannotLoad(
                f"{adapter}: its file lacks {len(names)} weights of the adapter: {_first(names)}"
            ) from None


def four_bits(dtype: str) -> Any:
    """How weights are kept in 4 bits. Raises CannotLoad where bitsandbytes or CUDA is absent."""
    missing = cannot_quantise()
    if missing:
        raise CannotLoad(f"4-bit weights need {missing}")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )


def cannot_quantise() -> str:
    """What 4-bit weights lack here; "" where they can be had."""
    from transformers.utils.import_utils import is_bitsandbytes_available

    if not torch.cuda.is_available():
        return "a CUDA device, and this torch sees none"
    if not is_bitsandbytes_available():
        return "bitsandbytes, which is not installed: pip install bitsandbytes"
    return ""
