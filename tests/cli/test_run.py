"""`run` and `site` hand over; the lab and the site have tests of their own."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from mmalign.cli import run as module
from mmalign.cli import site as site_module


@pytest.fixture
def lab(monkeypatch):
    """A lab that notes how it is called, with the scripts `red_lantern` and `other_one`."""
    calls = []
    fake = types.ModuleType("reference_impls.core.command_line")
    fake.run = lambda method, args: calls.append((method, args))
    monkeypatch.setitem(sys.modules, "reference_impls.core", types.ModuleType("core"))
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    scripts = {"red-lantern": "red_lantern", "other-one": "other_one"}
    monkeypatch.setattr(module, "scripts", lambda: scripts)
    fake.calls = calls
    return fake


def test_everything_after_the_method_goes_to_the_lab(mm, lab):
    assert mm("run", "red-lantern", "--help", "-n", "3", "--json", "--", "x").exit_code == 0
    assert lab.calls == [("red-lantern", ["--help", "-n", "3", "--json", "--", "x"])]


@pytest.mark.parametrize("name", ["red_lantern", "RedLantern", "Red Lantern", "method:red-lantern"])
def test_other_spellings(mm, lab, name):
    assert mm("run", name).exit_code == 0
    assert lab.calls == [("red-lantern", [])]


def test_the_status_is_that_of_the_lab(mm, lab):
    lab.run = lambda method, args: 1
    assert mm("run", "red-lantern").exit_code == 1


def test_an_unknown_method_gets_the_nearest(mm, lab):
    result = mm("run", "red-lanten")
    assert result.exit_code == 2
    assert "no method is called 'red-lanten'; did you mean red-lantern?" in result.stderr


def test_a_method_without_a_script(mm, lab):
    result = mm("run", "blue-kite")
    assert result.exit_code == 2
    assert "'blue-kite' is catalogued, but has no script to run yet" in result.stderr


def test_methods_run_without_records(mm, lab, tmp_path):
    assert mm("run", "other-one", root=tmp_path).exit_code == 0


def test_a_missing_extra_is_named(mm, lab):
    def run(method, args):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    lab.run = run
    result = mm("run", "red-lantern")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: 'torch' is not installed; running a method needs the extra `train`: "
        "pip install 'mmalign[train]'\n"
    )


def test_scripts_are_found_by_their_files():
    for method_id, stem in module.scripts().items():
        assert method_id == stem.replace("_", "-")
        assert not stem.startswith("_")


def test_site_needs_a_checkout(mm):
    result = mm("site", "build")
    assert result.exit_code == 1
    assert "holds no mkdocs.yml" in result.stderr


def test_site_runs_mkdocs_strictly(mm, tree, monkeypatch):
    (tree.root / "mkdocs.yml").write_text("site_name: x\n")
    calls = []
    monkeypatch.setattr(
        site_module.subprocess, "call", lambda args, **options: calls.append((args, options)) or 0
    )
    assert mm("site", "build", root=tree.root).exit_code == 0
    assert mm("site", "serve", "--port", "8123", root=tree.root).exit_code == 0
    assert [args[2:] for args, _ in calls] == [
        ["mkdocs", "build", "--strict"],
        ["mkdocs", "serve", "--dev-addr", "127.0.0.1:8123"],
    ]
    assert all(Path(options["cwd"]) == tree.root.resolve() for _, options in calls)


def test_site_pages_in_a_folder(mm, tree, monkeypatch, tmp_path):
    tree.write("docs/about/decisions.md", "# Decisions\n")
    fake = types.ModuleType("mmalign.site.build")
    papers = ("blue-kite", "lamp", "plain-pairs", "red-lantern")
    fake.site = lambda root, site_url, commands: (
        {f"papers/{name}.md": f"# {name} é\n" for name in papers},
        {"api/index.json": "{}\n"},
    )
    monkeypatch.setitem(sys.modules, "mmalign.site.build", fake)
    out = tmp_path / "out"
    result = mm("site", "build", "--out", str(out), root=tree.root)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"4 pages and 1 other files written to {out}\n"
    assert (out / "papers" / "lamp.md").read_bytes() == "# lamp é\n".encode()
    assert (out / "about" / "decisions.md").exists()


def test_site_without_its_extra(mm, tree, monkeypatch):
    (tree.root / "mkdocs.yml").write_text("site_name: x\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = mm("site", "build", root=tree.root)
    assert result.exit_code == 1
    assert "pip install 'mmalign[site]'" in result.stderr
