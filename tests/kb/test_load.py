"""Where data is found, and what `load` and `check` give."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import pytest

import mmalign
from mmalign.check.run import check
from mmalign.errors import LoadError, RootNotFound, UnknownId
from mmalign.records.kb import KnowledgeBase
from mmalign.records.read import load
from mmalign.records.root import find_root

PACKAGES = Path(mmalign.__file__).resolve().parents[1]
"""Where Python finds the package, installed or not."""

TODAY = datetime.date(2026, 6, 1)


def test_the_root_is_found_upwards(tree, monkeypatch):
    below = tree.root / "papers"
    monkeypatch.chdir(below)
    assert find_root() == str(tree.root)
    assert find_root("..") == str(tree.root)


def test_a_root_needs_both_folders(tmp_path):
    (tmp_path / "papers").mkdir()
    with pytest.raises(RootNotFound, match="papers/ and taxonomy/"):
        find_root(tmp_path)


def test_installed_data_is_the_last_resort(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    package = tmp_path / "site-packages" / "mmalign"
    monkeypatch.setattr("mmalign.records.root.PACKAGE", str(package))
    monkeypatch.setattr("mmalign.records.root.INSTALLED", str(package / "_data"))
    with pytest.raises(RootNotFound, match="--root DIR"):
        find_root()
    package.mkdir(parents=True)
    tree.root.rename(package / "_data")
    assert find_root() == str(package / "_data")


def test_every_public_name_is_there(data_root):
    assert mmalign.load is load
    for name in mmalign.__all__:
        assert getattr(mmalign, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = mmalign.nothing_of_ours


def test_records_are_typed_and_frozen(kb):
    method = kb.methods["red-lantern"]
    assert method.objective.family == "anchored"
    assert method.results[0].value == 12.5
    assert method.results[1].value == 80.0
    assert kb.papers["red-lantern"].arxiv == "2101.00001"
    with pytest.raises(ValueError, match="frozen"):
        method.name = "other"


def test_a_broken_record_is_an_error_that_lists_all(tree):
    tree.edit("papers/lamp.yaml", "venue: GitHub\n", "")
    tree.edit("papers/blue-kite.yaml", "year: 2022", "year: late")
    with pytest.raises(LoadError) as caught:
        load(tree.root)
    assert [problem.code for problem in caught.value.problems] == ["S004", "S001"]
    assert "papers/blue-kite.yaml:4:1: S004" in str(caught.value)


def test_check_gives_no_knowledge_base_of_broken_shape(tree):
    kb, problems = check(tree.root, today=TODAY)
    assert kb is not None
    assert problems == []
    tree.edit("papers/blue-kite.yaml", "scenario: [medicine]", "scenario: [medicin]")
    kb, problems = check(tree.root, today=TODAY)
    assert kb is not None
    assert len(problems) == 1
    tree.edit("papers/lamp.yaml", "venue: GitHub\n", "")
    assert check(tree.root, today=TODAY)[0] is None


def test_paths_restrict_the_report_not_the_check(tree):
    tree.edit("papers/red-lantern.yaml", "id: red-lantern\n    name", "id: lantern\n    name")
    tree.edit("papers/lamp.yaml", "venue: GitHub\n", "")
    files = {problem.file for problem in tree.problems()}
    assert {"papers/blue-kite.yaml", "papers/red-lantern.yaml", "papers/lamp.yaml"} <= files
    one = tree.problems(tree.root / "papers" / "blue-kite.yaml")
    assert {problem.file for problem in one} == {"papers/blue-kite.yaml"}
    assert {problem.code for problem in one} == {"R003"}
    assert {p.file for p in tree.problems(tree.root / "papers")} == files - {"taxonomy/errata.yaml"}
    with pytest.raises(FileNotFoundError, match="nowhere"):
        tree.problems(tree.root / "nowhere.yaml")


def test_a_draft_elsewhere_is_checked_against_the_records(tree, tmp_path):
    draft = tmp_path / "draft.yaml"
    text = tree.read("papers/blue-kite.yaml").replace("blue-kite", "draft")
    draft.write_text(text.replace("abcDEF123\nsummary", "other\nsummary"))
    assert tree.problems(draft) == []
    draft.write_text(text.replace("parent: red-lantern", "parent: red"))
    found = {(problem.file, problem.code) for problem in tree.problems(draft)}
    assert (draft.as_posix(), "R003") in found


def test_files_that_are_not_read_are_reported(tree):
    tree.write("papers/other.yml", "id: other\n")
    (problem,) = tree.problems()
    assert (problem.code, problem.file) == ("R001", "papers/other.yml")


def test_a_file_that_cannot_be_opened(tree):
    (tree.root / "papers" / "gone.yaml").symlink_to(tree.root / "nothing")
    (tree.root / "papers" / "folder.yaml").mkdir()
    found = [(problem.file, problem.code) for problem in tree.problems()]
    assert found == [("papers/folder.yaml", "Y014"), ("papers/gone.yaml", "Y014")]


def test_importing_mmalign_imports_nothing_heavy():
    code = (
        "import sys, mmalign; assert mmalign.__version__; "
        "heavy = {'pydantic', 'networkx', 'yaml', 'torch', 'click', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGES)


def test_loading_and_checking_import_no_torch_and_no_networkx(data_root):
    code = (
        "import sys, mmalign; from mmalign.check.run import check; "
        f"mmalign.load({str(data_root)!r}); check({str(data_root)!r}); "
        "heavy = {'networkx', 'torch', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGES)


# --- the knowledge base --------------------------------------------------------------------------


def test_a_bare_id_means_the_method_first(kb):
    assert [node.ref for node in kb.find("red-lantern")] == [
        "method:red-lantern",
        "dataset:red-lantern",
        "paper:red-lantern",
    ]
    assert kb.find("dataset:red-lantern")[0].kind == "dataset"
    assert kb.find("Bench One")[0].ref == "benchmark:bench-one"
    assert kb.find("pp")[0].ref == "method:plain-pairs"
    assert kb.find("term:scenario/medicine")[0].ref == kb.find("term:medicine")[0].ref


def test_an_unknown_id_names_the_nearest(kb):
    with pytest.raises(UnknownId) as caught:
        kb.find("blue-kit")
    assert "blue-kite" in caught.value.nearest


def test_a_title_with_a_colon_is_found(kb):
    title = "Red Lantern: Fewer Invented Objects"
    assert [node.ref for node in kb.find(title)] == ["paper:red-lantern"]
    with pytest.raises(UnknownId) as caught:
        kb.find("Red Lantern: Fewer Invented Object")
    assert caught.value.nearest == (title.lower(),)


def test_a_node_is_listed_once_however_its_names_are_spelt(kb):
    method = kb.methods["plain-pairs"].model_copy(update={"aliases": ("Plain-Pairs", "PP", "pp")})
    paper = kb.papers["plain-pairs"].model_copy(update={"methods": (method,)})
    changed = KnowledgeBase(kb.papers | {"plain-pairs": paper}, kb.facets)
    assert [node.ref for node in changed.find("pp")] == ["method:plain-pairs"]
    refs = [node.ref for node in changed.find("plain-pairs")]
    assert refs == ["method:plain-pairs", "paper:plain-pairs"]


def test_a_term_includes_its_descendants(kb):
    assert kb.term_closure("scenario", "general-image") == {
        "general-image",
        "hallucination",
        "reasoning",
    }


def test_facets_and_evidence_of_an_entry(kb):
    (node, *_) = kb.find("method:red-lantern")
    assert kb.facet_values(node, "objective_family") == ("anchored",)
    assert kb.facet_values(node, "benchmark_dimension") == ()
    assert kb.facet_values(kb.find("paper:red-lantern")[0], "annotation") == (
        "human",
        "closed-source-model",
    )
    assert len(kb.evidence_for(node)) == 2
    assert [erratum.id for erratum in kb.errata_about(node)] == ["red-lantern-year"]
