"""One evaluation: read the benchmark, ask the model or read its answers, score, write.

The folder of an evaluation holds `predictions.jsonl` (each answer, written as soon as its batch is
done), `predictions.asked.json` (what the answers depend on), `result.json`, and what was exported.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_impls.core.train.checkpoints import (
    FolderInUse,
    alone,
    file_digest,
    read_json,
    write_json,
    write_text,
)
from reference_impls.evaluate.amber import Amber
from reference_impls.evaluate.benchmark import Benchmark, Key, Question, Report
from reference_impls.evaluate.chair import Chair
from reference_impls.evaluate.exports import EXPORTS
from reference_impls.evaluate.files import BadInput
from reference_impls.evaluate.pope import Pope
from reference_impls.evaluate.predictions import answered, as_row, read_answers

BENCHMARKS: Mapping[str, Callable[[Path], Benchmark]] = {
    "pope": Pope,
    "chair": Chair,
    "amber": Amber,
}
"""By name; each reads a folder, and raises BadInput."""


ASKED = ".asked.json"
"""What the file beside answers ends in that says what they depend on."""


class Stopped(Exception):
    """Somebody stopped it; what is answered is kept. The text says how to go on."""


@dataclass(frozen=True)
class Options:
    """What is evaluated, and how; see `mmalign evaluate --help`. Without `output`, which scoring
    alone can do without, nothing is written."""

    benchmark: str
    data: Path
    output: Path | None = None
    model: str | None = None
    image_root: Path | None = None
    splits: Sequence[str] = ()
    limit: int | None = None
    seed: int | None = None
    prompt: str | None = None
    batch_size: int = 4
    max_new_tokens: int | None = None
    device: str = "cpu"
    dtype: str = "float32"
    predictions: Path | None = None
    score_only: Path | None = None
    partial: bool = False
    exports: Sequence[str] = ()
    resume: bool = False


def evaluate(options: Options, note: Callable[[str], None]) -> dict[str, Any]:
    """The result, as `result.json` holds it.

    Raises BadInput for data, answers and folders that cannot be used, FolderInUse where another
    evaluation is at work, Stopped after Control-C.
    """
    if options.output is not None:
        check_folder(options.output)
    benchmark = BENCHMARKS[options.benchmark](options.data)
    asked = chosen(benchmark.questions, options)
    note(f"{benchmark.name}: {len(asked)} questions")
    if options.score_only is not None:
        source = options.score_only
        found = read_answers(source, asked if options.limit else benchmark.questions)
    else:
        assert options.output is not None
        source = options.predictions or options.output / "predictions.jsonl"
        with alone(options.output):
            found = asked_model(benchmark, asked, options, source, note)
    whole = benchmark.whole and not options.partial
    kept, answers = answered(asked, found, whole, source)
    if not kept:
        raise BadInput(f"{source}: it has no answer to any of the {len(asked)} questions")
    report = benchmark.score(kept, answers)
    if len(kept) < len(asked):
        report.remarks.insert(0, f"{len(kept)} of {len(asked)} questions have answers")
    model = options.model or source.stem
    result = as_result(benchmark, model, len(asked), len(kept), report, options)
    if options.output is None:
        return result
    for name in options.exports:
        files = EXPORTS[name](benchmark.name, model, kept, answers, report)
        if not files:
            note(f"{name} has no task for these questions: nothing is exported")
        for path, text in files.items():
            write_text(options.output / name / path, text)
            note(f"{options.output / name / path} written")
    write_json(options.output / "result.json", result)
    return result


def chosen(questions: Sequence[Question], options: Options) -> list[Question]:
    """The questions of the splits that are wanted, of each at most `limit`: the first ones, or with
    a seed random ones. Raises BadInput for an unknown split."""
    there = list(dict.fromkeys(question.split for question in questions))
    for split in options.splits:
        if split not in there:
            raise BadInput(f"--split: there is no '{split}' here; there are {', '.join(there)}")
    found: list[Question] = []
    for split in options.splits or there:
        own = [question for question in questions if question.split == split]
        if options.limit is not None and options.limit < len(own):
            places = range(options.limit)
            if options.seed is not None:
                rng = random.Random(f"{options.benchmark}/{split}/{options.seed}")
                places = sorted(rng.sample(range(len(own)), options.limit))  # type: ignore[assignment]
            own = [own[place] for place in places]
        found += own
    return found


def asked_model(
    benchmark: Benchmark,
    asked: Sequence[Question],
    options: Options,
    file: Path,
    note: Callable[[str], None],
) -> dict[Key, str]:
    """Ask the questions that `file` has no answer to, and append the answers to it.

    Raises BadInput, Stopped.
    """
    from reference_impls.core.provenance import versions
    from reference_impls.core.stages import model_digest
    from reference_impls.evaluate import generate

    assert options.model is not None
    data = options.data
    asking = generate.Asking(
        model=options.model,
        images=options.image_root or (data if data.is_dir() else data.parent),
        prompt=options.prompt or generate.PLACE,
        device=options.device,
        dtype=options.dtype,
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens or benchmark.max_new_tokens,
    )
    generate.check_images(asked, asking.images)
    if file.exists() and file.stat().st_size and not options.resume:
        raise BadInput(f"{file}: there are answers in it; --resume goes on, or give another")
    identity = {
        "benchmark": benchmark.name,
        "files": digests(benchmark.files),
        "model": model_digest(options.model),
        "prompt": asking.prompt,
        "max_new_tokens": asking.max_new_tokens,
        "dtype": asking.dtype,
        "versions": versions(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    check_identity(file, identity)
    whole_lines(file)
    found = read_answers(file, benchmark.questions) if file.exists() and file.stat().st_size else {}
    rest = [question for question in asked if question.key not in found]
    if len(rest) < len(asked):
        note(f"{len(asked) - len(rest)} answers are there")
    try:
        with file.open("a", encoding="utf-8") as stream:
            for batch in generate.answers(rest, asking, note) if rest else ():
                lines = [json.dumps(as_row(q, a), ensure_ascii=False) + "\n" for q, a in batch]
                try:
                    stream.write("".join(lines))
                    stream.flush()
                    os.fsync(stream.fileno())
                except OSError as error:
                    raise BadInput(
                        f"{file}: {error.strerror or error}; {len(found)} answers are kept, "
                        "--resume goes on"
                    ) from None
                found |= {question.key: answer for question, answer in batch}
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped after {len(found)} answers, which are in {file}; go on with --resume"
        ) from None
    return found


def check_folder(folder: Path) -> None:
    """Raises BadInput for the folder of a training run or of a model: results have names of their
    own there."""
    for name in ("run.json", "config.json", "model"):
        if (folder / name).exists():
            raise BadInput(f"--output: '{folder}' holds a {name}; take a folder of its own")


def check_identity(file: Path, identity: Mapping[str, Any]) -> None:
    """Note what the answers of a file depend on. Raises BadInput where those that are in it, to go
    on with, depend on something else, or nobody knows on what."""
    beside = file.with_suffix(ASKED)
    wanted = json.loads(json.dumps(identity))
    if file.exists() and file.stat().st_size:
        there = read_json(beside)
        if not isinstance(there, dict):
            raise BadInput(
                f"--resume: {file} holds answers, and {beside.name} beside it, which says what "
                "they are of, is missing or damaged; --score-only scores them"
            )
        names = [name for name in wanted if there.get(name) != wanted[name]]
        if names:
            raise BadInput(
                f"--resume: {file} holds answers of another evaluation: "
                f"{', '.join(names)} {'differ' if len(names) > 1 else 'differs'}"
            )
    write_json(beside, wanted)


def whole_lines(file: Path) -> None:
    """Cut off the end of a file that a killed run left in the middle of a line."""
    if not file.exists():
        return
    with file.open("rb+") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)


def digests(files: Sequence[Path]) -> dict[str, str]:
    """Name -> SHA-256 of each file."""
    return {file.name: file_digest(file) for file in files}


def as_result(
    benchmark: Benchmark,
    model: str,
    asked: int,
    kept: int,
    report: Report,
    options: Options,
) -> dict[str, Any]:
    """What is printed and kept; metrics to four digits behind the point."""
    return {
        "kind": "evaluation",
        "benchmark": benchmark.name,
        "model": model,
        "questions": asked,
        "answered": kept,
        "metrics": {
            group: {name: None if value is None else round(value, 4) for name, value in own.items()}
            for group, own in report.metrics.items()
        },
        "counts": report.counts,
        "remarks": report.remarks,
        "settings": {
            "splits": list(options.splits),
            "limit": options.limit,
            "seed": options.seed,
            "prompt": options.prompt,
            "max_new_tokens": options.max_new_tokens or benchmark.max_new_tokens,
            "dtype": options.dtype,
        },
        "files": digests(benchmark.files),
    }


__all__ = ["BENCHMARKS", "BadInput", "FolderInUse", "Options", "Stopped", "evaluate"]
