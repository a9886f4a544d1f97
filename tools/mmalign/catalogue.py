"""The compiled knowledge base: what `list`, `query` and `show` read.

Reading and checking YAML costs more than answering a question, so that the answers' material
(`mmalign.views.compiled`) is kept as JSON lines in the user's cache folder, one file per root, and
made again whenever a record, the taxonomy or the package has changed. Nothing but the standard
library is imported until it has to be made. A cache that cannot be read or written is no error.

Lines of the file: 0 the stamp, 1 the list of keys, then one JSON value per key, parsed on demand.
"""

from __future__ import annotations

import json
import os
import time

from mmalign import __version__

SCHEMA = 1
KINDS = ("method", "dataset", "benchmark", "model", "framework", "paper", "term")
"""The kinds of `mmalign.model`, which costs 0.1 s to import; a test compares the two."""
LISTED = (*KINDS, "erratum", "claim")
"""What can be listed: the kinds of node, errata, and claims of methods."""
SETTLED = 2.0
"""Seconds for which records must have been left alone before they are kept: two changes within a
tick of the file system's clock look like one."""
_SOURCES = ("kb.py", "model.py", "search.py", "views.py")


class Unknown(LookupError):
    """Nothing is called so. `nearest` holds the names that look most like it."""

    def __init__(self, message: str, nearest: tuple[str, ...] = ()):
        self.nearest = nearest
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(message + hint)


class RootNotFound(FileNotFoundError):
    """There is no data where it was looked for."""


def nearest(name: str, pool) -> tuple[str, ...]:
    """Up to three names of `pool` that look most like `name`."""
    import difflib

    pool, name = sorted(set(pool)), name.lower()
    found = difflib.get_close_matches(name, pool, 3, 0.6)
    if found:
        # Where one name is very close, names that are only somewhat close would distract.
        ratios = [difflib.SequenceMatcher(None, name, other).ratio() for other in found]
        found = [other for other, r in zip(found, ratios, strict=True) if r > ratios[0] - 0.2]
    found += [other for other in pool if len(name) > 2 and other.startswith(name)][:3]
    return tuple(dict.fromkeys(found))[:3]


def find_root(root: str | None = None) -> str:
    """The folder that holds papers/ and taxonomy/, as `mmalign.load.find_root` finds it.

    Written with os.path, since importing that module (or pathlib) would cost what the cache saves.
    """
    if root is not None:
        if not _is_root(root):
            raise RootNotFound(f"{root} does not hold both papers/ and taxonomy/")
        return os.path.realpath(root)
    here = os.getcwd()
    package = os.path.dirname(os.path.realpath(__file__))
    candidates = [here]
    while os.path.dirname(candidates[-1]) != candidates[-1]:
        candidates.append(os.path.dirname(candidates[-1]))
    candidates += [os.path.join(package, "_data"), os.path.dirname(os.path.dirname(package))]
    for path in candidates:
        if _is_root(path):
            return path
    raise RootNotFound(
        f"no folder with papers/ and taxonomy/ in or above {here}, and no data is installed with "
        "mmalign; name one with --root DIR"
    )


def _is_root(path: str) -> bool:
    return os.path.isdir(os.path.join(path, "papers")) and os.path.isdir(
        os.path.join(path, "taxonomy")
    )


def stamp(root: str) -> bytes:
    """One line that changes with every record, with the package and with this module."""
    package = os.path.dirname(os.path.abspath(__file__))
    sources = [os.path.join(package, name) for name in _SOURCES]
    files = [(path, os.stat(path)) for path in sources]
    for folder in ("papers", "taxonomy"):
        with os.scandir(os.path.join(root, folder)) as entries:
            files += [
                (f"{folder}/{entry.name}", entry.stat())
                for entry in entries
                if entry.name.endswith((".yaml", ".yml"))
            ]
    listed = sorted((name, status.st_mtime_ns, status.st_size) for name, status in files)
    return json.dumps([SCHEMA, __version__, root, listed]).encode()


def cache_file(root: str) -> str:
    """Where the compiled knowledge base of a root is kept. The folder need not exist."""
    import zlib

    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "mmalign", f"{zlib.crc32(root.encode(errors='replace')):08x}.jsonl")


def open_catalogue(root: str | None = None) -> Catalogue:
    """The catalogue of a root, from the cache where that is fresh.

    Raises RootNotFound, and `mmalign.load.LoadError` where the records have problems of shape.
    """
    found = find_root(root)
    wanted = stamp(found)
    path = cache_file(found)
    try:
        with open(path, "rb") as stream:
            lines = stream.read().split(b"\n")
        if lines[0] == wanted and len(lines) == len(json.loads(lines[1])) + 3:
            return Catalogue(found, lines)
    except (OSError, ValueError, IndexError):
        pass
    lines = compile_lines(found, wanted)
    if time.time() - _latest(wanted) > SETTLED:
        _write(path, b"\n".join(lines))
    return Catalogue(found, lines)


def _latest(stamp: bytes) -> float:
    """When the latest change was, in seconds."""
    return max(changed for _, changed, _ in json.loads(stamp)[3]) / 1e9


def compile_lines(root: str, stamp: bytes) -> list[bytes]:
    """The lines of the cache file, made from the records."""
    from mmalign import views
    from mmalign.load import load

    values = views.compiled(load(root))
    dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    return [stamp, dump(list(values)).encode(), *(dump(v).encode() for v in values.values()), b""]


def _write(path: str, content: bytes) -> None:
    import contextlib
    import tempfile

    temporary = None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), suffix=".part")
        with open(handle, "wb") as stream:
            stream.write(content)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


class Catalogue:
    """Everything the fast commands need, parsed line by line when asked for."""

    def __init__(self, root: str, lines: list[bytes]):
        self.root = root
        self._lines = lines
        self._place = {key: number for number, key in enumerate(json.loads(lines[1]), 2)}
        self._parsed: dict[str, object] = {}

    def _get(self, key: str):
        if key not in self._parsed:
            try:
                value = json.loads(self._lines[self._place[key]])
            except ValueError:  # a damaged cache
                self.__init__(self.root, compile_lines(self.root, self._lines[0]))
                value = json.loads(self._lines[self._place[key]])
            self._parsed[key] = value
        return self._parsed[key]

    @property
    def facets(self) -> dict[str, dict]:
        """Facets by id: label, definition, survey, applies_to, field, key, terms."""
        return self._get("facets")

    @property
    def stats(self) -> dict:
        return self._get("stats")

    def rows(self, kind: str) -> list[dict]:
        """The short view of everything of one kind (`LISTED`), in the order of ids."""
        return self._get(f"rows {kind}")

    def card(self, ref: str) -> dict:
        """The full view of one node, by full name."""
        return self._get(f"card {ref}")

    def find(self, name: str, kinds: tuple[str, ...] = KINDS) -> list[str]:
        """Full names of what `name` may mean, the preferred one first; as `KnowledgeBase.find`.

        Raises Unknown when nothing of these kinds is called so.
        """
        names = self._get("names")
        wanted = name.strip().lower()
        kind, colon, rest = wanted.partition(":")
        if kind not in KINDS:  # a title may hold a colon
            colon = ""
        if colon and kind in kinds and f"card {wanted}" in self._place:
            return [wanted]
        found = [
            ref
            for ref in names.get(rest if colon else wanted, ())
            if ref.partition(":")[0] in ((kind,) if colon else kinds)
            and ref.partition(":")[0] in kinds
        ]
        if not found:
            pool = (
                [r for refs in names.values() for r in refs if r.startswith(kind + ":")]
                if colon
                else [
                    n
                    for n, refs in names.items()
                    if any(r.partition(":")[0] in kinds for r in refs)
                ]
            )
            noun = kinds[0] if len(kinds) == 1 else "entry"
            raise Unknown(f"no {noun} is called '{name}'", nearest(wanted, pool))
        bare = rest if colon else wanted
        # An id beats an alias.
        return sorted(found, key=lambda ref: ref.replace("/", ":").rpartition(":")[2] != bare)

    def closure(self, facet: str, term: str) -> frozenset[str]:
        """A term, given by id, alias or label, and everything below it. Raises Unknown."""
        terms = self.facets[facet]["terms"]
        wanted = _fold(term)
        first = next((t["id"] for t in terms if t["id"] == wanted), None) or next(
            (t["id"] for t in terms if wanted in map(_fold, (t["label"], *t["aliases"]))), None
        )
        if first is None:
            near = nearest(wanted, [t["id"] for t in terms])
            message = f"'{term}' is not a term of the facet {facet}"
            if not near:
                other = [
                    f for f, d in self.facets.items() if wanted in {t["id"] for t in d["terms"]}
                ]
                message += f"; it is one of {' and '.join(other)}" if other else ""
                message += f"; known: {', '.join(t['id'] for t in terms)}" if not other else ""
            raise Unknown(message, near)
        closure, grown = {first}, True
        while grown:
            more = {t["id"] for t in terms if t["parent"] in closure} - closure
            closure, grown = closure | more, bool(more)
        return frozenset(closure)

    def search(self, kind: str, text: str) -> list[int]:
        """Positions in `rows(kind)` of what matches a text, best first."""
        from mmalign import search

        return [number for number, _ in search.rank(self._get(f"search {kind}"), text)]


def _fold(text: str) -> str:
    return "-".join(text.lower().replace("_", " ").replace("-", " ").split())
