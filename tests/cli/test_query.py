"""What `query` finds: facets, links, years, text."""

from __future__ import annotations

import time

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


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("halucination", "hallucination"),  # missing
        ("halllucination", "hallucination"),  # doubled
        ("hallucinatoin", "hallucination"),  # transposed
        ("hallucinaxion", "hallucination"),  # wrong
        ("halucinaton", "hallucination"),  # two, in a long word
        ("mDOP", "mdpo"),
        ("dop", "dpo"),
        ("rliaf-v", "rlaif-v"),
        ("lamp-7c", "lamp-7b"),
    ],
)
def test_search_forgives_a_typo(typed, meant):
    texts = ("hallucination", "mdpo", "dpo", "RLAIF-V", "lamp-7b", "lamp-8b", "nothing")
    index = search.index([(1, text)] for text in texts)
    assert search.corrections(index, typed)[typed.lower()] == meant
    best = search.rank(index, typed)[0][0]
    assert texts[best].lower() == meant
    assert search.rank(index, meant)[0][0] == best


@pytest.mark.parametrize(
    "typed",
    ["hallucination", "halluc", "lamp-9b", "2024", "dxo", "zzzzzzzz", "mdpo-hallucination", ""],
)
def test_what_is_known_a_beginning_a_number_or_too_far_stays(typed):
    index = search.index([(1, t)] for t in ("hallucination", "mdpo", "dpo", "lamp-7b", "2025"))
    assert search.corrections(index, typed) == {}


def test_what_holds_the_word_itself_comes_before_what_was_meant():
    index = search.index([[(1, "preferences")], [(1, "preference")], [(1, "other")]])
    assert search.corrections(index, "preference") == {}
    assert [number for number, _ in search.rank(index, "preference")] == [1]


def test_of_two_words_equally_near_the_one_that_says_more_is_meant():
    index = search.index([[(1, "chap")], [(6, "chip")], [(1, "chap")]])
    assert search.corrections(index, "chep") == {"chep": "chip"}


def test_a_huge_text_is_answered_at_once():
    index = search.index([(1, f"word{n} halluc{n}ination")] for n in range(2000))
    start = time.process_time()
    search.rank(index, " ".join(f"haluc{n}inatoin{n}" for n in range(6000)))
    search.rank(index, "a" * 100_000)
    assert time.process_time() - start < 5
