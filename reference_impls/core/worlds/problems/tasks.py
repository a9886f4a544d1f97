"""What can be asked, and how answers are judged.

An answer is right when its number is: in the answer's tags, or without tags the last one of the
text. Format is judged apart, so that a base that never keeps it has an accuracy, too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reference_impls.core.worlds.problems import lessons, text
from reference_impls.core.worlds.problems.scene import CAUSES, PLACES, Scene
from reference_impls.core.worlds.problems.text import Problem
from reference_impls.core.worlds.protocol import Item, Segment, ask

SceneItem = Item[Scene]
SEEN = "seen"
"""The kind of an item that a training text may hold; others are of their cause."""


def stream(task: str, seed: int, place: int) -> random.Random:
    """The random stream of one scene of a task; other scenes do not move it."""
    return random.Random(f"problems/1/{task}/{seed}/{place}")


def share(part: float, whole: float) -> float:
    """part / whole, 0.0 where there is nothing."""
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Solve:
    """Problems with some operations on what is shown, or told in words.

    An item's kind is `seen`, or why it is new; its subject is the problem. Scenes of the test split
    are asked something new where they have it.
    """

    id: str
    says: str
    operations: tuple[str, ...]
    chart: bool = False
    told: bool = False
    max_new_tokens: int = 48
    tuned_by: str = "accuracy"
    guarded_by: tuple[str, ...] = ("format", "parse")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items = []
        for place, drawn in enumerate(scenes):
            scene = replace(drawn, chart=self.chart)
            problem = lessons.pick(scene, self.operations, stream(self.id, seed, place), scene.new)
            items.append(
                Item(
                    scene,
                    ask(problem.question(scene, told=self.told), images=0 if self.told else 1),
                    self._worked(problem, scene),
                    problem.cause(scene) or SEEN,
                    problem.subject,
                )
            )
        return items

    def _worked(self, problem: Problem, scene: Scene) -> str:
        thought = text.thought(problem, scene, told=self.told)
        return text.tagged(thought, problem.answer(scene))

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        return self._worked(Problem.of(item.subject), item.scene)

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.number(answer) is not None

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        """1 for the right number, whatever was thought."""
        return float(text.number(answer) == Problem.of(item.subject).answer(item.scene))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        """Every place, number and result of the thought, and the number that is given.

        A place is right where it has what stands there, whatever its number; a result where it
        follows from its own line, whatever that began with.
        """
        problem = Problem.of(item.subject)
        here = {PLACES[thing.cell]: thing.name.split() for thing in item.scene.things}
        words, found = answer.split(), []
        for place, word in enumerate(words):
            if word == ":" and place + 1 < len(words):
                said = words[max(0, place - 2) : place]
                term = next((t for t in problem.terms if said == t.split()), "")
                right = term != "" and words[place + 1] == str(text.value(item.scene, term))
                found.append(Segment(place + 1, place + 2, right))
            elif word in PLACES.values():
                stop = min(place + (3 if word in here else 2), len(words))
                right = words[place + 1 : stop] == here.get(word, ["nothing"])
                found.append(Segment(place, stop, right))
            elif word == "=" and place >= 3:
                line = words[place - 3 : place + 2]
                found.append(Segment(place - 3, place + 2, _follows(line)))
        last = _number_at(words)
        if last is not None:
            found.append(Segment(last, last + 1, self.score(item, answer) == 1.0))
        return found

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        """The answer itself where all of it is right; else written anew."""
        right = all(segment.right for segment in self.judge(item, answer))
        return answer if right and self.score(item, answer) else self.truth(item)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """Another number is given, by one; a thought that comes to the number comes to the other
        one."""
        words = answer.split()
        last = _number_at(words)
        if last is None:
            return text.tagged("it is 0 .", Problem.of(item.subject).answer(item.scene) + 1)
        given = words[last]
        other = str(max(0, int(given) + rng.choice((-1, 1))) or int(given) + 1)
        results = [n for n, word in enumerate(words[:last]) if word == given]
        for n in results[-1:]:
            if words[n - 1] in ("=", "is", ":"):
                words[n] = other
        words[last] = other
        return " ".join(words)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """accuracy: right numbers; accuracy_seen, accuracy_held_out: of problems that a training
        text may hold, and of new ones; accuracy_new_kind, _combination, _number: of these by cause;
        format: answers that are a thought and one number in tags, and nothing else; worked: answers
        whose thought names something with its number; slips: claims of thoughts that are wrong;
        thought, length: words of the thought, of the answer; parse: answers that give a number."""
        right: dict[str, list[float]] = {name: [] for name in (SEEN, *CAUSES)}
        worked = claims = wrong = thought = length = 0
        for item, answer in zip(items, answers, strict=True):
            right[item.kind].append(self.score(item, answer))
            segments = self.judge(item, answer)
            given = _number_at(answer.split()) is not None  # which stands last
            segments = segments[:-1] if given else segments
            claims, wrong = claims + len(segments), wrong + sum(not s.right for s in segments)
            worked += text.is_worked(answer)
            thought += len(text.thinking(answer))
            length += len(answer.split())
        every = [point for points in right.values() for point in points]
        new = [point for cause in CAUSES for point in right[cause]]

        def mean(number: Callable[[SceneItem, str], bool]) -> float:
            pairs = zip(items, answers, strict=True)
            return share(sum(number(*pair) for pair in pairs), len(items))

        return {
            "accuracy": share(sum(every), len(every)),
            "accuracy_seen": share(sum(right[SEEN]), len(right[SEEN])),
            "accuracy_held_out": share(sum(new), len(new)),
            **{f"accuracy_new_{c}": share(sum(right[c]), len(right[c])) for c in CAUSES},
            "format": mean(lambda item, answer: text.formed(answer)),
            "worked": share(worked, len(items)),
            "slips": share(wrong, claims),
            "thought": share(thought, len(items)),
            "length": share(length, len(items)),
            "parse": mean(self.parses),
        }


def _follows(line: Sequence[str]) -> bool:
    """Is `a + b = c` true?"""
    if len(line) != 5 or not all(line[n] in text.NUMBERS for n in (0, 2, 4)):
        return False
    a, b, c = (int(line[n]) for n in (0, 2, 4))
    return {"+": a + b, "-": a - b}.get(line[1]) == c


def _number_at(words: Sequence[str]) -> int | None:
    """Where the number stands that an answer gives, as one word; None where there is none."""
    numbers = [n for n, word in enumerate(words) if word in text.NUMBERS]
    if text.ANSWER in words and text.ANSWERED in words:
        start, stop = words.index(text.ANSWER), words.index(text.ANSWERED)
        numbers = [n for n in numbers if start < n < stop]
    return numbers[-1] if numbers else None


COUNT = Solve("count", "count the objects of a kind", ("count",))
ARITHMETIC = Solve(
    "arithmetic", "count two kinds of objects and compute with the counts", lessons.PICTURE[1:]
)
DIAGRAM = Solve(
    "diagram", "read a bar chart and compute with its heights, also a bar that is not drawn",
    lessons.CHART, chart=True,
)  # fmt: skip
TOLD = Solve(
    "text-arithmetic", "the same sums about objects that are told in words, without a picture",
    lessons.TOLD, told=True,
)  # fmt: skip
