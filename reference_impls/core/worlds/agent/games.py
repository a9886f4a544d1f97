"""The rules of three small games, as pure functions of a state: no drawing, no text of a model.

`number-line` and `points` are NumberLine and EZPoints of gym_cards with their rewards
(arXiv:2405.10292, appendix B.1); `grid` is a walk past squares. A game is won where the sum of its
rewards is above 0, as that paper counts success.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

NUMBER_LINE, POINTS, GRID = "number-line", "points", "grid"
GAMES = (NUMBER_LINE, POINTS, GRID)
SPLITS = ("base", "pairs", "validation", "test")

HIGHEST = 9
"""The line's numbers are 0 to 9; the paper's default is 5."""
TARGET = 12
"""What both cards of `points` are to make."""
NUMBERS = tuple(str(number) for number in range(1, 11))
SIDE = 4
"""Cells per side of the grid."""
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}

ACTIONS: dict[str, tuple[str, ...]] = {
    NUMBER_LINE: ("+", "-"),
    POINTS: (*NUMBERS, "+", "*", "="),
    GRID: tuple(STEPS),
}
MOST_MOVES = {NUMBER_LINE: 12, POINTS: 6, GRID: 10}
"""After so many moves a game ends; the longest that is needed has 9, 4 and 8."""


@dataclass(frozen=True)
class Scene:
    """A state of a game, and the seed of its picture's noise.

    here, goal: numbers on the line, or cells of the grid in reading order. blocks: cells with a
    square. cards and formula belong to `points`: two numbers, and what was written so far. moves:
    how many were made. total: the sum of their rewards.
    """

    game: str
    here: int = 0
    goal: int = 0
    blocks: tuple[int, ...] = ()
    cards: tuple[int, ...] = ()
    formula: tuple[str, ...] = ()
    moves: int = 0
    total: float = 0.0
    noise: int = 0

    @property
    def actions(self) -> tuple[str, ...]:
        """The words of all actions of the game."""
        return ACTIONS[self.game]


@dataclass(frozen=True)
class Outcome:
    """What a move leads to: the next state, its reward, whether the game has ended by its rules
    (`terminated`) or by the number of moves (`truncated`)."""

    scene: Scene
    reward: float
    terminated: bool
    truncated: bool

    @property
    def won(self) -> bool:
        """Whether an ended game has a positive sum of rewards."""
        return self.terminated and self.scene.total > 0


def move(scene: Scene, action: str) -> Outcome:
    """The outcome of an action of the game; KeyError-free: other words raise ValueError."""
    if action not in scene.actions:
        raise ValueError(f"{scene.game} has no action {action!r}: {', '.join(scene.actions)}")
    if scene.game == POINTS:
        after, reward, terminated = _write(scene, action)
    elif scene.game == GRID:
        after, reward, terminated = _walk(scene, action)
    else:
        after, reward, terminated = _count(scene, action)
    after = replace(after, moves=scene.moves + 1, total=scene.total + reward)
    truncated = not terminated and after.moves >= MOST_MOVES[scene.game]
    return Outcome(after, reward, terminated, truncated)


def _count(scene: Scene, action: str) -> tuple[Scene, float, bool]:
    """1 at the goal, -1 for a move that comes no closer, 0 otherwise."""
    here = min(HIGHEST, max(0, scene.here + (1 if action == "+" else -1)))
    closer = abs(here - scene.goal) < abs(scene.here - scene.goal)
    there = here == scene.goal
    return replace(scene, here=here), 1.0 if there else 0.0 if closer else -1.0, there


def _write(scene: Scene, action: str) -> tuple[Scene, float, bool]:
    """10 for a formula of both cards that makes 12; -1 for another one, and for a number that the
    cards do not have (left); 0 otherwise."""
    if action == "=":
        right = value(scene.formula) == TARGET and not left(scene)
        return scene, 10.0 if right else -1.0, True
    if action in NUMBERS and int(action) not in left(scene):
        return scene, -1.0, False
    return replace(scene, formula=(*scene.formula, action)), 0.0, False


def _walk(scene: Scene, action: str) -> tuple[Scene, float, bool]:
    """1 at the goal, -1 on a square, both end the game; -0.1 for a step that is not possible, 0
    otherwise."""
    here = beside(scene.here, action)
    if here is None:
        return scene, -0.1, False
    after = replace(scene, here=here)
    if here in scene.blocks:
        return after, -1.0, True
    return after, float(here == scene.goal), here == scene.goal


def beside(cell: int, action: str) -> int | None:
    """The cell next to one, None beyond the edge."""
    down, right = STEPS[action]
    row, column = cell // SIDE + down, cell % SIDE + right
    inside = 0 <= row < SIDE and 0 <= column < SIDE
    return row * SIDE + column if inside else None


def left(scene: Scene) -> list[int]:
    """The cards that the formula does not use yet."""
    cards = list(scene.cards)
    for word in scene.formula:
        if word in NUMBERS and int(word) in cards:
            cards.remove(int(word))
    return cards


def value(formula: Sequence[str]) -> int | None:
    """What numbers joined by + and * make, * first; None where that is not a formula."""
    total, product, number_next = 0, 1, True
    for word in formula:
        if (word in NUMBERS) != number_next:
            return None
        if word in NUMBERS:
            product *= int(word)
        elif word == "+":
            total, product = total + product, 1
        number_next = not number_next
    return None if number_next else total + product


# --- the best moves ------------------------------------------------------------------------------


def distances(scene: Scene) -> dict[int, int]:
    """Steps from each cell of the grid to the goal past the squares; no entry where none lead."""
    found, edge = {scene.goal: 0}, [scene.goal]
    while edge:
        cell = edge.pop(0)
        for action in STEPS:
            other = beside(cell, action)
            if other is not None and other not in found and other not in scene.blocks:
                found[other] = found[cell] + 1
                edge.append(other)
    return found


def best(scene: Scene) -> tuple[str, ...]:
    """The actions from which the game is won in the fewest moves; empty where it cannot be won."""
    if scene.game == NUMBER_LINE:
        return ("+",) if scene.goal > scene.here else ("-",)
    if scene.game == GRID:
        steps = distances(scene)
        if scene.here not in steps:
            return ()
        to = {action: beside(scene.here, action) for action in STEPS}
        nearer = steps[scene.here] - 1
        return tuple(a for a, cell in to.items() if cell is not None and steps.get(cell) == nearer)
    goals = [goal for goal in solutions(scene.cards) if goal[: len(scene.formula)] == scene.formula]
    nexts = [(*goal, "=")[len(scene.formula)] for goal in goals]
    return tuple(dict.fromkeys(nexts))


def solutions(cards: Sequence[int]) -> list[tuple[str, ...]]:
    """The formulas of two cards that make 12, in the cards' order first."""
    one, other = (str(card) for card in cards)
    formulas = [(a, sign, b) for a, b in ((one, other), (other, one)) for sign in ("+", "*")]
    return [formula for formula in dict.fromkeys(formulas) if value(formula) == TARGET]


# --- beginnings ----------------------------------------------------------------------------------


def begin(game: str, rng: random.Random) -> Scene:
    """A state in which a game begins and from which it can be won."""
    noise = rng.getrandbits(32)
    if game == NUMBER_LINE:
        here, goal = rng.sample(range(HIGHEST + 1), 2)
        return Scene(game, here, goal, noise=noise)
    if game == POINTS:
        one = rng.randint(1, 10)
        others = [n for n in range(1, 11) if solutions((one, n))]
        if not others:
            return begin(game, rng)
        cards = [one, rng.choice(others)]
        rng.shuffle(cards)
        return Scene(game, cards=tuple(cards), noise=noise)
    cells = rng.sample(range(SIDE * SIDE), 2 + rng.randint(2, 4))
    scene = Scene(game, cells[0], cells[1], tuple(sorted(cells[2:])), noise=noise)
    return scene if best(scene) else begin(game, rng)


def restarted(scene: Scene) -> Scene:
    """The state as a beginning: no move made yet, nothing written."""
    return replace(scene, formula=(), moves=0, total=0.0)


def further(scene: Scene, rng: random.Random) -> Scene:
    """A state on a best path from a beginning, drawn evenly, before its last move."""
    path = [scene]
    while True:
        outcome = move(path[-1], rng.choice(best(path[-1])))
        if outcome.terminated:
            return rng.choice(path)
        path.append(outcome.scene)
