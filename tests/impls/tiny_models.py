"""Vision-language models of the real classes with their real processors, tiny and random.

Nothing is downloaded: every part is built from its config. The tokenizers are byte-level without
merges, so every text has tokens. The chat templates are the published ones: those that TRL keeps to
know models by (`trl/chat_templates`), and three that it does not."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import torch
import transformers

from reference_impls.core.model.load import images_only

TRL = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"


def published(name: str) -> str:
    """A chat template as its family's checkpoints bring it, by TRL's name for it."""
    return (TRL / f"{name}.jinja").read_text()


QWEN = published("qwen2_5_vl")
"""Qwen2-VL's and Qwen2.5-VL's are the same."""
IMAGES = "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
TEXTS = "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
# llava-hf/llava-1.5-7b-hf, as in huggingface/transformers tests/models/llava_next/
# test_processing_llava_next.py: no control token between turns, and no end of the answer.
LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}"
    + IMAGES + "{{ '<image>\n' }}{% endfor %}{% if message['role'] != 'assistant' %}"
    + TEXTS + "{{ part['text'] + ' '}}{% endfor %}{% else %}"
    + TEXTS + "{% generation %}{{ part['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)  # fmt: skip
# llava-hf/llava-onevision-qwen2-*-hf, as in the tests of its processor there: a finished turn
# begins with "assistant \n", the generation prompt ends with "assistant\n".
ONEVISION = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + ' '}}"
    + IMAGES + "{{ '<image>' }}{% endfor %}{% if message['role'] != 'assistant' %}"
    + TEXTS + "{{ '\n' + part['text'] }}{% endfor %}{% else %}"
    + TEXTS + "{% generation %}{{ '\n' + part['text'] }}{% endgeneration %}{% endfor %}{% endif %}"
    "{{'<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip
# OpenGVLab/InternVL*-hf, huggingface/transformers@015d3b27:
# src/transformers/models/internvl/convert_internvl_weights_to_hf.py; published ones write the
# token that the processor looks for.
INTERNVL = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{'<|im_end|>\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{'<|im_start|>assistant\n' }}{% endif %}"
)

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def tokenizer(*special: str, eos: str = "<|im_end|>", **names: str) -> Any:
    """A byte-level tokenizer with these special tokens; `names` are attributes (`image_token`)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=eos, pad_token="<|endoftext|>", padding_side="left",
        extra_special_tokens=names or None,
    )  # fmt: skip
    made.add_special_tokens({"additional_special_tokens": [*CHAT_TOKENS, *special]})
    return made


def processor_class(name: str) -> Any:
    """The real class, without its video half: that needs torchvision, and no image does."""
    return images_only(getattr(transformers, name))


def text(tokens: Any, **more: Any) -> dict[str, Any]:
    """Config of a decoder of two layers, 32 wide, without dropout."""
    return {
        "vocab_size": len(tokens), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 2048, "pad_token_id": tokens.pad_token_id,
        "eos_token_id": tokens.eos_token_id, "bos_token_id": None, "tie_word_embeddings": False,
    } | more  # fmt: skip


def tower(**more: Any) -> dict[str, Any]:
    """Config of a vision tower of two layers, 32 wide, for 16 x 16 pixels in patches of 4."""
    return {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": 16, "patch_size": 4,
    } | more  # fmt: skip


def llava() -> tuple[Any, Any]:
    tokens = tokenizer("<image>", image_token="<image>")
    size = {"height": 16, "width": 16}
    images = transformers.CLIPImageProcessorPil(size=size, crop_size=size)
    processor = transformers.LlavaProcessor(
        images, tokens, patch_size=4, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=LLAVA,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**tower(projection_dim=32)),
        text_config=transformers.LlamaConfig(**text(tokens)),
        image_token_id=tokens.image_token_id, vision_feature_layer=-1,
        tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration(config), processor


def llava_next() -> tuple[Any, Any]:
    tokens = tokenizer("<image>", "</s>", eos="</s>", image_token="<image>")
    images = transformers.LlavaNextImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16},
        image_grid_pinpoints=[[16, 32], [32, 16]],
    )  # fmt: skip
    processor = transformers.LlavaNextProcessor(
        images, tokens, patch_size=4, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=published("llava_next"),
    )  # fmt: skip
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**tower(projection_dim=32)),
        text_config=transformers.LlamaConfig(**text(tokens)),
        image_token_id=tokens.image_token_id, vision_feature_layer=-1,
        image_grid_pinpoints=[[16, 32], [32, 16]], tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.LlavaNextForConditionalGeneration(config), processor


def _qwen_vision(**more: Any) -> dict[str, Any]:
    return {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4} | more


def _qwen(
    family: str,
    vision: dict[str, Any],
    patch: int,
    image_tokens: int = 9,
    template: str = QWEN,
    **decoder: Any,
) -> tuple[Any, Any]:
    tokens = tokenizer(*VISION_TOKENS)
    side = 2 * patch
    images = transformers.Qwen2VLImageProcessorPil(
        min_pixels=side * side, max_pixels=image_tokens * side * side, patch_size=patch
    )
    processor = processor_class(f"{family}Processor")(images, tokens, chat_template=template)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]}
    number = tokens.convert_tokens_to_ids
    config = getattr(transformers, f"{family}Config")(
        text_config=text(tokens, rope_parameters=rope, **decoder),
        vision_config=vision, image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"), vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"), tie_word_embeddings=False,
    )  # fmt: skip
    return getattr(transformers, f"{family}ForConditionalGeneration")(config), processor


def qwen2_vl() -> tuple[Any, Any]:
    return _qwen("Qwen2VL", {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4}, 14)


def qwen2_5_vl(image_tokens: int = 9) -> tuple[Any, Any]:
    vision = _qwen_vision(out_hidden_size=32, window_size=112, fullatt_block_indexes=[1])
    return _qwen("Qwen2_5_VL", vision, 14, image_tokens)


def qwen3_vl() -> tuple[Any, Any]:
    vision = _qwen_vision(
        out_hidden_size=32, patch_size=16, deepstack_visual_indexes=[0], num_position_embeddings=16
    )
    return _qwen("Qwen3VL", vision, 16, template=published("qwen3_vl"), head_dim=8)


def _idefics(name: str, image_class: str, template: str) -> tuple[Any, Any]:
    from transformers.models.smolvlm import processing_smolvlm

    # SmolVLM writes the times of video frames with it; images do not need it.
    processing_smolvlm.num2words = processing_smolvlm.num2words or str
    tokens = tokenizer(
        "<|begin_of_text|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>",
        "<global-img>",
        *(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)),
        eos="<end_of_utterance>",
    )  # fmt: skip
    images = getattr(transformers, image_class)(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 16}
    )
    video = {"video_processor": None} if name == "SmolVLM" else {}
    real = getattr(transformers, f"{name}Processor")
    made = images_only(real) if video else real
    processor = made(images, tokens, image_seq_len=4, chat_template=template, **video)
    config = getattr(transformers, f"{name}Config")(
        vision_config=tower(), text_config=transformers.LlamaConfig(**text(tokens)),
        image_token_id=tokens.convert_tokens_to_ids("<image>"), scale_factor=2,
        pad_token_id=tokens.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor


def idefics3() -> tuple[Any, Any]:
    return _idefics("Idefics3", "Idefics3ImageProcessorPil", published("idefics3"))


def smolvlm() -> tuple[Any, Any]:
    return _idefics("SmolVLM", "SmolVLMImageProcessorPil", published("smolvlm"))


def gemma3() -> tuple[Any, Any]:
    tokens = tokenizer(
        "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
        "<image_soft_token>", eos="<end_of_turn>", boi_token="<start_of_image>",
        eoi_token="<end_of_image>", image_token="<image_soft_token>",
    )  # fmt: skip
    images = transformers.Gemma3ImageProcessorPil(size={"height": 16, "width": 16})
    processor = transformers.Gemma3Processor(
        images, tokens, chat_template=published("gemma3"), image_seq_length=4
    )
    tokens.bos_token = "<bos>"
    config = transformers.Gemma3Config(
        text_config=text(tokens, head_dim=8, sliding_window=64), vision_config=tower(),
        mm_tokens_per_image=4, image_token_id=tokens.image_token_id,
        boi_token_id=tokens.boi_token_id, eoi_token_id=tokens.eoi_token_id,
    )  # fmt: skip
    return transformers.Gemma3ForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    tokens = tokenizer(
        "<img>", "</img>", "<IMG_CONTEXT>", "<video>", start_image_token="<img>",
        end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>",
    )  # fmt: skip
    images = transformers.GotOcr2ImageProcessorPil(
        size={"height": 16, "width": 16}, crop_to_patches=True, max_patches=3
    )
    processor = processor_class("InternVLProcessor")(
        images, tokens, image_seq_length=4, chat_template=INTERNVL
    )
    config = transformers.InternVLConfig(
        vision_config=transformers.InternVLVisionConfig(**tower()),
        text_config=transformers.Qwen2Config(**text(tokens)),
        image_token_id=tokens.context_image_token_id, image_seq_length=4, downsample_ratio=0.5,
        tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.InternVLForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    tokens = tokenizer("<image>", "<video>", image_token="<image>", video_token="<video>")
    images = transformers.LlavaOnevisionImageProcessorPil(
        size={"height": 16, "width": 16}, image_grid_pinpoints=[[16, 16], [16, 32], [32, 16]]
    )
    processor = processor_class("LlavaOnevisionProcessor")(
        images, tokens, num_image_tokens=16, vision_feature_select_strategy="full",
        chat_template=ONEVISION,
    )  # fmt: skip
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**tower()),
        text_config=transformers.Qwen2Config(**text(tokens)),
        image_token_id=tokens.image_token_id, video_token_id=tokens.video_token_id,
        image_grid_pinpoints=[[16, 16], [16, 32], [32, 16]], tie_word_embeddings=False,
        vision_feature_select_strategy="full", vision_feature_layer=-1,
    )  # fmt: skip
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


FAMILIES = {
    made.__name__: made
    for made in (
        llava, llava_next, llava_onevision, qwen2_vl, qwen2_5_vl, qwen3_vl, idefics3, smolvlm,
        gemma3, internvl,
    )
}  # fmt: skip


@functools.cache
def build(family: str, seed: int = 0) -> tuple[Any, Any]:
    """(model, processor) of a family; the same seed gives the same weights. Do not train it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = FAMILIES[family]()
        for parameter in model.parameters():
            # Wider than the initialisation of training: every input must make a difference.
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.eval(), processor


def save(family: str, folder: Path, seed: int = 0) -> Path:
    """Write a family's checkpoint as `save_pretrained` does; gives the folder back."""
    model, processor = build(family, seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def as_sampled(text: str) -> str:
    """A whole conversation's text as sampling writes it, where its template begins a finished turn
    otherwise than it prompts for one (LLaVA-OneVision)."""
    before, found, answer = text.rpartition("<|im_start|>assistant \n")
    return f"{before}<|im_start|>assistant\n{answer}" if found else text
