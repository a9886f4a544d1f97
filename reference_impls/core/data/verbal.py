"""An annotator that is asked in words: a model rates, compares and corrects answers, and checks
their claims, shown the picture and the question.

The texts are ours. What they ask for are the roles of `annotators`: RLAIF-V (arXiv:2405.17220) has
a model say yes or no to each claim of an answer; here a claim is a sentence, since no second model
takes an answer apart. Which of two answers is named first is decided by their content, so that a
judge that prefers a place does not prefer a side.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reference_impls.core.data.annotators import Choice
from reference_impls.core.data.endpoint import Kept, NoReply, Request
from reference_impls.core.data.labels import parts
from reference_impls.core.data.rows import text
from reference_impls.core.train.checkpoints import digest
from reference_impls.core.worlds.protocol import Item, Media, Segment

JUDGES = ("human", "closed-source-model", "open-source-model")
"""Annotation types that a model which is asked in words can stand in for. The others are a
particular model (`clip`, `reward-model`, `self`) or the truth (`rule`)."""
LEAST = 20
"""Replies below which no share of unreadable ones is held against an annotator."""
SHOWN = 80

RATE = """\
Look at the image and rate the answer to the question. Count what the image contradicts first, \
then what is missing.

Question: {question}

Answer: {answer}

Reply with one whole number from 1 (wrong throughout) to 10 (right and complete), and nothing else.\
"""
COMPARE = """\
Look at the image and rate two answers to the question. Count what the image contradicts first, \
then what is missing. Length is no merit.

Question: {question}

Answer A: {first}

Answer B: {second}

Reply with two lines and nothing else, a whole number from 1 (wrong throughout) to 10 (right and \
complete) in each:
A: <number>
B: <number>\
"""
CORRECT = """\
Look at the image and correct the answer to the question. Change only what the image contradicts; \
keep everything else word for word, and add nothing. If nothing is wrong, repeat the answer.

Question: {question}

Answer: {answer}

Reply with the corrected answer and nothing else.\
"""
CHECK = """\
Look at the image. Somebody who was asked "{question}" said among other things:

{claim}

Is that true of the image? Reply with yes or no, and nothing else.\
"""
AGAIN = "\n\nYour reply must have exactly this form."
"""Added when a reply could not be read: the model is asked once more."""

_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*$")


class Unreadable(NoReply):
    """Too many replies do not have the form that was asked for."""


@dataclass
class Verbal:
    """A model in the role of an annotator.

    kind: the annotation type that it stands in for. share: of unreadable replies that is put up
    with. A comparison that cannot be read, or is a tie, has the margin 0 and is counted; a rating
    that cannot be read is NaN, a claim is left out, an answer stays uncorrected.
    """

    kind: str
    model: Kept
    share: float = 0.05
    read: int = 0
    unreadable: int = 0
    ties: int = 0
    example: str = field(default="", repr=False)

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        """From 0.1 (wrong throughout) to 1.0."""
        texts = [
            RATE.format(question=asked(item), answer=answer)
            for item, answer in zip(items, answers, strict=True)
        ]
        found = self._ask(texts, media, rating, 16)
        return [float("nan") if number is None else number / 10 for number in found]

    def compare(
        self,
        items: Sequence[Item[Any]],
        media: Sequence[Media],
        first: Sequence[str],
        second: Sequence[str],
    ) -> list[Choice]:
        """The margin is the difference of two ratings from 0.1 to 1."""
        texts, swapped = [], []
        for item, one, other in zip(items, first, second, strict=True):
            question = asked(item)
            swapped.append(turned(question, one, other))
            shown = (other, one) if swapped[-1] else (one, other)
            texts.append(COMPARE.format(question=question, first=shown[0], second=shown[1]))
        choices = []
        for pair, swap in zip(self._ask(texts, media, ratings, 32), swapped, strict=True):
            a, b = (0, 0) if pair is None else pair[::-1] if swap else pair
            self.ties += pair is not None and a == b
            choices.append(Choice(a > b, abs(a - b) / 10))
        return choices

    def correct(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[str]:
        """The answers with what the image contradicts mended."""
        texts = [
            CORRECT.format(question=asked(item), answer=answer)
            for item, answer in zip(items, answers, strict=True)
        ]
        length = max((len(answer) for answer in answers), default=0)
        found = self._ask(texts, media, correction, 128 + length // 2)
        return [
            answer if said is None else said for answer, said in zip(answers, found, strict=True)
        ]

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        """The sentences of each answer, each checked by itself."""
        texts, places = [], []
        for place, (item, answer) in enumerate(zip(items, answers, strict=True)):
            for start, stop in sentences(answer):
                claim = " ".join(answer.split()[start:stop])
                texts.append(CHECK.format(question=asked(item), claim=claim))
                places.append((place, start, stop))
        shown = Picked(media, [place for place, _, _ in places])
        found: list[list[Segment]] = [[] for _ in answers]
        for (place, start, stop), said in zip(
            places, self._ask(texts, shown, yes_or_no, 16), strict=True
        ):
            if said is not None:
                found[place].append(Segment(start, stop, said))
        return found

    def _ask(
        self, texts: Sequence[str], media: Sequence[Media], form: Callable[[str], Any], length: int
    ) -> list[Any]:
        """What each reply says, None where it cannot be read the second time either.

        Raises Unreadable where more replies than the share are so.
        """

        def request(place: int, more: str = "") -> Request:
            return Request(texts[place] + more, lambda: media[place].images, length)

        replies = self.model.ask([request(place) for place in range(len(texts))])
        found = [form(reply) for reply in replies]
        missing = [place for place, said in enumerate(found) if said is None]
        if missing:
            again = self.model.ask([request(place, AGAIN) for place in missing])
            for place, reply in zip(missing, again, strict=True):
                found[place] = form(reply)
                if found[place] is None:
                    self.unreadable += 1
                    self.example = self.example or reply
        self.read += len(found)
        if self.read >= LEAST and self.unreadable > self.share * self.read:
            raise Unreadable(self.said())
        return found

    def finish(self) -> None:
        """Raises Unreadable where too few replies were asked for to be judged before."""
        if self.unreadable > self.share * max(1, self.read):
            raise Unreadable(self.said())

    def said(self) -> str:
        """How many replies could not be read, and one of them."""
        shown = " ".join(self.example.split())
        shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + "..."
        return (
            f"{self.unreadable} of {self.read} replies of the annotator {self.model.model.name} "
            f"cannot be read (more than {self.share:.0%} are refused); one of them: '{shown}'"
        )


@dataclass(frozen=True)
class Picked(Sequence[Media]):
    """Some of a sequence of media, by their places, as often as they are named."""

    media: Sequence[Media]
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        return self.media[self.places[number]]


def asked(item: Item[Any]) -> str:
    """The words of what is asked; of a conversation all its turns."""
    turns = item.scene.messages
    if len(turns) == 1:
        return text(turns)
    return "\n".join(f"{turn['role']}: {text([turn])}" for turn in turns)


def turned(question: str, one: str, other: str) -> bool:
    """Whether the second answer is shown first: by their content, the same at every call."""
    return bool(int(digest(question, one, other), 16) % 2)


# --- reading replies -----------------------------------------------------------------------------


def rating(reply: str) -> int | None:
    """A whole number from 1 to 10 that is all of a reply, but for "/10" and marks."""
    found = re.fullmatch(r"[\s*\"'`(]*(?:rating|score)?[\s:*]*(\d{1,2})(?:\s*/\s*10)?[\s.*\"'`)]*",
                         reply, re.IGNORECASE)  # fmt: skip
    number = int(found[1]) if found else 0
    return number if 1 <= number <= 10 else None


def ratings(reply: str) -> tuple[int, int] | None:
    """Two ratings, one behind each letter; a letter that is rated twice cannot be read."""
    pattern = r"(?<![A-Za-z]){}\s*[:=]\s*(\d{{1,2}})(?![\d.]|\s*-)"
    numbers = []
    for letter in "AB":
        found = re.findall(pattern.format(letter), reply.replace("*", ""))
        if len(found) != 1 or not 1 <= int(found[0]) <= 10:
            return None
        numbers.append(int(found[0]))
    return numbers[0], numbers[1]


def correction(reply: str) -> str | None:
    """The text of a reply, without quotation marks around all of it; None of none."""
    said = reply.strip()
    if len(said) > 1 and said[0] == said[-1] == '"' and '"' not in said[1:-1]:
        said = said[1:-1].strip()
    return said or None


def yes_or_no(reply: str) -> bool | None:
    """Whether a reply begins with yes; None where it begins with neither yes nor no."""
    found = re.match(r"[^\w]*(yes|no)\b", reply, re.IGNORECASE)
    return None if found is None else found[1].lower() == "yes"


def sentences(answer: str) -> list[tuple[int, int]]:
    """(first word, word after the last) of each sentence."""
    return parts(answer, _SENTENCE_END.search)
