"""Loading of models and processors, from a folder or a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor


def images_only(name: str) -> Any:
    """The processor class of that name (`Qwen2_5_VLProcessor`) without its video half.

    The video half of Qwen's processors needs torchvision; the image half does not, and is all that
    images need. Saved files name the real class.
    """
    import transformers

    real = getattr(transformers, name)

    def start(
        self: Any,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        super(real, self).__init__(image_processor, tokenizer, chat_template=chat_template)

    return type(name, (real,), {"__init__": start})


def load_processor(path: str) -> Any:
    """The checkpoint's own processor; where only its video half cannot be had, the image half."""
    try:
        return AutoProcessor.from_pretrained(path)
    except (ImportError, OSError, ValueError) as error:
        if not any(word in str(error).lower() for word in ("torchvision", "video processor")):
            raise
        from transformers import AutoConfig, AutoTokenizer, Qwen2VLImageProcessorPil

        kinds = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor"}
        kind = kinds.get(AutoConfig.from_pretrained(path).model_type)
        if kind is None:
            raise
        tokenizer = AutoTokenizer.from_pretrained(path)
        images = Qwen2VLImageProcessorPil.from_pretrained(path)
        return images_only(kind)(images, tokenizer, tokenizer.chat_template)


def load(path: str | Path, device: str = "cpu", dtype: str = "float32") -> tuple[Any, Any]:
    """(model, processor) of a checkpoint folder or a hub id.

    Raises FileNotFoundError for a local path that does not exist, OSError when the hub has no such
    model or cannot be reached.
    """
    text = str(path)
    looks_local = text.startswith((".", "/", "~")) or text.count("/") != 1
    if looks_local and not Path(text).expanduser().is_dir():
        raise FileNotFoundError(f"no model at {text}")
    processor = load_processor(text)
    model: Any = AutoModelForImageTextToText.from_pretrained(text, dtype=getattr(torch, dtype))
    return model.to(device), processor
