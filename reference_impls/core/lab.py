"""What a data step is given: the drawn world, models, annotators and sources of one round."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reference_impls.core.data.annotators import Annotator, Measured, cannot_err, knows_the_scene
from reference_impls.core.data.rows import Tally, pair_row, prompt_row
from reference_impls.core.data.rules import last_number
from reference_impls.core.data.sources import SOURCES
from reference_impls.core.method import Row
from reference_impls.core.model.policy import Policy
from reference_impls.core.worlds.protocol import Episodic, Item, Media, Task, World, media_of

if TYPE_CHECKING:
    from reference_impls.core.judges import Workshop
    from reference_impls.core.train.head import TrainedHead


@dataclass
class Lab:
    """One round of a method in a world.

    policy: the model as it is now. base: the model before any training. workshop: makes annotators
    and sources, trained in this world and cached. round: 0 at first. count: scenes to draw.
    trained: heads that earlier stages of the method trained, by the name of their stage. selecting:
    answers are chosen (a SelectStage), so that nobody who knows the scene may be asked.
    """

    world: World[Any]
    task: Task[Any]
    policy: Policy
    base: Policy
    workshop: Workshop
    seed: int
    count: int
    split: str = "pairs"
    round: int = 0
    trained: Mapping[str, TrainedHead] = field(default_factory=dict)
    selecting: bool = False
    tally: Tally = field(default_factory=Tally)

    @cached_property
    def items(self) -> list[Item[Any]]:
        """What is asked, one item per scene of this round."""
        scenes = self.world.draw(self.split, self.count * (self.round + 1), self.seed)
        return self.task.items(scenes[self.count * self.round :], self.seed)

    @cached_property
    def media(self) -> list[Media]:
        """What each item's scene shows; nothing where its prompt shows nothing."""
        return [media_of(self.world, item) for item in self.items]

    def about(self, scenes: Sequence[Any]) -> Lab:
        """The same round asked about other scenes; it counts into the same tally."""
        other = replace(self)
        other.items = self.task.items(scenes, self.seed)
        return other

    def rng(self, purpose: str) -> random.Random:
        """A fresh random stream; streams of different purposes are independent."""
        name = f"{self.world.name}/{self.world.version}/{self.split}/{self.seed}"
        return random.Random(f"{name}/{self.round}/{purpose}")

    def answer(self, temperature: float | None = 1.0, policy: Policy | None = None) -> list[str]:
        """One answer to each item, by the policy of this round or another one."""
        return (policy or self.policy).answer_items(
            self.items, self.media, temperature, self.task.max_new_tokens
        )

    def annotator(self, kind: str) -> Annotator:
        """Who judges, by the survey's annotation types: `human`, `closed-source-model`, ...

        Everything that it says is compared with the truth and counted in `tally`. Raises
        LookupError with what there is, ValueError where answers are being chosen and somebody who
        knows the scene is asked: that would measure the truth, not the method.
        """
        annotator = self.workshop.annotator(kind, self)
        if self.selecting:
            if cannot_err(annotator):
                raise ValueError(f"best-of-n by an annotator that cannot err ({kind}) is refused")
            if knows_the_scene(annotator):
                raise ValueError(f"best-of-n by {kind}: who chooses is shown the picture alone")
            return annotator
        return Measured(annotator, self.task, self.tally.agreement(kind))

    def source(self, name: str) -> list[str]:
        """One answer to each item by a source: `policy`, `ensemble`, `writer`, `retrieval`, ...

        Raises LookupError with what there is.
        """
        if name not in SOURCES:
            raise LookupError(f"no source '{name}'; there are {', '.join(SOURCES)}")
        answers = SOURCES[name](self)
        scores = (self.task.score(i, a) for i, a in zip(self.items, answers, strict=True))
        self.tally.source(name, scores)
        return answers

    def best_of(self, kind: str, candidates: Sequence[Sequence[str]]) -> list[str]:
        """The answer to each item that an annotator rates highest, of several sets of answers.

        Raises ValueError for an annotator that cannot err.
        """
        annotator = self.annotator(kind)
        if isinstance(annotator, Measured) and cannot_err(annotator.annotator):
            raise ValueError(f"best-of-n by an annotator that cannot err ({kind}) is refused")
        rated = [annotator.scores(self.items, self.media, answers) for answers in candidates]
        best = []
        for place in range(len(self.items)):
            first = max(range(len(candidates)), key=lambda number: rated[number][place])
            best.append(candidates[first][place])
        return best

    def pair(self, place: int, chosen: str, rejected: str, **more: Any) -> Row:
        """The pair of an item, by its place."""
        return pair_row(self.items[place], self.media[place], chosen, rejected, **more)

    def prompt(self, place: int, **more: Any) -> Row:
        """The row of an item without answers."""
        return prompt_row(self.items[place], self.media[place], **more)

    def environments(self, rows: Sequence[Row]) -> list[Any]:
        """A gymnasium environment for each row, whose episodes begin where its item's does.

        Raises ValueError where answers of the task have no consequences.
        """
        if not isinstance(self.task, Episodic):
            raise ValueError(
                f"task '{self.task.id}' of the world {self.world.name} is asked once: "
                "it has no environment"
            )
        return [self.task.environment(row["item"]) for row in rows]

    def margins(self, values: Sequence[float]) -> list[float]:
        """Margins as the world's condition has them: of their own pairs, or shuffled over them."""
        found = list(values)
        if "margins" in self.world.conditions and self.world.level("margins"):
            self.rng("margins").shuffle(found)
        return found

    def questions(self) -> list[Row]:
        """The items as questions with a true number, and a worked answer for who imitates."""
        return [
            self.prompt(place, answer=str(last_number(item.truth)), worked=item.truth)
            for place, item in enumerate(self.items)
        ]

    def sampled_pairs(
        self, annotator: Annotator, first: Sequence[str], second: Sequence[str]
    ) -> list[Row]:
        """Pairs of two answers to each item, ordered by an annotator, with the margin that it saw.

        Equal answers make no pair.
        """
        choices = annotator.compare(self.items, self.media, first, second)
        rows = []
        for place, choice in enumerate(choices):
            if first[place] == second[place]:
                self.tally.count("equal answers dropped")
                continue
            pair = (first[place], second[place])
            chosen, rejected = pair if choice.first else pair[::-1]
            rows.append(self.pair(place, chosen, rejected, margin=choice.margin))
        return rows

    def corrected_pairs(self, annotator: Annotator, answers: Sequence[str]) -> list[Row]:
        """Pairs of a corrected answer and the answer itself; where nothing is corrected, none."""
        corrected = annotator.correct(self.items, self.media, answers)
        rows = []
        for place, (better, answer) in enumerate(zip(corrected, answers, strict=True)):
            if better == answer:
                self.tally.count("nothing corrected")
            else:
                self.tally.count("corrected")
                rows.append(self.pair(place, chosen=better, rejected=answer))
        return rows
