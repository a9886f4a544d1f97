"""Episodes in gymnasium environments, in which a model's answers are the actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from reference_impls.core.method import Row
from reference_impls.core.worlds.protocol import ask, conversation, images_shown

MOST_STEPS = 1000
"""Steps of an episode, at most: an environment that never ends is an error of its own."""
Answers = Callable[[Sequence[Row], int], Sequence[str]]
"""(rows, stream of sampling seeds) -> an answer to each."""


@dataclass(frozen=True)
class Step:
    """One step: which episode, the how manieth of it, what was asked and shown, the answer that was
    given, and what came of it."""

    episode: int
    number: int
    row: Row
    answer: str
    reward: float


@dataclass(frozen=True)
class Played:
    """Steps of several episodes, by episode and number; successes (episodes,), where it is known of
    each whether it ended well."""

    steps: list[Step]
    successes: Tensor | None


def observed(observation: Mapping[str, Any], row: Row) -> Row:
    """An observation as a row to be answered: columns `prompt` and `images`; others as in `row`.

    Raises ValueError where the prompt's markers are not as many as its pictures.
    """
    images = [
        each if isinstance(each, Image.Image) else Image.fromarray(each)
        for each in observation["images"]
    ]
    prompt = observation["prompt"]
    turns = ask(prompt, images=0)
    if images_shown(turns) != len(images):
        raise ValueError(
            f"an environment shows {len(images)} pictures, and its prompt has "
            f"{images_shown(turns)} markers for them"
        )
    return {**row, "prompt": conversation(turns), "images": images}


def play(environments: Sequence[Any], rows: Sequence[Row], answers: Answers, stream: int) -> Played:
    """One episode in each environment, begun by the row's `seed`; all running ones are answered
    together. `stream` is that of the first step's answers.

    Raises ValueError where an environment is missing or does not end.
    """
    if len(environments) != len(rows):
        raise ValueError(f"{len(environments)} environments for {len(rows)} rows")
    now = {
        place: observed(each.reset(seed=row.get("seed"))[0], row)
        for place, (each, row) in enumerate(zip(environments, rows, strict=True))
    }
    steps: list[Step] = []
    endings: dict[int, Mapping[str, Any]] = {}
    for number in range(MOST_STEPS):
        if not now:
            break
        given = answers(list(now.values()), stream + SPREAD * number)
        following: dict[int, Row] = {}
        for (place, row), answer in zip(now.items(), given, strict=True):
            seen, reward, terminated, truncated, info = environments[place].step(answer)
            steps.append(Step(place, number, row, answer, float(reward)))
            if terminated or truncated:
                endings[place] = info
            else:
                following[place] = observed(seen, rows[place])
        now = following
    if now:
        raise ValueError(f"an episode did not end in {MOST_STEPS} steps")
    for each in environments:
        each.close()
    steps.sort(key=lambda step: (step.episode, step.number))
    known = ["success" in endings[place] for place in range(len(rows))]
    if not all(known):
        return Played(steps, None)
    ends = [float(endings[place]["success"]) for place in range(len(rows))]
    return Played(steps, torch.tensor(ends))


SPREAD = 1_000_000
"""How far the sampling streams of an episode's steps lie apart: a batch of samples has one stream
per process, and a run fewer of these than that."""
