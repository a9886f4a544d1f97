"""A method's own data step on a real dataset: the policy answers its questions, a model judges.

The step is the script's, unchanged. What it may ask of the lab is less than in a world: answers of
the policy, rows, and the annotators that a model which is asked in words can stand in for. What
needs a drawn scene (its truth, another picture of it, a text made wrong on purpose) raises
`NeedsScene`; `rehearse` finds that out before anything is loaded.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from PIL import Image

from reference_impls.core.data.annotators import Annotator, Choice
from reference_impls.core.data.readers import Rows, open_records
from reference_impls.core.data.readers.layouts import question_of
from reference_impls.core.data.readers.messages import Message
from reference_impls.core.data.rows import Tally, said
from reference_impls.core.data.verbal import JUDGES, Verbal
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.method import Data, Row
from reference_impls.core.model.policy import Policy
from reference_impls.core.train.checkpoints import digest, read_json, write_json
from reference_impls.core.worlds.protocol import Item, Media, Segment

CHUNK = 64
"""Questions whose images are in memory at a time."""


class NeedsScene(LookupError):
    """A data step asks for what only a drawn scene has. The text says for what."""


@dataclass(frozen=True)
class Missing:
    """Stands where a world or a task would; whatever is asked of it raises NeedsScene."""

    what: str

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsScene(f"its data step asks {self.what} for '{name}'")


@dataclass(frozen=True)
class Asked:
    """A row of the dataset: its place, and the turns that ask."""

    place: int
    messages: Sequence[Message]


@dataclass(frozen=True)
class Question:
    """What a world's item is to a data step; a truth there is none."""

    scene: Asked
    kind: str = ""
    subject: str = ""

    @property
    def truth(self) -> str:
        """Raises NeedsScene."""
        raise NeedsScene("its data step asks for the true answer")

    @property
    def prompt(self) -> Any:
        """Raises NeedsScene."""
        raise NeedsScene("its data step writes a prompt of its own")


@dataclass(frozen=True)
class NoTask:
    """The task of a dataset: a length of answers, and nothing that could judge."""

    max_new_tokens: int
    id: str = "dataset"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NeedsScene(f"its data step asks the lab's task for '{name}'")


class NoHeads(dict[str, Any]):
    """Stands for heads that earlier stages trained: a dataset's answers are judged before any."""

    def __missing__(self, name: str) -> Any:
        raise NeedsScene(f"its data step asks for the head '{name}', which an earlier stage trains")


@dataclass(frozen=True)
class Shown(Sequence[Image.Image]):
    """The images of a row, opened when they are looked at."""

    rows: Sequence[Row]
    place: int

    def __len__(self) -> int:
        return len(self.opened())

    def __getitem__(self, number: Any) -> Any:
        return self.opened()[number]

    def opened(self) -> list[Image.Image]:
        """The images. Raises DataError."""
        return list(self.rows[self.place]["images"])


@dataclass(frozen=True)
class AllMedia(Sequence[Media]):
    """What each row shows, opened when it is asked for."""

    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self.rows):
            raise IndexError(number)
        return Media(tuple(self.rows[number]["images"]))


@dataclass(frozen=True)
class Annotated(Sequence[Row]):
    """What a data step made, with the images of the dataset where it left their place."""

    made: Sequence[Row]

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        row = self.made[number]
        return {n: v.opened() if isinstance(v, Shown) else v for n, v in row.items()}

    @cached_property
    def digest(self) -> str:
        """A name for the content, but for pixels: those are named by the row they are from."""
        plain = [
            {n: ("image", v.place) if isinstance(v, Shown) else v for n, v in row.items()}
            for row in self.made
        ]
        return digest(*(repr(sorted(row.items())) for row in plain))


@dataclass
class DatasetLab(Lab):
    """One pass of a data step over a dataset's questions.

    rows: questions (`questions_of`). judge: in the role of any annotator of `JUDGES`. folder: where
    the policy's answers are kept, so that a run that goes on does not sample again; `known_by` is
    what they depend on.
    """

    rows: Sequence[Row] = ()
    judge: Callable[[str], Annotator] | None = None
    folder: Path | None = None
    known_by: Mapping[str, Any] = field(default_factory=dict)
    sampled: int = 0
    trained: Mapping[str, Any] = field(default_factory=NoHeads)

    @cached_property
    def items(self) -> list[Item[Any]]:
        """What is asked; the prompt and the truth of an item raise NeedsScene."""
        made = [Question(Asked(n, _messages(self.rows, n))) for n in range(len(self.rows))]
        return cast("list[Item[Any]]", made)

    @cached_property
    def media(self) -> list[Media]:
        """What each row shows; nothing of it is kept."""
        return cast("list[Media]", AllMedia(self.rows))

    def rng(self, purpose: str) -> random.Random:
        """A fresh random stream; streams of different purposes are independent."""
        return random.Random(f"dataset/{self.seed}/{purpose}")

    def answer(self, temperature: float | None = 1.0, policy: Policy | None = None) -> list[str]:
        """One answer to each question, sampled in chunks, or as an earlier run sampled it."""
        self.sampled += 1
        known_by = {**self.known_by, "temperature": temperature, "number": self.sampled}
        name = digest(json.dumps(known_by, sort_keys=True, default=str))
        file = self.folder / f"answers-{name}.json" if self.folder is not None else None
        kept = read_json(file) if file is not None else None
        if isinstance(kept, list) and len(kept) == len(self.rows):
            return [str(answer) for answer in kept]
        found: list[str] = []
        speaker = policy or self.policy
        for start in range(0, len(self.rows), CHUNK):
            places = range(start, min(start + CHUNK, len(self.rows)))
            found += speaker.answer(
                [_messages(self.rows, place) for place in places],
                [self.media[place].images for place in places],
                temperature,
                self.task.max_new_tokens,
            )
        if file is not None:
            write_json(file, found)
        return found

    def annotator(self, kind: str) -> Annotator:
        """The judge in the role of somebody. Raises NeedsScene for one that it cannot play."""
        if kind not in JUDGES or self.judge is None:
            raise NeedsScene(
                f"its data step asks the annotator '{kind}'; a model that is asked in words can "
                f"stand in for {', '.join(JUDGES)}"
            )
        return self.judge(kind)

    def source(self, name: str) -> list[str]:
        """Answers of the policy. Raises NeedsScene for all other sources."""
        if name != "policy":
            raise NeedsScene(f"its data step asks for answers of the source '{name}'")
        return self.answer()

    def pair(self, place: int, chosen: str, rejected: str, **more: Any) -> Row:
        """The pair of a question, by its place."""
        return self.prompt(place, chosen=said(chosen), rejected=said(rejected), **more)

    def prompt(self, place: int, **more: Any) -> Row:
        """The row of a question without answers."""
        prompt = list(_messages(self.rows, place))
        return {"images": Shown(self.rows, place), "prompt": prompt, **more}

    def margins(self, values: Sequence[float]) -> list[float]:
        """The margins as they are."""
        return list(values)

    def sampled_pairs(
        self, annotator: Annotator, first: Sequence[str], second: Sequence[str]
    ) -> list[Row]:
        """As in the lab; what the annotator does not tell apart makes no pair."""
        choices = annotator.compare(self.items, self.media, first, second)
        rows = []
        for place, choice in enumerate(choices):
            pair = (first[place], second[place])
            if pair[0].strip() == pair[1].strip():
                self.tally.count("equal answers dropped")
            elif not (pair[0].strip() and pair[1].strip()):
                self.tally.count("empty answers dropped")
            elif not choice.margin:
                self.tally.count("not told apart")
            else:
                chosen, rejected = pair if choice.first else pair[::-1]
                rows.append(self.pair(place, chosen, rejected, margin=choice.margin))
        return rows


def _messages(rows: Sequence[Row], place: int) -> Sequence[Message]:
    found: Sequence[Message] = rows[place]["prompt"]
    return found


# --- questions of a dataset ----------------------------------------------------------------------


def questions_of(
    name: str,
    *,
    split: str | None = None,
    image_root: Path | None = None,
    limit: int | None = None,
) -> Rows:
    """A dataset's questions with their images; answers that it may have are not read.

    Raises DataError."""
    rows = Rows(
        open_records(name, split=split, image_root=image_root, limit=limit, read=question_of)
    )
    rows.read_through()
    return rows


# --- whether a step can do without a scene -------------------------------------------------------


@dataclass(frozen=True)
class Rehearsed:
    """Agrees with everything, at once."""

    kind: str

    def scores(
        self, items: Sequence[Any], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        return [float(len(answer)) for answer in answers]

    def compare(
        self, items: Sequence[Any], media: Sequence[Media], first: Sequence[str],
        second: Sequence[str],
    ) -> list[Choice]:  # fmt: skip
        return [Choice(True, 0.1) for _ in items]

    def correct(
        self, items: Sequence[Any], media: Sequence[Media], answers: Sequence[str]
    ) -> list[str]:
        return [f"{answer} Really." for answer in answers]

    def claims(
        self, items: Sequence[Any], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        return [[Segment(0, 1, place % 2 == 0)] for place, _ in enumerate(answers)]


def _words() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"There are {number} cups on the table. One is red."


@dataclass
class Rehearsal(DatasetLab):
    """A lab without model and data, to see what a data step asks for."""

    words: Iterator[str] = field(default_factory=_words)

    def answer(self, temperature: float | None = 1.0, policy: Policy | None = None) -> list[str]:
        return [next(self.words) for _ in self.rows]


def rehearse(data: Data, cfg: Any) -> None:
    """Raises NeedsScene where a data step asks for what no dataset has."""
    ask: list[Message] = [{"role": "user", "content": "What is there?"}]
    rows = [{"images": [Image.new("RGB", (8, 8))], "prompt": ask} for _ in range(4)]
    nobody = cast("Policy", Missing("the policy"))
    lab = Rehearsal(
        cast("Any", Missing("the lab's world")), cast("Any", NoTask(48)), nobody, nobody,
        cast("Workshop", Missing("the lab's workshop")), 1, len(rows), tally=Tally(), rows=rows,
        judge=Rehearsed,
    )  # fmt: skip
    data(lab, cfg)


__all__ = ["Annotated", "DatasetLab", "NeedsScene", "Verbal", "questions_of", "rehearse"]
