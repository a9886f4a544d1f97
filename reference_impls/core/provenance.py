"""What a number depends on: versions, and code without its comments."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from reference_impls.core.train.checkpoints import digest

CORE = Path(__file__).resolve().parent
TRAINING = ("scores.py", "data", "objective", "model", "train", "worlds")
"""What a training depends on besides its script, its rows and where it starts."""
CODE = ("core", "bench", "methods")
"""Folders of the lab whose files numbers depend on."""
LIBRARIES = ("torch", "transformers", "trl", "accelerate", "peft", "tokenizers")


def versions() -> dict[str, str]:
    """Versions of Python, mmalign and the libraries that a result depends on."""
    from mmalign import __version__

    found = {"python": sys.version.split()[0], "mmalign": __version__}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str:
    """The commit of the checkout that this code is from, with `+` where files differ from it;
    nothing outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""

    def said(*arguments: str) -> str:
        done = subprocess.run([git, *arguments], cwd=CORE.parent, capture_output=True, text=True)
        return done.stdout.strip() if not done.returncode else ""

    name = said("rev-parse", "HEAD")
    return name + ("+" if name and said("status", "--porcelain", *CODE) else "")


def code_digest(paths: Iterable[Path]) -> str:
    """A name for what modules do: equal after a change of comments, docstrings or layout only."""
    return digest(*(_meaning(file, file.stat().st_mtime_ns) for file in _modules(paths)))


def training_digest(script: Path) -> str:
    """The same of a script and of all code that trains it."""
    return code_digest([script, *(CORE / name for name in TRAINING)])


def _modules(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


@functools.lru_cache(maxsize=512)
def _meaning(file: Path, changed: int) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return f"{file.name}:{ast.dump(tree)}"
