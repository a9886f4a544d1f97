"""POPE: is there such an object in the image? (Li et al., EMNLP 2023, arXiv:2305.10355)

The files are those of RUCAIBox/POPE@3df3ba1b110ecce25696989577fad583b67d4239:output: one per split
(`coco_pope_random.json`, `..._popular.json`, `..._adversarial.json`), one JSON object per line in
those on COCO and one JSON list in those on A-OKVQA and GQA, with `question_id` (from 1 in each
split), `image` (a file name), `text` and `label` (`yes` or `no`).

`yes` is the positive class. The official script scores one split at a time and pairs answers with
questions by their order (evaluate.py#L6-L7); here they are paired by number, and the mean
over the three splits is given, too. It counts an empty answer as `yes` (L17-L21), and divides by 0
where no answer is `yes` (L54). Two readers of the same benchmark count otherwise:
EvolvingLMMs-Lab/lmms-eval@75571cfe0fa36ca5ec2e6aa2bb268f9d38295af3:lmms_eval/tasks/pope/utils.py
takes the whole answer or nothing, and its `pope_yes_ratio` is the share of yes in the truth, not in
the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reference_impls.evaluate.benchmark import Metrics, Question, Report, share
from reference_impls.evaluate.files import BadInput, rows
from reference_impls.evaluate.yes_no import Said, agreement, has_words, says

SPLITS = ("random", "popular", "adversarial")
WANTED = (
    "POPE has one file for each split, as <name>_random.json, <name>_popular.json and "
    "<name>_adversarial.json"
)


@dataclass
class Pope:
    """POPE's questions, of a folder with files of its splits or of one such file.

    Raises BadInput where a file is missing, doubled or broken.
    """

    data: Path
    name: str = "pope"
    whole: bool = True
    max_new_tokens: int = 16
    files: Sequence[Path] = field(default_factory=list)
    questions: Sequence[Question] = field(default_factory=list)

    def __post_init__(self) -> None:
        there = files_of(self.data)
        self.files = list(there.values())
        self.questions = [q for split, file in there.items() for q in questions_of(file, split)]

    def score(self, asked: Sequence[Question], answers: Sequence[str]) -> Report:
        """Metrics by split, and their mean where all three are there.

        yes ratio: share of answers `yes`. An answer with words but without yes or no affirms, by
        the official rule; one without a word is wrong.
        """
        heard = [says(answer) for answer in answers]
        unclear = sum(not one and has_words(a) for one, a in zip(heard, answers, strict=True))
        empty = sum(not has_words(answer) for answer in answers)
        said: list[Said] = [
            one or ("yes" if has_words(answer) else "")
            for one, answer in zip(heard, answers, strict=True)
        ]
        metrics: dict[str, Metrics] = {}
        for split in SPLITS:
            places = [n for n, question in enumerate(asked) if question.split == split]
            if places:
                told = [said[n] for n in places]
                metrics[split] = agreement(told, [asked[n].truth for n in places], "yes")
                metrics[split]["yes ratio"] = share(told.count("yes"), len(told))
        if len(metrics) == len(SPLITS):
            metrics["mean"] = mean_of(list(metrics.values()))
        report = Report(metrics, {"questions": len(asked), "empty": empty, "unclear": unclear})
        if empty:
            report.remarks.append(f"{empty} answers have no word and count as wrong")
        if unclear:
            report.remarks.append(
                f"{unclear} answers say neither yes nor no and count as yes, by the official rule"
            )
        report.details = [{"said": one} for one in said]
        return report


def mean_of(groups: Sequence[Metrics]) -> Metrics:
    """The mean of each metric; None where one of the groups has none."""
    found: Metrics = {}
    for name in groups[0]:
        values = [group[name] for group in groups]
        known = [value for value in values if value is not None]
        found[name] = sum(known) / len(known) if len(known) == len(values) else None
    return found


def files_of(data: Path) -> dict[str, Path]:
    """The file of each split that is there, in the paper's order. Raises BadInput."""
    if data.is_file():
        split = next((s for s in SPLITS if data.stem.endswith(s)), None)
        if split is None:
            raise BadInput(f"{data}: its name does not end in a split; {WANTED}")
        return {split: data}
    found: dict[str, Path] = {}
    for split in SPLITS:
        files = [f for f in sorted(data.glob(f"*{split}.json*")) if f.suffix in (".json", ".jsonl")]
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise BadInput(f"{data}: {names} are of one split; keep one data set in a folder")
        if files:
            found[split] = files[0]
    if not found:
        raise BadInput(f"{data}: there is no file of questions; {WANTED}")
    begins = {split: file.stem.removesuffix(split) for split, file in found.items()}
    if len(set(begins.values())) > 1:
        names = ", ".join(file.name for file in found.values())
        raise BadInput(f"{data}: {names} are of different data sets; keep one in a folder")
    return found


def questions_of(file: Path, split: str) -> list[Question]:
    """The questions of one split. Raises BadInput, with row and column."""
    found: dict[int, Question] = {}
    for record in rows(file):
        number = record.integer("question_id")
        if number in found:
            raise record.fault("question_id", f"{number} stands twice")
        found[number] = Question(
            split=split,
            number=number,
            image=record.text("image"),
            text=record.text("text"),
            truth=record.choice("label", ("yes", "no")),
            category=split,
        )
    if not found:
        raise BadInput(f"{file}: it holds no question")
    return list(found.values())
