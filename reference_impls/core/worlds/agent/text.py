"""What a player is asked and what it answers: JSON with a thought and an action, as in RL4VLM.

Words are parted by blanks, also inside the JSON, for the lab's tokenizer of whole words:
`{ "thoughts" : " current 7 , target 3 , too large , choose - . " , "action" : " - " }`.
"""

from __future__ import annotations

import json
import re

from reference_impls.core.worlds.agent.games import (
    GRID,
    HIGHEST,
    NUMBER_LINE,
    POINTS,
    SIDE,
    STEPS,
    TARGET,
    Scene,
    beside,
    left,
    value,
)
from reference_impls.core.worlds.scenes import text as scenes_text

RULES = {
    NUMBER_LINE: "number line : move the current number to the target . actions : + - .",
    POINTS: "points : make 12 of both cards . actions : 1 to 10 + * = .",
    GRID: "grid : go to the red circle past the squares . actions : up down left right .",
}
THOUGHTS_KEY, ACTION_KEY = '"thoughts"', '"action"'
ASKS = {True: "answer with thoughts and action .", False: "answer with action ."}
NOTHING = "nothing"

WORDS = tuple(
    dict.fromkeys(
        " ".join((
            *scenes_text.WORDS,
            *RULES.values(), *ASKS.values(), *STEPS,
            " ".join(str(number) for number in range(2 * max(HIGHEST, TARGET) + 1)),
            f'{{ }} " : , . ? + - * = {THOUGHTS_KEY} {ACTION_KEY} {NOTHING}',
            "current target too large too small choose cards formula makes card is complete",
            "you row column circle square triangle free what the here",
        )).split()
    )
)  # fmt: skip
"""The vocabulary of prompts, answers and lessons. The words of the scenes world come first, so that
a base may begin with one of that world."""


def prompt(scene: Scene, thoughts: bool) -> str:
    """What is asked in a state: the rules, what the picture does not show, and the form wanted."""
    written = ""
    if scene.game == POINTS:
        written = f" formula : {' '.join(scene.formula) or NOTHING} ."
    return f"{RULES[scene.game]}{written} {ASKS[thoughts]}"


def answer(action: str, thought: str = "") -> str:
    """The JSON of an answer; without thought the action alone."""
    begun = f'{THOUGHTS_KEY} : " {thought} " , ' if thought else ""
    return f'{{ {begun}{ACTION_KEY} : " {action} " }}'


def thought(scene: Scene, action: str) -> str:
    """What a player who reads the picture of a state right says before that action."""
    if scene.game == NUMBER_LINE:
        judged = "too small" if action == "+" else "too large"
        said = f"current {scene.here} , target {scene.goal} , {judged}"
    elif scene.game == POINTS:
        one, other = scene.cards
        rest = left(scene)
        said = f"cards {one} {other} , "
        if action == "=":
            said += "formula is complete"
        elif action in ("+", "*") and rest:
            said += f"{scene.formula[-1] if scene.formula else one} {action} {rest[0]} makes 12"
        else:
            said += f"{action} is here"
    else:
        said = f"you {place(scene.here)} , circle {place(scene.goal)} , "
        said += f"{action} is {ahead(scene, action)}"
    return f"{said} , choose {action} ."


def place(cell: int) -> str:
    """A cell of the grid in words, counted from 1."""
    return f"row {cell // SIDE + 1} column {cell % SIDE + 1}"


def ahead(scene: Scene, action: str) -> str:
    """What is in the cell that an action leads to: a square, the circle, nothing, or no cell."""
    cell = beside(scene.here, action)
    if cell is None:
        return NOTHING
    return "square" if cell in scene.blocks else "circle" if cell == scene.goal else "free"


ACTION = re.compile(rf'{ACTION_KEY}\s*:\s*"([^"]*)"')


def named_action(text: str, actions: tuple[str, ...]) -> str | None:
    """The action that an answer names: the word in quotes behind `"action" :` (equation 4.1 of
    arXiv:2405.10292); None where it names none of the game's, or several different ones."""
    named = {found.strip().lower() for found in ACTION.findall(text)}
    action = named.pop() if len(named) == 1 else None
    return action if action in actions else None


def well_formed(text: str, thoughts: bool) -> bool:
    """Whether an answer is one JSON object of the keys that were asked for, and texts in them."""
    try:
        # Pairs, so that a key that stands twice is seen; a float, however many digits are there.
        found = json.loads(text, object_pairs_hook=list, parse_int=float)
    except (ValueError, RecursionError):
        return False
    keys = ["thoughts", "action"] if thoughts else ["action"]
    pairs = found if isinstance(found, list) else []
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        return False
    return [key for key, _ in pairs] == keys and all(
        isinstance(said, str) and said.strip() for _, said in pairs
    )


def reads_right(scene: Scene, text: str) -> bool:
    """Whether a thought says what the picture shows: both numbers, both cards, or both cells."""
    if scene.game == NUMBER_LINE:
        said = f"current {scene.here} , target {scene.goal} ,"
    elif scene.game == POINTS:
        said = f"cards {scene.cards[0]} {scene.cards[1]} ,"
    else:
        said = f"you {place(scene.here)} , circle {place(scene.goal)} ,"
    return said in text


def complete(scene: Scene) -> bool:
    """Whether the formula of `points` uses both cards and has a value."""
    return not left(scene) and value(scene.formula) is not None
