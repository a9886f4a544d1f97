"""What the lab asks of a world. To add one:

1. make `worlds/<name>.py`, or a package `worlds/<name>/`; nothing else is touched (worlds are found
   by listing this folder, tests of the contract run on all that are found);
2. a frozen dataclass for a scene: everything that is true of one example, and nothing that is drawn
   later (the seed of a picture's noise is part of it);
3. a class with the members of `World`: `draw` makes scenes of a split, each split by its own random
   stream; `show` turns a scene into pictures, sound, video or a volume, the same at every call;
   `tasks` say what can be asked and judge the answers; `conditions` are the knobs that a claim is
   tested across (`Conditioned` has them to inherit); `base(seed)` is the folder of a model that was
   trained in the world;
4. one class with the members of `Task` for each thing that is asked. `items` pairs scenes with
   prompts; answers are judged by `score` (one answer, 0 to 1), `judge` (its segments, right or
   wrong), `metrics` (a set of answers); `correct` is what a careful human makes of an answer,
   `distort` what a plausible liar makes of it;
   A task whose answers have consequences is `Episodic`, too: whole episodes are played and judged;
5. `WORLD = <the class>()` at the end of the module, which must not import torch when imported;
6. a base: `pages` of lessons handed to `reference_impls.core.model.base.train`, or any checkpoint.

A frozen world is a pure function of (name, version, seed). Whatever alters a scene, a picture, a
text or a metric is a new version, and every method is rerun.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

S = TypeVar("S")
C = TypeVar("C", bound="Conditioned")
Role = Literal["system", "user", "assistant"]
Pixels = NDArray[np.uint8]
SPLITS = ("pairs", "validation", "test")

# In a turn's text each marker shows the next medium of that sort.
IMAGE, VIDEO, AUDIO, VOLUME = "<image>", "<video>", "<audio>", "<volume>"
MARKERS = {IMAGE: "image", VIDEO: "video", AUDIO: "audio", VOLUME: "volume"}


# --- what a model is shown and asked ----------------------------------------------------------


@dataclass(frozen=True)
class Media:
    """What a scene shows, in the order of the markers in a prompt; empty where it shows none."""

    images: tuple[Image.Image, ...] = ()
    video: Pixels | None = None  # (frames, height, width, 3)
    frames_per_second: float = 0.0
    audio: NDArray[np.float32] | None = None  # (samples,) in [-1, 1]
    sampling_rate: int = 0
    volume: Pixels | None = None  # (slices, height, width)


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation; markers such as `<image>` stand where media are shown."""

    role: Role
    text: str


Prompt = tuple[Turn, ...]  # ends with a user's turn; earlier ones are system and history


def ask(text: str, *, images: int = 1, system: str = "") -> Prompt:
    """A prompt of one user's turn, after its pictures."""
    shown = " ".join([*[IMAGE] * images, text])
    return (*((Turn("system", system),) if system else ()), Turn("user", shown))


def conversation(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt as `apply_chat_template` and TRL take it: roles with typed parts."""
    pattern = "|".join(re.escape(marker) for marker in MARKERS)
    messages: list[dict[str, Any]] = []
    for turn in prompt:
        parts: list[dict[str, str]] = []
        for piece in re.split(f"({pattern})", turn.text):
            if piece in MARKERS:
                parts.append({"type": MARKERS[piece]})
            elif piece.strip():
                parts.append({"type": "text", "text": piece.strip()})
        messages.append({"role": turn.role, "content": parts})
    return messages


def images_shown(prompt: Prompt) -> int:
    """How many pictures a prompt shows; 0 for one that is asked without."""
    return sum(turn.text.count(IMAGE) for turn in prompt)


def shows_media(prompt: Prompt) -> bool:
    """Whether a prompt shows anything beside words."""
    return any(marker in turn.text for turn in prompt for marker in MARKERS)


@dataclass(frozen=True)
class Item(Generic[S]):
    """One thing asked about one scene."""

    scene: S
    prompt: Prompt
    truth: str  # a right answer of a writer who sees everything
    kind: str = ""  # a group that metrics tell apart, such as `suggested` negatives
    subject: str = ""  # what is asked about, such as `red circle`


@dataclass(frozen=True)
class Segment:
    """Words `start` to `stop` (excluded) of an answer split at blanks, and whether it is right."""

    start: int
    stop: int
    right: bool


class Task(Protocol[S]):
    """Something a model can be asked in a world, with its judge.

    `sight` is the least visibility that a writer or judge perceives: 0.0 sees everything, 1.0 what
    is plain only. A world that hides nothing ignores it.
    """

    @property
    def id(self) -> str: ...
    @property
    def says(self) -> str:
        """One line for `mmalign worlds`."""

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def tuned_by(self) -> str:
        """The metric that settings are chosen by, on the validation split; higher is better."""

    @property
    def guarded_by(self) -> tuple[str, ...]:
        """Metrics that show when `tuned_by` was bought at the cost of something else."""

    def items(self, scenes: Sequence[S], seed: int = 0) -> list[Item[S]]:
        """At least one item per scene, in the order of the scenes; pure in (scenes, seed)."""

    def parses(self, item: Item[S], answer: str) -> bool:
        """Whether the answer has the form that was asked for, true or not."""

    def score(self, item: Item[S], answer: str, sight: float = 0.0) -> float:
        """How good one answer is, in [0, 1]; the truth gets 1."""

    def judge(self, item: Item[S], answer: str, sight: float = 0.0) -> list[Segment]:
        """The answer's segments that claim something, right or wrong."""

    def correct(self, item: Item[S], answer: str, sight: float = 0.0) -> str:
        """The answer with what is wrong mended and the rest kept; the truth stays as it is."""

    def distort(self, item: Item[S], answer: str, rng: random.Random) -> str:
        """The answer with one claim made wrong, in the same form."""

    def metrics(self, items: Sequence[Item[S]], answers: Sequence[str]) -> dict[str, float]:
        """Of one answer per item; every name is stable, 0.0 stands for an empty group."""


# --- episodes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode(Generic[S]):
    """A whole episode: the item that it began with, each answer and what it earned."""

    item: Item[S]
    answers: tuple[str, ...]
    rewards: tuple[float, ...]

    @property
    def total(self) -> float:
        """The sum of its rewards, not discounted."""
        return sum(self.rewards)


class Episodic(ABC, Generic[S]):
    """What a task is, too, whose answers have consequences: an item stands in an episode.

    A class of its own, and no part of `Task`: most tasks are asked once.
    """

    @abstractmethod
    def environment(self, item: Item[S]) -> Any:
        """A `gymnasium.Env` whose episodes begin where the item's does: the same at every call.

        An observation is `{"prompt": str, "images": (array, ...)}` with an `<image>` in the prompt
        for each picture, an action the text of an answer; the last `info` has `success`.
        """

    @abstractmethod
    def episode_metrics(self, episodes: Sequence[Episode[S]]) -> dict[str, float]:
        """Of whole episodes; every name is stable, and none is one of `metrics`."""


# --- conditions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Condition:
    """A knob of a world: what it changes, and its levels by name with their values."""

    id: str
    says: str
    changes: Literal["scenes", "prompts", "data", "annotator"]
    levels: Mapping[str, float]
    default: str


# Read by annotators and data steps in every world.
ANNOTATION = (
    Condition(
        "annotator-error",
        "chance that a judge errs on a pair whose scores are equal; halved by every 0.1 of gap",
        "annotator",
        {"0": 0.0, "0.1": 0.1, "0.25": 0.25, "0.4": 0.4},
        "0.25",
    ),
    Condition(
        "margins",
        "margins belong to their pairs, or are shuffled over them",
        "annotator",
        {"calibrated": 0.0, "shuffled": 1.0},
        "calibrated",
    ),
    Condition(
        "length-bias",
        "score that a judge adds per word of an answer",
        "annotator",
        {"none": 0.0, "weak": 0.005, "strong": 0.02},
        "none",
    ),
    Condition(
        "sight",
        "least visibility that writers and judges perceive",
        "annotator",
        {"all": 0.0, "faint": 0.3, "plain": 1.0},
        "all",
    ),
    Condition(
        "image",
        "whether training shows the picture",
        "data",
        {"kept": 1.0, "removed": 0.0},
        "kept",
    ),
)


def settled(conditions: Iterable[Condition], levels: Mapping[str, str]) -> dict[str, str]:
    """The level of every condition: the given ones, else the defaults.

    Raises ValueError, with what there is, for a condition or level that does not exist.
    """
    known = {condition.id: condition for condition in conditions}
    for name, level in levels.items():
        if name not in known:
            raise ValueError(f"no condition {name!r}: there are {', '.join(known)}")
        if level not in known[name].levels:
            there = ", ".join(known[name].levels)
            raise ValueError(f"condition {name} has no level {level!r}: there are {there}")
    return {name: levels.get(name, condition.default) for name, condition in known.items()}


@dataclass(frozen=True)
class Conditioned:
    """The members of `World` that tell of its conditions, for a world to inherit: its own ones are
    `knobs`, the levels that differ from the defaults are `given`."""

    knobs: ClassVar[Sequence[Condition]] = ANNOTATION
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def conditions(self) -> Mapping[str, Condition]:
        return {condition.id: condition for condition in self.knobs}

    @property
    def levels(self) -> Mapping[str, str]:
        return settled(self.knobs, self.given)

    def under(self: C, levels: Mapping[str, str]) -> C:
        return replace(self, given=settled(self.knobs, {**self.given, **levels}))

    def level(self, condition: str) -> float:
        return self.conditions[condition].levels[self.levels[condition]]


# --- the world --------------------------------------------------------------------------------


class World(Protocol[S]):
    """A procedurally generated world whose truth is known."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def says(self) -> str:
        """One line for `mmalign worlds`."""

    @property
    def tasks(self) -> Mapping[str, Task[S]]:
        """By id; the first one is what methods train on when they name none."""

    @property
    def probes(self) -> tuple[str, ...]:
        """Tasks that every model is asked besides the one it was trained on."""

    @property
    def conditions(self) -> Mapping[str, Condition]: ...
    @property
    def levels(self) -> Mapping[str, str]:
        """The level that each condition has now."""

    def under(self, levels: Mapping[str, str]) -> World[S]:
        """The world with those levels; ValueError for one that does not exist."""

    def level(self, condition: str) -> float:
        """The value of a condition's level; KeyError where there is no such condition."""

    def draw(self, split: str, count: int, seed: int = 0) -> list[S]:
        """Scenes of a split of `SPLITS`; the first n of a longer draw are those of a shorter one.

        Raises ValueError for a split that does not exist.
        """

    def show(self, scene: S) -> Media: ...

    def alter(self, scene: S, rng: random.Random) -> S:
        """A scene that differs in one thing that can be seen: a hard negative."""

    def base(self, seed: int = 0) -> Path:
        """Folder of a base model; run seeds rotate over the bases that there are.

        Raises FileNotFoundError with the command that makes it.
        """


def media_of(world: World[S], item: Item[S]) -> Media:
    """What an item's scene shows, as its prompt asks for it: nothing where it asks in words."""
    return world.show(item.scene) if shows_media(item.prompt) else Media()


# --- what a base is trained on ----------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """A prompt and the answer that is learnt. A prompt may hold `<image>` markers of its own.

    `heard` is what the model reads of the answer while it learns to say it, word for word as long
    as the answer: a word that is another one there is learnt all the same, but tells nothing about
    the words after it.
    """

    prompt: str
    answer: str
    heard: str = ""


@dataclass(frozen=True)
class Lesson:
    """A conversation of one turn or more; `sees_image=False` for what is asked without one."""

    turns: tuple[Reply, ...]
    sees_image: bool = True

    @classmethod
    def of(cls, prompt: str, answer: str, *, sees_image: bool = True) -> Lesson:
        return cls((Reply(prompt, answer),), sees_image)


@dataclass(frozen=True)
class Page:
    """Pictures (height, width, 3), uint8, and the lessons on them, after a system turn or none.

    `opening` is the user's text that shows the pictures, shared by all lessons: markers, and words
    between them where there are any. It is what `Turn.text` begins with when a task asks.
    """

    images: tuple[Pixels, ...]
    lessons: tuple[Lesson, ...]
    system: str = ""
    opening: str = IMAGE


# --- finding worlds ---------------------------------------------------------------------------


@cache
def worlds() -> dict[str, World[Any]]:
    """Every world of this folder by name: each module or package that has a `WORLD`."""
    package = importlib.import_module("reference_impls.core.worlds")
    found: dict[str, World[Any]] = {}
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        world = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "WORLD", None)
        if world is not None:
            found[world.name] = world
    return found


def world(name: str) -> World[Any]:
    """The world of that name; ValueError with the names that there are."""
    found = worlds()
    if name not in found:
        raise ValueError(f"no world {name!r}: there are {', '.join(found)}")
    return found[name]
