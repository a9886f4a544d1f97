"""What changed in the knowledge base between two revisions, in words.

Works on the data of the YAML files and not on the record classes, so that revisions can be compared
whose records had another shape, or none: what cannot be compared is named (`uncompared`).
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import zipfile
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmalign.characters import UNWANTED, quoted
from mmalign.errors import NoRevision
from mmalign.records import source
from mmalign.vocabulary import COLLECTIONS, PLURALS

Record = dict[str, Any]
UNREAD = "\0unread"
"""Key of what stands for a file that cannot be read as data; its value says why."""

Files = dict[str, Record]
"""Name of a file (`papers/mdpo.yaml`) -> its data, or `{UNREAD: why}`."""

LISTS = {collection: kind for kind, collection in COLLECTIONS.items()}
# What tells the items of a list apart; a list without these is compared as a whole.
KEYS = (("id",), ("benchmark", "metric", "model"), ("for", "source"), ("of", "place"), ("symbol",),
        ("framework",), ("name",), ("text",))  # fmt: skip
LONGEST = 60
"""Characters of a value that a sentence shows."""
MAX_FILES = 50_000
MAX_TOTAL = 500_000_000
"""Bytes of all files of a revision. An archive of 1 MB can unpack to a thousand times as much."""

_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
_FILE = re.compile(r"(?:papers|taxonomy)/[^/]+\.yaml")
_OBJECT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class Change:
    """One thing that changed. `what` is added, removed or changed; `field` is empty where the whole
    thing was added or removed; `text` says it in words."""

    ref: str
    what: str
    field: str
    old: Any
    new: Any
    text: str

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "change", **asdict(self)}


# --- reading -------------------------------------------------------------------------------------


def reason_against(revision: str) -> str | None:
    """Why a text cannot name a revision, or None. Nothing is looked up.

    git would read what begins with a hyphen as one of its options.
    """
    if not revision.strip():
        return "a revision is wanted, not an empty name"
    if revision.startswith("-"):
        return f"{quoted(revision)} begins with a hyphen; write ./ before the name of a folder"
    if len(revision) > 4096:
        return f"{quoted(revision)} is too long for the name of a revision"
    if any(char < " " for char in revision):
        return f"{quoted(revision)} holds a control character"
    return None


def read(revision: str, root: Path) -> Files:
    """The files of a revision: a folder or wheel on disk, else a git revision of `root`.

    Raises NoRevision.
    """
    reason = reason_against(revision)
    if reason:
        raise NoRevision(reason)
    if os.path.isdir(revision):
        return _of_folder(Path(revision))
    if revision.endswith(".whl") and os.path.lexists(revision):
        return _of_wheel(Path(revision))
    return _of_git(revision, root)


def _of_folder(folder: Path) -> Files:
    places = (folder, folder / "mmalign" / "_data")
    found = next((place for place in places if (place / "papers").is_dir()), None)
    if found is None:
        raise NoRevision(f"{folder} holds no papers/")
    names = [*found.glob("papers/*.yaml"), *found.glob("taxonomy/*.yaml")]
    named = ((path.relative_to(found).as_posix(), path) for path in sorted(names))
    return _parse((name, _content(path)) for name, path in named)


def _content(path: Path) -> bytes:
    """At most one byte more than a record may have. Raises NoRevision."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device never ends
            raise NoRevision(f"{path} is not a regular file")
        with path.open("rb") as stream:
            return stream.read(source.MAX_BYTES + 1)
    except OSError as error:
        raise NoRevision(f"{path}: {error.strerror or error}") from None


def _of_wheel(path: Path) -> Files:
    if not path.is_file():
        raise NoRevision(f"{path} is not a regular file")
    try:
        with zipfile.ZipFile(path) as wheel:
            return _parse(_members(path, wheel))
    except NoRevision:
        raise
    except Exception as error:  # zipfile raises a dozen different ones for a damaged archive
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NoRevision(f"{path} is not a wheel that can be read: {reason}") from None


def _members(path: Path, wheel: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    prefix = "mmalign/_data/"
    seen: set[str] = set()
    for member in sorted(wheel.infolist(), key=lambda member: member.filename):
        name = member.filename.removeprefix(prefix)
        if not member.filename.startswith(prefix) or not name.endswith(".yaml"):
            continue
        if not _FILE.fullmatch(name):
            raise NoRevision(f"{path} holds {quoted(member.filename)}, which is not a record")
        if name in seen:
            raise NoRevision(f"{path} holds {quoted(member.filename)} twice")
        seen.add(name)
        with wheel.open(member) as stream:
            yield name, stream.read(source.MAX_BYTES + 1)
    if not seen:
        raise NoRevision(f"{path} holds no {prefix}papers/")


def _of_git(revision: str, root: Path) -> Files:
    lead = f"{quoted(revision)} is no folder, wheel or git revision with records"
    status, answer, said = _git(root, "rev-parse", "--verify", revision)
    name = answer.decode("ascii", "replace").strip()
    # From here on git is given nothing but the name of an object. (Nor is `^{tree}` asked for with
    # the name that was given: it would be a part of what `:/words` looks for.)
    if status or not _OBJECT.fullmatch(name):
        raise NoRevision(f"{lead}: {_reason(said, root)}")
    status, answer, said = _git(root, "rev-parse", "--verify", f"{name}^{{tree}}")
    name = answer.decode("ascii", "replace").strip()
    if status or not _OBJECT.fullmatch(name):
        raise NoRevision(f"{lead}: it is neither a commit nor a folder of one")
    status, answer, said = _git(root, "ls-tree", "-r", "-z", "-l", name, "papers/", "taxonomy/")
    if status:
        raise NoRevision(f"{lead}: {_reason(said, root)}")
    objects: dict[str, tuple[str, int]] = {}
    for line in answer.split(b"\0"):
        fields, _, path = line.partition(b"\t")
        file = os.fsdecode(path)
        if not _FILE.fullmatch(file):
            continue
        mode, kind, number, size = fields.decode("ascii").split()
        if kind != "blob" or not mode.startswith("100"):
            raise NoRevision(f"{quoted(file)} in {quoted(revision)} is not a regular file")
        objects[file] = (number, int(size) if size.isdigit() else 0)
    if not any(file.startswith("papers/") for file in objects):
        raise NoRevision(f"{lead}: it holds no papers/")
    sizes = {file: bytes_ for file, (_, bytes_) in objects.items()}
    for file, bytes_ in sizes.items():
        if bytes_ > source.MAX_BYTES:
            raise NoRevision(f"{quoted(file)} in {quoted(revision)} has {bytes_:,} bytes")
    if sum(sizes.values()) > MAX_TOTAL or len(objects) > MAX_FILES:
        raise NoRevision(f"{quoted(revision)} holds more than can be compared")
    wanted = "".join(f"{number}\n" for number, _ in objects.values()).encode()
    status, answer, said = _git(root, "cat-file", "--batch", given=wanted)
    if status:
        raise NoRevision(f"{lead}: {_reason(said, root)}")
    return _parse(_blobs(objects, answer))


def _blobs(objects: dict[str, tuple[str, int]], answer: bytes) -> Iterator[tuple[str, bytes]]:
    """The contents in what `git cat-file --batch` wrote: a line, then as many bytes as it says."""
    place = 0
    for file, (number, _) in objects.items():
        end = answer.find(b"\n", place)
        fields = answer[place:end].split()
        if end < 0 or len(fields) != 3:
            raise NoRevision(f"{quoted(file)} is missing from this clone (object {number[:12]})")
        place = end + 1 + int(fields[2])
        yield file, answer[end + 1 : place]
        place += 1


def _git(root: Path, *args: str, given: bytes = b"") -> tuple[int, bytes, str]:
    """Exit status, stdout and stderr of git in a folder. It asks nobody and fetches nothing."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    # Inside a hook these name another repository than the one of the root.
    environment = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *args],
            input=given, capture_output=True, check=False, env={**environment, **quiet},
        )  # fmt: skip
    except FileNotFoundError:
        raise NoRevision("git is not installed; name two folders or wheels") from None
    except OSError as error:
        raise NoRevision(f"git cannot be run: {error.strerror or error}") from None
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


def _reason(said: str, root: Path) -> str:
    """What git complained of, without what a reader of its own messages cannot use."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # `warning: refname 'HEAD' is ambiguous.` is not why it failed.
    lines = [line for line in lines if not line.startswith(("warning: ", "hint: "))]
    first = next((line for line in lines if line.startswith("fatal: ")), lines[0] if lines else "")
    reason = first.removeprefix("fatal: ")
    if "not a git repository" in reason:
        return f"{root} is not in a git repository"
    if reason and "eeded a single revision" not in reason:
        return reason
    _, answer, _ = _git(root, "rev-parse", "--is-shallow-repository")
    shallow = answer.strip() == b"true"
    return "git knows no such revision" + (
        "; this clone is shallow, git fetch --unshallow brings the rest" if shallow else ""
    )


def _parse(contents: Iterable[tuple[str, bytes]]) -> Files:
    files: Files = {}
    total = 0
    for name, content in contents:
        total += len(content)
        if total > MAX_TOTAL or len(files) >= MAX_FILES:
            raise NoRevision(
                f"more than {MAX_FILES:,} files or {MAX_TOTAL:,} bytes of records in one revision"
            )
        document = source.parse(content, name)
        if document.data is None:
            problem = document.problems[0]
            files[name] = {UNREAD: f"line {problem.line}: {problem.message}"}
        else:
            files[name] = document.data
    return files


# --- comparing -----------------------------------------------------------------------------------


def compare(old: Files, new: Files) -> list[Change]:
    """All changes, papers first, then entries, terms and errata, each by full name.

    What has no name of its own is left out (see `uncompared`), and so is a file that one of the two
    revisions has in a form that cannot be read: nothing is known of what was in it.
    """
    unread = {name for files in (old, new) for name, data in files.items() if UNREAD in data}
    before, after = (
        _things({name: data for name, data in files.items() if name not in unread}, [])
        for files in (old, new)
    )
    changes = []
    for ref in sorted(before | after, key=lambda ref: (_ORDER[ref.partition(":")[0]], ref)):
        if ref not in before:
            text = f"added {_name(ref, after[ref])}"
            changes.append(Change(ref, "added", "", None, None, text))
        elif ref not in after:
            text = f"removed {_name(ref, before[ref])}"
            changes.append(Change(ref, "removed", "", None, None, text))
        else:
            changes += _fields(ref, before[ref], after[ref])
    return changes


def uncompared(files: Files) -> list[str]:
    """What of a revision `compare` has to leave out, in words: it has not the shape of a thing with
    a name, or has the name of another."""
    left: list[str] = []
    _things(files, left)
    return left


_ORDER = {
    kind: place
    for place, kind in enumerate(("paper", *COLLECTIONS, "facet", "term", "relation", "erratum"))
}
# File of the taxonomy that is a list of things -> (its field, kind of what stands there).
_TABLES = {"errata": "erratum", "relations": "relation"}


def _things(files: Files, left: list[str]) -> dict[str, Mapping[str, Any]]:
    """Everything that has a name of its own: papers and entries, facets and terms, errata.

    What has none goes to `left`, in words.
    """
    found: dict[str, Mapping[str, Any]] = {}

    def add(kind: str, lead: str, item: object, place: str, without: Iterable[str] = ()) -> None:
        if not isinstance(item, Mapping):
            left.append(f"{place} is {_noun(item)}, not a mapping")
            return
        id_ = item.get("id")
        if not isinstance(id_, str) or not id_ or UNWANTED.search(id_):
            left.append(f"{place} has no id" if id_ is None else f"{place}.id is not an id")
            return
        ref = f"{kind}:{lead}{id_}"
        if ref in found:
            left.append(f"{place}: there is another {kind} {quoted(id_)}")
            return
        hidden = set(without)
        found[ref] = {key: value for key, value in item.items() if key not in hidden}

    def add_all(kind: str, lead: str, data: Record, field: str, file: str) -> None:
        items = data.get(field)
        if items is None:
            return
        if not isinstance(items, (list, tuple)):
            left.append(f"{file}: {field} is {_noun(items)}, not a list")
            return
        for number, item in enumerate(items):
            add(kind, lead, item, f"{file}: {field}[{number}]")

    for file, data in files.items():
        if UNREAD in data:
            left.append(f"{file}, {data[UNREAD]}")
            continue
        stem = file.rpartition("/")[2].removesuffix(".yaml")
        if file.startswith("papers/"):
            add("paper", "", data, file, LISTS)
            for collection, kind in LISTS.items():
                add_all(kind, "", data, collection, file)
        elif stem in _TABLES:
            add_all(_TABLES[stem], "", data, stem, file)
        else:
            # A table of the taxonomy has no id but its name.
            data = data if "id" in data else {"id": stem, **data}
            add("facet", "", data, file, ("terms",))
            if isinstance(data["id"], str):
                add_all("term", f"{data['id']}/", data, "terms", file)
    return found


def _noun(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    return (
        "true or false"
        if isinstance(value, bool)
        else ("text" if isinstance(value, str) else "a number")
    )


def _name(ref: str, data: Mapping[str, Any]) -> str:
    kind, _, id_ = ref.partition(":")
    title = data.get("name") or data.get("title") or data.get("label") or data.get("where")
    venue = f" ({_plain(data['venue'])})" if kind == "paper" and data.get("venue") else ""
    return f"{kind} {id_}" + (f": {_plain(title)}{venue}" if title and title != id_ else "")


def _fields(ref: str, old: Any, new: Any, path: str = "") -> Iterator[Change]:
    if _same(old, new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for field in dict.fromkeys((*old, *new)):
            where = f"{path}.{field}" if path else field
            yield from _fields(ref, old.get(field), new.get(field), where)
        return
    key = _key(old, new)
    if key is None:
        yield _changed(ref, path, old, new)
        return
    before = {_identity(item, key): item for item in old or ()}
    after = {_identity(item, key): item for item in new or ()}
    for identity in dict.fromkeys((*before, *after)):
        where = f"{path}[{_short(', '.join(map(_plain, identity or ())))}]"
        if identity in before and identity in after:
            yield from _fields(ref, before[identity], after[identity], where)
        else:
            yield _changed(ref, where, before.get(identity), after.get(identity))


def _key(old: Any, new: Any) -> tuple[str, ...] | None:
    """The fields that tell apart the items of two lists, or None where they are no such lists."""
    items = [*(old or ()), *(new or ())] if _is_list(old) and _is_list(new) else []
    if not items or not all(isinstance(item, Mapping) for item in items):
        return None
    for key in KEYS:
        if all(all(field in item for field in key) for item in items):
            for side in (old or (), new or ()):
                identities = {_identity(item, key) for item in side}
                if None in identities or len(identities) != len(side):
                    return None
            return key
    return None


def _is_list(value: Any) -> bool:
    return value is None or isinstance(value, (list, tuple))


def _same(old: Any, new: Any) -> bool:
    """Equal in value and type: for Python, `true` is 1. A field with nothing is as none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return all(_same(old.get(key), new.get(key)) for key in (*old, *new))
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(map(_same, old, new))
    if old is None or new is None:
        return old in (None, (), []) and new in (None, (), [])
    return type(old) is type(new) and bool(old == new)


def _identity(item: Mapping[str, Any], key: tuple[str, ...]) -> tuple[Hashable, ...] | None:
    """What tells an item apart, or None where that is no text."""
    values = tuple(item[field] for field in key)
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return values if all(part is None or isinstance(part, str) for part in flat) else None


def _changed(ref: str, path: str, old: Any, new: Any) -> Change:
    kind, _, id_ = ref.partition(":")
    subject = f"{kind} {id_}"
    if old in (None, (), []):
        what, text = "added", f"{subject}: {path} added: {_short(_plain(new))}"
    elif new in (None, (), []):
        what, text = "removed", f"{subject}: {path} removed (was {_short(_plain(old))})"
    else:
        before, after = _window(_plain(old), _plain(new))
        what, text = "changed", f"{subject}: {path}: {before} -> {after}"
        if (
            _is_list(old)
            and _is_list(new)
            and not any(isinstance(v, Mapping) for v in (*old, *new))
        ):
            gone = [_plain(v) for v in old if v not in new]
            come = [_plain(v) for v in new if v not in old]
            parts = [f"+ {', '.join(come)}"] * bool(come) + [f"- {', '.join(gone)}"] * bool(gone)
            text = f"{subject}: {path}: {'; '.join(parts) or 'in another order'}"
    return Change(ref, what, path, old, new, text)


def _plain(value: Any) -> str:
    """A value in words."""
    if isinstance(value, Mapping):
        named = next((value[k] for k in ("text", "id", "name", "title") if value.get(k)), None)
        return _plain(named) if named else ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else " ".join(str(value).split())


def _window(old: str, new: str) -> tuple[str, str]:
    """Two texts from shortly before where they begin to differ."""
    same = next(
        (n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
        min(len(old), len(new)),
    )
    start = old.rfind(" ", 0, max(same - 12, 0)) + 1 if max(len(old), len(new)) > LONGEST else 0
    lead = "..." if start else ""
    return lead + _short(old[start:]), lead + _short(new[start:])


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3].rstrip() + "..."


def summary(changes: Iterable[Change]) -> str:
    """One line: `3 papers added, 2 changed; 1 method added`."""
    counts: dict[str, dict[str, set[str]]] = {}
    for change in changes:
        kind = change.ref.partition(":")[0]
        what = "changed" if change.field else change.what
        counts.setdefault(kind, {}).setdefault(what, set()).add(change.ref)
    parts = []
    for kind in sorted(counts, key=_ORDER.__getitem__):
        named = [
            f"{len(counts[kind][what])} {what}"
            for what in ("added", "removed", "changed")
            if what in counts[kind]
        ]
        parts.append(f"{PLURALS.get(kind, f'{kind}s')}: {', '.join(named)}")
    return "; ".join(parts) or "nothing changed"
