"""How a batch of views lies in sequences: each answer with a prompt of its own, or several answers
behind the prompt that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from reference_impls.core.method import Answer, View
from reference_impls.core.model.encode import Prompt

LayoutName = Literal["shared", "plain"]
PROMPT, PADDING = 0, -1
"""Block numbers of tokens; answers of a sequence are 1, 2, ..."""


@dataclass(frozen=True)
class Sequences:
    """S sequences of up to L tokens, and where each answer token is predicted.

    ids, blocks, positions: (S, L). columns: further numbers per token, (S, L). prompts: what each
    sequence begins with. vision: for each sequence the number of its vision inputs in `inputs`, or
    None. where: (N,) places in the flattened (S * L) tokens whose hidden state predicts each answer
    token, in the order of views, rows, tokens.
    """

    ids: Tensor
    blocks: Tensor
    positions: Tensor
    columns: dict[str, Tensor]
    prompts: list[Prompt]
    vision: list[int | None]
    inputs: list[Mapping[str, Tensor]]
    where: Tensor


@dataclass(frozen=True)
class ViewBatch:
    """B rows under their views, in CPU memory; can be pickled.

    answers: by view, one per row. masks: by view (B, T), 1 on answer tokens, T the longest answer
    of the view. targets: (N,) ids of all answer tokens in the order of views, rows, tokens. keys:
    by view, for each row a digest of prompt, images and answer. names: of the rows, for messages.
    """

    views: tuple[View, ...]
    prompts: dict[str, list[Prompt]]
    answers: dict[str, list[Answer]]
    masks: dict[str, Tensor]
    targets: Tensor
    keys: dict[str, list[str]]
    names: tuple[str, ...]
    shared: Sequences | None = None

    def __len__(self) -> int:
        return len(self.names)

    def places(self) -> dict[str, slice]:
        """By view, where its answers' tokens stand among the N of the batch."""
        found, start = {}, 0
        for view in self.views:
            stop = start + sum(len(answer.ids) for answer in self.answers[view.name])
            found[view.name] = slice(start, stop)
            start = stop
        return found

    def to(self, device: torch.device | str) -> ViewBatch:
        """The same with its masks on a device; what the model reads is moved when it is scored."""
        masks = {name: mask.to(device) for name, mask in self.masks.items()}
        return dataclasses.replace(self, masks=masks)

    def some(self, rows: Sequence[int]) -> ViewBatch:
        """These rows alone, by their places in the batch."""
        answers = {name: [each[row] for row in rows] for name, each in self.answers.items()}
        prompts = {name: [each[row] for row in rows] for name, each in self.prompts.items()}
        keys = {name: [each[row] for row in rows] for name, each in self.keys.items()}
        return view_batch(self.views, prompts, answers, keys, [self.names[row] for row in rows])


def view_batch(
    views: tuple[View, ...],
    prompts: dict[str, list[Prompt]],
    answers: dict[str, list[Answer]],
    keys: dict[str, list[str]],
    names: Sequence[str],
) -> ViewBatch:
    masks = {}
    for name, given in answers.items():
        lengths = torch.tensor([len(answer.ids) for answer in given])
        masks[name] = (torch.arange(int(lengths.max())) < lengths[:, None]).float()
    targets = [number for view in views for each in answers[view.name] for number in each.ids]
    return ViewBatch(views, prompts, answers, masks, torch.tensor(targets), keys, tuple(names))


@dataclass
class _Group:
    """A prompt with the answers behind it, each with its place among all answers of the batch."""

    prompt: Prompt
    vision: Mapping[str, Tensor]
    picture: Any
    members: list[tuple[int, list[int]]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.prompt.ids) + sum(len(ids) for _, ids in self.members)


def _groups(batch: ViewBatch, layout: LayoutName, pixels: Mapping[str, Tensor]) -> list[_Group]:
    """Which answers stand behind which prompt: one each, or all that share tokens and images."""
    groups: list[_Group] = []
    open_groups: dict[str, _Group] = {}
    place = 0
    for view in batch.views:
        replaced = _replaced(batch, view.name, pixels)
        for row, prompt in enumerate(batch.prompts[view.name]):
            ids = batch.answers[view.name][row].ids
            if not ids:
                raise ValueError(f"{batch.names[row]}: the answer of '{view.name}' is empty")
            own = replaced is not None
            picture: Any = (view.name, row) if own else prompt.images
            group = None if own or layout == "plain" else open_groups.get(prompt.key)
            if group is None or not _fits(group, ids):
                vision = prompt.vision if replaced is None else replaced[row]
                group = _Group(prompt, vision, picture)
                groups.append(group)
                if not own:
                    open_groups[prompt.key] = group
            group.members.append((place, ids))
            place += 1
    return groups


def _fits(group: _Group, ids: Sequence[int]) -> bool:
    """Whether a further answer behind a prompt saves more than its wider mask costs.

    Attention is quadratic in the length of a sequence: two answers always fit, more of them up to
    twice the length of their prompt."""
    total = sum(len(other) for _, other in group.members) + len(ids)
    return len(group.members) < 2 or total <= 2 * len(group.prompt.ids)


def _replaced(
    batch: ViewBatch, view: str, pixels: Mapping[str, Tensor]
) -> list[dict[str, Tensor]] | None:
    """Vision inputs of a view's rows with other pixel values in their place; None without any."""
    if view not in pixels:
        return None
    prompts = batch.prompts[view]
    sizes = [len(p.vision["pixel_values"]) if "pixel_values" in p.vision else 0 for p in prompts]
    values = pixels[view]
    if len(values) != sum(sizes):
        raise ValueError(
            f"pixels of '{view}': {len(values)} along the first axis, {sum(sizes)} are needed"
        )
    parts = torch.split(values, sizes)
    return [
        {**prompt.vision, "pixel_values": part} if len(part) else dict(prompt.vision)
        for prompt, part in zip(prompts, parts, strict=True)
    ]


def lay_out(
    batch: ViewBatch, layout: LayoutName, pixels: Mapping[str, Tensor], pad_id: int
) -> Sequences:
    """The sequences of a batch, tokens flush to the left."""
    groups = _groups(batch, layout, pixels)
    width = max(group.length for group in groups)
    shape = (len(groups), width)
    ids = torch.full(shape, pad_id)
    blocks = torch.full(shape, PADDING)
    positions = torch.zeros(shape, dtype=torch.long)
    names = dict.fromkeys(name for group in groups for name in group.prompt.columns)
    columns = {name: torch.zeros(shape, dtype=torch.long) for name in names}
    where: list[Tensor] = [torch.empty(0)] * sum(len(group.members) for group in groups)
    inputs: list[Mapping[str, Tensor]] = []
    known: dict[Any, int] = {}
    vision: list[int | None] = []
    for number, group in enumerate(groups):
        start = len(group.prompt.ids)
        ids[number, :start] = torch.tensor(group.prompt.ids)
        blocks[number, :start] = PROMPT
        positions[number, :start] = torch.arange(start)
        for name, values in group.prompt.columns.items():
            columns[name][number, :start] = torch.tensor(values)
        at = start
        for block, (place, answer) in enumerate(group.members, 1):
            end = at + len(answer)
            ids[number, at:end] = torch.tensor(answer)
            blocks[number, at:end] = block
            positions[number, at:end] = restarted(start, len(answer), at)
            before = torch.arange(at - 1, end - 1)
            before[0] = start - 1  # the first token of every answer is predicted by the prompt
            where[place] = before + number * width
            at = end
        if not group.vision:
            vision.append(None)
            continue
        if group.picture not in known:
            known[group.picture] = len(inputs)
            inputs.append(group.vision)
        vision.append(known[group.picture])
    return Sequences(
        ids, blocks, positions, columns, [group.prompt for group in groups], vision, inputs,
        torch.cat(where),
    )  # fmt: skip


def restarted(start: int, length: int, column: int) -> Tensor:
    """(length,) positions of an answer that stands at a column: behind the prompt's `start`."""
    return torch.arange(start, start + length)


def visible(blocks: Tensor) -> Tensor:
    """(S, 1, L, L) bool: which token (last axis) each token attends to.

    The prompt and its own answer up to itself. Padding attends to itself, since a row without
    anything visible has no softmax."""
    length = blocks.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=blocks.device).tril()
    query, key = blocks[:, :, None], blocks[:, None, :]
    seen = causal & (key >= PROMPT) & ((key == PROMPT) | (key == query))
    itself = torch.eye(length, dtype=torch.bool, device=blocks.device)
    return (seen | itself)[:, None]
