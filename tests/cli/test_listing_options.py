"""`--columns`, `--sort`, `--limit`, `--since` and `--format jsonl`: on every listing, the same."""

from __future__ import annotations

import csv
import io
import json

import click
import pytest

from mmalign.cli import COMMANDS, cli
from mmalign.export.rows import harmless, to_csv
from mmalign.records import lab

LISTINGS = {
    "list": ["list", "methods"],
    "query": ["query"],
    "errata": ["errata"],
    "similar": ["similar", "method:red-lantern"],
    "gaps": ["gaps"],
    "stats": ["stats"],
    "ages": ["stats", "--age"],
    "worlds": ["worlds"],
    "results": ["results"],
    "claims": ["claims"],
    "bib import": ["bib", "import", "FILE"],
}
COLUMN = {
    "gaps": "expected", "stats": "count", "ages": "days", "worlds": "says", "results": "chair_i",
    "claims": "verdict", "bib import": "title",
}  # fmt: skip
NO_LISTS = {"compare", "tree", "graph"}
"""Commands with a format for spreadsheets whose rows have one order, or stand for one thing."""
WHOLE = ("stats", "worlds", "results")
"""`--json` of these is not the list of their rows."""
BIBLIOGRAPHY = "@misc{a, title={Zed}, year=2020}\n@misc{b, title={Alpha}, year=2021}\n"
VERDICTS = [
    {"claim": "b-a", "verdict": "shown", "text": "B", "numbers": {"mean": 0.25}},
    {"claim": "a-b", "verdict": "undecided", "text": "A", "numbers": {"mean": 0.5}},
]
RESULT = {
    "method": "red-lantern", "seeds": [1, 2], "verdicts": VERDICTS,
    "tables": [{"columns": ["chair_i"], "rows": [
        {"name": "dpo", "metrics": {"chair_i": [0.25, 0.5]}},
        {"name": "sft", "metrics": {"chair_i": [0.125]}},
    ]}],
}  # fmt: skip


@pytest.fixture(params=list(LISTINGS))
def listing(request, tmp_path, monkeypatch):
    """The words of a listing and one of its columns."""
    (tmp_path / "x.bib").write_text(BIBLIOGRAPHY)
    if request.param == "worlds":
        pytest.importorskip("torch", reason="the extra `train` is not installed")
    monkeypatch.setattr(lab, "results", lambda root: [RESULT])
    words = LISTINGS[request.param]
    words = [str(tmp_path / "x.bib") if word == "FILE" else word for word in words]
    return words, COLUMN.get(request.param, "id")


def lines(result) -> list[dict]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_rows_of_several_tables_of_a_study_are_told_apart(mm, monkeypatch):
    (table,) = RESULT["tables"]
    tables = [{**table, "title": title} for title in ("Held-out metrics", "The same with x 0")]
    monkeypatch.setattr(lab, "results", lambda root: [{**RESULT, "tables": tables}])
    shown = [row["table"] for row in lines(mm("results", "--format", "jsonl"))]
    assert shown == ["Held-out metrics"] * 2 + ["The same with x 0"] * 2
    first, *_ = mm("results", "--format", "csv").stdout.splitlines()
    assert first == "method,table,row,seeds,chair_i"
    monkeypatch.setattr(lab, "results", lambda root: [RESULT])
    assert mm("results", "--format", "csv").stdout.startswith("method,row,seeds,chair_i\n")


def test_no_listing_is_forgotten():
    context, commands = click.Context(cli), {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        commands |= {f"{name} {sub}".strip(): each for sub, each in inner.items()}
    tables = set()
    for name, command in commands.items():
        options = {parameter.name: parameter for parameter in command.params}
        formats = getattr(getattr(options.get("format_"), "type", None), "choices", ())
        if "csv" in formats and name not in NO_LISTS:
            tables.add(name)
            assert {"sort", "limit", "only"} <= set(options) and "jsonl" in formats, name
    assert tables == set(LISTINGS) - {"ages"}


def test_lines_of_json_are_the_objects(mm, listing):
    words, _ = listing
    rows = lines(mm(*words, "--format", "jsonl"))
    assert rows and all(row["kind"] for row in rows)
    if words[0] not in WHOLE or "--age" in words:
        assert rows == json.loads(mm(*words, "--json").stdout)


def test_limit(mm, listing):
    words, _ = listing
    rows = lines(mm(*words, "--format", "jsonl"))
    assert lines(mm(*words, "--format", "jsonl", "--limit", "1")) == rows[:1]
    assert mm(*words, "--limit", "1").stdout.count("\n") == 2


@pytest.mark.parametrize(
    "value", ["0", "-1", "", "1_0", "1.0e+308", "1.5", "nan", "\u0661", "9" * 5000, " 1"]
)
def test_a_limit_that_is_not_a_number(mm, listing, value):
    result = mm(*listing[0], "--limit", value)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "--limit" in result.stderr and " is not " in result.stderr


def test_sorting_goes_both_ways(mm, listing):
    words, column = listing
    rows = lines(mm(*words, "--format", "jsonl"))
    up = [row[column] for row in lines(mm(*words, "--format", "jsonl", "--sort", column))]
    down = [row[column] for row in lines(mm(*words, "--format", "jsonl", "--sort", f"-{column}"))]
    assert up == sorted(row[column] for row in rows)
    assert down == sorted(up, reverse=True)


def test_what_has_no_value_stands_last_in_both_directions(data):
    for sort in ("code", "-code"):
        codes = [row["paper"]["code"] for row in data("list", "methods", "--sort", sort)]
        assert codes[0] is not None and codes[-1] is None


def test_numbers_are_sorted_by_size_and_equals_keep_their_order(data):
    rows = data("list", "methods", "--sort", "-year")
    assert [row["paper"]["year"] for row in rows] == [2022, 2021, 2020]
    kinds = data("list", "terms", "--sort", "facet")
    for facet in {row["facet"] for row in kinds}:
        here = [row["ref"] for row in kinds if row["facet"] == facet]
        assert here == [r["ref"] for r in data("list", "terms") if r["facet"] == facet]


@pytest.mark.parametrize("format_", ["table", "csv", "md", "json", "jsonl"])
def test_columns_in_every_format(mm, format_):
    args = ("list", "methods", "--columns", "id,year,objective.family", "--limit", "1")
    shown = mm(*args, "--format", format_).stdout
    assert shown == {
        "table": "ID         YEAR  FAMILY\nblue-kite  2022  anchored\n",
        "csv": "id,paper.year,objective.family\nblue-kite,2022,anchored\n",
        "md": "| id | year | family |\n| --- | --- | --- |\n| blue-kite | 2022 | anchored |\n",
        "json": json.dumps(
            [{"kind": "method", "id": "blue-kite", "paper.year": 2022,
              "objective.family": "anchored"}], indent=2) + "\n",
        "jsonl": '{"kind": "method", "id": "blue-kite", "paper.year": 2022, '
        '"objective.family": "anchored"}\n',
    }[format_]  # fmt: skip


@pytest.mark.parametrize("option", ["--columns", "--sort"])
def test_an_unknown_column_gets_the_nearest(mm, listing, option):
    words, column = listing
    result = mm(*words, option, column + "x")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert f"no column is called '{column}x'; did you mean" in result.stderr
    assert column in result.stderr.partition("mean")[2]
    result = mm("query", "--scenario", "medicine", "--year", "1999", option, "yaer")
    assert result.exit_code == 2  # although nothing is found
    assert "did you mean year?" in result.stderr


@pytest.mark.parametrize("value", ["", "id,", ",", " "])
def test_an_empty_column(mm, value):
    assert mm("list", "papers", "--columns", value).exit_code == 2


def test_what_does_not_go_together(mm):
    for args in (
        ("list", "papers", "--format", "ids", "--columns", "id"),
        ("list", "papers", "--format", "bibtex", "--columns", "id"),
        ("stats", "--json", "--sort", "count"),
        ("results", "--json", "--limit", "1"),
        ("gaps", "--matrix", "--limit", "3"),
        ("list", "terms", "--since", "2020"),
        ("list", "errata", "--since", "2020"),
    ):
        result = mm(*args)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), args


def test_since_is_the_day_of_the_last_check(mm, tree, data):
    old = data("list", "methods")
    tree.write("papers/lamp.yaml", tree.read("papers/lamp.yaml"))
    text = tree.read("papers/blue-kite.yaml")
    newest = max(line.split()[-1] for line in text.splitlines() if "checked:" in line)
    tree.edit("papers/blue-kite.yaml", f"checked: {newest}", "checked: 2026-05-20")
    for since in ("2026-05-20", "2026-05"):
        assert [r["id"] for r in data("list", "methods", "--since", since, root=tree.root)] == [
            "blue-kite"
        ]
        assert [r["id"] for r in data("query", "--since", since, root=tree.root)] == ["blue-kite"]
    assert data("list", "methods", "--since", "2026-05-21", root=tree.root) == []
    assert len(data("list", "methods", "--since", "2000", root=tree.root)) == len(old)


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2025-13", "2025-02-30", "20250301", "2025-W01", "2025-3-1", "0000"]
)
def test_a_date_that_is_none(mm, value):
    result = mm("list", "papers", "--since", value)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "is not a date such as 2025-03-01" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--has", ""), ("--has", "code,"), ("--has", ","), ("--year", ""), ("--year", "2_024"),
        ("--year", ".."), ("--year", "2024.."[:-1]), ("--year", "1e3"), ("--year", "\u0662\u0660"),
        ("--year", "9" * 5000), ("--year", "1.0e+308"), ("--scenario", ""), ("--scenario", "!"),
        ("--benchmark", ""), ("--kind", ""),
    ],
)  # fmt: skip
def test_values_of_query_that_say_nothing(mm, option, value):
    result = mm("query", option, value)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_a_text_without_a_word(mm):
    for text in ("", " ", "!?"):
        result = mm("query", text)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "TEXT holds no word" in result.stderr


def test_a_typo_is_forgiven_and_said(mm):
    result = mm("query", "invneted", "objects", "--format", "ids")
    assert result.stdout.splitlines()[0] == "red-lantern"
    assert result.stderr == "note: no text holds 'invneted'; looking for 'invented'\n"
    assert mm("query", "invented", "--format", "ids").stderr == ""


@pytest.mark.parametrize(
    "text",
    ["=1+1", "=cmd|'/c calc'!A1", "+1-cmd", "-cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-",
     "--1", "+", "=", "-1+2", "＠x"],
)  # fmt: skip
def test_no_cell_of_a_csv_is_a_formula(text):
    written = io.StringIO(to_csv([{"a": text, "b": [text, "x"]}]), newline="")
    (row,) = csv.DictReader(written)
    text = text.replace("\r", "\n")
    assert row == {"a": f"'{text}", "b": f"'{text}; x"}


@pytest.mark.parametrize("value", [-1, -0.5, "-1.5e-3", "+3", "a=b", "1-2", "", None, "'x"])
def test_numbers_and_other_texts_stay_as_they_are(value):
    text = "" if value is None else str(value)
    assert harmless(text) == text


@pytest.mark.parametrize("format_", ["table", "md", "csv"])
def test_lists_are_joined_and_no_text_is_changed(capsys, format_):
    from mmalign.cli import output

    rows = [{"kind": "x", "says": "one; two", "terms": ["a", "b"]}]
    output.write_columns(rows, ("says", "terms"), format_)
    shown = capsys.readouterr().out
    assert "one; two" in shown and ("a; b" if format_ == "csv" else "a, b") in shown


def test_nothing_in_a_table_or_note_drives_a_terminal(monkeypatch, capsys):
    from mmalign.cli import output

    nasty = "a\x1b[2Jb\x9bc\u202ed\r\nnote: forged"
    shown = output.align(["X", "Y"], [[nasty, nasty]])
    output.note(nasty)
    for text in (shown, capsys.readouterr().err):
        assert not set("\x1b\x9b\u202e\r") & set(text)
        assert text.count("\n") == 1 + (text is shown)
