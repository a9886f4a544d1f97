"""The games as a `gymnasium.Env`: an observation is a prompt with its picture, an action is text.

    import gymnasium
    import reference_impls.core.worlds.agent.environment

    environment = gymnasium.make("mmalign/number-line-v1")

Text that names no action of the game, or several, is replaced by an action drawn evenly, as in
RL4VLM (arXiv:2405.10292, equation 4.1); `info["named"]` tells which it was.
"""

from __future__ import annotations

import random
import string
from typing import Any, TypedDict, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Text, Tuple

from reference_impls.core.worlds.agent import games, text
from reference_impls.core.worlds.agent.games import GAMES, Scene
from reference_impls.core.worlds.agent.picture import SIZE, render
from reference_impls.core.worlds.protocol import IMAGE, Pixels

LONGEST = 512
"""Characters of a text that the spaces declare; longer answers are taken all the same."""


class Observation(TypedDict):
    """prompt: `<image>`, the rules, what the picture does not show, and the form of the answer.
    images: one picture, (64, 64, 3) uint8."""

    prompt: str
    images: tuple[Pixels, ...]


class AgentEnv(gymnasium.Env[Observation, str]):
    """One game. With a `scene` every episode begins in it; otherwise `reset(seed=...)` draws one.

    The same seed, or scene, and the same answers give the same episode. `info` has `named` (whether
    the answer named an action), `action` (what was done), `total` and, at the end, `success`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 -- gymnasium declares it so

    def __init__(
        self,
        game: str = games.NUMBER_LINE,
        *,
        scene: Scene | None = None,
        thoughts: bool = True,
        render_mode: str | None = None,
    ) -> None:
        """Raises ValueError for a game that does not exist."""
        self.game = game if scene is None else scene.game
        if self.game not in GAMES:
            raise ValueError(f"no game {self.game!r}: there are {', '.join(GAMES)}")
        self.first, self.thoughts, self.render_mode = scene, thoughts, render_mode
        self.scene: Scene | None = None
        self.over = False
        spaces: dict[str, gymnasium.Space[Any]] = {
            "prompt": Text(LONGEST, min_length=1, charset=string.printable),
            "images": Tuple((Box(0, 255, (SIZE, SIZE, 3), np.uint8),)),
        }
        # As gymnasium's Dict it is a space of dicts; ours are dicts whose keys are known.
        self.observation_space = cast("gymnasium.Space[Observation]", Dict(spaces))
        self.action_space = Text(LONGEST, min_length=0, charset=string.printable)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The first observation of an episode; without a seed another one than the last."""
        super().reset(seed=seed)
        scene = self.first
        if scene is None:
            scene = games.begin(self.game, random.Random(int(self.np_random.integers(2**62))))
        self.scene, self.over = scene, False
        # What is done where an answer names nothing: a stream of the episode's own.
        self._exploring = random.Random(f"explore/{scene.noise}")
        return self._observed(), {"total": 0.0}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One answer of the player. Raises RuntimeError before `reset`, and after the end."""
        if self.scene is None or self.over:
            raise RuntimeError("reset the environment before its first step, and after the last")
        named = text.named_action(action, self.scene.actions)
        done = named if named is not None else self._exploring.choice(self.scene.actions)
        outcome = games.move(self.scene, done)
        self.scene, self.over = outcome.scene, outcome.terminated or outcome.truncated
        info: dict[str, Any] = {
            "named": named is not None, "action": done, "total": outcome.scene.total,
        }  # fmt: skip
        if self.over:
            info["success"] = outcome.won
        return self._observed(), outcome.reward, outcome.terminated, outcome.truncated, info

    def render(self) -> Pixels | None:
        """(64, 64, 3) the picture of the state, in the mode `rgb_array`."""
        return None if self.render_mode is None or self.scene is None else render(self.scene)

    def _observed(self) -> Observation:
        assert self.scene is not None
        prompt = f"{IMAGE} {text.prompt(self.scene, self.thoughts)}"
        return {"prompt": prompt, "images": (render(self.scene),)}


def make(**options: Any) -> AgentEnv:
    """The environment, as `gymnasium.make` asks for it."""
    return AgentEnv(**options)


for _game in GAMES:
    gymnasium.register(id=f"mmalign/{_game}-v1", entry_point=make, kwargs={"game": _game})
