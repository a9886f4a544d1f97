"""`run` and `site` hand over; the lab and the site have tests of their own."""

from __future__ import annotations

import shutil
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


@pytest.mark.parametrize("missing", ["mkdocs", "material", "latex2mathml"])
@pytest.mark.parametrize("args", [(), ("--out", "pages")])
def test_site_names_the_package_that_is_missing(mm, tree, monkeypatch, tmp_path, missing, args):
    tree.write("mkdocs.yml", "site_name: x\n")
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.chdir(tmp_path)
    result = mm("site", "build", *args, root=tree.root)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {missing} is not installed; building the site needs the extra `site`: "
        "pip install 'mmalign[site]'\n"
    )
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize("args", [(), ("--out", "pages")])
def test_site_of_broken_records_prints_their_problems(mm, tree, monkeypatch, tmp_path, args):
    tree.write("mkdocs.yml", "site_name: x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site_module.subprocess, "call", lambda *_, **__: pytest.fail("mkdocs"))
    tree.edit("papers/lamp.yaml", "year: 2020", "yaer: 2020")
    line = tree.line("papers/lamp.yaml", "yaer")
    result = mm("site", "build", *args, root=tree.root)
    assert result.exit_code == 1
    assert f"papers/lamp.yaml:{line}:1: S002" in result.stderr
    assert "Traceback" not in result.stderr and not list(tmp_path.glob("pages"))


def test_a_broken_rule_of_which_no_page_can_be_made_is_said(tree, monkeypatch):
    from mmalign.errors import LoadError
    from mmalign.site import build

    def fail(*_):
        raise KeyError("x")

    monkeypatch.setattr(build, "render", fail)
    with pytest.raises(KeyError):  # the records are clean: it is a fault of ours
        build.site(tree.root)
    tree.edit("papers/lamp.yaml", "id: lamp\n", "id: lamb\n")
    with pytest.raises(LoadError, match=r"papers/lamp\.yaml:\d+:\d+: R001"):
        build.site(tree.root)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("reference_impls/results/a.json", b"{", "is not JSON"),
        ("reference_impls/results/a.json", b"[]", "does not hold a JSON object"),
        ("reference_impls/results/a.json", b'{"method": "x"}', "has no 'seeds'"),
        ("reference_impls/results/a.json", b"\xff", "is not UTF-8"),
        ("reference_impls/methods/a.py", b"\xff", "is not UTF-8"),
        ("docs/a.md", b"\xff", "is not UTF-8"),
        ("docs/redirects.yml", b"a: [", "redirects.yml: "),
        ("docs/redirects.yml", b"x", "redirects.yml: "),
        ("docs/redirects.yml", b"- x", "redirects.yml: "),
        ("docs/redirects.yml", b"a/: nowhere/", "leads to 'nowhere/', where no page is"),
    ],
)
def test_another_file_that_the_site_cannot_use_is_named(mm, tree, tmp_path, file, content, said):
    tree.write(file, content)
    result = mm("site", "build", "--out", str(tmp_path / "pages"), root=tree.root)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert Path(file).name in result.stderr and said in result.stderr
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize("command", ["results", "claims"])
def test_a_result_that_is_none_is_named(mm, tree, command):
    tree.write("reference_impls/results/a.json", '{"method": "x"}')
    result = mm(command, root=tree.root)
    assert result.exit_code == 1
    assert "a.json has no 'seeds'" in result.stderr and result.stderr.count("\n") == 1


def test_results_are_written_into_a_checkout_and_never_into_the_package(tree, monkeypatch):
    from mmalign.cli import bench
    from mmalign.records import lab as installed
    from mmalign.records import root

    (tree.root / "reference_impls").mkdir()
    own = tree.root / "reference_impls/results"
    assert bench.results_folder(str(tree.root)) == own
    # Installed, with the lab beside the package.
    monkeypatch.setattr(root, "INSTALLED", str(tree.root / "mmalign/_data"))
    monkeypatch.setattr(root, "PACKAGE", str(tree.root / "mmalign"))
    assert installed.folder(root.INSTALLED) == tree.root / "reference_impls"
    assert bench.results_folder(root.INSTALLED) == Path("runs/bench")
    (tree.root / "reference_impls").rmdir()
    assert bench.results_folder(str(tree.root)) == Path("runs/bench")


def test_pages_are_written_again_over_an_earlier_build_only(mm, tree, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        assert mm("site", "build", "--out", str(out), root=tree.root).exit_code == 0
    other = tmp_path / "other"
    other.mkdir()
    assert mm("site", "build", "--out", str(other), root=tree.root).exit_code == 0  # an empty one
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "index.md").write_text("mine")
    result = mm("site", "build", "--out", str(tmp_path / "home"), root=tree.root)
    assert result.exit_code == 1
    assert "is not empty and holds no earlier build" in result.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["index.md"]


@pytest.mark.parametrize("out", ["", ".", "docs", "docs/new", "papers", "taxonomy/x", ".."])
def test_pages_never_land_in_what_they_are_made_of(mm, tree, monkeypatch, out):
    tree.write("docs/about/decisions.md", "# Decisions\n")
    monkeypatch.chdir(tree.root)
    before = sorted(tree.root.rglob("*"))
    result = mm("site", "build", "--out", out, root=tree.root)
    assert result.exit_code == (1 if out else 2) and result.stderr.count("\n") == 1
    assert sorted(tree.root.rglob("*")) == before


def test_a_link_in_an_earlier_build_is_not_followed(mm, tree, tmp_path):
    out, foreign = tmp_path / "out", tmp_path / "foreign"
    assert mm("site", "build", "--out", str(out), root=tree.root).exit_code == 0
    foreign.write_text("mine")
    (out / "errata.md").unlink()
    (out / "errata.md").symlink_to(foreign)
    assert mm("site", "build", "--out", str(out), root=tree.root).exit_code == 0
    assert foreign.read_text() == "mine" and not (out / "errata.md").is_symlink()
    shutil.rmtree(out / "papers")
    (tmp_path / "elsewhere").mkdir()
    (out / "papers").symlink_to(tmp_path / "elsewhere")
    result = mm("site", "build", "--out", str(out), root=tree.root)
    assert result.exit_code == 1 and "is a link that leads out of" in result.stderr
    assert not list((tmp_path / "elsewhere").iterdir())


def test_mkdocs_never_empties_a_folder_that_is_no_site(mm, tree, monkeypatch):
    tree.write("mkdocs.yml", "site_name: x\n")
    tree.write("site/mine.txt", "mine")
    monkeypatch.setattr(site_module.subprocess, "call", lambda *_, **__: 0)
    result = mm("site", "build", root=tree.root)
    assert result.exit_code == 1 and "holds something that is not a site" in result.stderr
    tree.write("site/404.html", "")
    assert mm("site", "build", root=tree.root).exit_code == 0


def test_the_options_of_a_script_are_shown_without_torch(program):
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {module.TRAINING!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from mmalign.cli import main\nmain()"
    )
    done = program("run", "mdpo", "--help", code=code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: mmalign run mdpo") and "--steps" in done.stdout
    done = program("run", "mdpo", "--no-such-option", code=code)
    assert done.returncode == 2 and "No such option" in done.stderr
    done = program("run", "mdpo", code=code)
    assert done.returncode == 1 and "pip install 'mmalign[train]'" in done.stderr
