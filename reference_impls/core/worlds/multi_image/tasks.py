"""What can be asked about several pictures, and how answers are judged.

Lists of objects are judged by what they name, as in the scenes world (CHAIR: Rohrbach et al. 2018,
arXiv:1809.02156). A wrong mention has a cause where the other pictures hold one: `elsewhere`, the
object is in another picture; `mixed`, its colour or its shape is, and the rest is in the picture
that was asked about.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reference_impls.core.worlds.multi_image import lessons
from reference_impls.core.worlds.multi_image.scene import (
    COLOURS_SHOWN,
    LAYOUTS,
    NAMES,
    SHAPES_SHOWN,
    Scene,
    text,
)
from reference_impls.core.worlds.protocol import Item, Prompt, Segment, Turn

SceneItem = Item[Scene]


def stream(task: str, seed: int, place: int) -> random.Random:
    """The random stream of one scene of a task; other scenes do not move it."""
    return random.Random(f"multi-image/1/{task}/{seed}/{place}")


def share(part: float, whole: float) -> float:
    """part / whole, 0.0 where there is nothing."""
    return part / whole if whole else 0.0


def question(scene: Scene, words: str) -> Prompt:
    """One user's turn: the images, then the question."""
    return (Turn("user", f"{scene.opening} {words}"),)


def one_of(scene: Scene, rng: random.Random) -> int:
    """The picture that is asked about; in an inset the one in the middle, as in MIA-DPO."""
    return 1 if scene.layout == "inset" else rng.randrange(len(scene.pictures))


def is_mixed(name: str, here: Sequence[str], elsewhere: Sequence[str]) -> bool:
    """Is one half of a name in this picture and the other one in another?"""
    colour, shape = name.split()
    halves = [({n.split()[0] for n in names}, {n.split()[1] for n in names})
              for names in (here, elsewhere)]  # fmt: skip
    (colours, shapes), (other_colours, other_shapes) = halves
    return (colour in colours and shape in other_shapes) or (
        colour in other_colours and shape in shapes
    )


@dataclass(frozen=True)
class Describe:
    """The objects of one of the pictures; other lists of objects are kinds of it."""

    id: str = "describe"
    says: str = "name the objects of one of the pictures"
    max_new_tokens: int = 32
    tuned_by: str = "f1"
    guarded_by: tuple[str, ...] = ("recall", "length", "parse")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items = []
        for place, scene in enumerate(scenes):
            shown, words, subject = self.question(scene, stream(self.id, seed, place))
            item = Item(shown, question(shown, words), "", shown.layout, subject)
            items.append(Item(shown, item.prompt, self.truth(item), item.kind, subject))
        return items

    def question(self, scene: Scene, rng: random.Random) -> tuple[Scene, str, str]:
        """(what is shown, the question, what it is about)"""
        called = scene.called(one_of(scene, rng))
        return scene, lessons.describe_prompt(called), called

    def targets(self, item: SceneItem) -> tuple[str, ...]:
        """The names that a right answer has."""
        return item.scene.names(item.scene.named_in(item.subject)[0])

    def others(self, item: SceneItem) -> tuple[str, ...]:
        """The names that mislead: of other pictures."""
        return item.scene.elsewhere(item.scene.named_in(item.subject)[0])

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        return lessons.sentence(self.targets(item))

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.parses("brief", answer)

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        """F1 of what is named; 1 where nothing is to be named and nothing is."""
        named, wanted = text.mentioned(answer), set(self.targets(item))
        if not named and not wanted:
            return float(self.parses(item, answer))
        right = len(set(named) & wanted)
        return share(2 * right, len(named) + len(wanted))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        right = self.targets(item)
        found = [Segment(start, stop, name in right) for start, stop, name in text.spans(answer)]
        if not found and answer.split()[:1] == ["nothing"]:
            found = [Segment(0, 1, not right)]
        return found

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        """Each wrong name becomes one that is missing, of its colour or shape if there is one; it
        is struck out where none is. An answer that names nothing is written anew."""
        named, wanted = text.mentioned(answer), self.targets(item)
        if not named:
            return self.truth(item)
        missing = [name for name in wanted if name not in named]
        mended: list[str] = []
        for name in named:
            if name not in wanted or name in mended:
                if not missing:
                    continue
                halves = set(name.split())
                missing.sort(key=lambda other: not halves & set(other.split()))
                name = missing.pop(0)
            mended.append(name)
        return lessons.sentence(mended)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """One name becomes one of another picture, or, in half of the answers and where there is
        none, takes another colour."""
        named = text.mentioned(answer)
        pool = [name for name in self.others(item) if name not in named]
        if not named:
            taken = (*named, *self.targets(item))
            return lessons.sentence([rng.choice([n for n in pool or NAMES if n not in taken])])
        place = rng.randrange(len(named))
        if not pool or rng.random() < 0.5:
            shape = named[place].split()[1]
            pool = [f"{colour} {shape}" for colour in COLOURS_SHOWN]
            pool = [n for n in pool if n not in named and n not in self.targets(item)]
        named[place] = rng.choice(pool)
        return lessons.sentence(named)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """accuracy: answers that name what is wanted and nothing else, also by layout; chair_i,
        chair_s: mentions, answers that are wrong; elsewhere, mixed: shares of the wrong mentions by
        cause; recall, precision, f1; mentions and length (words) per answer; parse."""
        right_by = {layout: [0, 0] for layout in LAYOUTS}
        exact = mentions = wrong = wrong_answers = elsewhere = mixed = right = wanted = 0
        words = parsed = 0
        for item, answer in zip(items, answers, strict=True):
            named, targets, others = text.mentioned(answer), self.targets(item), self.others(item)
            false = [name for name in named if name not in targets]
            exact += (is_exact := self.score(item, answer) == 1.0)
            if item.kind in right_by:
                right_by[item.kind][0] += is_exact
                right_by[item.kind][1] += 1
            mentions, wrong = mentions + len(named), wrong + len(false)
            wrong_answers += bool(false)
            elsewhere += sum(name in others for name in false)
            mixed += sum(name not in others and is_mixed(name, targets, others) for name in false)
            right, wanted = right + len({*named} & {*targets}), wanted + len(targets)
            words, parsed = words + len(answer.split()), parsed + self.parses(item, answer)
        recall, precision = share(right, wanted), share(right, mentions)
        return {
            "accuracy": share(exact, len(items)),
            **{f"accuracy_{name}": share(*pair) for name, pair in right_by.items()},
            "chair_i": share(wrong, mentions),
            "chair_s": share(wrong_answers, len(items)),
            "elsewhere": share(elsewhere, wrong),
            "mixed": share(mixed, wrong),
            "recall": recall,
            "precision": precision,
            "f1": share(2 * precision * recall, precision + recall),
            "mentions": share(mentions, len(items)),
            "length": share(words, len(items)),
            "parse": share(parsed, len(items)),
        }


@dataclass(frozen=True)
class Single(Describe):
    """The same of one picture that is shown by itself: what training on several must not cost."""

    id: str = "single"
    says: str = "name the objects of one picture that is shown alone"

    def question(self, scene: Scene, rng: random.Random) -> tuple[Scene, str, str]:
        shown = scene.alone(one_of(scene, rng))
        return shown, lessons.describe_prompt(shown.called(0)), shown.called(0)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """The same without what needs other pictures."""
        found = super().metrics(items, answers)
        several = (*(f"accuracy_{layout}" for layout in LAYOUTS), "elsewhere", "mixed")
        return {name: value for name, value in found.items() if name not in several}


@dataclass(frozen=True)
class Compare(Describe):
    """What two pictures have in common."""

    id: str = "compare"
    says: str = "name what two of the pictures have in common"

    def question(self, scene: Scene, rng: random.Random) -> tuple[Scene, str, str]:
        one, other = (scene.called(n) for n in sorted(rng.sample(range(len(scene.pictures)), 2)))
        return scene, lessons.shared_prompt(one, other), f"{one} and {other}"

    def targets(self, item: SceneItem) -> tuple[str, ...]:
        one, other = item.scene.named_in(item.subject)
        return tuple(lessons.shared(item.scene, one, other))

    def others(self, item: SceneItem) -> tuple[str, ...]:
        every = [n for place in range(len(item.scene.pictures)) for n in item.scene.names(place)]
        return tuple(n for n in dict.fromkeys(every) if n not in self.targets(item))


@dataclass(frozen=True)
class Presence:
    """Is this object in that picture? Four questions per scene: two objects that are there (or one,
    twice); one of another picture (`elsewhere`); one of no picture (`random`)."""

    id: str = "presence"
    says: str = "is an object in one of the pictures: yes or no, balanced"
    max_new_tokens: int = 4
    tuned_by: str = "presence"
    guarded_by: tuple[str, ...] = ("pope_yes_ratio", "parse")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items: list[SceneItem] = []
        for place, scene in enumerate(scenes):
            rng = stream(self.id, seed, place)
            number = one_of(scene, rng)
            here, elsewhere = scene.names(number), scene.elsewhere(number)
            nowhere = [name for name in NAMES if name not in (*here, *elsewhere)]
            asked = [(rng.choice(here), "there"), (rng.choice(here), "there")]
            asked.append(
                (rng.choice(elsewhere), "elsewhere")
                if elsewhere
                else (rng.choice(nowhere), "random")
            )
            asked.append((rng.choice(nowhere), "random"))
            for name, kind in asked:
                called = scene.called(number)
                prompt = question(scene, lessons.presence_prompt(name, called))
                truth = "yes" if kind == "there" else "no"
                items.append(Item(scene, prompt, truth, kind, f"{name} in {called}"))
        return items

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        name = " ".join(item.subject.split()[:2])
        return "yes" if name in item.scene.names(item.scene.named_in(item.subject)[0]) else "no"

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.parses("presence", answer)

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        return float(text.says_yes(answer) == (self.truth(item) == "yes"))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        return [Segment(0, 1, self.score(item, answer) == 1.0)] if answer.split() else []

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return self.truth(item)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        return "no" if self.truth(item) == "yes" else "yes"

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """pope_accuracy, pope_f1 (yes is positive), pope_yes_ratio; hit: yes to what is there;
        false_alarm: yes to what is not; presence: hit - false_alarm; no_elsewhere, no_random: share
        of no to each kind of negative; parse."""
        said = [text.says_yes(answer) for answer in answers]
        there = [item.truth == "yes" for item in items]
        hits = sum(s and t for s, t in zip(said, there, strict=True))
        alarms = sum(said) - hits
        hit, false_alarm = share(hits, sum(there)), share(alarms, len(there) - sum(there))

        def no_among(kind: str) -> float:
            group = [not s for s, item in zip(said, items, strict=True) if item.kind == kind]
            return share(sum(group), len(group))

        equal = sum(s == t for s, t in zip(said, there, strict=True))
        parsed = sum(self.parses(item, answer) for item, answer in zip(items, answers, strict=True))
        return {
            "pope_accuracy": share(equal, len(items)),
            "pope_f1": share(2 * hits, sum(said) + sum(there)),
            "pope_yes_ratio": share(sum(said), len(items)),
            "hit": hit,
            "false_alarm": false_alarm,
            "presence": hit - false_alarm,
            "no_elsewhere": no_among("elsewhere"),
            "no_random": no_among("random"),
            "parse": share(parsed, len(items)),
        }


@dataclass(frozen=True)
class Count:
    """In how many pictures is there an object of this shape, or of this colour?"""

    id: str = "count"
    says: str = "count the pictures that show a shape or a colour"
    max_new_tokens: int = 4
    tuned_by: str = "accuracy"
    guarded_by: tuple[str, ...] = ("parse",)

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items = []
        for place, scene in enumerate(scenes):
            word = stream(self.id, seed, place).choice((*COLOURS_SHOWN, *SHAPES_SHOWN))
            prompt = question(scene, lessons.count_prompt(word))
            truth = str(lessons.showing(scene, word))
            items.append(Item(scene, prompt, truth, scene.layout, word))
        return items

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        return str(lessons.showing(item.scene, item.subject))

    def parses(self, item: SceneItem, answer: str) -> bool:
        return answer.strip() in text.DIGITS

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        return float(answer.strip() == self.truth(item))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        return [Segment(0, 1, self.score(item, answer) == 1.0)] if answer.split() else []

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return self.truth(item)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        numbers = range(len(item.scene.pictures) + 1)
        return str(rng.choice([n for n in numbers if str(n) != self.truth(item)]))

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """accuracy; error: mean distance of the number (0 where there is none); parse."""
        both = list(zip(items, answers, strict=True))
        numbers = [int(a) if self.parses(i, a) else 0 for i, a in both]
        errors = [abs(n - int(i.truth)) for n, i in zip(numbers, items, strict=True)]
        return {
            "accuracy": share(sum(self.score(i, a) for i, a in both), len(both)),
            "error": share(sum(errors), len(both)),
            "parse": share(sum(self.parses(i, a) for i, a in both), len(both)),
        }
