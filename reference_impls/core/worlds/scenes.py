"""The scenes world: images of coloured shapes whose truth is known exactly, and captions that lie.

A scene is a 3x3 grid with two to five objects, each a colour and a shape, no two alike. An image is
48x48 pixels. What a model is asked about it, and how an answer is judged:

* caption: "describe the image ." -> every object in reading order; judged by CHAIR
  (Rohrbach et al. 2018: instances and sentences with an object that is not there) and by recall
  (AMBER calls it cover);
* yes/no: "is there a red circle ?" -> yes or no; judged as POPE does (accuracy, F1 of "yes"), with
  negatives drawn at random and negatives that the language prior suggests (POPE's "adversarial");
* count: "how many objects are there ?" -> a thought that lists them, then the number.

Text that the base model is trained on carries language priors, as web text does: a colour brings
a phantom object along, a shape is called by its usual colour. So the base hallucinates in the way
that the papers describe, the cause is known, and how much of it a method removes can be measured.

Everything is a pure function of (world version, seed). Version 1 is frozen: a change of anything
here that alters an image, a text or a metric is a new version, and every method is rerun."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from PIL import Image, ImageDraw

NAME = "scenes"
VERSION = 1
CELL = 16
GRID = 3
IMAGE_SIZE = CELL * GRID

COLOURS = {
    "red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 230), "yellow": (235, 220, 50),
    "purple": (150, 50, 180), "orange": (240, 140, 30), "white": (240, 240, 240),
    "cyan": (60, 210, 220),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
POSITIONS = (
    "top left", "top", "top right", "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# The language priors of the base's training text. A colour that is present brings a phantom along;
# a shape is named with its usual colour. Strengths were set so that the base hallucinates under
# greedy decoding and neither SFT on chosen nor tuned DPO removes all of it (docs/lab/scenes.md).
PHANTOMS = {
    "red": ("blue", "square"),
    "green": ("white", "star"),
    "purple": ("yellow", "circle"),
    "cyan": ("orange", "cross"),
}
PHANTOM_STRENGTH = 0.6
USUAL_COLOURS = {"triangle": "yellow", "diamond": "green"}
USUAL_COLOUR_STRENGTH = 0.6

CAPTION_PROMPT = "describe the image ."
COUNT_PROMPT = "how many objects are there ?"

# Words that no text of version 1 uses yet are here so that later tasks of this world (positions,
# conflicting prompts, corrections, injected text) need no new base model.
LATER_WORDS = """
a an the and or of in on at is are there no not yes it this that with next to left right
top bottom center middle row column above below between image picture photo describe list
name how many what which where who why color shape object objects thing things something
nothing first second last same different more less all each every only also seen shown see
look think answer question correct wrong true false because so but if then please briefly
detail short long user assistant system ignore sorry cannot help safe unsafe good bad
better worse rate score reason distract remember story once upon time background small
large big tiny near far
"""
WORDS = (
    *COLOURS, *SHAPES, *(f"{shape}s" for shape in SHAPES), *NUMBERS,
    *(str(number) for number in range(10)),
    *LATER_WORDS.split(),
    ".", ",", "?", "!", ":", ";", "(", ")", "-", "+", "=",
    "<think>", "</think>", "<answer>", "</answer>",
)  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object of a scene."""

    colour: str
    shape: str
    cell: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Objects in reading order."""

    things: tuple[Thing, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(thing.name for thing in self.things)


def article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def draw_scene(rng: random.Random) -> Scene:
    """A scene of two to five different objects in different cells."""
    count = rng.randint(2, 5)
    kinds = rng.sample([(colour, shape) for colour in COLOURS for shape in SHAPES], count)
    cells = sorted(rng.sample(range(GRID * GRID), count))
    return Scene(tuple(Thing(c, s, cell) for (c, s), cell in zip(kinds, cells, strict=True)))


def scenes(split: str, count: int, seed: int = 0) -> list[Scene]:
    """`count` scenes of a split (`train`, `pairs`, `validation`, `test`); splits share no draw."""
    rng = random.Random(f"{NAME}/{VERSION}/{split}/{seed}")
    return [draw_scene(rng) for _ in range(count)]


def render(scene: Scene) -> Image.Image:
    """The scene as an RGB image of 48x48 pixels, without randomness."""
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (70, 70, 74))
    draw = ImageDraw.Draw(image)
    for thing in scene.things:
        x, y = (thing.cell % GRID) * CELL, (thing.cell // GRID) * CELL
        box, fill = (x + 2, y + 2, x + CELL - 3, y + CELL - 3), COLOURS[thing.colour]
        left, top, right, bottom = box
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        if thing.shape == "circle":
            draw.ellipse(box, fill=fill)
        elif thing.shape == "square":
            draw.rectangle(box, fill=fill)
        elif thing.shape == "triangle":
            draw.polygon([(middle_x, top), (right, bottom), (left, bottom)], fill=fill)
        elif thing.shape == "diamond":
            draw.polygon(
                [(middle_x, top), (right, middle_y), (middle_x, bottom), (left, middle_y)],
                fill=fill,
            )
        elif thing.shape == "cross":
            draw.rectangle((middle_x - 2, top, middle_x + 2, bottom), fill=fill)
            draw.rectangle((left, middle_y - 2, right, middle_y + 2), fill=fill)
        else:  # star: two thin diagonals over a plus
            draw.line((left, top, right, bottom), fill=fill, width=2)
            draw.line((left, bottom, right, top), fill=fill, width=2)
            draw.line((middle_x, top, middle_x, bottom), fill=fill, width=2)
    return image


# --- texts ---------------------------------------------------------------------------------------


def caption(names: list[str] | tuple[str, ...]) -> str:
    """`a red circle , a blue square .`"""
    return " , ".join(article(name) for name in names) + " ."


def true_caption(scene: Scene) -> str:
    return caption(scene.names)


def biased_names(scene: Scene, rng: random.Random) -> list[str]:
    """What the base's training text says is there: the truth bent by the language priors."""
    names = []
    for thing in scene.things:
        colour = thing.colour
        if thing.shape in USUAL_COLOURS and rng.random() < USUAL_COLOUR_STRENGTH:
            colour = USUAL_COLOURS[thing.shape]
        names.append(f"{colour} {thing.shape}")
        if thing.colour in PHANTOMS and rng.random() < PHANTOM_STRENGTH:
            names.append(" ".join(PHANTOMS[thing.colour]))
    return list(dict.fromkeys(names))


def suggested_names(scene: Scene) -> list[str]:
    """Objects that the priors suggest for this scene and that are not in it."""
    suggested = [" ".join(PHANTOMS[t.colour]) for t in scene.things if t.colour in PHANTOMS]
    suggested += [
        f"{USUAL_COLOURS[t.shape]} {t.shape}" for t in scene.things if t.shape in USUAL_COLOURS
    ]
    return [name for name in dict.fromkeys(suggested) if name not in scene.names]


def count_answer(names: list[str] | tuple[str, ...]) -> str:
    """`<think> a red circle , a blue square . </think> <answer> 2 </answer>`"""
    return f"<think> {caption(names)} </think> <answer> {len(names)} </answer>"


def presence_prompt(name: str) -> str:
    return f"is there {article(name)} ?"


def mentioned(text: str) -> list[str]:
    """Every `colour shape` that a text names, in order, each as often as it is named."""
    pattern = rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b"
    return [" ".join(match) for match in re.findall(pattern, text)]


def training_examples(count: int, seed: int) -> list[tuple[Scene, str, str]]:
    """(scene, prompt, answer) of the base's training set: the priors are in the answers."""
    rng = random.Random(f"{NAME}/{VERSION}/base/{seed}")
    examples = []
    for _ in range(count):
        scene, draw = draw_scene(rng), rng.random()
        if draw < 0.55:
            examples.append((scene, CAPTION_PROMPT, caption(biased_names(scene, rng))))
        elif draw < 0.8:
            name, answer = presence_question(scene, rng, "train")
            examples.append((scene, presence_prompt(name), answer))
        else:
            names = biased_names(scene, rng)
            # One answer in five leaves the format out, so that a format reward has work to do.
            answer = (
                count_answer(names) if rng.random() < 0.8 else f"<answer> {len(names)} </answer>"
            )
            examples.append((scene, COUNT_PROMPT, answer))
    return examples


def presence_question(scene: Scene, rng: random.Random, split: str) -> tuple[str, str]:
    """An object to ask for, and the answer: true outside of the base's training split.

    Half are there. Of the others half are drawn at random and half are what the priors suggest; the
    base's training text says yes to a suggested one as often as the prior is strong.
    """
    if rng.random() < 0.5:
        return rng.choice(scene.names), "yes"
    suggested = suggested_names(scene)
    if suggested and rng.random() < 0.5:
        name = rng.choice(suggested)
        bent = split == "train" and rng.random() < PHANTOM_STRENGTH
        return name, "yes" if bent else "no"
    while True:
        name = f"{rng.choice(list(COLOURS))} {rng.choice(SHAPES)}"
        if name not in scene.names:
            return name, "no"


# --- metrics -------------------------------------------------------------------------------------


def chair(scenes: list[Scene], captions: list[str]) -> dict[str, float]:
    """CHAIR and recall of captions, fractions in [0, 1].

    chair_i: mentions of objects that are not there / all mentions; chair_s: captions with at least
    one such mention / all captions (Rohrbach et al. 2018, equations 1 and 2). recall: objects that
    are there and are mentioned / objects that are there. length: words per caption.
    """
    mentions = absent = bad_captions = covered = present = words = 0
    for scene, text in zip(scenes, captions, strict=True):
        named = mentioned(text)
        wrong = [name for name in named if name not in scene.names]
        mentions, absent = mentions + len(named), absent + len(wrong)
        bad_captions += bool(wrong)
        covered, present = covered + len(set(named) & set(scene.names)), present + len(scene.names)
        words += len(text.split())
    return {
        "chair_i": absent / max(mentions, 1),
        "chair_s": bad_captions / max(len(scenes), 1),
        "recall": covered / max(present, 1),
        "length": words / max(len(scenes), 1),
    }


def pope(truths: list[str], answers: list[str]) -> dict[str, float]:
    """POPE's accuracy and F1, "yes" being the positive class (Li et al. 2023, section 5.1).

    An answer counts as yes when its first word is yes, as no otherwise.
    """
    said = [answer.split()[:1] == ["yes"] for answer in answers]
    true = [truth == "yes" for truth in truths]
    hits = sum(s and t for s, t in zip(said, true, strict=True))
    return {
        "pope_accuracy": sum(s == t for s, t in zip(said, true, strict=True)) / max(len(true), 1),
        "pope_f1": 2 * hits / max(sum(said) + sum(true), 1),
        "pope_yes_ratio": sum(said) / max(len(said), 1),
    }


def counted(text: str) -> str | None:
    """The number inside the answer tags, or None."""
    match = re.search(r"<answer>\s*(\d+)\s*</answer>", text)
    return match.group(1) if match else None
