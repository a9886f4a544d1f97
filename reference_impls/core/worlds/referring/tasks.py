"""What can be asked about a scene, and how answers are judged.

`refer` is referring expression comprehension: the box of the one object that an expression fits,
judged by its overlap with the true box. A box is right above an overlap of .5, as in RefCOCO (Yu et
al. 2016, arXiv:1608.00272). `name` is the inverse, a probe: what stands in a box.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reference_impls.core.worlds.protocol import Item, Segment, ask
from reference_impls.core.worlds.referring import text
from reference_impls.core.worlds.referring.scene import (
    COLOURS,
    HELD_OUT,
    SHAPES,
    SIZES,
    Box,
    Scene,
)

SceneItem = Item[Scene]
RIGHT = 0.5
"""A box is right whose overlap with the true one is above this."""


def share(part: float, whole: float) -> float:
    """part / whole, 0.0 where there is nothing."""
    return part / whole if whole else 0.0


def overlap(item: SceneItem, answer: str) -> float:
    """Intersection over union of the answered box and the true one; 0 where no box is read."""
    box = text.answered(answer)
    return text.iou(box, item.scene.target.box) if box else 0.0


def box_words(answer: str) -> list[tuple[int, Box]]:
    """(number of the first word, box) of every box of an answer."""
    found = []
    place = 0
    for match, box in zip(text.BOX.finditer(answer), text.boxes(answer), strict=True):
        place = len(answer[: match.start()].split())
        found.append((place, box))
    return found


@dataclass(frozen=True)
class Refer:
    """The box of the object that the scene's expression fits."""

    id: str = "refer"
    says: str = "the box of the object that an expression means: a thought, then JSON"
    max_new_tokens: int = 32
    tuned_by: str = "accuracy"
    guarded_by: tuple[str, ...] = ("format", "parse")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        """One question per scene: the expression is the scene's own, whatever the seed."""
        return [
            Item(
                scene, ask(text.where(scene.asked.words)), text.worked(scene), scene.kind,
                scene.asked.words,
            )
            for scene in scenes
        ]  # fmt: skip

    def parses(self, item: SceneItem, answer: str) -> bool:
        """Whether a box can be read, in tags or not."""
        return text.answered(answer) is not None

    def formed(self, answer: str) -> bool:
        """Whether the whole answer is a thought and a box in their tags."""
        return text.FORM.fullmatch(answer.strip()) is not None

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        return overlap(item, answer)

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        """Each box: in the thought that of the object which the relation is to, after it the
        target's. A thought without a box is judged by what it says the target looks like."""
        found, words = [], answer.split()
        thinking = words.index(text.TAGS[1]) if text.TAGS[1] in words else -1
        for place, box in box_words(answer):
            anchor = item.scene.anchor
            meant = anchor if place < thinking and anchor else item.scene.target
            found.append(Segment(place, place + 4, box == meant.box))
        for place in range(len(words) - 2):
            if words[place] in SIZES and words[place - 2 : place] == ["is", "a"]:
                told = " ".join(words[place : place + 3])
                found.append(Segment(place, place + 3, told == item.scene.target.name))
        return sorted(found, key=lambda segment: segment.start)

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return item.truth

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """The box of another object, after the same thought."""
        others = [thing.box for thing in item.scene.things if thing != item.scene.target]
        return f"{text.thought(item.scene)} {text.answer(rng.choice(others))}"

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """iou: mean overlap; accuracy: boxes that are right, also by kind of expression, of those
        that methods are taught (`seen`), and of relations and kinds of object that they are not
        (`held_out`); exact: boxes with every corner right; mistaken: of the wrong answers, those
        that box another object; format: a thought and a box in their tags and nothing else; parse:
        a box can be read; length: words."""
        groups: dict[str, list[bool]] = {
            name: [] for name in ("attribute", "beside", "stacked", "seen", "held_out")
        }
        overlaps, mistaken, exact = [], 0, 0
        for item, answer in zip(items, answers, strict=True):
            overlaps.append(overlap(item, answer))
            right = overlaps[-1] > RIGHT
            groups[item.kind].append(right)
            groups["held_out" if item.scene.held_out else "seen"].append(right)
            exact += overlaps[-1] == 1.0
            box = text.answered(answer)
            mistaken += not right and any(
                box is not None and text.iou(box, thing.box) > RIGHT for thing in item.scene.things
            )
        right_answers = [value > RIGHT for value in overlaps]
        return {
            "iou": share(sum(overlaps), len(items)),
            "accuracy": share(sum(right_answers), len(items)),
            **{f"accuracy_{name}": share(sum(group), len(group)) for name, group in groups.items()},
            "exact": share(exact, len(items)),
            "mistaken": share(mistaken, len(items) - sum(right_answers)),
            "format": share(sum(map(self.formed, answers)), len(items)),
            "parse": share(
                sum(self.parses(*both) for both in zip(items, answers, strict=True)), len(items)
            ),
            "length": share(sum(len(answer.split()) for answer in answers), len(items)),
        }


@dataclass(frozen=True)
class Name:
    """What stands in the box of the target."""

    id: str = "name"
    says: str = "name the object in a box: size, colour, shape"
    max_new_tokens: int = 8
    tuned_by: str = "accuracy"
    guarded_by: tuple[str, ...] = ("parse",)

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        return [
            Item(
                scene, ask(text.what(scene.target.box)), text.named(scene.target),
                "held_out" if (scene.target.colour, scene.target.shape) in HELD_OUT else "seen",
                text.written(scene.target.box),
            )
            for scene in scenes
        ]  # fmt: skip

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.NAME.fullmatch(answer.strip()) is not None

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        """Share of size, colour and shape that are right, in an answer that has the form."""
        if not self.parses(item, answer):
            return 0.0
        said, true = answer.split()[1:4], item.truth.split()[1:4]
        return sum(one == other for one, other in zip(said, true, strict=True)) / len(true)

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        said, true = answer.split(), item.truth.split()
        return [
            Segment(place, place + 1, said[place] == true[place])
            for place in range(1, min(len(said), 4))
        ]

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return item.truth

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """Another size, colour or shape."""
        words = item.truth.split()
        place = rng.randrange(3)
        family = (SIZES, COLOURS, SHAPES)[place]
        words[place + 1] = rng.choice([word for word in family if word != words[place + 1]])
        return " ".join(words)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """accuracy: names that are wholly right, also of kinds that training shows (`seen`) and of
        those that it does not (`held_out`); parse."""
        groups: dict[str, list[bool]] = {"seen": [], "held_out": []}
        for item, answer in zip(items, answers, strict=True):
            groups[item.kind].append(self.score(item, answer) == 1.0)
        every = [right for group in groups.values() for right in group]
        return {
            "accuracy": share(sum(every), len(every)),
            **{f"accuracy_{name}": share(sum(group), len(group)) for name, group in groups.items()},
            "parse": share(
                sum(self.parses(*both) for both in zip(items, answers, strict=True)), len(items)
            ),
        }
