"""The speed of the knowledge base against its targets: `make bench-kb`.

Measures the rows of the design's section on speed that concern records, command line and site, as
ratios of times taken side by side in one run: a busy or a slow machine slows both. Runs are
interleaved and the median counts, of processor time. Prints one table; the exit status is 1 if a
row misses its target.

    python tools/bench_kb.py [--only cold,validate,compile,site]
"""

from __future__ import annotations

import argparse
import datetime
import functools
import gc
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
FABRICATED = CHECKOUT / "tests" / "kb" / "data"
TODAY = datetime.date(2026, 6, 1)
"""The day on which generated records are checked."""

Row = tuple[str, float, float, str]
"""What, target (at most), measured, unit."""


# --- inputs --------------------------------------------------------------------------------------


def generate(root: Path, count: int, start: int = 0) -> None:
    """Write `count` distinct, clean records of the size of real ones into a copy of the fabricated
    knowledge base."""
    template = (root / "papers" / "red-lantern.yaml").read_text("utf-8")
    template = template.replace("doi: 10.1234/example.1\n", "")
    for number in range(start, start + count):
        text = template.replace("red-lantern", f"kite-{number}").replace("bench-one", f"b-{number}")
        text = text.replace("2101.00001", f"{2000 + number // 50000:04d}.{number % 50000 + 20000}")
        text = text.replace("lamp-7b", f"lamp-{number}").replace("anchor, 0", f"anchor, {number}")
        model = f"models:\n  - id: lamp-{number}\n    name: L{number}\n    summary: A model.\n"
        text = text.replace("\ndatasets:\n", f"\n{model}    modality: [image]\ndatasets:\n")
        (root / "papers" / f"kite-{number}.yaml").write_text(text, "utf-8", newline="\n")


def enlarge(root: Path, papers: int) -> None:
    """Add copies of real records under new ids until a checkout holds so many papers.

    Left out are records that have a script (it would belong to two methods) and those whose ids are
    terms, too (they could not be renamed as words).
    """
    there = sorted((root / "papers").glob("*.yaml"))
    named = re.compile(r"^[ -]*id: *([a-z0-9-]+)", re.MULTILINE)
    terms = {
        id_ for f in root.glob("taxonomy/*.yaml") for id_ in named.findall(f.read_text("utf-8"))
    }
    texts = [path.read_text("utf-8") for path in there]
    usable = [t for t in texts if "reference_impl:" not in t and not terms & set(named.findall(t))]
    for number in range(papers - len(there)):
        text, again = usable[number % len(usable)], number // len(usable) + 2
        ids = "|".join(sorted(map(re.escape, set(named.findall(text))), key=len, reverse=True))
        text = re.sub(rf"(?<![\w/-])({ids})(?![\w/-])", rf"\1-again-{again}", text)
        name = named.findall(text)[0]
        (root / "papers" / f"{name}.yaml").write_text(text, "utf-8", newline="\n")


# --- measuring -----------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Processor time of this process and of those that it has waited for."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


def medians(works: Mapping[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Median processor seconds of each piece of work, run in turns.

    Not seconds of the clock: nothing here waits, and others may share the machine.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            gc.collect()
            start = cpu_seconds()
            work()
            seconds[name].append(cpu_seconds() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def program(*args: str, folder: Path, cwd: Path = CHECKOUT) -> None:
    """Run Python in a process of its own, with its caches in a folder: compiled modules as every
    installation has them, and what mmalign keeps. Raises CalledProcessError where it fails."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {
        "PYTHONPATH": os.pathsep.join((str(CHECKOUT / "tools"), str(CHECKOUT))),
        "PYTHONPYCACHEPREFIX": str(folder / "modules"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=environment, capture_output=True)
    if done.returncode:
        sys.stderr.buffer.write(done.stderr[-2000:])
        done.check_returncode()


def cold(folder: Path) -> Iterator[Row]:
    """Commands in a process of their own, over an interpreter that imports click and json."""
    script = "from mmalign.cli import main; main()"
    commands = {
        "query": ["query", "--scenario", "hallucination"],
        "query TEXT": ["query", "preference"],
        "--help": ["--help"],
        "list": ["list", "methods"],
        "show": ["show", "method:mdpo"],
    }

    def call(args: list[str]) -> Callable[[], None]:
        return lambda: program("-c", script, *args, folder=folder)

    works = {name: call(args) for name, args in commands.items()}
    works["floor"] = lambda: program("-c", "import click, json", folder=folder)
    medians(works, 2)  # fills the caches
    found = medians(works, 15)
    for name in commands:
        yield f"{name}, cold", 2.0, found[name] / found["floor"], "x import click, json"


def validate(folder: Path, records: int = 10_000) -> Iterator[Row]:
    """The two layers of checking, over what PyYAML's C parser takes for the same files."""
    import yaml

    from mmalign.check import run as rules
    from mmalign.records.collect import read

    root = folder / "many"
    shutil.copytree(FABRICATED, root)
    generate(root, records)
    collected = read(root)
    if collected.problems:
        raise SystemExit(f"the generated records are not clean: {collected.problems[0]}")

    def plain() -> None:
        for path in [*root.glob("papers/*.yaml"), *root.glob("taxonomy/*.yaml")]:
            yaml.load(path.read_bytes(), yaml.CSafeLoader)

    def check() -> None:
        list(rules.findings(collected.knowledge_base(), collected, TODAY))

    found = medians({"yaml": plain, "shape": lambda: read(root), "rules": check}, 3)
    unit = "x yaml.load(CSafeLoader)"
    yield f"validate {records:,} records, shape", 1.5, found["shape"] / found["yaml"], unit
    yield f"validate {records:,} records, rules on top", 1.0, found["rules"] / found["yaml"], unit


def compiling(folder: Path) -> Iterator[Row]:
    """The compiled catalogue of 2,000 records, over that of 500."""
    from mmalign.ask.views import compiled
    from mmalign.records.collect import read

    works: dict[str, Callable[[], object]] = {}
    for size in (500, 2000):
        root = folder / f"compile-{size}"
        shutil.copytree(FABRICATED, root)
        generate(root, size)
        records = read(root)
        works[str(size)] = functools.partial(lambda each: compiled(each.knowledge_base()), records)
    found = medians(works, 5)
    yield "compiling, 500 -> 2,000 records", 6.0, found["2000"] / found["500"], "x the time"


def site(folder: Path) -> Iterator[Row]:
    """The strict build of 250 and of 500 papers, in seconds of CPU."""
    works: dict[str, Callable[[], object]] = {}
    for size in (250, 500):
        root = folder / f"site-{size}"
        for name in ("docs", "papers", "taxonomy", "reference_impls", "tools"):
            shutil.copytree(CHECKOUT / name, root / name, ignore=shutil.ignore_patterns("*.pyc"))
        shutil.copy(CHECKOUT / "mkdocs.yml", root)
        enlarge(root, size)
        works[str(size)] = functools.partial(
            program, "-m", "mmalign", "site", "build", folder=folder, cwd=root
        )
    medians({"250": works["250"]}, 1)  # fills the caches
    found = medians(works, 1)
    index = folder / "site-250" / "site" / "search" / "search_index.json"
    yield "strict site build, 250 papers", 8.0, found["250"], "CPU-s"
    # The hand-written pages and the theme are built once, so that linear is a little below 2.
    yield "strict site build, 250 -> 500 papers", 2.2, found["500"] / found["250"], "x the time"
    yield "its search index", 2.0, index.stat().st_size / 1e6, "MB"


ROWS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "cold": cold,
    "validate": validate,
    "compile": compiling,
    "site": site,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default=",".join(ROWS), metavar="LIST", help=", ".join(ROWS))
    names = parser.parse_args().only.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"'{unknown[0]}' is not one of {', '.join(ROWS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"measuring: {name}", file=sys.stderr)
            rows += ROWS[name](Path(folder))
    print("| what | target | measured | |\n| --- | ---: | ---: | --- |")
    for what, target, measured, unit in rows:
        verdict = "" if measured <= target else " **missed**"
        print(f"| {what} | <= {target:g} | {measured:.2f}{verdict} | {unit} |")
    return int(any(measured > target for _, target, measured, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
