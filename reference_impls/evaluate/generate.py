"""Answers of a model to the questions of a benchmark, in small batches that are written at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from reference_impls.core.data.images import ImageProblem, opened
from reference_impls.core.model.encode import Encoder, EncodingError
from reference_impls.core.model.generation import generate
from reference_impls.core.model.load import load
from reference_impls.evaluate.benchmark import Question
from reference_impls.evaluate.files import BadInput
from reference_impls.evaluate.predictions import named

PLACE = "{question}"
"""Stands in a prompt where the benchmark's own question goes."""
EVERY = 10.0
"""Seconds between two lines that say how far it is."""


@dataclass(frozen=True)
class Asking:
    """How a model is asked: greedily, each question by itself."""

    model: str
    images: Path
    prompt: str = PLACE
    device: str = "cpu"
    dtype: str = "float32"
    batch_size: int = 4
    max_new_tokens: int = 16


def check_images(questions: Sequence[Question], folder: Path) -> None:
    """Raises BadInput where an image is not there, before a model is loaded."""
    names = dict.fromkeys(question.image for question in questions)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"{folder}: {len(missing)} of {len(names)} images are not there, the first is "
            f"'{missing[0]}'; name their folder (--image-root)"
        )


def answers(
    asked: Sequence[Question], asking: Asking, note: Callable[[str], None]
) -> Iterator[list[tuple[Question, str]]]:
    """Batches of questions with their answers.

    Raises BadInput for a model that cannot be used, and for an image or a question that it cannot
    be given.
    """
    try:
        model, processor = load(asking.model, asking.device, asking.dtype)
        encoder = Encoder(processor)
    except ModuleNotFoundError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise BadInput(f"--model: {error}") from error
    began = said = time.monotonic()
    for start in range(0, len(asked), asking.batch_size):
        part = asked[start : start + asking.batch_size]
        pictures = []
        for question in part:
            try:
                pictures.append([opened(question.image, asking.images)])
            except ImageProblem as error:
                raise BadInput(f"{named(question)}: {error}") from None
        try:
            found = generate(
                model,
                encoder,
                [messages(asking.prompt, question) for question in part],
                pictures,
                max_new_tokens=asking.max_new_tokens,
                batch_size=asking.batch_size,
            )
        except EncodingError as error:
            raise BadInput(f"one of {named(part[0])} to {named(part[-1])}: {error}") from None
        yield list(zip(part, found, strict=True))
        done, now = start + len(part), time.monotonic()
        if now - said >= EVERY and done < len(asked):
            left = (now - began) / done * (len(asked) - done)
            note(f"{done} of {len(asked)} answers, {minutes(left)} left")
            said = now


def messages(prompt: str, question: Question) -> list[dict[str, object]]:
    """The user's turn: the image, then the text."""
    text = prompt.replace(PLACE, question.text)
    parts = [{"type": "image"}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


def minutes(seconds: float) -> str:
    """A length of time for a reader."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
