"""The command line on the fabricated records, in this process and as a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mmalign.cli import cli

ENTRY = "from mmalign.cli import main; main()"


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MMALIGN_DEBUG", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def mm(data_root: Path) -> Callable[..., Result]:
    """Call the command line in this process: `mm("list", "papers")`."""

    def call(*args: str, root: Path = data_root, **options) -> Result:
        return CliRunner().invoke(cli, ["--root", str(root), *args], **options)

    return call


@pytest.fixture
def data(mm) -> Callable:
    """What a command prints with `--json`; the command has to succeed."""

    def call(*args: str, **options):
        result = mm(*args, "--json", **options)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return call


@pytest.fixture
def program(checkout: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run Python code (by default the console script's) in a process of its own."""

    def call(*args: str, code: str = ENTRY, env: dict | None = None, **options):
        path = os.pathsep.join((str(checkout / "tools"), str(checkout)))
        environment = {**os.environ, "PYTHONPATH": path, **(env or {})}
        options = {"capture_output": True, "encoding": "utf-8", "timeout": 120} | options
        return subprocess.run([sys.executable, "-c", code, *args], env=environment, **options)

    return call
