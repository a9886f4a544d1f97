"""How `mmalign` is built: layers that import downwards only, and no circle among its modules."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mmalign

PACKAGE = Path(mmalign.__file__).parent

LAYERS = (
    ("vocabulary", "characters", "errors", "people"),
    ("names",),
    ("records",),
    ("ask",),
    ("check", "curate"),
    ("export",),
    ("site",),
    ("cli",),
)
"""From the bottom up; what stands in one layer does not import each other, packages aside.
`mmalign/__init__.py` and `__main__.py` are the doors, from which everything may be reached."""
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
HOOK = "mmalign.site.hook"
"""No module of the package but the program that mkdocs runs: it hands the site what the command
line says of itself, and nothing imports it."""


@cache
def modules() -> dict[str, ast.Module]:
    """Name of every module -> its tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("mmalign", *path.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports(name: str) -> set[str]:
    """The modules of mmalign that a module imports anywhere, in functions and for types too."""
    known, found = modules(), set()
    for node in ast.walk(known[name]):
        if isinstance(node, ast.Import):
            asked = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            base = node.module or ""
            # `from mmalign.records import source` means a module, or a name of the package.
            asked = [f"{base}.{alias.name}" for alias in node.names]
            asked = [each if each in known else base for each in asked]
        else:
            continue
        found.update(each for each in asked if each.partition(".")[0] == "mmalign")
    return found - {name}


def layer(name: str) -> str:
    return name.split(".")[1]


INNER = [name for name in modules() if name not in ("mmalign", "mmalign.__main__", HOOK)]


def test_every_module_has_a_layer():
    assert {layer(name) for name in INNER} == set(HEIGHT)
    assert len(INNER) > 50


@pytest.mark.parametrize("name", INNER)
def test_a_module_imports_from_its_own_layer_and_below(name):
    for other in imports(name) - {"mmalign"}:
        assert layer(other) == layer(name) or HEIGHT[layer(other)] < HEIGHT[layer(name)], (
            f"{name} imports {other}, which stands above or beside it"
        )


def test_there_is_no_circle():
    # Of the package itself only the version is asked for.
    graph = {name: imports(name) - {"mmalign"} for name in INNER}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_of_the_package_itself_only_the_version_is_asked_for():
    for name in INNER:
        for node in ast.walk(modules()[name]):
            if isinstance(node, ast.ImportFrom) and node.module == "mmalign":
                for alias in node.names:
                    inside = f"mmalign.{alias.name}" in modules()
                    assert inside or alias.name == "__version__", f"{name} imports {alias.name}"


def test_nothing_imports_the_program_of_mkdocs():
    assert not [name for name in modules() if HOOK in imports(name)]


def test_the_lab_is_reached_through_its_commands_alone():
    """The two packages do not import each other but for the commands that hand over to the lab."""
    doors = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").partition(".")[0] == "reference_impls"
    }
    assert doors == {
        f"mmalign.cli.{name}" for name in ("run", "worlds", "bench", "doctor", "evaluate", "data")
    }
