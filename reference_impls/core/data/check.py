"""`mmalign data check`: what a run would make of data, before anything is loaded.

One pass over the rows as `readers` reads them for a run: what a run would refuse is a problem here,
with its place, and what it would leave out is counted with the reason. Besides: whether each image
opens, rows that come twice, rows that another split has too, how far length alone tells chosen from
rejected answers, and, for a given model, tokens against its context.

Rows are not kept. Of each `BYTES_PER_ROW` stay in memory, of each image 16 bytes, and of each kind
of finding the first `SHOWN` places.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_impls.core.data.images import ImageProblem, Look, content_of, look
from reference_impls.core.data.readers import (
    DataError,
    Item,
    Picture,
    Place,
    Records,
    Rows,
    learn_columns,
    needed,
    open_records,
    reading,
)
from reference_impls.core.data.readers.files import SPLITS, splits_of
from reference_impls.core.data.rows import text, too_few
from reference_impls.core.data.statistics import Digests, PairLengths
from reference_impls.core.method import Reward, Row, SamplingStage, Stage, load_script

if TYPE_CHECKING:
    from reference_impls.core.model.lengths import Asked, Lengths

SHOWN = 5
"""Places that are named of each kind of finding."""
BYTES_PER_ROW = 44
"""Four digests, the number of the row, and that of its file."""
ROWS_COMPARED = 10_000_000
"""Rows that are looked for among others; of later ones only the rest is checked."""
FILES_REMEMBERED = 1 << 16
"""Image files that are not read again when another row shows them."""
CHUNK = 256
"""Rows whose tokens are counted together."""

STOPS = {
    "unreadable": "a run would stop here",
    "image": "an image that cannot be opened; a run would stop here",
    "nothing-left": "no row is left to train on",
    "too-few": "a run would stop here",
    "no-tokens": "the model's processor cannot write the row; a run would stop here",
    "too-long": "more tokens than the model's context; a run would stop here",
}
"""Codes of what stops a run, and what they mean."""
PROBLEMS = STOPS | {
    "equal-answers": "chosen equals rejected; a run leaves the row out",
    "empty-answer": "an answer is empty; a run leaves the row out",
    "duplicate": "images, prompt and answers are those of an earlier row",
    "contradiction": "an earlier row prefers the same answers the other way round",
    "leak": "images and prompt are those of a row that is trained on",
    "leaked-image": "an image is that of a row that is trained on",
    "unearned": "no reward tells the true answer from another one, so that nothing is learnt of it",
}
"""Codes of what has to be mended, and what they mean."""
NOTES = {
    "left-out": "a run leaves the row out",
    "split-unread": "another split cannot be compared",
    "frames": "of several frames the first is read",
    "length-bias": "length alone tells chosen from rejected; a model may learn that in their place",
    "shared-prompt": "a prompt is that of a row that is trained on, about other images",
}
"""Codes of what is worth knowing."""
DROPPED = {"chosen equals rejected": "equal-answers", "an answer is empty": "empty-answer"}
"""Reasons of the reader that are mistakes; the others, such as a tie, are no fault of the data."""
TIES = ("all ratings tie", "nobody preferred one of the answers")
"""Reasons of the reader that are ties."""
BIAS = 0.2
"""How far from 0.5 the AUC of length alone is worth a note."""
PAIRS_FOR_BIAS = 10
"""Pairs below which it says nothing."""


@dataclass
class Finding:
    """How often something was found, and where it was found first.

    reason: why, where one code has several reasons.
    """

    code: str
    reason: str = ""
    count: int = 0
    places: list[str] = field(default_factory=list)

    @property
    def problem(self) -> bool:
        """Whether it has to be mended."""
        return self.code in PROBLEMS

    def as_dict(self) -> dict[str, Any]:
        """With the words that explain it."""
        return {
            "code": self.code,
            "severity": "problem" if self.problem else "note",
            "count": self.count,
            "says": self.reason or (PROBLEMS | NOTES)[self.code],
            "places": self.places,
        }


class CheckError(ValueError):
    """What was asked for cannot be checked. The text is one line."""


class Findings:
    """What was found, by code and reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, code: str, place: str, reason: str = "") -> None:
        """Something was found at a place."""
        finding = self._found.setdefault((code, reason), Finding(code, reason))
        finding.count += 1
        if len(finding.places) < SHOWN:
            finding.places.append(place)

    def as_dict(self) -> dict[str, Any]:
        """`ok`, and `findings` in the order of the codes: problems first."""
        codes = [*PROBLEMS, *NOTES]
        found = sorted(self._found.values(), key=lambda each: codes.index(each.code))
        return {
            "ok": not any(finding.problem for finding in found),
            "findings": [finding.as_dict() for finding in found],
        }


class Places:
    """Where the rows of a pass stand: 12 bytes each, and the names of the files."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._file, self._row = array("i"), array("q")

    def __len__(self) -> int:
        return len(self._row)

    def add(self, place: Place) -> None:
        """The place of the next row."""
        self._file.append(self._files.setdefault(place.file, len(self._files)))
        self._row.append(place.row)

    def __getitem__(self, number: int) -> str:
        return str(Place(list(self._files)[self._file[number]], self._row[number]))


class Known:
    """Rows of one split by their digests: what each is, what it asks, what it shows.

    Those after the first `ROWS_COMPARED` are counted in `left_out` alone.
    """

    def __init__(self) -> None:
        self.places = Places()
        self.rows, self.swapped = Digests(), Digests()
        self.asked, self.prompts = Digests(), Digests()
        self.images = Digests()
        self.left_out = 0
        self._owners = array("q")

    def add(self, place: Place, row: Row, images: Sequence[int]) -> None:
        """One more row with the digests of its images."""
        number = len(self.places)
        if number >= ROWS_COMPARED:
            self.left_out += 1
            return
        for digest in images:
            self.images.add(digest)
            self._owners.append(number)
        self.places.add(place)
        prompt = hash(str(row.get("prompt")))
        asked = hash((prompt, *images))
        one, other = answers_of(row)
        self.prompts.add(prompt)
        self.asked.add(asked)
        self.rows.add(hash((asked, one, other)))
        self.swapped.add(hash((asked, other, one)))

    def report_repeats(self, findings: Findings) -> None:
        """Find rows that come twice, or twice the other way round."""
        for number, first in zip(*self.rows.repeats(), strict=True):
            findings.add("duplicate", f"{self.places[number]} (as {self.places[first]})")
        for number, first in zip(*self.swapped.among(self.rows), strict=True):
            if first < number:
                findings.add("contradiction", f"{self.places[number]} (as {self.places[first]})")

    def report_leaks(self, trained: Known, findings: Findings) -> dict[str, int]:
        """Find rows of this split that the trained one has; how many there are of each kind."""

        def found(code: str, pairs: Iterator[tuple[int, int]], but: set[int]) -> set[int]:
            numbers = set()
            for number, theirs in pairs:
                if number not in but and number not in numbers:
                    numbers.add(number)
                    findings.add(code, f"{self.places[number]} (as {trained.places[theirs]})")
            return numbers

        images = (
            (self._owners[mine], trained._owners[theirs])
            for mine, theirs in matched(self.images, trained.images)
        )
        same = found("leak", matched(self.asked, trained.asked), set())
        image = found("leaked-image", images, same)
        prompt = found("shared-prompt", matched(self.prompts, trained.prompts), same | image)
        return {
            "rows": len(self.places),
            "same_images_and_prompt": len(same),
            "same_image": len(image),
            "same_prompt": len(prompt),
        }


def matched(mine: Digests, others: Digests) -> Iterator[tuple[int, int]]:
    """Numbers of digests that are among others, each with the first of those that it is."""
    for number, first in zip(*mine.among(others), strict=True):
        yield int(number), int(first)


def pictures_of(row: Row) -> list[Picture]:
    """The pictures of a row, in whichever columns they are."""
    return [
        picture
        for value in row.values()
        if isinstance(value, list)
        for picture in value
        if isinstance(picture, Picture)
    ]


def answers_of(row: Row) -> tuple[str, str]:
    """Chosen and rejected answer of a pair; of another row what it has beside pictures."""
    if "chosen" in row and "rejected" in row:
        return text(row["chosen"]), text(row["rejected"])
    rest = {
        name: value
        for name, value in row.items()
        if name != "prompt" and not (isinstance(value, list) and pictures_of({name: value}))
    }
    return str(rest), ""


class Images:
    """The images of a pass: whether they open, and what there is to say of them all."""

    def __init__(self) -> None:
        self.shown = self.unreadable = 0
        self.smallest: tuple[int, int] | None = None
        self.largest: tuple[int, int] | None = None
        self._files: OrderedDict[tuple[str, Any], Look | str] = OrderedDict()

    def look(self, picture: Picture) -> Look | str:
        """What there is to know of an image, or why it cannot be opened."""
        if picture.file is None:
            seen = _tried(picture.source)
        else:
            # Rows of one file that name the same path mean the same image.
            key = (picture.place.file, picture.source)
            found = self._files.get(key)
            seen = _tried(picture.path) if found is None else found
            if found is None:
                self._files[key] = seen
                if len(self._files) > FILES_REMEMBERED:
                    self._files.popitem(last=False)
        self.shown += 1
        if isinstance(seen, str):
            self.unreadable += 1
            return seen
        area = seen.size[0] * seen.size[1]
        if self.smallest is None or area < self.smallest[0] * self.smallest[1]:
            self.smallest = seen.size
        if self.largest is None or area > self.largest[0] * self.largest[1]:
            self.largest = seen.size
        return seen

    def as_dict(self, distinct: int) -> dict[str, Any]:
        """Counts, and the sizes (width, height) of the smallest and the largest by area."""
        return {
            "shown": self.shown,
            "distinct": distinct,
            "unreadable": self.unreadable,
            "smallest": list(self.smallest) if self.smallest else None,
            "largest": list(self.largest) if self.largest else None,
        }


def _tried(source: Any) -> Look | str:
    try:
        return look(source)
    except ImageProblem as problem:
        return str(problem)


class Tokens:
    """Tokens of the rows of a pass against a model's context."""

    def __init__(self, lengths: Lengths, findings: Findings) -> None:
        self.lengths, self.findings = lengths, findings
        self.rows = self.over = 0
        self._waiting: list[tuple[Place, Asked]] = []
        self._images: list[int] = [0, 0, 0]
        self._all: list[int] = [0, 0, 0]

    def add(self, place: Place, row: Row, sizes: tuple[tuple[int, int], ...]) -> None:
        """One more row with the sizes of its images."""
        from reference_impls.core.model.lengths import Asked

        answers = tuple(text(row[side]) for side in ("chosen", "rejected") if side in row)
        self._waiting.append((place, Asked(row["prompt"], sizes, answers)))
        if len(self._waiting) >= CHUNK:
            self.count()

    def count(self) -> None:
        """Count the rows that wait."""
        from reference_impls.core.model.lengths import Taken

        waiting, self._waiting = self._waiting, []
        limit = self.lengths.limit
        taken = self.lengths.of([asked for _, asked in waiting])
        for (place, _), found in zip(waiting, taken, strict=True):
            if not isinstance(found, Taken):
                self.findings.add("no-tokens", f"{place}: {found}")
                continue
            for kept, number in ((self._images, found.images), (self._all, found.all)):
                kept[0] = min(kept[0], number) if self.rows else number
                kept[1] += number
                kept[2] = max(kept[2], number)
            self.rows += 1
            if limit is not None and found.all > limit:
                self.over += 1
                self.findings.add(
                    "too-long", f"{place}: {found.all} tokens, {found.images} of them images"
                )

    def as_dict(self) -> dict[str, Any]:
        """Least, mean and most tokens of a row's images, and of a row."""

        def summed(kept: list[int]) -> dict[str, float]:
            least, total, most = kept
            mean = round(total / max(1, self.rows), 1)
            return {"least": least, "mean": mean, "most": most}

        return {
            "context": self.lengths.limit,
            "rows": self.rows,
            "over": self.over,
            "images": summed(self._images),
            "row": summed(self._all),
        }


@dataclass
class Pass:
    """One pass over the rows that a run would train on: what was counted, and what was found.

    batch: rows that a step of the run takes. kept, refused: rows as they are, and those that would
    be there if what stops a run were mended.
    """

    findings: Findings = field(default_factory=Findings)
    known: Known = field(default_factory=Known)
    images: Images = field(default_factory=Images)
    lengths: PairLengths = field(default_factory=PairLengths)
    tokens: Tokens | None = None
    batch: int = 1
    read: int = 0
    kept: int = 0
    refused: int = 0
    text_only: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def item(self, item: Item) -> None:
        """One record as the reader has it."""
        self.read += 1
        if item.problem:
            self.refused += 1
            self.findings.add("unreadable", item.problem)
        elif item.dropped:
            self.dropped[item.dropped] += 1
            code = DROPPED.get(item.dropped, "left-out")
            reason = f"{item.dropped}; {NOTES[code]}" if code in NOTES else ""
            self.findings.add(code, str(item.place), reason)
        for row in item.rows:
            self.row(item.place, row)

    def row(self, place: Place, row: Row) -> None:
        """One row of a record that makes one or more."""
        pictures = pictures_of(row)
        seen = []
        for picture in pictures:
            found = self.images.look(picture)
            if isinstance(found, str):
                self.findings.add("image", f"{picture.place}: {found}")
                continue
            seen.append(found)
            if found.frames > 1:
                self.findings.add("frames", f"{picture.place}: {found.frames} frames")
        if len(seen) < len(pictures):
            self.refused += 1
            return
        self.kept += 1
        self.text_only += not pictures
        self.known.add(place, row, [each.digest for each in seen])
        if "chosen" in row and "rejected" in row:
            self.lengths.add(len(text(row["chosen"])), len(text(row["rejected"])))
        if self.tokens is not None:
            self.tokens.add(place, row, tuple(each.size for each in seen))

    def finish(self, name: str) -> None:
        """What can be said when all rows were met."""
        if self.tokens is not None:
            self.tokens.count()
        if not self.kept:
            self.findings.add("nothing-left", name if self.read else f"{name} holds no rows")
        elif problem := too_few(self.kept + self.refused, self.batch):
            self.findings.add("too-few", problem)
        self.known.report_repeats(self.findings)
        apart = abs(self.lengths.auc() - 0.5)
        if self.lengths.pairs >= PAIRS_FOR_BIAS and apart >= BIAS:
            longer = "longer" if self.lengths.auc() > 0.5 else "shorter"
            self.findings.add("length-bias", f"chosen answers are {longer}")

    def as_dict(self) -> dict[str, Any]:
        """Counts, as JSON takes them."""
        lengths, ties = self.lengths, sum(self.dropped[reason] for reason in TIES)
        chosen, rejected = lengths.means()
        return {
            "rows": {
                "read": self.read,
                "kept": self.kept,
                "dropped": sum(self.dropped.values()),
                "refused": self.refused,
                "text_only": self.text_only,
                "not_compared": self.known.left_out,
            },
            "dropped": dict(sorted(self.dropped.items())),
            "images": self.images.as_dict(len(np.unique(self.known.images.all()))),
            "answers": {
                "pairs": lengths.pairs,
                "tied": _share(ties, self.read),
                "chosen_characters": round(chosen, 1),
                "rejected_characters": round(rejected, 1),
                "chosen_longer": _share(lengths.longer, lengths.pairs),
                "rejected_longer": _share(lengths.shorter, lengths.pairs),
                "length_auc": round(lengths.auc(), 4),
            },
            "tokens": self.tokens.as_dict() if self.tokens is not None else None,
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def check(
    records: Records,
    others: Mapping[str, Callable[[], Records]] | None = None,
    lengths: Lengths | None = None,
    progress: Callable[[int], None] | None = None,
    batch: int = 1,
) -> dict[str, Any]:
    """Go through the rows that a run would train on, and through other splits of the same data.

    others: name -> how that split is opened. progress: called after each record with how many there
    were. batch: rows that a step of the run takes. The result can be written as JSON: `ok`, counts,
    and `findings` with code, severity, count, words and first places.
    """
    done = Pass(batch=batch)
    done.tokens = Tokens(lengths, done.findings) if lengths is not None else None
    try:
        for item in records.items():
            done.item(item)
            if progress is not None:
                progress(done.read)
    except DataError as error:
        done.findings.add("unreadable", str(error))
    done.finish(records.name)
    splits = {}
    for name, open_split in (others or {}).items():
        try:
            splits[name] = rows_of(open_split()).report_leaks(done.known, done.findings)
        except DataError as error:
            done.findings.add("split-unread", f"{name}: {error}")
    return {
        "kind": "data-check",
        "path": records.name,
        "layouts": [
            {"name": each.name, "columns": list(each.columns), "sets": each.sets}
            for each in records.layouts
        ],
        **done.as_dict(),
        "splits": splits,
        **done.findings.as_dict(),
    }


def rows_of(records: Records) -> Known:
    """The rows of a split that is not trained on. What is wrong with its rows is for a check of its
    own. Raises DataError for a file that does not go on."""
    known = Known()
    for item in records.items():
        for row in item.rows:
            with contextlib.suppress(ImageProblem):
                held = [content_of(p.file or p.source) for p in pictures_of(row)]
                known.add(item.place, row, [hash(each) for each in held])
    return known


def check_data(
    name: str,
    *,
    split: str | None = None,
    image_root: Path | None = None,
    limit: int | None = None,
    method: str | None = None,
    model: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    batch_size: int | None = None,
    answer_length: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """`check` of a folder, a file or a hub id, read as a run of a method reads it.

    method: a script's name; None reads pairs. model: a checkpoint whose processor and configuration
    say how many tokens a row takes, and may take; the others: as in a run, which has them from the
    method's paper otherwise; of no method a batch is one row. Raises CheckError for a model that
    cannot be used.
    """
    read, config = None, None
    fed: Sequence[Stage] = ()
    needs: frozenset[str] = frozenset()
    batch, room = batch_size or 1, 0
    rewards: tuple[Reward, ...] = ()
    if method is not None:
        chosen = load_script(method).method
        stage = chosen.last
        config = chosen.config()
        fed = chosen.fed(config)
        needs = needed(stage, config)
        read = reading(stage, needs)
        batch = batch_size or stage.paper.batch_size
        if isinstance(stage, SamplingStage):
            room = answer_length or stage.paper.max_new_tokens
            rewards = tuple(stage.rewards_of(config).values())
    lengths = None
    if model is not None:
        lengths = _lengths_of(model, min_pixels, max_pixels, room)

    def opened(part: str | None) -> Records:
        records = open_records(
            name, split=part, image_root=image_root, limit=limit, read=read, needs=needs
        )
        if fed:
            learn_columns(records, fed, config)
        return records

    try:
        trained = SPLITS.get(split, split) if split is not None else "train"
        others = [part for part in splits_of(name) if part != trained]
        found = check(
            opened(split), {part: partial(opened, part) for part in others}, lengths, progress,
            batch,
        )  # fmt: skip
        if rewards:
            rows = Rows(opened(split))
            rows.read_through(rewards)  # a run refuses what they cannot take
            if rows.unearned:
                places = rows.unearned[:SHOWN]
                unearned = Finding("unearned", count=len(rows.unearned), places=places).as_dict()
                problems = [each for each in found["findings"] if each["severity"] == "problem"]
                notes = found["findings"][len(problems) :]
                found |= {"ok": False, "findings": [*problems, unearned, *notes]}
    except DataError as error:
        findings = Findings()
        findings.add("unreadable", str(error))
        empty = {"kind": "data-check", "path": name, "layouts": [], "splits": {}}
        found = empty | Pass().as_dict() | findings.as_dict()
    return found | {"split": split, "limit": limit, "method": method, "model": model}


def _lengths_of(model: str, min_pixels: int | None, max_pixels: int | None, room: int) -> Lengths:
    from reference_impls.core.model.lengths import lengths_for
    from reference_impls.core.model.load import PixelLimits

    try:
        return lengths_for(model, PixelLimits(min_pixels, max_pixels), room)
    except (ImportError, OSError, ValueError) as error:
        raise CheckError(f"--model {model}: {' '.join(str(error).split())}") from None
