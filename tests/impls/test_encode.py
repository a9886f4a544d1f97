"""One layout of prompt and answer for training, scoring, sampling and evaluation."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from reference_impls.core.data.rows import LazyRows
from reference_impls.core.model.encode import Encoder, EncodingError, image_key, stack_vision
from reference_impls.core.model.generation import generate
from reference_impls.core.model.load import load
from reference_impls.core.model.policy import Policy
from tests.impls import tiny_models

FAMILIES = sorted(tiny_models.FAMILIES)


def picture(seed: int, width: int = 40, height: int = 24) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


IMAGES = [picture(0), picture(1, 30, 30)]
SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {
    "role": "user",
    "content": [
        {"type": "text", "text": "Is "},
        {"type": "image"},
        {"type": "text", "text": " like "},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ],
}
HISTORY = [
    SYSTEM,
    ASK,
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": "Why?"},
]
CASES = {
    "one image": ([{"role": "user", "content": "What is it?"}], IMAGES[:1]),
    "two images": ([ASK], IMAGES),
    "a system turn": ([SYSTEM, ASK], IMAGES),
    "a history": (HISTORY, IMAGES),
    "no image": ([SYSTEM, {"role": "user", "content": "Name a fruit."}], []),
}


def parts(messages):
    """Typed parts, written out by hand for the templates."""
    return [
        message
        | (
            {"content": [{"type": "text", "text": message["content"]}]}
            if isinstance(message["content"], str)
            else {}
        )
        for message in messages
    ]


def whole_conversation(processor, messages, images, answer):
    """The ordinary path: the text of the whole conversation through the processor."""
    messages = parts([*messages, {"role": "assistant", "content": answer}])
    if images and not any(p["type"] == "image" for m in messages for p in m["content"]):
        messages[0]["content"] = [{"type": "image"}, *messages[0]["content"]]
    text = tiny_models.as_sampled(processor.apply_chat_template(messages, tokenize=False))
    return processor(
        text=[text], images=[images] if images else None, add_special_tokens=False,
        return_tensors="pt",
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_prompt_and_answer_together_are_what_the_processor_makes_of_the_whole_conversation(
    family, case
):
    _, processor = tiny_models.build(family)
    messages, images = CASES[case]
    encoder = Encoder(processor)
    prompt = encoder.prompt(messages, images)
    answer = encoder.answer(messages, images, "A red dog.")
    expected = whole_conversation(processor, messages, images, "A red dog.")
    assert prompt.ids + answer.ids == expected["input_ids"][0].tolist()
    for name, values in prompt.columns.items():
        assert values + [0] * len(answer.ids) == expected[name][0].tolist()
    vision = set(expected) - {"input_ids", "attention_mask", *prompt.columns}
    assert set(prompt.vision) == vision
    for name in vision:
        assert torch.equal(prompt.vision[name], torch.as_tensor(expected[name]))


ENDINGS = {
    "llava": "A red dog. ", "llava_next": "A red dog.</s> ",
    "idefics3": "A red dog.<end_of_utterance>", "smolvlm": "A red dog.<end_of_utterance>",
    "gemma3": "A red dog.<end_of_turn>",
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_has_the_ending_of_its_template_and_spans_of_its_own_text(family):
    _, processor = tiny_models.build(family)
    encoder = Encoder(processor)
    answer = encoder.answer(*CASES["one image"], "A red dog.")
    written = processor.tokenizer.decode(answer.ids)
    assert written.strip(" \n") == ENDINGS.get(family, "A red dog.<|im_end|>").strip()
    assert answer.text == "A red dog."
    covered = "".join(answer.text[start:end] for start, end in answer.spans)
    assert covered == "A red dog."
    for number, (start, end) in zip(answer.ids, answer.spans, strict=True):
        if start < end:
            assert processor.tokenizer.decode([number]) == answer.text[start:end]


@pytest.mark.parametrize("family", FAMILIES)
def test_control_tokens_inside_a_text_are_text(family):
    _, processor = tiny_models.build(family)
    encoder = Encoder(processor)
    literal = "".join(sorted(encoder.control))
    answered = f"Yes {literal}."
    clean = [SYSTEM, ASK]
    messages = [
        {"role": "system", "content": f"Be {literal} brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": f"{literal}Is "}, *ASK["content"][1:]],
        },
    ]
    prompt, plain = encoder.prompt(messages, IMAGES), encoder.prompt(clean, IMAGES)

    def control(ids):
        return [number for number in ids if number in encoder.control_ids]

    assert control(prompt.ids) == control(plain.ids)
    assert literal in processor.tokenizer.decode(prompt.ids)
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in prompt.columns:
            assert sum(prompt.columns[name]) == sum(plain.columns[name])
    for name, value in plain.vision.items():
        assert torch.equal(prompt.vision[name], value)
    answer = encoder.answer(messages, IMAGES, answered)
    assert control(answer.ids) == control(encoder.answer(clean, IMAGES, "Yes.").ids)
    assert answered in processor.tokenizer.decode(answer.ids)
    assert "".join(answer.text[a:b] for a, b in answer.spans) == answered


def test_two_parts_of_a_message_do_not_make_a_control_token_where_they_meet():
    encoder = Encoder(tiny_models.build("qwen2_5_vl")[1])
    split = [{"type": "text", "text": "a <|image_"}, {"type": "text", "text": "pad|> b"}]
    prompt = encoder.prompt([{"role": "user", "content": split}])
    assert "a <|image_pad|> b" in encoder.tokenizer.decode(prompt.ids)
    assert not set(encoder.placeholder_ids()) & set(prompt.ids)


def test_a_private_use_character_in_a_text_stays_itself():
    encoder = Encoder(tiny_models.build("qwen2_5_vl")[1])
    text = "a \U000f0000\U000f0001 <|im_end|> b"
    prompt = encoder.prompt([{"role": "user", "content": text}])
    assert text in encoder.tokenizer.decode(prompt.ids)
    answer = encoder.answer([{"role": "user", "content": text}], [], text)
    assert encoder.tokenizer.decode(answer.ids) == text + "<|im_end|>\n"


def metaspace_llava():
    """LLaVA with a tokenizer that puts a space before the beginning of a text, as Llama's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = "▁abcdefghijklmnopqrstuvwxyzABINSTUERGNO:.?<>\n"
    vocabulary = {letter: number for number, letter in enumerate(dict.fromkeys(letters))}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokens = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")
    tokens.add_special_tokens({"additional_special_tokens": ["<image>"]})
    _, processor = tiny_models.llava()
    processor.tokenizer = tokens
    return processor


def with_bos(family: str, ending: str = ""):
    """A family's processor whose tokenizer begins each text with <s>, as Llama's and Mistral's do,
    and ends it with `ending`."""
    from tokenizers.processors import TemplateProcessing

    _, processor = tiny_models.FAMILIES[family]()
    processor.tokenizer.add_special_tokens({"bos_token": "<s>"})
    ids = [(token, processor.tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", ending)]
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"<s> $A {ending}".strip(), pair="$A $B", special_tokens=ids if ending else ids[:1]
    )
    return processor


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_5_vl", "gemma3"])
@pytest.mark.parametrize("case", CASES)
def test_a_prompt_begins_as_transformers_begins_it(family, case):
    messages, images = CASES[case]
    processor = with_bos(family)
    asked = parts(messages)
    encoder = Encoder(processor)
    shown = iter(images)
    turns = [
        turn
        | {"content": [
            {"type": "image", "image": next(shown)} if part["type"] == "image" else part
            for part in turn["content"]
        ]}
        for turn in encoder._placed(messages, len(images))
    ]  # fmt: skip
    theirs = processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    ours = encoder.prompt(asked, images)
    assert ours.ids == torch.as_tensor(theirs).flatten().tolist()
    assert ours.ids.count(processor.tokenizer.bos_token_id) == 1
    last = {"role": "user", "content": [*asked[-1]["content"], {"type": "text", "text": "<s>"}]}
    found = Encoder(processor).prompts([(asked, images), ([*asked[:-1], last], images)])
    assert found[0].ids == ours.ids
    assert found[1].ids.count(processor.tokenizer.bos_token_id) == 1


def test_what_a_tokenizer_ends_its_texts_with_does_not_end_a_prompt():
    ids = Encoder(with_bos("llava", "<|im_end|>")).prompt(*CASES["one image"]).ids
    assert ids == Encoder(with_bos("llava")).prompt(*CASES["one image"]).ids


def test_no_space_is_added_where_an_answer_continues_a_prompt():
    processor = metaspace_llava()
    encoder = Encoder(processor)
    messages = [{"role": "user", "content": "is it a dog?"}]
    for text in ("no.", "no <image> no."):
        prompt, answer = encoder.prompt(messages), encoder.answer(messages, [], text)
        spelt = "".join(processor.tokenizer.convert_ids_to_tokens(prompt.ids + answer.ids))
        assert spelt.replace("▁", " ") == f" USER: is it a dog? ASSISTANT: {text} "


THINKING = tiny_models.QWEN.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


def thinking(finished: str):
    """Qwen's template with a thought opened in the generation prompt; `finished` is what it writes
    in front of a finished answer."""
    _, processor = tiny_models.qwen2_5_vl()
    processor.chat_template = THINKING.replace(
        "{{ content['text'] }}",
        "{% if message['role'] == 'assistant' %}FINISHED{% endif %}{{ content['text'] }}",
    ).replace("FINISHED", finished)
    return Encoder(processor)


def test_an_answer_follows_an_opened_thought_where_the_template_drops_it_from_finished_turns():
    messages = [{"role": "user", "content": "Why?"}]
    encoder = thinking("")
    answer = encoder.answer(messages, [], "Because.")
    assert encoder.tokenizer.decode(answer.ids) == "Because.<|im_end|>\n"
    assert encoder.tokenizer.decode(encoder.prompt(messages).ids).endswith("<think>\n")


def test_a_template_that_writes_something_else_in_place_of_the_prompts_end_is_refused():
    encoder = thinking("Answer: ")
    with pytest.raises(EncodingError, match="finished turn otherwise than its generation prompt"):
        encoder.answer([{"role": "user", "content": "Why?"}], [], "Because.")


@pytest.mark.parametrize(
    ("messages", "images", "message"),
    [
        ([ASK], IMAGES[:1], "2 places for images, the row has 1"),
        ([ASK], [], "2 places for images, the row has 0"),
        ([SYSTEM], IMAGES[:1], "no user turn"),
        ([{"role": "user", "content": [{"type": "video"}]}], [], "neither text nor image"),
    ],
)
def test_images_and_places_that_do_not_match_are_refused_in_one_line(messages, images, message):
    encoder = Encoder(tiny_models.build("llava")[1])
    with pytest.raises(EncodingError, match=message) as raised:
        encoder.prompt(messages, images)
    assert "\n" not in str(raised.value)


def test_a_template_that_leaves_out_or_refuses_a_turn_is_said_in_one_line():
    _, processor = tiny_models.FAMILIES["llava"]()
    prompt = [SYSTEM, {"role": "user", "content": "What is it?"}]
    for template, said in (
        ("{% for m in messages if m['role'] != 'system' %}{{ m['content'][0]['text'] }}"
         "{% endfor %}", "leaves out 'Be brief.' of the system turn"),
        ("{% for m in messages %}{{ 'A: ' + m['content'] }}{% endfor %}", "does not take it: can"),
        ("{{ raise_exception('Roles must alternate') }}", "does not take it: Roles must alternate"),
        ("{% for m in messages %}", "does not take it: Unexpected end of template"),
    ):  # fmt: skip
        processor.chat_template = template
        with pytest.raises(EncodingError, match=re.escape(said)):
            Encoder(processor).prompt(prompt)


def test_the_content_of_an_image_counts_and_not_its_object():
    assert image_key(picture(3)) == image_key(picture(3))
    assert len({image_key(picture(3)), image_key(picture(4)), image_key(picture(3, 24, 40))}) == 3
    encoder = Encoder(tiny_models.build("llava")[1])
    messages = [{"role": "user", "content": "What?"}]
    prompts = [encoder.prompt(messages, [picture(seed)]) for seed in (3, 3, 4)]
    assert prompts[0].key == prompts[1].key != prompts[2].key


def test_kept_pixels_stay_under_their_limit_and_an_encoder_can_be_pickled():
    encoder = Encoder(tiny_models.build("llava")[1], pixel_bytes=5000)
    messages = [{"role": "user", "content": "What?"}]
    for seed in range(6):
        encoder.prompt(messages, [picture(seed)])
    held = sum(v.nbytes for p in encoder._prompts.values() for v in p.vision.values())
    assert held <= 5000
    again = pickle.loads(pickle.dumps(encoder))
    assert again.prompt(messages, [picture(0)]).ids == encoder.prompt(messages, [picture(0)]).ids


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_padded_on_the_left_are_answered_as_each_one_alone(family):
    model, processor = tiny_models.build(family)
    encoder = Encoder(processor)
    cases = [CASES[name] for name in ("one image", "a history", "no image")]
    prompts, images = [case[0] for case in cases], [case[1] for case in cases]
    if family == "gemma3":  # asks for an image in each prompt or in none
        prompts, images = prompts[:2], images[:2]
    together = generate(model, encoder, prompts, images, max_new_tokens=6)
    alone = [
        generate(model, encoder, [prompt], [picture], max_new_tokens=6)[0]
        for prompt, picture in zip(prompts, images, strict=True)
    ]
    assert together == alone


def test_an_answer_stops_at_the_templates_ending_and_is_given_without_it():
    for family, ending in (("idefics3", "<end_of_utterance>"), ("gemma3", "<end_of_turn>")):
        encoder = Encoder(tiny_models.build(family)[1])
        number = encoder.tokenizer.convert_tokens_to_ids(ending)
        assert number in encoder.stop_ids()
        answer = encoder.answer([{"role": "user", "content": "What?"}], [], "A dog.")
        found = encoder.sampled([*answer.ids, *answer.ids], encoder.stop_ids())
        assert found == "A dog." and found.finished and found.ids[-1] == number
        # The model ends with one token, whatever a template writes behind that.
        assert list(found.ids) == answer.ids[: answer.ids.index(number) + 1]


def test_a_sampled_answer_keeps_the_tokens_that_it_was_sampled_as():
    """Made tokens again, its text has other ones: a blank at its end is lost, a turn ends with a
    line break that no model writes, and where there was room an ending is invented."""
    encoder = Encoder(tiny_models.build("qwen2_vl")[1])
    stop = encoder.stop_ids()[0]
    plain = encoder.answer([{"role": "user", "content": "What?"}], [], "A dog.")
    words = plain.ids[: plain.ids.index(stop)]
    whole = encoder.sampled([*words, stop, 0, 0], [stop])
    assert whole == "A dog." and list(whole.ids) == [*words, stop] and whole.finished
    cut = encoder.sampled(words, [stop])
    assert list(cut.ids) == words and not cut.finished
    line = encoder.tokenizer.encode("\n", add_special_tokens=False)
    blank = encoder.sampled([*words, *line], [stop])
    assert blank == "A dog." and list(blank.ids) == [*words, *line] and not blank.finished
    # Spans are those of the text, and what is outside of it has none.
    found = encoder.tokens_of(encoder.sampled([*words, *line, stop], [stop]), spans=True)
    assert found.spans[: len(words)] == plain.spans[: len(words)]
    assert found.spans[len(words) :] == [(6, 6)] * (len(line) + 1)
    assert encoder.tokens_of(whole, spans=False).spans == []
    # An ending alone is an answer of one token.
    nothing = encoder.tokens_of(encoder.sampled([stop], [stop]), spans=True)
    assert (nothing.text, nothing.ids, nothing.spans) == ("", [stop], [(0, 0)])
    # What was given before counts as written, and does not end the answer.
    begun = encoder.sampled([stop, *words, stop], [stop], begun=1)
    assert list(begun.ids) == [stop, *words, stop] and begun.finished
    assert pickle.loads(pickle.dumps(whole)).ids == whole.ids


def test_an_answer_is_not_shaped_by_what_a_checkpoint_asks_for_besides():
    model, processor = tiny_models.FAMILIES["qwen2_5_vl"]()
    encoder = Encoder(processor)
    asked = [[{"role": "user", "content": f"What is it, {number}?"}] for number in range(4)]

    def answers():
        torch.manual_seed(0)
        return [
            generate(model, encoder, asked, [[]] * 4, max_new_tokens=8, temperature=temperature)
            for temperature in (None, 1.0)
        ]

    plain = answers()
    for name, value in {
        "min_new_tokens": 8, "no_repeat_ngram_size": 1, "min_p": 0.9, "typical_p": 0.1,
        "repetition_penalty": 5.0, "bad_words_ids": [[5], [6]], "forced_eos_token_id": 7,
        "sequence_bias": [[[9], 50.0]], "max_length": 3,
    }.items():  # fmt: skip
        setattr(model.generation_config, name, value)
    assert answers() == plain


def test_sampling_leaves_the_random_state_and_the_mode_and_suppresses_image_tokens():
    model, processor = tiny_models.build("llava")
    encoder = Encoder(processor)
    policy = Policy(model, encoder, seed=5)
    prompts, images = [CASES["one image"][0]] * 4, [IMAGES[:1]] * 4
    before = torch.get_rng_state()
    first = policy.answer(prompts, images, temperature=3.0, max_new_tokens=40)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
    assert policy.answer(prompts, images, temperature=3.0, max_new_tokens=40) != first
    again = Policy(model, processor, seed=5)
    assert again.answer(prompts, images, temperature=3.0, max_new_tokens=40) == first
    from reference_impls.core.model.generation import _options

    assert processor.image_token_id in _options(model, encoder, 4, None)["suppress_tokens"]


def test_vision_inputs_of_unlike_sizes_are_stacked_with_zeros():
    first, second = torch.ones(1, 2, 3), torch.ones(2, 3, 1)
    stacked = stack_vision([{"pixels": first}, {}, {"pixels": second}])["pixels"]
    assert stacked.shape == (3, 3, 3)
    assert stacked.sum() == first.sum() + second.sum()
    assert stacked[0, :2].sum() == 6


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_read_together_are_those_that_are_read_alone(family):
    """Whatever stands beside a prompt: other lengths, other sizes, a literal control token."""
    _, processor = tiny_models.build(family)
    asked = [
        ([{"role": "user", "content": text}], [picture(number, width)])
        for number, (text, width) in enumerate(
            [("What is it?", 40), ("Is it red?", 40), ("What is it?", 40), ("What was it?", 40),
             ("Is it new?", 32), ("What is it?", 32), ("Is <image> it?", 40), ("What is it?", 40)]
        )
    ]  # fmt: skip
    together = Encoder(processor).prompts(asked)
    for (messages, images), read in zip(asked, together, strict=True):
        alone = Encoder(processor).prompt(messages, images)
        assert (read.ids, read.columns, read.images) == (alone.ids, alone.columns, alone.images)
        assert read.vision.keys() == alone.vision.keys()
        assert all(torch.equal(read.vision[name], alone.vision[name]) for name in alone.vision)


def test_questions_of_several_lengths_take_a_call_of_the_processor_each(policy, monkeypatch):
    calls = []
    real = Encoder._process
    monkeypatch.setattr(
        Encoder, "_process", lambda self, *given: calls.append(len(given[0])) or real(self, *given)
    )
    texts = ["is there a red circle ?", "what is shown ?"] * 8
    encoder = Encoder(policy.processor)
    encoder.prompts(
        [
            ([{"role": "user", "content": text}], [picture(number, 64, 64)])
            for number, text in enumerate(texts)
        ]
    )
    assert sorted(calls) == [8, 8]


def test_models_with_one_processor_share_what_was_read_and_others_do_not(tiny_base):
    first, second = (load(tiny_base)[1] for _ in range(2))
    assert first is not second
    assert Encoder.for_rows(first, None) is Encoder.for_rows(second, [])
    for change in ("template", "size", "words"):
        kept = Encoder.for_rows(first, None)  # few are kept: the others may have put it out
        other = load(tiny_base)[1]
        if change == "template":
            other.chat_template = "Answer. " + other.chat_template
        elif change == "size":
            other.image_processor.size = {"height": 32, "width": 32}
        else:
            other.tokenizer.add_tokens(["another"])
        assert Encoder.for_rows(other, None) is not kept, change


def test_rows_that_are_read_one_by_one_are_not_kept(tiny_base):
    _, processor = load(tiny_base)
    lazy = LazyRows(3, lambda number: {})
    assert Encoder.for_rows(processor, lazy) is not Encoder.for_rows(processor, lazy)
