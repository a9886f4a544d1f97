"""The compiled knowledge base: what `list`, `query` and `show` read.

Reading and checking YAML costs more than answering a question, so that the answers' material
(`mmalign.ask.views.compiled`) is kept as JSON lines in the user's cache folder, one file per root,
and made again whenever a record, the taxonomy or the package has changed. Nothing but the standard
library is imported until it has to be made. A cache that cannot be read or written is no error.

Lines of the file: 0 the stamp, 1 the list of keys, then one JSON value per key, parsed on demand.
"""

from __future__ import annotations

import json
import os
import time

from mmalign import __version__, names
from mmalign.errors import UnknownId
from mmalign.records.root import PACKAGE, find_root
from mmalign.vocabulary import KINDS

SCHEMA = 1
SETTLED = 2.0
"""Seconds for which records must have been left alone before they are kept: two changes within a
tick of the file system's clock look like one."""
_SOURCES = ("records/kb.py", "records/model.py", "ask/search.py", "ask/views.py")


def stamp(root: str) -> bytes:
    """One line that changes with every record, with the package and with this module."""
    sources = [os.path.join(PACKAGE, name) for name in _SOURCES]
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
    from mmalign.ask import views
    from mmalign.records.read import load

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
        """Full names of what `name` may mean, the preferred one first: `mmalign.names.find`."""
        refs = {key.removeprefix("card ") for key in self._place if key.startswith("card ")}
        return names.find(self._get("names"), refs, name, kinds)

    def closure(self, facet: str, term: str) -> frozenset[str]:
        """A term, given by id, alias or label, and everything below it. Raises UnknownId."""

        def of(definition: dict) -> list[names.TermNames]:
            return [
                names.TermNames(t["id"], t["label"], t["parent"], tuple(t["aliases"]))
                for t in definition["terms"]
            ]

        try:
            return names.closure(facet, of(self.facets[facet]), term)
        except UnknownId as error:
            other = [f for f, d in self.facets.items() if term in {t["id"] for t in d["terms"]}]
            if error.nearest or not other:
                raise
            message = f"'{term}' is not a term of the facet {facet}; it is one of "
            raise UnknownId(message + " and ".join(other)) from None

    def search(self, kind: str, text: str) -> list[int]:
        """Positions in `rows(kind)` of what matches a text, best first."""
        from mmalign.ask import search

        return [number for number, _ in search.rank(self._get(f"search {kind}"), text)]
