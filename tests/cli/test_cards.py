"""`show` and `compare`."""

from __future__ import annotations

import pytest

from mmalign.ask.catalogue import open_catalogue
from mmalign.records.model import Benchmark, Dataset, Framework, Method, ModelEntry, Paper, Term


@pytest.mark.parametrize(
    ("ref", "model"),
    [
        ("method:red-lantern", Method),
        ("dataset:red-lantern", Dataset),
        ("benchmark:bench-one", Benchmark),
        ("model:lamp-7b", ModelEntry),
        ("framework:lamp-train", Framework),
        ("paper:red-lantern", Paper),
        ("term:scenario/medicine", Term),
    ],
)
def test_a_card_has_every_field_of_the_record(data, ref, model):
    card = data("show", ref)
    assert card["ref"] == ref
    assert card["kind"] == ref.partition(":")[0]
    assert {field.alias or name for name, field in model.model_fields.items()} <= set(card)
    assert isinstance(card["errata"], list)


def test_a_method_card(data):
    card = data("show", "red-lantern")
    assert list(card)[:5] == ["kind", "id", "ref", "name", "paper"]
    assert card["paper"]["authors"] == ["Cleo Muster", "Dan Norm"]
    assert card["objective"]["variants"][0]["of"] == "code"
    assert card["evidence"][0]["for"][0] == "methods.red-lantern.facets"
    assert card["errata"][0]["kind"] == "erratum"
    assert card["extended_by"] == ["method:blue-kite"]


def test_a_bare_id_means_the_method_and_a_note_names_the_others(mm):
    result = mm("show", "red-lantern")
    assert result.stdout.startswith("Red Lantern  (method:red-lantern)\n")
    assert result.stderr == (
        "note: 'red-lantern' is taken as method:red-lantern; there is also dataset:red-lantern, "
        "paper:red-lantern\n"
    )
    assert mm("show", "dataset:red-lantern").stderr == ""


@pytest.mark.parametrize("name", ["PP", "pp", "PlainPairs", "plain-pairs", "method:plain-pairs"])
def test_aliases_names_and_full_names(data, name):
    assert data("show", name)["ref"] == "method:plain-pairs"


def test_finding_agrees_with_the_knowledge_base(kb, data_root):
    catalogue = open_catalogue(str(data_root))
    names = {n for node in kb.nodes() for n in (node.id, node.ref, node.name) if ": " not in n}
    for name in [*names, *(f"term:{facet.terms[0].id}" for facet in kb.facets.values())]:
        expected = list(dict.fromkeys(node.ref for node in kb.find(name)))
        assert catalogue.find(name) == expected, name


def test_a_title_with_a_colon_is_found(data):
    assert data("show", "Red Lantern: Fewer Invented Objects")["ref"] == "paper:red-lantern"


def test_an_unknown_id_gets_the_nearest(mm):
    result = mm("show", "red-lanter")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no entry is called 'red-lanter'; did you mean red-lantern" in result.stderr


def test_plain_cards_are_wrapped(mm):
    text = mm("show", "red-lantern").stdout
    assert "\x1b[" not in text
    long = [line for line in text.splitlines() if len(line) > 88 and " " in line.strip()[2:]]
    assert long == []
    assert "OBJECTIVE" in text
    assert "invented objects" in text


def test_a_card_on_a_terminal(mm, monkeypatch, capsys):
    monkeypatch.setattr("mmalign.cli.output.terminal_width", lambda: 100)
    text = mm("show", "method:red-lantern").stdout
    assert "Red Lantern  (method:red-lantern)" in text
    assert "│" in text


def test_compare_is_side_by_side(mm):
    lines = mm("compare", "red-lantern", "blue-kite").stdout.splitlines()
    assert lines[0].split("  ")[-1] == "Blue Kite"
    row = next(line for line in lines if line.startswith("objective parent"))
    assert row.split() == ["objective", "parent", "plain-pairs", "red-lantern"]
    assert any(line.startswith("bench-one") and "12.5 (Lamp 7B)" in line for line in lines)


def test_compare_in_other_formats(mm, data):
    assert [c["id"] for c in data("compare", "red-lantern", "blue-kite")] == [
        "red-lantern",
        "blue-kite",
    ]
    head = mm("compare", "red-lantern", "blue-kite", "--format", "csv").stdout.splitlines()[0]
    assert head == "field,method:red-lantern,method:blue-kite"
    assert "| --- | --- | --- |" in mm("compare", "blue-kite", "PP", "--format", "md").stdout


def test_compare_wants_two(mm):
    result = mm("compare", "red-lantern", "method:red-lantern")
    assert result.exit_code == 2
    assert "two different entries" in result.stderr
