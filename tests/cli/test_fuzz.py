"""Whatever is asked of the program or compared by it: an answer or one line, and never a fault."""

from __future__ import annotations

import copy
import random
import time
import webbrowser
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mmalign.ask import diff
from mmalign.cli import COMMANDS, cli

LEFT_OUT = {"run", "bench", "site", "new", "validate", "bib import"}
"""Commands that train, build, write, or read whole folders: they have tests of their own."""
LONGEST = 15.0
"""Seconds that no input may take."""

NASTY = (
    "", " ", "-", "--", "---", "-x", "--output=x", "=", "!", "!!", ",", ":", "::", "a:", ":a",
    "..", "...", "../x", "./x", "x/y", "~", "*", "?", "[", "]", "{", "(", ")", "\\", "\\\\", '"',
    "'", "`", "$HOME", "%s", "%n", "{0}", "<b>", "&amp;", "a\nb", "a\rb", "\t", "\x00", "\x1b[2J",
    "\x07", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "\udcff", "\ud800", "\U0010ffff", "灯",
    "é", "e\u0301", "İ", "ß", "ﬁ", "\u0661", "²", "0", "-1", "+1", "1_0", "1e9", "1.5", "0x1",
    "00", "9" * 30, "nan", "inf", "2024..", "..2024", "2025..2024", "2024..2025..2026", "2_024",
    "null", "None", "true", "NaN", "a" * 300, "a " * 300, "!" * 200, "HEAD", "HEAD:papers",
    "@{u}", "^HEAD", "HEAD..HEAD", ":/", "@", "1.0e+308", "2024-02-30", "2024-01-01",
    "javascript:alert(1)", "https://a.example/", "arxiv:1",
)  # fmt: skip
GOOD = (
    "lamp", "red-lantern", "blue-kite", "plain-pairs", "method:red-lantern", "paper:lamp",
    "Red Lantern", "term:scenario/hallucination", "hallucination", "scenario", "annotation",
    "dimension", "!human", "methods", "papers", "terms", "claims", "errata", "json", "csv", "md",
    "ids", "bibtex", "table", "jsonl", "dot", "graphml", "skos", "mermaid", "text", "code",
    "results", "objects", "2020", "2", "1", "bash", "year", "id", "name", "paper.year",
    "year:desc", "extends", "has_term", ".",
)  # fmt: skip


def commands() -> dict[tuple[str, ...], click.Command]:
    """Words of each command that is tried -> the command."""
    context, found = click.Context(cli), {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        inner = command.commands if isinstance(command, click.Group) else {}
        for words, each in [((name,), command), *(((name, sub), c) for sub, c in inner.items())]:
            if name not in LEFT_OUT and " ".join(words) not in LEFT_OUT:
                found[words] = each
    return found


def value(draw: random.Random) -> str:
    if draw.random() < 0.55:
        return draw.choice(GOOD)
    text = draw.choice(NASTY)
    if draw.random() < 0.3:
        good = draw.choice(GOOD)
        place = draw.randrange(len(good) + 1)
        text = good[:place] + text + good[place:]
    return text


def line(draw: random.Random, known: dict[tuple[str, ...], click.Command], root: Path) -> list[str]:
    """The arguments of one call."""
    words = draw.choice([*known, *[("query",)] * 5])
    given = ["--root", str(root) if draw.random() < 0.97 else value(draw), *words]
    if draw.random() < 0.02:
        given[2:] = [value(draw)]
    for parameter in known[words].params:
        if isinstance(parameter, click.Argument):
            wanted = (
                draw.choice((0, 1, 1, 1, 2, 3)) if parameter.nargs < 0 else int(draw.random() < 0.9)
            )
            given += [value(draw) for _ in range(wanted)]
        elif draw.random() < 0.15:
            given.append(draw.choice([*parameter.opts, *parameter.secondary_opts]))
            if not parameter.is_flag and draw.random() < 0.95:
                kind = parameter.type
                named = isinstance(kind, click.Choice) and draw.random() < 0.7
                given.append(str(draw.choice(kind.choices)) if named else value(draw))
    if draw.random() < 0.1:
        given.insert(draw.randrange(2, len(given) + 1), value(draw))
    if words == ("open",):
        given.append("--print")
    return given


def ask(number: int, known: dict[tuple[str, ...], click.Command], root: Path) -> None:
    given = line(random.Random(number), known, root)
    start = time.monotonic()
    result = CliRunner().invoke(cli, given)
    said = f"{number}: {given} gave {result.exit_code}: {result.stderr[-500:]}"
    assert result.exit_code in (0, 1, 2), said
    assert result.exception is None or isinstance(result.exception, SystemExit), said
    assert "Traceback" not in result.stderr, said
    if result.exit_code == 2 and given[2:]:
        assert result.stderr.count("Error: ") <= 1 or "Error: " in str(given), said
        assert len(result.stderr) < 5000, said
    assert time.monotonic() - start < LONGEST, said


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What an input writes lands in a folder of the test's own, and no browser opens."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "here"))  # `data check ~` reads all of it
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(webbrowser, "open", lambda _: pytest.fail("a browser was opened"))


FAILED = (2438, 2981, 4765, 5517, 7741, 8361, 9204, 10448, 11088)
"""Numbers of inputs that once failed."""


def test_inputs_of_each_command(quiet, data_root):
    known = commands()
    for number in (*FAILED, *range(10**6, 10**6 + 150)):
        ask(number, known, data_root)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(12))
def test_twelve_thousand_lines_of_arguments(quiet, data_root, part):
    known = commands()
    for number in range(part * 1000, (part + 1) * 1000):
        ask(number, known, data_root)


# --- revisions


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.0, 1e30, "", "x", "id", "a\nb", "\x1b", "\u202e", (), ("x",),
    (None,), ((),), {}, {"id": "x"}, {"id": None}, {"id": ("a",)}, ({"id": "x"}, {"id": "x"}),
    ({"id": {}},), ({"benchmark": 1, "metric": (), "model": {}},), "x" * 5000,
    ({"name": "a"}, "b"),
)  # fmt: skip


def spoil(data: Any, draw: random.Random) -> Any:
    """The data of a file with one part in it lost, doubled, or of another type."""
    if isinstance(data, dict) and data and draw.random() < 0.85:
        key = draw.choice(list(data))
        change = draw.random()
        if change < 0.15:
            return {k: v for k, v in data.items() if k != key}
        if change < 0.3:
            return {**data, draw.choice(("id", "methods", "terms", "x\n", "")): draw.choice(VALUES)}
        return {**data, key: spoil(data[key], draw)}
    if isinstance(data, tuple) and data and draw.random() < 0.85:
        place = draw.randrange(len(data))
        middle = (spoil(data[place], draw),) if draw.random() < 0.8 else (data[place],) * 2
        return (*data[:place], *middle, *data[place + 1 :])
    return draw.choice(VALUES)


def revision(originals: diff.Files, draw: random.Random) -> diff.Files:
    files = dict(originals)
    for _ in range(draw.randint(1, 8)):
        name = draw.choice(list(files))
        spoilt = spoil(files[name], draw)
        if isinstance(spoilt, dict):
            files[name] = spoilt
        elif len(files) > 1:
            del files[name]
    return files


def compare(number: int, originals: diff.Files) -> None:
    draw = random.Random(number)
    old, new = revision(originals, draw), revision(originals, draw)
    before = copy.deepcopy((old, new))
    start = time.monotonic()
    changes = diff.compare(old, new)
    assert (old, new) == before
    assert all(change.text and change.ref for change in changes)
    assert diff.summary(changes) and all(change.as_dict() for change in changes)
    assert diff.compare(old, old) == [] and diff.compare(new, new) == []
    # What is there and has no name is named.
    named = len(diff.uncompared(new)) + len(diff.compare({}, new))
    assert named >= len(new)
    assert time.monotonic() - start < LONGEST


@pytest.fixture(scope="module")
def originals(data_root: Path) -> diff.Files:
    return diff.read(str(data_root), data_root)


def test_spoilt_revisions(originals):
    for number in range(10**6, 10**6 + 200):
        compare(number, originals)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_eight_thousand_pairs_of_spoilt_revisions(originals, part):
    for number in range(part * 1000, (part + 1) * 1000):
        compare(number, originals)
