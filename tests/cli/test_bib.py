"""`bib import`, `new` and `cite` as people use them: what they read, where they write."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "data"
SAME_STEM = """@misc{a, title={Learning one}, author={Ann Zed}, year=2024, eprint={2401.10001}}
@misc{b, title={Learning two}, author={Bob Zed}, year=2024, eprint={2401.10002}}
@misc{c, title={Learning three}, author={Cid Yed}, year=2024, eprint={2401.10003}}
"""


def papers(tree) -> set[str]:
    return {path.name for path in (tree.root / "papers").iterdir()}


def test_every_good_entry_is_listed_and_each_bad_one_named(mm, tree, tmp_path):
    file = tmp_path / "x.bib"
    file.write_text(
        SAME_STEM + "@misc{bad, title={never closed}\n@misc{d, title={Four}}\n@misc{e, year=2020}\n"
    )
    result = mm("bib", "import", str(file), "--json", root=tree.root)
    assert result.exit_code == 1
    assert [row["key"] for row in json.loads(result.stdout)] == ["a", "b", "c", "d"]
    assert f"{file}:4: entry 'bad': the entry is not closed" in result.stderr
    assert f"{file}:6: entry 'e': has no title" in result.stderr
    assert result.stderr.endswith(f"Error: 2 entries of {file} cannot be read; all others were\n")


def test_ids_that_collide_are_told_apart_and_all_are_written(mm, tree, tmp_path):
    file = tmp_path / "x.bib"
    file.write_text(SAME_STEM + "@misc{bad, title={never closed}\n")
    before = papers(tree)
    result = mm("bib", "import", str(file), "--write", "--json", root=tree.root)
    assert result.exit_code == 1  # for the bad one
    assert papers(tree) - before == {
        "zed-2024-learning.yaml", "zed-2024-learning-two.yaml", "yed-2024-learning.yaml",
    }  # fmt: skip
    text = (tree.root / "papers/zed-2024-learning-two.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../taxonomy/schema/paper.json\nid: zed")
    again = mm("bib", "import", str(file), "--json", root=tree.root)
    assert {row["status"] for row in json.loads(again.stdout)} == {"known"}


def test_an_import_is_checked_once(mm, tree, tmp_path, monkeypatch):
    from mmalign.check import run

    calls, check = [], run.check
    monkeypatch.setattr(run, "check", lambda *args: calls.append(args) or check(*args))
    file = tmp_path / "x.bib"
    file.write_text(SAME_STEM)
    assert mm("bib", "import", str(file), "--write", root=tree.root).exit_code == 0
    assert len(calls) == 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_where_one_draft_cannot_be_written_none_is(mm, tree, tmp_path, monkeypatch, number):
    from mmalign.records import write

    done: list[Path] = []
    place = write._place

    def fail(made, target):
        if len(done) == number:
            raise OSError(28, "No space left on device")
        done.append(target)
        place(made, target)

    monkeypatch.setattr(write, "_place", fail)
    file = tmp_path / "x.bib"
    file.write_text(SAME_STEM)
    before = papers(tree)
    result = mm("bib", "import", str(file), "--write", root=tree.root)
    assert result.exit_code == 1
    assert "Error: nothing was written to" in result.stderr
    assert "No space left on device" in result.stderr
    assert papers(tree) == before


def test_a_full_disk_leaves_nothing_behind(tree, tmp_path, program):
    """The limit on the size of a file fails a write just as a full disk does."""
    file = tmp_path / "x.bib"
    long = "@misc{d, title={Long}, author={" + " and ".join(["Ann Zed"] * 9000) + "}, doi={10.1/x}}"
    file.write_text(SAME_STEM + long)
    before = papers(tree)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        "from mmalign.cli import main; main()"
    )
    result = program("--root", str(tree.root), "bib", "import", str(file), "--write", code=code)
    assert result.returncode == 1
    assert "nothing was written to" in result.stderr
    assert "Traceback" not in result.stderr
    assert papers(tree) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_means_nothing(tree, tmp_path, checkout, number):
    file = tmp_path / "x.bib"
    file.write_text(SAME_STEM)
    before = papers(tree)
    code = """if True:
        import signal, sys, time
        from mmalign.records import write
        place = write._place
        def slow(made, target):
            place(made, target)
            print("placed", target, flush=True)
            time.sleep(0.5)
        write._place = slow
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup hands on that it is ignored
        from mmalign.cli import main
        main()"""
    env = {**os.environ, "PYTHONPATH": str(checkout / "tools")}
    args = [sys.executable, "-c", code, "--root", str(tree.root), "bib", "import", str(file)]
    with subprocess.Popen(
        [*args, "--write"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, text=True
    ) as process:
        while "placed" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert papers(tree) == before


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(tree):
    from mmalign.records import write

    folder = tree.root / "papers"
    before = (folder / "lamp.yaml").read_text()
    with pytest.raises(FileExistsError):
        write.create(folder, {"new.yaml": "a", "lamp.yaml": "b"})
    assert (folder / "lamp.yaml").read_text() == before
    assert not (folder / "new.yaml").exists()


def test_an_installed_wheel_is_not_written_to(tree, tmp_path, checkout, program):
    """Run from a copy of the package in a folder as pip makes it."""
    import shutil

    site = tmp_path / "site-packages"
    shutil.copytree(checkout / "tools/mmalign", site / "mmalign",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    shutil.copytree(tree.root, site / "mmalign/_data")
    file = tmp_path / "x.bib"
    file.write_text(SAME_STEM.splitlines()[0])
    files = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    base = [sys.executable, "-c", "from mmalign.cli import main; main()"]
    options = {"env": env, "cwd": tmp_path, "capture_output": True, "text": True}
    inside = str(site / "mmalign/_data")
    for args in (
        ["bib", "import", str(file), "--write"],
        ["new", "--bibtex", str(file)],
        ["--root", inside, "new", "--bibtex", str(file)],
    ):
        result = subprocess.run([*base, *args], check=False, **options)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert "not written to" in line
        assert "--root DIR" in line
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == files
    shown = subprocess.run(
        [*base, "new", "--bibtex", str(file), "--stdout"], check=False, **options
    )
    assert shown.returncode == 0
    # The lab is installed beside the package, and its results are read from there.
    (site / "reference_impls/results").mkdir(parents=True)
    table = '{"method": "red-lantern", "seeds": [1], "tables": [], "verdicts": []}'
    (site / "reference_impls/results/red_lantern.json").write_text(table)
    told = subprocess.run([*base, "results", "--json"], check=False, **options)
    assert json.loads(told.stdout)[0]["method"] == "red-lantern", told.stderr
    good = [*base, "--root", str(tree.root), "new", "--bibtex", str(file)]
    assert subprocess.run(good, check=False, **options).returncode == 0


def test_a_folder_that_cannot_be_written_is_one_line(mm, tree, tmp_path, monkeypatch):
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "papers" and access(path, mode)
    )
    file = tmp_path / "x.bib"
    file.write_text(SAME_STEM)
    result = mm("bib", "import", str(file), "--write", root=tree.root)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tree.root}/papers cannot be written to")


def test_an_export_never_leaves_half_a_file(mm, tmp_path, monkeypatch):
    from mmalign.records import write

    file = tmp_path / "all.bib"
    file.write_text("before")

    def full(path, text):
        Path(path).write_text(text[:10])
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(write, "_write", full)
        result = mm("bib", "export", "-o", str(file))
        assert result.exit_code == 1
        assert "Traceback" not in result.stderr
    assert file.read_text() == "before"
    assert os.listdir(tmp_path).count("all.bib") == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".mmalign")]
    link = tmp_path / "link.bib"
    link.symlink_to(file)
    assert mm("bib", "export", "-o", str(link)).exit_code == 0
    assert link.is_symlink()
    assert file.read_text().startswith("@")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("@misc{a,\n title={é}}".encode("latin-1"), ":2: byte 0xe9 is not UTF-8; save the file"),
        (b"@misc{a, title={A}}".decode().encode("utf-16"), ":1: byte 0xff is not UTF-8"),
        (b"\x00\x01\x02", "the file holds no entries"),
        (b"", "the file holds no entries"),
    ],
)
def test_a_file_that_is_no_bibliography_is_one_line(mm, tmp_path, content, said):
    file = tmp_path / "x.bib"
    file.write_bytes(content)
    result = mm("bib", "import", str(file))
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("form", ["\ufeff{}", "{}", "crlf"])
def test_mark_and_line_ends_of_windows_are_read(mm, tmp_path, form):
    file = tmp_path / "x.bib"
    text = SAME_STEM.replace("\n", "\r\n") if form == "crlf" else form.format(SAME_STEM)
    file.write_bytes(text.encode())
    result = mm("bib", "import", str(file), "--json")
    assert [row["line"] for row in json.loads(result.stdout)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--arxiv", "2503.1450"], 2, "did you mean 2503.14500?"),
        (["--arxiv", ""], 2, "is not an arXiv id"),
        (["--arxiv", "x\x1b[31m" * 20_000], 2, "is not an arXiv id"),
        (["--arxiv", "2503.14504", "--api", "notaurl"], 2, "'notaurl' is not an http or https"),
        (["--arxiv", "2503.14504", "--api", "file:///etc/passwd"], 2, "is not an http or https"),
        (["--arxiv", "2503.14504", "--api", ""], 2, "is not an http or https"),
        (["--bibtex", "-", "--id", "a" * 100_000], 2, "is not an id"),
        (["--bibtex", "-", "--id", ""], 2, "is not an id"),
        (["--bibtex", "-", "--id", "../x"], 2, "is not an id; write x"),
    ],
)
def test_options_that_make_no_sense_are_one_line(mm, tree, options, code, said):
    before = papers(tree)
    result = mm("new", *options, root=tree.root, input=SAME_STEM.splitlines()[0])
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert said in line
    assert len(line) < 300
    assert "\x1b" not in line
    assert papers(tree) == before


def test_new_takes_one_entry_and_says_what_it_cannot_read(mm, tree):
    bad = mm("new", "--bibtex", "-", root=tree.root, input="@misc{a, title={A}\n@misc{b}")
    assert bad.exit_code == 1
    assert "standard input:1: entry 'a': the entry is not closed" in bad.stderr
    like = "@misc{k, title={Plain Pairs, again}, author={Cy Dee}, doi={10.1/new}}"
    told = mm("new", "--bibtex", "-", "--stdout", root=tree.root, input=like)
    assert told.exit_code == 0
    assert "papers/plain-pairs.yaml has a title like this" in told.stderr


# --- cite ----------------------------------------------------------------------------------------

WORD = {"type": "string", "minLength": 1}
NAME = ("family", "given", "non-dropping-particle", "suffix", "literal")
TEXTS = (
    "title", "container-title", "publisher", "number", "archive", "archive_location", "DOI", "URL",
)  # fmt: skip
# https://github.com/citation-style-language/schema, csl-data.json: the parts that are used.
CSL = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["type", "id"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": ["string", "number"]},
            "type": {"enum": ["article", "article-journal", "paper-conference", "software"]},
            "author": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "minProperties": 1,
                    "properties": {part: WORD for part in NAME},
                },
            },
            "issued": {
                "type": "object",
                "additionalProperties": False,
                "required": ["date-parts"],
                "properties": {
                    "date-parts": {
                        "type": "array", "minItems": 1, "maxItems": 2,
                        "items": {"type": "array", "minItems": 1, "maxItems": 3,
                                  "items": {"type": ["string", "number"]}},
                    }
                },
            },
            **{field: WORD for field in TEXTS},
        },
    },
}  # fmt: skip


def test_every_paper_of_the_atlas_is_cited_in_every_format_and_read_back(mm, checkout):
    import jsonschema
    import rispy
    from pybtex.database import parse_string

    from mmalign.ask.catalogue import open_catalogue

    rows = open_catalogue(str(checkout)).rows("paper")
    ids = [row["id"] for row in rows]
    names = [f"paper:{id_}" for id_ in ids]
    csl = json.loads(mm("cite", *names, "--json", root=checkout).stdout)
    jsonschema.validate(csl, CSL)
    assert [item["id"] for item in csl] == ids
    ris = rispy.loads(mm("cite", *names, "--format", "ris", root=checkout).stdout)
    bibtex = parse_string(mm("cite", *names, root=checkout).stdout, "bibtex").entries
    assert [each["id"] for each in ris] == ids == list(bibtex)
    for row, item, record in zip(rows, csl, ris, strict=True):
        title = " ".join(row["title"].split())
        assert item["title"] == record["title"] == title
        assert item["issued"] == {"date-parts": [[row["year"]]]}
        assert record["year"] == str(row["year"])
        assert len(item["author"]) == len(record["authors"]) == len(row["authors"])
        assert item.get("DOI") == record.get("doi") == row["doi"]
        for name, author, said in zip(
            row["authors"], item["author"], record["authors"], strict=True
        ):
            order = ("given", "non-dropping-particle", "family", "suffix", "literal")
            assert " ".join(author[part] for part in order if part in author) == name
            assert sorted(re.sub(",", "", said).split()) == sorted(re.sub(",", "", name).split())


def test_an_entry_cites_its_paper_once_and_in_order(mm, data):
    ids = [item["id"] for item in data("cite", "red-lantern", "method:plain-pairs",
                                       "paper:red-lantern")]  # fmt: skip
    assert ids == ["red-lantern", "plain-pairs"]
    assert mm("cite", "red-lantern").stdout == mm("bib", "export", "red-lantern").stdout
    unknown = mm("cite", "red-lantren")
    assert unknown.exit_code == 2
    assert "did you mean red-lantern" in unknown.stderr
    term = mm("cite", "term:scenario/medicine")
    assert term.exit_code == 2
    assert "is a term and has no paper" in term.stderr
    assert mm("cite").exit_code == 2


HOSTILE = (
    "}, evil = {x}", "} } } @misc{evil, title={x}}", "}{", "{", "\\", "\\}", '"',
    "a\nTY  - BOOK\nER  - ",
    "$x$ %y #z ~", "\x1b]0;x\x07", "\u202eabc", "and", "A and B", "x, y and {z}", "others",
    "<script>alert(1)</script>", "=1+1", "\\input{/etc/passwd}",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_record_leaves_its_field(text):
    import jsonschema
    import rispy
    from pybtex.database import parse_string

    from mmalign.curate.bibtex import parse
    from mmalign.export.bibtex import to_bibtex
    from mmalign.export.csl import to_csl
    from mmalign.export.ris import to_ris

    hostile = {
        "id": "a", "type": "paper", "title": text, "authors": ["Ann One", text], "year": 2024,
        "venue": text, "arxiv": None, "openreview": text, "doi": f"10.1/{text}",
        "page": f"https://x.org/{text}", "code": None,
    }  # fmt: skip
    harmless = {**hostile, "id": "b", "title": "B", "authors": ["B"], "venue": "CVPR 2024",
                "openreview": None, "doi": "10.1/b", "page": None}  # fmt: skip
    for kind in (hostile, {**hostile, "type": "repository"}, {**hostile, "openreview": None}):
        written = to_bibtex([kind, harmless])
        ours, other = parse(written), parse_string(written, "bibtex").entries
        assert not ours.problems
        assert [entry.key for entry in ours.entries] == list(other) == ["a", "b"]
        allowed = {"title", "author", "year", "booktitle", "journal", "howpublished", "doi", "url"}
        assert set(ours.entries[0].fields) <= allowed
        assert len(other["a"].persons["author"]) == 2
        csl = to_csl([kind, harmless])
        jsonschema.validate(csl, CSL)
        ris = to_ris([kind, harmless])
        assert [each["id"] for each in rispy.loads(ris)] == ["a", "b"]
        assert not re.search(
            "[\x1b\x07\u202e]", written + ris + json.dumps(csl, ensure_ascii=False)
        )


# --- fuzz ----------------------------------------------------------------------------------------


PIECES = (
    *"{}\"'#,=@%\\$~()\n \t&;", "and", "@string{a=a#a}", "@misc{", "@comment{", "crossref={a}",
    "xdata={b}", "\\'", "\\frac", "$", "\x00", "\x1b", "\u202e", "é", "eprint={2503.1}", "doi={",
    "10.1/", "https://arxiv.org/abs/2401.00001", "author={", ", Jr", "and others", "\\begin{",
    "\ud7ff", "year=99999",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_no_mutated_bibliography_ends_in_a_traceback_a_hang_or_half_a_draft(tree, seed):
    """A thousand inputs a seed."""
    import random

    from mmalign.characters import UNWANTED
    from mmalign.check.run import check
    from mmalign.curate import draft, intake
    from mmalign.curate.reference import decode, read_bibtex
    from mmalign.errors import BadReference
    from mmalign.records import write

    chance = random.Random(seed)
    known = [{"id": "x", "title": "Learning two", "authors": ["Z"], "year": 2020}]
    seeds = [SAME_STEM, *(path.read_text("utf-8") for path in sorted(CASES.glob("*.bib")))]
    folder = tree.root / "papers"
    for _ in range(1000):
        text = chance.choice(seeds)
        for _ in range(chance.randint(1, 12)):
            place, size = chance.randrange(len(text) + 1), chance.choice((0, 0, 1, 5, 40))
            text = (
                text[:place]
                + chance.choice(PIECES) * chance.choice((1, 1, 1, 2, 50))
                + (text[place + size :])
            )
        content = bytearray(text.encode("utf-8"))
        if chance.random() < 0.1 and content:
            content[chance.randrange(len(content))] = chance.randrange(256)
        start = time.perf_counter()
        try:
            read = read_bibtex(decode(bytes(content), "x.bib"))
        except BadReference:
            continue
        for remark in (*read.problems, *read.notes):
            assert not UNWANTED.search(remark.render("x.bib"))
        made, _ = intake.drafts(intake.compare(read.references, known), ["x"], "2026-01-01")
        files = {f"{data['id']}.yaml": draft.to_yaml(data) for data in made}
        assert len(files) == len(made)
        before = papers(tree)
        written = write.create(folder, {f"zz-{name}": text for name, text in files.items()})
        assert papers(tree) - before == {path.name for path in written}
        if chance.random() < 0.02:
            check(tree.root, written)
        for path in written:
            path.unlink()
        assert time.perf_counter() - start < 5
