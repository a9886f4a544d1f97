"""What can be read off an answer by rule: the last number, the content of a tag. No `eval`."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?!\w|\.[0-9])")

_BRACE = re.compile("[{}]")
_BETWEEN = re.compile(r"</think>\s*<answer>")


def only_number(text: str) -> Fraction | None:
    """The plain number of a text that has one and no other, exactly; None elsewhere."""
    found = list(itertools.islice(_NUMBER.finditer(text), 2))
    return Fraction(found[0].group()) if len(found) == 1 else None


def last_number(text: str) -> Fraction | None:
    """The last plain number of a text, exactly; None where there is none.

    Other digits than 0 to 9 do not make a number.
    """
    found = _NUMBER.findall(text)
    return Fraction(found[-1]) if found else None


def inside(tag: str, text: str) -> str | None:
    """What stands in the first `<tag> ... </tag>` of a text; None where it is not closed."""
    start = text.find(f"<{tag}>")
    if start < 0:
        return None
    start += len(tag) + 2
    stop = text.find(f"</{tag}>", start)
    return text[start:stop].strip() if stop >= 0 else None


def boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{ ... }` of a text, with its pairs of braces; else None."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start, depth = start + len("\\boxed{"), 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace.group() == "{" else -1
        if not depth:
            return text[start : brace.start()].strip()
    return None


def thought_then_answer(text: str) -> bool:
    """Whether the whole text is `<think> ... </think> <answer> ... </answer>`.

    As the expression `<think>.*?</think>\\s*<answer>.*?</answer>` of the R1 family decides when it
    must match all of a text, but in linear time: a lazy match goes on until the end fits, so that
    tags may stand inside thought and answer, and both may be empty.
    """
    if not (text.startswith("<think>") and text.endswith("</answer>")):
        return False
    between = _BETWEEN.search(text, len("<think>"))
    return between is not None and between.end() <= len(text) - len("</answer>")


def one_thought_one_answer(text: str) -> bool:
    """The same, blanks around left out, with none of the four tags twice."""
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    return all(text.count(tag) == 1 for tag in tags) and thought_then_answer(text.strip())


def same_answer(given: str, true: str) -> bool:
    """Whether two final answers are the same text, or the same plain number and nothing beside it.

    Blanks and dollar signs around them do not count: 2 and $2.0$ are the same.
    """
    one, other = (text.strip(" \t\r\n$") for text in (given, true))
    if one == other:
        return True
    wholes = [_NUMBER.fullmatch(text) for text in (one, other)]
    return all(wholes) and only_number(one) == only_number(other)


def between(text: str, opening: str, closing: str) -> list[str]:
    """What stands between two marks, each time that both do, in one pass over the text."""
    found, start = [], text.find(opening)
    while start >= 0 and (stop := text.find(closing, start + len(opening))) >= 0:
        found.append(text[start + len(opening) : stop])
        start = text.find(opening, stop + len(closing))
    return found


def follow(text: str, *patterns: str | re.Pattern[str], start: int = 0) -> bool:
    """Whether the patterns are found in a text one behind the other, in one pass over it.

    The same as a search for all of them with `.*?` between, without its time, which grows with the
    text's length to the power of their number.
    """
    for pattern in patterns:
        found = re.compile(pattern).search(text, start)
        if found is None:
            return False
        start = found.end()
    return True


def answer_after_thought(text: str) -> str | None:
    """The answer of a text that is a thought and an answer, each once in its tags, and nothing else
    but blanks: `<think> ... </think> <answer> ... </answer>`; None for any other text."""
    text = text.strip()
    once = all(text.count(tag) == 1 for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    if not (once and text.startswith("<think>") and text.endswith("</answer>")):
        return None
    return inside("answer", text) if re.search(r"</think>\s*<answer>", text) else None


def listed_json(text: str) -> list[Any]:
    """The elements of the list (keys of an object, characters of a string) in a text's last block
    "```json ... ```"; [] where there is no such block, or none that can be read."""
    blocks = between(text, "```json", "```")
    try:
        found = json.loads(blocks[-1]) if blocks else []
    except (ValueError, RecursionError):
        return []
    return list(found) if isinstance(found, (list, dict, str)) else []


def word_edits(one: str, other: str) -> int:
    """Words to insert, delete or replace between two texts (Levenshtein)."""
    row = list(range(len(other.split()) + 1))
    for number, word in enumerate(one.split(), 1):
        before, row[0] = row[0], number
        for place, against in enumerate(other.split(), 1):
            costs = (row[place] + 1, row[place - 1] + 1, before + (word != against))
            before, row[place] = row[place], min(costs)
    return row[-1]


def reward_number(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the last number of a text is the true one: the plainest reward by rule. No text is
    right where the truth is not one plain number."""
    numbers = [(last_number(t), only_number(a)) for t, a in zip(completions, answers, strict=True)]
    return [float(true is not None and given == true) for given, true in numbers]


def final_answer(text: str) -> str:
    """What stands in the answer's tags, or without them the whole text."""
    given = inside("answer", text)
    return text.strip() if given is None else given


def final_answer_on_a_line(text: str) -> str:
    """The same, where tags that open on one line and close on another do not count."""
    found = (inside("answer", line) for line in text.split("\n"))
    return next((each for each in found if each is not None), text.strip())


def reward_final_answer(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the final answer, in tags or alone, is the true one, as a number or as text."""
    pairs = zip(completions, answers, strict=True)
    return [float(same_answer(final_answer(text), answer)) for text, answer in pairs]


def reward_thought_then_answer(
    completions: Sequence[str], answers: Sequence[str] | None = None
) -> list[float]:
    """1 where the whole text is a thought and then an answer in tags; both may be empty."""
    return [float(thought_then_answer(completion)) for completion in completions]
