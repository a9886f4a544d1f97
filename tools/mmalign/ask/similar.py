"""What is near an entry, and why: by the words of its record, its terms, and its links.

Three parts, each between 0 and 1, make the score (`WEIGHTS`):

- shared: the terms, objective, data, models, benchmarks and authors that two entries have in
  common, as the cosine of their lists. What few entries have counts more than what most have.
- text: the words that they have in common, as the cosine of their weighted words.
- link: 1 where a record names the other one (as parent objective, baseline, or related), else 0.

Pure: it works on the short views of entries (`mmalign.ask.views.row`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mmalign.ask.search import words

View = Mapping[str, Any]
"""A short view of an entry."""
Feature = tuple[str, str]
"""A field and one of its values."""
K = TypeVar("K", str, Feature)

WEIGHTS = {"shared": 0.5, "text": 0.3, "link": 0.2}
TITLE_WEIGHT = 2
LONGEST = 3
"""Reasons name so many things of one sort at most."""

# Field of a view -> how a reason speaks of what two entries share there.
SHARED = {
    "objective.parent": "both extend {}",
    "objective.family": "same family of objectives: {}",
    "trains_on": "both train on {}",
    "base_models": "both start from {}",
    "benchmarks": "both report on {}",
    "compares_with": "both compare with {}",
    "addresses": "both take up {}",
    "scenario": "same scenario: {}",
    "dimension": "both measure {}",
    "modality": "same modality: {}",
    "annotation": "same annotation: {}",
    "response_source": "same source of responses: {}",
    "data_source": "same source of data: {}",
    "pair_difference": "chosen and rejected differ in the same way: {}",
    "response_models": "responses of the same models: {}",
    "annotators": "same annotators: {}",
    "paper.authors": "same authors: {}",
    "paper.id": "from the same paper: {}",
    "authors": "same authors: {}",
}
LINKS = {
    "objective.parent": "{} extends the objective of {}",
    "compares_with": "{} is compared with {}",
    "related": "{} names {} as related",
}
"""Field -> what it says of the entry that holds it and of the one that it names."""
# Words of fewer than three letters do not count anyway.
STOP = frozenset(
    """
    all also and any are both but can does each every for from has have how into its more most not
    one only other over same than that the their them then there they this two was were what when
    where which while whose with without
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Similar:
    """One neighbour: its view, its score in [0, 1], and reasons, the strongest first."""

    row: View
    score: float
    reasons: tuple[str, ...]


class Neighbours:
    """Entries made ready for the question which of them are nearest to one of them."""

    def __init__(self, rows: Sequence[View]):
        self.rows = list(rows)
        self._place = {row["ref"]: place for place, row in enumerate(self.rows)}
        self._features = [Counter(_features(row)) for row in self.rows]
        self._texts = [Counter(_words(row)) for row in self.rows]
        self._rarity = _rarity(self._features), _rarity(self._texts)
        self._lengths = [
            (_length(features, self._rarity[0]), _length(text, self._rarity[1]))
            for features, text in zip(self._features, self._texts, strict=True)
        ]

    def of(self, ref: str, limit: int | None = None) -> list[Similar]:
        """The others, nearest first; those with nothing in common are left out."""
        here = self._place[ref]
        scores = {place: self._score(here, place) for place in range(len(self.rows))}
        near = [place for place, score in scores.items() if score > 0 and place != here]
        near.sort(key=lambda place: (-scores[place], self.rows[place]["ref"]))
        return [
            Similar(self.rows[place], scores[place], self._why(here, place))
            for place in near[:limit]
        ]

    def _common(
        self, here: int, there: int
    ) -> tuple[dict[Feature, float], dict[str, float], list[str]]:
        """What two entries share, by the three parts of the score."""
        return (
            _common(self._features[here], self._features[there], self._rarity[0]),
            _common(self._texts[here], self._texts[there], self._rarity[1]),
            list(_links(self.rows[here], self.rows[there])),
        )

    def _score(self, here: int, there: int) -> float:
        shared, text, links = self._common(here, there)
        parts = {
            "shared": sum(shared.values()) / self._lengths[here][0] / self._lengths[there][0],
            "text": sum(text.values()) / self._lengths[here][1] / self._lengths[there][1],
            "link": float(bool(links)),
        }
        return round(sum(WEIGHTS[name] * value for name, value in parts.items()), 4)

    def _why(self, here: int, there: int) -> tuple[str, ...]:
        shared, text, links = self._common(here, there)
        return (*links, *_reasons(shared), *_word_reason(text))


def similar(row: View, rows: Sequence[View], limit: int | None = None) -> list[Similar]:
    """The entries of `rows` that are nearest to `row`, best first. `rows` may be of another kind,
    and may hold `row` itself."""
    others = (other for other in rows if other["ref"] != row["ref"])
    return Neighbours([row, *others]).of(row["ref"], limit)


def _features(row: View) -> Iterable[Feature]:
    for field in SHARED:
        value: Any = row
        for part in field.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        for one in (value,) if isinstance(value, str) else value or ():
            yield field.removeprefix("paper."), one


def _words(row: View) -> Iterable[str]:
    title = row.get("title") or (row.get("paper") or {}).get("title") or ""
    names = " ".join((row["name"], *row.get("aliases", ())))
    text = f"{names} {title} " * TITLE_WEIGHT + (row.get("summary") or row.get("definition") or "")
    # Parts of compound words are counted with them, so that `vision-language` meets `vision`.
    return (word for word in words(text) if len(word) > 2 and word not in STOP)


def _rarity(documents: Sequence[Counter[K]]) -> dict[K, float]:
    """Weight of each item: near 0 where all documents hold it."""
    held = Counter(item for document in documents for item in document)
    return {
        item: math.log(1 + len(documents) / count) - math.log(2) for item, count in held.items()
    }


def _common(one: Counter[K], other: Counter[K], rarity: Mapping[K, float]) -> dict[K, float]:
    """Item -> its part in the product of two weighted vectors (counts by their square root)."""
    return {
        item: math.sqrt(one[item] * other[item]) * rarity[item]
        for item in one
        if item in other and rarity[item] > 0
    }


def _length(document: Counter[K], rarity: Mapping[K, float]) -> float:
    square = sum(count * rarity[item] for item, count in document.items())
    return math.sqrt(square) or 1.0


def _links(row: View, other: View) -> Iterable[str]:
    for field, text in LINKS.items():
        head, _, last = field.partition(".")

        def named(view: View, head: str = head, last: str = last) -> tuple[str, ...]:
            value = view.get(head) or ()
            value = value.get(last) if isinstance(value, Mapping) else value
            return (value,) if isinstance(value, str) else tuple(value or ())

        # Fields other than `related` name methods, and are those of methods.
        for one, two in ((row, other), (other, row)):
            if two["id"] in named(one) and (field == "related" or two["kind"] == "method"):
                yield text.format(one["name"], two["name"])


def _reasons(shared: Mapping[Feature, float]) -> Iterable[str]:
    by_field: dict[str, dict[str, float]] = {}
    for (field, value), weight in shared.items():
        by_field.setdefault(field, {})[value] = weight
    texts = {field.removeprefix("paper."): text for field, text in SHARED.items()}
    for field, values in sorted(by_field.items(), key=lambda item: -sum(item[1].values())):
        named = sorted(values, key=lambda value: (-values[value], value))
        more = f" and {len(named) - LONGEST} more" if len(named) > LONGEST else ""
        yield texts[field].format(", ".join(named[:LONGEST]) + more)


def _word_reason(text: Mapping[str, float]) -> Iterable[str]:
    # A word that is part of a compound already named says nothing more.
    named: list[str] = []
    for word in sorted(text, key=lambda word: (-text[word], word)):
        if not any(word in other or other in word for other in named):
            named.append(word)
        if len(named) == LONGEST:
            break
    if named:
        yield f"both speak of {', '.join(named)}"
