"""Scoring answers: log-probabilities of a batch's views, with one pass over what they share.

Two layouts give the same numbers:

- *plain*: one sequence per view and row, [prompt, answer], as every framework has it;
- *shared*: answers to one prompt about the same images stand behind it in one sequence, [prompt,
  answer, answer, ...]. No answer sees another one (block mask), and each begins at the position
  after the prompt. Its images go through the vision tower once, and an image that several
  sequences show goes through it once, too.

The shared layout is checked against the plain one on the first batch, log-probabilities and
gradient, and is given up, with one line that says why, where they differ.

The model is called through its own `forward` (or its wrapper's), so that DDP, FSDP, PEFT, autocast
and gradient checkpointing see an ordinary call. For the time of the call its output layer projects
the hidden states at answer positions only, in pieces, and gives log-probabilities in place of
logits.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from reference_impls.core.data.rows import name_of
from reference_impls.core.method import Answer, Row, View, Views, resolve_views
from reference_impls.core.model.encode import (
    Encoder,
    Prompt,
    Sampled,
    check_room,
    digest,
    stack_vision,
)  # fmt: skip
from reference_impls.core.processes import by_main, main_process
from reference_impls.core.train.checkpoints import saving
from reference_impls.core.train.layout import (
    PADDING,
    PROMPT,
    LayoutName,
    Sequences,
    ViewBatch,
    lay_out,
    view_batch,
    visible,
)  # fmt: skip
from reference_impls.core.train.reference import (
    StoredReference,
    bare,
    read_reference,
    reference_folder,
    write_reference,
)  # fmt: skip

__all__ = ["Distributions", "Layout", "Scorer", "StoredReference", "ViewBatch", "ViewScores"]

logger = logging.getLogger(__name__)

CHUNK = 1 << 25
"""Numbers of a piece of logits (positions x vocabulary) that is held at a time: 128 MB."""
KEPT = 1024
"""Rows whose reference is written to disk at a time."""
SCALED_LOGITS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
)
"""Settings of decoders that change logits after the output layer."""


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Distributions:
    """What a KL over the vocabulary needs of the other model: hidden states (N, d), and its
    projection to logits."""

    hidden: Tensor
    project: Callable[[Tensor], Tensor]
    views: tuple[str, ...]


@dataclass(frozen=True)
class ViewScores:
    """By view: logps (B, T), 0 where the mask is 0; kl (B,), the sum over answer positions of
    KL(other || model) where it was asked for; picks (n,), the tokens that were scored at a view's n
    answer positions where these are not the answer's own; and, where they were asked for, states
    (B, T, d): the hidden state that each answer token is predicted from, with gradient."""

    logps: dict[str, Tensor]
    masks: dict[str, Tensor]
    kl: dict[str, Tensor] = field(default_factory=dict)
    picks: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    distributions: Distributions | None = None
    exact: bool = True
    """Whether the model computed in float32, and not in 16 bits under autocast."""


@dataclass(frozen=True)
class Layout:
    """How batches are scored, and why not in the shared layout where they are not. kinds: of
    prompts that it was checked on."""

    name: LayoutName
    reason: str = ""
    kinds: frozenset[str] = field(default=frozenset(), compare=False)


class Unsupported(Exception):
    """A model that the shared layout does not fit; the text is the reason."""


# --- the model -----------------------------------------------------------------------------------


def unshareable(model: nn.Module, batch: ViewBatch) -> str:
    """Why a model's answers cannot share a prompt, as far as its settings tell; "" where they may.

    What settings do not tell, the comparison with the plain layout does."""
    inner = bare(model)
    config = inner.config
    text = config.get_text_config()
    attention = getattr(text, "_attn_implementation", None)
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention"}
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder and a decoder"
    if attention not in ("sdpa", "eager", "flex_attention"):
        return f"its attention is '{attention}', which takes no mask of blocks"
    if kinds:
        return f"it has layers of the kind {', '.join(sorted(kinds))}"
    if getattr(text, "layer_types", None) is None and getattr(text, "sliding_window", None):
        return "its attention has a sliding window"
    if any("token_type_ids" in p.columns for each in batch.prompts.values() for p in each):
        return "its image tokens see each other, which needs a mask of its own"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "its adapter puts tokens of its own before the prompt"
    if model.training and _drops(inner):
        return "dropout draws another mask in each layout"
    return ""


def _drops(model: nn.Module) -> bool:
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return True
        rate = getattr(module, "attention_dropout", 0.0)
        if isinstance(rate, float) and rate > 0:
            return True
    return False


@contextlib.contextmanager
def _replacing(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of an object has another value inside the context."""
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _token_scores(
    hidden: Tensor,
    targets: Tensor,
    project: Callable[[Tensor], Tensor],
    other: Tensor | None,
    project_other: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """(n, 1) log-probabilities of target tokens, or (n, 2) with KL(other || model) beside them."""
    logits = project(hidden).float()
    total = logits.logsumexp(-1)
    logps = logits.gather(-1, targets[:, None])[:, 0] - total
    if other is None or project_other is None:
        return logps[:, None]
    with torch.no_grad():
        theirs = project_other(other).float().log_softmax(-1)
    ours = logits - total[:, None]
    return torch.stack([logps, (theirs.exp() * (theirs - ours)).sum(-1)], -1)


@dataclass(frozen=True)
class _Pick:
    """Of one view: which of a batch's answer tokens are picked, which positions pick them, and
    whether the answer's own token is left out."""

    tokens: slice
    by: slice
    other: bool


@dataclass
class _Head:
    """Stands in for the forward of an output layer: hidden states (S, L, d) -> token scores (N, k).

    Pieces of more than CHUNK logits are computed again in the backward pass, so that no more than
    one piece is held. `targets` are, after the call, the tokens that were scored."""

    project: Callable[[Tensor], Tensor]
    where: Tensor
    targets: Tensor
    other: Distributions | None
    picking: Sequence[_Pick] = ()
    chosen: Tensor = field(init=False)
    vocabulary: int = 1
    exact: bool = True

    def __call__(self, hidden: Tensor) -> Tensor:
        # Asked in here: Accelerate wraps the model's forward in autocast, and not what calls it.
        autocast = torch.is_autocast_enabled(hidden.device.type)
        self.exact = hidden.dtype == torch.float32 and not autocast
        flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, self.where)
        self.chosen = flat
        size = max(1, CHUNK // self.vocabulary)
        self.targets = self._picked(flat, size)
        scores = []
        for start in range(0, len(flat), size):
            part = slice(start, start + size)
            given = (
                flat[part],
                self.targets[part],
                self.project,
                None if self.other is None else self.other.hidden[part],
                None if self.other is None else self.other.project,
            )
            if len(flat) > size and torch.is_grad_enabled():
                scores.append(checkpoint(_token_scores, *given, use_reentrant=False))
            else:
                scores.append(_token_scores(*given))
        return torch.cat(scores)

    @torch.no_grad()
    def _picked(self, flat: Tensor, size: int) -> Tensor:
        """(N,) the answers' own tokens, and the likeliest ones where views ask for them."""
        targets = self.targets.clone()
        for pick in self.picking:
            own, by = self.targets[pick.tokens], flat[pick.by]
            tops = [self.project(part).topk(2, -1).indices for part in torch.split(by, size)]
            first, second = torch.cat(tops).unbind(-1)
            # Of two equal logits, which one is picked is the library's choice.
            targets[pick.tokens] = torch.where(first == own, second, first) if pick.other else first
        return targets


@dataclass
class _Picked:
    """Stands in for the forward of an output layer, or beside it: keeps the hidden states (N, d) at
    places of the flattened (S * L) tokens."""

    where: Tensor
    states: Tensor = field(init=False)

    def __call__(self, hidden: Tensor) -> Tensor:
        self.states = hidden.reshape(-1, hidden.shape[-1]).index_select(0, self.where)
        return self.states

    def look(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        """The same beside the layer, which is run as it is."""
        self(given[0])


class Scorer:
    """Collates rows into batches of views and scores them under a model.

    shared: try the layout that reads a prompt once for all answers to it. sampled: score a sampled
    answer as the tokens that it was sampled as, with the ending that it has; else as a template
    writes its text. spans: tell of these, too, which characters each token stands for.
    """

    def __init__(
        self,
        encoder: Encoder,
        views: Views,
        shared: bool = True,
        sampled: bool = False,
        spans: bool = True,
    ) -> None:
        self.encoder, self.views, self.wanted = encoder, resolve_views(views), shared
        self.sampled, self.spans = sampled, spans
        self.layouts: dict[bool, Layout] = {}
        self._rope: OrderedDict[str, Tensor] = OrderedDict()

    # --- batches ---------------------------------------------------------------------------------

    def collate(self, rows: Sequence[Row], numbers: Sequence[int] | None = None) -> ViewBatch:
        """A batch of rows; `numbers` are theirs among those that are trained on.

        Raises ValueError for a row that lacks a column, EncodingError for one that cannot become
        tokens: the text names the row."""
        numbers = range(len(rows)) if numbers is None else numbers
        names = [name_of(row, number) for row, number in zip(rows, numbers, strict=True)]
        for name, row in zip(names, rows, strict=True):
            for view in self.views:
                missing = [column for column in view.columns if column not in row]
                if missing:
                    raise ValueError(f"{name}: the view '{view.name}' needs {missing[0]!r}")
        try:
            prompts, answers = self._encoded(rows)
        except ValueError:
            # One by one, to say which row it is.
            for name, row in zip(names, rows, strict=True):
                for view in self.views:
                    try:
                        self._encoded([row], (view,))
                    except ValueError as problem:
                        where = f"{name}, view '{view.name}'"
                        raise type(problem)(f"{where}: {problem}") from problem
            raise
        keys = {
            view.name: [
                digest(f"{prompt.key} {answer.ids}{how}".encode())
                for prompt, answer, how in zip(
                    prompts[view.name], answers[view.name], _picked_how(view, prompts), strict=True
                )
            ]
            for view in self.views
        }
        batch = view_batch(self.views, prompts, answers, keys, names)
        if not self.wanted:
            return batch
        return dataclasses.replace(batch, shared=self._lay_out(batch, "shared", {}))

    def _encoded(
        self, rows: Sequence[Row], views: Sequence[View] = ()
    ) -> tuple[dict[str, list[Prompt]], dict[str, list[Answer]]]:
        """By view, each row's prompt and answer; one of each for columns that views have alike."""
        views = views or self.views
        columns = list(dict.fromkeys((view.prompt, view.images) for view in views))
        given = [(row[p], list(row[i] or ())) for p, i in columns for row in rows]
        read = self.encoder.prompts(given)
        by_column = {
            column: read[number * len(rows) : (number + 1) * len(rows)]
            for number, column in enumerate(columns)
        }
        prompts = {view.name: by_column[view.prompt, view.images] for view in views}
        asked = [
            (prompt, row[view.prompt], answer_text(row[view.response]))
            for view in views
            for prompt, row in zip(prompts[view.name], rows, strict=True)
        ]
        known = [
            self.encoder.tokens_of(text, self.spans)
            if self.sampled and isinstance(text, Sampled)
            else None
            for _, _, text in asked
        ]
        unknown = [each for each, answer in zip(asked, known, strict=True) if answer is None]
        told = iter(self.encoder.answers(unknown))
        written = [next(told) if answer is None else answer for answer in known]
        answers = {
            view.name: written[number * len(rows) : (number + 1) * len(rows)]
            for number, view in enumerate(views)
        }
        return prompts, answers

    def _lay_out(
        self, batch: ViewBatch, layout: LayoutName, pixels: Mapping[str, Tensor]
    ) -> Sequences:
        return lay_out(batch, layout, pixels, self.encoder.pad_id)

    def model_inputs(self, batch: ViewBatch) -> dict[str, dict[str, Tensor]]:
        """By view, what the model's own forward takes for [prompt, answer] of each row: (B, L)
        ids, mask and columns, and the vision inputs, on the device of the batch's masks."""
        found = {}
        for view in batch.views:
            name = view.name
            alone = view_batch(
                (view,), {name: batch.prompts[name]}, {name: batch.answers[name]},
                {name: batch.keys[name]}, batch.names,
            )  # fmt: skip
            device = batch.masks[name].device
            given = self._arguments(None, self._lay_out(alone, "plain", {}), device)
            found[name] = {key: value for key, value in given.items() if torch.is_tensor(value)}
        return found

    # --- scores ----------------------------------------------------------------------------------

    def score(
        self,
        model: nn.Module,
        batch: ViewBatch,
        *,
        pixels: Mapping[str, Tensor] | None = None,
        distributions: Sequence[str] = (),
        kl_from: Distributions | None = None,
        picks: Mapping[str, Tensor] | None = None,
        states: bool = False,
    ) -> ViewScores:
        """Log-probabilities of every view's answers.

        pixels: by view, pixel values that take the place of its own, shaped as in `model_inputs`.
        distributions: views whose distributions over the vocabulary another model is compared
        with: hand the result's `distributions` to that model's call as `kl_from`.
        picks: by view, tokens that another model's call gave as its `picks`, to be scored here.
        states: give the hidden states, too, that tokens are predicted from.
        Raises EncodingError, which names the row, where one is longer than the model reads.
        """
        check_fits(bare(model), batch)
        layout = self.layout(model, batch).name
        given, asked = picks or {}, {view.name for view in batch.views if view.scored != "own"}
        return self._score(
            model, batch, layout, pixels or {}, distributions, kl_from, given, asked - set(given),
            states,
        )  # fmt: skip

    def layout(self, model: nn.Module, batch: ViewBatch) -> Layout:
        """The layout that a model is scored in, decided for training and for not.

        Decided on the first batch, and again on one with a kind of prompt that was not among those
        checked (several images, a video, an image that two prompts show). Of several processes only
        the first batch decides: a later check in one of them would leave the others waiting."""
        if not self.wanted:
            return Layout("plain")
        known = self.layouts.get(model.training)
        if known is not None and (known.reason or _together()):
            return known
        kinds = prompt_kinds(batch)
        checked = frozenset() if known is None else known.kinds
        new = {kind: rows for kind, rows in kinds.items() if kind not in checked}
        if known is not None and not new:
            return known
        rows = {row for few in new.values() for row in few}
        rows |= set(range(min(2, len(batch)))) if known is None else set()
        chosen = self._choose(model, batch.some(sorted(rows)))
        chosen = dataclasses.replace(chosen, kinds=checked | frozenset(kinds))
        told = {each.reason for each in self.layouts.values()}
        self.layouts[model.training] = chosen
        if chosen.reason and chosen.reason not in told:
            logger.warning("each answer is scored with a prompt of its own: %s", chosen.reason)
        elif not told:
            logger.info("answers to a prompt are scored in one pass, as checked on the first rows")
        return chosen

    def _choose(self, model: nn.Module, batch: ViewBatch) -> Layout:
        reason = unshareable(model, batch)
        if not reason:
            try:
                reason = self.compare(model, batch)
            except Exception as problem:
                # Whatever a model of another kind makes of a mask of blocks: it is scored plainly.
                first = str(problem).strip().partition("\n")[0]
                reason = f"{type(bare(model)).__name__} cannot: {first}"
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            device = next(model.parameters()).device
            failed = torch.tensor([float(bool(reason))], device=device)
            torch.distributed.all_reduce(failed)
            if failed.item() and not reason:
                reason = "another process found the layouts to differ"
        return Layout("plain", reason) if reason else Layout("shared")

    def compare(self, model: nn.Module, batch: ViewBatch) -> str:
        """How the two layouts differ on a batch, in one line; "" where they agree.

        Compares log-probabilities per token, and the gradient of a random sum of them with respect
        to two of the weights; a reference, which is not trained and scored without gradient, by its
        log-probabilities alone: its activations would be kept without checkpointing."""
        learning = model.training or torch.is_grad_enabled()
        inner = bare(model)
        exact = not getattr(inner, "is_quantized", False)
        weights = probe_weights(inner)
        found: dict[LayoutName, tuple[Tensor, list[Tensor]]] = {}
        frozen = [weight for weight in weights if not weight.requires_grad]
        names: tuple[LayoutName, LayoutName] = ("plain", "shared")
        try:
            for weight in frozen:
                weight.requires_grad_(True)
            for name in names:
                with torch.set_grad_enabled(learning):
                    scores = self._score(inner_call(model), batch, name, {})
                    exact = exact and scores.exact
                    flat = torch.cat([each.flatten() for each in scores.logps.values()])
                    signs = torch.linspace(-1, 1, len(flat), device=flat.device)
                    total = (flat * signs).sum()
                    gradient: tuple[Tensor | None, ...] = ()
                    if learning:
                        gradient = torch.autograd.grad(total, weights, allow_unused=True)
                found[name] = (
                    flat.detach(),
                    [each.float() for each in gradient if each is not None],
                )
        finally:
            for weight in frozen:
                weight.requires_grad_(False)
        nats, share = (2e-4, 2e-3) if exact else (0.5, 0.2)
        (plain, first), (shared, second) = found["plain"], found["shared"]
        apart = (plain - shared).abs().max().item()
        if not apart <= nats:
            return f"its log-probabilities differ by up to {apart:.2g} nats per token"
        for mine, other in zip(first, second, strict=True):
            gap = ((mine - other).norm() / mine.norm().clamp_min(1e-12)).item()
            if not gap <= share:
                return f"its gradient differs by {gap:.1%}"
        return ""

    def _score(
        self,
        model: nn.Module,
        batch: ViewBatch,
        layout: LayoutName,
        pixels: Mapping[str, Tensor],
        distributions: Sequence[str] = (),
        kl_from: Distributions | None = None,
        picks: Mapping[str, Tensor] | None = None,
        picking: Collection[str] = (),
        states: bool = False,
    ) -> ViewScores:
        inner = bare(model)
        device = next(inner.parameters()).device
        if layout == "shared" and batch.shared is not None and not pixels:
            sequences = batch.shared
        else:
            sequences = self._lay_out(batch, layout, pixels)
        arguments = self._arguments(inner if layout == "shared" else None, sequences, device)
        head = inner.get_output_embeddings()
        text = inner.config.get_text_config()
        scaled = any(getattr(text, name, None) not in (None, 1.0) for name in SCALED_LOGITS)
        places, targets = batch.places(), batch.targets.to(device)
        if picks:
            targets = targets.clone()
            for name, tokens in picks.items():
                targets[places[name]] = tokens.to(device)
        reader = _Head(
            project=_same if scaled else head.forward,
            where=sequences.where.to(device),
            targets=targets,
            other=kl_from,
            picking=[
                _Pick(
                    places[view.name],
                    places[view.picked_in or view.name],
                    view.scored == "likeliest other",
                )
                for view in batch.views
                if view.name in picking
            ],
            vocabulary=int(text.vocab_size),
        )
        with contextlib.ExitStack() as stack:
            if layout == "shared" and features_repeat(inner, sequences):
                stack.enter_context(_features_once(inner, sequences))
            if layout == "shared":
                first = min(len(prompt.ids) for prompt in sequences.prompts) - 1
                stack.enter_context(prompt_apart(inner, first))
            if not scaled:
                stack.enter_context(_replacing(head, "forward", reader))
            kept = _Picked(reader.where)
            if states:
                stack.callback(head.register_forward_pre_hook(kept.look).remove)
            output = model(**arguments, use_cache=False).logits
        values = reader(output) if scaled else output
        logps, kl = self._by_view(batch, values, device, kl_from)
        asked = None
        if distributions:
            asked = Distributions(reader.chosen.detach(), reader.project, tuple(distributions))
        masks = {name: mask.to(device) for name, mask in batch.masks.items()}
        picked = {name: reader.targets[places[name]] for name in picking}
        seen = self._placed(batch, kept.states, device) if states else {}
        return ViewScores(logps, masks, kl, picked, seen, asked, reader.exact)

    def _by_view(
        self, batch: ViewBatch, values: Tensor, device: torch.device, other: Distributions | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Scores of all answer tokens, (N, 1 or 2), as (B, T) by view and sums of KL (B,)."""
        logps, kl = {}, {}
        places = batch.places()
        for view in batch.views:
            mask = batch.masks[view.name].to(device).bool()
            part = values[places[view.name]]
            empty = part.new_zeros(mask.shape)
            logps[view.name] = empty.masked_scatter(mask, part[:, 0])
            if other is not None and view.name in other.views:
                kl[view.name] = empty.masked_scatter(mask, part[:, 1]).sum(-1)
        return logps, kl

    def _arguments(
        self, inner: Any | None, sequences: Sequences, device: torch.device
    ) -> dict[str, Any]:
        """What the model's forward is called with: as usual, or (with `inner`) masked by blocks."""
        given: dict[str, Any] = {"input_ids": sequences.ids.to(device)}
        given |= {name: column.to(device) for name, column in sequences.columns.items()}
        blocks = sequences.blocks.to(device)
        shown = [number for number in sequences.vision if number is not None]
        vision = [sequences.inputs[number] for number in shown]
        if inner is None:
            given["attention_mask"] = (blocks >= PROMPT).long()
        else:
            given["attention_mask"] = block_mask(inner, blocks)
            given["position_ids"] = self._positions(inner, sequences).to(device)
            if features_repeat(inner, sequences):
                vision = list(sequences.inputs)
        if vision:
            given |= {name: each.to(device) for name, each in stack_vision(vision).items()}
        return given

    def _positions(self, inner: Any, sequences: Sequences) -> Tensor:
        """(S, L), or (3, S, L) for a model whose positions have time, height and width."""
        core = inner.base_model
        if not hasattr(core, "get_rope_index"):
            return sequences.positions
        places = sequences.positions.expand(3, -1, -1).clone()
        for number, prompt in enumerate(sequences.prompts):
            if not prompt.vision:
                continue
            length = len(prompt.ids)
            own = self._rope_positions(core, prompt)
            places[:, number, :length] = own
            # Answers go on after the largest position, which is not the number of tokens.
            places[:, number, length:] += int(own.max()) + 1 - length
        return places

    def _rope_positions(self, core: Any, prompt: Prompt) -> Tensor:
        """(3, L) positions of a prompt as the model itself gives them: grids of images and videos,
        and the seconds between a video's frames, say where they stand."""
        wanted = inspect.signature(core.get_rope_index).parameters
        grids = {name: each for name, each in prompt.vision.items() if name in wanted}
        said = [f"{name} {each.tolist()}" for name, each in grids.items()]
        asked = digest(f"{prompt.columns} {len(prompt.ids)} {said}".encode())
        if asked not in self._rope:
            ids = torch.tensor([prompt.ids])
            columns = {name: torch.tensor([each]) for name, each in prompt.columns.items()}
            found, _ = core.get_rope_index(
                input_ids=ids, attention_mask=torch.ones_like(ids), **columns, **grids
            )
            self._rope[asked] = found[:, 0]
            if len(self._rope) > 1024:
                self._rope.popitem(last=False)
        return self._rope[asked]

    # --- hidden states ---------------------------------------------------------------------------

    def states(self, model: nn.Module, batch: ViewBatch, before: bool = False) -> dict[str, Tensor]:
        """By view (B, T, d): what the output layer is given after reading each answer token, or
        `before` it; 0 where the mask is 0. In the plain layout, with gradient; the output layer is
        not run."""
        inner = bare(model)
        check_fits(inner, batch)
        device = next(inner.parameters()).device
        sequences = self._lay_out(batch, "plain", {})
        # An answer's tokens stand behind the ones that predict them.
        picked = _Picked(sequences.where.to(device) + (0 if before else 1))
        with _replacing(inner.get_output_embeddings(), "forward", picked):
            model(**self._arguments(None, sequences, device), use_cache=False)
        return self._placed(batch, picked.states, device)

    def _placed(self, batch: ViewBatch, states: Tensor, device: torch.device) -> dict[str, Tensor]:
        """States (N, d) of all answer tokens as (B, T, d) by view."""
        found, places = {}, batch.places()
        for view in batch.views:
            mask = batch.masks[view.name].to(device).bool()
            part = states[places[view.name]]
            empty = part.new_zeros((*mask.shape, part.shape[-1]))
            found[view.name] = empty.masked_scatter(mask[..., None], part)
        return found

    # --- the reference ---------------------------------------------------------------------------

    @torch.no_grad()
    def store(
        self,
        model: nn.Module,
        rows: Sequence[Row],
        *,
        batch_size: int,
        device: torch.device | str | None = None,
        views: Sequence[str] | None = None,
        path: Path | None = None,
    ) -> StoredReference:
        """Log-probabilities of every row's answers under a frozen model, scored once.

        With a folder `path` they are kept there, and what it holds already is not scored again: by
        prompt, images and answer, under the same model (`reference_folder`). They are written every
        KEPT rows, so that a pass that was ended goes on where it was. `views`: which ones, all by
        default.
        """
        if device is not None and next(model.parameters()).device.type != torch.device(device).type:
            model.to(device)
        names = [view.name for view in self.views] if views is None else list(views)
        training = model.training
        model.eval()
        folder: Path | None = None
        found: dict[str, Tensor] = {}
        new: dict[str, Tensor] = {}
        if path is not None:
            root = Path(path)
            folder, found = by_main(lambda: self._kept(root, model))
        stored, scored = StoredReference(found), 0
        try:
            for start in range(0, len(rows), batch_size):
                numbers = range(start, min(start + batch_size, len(rows)))
                batch = self.collate([rows[number] for number in numbers], numbers)
                missing = [
                    place
                    for place in range(len(batch))
                    if any(batch.keys[name][place] not in stored.logps for name in names)
                ]
                if not missing:
                    continue
                if len(missing) < len(batch):
                    batch = batch.some(missing)
                scores = self.score(model, batch)
                scored += len(batch)
                for name in names:
                    for row, key in enumerate(batch.keys[name]):
                        length = len(batch.answers[name][row].ids)
                        new[key] = scores.logps[name][row, :length].float().cpu().clone()
                stored.logps |= new
                if len(new) >= KEPT * len(names):
                    _keep(folder, new)
                    new = {}
            _keep(folder, new)
        finally:
            model.train(training)
        if path is not None:
            logger.info(
                "reference: %d of %d rows scored, the others were kept in %s",
                scored, len(rows), path,
            )  # fmt: skip
        return stored

    def _kept(self, root: Path, model: nn.Module) -> tuple[Path, dict[str, Tensor]]:
        """Folder of a model's log-probabilities, and what it holds."""
        with saving(root):  # before hours are spent on what cannot be kept
            root.mkdir(parents=True, exist_ok=True)
        folder = reference_folder(root, model, self.encoder.processor)
        return folder, read_reference(folder)


# --- parts of a call -----------------------------------------------------------------------------


def check_fits(inner: Any, batch: ViewBatch) -> None:
    """Refuse a batch of which a row is longer than the model reads: nothing is ever cut.

    Raises EncodingError."""
    for view in batch.views:
        name = view.name
        check_room(
            inner.config,
            batch.prompts[name],
            [len(answer.ids) for answer in batch.answers[name]],
            [f"{row}, view '{name}'" for row in batch.names],
        )


def _picked_how(view: View, prompts: Mapping[str, Sequence[Prompt]]) -> list[str]:
    """For each row, what a key of a view's scores has besides prompt, images and answer: nothing
    where the answer's own tokens are scored."""
    if view.scored == "own":
        return [""] * len(prompts[view.name])
    return [f" {view.scored} in {prompt.key}" for prompt in prompts[view.picked_in or view.name]]


def _keep(folder: Path | None, logps: Mapping[str, Tensor]) -> None:
    if folder is not None and logps and main_process():
        write_reference(folder, logps)


def answer_text(response: Any) -> str:
    """The text of a response column: a str, or messages with one assistant turn."""
    if isinstance(response, str):
        return response
    if len(response) != 1 or response[0].get("role") != "assistant":
        raise ValueError("an answer is one assistant message")
    content = response[0]["content"]
    if isinstance(content, str):
        return content
    if any(part.get("type") != "text" for part in content):
        raise ValueError("an answer is text alone")
    return "".join(part["text"] for part in content)


def _same(values: Tensor) -> Tensor:
    return values


def prompt_kinds(batch: ViewBatch) -> dict[str, list[int]]:
    """Kinds of prompts in a batch, each with a few rows that have it: which media they show, one or
    several, and whether prompts that differ show the same."""
    kinds: dict[str, list[int]] = {}
    shown: dict[tuple[str, ...], tuple[str, int]] = {}
    for prompts in batch.prompts.values():
        for row, prompt in enumerate(prompts):
            number = min(len(prompt.images), 2)
            kinds.setdefault(f"{sorted(prompt.vision)} {number}", [row])
            key, first = shown.setdefault(prompt.images, (prompt.key, row))
            if prompt.images and key != prompt.key:
                kinds.setdefault("the same in several prompts", [first, row])
    return kinds


def _together() -> bool:
    """Whether other processes score at the same time."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return there and torch.distributed.get_world_size() > 1


def media_of(inner: Any) -> list[str]:
    """Kinds of media whose features a model looks up by a method, one for each token of theirs."""
    return [
        kind
        for kind in ("image", "video")
        if hasattr(inner.base_model, f"get_{kind}_features")
        and getattr(inner.config, f"{kind}_token_id", None) is not None
    ]


def features_repeat(inner: Any, sequences: Sequences) -> bool:
    """Whether several sequences show the same media, of a model whose features can be repeated."""
    shown = sum(number is not None for number in sequences.vision)
    return shown > len(sequences.inputs) and bool(media_of(inner))


def inner_call(model: nn.Module) -> nn.Module:
    """What a check calls: the model without a wrapper that would exchange gradients, but sharded
    models as they are, since only their wrapper has the weights."""
    wrapped = model
    while isinstance(wrapped, nn.parallel.DistributedDataParallel):
        wrapped = wrapped.module
    return wrapped


def probe_weights(model: nn.Module) -> list[nn.Parameter]:
    """Two weights of the decoder, near its beginning and its end, trained ones if there are any."""
    matrices = [
        (name, weight)
        for name, weight in model.named_parameters()
        if weight.dim() == 2 and "layers" in name and "vision" not in name and "visual" not in name
    ]
    trained = [weight for _, weight in matrices if weight.requires_grad]
    found = trained or [weight for _, weight in matrices]
    if not found:
        raise Unsupported("its decoder has no layers that could be compared")
    return [found[0]] if len(found) == 1 else [found[0], found[-1]]


def block_mask(inner: Any, blocks: Tensor) -> Any:
    """The mask of blocks as the model's attention takes it."""
    kind = getattr(inner.config.get_text_config(), "_attn_implementation", None)
    if kind == "flex_attention":
        return _flex_mask(blocks)
    mask = visible(blocks)
    # SDPA on a CPU adds the mask to the scores and would convert it in every layer; under autocast
    # the scores have another type than the model.
    on_cpu = blocks.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if kind == "eager" or on_cpu:
        dtype = inner.dtype
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(
            ~mask, torch.finfo(dtype).min
        )
    return mask


def _flex_mask(blocks: Tensor) -> Any:
    """The same for FlexAttention, which skips what is masked.

    Not run by the tests: its backward pass needs a GPU."""
    from torch.nn.attention.flex_attention import create_block_mask

    def seen(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = blocks[row, key] == blocks[row, query]
        shown = (blocks[row, key] == PROMPT) | (own & (blocks[row, key] != PADDING))
        return ((query >= key) & shown) | (query == key)

    rows, length = blocks.shape
    return create_block_mask(seen, rows, None, length, length, device=str(blocks.device))


SPLIT = "sdpa_prompt_apart"


@contextlib.contextmanager
def prompt_apart(inner: Any, start: int) -> Iterator[None]:
    """What the first `start` columns, which are prompt in every sequence, need not go through.

    Their queries see each other only: SDPA takes them apart without a mask, and the mask is read
    for the others alone. In the last layer neither they nor their feed-forward block are run: no
    answer is predicted there, and what follows is position by position. Left alone where
    checkpointing runs layers again after the call, or where layers are not plain ones."""
    layers = getattr(inner.get_decoder(), "layers", None)
    again = inner.training and getattr(inner, "is_gradient_checkpointing", False)
    if not layers or again or start < 1:
        yield
        return
    with contextlib.ExitStack() as stack:
        for number, layer in enumerate(layers):
            attention: Any = getattr(layer, "self_attn", None)
            config: Any = getattr(attention, "config", None)
            if getattr(config, "_attn_implementation", None) == "sdpa":
                AttentionInterface.register(SPLIT, _split_attention)
                own = copy.copy(config)
                own._attn_implementation_internal = SPLIT  # the setter would ask the model
                last = number == len(layers) - 1
                stack.enter_context(_replacing(attention, "config", own))
                stack.enter_context(_replacing(attention, "prompt_columns", (start, last)))
        block: Any = getattr(layers[-1], "mlp", None)
        if type(block).__name__.endswith("MLP"):
            original = block.forward

            def later(hidden: Tensor) -> Tensor:
                return pad(original(hidden[:, start:]), (0, 0, start, 0))

            stack.enter_context(_replacing(block, "forward", later))
        yield


def _split_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, **options: Any
) -> tuple[Tensor, None]:
    """SDPA in two parts, (S, L, heads, d): the first columns, zeros in the last layer, and the rest
    under its mask."""
    start, last = module.prompt_columns
    rest, _ = sdpa_attention_forward(
        module, query[:, :, start:], key, value, mask[:, :, start:], **options
    )
    if last:
        return pad(rest, (0, 0, 0, 0, start, 0)), None
    first, _ = sdpa_attention_forward(
        module, query[:, :, :start], key[:, :, :start], value[:, :, :start], None,
        **{**options, "is_causal": True},
    )  # fmt: skip
    return torch.cat([first, rest], 1), None


@contextlib.contextmanager
def _features_once(inner: Any, sequences: Sequences) -> Iterator[None]:
    """Images and videos that several sequences show go through the vision tower once.

    The model is given each prompt's pixels once; what its vision tower finds is repeated in the
    order in which sequences show it. Every model puts one feature in the place of each media token,
    so a prompt's share of them is the number of those tokens in it."""
    core = inner.base_model
    shown = [number for number in sequences.vision if number is not None]
    first = [sequences.vision.index(number) for number in range(len(sequences.inputs))]
    inside = False

    def once(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        token = getattr(inner.config, f"{kind}_token_id")
        counts = [sequences.prompts[number].ids.count(token) for number in first]
        edges = [0, *itertools.accumulate(counts)]

        def repeated(found: Any) -> Any:
            """(tokens, d) in any shape, or parts of it, in the order of sequences."""
            several = not torch.is_tensor(found)
            flat = torch.cat([p.flatten(0, -2) for p in found]) if several else found.flatten(0, -2)
            if len(flat) != edges[-1]:
                raise Unsupported(
                    f"its vision tower gives {len(flat)} features for {edges[-1]} {kind} tokens"
                )
            whole = torch.cat([flat[edges[number] : edges[number + 1]] for number in shown])
            return [whole] if several else whole.reshape(-1, *found.shape[1:])

        def features(*given: Any, **named: Any) -> Any:
            nonlocal inside
            if inside:  # Qwen3-VL reads a video as images
                return original(*given, **named)
            inside = True
            try:
                output = original(*given, **named)
            finally:
                inside = False
            output.pooler_output = repeated(output.pooler_output)
            if getattr(output, "deepstack_features", None) is not None:
                output.deepstack_features = [repeated(each) for each in output.deepstack_features]
            return output

        return features

    with contextlib.ExitStack() as stack:
        for kind in media_of(inner):
            name = f"get_{kind}_features"
            stack.enter_context(_replacing(core, name, once(kind, getattr(core, name))))
        yield
