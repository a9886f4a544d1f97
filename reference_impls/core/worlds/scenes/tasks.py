"""What can be asked about a scene, and how answers are judged.

Descriptions are judged by what they name. CHAIR (Rohrbach et al. 2018, arXiv:1809.02156, equations
1 and 2): `chair_i` is mentions of objects that are not there / all mentions, `chair_s` answers with
such a mention / all answers. `f1` sets naming too much against naming too little: precision is
objects rightly named / mentions, so that a name said twice is right once. Presence is judged as
POPE does (Li et al. 2023, arXiv:2305.10355, section 5), and by hits minus false alarms, which a
model that says yes to everything, or no, cannot have.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from reference_impls.core.worlds.protocol import IMAGE, Item, Prompt, Segment, Turn, ask
from reference_impls.core.worlds.scenes import text
from reference_impls.core.worlds.scenes.scene import (
    COLOURS,
    FAINT,
    GRID,
    HELD_OUT,
    HIDDEN,
    KINDS,
    PLAIN,
    SHAPES,
    Scene,
    Thing,
    names_of,
)

SceneItem = Item[Scene]
NAMES = tuple(" ".join(kind) for kind in KINDS)
LEVELS = {PLAIN: "plain", FAINT: "faint", HIDDEN: "hidden"}


def stream(task: str, seed: int, place: int) -> random.Random:
    """The random stream of one scene of a task; other scenes do not move it."""
    return random.Random(f"scenes/2/{task}/{seed}/{place}")


def absent(scene: Scene, rng: random.Random, names: Sequence[str] = NAMES) -> str:
    """A kind that is neither in the scene nor suggested by a prior."""
    out = {*scene.names, *scene.suggested()}
    return rng.choice([name for name in names if name not in out])


def near(scene: Scene, rng: random.Random, names: Sequence[str] = NAMES) -> str:
    """A kind that shares colour or shape with an object, and is neither there nor suggested."""
    thing = rng.choice(scene.things)
    out = {*scene.names, *scene.suggested()}
    return rng.choice(
        [
            name
            for name in names
            if (name.split()[0] == thing.colour) != (name.split()[1] == thing.shape)
            and name not in out
        ]
    )


def share(part: float, whole: float) -> float:
    """part / whole, 0.0 where there is nothing."""
    return part / whole if whole else 0.0


# --- descriptions -----------------------------------------------------------------------------


def object_metrics(
    scenes: Sequence[Scene], targets: Sequence[Sequence[Thing]], answers: Sequence[str]
) -> dict[str, float]:
    """What the answers name against what is there; `targets` are the objects that were asked for.

    chair_i, chair_s; chair_faint, chair_plain: the same as chair_i where only objects of at least
    that visibility count as there (so a lucky guess of a hidden one is wrong); chair_first: of the
    first two mentions, chair_late: from the fifth on; prior_share: of the wrong mentions, those
    that a prior suggests; recall, and recall by visibility and of the held-out kinds (plain ones);
    precision, f1; mentions and length (words) per answer.
    """
    mentions = wrong = wrong_answers = unfaint = unplain = first = late = suggested = right = 0
    wrong_first = wrong_late = words = 0
    groups = ("all", "plain", "faint", "hidden", "held_out")
    there, found = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
    for scene, target, answer in zip(scenes, targets, answers, strict=True):
        named = text.mentioned(answer)
        false = [name not in scene.names for name in named]
        mentions, wrong, words = (
            mentions + len(named),
            wrong + sum(false),
            words + len(answer.split()),
        )
        wrong_answers += any(false)
        faint, plain = names_of(scene.seen(FAINT)), names_of(scene.seen(PLAIN))
        unfaint += sum(name not in faint for name in named)
        unplain += sum(name not in plain for name in named)
        first, wrong_first = first + len(false[:2]), wrong_first + sum(false[:2])
        late, wrong_late = late + len(false[4:]), wrong_late + sum(false[4:])
        suggested += sum(name in scene.suggested() for name in named)
        right += len(set(named) & set(scene.names))
        for thing in target:
            of = ["all", LEVELS[thing.visibility]]
            if thing.visibility == PLAIN and (thing.colour, thing.shape) in HELD_OUT:
                of.append("held_out")
            for group in of:
                there[group] += 1
                found[group] += thing.name in named
    recall, precision = share(found["all"], there["all"]), share(right, mentions)
    return {
        "chair_i": share(wrong, mentions),
        "chair_s": share(wrong_answers, len(answers)),
        "chair_faint": share(unfaint, mentions),
        "chair_plain": share(unplain, mentions),
        "chair_first": share(wrong_first, first),
        "chair_late": share(wrong_late, late),
        "prior_share": share(suggested, wrong),
        "recall": recall,
        **{f"recall_{g}": share(found[g], there[g]) for g in groups[1:]},
        "precision": precision,
        "f1": share(2 * precision * recall, precision + recall),
        "mentions": share(mentions, len(answers)),
        "length": share(words, len(answers)),
    }


@dataclass(frozen=True)
class Description:
    """Descriptions of the whole picture in detail; other descriptions are kinds of it.

    `context` is what stands before the question: nothing, a sentence about another image, a longer
    conversation, or a false premise.
    """

    context: str = "plain"
    id: str = "describe"
    says: str = "describe the picture row by row; judged by what is named"
    grammar: str = "detailed"
    max_new_tokens: int = 112
    tuned_by: str = "f1"
    guarded_by: tuple[str, ...] = ("recall_plain", "length", "parse")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items = []
        for place, scene in enumerate(scenes):
            rng = stream(self.id, seed, place)
            prompt, kind, subject = self.question(scene, rng)
            item = Item(scene, prompt, "", kind, subject)
            items.append(Item(scene, prompt, self.truth(item), kind, subject))
        return items

    def question(self, scene: Scene, rng: random.Random) -> tuple[Prompt, str, str]:
        """(prompt, kind, subject)"""
        if self.context == "distractor":
            return ask(text.distractor_prompt(other_names(scene, rng))), "distractor", ""
        if self.context == "long":
            return conversation_about(scene, rng, turns=4), "long", ""
        if self.context == "premise":
            return false_premise(scene, rng)
        return ask(text.DETAILED), "", ""

    def targets(self, item: SceneItem) -> tuple[Thing, ...]:
        """The objects that the answer is to name."""
        return item.scene.things

    def there(self, item: SceneItem, sight: float = 0.0) -> tuple[str, ...]:
        """The names that are right in an answer, to somebody of that sight."""
        return names_of(item.scene.seen(sight))

    def compose(self, item: SceneItem, rows: text.Named) -> str:
        return text.detailed(rows)

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        seen = [thing for thing in self.targets(item) if thing.visibility >= sight]
        return self.compose(item, text.true_rows(seen))

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.parses(self.grammar, answer)

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        """F1 of what is named; 1 where nothing is to be named and nothing is."""
        named, right = text.mentioned(answer), set(self.there(item, sight))
        wanted = {t.name for t in self.targets(item) if t.visibility >= sight}
        if not named and not wanted:
            return float(self.parses(item, answer))
        precision = share(len(set(named) & right), len(named))
        recall = share(len(set(named) & wanted), len(wanted))
        return share(2 * precision * recall, precision + recall)

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        right = self.there(item, sight)
        return [Segment(start, stop, name in right) for start, stop, name in text.spans(answer)]

    def question_of(self, item: SceneItem, claim: str) -> Prompt:
        """Whether a thing that an answer names is there: yes or no."""
        return ask(text.presence_prompt(text.mentioned(claim)[0]))

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        """Each wrong name is replaced by an object of its row that is not named yet, or struck out
        where there is none (RLHF-V's segment-wise correction); an answer that names nothing is
        written anew."""
        rows = text.mentioned_rows(answer)
        if not rows:
            return self.truth(item, sight)
        seen = [thing for thing in self.targets(item) if thing.visibility >= sight]
        right, named = self.there(item, sight), set(text.mentioned(answer))
        missing = [thing for thing in seen if thing.name not in named]
        mended: text.Named = {}
        said: set[str] = set()
        for row, names in rows.items():
            for name in names:
                if name not in right or name in said:
                    fits = [thing for thing in missing if row in (-1, thing.row)]
                    if not fits:
                        continue
                    fits.sort(key=lambda thing: thing.shape != name.split()[1])
                    missing.remove(fits[0])
                    name = fits[0].name
                said.add(name)
                mended.setdefault(row, []).append(name)
        return self.compose(item, mended)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """One right name becomes a wrong one: what a prior suggests, or another colour or shape."""
        rows = text.mentioned_rows(answer)
        places = [(row, i) for row in rows for i in range(len(rows[row]))]
        if not places:
            rows = {rng.randrange(GRID): [absent(item.scene, rng)]}
            return self.compose(item, rows)
        row, i = rng.choice(places)
        named = text.mentioned(answer)
        suggested = [name for name in item.scene.suggested() if name not in named]
        colour, shape = rows[row][i].split()
        wrong = [f"{c} {shape}" for c in COLOURS] + [f"{colour} {s}" for s in SHAPES]
        wrong = [name for name in wrong if name not in named and name not in item.scene.names]
        pool = suggested if suggested and rng.random() < 0.5 else wrong
        rows[row][i] = rng.choice(pool)
        return self.compose(item, rows)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        scenes = [item.scene for item in items]
        targets = [self.targets(item) for item in items]
        parsed = [self.parses(item, answer) for item, answer in zip(items, answers, strict=True)]
        return object_metrics(scenes, targets, answers) | {"parse": share(sum(parsed), len(parsed))}


def other_names(scene: Scene, rng: random.Random) -> list[str]:
    """Two kinds that are not in the picture."""
    first, second = absent(scene, rng), absent(scene, rng)
    return [first, second] if first != second else [first]


def false_premise(scene: Scene, rng: random.Random) -> tuple[Prompt, str, str]:
    """A prompt that claims an object that is not there: suggested by a prior, or any."""
    suggested = scene.suggested()
    if suggested and rng.random() < 0.5:
        name, kind = rng.choice(suggested), "suggested"
    else:
        name, kind = absent(scene, rng), "random"
    return ask(text.premise_prompt(name)), kind, name


def conversation_about(scene: Scene, rng: random.Random, turns: int) -> Prompt:
    """True answers to questions about presence and rows, then the question for a description."""
    history: list[Turn] = []
    for number in range(turns):
        if rng.random() < 0.3:
            row = rng.randrange(GRID)
            part = names_of([thing for thing in scene.things if thing.row == row])
            prompt, answer = text.row_prompt(row), text.sentence(row, part)
        else:
            there = rng.random() < 0.5
            name = rng.choice(scene.names) if there else absent(scene, rng)
            prompt, answer = text.presence_prompt(name), "yes" if there else "no"
        shown = f"{IMAGE} {prompt}" if number == 0 else prompt
        history += [Turn("user", shown), Turn("assistant", answer)]
    return (*history, Turn("user", text.DETAILED))


@dataclass(frozen=True)
class Brief(Description):
    """The first three objects in one sentence."""

    id: str = "brief"
    says: str = "name the first three objects"
    grammar: str = "brief"
    max_new_tokens: int = 24

    def question(self, scene: Scene, rng: random.Random) -> tuple[Prompt, str, str]:
        return ask(text.BRIEF), "", ""

    def targets(self, item: SceneItem) -> tuple[Thing, ...]:
        return item.scene.things[: text.BRIEF_OBJECTS]

    def compose(self, item: SceneItem, rows: text.Named) -> str:
        return text.brief(text.flat(rows))


@dataclass(frozen=True)
class Row(Description):
    """One row of the picture."""

    id: str = "row"
    says: str = "describe one row"
    grammar: str = "row"
    max_new_tokens: int = 40

    def question(self, scene: Scene, rng: random.Random) -> tuple[Prompt, str, str]:
        row = rng.choice(scene.things).row if rng.random() < 0.7 else rng.randrange(GRID)
        return ask(text.row_prompt(row)), "", text.ROWS[row]

    def targets(self, item: SceneItem) -> tuple[Thing, ...]:
        row = text.ROWS.index(item.subject)
        return tuple(thing for thing in item.scene.things if thing.row == row)

    def there(self, item: SceneItem, sight: float = 0.0) -> tuple[str, ...]:
        return names_of([thing for thing in self.targets(item) if thing.visibility >= sight])

    def compose(self, item: SceneItem, rows: text.Named) -> str:
        return text.sentence(text.ROWS.index(item.subject), text.flat(rows))


@dataclass(frozen=True)
class Premise(Description):
    """A description after a claim that is false."""

    id: str = "premise"
    says: str = "describe the picture after a false claim about it"

    def question(self, scene: Scene, rng: random.Random) -> tuple[Prompt, str, str]:
        return false_premise(scene, rng)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """Also `adopted`: answers that name the object of the claim."""
        adopted = sum(
            item.subject in text.mentioned(answer)
            for item, answer in zip(items, answers, strict=True)
        )
        return super().metrics(items, answers) | {"adopted": share(adopted, len(items))}


@dataclass(frozen=True)
class Dialogue(Description):
    """A description as the last of several turns, after a system turn in half of the items."""

    id: str = "dialogue"
    says: str = "describe the picture after earlier questions and answers"

    def question(self, scene: Scene, rng: random.Random) -> tuple[Prompt, str, str]:
        prompt = conversation_about(scene, rng, turns=rng.randint(2, 3))
        if rng.random() < 0.5:
            return (Turn("system", text.SYSTEM), *prompt), "system", ""
        return prompt, "", ""


# --- answers of one word or number ------------------------------------------------------------


@dataclass(frozen=True)
class Presence:
    """Is this object there? Four questions per scene: two objects that are there; one that is
    neither there nor suggested; and one that a prior suggests (`suggested`), or, where none does,
    one that shares colour or shape with an object (`near`)."""

    id: str = "presence"
    says: str = "is an object there: yes or no, balanced"
    max_new_tokens: int = 4
    tuned_by: str = "presence"
    guarded_by: tuple[str, ...] = ("pope_yes_ratio", "parse")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items: list[SceneItem] = []
        for place, scene in enumerate(scenes):
            rng = stream(self.id, seed, place)
            asked = [(t.name, LEVELS[t.visibility]) for t in rng.sample(scene.things, 2)]
            asked.append((absent(scene, rng), "random"))
            suggested = scene.suggested()
            if suggested:
                asked.append((rng.choice(suggested), "suggested"))
            else:
                asked.append((near(scene, rng), "near"))
            for name, kind in asked:
                truth = "yes" if name in scene.names else "no"
                items.append(Item(scene, ask(text.presence_prompt(name)), truth, kind, name))
        return items

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        return "yes" if item.subject in names_of(item.scene.seen(sight)) else "no"

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.parses("presence", answer)

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        return float(text.says_yes(answer) == (self.truth(item, sight) == "yes"))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        return [Segment(0, 1, self.score(item, answer, sight) == 1.0)] if answer.split() else []

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return self.truth(item, sight)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        return "no" if self.truth(item) == "yes" else "yes"

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """pope_accuracy, pope_f1 (yes is positive), pope_yes_ratio; hit: yes to what is there;
        false_alarm: yes to what is not; presence: hit - false_alarm; hit by visibility; share of no
        to `random`, `near` and `suggested` negatives; parse."""
        said = [text.says_yes(answer) for answer in answers]
        true = [item.truth == "yes" for item in items]
        both = list(zip(said, true, strict=True))

        def yes_among(kinds: tuple[str, ...]) -> float:
            group = [s for s, item in zip(said, items, strict=True) if item.kind in kinds]
            return share(sum(group), len(group))

        def no_among(kind: str) -> float:
            group = [not s for s, item in zip(said, items, strict=True) if item.kind == kind]
            return share(sum(group), len(group))

        hit = share(sum(s and t for s, t in both), sum(true))
        false_alarm = share(sum(s and not t for s, t in both), len(true) - sum(true))
        parsed = [self.parses(item, answer) for item, answer in zip(items, answers, strict=True)]
        return {
            "pope_accuracy": share(sum(s == t for s, t in both), len(both)),
            "pope_f1": share(2 * sum(s and t for s, t in both), sum(said) + sum(true)),
            "pope_yes_ratio": share(sum(said), len(said)),
            "hit": hit,
            "false_alarm": false_alarm,
            "presence": hit - false_alarm,
            **{f"hit_{level}": yes_among((level,)) for level in LEVELS.values()},
            "no_random": no_among("random"),
            "no_near": no_among("near"),
            "no_suggested": no_among("suggested"),
            "parse": share(sum(parsed), len(parsed)),
        }


@dataclass(frozen=True)
class Count:
    """How many objects: a thought that numbers them, then the number."""

    id: str = "count"
    says: str = "count the objects: a thought, then a number"
    max_new_tokens: int = 96
    tuned_by: str = "accuracy"
    guarded_by: tuple[str, ...] = ("format", "chair_i")

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        return [
            Item(scene, ask(text.COUNT), text.counting(scene.names), str(len(scene.things)))
            for scene in scenes
        ]

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        return text.counting(names_of(item.scene.seen(sight)))

    def parses(self, item: SceneItem, answer: str) -> bool:
        return text.parses("count", answer)

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        """1 for the right number, whatever was thought."""
        return float(text.counted(answer) == str(len(item.scene.seen(sight))))

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        """The objects of the thought and the number."""
        right = names_of(item.scene.seen(sight))
        found = [Segment(start, stop, name in right) for start, stop, name in text.spans(answer)]
        words = answer.split()
        if "<answer>" in words and words.index("<answer>") + 1 < len(words):
            place = words.index("<answer>") + 1
            number = words[place] == str(len(right))
            found.append(Segment(place, place + 1, number))
        return found

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return self.truth(item, sight)

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """One object too many or too few, in the thought and in the number."""
        names = list(item.scene.names)
        if len(names) > 1 and rng.random() < 0.5:
            names.pop(rng.randrange(len(names)))
        else:
            names.append(absent(item.scene, rng))
        return text.counting(names)

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """accuracy; accuracy_trained and accuracy_held_out: of scenes with as many objects as
        training shows, and with more; error: mean distance of the number (its absence counts as 0);
        format: answers of the full form; and what the thought names, as in descriptions."""
        right = [self.score(item, answer) for item, answer in zip(items, answers, strict=True)]
        more = [len(item.scene.things) > 5 for item in items]
        distance = [
            abs(int(text.counted(answer) or 0) - len(item.scene.things))
            for item, answer in zip(items, answers, strict=True)
        ]
        formed = [self.parses(item, answer) for item, answer in zip(items, answers, strict=True)]
        scenes = [item.scene for item in items]
        named = object_metrics(scenes, [scene.things for scene in scenes], answers)
        return {
            "accuracy": share(sum(right), len(right)),
            "accuracy_trained": share(
                sum(r for r, m in zip(right, more, strict=True) if not m), len(more) - sum(more)
            ),
            "accuracy_held_out": share(
                sum(r for r, m in zip(right, more, strict=True) if m), sum(more)
            ),
            "error": share(sum(distance), len(distance)),
            "format": share(sum(formed), len(formed)),
            **{name: named[name] for name in ("chair_i", "recall", "length")},
        }


@dataclass(frozen=True)
class WithoutImage:
    """What is asked without a picture: what language alone knows."""

    id: str = "text"
    says: str = "questions without a picture"
    max_new_tokens: int = 64
    tuned_by: str = "accuracy"
    guarded_by: tuple[str, ...] = ()

    def items(self, scenes: Sequence[Scene], seed: int = 0) -> list[SceneItem]:
        items = []
        for place, scene in enumerate(scenes):
            prompt, answer = text.without_image(stream(self.id, seed, place))
            items.append(Item(scene, ask(prompt, images=0), answer))
        return items

    def truth(self, item: SceneItem, sight: float = 0.0) -> str:
        return item.truth

    def parses(self, item: SceneItem, answer: str) -> bool:
        """One word or a list of words, ended as the truth is."""
        return bool(answer.split()) and (answer.split()[-1] == ".") == item.truth.endswith(".")

    def score(self, item: SceneItem, answer: str, sight: float = 0.0) -> float:
        return float(answer.strip() == item.truth)

    def judge(self, item: SceneItem, answer: str, sight: float = 0.0) -> list[Segment]:
        words = len(answer.split())
        return [Segment(0, words, self.score(item, answer) == 1.0)] if words else []

    def correct(self, item: SceneItem, answer: str, sight: float = 0.0) -> str:
        return item.truth

    def distort(self, item: SceneItem, answer: str, rng: random.Random) -> str:
        """The right answer to another question of the same kind of ending."""
        while True:
            other = text.without_image(rng)[1]
            if other != item.truth and other.endswith(".") == item.truth.endswith("."):
                return other

    def metrics(self, items: Sequence[SceneItem], answers: Sequence[str]) -> dict[str, float]:
        """accuracy: the truth word for word; parse."""
        pairs = list(zip(items, answers, strict=True))
        return {
            "accuracy": share(sum(self.score(i, a) for i, a in pairs), len(pairs)),
            "parse": share(sum(self.parses(i, a) for i, a in pairs), len(pairs)),
        }
