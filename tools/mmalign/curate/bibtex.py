"""The syntax of BibTeX and biblatex: a text becomes entries, each by itself.

`bibtexparser` writes our BibTeX, but it does not read: a comment inside an entry, a brace after a
backslash, `#`, a missing comma or a second entry with the same key cost it the entry, and what is
inherited (`crossref`, `xdata`) is left to its caller. The grammar here is that of BibTeX with the
comments of biber; where an entry breaks it, the next one begins where a line (or, inside a value,
something that can only be an entry) says so. Every character is looked at a bounded number of
times.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mmalign.characters import printable, quoted

MAX_VALUE = 200_000
"""Characters of one value: macros that double each other would fill the memory."""
MAX_JOINED = 64_000_000
"""Characters of all values together that `#` puts together: a few letters ask for 200,000 each."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_SPACE = re.compile(r"(?:\s|%[^\n]*)*")
_START = re.compile(
    r"(?P<comment>%[^\n]*)|@\s*(?P<type>[A-Za-z][\w-]*)\s*(?P<open>[{(])"
    r"|^[ \t]*@(?!comment\b)(?P<bare>[A-Za-z][\w-]*)(?![\w-]|\s*[{(])",
    re.MULTILINE | re.IGNORECASE,
)
_KEY = r"[^\s,{}()\"=]"
# Where an entry was not closed, the next one begins at such a place.
_HEAD = (
    rf"^[ \t]*@[A-Za-z]+\s*[{{(]\s*{_KEY}*\s*[,=]"
    rf"|@[A-Za-z]+\s*[{{(]\s*{_KEY}+\s*,\s*[A-Za-z][\w-]*\s*="
)
_NEXT = re.compile(_HEAD, re.MULTILINE)
_OPEN = re.compile(r"@[A-Za-z][\w-]*\s*[{(]")
_BRACES = re.compile(rf"[{{}}]|{_HEAD}", re.MULTILINE)
_QUOTES = re.compile(rf"(?<!\\)\"|[{{}}]|{_HEAD}", re.MULTILINE)
_BALANCE = re.compile(r"[{}]")
_LOST = re.compile(r"@(?!comment\b)[A-Za-z]+\s*[{(]", re.IGNORECASE)
_NAME = re.compile(r"[^\s=,{}()\"#%@\\]+")
_FIELD = re.compile(r"[^\s=,{}()\"#%@\\]+\s*=")
_WORD = re.compile(r"[^\s,#{}()\"=%@]+")

# What a child does not take from its parent: what names or describes the parent itself.
_OWN = frozenset((
    "abstract", "annotation", "annote", "archiveprefix", "crossref", "doi", "entryset",
    "entrysubtype", "eprint", "eprintclass", "eprinttype", "file", "ids", "keywords", "label",
    "langid", "library", "note", "number", "options", "pages", "pagetotal", "pdf",
    "primaryclass", "related", "relatedtype", "shortauthor", "shorthand", "shorttitle",
    "sortkey", "sorttitle", "subtitle", "title", "titleaddon", "url", "urldate", "xdata",
    "xref",
))  # fmt: skip
_OF_BOOK = ("inbook", "bookinbook", "suppbook")
_DEPTH = 5  # paper, proceedings, the series above: nothing real goes deeper


@dataclass(frozen=True)
class Remark:
    """Something about one place of a file. `key` is that of its entry, if it has one."""

    line: int
    message: str
    key: str | None = None

    def render(self, file: str) -> str:
        """One line: file, line, key, message; what a terminal would obey is escaped."""
        named = f"entry {quoted(self.key)}: " if self.key else ""
        return printable(f"{file}:{self.line}: {named}{self.message}")


@dataclass(frozen=True)
class Entry:
    """One entry: `type` and names of fields in lower case, values as TeX, macros resolved."""

    type: str
    key: str
    line: int
    fields: Mapping[str, str]


@dataclass
class Bibliography:
    """What a text holds: entries in its order, what could not be read, what is to be known."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)


def parse(text: str) -> Bibliography:
    """All entries of a BibTeX text. Never raises: what cannot be read is among the problems."""
    return _Parser(text.replace("\r\n", "\n").replace("\r", "\n")).run()


class _Bad(Exception):
    """Raised with (message, position) where an entry cannot be read."""


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.lines = [match.end() for match in re.finditer("\n", text)]
        self.joined = 0
        self.macros = {month: month for month in MONTHS}
        self.found = Bibliography()
        self.unknown: dict[str, int] = {}
        self.commented: list[int] = []
        self.open_comment = False

    def run(self) -> Bibliography:
        place = 0
        while match := _START.search(self.text, place):
            if match["comment"]:
                if _LOST.search(match["comment"]):
                    self.commented.append(self.line(match.start()))
                place = match.end()
            elif match["bare"]:
                message = f"'@{match['bare'][:40]}' without a brace after it: not read"
                self.found.problems.append(Remark(self.line(match.end()), message))
                place = match.end()
            else:
                place = self.block(match)
        if self.unknown:
            names = ", ".join(self.unknown)
            message = f"not defined in this file, taken as text: {_short(names, 200)}"
            self.found.notes.append(Remark(min(self.unknown.values()), message))
        if self.commented:
            many = len(self.commented)
            message = f"{many} {'entry is' if many == 1 else 'entries are'} commented out from here"
            self.found.notes.append(Remark(self.commented[0], message))
        self.keys()
        return self.found

    def line(self, place: int) -> int:
        return bisect_right(self.lines, place) + 1

    def block(self, match: re.Match[str]) -> int:
        """Read what begins at a match; gives where to go on."""
        kind, start = match["type"].lower(), match.start()
        closing = "}" if match["open"] == "{" else ")"
        if kind == "comment":
            return self.skip(match)
        key: str | None = None
        try:
            if kind == "string":
                name, value, place = self.field(match.end())
                self.macros[name] = value
            elif kind == "preamble":
                _, place = self.value(match.end(), "preamble")
            else:
                key, place = self.key(match.end(), closing)
                fields, place = self.fields(place, closing, key)
                self.found.entries.append(Entry(kind, key, self.line(start), fields))
                return place
            place = self.space(place)
            if self.text[place : place + 1] != closing:
                raise _Bad(f"@{kind} is not closed", place)
            return place + 1
        except _Bad as error:
            message, place = error.args
            at = self.line(min(place, len(self.text)))
            if at != self.line(start):
                message += f" (line {at})"
            self.found.problems.append(Remark(self.line(start), message, key))
            if _OPEN.match(self.text, place) and place > start:
                return int(place)
            follows = _NEXT.search(self.text, max(place, match.end()))
            return follows.start() if follows else len(self.text)

    def skip(self, match: re.Match[str]) -> int:
        """The end of a comment: its closing brace, or of its line where it has none."""
        start = match.end()
        end = self.text.find("\n", start)
        end = len(self.text) if end < 0 else end
        if match["open"] == "{" and not self.open_comment:
            depth = 1
            for brace in _BALANCE.finditer(self.text, start):
                depth += 1 if brace[0] == "{" else -1
                if depth == 0:
                    end = brace.end()
                    break
            else:  # looked for once: each further search would cost the whole file again
                self.open_comment = True
        self.commented += [self.line(m.start()) for m in _LOST.finditer(self.text, start, end)]
        return end

    def space(self, place: int) -> int:
        match = _SPACE.match(self.text, place)
        return match.end() if match else place

    def key(self, place: int, closing: str) -> tuple[str, int]:
        """Key of an entry, and where its fields begin. Empty where there is none."""
        start = self.space(place)
        ends = ",={}\n)" if closing == ")" else ",={}\n"
        end = start
        while end < len(self.text) and self.text[end] not in ends:
            end += 1
        name, after = self.text[start:end].strip(), self.space(end)
        follows = self.text[after : after + 1]
        if follows == "=" or (after == end and follows not in (",", closing)):
            if follows == "=" and _FIELD.match(self.text, start):
                return "", start
            raise _Bad("a key and a comma are wanted after the brace", start)
        if follows in (",", closing):
            return name, after
        if follows and _FIELD.match(self.text, after):  # the comma after the key was forgotten
            return name, after
        raise _Bad("a comma is wanted after the key", after)

    def fields(self, place: int, closing: str, key: str) -> tuple[dict[str, str], int]:
        found: dict[str, str] = {}
        comma = True
        while True:
            place = self.space(place)
            char = self.text[place : place + 1]
            if char == closing:
                return found, place + 1
            if char == ",":
                comma, place = True, place + 1
                continue
            if not char or _OPEN.match(self.text, place):
                raise _Bad("the entry is not closed", place)
            start = place
            if not comma and not _FIELD.match(self.text, place):
                raise _Bad(f"a comma or {closing} is wanted, not {_start_of(self.text, place)}",
                           place)  # fmt: skip
            name, value, place = self.field(place)
            if not comma:
                message = f"a comma is missing before '{name}'"
                self.found.notes.append(Remark(self.line(start), message, key))
            if name in found and found[name] != value:
                message = f"the field '{name}' stands twice; the first is taken"
                self.found.notes.append(Remark(self.line(start), message, key))
            found.setdefault(name, value)
            comma = False

    def field(self, place: int) -> tuple[str, str, int]:
        place = self.space(place)
        match = _NAME.match(self.text, place)
        equals = self.space(match.end()) if match else place
        if match is None or self.text[equals : equals + 1] != "=":
            raise _Bad(f"`field = value` is wanted, not {_start_of(self.text, place)}", place)
        name = match[0].lower()
        value, place = self.value(equals + 1, name)
        return name, value, place

    def value(self, place: int, name: str) -> tuple[str, int]:
        parts: list[str] = []
        length = 0
        while True:
            place = self.space(place)
            char = self.text[place : place + 1]
            if char == "{":
                part, place = self.enclosed(place, name, _BRACES, "}")
            elif char == '"':
                part, place = self.enclosed(place, name, _QUOTES, '"')
            else:
                match = _WORD.match(self.text, place)
                if match is None:
                    raise _Bad(f"the field '{name}' has no value", place)
                part, place = self.word(match), match.end()
            parts.append(part)
            length += len(part)
            if length > MAX_VALUE:
                raise _Bad(f"the field '{name}' has more than {MAX_VALUE:,} characters", place)
            place = self.space(place)
            if self.text[place : place + 1] != "#":
                if len(parts) > 1:
                    self.joined += length
                    if self.joined > MAX_JOINED:
                        message = f"what `#` joins has more than {MAX_JOINED:,} characters in all"
                        raise _Bad(message, place)
                return "".join(parts), place
            place += 1

    def word(self, match: re.Match[str]) -> str:
        word = match[0]
        if word.isdigit():
            return word
        known = self.macros.get(word.lower())
        if known is None:
            self.unknown.setdefault(word, self.line(match.start()))
            return word
        return known

    def enclosed(
        self, place: int, name: str, marks: re.Pattern[str], closing: str
    ) -> tuple[str, int]:
        """What stands in braces or quotes; quotes inside braces do not close."""
        depth = 0
        for mark in marks.finditer(self.text, place + 1):
            char = mark[0]
            if char == "{":
                depth += 1
            elif char == closing and depth == 0:
                return self.text[place + 1 : mark.start()], mark.end()
            elif char == "}":
                if depth == 0:
                    raise _Bad(f"a brace closes in '{name}' that none opened", mark.start())
                depth -= 1
            elif char != '"':  # the head of another entry
                raise _Bad(f"the {_called(closing)} of '{name}' is not closed", mark.start())
        raise _Bad(f"the {_called(closing)} of '{name}' is not closed", len(self.text))

    def keys(self) -> None:
        """Say which keys stand twice; both entries were read."""
        first: dict[str, int] = {}
        for entry in self.found.entries:
            if not entry.key:
                self.found.notes.append(Remark(entry.line, f"this @{entry.type} has no key"))
            elif entry.key in first:
                message = f"the key stands in line {first[entry.key]}, too; both are read"
                self.found.notes.append(Remark(entry.line, message, entry.key))
            else:
                first[entry.key] = entry.line


def _called(closing: str) -> str:
    return "brace" if closing == "}" else "quote"


def _short(text: str, size: int = 30) -> str:
    return text if len(text) <= size else text[: size - 3] + "..."


def _start_of(text: str, place: int) -> str:
    words = text[place : place + 60].split()
    return f"'{_short(words[0])}'" if words else "the end of the file"


def inherit(entries: Iterable[Entry]) -> tuple[list[Entry], list[Remark]]:
    """The entries with what they take from `xdata` and `crossref`, and remarks on lost parents.

    A parent may stand anywhere. Its title is the child's `booktitle` (`maintitle` is not read).
    What identifies the parent (DOI, address, pages, ...) stays with it. Of two entries with the
    same key the first is the parent.
    """
    entries = list(entries)
    parents: dict[str, Entry] = {}
    for entry in entries:
        for name in (entry.key, *_list(entry.fields.get("ids", ""))):
            parents.setdefault(name.lower(), entry)
    remarks: list[Remark] = []
    made: dict[tuple[int, int], dict[str, str]] = {}

    def full(entry: Entry, depth: int) -> dict[str, str]:
        # Made once for each depth: a dozen entries that all name each other have 12**5 paths.
        at = (id(entry), depth)
        if at not in made:
            made[at] = with_parents(entry, depth)
        return made[at]

    def with_parents(entry: Entry, depth: int) -> dict[str, str]:
        fields = dict(entry.fields)
        for name in _list(fields.get("xdata", "")):
            data = parents.get(name.lower())
            if data is None:
                remarks.append(Remark(entry.line, f"xdata '{_short(name)}' is not here", entry.key))
            elif depth < _DEPTH:
                for field_, value in full(data, depth + 1).items():
                    fields.setdefault(field_, value)
        for name in _list(fields.get("crossref", ""))[:1]:
            parent = parents.get(name.lower())
            if parent is None:
                message = f"crossref '{_short(name)}' is not in this file"
                remarks.append(Remark(entry.line, message, entry.key))
            elif parent is not entry and depth < _DEPTH:
                above = full(parent, depth + 1)
                if "title" in above and entry.type != "article":
                    fields.setdefault("booktitle", above["title"])
                book = entry.type in _OF_BOOK
                left = _OWN if book else _OWN | {"author"}
                for field_, value in above.items():
                    if field_ not in left:
                        fields.setdefault(field_, value)
        return fields

    resolved = [
        replace(entry, fields=full(entry, 0)) if _points(entry) else entry for entry in entries
    ]
    return resolved, list(dict.fromkeys(remarks))


def _points(entry: Entry) -> bool:
    return "crossref" in entry.fields or "xdata" in entry.fields


def _list(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]
