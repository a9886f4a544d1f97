"""What a method asks of a dataset's rows: its views, hooks and losses are tried on one of them.

It is known before any model is loaded: words stand for the tokens of an answer, and every
log-probability is 0.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from reference_impls.core.method import Answer, HeadStage, PairStage, PpoStage, Row, Stage, View

if TYPE_CHECKING:
    from torch import Tensor

    from reference_impls.core.train.forward import ViewBatch

GIVEN = frozenset({"state", "drawn", "lm_loss", "item"})
"""Names that a trainer or a world gives, and no dataset."""


@dataclass(frozen=True)
class Column:
    """How a cell of a column is read; of a prompt, `images` is the column of what it is about.

    plain: numbers or text, which a hook cannot do without. numbers: of columns that it can.
    """

    kind: Literal["images", "prompt", "answer", "plain", "numbers"]
    images: str = ""


@dataclass
class Wants:
    """What was asked for and is not there.

    needed: columns without which a row cannot be trained on. columns: all that would be used, those
    included. problem: what a loss said that could not do without.
    """

    needed: set[str] = field(default_factory=set)
    columns: dict[str, Column] = field(default_factory=dict)
    problem: str = ""


class Asking(dict[str, Any]):
    """A row, or the `extra` of a batch, that notes what is asked of it and it has not."""

    def __init__(self, held: Mapping[str, Any], needed: set[str], used: set[str]) -> None:
        super().__init__(held)
        self.needed, self.used = needed, used

    def __missing__(self, name: str) -> Any:
        self.needed.add(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        if not found:
            self.used.add(str(name))
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        if not super().__contains__(name):
            self.used.add(name)
        return super().get(name, default)


@dataclass(frozen=True)
class InWords:
    """One row's answers by view, in words."""

    views: Sequence[View]
    answers: Mapping[str, Sequence[Answer]]
    masks: Mapping[str, Tensor]


def wants(stages: Sequence[Stage], config: Any, row: Row) -> Wants:
    """What the stages would use and the row, its images opened, has not."""
    found = Wants()
    for stage in stages:
        if isinstance(stage, (PairStage, HeadStage)):
            _try(stage, config, row, found)
        elif isinstance(stage, PpoStage) and stage.scores_of(config) and "answer" not in row:
            # Scores are of sampled answers and cannot be tried; a rule among them compares with it.
            found.columns["answer"] = Column("plain")
    return found


def _try(stage: PairStage | HeadStage, config: Any, row: Row, found: Wants) -> None:
    needed: set[str] = set()
    used: set[str] = set()
    views = stage.views_of(config)
    kinds = {view.images: Column("images") for view in views}
    kinds |= {view.prompt: Column("prompt", view.images) for view in views}
    kinds |= {view.response: Column("answer") for view in views}
    try:
        ready: Row = Asking(row, needed, used)
        if stage.prepare is not None:
            ready = Asking(stage.prepare(ready, random.Random(0), config), needed, used)
        needed |= {name for view in views for name in view.columns} - set(ready)
        if not needed:
            _lose(stage, config, views, ready, needed, used)
    except (LookupError, ValueError) as error:
        if not needed:
            found.problem = found.problem or " ".join(str(error).split())
    found.needed |= needed
    for name in (needed | used) - GIVEN - set(row):
        found.columns[name] = kinds.get(name, Column("plain" if name in needed else "numbers"))


def _lose(
    stage: PairStage | HeadStage,
    config: Any,
    views: Sequence[View],
    row: Row,
    needed: set[str],
    used: set[str],
) -> None:
    """Take the loss of one row, of which only what it asks for matters."""
    import torch

    from reference_impls.core.data.rows import text
    from reference_impls.core.train.pairs import numbers_of, pair_batch, token_columns

    answers = {view.name: [in_words(text(row[view.response]))] for view in views}
    masks = {name: torch.ones(1, len(each[0].ids)) for name, each in answers.items()}
    tokens = token_columns(
        stage.tokens, [row], cast("ViewBatch", InWords(views, answers, masks)), config
    )
    extra = numbers_of([dict(row)])
    if isinstance(stage, PairStage):
        extra |= {f"{view.name}_kl": torch.zeros(1) for view in views if view.vocabulary_kl}
    nothing = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    reference = {view.name: nothing[view.name] for view in views if view.reference}
    batch = pair_batch(nothing, masks, reference, tokens, extra)
    given = dict(batch.extra)
    while True:  # what is missed is given, to see what else is
        before = set(needed)
        batch = replace(batch, extra=Asking(given, needed, used))
        try:
            if isinstance(stage, HeadStage):
                size = stage.outputs
                outputs = {name: torch.zeros(*mask.shape, size) for name, mask in masks.items()}
                stage.loss(outputs, batch, config)
            else:
                stage.loss(batch, config)
            return
        except (LookupError, ValueError):
            if needed == before:
                raise
            given |= {name: torch.zeros(1) for name in needed - before}


def in_words(text: str) -> Answer:
    """An answer with a token per word."""
    spans = [match.span() for match in re.finditer(r"\S+\s*", text)] or [(0, len(text))]
    return Answer(text, list(range(len(spans))), spans)
