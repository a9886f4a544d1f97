"""The README shows true output: each console block is run on the real records and compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmalign.cli import COMMANDS, cli

CHECKOUT = Path(__file__).resolve().parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
PROMPT = "$ mmalign "


def blocks(language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def matches(shown: str, printed: str) -> bool:
    """Whether `printed` is what is shown; a line `...` stands for any number of lines."""
    parts = re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)
    pattern = "(?:.*\n)*".join(re.escape(part) for part in parts)
    return re.fullmatch(pattern, printed) is not None


@pytest.mark.parametrize("block", [pytest.param(b, id=b.split("\n")[0]) for b in blocks("console")])
def test_shown_output_is_true(block):
    command, shown = block.split("\n", 1)
    assert command.startswith(PROMPT)
    arguments = shlex.split(command.removeprefix(PROMPT))
    result = CliRunner().invoke(cli, ["--root", str(CHECKOUT), *arguments])
    assert result.exit_code == 0, result.stderr
    message = f"README.md is out of date. `{command[2:]}` prints:\n{result.stdout}"
    assert matches(shown, result.stdout), message


def test_a_gap_stands_for_any_lines():
    assert matches("a\n...\nz\n", "a\nb\nc\nz\n")
    assert matches("a\n...\n", "a\n")
    assert not matches("a\n...\nz\n", "a\nb\n")
    assert not matches("a\n", "a\nb\n")


def commands(start: str) -> list[list[str]]:
    """Arguments of the commands in shell blocks that begin with a word; `\\` joins lines."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith(start)]


def test_commands_and_options_exist():
    source = (CHECKOUT / "reference_impls/core/command_line.py").read_text(encoding="utf-8")
    shown = commands("mmalign ")
    assert len(shown) >= 2
    for name, *arguments in shown:
        assert name in COMMANDS
        for option in (each for each in arguments if each.startswith("--")):
            assert f'"{option}"' in source, f"mmalign {name} has no option {option}"


def test_make_targets_exist():
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = [target for target, *_ in commands("make ")]
    assert {"demo", "test", "serve"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no target {target}"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (CHECKOUT / target).exists(), target


def test_it_stays_short_and_counts_nothing():
    assert README.count("\n") <= 150
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.MULTILINE)
    kinds = "methods|papers|datasets|benchmarks|models|records|errata|scripts"
    assert not re.search(rf"\b\d+ (?:{kinds})\b", prose), "what is counted is not typed"
