"""Whatever bytes stand in a record, checking gives problems and never an exception."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import random
import time
from pathlib import Path

import pytest

from mmalign.characters import UNWANTED
from mmalign.check.run import check, findings
from mmalign.records import collect, shape, source
from mmalign.records.model import Paper
from mmalign.records.problems import RENDERERS, capped, render

SNIPPETS = (
    b"\t", b"\n", b"- ", b": ", b"&a ", b"*a", b"!x ", b"<<: *a", b"'", b'"', b"{", b"[", b"}",
    b"]", b"|", b">", b"# ", b"---\n", b"...\n", b"? ", b"%", b"@", b"`", b"\x00", b"\xff", b"\xc3",
    b"\r", b"\xef\xbb\xbf", "\u2028".encode(), "\U0001f600".encode(), b"null", b"~", b"1e5", b"-",
    b"9" * 5000, b"  " * 200, b"[" * 60, b"\x85", b"\xed\xa0\x80", b"\\", b"\\x", b"\\U0010ffff",
    b",",
)  # fmt: skip


def mutations(content: bytes, seed: int, count: int):
    """`count` copies of `content`, each spoilt in one to five places."""
    draw = random.Random(seed)
    for _ in range(count):
        spoilt = bytearray(content)
        for _ in range(draw.randint(1, 5)):
            place, size = draw.randrange(len(spoilt)), draw.choice((0, 0, 1, 3, 30))
            new = draw.choice((draw.choice(SNIPPETS), bytes([draw.randrange(256)])))
            if draw.random() < 0.2:  # a stretch of the file itself
                start = draw.randrange(len(content))
                new = content[start : start + draw.choice((5, 50, 500))]
            spoilt[place : place + size] = new
        yield bytes(spoilt)


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_bytes_give_problems_with_a_place(data_root, seed):
    content = (data_root / "papers" / "red-lantern.yaml").read_bytes()
    refused = 0
    for spoilt in mutations(content, seed, 400):
        document = source.parse(spoilt, "x.yaml")
        lines = spoilt.decode("utf-8", "replace").count("\n") + 1
        for problem in document.problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert problem.message
            # libyaml counts more line breaks than \n: \r, next line, line and page separator.
            assert problem.line <= lines + spoilt.count(b"\r") + spoilt.count(b"\x85") + 10
        if document.data is None:
            assert document.problems
            refused += 1
            continue
        record, findings = shape.build(Paper, document.data, "x.yaml")
        assert (record is None) == bool(findings)
        places = source.locate(spoilt, [finding.location for finding in findings])
        assert len(places) == len(findings)
        refused += record is None or bool(document.problems)
    assert refused > 200


def test_spoilt_files_are_checked_to_the_end(tree):
    content = (tree.root / "papers" / "red-lantern.yaml").read_bytes()
    files = ("papers/red-lantern.yaml", "taxonomy/scenario.yaml", "taxonomy/relations.yaml",
             "taxonomy/errata.yaml")  # fmt: skip
    for file in files:
        content = (tree.root / file).read_bytes()
        for spoilt in mutations(content, 7, 25):
            tree.write(file, spoilt)
            _, problems = check(tree.root)
            assert all(problem.message for problem in problems)
        tree.write(file, content)
    assert tree.problems() == []


# --- many inputs, each of which can be made again by its number ----------------------------------

FILES = (
    "papers/red-lantern.yaml", "papers/blue-kite.yaml", "papers/plain-pairs.yaml",
    "papers/lamp.yaml", "taxonomy/scenario.yaml", "taxonomy/objective_family.yaml",
    "taxonomy/relations.yaml", "taxonomy/errata.yaml",
)  # fmt: skip
TEXTS = (
    "", " ", "\n", "x" * 3000, "\x1b[2J", "a\u202eb", "\u2028", "\u200b", "\x00", "\x85", "\ufeff",
    "\uffff", "\U0001f468\u200d\U0001f469", "papers/a.yaml:1:1: R999 forged", "x\n::error::y",
    "TODO", "TODO: x", "<script>alert(1)</script>", r"\text{<b>}", r"\frac{", r"\left(",
    r"\begin{array}{|}a&b\end{array}", r"\zzz" * 50, "{" * 400, "x_" * 300, "&#x3c;", r"a \\\\ b",
    r"\sqrt{" * 300 + "}" * 300, "$x$", "²", "٣", "2024-13-45", "２０２４-01-01", "9" * 5000,
    "1e999", "methods.0", "methods.²", "methods." * 99, "arxiv:" + "1" * 99, "repo:a/b@" + "0" * 40,
    "https://", "https://[", "term:", "method:", "term:scenario/x/y", "red-lantern", "blue-kite",
    "others", "a.b.c", "..", "../../x", "~", "no",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 10**17, 1.5, -0.0, 1e30, [], {}, [[]], [None], [{}], {"": ""},
    {"id": "x"}, {"a\nb": "c\x1b"}, ["x"] * 300, [{"id": "a"}] * 3, {"<<": {"a": 1}},
    [[[[[[[[[[[["x"]]]]]]]]]]]],
)  # fmt: skip


def places(value, at=()):
    """Every place inside the data of a file."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*at, key)
        if isinstance(value[key], (dict, list, tuple)):
            yield from places(value[key], (*at, key))


def plain(value):
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def changed(data: dict, draw: random.Random) -> bytes:
    """The data with one to three values, keys or items changed, as JSON (which is YAML)."""
    data = copy.deepcopy(data)
    for _ in range(draw.randint(1, 3)):
        found = list(places(data))
        if not found:
            break
        *way, last = draw.choice(found)
        inner = data
        for part in way:
            inner = inner[part]
        what = draw.randrange(7)
        if what == 0:
            del inner[last]
        elif what == 1 and isinstance(inner, dict):
            inner[draw.choice(("id", "yaer", "for_", "<<", "x" * 500, "k\n::error::x"))] = (
                inner.pop(last)
            )
        elif what == 2 and isinstance(inner, list):
            inner[last:last] = [copy.deepcopy(inner[last])] * draw.choice((1, 2, 50))
        elif what == 3:
            inner[last] = copy.deepcopy(draw.choice(VALUES))
        elif what == 4:
            *other, end = draw.choice(found)
            value = data
            try:
                for part in (*other, end):
                    value = value[part]
            except (KeyError, IndexError, TypeError):
                value = "gone"
            inner[last] = copy.deepcopy(value)
        elif isinstance(inner[last], str) and draw.random() < 0.5:
            at = draw.randrange(len(inner[last]) + 1)
            inner[last] = inner[last][:at] + draw.choice(TEXTS) + inner[last][at:]
        else:
            inner[last] = draw.choice(TEXTS)
    return json.dumps(data, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def originals(data_root) -> dict[str, tuple[bytes, dict]]:
    found = {}
    for file in FILES:
        content = (data_root / file).read_bytes()
        found[file] = content, plain(source.parse(content, file).data)
    return found


def spoilt(originals, number: int) -> tuple[str, bytes]:
    """File and content of the input of this number."""
    draw = random.Random(number)
    file = draw.choice(FILES)
    content, data = originals[file]
    if draw.random() < 0.5:
        return file, changed(data, draw)
    return file, next(mutations(content, number, 1))


def checked(base: collect.Records, root: Path, file: str, content: bytes) -> int:
    """Check one file among the others, as `check` does, and everything that is printed of it.

    Gives the number of its problems.
    """
    maps = {name: {f: r for f, r in getattr(base, name).items() if f != file}
            for name in ("papers", "facets", "relations", "errata", "paths")}  # fmt: skip
    records = dataclasses.replace(base, **maps, problems=[], unread_ids=set(), unshaped={})
    (root / file).write_bytes(content)
    special = {"relations.yaml": collect.Relations, "errata.yaml": collect.Errata}
    in_taxonomy = special.get(Path(file).name, collect.Facet)
    model = Paper if file.startswith("papers/") else in_taxonomy
    collect._read_file(records, root / file, model)
    assert bool(records.problems) or file in {name for name, _ in records.all()}
    found = list(findings(records.knowledge_base(), records, datetime.date(2026, 6, 1)))
    problems = capped([*records.problems, *records.locate(found)], 100)
    assert all(problem.message and problem.line >= 1 for problem in problems)
    for format in RENDERERS:
        text = render(problems, format)
        assert not UNWANTED.search(text.replace("\n", ""))
        assert format == "json" or text.count("\n") == max(len(problems) - 1, 0)
    return len(problems)


LIMIT = 5.0
"""Seconds of this process that an input may cost."""


def check_numbers(originals, data_root, tmp_path, numbers) -> None:
    base = collect.read(data_root)
    (tmp_path / "papers").mkdir()
    (tmp_path / "taxonomy").mkdir()
    base.root = tmp_path
    wrong = 0
    for number in numbers:
        file, content = spoilt(originals, number)
        start = time.process_time()
        try:
            wrong += checked(base, tmp_path, file, content) > 0
        except Exception as error:
            raise AssertionError(f"input {number}: {file}: {error!r}") from error
        took = time.process_time() - start
        assert took < LIMIT, f"input {number}: {file}: {took:.1f} s"
    assert wrong > len(numbers) / 2


def test_spoilt_records_and_taxonomy_are_checked_and_printed(originals, data_root, tmp_path):
    # The number of an input of the slow tier that fails is added here, and stays.
    check_numbers(originals, data_root, tmp_path, (*range(300),))


def _method(data: dict) -> dict:
    return data["methods"][0]


# Name -> one mistake, as often as it fits into a file.
LARGE = {
    "keys": lambda d: d.update({f"k{i}x{i % 7}": 1 for i in range(60_000)}),
    "values": lambda d: _method(d).update(own=[f"objektiv{i}" for i in range(50_000)]),
    "ids": lambda d: _method(d).update(trains_on=[f"red-lanter{i}" for i in range(50_000)]),
    "related": lambda d: _method(d).update(related=[f"red-lanter{i}" for i in range(50_000)]),
    "terms": lambda d: _method(d).update(scenario=[f"hallucinatio{i}" for i in range(40_000)]),
    "paths": lambda d: d["evidence"][0].update(
        {"for": [f"methods.blue-kite.resul{i}" for i in range(25_000)]}
    ),
    "names": lambda d: (
        _method(d).update(
            hyperparameters=[{"name": f"n{i}", "value": "1", "source": "s"} for i in range(8000)]
        ),
        d["evidence"][0]["for"].extend(
            f"methods.blue-kite.hyperparameters.n{i}x" for i in range(8000)
        ),
    ),
    "equations": lambda d: _method(d)["objective"].update(
        symbols=[{"symbol": f"\\frac{{a_{{{i}}}}}{{b}}" * 200, "meaning": "m"} for i in range(250)]
    ),
    "macros": lambda d: _method(d)["objective"].update(
        symbols=[{"symbol": f"\\sigm{'abcdefghij'[i % 10] * (i % 9)}", "meaning": "m"}
                 for i in range(18_000)]
    ),
    "notes": lambda d: _method(d).update(notes=["TODO"] * 90_000),
    "methods": lambda d: d.update(
        methods=[{**_method(d), "id": f"m{i}", "objective": {
            "family": "plain", "latex": "x", "place": "p", "parent": f"m{(i + 1) % 1800}"}}
            for i in range(1800)]
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_megabyte_of_one_mistake_costs_seconds(tree, name):
    file = "papers/blue-kite.yaml"
    data = plain(source.parse(tree.read(file).encode(), file).data)
    LARGE[name](data)
    text = json.dumps(data)
    assert 250_000 < len(text) <= source.MAX_BYTES
    tree.write(file, text)
    start = time.process_time()
    problems = tree.problems()
    for format in RENDERERS:
        assert len(render(capped(problems, 100), format)) < 120_000
    assert time.process_time() - start < LIMIT
    assert problems


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_fifty_thousand_spoilt_records_and_taxonomy_files(originals, data_root, tmp_path, part):
    check_numbers(originals, data_root, tmp_path, range(part * 2500, (part + 1) * 2500))
