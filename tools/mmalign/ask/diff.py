"""What changed in the knowledge base between two revisions, in words.

Works on the data of the YAML files and not on the record classes, so that revisions can be compared
whose records had another shape.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmalign.errors import NoRevision
from mmalign.records import source
from mmalign.vocabulary import COLLECTIONS

Files = dict[str, dict]
"""Name of a file (`papers/mdpo.yaml`) -> its data."""

LISTS = {collection: kind for kind, collection in COLLECTIONS.items()}
# What tells the items of a list apart; a list without these is compared as a whole.
KEYS = (("id",), ("benchmark", "metric", "model"), ("for", "source"), ("of", "place"), ("symbol",),
        ("framework",), ("name",), ("text",))  # fmt: skip
LONGEST = 60
"""Characters of a value that a sentence shows."""


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

    def as_dict(self) -> dict:
        return {"kind": "change", **asdict(self)}


# --- reading -------------------------------------------------------------------------------------


def read(revision: str, root: Path) -> Files:
    """The files of a revision: a folder or wheel on disk, else a git revision of `root`.

    Raises NoRevision.
    """
    path = Path(revision)
    if path.is_dir():
        found = next(
            (p for p in (path, path / "mmalign" / "_data") if (p / "papers").is_dir()), None
        )
        if found is None:
            raise NoRevision(f"{revision} holds no papers/")
        names = [*found.glob("papers/*.yaml"), *found.glob("taxonomy/*.yaml")]
        return _parse((p.relative_to(found).as_posix(), p.read_bytes()) for p in sorted(names))
    if path.suffix == ".whl" and path.is_file():
        with zipfile.ZipFile(path) as wheel:
            prefix = "mmalign/_data/"
            names = [n for n in wheel.namelist() if n.startswith(prefix) and n.endswith(".yaml")]
            return _parse((n.removeprefix(prefix), wheel.read(n)) for n in sorted(names))
    return _of_git(revision, root)


def _of_git(revision: str, root: Path) -> Files:
    command = ["git", "-C", str(root), "archive", "--format=tar", revision, "papers", "taxonomy"]
    try:
        answer = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise NoRevision("git is not installed; name two folders or wheels") from None
    if answer.returncode:
        lines = answer.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1].removeprefix("fatal: ") if lines else "git gave no reason"
        raise NoRevision(f"'{revision}' is no folder, wheel or git revision with records: {reason}")
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(".yaml")]
        return _parse((m.name, archive.extractfile(m).read()) for m in members)


def _parse(contents: Iterable[tuple[str, bytes]]) -> Files:
    files = {}
    for name, content in contents:
        document = source.parse(content, name)
        if document.data is None:
            problem = document.problems[0]
            raise NoRevision(f"{problem.file}:{problem.line}: {problem.message}")
        files[name] = document.data
    return files


# --- comparing -----------------------------------------------------------------------------------


def compare(old: Files, new: Files) -> list[Change]:
    """All changes, papers first, then entries, terms and errata, each by full name."""
    before, after = dict(_things(old)), dict(_things(new))
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


_ORDER = {
    kind: place
    for place, kind in enumerate(("paper", *COLLECTIONS, "facet", "term", "relation", "erratum"))
}


def _things(files: Files) -> Iterator[tuple[str, Mapping]]:
    """Everything that has a name of its own: papers and entries, facets and terms, errata."""
    for name, data in files.items():
        if name.startswith("papers/"):
            inside = LISTS.keys() & data.keys()
            yield f"paper:{data.get('id')}", {k: v for k, v in data.items() if k not in inside}
            for collection in inside:
                for entry in data[collection] or ():
                    yield f"{LISTS[collection]}:{entry.get('id')}", entry
        elif name == "taxonomy/errata.yaml":
            for erratum in data.get("errata") or ():
                yield f"erratum:{erratum.get('id')}", erratum
        elif name == "taxonomy/relations.yaml":
            for relation in data.get("relations") or ():
                yield f"relation:{relation.get('id')}", relation
        else:
            yield f"facet:{data.get('id')}", {k: v for k, v in data.items() if k != "terms"}
            for term in data.get("terms") or ():
                yield f"term:{data.get('id')}/{term.get('id')}", term


def _name(ref: str, data: Mapping) -> str:
    kind, _, id_ = ref.partition(":")
    title = data.get("name") or data.get("title") or data.get("label") or data.get("where")
    venue = f" ({data['venue']})" if kind == "paper" and data.get("venue") else ""
    return f"{kind} {id_}" + (f": {title}{venue}" if title and title != id_ else "")


def _fields(ref: str, old: Any, new: Any, path: str = "") -> Iterator[Change]:
    if old == new:
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
        where = f"{path}[{_short(', '.join(map(_plain, identity)))}]"
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
                if len({_identity(item, key) for item in side}) != len(side):
                    return None
            return key
    return None


def _is_list(value: Any) -> bool:
    return value is None or isinstance(value, (list, tuple))


def _identity(item: Mapping, key: tuple[str, ...]) -> tuple:
    return tuple(item[field] for field in key)


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
        return str(named) if named else ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
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
    plural = {"facet": "facets", "relation": "relations", "erratum": "errata"}
    parts = []
    for kind in sorted(counts, key=_ORDER.__getitem__):
        named = [
            f"{len(counts[kind][what])} {what}"
            for what in ("added", "removed", "changed")
            if what in counts[kind]
        ]
        parts.append(f"{plural.get(kind, kind + 's')}: {', '.join(named)}")
    return "; ".join(parts) or "nothing changed"
