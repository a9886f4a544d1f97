"""The page of public faults: each one whole, and each test that it names is there."""

from __future__ import annotations

import re

import pytest

PARTS = ("Seen", "Find out", "Here", "Reported", "Tests")
THREAD = re.compile(r"\]\(https://github\.com/[\w.-]+/[\w.-]+/(?:issues|pull)/\d+\)")
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.fixture(scope="module")
def faults(checkout) -> list[str]:
    page = (checkout / "docs/guide/when-it-goes-wrong.md").read_text("utf-8")
    return re.split(r"^### ", page, flags=re.MULTILINE)[1:]


def test_faults_are_numbered_and_each_has_all_its_parts(faults):
    assert [each.partition(".")[0] for each in faults] == [str(n) for n in range(1, 19)]
    for fault in faults:
        title = fault.partition("\n")[0]
        parts = re.findall(r"^- \*\*([\w ]+)\*\*:", fault, flags=re.MULTILINE)
        assert tuple(parts) == PARTS, title
        assert THREAD.search(fault[fault.index("**Reported**") :]), title


def test_every_test_that_the_page_names_exists(faults, checkout):
    for fault in faults:
        named = TEST.findall(fault[fault.index("**Tests**") :])
        assert named, fault.partition("\n")[0]
        for file, test in named:
            source = (checkout / file).read_text("utf-8")
            assert not test or f"def {test}(" in source, f"{file}::{test}"
