"""Problems found in the records: what they are called, and how they are printed.

A problem is data (`Problem`); rendering is separate (`render`). Codes are stable: a code is never
given to something else, and a code that is no longer raised stays in the table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from mmalign.characters import printable, printable_json

CODES = {
    # The text of a file.
    "Y001": "The file is not UTF-8.",
    "Y002": "The file starts with a byte order mark.",
    "Y003": "The file is empty.",
    "Y004": "The file is not valid YAML.",
    "Y005": "The file holds a tab.",
    "Y006": "A key stands twice in one mapping; YAML would keep the last in silence.",
    "Y007": "Anchors, aliases and merge keys are not used in records.",
    "Y008": "The file holds more than one YAML document.",
    "Y009": "The top level of the file is not a mapping.",
    "Y010": "Tags are not used in records.",
    "Y011": "The file is too large.",
    "Y012": "The file is nested too deeply.",
    "Y013": "A key is not plain text.",
    "Y014": "The file cannot be read.",
    "Y015": "A text holds a control character, or one that cannot be seen.",
    "Y016": "There are more problems than are listed.",
    "Y017": "A file or folder is not read.",
    # The shape of a record: fields and their types.
    "S001": "A required field is missing.",
    "S002": "A key is not known here.",
    "S003": "Text is wanted; YAML reads the value as something else.",
    "S004": "A whole number is wanted.",
    "S005": "The value is not one of those allowed.",
    "S006": "The text does not have the form wanted.",
    "S007": "Something is wanted, and nothing is there.",
    "S008": "`true` or `false` is wanted.",
    "S009": "A number is wanted.",
    "S010": "A list is wanted.",
    "S011": "A mapping (`key: value`) is wanted.",
    "S012": "The number is out of range.",
    "S099": "The value does not have the shape wanted.",
    # Rules over the whole knowledge base.
    "R001": "The name of a file and the id inside it differ.",
    "R002": "An id is used twice.",
    "R003": "An id is referred to that no record has.",
    "R004": "A term is not in the taxonomy.",
    "R005": "The parent of a term is not in its facet.",
    "R006": "Terms are their own ancestors.",
    "R007": "Objectives are their own ancestors.",
    "R008": "Two records have the same arXiv id, DOI or OpenReview id.",
    "R009": "The source of an evidence does not have one of the three forms.",
    "R010": "An evidence covers a field that does not exist.",
    "R011": "A fact that matters has no evidence.",
    "R012": "A date does not exist or lies in the future.",
    "R013": "The script of a method does not exist.",
    "R014": "A script belongs to no method.",
    "R015": "A script belongs to several methods.",
    "R016": "An equation is not LaTeX that the site can show.",
    "R017": "An edge of the graph is not one that taxonomy/relations.yaml allows.",
    "R018": "A method has a single result.",
    "R019": "A facet does not fit the fields of the records.",
    "R020": "A part of the taxonomy is missing.",
    "R021": "A draft is not finished.",
    "R022": "A source leads to a preview deployment, not to what was published.",
    "R023": "A number that is not the paper's own does not say where it stands.",
    "R024": "An erratum says since when it is outdated, and is of another severity.",
    "R025": "An address holds a character that addresses do not hold.",
}
"""Code -> one line that explains it. Y: YAML text, S: shape, R: rules."""

Location = tuple[str | int, ...]
"""Path into a record: keys and list positions, such as ("methods", 0, "objective")."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it stands, and what to write instead.

    `file` is relative to the root of the data where it lies inside it; `line` and `column` count
    from 1.
    """

    code: str
    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    severity: str = "error"

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown problem code {self.code}")

    @property
    def place(self) -> tuple[str, int, int, str]:
        """What problems are sorted by."""
        return (self.file, self.line, self.column, self.code)


@dataclass(frozen=True)
class More(Problem):
    """Stands for the `count` problems of a file that are not listed one by one."""

    count: int = 0

    @property
    def place(self) -> tuple[str, int, int, str]:
        """After all others of the file."""
        return (self.file, sys.maxsize, 0, self.code)


MAX_PROBLEMS = 10_000
"""Problems of one file that are kept; further ones are counted."""
LISTED = 100
"""Problems of one file that are shown to a reader."""


def total(problems: Iterable[Problem]) -> int:
    """How many problems there are, with those that are not listed."""
    return sum(each.count if isinstance(each, More) else 1 for each in problems)


def capped(problems: Iterable[Problem], limit: int = MAX_PROBLEMS) -> list[Problem]:
    """The first `limit` problems of each file, and one line that counts the rest of them."""
    listed: dict[str, list[Problem]] = {}
    rest: dict[str, int] = {}
    for problem in problems:
        kept = listed.setdefault(problem.file, [])
        if isinstance(problem, More):
            rest[problem.file] = rest.get(problem.file, 0) + problem.count
        elif len(kept) < limit:
            kept.append(problem)
        else:
            rest[problem.file] = rest.get(problem.file, 0) + 1
    for file, count in rest.items():
        last = listed[file][-1] if listed[file] else None
        line, column = (last.line, last.column) if last else (1, 1)
        message, hint = f"and {count:,} more", "correct these first"
        listed[file].append(More("Y016", file, line, column, message, hint, count=count))
    return [problem for kept in listed.values() for problem in kept]


@dataclass(frozen=True)
class Finding:
    """A problem whose line has not been looked up yet: rules know records, not lines."""

    code: str
    file: str
    location: Location
    message: str
    hint: str = ""


def render(problems: Iterable[Problem], format: str = "text") -> str:
    """Problems as `text`, `json` or `github` (workflow commands that annotate a pull request).

    Raises ValueError for another format.
    """
    if format not in RENDERERS:
        raise ValueError(f"format '{format}' is not one of {', '.join(RENDERERS)}")
    return RENDERERS[format](sorted(problems, key=lambda problem: problem.place))


# Messages and names hold words of others: what is printed of them is escaped and has an end.
MAX_MESSAGE = 1_000
MAX_HINT = 600
MAX_FILE = 300


def _text(problems: list[Problem]) -> str:
    return "\n".join(_line(problem) for problem in problems)


def _line(problem: Problem) -> str:
    severity = "" if problem.severity == "error" else f"{problem.severity}: "
    file = printable(problem.file, MAX_FILE)
    return f"{file}:{problem.line}:{problem.column}: {problem.code} {severity}{_said(problem)}"


def _said(problem: Problem) -> str:
    hint = f"; {printable(problem.hint, MAX_HINT)}" if problem.hint else ""
    return printable(problem.message, MAX_MESSAGE) + hint


def _json(problems: list[Problem]) -> str:
    rows = []
    for problem in problems:
        row = {"kind": "problem", **asdict(problem)}
        row["message"] = printable(problem.message, MAX_MESSAGE)
        row["hint"] = printable(problem.hint, MAX_HINT)
        rows.append(row)
    # The name of the file stays what it is, in JSON's own way to write such characters.
    return printable_json(json.dumps(rows, indent=2, ensure_ascii=False))


def _github(problems: list[Problem]) -> str:
    return "\n".join(
        f"::{'error' if problem.severity == 'error' else 'warning'} "
        f"file={_property(printable(problem.file, MAX_FILE))},line={problem.line},"
        f"col={problem.column},title={_property(problem.code + ' ' + CODES[problem.code])}::"
        + _data(_said(problem))
        for problem in problems
    )


def _data(text: str) -> str:
    return text.replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


RENDERERS: dict[str, Callable[[list[Problem]], str]] = {
    "text": _text,
    "json": _json,
    "github": _github,
}
"""Name of a format -> function from sorted problems to text, without a newline at the end."""
