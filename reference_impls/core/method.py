"""The contract of a method script: what it must say, and what it may.

A script reads top to bottom: docstring, `Config`, data steps, objective, `METHOD = Method(...)`,
`main(__file__)`. Everything that a script may hand to the lab is a field of a class here. A field
that does not exist is a TypeError when the script is imported; a hook that is missing, a view or
ablation that names nothing, is a `ContractError` that says what there is. A public function that
nothing refers to is one, too: a hook whose name was misspelt does not become no hook in silence.

    METHOD = Method(
        record="mdpo",
        config=Config,
        stages=(PairStage(data=pairs, loss=loss, views=views, lab=lab(3e-4), paper=PAPER),),
        ...
    )
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from reference_impls.core.settings import VARIANTS as VARIANTS
from reference_impls.core.settings import BaseConfig, TrainSettings
from reference_impls.core.settings import Variant as Variant

if TYPE_CHECKING:
    import random

    from torch import Tensor

    from reference_impls.core.lab import Lab
    from reference_impls.core.objective.ppo import KlControl
    from reference_impls.core.scores import PairBatch

METHODS = Path(__file__).resolve().parent.parent / "methods"
"""The folder is the register: each module in it is a script."""

Trainer = Literal["pairs", "groups", "ppo", "head", "contrastive", "select"]
Checkpoint = Literal["base", "previous"]
"""Where a stage begins: at the model of the run, or where the stage (or round) before ended."""
Reference = Literal["start", "base", "none"]
Scored = Literal["own", "likeliest", "likeliest other"]
Picker = Literal["each", "policy"]
Critic = Literal["shared", "separate", "reward"]
Direction = Literal["lower", "higher", "equal"]

Config = Any
"""A frozen dataclass derived from `BaseConfig`. Each script has a class of its own."""
Row = dict[str, Any]
"""One example: columns that views name, numbers, and in the lab the `item` that it is about."""
Metrics = dict[str, "Tensor"]
Loss = Callable[["PairBatch", Config], "tuple[Tensor, Metrics]"]
Data = Callable[["Lab", Config], Sequence[Row]]
Prepare = Callable[[Row, "random.Random", Config], Row]
TokenColumns = Callable[
    [Row, Mapping[str, "Answer"], Config], Mapping[str, Mapping[str, Sequence[float]]]
]
Negatives = Callable[[Any, "ViewInputs", Config], Mapping[str, "Tensor"]]
Reward = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""(completions, answers) -> one reward per completion. Pure; named `reward_*`."""
Score = Callable[["Lab", Sequence[Row], Config], Sequence[float]]
"""(lab, rows with `response`, cfg) -> one number per row. `lab.trained` has the trained heads."""


class ContractError(TypeError):
    """A script breaks the contract. The text names the field and says what there is."""


# --- what is scored ------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """One answer per row that is scored: which columns hold it, and what is wanted of it.

    `response`, `prompt` and `images` name columns of a row. With `reference` the frozen reference
    scores it, too. With `vocabulary_kl` the batch has `extra["<name>_kl"]`, (B,): the sum over
    answer positions of KL(reference || policy) over the whole vocabulary.

    `scored` says whose log-probability is taken at each position, behind the answer's true
    beginning: its `own` token's, that of the `likeliest` token, or of the `likeliest other` than
    its own. With `picked_in` another view of the same answer (other images) says which token is
    likeliest, and this one scores it. Policy and reference each pick for themselves, unless it is
    `picked_by` the policy for both.
    """

    name: str
    response: str = "chosen"
    prompt: str = "prompt"
    images: str = "images"
    reference: bool = True
    vocabulary_kl: bool = False
    scored: Scored = "own"
    picked_in: str = ""
    picked_by: Picker = "each"

    @property
    def columns(self) -> tuple[str, str, str]:
        """Columns of media, prompt and response."""
        return (self.images, self.prompt, self.response)


KNOWN_VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("chosen"),
        View("rejected", response="rejected"),
        View("chosen_corrupt", images="negative_images"),
        View("rejected_corrupt", response="rejected", images="negative_images"),
        View("target", response="target"),
    )
}
"""Views that a script may name by a word; any other one is given as a `View`."""

Views = Sequence["str | View"]


@dataclass(frozen=True)
class Answer:
    """The tokens of one view's answer: ids, and the characters of `text` that each stands for.

    `finished` is False of an answer that was cut: it has no ending.
    """

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    finished: bool = True


@dataclass(frozen=True)
class ViewInputs:
    """What `negatives` is given: the batch as the model takes it, by name of view."""

    inputs: Mapping[str, Mapping[str, Tensor]]
    rows: Sequence[Row]


def resolve_views(views: Views) -> tuple[View, ...]:
    """Views by name or as they are. Raises ContractError for an unknown or a repeated name."""
    found: list[View] = []
    for view in _several("views", views, (str, View)):
        if isinstance(view, str):
            if view not in KNOWN_VIEWS:
                raise ContractError(_unknown("view", view, KNOWN_VIEWS))
            view = KNOWN_VIEWS[view]
        if view.name in {other.name for other in found}:
            raise ContractError(f"the view '{view.name}' stands twice")
        found.append(view)
    if not found:
        raise ContractError("no view: name at least `chosen`")
    for view in found:
        _check_pick(view, {other.name: other for other in found})
    return tuple(found)


def _check_pick(view: View, views: Mapping[str, View]) -> None:
    """Raises ContractError where a view's tokens cannot be picked as it says."""
    _one_of(f"view '{view.name}', scored", view.scored, Scored)
    _one_of(f"view '{view.name}', picked_by", view.picked_by, Picker)
    if view.scored == "own":
        if view.picked_in or view.picked_by != "each":
            raise ContractError(f"the view '{view.name}' scores its own tokens: nothing is picked")
    elif view.picked_in:
        by = views.get(view.picked_in)
        if by is None:
            raise ContractError(_unknown("view", view.picked_in, views))
        if (by.prompt, by.response) != (view.prompt, view.response):
            raise ContractError(
                f"the view '{view.name}' is picked in '{by.name}', which is of another answer"
            )


# --- stages --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training (or selection): its data, where it begins, what its reference is.

    data: rows, from the drawn world and the models of the lab; a real dataset takes its place.
    lab, paper: rate, steps, batch and number of rows in the lab and as the paper has them.
    read: a record of a real dataset, its images opened, as a row; the published layouts of
      preference data are known without it.
    start: the checkpoint that is trained. reference: the frozen one (`start` of the stage by
    default, which is what a reference is for in every paper that does not say otherwise).
    when: `(cfg)` -> whether the stage takes place; always, where it is None.
    once: of several rounds it takes place in the first alone, with scenes and steps undivided: a
      judge that is trained beforehand.
    task: what is asked in this stage, where that is not the method's own task.
    """

    data: Data
    lab: TrainSettings
    paper: TrainSettings
    name: str = "train"
    task: str = ""
    once: bool = False
    read: Callable[[Row], Row] | None = None
    start: Checkpoint = "previous"
    reference: Reference = "start"
    when: Callable[[Config], bool] | None = None

    trainer: ClassVar[Trainer]

    def takes_place(self, config: Config) -> bool:
        """Whether the stage is run under a config."""
        return self.when is None or bool(self.when(config))

    def check(self, config: Config) -> None:
        """Raises ContractError where a field has a value that there is not, or a hook does not
        take what it will be given."""
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_ -]*", self.name):
            raise ContractError(f"name: {self.name!r} cannot be the name of a folder")
        for name in ("lab", "paper"):
            if not isinstance(getattr(self, name), TrainSettings):
                raise ContractError(
                    f"{name} is {_short(getattr(self, name))}, and TrainSettings are wanted"
                )
        _one_of("start", self.start, Checkpoint)
        _one_of("reference", self.reference, Reference)
        _takes("data", self.data, 2)
        _takes("read", self.read, 1)
        _takes("when", self.when, 1)


@dataclass(frozen=True, kw_only=True)
class PairStage(Stage):
    """Rows with answers, scored under their views: preference methods, and SFT with one view.

    views: names or `View`s, or a function of the config that gives them.
    prepare: what is done to each row, also to one of a real dataset (make a negative image, ...).
    tokens: `(row, answers by view, cfg)` -> name -> view -> one number per token of that answer.
      `weights` becomes the view's `Scores.weights`; another name `extra[name]`, (B, T), of the one
      view that has it, or `extra["<view>_<name>"]` where several have.
    negatives: `(model, inputs, cfg)` -> view -> pixel values that take the place of its own, made
      anew at every step: images that need the policy, or more than eight bits.
    couples_rows: the loss of a row depends on others of its batch (a mean over the batch, a
      state). Then the whole batch of an optimizer step is scored before any gradient is taken, so
      that neither accumulation nor the number of processes changes the loss.
    """

    loss: Loss
    views: Views | Callable[[Config], Views] = ("chosen", "rejected")
    prepare: Prepare | None = None
    tokens: TokenColumns | None = None
    negatives: Negatives | None = None
    couples_rows: bool = False

    trainer: ClassVar[Trainer] = "pairs"

    def views_of(self, config: Config) -> tuple[View, ...]:
        """The views that are scored under a config, without reference where the stage has none."""
        views = resolve_views(self.views(config) if callable(self.views) else self.views)
        if self.reference == "none":
            views = tuple(dataclasses.replace(view, reference=False) for view in views)
        return views

    def check(self, config: Config) -> None:
        super().check(config)
        if callable(self.views):
            _takes("views", self.views, 1)
        for view in self.views_of(config):
            if view.vocabulary_kl and self.reference == "none":
                raise ContractError(
                    f"the view '{view.name}' is compared with a reference (vocabulary_kl), and the "
                    "stage has none"
                )
        _takes("loss", self.loss, 2)
        _takes("prepare", self.prepare, 3)
        _takes("tokens", self.tokens, 3)
        _takes("negatives", self.negatives, 3)


@dataclass(frozen=True, kw_only=True)
class GroupStage(Stage):
    """Groups of the policy's own answers to a prompt, rewarded: GRPO, RLOO, REINFORCE++.

    rewards: name -> reward function, `(completions, answers) -> rewards`, kept apart in the log.
    combine: `(name -> (prompts, group), cfg)` -> (prompts, group); their sum where it is None.
    advantages: `((prompts, group), cfg)` -> (prompts, group), over the groups of all processes.
    loss: `loss(logps, old_logps, ref_logps, advantages, mask, cfg, *, weights=None, ...)`.
    kl_in_reward: `(rewards (prompts, group), logps, ref_logps (prompts, group, T), mask, cfg)` ->
      rewards, where the method puts the KL there.
    keep: `(name -> (prompts, group), cfg)` -> (prompts,) bool: whose groups are trained on.
    weights: `(answer, cfg)` -> one number per token: `weights` of the loss (thought tokens).
    updates: optimizer steps per batch of samples.

    A row has `answer`, the truth that rewards compare with, and may have `worked`: a full answer,
    which the SFT baseline imitates.
    """

    rewards: Mapping[str, Reward] | Callable[[Config], Mapping[str, Reward]]
    advantages: Callable[[Tensor, Config], Tensor]
    loss: Callable[..., tuple[Tensor, Metrics]]
    combine: Callable[[Mapping[str, Tensor], Config], Tensor] | None = None
    kl_in_reward: Callable[..., Tensor] | None = None
    keep: Callable[[Mapping[str, Tensor], Config], Tensor] | None = None
    weights: Callable[[Answer, Config], Sequence[float]] | None = None
    updates: int = 1

    trainer: ClassVar[Trainer] = "groups"

    def answers(self, settings: TrainSettings) -> int:
        """Answers that are sampled to a prompt."""
        return settings.group_size

    def rewards_of(self, config: Config) -> Mapping[str, Reward]:
        """Name -> reward function under a config."""
        return self.rewards(config) if callable(self.rewards) else self.rewards

    def check(self, config: Config) -> None:
        super().check(config)
        if not self.rewards_of(config):
            raise ContractError("rewards: there is none; name at least one")
        for name, reward in self.rewards_of(config).items():
            _called(f"rewards, '{name}'", reward, 2)
        _takes("advantages", self.advantages, 2)
        _takes("loss", self.loss, 6, ("weights",))
        _takes("kl_in_reward", self.kl_in_reward, 5)
        _takes("combine", self.combine, 2)
        _takes("keep", self.keep, 2)
        _takes("weights", self.weights, 2)
        if self.updates < 1:
            raise ContractError(f"updates: {self.updates}; at least 1 is wanted")
        if self.kl_in_reward is not None and self.reference == "none":
            raise ContractError("kl_in_reward: there is no reference that it could be taken from")


@dataclass(frozen=True, kw_only=True)
class PpoStage(Stage):
    """One answer of the policy to each prompt, with a value head: PPO.

    rewards: name -> reward function, `(completions, answers) -> rewards`, as in a GroupStage.
    scores: name -> `(lab, rows, cfg) -> rewards`, for what no function of two strings can say, such
      as a reward model that an earlier HeadStage trained (`lab.trained`). Rows have `response`, the
      text of the answer, `tokens`, how many it has, its ending included, and `finished`, whether it
      ended before it was cut off.
    combine: `(name -> (B,), cfg)` -> (B,); the sum of all where it is None.
    shape: `((B,) rewards, logps, ref_logps, mask, cfg, coefficient)` -> (B, T) rewards per token;
      where it is None the KL to the reference is taken off at each token, and the reward is given
      at the last one.
    kl: `(cfg)` -> the weight of that KL and how it is adapted; None: no KL is taken off.
    gae: `(rewards, values, mask, cfg)` -> (advantages, returns), all (B, T).
    normalise: `(advantages, mask, cfg)` -> (B, T), over the batch of all processes.
    loss: `loss(logps, old_logps, ref_logps, advantages, mask, cfg, *, values, old_values, returns,
      weights)` -> (scalar, metrics), all (B, T): the rows of a minibatch, of all processes.
    weights: `(answer, cfg)` -> one number per token: `weights` of the loss (thought tokens).
    epochs, minibatches: each batch of samples is gone through so often, in so many optimizer steps.
    critic: what says the values. `shared`: a linear head on the policy's last hidden states;
      `separate`: a copy of the policy under a head; `reward`: the reward model that the last
      HeadStage trained, head included.

    A value is read from the state that the next token is predicted from: `values[:, t]` is what is
    to be expected before token t is written.

    environments: `(lab, rows, cfg)` -> one gymnasium environment for each row. An answer is then an
    action. Each is begun by `reset(seed=row.get("seed"))`, and `step` takes the text of an answer.
    Its observation is a dict: `prompt`, a str with `<image>` for each picture, and `images`, a
    sequence of PIL images or of arrays (height, width, 3) of uint8. An episode goes on until the
    environment terminates or truncates it; nothing is expected after its end. All running episodes
    are answered in one batch. GAE then goes over the steps of an episode: `gae` is given (episodes,
    steps), a step's value is that before its answer's first token, and advantages, values and
    returns that the loss is given are equal over an answer's tokens. `rewards`, `scores`, `combine`
    and `kl` are not used; an `info["success"]` of the last step is logged as the true score.

    A row has `answer` and may have `worked`, as in a GroupStage.
    """

    gae: Callable[[Tensor, Tensor, Tensor, Config], tuple[Tensor, Tensor]]
    loss: Callable[..., tuple[Tensor, Metrics]]
    rewards: Mapping[str, Reward] | Callable[[Config], Mapping[str, Reward]] = field(
        default_factory=dict
    )
    scores: Mapping[str, Score] | Callable[[Config], Mapping[str, Score]] = field(
        default_factory=dict
    )
    combine: Callable[[Mapping[str, Tensor], Config], Tensor] | None = None
    shape: Callable[..., Tensor] | None = None
    kl: Callable[[Config], KlControl] | None = None
    normalise: Callable[[Tensor, Tensor, Config], Tensor] | None = None
    weights: Callable[[Answer, Config], Sequence[float]] | None = None
    environments: Callable[[Lab, Sequence[Row], Config], Sequence[Any]] | None = None
    epochs: int = 1
    minibatches: int = 1
    critic: Critic = "shared"

    trainer: ClassVar[Trainer] = "ppo"

    @property
    def updates(self) -> int:
        """Optimizer steps per batch of samples."""
        return self.epochs * self.minibatches

    def answers(self, settings: TrainSettings) -> int:
        """Answers that are sampled to a prompt."""
        return 1

    def rewards_of(self, config: Config) -> Mapping[str, Reward]:
        """Name -> reward function under a config."""
        return self.rewards(config) if callable(self.rewards) else self.rewards

    def scores_of(self, config: Config) -> Mapping[str, Score]:
        """Name -> score under a config."""
        return self.scores(config) if callable(self.scores) else self.scores

    def check(self, config: Config) -> None:
        super().check(config)
        names = [*self.rewards_of(config), *self.scores_of(config)]
        if bool(names) == (self.environments is not None):
            raise ContractError(
                "what is rewarded: name `rewards` or `scores`, or give `environments`, not both"
            )
        if len(set(names)) < len(names):
            raise ContractError(f"a name of `rewards` stands in `scores`, too: {', '.join(names)}")
        for name, reward in self.rewards_of(config).items():
            _called(f"rewards, '{name}'", reward, 2)
        for name, score in self.scores_of(config).items():
            _called(f"scores, '{name}'", score, 3)
        _one_of("critic", self.critic, Critic)
        _takes("gae", self.gae, 4)
        _takes("loss", self.loss, 6, ("values", "old_values", "returns", "weights"))
        _takes("combine", self.combine, 2)
        _takes("shape", self.shape, 6)
        _takes("kl", self.kl, 1)
        _takes("normalise", self.normalise, 3)
        _takes("weights", self.weights, 2)
        _takes("environments", self.environments, 3)
        if self.kl is not None and (self.reference == "none" or self.environments is not None):
            raise ContractError("kl: there is nothing that it could be taken from")
        if self.epochs < 1 or self.minibatches < 1:
            raise ContractError(
                f"epochs {self.epochs}, minibatches {self.minibatches}; at least 1 is wanted"
            )


SamplingStage = GroupStage | PpoStage
"""Stages whose rows are prompts: the policy answers them in training."""


@dataclass(frozen=True, kw_only=True)
class HeadStage(Stage):
    """A head on the model's last hidden states: reward models, segment classifiers.

    loss: `(outputs by view, batch, cfg)` -> ((B,) losses, metrics); outputs are (B, T, `outputs`),
    one vector per token of the answer, made of the state after reading that token, and `batch` is a
    PairBatch whose logps are zeros.

    The policy stays as it was: the next stage begins where this one did, and finds the trained head
    in `lab.trained[name]`, a `train.head.TrainedHead`.
    """

    loss: Callable[[Mapping[str, Tensor], PairBatch, Config], tuple[Tensor, Metrics]]
    views: Views = ("chosen", "rejected")
    outputs: int = 1
    tokens: TokenColumns | None = None
    prepare: Prepare | None = None

    trainer: ClassVar[Trainer] = "head"

    def views_of(self, config: Config) -> tuple[View, ...]:
        """The views that the head reads; none is scored by a reference."""
        return tuple(dataclasses.replace(v, reference=False) for v in resolve_views(self.views))

    def check(self, config: Config) -> None:
        super().check(config)
        self.views_of(config)
        _takes("loss", self.loss, 3)
        _takes("tokens", self.tokens, 3)
        _takes("prepare", self.prepare, 3)
        if self.outputs < 1:
            raise ContractError(f"outputs: {self.outputs}; at least 1 is wanted")


@dataclass(frozen=True, kw_only=True)
class SelectStage(Stage):
    """No training: of `candidates` sampled answers the one with the highest score is given.

    score: `(lab, rows with `response`, cfg)` -> one number per row. What an earlier HeadStage
    trained is in `lab.trained`; annotators that know the scene are refused here.
    """

    score: Score
    candidates: int | Callable[[Config], int] = 8

    trainer: ClassVar[Trainer] = "select"

    def candidates_of(self, config: Config) -> int:
        """How many answers are sampled under a config. Raises ContractError for none: every answer
        would be empty."""
        count = self.candidates(config) if callable(self.candidates) else self.candidates
        if count < 1:
            raise ContractError(f"candidates: {count}; at least 1 is wanted")
        return count

    def check(self, config: Config) -> None:
        super().check(config)
        _takes("score", self.score, 3)
        if callable(self.candidates):
            _takes("candidates", self.candidates, 1)
        self.candidates_of(config)


# --- what is expected ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A prediction that was written down before the first run, as one contrast.

    `of` and `against` are rows of the table: the method, `base`, a baseline, an ablation. `levels`
    of the method's condition make it an interaction: the contrast at the first level against that
    at the last. `claim` is the id of the record's claim that it decides, where it decides one.
    """

    id: str
    text: str
    metric: str
    direction: Direction
    of: str
    against: str
    levels: tuple[str, ...] = ()
    claim: str = ""
    primary: bool = False


@dataclass(frozen=True, kw_only=True)
class Method:
    """Everything that a script is, for the lab, the bench, the tests and the site."""

    record: str
    config: type[Config]
    stages: tuple[Stage, ...]
    world: str = "scenes"
    task: str = ""
    condition: Mapping[str, str] = field(default_factory=dict)
    rounds: int | Callable[[Config], int] = 1
    baselines: tuple[str, ...] = ("sft", "dpo")
    ablations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expectations: tuple[Expectation, ...] = ()

    def __post_init__(self) -> None:
        """Raises ContractError."""
        try:
            self._check()
        except ContractError as error:
            raise ContractError(f"{self.record}: {error}") from None

    def _check(self) -> None:
        if not _several("stages", self.stages, Stage):
            raise ContractError("no stage")
        _distinct("two stages have one name", [stage.name for stage in self.stages])
        _several("baselines", self.baselines, str)
        _several("expectations", self.expectations, Expectation)
        rows = ["base", self.record, *self.baselines, *self.ablations]
        _distinct("two rows of the table have one name", rows)
        _check_config(self.config)
        for variant in VARIANTS:
            self._check_under(self._config(variant=variant))
        for name, changes in self.ablations.items():
            try:
                self._check_ablation(changes)
            except ContractError as error:
                raise ContractError(f"ablation '{name}': {error}") from None
        _distinct("two expectations have one id", [each.id for each in self.expectations])
        for expectation in self.expectations:
            try:
                self._check_expectation(expectation, rows)
            except ContractError as error:
                raise ContractError(f"expectation '{expectation.id}': {error}") from None

    def _config(self, **changes: Any) -> Config:
        try:
            return self.config(**changes)
        except ValueError as error:
            raise ContractError(str(error)) from None

    def _check_under(self, config: Config) -> None:
        """Raises ContractError where the stages cannot be run under a config."""
        for stage in self.stages:
            try:
                stage.check(config)
            except ContractError as error:
                raise ContractError(f"stage '{stage.name}': {error}") from None
        if not any(stage.takes_place(config) for stage in self.stages):
            raise ContractError("no stage takes place")
        if callable(self.rounds):
            _takes("rounds", self.rounds, 1)
        if self.rounds_of(config) < 1:
            raise ContractError(f"rounds: {self.rounds_of(config)}; at least 1 is wanted")

    def _check_ablation(self, changes: Mapping[str, Any]) -> None:
        usual = self._config()
        known = [each.name for each in dataclasses.fields(usual)]
        if not isinstance(changes, Mapping):
            raise ContractError(f"{changes!r} does not say which fields of Config it changes")
        for name, value in changes.items():
            if name not in known:
                raise ContractError(_unknown("field", name, known))
            kind = type(getattr(usual, name))
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ContractError(f"{name}: {value!r} is not of the type {kind.__name__}")
        config = self._config(**changes)
        if config == usual:
            raise ContractError("it changes nothing: its row would be the method's own")
        self._check_under(config)

    def _check_expectation(self, expectation: Expectation, rows: Sequence[str]) -> None:
        _one_of("direction", expectation.direction, Direction)
        for row in (expectation.of, expectation.against):
            if row not in rows:
                raise ContractError(_unknown("row", row, rows))
        if expectation.of == expectation.against:
            raise ContractError(f"it compares '{expectation.of}' with itself")
        if not _several("levels", expectation.levels, str):
            return
        if len(self.condition) != 1:
            raise ContractError(
                f"it compares levels of a condition; the method names {len(self.condition)} "
                "conditions, and one is wanted"
            )
        if expectation.levels[0] == expectation.levels[-1]:
            raise ContractError("levels: it compares the first with the last; name two")

    @property
    def last(self) -> Stage:
        """The stage whose model is the method's."""
        return self.stages[-1]

    @property
    def adjusted(self) -> tuple[Stage, ...]:
        """The stages whose settings options and grids change: the last one, and where that selects
        among answers, the last one that trains what it selects by."""
        trains = [stage for stage in self.stages if not isinstance(stage, SelectStage)]
        return (*trains[-1:], self.last) if isinstance(self.last, SelectStage) else (self.last,)

    def fed(self, config: Config) -> tuple[Stage, ...]:
        """The stages whose data steps a dataset stands in for: the last one, and those that take
        place before it and can learn from rows that are read as the last one wants them."""
        last = self.last
        alike = (HeadStage, PairStage, type(last))
        return tuple(
            stage
            for stage in self.stages
            if stage is last or (stage.takes_place(config) and isinstance(stage, alike))
        )

    def rounds_of(self, config: Config) -> int:
        """How often the stages are repeated."""
        return self.rounds(config) if callable(self.rounds) else self.rounds


# --- scripts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Script:
    """A script that was imported and checked: its name, its module and its method."""

    name: str
    module: ModuleType
    method: Method

    def under(self, config: Config) -> Script:
        """The script with the stages that take place under a config: the last of them is the one
        whose model is the method's. Raises ContractError where none does."""
        kept = tuple(stage for stage in self.method.stages if stage.takes_place(config))
        if len(kept) == len(self.method.stages):
            return self
        if not kept:
            raise ContractError(f"{self.method.record}: no stage takes place under {config}")
        method = copy.copy(self.method)
        object.__setattr__(method, "stages", kept)  # it was checked as a whole
        return dataclasses.replace(self, method=method)


def script_names() -> list[str]:
    """Names of the scripts there are: the folder is the register."""
    return sorted(path.stem for path in METHODS.glob("[!_]*.py"))


def load_script(name: str) -> Script:
    """The script of a method, by its name or the id of its record.

    Raises LookupError for a name that no script has, ContractError where it breaks the contract.
    """
    wanted = name.replace("-", "_")
    if wanted not in script_names():
        raise LookupError(_unknown("script", wanted, script_names()))
    module = importlib.import_module(f"reference_impls.methods.{wanted}")
    method = getattr(module, "METHOD", None)
    if not isinstance(method, Method):
        raise ContractError(f"{wanted}.py has no `METHOD = Method(...)`")
    _check_names(wanted, method)
    unread = unread_names(Path(str(module.__file__)).read_text(encoding="utf-8"))
    if unread:
        raise ContractError(
            f"{wanted}.py: nothing refers to {', '.join(unread)}; hooks are fields of a stage: "
            + ", ".join(_hooks())
        )
    return Script(wanted, module, method)


def _check_names(script: str, method: Method) -> None:
    """Raises ContractError where a script's method names what there is not: a record that is
    another script's, as in a copy, baselines, and what its world has."""
    from reference_impls.core.worlds.protocol import world

    if method.record.replace("-", "_") != script:
        raise ContractError(
            f"{script}.py has the record '{method.record}', whose script would be "
            f"{method.record.replace('-', '_')}.py"
        )
    for name in method.baselines:
        if name.replace("-", "_") not in script_names():
            raise ContractError(
                f"{script}.py: baselines: " + _unknown("script", name, script_names())
            )
    try:
        where = world(method.world).under(method.condition)
        for expectation in method.expectations:
            for level in expectation.levels:
                where.under(dict.fromkeys(method.condition, level))
    except ValueError as error:
        raise ContractError(f"{script}.py: {error}") from None
    for task in (method.task, *(stage.task for stage in method.stages)):
        if task and task not in where.tasks:
            raise ContractError(
                f"{script}.py: {where.name}: " + _unknown("task", task, where.tasks)
            )


READ_BY_NAME = ("Config", "METHOD", "VIEWS", "loss", "advantages", "gae", "views", "negatives")
"""Module-level names that checks call; `reward_*` are, too."""


def unread_names(source: str) -> list[str]:
    """Public functions, classes and constants of a script's text that nothing in it refers to."""
    tree = ast.parse(source)
    defined: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined += [target.id for target in targets if isinstance(target, ast.Name)]
    read = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    return [
        name
        for name in defined
        if not name.startswith("_")
        and name not in read
        and name not in READ_BY_NAME
        and not name.startswith("reward_")
    ]


def _hooks() -> list[str]:
    kinds: Iterable[type[Stage]] = (PairStage, GroupStage, PpoStage, HeadStage, SelectStage)
    return sorted({each.name for kind in kinds for each in dataclasses.fields(kind)})


def _takes(
    name: str, hook: Callable[..., Any] | None, count: int, named: Sequence[str] = ()
) -> None:
    """Raises ContractError unless `hook`, where there is one, can be called with `count` arguments
    by position and those that are `named`."""
    if hook is not None:
        _called(name, hook, count, named)


def _called(name: str, hook: Callable[..., Any], count: int, named: Sequence[str] = ()) -> None:
    """The same of a hook that must be there."""
    if not callable(hook):
        raise ContractError(f"{name}: {hook!r} cannot be called")
    try:
        inspect.signature(hook).bind(*[None] * count, **dict.fromkeys(named))
    except TypeError:
        shown = inspect.signature(hook)
        more = f" and {', '.join(named)}" if named else ""
        raise ContractError(
            f"{name}: is called with {count} arguments{more}, takes {shown}"
        ) from None


def _one_of(name: str, value: Any, choices: Any) -> None:
    """Raises ContractError unless the value is one of those of a `Literal`."""
    if value not in get_args(choices):
        raise ContractError(f"{name}: " + _unknown("choice", str(value), get_args(choices)))


def _several(name: str, values: Any, kind: type | tuple[type, ...]) -> Sequence[Any]:
    """Values that are a tuple or list of some kind. Raises ContractError where they are not, as in
    `("sft")`, which lacks a comma."""
    if not isinstance(values, (tuple, list)):
        raise ContractError(
            f"{name} is {_short(values)}, and a tuple is wanted: is a comma missing?"
        )
    for value in values:
        if not isinstance(value, kind):
            raise ContractError(f"{name}: one is {_short(value)}, which does not belong there")
    return values


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int)) else f"of the type {type(value).__name__}"


def _distinct(problem: str, names: Sequence[str]) -> None:
    """Raises ContractError where a name stands twice."""
    if len(set(names)) < len(names):
        raise ContractError(f"{problem}: {', '.join(names)}")


def _check_config(config: Any) -> None:
    """Raises ContractError unless it is a frozen dataclass of its own, with `variant` and a default
    for every field."""
    if not isinstance(config, type) or "__dataclass_params__" not in vars(config):
        raise ContractError(
            f"Config is {config!r}: write `@dataclass(frozen=True)` above a class of its own"
        )
    fields = dataclasses.fields(config)
    if "variant" not in {each.name for each in fields}:
        raise ContractError("Config has no field `variant`")
    if BaseConfig not in config.__mro__:
        raise ContractError(
            "Config takes any variant: write `class Config(BaseConfig)`, which is in "
            "reference_impls.core.settings"
        )
    if not vars(config)["__dataclass_params__"].frozen:
        raise ContractError("Config can be changed: write `@dataclass(frozen=True)` above it")
    for each in fields:
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise ContractError(f"Config has no default of `{each.name}`")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(known))}"
    return f"there is no {what} '{name}'{hint}"
