"""Every command and every piece of Python on a hand-written page is run, on the real records."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmalign.cli import COMMANDS, cli

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str):
    for file in sorted(DOCS.rglob("*.md")):
        for name, body in FENCE.findall(file.read_text(encoding="utf-8")):
            if name == language:
                yield file.relative_to(DOCS).as_posix(), body


def commands():
    """(page, arguments) of each command that a console block shows after its prompt."""
    for page, body in blocks("console"):
        for line in body.splitlines():
            if line.startswith("$ "):
                program, *arguments = shlex.split(line[2:])
                yield pytest.param(program, arguments, id=f"{page}: {line[2:]}")


@pytest.fixture
def mm(checkout, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(checkout)
    return lambda *args: CliRunner().invoke(cli, ["--root", str(checkout), *args])


def test_there_are_commands():
    assert len(list(commands())) >= 20


@pytest.mark.parametrize(("program", "arguments"), list(commands()))
def test_a_command_runs(mm, program, arguments):
    assert program == "mmalign"
    if arguments[0] == "run":
        # Training is run by the tests of the lab; here, that the record names a script.
        method, *options = arguments[1:]
        assert not options
        shown = mm("show", f"method:{method}", "--json")
        assert '"reference_impl": null' not in shown.stdout
        return
    result = mm(*arguments)
    assert result.exit_code == 0, result.stderr
    assert result.output.strip(), "nothing is found: take another example"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, id=f"{page}: {line}")
        for page, body in blocks("bash")
        for line in body.replace("\\\n", " ").splitlines()
        if line.startswith("mmalign ")
    ],
)
def test_a_command_that_is_not_run_exists(mm, line):
    _, name, *rest = shlex.split(line)
    assert name in COMMANDS
    if name != "run":
        assert mm(name, *rest, "--help").exit_code == 0
        return
    from reference_impls.core.command_line import command
    from reference_impls.core.method import script_names

    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    assert rest[0].replace("-", "_") in script_names()
    assert {word for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize("body", [pytest.param(body, id=page) for page, body in blocks("python")])
def test_python_on_a_page_runs(body, checkout, monkeypatch, capsys):
    monkeypatch.chdir(checkout)
    exec(compile(body, "docs", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_no_number_of_entries_is_typed():
    kinds = "methods|papers|datasets|benchmarks|models|records|errata"
    for file in DOCS.rglob("*.md"):
        found = re.search(rf"\b\d+ (?:{kinds})\b", file.read_text(encoding="utf-8"))
        assert not found, f"{file.name}: '{found[0]}' is counted by the generator, not typed"
