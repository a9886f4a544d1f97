"""Held-out metrics of a model in a world: what it says, and how it scores fixed answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from reference_impls.core.data.rows import LazyRows, pair_row
from reference_impls.core.method import Row, resolve_views
from reference_impls.core.model.policy import Policy
from reference_impls.core.train import forward
from reference_impls.core.train.episodes import Step, play
from reference_impls.core.worlds.protocol import (
    Episode,
    Episodic,
    Item,
    Media,
    Task,
    World,
    media_of,
)

SCENES, PAIRS = 512, 256
"""Held-out scenes that are asked about, and held-out pairs that are scored, in one run."""
EPISODES = 128
"""Of these scenes, how many begin an episode that is played to its end."""
BATCH = 64
KEPT_SETS = 4
_ASKED: dict[tuple[Any, ...], tuple[list[Item[Any]], list[Media]]] = {}


@torch.no_grad()
def answer_logps(
    policy: Policy, rows: Sequence[Row], response: str = "chosen", images: str = "images"
) -> torch.Tensor:
    """(N,) log pi(answer | images, prompt), summed over the answer's tokens and its ending."""
    view = resolve_views(("chosen",))[0]
    scorer = forward.Scorer(policy.encoder, (view,), shared=False)
    device = next(policy.model.parameters()).device
    policy.model.eval()
    totals = []
    size = min(BATCH, policy.batch_size)
    for start in range(0, len(rows), size):
        part = [
            {"images": row[images], "prompt": row["prompt"], "chosen": row[response]}
            for row in rows[start : start + size]
        ]
        batch = scorer.collate(part, list(range(len(part)))).to(device)
        totals.append(scorer.score(policy.model, batch).logps["chosen"].sum(-1).float().cpu())
    return torch.cat(totals)


@dataclass(frozen=True)
class HeldOutPairs:
    """Fixed pairs to score, the better answer first."""

    rows: Sequence[Row]

    def measure(self, policy: Policy) -> dict[str, float]:
        """Means over pairs, in nats.

        chosen_logp, rejected_logp: log-probability of an answer. reward_accuracy: share of pairs in
        which the better one is more likely, or rated higher by a reward model. image_sensitivity:
        how much more likely the better one is under its own pictures than under a blank and another
        row's (a diagnosis: it rises when a model collapses, too). Nothing where no pairs are there,
        as of a base that has learnt nothing; of rows with one answer what needs no other.
        """
        if not self.rows:
            return {}
        rows = LazyRows(len(self.rows), self._beside)
        chosen = answer_logps(policy, rows)
        counts, pairs = [], []
        for row in self.rows:
            counts.append(len(row["images"]))
            pairs.append("rejected" in row)
        same = [n for n, count in enumerate(counts) if count == counts[(n + 1) % len(counts)]]
        same_count = LazyRows(len(same), lambda number: rows[same[number]])
        found = {"chosen_logp": chosen.mean().item()}
        if all(pairs):
            rejected = answer_logps(policy, rows, response="rejected")
            better, worse = chosen, rejected
            if policy.rates is not None:
                better, worse = (
                    torch.tensor(
                        list(policy.rates([{**row, "response": row[side]} for row in rows]))
                    )
                    for side in ("chosen", "rejected")
                )
            found["rejected_logp"] = rejected.mean().item()
            found["reward_accuracy"] = (better > worse).float().mean().item()
        if same:
            wrong = answer_logps(policy, same_count, images="blank")
            shuffled = answer_logps(policy, same_count, images="others")
            found["image_sensitivity"] = (chosen[same] - (wrong + shuffled) / 2).mean().item()
        return found

    def _beside(self, number: int) -> Row:
        """A row with a blank in place of each picture, and with the next row's."""
        row, other = self.rows[number], self.rows[(number + 1) % len(self.rows)]
        return {**row, "blank": _blank(row["images"]), "others": other["images"]}


def _blank(images: Sequence[Image.Image]) -> list[Image.Image]:
    return [Image.new("RGB", image.size, (128, 128, 128)) for image in images]


def held_out_pairs(
    world: World[Any], task: Task[Any], base: Policy, split: str, count: int = PAIRS
) -> HeldOutPairs:
    """Two sampled answers of the base to each held-out scene, ordered by the truth."""
    items = task.items(world.draw(split, count, 0), 0)
    media = [media_of(world, item) for item in items]
    first, second = (
        base.answer_items(items, media, temperature=1.0, max_new_tokens=task.max_new_tokens)
        for _ in range(2)
    )
    rows = []
    for item, shown, one, other in zip(items, media, first, second, strict=True):
        gap = task.score(item, one) - task.score(item, other)
        if gap:
            better, worse = (one, other) if gap > 0 else (other, one)
            rows.append(pair_row(item, shown, better, worse))
    return HeldOutPairs(rows)


def asked(
    world: World[Any], task: Task[Any], split: str, count: int
) -> tuple[list[Item[Any]], list[Media]]:
    """Held-out items of a task, and what their scenes show; the last ones are kept in memory, since
    a worker of the bench asks the same of every model."""
    key = (world.name, world.version, tuple(sorted(world.levels.items())), task.id, split, count)
    if key in _ASKED:
        return _ASKED[key]
    items = task.items(world.draw(split, count, 0), 0)
    while len(_ASKED) >= KEPT_SETS:
        del _ASKED[next(iter(_ASKED))]
    _ASKED[key] = (items, [media_of(world, item) for item in items])
    return _ASKED[key]


def behaviour(
    policy: Policy, world: World[Any], task: Task[Any], split: str, count: int = SCENES
) -> dict[str, float]:
    """Metrics of greedy answers to held-out scenes: the method's task, then the world's probes.

    A probe's metric that the task reports, too, is named after the probe. Of a task whose answers
    have consequences (`Episodic`) whole episodes are played, too.
    """
    return behaviour_in_blocks(policy, world, task, split, count, 1, world.probes)[0]


def behaviour_in_blocks(
    policy: Policy,
    world: World[Any],
    task: Task[Any],
    split: str,
    count: int,
    blocks: int,
    probes: Sequence[str],
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The same metrics of all items, and of each of so many blocks of neighbouring items.

    A difference between two rows is resampled by blocks (`bench.statistics`).
    """
    whole: dict[str, float] = {}
    parts: dict[str, list[float]] = {}
    for name in dict.fromkeys((task.id, *probes)):
        each = world.tasks[name]
        items, media = asked(world, each, split, count)
        answers = policy.answer_items(items, media, max_new_tokens=each.max_new_tokens)
        size = max(1, -(-len(items) // blocks))
        by_block = [
            each.metrics(items[start : start + size], answers[start : start + size])
            for start in range(0, len(items), size)
        ]
        found = {
            metric: (value, [block[metric] for block in by_block])
            for metric, value in each.metrics(items, answers).items()
        }
        if isinstance(each, Episodic):
            found |= _played(policy, each, items[:EPISODES], each.max_new_tokens, blocks)
        for metric, (value, of_blocks) in found.items():
            label = f"{name}_{metric}" if metric in whole else metric
            whole[label] = value
            parts[label] = of_blocks
    return whole, parts


def _played(
    policy: Policy, task: Episodic[Any], items: Sequence[Item[Any]], most: int, blocks: int
) -> dict[str, tuple[float, list[float]]]:
    """Metrics of greedy episodes that begin where the items' do: of all, and of each block."""
    rows = [{"item": item} for item in items]

    def answer(asked: Sequence[Row], stream: int) -> list[str]:
        prompts, images = [row["prompt"] for row in asked], [row["images"] for row in asked]
        return policy.answer(prompts, images, max_new_tokens=most)

    played = play([task.environment(item) for item in items], rows, answer, 0)
    steps: list[list[Step]] = [[] for _ in items]
    for step in played.steps:
        steps[step.episode].append(step)
    episodes = [
        Episode(item, tuple(s.answer for s in each), tuple(s.reward for s in each))
        for item, each in zip(items, steps, strict=True)
    ]
    size = max(1, -(-len(episodes) // blocks))
    by_block = [
        task.episode_metrics(episodes[start : start + size])
        for start in range(0, len(episodes), size)
    ]
    return {
        metric: (value, [block[metric] for block in by_block])
        for metric, value in task.episode_metrics(episodes).items()
    }


def answers_of(policy: Policy, rows: Sequence[Row], max_new_tokens: int) -> list[str]:
    """Greedy answers to the prompts of rows."""
    return policy.answer(
        [row["prompt"] for row in rows],
        [row["images"] for row in rows],
        max_new_tokens=max_new_tokens,
    )
