"""The program as a whole: help, errors, the cache, what it imports, pipes and encodings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from mmalign import __version__
from mmalign.ask import catalogue
from mmalign.cli import COMMANDS, cli, reference
from mmalign.cli.query import FACETS
from mmalign.records import cache

HEAVY = ("pydantic", "networkx", "rich", "yaml", "torch", "bibtexparser")


def commands():
    context = click.Context(cli, **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", each) for sub, each in command.commands.items())


def test_every_command_and_option_has_help():
    found = dict(commands())
    assert len(found) >= 16
    for name, command in found.items():
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and name != "site serve":
                assert parameter.help, (name, parameter.name)


def test_the_reference_holds_every_command():
    text = reference()
    assert reference() == text
    for name, command in commands():
        assert f"# mmalign {name}\n" in text
        assert f"Usage: mmalign {name} " in text
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.opts[0] in text


def test_facet_options_are_the_facets_of_the_taxonomy(data_root):
    keys = [facet["key"] for facet in catalogue.open_catalogue(str(data_root)).facets.values()]
    assert sorted(FACETS) == sorted(keys)


def test_version_and_help(mm):
    assert mm("--version").stdout == f"mmalign, version {__version__}\n"
    assert mm("--help").exit_code == 0
    assert mm("-h").stdout == mm("--help").stdout


def test_help_names_each_command_with_its_own_first_sentence_and_imports_none(mm, program):
    text = " ".join(mm("--help").stdout.split())
    context = click.Context(cli)
    for name in COMMANDS:
        own = cli.get_command(context, name).get_short_help_str(60)
        assert f" {name} {own.removesuffix('...').rstrip()}" in text
        assert len(own) > 10
    code = (
        "import sys\nfrom mmalign.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(*(m for m in sys.modules if m.startswith('mmalign.cli.')), file=sys.stderr)"
    )
    assert program("--help", code=code).stderr.split() == []


def test_an_unknown_command_gets_the_nearest(mm):
    result = mm("qurey")
    assert result.exit_code == 2
    assert "no command is called 'qurey'; did you mean query?" in result.stderr


def test_a_root_without_data(mm, tmp_path):
    result = mm("list", "papers", root=tmp_path)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {tmp_path} does not hold both papers/ and taxonomy/\n"


def test_broken_records_are_one_line(mm, tree):
    tree.edit("papers/lamp.yaml", "year: 2020", "yaer: 2020")
    result = mm("list", "papers", root=tree.root)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the records cannot be read: papers/lamp.yaml:")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_unexpected_errors_are_one_line(mm, monkeypatch):
    def fail(*_):
        raise RuntimeError("a\nb")

    monkeypatch.setattr("mmalign.cli.output.open_catalogue", fail)
    result = mm("stats")
    assert result.exit_code == 70  # EX_SOFTWARE: never "problems found"
    assert result.stderr == "Error: RuntimeError: a b (set MMALIGN_DEBUG=1 to see where)\n"
    monkeypatch.setenv("MMALIGN_DEBUG", "1")
    assert isinstance(mm("stats").exception, RuntimeError)


# --- validate


def test_clean_records(mm, tree):
    result = mm("validate", root=tree.root)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no problems\n")


def test_problems_in_three_formats(mm, tree):
    tree.edit("papers/lamp.yaml", "year: 2020", "yaer: 2020")
    text = mm("validate", root=tree.root)
    assert text.exit_code == 1
    line = tree.line("papers/lamp.yaml", "yaer")
    assert f"papers/lamp.yaml:{line}:1: S002" in text.stdout
    assert text.stderr.endswith("problems\n")
    rows = json.loads(mm("validate", "--json", root=tree.root).stdout)
    assert {"S001", "S002"} <= {row["code"] for row in rows}
    assert mm("validate", "--format", "github", root=tree.root).stdout.startswith("::error file=")


def test_validate_one_file(mm, tree):
    tree.edit("papers/lamp.yaml", "year: 2020", "yaer: 2020")
    other = str(tree.root / "papers" / "blue-kite.yaml")
    assert mm("validate", other, root=tree.root).exit_code == 0
    assert mm("validate", str(tree.root / "papers"), root=tree.root).exit_code == 1
    assert mm("validate", str(tree.root / "none.yaml"), root=tree.root).exit_code == 2


def test_validate_lists_a_hundred_problems_of_a_file_and_counts_the_rest(mm, tree):
    wrong = ", ".join(f"red-lanter{number}" for number in range(400))
    tree.edit("papers/blue-kite.yaml", "trains_on: [red-lantern]", f"trains_on: [{wrong}]")
    result = mm("validate", root=tree.root)
    lines = result.stdout.splitlines()
    assert len(lines) == 101
    assert lines[-1].endswith("Y016 and 300 more; correct these first")
    assert result.stderr == "400 problems\n"
    assert json.loads(mm("validate", "--json", root=tree.root).stdout)[-1]["count"] == 300


def test_validate_says_what_it_could_not_check(mm, tree, monkeypatch):
    from mmalign.check import latex

    monkeypatch.setattr(latex, "convertible", lambda: False)
    result = mm("validate", root=tree.root)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "note: equations: only their structure was checked" in result.stderr


@pytest.mark.parametrize("name", ["README.md", "docs", "tests/x.yaml"])
def test_validate_has_no_good_word_for_what_it_did_not_read(mm, tree, name):
    tree.write("README.md", "x")
    tree.write("docs/x.md", "x")
    tree.write("tests/x.yaml", "id: [")
    result = mm("validate", str(tree.root / name), root=tree.root)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{name}:1:1: Y017 ")
    assert result.stderr == "1 problem\n"


def test_validate_wants_a_name(mm, tree):
    result = mm("validate", "", root=tree.root)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "not an empty name" in result.stderr


def test_validate_says_that_other_records_are_meant_than_those_here(program, tmp_path):
    (tmp_path / "taxonomy").mkdir()  # half a root is none
    result = program("validate", cwd=tmp_path)
    assert "note: there are no records in or above this folder; those of " in result.stderr


def test_a_name_of_a_file_that_is_not_an_id_is_not_advised_as_one(mm, tree):
    tree.write("papers/a\nb.yaml", tree.read("papers/lamp.yaml"))
    (tree.root / "papers/lamp.yaml").unlink()
    result = mm("validate", root=tree.root)
    assert "papers/a\\nb.yaml:1:1: R001 " in result.stdout
    assert "`id: a" not in result.stdout


def test_a_path_is_shown_though_the_taxonomy_lacks_its_relation(mm, tree):
    (tree.root / "taxonomy/relations.yaml").unlink()
    result = mm("path", "method:red-lantern", "paper:red-lantern", root=tree.root)
    assert result.exit_code == 0
    assert "  introduces (backward): " in result.stdout


# --- the cache


def test_the_cache_follows_the_records(data, tree, cache_home, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED", 0)
    assert [row["id"] for row in data("query", "--year", "2020", root=tree.root)] == ["plain-pairs"]
    assert {path.suffix for path in (cache_home / "mmalign").iterdir()} == {".jsonl"}
    tree.edit("papers/plain-pairs.yaml", "year: 2020", "year: 1999")
    assert data("query", "--year", "2020", root=tree.root) == []
    (tree.root / "papers" / "blue-kite.yaml").unlink()
    assert len(data("list", "papers", root=tree.root)) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b"",
        lambda text: text[:-200],
        lambda text: text.replace(b'"kind":"method"', b'"kind":"metho'),
        lambda text: b"\xff\xfe" * 100,
    ],
)
def test_a_damaged_cache_is_no_error(data, data_root, spoil):
    before = data("list", "methods")
    path = Path(cache.path_of(str(data_root)))
    path.write_bytes(spoil(path.read_bytes()))
    assert data("list", "methods") == before
    assert data("show", "red-lantern")["id"] == "red-lantern"


def test_a_cache_that_cannot_be_written_is_no_error(data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(data("list", "methods")) == 3


def test_the_package_runs_as_a_module(data_root):
    command = [sys.executable, "-m", "mmalign", "--root", str(data_root), "list", "papers"]
    done = subprocess.run([*command, "--format", "ids"], capture_output=True, text=True)
    assert done.returncode == 0 and "red-lantern" in done.stdout.split()


# --- as a program


def imported(program, *args: str) -> set[str]:
    """Which of `HEAVY` a command imports."""
    code = (
        "import sys\nfrom mmalign.cli import main\ntry:\n    main()\nfinally:\n"
        f"    print(*(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    )
    done = program(*args, code=code)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_a_warm_query_imports_nothing_heavy(program, data_root):
    root = ("--root", str(data_root))
    program(*root, "list", "methods")
    for args in (
        ("query", "--scenario", "hallucination", "--json"),
        ("query", "objects"),
        ("list", "papers"),
        ("list", "papers", "--format", "md"),
        ("show", "method:red-lantern"),
        ("stats",),
        ("tree",),
    ):
        assert imported(program, *root, *args) == set(), args


def test_no_command_of_the_records_imports_torch(program, data_root):
    root = ("--root", str(data_root))
    for args in (
        ("validate", str(data_root / "papers" / "lamp.yaml")),
        ("graph", "--format", "csv"),
        ("bib", "export"),
        ("compare", "plain-pairs", "blue-kite"),
        ("--help",),
        ("run", "--help"),
    ):
        assert "torch" not in imported(program, *root, *args), args


def test_a_warm_query_is_quick(program, data_root):
    """Within a generous bound; the target (2x, in a quiet process) is checked by hand."""
    args = ("--root", str(data_root), "query", "--scenario", "hallucination")

    def quickest(*args: str, **options) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            program(*args, **options)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    floor = quickest(code="import click, json")
    assert quickest(*args) < 3 * floor


def test_a_closed_pipe_is_quiet(program, data_root, checkout):
    done = program(
        code="import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'from mmalign.cli import main; main()', "
        f"'--root', {str(data_root)!r}, 'graph'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "p.stdout.close()\nprint(p.stderr.read().decode(), p.wait())",
    )
    assert done.stdout == " 0\n"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_control_c_is_quiet(program, checkout):
    code = (
        "import os, signal\nimport mmalign.cli.output as o\n"
        # A background job begins with the signal ignored; Control-C comes from the foreground.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"o.open_catalogue = lambda root: os.kill(os.getpid(), {int(signal.SIGINT)})\n"
        "from mmalign.cli import main\nmain()"
    )
    done = program("stats", code=code)
    assert done.returncode == 130
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_poor_encodings(program, tree, encoding):
    tree.edit("papers/lamp.yaml", "title: Lamp", "title: Lamp 灯 ≤ 5")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    for args in (("show", "paper:lamp"), ("tree",), ("list", "papers"), ("bib", "export")):
        done = program("--root", str(tree.root), *args, env=env, encoding=encoding)
        assert done.returncode == 0, done.stderr
    done = program("--root", str(tree.root), "show", "paper:lamp", "--json", env=env)
    assert json.loads(done.stdout)["title"] == "Lamp 灯 ≤ 5"


def test_lang_c(program, tree):
    tree.edit("papers/lamp.yaml", "title: Lamp", "title: Lamp 灯")
    env = {"LANG": "C", "LC_ALL": "C"}
    done = program("--root", str(tree.root), "list", "papers", env=env)
    assert (done.returncode, done.stderr) == (0, "")


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(mm, shell):
    result = mm("completion", shell)
    assert result.exit_code == 0
    assert "_MMALIGN_COMPLETE" in result.stdout


def complete(program, root: Path, *words: str) -> list[str]:
    line = " ".join(("mmalign", "--root", str(root), *words))
    code = "from mmalign.cli import cli; cli(prog_name='mmalign')"
    env = {
        "_MMALIGN_COMPLETE": "zsh_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) + 2),
    }
    lines = program(code=code, env=env).stdout.splitlines()
    return lines[1::3]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("sho",), ["show"]),
        (("show", "red"), ["red-lantern"]),
        (("list", "me"), ["methods"]),
        (("query", "--scenario", "med"), ["medicine"]),
        (("query", "--scenario", "'!med'"), ["!medicine"]),
        (("query", "--benchmark", "be"), ["bench-one"]),
        (("tree", "scen"), ["scenario"]),
    ],
)
def test_completion_of_ids_and_terms(program, data_root, words, found):
    assert complete(program, data_root, *words) == found


def test_completion_is_silent_when_the_records_are_broken(program, tree):
    tree.write("papers/lamp.yaml", "a: [")
    assert complete(program, tree.root, "show", "red") == []


def test_stdout_is_where_data_goes(program, data_root):
    done = program("--root", str(data_root), "show", "red-lantern", "--json")
    assert json.loads(done.stdout)["kind"] == "method"
    assert done.stderr.startswith("note: ")
