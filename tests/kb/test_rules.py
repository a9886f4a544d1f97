"""What records can have wrong together: each rule with code, line, column and advice."""

from __future__ import annotations

import datetime

import pytest

from mmalign.check.evidence import is_preview
from mmalign.check.run import check

RED, BLUE = "papers/red-lantern.yaml", "papers/blue-kite.yaml"
PLAIN, LAMP = "papers/plain-pairs.yaml", "papers/lamp.yaml"
SCENARIO, RELATIONS = "taxonomy/scenario.yaml", "taxonomy/relations.yaml"
ERRATA, FAMILY = "taxonomy/errata.yaml", "taxonomy/objective_family.yaml"

# name: (file, old, new, words of the line reported, column, code, words of the report)
CASES = {
    "file name": (BLUE, "id: blue-kite", "id: blue-kit", "id:", 1, "R001", "`id: blue-kite`"),
    "facet file name": (SCENARIO, "id: scenario", "id: modality_x", "id:", 1, "R001", "scenario"),
    "id twice": (BLUE, "  - id: blue-kite", "  - id: plain-pairs", None, 5, "R002", BLUE),
    "term twice": (SCENARIO, "id: reasoning", "id: medicine", "label: Medicine", 5, "R002",
                   "'medicine'"),
    "relation twice": (
        RELATIONS, "id: related", "id: addresses", "label: is related to", 5, "R002", "'addresses'",
    ),
    "claim twice": (RED, "id: fewer-than-base", "id: fewer-objects", "model before", 9, "R002", ""),
    "trains_on": (BLUE, "[red-lantern]", "[red-lanten]", "trains_on", 17, "R003", "'red-lantern'"),
    "benchmarks": (RED, "[bench-one]\n    comp", "[lamp-7b]\n    comp", "benchmarks: [l", 18,
                   "R003", "'lamp-7b' is a model"),
    "base_models": (RED, "[lamp-7b]", "[lamp-8b]", "base_mo", 19, "R003", "'lamp-7b'"),
    "compares_with": (RED, "compares_with: [plain", "compares_with: [plane", "compares_with", 21,
                      "R003", "no method has the id 'plane-pairs'; did you mean 'plain-pairs'?"),
    "parent": (BLUE, "parent: red-lantern", "parent: lantern", "parent", 7, "R003", "red-lantern"),
    "result": (RED, "- benchmark: bench-one", "- benchmark: bench-two", "bench-two", 9, "R003",
               "'bench-one'"),
    "claim": (RED, "against: base", "against: basis", "basis", 9, "R003", "`base`"),
    "related": (RED, "related: [bench-one]", "related: [bench-onne]", "onne", 15, "R003",
                "no entry or paper has the id 'bench-onne'"),
    "related paper": (RED, "\nrelated: [plain-pairs]", "\nrelated: [bench-one]",
                      "related: [bench-one]\nevidence", 11, "R003", "'bench-one' is a benchmark"),
    "erratum": (ERRATA, "method:red-lantern", "method:green", "about", 32, "R003", "'green'"),
    "erratum without kind": (ERRATA, "method:red-lantern", "lantern", "about", 32, "R003", "full"),
    "erratum on a term": (ERRATA, "scenario/hall", "scenario/ball", "about", 52, "R003", "term"),
    "unknown term": (RED, "scenario: [hallucination]", "scenario: [halucination]", "halu", 16,
                     "R004", "'halucination' is not a term of scenario; did you mean 'hallucin"),
    "unknown family": (RED, "family: anchored", "family: anchor", "family", 7, "R004", "anchored"),
    "unknown in a pair": (BLUE, "pair_difference: both", "pair_difference: two", "pair_d", 5,
                          "R004", "see taxonomy/pair_difference.yaml"),
    "term's parent": (SCENARIO, "parent: applications", "parent: application", "parent: app", 5,
                      "R005", "did you mean 'applications'?"),
    "lineage of one": (RED, "parent: plain-pairs", "parent: red-lantern", "parent: red", 7, "R007",
                       "red-lantern -> red-lantern"),
    "lineage": (RED, "parent: plain-pairs", "parent: blue-kite", None, None, "R007",
                "blue-kite -> red-lantern -> blue-kite"),
    "arXiv twice": (PLAIN, "2001.00010", "2101.00001", None, None, "R008", PLAIN),
    "doi twice": (BLUE, "openreview:", "doi: 10.1234/EXAMPLE.1\nopenreview:", None, None, "R008",
                  "10.1234"),
    "source": (PLAIN, '"arxiv:2001.00010"', "arXiv:2001.00010", "arXiv:", 5, "R009", "`arxiv:250"),
    "source's commit": (RED, "source: repo:example/red-lantern@0123abc", "source: repo:a/b@main",
                        "@main", 5, "R009", "7 to 40 hexadecimal digits"),
    "source without address": (LAMP, "repo:example/lamp@89abcdef", "Table 1", "Table 1", 5,
                               "R009", ""),
    "erratum's proof": (ERRATA, "arxiv:2101.00001#", "page ", "proof", 5, "R009", ""),
    "path": (RED, "- methods.red-lantern.results", "- methods.red-lantern.result", "n.result\n", 9,
             "R010", "there is no 'result'; did you mean 'results'?"),
    "path's entry": (RED, "datasets.red-lantern]", "datasets.red]", "datasets.red]", None, "R010",
                     "there is no 'red'"),
    "path's head": (BLUE, "[methods]", "[method]", "[method]", 11, "R010", "did you mean 'metho"),
    "path's tail": (RED, "[bibliography, code", "[bibliography.title, code", "bibliography.", 11,
                    "R010", ""),
    "year": (BLUE, "authors, year, venue]", "authors, venue]", "year:", 1, "R011",
             "year has no evidence"),
    "facets": (RED, "      - methods.red-lantern.facets\n", "", "scenario:", 5, "R011",
               "add `methods.red-lantern.facets`"),
    "objective": (RED, "      - methods.red-lantern.objective\n", "", "objective:", 5, "R011", ""),
    "results": (RED, "      - methods.red-lantern.results\n", "", "results:", 5, "R011", ""),
    "claims": (RED, "      - methods.red-lantern.claims\n", "", "claims:", 5, "R011", ""),
    "hyperparameters": (RED, "      - methods.red-lantern.hyperparameters\n", "", "hyperpar", 5,
                        "R011", ""),
    "day": (RED, '"2026-01-02"', '"2026-02-30"', "02-30", 5, "R012", "does not exist"),
    "future": (RED, '"2026-01-02"', '"2026-06-02"', "06-02", 5, "R012", "future"),
    "erratum's day": (ERRATA, '"2026-01-02"', '"2027-01-01"', "2027", 5, "R012", "future"),
    "macro": (PLAIN, r"\sigma", r"\sigmma", "latex", 7, "R016", r"did you mean \sigma?"),
    "brace": (BLUE, r"\mathbb{E}", r"\mathbb{E", "latex", 7, "R016", "{ is never closed"),
    "symbol": (RED, r"'\delta'", r"'\left(\delta'", r"\left(\delta", 12, "R016", "never closed"),
    "variant": (RED, r"latex: '-\log", r"latex: '$-\log", "latex: '", 11, "R016", "dollar signs"),
    "form": (FAMILY, "    label: Anchored", "    form: 'x_{'\n    label: Anchored", "form:", 5,
             "R016", "{ is never closed"),
    "markup in a form": (FAMILY, "    label: Anchored",
                         "    form: '\\text{<b>}'\n    label: Anchored", "form:", 5, "R016",
                         "markup"),
    "markup in a symbol": (RED, r"'\delta'", r"'\text{<b onclick=x>}'", "symbol: '\\text", 12,
                           "R016", "markup"),
    "preview": (PLAIN, '"arxiv:2001.00010"', "https://preview.aclanthology.org/x/2001.1",
                "preview", 5, "R022", "at which it is published"),
    "preview as proof": (ERRATA, '"arxiv:2101.00001#abstract"', "https://3f2a.atlas.pages.dev/x",
                         "proof", 5, "R022", "will be taken down"),
    "preview of a size": (RED, "number: 1000}", "number: 1000, source: https://preview.x.org/a}",
                          "size_paper", None, "R022", ""),
    "preview of a number": (RED, "place: Table 1\n      -",
                            "place: Table 1\n        measured_by: https://staging.x.org\n      -",
                            "measured_by", 9, "R022", ""),
    "number of another paper": (RED, "place: Table 1", "place: Table 2 of arXiv 2202.00002",
                                "place: Table 2", 9, "R023", "measured_by"),
    "own number as another's": (RED, "place: Table 1\n      -",
                                'place: Table 1\n        measured_by: "arxiv:2101.00001"\n      -',
                                "measured_by", 9, "R023", "the paper of this record"),
    "form of measured_by": (RED, "place: Table 1\n      -",
                            "place: Table 1\n        measured_by: SENTINEL\n      -",
                            "measured_by", 9, "R009", "`arxiv:"),
    "since": (ERRATA, "severity: wrong", 'severity: wrong\n    since: "2025-07"', "since", 5,
              "R024", "outdated-since"),
    "since a day to come": (ERRATA, "severity: wrong",
                            'severity: outdated-since\n    since: "2027"', '"2027"', 5, "R012",
                            "future"),
    "since no month": (ERRATA, "severity: wrong",
                       'severity: outdated-since\n    since: "2025-13"', '"2025-13"', 5, "R012",
                       "as 2026-01"),
    "markup in an address": (RED, "code: https://", 'code: https://x.org/<b>', "code:", 1, "R025",
                             "%3C"),
    "quotes in an address": (BLUE, "openreview:", "page: 'https://x.org/\"on'\nopenreview:",
                             "page:", 1, "R025", "%22"),
    "template in a location": (LAMP, "    modality:",
                               "    location: https://x.org/{{a}}\n    modality:", "location:", 5,
                               "R025", "%7B"),
    "facet of another kind": ("taxonomy/pair_difference.yaml", "[method, dataset]",
                              "[method, benchmark]", "applies_to", 22, "R019", "dimension"),
    "facet's field": ("taxonomy/future_direction.yaml", "field: addresses", "field: adresses",
                      "applies_to", 14, "R019", "'adresses'"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_reported_at_its_place(tree, name):
    file, old, new, words, column, code, said = CASES[name]
    tree.edit(file, old, new)
    found = [problem for problem in tree.problems() if problem.code == code]
    if name in ("facet's field", "facet of another kind"):  # its own field is then without facet
        assert "R020" in {problem.code for problem in tree.problems()}
    assert len(found) == 1, tree.problems()
    (problem,) = found
    assert said in f"{problem.message}; {problem.hint}"
    if words is not None:
        place = tree.read(file).index(words)
        expected = tree.read(file)[:place].count("\n") + 1
        offset = -1 if name in ("term twice", "relation twice", "claim twice") else 0
        assert (problem.file, problem.line) == (file, expected + offset)
    if column is not None:
        assert problem.column == column


def test_a_number_read_only_in_another_paper_says_so(tree):
    tree.edit(RED, "      - methods.red-lantern.results\n", "")
    other = """  - for: [methods.red-lantern.results]
    source: "arxiv:2202.00002#Table 1"
    status: reported
    checked: "2026-01-01"
"""
    tree.write(RED, tree.read(RED).rstrip("\n") + "\n" + other)
    found = tree.problems()
    assert [(problem.code, problem.line) for problem in found] == [
        ("R023", number)
        for number, line in enumerate(tree.read(RED).split("\n"), 1)
        if line == "        place: Table 1" and number < tree.line(RED, "claims:")
    ]
    assert len(found) == 2 and "2202.00002" in found[0].message
    tree.write(RED, tree.read(RED).replace("arxiv:2202.00002", "arxiv:2101.00001"))
    assert tree.problems() == []


@pytest.mark.parametrize(
    "address",
    [
        "https://preview.aclanthology.org/ingest-emnlp/2025.emnlp-main.121",
        "https://staging.alphaxiv.org/benchmarks/x",
        "https://searchworks.staging.example.edu/?q=x",
        "HTTPS://PREVIEW.example.org",
        "https://pr-preview-12.example.org/a",
        "https://deploy-preview-7--atlas.netlify.app/",
        "https://branch--atlas.netlify.app/",
        "https://0123abcd.atlas.pages.dev/page",
        "https://atlas.pages.dev/",
        "https://atlas-git-main-team.vercel.app/",
        "https://atlas-a1b2c3d4e-team.vercel.app/",
        "http://user@staging.example.org:8080/x",
    ],
)
def test_a_preview_deployment_is_known_by_its_host(address):
    assert is_preview(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://aclanthology.org/2025.emnlp-main.121/",
        "https://openreview.net/forum?id=preview.example.org",
        "https://example.org/preview.html",
        "https://github.com/preview/staging",
        "https://my-benchmark.vercel.app/",
        "https://atlas.netlify.app/a--b",
        "https://stagecraft.example.org",
        "https://pages.dev.example.org/",
        "arxiv:2101.00001#preview",
        "https://",
    ],
)
def test_a_published_address_is_no_preview(address):
    assert not is_preview(address)


def test_the_fabricated_records_are_clean(tree):
    assert tree.problems() == []


def test_a_date_is_compared_with_today(tree):
    _, problems = check(tree.root, today=datetime.date(2026, 1, 2))
    assert {(problem.file, problem.code) for problem in problems} == {
        (BLUE, "R012"),
        (LAMP, "R012"),
    }


def test_terms_that_are_their_own_ancestors(tree):
    tree.edit(SCENARIO, "    label: General image", "    label: G\n    parent: reasoning")
    (problem,) = tree.problems()
    assert (problem.code, problem.file, problem.column) == ("R006", SCENARIO, 5)
    assert "general-image -> reasoning -> general-image" in problem.message
    assert problem.line == tree.line(SCENARIO, "parent: reasoning")


def test_a_long_lineage_needs_no_recursion(tree):
    method = tree.read(BLUE)
    for number in range(1500):
        text = method.replace("blue-kite", f"kite-{number}").replace("Blue Kite", f"K {number}")
        text = text.replace("openreview: abcDEF123\n", "")
        parent = f"kite-{(number + 1) % 1500}"
        text = text.replace("parent: red-lantern", f"parent: {parent}")
        tree.write(f"papers/kite-{number}.yaml", text)
    (problem,) = tree.problems()
    assert problem.code == "R007"
    assert problem.message.count("->") == 1500


@pytest.mark.parametrize("side", ["domain", "range"])
def test_edges_have_the_ends_that_relations_say(tree, side):
    tree.edit(RELATIONS, f"{side}: [method]", f"{side}: [paper]")
    found = [problem for problem in tree.problems() if problem.code == "R017"]
    assert found
    assert found[0].file == RELATIONS
    assert f"method is not in its {side}" in found[0].message


def test_an_acyclic_relation_has_no_cycles(tree):
    text = tree.read(RELATIONS)
    old = text[text.index("  - id: compares_with") : text.index("  - id: addresses")]
    tree.edit(RELATIONS, old, old + "    acyclic: true\n")
    assert tree.problems() == []
    tree.edit(PLAIN, "    own: [objective]", "    own: [objective]\n    compares_with: [blue-kite]")
    (problem,) = tree.problems()
    assert problem.code == "R017"
    assert "plain-pairs -> method:blue-kite" in problem.message


def test_relations_are_ten(tree):
    tree.edit(RELATIONS, "id: related", "id: akin")
    found = [(problem.code, problem.message) for problem in tree.problems()]
    assert ("R020", "relation 'related' is missing") in found
    assert ("R017", "no edge is of the type 'akin'") in found


@pytest.mark.parametrize("file", [RELATIONS, SCENARIO])
def test_missing_parts_of_the_taxonomy(tree, file):
    (tree.root / file).unlink()
    assert "R020" in {problem.code for problem in tree.problems()}


def test_scripts_and_methods_name_each_other(tree):
    scripts = "reference_impls/methods/{}.py"
    tree.edit(
        RED, "    own: [objective, data recipe]", "    own: [objective]\n    reference_impl: red"
    )
    assert tree.problems() == []  # no checkout: the scripts are somewhere else
    tree.write(scripts.format("__init__"), "")
    tree.write(scripts.format("blue"), "")
    gone, lost = tree.problems()
    assert (gone.code, gone.file, gone.column) == ("R013", RED, 5)
    assert gone.line == tree.line(RED, "reference_impl: red")
    assert (lost.code, lost.file) == ("R014", scripts.format("blue"))
    tree.write(scripts.format("red"), "")
    tree.edit(BLUE, "    own: [objective]", "    own: [objective]\n    reference_impl: blue")
    assert tree.problems() == []
    tree.edit(BLUE, "reference_impl: blue", "reference_impl: red")
    assert {problem.code for problem in tree.problems()} == {"R014", "R015"}


def test_a_single_result(tree):
    text = tree.read(RED)
    first = text.index("      - benchmark: bench-one\n        metric: recall")
    tree.write(RED, text[:first] + text[text.index("    claims:") :])
    (problem,) = tree.problems()
    assert (problem.code, problem.line) == ("R018", tree.line(RED, "results:"))


def test_facts_of_a_data_set_have_evidence(tree):
    tree.edit(RED, ", datasets.red-lantern]", "]")
    found = [(problem.code, problem.line) for problem in tree.problems()]
    lines = [tree.line(RED, words) for words in ("size_paper", "licence: CC", "location")]
    assert found == [("R011", line) for line in lines]


@pytest.mark.parametrize(
    "source",
    [
        "arxiv:2503.14504",
        "arxiv:2503.14504v2#Table 1 and section 3.1.1",
        "repo:luka-group/mDPO@2221bb3",
        "repo:a/b.c_d@2221bb317a29dfe0f8d2c710cd8572e9d7ec101a:a/b c.py#L118-L172",
        "repo:a/b@2221bb3:README.md#L7",
        "https://openreview.net/forum?id=x",
    ],
)
def test_sources_that_are_good(tree, source):
    tree.edit(PLAIN, '"arxiv:2001.00010"\n    status', f'"{source}"\n    status')
    assert tree.problems() == []


@pytest.mark.parametrize(
    "source",
    [
        "arxiv:2503.1", "arxiv:2503.14504#", "repo:a@2221bb3", "repo:a/b", "repo:a/b@2221bb",
        "repo:a/b@2221bb3:", "repo:a/b@2221bb3:x.py#12", "http:x", "https://localhost", "the paper",
        'https://x.org/<script>', "https://x.org/'><b>", "https://x.org/`code`",
        "https://x.org/a b", "javascript:alert(1)", "repo:a/b@2221bb3:'><script>",
        "arxiv:２５０３.14504",
    ],
)  # fmt: skip
def test_sources_that_are_not(tree, source):
    tree.edit(PLAIN, '"arxiv:2001.00010"\n    status', f'"{source}"\n    status')
    assert [problem.code for problem in tree.problems()] == ["R009"]


def test_many_unknown_ids_are_all_reported(tree):
    wrong = ", ".join(f"red-lanter{number}" for number in range(400))
    tree.edit(BLUE, "trains_on: [red-lantern]", f"trains_on: [{wrong}]")
    problems = tree.problems()
    assert len(problems) == 400
    assert {problem.code for problem in problems} == {"R003"}
