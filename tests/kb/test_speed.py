"""Checking is about as fast as reading, and its time grows with the number of records.

Ratios of CPU times, the best of several: of the clock, a machine that gets busy between two
measurements would spoil a ratio.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable

import yaml

from bench_kb import generate
from mmalign.ask import views
from mmalign.check import run as rules
from mmalign.records.collect import read

RECORDS = 500
SHAPE_LIMIT = 2.5
"""Shape layer over `yaml.load` of the same files. The target is 1.5; this leaves room for noise."""
RULES_LIMIT = 2.0
"""Rules over `yaml.load`. The target is 1.0."""


def best(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def plain_yaml(root) -> None:
    for path in [*root.glob("papers/*.yaml"), *root.glob("taxonomy/*.yaml")]:
        yaml.load(path.read_bytes(), yaml.CSafeLoader)


def all_rules(records) -> list:
    kb = records.knowledge_base()
    return list(rules.findings(kb, records, datetime.date(2026, 6, 1)))


def test_shape_and_rules_cost_about_as_much_as_yaml(tree, record_property):
    generate(tree.root, RECORDS)
    records = read(tree.root)
    assert len(records.papers) == RECORDS + 4
    assert records.problems == []
    assert all_rules(records) == []
    floor = best(lambda: plain_yaml(tree.root))
    shape = best(lambda: read(tree.root)) / floor
    above = best(lambda: all_rules(records)) / floor
    record_property("shape_over_yaml", round(shape, 2))
    record_property("rules_over_yaml", round(above, 2))
    print(f"shape {shape:.2f}x, rules {above:.2f}x of yaml.load ({floor:.2f} s)")
    assert shape <= SHAPE_LIMIT
    assert above <= RULES_LIMIT


def test_time_is_linear(tree):
    generate(tree.root, 100)
    records = read(tree.root)
    small = best(lambda: (read(tree.root), all_rules(records)))
    generate(tree.root, 300, start=100)
    records = read(tree.root)
    large = best(lambda: (read(tree.root), all_rules(records)))
    # 4 times the records; quadratic would be 16 times the time.
    assert large / small < 8


def test_time_is_linear_where_everything_is_wrong(tree):
    generate(tree.root, 50)
    ids = ", ".join(f"no-{number}" for number in range(2000))
    for number in range(50):
        file = f"papers/kite-{number}.yaml"
        tree.edit(file, f"trains_on: [kite-{number}]", f"trains_on: [{ids}]")
    start = time.process_time()
    problems = tree.problems()
    assert len(problems) == 100_000
    assert time.process_time() - start < 30


def test_compiling_is_linear(tree):
    """Counted, not timed: calls of Python functions, and what is kept."""

    def cost(records) -> tuple[int, int]:
        calls = 0

        def count(frame, event, arg):
            nonlocal calls
            calls += event in ("call", "c_call")

        kb = records.knowledge_base()
        sys.setprofile(count)
        try:
            values = views.compiled(kb)
        finally:
            sys.setprofile(None)
        return calls, len(json.dumps(values))

    generate(tree.root, 100)
    small = cost(read(tree.root))
    generate(tree.root, 300, start=100)
    large = cost(read(tree.root))
    # 4 times the records; quadratic would be 16 times the work.
    assert large[0] / small[0] < 4.5
    assert large[1] / small[1] < 4.5


def test_compiling_takes_linear_time(tree):
    """What happens inside one call of a C function is not counted above. On a busy machine the
    larger one is slowed down more: 4 times the records are linear, and 16 times the work is not."""
    generate(tree.root, 100)
    few = read(tree.root)
    generate(tree.root, 300, start=100)
    many = read(tree.root)
    seconds: dict[int, list[float]] = {100: [], 400: []}
    for _ in range(5):
        for number, records in ((100, few), (400, many)):
            once = best(lambda records=records: views.compiled(records.knowledge_base()), 1)
            seconds[number].append(once)
    assert min(seconds[400]) / min(seconds[100]) < 10
