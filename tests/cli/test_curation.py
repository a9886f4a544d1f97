"""similar, gaps, path, stats --age, new, bib import, diff: through the command line."""

from __future__ import annotations

import json

import pytest

ENTRY = "@misc{kite2, title={Green Kite: More}, author={Eva Probe}, eprint={2510.00001}, year=2025}"


def test_similar(mm, data):
    rows = data("similar", "blue-kite")
    assert [row["id"] for row in rows] == ["red-lantern", "plain-pairs"]
    assert rows[0]["kind"] == "method" and 0 < rows[0]["score"] <= 1
    assert "Blue Kite extends the objective of Red Lantern" in rows[0]["reasons"]
    table = mm("similar", "blue-kite").stdout
    assert table.splitlines()[0].split() == ["ID", "SCORE", "WHY"]
    assert mm("similar", "blue-kite", "--format", "ids").stdout == "red-lantern\nplain-pairs\n"
    papers = data("similar", "method:red-lantern", "--kind", "papers")
    assert papers[0]["ref"] == "paper:red-lantern"
    assert "from the same paper: red-lantern" in papers[0]["reasons"]
    refused = mm("similar", "term:scenario/medicine")
    assert refused.exit_code == 2 and "is a term" in refused.stderr


def test_gaps(mm, data):
    cells = data("gaps")
    assert {"kind": "cell", "row": "medicine", "column": "human"}.items() <= cells[0].items()
    assert all(cell["count"] == 0 for cell in cells)
    every = data("gaps", "scenario", "annotation", "--all")
    assert len(every) > len(cells)
    matrix = mm("gaps", "--matrix").stdout.splitlines()
    assert matrix[0].split()[0] == "SCENARIO" and "HUMAN" in matrix[0]
    assert data("gaps", "--limit", "1") == cells[:1]
    assert mm("gaps", "scenario", "benchmark", "--format", "csv").stdout.startswith(
        "scenario,bench"
    )
    for wrong in (("colour", "annotation"), ("scenario", "scenario")):
        assert mm("gaps", *wrong).exit_code == 2


def test_path(mm, data):
    assert mm("path", "blue-kite", "plain-pairs", "--relation", "extends").stdout.splitlines() == [
        "Blue Kite  (method:blue-kite)",
        "  extends the objective of: Red Lantern  (method:red-lantern)",
        "  extends the objective of: PlainPairs  (method:plain-pairs)",
    ]
    (found,) = data("path", "plain-pairs", "red-lantern", "--relation", "extends")
    assert found["steps"] == [
        {
            "source": "method:red-lantern", "relation": "extends", "target": "method:plain-pairs",
            "direction": "backward",
        }
    ]  # fmt: skip
    assert len(data("path", "blue-kite", "plain-pairs", "--number", "3")) == 3
    none = mm("path", "lamp-train", "blue-kite", "--relation", "extends")
    assert none.exit_code == 1 and "no path leads from" in none.stderr
    assert mm("path", "lamp-train", "lamp-train").exit_code == 2


def test_age(mm, data):
    rows = data("stats", "--age")
    assert [row["checked"] for row in rows] == sorted(row["checked"] for row in rows)
    assert len(rows) == 4 and rows[0]["paper"] == "plain-pairs"
    assert data("stats", "--age", "--older-than", "0") == rows
    assert data("stats", "--age", "--older-than", "99999") == []
    assert mm("stats", "--older-than", "3").exit_code == 2


def test_new_from_bibtex(mm, tree):
    result = mm("new", "--bibtex", "-", "--kind", "framework", root=tree.root, input=ENTRY)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tree.root}/papers/green-kite.yaml\n"
    assert "papers/green-kite.yaml:" in result.stderr and "R021" in result.stderr
    again = mm("new", "--bibtex", "-", root=tree.root, input=ENTRY)
    assert again.exit_code == 1 and "papers/green-kite.yaml has this paper already" in again.stderr
    other = ENTRY.replace("2510.00001", "2510.00002").replace("More", "Less")
    taken = mm("new", "--bibtex", "-", root=tree.root, input=other)
    assert taken.exit_code == 1 and "give another --id" in taken.stderr
    printed = mm("new", "--bibtex", "-", "--id", "gk", "--stdout", root=tree.root, input=other)
    assert "\nid: gk\n" in printed.stdout
    assert not (tree.root / "papers/gk.yaml").exists()


def test_new_refuses_what_it_cannot_use(mm, tree):
    assert mm("new", root=tree.root).exit_code == 2
    two = mm("new", "--bibtex", "-", root=tree.root, input=ENTRY + ENTRY.replace("kite2", "b"))
    assert two.exit_code == 2 and "holds 2 entries" in two.stderr
    homeless = "@misc{a, title={Something}, author={A B}, year=2020}"
    result = mm("new", "--bibtex", "-", root=tree.root, input=homeless)
    assert result.exit_code == 1 and "--source" in result.stderr
    upper = mm("new", "--bibtex", "-", "--id", "Big", root=tree.root, input=ENTRY)
    assert upper.exit_code == 2 and "write big" in upper.stderr
    assert {path.name for path in (tree.root / "papers").iterdir()} == {
        "blue-kite.yaml", "lamp.yaml", "plain-pairs.yaml", "red-lantern.yaml",
    }  # fmt: skip


def test_new_says_when_arxiv_is_out_of_reach(mm, tree, monkeypatch):
    monkeypatch.setenv("MMALIGN_ARXIV_API", "http://127.0.0.1:9/query")
    result = mm("new", "--arxiv", "2503.14504", root=tree.root)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: arXiv cannot be reached (")
    assert "--bibtex FILE" in result.stderr and "Traceback" not in result.stderr


def test_bib_import(mm, tree, tmp_path):
    exported = mm("bib", "export", root=tree.root).stdout
    file = tmp_path / "refs.bib"
    file.write_text(exported.replace("2021}", "1999}") + "\n" + ENTRY, encoding="utf-8")
    result = mm("bib", "import", str(file), "--json", root=tree.root)
    rows = {row["key"]: row for row in json.loads(result.stdout)}
    assert {key: row["status"] for key, row in rows.items()} == {
        "blue-kite": "known", "lamp": "known", "plain-pairs": "known", "red-lantern": "known",
        "kite2": "new",
    }  # fmt: skip
    assert rows["red-lantern"]["differs"] == ["year: 1999 / 2021"]
    assert not (tree.root / "papers/green-kite.yaml").exists()
    written = mm("bib", "import", str(file), "--write", root=tree.root)
    assert written.exit_code == 0
    assert (tree.root / "papers/green-kite.yaml").is_file()
    file.write_text("@article{a, title={x}\n@article{b}", encoding="utf-8")
    broken = mm("bib", "import", str(file), root=tree.root)
    assert broken.exit_code == 1 and f"{file}:1: " in broken.stderr


@pytest.mark.parametrize("format_", ["text", "md"])
def test_diff(mm, tree, data_root, format_):
    tree.edit("papers/lamp.yaml", "venue: GitHub", "venue: arXiv")
    result = mm("diff", str(data_root), "--format", format_, root=tree.root)
    assert result.exit_code == 0
    assert result.stdout.startswith("papers: 1 changed\n")
    assert "paper lamp: venue: GitHub -> arXiv" in result.stdout.replace("\\", "")
    (change,) = json.loads(mm("diff", str(data_root), "--json", root=tree.root).stdout)
    assert change["ref"] == "paper:lamp" and change["new"] == "arXiv"
    assert mm("diff", str(data_root), "--summary", root=tree.root).stdout == "papers: 1 changed\n"
    wrong = mm("diff", "no-such-revision", root=tree.root)
    assert wrong.exit_code == 1 and "no folder, wheel or git revision" in wrong.stderr


def test_a_path_follows_the_lineage_and_not_the_crowd():
    import networkx

    from mmalign.cli.path import _paths

    graph = networkx.MultiDiGraph()
    for method in ("a", "b", *map(str, range(20))):
        graph.add_edge(method, "image", relation="has_term")
    for child, parent in (("a", "p"), ("p", "q"), ("b", "q")):
        graph.add_edge(child, parent, relation="extends")
    # Two steps by a term that everything has, three by the objectives.
    assert next(_paths(graph, "a", "b", ())) == ["a", "p", "q", "b"]
    assert next(_paths(graph, "a", "b", ("has_term",))) == ["a", "image", "b"]
