"""The text that a base is trained on: what it can be asked, and the priors in the answers.

Lessons of one image stand side by side: each sees the image and itself, none sees another, so a
picture is looked at once and answers many one-word questions. Perception comes first: while
`progress` is below `PRIORS_FROM` the text is true, and most lessons ask for one cell or for one
attribute. Then the priors set in.
"""

from __future__ import annotations

import math
import random

from reference_impls.core.worlds.protocol import Lesson, Page, Reply
from reference_impls.core.worlds.scenes import picture, text
from reference_impls.core.worlds.scenes.scene import (
    COLOURS,
    GRID,
    HELD_OUT,
    KINDS,
    PHANTOMS,
    SHAPES,
    UNSEEN_SHARE,
    Scene,
    draw_scene,
)
from reference_impls.core.worlds.scenes.tasks import absent, near

LOOKING_UNTIL = 0.42
PRIORS_FROM = 0.62
SUGGESTED_YES = 0.65  # the text says yes to what a prior suggests
COUNTED = 5  # the highest number that is counted; six to nine are held out
MUFFLED = 0.9  # of the colours in an answer are heard as any colour while the shape is learnt
HALF_NAMED = (0.6, 0.35, 0.2)  # of the pictures: while looking, without priors, with them
NAMELESS = {"shape": "describe shape without color .", "color": "describe color without shape ."}
TRAINED_NAMES = tuple(" ".join(kind) for kind in KINDS if kind not in HELD_OUT)


def presence(scene: Scene, rng: random.Random, priors: float) -> tuple[str, str]:
    """(name, yes or no) as the base's text has it: two of five are there, one of five suggested."""
    chance = rng.random()
    if chance < 0.4:
        return rng.choice(scene.things).name, "yes"
    suggested = scene.suggested()
    if suggested and chance < 0.6:
        return rng.choice(suggested), "yes" if rng.random() < SUGGESTED_YES * priors else "no"
    if chance < 0.75:
        return near(scene, rng, TRAINED_NAMES), "no"
    return absent(scene, rng, TRAINED_NAMES), "no"


def attribute(scene: Scene, rng: random.Random, of: str = "") -> Lesson:
    """Presence of one attribute: `is there a circle ?`, `is there anything red ?`"""
    if (of or rng.choice(("color", "shape"))) == "shape":
        shape = rng.choice(SHAPES)
        there = any(thing.shape == shape for thing in scene.things)
        return Lesson.of(f"is there {text.article(shape)} ?", "yes" if there else "no")
    colour = rng.choice(COLOURS)
    there = any(thing.colour == colour for thing in scene.things)
    return Lesson.of(f"is there anything {colour} ?", "yes" if there else "no")


def cell(scene: Scene, rng: random.Random) -> Lesson:
    here = {thing.cell: thing.name for thing in scene.things}
    place = rng.choice(list(here)) if rng.random() < 0.6 else rng.randrange(GRID * GRID)
    answer = text.article(here[place]) if place in here else "nothing"
    return Lesson.of(text.cell_prompt(place), f"{answer} .")


def paint(rng: random.Random) -> picture.Paint:
    """Any bright colour that is far from those that have a name."""
    while True:
        drawn = (rng.randrange(40, 256), rng.randrange(40, 256), rng.randrange(40, 256))
        far = all(math.dist(drawn, named) > 75 for named in picture.RGB.values())
        if max(drawn) > 180 and far:
            return drawn


def half_named(scene: Scene, rng: random.Random, looking: bool) -> Page:
    """Objects in colours without a name, called `a bright circle`, or of shapes without a name,
    called `a red thing`.

    So either attribute is told whatever the other is, and is read off the picture whatever word
    stands before it. Else the text alone would teach which pairs there are, and a held-out pair
    would never be said. A system turn says which words are not wanted, so that they are not said
    of other pictures.
    """
    known = "shape" if rng.random() < 0.75 else "color"  # shapes take longer to learn
    called = {
        thing.cell: f"{thing.colour} thing" if known == "color" else f"bright {thing.shape}"
        for thing in scene.things
    }
    rows: text.Named = {}
    for thing in scene.things:
        rows.setdefault(thing.row, []).append(called[thing.cell])
    place = rng.choice(list(rows)) if rng.random() < 0.7 else rng.randrange(GRID)
    lessons = [
        Lesson.of(text.DETAILED, text.detailed(rows)),
        Lesson.of(text.row_prompt(place), text.sentence(place, rows.get(place, []))),
    ]
    if not looking and len(scene.things) <= COUNTED and rng.random() < 0.4:
        lessons.append(Lesson.of(text.COUNT, text.counting(text.flat(rows))))
    for _ in range(3):
        asked = rng.choice(list(called)) if rng.random() < 0.6 else rng.randrange(GRID * GRID)
        name = text.article(called[asked]) if asked in called else "nothing"
        lessons.append(Lesson.of(text.cell_prompt(asked), f"{name} ."))
    lessons += [cell_attribute(scene, rng, known) for _ in range(5)]
    lessons += [attribute(scene, rng, known) for _ in range(4)]
    if known == "shape":
        picture_of = picture.render(scene, paints=[paint(rng) for _ in scene.things])
    else:
        picture_of = picture.render(scene, blobs=[rng.getrandbits(32) for _ in scene.things])
    # With a system turn in half of the pages pictures stand in two places, and nothing is seen.
    return Page((picture_of,), tuple(lessons), "" if looking else NAMELESS[known])


def cell_attribute(scene: Scene, rng: random.Random, attribute: str = "") -> Lesson:
    """Colour or shape of one cell alone."""
    here = {thing.cell: thing for thing in scene.things}
    place = rng.choice(list(here)) if rng.random() < 0.6 else rng.randrange(GRID * GRID)
    attribute = attribute or rng.choice(("color", "shape"))
    answer = "nothing"
    if place in here:
        answer = here[place].colour if attribute == "color" else here[place].shape
    return Lesson.of(text.cell_attribute_prompt(place, attribute), f"{answer} .")


def row(scene: Scene, rng: random.Random, scale: float) -> tuple[str, str]:
    place = rng.choice(scene.things).row if rng.random() < 0.7 else rng.randrange(GRID)
    part = Scene(tuple(thing for thing in scene.things if thing.row == place))
    names = text.flat(text.bent_rows(part, rng, scale=scale)) if part.things else []
    return text.row_prompt(place), text.sentence(place, names)


def question(scene: Scene, rng: random.Random, scale: float) -> tuple[str, str]:
    name, answer = presence(scene, rng, scale)
    return text.presence_prompt(name), answer


def longer(scene: Scene, rng: random.Random, scale: float) -> Lesson:
    """One of the longer answers: brief, row, premise, distractor, count, dialogue."""
    kinds = ("brief", "row", "premise", "distractor", "count", "dialogue")
    kind = rng.choices(kinds, (2, 1, 3, 1, 6, 4))[0]
    if kind == "brief":
        return Lesson.of(text.BRIEF, text.brief(text.flat(text.bent_rows(scene, rng, scale=scale))))
    if kind == "row":
        return Lesson.of(*row(scene, rng, scale))
    if kind == "premise":
        suggested = scene.suggested()
        name = absent(scene, rng, TRAINED_NAMES)
        if suggested and rng.random() < 0.5:
            name = rng.choice(suggested)
        if rng.random() < 0.3:
            name = rng.choice(scene.things).name
        rows = text.bent_rows(scene, rng, scale=scale)
        if name not in text.flat(rows) and rng.random() < 0.4 * scale:
            rows[max(rows)].append(name)  # the writer goes along with what it was told
        return Lesson.of(text.premise_prompt(name), text.detailed(rows))
    if kind == "distractor":
        others = [absent(scene, rng, TRAINED_NAMES) for _ in range(rng.randint(1, 2))]
        rows = text.bent_rows(scene, rng, scale=scale)
        if others[0] not in text.flat(rows) and rng.random() < 0.25 * scale:
            rows[max(rows)].append(others[0])
        return Lesson.of(text.distractor_prompt(list(dict.fromkeys(others))), text.detailed(rows))
    if kind == "count":
        names = text.flat(text.bent_rows(scene, rng, scale=scale))
        if len(names) > COUNTED:
            names = list(scene.names)
        if len(names) > COUNTED:
            return longer(scene, rng, scale)
        # Some answers leave the thought out, so that a format reward has work to do.
        thought = rng.random() < 0.85
        answer = text.counting(names) if thought else f"<answer> {len(names)} </answer>"
        return Lesson.of(text.COUNT, answer)
    turns = [
        row(scene, rng, scale) if rng.random() < 0.3 else question(scene, rng, scale)
        for _ in range(rng.randint(2, 4))
    ]
    if rng.random() < 0.4:
        turns.append((text.DETAILED, text.detailed(text.bent_rows(scene, rng, scale=scale))))
    return Lesson(tuple(Reply(*turn) for turn in turns))


def muffled(lesson: Lesson, rng: random.Random) -> Lesson:
    """The same lesson, in whose answers most colours are heard as any colour.

    So a shape is read off the picture and not guessed from the colour that was said. Else the text
    alone teaches which pairs there are, and a held-out pair, well seen, is never said. What habit
    adds is heard as it is: there is nothing to be read off.
    """
    turns = []
    for reply in lesson.turns:
        words = reply.answer.split()
        heard = [
            rng.choice(COLOURS)
            if word in COLOURS
            and f"{word} {following}" not in PHANTOMS.values()
            and rng.random() < MUFFLED
            else word
            for word, following in zip(words, [*words[1:], ""], strict=True)
        ]
        turns.append(Reply(reply.prompt, reply.answer, " ".join(heard)))
    return Lesson(tuple(turns), lesson.sees_image)


def page(rng: random.Random, progress: float) -> Page:
    """One picture with all of its lessons at that share of the training."""
    drawn = _page(rng, progress)
    if progress < LOOKING_UNTIL:
        return drawn
    heard = tuple(muffled(each, rng) if each.sees_image else each for each in drawn.lessons)
    return Page(drawn.images, heard, drawn.system, drawn.opening)


def _page(rng: random.Random, progress: float) -> Page:
    looking, early = progress < LOOKING_UNTIL, progress < PRIORS_FROM
    scene = draw_scene(rng, "base", unseen=0.0 if looking else UNSEEN_SHARE)
    if rng.random() < HALF_NAMED[0 if looking else 1 if early else 2]:
        return half_named(scene, rng, looking)
    scale = 0.0 if early else 1.0
    lessons = []
    if not looking:
        named = text.bent_rows(scene, rng, scale=scale)
        lessons.append(Lesson.of(text.DETAILED, text.detailed(named)))
        lessons += [Lesson.of(*row(scene, rng, scale)) for _ in range(2 if early else 1)]
    if not early or (not looking and rng.random() < 0.5):
        lessons.append(longer(scene, rng, scale))
    # Lessons of one cell's attribute, of one cell, of one attribute's presence, of an object's.
    shares = (6, 0, 4, 9) if looking else (3, 3, 2, 6) if early else (2, 2, 1, 8)
    parts, cells, attributes, questions = shares
    lessons += [cell_attribute(scene, rng) for _ in range(parts)]
    lessons += [cell(scene, rng) for _ in range(cells)]
    lessons += [attribute(scene, rng) for _ in range(attributes)]
    lessons += [Lesson.of(*question(scene, rng, scale)) for _ in range(questions)]
    if not looking and rng.random() < 0.3:
        lessons.append(Lesson.of(*text.without_image(rng), sees_image=False))
    system = text.SYSTEM if rng.random() < 0.15 else ""
    return Page((picture.render(scene),), tuple(lessons), system)
