"""What a benchmark is: questions about images, and a score of one answer to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Key = tuple[str, int]
"""Split and number of a question: numbers begin anew in each split of POPE."""


@dataclass(frozen=True)
class Question:
    """One thing asked about one image. `truth` is `yes` or `no`, or empty where a description is
    asked for. `category` is the official one, where there are any."""

    split: str
    number: int
    image: str
    text: str
    truth: str = ""
    category: str = ""

    @property
    def key(self) -> Key:
        """What tells the question from all others of the benchmark."""
        return (self.split, self.number)


Metrics = dict[str, "float | None"]
"""By name, in per cent unless the name says otherwise; None where the denominator is 0."""


@dataclass
class Report:
    """Metrics by group of questions, how many there were of what, and remarks for a reader.

    `details` holds, per question, what a benchmark found in the answer, for exports.
    """

    metrics: dict[str, Metrics]
    counts: dict[str, int]
    remarks: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)


class Benchmark(Protocol):
    """A benchmark whose files were read.

    whole: whether a score stands for all questions; where it does not (CHAIR is taken over whatever
    images were described), answers to some are enough. max_new_tokens: of an answer, by default.
    """

    name: str
    whole: bool
    max_new_tokens: int

    @property
    def questions(self) -> Sequence[Question]: ...

    @property
    def files(self) -> Sequence[Path]:
        """What was read, and scores depend on."""

    def score(self, asked: Sequence[Question], answers: Sequence[str]) -> Report:
        """The report of one answer to each of some questions."""


def share(part: float, whole: float) -> float | None:
    """Per cent; None of nothing."""
    return 100.0 * part / whole if whole else None
