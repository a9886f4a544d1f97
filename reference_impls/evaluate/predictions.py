"""Answers to the questions of a benchmark: our own file of them, and those that others write.

Our own has a JSON object per line: `split`, `question_id`, `image`, `question`, `answer`. Read are,
besides, the layouts in which answers are published:

| layout | columns | source |
| --- | --- | --- |
| POPE | `question`, `answer`, in the order of the questions | RUCAIBox/POPE README |
| LLaVA | `question_id`, `prompt`, `text` | haotian-liu/LLaVA@4241f08:llava/eval/eval_pope.py |
| AMBER | a list of `id`, `response` | junyangwang0410/AMBER README |
| COCO captions | a list of `image_id`, `caption` | cocodataset.org, results format |
| CHAIR | `imgToEval`: image -> `image_id`, `caption` | LisaAnne/Hallucination README |
| VLMEvalKit | a table with `question`, `category`, `image_path`, `prediction` | see `exports` |
| lmms-eval | `filtered_resps`, and a metric with `question_id` or `image_id` | see `exports` |

An answer belongs to the question with its number, and where numbers occur in several splits with
its split (a column `split` or `category`, or the end of the file's name); without numbers, to the
question with its text and image; without an image, to the one in its place. Where a row has the
text that was asked, it must hold the question's: LLaVA's numbers of POPE's questions, for example,
are not POPE's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reference_impls.evaluate.benchmark import Key, Question
from reference_impls.evaluate.files import BadInput, Record, read_json, records, rows

ANSWERS = ("prediction", "response", "caption", "answer", "filtered_resps", "text")
"""Columns that may hold an answer; the first one that is there does. `answer` is the truth in
VLMEvalKit's tables, and `text` the question in POPE's own files."""
NUMBERS = ("question_id", "id", "image_id")
SHOWN = 3
"""Questions that a message names."""


def as_row(question: Question, answer: str) -> dict[str, Any]:
    """An answer as our own file holds it."""
    return {
        "split": question.split,
        "question_id": question.number,
        "image": question.image,
        "question": question.text,
        "answer": answer,
    }


def read_answers(file: Path, asked: Sequence[Question]) -> dict[Key, str]:
    """Question -> answer, of a file in any of the layouts above.

    Raises BadInput for an answer to no question, two to one, or one that is not text.
    """
    found: dict[Key, str] = {}
    index = Index.of(asked)
    there = _rows(file)
    if not there:
        raise BadInput(f"{file}: it holds no answer")
    for record in there:
        answer = answer_of(record)
        for question in index.questions_of(record, len(there)):
            if question.key in found:
                raise BadInput(f"{file}, row {record.row}: a second answer to {named(question)}")
            found[question.key] = answer
    return found


def _rows(file: Path) -> list[Record]:
    if file.suffix.lower() == ".json":
        try:
            content = read_json(file)
        except BadInput:
            return rows(file)  # lines of JSON under the name of JSON, as POPE has them
        if isinstance(content, dict) and isinstance(content.get("imgToEval"), dict):
            return list(records(file, list(content["imgToEval"].values())))
    return rows(file)


def answer_of(record: Record) -> str:
    """The text of an answer. Raises BadInput."""
    column = next((name for name in ANSWERS if name in record.values), None)
    if column is None:
        there = ", ".join(map(str, record.values))
        raise BadInput(
            f"{record.file}, row {record.row}: no column holds an answer; there are {there}, and "
            f"one of {', '.join(ANSWERS)} is wanted"
        )
    value = record.values[column]
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise record.fault(column, "an answer is text; this is none")
    return value


def named(question: Question) -> str:
    """A question as messages name it."""
    return f"question {question.number} of {question.split}"


class Index:
    """Questions by what a row of answers may say of them."""

    def __init__(self) -> None:
        self.order: list[Question] = []
        self.by_key: dict[Key, Question] = {}
        self.by_number: dict[int, list[Question]] = {}
        self.by_text: dict[tuple[str, str], list[Question]] = {}
        self.splits: set[str] = set()

    @classmethod
    def of(cls, asked: Sequence[Question]) -> Index:
        made = cls()
        made.order = list(asked)
        for question in asked:
            made.by_key[question.key] = question
            made.by_number.setdefault(question.number, []).append(question)
            made.by_text.setdefault(_said(question.image, question.text), []).append(question)
            made.splits |= {question.split, question.category or question.split}
        return made

    def questions_of(self, record: Record, count: int) -> list[Question]:
        """The questions that a row answers: one, or where it names several splits as many.

        count: rows of the file. Raises BadInput.
        """
        splits = self._splits(record)
        number = next((name for name in NUMBERS if name in record.values), None)
        nested = _nested_number(record)
        if number is not None or nested is not None:
            wanted = record.integer(number) if number is not None else nested
            assert wanted is not None
            fitting = self.by_number.get(wanted, [])
            where = f"number {wanted}"
        elif "question" in record.values and _image(record):
            fitting = self.by_text.get(_said(_image(record), record.text("question")), [])
            where = f"that text and image {_image(record)}"
        else:
            return [self._in_place(record, count)]
        chosen = [q for q in fitting if not splits or q.split in splits or q.category in splits]
        if not chosen:
            of = f" in {', '.join(sorted(splits))}" if splits else ""
            raise BadInput(f"{record.file}, row {record.row}: no question has {where}{of}")
        if len(chosen) > 1 and not splits:
            names = ", ".join(question.split for question in chosen)
            raise BadInput(
                f"{record.file}, row {record.row}: {where} is asked in {names}; add a column "
                "'split', or score one split (--split)"
            )
        for question in chosen:
            _check_text(record, question)
        return chosen

    def _splits(self, record: Record) -> set[str]:
        known = self.splits
        for column in ("split", "category"):
            if isinstance(record.values.get(column), str):
                said = {part.strip() for part in record.values[column].split(",")}
                unknown = sorted(said - known)
                if unknown and not said & known:
                    raise record.fault(
                        column, f"'{unknown[0]}' is none of {', '.join(sorted(known))}"
                    )
                return said & known
        ends = {"pop": "popular", "adv": "adversarial"}  # lmms-eval's names of POPE's splits
        end = record.file.stem.rpartition("_")[2]
        end = ends.get(end, end)
        return {end} if end in known else set()

    def _in_place(self, record: Record, count: int) -> Question:
        if count != len(self.order):
            raise BadInput(
                f"{record.file}: rows have no number of a question ({', '.join(NUMBERS)}), and "
                f"there are {count} of them for {len(self.order)} questions"
            )
        question = self.order[record.row]
        _check_text(record, question)
        return question


def _check_text(record: Record, question: Question) -> None:
    """Raises BadInput where a row says that something else was asked."""
    for column in ("question", "prompt"):
        told = record.values.get(column)
        if isinstance(told, str) and _said("", question.text)[1] not in _said("", told)[1]:
            raise record.fault(column, f"it does not hold the text of {named(question)}")


def _nested_number(record: Record) -> int | None:
    """The number in a metric of lmms-eval's rows: `pope_accuracy: {question_id: ...}`."""
    if "filtered_resps" not in record.values:
        return None
    for value in record.values.values():
        if isinstance(value, Mapping):
            for name in NUMBERS:
                if name in value:
                    return Record(record.file, record.row, value).integer(name)
    return None


def _image(record: Record) -> str:
    """The name of a row's image, without its folder."""
    value = next((record.values[c] for c in ("image_path", "image") if c in record.values), "")
    return os.path.basename(value) if isinstance(value, str) and len(value) < 1000 else ""


def _said(image: str, text: str) -> tuple[str, str]:
    return (os.path.basename(image), " ".join(text.split()).casefold())


def answered(
    asked: Sequence[Question], found: Mapping[Key, str], whole: bool, file: Path
) -> tuple[list[Question], list[str]]:
    """The questions that have answers, and the answers. Raises BadInput where `whole` answers are
    wanted and some are missing."""
    missing = [question for question in asked if question.key not in found]
    if whole and missing:
        raise BadInput(
            f"{file}: {len(missing)} of {len(asked)} questions have no answer: {few(missing)}; "
            "--partial scores the others"
        )
    kept = [question for question in asked if question.key in found]
    return kept, [found[question.key] for question in kept]


def few(questions: Iterable[Question]) -> str:
    """The first questions by name."""
    names = [named(question) for question in questions]
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
