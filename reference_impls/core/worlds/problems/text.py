"""Problems in words: questions, thoughts that solve them, and how an answer is read.

A right answer lists what is seen and then computes:

    how much is red circles plus blue crosses ?
    <think> a1 red circle 1 a2 blue cross 1 a3 nothing b1 nothing b2 red circle 2 b3 nothing .
    red circles : 2 . blue crosses : 1 . 2 + 1 = 3 . </think> <answer> 3 </answer>

It goes through all places and numbers the objects of each kind as it finds them. What a chart
shows, and what was told in words, is named with its number at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from reference_impls.core.data.rules import inside, last_number, only_number
from reference_impls.core.worlds.problems.scene import (
    COLOURS,
    MOST,
    NEW_COMBINATIONS,
    NEW_KINDS,
    PLACES,
    SHAPES,
    Scene,
    Thing,
)

PLURAL = {"circle": "circles", "triangle": "triangles", "cross": "crosses"}
SINGULAR = {many: one for one, many in PLURAL.items()}
ANY = "shapes"
THINK, THOUGHT, ANSWER, ANSWERED = TAGS = ("<think>", "</think>", "<answer>", "</answer>")
NUMBERS = tuple(str(number) for number in range(21))
WORDS = (
    *TAGS, *NUMBERS, *COLOURS, *SHAPES, *SINGULAR, ANY, *PLACES.values(),
    "+", "-", "=", ":", ",", ".", "?", "how", "many", "much", "high", "are", "is", "there", "at",
    "the", "a", "and", "plus", "minus", "doubled", "all", "what", "where", "make", "white", "bar",
    "nothing", "it",
)  # fmt: skip
TOTALS = (10, 12)
"""What three bars make, where one of them is not drawn."""
OPERATIONS = ("plus", "minus", "doubled", "plus doubled", "missing")


# --- problems ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What is asked: an operation of `OPERATIONS`, or `count`, on one or two terms.

    A term is `red circles` or `red bar`. total: of a `missing` bar.
    """

    operation: str
    terms: tuple[str, ...]
    total: int = 0

    @property
    def subject(self) -> str:
        """Itself as one text, read back by `of`."""
        return "/".join((self.operation, *self.terms, str(self.total)))

    @classmethod
    def of(cls, subject: str) -> Problem:
        operation, *terms, total = subject.split("/")
        return cls(operation, tuple(terms), int(total))

    def question(self, scene: Scene, *, told: bool = False) -> str:
        """The question; `told`: after what there is, in words."""
        bars = self.terms[0].endswith("bar")
        named = [f"the {term}" if bars else term for term in self.terms]
        if self.operation == "count":
            asked = f"how many {named[0]} are there ?"
        elif self.operation == "missing":
            both = " and ".join(named)
            asked = f"{both} and a white bar make {self.total} . how much is the white bar ?"
        elif self.operation == "doubled":
            asked = f"how much is {named[0]} doubled ?"
        elif self.operation == "plus doubled":
            asked = f"how much is {' plus '.join(named)} , all doubled ?"
        else:
            asked = f"how much is {f' {self.operation} '.join(named)} ?"
        return f"{described(scene)} {asked}" if told else asked

    def values(self, scene: Scene) -> list[int]:
        """How much each term is."""
        return [value(scene, term) for term in self.terms]

    def equations(
        self, values: Sequence[int], off: Callable[[], int] = lambda: 0
    ) -> list[tuple[int, str, int, int]]:
        """What is computed with the terms' values, step by step: (a, sign, b, result); `off` says
        by how much a result is wrong."""

        def step(a: int, sign: str, b: int) -> tuple[int, str, int, int]:
            return a, sign, b, max(0, (a + b if sign == "+" else a - b) + off())

        if self.operation == "count":
            return []
        if self.operation == "doubled":
            return [step(values[0], "+", values[0])]
        if self.operation == "minus":
            return [step(values[0], "-", values[1])]
        found = [step(values[0], "+", values[1])]
        both = found[0][-1]
        if self.operation == "plus doubled":
            found.append(step(both, "+", both))
        if self.operation == "missing":
            found.append(step(self.total, "-", both))
        return found

    def answer(self, scene: Scene) -> int:
        """The true number."""
        values = self.values(scene)
        return self.equations(values)[-1][-1] if self.operation != "count" else values[0]

    def cause(self, scene: Scene) -> str:
        """Why no training text holds it, one of `scene.CAUSES`; nothing where one may."""
        kinds = {(t.colour, t.shape) for term in self.terms for t in matching(scene, term)}
        kinds |= {kind for kind in NEW_KINDS if term_of(kind) in self.terms}
        values = self.values(scene)
        if kinds & NEW_KINDS:
            return "kind"
        if not self.terms[0].endswith("bar") and max(values) > MOST:
            return "number"
        new = any(step[:3] in NEW_COMBINATIONS for step in self.equations(values))
        return "combination" if new else ""


def term_of(kind: tuple[str, str]) -> str:
    """What objects of a kind are called."""
    return f"{kind[0]} {PLURAL[kind[1]]}"


def matching(scene: Scene, term: str) -> list[Thing]:
    """The objects that a term names, in reading order; none for a bar."""
    words = term.split()
    if not words or words[-1] == "bar":
        return []
    colour = words[0] if len(words) == 2 else ""
    return [
        thing
        for thing in scene.things
        if colour in ("", thing.colour) and words[-1] in (ANY, PLURAL[thing.shape])
    ]


def value(scene: Scene, term: str) -> int:
    """How many objects, or how high a bar; 0 where it is not there."""
    if term.endswith(" bar"):
        return sum(bar.height for bar in scene.bars if f"{bar.colour} bar" == term)
    return len(matching(scene, term))


def described(scene: Scene) -> str:
    """The objects in words: `there are 2 red circles and 1 blue cross .`"""
    parts = []
    for kind in scene.kinds:
        number = scene.count(kind)
        parts.append(f"{number} {term_of(kind) if number > 1 else ' '.join(kind)}")
    return f"there are {' , '.join(parts[:-1])} and {parts[-1]} ."


def problems(scene: Scene, operations: Sequence[str]) -> list[Problem]:
    """What can be asked about a scene with these operations; no result is below 0."""
    terms = [f"{bar.colour} bar" for bar in scene.bars] if scene.chart else [
        term_of(kind) for kind in scene.kinds]  # fmt: skip
    found: list[Problem] = []
    for operation in operations:
        if operation in ("count", "doubled"):
            found += [Problem(operation, (term,)) for term in terms]
        else:
            for one in terms:
                for other in terms:
                    a, b = value(scene, one), value(scene, other)
                    if one == other or (operation == "minus" and a < b):
                        continue
                    totals = [t for t in TOTALS if t > a + b] if operation == "missing" else [0]
                    found += [Problem(operation, (one, other), total) for total in totals]
    return found


# --- answers ----------------------------------------------------------------------------------


def seen(scene: Scene, missed: Container[int] = ()) -> str:
    """What stands at each place, the objects of a kind numbered; nothing in the cells `missed`."""
    parts = []
    found: Counter[str] = Counter()
    here = {thing.cell: thing.name for thing in scene.things if thing.cell not in missed}
    for cell, place in PLACES.items():
        name = here.get(cell, "")
        found[name] += 1
        parts.append(f"{place} {name} {found[name]}" if name else f"{place} nothing")
    return f"{' '.join(parts)} ."


def computed(equations: Iterable[tuple[int, str, int, int]]) -> list[str]:
    """`2 + 1 = 3 .` for each step."""
    return [f"{a} {sign} {b} = {result} ." for a, sign, b, result in equations]


def thought(problem: Problem, scene: Scene, *, told: bool = False) -> str:
    """The whole thought of a right answer."""
    values = problem.values(scene)
    parts = [] if told or scene.chart else [seen(scene)]
    parts += [f"{term} : {much} ." for term, much in zip(problem.terms, values, strict=True)]
    return " ".join([*parts, *computed(problem.equations(values))])


def tagged(thinking: str, number: int) -> str:
    """A thought and a number in their tags."""
    return f"{THINK} {thinking} {THOUGHT} {ANSWER} {number} {ANSWERED}"


def number(answer: str) -> Fraction | None:
    """The number that an answer gives: the only one in its answer's tags, or without tags its last
    one; None where there is none."""
    given = inside("answer", answer)
    return last_number(answer) if given is None else only_number(given)


def parted(answer: str) -> list[str]:
    """The words of an answer, its tags apart from what they touch."""
    for tag in TAGS:
        answer = answer.replace(tag, f" {tag} ")
    return answer.split()


def formed(answer: str) -> bool:
    """Whether the whole answer is a thought that is not empty and one number, in tags that each
    stand once."""
    words = parted(answer)
    if any(words.count(tag) != 1 for tag in TAGS) or words[0] != THINK:
        return False
    closed = words.index(THOUGHT)
    return (
        1 < closed == len(words) - 4
        and words[closed + 1 :: 2] == [ANSWER, ANSWERED]
        and (only_number(words[-2]) is not None)
    )


def thinking(answer: str) -> list[str]:
    """The words of an answer before its number: without tags, the answer's tags and last number."""
    words = parted(answer.partition(ANSWER)[0])
    if ANSWER not in answer and THOUGHT not in answer:
        words = words[:-1]
    return [word for word in words if word not in TAGS]


def is_worked(answer: str) -> bool:
    """Whether the thought names something with its number, and not the result alone."""
    return ":" in thinking(answer)
