"""Annotators that are models, trained in the world, and the workshop that makes and keeps them.

None of them knows the scene: they err as they err, and how often is measured with each use.

| kind | who |
| --- | --- |
| `human`, `closed-source-model` | sees the scene, and errs at a stated rate (`data.annotators`) |
| `rule` | whether there is nothing to correct |
| `open-source-model` | another base of the world, asked about each claim |
| `clip` | a small CLIP of the world's pictures and true texts |
| `reward-model` | a head on the base, trained on a human's comparisons |
| `blind-reward-model` | the same, trained and asked beside a blank picture |
| `self` | the policy's own likelihood of an answer, per token |
| `self-critique` | the policy, asked about each claim of an answer |
"""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from reference_impls.core import cache
from reference_impls.core.data.annotators import (
    STRONG,
    Annotator,
    ByScore,
    Rule,
    level_of,
    onlooker,
)
from reference_impls.core.data.images import blank
from reference_impls.core.data.rows import said
from reference_impls.core.data.situations import with_pictures
from reference_impls.core.method import HeadStage, Row, View
from reference_impls.core.model.load import load
from reference_impls.core.model.policy import Policy
from reference_impls.core.objective.reward import pairwise
from reference_impls.core.settings import TrainSettings, lab
from reference_impls.core.train import clip, forward
from reference_impls.core.train.checkpoints import begin
from reference_impls.core.train.head import TrainedHead, load_head, train_head
from reference_impls.core.train.reference import fingerprint
from reference_impls.core.worlds.protocol import (
    Item,
    Media,
    Prompt,
    Segment,
    Task,
    conversation,
)

if TYPE_CHECKING:
    from reference_impls.core.lab import Lab

BATCH = 64
COMPARISONS = lab(3e-4, steps=150)
"""Settings that the annotator `reward-model` is trained with: the best of five, on one seed."""
OWN_SCENES = 1000
"""Added to a seed: scenes of the annotators' own, which no method trains on."""


@runtime_checkable
class AsksClaims(Protocol):
    """A task whose claims can be put as questions to be answered yes or no."""

    def question_of(self, item: Item[Any], claim: str) -> Prompt: ...


def rows_of(
    items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
) -> list[Row]:
    """Rows with `response`, as models are shown them."""
    return [
        {"images": list(shown.images), "prompt": conversation(item.prompt), "response": answer}
        for item, shown, answer in zip(items, media, answers, strict=True)
    ]


@torch.no_grad()
def scored(policy: Policy, rows: Sequence[Row], columns: Sequence[str]) -> dict[str, torch.Tensor]:
    """By column, (N, 2): the log-probability of each row's answer there, and its tokens."""
    views = tuple(View(name, response=name, reference=False) for name in columns)
    scorer = forward.Scorer(policy.encoder, views)
    device = next(policy.model.parameters()).device
    training = policy.model.training
    policy.model.eval()
    found: dict[str, list[torch.Tensor]] = {name: [] for name in columns}
    try:
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            batch = scorer.collate(part, range(start, start + len(part))).to(device)
            scores = scorer.score(policy.model, batch)
            for name in columns:
                sums = scores.logps[name].sum(-1), scores.masks[name].sum(-1)
                found[name].append(torch.stack([each.float().cpu() for each in sums], -1))
    finally:
        policy.model.train(training)
    return {name: torch.cat(each) for name, each in found.items()}


@dataclass
class Likelihood(ByScore):
    """A model whose score of an answer is its log-probability per token."""

    kind: str
    policy: Policy
    rng: random.Random

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        found = scored(self.policy, rows_of(items, media, answers), ("response",))["response"]
        return (found[:, 0] / found[:, 1].clamp(min=1)).tolist()


@dataclass
class Questioner(ByScore):
    """A model that is asked about each claim of an answer: yes or no?

    A claim is right where yes is likelier than no; an answer's score is minus the number of claims
    denied (RLAIF-V, arXiv:2405.17220). An answer that claims nothing has 0.
    """

    kind: str
    policy: Policy
    task: Task[Any]
    rng: random.Random

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        judged = self.claims(items, media, answers)
        return [-float(sum(not claim.right for claim in claims)) for claims in judged]

    def claims(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[list[Segment]]:
        """LookupError where the task's claims cannot be asked about."""
        if not isinstance(self.task, AsksClaims):
            raise LookupError(f"{self.kind}: the task {self.task.id} has no questions on claims")
        asked: dict[tuple[int, str], Row] = {}
        found: list[list[tuple[tuple[int, str], Segment]]] = []
        for place, (item, answer) in enumerate(zip(items, answers, strict=True)):
            words = answer.split()
            parts = []
            for segment in self.task.judge(item, answer):
                key = place, " ".join(words[segment.start : segment.stop])
                parts.append((key, segment))
                if key not in asked:
                    prompt = conversation(self.task.question_of(item, key[1]))
                    asked[key] = {
                        "images": list(media[place].images),
                        "prompt": prompt,
                        "yes": said("yes"),
                        "no": said("no"),
                    }
            found.append(parts)
        if not asked:
            return [[] for _ in answers]
        told = scored(self.policy, list(asked.values()), ("yes", "no"))
        yes = (told["yes"][:, 0] > told["no"][:, 0]).tolist()
        right = dict(zip(asked, yes, strict=True))
        return [[replace(s, right=right[key]) for key, s in parts] for parts in found]


@dataclass
class Fit(ByScore):
    """A CLIP: how well a text fits a picture."""

    kind: str
    model: clip.Clip
    rng: random.Random

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        return self.model.fits([shown.images for shown in media], answers)


@dataclass
class Rewarder(ByScore):
    """A trained reward model; a blind one reads question and answer beside a blank picture."""

    kind: str
    head: TrainedHead
    rng: random.Random
    blind: bool = False

    def scores(
        self, items: Sequence[Item[Any]], media: Sequence[Media], answers: Sequence[str]
    ) -> list[float]:
        shown = with_pictures(media, blank) if self.blind else media
        return self.head.rewards(rows_of(items, shown, answers), "response")


# --- how they are made ---------------------------------------------------------------------------


def open_source_model(lab: Lab) -> Annotator:
    """Another base, asked about claims; by its likelihood of an answer where claims cannot be."""
    other = lab.workshop.other_base(lab, 1)
    rng = lab.rng("open-source-model")
    if isinstance(lab.task, AsksClaims):
        return Questioner("open-source-model", other, lab.task, rng)
    return Likelihood("open-source-model", other, rng)


def self_critique(lab: Lab) -> Annotator:
    return Questioner("self-critique", lab.policy, lab.task, lab.rng("self-critique"))


def own_likelihood(lab: Lab) -> Annotator:
    return Likelihood("self", lab.policy, lab.rng("self"))


def clip_of_the_world(lab: Lab) -> Annotator:
    """Trained once for a world, its levels of scenes, and a task."""

    def make(folder: Path) -> None:
        clip.train(lab.world, lab.task, lab.workshop.clip).save(folder)

    parts = {**_world(lab), "recipe": repr(lab.workshop.clip)}
    code = ("train/clip.py", "worlds")
    model = lab.workshop.kept("clip", parts, code, make, clip.Clip.load)
    return Fit("clip", model, lab.rng("clip"))


def reward_model(lab: Lab, blind: bool = False) -> Annotator:
    """Trained once for a base and a human's error: two samples of the base to each of the
    annotators' own scenes, ordered by the human, who sees them."""
    settings = replace(lab.workshop.comparisons, seed=lab.seed)
    kind = "blind-reward-model" if blind else "reward-model"

    def make(folder: Path) -> None:
        scenes = lab.world.draw(lab.split, settings.pairs, OWN_SCENES + lab.seed)
        theirs = replace(lab, policy=lab.base, tally=type(lab.tally)())
        theirs.items = lab.task.items(scenes, OWN_SCENES + lab.seed)
        human = lab.workshop.makers["human"](theirs)
        rows = theirs.sampled_pairs(human, theirs.answer(), theirs.answer())
        if blind:
            rows = [row | {"images": [blank(image) for image in row["images"]]} for row in rows]
        stage = HeadStage(
            name="reward", data=lambda lab, cfg: rows, loss=pairwise, lab=settings, paper=settings
        )
        with tempfile.TemporaryDirectory() as output:
            begin(Path(output), {}, False)
            headed = train_head(
                copy.deepcopy(lab.base.model), lab.base.processor, rows, stage=stage, cfg=None,
                settings=settings, output=Path(output), label=f"annotator {kind}",
            )  # fmt: skip
        headed.save(folder)
        lab.base.processor.save_pretrained(folder)

    parts = {
        **_world(lab), "levels": dict(lab.world.levels), "settings": repr(settings),
        "base": fingerprint(lab.base.model),
    }  # fmt: skip
    code = ("judges.py", "data", "worlds", "model", "train", "objective")
    head = lab.workshop.kept(kind, parts, code, make, load_head)
    return Rewarder(kind, head, lab.rng(kind), blind)


def _world(lab: Lab) -> dict[str, Any]:
    """What a part that is trained in a world depends on: of its conditions, those of scenes."""
    changed = {
        name: lab.world.levels[name]
        for name, condition in lab.world.conditions.items()
        if condition.changes in ("scenes", "prompts")
    }
    return {
        "world": lab.world.name, "version": lab.world.version, "scenes": changed,
        "task": lab.task.id,
    }  # fmt: skip


Maker = Callable[["Lab"], Annotator]
MAKERS: Mapping[str, Maker] = {
    "human": onlooker("human", 1.0),
    "closed-source-model": onlooker("closed-source-model", STRONG),
    "rule": lambda lab: Rule("rule", lab.task, lab.rng("rule"), level_of(lab, "sight", 0.0)),
    "open-source-model": open_source_model,
    "clip": clip_of_the_world,
    "reward-model": reward_model,
    "blind-reward-model": lambda lab: reward_model(lab, blind=True),
    "self": own_likelihood,
    "self-critique": self_critique,
}


@dataclass
class Workshop:
    """Makes annotators by the survey's annotation types, and keeps the models that they are."""

    makers: Mapping[str, Maker] = field(default_factory=lambda: dict(MAKERS))
    clip: clip.ClipRecipe = field(default_factory=clip.ClipRecipe)
    comparisons: TrainSettings = COMPARISONS
    models: dict[str, Any] = field(default_factory=dict)

    def annotator(self, kind: str, lab: Lab) -> Annotator:
        """Raises LookupError with what there is."""
        if kind not in self.makers:
            raise LookupError(f"no annotator '{kind}'; there are {', '.join(self.makers)}")
        return self.makers[kind](lab)

    def kept(
        self,
        label: str,
        parts: Mapping[str, Any],
        code: tuple[str, ...],
        make: Callable[[Path], None],
        load: Callable[[Path], Any],
    ) -> Any:
        """A trained part, made once for its content and loaded once for a process."""
        path = str(cache.kept_folder(label, parts, code, make))
        if path not in self.models:
            self.models[path] = load(Path(path))
        return self.models[path]

    def other_base(self, lab: Lab, number: int) -> Policy:
        """A separately trained base, the `number`-th after that of the run's seed.

        Raises FileNotFoundError, with the command that makes it, where there is none.
        """
        path = str(lab.world.base(lab.seed + number))
        if path not in self.models:
            device = str(next(lab.policy.model.parameters()).device)
            self.models[path] = load(path, device)
        model, processor = self.models[path]
        return Policy(model, processor, seed=lab.seed + number)
