"""The lab's small model, and loading of real ones.

The lab trains a LLaVA of the real `transformers` class, only small: a CLIP tower and a Llama
decoder of two layers each, hidden size 64, about 175,000 parameters and a word-level vocabulary.
Whatever runs on it runs on LLaVA-1.5 or Qwen2.5-VL: the same processor calls, the same chat
template, the same trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<user> {% elif message['role'] == 'assistant' %}<assistant> "
    "{% else %}<system> {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %} <eos>{% else %} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def build_processor(words: tuple[str, ...], image_size: int, patch_size: int = 8):
    """A `LlavaProcessor` with a word-level vocabulary of `words`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<unk>", "<user>", "<assistant>", "<system>", "<image>"]
    vocabulary = {word: number for number, word in enumerate([*special, *dict.fromkeys(words)])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
    )
    side = {"height": image_size, "width": image_size}
    images = CLIPImageProcessorPil(
        size=side, crop_size=side, do_resize=False, do_center_crop=False, do_convert_rgb=True
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch_size,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor, image_size: int, hidden: int = 64, layers: int = 2, patch_size: int = 8):
    """An untrained LLaVA that fits `processor`."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
    )

    tokenizer = processor.tokenizer
    vision = CLIPVisionConfig(
        hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, image_size=image_size, patch_size=patch_size, projection_dim=hidden,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=256, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(image_size // patch_size) ** 2,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # A sampled image token would ask the next forward pass for an image that is not there.
    model.generation_config.suppress_tokens = [config.image_token_index]
    return model


def images_only(name: str):
    """The processor class of that name (`Qwen2_5_VLProcessor`) without its video half.

    The video half of Qwen's processors needs torchvision; the image half does not, and is all that
    images need. Saved files name the real class.
    """
    import transformers

    real = getattr(transformers, name)

    def start(self, image_processor=None, tokenizer=None, chat_template=None, **kwargs):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        super(real, self).__init__(image_processor, tokenizer, chat_template=chat_template)

    return type(name, (real,), {"__init__": start})


def load_processor(path: str):
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


def load(path: str | Path, device: str = "cpu", dtype: str = "float32"):
    """(model, processor) of a checkpoint folder or a hub id.

    Raises FileNotFoundError for a local path that does not exist, OSError when the hub has no such
    model or cannot be reached.
    """
    text = str(path)
    looks_local = text.startswith((".", "/", "~")) or text.count("/") != 1
    if looks_local and not Path(text).expanduser().is_dir():
        raise FileNotFoundError(f"no model at {text}")
    processor = load_processor(text)
    model = AutoModelForImageTextToText.from_pretrained(text, dtype=getattr(torch, dtype))
    return model.to(device), processor
