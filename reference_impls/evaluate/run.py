"""One evaluation: read the benchmark, ask the model or read its answers, score, write.

The folder of an evaluation holds `run.json` (what the answers depend on), `predictions.jsonl` (each
answer, written as soon as its batch is done), `result.json`, and what was exported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_impls.core.train.checkpoints import OtherRun, begin, write_json
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


class Stopped(Exception):
    """Somebody stopped it; what is answered is kept. The text says how to go on."""


@dataclass(frozen=True)
class Options:
    """What is evaluated, and how; see `mmalign evaluate --help`."""

    benchmark: str
    data: Path
    output: Path
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

    Raises BadInput for data and answers that cannot be used, OtherRun where the folder holds
    another evaluation, Stopped after Control-C.
    """
    benchmark = BENCHMARKS[options.benchmark](options.data)
    asked = chosen(benchmark.questions, options)
    note(f"{benchmark.name}: {len(asked)} questions")
    if options.score_only is not None:
        source = options.score_only
        found = read_answers(source, asked if options.limit else benchmark.questions)
    else:
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

    Raises BadInput, OtherRun, Stopped.
    """
    from reference_impls.core.provenance import versions
    from reference_impls.core.stages import model_digest
    from reference_impls.evaluate import generate

    assert options.model is not None
    asking = generate.Asking(
        model=options.model,
        images=options.image_root or options.data,
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
    begin(options.output, identity, options.resume)
    file.parent.mkdir(parents=True, exist_ok=True)
    whole_lines(file)
    found = read_answers(file, benchmark.questions) if file.exists() and file.stat().st_size else {}
    rest = [question for question in asked if question.key not in found]
    if len(rest) < len(asked):
        note(f"{len(asked) - len(rest)} answers are there")
    try:
        with file.open("a", encoding="utf-8") as stream:
            for batch in generate.answers(rest, asking, note) if rest else ():
                lines = [json.dumps(as_row(q, a), ensure_ascii=False) + "\n" for q, a in batch]
                stream.write("".join(lines))
                stream.flush()
                os.fsync(stream.fileno())
                found |= {question.key: answer for question, answer in batch}
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped after {len(found)} answers, which are in {file}; go on with --resume"
        ) from None
    return found


def whole_lines(file: Path) -> None:
    """Cut off the end of a file that a killed run left in the middle of a line."""
    if not file.exists():
        return
    with file.open("rb+") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second evaluation out of a folder. Raises BadInput where one is at work there."""
    with (folder / ".lock").open("w") as stream:
        try:
            import fcntl
        except ImportError:  # Windows: nothing keeps two runs apart
            yield
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"{folder}: another evaluation is at work in this folder") from None
        yield


def digests(files: Sequence[Path]) -> dict[str, str]:
    """Name -> SHA-256 of each file."""
    found = {}
    for file in files:
        with file.open("rb") as stream:
            total = hashlib.sha256()
            while block := stream.read(1 << 20):
                total.update(block)
        found[file.name] = total.hexdigest()
    return found


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


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", newline="")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


__all__ = ["BENCHMARKS", "BadInput", "Options", "OtherRun", "Stopped", "evaluate"]
