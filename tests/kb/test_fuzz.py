"""Whatever bytes stand in a record, checking gives problems and never an exception."""

from __future__ import annotations

import random

import pytest

from mmalign.check.run import check
from mmalign.records import shape, source
from mmalign.records.model import Paper

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
