"""What `query` finds: facets, links, years, text."""

from __future__ import annotations

import pytest

from mmalign.ask import search


@pytest.mark.parametrize(
    ("args", "ids"),
    [
        ([], ["blue-kite", "plain-pairs", "red-lantern"]),
        (["--scenario", "hallucination"], ["red-lantern"]),
        (["--scenario", "general-image"], ["red-lantern"]),  # a term includes those below it
        (["--scenario", "general-image", "--scenario", "medicine"], ["blue-kite", "red-lantern"]),
        (["--scenario", "general-image", "--annotation", "self"], []),
        (["--scenario", "!medicine"], ["plain-pairs", "red-lantern"]),
        (["--annotation", "external", "--annotation", "!closed-source-model"], ["plain-pairs"]),
        (["--scenario", "General image"], ["red-lantern"]),  # the label
        (["--family", "anchored"], ["blue-kite", "red-lantern"]),
        (["--family", "!anchored"], ["plain-pairs"]),
        (["--pair-difference", "both"], ["blue-kite"]),
        (["--pair-difference", "!both"], ["plain-pairs", "red-lantern"]),
        (["--data-source", "public-dataset"], ["plain-pairs", "red-lantern"]),
        (["--response-source", "policy"], ["plain-pairs", "red-lantern"]),
        (["--modality", "video"], ["blue-kite"]),
        (["--addresses", "data-challenges"], ["red-lantern"]),
        (["--benchmark", "bench-one"], ["red-lantern"]),
        (["--dataset", "red-lantern"], ["blue-kite", "red-lantern"]),
        (["--base-model", "Lamp 7B"], ["red-lantern"]),
        (["--year", "2021"], ["red-lantern"]),
        (["--year", "2021..2022"], ["blue-kite", "red-lantern"]),
        (["--year", "..2020"], ["plain-pairs"]),
        (["--year", "2021.."], ["blue-kite", "red-lantern"]),
        (["--has", "code,results"], ["red-lantern"]),
        (["--has", "!code"], ["blue-kite", "plain-pairs"]),
        (["--has", "impl"], []),
        (["--limit", "1"], ["blue-kite"]),
        (["--kind", "papers", "--scenario", "medicine"], ["blue-kite"]),
        (["--kind", "paper", "--dataset", "red-lantern"], ["blue-kite", "red-lantern"]),
        (["--kind", "dataset", "--modality", "image"], ["red-lantern"]),
        (["--kind", "benchmark", "--dimension", "hallucination"], ["bench-one"]),
        (["--kind", "term", "medicine"], ["medicine"]),
    ],
)
def test_filters(data, args, ids):
    assert [row["id"] for row in data("query", *args)] == ids


def test_nothing_found_is_no_error(mm):
    result = mm("query", "--scenario", "medicine", "--year", "1999", "--json")
    assert (result.exit_code, result.stdout) == (0, "[]\n")
    assert result.stderr == "note: nothing found\n"


def test_a_facet_of_another_kind_chooses_it_and_says_so(mm):
    result = mm("query", "--dimension", "hallucination", "--format", "ids")
    assert result.stdout == "bench-one\n"
    assert "looking for benchmarks" in result.stderr
    clash = mm("query", "--kind", "method", "--dimension", "hallucination")
    assert clash.exit_code == 2
    assert "--dimension describes benchmarks, not methods; use --kind benchmark" in clash.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--scenario", "halucination"], "did you mean hallucination?"),
        (["--benchmark", "bench-on"], "no benchmark is called 'bench-on'; did you mean bench-one"),
        (["--scenario", "anchored"], "it is one of objective_family"),
        (["--has", "cod"], "'cod' is not one of code, impl, results"),
        (["--year", "late"], "is no year and no range"),
        (["--year", "2025..2024"], "holds no year"),
        (["--yaer", "2024"], "--year"),
        (["--kind", "paper", "--kind", "metod"], "did you mean method"),
        (["--kind", "dataset", "--base-model", "lamp-7b"], "describes methods, not datasets"),
    ],
)
def test_wrong_values_get_the_nearest_ones(mm, args, said):
    result = mm("query", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_text_is_ranked(data):
    assert next(row["id"] for row in data("query", "red", "lantern")) == "red-lantern"
    assert [row["id"] for row in data("query", "RedLantern")] == ["red-lantern"]  # an alias
    assert [row["id"] for row in data("query", "halluc")] == ["red-lantern"]  # a beginning
    assert [row["id"] for row in data("query", "probe")] == ["blue-kite"]  # an author
    assert data("query", "zzzz") == []


def test_search_folds_accents_and_splits_hyphens():
    assert search.words("Zoë's RLAIF-V_x") == ["zoe", "s", "rlaif-v-x", "rlaif", "v", "x"]


def test_search_prefers_rare_words_all_words_and_heavy_fields():
    documents = [
        [(1, "common common rare")],
        [(1, "common other")],
        [(5, "common")],
        [(1, "nothing of it")],
    ]
    index = search.index(documents)
    assert next(number for number, _ in search.rank(index, "common rare")) == 0
    assert next(number for number, _ in search.rank(index, "common")) == 2
    assert 3 not in [number for number, _ in search.rank(index, "common rare")]
    assert search.rank(search.index([]), "common") == []
