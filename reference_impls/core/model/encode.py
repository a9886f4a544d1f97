"""Prompt and answer as tokens: the only place where either becomes ids, masks and pixels.

Training, scoring, sampling and evaluation all read a conversation through `Encoder`, so that what
is sampled is what is trained and what is scored:

- a prompt is what the chat template writes up to and with the generation prompt, its images
  expanded by the processor where they stand;
- what the tokenizer begins each text with (`<s>` of LLaVA-1.5) goes before the prompt, where its
  template does not write that: transformers' `apply_chat_template` does the same;
- an answer is what the template writes after that, with the template's own ending;
- text is text. A literal `<image>` or `<|im_end|>` inside a message is not a control token.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from reference_impls.core.method import Answer

Messages = Sequence[Mapping[str, Any]]
"""[{role, content}, ...]; content is a str or parts, `{type: image}` or `{type: text, text}`."""

_Keys = tuple[str, ...]
_AnswerKey = tuple[str, tuple[str, ...], str]
_Pieces = tuple[list[int], list[tuple[int, int]]]
"""Ids of tokens, and the characters that each stands for."""

TOKEN_COLUMNS = ("token_type_ids", "mm_token_type_ids")
"""Outputs of a processor that have one number per token."""
FIRST_MARK = 0xF0000
"""Private-use characters from here on stand for texts that must not be read as control tokens."""
LEADS = ("\n", "|", ".")
"""A text that continues another one is tokenised behind one of these, which is then cut off: at
the beginning of a string some tokenizers add a space."""


class EncodingError(ValueError):
    """A conversation that cannot become tokens safely. The text is one line that says why."""


@dataclass(frozen=True)
class Prompt:
    """What an answer follows: L tokens and the inputs of the images among them.

    columns: further numbers per token (L of each), such as `mm_token_type_ids`. vision: what the
    processor returned beside tokens (`pixel_values`, `image_grid_thw`, `image_sizes`, ...), for
    this prompt alone; empty without images. images: a digest of each image's content.
    """

    ids: list[int]
    columns: dict[str, list[int]]
    vision: dict[str, Tensor]
    images: tuple[str, ...]
    rendered: str = field(repr=False)
    tail: str = field(repr=False)
    marks: tuple[str, ...] = field(repr=False)
    key: str = field(init=False)
    """Digest of the tokens and of the images: two prompts with one key are the same input."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", digest(json.dumps([self.ids, self.images]).encode()))

    def followed_by(self, ids: Sequence[int]) -> Prompt:
        """The prompt with the first tokens of an answer behind it, to be continued."""
        columns = {name: [*values, *[0] * len(ids)] for name, values in self.columns.items()}
        return replace(self, ids=[*self.ids, *ids], columns=columns)


def digest(data: bytes) -> str:
    """A short content digest (BLAKE2b, 128 bit)."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def image_key(image: Image.Image) -> str:
    """Digest of an image's mode, size and pixels."""
    return digest(f"{image.mode} {image.size}".encode() + image.tobytes())


def context_length(config: Any) -> int | None:
    """Tokens that a model of this configuration reads; None where it does not say.

    YaRN's factor counts from the length that it was trained on (transformers,
    `modeling_rope_utils.py`), which Qwen's configurations leave in `max_position_embeddings`.
    """
    text = config.get_text_config()
    most: int | None = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    original = rope.get("original_max_position_embeddings")
    if most is not None and original and rope.get("rope_type") == "yarn":
        return max(most, int(original * rope["factor"]))
    return most


def check_room(
    config: Any, prompts: Sequence[Prompt], more: Sequence[int], names: Sequence[str]
) -> None:
    """Refuse prompts that are too long with so many tokens behind them: nothing is ever cut.

    Raises EncodingError, which begins with the prompt's name.
    """
    most = context_length(config)
    for prompt, count, name in zip(prompts, more, names, strict=True):
        if most is not None and len(prompt.ids) + count > most:
            shown = f" with {len(prompt.images)} images" if prompt.images else ""
            raise EncodingError(
                f"{name}: {len(prompt.ids)} tokens of prompt{shown} and {count} of answer are more "
                f"than the {most} that the model reads, and nothing is cut: leave it out, or make "
                "its images smaller (--max-pixels, where the processor takes it)"
            )


def stack_vision(examples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The vision inputs of several prompts as one batch, in their order.

    Every processor counts images, tiles or patches along the first axis; a smaller one is padded
    with zeros along the others, which is what processors do inside a batch.
    """
    names = [name for example in examples for name in example]
    stacked: dict[str, Tensor] = {}
    for name in dict.fromkeys(names):
        parts = [example[name] for example in examples if name in example]
        sizes = [max(size) for size in zip(*(part.shape[1:] for part in parts), strict=True)]
        for number, part in enumerate(parts):
            missing = [most - size for most, size in zip(sizes, part.shape[1:], strict=True)]
            if any(missing):
                amounts = [amount for each in reversed(missing) for amount in (0, each)]
                parts[number] = pad(part, amounts)
        stacked[name] = torch.cat(parts)
    return stacked


def _content(processor: Any) -> str:
    """A name for all of a processor that decides what it makes of a conversation."""
    tokenizer = processor.tokenizer
    parts = [type(processor).__qualname__, processor.to_json_string(), processor.chat_template]
    parts += [tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.padding_side]
    if getattr(tokenizer, "is_fast", False):
        parts.append(tokenizer.backend_tokenizer.to_str())
    for name in ("image_processor", "video_processor"):
        part: Any = getattr(processor, name, None)
        # Without torchvision a placeholder without content stands for the video half. Its repr
        # holds an address, by which no two processors would be alike.
        parts.append(part.to_json_string() if hasattr(part, "to_json_string") else str(type(part)))
    return digest(repr(parts).encode())


class Encoder:
    """Tokens of conversations as one processor and its chat template write them.

    Keeps what it has read: pixels of up to `pixel_bytes`, tokens of up to `texts` prompts and as
    many answers, for good where it is None. Can be pickled, so that a collator can use it in worker
    processes.
    """

    def __init__(
        self, processor: Any, pixel_bytes: int = 256 << 20, texts: int | None = None
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        if not getattr(self.tokenizer, "is_fast", False):
            raise EncodingError(
                f"{type(self.tokenizer).__name__} does not say which characters a token stands "
                "for: a fast tokenizer is needed"
            )
        self.pad_id: int = next(
            number
            for number in (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
            if number is not None
        )
        self.opening_ids = self._opening_ids()
        self.control = self._control_tokens()
        self.control_ids = {
            self.tokenizer.convert_tokens_to_ids(token) for token in self.control
        } - {None, self.tokenizer.unk_token_id}
        longest = sorted(self.control, key=len, reverse=True)
        marks = f"[{chr(FIRST_MARK)}-{chr(FIRST_MARK + 0xFFFD)}]"
        self.control_pattern = re.compile("|".join(map(re.escape, longest)) or "(?!)")
        self.marked_pattern = re.compile("|".join([*map(re.escape, longest), marks]))
        self.pixel_bytes, self.texts = pixel_bytes, texts
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()
        self._answers: dict[_AnswerKey, Answer] = {}
        self._tails: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        self._held = 0
        self._stop: list[int] | None = None

    @classmethod
    def for_rows(cls, processor: Any, rows: Sequence[Any] | None) -> Encoder:
        """One that keeps what it reads of rows in memory, for all models with such a processor, and
        little of rows that are read one by one: each of these is seen once an epoch, and there may
        be a hundred thousand."""
        if rows is not None and not isinstance(rows, list):
            return cls(processor, pixel_bytes=32 << 20, texts=1024)
        name = _content(processor)
        if name not in _SHARED:
            while len(_SHARED) >= KEPT_ENCODERS:
                del _SHARED[next(iter(_SHARED))]
            _SHARED[name] = cls(processor, pixel_bytes=640 << 20, texts=1 << 16)
        return _SHARED[name]

    def _opening_ids(self) -> list[int]:
        """What the tokenizer puts before a text by itself; what it puts behind one would end a
        prompt before its answer, and is left out."""
        plain, whole = (
            self.tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True)
        )
        first = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), 0)
        return list(whole[:first])

    def opening_of(self, rendered: str) -> list[int]:
        """Tokens that go before a rendered conversation; none where its template wrote them."""
        bos = self.tokenizer.bos_token
        return [] if bos and rendered.startswith(bos) else self.opening_ids

    def _control_tokens(self) -> frozenset[str]:
        """Special tokens and the processor's placeholders.

        Other added tokens (`<think>`, `<tool_call>`) are vocabulary that an answer may use.
        """
        special = {
            token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special
        }
        return frozenset(special | set(self._placeholders()))

    def _placeholders(self) -> list[str]:
        """Tokens that stand for media."""
        names = ("image_token", "video_token", "audio_token")
        found = [
            getattr(part, name, None) for part in (self.processor, self.tokenizer) for name in names
        ]
        return [str(token) for token in dict.fromkeys(found) if token]

    # --- messages --------------------------------------------------------------------------------

    def _placed(self, messages: Messages, count: int) -> list[dict[str, Any]]:
        """Messages as typed parts with `count` places for images, which stay where they stand.

        Without any place they go before the text of the first user turn, as in TRL."""
        turns: list[dict[str, Any]] = []
        for message in messages:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            kept = []
            for part in parts:
                if part.get("type") == "image":
                    kept.append({"type": "image"})
                elif part.get("type") == "text" and isinstance(part.get("text"), str):
                    kept.append({"type": "text", "text": part["text"]})
                else:
                    raise EncodingError(f"a part of a message is neither text nor image: {part!r}")
            turns.append({"role": message["role"], "content": kept})
        places = sum(part["type"] == "image" for turn in turns for part in turn["content"])
        if not places and count:
            users = [turn for turn in turns if turn["role"] == "user"]
            if not users:
                raise EncodingError("there are images, but no user turn to put them in")
            users[0]["content"] = [{"type": "image"}] * count + users[0]["content"]
            places = count
        if places != count:
            raise EncodingError(f"the prompt has {places} places for images, the row has {count}")
        return turns

    def _mark(self, turns: list[dict[str, Any]], marks: list[str]) -> None:
        """Put a private-use character in place of every control token inside a text."""

        def mark(text: str) -> str:
            if text not in marks:
                marks.append(text)
            return chr(FIRST_MARK + marks.index(text))

        for turn in turns:
            last = None
            for part in turn["content"]:
                if part["type"] != "text":
                    last = None
                    continue
                part["text"] = self.marked_pattern.sub(lambda found: mark(found[0]), part["text"])
                # Two harmless parts in a row may make a control token where they meet.
                if last is not None and self.control_pattern.search(last["text"] + part["text"]):
                    part["text"] = mark("") + part["text"]
                last = part

    def _render(
        self, conversations: Sequence[list[dict[str, Any]]], generation_prompt: bool
    ) -> list[str]:
        if not conversations:
            return []
        try:
            texts: list[str] = self.processor.apply_chat_template(
                list(conversations), add_generation_prompt=generation_prompt, tokenize=False
            )
        except (TemplateError, TypeError) as problem:  # it adds a list of parts to a text
            raise EncodingError(f"the chat template does not take it: {problem}") from problem
        return texts

    # --- tokens ----------------------------------------------------------------------------------

    def _plain(self, marked: str, marks: Sequence[str]) -> tuple[str, Sequence[int], Sequence[int]]:
        """The text without marks, where it must be cut, and where each character has gone."""
        if not marks:
            return marked, [], range(len(marked) + 1)
        text: list[str] = []
        cuts: list[int] = []
        places: list[int] = []
        length = 0
        for letter in marked:
            places.append(length)
            number = ord(letter) - FIRST_MARK
            if 0 <= number < len(marks):
                letter = marks[number]
                if letter in self.control and len(letter) == 1:
                    raise EncodingError(f"the text holds {letter!r}, a control token of one letter")
                if not letter or letter in self.control:
                    cuts.append(length + min(1, len(letter)))
            text.append(letter)
            length += len(letter)
        return "".join(text), cuts, [*places, length]

    def _pieces(self, texts: list[str]) -> list[_Pieces]:
        """Ids and character spans of texts."""
        if not texts:
            return []
        found = self.tokenizer(
            texts, add_special_tokens=False, return_offsets_mapping=True,
            return_attention_mask=False,
        )  # fmt: skip
        return list(zip(found["input_ids"], found["offset_mapping"], strict=True))

    def _piece(self, text: str, lead: str = "") -> _Pieces:
        """Ids and character spans of a text that stands behind `lead`."""
        ids, spans = self._pieces([lead + text])[0]
        first = sum(end <= len(lead) for _, end in spans) if lead else 0
        if any(start < len(lead) for start, _ in spans[first:]):
            raise EncodingError(f"the tokenizer joins {lead!r} with what follows it")
        return ids[first:], [(start - len(lead), end - len(lead)) for start, end in spans[first:]]

    def _continued(self, text: str) -> _Pieces:
        """Ids and spans of a text that continues another one."""
        for lead in LEADS:
            try:
                return self._piece(text, lead)
            except EncodingError as problem:
                failed = problem
        raise failed

    def _tokens(self, marked: str, marks: Sequence[str], continued: bool = False) -> _Pieces:
        """Ids and spans (of the text without marks) of a marked text.

        Harmless text goes through the tokenizer as it is. A literal control token is cut after its
        first character and the parts are tokenised one by one, so that none of them is one."""
        text, cuts, _ = self._plain(marked, marks)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        edges = [0, *cuts, len(text)]
        for number, (start, end) in enumerate(itertools.pairwise(edges)):
            if start == end:
                continue
            piece = text[start:end]
            some, places = self._continued(piece) if number or continued else self._piece(piece)
            ids += some
            spans += [(start + first, start + last) for first, last in places]
        if cuts:
            unknown = self.tokenizer.unk_token
            written = [found[0] for found in self.control_pattern.finditer(marked)]
            wanted = sum(token != unknown for token in written)
            if sum(number in self.control_ids for number in ids) != wanted:
                raise EncodingError(
                    "a text holds a control token that this tokenizer cannot spell: "
                    + ", ".join(sorted({mark for mark in marks if mark in self.control}))
                )
        return ids, spans

    # --- prompts ---------------------------------------------------------------------------------

    def prompt(self, messages: Messages, images: Sequence[Image.Image] = ()) -> Prompt:
        """Tokens of a conversation that an answer is to follow.

        Raises EncodingError where images and their places do not match."""
        return self.prompts([(messages, images)])[0]

    def prompts(
        self, conversations: Sequence[tuple[Messages, Sequence[Image.Image]]]
    ) -> list[Prompt]:
        """The same for many, in one call of template and processor where that gives the same."""
        found: dict[str, Prompt] = {}
        order: list[str] = []
        new: dict[str, tuple[list[dict[str, Any]], list[Image.Image], list[str], _Keys]] = {}
        for messages, images in conversations:
            turns = self._placed(messages, len(images))
            keys = tuple(image_key(image) for image in images)
            asked = digest(json.dumps([turns, keys]).encode())
            order.append(asked)
            known = self._prompts.get(asked)
            if known is not None:
                self._prompts.move_to_end(asked)
                found[asked] = known
            elif asked not in new:
                marks: list[str] = []
                self._mark(turns, marks)
                new[asked] = (turns, list(images), marks, keys)
        rendered = self._render([turns for turns, *_ in new.values()], True)
        pictures = [images for _, images, _, _ in new.values()]
        marked = [tuple(marks) for _, _, marks, _ in new.values()]
        outputs = self._process_alike(rendered, pictures, marked)
        for (asked, (turns, _, marks, keys)), text, (output, expanded) in zip(
            new.items(), rendered, outputs, strict=True
        ):
            _refuse_loss(turns, text)
            found[asked] = self._made(text, expanded, output, tuple(marks), keys)
            self._keep(asked, found[asked])
        return [found[asked] for asked in order]

    def _made(
        self,
        rendered: str,
        expanded: str,
        output: dict[str, Tensor],
        marks: tuple[str, ...],
        keys: _Keys,
    ) -> Prompt:
        """A prompt of what the processor returned."""
        columns = {name: output[name][0].tolist() for name in TOKEN_COLUMNS if name in output}
        last = max((found.start() for found in self.control_pattern.finditer(expanded)), default=0)
        return Prompt(
            ids=output["input_ids"][0].tolist(),
            columns=columns,
            vision={
                name: value
                for name, value in output.items()
                if name not in ("input_ids", "attention_mask", *TOKEN_COLUMNS)
            },
            images=keys,
            rendered=rendered,
            tail=expanded[last:],
            marks=marks,
        )

    def _process(
        self, rendered: list[str], images: list[list[Image.Image]], marks: tuple[str, ...]
    ) -> list[tuple[dict[str, Tensor], str]]:
        """What the processor makes of rendered prompts of one length, each with the text in which
        its images are expanded; vision inputs of all of them stand in the first."""
        reader = _Reader(self, marks)
        processor = copy.copy(self.processor)
        processor.tokenizer = reader
        try:
            output = processor(
                text=list(rendered),
                images=images if any(images) else None,
                add_special_tokens=False,
                return_tensors="pt",
            )
        except (ValueError, IndexError, StopIteration) as problem:
            raise EncodingError(f"{type(self.processor).__name__}: {problem}") from problem
        values = {name: torch.as_tensor(value) for name, value in output.items()}
        per_token = ("input_ids", "attention_mask", *TOKEN_COLUMNS)
        found: list[tuple[dict[str, Tensor], str]] = []
        for number, text in enumerate(reader.texts):
            own = {
                name: value[number : number + 1] if name in per_token else value
                for name, value in values.items()
                if name in per_token or not number
            }
            found.append((own, text))
        return found

    def _process_alike(
        self,
        rendered: list[str],
        images: list[list[Image.Image]],
        marks: list[tuple[str, ...]],
    ) -> list[tuple[dict[str, Tensor], str]]:
        """The same for many prompts, those that look alike in one call of the processor."""
        alike: dict[object, list[int]] = {}
        for number, (text, shown, hidden) in enumerate(zip(rendered, images, marks, strict=True)):
            sizes = tuple(image.size for image in shown)
            # `_Encoding`, which what is hidden or goes before a text needs, is of one text.
            plain = not hidden and not self.opening_of(text)
            together = bool(shown) and plain and len(set(sizes)) == 1
            key = (len(text), len(text.split()), sizes) if together else number
            alike.setdefault(key, []).append(number)
        found: dict[int, tuple[dict[str, Tensor], str]] = {}
        for numbers in alike.values():
            texts, pictures = [rendered[n] for n in numbers], [images[n] for n in numbers]
            outputs = self._process_together(texts, pictures) or [
                self._process([rendered[n]], [images[n]], marks[n])[0] for n in numbers
            ]
            found |= dict(zip(numbers, outputs, strict=True))
        return [found[number] for number in range(len(rendered))]

    def _process_together(
        self, rendered: list[str], images: list[list[Image.Image]]
    ) -> list[tuple[dict[str, Tensor], str]] | None:
        """Several prompts without marks, of one length and with as many images of one size.

        None where a call for each could give something else: the processor refuses them, or
        returns more than one picture for each image."""
        if len(rendered) < 2:
            return None
        try:
            found = self._process(rendered, images, ())
        except EncodingError:
            return None  # each alone says which one it is
        vision = {n: v for n, v in found[0][0].items() if n not in ("input_ids", "attention_mask")}
        if set(vision) != {"pixel_values"} or len(vision["pixel_values"]) != sum(map(len, images)):
            return None
        parts = vision["pixel_values"].split(len(images[0]))  # type: ignore[no-untyped-call]
        return [
            ({**own, "pixel_values": part.clone()}, text)
            for (own, text), part in zip(found, parts, strict=True)
        ]

    def _keep(self, asked: str, prompt: Prompt) -> None:
        self._prompts[asked] = prompt
        self._held += sum(value.nbytes for value in prompt.vision.values())
        while len(self._prompts) > 1 and (
            self._held > self.pixel_bytes or self._full(self._prompts)
        ):
            _, dropped = self._prompts.popitem(last=False)
            self._held -= sum(value.nbytes for value in dropped.vision.values())

    def _full(self, kept: Mapping[Any, Any]) -> bool:
        return self.texts is not None and len(kept) > self.texts

    # --- answers ---------------------------------------------------------------------------------

    def answer(self, messages: Messages, images: Sequence[Image.Image], text: str) -> Answer:
        """The tokens of an answer to a conversation, with the template's ending.

        `spans` are characters of `text`; tokens of the ending have (len(text), len(text)).
        Raises EncodingError where the template writes the answer in a way that no sampling from
        the prompt could give."""
        return self.answers([(self.prompt(messages, images), messages, text)])[0]

    def answers(self, asked: Sequence[tuple[Prompt, Messages, str]]) -> list[Answer]:
        """The same for many; each with its prompt and the conversation that the prompt is of."""
        keys = [(prompt.rendered, prompt.marks, text) for prompt, _, text in asked]
        new: dict[_AnswerKey, tuple[Prompt, list[dict[str, Any]], list[str]]] = {}
        for key, (prompt, messages, text) in zip(keys, asked, strict=True):
            if key in self._answers or key in new:
                continue
            turns = self._placed(messages, len(prompt.images))
            turns.append({"role": "assistant", "content": [{"type": "text", "text": text}]})
            marks: list[str] = []
            self._mark(turns, marks)
            new[key] = (prompt, turns, marks)
        wholes = self._render([turns for _, turns, _ in new.values()], False)
        written: dict[_AnswerKey, tuple[str, str]] = {}
        for (key, (prompt, turns, _)), whole in zip(new.items(), wholes, strict=True):
            content = turns[-1]["content"][0]["text"]
            written[key] = (content, self._after(prompt.rendered, whole, content))
        plain = [key for key, (_, _, marks) in new.items() if not marks]
        known = dict(
            zip(plain, self._pieces([new[k][0].tail + written[k][1] for k in plain]), strict=True)
        )
        for key, (prompt, _, marks) in new.items():
            content, rest = written[key]
            ids, spans = self._answer_tokens(prompt, rest, marks, known.get(key))
            text = key[-1]
            self._answers[key] = Answer(text, ids, self._spans(text, content, rest, marks, spans))
        found = [self._answers[key] for key in keys]
        while self._full(self._answers):
            del self._answers[next(iter(self._answers))]  # the oldest
        while self._full(self._tails):
            del self._tails[next(iter(self._tails))]
        return found

    def _after(self, prompt: str, whole: str, content: str) -> str:
        """What the template writes after the generation prompt."""
        if whole.startswith(prompt):
            rest = whole[len(prompt) :]
        else:
            # Templates of thinking models open a thought in the generation prompt that they do not
            # write in a finished turn; LLaVA-OneVision's writes "assistant \n" in a finished turn
            # and prompts with "assistant\n". The answer is then what follows their common part and
            # blanks, which the prompt has in its own way, if the answer's text begins right there.
            common = sum(1 for _ in itertools.takewhile(bool, map(str.__eq__, prompt, whole)))
            rest = whole[common:].lstrip()
            if not content.strip() or not rest.startswith(content.strip()):
                raise EncodingError(
                    "the chat template writes a finished turn otherwise than its generation prompt "
                    f"begins one: {prompt[common:][:40]!r} against {whole[common:][:40]!r}"
                )
        if content.strip() not in rest:
            raise EncodingError(
                f"the chat template changes the answer {content[:40]!r} into {rest[:40]!r}"
            )
        return rest

    def _answer_tokens(
        self, prompt: Prompt, rest: str, marks: Sequence[str], whole: _Pieces | None
    ) -> _Pieces:
        """Ids and spans of the rest as the whole text has them, where the prompt's stay its own.

        Where a token would join the last letters of the prompt with the first ones of the answer,
        no sampling could write it: there the answer is tokenised as a text that continues.
        `whole`: those of the prompt's tail and the rest, where they are known."""
        asked = (prompt.tail, prompt.marks)
        if asked not in self._tails:
            self._tails[asked] = self._tokens(prompt.tail, prompt.marks)[0]
        tail = self._tails[asked]
        if tail and prompt.ids[-len(tail) :] == tail:
            ids, spans = whole if whole is not None else self._tokens(prompt.tail + rest, marks)
            if ids[: len(tail)] == tail:
                length = len(self._plain(prompt.tail, marks)[0])
                return ids[len(tail) :], [(a - length, b - length) for a, b in spans[len(tail) :]]
        return self._tokens(rest, marks, continued=True)

    def _spans(
        self,
        text: str,
        content: str,
        rest: str,
        marks: Sequence[str],
        spans: list[tuple[int, int]],
    ) -> list[tuple[int, int]]:
        """Spans of the rest as spans of the answer's own text."""
        places = self._plain(rest, marks)[2]
        where = rest.find(content)
        skipped = 0
        if where < 0:
            where = rest.index(content.strip())
            skipped = len(text) - len(text.lstrip())
        start = places[where] - skipped
        return [
            (min(max(a - start, 0), len(text)), min(max(b - start, 0), len(text))) for a, b in spans
        ]

    def opening(self, messages: Messages, images: Sequence[Image.Image], text: str) -> list[int]:
        """Tokens of an answer that goes on after `text`: the answer's own, without its ending."""
        answer = self.answer(messages, images, text)
        return [
            number
            for number, (start, end) in zip(answer.ids, answer.spans, strict=True)
            if start < end
        ]

    # --- sampling --------------------------------------------------------------------------------

    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the first control token of the template's ending, and eos."""
        if self._stop is None:
            turn = [{"role": "user", "content": "a"}]
            answer = self.answer(turn, (), "b")
            ending = [
                number
                for number, (start, end) in zip(answer.ids, answer.spans, strict=True)
                if start == end == 1 and number in self.control_ids
            ][:1]
            eos = self.tokenizer.eos_token_id
            self._stop = list(dict.fromkeys([*ending, *([] if eos is None else [eos])]))
        return self._stop

    def placeholder_ids(self) -> list[int]:
        """Ids that stand for media: sampled, they would ask the next step for media."""
        ids = {self.tokenizer.convert_tokens_to_ids(token) for token in self._placeholders()}
        return sorted(ids & self.control_ids)

    def for_sampling(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        """Inputs of `generate`: (N, L) ids, mask and columns padded on the left, vision inputs."""
        width = max(len(prompt.ids) for prompt in prompts)
        inputs = {
            "input_ids": torch.full((len(prompts), width), self.pad_id),
            "attention_mask": torch.zeros((len(prompts), width), dtype=torch.long),
        }
        for name in dict.fromkeys(name for prompt in prompts for name in prompt.columns):
            inputs[name] = torch.zeros((len(prompts), width), dtype=torch.long)
        for number, prompt in enumerate(prompts):
            start = width - len(prompt.ids)
            inputs["input_ids"][number, start:] = torch.tensor(prompt.ids)
            inputs["attention_mask"][number, start:] = 1
            for name, values in prompt.columns.items():
                inputs[name][number, start:] = torch.tensor(values)
        return inputs | stack_vision([prompt.vision for prompt in prompts])

    def sampled(self, ids: Sequence[int], stop: Collection[int], begun: int = 0) -> Sampled:
        """What was written as tokens, up to the first one in `stop`, which ends it. The first
        `begun` tokens were given."""
        end = next((n for n in range(begun, len(ids)) if ids[n] in stop), len(ids))
        text: str = self.tokenizer.decode(list(ids[:end]), skip_special_tokens=True)
        return Sampled(text.strip(), ids[: end + 1], finished=end < len(ids))

    def tokens_of(self, answer: Sampled, spans: bool) -> Answer:
        """A sampled answer with the tokens that it was sampled as. With `spans` also which
        characters each stands for, for which the text is decoded once per token."""
        text, ids = str(answer), list(answer.ids)
        found: list[tuple[int, int]] = []
        if spans:
            body = ids[:-1] if answer.finished else ids
            parts = [
                self.tokenizer.decode(body[:count], skip_special_tokens=True)
                for count in range(1, len(body) + 1)
            ]
            before = len(parts[-1]) - len(parts[-1].lstrip()) if parts else 0
            at = 0
            for part in parts:
                stop = min(max(len(part) - before, at), len(text))
                piece = text[at:stop]
                blanks = len(piece) - len(piece.lstrip()) if piece.strip() else 0
                found.append((at + blanks, stop))
                at = stop
            found += [(len(text), len(text))] * (len(ids) - len(body))
        return Answer(text, ids, found, answer.finished)


class Sampled(str):
    """A sampled answer: its text, and the tokens that it was sampled as.

    Text that is made tokens again may become others: blanks at its end are lost, a word can be
    spelt in two ways, and a template ends a turn with more than a model writes. finished: the last
    token ended it; else there was no room for more.
    """

    ids: tuple[int, ...]
    finished: bool

    def __new__(cls, text: str, ids: Sequence[int], finished: bool) -> Sampled:
        made = super().__new__(cls, text)
        made.ids, made.finished = tuple(ids), finished
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.ids, self.finished


KEPT_ENCODERS = 2
_SHARED: dict[str, Encoder] = {}
"""Encoders of this process, by the content of their processor: models of a table, and jobs of a
worker, are asked about the same pictures."""


def _refuse_loss(turns: Sequence[Mapping[str, Any]], rendered: str) -> None:
    """Raises EncodingError where a template left out a text (a system turn, say): the model would
    be trained on another conversation. Thoughts of earlier turns it may leave out."""
    for turn in turns:
        for part in turn["content"]:
            text = part.get("text", "").rpartition("</think>")[2].strip()
            if text not in rendered:
                raise EncodingError(
                    f"the chat template leaves out {text[:40]!r} of the {turn['role']} turn"
                )


class _Reader:
    """Stands where a processor expects its tokenizer: notes texts with their images expanded.

    Where texts hold literal control tokens, or lack the tokenizer's opening, their ids are the
    encoder's."""

    def __init__(self, encoder: Encoder, marks: tuple[str, ...]) -> None:
        self.encoder, self.marks = encoder, marks
        self.texts: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder.tokenizer, name)

    def __call__(self, text: Any, **options: Any) -> Any:
        self.texts = [text] if isinstance(text, str) else list(text)
        opening = self.encoder.opening_of(self.texts[0])
        if not self.marks and not opening:
            return self.encoder.tokenizer(self.texts, **options)
        ids, spans = self.encoder._tokens(self.texts[0], self.marks)
        places = self.encoder._plain(self.texts[0], self.marks)[2]
        ids, spans = [*opening, *ids], [*[(0, 0)] * len(opening), *spans]
        return _Encoding(ids, spans, places, options.get("return_tensors"))


class _Encoding(dict[str, Any]):
    """The part of a `BatchEncoding` of one text that processors read."""

    def __init__(
        self,
        ids: list[int],
        spans: list[tuple[int, int]],
        places: Sequence[int],
        tensors: str | None,
    ) -> None:
        mask = [1] * len(ids)
        made = {"input_ids": [ids], "attention_mask": [mask]}
        super().__init__(
            {name: torch.tensor(value) for name, value in made.items()} if tensors else made
        )
        self.spans, self.places = spans, places

    def char_to_token(self, batch: int, char: int) -> int | None:
        """Number of the token that stands for a character of the marked text."""
        place = self.places[char]
        return next((n for n, (a, b) in enumerate(self.spans) if a <= place < b), None)
