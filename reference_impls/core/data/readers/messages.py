"""Prompts and answers as messages: turns stay, parts keep their order, text stays text.

A string may mark where an image stands with `<image>`, as LLaVA's data does. Such marks count in
user turns only, and only where no part of the prompt is of the type `image`: then `<image>` is
text, as it is in every answer and system turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reference_impls.core.data.images import cut
from reference_impls.core.data.readers.cells import CellError, Record, as_final_answer, as_text

MARKER, VIDEO_MARKER = "<image>", "<video>"
ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
}  # fmt: skip
"""Spellings of roles: TRL's and ShareGPT's."""
IMAGE_OF_PART = ("image", "url", "path", "base64", "image_url")
"""Keys of a part with which some templates' data name its image; rows have them in `images`."""

Message = dict[str, Any]


def messages_of(value: Any, column: str) -> list[Message]:
    """Turns as [{role, content}], content a str or parts {type: text, text} and {type: image}.

    `value` is text (one user turn) or messages with `role` and `content`, or `from` and `value`.
    Raises CellError.
    """
    if isinstance(value, str):
        return [{"role": "user", "content": value.strip()}]
    if isinstance(value, Mapping):
        raise CellError(column, "holds an object where text or a list of messages is wanted")
    if not isinstance(value, list):
        as_text(value, column)  # says what it is
    if not value:
        raise CellError(column, "there is no turn; write text, or messages")
    turns: list[Message] = []
    images = 0
    for number, turn in enumerate(value):
        if not isinstance(turn, Mapping):
            raise CellError(column, f"turn {number} is not an object with `role` and `content`")
        role = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        where = f"turn {number}"
        if not isinstance(role, str) or role not in ROLES:
            known = "system, user or assistant"
            raise CellError(column, f"{where} has the role {cut(repr(role))}; write {known}")
        if turn.get("tool_calls"):
            raise CellError(column, f"{where} calls tools, which no method here learns")
        made = _content(content, column, where, images)
        images += sum(part["type"] == "image" for part in made if isinstance(part, dict))
        turns.append({"role": ROLES[role], "content": made})
    return turns


def _content(content: Any, column: str, where: str, images: int) -> str | list[dict[str, str]]:
    """`images`: how many parts of earlier turns are images."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes) or not content:
        raise CellError(column, f"{where} has no content; write text, or parts with a `type`")
    parts: list[dict[str, str]] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "image":
            if any(part.get(name) is not None for name in IMAGE_OF_PART):
                raise CellError(
                    column,
                    f"{where} has a part with an image of its own; write "
                    '{"type": "image"}, and the files in `images`, in the order of the parts',
                )
            if part.get("index") not in (None, images):
                raise CellError(
                    column,
                    f"{where} has a part with the index {cut(repr(part['index']))} where image "
                    f"{images} comes; write `images` in the order of the parts",
                )
            parts.append({"type": "image"})
            images += 1
        elif kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        else:
            raise CellError(
                column,
                f"{where} has a part of the type {cut(repr(kind))}; write "
                '{"type": "text", "text": "..."} or {"type": "image"}, and files in `images`',
            )
    return parts


def prompt(turns: list[Message], column: str, images: int, as_one: bool = False) -> list[Message]:
    """The turns of a prompt with places for `images` images where marks or parts have them.

    Without any mark or part images stand before the first user turn's text, as in TRL.
    `as_one`: they are frames of one video, for which one mark stands. Raises CellError where their
    number is another one, or where no user turn comes last.
    """
    if not turns or turns[-1]["role"] != "user":
        raise CellError(column, "the last turn of a prompt has to be the user's")
    parts = [
        part
        for turn in turns
        for part in (turn["content"] if not isinstance(turn["content"], str) else ())
    ]
    typed = sum(part["type"] == "image" for part in parts)
    if typed:
        if typed != images:
            raise CellError(column, f"{typed} parts are of the type image, {_has(images)}")
        return turns
    strings = [
        turn for turn in turns if turn["role"] == "user" and isinstance(turn["content"], str)
    ]
    marks = sum(_count(turn["content"], as_one) for turn in strings)
    if as_one and marks == 1 and images:
        marks, each = images, images
    else:
        each = 1
    if marks and marks != images:
        raise CellError(
            column,
            f"{MARKER} stands {marks} times, {_has(images)}; write it once per image, or a message "
            f"with typed parts where {MARKER} is meant as text",
        )
    if not marks:
        return turns
    return [
        {**turn, "content": _placed(turn["content"], each, as_one)}
        if any(turn is each_ for each_ in strings) and _count(turn["content"], as_one)
        else turn
        for turn in turns
    ]


def _has(images: int) -> str:
    return "the row has " + ("no image" if not images else f"{images} image" + "s" * (images > 1))


def _count(text: str, as_one: bool) -> int:
    return text.count(MARKER) + (text.count(VIDEO_MARKER) if as_one else 0)


def _placed(text: str, each: int, as_one: bool) -> list[dict[str, str]]:
    """Text with marks as parts. A line break beside a mark belongs to the mark: it is LLaVA's way
    to set an image apart, and the model's own template has its own."""
    if as_one:
        text = text.replace(VIDEO_MARKER, MARKER)
    parts: list[dict[str, str]] = []
    pieces = text.split(MARKER)
    for number, piece in enumerate(pieces):
        if number:
            parts += [{"type": "image"}] * each
            piece = piece.removeprefix("\r").removeprefix("\n")
        if number < len(pieces) - 1:
            piece = piece.removesuffix("\n").removesuffix("\r")
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def answer(value: Any, column: str) -> str:
    """The text of an answer: text, one assistant message, or a list of one. Raises CellError.

    Plain text loses space around it; TRL's plain format begins answers with a space."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return as_text(value, column)
    if len(value) != 1:
        raise CellError(
            column,
            f"an answer is one turn of the assistant, here are {len(value)} turns; put earlier "
            "ones into the prompt",
        )
    (turn,) = messages_of(value, column)
    if turn["role"] != "assistant":
        raise CellError(column, f"an answer is the assistant's turn, here the {turn['role']}'s")
    content = turn["content"]
    if isinstance(content, str):
        return content
    if any(part["type"] != "text" for part in content):
        raise CellError(column, "an answer holds an image; only text can be learnt")
    return "".join(part["text"] for part in content)


def without_prompt(record: Record, asked: list[Message]) -> Record:
    """A record whose answers repeat the prompt's turns (TRL's implicit prompt and its relatives)
    without them. Raises CellError where the turns before an answer are not the prompt's."""
    made = Record(record)
    for column in ("chosen", "rejected"):
        value = record.get(column)
        if isinstance(value, list) and len(value) > 1:
            before = messages_of(value[:-1], column)
            if before == asked[-len(before) :]:
                made[column] = value[-1:]
    return made


def common_turns(chosen: Any, rejected: Any) -> list[Any]:
    """The turns that two conversations begin with alike, without either's last one."""
    same: list[Any] = []
    for one, other in zip(chosen[:-1], rejected[:-1], strict=False):
        if one != other:
            break
        same.append(one)
    return same


def one_exchange(value: Any, column: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The turns of a user's question and of the assistant's true answer. Raises CellError where
    there are others: an earlier question would be asked with the answer to a later one."""
    turns = messages_of(value, column)
    roles = [turn["role"] for turn in turns]
    if roles != ["user", "assistant"]:
        raise CellError(
            column,
            f"a user's question and the assistant's true answer are wanted, not {', '.join(roles)}",
        )
    return turns[0], turns[1]


def question_and_solution(value: Any, column: str) -> tuple[str, str]:
    """The two turns of a question with its true answer, `{from: human, value}` and `{from: gpt,
    value}`: the question's text, and the answer as text (a list as JSON). Raises CellError."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], Mapping):
        raise CellError(column, "holds no question with its solution; write two turns")
    given = value[1].get("value", value[1].get("content"))
    solution = as_final_answer(json.dumps(given) if isinstance(given, list) else given, column)
    (asked,) = messages_of(value[:1], column)
    if asked["role"] != "user":
        raise CellError(column, f"the question comes first, and not the {asked['role']}")
    return as_text(asked["content"], column).strip(), solution.strip()
