"""What is asked in a state of a game, and how answers and whole episodes are judged."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reference_impls.core.worlds.agent import games, text
from reference_impls.core.worlds.agent.games import Scene
from reference_impls.core.worlds.protocol import Episode, Episodic, Item, Segment, ask

if TYPE_CHECKING:
    from reference_impls.core.worlds.agent.environment import AgentEnv

SceneItem = Item[Scene]


def stream(task: str, seed: int, place: int) -> random.Random:
    """The random stream of one scene of a task; other scenes do not move it."""
    return random.Random(f"agent/1/{task}/{seed}/{place}")


def share(part: float, whole: float) -> float:
    """part / whole, 0.0 where there is nothing."""
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Act(Episodic[Scene]):
    """The next action in a state on a best path; `thoughts`: a thought is asked for before it."""

    thoughts: bool = True
    id: str = "act"
    says: str = "choose the next action of a game; whole episodes are played, too"
    max_new_tokens: int = 48
    tuned_by: str = "success_rate"
    guarded_by: tuple[str, ...] = ("format", "invalid")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items = []
        for place, scene in enumerate(scenes):
            rng = stream(self.id, seed, place)
            state = games.further(scene, rng)
            truth = self.answer(state, rng.choice(games.best(state)))
            items.append(Item(state, ask(text.prompt(state, self.thoughts)), truth, state.game))
        return items

    def answer(self, scene: Scene, action: str) -> str:
        """A well-formed answer with that action, and the thought that leads to it."""
        return text.answer(action, text.thought(scene, action) if self.thoughts else "")

    def environment(self, item: SceneItem) -> AgentEnv:
        from reference_impls.core.worlds.agent.environment import AgentEnv

        return AgentEnv(scene=games.restarted(item.scene), thoughts=self.thoughts)

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.named_action(answer, item.scene.actions) is not None

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        """1 for an action from which the game is won in the fewest moves."""
        return float(text.named_action(answer, item.scene.actions) in games.best(item.scene))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        """The words from the action's key on."""
        words = answer.split()
        if text.ACTION_KEY not in words:
            return []
        start = words.index(text.ACTION_KEY)
        return [Segment(start, len(words), self.score(item, answer) == 1.0)]

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        if self.score(item, answer) == 1.0:
            return answer
        return self.answer(item.scene, games.best(item.scene)[0])

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        wrong = [word for word in item.scene.actions if word not in games.best(item.scene)]
        return self.answer(item.scene, rng.choice(wrong))

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """action_accuracy: best actions; format: JSON of the keys asked for; invalid: answers that
        name no action of the game, or several; reading: thoughts that read the picture right;
        length: words; parse: answers that name one action."""
        both = list(zip(items, answers, strict=True))
        parsed = sum(self.parses(*pair) for pair in both)
        return {
            "action_accuracy": share(sum(self.score(*pair) for pair in both), len(both)),
            "format": share(sum(text.well_formed(a, self.thoughts) for _, a in both), len(both)),
            "invalid": share(len(both) - parsed, len(both)),
            "reading": share(sum(text.reads_right(i.scene, a) for i, a in both), len(both)),
            "length": share(sum(len(a.split()) for _, a in both), len(both)),
            "parse": share(parsed, len(both)),
        }

    def episode_metrics(self, episodes: Sequence[Episode[Scene]]) -> dict[str, float]:
        """success_rate: episodes whose rewards have a positive sum, as the paper's code counts it;
        episode_return: mean sum of rewards; episode_length: moves; invalid_moves: share of moves
        whose answer named no action, so that one was drawn."""
        moves = sum(len(each.answers) for each in episodes)
        named = sum(self.parses(each.item, said) for each in episodes for said in each.answers)
        return {
            "success_rate": share(sum(each.total > 0 for each in episodes), len(episodes)),
            "episode_return": share(sum(each.total for each in episodes), len(episodes)),
            "episode_length": share(moves, len(episodes)),
            "invalid_moves": share(moves - named, moves),
        }
