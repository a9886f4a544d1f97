"""What can be read off an answer by rule: the last number, the content of a tag. No `eval`.

A number is a word of its own: `3`, `-2.5`, with a full stop, quotes, brackets or dollar signs
around it, or behind `=` or `:`. A word that has another sign beside its digits (`1/3`, `3,000`,
`3%`, `x^3`, `5²`, `3e8`, `\\sqrt{3}`) stands for a value that is not read, and is not taken for
one of its digits, also where blanks stand between (`1 / 3`, `3 %`); other letters and digits of
ASCII alone (`b3`, `2nd`) are a name.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_TAG = re.compile(r"</?\w+>")
_SIGNS = {"-", "\N{MINUS SIGN}", "\N{EN DASH}"}
_AROUND = "$()[]\"'*`"
_BEHIND = ".,;:!?" + _AROUND
_POWER_OF_TEN = re.compile("[0-9]+[eE][0-9]+")

_BRACE = re.compile("[{}]")
_BETWEEN = re.compile(r"</think>\s*<answer>")


def values(text: str) -> Iterator[Fraction | None]:
    """What the numbers of a text are worth, the last one first; None for one that is not plain."""
    words = _TAG.sub(" <> ", text).split()  # nothing is taken from what stands before a tag
    for place in range(len(words) - 1, -1, -1):
        word, computed = _said(words[place].rstrip(_BEHIND).lstrip(_AROUND))
        if word.startswith("\\boxed{") and word.endswith("}"):
            word = word[len("\\boxed{") : -1].strip(_AROUND)
        if not _has_digit(word):
            continue
        before = words[max(0, place - 2) : place]
        # A sign by itself, with nothing to be taken from: a minus, or a list's mark.
        unclear = bool(before) and before[-1] in _SIGNS and not _has_digit(before[0])
        if word[0] in _SIGNS:
            word = "-" + word[1:]
        if _NUMBER.fullmatch(word):
            unclear = unclear or _in_an_expression(words, place)
            yield None if unclear else Fraction(word)
        elif not (word.isascii() and word.isalnum()) or _POWER_OF_TEN.fullmatch(word):
            yield None
        if computed:
            yield None  # of `2+1=3` what stands before is another value


def _said(word: str) -> tuple[str, bool]:
    """What a word says behind `=` or `:`, and whether another value stands before."""
    name, _, rest = word.rpartition("=")
    if name and _has_digit(rest):
        return rest.lstrip(_AROUND), _has_digit(name)
    name, _, rest = word.rpartition(":")
    if name and not _has_digit(name):  # 3:30 and 1:2 are values of their own
        return rest.lstrip(_AROUND), False
    return word, False


def _in_an_expression(words: Sequence[str], place: int) -> bool:
    """Whether a sign that is set apart makes a number part of another value: 1 / 3, 3 %."""
    before, after = words[max(0, place - 2) : place], words[place + 1 : place + 2]
    if before and (before[-1] in {"/", "^"} or before[-1].endswith("{")):
        return not "".join(before).endswith("\\boxed{")  # the box holds the value itself
    return bool(after) and after[0].rstrip(_BEHIND) in {"/", "^", "%"}


def _has_digit(word: str) -> bool:
    return any(sign.isdigit() or unicodedata.category(sign) == "No" for sign in word)


def only_number(text: str) -> Fraction | None:
    """The plain number of a text that has one and no other, exactly; None elsewhere."""
    found = list(itertools.islice(values(text), 2))
    return found[0] if len(found) == 1 else None


def last_number(text: str) -> Fraction | None:
    """The last number of a text, exactly; None where there is none, or where it is not plain.

    Other digits than 0 to 9 do not make a number.
    """
    return next(values(text), None)


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


def same_answer(given: str, true: str) -> bool:
    """Whether two final answers are the same text, or the same plain number and nothing beside it.

    Blanks and dollar signs around them do not count: 2 and $2.0$ are the same. Nothing at all is
    the same as no answer.
    """
    one, other = (text.strip(" \t\r\n$") for text in (given, true))
    if one == other:
        return bool(one)
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
