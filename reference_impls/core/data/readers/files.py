"""Files of records: which ones a dataset is, and their rows one by one, by number or in order.

Parquet, Arrow and the hub are read by `datasets`, memory-mapped. JSON is read row by row: type
inference would make a date of a text and a null of a key that other rows have, and would not say
which row has a number among texts. Of a file of any size the places of its rows are held, 16 bytes
each.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from reference_impls.core.data.readers.cells import (
    CellError,
    DataError,
    Record,
    checked_characters,
    json_of,
)

KINDS = {
    ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".arrow": "arrow", ".tar": "tar",
}  # fmt: skip
NOT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
META = "meta.json"
CARD = "README.md"
SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation",
}  # fmt: skip
"""Words in names of files and folders that name a split, as `datasets` reads them."""
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""How JSON writes a half of a character beyond U+FFFF; Python takes one without the other."""
PICTURES = ("jpg", "jpeg", "png", "webp")
"""Columns of a webdataset that hold a picture: the endings of its files."""
WINDOW = 1 << 20
BATCH = 256


class Table(Protocol):
    """The rows of one file, or of one set that `datasets` opened."""

    roots: tuple[Path, ...]

    def scan(self, whole: bool) -> Iterator[Record | CellError]:
        """All rows in order; `whole`: with the bytes of images. A row that cannot be read is the
        CellError that says why."""

    def place(self, row: int) -> tuple[str, int]:
        """The file that a row of the table is in, and its number there."""

    def __getitem__(self, row: int) -> Record: ...


@dataclass
class JsonTable:
    """A file with one JSON object per line, or with one list of them."""

    path: Path
    name: str
    roots: tuple[Path, ...]
    keyed: bool = False
    _starts: array[int] = field(default_factory=lambda: array("q"))
    _sizes: array[int] = field(default_factory=lambda: array("q"))

    def scan(self, whole: bool = True) -> Iterator[Record | CellError]:
        self._starts, self._sizes = array("q"), array("q")
        for start, text in self._texts():
            self._starts.append(start)
            self._sizes.append(len(text))
            yield decoded(text)

    def place(self, row: int) -> tuple[str, int]:
        return self.name, row

    def __getitem__(self, row: int) -> Record:
        with self.path.open("rb") as stream:
            stream.seek(self._starts[row])
            found = decoded(stream.read(self._sizes[row]))
        if isinstance(found, CellError):
            raise found
        return found

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        """Where each row begins, and its text."""
        with self.path.open("rb") as stream:
            begin = 3 if stream.read(3) == b"\xef\xbb\xbf" else 0
            stream.seek(begin)
            if first_letter(self.path, begin) == b"[":
                yield from elements(stream, begin, self.name)
                return
            start = begin
            for line in stream:
                if line.strip():
                    yield start, line
                start += len(line)


def first_letter(path: Path, begin: int = 0) -> bytes:
    """The first byte of a file that is not space; empty where there is none."""
    with path.open("rb") as stream:
        stream.seek(begin)
        while part := stream.read(4096):
            if part.strip():
                return part.strip()[:1]
    return b""


def decoded(text: bytes) -> Record | CellError:
    """The object that a text is, or what is wrong with it."""
    try:
        value = json_of(text)
    except UnicodeDecodeError as error:
        return CellError("", f"the row is not UTF-8 ({error.reason} at byte {error.start})")
    except ValueError as error:
        return CellError("", f"the row is not JSON: {error}")
    if not isinstance(value, dict):
        kind = type(value).__name__
        return CellError("", f'the row is a {kind}; write an object, {{"column": value, ...}}')
    return unbroken(Record(value)) if SURROGATE.search(text) else Record(value)


def unbroken(record: Record) -> Record | CellError:
    """The record, or which column of it holds half of a character."""
    try:
        checked_characters(record)
    except CellError as error:
        return error
    return record


def elements(stream: Any, begin: int, name: str) -> Iterator[tuple[int, bytes]]:
    """The objects of a JSON list, and where each begins, with one window of the file in memory.

    Brackets are counted outside of strings. Raises DataError where the list does not end, where
    more stands behind it, and for what is not an object with commas between.
    """
    token, between = re.compile(rb'["\\{}\[\]]'), re.compile(rb"\S")
    depth, inside, escaped = 0, False, False
    comma = ended = False
    start, offset, held, rows = -1, begin, b"", 0
    while part := stream.read(WINDOW):
        base = offset - len(held)
        window, seen = held + part, len(held)
        place = seen
        while True:
            if escaped:  # whatever stands behind a backslash is not read
                if place >= len(window):
                    break
                escaped, place = False, place + 1
            found = (between if depth < 2 else token).search(window, place)
            if found is None:
                break
            letter, place = found[0], found.end()
            if ended:
                raise DataError(
                    f"{name}: more stands behind the end of the list, which has {rows} rows; write "
                    "one list, or one object per line"
                )
            if depth < 2:
                if letter == b"," and rows and not comma:
                    comma = True
                elif letter in b"{[" and not (depth and rows and not comma):
                    depth, comma = depth + 1, False
                    if depth == 2:
                        start = base + found.start()
                elif letter == b"]":
                    ended = True
                else:
                    what = "an object" if comma or not rows else "a comma"
                    raise DataError(
                        f"{name}, row {rows}: where {what} has to be stands "
                        f"'{letter.decode('ascii', 'replace')}'; the list holds objects with "
                        "commas between"
                    )
            elif inside:
                escaped = letter == b"\\"
                inside = letter != b'"'
            elif letter == b'"':
                inside = True
            elif letter in b"{[":
                depth += 1
            elif letter in b"}]":
                depth -= 1
                if depth == 1:
                    yield start, window[start - base : base + place - base]
                    start, rows = -1, rows + 1
        offset += len(part)
        held = window[start - base :] if start >= 0 else b""
    if not ended:
        raise DataError(
            f"{name}, row {rows}: the list does not end; the file is cut off or not JSON"
        )


@dataclass
class ListTable:
    """Rows that are in memory: objects of a JSON object, each under its key."""

    name: str
    records: Sequence[Record]
    roots: tuple[Path, ...]

    def scan(self, whole: bool = True) -> Iterator[Record | CellError]:
        yield from (unbroken(Record(record)) for record in self.records)

    def place(self, row: int) -> tuple[str, int]:
        return self.name, row

    def __getitem__(self, row: int) -> Record:
        return Record(self.records[row])


@dataclass
class ArrowTable:
    """A split that `datasets` opened, memory-mapped, as it is stored: images are not decoded.

    counts: (file, its rows) in order, where the split is made of files that are known. shards: rows
    are a picture and a JSON object under one key, as webdataset has them.
    """

    data: Any
    name: str
    roots: tuple[Path, ...]
    counts: Sequence[tuple[str, int]] = ()
    shards: bool = False

    def __post_init__(self) -> None:
        self.data = self.data.with_format("arrow")

    def scan(self, whole: bool = True) -> Iterator[Record | CellError]:
        for table in self.data.iter(batch_size=BATCH):
            columns = {
                name: column.to_pylist() if whole else without_bytes(column)
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
            for row in range(len(table)):
                yield self._record({name: values[row] for name, values in columns.items()})

    def place(self, row: int) -> tuple[str, int]:
        for name, count in self.counts:
            if row < count:
                return name, row
            row -= count
        return self.name, row

    def __getitem__(self, row: int) -> Record:
        (found,) = self.data[row].to_pylist()
        return self._record(found)

    def _record(self, found: dict[str, Any]) -> Record:
        if not self.shards:
            return Record(found)
        shown = [found[kind] for kind in PICTURES if found.get(kind) is not None]
        return Record({**(found.get("json") or {}), "image": shown[0] if shown else None})


def without_bytes(column: Any) -> list[Any]:
    """Values of a column of a table; of bytes only whether they are there, as empty ones."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in without_bytes(chunk)]
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [b"" if there else None for there in column.is_valid().to_pylist()]
    if pa.types.is_struct(kind) and any("binary" in str(f.type) for f in kind):
        parts = {f.name: without_bytes(column.field(f.name)) for f in kind}
        return [
            {name: values[row] for name, values in parts.items()} if there else None
            for row, there in enumerate(column.is_valid().to_pylist())
        ]
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and "binary" in str(kind):
        values = without_bytes(column.flatten())
        made: list[Any] = []
        start = 0
        for length in column.value_lengths().to_pylist():
            made.append(None if length is None else values[start : start + length])
            start += length or 0
        return made
    found: list[Any] = column.to_pylist()
    return found


# --- which files ---------------------------------------------------------------------------------


def split_of(file: Path) -> str:
    """The split that a file's path names, its own name before its folders'; "" for none."""
    for part in (file.name.split(".")[0], *reversed(file.parts[:-1])):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return ""


def data_files(folder: Path) -> list[Path]:
    """Files of the kinds that are read, in a folder and below it, but for hidden ones."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in KINDS
        and file.name not in NOT_DATA
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def chosen_files(folder: Path, split: str | None) -> list[Path]:
    """Data files of a folder: those of one split and of one kind.

    Without `split` those named train, or all where none is named. Raises DataError where that
    leaves a choice."""
    by_split, told = files_by_split(folder)
    files = [file for each in by_split.values() for file in each]
    if not files:
        packed = [file for file in folder.rglob("*") if file.suffix.lower() in PACKED]
        raise DataError(
            f"{folder} holds no file of the kinds {', '.join(KINDS)}"
            + (f"; unpack {_shown(min(packed), folder)}" if packed else "")
        )
    named = sorted(set(by_split) - {""})
    if split is not None:
        wanted = by_split.get(split) or by_split.get(SPLITS.get(split, split), [])
        words = [file for file in files if split in re.split(r"[^\w]+|_", _shown(file, folder))]
        files = wanted or words
        if not files:
            have = ", ".join(named) or "files that name no split"
            raise DataError(f"--split {split}: {folder} holds {have}")
    elif "train" in by_split:
        files = by_split["train"]
    elif named and by_split.get(""):
        files = by_split[""]
    elif named:
        raise DataError(
            f"{folder} holds no split train, but {', '.join(named)}; choose one with --split"
        )
    kinds = sorted({file.suffix.lower() for file in files})
    if len({KINDS[kind] for kind in kinds}) > 1:
        shown = ", ".join(_shown(file, folder) for file in files[:4])
        raise DataError(
            f"{folder} holds files of the kinds {' and '.join(kinds)} ({shown}"
            f"{', ...' if len(files) > 4 else ''}); give one file, or choose with --split"
        )
    if not told:
        _refuse_unread(folder, files)
    return files


def files_by_split(folder: Path) -> tuple[dict[str, list[Path]], bool]:
    """Data files of a folder by the split that they belong to ("" for none), and whether its card
    says so; else their names do. Raises DataError for a card that leaves a choice."""
    listed = listed_files(folder)
    if listed is not None:
        return listed, True
    by_split: dict[str, list[Path]] = {}
    for file in data_files(folder):
        by_split.setdefault(split_of(file.relative_to(folder)), []).append(file)
    return by_split, False


def listed_files(folder: Path) -> dict[str, list[Path]] | None:
    """What the card of a data set says: split -> its files; None where it names no files.

    As `datasets` reads `configs` in the YAML at the card's head: one configuration, or of several
    the one that is marked as default or called so; `data_files` is a pattern, a list of them (the
    split train), or a list of objects with `split` and `path`. Raises DataError."""
    try:
        head = (folder / CARD).read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    found = re.match(r"---[ \t]*\r?\n(.*?)^---", head, re.DOTALL | re.MULTILINE)
    try:
        held = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise DataError(f"{folder / CARD}: its head is not YAML: {_line(error)}") from None
    given = held.get("configs") if isinstance(held, dict) else None
    configs = [each for each in given or () if isinstance(each, dict)]
    if not any(each.get("data_files") for each in configs):
        return None
    default = [each for each in configs if each.get("default")]
    default = default or [each for each in configs if each.get("config_name") == "default"]
    if len(configs) > 1 and not default:
        names = ", ".join(str(each.get("config_name")) for each in configs)
        raise DataError(
            f"{folder}: {CARD} lists the configurations {names}; give the folder or the file of one"
        )
    config = (default or configs)[0]
    files = config.get("data_files") or []
    parts = [files] if isinstance(files, str) else list(files)
    made: dict[str, list[Path]] = {}
    for part in parts:
        split, patterns = "train", part
        if isinstance(part, dict):
            split, patterns = str(part.get("split", "train")), part.get("path")
        for pattern in [patterns] if isinstance(patterns, str) else list(patterns or ()):
            made.setdefault(split, []).extend(_matching(folder, config, str(pattern)))
    return made


def _matching(folder: Path, config: Mapping[str, Any], pattern: str) -> list[Path]:
    """Files that a pattern of a card names. Raises DataError where there are none, and for files of
    a kind that is not read."""
    below = folder / str(config.get("data_dir") or "")
    try:
        files = sorted(file for file in below.glob(pattern) if file.is_file())
    except (ValueError, NotImplementedError):  # an absolute path, or an address
        files = []
    if not files:
        raise DataError(f"{folder}: {CARD} lists {pattern}, and there is no such file")
    for file in files:
        if file.suffix.lower() not in KINDS:
            raise DataError(
                f"{folder}: {CARD} lists {_shown(file, folder)}, which is none of the kinds "
                f"{', '.join(KINDS)}; write it as JSON lines"
            )
    return files


def _refuse_unread(folder: Path, files: Sequence[Path]) -> None:
    """Raises DataError for rows that would be missed in silence: a packed file of the split that is
    read, or a table of the name of a file that is read."""
    splits = {split_of(file.relative_to(folder)) for file in files}
    names = {file.with_suffix("") for file in files}
    for file in sorted(folder.rglob("*")):
        packed = file.suffix.lower() in PACKED and Path(file.stem).suffix.lower() in KINDS
        table = file.suffix.lower() in (".csv", ".tsv")
        if (packed and split_of(file.relative_to(folder)) in splits) or (
            table and file.with_suffix("") in names
        ):
            raise DataError(
                f"{_shown(file, folder)} would not be read; "
                f"{'unpack it' if packed else 'write it as JSON lines'}, or move it away"
            )


def _shown(file: Path, folder: Path) -> str:
    return Path(os.path.relpath(file, folder)).as_posix()


def splits_of(name: str) -> list[str]:
    """The splits that a folder or a data set of the hub is told to have, by name; none of a file.

    Raises DataError where the hub cannot be asked.
    """
    path = Path(name).expanduser()
    if path.is_file() or (path / "state.json").exists():
        return []
    if (path / META).is_file() and mmpr_tables(path / META, None):
        return []
    if (path / "dataset_dict.json").exists():
        try:
            return sorted(map(str, json_of((path / "dataset_dict.json").read_bytes())["splits"]))
        except (ValueError, LookupError, TypeError, OSError) as error:
            raise DataError(f"{path}: dataset_dict.json lists no splits: {_line(error)}") from None
    if path.is_dir():
        return sorted(set(files_by_split(path)[0]) - {""})
    from datasets.inspect import get_dataset_split_names

    repo, _, configuration = name.partition(":")
    try:
        return sorted(get_dataset_split_names(repo, configuration or None))
    except Exception as error:  # as `_loaded`
        raise DataError(f"{name}: its splits cannot be listed: {_line(error)}") from None


def tables_of(
    name: str,
    split: str | None = None,
    image_root: Path | None = None,
    limit: int | None = None,
) -> tuple[list[Table], Path | None]:
    """The tables that a dataset is, and the folder or file that it is; None for a hub id, of which
    no more than `limit` rows are brought. Raises DataError.
    """
    path = Path(name).expanduser()
    if not path.exists():
        return [hub_table(name, split, image_root, limit)], None
    roots = (image_root,) if image_root is not None else ()
    if path.is_dir() and ((path / "state.json").exists() or (path / "dataset_dict.json").exists()):
        return [saved_table(path, split, roots or (path,))], path
    if path.is_file():
        if path.suffix.lower() not in KINDS:
            raise DataError(
                f"{path}: '{path.suffix}' is none of the kinds {', '.join(KINDS)}"
                + ("; unpack it" if path.suffix.lower() in PACKED else "")
            )
        if split is not None:
            raise DataError(f"--split {split}: {path} is one file; give its folder to choose")
        files, folder = [path], path.parent
        meta = path
    elif path.is_dir():
        meta = path / META
        if split is None and meta.is_file() and (tables := mmpr_tables(meta, image_root)):
            return tables, path
        files, folder = chosen_files(path, split), path
    else:
        raise DataError(f"{path} is neither a file nor a folder")
    if path.is_file() and meta.suffix == ".json" and (tables := mmpr_tables(meta, image_root)):
        return tables, path
    kind = KINDS[files[0].suffix.lower()]
    if kind != "json":
        return [loaded_table(kind, files, folder, roots or (folder,))], path
    return [json_table(file, file.name if path.is_file() else _shown(file, folder),
                       roots or tuple(dict.fromkeys((folder, file.parent))))
            for file in files], path  # fmt: skip


def json_table(file: Path, name: str, roots: tuple[Path, ...]) -> Table:
    """A JSON file as a table. Raises DataError for one that holds neither rows nor a list."""
    try:
        with file.open("rb") as stream:
            marked = stream.read(3) == b"\xef\xbb\xbf"
        letter = first_letter(file, 3 if marked else 0)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from None
    if not letter:
        raise DataError(f"{name} is empty; it should hold one JSON object per line")
    if letter == b"{" and file.suffix.lower() == ".json":
        keyed = object_of_objects(file)
        if keyed is not None:
            return ListTable(name, keyed, roots)
    return JsonTable(file, name, roots)


def object_of_objects(file: Path) -> list[Record] | None:
    """HA-DPO's list for LLaVA is one object: id of the image -> row. None for anything else."""
    held = one_object(file)
    if held is None or not all(isinstance(each, dict) for each in held.values()):
        return None
    return [Record({"image_id": key, **value}) for key, value in held.items()]


def one_object(file: Path) -> Mapping[str, Any] | None:
    """The JSON object that a whole file is; None for a list, for JSON lines, and for anything else:
    those may be large, and are not read."""
    with file.open("rb") as stream:
        head = stream.read(WINDOW).removeprefix(b"\xef\xbb\xbf").lstrip()
    first, _, more = head.partition(b"\n")
    if not head.startswith(b"{") or (more.strip() and isinstance(decoded(first), Record)):
        return None
    try:
        held = json_of(file.read_bytes())
    except ValueError:
        return None
    return held if isinstance(held, Mapping) else None


def mmpr_tables(meta: Path, image_root: Path | None) -> list[Table] | None:
    """The sets that an MMPR root lists: name -> {root, annotation, repeat_time, ...}; None where
    the file is something else.

    Paths in it begin at the folder above the root, or at the disk of its authors: what counts is
    the part from `annotations` and `images` on. Each set is read once; `repeat_time` weighs them in
    the official training, and is not applied."""
    held = one_object(meta)
    if not held:
        return None
    if not all(isinstance(v, dict) and {"root", "annotation"} <= set(v) for v in held.values()):
        return None
    tables: list[Table] = []
    for name, each in held.items():
        file = _below(meta.parent, str(each["annotation"]), "annotations")
        if not file.is_file():
            raise DataError(f"{meta.name}: the annotation file of '{name}' is not at {file}")
        root = _below(image_root or meta.parent, str(each["root"]), "images")
        shown = (
            file.relative_to(meta.parent).as_posix() if meta.parent in file.parents else str(file)
        )
        tables.append(JsonTable(file, shown, (root,)))
    return tables


def _below(folder: Path, path: str, mark: str) -> Path:
    parts = path.replace("\\", "/").split("/")
    tail = parts[parts.index(mark) :] if mark in parts else parts
    return folder.joinpath(*[part for part in tail if part])


# --- datasets ------------------------------------------------------------------------------------


def loaded_table(kind: str, files: list[Path], folder: Path, roots: tuple[Path, ...]) -> Table:
    """Parquet, Arrow or webdataset files as `datasets` reads them. Raises DataError."""
    counts: list[tuple[str, int]] = []
    shown = [_shown(file, folder) for file in files]
    if kind == "parquet":
        import pyarrow.parquet as pq

        first: dict[str, str] = {}
        for file, name in zip(files, shown, strict=True):
            try:
                held = pq.read_metadata(file)
                columns = leaves(held.schema.to_arrow_schema())
            except (OSError, ValueError) as error:
                raise DataError(f"{name} is not a whole parquet file: {_line(error)}") from None
            first = first or columns
            _refuse_other_columns(name, columns, shown[0], first)
            counts.append((name, held.num_rows))
        # An empty file among others is left out: `datasets` cannot read one.
        files = [file for file, (_, rows) in zip(files, counts, strict=True) if rows]
        counts = [(name, rows) for name, rows in counts if rows]
        if not files:
            raise DataError(f"{shown[0]} holds no rows")
    builder = "webdataset" if kind == "tar" else kind
    name = shown[0] if len(shown) == 1 else folder.name or str(folder)
    data = _loaded(name, builder, data_files=[str(file) for file in files], split="train")
    return ArrowTable(data, name, roots, counts, shards=kind == "tar")


def leaves(schema: Any) -> dict[str, str]:
    """The columns of a file and the fields inside them, each with what it holds: text, a number,
    true or false, bytes, null, or the name of its type."""
    import pyarrow.types as kinds

    found: dict[str, str] = {}

    def look(name: str, kind: Any) -> None:
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        if kinds.is_struct(kind):
            found[name] = "an object"
            for part in kind:
                look(f"{name}.{part.name}", part.type)
        elif kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
            found[name] = "a list"
            look(f"{name}[]", kind.value_type)
        elif kinds.is_string(kind) or kinds.is_large_string(kind):
            found[name] = "text"
        elif kinds.is_integer(kind) or kinds.is_floating(kind):
            found[name] = "numbers"
        elif kinds.is_binary(kind) or kinds.is_large_binary(kind):
            found[name] = "bytes"
        else:
            found[name] = str(kind)

    for column in schema:
        look(column.name, column.type)
    return found


def _refuse_other_columns(
    name: str, columns: Mapping[str, str], first: str, wanted: Mapping[str, str]
) -> None:
    """Raises DataError for a file of other columns than the first one: `datasets` would write the
    numbers of one as text, because the other has text."""
    for column in dict.fromkeys((*wanted, *columns)):
        one, other = columns.get(column), wanted.get(column)
        top = column.partition(".")[0].partition("[")[0]
        if one == other or (None in (one, other) and column != top) or "null" in (one, other):
            continue
        raise DataError(
            f"{name}: its column '{column}' holds {one or 'nothing'}, and that of {first} "
            f"{other or 'is not there'}; write all files alike, or give one of them"
        )


def saved_table(path: Path, split: str | None, roots: tuple[Path, ...]) -> Table:
    """What `save_to_disk` wrote. Raises DataError."""
    from datasets.dataset_dict import DatasetDict
    from datasets.load import load_from_disk

    try:
        data = load_from_disk(str(path))
    except Exception as error:
        raise DataError(f"{path}: {_line(error)}") from None
    if not isinstance(data, DatasetDict):
        if split is not None:
            raise DataError(f"--split {split}: {path} holds one split")
        return ArrowTable(data, path.name, roots)
    wanted = split or "train"
    if wanted not in data:
        raise DataError(
            f"{path} holds no split {wanted}, but {', '.join(map(str, data))}; choose one with "
            "--split"
        )
    return ArrowTable(data[wanted], f"{path.name}/{wanted}", roots)


def hub_table(
    name: str, split: str | None, image_root: Path | None, limit: int | None = None
) -> Table:
    """A data set of the hub, `owner/name` or `owner/name:configuration`. With a limit its first
    rows alone are brought, and held in memory as they are stored. Raises DataError."""
    repo, _, configuration = name.partition(":")
    roots = (image_root,) if image_root is not None else ()
    options = {"split": split or "train"} | ({"streaming": True} if limit is not None else {})
    data = _loaded(name, repo, configuration or None, **options)
    return ArrowTable(data if limit is None else _first(name, data, limit), name, roots)


def _first(shown: str, stream: Any, limit: int) -> Any:
    """The first rows of a data set that is read from afar. Raises DataError."""
    import pyarrow as pa
    from datasets.arrow_dataset import Dataset

    parts: list[Any] = []
    left = limit
    try:
        for part in stream.with_format("arrow").iter(batch_size=min(limit, BATCH)):
            parts.append(part.slice(0, left))
            left -= len(parts[-1])
            if not left:
                break
    except Exception as error:  # as `_loaded`
        raise DataError(f"{shown} cannot be read: {_line(error)}") from None
    if not parts:
        raise DataError(f"{shown} holds no rows")
    return Dataset(pa.concat_tables(parts))


def _loaded(shown: str, *given: Any, **options: Any) -> Any:
    from datasets.load import load_dataset

    try:
        return load_dataset(*given, **options)
    except Exception as error:  # of many kinds, by builder and by hub
        hint = (
            ""
            if "data_files" in options
            else (" (a data set that is on disk is given by its folder or file)")
        )
        raise DataError(f"{shown} cannot be read: {_line(error)}{hint}") from None


def _line(error: BaseException) -> str:
    cause = error.__cause__ or error
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text if len(text) <= 300 else text[:297] + "..."
