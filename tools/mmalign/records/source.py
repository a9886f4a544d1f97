"""One YAML file: its data, and the line and column of every part of it.

PyYAML's C parser gives a tree of nodes; one walk over it makes the data. The tree is thrown away,
and made again for the few files in which something has to be located.

Less YAML than YAML allows, on purpose. Plain `true`, `false`, `null`, `~` and decimal numbers mean
what they say; all other scalars are text, so that `no` is not False and a date is not an object.
Anchors, tags, tabs, duplicate keys and several documents in a file are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from mmalign.characters import named, printable, quoted, unwanted
from mmalign.records.problems import Location, Problem, capped

MAX_BYTES = 1_000_000
MAX_DEPTH = 50

Scalar = str | int | float | bool | None
Value = Scalar | tuple["Value", ...] | dict[str, "Value"]
"""What a record is made of: mappings are dicts, lists are tuples."""
Data = dict[str, Value]

_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,2})?", re.ASCII)
# Where an anchor or alias can stand; LaTeX matches at times, so the parser has the last word.
# (What stands before it is looked at last: this way round, the search is five times as fast.)
_MAYBE_ANCHOR = re.compile(r"[&*][A-Za-z0-9_-](?<![^\s\[{,:?-]..)")


if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Parser(_Loader):
    """PyYAML's parser without its rules for types: the tag of a node says how it was written.

    A scalar's tag is `(plain, quoted)`, a pair of truth values; a tag that stands in the file is a
    string.
    """

    def resolve(self, kind: object, value: object, implicit: object) -> object:
        return implicit

    def descend_resolver(self, parent: object, index: object) -> None:
        pass

    def ascend_resolver(self) -> None:
        pass


class _Refused(Exception):
    """Raised inside the walk with (code, node, message, hint) where going on makes no sense."""


@dataclass(frozen=True)
class Document:
    """What was read from one file. `data` is None where the file cannot be used at all."""

    data: Data | None
    problems: tuple[Problem, ...] = ()


def parse(content: bytes, file: str, size: int | None = None) -> Document:
    """Data of one YAML file; `file` is its name in problems. Never raises for bad content.

    Mappings become dicts and lists become tuples, as the frozen models want them. `size` is that of
    the file (bytes), where no more of it was read than is needed to see that it is too large.
    """
    document = _parse(content, file, size)
    return Document(document.data, tuple(capped(document.problems)))


def _parse(content: bytes, file: str, size: int | None) -> Document:
    if len(content) > MAX_BYTES:
        size = max(size or 0, len(content))
        message = f"the file has {size:,} bytes, {MAX_BYTES:,} are allowed"
        return _failed("Y011", file, 1, 1, message, "split the record")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode("utf-8", "replace"))
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        return _failed("Y001", file, line, column, message, "save the file as UTF-8")
    if text.startswith("\ufeff"):
        hint = "save the file as UTF-8 without BOM"
        return _failed("Y002", file, 1, 1, "the file starts with a byte order mark", hint)
    problems: list[Problem] = capped(_characters(text, file))
    clean = _clean(text)
    try:
        # With spaces for tabs and the like, the rest of the file can often still be checked.
        root: Node | None = _Parser(clean).get_single_node()
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        wrong = _anchor(clean, file) or _yaml_problem(error, clean, file)
        # A tab that stands for indentation explains whatever went wrong with the indentation.
        hidden = problems and wrong.code == "Y004"
        return Document(None, tuple(problems if hidden else [*problems, wrong]))
    if root is None:
        hint = "`mmalign new` writes a template"
        return Document(None, (*problems, Problem("Y003", file, 1, 1, "the file is empty", hint)))
    if _MAYBE_ANCHOR.search(clean):
        problem = _anchor(clean, file)
        if problem:
            return Document(None, (*problems, problem))
    if type(root) is not MappingNode:
        message = "the top level must be a mapping"
        hint = "start with `id: ...`, without a dash before it"
        return Document(None, (*problems, _at(root, "Y009", file, message, hint)))
    try:
        data = _build(root, 1, problems, file)
    except _Refused as refused:
        code, node, message, hint = refused.args
        return Document(None, (*problems, _at(node, code, file, message, hint)))
    return Document(data if isinstance(data, dict) else None, tuple(problems))


def _build(node: Node, depth: int, problems: list[Problem], file: str) -> Value:
    value = node.value
    if type(value) is str:
        tag = node.tag
        if type(tag) is str:
            _tagged(node)
        if getattr(node, "style", None) == '"':
            _escapes(node, problems, file)
        if tag[0]:  # plain, not in quotes and no block
            if value in _WORDS:
                return _WORDS[value]
            if value[0] in "-0123456789":
                return _number(value)
        return value
    if depth > MAX_DEPTH:
        message = f"lists and mappings are nested more than {MAX_DEPTH} deep"
        raise _Refused("Y012", node, message, "a record needs no more than ten levels")
    if type(node.tag) is str:
        _tagged(node)
    if type(node) is MappingNode:
        data: Data = {}
        for key_node, value_node in value:
            key = key_node.value
            if type(key) is not str or type(key_node.tag) is str:
                raise _Refused("Y013", key_node, "a key must be plain text", "write `key: value`")
            if key_node.style == '"':
                _escapes(key_node, problems, file)
            if key in data:
                message, hint = f"duplicate key {quoted(key)}", "keep one of the two"
                problems.append(_at(key_node, "Y006", file, message, hint))
                continue
            data[key] = _build(value_node, depth + 1, problems, file)
        return data
    return tuple([_build(item, depth + 1, problems, file) for item in value])


def _number(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not (text.lstrip("-").isdigit()):
        return float(text)
    return text  # dates, 007, 12:30, 1_000


def _tagged(node: Node) -> None:
    tag = node.tag.replace("tag:yaml.org,2002:", "!!")
    raise _Refused("Y010", node, f"the tag {quoted(tag)} is not allowed", "delete it")


def _escapes(node: Node, problems: list[Problem], file: str) -> None:
    """Text in double quotes can write with a backslash what must not stand in a file."""
    for char in dict.fromkeys(match.group() for match in unwanted(node.value)):
        hint = "delete it; write LaTeX in a block after `|`, or in single quotes"
        problems.append(_at(node, "Y015", file, f"the text holds {named(char)}", hint))


def locate(content: bytes, locations: list[Location]) -> list[tuple[int, int, str | None]]:
    """Line, column (from 1) and, for a scalar, the text as it stands in the file, per location.

    A key of a mapping is located at the key, an item of a list at the item. What does not exist is
    located at the nearest thing around it that does, and its text is None.
    """
    try:
        root = _Parser(_clean(content.decode("utf-8"))).get_single_node()
    except (yaml.YAMLError, UnicodeError):  # the file has changed since it was read
        return [(1, 1, None)] * len(locations)
    if root is None:
        return [(1, 1, None)] * len(locations)
    children: dict[int, _Children] = {}
    return [_locate(root, location, children) for location in locations]


_Children = Mapping[str | int, tuple[yaml.Mark, Node]]
"""Key or position -> where it stands and what it holds."""


def _locate(
    root: Node, location: Location, children: dict[int, _Children]
) -> tuple[int, int, str | None]:
    node, mark, found = root, root.start_mark, True
    for part in location:
        if id(node) not in children:  # once per node, or long lists would cost their square
            children[id(node)] = _children(node)
        if part not in children[id(node)]:
            found = False
            break
        mark, node = children[id(node)][part]
    text = node.value if found and type(node) is ScalarNode else None
    return mark.line + 1, mark.column + 1, text


def _children(node: Node) -> _Children:
    if type(node) is ScalarNode:
        return {}
    if type(node) is MappingNode:
        pairs = reversed(node.value)  # the first of two equal keys is the one that counts
        return {key.value: (key.start_mark, value) for key, value in pairs if _scalar(key)}
    return {place: (item.start_mark, item) for place, item in enumerate(node.value)}


def _scalar(node: Node) -> bool:
    return type(node) is ScalarNode


def _failed(code: str, file: str, line: int, column: int, message: str, hint: str) -> Document:
    return Document(None, (Problem(code, file, line, column, message, hint),))


def _at(node: Node, code: str, file: str, message: str, hint: str) -> Problem:
    mark = node.start_mark
    return Problem(code, file, mark.line + 1, mark.column + 1, message, hint)


def _position(before: str) -> tuple[int, int]:
    """Line and column of the character after `before`."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


# Characters that no YAML file may hold: its parser would stop at the first.
_NOT_YAML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")


def _characters(text: str, file: str) -> Iterator[Problem]:
    """Tabs (the first of a line) and characters that no text of a record holds."""
    line, start, tab, seen = 1, 0, 0, 0
    for match in unwanted(text):
        char, at = match.group(), match.start()
        if char == "\r" and text.startswith("\n", at + 1):
            continue  # a line end of Windows
        breaks = text.count("\n", seen, at)
        if breaks:
            line, start = line + breaks, text.rfind("\n", seen, at) + 1
        seen = at
        column = at - start + 1
        if char == "\t":
            if line != tab:
                yield Problem("Y005", file, line, column, "tab", "write spaces")
            tab = line
        elif _NOT_YAML.match(char):
            message = f"control characters are not allowed (character {ord(char)})"
            yield Problem("Y004", file, line, column, message, "delete the character")
        else:
            message = f"the text holds {named(char)}"
            yield Problem("Y015", file, line, column, message, "delete the character")


def _clean(text: str) -> str:
    """The text with a blank for whatever it should not hold: every place stays where it is."""
    places = [match.start() for match in unwanted(text)]
    if not places:
        return text
    characters = list(text)
    for at in places:
        if not (characters[at] == "\r" and text.startswith("\n", at + 1)):
            characters[at] = " "
    return "".join(characters)


def _anchor(text: str, file: str) -> Problem | None:
    """The first anchor or alias. Reads events, one by one: nothing is ever expanded."""
    parser = _Parser(text)
    try:
        while parser.check_event():
            event: yaml.Event = parser.get_event()  # type: ignore[no-untyped-call]
            name = getattr(event, "anchor", None)
            if name:
                alias = isinstance(event, yaml.AliasEvent)
                shown = f"alias '*{name}'" if alias else f"anchor '&{name}'"
                mark = event.start_mark
                line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
                hint = "write the value out, or put the text in quotes if it is meant as text"
                message = f"{printable(shown, 60)} is not allowed"
                return Problem("Y007", file, line, column, message, hint)
    except (yaml.YAMLError, UnicodeEncodeError):
        pass
    return None


def _yaml_problem(error: Exception, text: str, file: str) -> Problem:
    """A parser's error as a problem: where, in plain words, what to do."""
    if isinstance(error, UnicodeEncodeError):  # lone surrogates
        line, column = _position(text[: error.start])
        return Problem("Y001", file, line, column, "a character is not Unicode", "delete it")
    if isinstance(error, yaml.reader.ReaderError):
        position = error.position if isinstance(error.position, int) else 0
        line, column = _position(text[:position])
        message = f"{error.reason} (character {error.character!r})"
        return Problem("Y004", file, line, column, message, "delete the character")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem("Y004", file, 1, 1, "invalid YAML", _yaml_hint(""))
    opener, message = error.context_mark, error.problem or "invalid YAML"
    mark = error.problem_mark or opener
    code, hint = "Y004", ""
    flow = "flow" in (error.context or "") and opener and mark and opener.line != mark.line
    if "another document" in message:
        code, message = "Y008", "a second document starts here"
        hint = "one record per file: delete `---`"
    elif "nesting depth" in message:
        code, message = "Y012", "nested too deeply"
        hint = "a record needs no more than ten levels"
    elif opener and ("end of stream" in message or flow):
        mark, message = opener, "opened here and never closed"
    elif error.context:
        start = f" that starts in line {opener.line + 1}" if opener else ""
        message += f", {error.context}{start}"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Problem(code, file, line, column, message, hint or _yaml_hint(message))


def _yaml_hint(message: str) -> str:
    for words, hint in (
        ("mapping values are not allowed", "put text that holds `: ` in quotes, or check indents"),
        ("cannot start any token", "put text that starts with @, ` or % in quotes"),
        ("never closed", "close the quote or bracket"),
        ("unknown escape", "write LaTeX in a block after `|`, or in single quotes"),
        ("block mapping", "check indents and quotes of this line and of the one before"),
        ("':'", "a key needs a colon and a blank after it"),
    ):
        if words in message:
            return hint
    return "check indents, quotes and colons around here"
