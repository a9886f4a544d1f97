"""Rows: what is asked, what is shown, and the answers to it; and what the data steps decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from reference_impls.core.method import Row
from reference_impls.core.worlds.protocol import Item, Media, Prompt, Task, conversation


def said(answer: str) -> list[dict[str, str]]:
    """An answer as the message that a row's column holds."""
    return [{"role": "assistant", "content": answer}]


def text(messages: Sequence[dict[str, Any]]) -> str:
    """The words of a conversation's last message."""
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def prompt_row(item: Item[Any], media: Media, **more: Any) -> Row:
    """What is asked about a scene: columns `images`, `prompt`, `item`, and what a method adds."""
    return {
        "images": list(media.images),
        "prompt": conversation(item.prompt),
        "item": item,
        **more,
    }


def pair_row(item: Item[Any], media: Media, chosen: str, rejected: str, **more: Any) -> Row:
    """A prompt with a better and a worse answer: columns `chosen` and `rejected` besides."""
    return prompt_row(item, media, chosen=said(chosen), rejected=said(rejected), **more)


def messages_of(prompt: Prompt) -> list[dict[str, Any]]:
    """A world's prompt as the messages of a row."""
    return conversation(prompt)


def images_of(row: Row, column: str = "images") -> list[Image.Image]:
    """The pictures of a row's column; none where there is no such column."""
    return list(row.get(column) or ())


def name_of(row: Row, number: int) -> str:
    """What a message calls a row: its place in its file, if it came from one."""
    return str(row.get("place", f"row {number}"))


@dataclass(frozen=True)
class LazyRows(Sequence[Row]):
    """`length` rows that are made by their number when they are asked for, and not kept."""

    length: int
    make: Callable[[int], Row]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(self.length))]
        if not 0 <= number < self.length:
            raise IndexError(number)
        return self.make(number)


KEPT_BACK = 64
"""Rows of a real dataset that are kept back to be scored, at most."""


def kept_back(count: int) -> int:
    """How many rows of a real dataset are kept back to be scored: the last ones."""
    return min(KEPT_BACK, max(1, count // 10))


def too_few(count: int, batch: int) -> str:
    """Why a real dataset of `count` rows does not do; empty where those that are not kept back fill
    a batch."""
    kept = kept_back(count)
    if count - kept >= batch:
        return ""
    return (
        f"too few rows: of {count}, {kept} are kept back to be scored, and {count - kept} do not "
        f"fill a batch of {batch}; give more rows, or a smaller --batch-size"
    )


GAPS = (0.2, 0.4)
"""Bounds between small, middle and large gaps of true score."""


@dataclass
class Agreement:
    """How often somebody was right: counts of right judgements and of all, by what was judged.

    Comparisons of answers of unequal true score count by their gap, below 0.2, to 0.4, and above.
    """

    counts: dict[str, list[int]] = field(default_factory=dict)

    def told(self, what: str, right: bool) -> None:
        """One judgement more."""
        count = self.counts.setdefault(what, [0, 0])
        count[0] += right
        count[1] += 1

    def compared(self, gap: float, first: bool) -> None:
        """A forced choice between two answers, the first better by `gap`; equal ones tell
        nothing."""
        if gap:
            size = sum(abs(gap) >= bound for bound in GAPS)
            self.told("pairs", first == (gap > 0))
            self.told(
                ("gap below 0.2", "gap 0.2 to 0.4", "gap above 0.4")[size], first == (gap > 0)
            )

    def ranked(self, gap: float, seen: float) -> None:
        """Two ratings that differ by `seen`, of answers that differ by `gap`."""
        if gap and seen:
            self.told("ratings", (gap > 0) == (seen > 0))

    def share(self, what: str = "pairs") -> float:
        """Share of right judgements; 0.0 where there was none."""
        right, judged = self.counts.get(what, [0, 0])
        return right / judged if judged else 0.0

    def as_dict(self) -> dict[str, float]:
        """Shares with the number of judgements, as results keep them."""
        made: dict[str, float] = {}
        for what in sorted(self.counts):
            made[what] = round(self.share(what), 4)
            made[f"{what}, judged"] = self.counts[what][1]
        return made

    def line(self) -> str:
        """What a run prints."""
        return ", ".join(
            f"{what} {self.share(what):.0%} of {self.counts[what][1]}" for what in self.counts
        )


@dataclass
class Tally:
    """What a data step decided, rule by rule: printed with the run, shown on the method's page.

    `better` counts pairs in which the chosen answer is truly better (by the task's score), `equal`
    those of one score. `words` and `parsed` are sums over both sides: how far chosen and rejected
    differ in length and in grammar. `selection`: by a reward, what the best of `n` answers is worth
    to it (`reward`) and in truth (`true_score`).
    """

    rules: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    better: int = 0
    equal: int = 0
    chosen_words: int = 0
    rejected_words: int = 0
    chosen_parsed: int = 0
    rejected_parsed: int = 0
    judged: int = 0
    annotators: dict[str, Agreement] = field(default_factory=dict)
    sources: dict[str, list[float]] = field(default_factory=dict)
    selection: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def agreement(self, annotator: str) -> Agreement:
        """How often an annotator agreed with the truth so far."""
        return self.annotators.setdefault(annotator, Agreement())

    def source(self, name: str, scores: Iterable[float]) -> None:
        """True scores of a source's answers."""
        self.sources.setdefault(name, []).extend(scores)

    def count(self, rule: str, number: int = 1) -> None:
        """A rule decided so many rows more."""
        self.rules[rule] = self.rules.get(rule, 0) + number

    def add(self, rows: Iterable[Row], task: Task[Any] | None) -> None:
        """Look at pairs as they go into training."""
        for row in rows:
            if "chosen" not in row or "rejected" not in row:
                continue
            chosen, rejected = text(row["chosen"]), text(row["rejected"])
            self.pairs += 1
            self.chosen_words += len(chosen.split())
            self.rejected_words += len(rejected.split())
            item = row.get("item")
            if task is None or item is None:
                continue
            self.judged += 1
            gap = task.score(item, chosen) - task.score(item, rejected)
            self.better += gap > 0
            self.equal += gap == 0
            self.chosen_parsed += task.parses(item, chosen)
            self.rejected_parsed += task.parses(item, rejected)

    def check(self) -> None:
        """Refuse a set whose two sides differ in grammar only: it teaches to tell them by form.

        Raises ValueError.
        """
        if not self.judged:
            return
        apart = abs(self.chosen_parsed - self.rejected_parsed) / self.judged
        if apart > 0.5 and self.better / self.judged < 0.55:
            raise ValueError(
                f"chosen and rejected differ in grammar only: {self.chosen_parsed} and "
                f"{self.rejected_parsed} of {self.judged} parse, chosen is better in {self.better}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Shares and means, as results keep them."""
        made: dict[str, Any] = {"pairs": self.pairs, "rules": dict(self.rules)}
        if self.pairs:
            made["chosen_words"] = round(self.chosen_words / self.pairs, 3)
            made["rejected_words"] = round(self.rejected_words / self.pairs, 3)
        if self.judged:
            made["truly_better"] = round(self.better / self.judged, 4)
            made["truly_equal"] = round(self.equal / self.judged, 4)
            made["chosen_parsed"] = round(self.chosen_parsed / self.judged, 4)
            made["rejected_parsed"] = round(self.rejected_parsed / self.judged, 4)
        if self.annotators:
            made["agreement"] = {name: each.as_dict() for name, each in self.annotators.items()}
        if self.sources:
            made["source_score"] = {
                name: round(sum(scores) / len(scores), 4)
                for name, scores in self.sources.items()
                if scores
            }
        if self.selection:
            made["selection"] = dict(self.selection)
        return made

    def lines(self) -> list[str]:
        """What the run prints."""
        made = self.as_dict()
        found = []
        if self.rules:
            found.append("rules: " + ", ".join(f"{n} {c}" for n, c in self.rules.items()))
        if self.judged:
            found.append(
                f"{self.pairs} pairs; chosen truly better in {made['truly_better']:.0%}, equal in "
                f"{made['truly_equal']:.0%}; words {made['chosen_words']:.1f} and "
                f"{made['rejected_words']:.1f}; in form {made['chosen_parsed']:.0%} and "
                f"{made['rejected_parsed']:.0%}"
            )
        elif self.pairs:
            found.append(f"{self.pairs} pairs")
        for name, agreement in self.annotators.items():
            if agreement.counts:
                found.append(f"{name} agrees with the truth: {agreement.line()}")
        for name, score in made.get("source_score", {}).items():
            found.append(f"answers of {name}: true score {score:.2f}")
        for name, curve in self.selection.items():
            counts, rewards, scores = (
                ", ".join(f"{value:.3g}" for value in curve[what])
                for what in ("n", "reward", "true_score")
            )
            found.append(f"best of {counts} by {name}: reward {rewards}; true score {scores}")
        return found
