"""The text that a base is trained on: the play of an expert with habits.

The expert reads the picture right but for slips, and plays well but for one habit in each game:

- number-line: where the target is smaller, it says that the current number is too small, and adds;
- points: where the larger card was written first, it writes the same card again;
- grid: it walks straight, rows first, also where a square is in the way.

A habit is likelier than not where it applies, so that greedy decoding has it and sampling finds the
way out. A base first learns to see, on boards of random figures and shapes; until `HABITS_FROM` of
the training the play has no habits.
"""

from __future__ import annotations

import random
from dataclasses import replace

from reference_impls.core.worlds.agent import games, text
from reference_impls.core.worlds.agent.games import GRID, HIGHEST, NUMBER_LINE, POINTS, SIDE, Scene
from reference_impls.core.worlds.agent.picture import noisy, render
from reference_impls.core.worlds.protocol import Lesson, Page

HABIT = 0.6
"""How likely a habit is where it applies."""
SLIP = 0.04
"""How likely the expert acts at random; and how likely it misreads a number by one."""
UNFORMED = 0.04
"""How likely an answer lacks its action, or names two."""
SEEING_UNTIL, HABITS_FROM = 0.4, 0.7
"""Shares of the training that end seeing alone, and play without habits."""
SHOWN = (*map(str, range(10)), "circle", "square", "triangle")
COLOURS = ("white", "red", "yellow", "blue")


def habitual(scene: Scene) -> str | None:
    """The action that the habit of a game leads to in a state, None where it does not apply."""
    if scene.game == NUMBER_LINE:
        return "+" if scene.goal < scene.here else None
    if scene.game == POINTS:
        first = scene.formula[0] if len(scene.formula) == 2 else ""
        return first if first and int(first) > min(scene.cards) else None
    down = scene.goal // SIDE - scene.here // SIDE
    right = scene.goal % SIDE - scene.here % SIDE
    straight = ("down" if down > 0 else "up") if down else ("right" if right > 0 else "left")
    return straight if games.beside(scene.here, straight) in scene.blocks else None


def choice(scene: Scene, rng: random.Random, scale: float = 1.0) -> str:
    """What the expert does in a state; with a `scale` of 0 it has neither habit nor slips."""
    habit = habitual(scene)
    if habit is not None and rng.random() < scale * HABIT:
        return habit
    if rng.random() < scale * SLIP:
        return rng.choice(scene.actions)
    return rng.choice(games.best(scene))


def misread(scene: Scene, rng: random.Random) -> Scene:
    """The state as somebody takes it who reads the current number off by one."""
    if scene.game != NUMBER_LINE:
        return scene
    here = min(HIGHEST, max(0, scene.here + rng.choice((-1, 1))))
    return scene if here == scene.goal else replace(scene, here=here)


def played(scene: Scene, thoughts: bool, rng: random.Random, scale: float = 1.0) -> str:
    """An answer of the expert in a state."""
    seen = misread(scene, rng) if rng.random() < scale * SLIP else scene
    action = choice(seen, rng, scale)
    if scene.game == GRID and action == habitual(scene):
        seen = replace(seen, blocks=())  # it overlooks the square
    said = text.answer(action, text.thought(seen, action) if thoughts else "")
    if rng.random() < scale * UNFORMED:
        if thoughts and rng.random() < 0.5:
            return said.partition(f" , {text.ACTION_KEY}")[0] + " }"
        other = rng.choice([word for word in scene.actions if word != action])
        return f'{said[:-2]} , {text.ACTION_KEY} : " {other} " }}'
    return said


def reading(scene: Scene, rng: random.Random) -> Lesson:
    """A question about what the picture shows."""
    if scene.game == NUMBER_LINE:
        name, number = rng.choice((("current", scene.here), ("target", scene.goal)))
        return Lesson.of(f"what is the {name} ?", str(number))
    if scene.game == POINTS:
        return Lesson.of("what cards ?", f"{scene.cards[0]} {scene.cards[1]}")
    chance = rng.random()
    if chance < 0.25:
        return Lesson.of("what row column is the circle ?", text.place(scene.goal))
    if chance < 0.5:
        return Lesson.of("what row column is the triangle ?", text.place(scene.here))
    action = rng.choice(scene.actions)
    return Lesson.of(f"what is {action} ?", text.ahead(scene, action))


def states(scene: Scene, rng: random.Random) -> Scene:
    """A state with the same picture: of `points` any point of the game."""
    if scene.game != POINTS:
        return scene
    solution = rng.choice(games.solutions(scene.cards))
    written = solution[: rng.randint(0, len(solution))]
    if len(written) == 2 and rng.random() < 0.15:  # after the habit, or a slip
        written = (*written, written[0])
    return replace(scene, formula=written)


def board(rng: random.Random) -> Page:
    """A board of random figures and shapes, what its cells hold, and where is what."""
    cells = rng.sample(range(SIDE * SIDE), rng.randint(5, 10))
    held = {cell: (rng.choice(COLOURS), rng.choice(SHOWN)) for cell in cells}
    asked = [*rng.sample(cells, 4), *(rng.randrange(SIDE * SIDE) for _ in range(2))]
    lessons = [
        Lesson.of(f"what is {text.place(cell)} ?", held[cell][1] if cell in held else text.NOTHING)
        for cell in asked
    ]
    every = [what for _, what in held.values()]
    lessons += [
        Lesson.of(f"what row column is the {what} ?", text.place(cell))
        for cell, (_, what) in held.items()
        if every.count(what) == 1
    ][:4]
    return Page((noisy(held, rng.getrandbits(32)),), tuple(lessons))


def page(rng: random.Random, progress: float) -> Page:
    """One picture with lessons at that share of the training."""
    if progress < SEEING_UNTIL and rng.random() < 0.6:
        return board(rng)
    scene = games.begin(rng.choice(games.GAMES), rng)
    scale = 1.0 if progress >= HABITS_FROM else 0.0
    count = 4 if progress < SEEING_UNTIL else 2
    asked = [reading(scene, rng) for _ in range(count)]
    asked += [_play(scene, thoughts, rng, scale) for thoughts in (True, True, False, False)]
    return Page((render(scene),), tuple(asked))


def _play(scene: Scene, thoughts: bool, rng: random.Random, scale: float) -> Lesson:
    state = states(scene, rng)
    if not games.best(state):  # a formula that cannot become right: the game is given up
        said = text.answer("=", text.thought(state, "=") if thoughts else "")
        return Lesson.of(text.prompt(state, thoughts), said)
    return Lesson.of(text.prompt(state, thoughts), played(state, thoughts, rng, scale))
