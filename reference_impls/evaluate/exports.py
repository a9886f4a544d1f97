"""Answers in the files that other evaluators read.

**VLMEvalKit** (open-compass/VLMEvalKit@e8e78f05f3080fe28154f2130321f17951c3be94): a table
`<model>_<dataset>.tsv` (vlmeval/smp/file.py, `get_pred_file_path`; the ending is chosen by
PRED_FORMAT) with the columns of its data set and `prediction` (vlmeval/inference.py,
`infer_data_job`). Its judge reads `index`, `answer`, `category`, `prediction`
(vlmeval/dataset/image_yorn.py, vlmeval/dataset/utils/yorn.py), for AMBER `image_path` as well;
POPE's `answer` is `Yes` or `No`, AMBER's is compared in lower case. It has AMBER's yes/no questions
only, and no CHAIR. Its `index` of a question is its own and not ours: its judge does not use it
for anything but telling rows apart.

**lmms-eval** (EvolvingLMMs-Lab/lmms-eval@75571cfe0fa36ca5ec2e6aa2bb268f9d38295af3): a folder
`<model>` with `<date>_samples_<task>.jsonl` (lmms_eval/loggers/evaluation_tracker.py,
`save_results_samples`), a row per question: `doc_id`, `target`, `filtered_resps`, `doc_hash`,
`input`, and what the task found (lmms_eval/evaluator.py). Tasks are pope_random, pope_pop, pope_adv
(lmms_eval/tasks/pope), coco_cap_chair and amber_g. `doc_id` counts the exported questions; whether
their data set has the same order was not checked, so compare by `question_id`, which is ours.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reference_impls.evaluate.benchmark import Question, Report
from reference_impls.evaluate.yes_no import says

Files = dict[str, str]
"""Name of a file (with its folder) -> its text."""


def plain(model: str) -> str:
    """The name of a model as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "__", model).strip("._") or "model"


def vlmevalkit(
    benchmark: str, model: str, asked: Sequence[Question], answers: Sequence[str], report: Report
) -> Files:
    """The table of yes/no questions; no file where there are none."""
    table = io.StringIO()
    writer = csv.writer(table, delimiter="\t", lineterminator="\n")
    writer.writerow(("index", "question", "answer", "category", "image_path", "prediction"))
    polled = [(q, a) for q, a in zip(asked, answers, strict=True) if q.truth]
    for number, (question, answer) in enumerate(polled):
        truth = question.truth.capitalize()
        writer.writerow((number, question.text, truth, question.category, question.image, answer))
    return {f"{plain(model)}_{benchmark.upper()}.tsv": table.getvalue()} if polled else {}


TASKS = {
    "random": "pope_random",
    "popular": "pope_pop",
    "adversarial": "pope_adv",
    "descriptions": "coco_cap_chair",
    "generative": "amber_g",
}
"""Split -> task of lmms-eval."""


def lmms_eval(
    benchmark: str, model: str, asked: Sequence[Question], answers: Sequence[str], report: Report
) -> Files:
    """A file of samples for each task that lmms-eval has; questions of others are left out."""
    lines: dict[str, list[str]] = {}
    for question, answer, detail in zip(asked, answers, report.details, strict=True):
        if question.split not in TASKS:
            continue
        own = lines.setdefault(TASKS[question.split], [])
        named = json.dumps([question.split, question.number, question.image, question.text])
        row = {
            "doc_id": len(own),
            "target": question.truth or str(detail.get("there", "")),
            "filtered_resps": [answer],
            "doc_hash": hashlib.sha256(named.encode()).hexdigest(),
            "input": question.text,
            "question_id": question.number,
            **_found(question, answer, detail),
        }
        own.append(json.dumps(row, ensure_ascii=False))
    return {
        f"{plain(model)}/mmalign_samples_{task}.jsonl": "\n".join(rows) + "\n"
        for task, rows in lines.items()
    }


def _found(question: Question, answer: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """What the task's `process_results` adds to a row."""
    if question.split in ("random", "popular", "adversarial"):
        said = says(answer) or answer.lower().strip()
        entry: dict[str, Any] = {
            "question_id": question.number,
            "score": float(said == question.truth),
            "prediction": said,
            "ground_truth": question.truth,
        }
        names = ("accuracy", "precision", "recall", "f1_score", "yes_ratio")
        return {f"pope_{name}": entry for name in names}
    entry = {
        "answer": detail.get("there", []),
        "pred": detail.get("named", []),
        "image_id": question.number,
    }
    if question.split == "descriptions":
        return {f"coco_cap_{name}": entry for name in ("chair_s", "chair_i", "recall")}
    return {}


Export = Callable[[str, str, Sequence[Question], Sequence[str], Report], Files]
EXPORTS: Mapping[str, Export] = {"vlmevalkit": vlmevalkit, "lmms-eval": lmms_eval}
"""By name; `(benchmark, model, questions, answers, report)` -> files."""
