"""The tables of comparison; and the recipe, script and neighbours on a method's page."""

from __future__ import annotations

import re

import pytest

from mmalign.check.latex import problems, to_mathml
from mmalign.records import lab
from mmalign.records.kb import KnowledgeBase
from mmalign.records.read import load
from mmalign.site import compare_tables, pages, script
from mmalign.site.atlas import Atlas

SOURCE = '''"""Doc."""
from x import y


class Config:
    beta = 0.1


def make_pairs(world):
    return []


def reward_short(texts):
    return []


def loss(batch, cfg):
    chosen, rejected = rewards(batch)
    text_term = chosen - rejected < 0  # a < b & c
    return text_term
'''


@pytest.fixture(scope="module")
def real(checkout) -> KnowledgeBase:
    return load(checkout)


def test_every_family_with_methods_has_a_form_that_can_be_shown(real):
    used = {method.objective.family for method in real.methods.values()}
    forms = {term.id: term.form for term in real.facets["objective_family"].terms}
    for family in used:
        assert forms[family], family
        assert not list(problems(forms[family])), family
        assert "<math" in to_mathml(forms[family])


def test_the_paper_of_a_baseline_keeps_its_own_page(real):
    atlas = Atlas(real)
    assert real.papers["mllm-alignment-survey"].methods[0].own == ("baseline",)
    assert atlas.path("paper:mllm-alignment-survey") == "papers/mllm-alignment-survey.md"
    assert atlas.path("paper:mdpo") == "methods/mdpo.md"


def test_every_method_stands_once_among_the_objectives(real):
    text = compare_tables.objectives(Atlas(real))
    for method in real.methods:
        assert text.count(f'<td><b><a href="../../methods/{method}/">') == 1, method
    assert 'methods/mdpo/#variants"><span class="badge source-survey">by the survey: 1' in text


def test_the_needs_are_read_off_the_record(real):
    needs = {id_: compare_tables._needs(method) for id_, method in real.methods.items()}
    assert needs["dpo"] == "pairs of texts, a reference model"
    assert needs["mdpo"] == "pairs of both, a reference model"
    assert "a reference model" not in needs["simpo"]
    assert "sampling and a reward" in needs["r1-v"]


def test_data_sets_of_table_2_come_first_with_their_errata(real):
    text = compare_tables.datasets(Atlas(real))
    first, others = text.split("{ #others")
    for id_ in ("llava-rlhf", "rlhf-v", "vlfeedback", "mmpr", "mm-rlhf"):
        assert f'<td><b><a href="../../datasets/{id_}/">' in first, id_
    assert '<td><b><a href="../../datasets/llava-instruct/">' in others
    assert "../../errata/#rlhf-v-released-size" in first


def test_results_know_which_way_is_better(kb):
    text = compare_tables.results(Atlas(kb))
    assert "## " in text and "{ #bench-one" in text
    row = next(row for row in re.findall(r"<tr>.*?</tr>", text) if "invented objects" in row)
    # 12.5 against 25, and the benchmark says that lower is better.
    assert "invented objects ↓" in row
    assert '-12.5 <span class="badge yes">better</span>' in row


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("accuracy", "higher"),
        ("Accuracy (dev)", "higher"),
        ("accuracy, adversarial split", "higher"),
        ("yes ratio", "none"),
        ("CHAIR_i", "lower"),
        ("score", "none"),
        ("accuracy-like", "none"),
        # A reduction of what should be low is good when it is high.
        ("CHAIR_i, relative reduction", "none"),
        ("relative reduction of the rate (CHAIR_i)", "none"),
    ],
)
def test_only_a_metric_of_the_benchmark_has_its_direction(metric, direction):
    known = {"accuracy": "higher", "yes ratio": "none", "chair_i": "lower", "chair": "lower"}
    assert compare_tables._direction(metric, known) == direction


def test_the_recipe_is_an_ordered_list(kb):
    text = pages(kb)["methods/red-lantern.md"]
    flow = re.search(r'<div class="flow"><ol>(.*?)</ol></div>', text)[1]
    assert re.findall(r"<b>([^<]+)</b><span>", flow) == [
        "Images and prompts", "Responses", "Judged by", "Pairs differ in", "Objective",
    ]  # fmt: skip


def test_neighbours_stand_on_the_page_with_reasons(kb):
    text = pages(kb)["methods/blue-kite.md"]
    assert "Blue Kite extends the objective of Red Lantern" in text


def test_a_script_is_shown_with_anchors_and_its_terms():
    assert script.terms(SOURCE) == [
        ("Config", "hyperparameters, each with its source", 5),
        ("make_pairs", "data step", 9),
        ("reward_short", "a reward", 13),
        ("loss", "objective", 17),
        ("chosen", "in the objective", 18),
        ("rejected", "in the objective", 18),
        ("text_term", "in the objective", 19),
    ]
    shown = script.listing(SOURCE)
    assert "\n" not in shown
    assert '<span id="L19"><a href="#L19">  19</a>' in shown
    assert "a &lt; b &amp; c" in shown
    assert '<a href="#L19" title="in the objective">' in script.links(SOURCE)


def test_the_command_of_a_method_that_plays_names_no_dataset(real, checkout):
    written = pages(real, scripts=lab.scripts(checkout))
    for id_, method in real.methods.items():
        if method.reference_impl:
            plays = id_ == "rl4vlm"
            assert ("--dataset DATA" in written[f"methods/{id_}.md"]) is not plays, id_
