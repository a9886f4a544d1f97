"""AMBER: free descriptions and yes/no questions on 1,004 images (Wang et al., arXiv:2311.07397).

A folder is `data/` of junyangwang0410/AMBER@534babf6bbfcce2e735c26289dedfb21cef3c939:
- `annotations.json`, a list of `id`, `type`, `truth` and, of descriptions, `hallu`: `truth` is a
  list of objects, or `yes` or `no`; `hallu` are objects that people tend to imagine there;
- `query/query_*.json`, lists of `id`, `image`, `query`;
- `relation.json`, object -> words that name it, too; `safe_words.txt`, words that are never wrong.

Over all descriptions, by that commit's inference.py and not per description and then averaged:
CHAIR, mentions of objects that are not annotated / mentions of objects of `relation.json`; Cover,
annotated objects that are named / annotated objects; Hal, descriptions with such a mention /
descriptions; Cog, objects of `hallu` that are named / objects of `hallu`. Yes/no questions have
`no` as the positive class. We have not read the paper's own text of these definitions.

Where inference.py departs from that, we do not follow it:
- an object that is annotated twice (14 images) is covered only once, since `break` ends the search
  at the first (L122-L129); here it is one object;
- a word that is an object itself may be booked to another object whose list of `relation.json` has
  it, since those lists are searched first (L98-L109, L122-L129): "tree" covers `forest`;
- each denominator is larger by 0.001 (metrics.txt), that of F1 by 0.0001 (L273), of F1
  of existence by 0.001 (L284);
- only the exact answers `Yes` and `No` count (L189-L233); here the first sentence decides.

And one thing is different for want of a model: there, a noun is what NLTK tags so, and counts as
named, too, where the vectors of spaCy's `en_core_web_lg` make it more similar than 0.8 to a word
(L25-L38, L141-L157). Here a word counts where `relation.json` has it, in the plural as well.
Without near-synonyms CHAIR and Hal come out higher than there and Cover lower: compare such numbers
with one another, not with published ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reference_impls.evaluate.benchmark import Metrics, Question, Report, share
from reference_impls.evaluate.files import (
    BadInput,
    Record,
    only_file,
    read_json,
    read_text,
    records,
    rows,
)
from reference_impls.evaluate.words import Vocabulary
from reference_impls.evaluate.yes_no import agreement, has_words, says

GENERATIVE = "generative"
TYPES: Mapping[str, tuple[str, str]] = {
    GENERATIVE: (GENERATIVE, ""),
    "discriminative-hallucination": ("existence", ""),
    "discriminative-attribute-state": ("attribute", "state"),
    "discriminative-attribute-number": ("attribute", "number"),
    "discriminative-attribute-action": ("attribute", "action"),
    "discriminative-relation": ("relation", ""),
    "relation": ("relation", ""),
}
"""`type` of an annotation -> dimension, and what kind of attribute."""
GROUPS = ("discriminative", "existence", "attribute", "state", "number", "action", "relation")
"""Yes/no questions: all, and parts of them."""
SOURCE = "take it from data/ of github.com/junyangwang0410/AMBER"


@dataclass(frozen=True)
class Objects:
    """What an image shows, and what people tend to imagine there."""

    truth: tuple[str, ...]
    hallu: tuple[str, ...]


@dataclass
class Amber:
    """AMBER's questions: those of `query_all.json`, else of all other query files. Raises BadInput.

    words: object -> words that name it, too. safe: words that are never wrong.
    """

    data: Path
    name: str = "amber"
    whole: bool = True
    max_new_tokens: int = 512
    files: Sequence[Path] = field(default_factory=list)
    questions: Sequence[Question] = field(default_factory=list)
    objects: dict[int, Objects] = field(default_factory=dict)
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    safe: frozenset[str] = frozenset()
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary.of(()))

    def __post_init__(self) -> None:
        if not self.data.is_dir():
            raise BadInput(f"{self.data}: a folder is wanted, with AMBER's data; {SOURCE}")
        annotations = only_file(self.data, "annotations.json", SOURCE)
        annotated = self._read_annotations(annotations)
        folder = self.data / "query" if (self.data / "query").is_dir() else self.data
        queries = sorted(folder.glob("query_*.json"))
        queries = [f for f in queries if f.name == "query_all.json"] or queries
        if not queries:
            raise BadInput(f"{folder}: there is no query_*.json; {SOURCE}")
        found: dict[int, Question] = {}
        for file in queries:
            for question in questions_of(file, annotated):
                # query_discriminative.json holds those of its three dimensions, too.
                if found.setdefault(question.number, question) != question:
                    raise BadInput(f"{file}: id {question.number} has another query elsewhere")
        self.questions = sorted(found.values(), key=lambda question: question.number)
        self.files = [annotations, *queries]
        if any(question.split == GENERATIVE for question in self.questions):
            relation = only_file(self.data, "relation.json", SOURCE)
            safe = only_file(self.data, "safe_words.txt", SOURCE)
            self.words = associations(relation)
            self.safe = frozenset(read_text(safe).split())
            known = [*self.words, *(word for words in self.words.values() for word in words)]
            self.vocabulary = Vocabulary.of((word, word) for word in known)
            self.files = [*self.files, relation, safe]

    def _read_annotations(self, file: Path) -> dict[int, tuple[str, str]]:
        """Number -> type and yes or no; descriptions go to `objects`."""
        found: dict[int, tuple[str, str]] = {}
        for record in rows(file):
            number, kind = record.integer("id"), record.choice("type", list(TYPES))
            if number in found:
                raise record.fault("id", f"{number} stands twice")
            truth = ""
            if kind == GENERATIVE:
                self.objects[number] = Objects(*(_objects(record, c) for c in ("truth", "hallu")))
            else:
                truth = record.choice("truth", ("yes", "no"))
            found[number] = (kind, truth)
        return found

    def score(self, asked: Sequence[Question], answers: Sequence[str]) -> Report:
        """CHAIR, Cover, Hal and Cog of descriptions; accuracy, precision, recall and F1 of yes/no
        questions, in all, by dimension, and by kind of attribute."""
        report = Report({}, {"questions": len(asked)}, details=[{} for _ in asked])
        told = [n for n, question in enumerate(asked) if question.split == GENERATIVE]
        if told:
            report.metrics[GENERATIVE] = self._described(told, asked, answers, report)
        polled = [n for n, question in enumerate(asked) if question.split != GENERATIVE]
        said = {n: says(answers[n]) for n in polled}
        for n in polled:
            report.details[n] = {"said": said[n]}
        groups: dict[str, list[int]] = {"discriminative": polled} if polled else {}
        for n in polled:
            dimension, kind = TYPES[asked[n].category]
            groups.setdefault(dimension, []).append(n)
            if kind:
                groups.setdefault(kind, []).append(n)
        for name in GROUPS:
            if name in groups:
                places = groups[name]
                truths = [asked[n].truth for n in places]
                report.metrics[name] = agreement([said[n] for n in places], truths, "no")
        report.counts["unclear"] = sum(not said[n] and has_words(answers[n]) for n in polled)
        report.counts["empty"] = sum(not has_words(answer) for answer in answers)
        if report.counts["unclear"]:
            report.remarks.append(
                f"{report.counts['unclear']} answers say neither yes nor no and count as wrong"
            )
        if report.counts["empty"]:
            report.remarks.append(f"{report.counts['empty']} answers have no word")
        return report

    def _described(
        self, places: Sequence[int], asked: Sequence[Question], answers: Sequence[str],
        report: Report,
    ) -> Metrics:  # fmt: skip
        mentions = false = with_false = there = covered = likely = imagined = 0
        for place in places:
            objects = self.objects[asked[place].number]
            named = self.vocabulary.named(answers[place])
            seen: set[str] = set()
            cog: set[str] = set()
            wrong = []
            for word in named:
                if word in self.safe:
                    continue
                true = self._object(word, objects.truth)
                if true:
                    seen.add(true)
                    continue
                wrong.append(word)
                thought = self._object(word, objects.hallu)
                if thought:
                    cog.add(thought)
            mentions += len(named)
            false += len(wrong)
            with_false += bool(wrong)
            there += len(objects.truth)
            covered += len(seen)
            likely += len(objects.hallu)
            imagined += len(cog)
            report.details[place] = {
                "named": named, "there": list(objects.truth), "hallucinated": wrong,
            }  # fmt: skip
        report.counts["mentions"] = mentions
        return {
            "CHAIR": share(false, mentions),
            "Cover": share(covered, there),
            "Hal": share(with_false, len(places)),
            "Cog": share(imagined, likely),
        }

    def _object(self, word: str, objects: Sequence[str]) -> str:
        """The object that a word names: itself, else the first one that it is another word for."""
        if word in objects:
            return word
        return next((each for each in objects if word in self.words.get(each, ())), "")


def _objects(record: Record, column: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.texts(column)))


def questions_of(file: Path, annotated: Mapping[int, tuple[str, str]]) -> list[Question]:
    """The questions of one file of queries. Raises BadInput."""
    found: dict[int, Question] = {}
    for record in rows(file):
        number = record.integer("id")
        if number not in annotated:
            raise record.fault("id", f"annotations.json has no {number}")
        if number in found:
            raise record.fault("id", f"{number} stands twice")
        kind, truth = annotated[number]
        found[number] = Question(
            split=TYPES[kind][0],
            number=number,
            image=record.text("image"),
            text=record.text("query"),
            truth=truth,
            category=kind,
        )
    return list(found.values())


def associations(file: Path) -> dict[str, list[str]]:
    """`relation.json`. Raises BadInput."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise BadInput(f"{file}: an object of lists is wanted; {SOURCE}")
    [record] = records(file, [content])
    return {word: record.texts(word) for word in content}
