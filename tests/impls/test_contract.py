"""What every script owes its readers and the core, whichever method it is."""

import ast
import dataclasses
import inspect
import re
import tokenize
from pathlib import Path

import pytest

import mmalign
from reference_impls.core.settings import TrainSettings
from tests.impls.scripts import SCRIPTS

ALL = pytest.mark.parametrize("name", SCRIPTS)
LONGEST, LONGER = 150, {"opa_dpo": 250, "adpo": 250, "fact_rlhf": 250, "rl4vlm": 250}
CORE = Path(inspect.getfile(TrainSettings)).parent


def code_lines(path: Path) -> int:
    """Lines with code: no docstring, comment or blank line."""
    tree = ast.parse(path.read_text())
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(
            node
        ):
            inside |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    with path.open("rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type not in quiet]
    lines = {
        line
        for t in tokens
        if t.type != tokenize.ENCODING
        for line in range(t.start[0], t.end[0] + 1)
    }
    return len(lines - inside)


def test_there_are_scripts():
    assert {"sft", "dpo", "mdpo", "ddpo", "mpo", "r1_v"} <= set(SCRIPTS)


@ALL
def test_record_and_script_name_each_other(name):
    method = mmalign.load().methods[SCRIPTS[name].RECORD]
    assert method.reference_impl == name


@ALL
def test_docstring_is_a_page(name):
    text = SCRIPTS[name].__doc__
    assert f"record `{SCRIPTS[name].RECORD}`" in text
    for heading in ("Own:", "Simplifications"):
        assert heading in text, f"{name} does not say '{heading}'"
    assert re.search(r"^\s*1\. ", text, re.MULTILINE), "simplifications are numbered"
    assert re.search(
        r"@[0-9a-f]{7,40}:?\S*#L\d+|#L\d+(-L\d+)? at [0-9a-f]{7}|@[0-9a-f]{7,40}", text
    )


@ALL
def test_script_is_short(name):
    path = Path(SCRIPTS[name].__file__)
    assert code_lines(path) <= LONGER.get(name, LONGEST)
    assert max(map(len, path.read_text().splitlines())) <= 100


@ALL
def test_script_imports_the_core_and_no_other_method(name):
    tree = ast.parse(Path(SCRIPTS[name].__file__).read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    ours = {module for module in modules if module.startswith(("reference_impls", "mmalign"))}
    assert all(module.startswith("reference_impls.core") for module in ours), ours


@ALL
def test_config_is_frozen_and_takes_all_variants(name):
    config = SCRIPTS[name].Config
    assert dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen
    for variant in ("paper", "code", "survey"):
        assert config(variant=variant).variant == variant
    assert config().variant == "paper"
    for changes in SCRIPTS[name].ABLATIONS.values():
        assert config(**changes) != config()


@ALL
def test_defaults_say_where_they_come_from(name):
    """Every hyperparameter of Config and of the paper's settings has a comment beside it."""
    source = Path(SCRIPTS[name].__file__).read_text()
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and field.target.id != "variant":
                    assert "#" in lines[field.lineno - 1], field.target.id
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "PAPER":
            for keyword in node.value.keywords:
                assert "#" in lines[keyword.lineno - 1], keyword.arg


@ALL
def test_expectations_name_rows_that_a_study_has(name):
    script = SCRIPTS[name]
    rows = {"base", "sft", "dpo", "grpo", script.RECORD, *script.ABLATIONS}
    for _, text, _, direction, row, against, rate in getattr(script, "EXPECTATIONS", ()):
        assert text.endswith(".") and direction in ("lower", "higher")
        assert {row, against} <= rows and rate in ("best", "shared")


def test_core_knows_no_method_but_the_baselines():
    catalogued = set(mmalign.load().methods) - {"sft", "dpo", "grpo", "rloo", "ppo", "reward-model"}
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in catalogued, f"{path.name}: {node.value}"
