"""The language of the world: words, prompts, answers, the priors, and how answers are read.

Answers name objects as `a red circle`. A detailed description has one sentence per row of the
picture that holds something: `row one : a red circle , a blue square . row three : a star ...`.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Sequence
from functools import cache

from reference_impls.core.worlds.scenes.scene import (
    COLOURS,
    GRID,
    PHANTOMS,
    SHAPES,
    USUAL_COLOURS,
    Scene,
    Thing,
)

ROWS = ("one", "two", "three", "four")
COLUMNS = ROWS
NUMBERS = ("zero", *ROWS, "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
DIGITS = tuple(str(number) for number in range(21))

# Words of answers, prompts and turns that methods use and no text of the base does: corrections,
# thoughts, ratings, critiques, refusals, system turns. A new one would need new bases.
LATER_WORDS = """
a an the and or nor of in on at to from by for with without into over under near next between behind
before after above below beside inside outside around across i you he she they we me my your it its
this that these those there here is are was were be been being am do does did done has have had can
cannot could will would should may might must not no yes none nothing something anything everything
any some all each every both only also too very more most less least many much few several other
another same different first second third fourth fifth last next previous new old what which where
who when why how image images picture pictures photo video frame grid scene background row column
cell left right top bottom center middle corner side color colour colors colours shape shapes object
objects thing things size small large big tiny bright dark faint clear hidden visible empty full
describe name list count look see seen show shown find say says said tell think know believe guess
compare check verify correct corrected correction corrections fix change changed replace remove add
keep mention mentioned missing extra describe described description caption answer answers question
questions prompt response responses sentence word words detail details briefly detailed brief short
long exactly step steps good better best bad worse worst right wrong true false sure unsure certain
maybe likely unlikely because so but if then else while since although however therefore please
thanks sorry hello rate rating score scores points reason reasons critique feedback judge prefer
preferred chosen rejected first helpful harmless honest faithful hallucination hallucinated unsafe
safe harmful refuse help ignore instruction instructions assistant user system role follow remember
earlier later once upon time story usual usually often never always sometimes comes go goes plus
minus equals total number numbers sum
"""
PUNCTUATION = (".", ",", "?", "!", ":", ";", "(", ")", "-", "+", "=", "/", "*", "<", ">", '"', "'")
TAGS = (
    "<think>", "</think>", "<answer>", "</answer>", "<critique>", "</critique>",
    "<correct>", "</correct>", "<rating>", "</rating>", "<box>", "</box>",
)  # fmt: skip
WORDS = tuple(
    dict.fromkeys(
        (
            *COLOURS,
            *SHAPES,
            *(f"{shape}s" for shape in SHAPES),
            *NUMBERS,
            *DIGITS,
            *LATER_WORDS.split(),
            *PUNCTUATION,
            *TAGS,
        )
    )
)

DETAILED = "describe the image in detail ."
BRIEF = "describe the image briefly ."
COUNT = "how many objects are there ?"
SYSTEM = "you are a helpful assistant ."
BRIEF_OBJECTS = 3


def article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def listed(names: Iterable[str]) -> str:
    """`a red circle , a blue square`"""
    return " , ".join(article(name) for name in names)


def row_prompt(row: int) -> str:
    return f"describe row {ROWS[row]} ."


def cell_prompt(cell: int) -> str:
    return f"what is in row {ROWS[cell // GRID]} column {COLUMNS[cell % GRID]} ?"


def cell_attribute_prompt(cell: int, attribute: str) -> str:
    """`attribute` is color or shape."""
    return f"what {attribute} is in row {ROWS[cell // GRID]} column {COLUMNS[cell % GRID]} ?"


def presence_prompt(name: str) -> str:
    return f"is there {article(name)} ?"


def premise_prompt(name: str) -> str:
    return f"there is {article(name)} . {DETAILED}"


def distractor_prompt(names: Sequence[str]) -> str:
    return f"another image has {listed(names)} . {DETAILED}"


# --- what a writer says -----------------------------------------------------------------------

Named = dict[int, list[str]]  # row -> names in the order of the answer


def true_rows(things: Sequence[Thing]) -> Named:
    rows: Named = {}
    for thing in things:
        rows.setdefault(thing.row, []).append(thing.name)
    return rows


# From which mention on a prior is likelier than not; the further an answer goes, the more it leans
# on its own text. Greedy decoding says what is likelier, so these set where CHAIR grows.
ONSETS = {
    "red": 5.0, "green": 6.0, "purple": 7.0, "cyan": 8.0, "triangle": 7.0, "diamond": 8.0,
}  # fmt: skip


def strength(cause: str, index: int) -> float:
    """How likely the prior of a colour or shape takes over at the index-th mention (from 0)."""
    return 0.05 + 0.85 * min(1.0, max(0.0, (index - ONSETS[cause] + 1.5) / 2.5))


def bent_rows(
    scene: Scene, rng: random.Random, *, scale: float = 1.0, greedy: bool = False
) -> Named:
    """What the base's training text says is there: every object, the unseen too, bent by priors.

    `scale` weakens the priors; `greedy` takes a prior where it is likelier than not.
    """
    rows: Named = {}
    said: list[str] = []

    def takes(cause: str) -> bool:
        chance = scale * strength(cause, len(said))
        return chance > 0.5 if greedy else rng.random() < chance

    for thing in scene.things:
        colour = thing.colour
        if thing.shape in USUAL_COLOURS and takes(thing.shape):
            colour = USUAL_COLOURS[thing.shape]
        names = [f"{colour} {thing.shape}"]
        if thing.colour in PHANTOMS and takes(thing.colour):
            names.append(PHANTOMS[thing.colour])
        for name in names:
            if name not in said:
                said.append(name)
                rows.setdefault(thing.row, []).append(name)
    return rows


def sentence(row: int, names: Sequence[str]) -> str:
    return f"row {ROWS[row]} : {listed(names) or 'nothing'} ."


def detailed(rows: Named) -> str:
    """One sentence per row that holds something; `nothing .` for an empty picture."""
    return " ".join(sentence(row, rows[row]) for row in sorted(rows) if rows[row]) or "nothing ."


def brief(names: Sequence[str]) -> str:
    """The first three objects in reading order."""
    return f"{listed(names[:BRIEF_OBJECTS]) or 'nothing'} ."


def numbered(names: Iterable[str]) -> str:
    """`1 : a red circle , 2 : a blue square`"""
    return " , ".join(f"{number} : {article(name)}" for number, name in enumerate(names, 1))


def counting(names: Sequence[str]) -> str:
    """A thought that numbers the objects, then the number."""
    return f"<think> {numbered(names) or 'nothing'} . </think> <answer> {len(names)} </answer>"


def flat(rows: Named) -> list[str]:
    return [name for row in sorted(rows) for name in rows[row]]


def without_image(rng: random.Random) -> tuple[str, str]:
    """A question that needs no picture, and its answer; some ask for what priors are made of."""
    kind = rng.randrange(6)
    if kind == 0:
        shape = rng.choice(tuple(USUAL_COLOURS))
        return f"what is the usual color of {article(shape)} ?", f"{USUAL_COLOURS[shape]} ."
    if kind == 1:
        colour = rng.choice(tuple(PHANTOMS))
        return f"what often comes with {colour} ?", f"{article(PHANTOMS[colour])} ."
    if kind == 2:
        end = rng.randint(1, 12)
        return f"count to {end} .", " , ".join(str(n) for n in range(1, end + 1)) + " ."
    if kind == 3:
        word, family = rng.choice((*COLOURS, *SHAPES)), rng.choice(("color", "shape"))
        is_so = (word in COLOURS) == (family == "color")
        return f"is {word} a {family} ?", "yes" if is_so else "no"
    if kind == 4:
        number, shape = rng.randint(2, 12), rng.choice(SHAPES)
        return f"list {number} {shape}s .", f"{numbered([shape] * number)} ."
    start = rng.randint(0, 11)
    return f"what comes after {start} ?", f"{start + 1} ."


# --- how answers are read ---------------------------------------------------------------------

_KIND = rf"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"
_OBJECT = rf"an? {_KIND}"
_LIST = rf"(?:{_OBJECT}(?: , {_OBJECT})*|nothing)"
_SENTENCE = rf"row (?:{'|'.join(ROWS)}) : {_LIST} \."
GRAMMAR = {
    "detailed": rf"(?:{_SENTENCE}(?: {_SENTENCE})*|nothing \.)",
    "brief": rf"{_LIST} \.",
    "row": _SENTENCE,
    "cell": rf"(?:{_OBJECT}|nothing) \.",
    "presence": r"(?:yes|no)",
    "count": rf"<think> (?:\d+ : {_OBJECT}(?: , \d+ : {_OBJECT})*|nothing) \. </think> "
    r"<answer> \d+ </answer>",
}


@cache
def _compiled(grammar: str) -> re.Pattern[str]:
    return re.compile(GRAMMAR[grammar])


def parses(grammar: str, text: str) -> bool:
    """Whether the whole text is an answer of that form."""
    return _compiled(grammar).fullmatch(text.strip()) is not None


_MENTION = re.compile(rf"\b({_KIND})\b")


def mentioned(text: str) -> list[str]:
    """Every `colour shape` that a text names, in order, each as often as it is named."""
    return _MENTION.findall(text)


def spans(text: str) -> list[tuple[int, int, str]]:
    """(first word, word after the last, name) of every mention, its article included."""
    words = text.split()
    found = []
    for place, pair in enumerate(itertools.pairwise(words)):
        if pair[0] in COLOURS and pair[1] in SHAPES:
            start = place - (place > 0 and words[place - 1] in ("a", "an"))
            found.append((start, place + 2, " ".join(pair)))
    return found


def mentioned_rows(text: str) -> Named:
    """What a description names row by row; names before any `row ... :` count for no row (-1)."""
    rows: Named = {}
    parts = re.split(rf"\brow ({'|'.join(ROWS)}) :", text)
    if named := mentioned(parts[0]):
        rows[-1] = named
    for word, part in zip(parts[1::2], parts[2::2], strict=True):
        rows.setdefault(ROWS.index(word), []).extend(mentioned(part))
    return rows


def says_yes(answer: str) -> bool:
    """As POPE reads answers: the first word."""
    return answer.split()[:1] == ["yes"]


def counted(text: str) -> str | None:
    """The number inside the answer tags, or None."""
    match = re.search(r"<answer>\s*(\d+)\s*</answer>", text)
    return match.group(1) if match else None
