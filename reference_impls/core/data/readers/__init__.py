"""Real data in place of the lab's data step: published layouts -> rows, lazily.

    data = open_records("folder, file or hub id", split=None, image_root=None, limit=None)
    for item in data.items():       # streams; nothing is kept, no image is opened
        item.place                  # Place(file, row, column), rows from 0 in each file
        item.rows                   # normalised rows; empty where item.dropped or item.problem
        item.dropped                # why it makes no example (a tie, two equal answers, ...)
        item.problem                # what is wrong and what to write instead, with its place

A row has `images` (list of `Picture`, each with its source and place; `open()` gives RGB),
`prompt` (messages; parts where images stand between words), `chosen` and, in pairs, `rejected`
(one assistant message), and `margin` where the record has one. `data.layouts` are those found, in
the order of the files. `read_rows` is what a run trains on: it goes through the data once before
anything is loaded, raises `DataError` at the first problem, tells what was dropped, and then opens
images when a row is asked for.

Layouts and their sources are in `layouts`; which files of a folder are read, in `files`.
"""

from __future__ import annotations

import hashlib
import operator
import os
import re
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_impls.core.data.images import cut
from reference_impls.core.data.readers.cells import (
    CellError,
    DataError,
    Dropped,
    Picture,
    Place,
    Record,
    listed,
)
from reference_impls.core.data.readers.files import Table, tables_of
from reference_impls.core.data.readers.layouts import (
    IMAGE_COLUMNS,
    LAYOUTS,
    OTHER_MEDIA,
    VIDEO_COLUMN,
    Layout,
    Media,
    answered,
    explained,
    layout_of,
)
from reference_impls.core.data.readers.messages import answer, messages_of, prompt
from reference_impls.core.data.rows import said
from reference_impls.core.method import (
    GroupStage,
    HeadStage,
    PairStage,
    PpoStage,
    Reward,
    Row,
    SamplingStage,
    Stage,
)

if TYPE_CHECKING:
    from reference_impls.core.columns import Column

__all__ = [
    "LAYOUTS", "DataError", "Item", "Layout", "Picture", "Place", "Records", "Rows",
    "open_records", "read_rows",
]  # fmt: skip

FRAMES = 10
"""Frames of a video, evenly, as Kwai-YuanQi/MM-RLHF@7c8af1d2:llava/train/train_dpo.py#L1166-L1172
takes them."""
LETTERS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""How base64 of PNG, JPEG, GIF and WebP begin."""
LONGEST_PATH = 4096
"""PATH_MAX of Linux, limits.h."""
IN_LETTERS = (
    "the image itself stands in the cell, in letters; write it to a file, and its path here"
)
FRAME_KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

Read = Callable[[Row], Row]


@dataclass(frozen=True)
class Item:
    """What became of one record; see the module's text."""

    place: Place
    rows: tuple[Row, ...] = ()
    dropped: str = ""
    problem: str = ""


@dataclass
class Records:
    """A dataset that is open: tables of records, and how a record is read.

    read: a stage's own reading of a record, in place of a layout. needs: columns that each row has
    to have. further: columns that no layout knows, which a record may have beside those of its
    layout, and how a cell of each is read.
    """

    name: str
    tables: Sequence[Table]
    limit: int | None = None
    read: Read | None = None
    needs: frozenset[str] = frozenset()
    further: Mapping[str, Column] = field(default_factory=dict)
    layouts: tuple[Layout, ...] = ()
    _has: dict[str, bool] = field(default_factory=dict)
    _layout: dict[int, Layout] = field(default_factory=dict)

    def items(self, whole: bool = True) -> Iterator[Item]:
        """All records in order. `whole`: pictures come with their bytes.

        Raises DataError for a file that does not go on.
        """
        for _, _, _, item in self.numbered(whole):
            yield item

    def numbered(self, whole: bool) -> Iterator[tuple[int, int, Record | None, Item]]:
        """(table, row in it, record, item) of all records."""
        left = self.limit
        for number, table in enumerate(self.tables):
            for row, record in enumerate(table.scan(whole)):
                if left is not None:
                    if not left:
                        return
                    left -= 1
                place = Place(*table.place(row))
                if isinstance(record, CellError):
                    problem = f"{replace(place, column=record.column)}: {record}"
                    yield number, row, None, Item(place, problem=problem)
                else:
                    yield number, row, record, self.item(number, record, place)

    def item(self, table: int, record: Record, place: Place) -> Item:
        """One record, read."""
        try:
            column, sources, video = sources_of(record, self._layout_for(table, record))
            at = Place(place.file, place.row, column)
            pictures = self._pictures(sources, video, self.tables[table].roots, at)
            media = Media(len(pictures), video)
            rows = self._read(table, record, pictures, media)
            if self.read is None and self.further:
                more = self._further(record, self.tables[table].roots, place)
                rows = [{**more, **made} for made in rows]
            for made in rows:
                if missing := sorted(self.needs - set(made)):
                    raise CellError(
                        "",
                        f"the method needs {' and '.join(missing)}, and the row has "
                        f"{listed(made)}; write it into each row, or choose another method",
                    )
                self._same_columns(made)
            return Item(place, tuple(rows))
        except Dropped as dropped:
            return Item(place, dropped=str(dropped))
        except CellError as error:
            where = replace(place, column=error.column)
            return Item(where, problem=f"{where}: {error}")

    def _same_columns(self, made: Row) -> None:
        """Refuse a column that only some rows have: a loss needs it of all or of none."""
        for column in ("margin", *self.further):
            has = column in made
            if self._has.setdefault(column, has) != has:
                name = "margin" if column == "margin" else f"`{column}`"
                first = f"no {name}" if has else "a margin" if column == "margin" else name
                raise CellError(column, f"the first row has {first}; write one in every row, or "
                                        "in none")  # fmt: skip

    def _further(self, record: Record, roots: tuple[Path, ...], place: Place) -> Row:
        """Columns of a record beside those of its layout. Raises CellError."""
        found: Row = {}
        for name, column in self.further.items():
            held = record.get(name)
            if held is None:
                continue
            if column.kind == "images":
                at = replace(place, column=name)
                sources = held if isinstance(held, list) else [held]
                found[name] = [picture(source, roots, at) for source in sources]
            elif column.kind == "answer":
                found[name] = said(answer(held, name))
            elif column.kind == "prompt":
                shown = record.get(column.images)
                count = len(shown) if isinstance(shown, list) else int(shown is not None)
                found[name] = prompt(messages_of(held, name), name, count)
            elif all_numbers(held) or (column.kind == "plain" and isinstance(held, str)):
                found[name] = held
            elif column.kind == "plain":
                raise CellError(name, "neither numbers nor text; write one of them")
        return found

    def _layout_for(self, table: int, record: Record) -> Layout | None:
        if self.read is not None:
            return None
        if table not in self._layout:
            layout = layout_of(record)
            if layout is None:
                raise CellError(
                    "",
                    f"no known layout has the columns {listed(record)}; known are {explained()}",
                )
            self._layout[table] = layout
            self.layouts = tuple(dict.fromkeys((*self.layouts, layout)))
        return self._layout[table]

    def _read(self, table: int, record: Record, pictures: list[Picture], media: Media) -> list[Row]:
        if self.read is None:
            rows = self._layout[table].read(record, media)
            return [{"images": pictures, **row} for row in rows]
        try:
            return [self.read(Record({**record, "images": pictures}))]
        except CellError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise CellError("", f"the method cannot read the row ({text})") from None

    def _pictures(
        self, sources: list[Any], video: bool, roots: tuple[Path, ...], place: Place
    ) -> list[Picture]:
        if video:
            return [
                Picture(str(frame), str(frame), place)
                for frame in frames_of(sources[0], roots, place.column)
            ]
        return [picture(source, roots, place) for source in sources]


def all_numbers(held: Any) -> bool:
    """Whether a cell holds a finite number, or lists of them."""
    if isinstance(held, list):
        return all(all_numbers(each) for each in held)
    is_number = isinstance(held, (int, float)) and not isinstance(held, bool)
    return is_number and abs(held) <= sys.float_info.max


def sources_of(record: Record, layout: Layout | None) -> tuple[str, list[Any], bool]:
    """(column, what it holds as a list, whether it is a video) of a record; an empty list where the
    row has text alone."""
    if layout is not None and layout.media is not None and (given := layout.media(record)):
        return given[0], [given[1]], False
    columns = [name for name in IMAGE_COLUMNS if name in record]
    column = next((name for name in columns if record.get(name) not in (None, "", [])), "")
    if not column:
        if record.get(VIDEO_COLUMN):
            return VIDEO_COLUMN, [record[VIDEO_COLUMN]], True
        for name, held in record.items():
            if held and name not in IMAGE_COLUMNS and OTHER_MEDIA.fullmatch(name):
                raise CellError(name, "a column of this name is not read; rename it `image` or "
                                      "`video`, or take it out")  # fmt: skip
        return next(iter(columns), ""), [], False
    held = record[column]
    return column, held if isinstance(held, list) else [held], False


def picture(source: Any, roots: tuple[Path, ...], place: Place) -> Picture:
    """A picture that is there, not opened. Raises CellError for one that is not."""
    if isinstance(source, dict):
        if source.get("bytes") is not None:
            if not isinstance(source["bytes"], bytes):
                raise CellError(place.column, IN_LETTERS)
            return Picture(source, None, place)
        if not source.get("path"):
            raise CellError(place.column, "an image has neither bytes nor a path")
        source = source["path"]
    if isinstance(source, bytes):
        return Picture(source, None, place)
    if not isinstance(source, (str, tuple)):
        kind = "null" if source is None else type(source).__name__
        raise CellError(place.column, f"an image is {kind}; write the path of a file")
    return Picture(source, found_file(source, roots, place.column), place)


def found_file(source: str | tuple[str, ...], roots: tuple[Path, ...], column: str) -> str:
    """The file that a path (or the first of several) names below a root. Raises CellError."""
    names = (source,) if isinstance(source, str) else source
    if names[0].startswith("data:") or len(names[0]) > LONGEST_PATH:
        raise CellError(column, IN_LETTERS)
    if "://" in names[0]:
        raise CellError(column, f"'{cut(names[0])}' is an address; download it and write the path")
    for name in names:
        for root in roots or (Path(),):
            path = os.path.join(root, name)
            if os.path.isfile(path):
                return path
    if names[0].startswith(LETTERS):
        raise CellError(column, IN_LETTERS)
    where = " or ".join(str(root) for root in roots) or "."
    raise CellError(
        column,
        f"there is no file '{cut(names[0], 300)}' in {where}; --image-root says where paths begin",
    )


def frames_of(source: Any, roots: tuple[Path, ...], column: str) -> list[Path]:
    """`FRAMES` files out of a folder of frames, evenly, in the order of their names. The folder of
    a video file is its path without the ending. Raises CellError where there is no such folder."""
    if not isinstance(source, str) or not source:
        raise CellError(column, "a video is the path of a folder with its frames")
    bare = os.path.splitext(source)[0]
    for path in [root / name for root in roots or (Path(),) for name in (source, bare)]:
        if path.is_dir():
            frames = sorted(each for each in path.iterdir() if each.suffix.lower() in FRAME_KINDS)
            if not frames:
                raise CellError(column, f"'{source}' holds no frame ({', '.join(FRAME_KINDS)})")
            count = min(FRAMES, len(frames))
            last = len(frames) - 1
            return [frames[n * last // max(1, count - 1)] for n in range(count)]
    if any((root / source).is_file() for root in roots or (Path(),)):
        raise CellError(
            column,
            f"'{cut(source)}' is a video file, and videos are read as folders of frames: extract "
            f"them into '{cut(bare)}', for example with ffmpeg -i {cut(source)} "
            f"{cut(bare)}/%05d.jpg",
        )
    raise CellError(
        column, f"there is no folder '{cut(source, 300)}'; --image-root says where paths begin"
    )


def open_records(
    name: str,
    *,
    split: str | None = None,
    image_root: Path | None = None,
    limit: int | None = None,
    read: Read | None = None,
    needs: frozenset[str] = frozenset(),
) -> Records:
    """A folder, a file or a hub id. Raises DataError where there is nothing to read, or a choice to
    make."""
    if image_root is not None and not image_root.is_dir():
        raise DataError(f"--image-root: there is no folder '{image_root}'")
    tables, _ = tables_of(name, split, image_root, limit)
    return Records(name, tables, limit, read, needs)


# --- what a run trains on ------------------------------------------------------------------------


@dataclass
class Rows(Sequence[Row]):
    """Rows by number; a row's images are opened when it is asked for, and are not kept. Its column
    `place` says where it stands.

    dropped: how many records make no example, by reason. digest: names the content, images by their
    paths alone. unearned: places of true answers that no reward tells from others.
    """

    records: Records
    dropped: Counter[str] = field(default_factory=Counter)
    text_only: int = 0
    digest: str = ""
    unearned: list[str] = field(default_factory=list)
    _tables: array[int] = field(default_factory=lambda: array("i"))
    _numbers: array[int] = field(default_factory=lambda: array("q"))
    _parts: array[int] = field(default_factory=lambda: array("i"))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(number)
        table, row = self._tables[number], self._numbers[number]
        place = Place(*self.records.tables[table].place(row))
        item = self.records.item(table, self.records.tables[table][row], place)
        if item.problem:
            raise DataError(item.problem)
        return {**opened(item.rows[self._parts[number]]), "place": str(place)}

    def read_through(self, rewards: Iterable[Reward] = ()) -> None:
        """Go through the data once; `rewards` are what answers to it are to earn. Raises DataError
        at the first problem, a true answer that a reward cannot read among them, and where no row
        is left."""
        judged = Judged(tuple(rewards))
        content = hashlib.blake2b(digest_size=16)
        read = 0
        for table, row, record, item in self.records.numbered(whole=False):
            read += 1
            if item.problem:
                raise DataError(item.problem)
            content.update(repr(sorted(record.items()) if record else None).encode())
            if item.dropped:
                self.dropped[item.dropped] += 1
            for part, made in enumerate(item.rows):
                try:
                    if not judged.earns(made.get("answer")):
                        self.unearned.append(str(Place(*self.records.tables[table].place(row))))
                except ValueError as error:
                    place = Place(*self.records.tables[table].place(row))
                    truth = cut(str(made.get("answer")))
                    raise DataError(
                        f"{place}: a reward cannot take the true answer '{truth}': {error}"
                    ) from None
                self._tables.append(table)
                self._numbers.append(row)
                self._parts.append(part)
                self.text_only += not made.get("images")
        self.digest = content.hexdigest()
        if not read:
            raise DataError(f"{self.records.name} holds no rows")
        if not len(self):
            raise DataError(f"{self.records.name}: no row is left; {self.said()}")

    def said(self) -> str:
        """What was dropped and why, in one line; empty where nothing was."""
        if not self.dropped:
            return ""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dropped.most_common())
        return f"{sum(self.dropped.values())} rows dropped ({reasons})"


@dataclass
class Judged:
    """Tries rewards on true answers: each, in the forms that it may be given in, has to earn more
    than another text does from one of them."""

    rewards: tuple[Reward, ...]
    known: dict[str, bool] = field(default_factory=dict)

    def earns(self, truth: Any) -> bool:
        """Whether the true answer can be told from another one. Raises ValueError where a reward
        cannot read it."""
        if not self.rewards or not isinstance(truth, str) or not truth:
            return True
        if truth not in self.known:
            if len(self.known) >= MOST_TRUTHS:
                return True
            rounded = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.0f}", truth)
            given = [
                [form.format(text) for text in texts for form in FORMS]
                for texts in ((truth, rounded), (OTHER, OTHER))
            ]
            found = [
                any(map(operator.gt, *(reward(texts, [truth] * len(texts)) for texts in given)))
                for reward in self.rewards
            ]
            self.known[truth] = any(found)
        return self.known[truth]


MOST_TRUTHS = 10_000
"""Different true answers that are tried."""
FORMS = ("{}", "<think> a </think> <answer> {} </answer>", "<think>a</think> \\boxed{{{}}}")
"""Ways to give an answer that rewards read."""
OTHER = "none of these"


def opened(row: Row) -> Row:
    """The row with its pictures opened, in whichever columns they are."""
    return {
        name: [each.open() if isinstance(each, Picture) else each for each in value]
        if isinstance(value, list)
        else value
        for name, value in row.items()
    }


def needed(stage: Stage, config: Any) -> frozenset[str]:
    """Columns that a stage's rows have to have, of those that only data can give."""
    if isinstance(stage, (PairStage, HeadStage)):
        responses = {view.response for view in stage.views_of(config)}
        return frozenset(responses & {"chosen", "rejected"})
    compared = isinstance(stage, GroupStage) or (
        isinstance(stage, PpoStage) and bool(stage.rewards_of(config))
    )
    return frozenset({"answer"} if compared else ())


def reading(stage: Stage, needs: frozenset[str]) -> Read | None:
    """How a stage reads a record: in its own way; as a question with its true answer, where it is
    rewarded by rules; or None, by a layout of pairs."""
    return stage.read or (answered if "answer" in needs else None)


def first_row(records: Records) -> tuple[Place, Row] | None:
    """The first row that can be read, its images opened, and its place. Raises DataError."""
    for _, _, _, item in records.numbered(whole=True):
        if item.problem:
            return None  # whoever goes through the data says so
        if item.rows:
            return item.place, opened(item.rows[0])
    return None


def learn_columns(records: Records, stages: Sequence[Stage], config: Any) -> None:
    """Let records give, and ask them for, all that the stages want of a row.

    Raises DataError where a loss, or a stage that can be left out, cannot do without what the first
    row has not."""
    from reference_impls.core.columns import wants

    asked: set[str] = set()
    while (found := first_row(records)) is not None:
        place, row = found
        wanted = wants(stages, config, row)
        asked |= wanted.needed
        records._has.clear()
        if not set(wanted.columns) <= set(records.further):
            records.further = {**records.further, **wanted.columns}
            continue
        has = f"the row has {listed(row)}"
        if wanted.problem:
            raise DataError(f"{place}: {wanted.problem}; {has}")
        last = wants(stages[-1:], config, row).needed
        for stage in stages[:-1]:
            if stage.when is not None:
                needs = sorted(wants((stage,), config, row).needed - last)
                if needs:
                    raise DataError(
                        f"{place}: the stage {stage.name} needs {' and '.join(needs)}, and {has}; "
                        "leave this stage out (--set, see the script's Config), and begin at a "
                        "model that had it"
                    )
        records.needs |= asked.union(*(needed(stage, config) for stage in stages))
        return


def read_rows(
    name: str,
    stage: Stage,
    config: Any = None,
    *,
    split: str | None = None,
    image_root: Path | None = None,
    limit: int | None = None,
    note: Callable[[str], None] = lambda line: None,
    fed: Sequence[Stage] = (),
) -> Rows:
    """A dataset as the rows of a stage, all of them checked but for what is inside images.

    `note` is told in one line how many rows there are, and how many were dropped and why. `fed` are
    all stages that are given the rows, this one alone by default. Raises DataError, also where one
    of them needs, under its config, a column that the data has not."""
    needs: frozenset[str] = needed(stage, config) if config is not None else frozenset()
    records = open_records(
        name, split=split, image_root=image_root, limit=limit, read=reading(stage, needs),
        needs=needs,
    )  # fmt: skip
    if config is not None:
        learn_columns(records, fed or (stage,), config)
    rows = Rows(records)
    rewards: Mapping[str, Reward] = {}
    if isinstance(stage, SamplingStage) and config is not None:
        rewards = stage.rewards_of(config)
    rows.read_through(rewards.values())
    layouts = ", ".join(each.name for each in rows.records.layouts)
    said = [f"{len(rows)} rows" + (f" in the layout {layouts}" if layouts else "")]
    said += [rows.said()] if rows.dropped else []
    said += [f"{rows.text_only} without an image"] if rows.text_only else []
    if rows.unearned:
        said.append(
            f"of {len(rows.unearned)} (first: {rows.unearned[0]}) the true answer earns no more "
            "than another one, alone, in tags or in a box"
        )
    note(f"{name}: {'; '.join(said)}")
    return rows
