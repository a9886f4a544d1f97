"""The agent world: small games that are seen in a picture and played in words.

A scene is a state of a game: move a number to its target (`number-line`), make 12 of two cards
(`points`), walk to a circle past squares (`grid`). The model answers with a thought and an action,
or with an action alone; an answer has consequences, so that whole episodes are judged, too.

`games` are the rules, `picture` draws, `text` is what is said, `lessons` what a base is trained on,
`tasks` ask and judge, `environment` is the gymnasium environment, `build` trains a base on first
use.
"""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from PIL import Image

from reference_impls.core.worlds import protocol
from reference_impls.core.worlds.agent import games, tasks
from reference_impls.core.worlds.agent.games import GAMES, GRID, NUMBER_LINE, SPLITS, Scene
from reference_impls.core.worlds.agent.picture import render
from reference_impls.core.worlds.protocol import Condition, Media, Task

MIXED = "mixed"
CONDITIONS = (
    Condition(
        "game",
        "what is played; mixed draws one for each scene",
        "scenes",
        {**{game: place for place, game in enumerate(GAMES)}, MIXED: len(GAMES)},
        NUMBER_LINE,
    ),
    Condition(
        "answer",
        "whether a thought before the action is asked for",
        "prompts",
        {"thought": 1, "action": 0},
        "thought",
    ),
    *protocol.ANNOTATION,
)
BASE_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Agent(protocol.Conditioned):
    """The world under some levels of its conditions (see `protocol.World`)."""

    knobs: ClassVar[Sequence[Condition]] = CONDITIONS
    name: str = "agent"
    version: int = 1
    probes: tuple[str, ...] = ()
    says: str = "games that are seen in a picture and played in words"

    @property
    def tasks(self) -> Mapping[str, Task[Scene]]:
        act = tasks.Act(thoughts=bool(self.level("answer")))
        return {act.id: act}

    def draw(self, split: str, count: int, seed: int = 0) -> list[Scene]:
        """States in which a game begins."""
        if split not in SPLITS:
            raise ValueError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        rng = random.Random(f"{self.name}/{self.version}/{split}/{seed}")
        game = self.levels["game"]
        return [
            games.begin(rng.choice(GAMES) if game == MIXED else game, rng) for _ in range(count)
        ]

    def show(self, scene: Scene) -> Media:
        return Media(images=(Image.fromarray(render(scene)),))

    def alter(self, scene: Scene, rng: random.Random) -> Scene:
        """Another target, another card (or both), or another place of the player; a game that can
        be won still can."""
        if scene.game == NUMBER_LINE:
            others = [n for n in range(games.HIGHEST + 1) if n not in (scene.here, scene.goal)]
            altered = [replace(scene, goal=goal) for goal in others]
        elif scene.game == GRID:
            taken = (scene.here, scene.goal, *scene.blocks)
            free = [cell for cell in range(games.SIDE**2) if cell not in taken]
            altered = [replace(scene, here=here) for here in free]
        else:
            pairs = itertools.product(range(1, 11), repeat=len(scene.cards))
            altered = [replace(scene, cards=cards) for cards in pairs if cards != scene.cards]
            apart = [sum(map(operator.ne, each.cards, scene.cards)) for each in altered]
            won = [place for place, each in enumerate(altered) if games.best(each)]
            fewest = min((apart[place] for place in won), default=0)
            altered = [altered[place] for place in won if apart[place] == fewest] or altered
        return rng.choice([each for each in altered if games.best(each)] or altered)

    def base(self, seed: int = 0) -> Path:
        """Trained on first use, then kept in the user's cache."""
        from reference_impls.core.worlds.agent.build import FIRST_USE

        return FIRST_USE.get(BASE_SEEDS[seed % len(BASE_SEEDS)])


WORLD = Agent()
