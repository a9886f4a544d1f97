"""What every script owes its readers and the core, whichever method it is."""

import ast
import dataclasses
import inspect
import json
import math
import re
import tokenize
from pathlib import Path

import pytest

import mmalign
from reference_impls.core.method import (
    VARIANTS,
    ContractError,
    Expectation,
    GroupStage,
    Method,
    PairStage,
    PpoStage,
    SelectStage,
    Variant,
    View,
    load_script,
    resolve_views,
    unread_names,
)
from reference_impls.core.settings import BaseConfig, TrainSettings, changed, lab
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


CONFORMANCE = CORE.parent / "conformance"


def test_there_are_scripts():
    assert {"sft", "dpo", "mdpo", "ddpo", "mpo", "r1_v", "grpo", "rloo"} <= set(SCRIPTS)


@ALL
def test_record_and_script_name_each_other(name):
    method = mmalign.load().methods[SCRIPTS[name].method.record]
    assert method.reference_impl == name


@ALL
def test_docstring_is_a_page(name):
    text = SCRIPTS[name].module.__doc__
    assert f"record `{SCRIPTS[name].method.record}`" in text
    for heading in ("Own:", "Simplifications"):
        assert heading in text, f"{name} does not say '{heading}'"
    assert re.search(r"^\s*1\. ", text, re.MULTILINE), "simplifications are numbered"
    assert re.search(
        r"@[0-9a-f]{7,40}:?\S*#L\d+|#L\d+(-L\d+)? at [0-9a-f]{7}|@[0-9a-f]{7,40}", text
    )


@ALL
def test_docstring_names_the_paper_of_its_record(name):
    """A copy of a script under another record is found out."""
    kb, record = mmalign.load(), SCRIPTS[name].method.record
    (node,) = [node for node in kb.nodes("method") if node.id == record]
    text = SCRIPTS[name].module.__doc__
    if node.paper.arxiv:
        assert f"arXiv:{node.paper.arxiv}" in text
    else:
        # A repository may have moved to another owner since the commit that was read.
        assert f"/{node.paper.code.rpartition('/')[2]}@" in text


def test_no_two_scripts_have_one_record():
    records = [script.method.record for script in SCRIPTS.values()]
    assert len(set(records)) == len(records)


@ALL
def test_script_is_short(name):
    path = Path(SCRIPTS[name].module.__file__)
    assert code_lines(path) <= LONGER.get(name, LONGEST)
    assert max(map(len, path.read_text().splitlines())) <= 100


@ALL
def test_script_imports_the_core_and_no_other_method(name):
    tree = ast.parse(Path(SCRIPTS[name].module.__file__).read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    ours = {module for module in modules if module.startswith(("reference_impls", "mmalign"))}
    assert all(module.startswith("reference_impls.core") for module in ours), ours


@ALL
def test_config_is_frozen_and_takes_all_variants(name):
    method = SCRIPTS[name].method
    config = method.config
    assert SCRIPTS[name].module.Config is config
    assert dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen
    for variant in VARIANTS:
        assert config(variant=variant).variant == variant
    assert config().variant == "paper"
    for changes in method.ablations.values():
        assert config(**changes) != config()
        # What `--set` takes and a result can hold.
        floats = [value for value in changes.values() if isinstance(value, float)]
        assert all(map(math.isfinite, floats)), changes


@ALL
def test_config_refuses_a_variant_that_there_is_not(name):
    config = SCRIPTS[name].method.config
    for unknown in ("bogus", "Paper", "", None):
        told = re.escape(f"variant: {unknown!r} is none of 'paper', 'code', 'survey'")
        with pytest.raises(ValueError, match=told):
            config(variant=unknown)
        with pytest.raises(ValueError, match=told):
            dataclasses.replace(config(), variant=unknown)


@ALL
def test_names_that_checks_call_are_in_the_module(name):
    module, stage = SCRIPTS[name].module, SCRIPTS[name].method.last
    if isinstance(stage, (PairStage, GroupStage, PpoStage)):
        assert module.loss is stage.loss
        assert isinstance(module.VIEWS, tuple)
    if isinstance(stage, PairStage):
        views = {view.name for view in stage.views_of(module.Config())}
        assert views == {view.name for view in resolve_views(module.VIEWS)}
    if isinstance(stage, GroupStage):
        assert module.advantages is stage.advantages
    if isinstance(stage, PpoStage):
        assert module.gae is stage.gae


@ALL
def test_defaults_say_where_they_come_from(name):
    """Every hyperparameter of Config and of the paper's settings has a comment beside it."""
    source = Path(SCRIPTS[name].module.__file__).read_text()
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and field.target.id != "variant":
                    assert "#" in lines[field.lineno - 1], field.target.id
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").startswith("PAPER"):
            for keyword in node.value.keywords:
                assert "#" in lines[keyword.lineno - 1], keyword.arg


@ALL
def test_one_primary_prediction_with_a_direction(name):
    expectations = SCRIPTS[name].method.expectations
    assert sum(expectation.primary for expectation in expectations) == 1
    for expectation in expectations:
        assert expectation.text.endswith(".")


@ALL
def test_every_variant_has_vectors(name):
    """Of a loss that is the script's own; those of a baseline stand under the baseline's name."""
    stage = SCRIPTS[name].method.last
    if not isinstance(stage, (PairStage, GroupStage, PpoStage)):
        return
    cases = json.loads((CONFORMANCE / f"{name}.json").read_text())
    told = {case["variant"] for case in cases if case["kind"] in ("loss", "advantages")}
    assert told == set(VARIANTS)


def test_core_knows_no_method_but_the_baselines():
    catalogued = set(mmalign.load().methods) - {
        "sft", "dpo", "grpo", "rloo", "ppo", "reward-model", "best-of-n",
    }  # fmt: skip
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in catalogued, f"{path.name}: {node.value}"


# --- the contract refuses what it cannot read ----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config(BaseConfig):
    beta: float = 0.1
    variant: Variant = "paper"


def stage(**changes):
    given = {"data": lambda lab, cfg: [], "loss": lambda batch, cfg: None, "lab": lab(1e-4)}
    return PairStage(**given | {"paper": lab(1e-6)} | changes)


def test_a_misspelt_hook_is_an_error():
    with pytest.raises(TypeError, match="negativs"):
        stage(negativs=lambda model, inputs, cfg: {})


def test_a_public_function_that_nothing_reads_is_an_error():
    source = "def negativs(model, inputs, cfg):\n    return {}\n\nMETHOD = None\n"
    assert unread_names(source) == ["negativs"]
    assert unread_names(source + "print(negativs)\n") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": (stage(views=("chosen", "rejectd")),)}, "no view 'rejectd'.*'rejected'"),
        ({"stages": (stage(views=("chosen", "chosen")),)}, "stands twice"),
        ({"stages": (stage(views=()),)}, "no view"),
        ({"stages": (stage(loss=lambda batch: None),)}, "loss: is called with 2"),
        ({"stages": (stage(prepare=lambda row: row),)}, "prepare: is called with 3"),
        ({"stages": (stage(tokens="marks"),)}, "tokens: 'marks' cannot be called"),
        ({"stages": (stage(), stage())}, "two stages have one name"),
        ({"stages": ()}, "no stage"),
        ({"ablations": {"no x": {"bata": 0.0}}}, "no field 'bata'.*'beta'"),
    ],
)
def test_what_a_method_says_is_checked_when_it_is_made(changes, message):
    given = {"record": "x", "config": Config, "stages": (stage(),)}
    with pytest.raises(ContractError, match=message):
        Method(**given | changes)


def expectation(**changes):
    given = {"id": "a", "text": "A.", "metric": "f1", "direction": "lower", "of": "x"}
    return Expectation(**given | {"against": "dpo"} | changes)


def group_stage(**changes):
    given = {
        "data": lambda lab, cfg: [], "rewards": {"r": lambda texts, answers: []},
        "advantages": lambda rewards, cfg: rewards, "loss": lambda *given, weights=None: None,
        "lab": lab(1e-4), "paper": lab(1e-6),
    }  # fmt: skip
    return GroupStage(**given | changes)


def ppo_stage(**changes):
    given = {
        "data": lambda lab, cfg: [], "rewards": {"r": lambda texts, answers: []},
        "gae": lambda rewards, values, mask, cfg: None, "loss": lambda *given, **named: None,
        "lab": lab(1e-4), "paper": lab(1e-6),
    }  # fmt: skip
    return PpoStage(**given | changes)


def selection(**changes):
    given = {"data": lambda lab, cfg: [], "score": lambda lab, rows, cfg: []}
    return SelectStage(**given | {"lab": lab(1e-4), "paper": lab(1e-6)} | changes)


@dataclasses.dataclass(frozen=True)
class WithoutDefault(BaseConfig):
    beta: float
    variant: str = "paper"


class Undecorated(Config):
    gamma: float = 1.0


PICKED = View("picked", scored="likelyest")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # Words that would be taken for another one.
        ({"stages": (stage(start="bsae"),)}, "start: .* 'bsae'; did you mean 'base'"),
        ({"stages": (stage(reference="non"),)}, "reference: .* 'non'; did you mean 'none'"),
        ({"stages": (stage(views=("chosen", PICKED)),)}, "'picked', scored: .*'likelyest'"),
        ({"stages": (ppo_stage(critic="share"),)}, "critic: .* 'share'; did you mean 'shared'"),
        ({"expectations": (expectation(direction="lover"),)}, "'lover'; did you mean 'lower'"),
        # A comma that is missing.
        ({"stages": stage()}, "stages is of the type PairStage, and a tuple"),
        ({"baselines": "sft"}, "baselines is 'sft', and a tuple is wanted"),
        ({"expectations": expectation()}, "is of the type Expectation, and a tuple"),
        ({"stages": (stage(views="chosen"),)}, "views is 'chosen', and a tuple is wanted"),
        ({"stages": ("train",)}, "stages: one is 'train', which does not"),
        # Rows that would be one.
        ({"baselines": ("sft", "x")}, "two rows of the table have one name: base, x, sft, x"),
        ({"ablations": {"dpo": {"beta": 0.0}}}, "two rows of the table have one name"),
        ({"ablations": {"no x": {"beta": 0.1}}}, "ablation 'no x': it changes nothing"),
        ({"ablations": {"no x": {"beta": "0"}}}, "beta: '0' is not of the type float"),
        ({"ablations": {"no x": {"variant": "own"}}}, "'no x': variant: 'own' is none of"),
        # Predictions that decide nothing.
        ({"expectations": (expectation(), expectation())}, "two expectations have one id: a, a"),
        ({"expectations": (expectation(against="x"),)}, "'a': it compares 'x' with itself"),
        (
            {"condition": {"unseen": "half"}, "expectations": (expectation(levels=("none",)),)},
            "levels: it compares the first with the last; name two",
        ),
        # Hooks that are called late in a run.
        ({"stages": (group_stage(rewards={"r": lambda a: []}),)}, "'r': is called with 2"),
        ({"stages": (group_stage(loss=lambda a, b: None),)}, "loss: .* 6 arguments and weights"),
        ({"stages": (group_stage(kl_in_reward=lambda a: a),)}, "kl_in_reward: is called with 5"),
        (
            {"stages": (group_stage(kl_in_reward=lambda *a: a, reference="none"),)},
            "kl_in_reward: there is no reference",
        ),
        ({"stages": (ppo_stage(rewards={"r": None}),)}, "'r': None cannot be called"),
        ({"stages": (ppo_stage(loss=lambda a: a),)}, "6 arguments and values, old_values, returns"),
        (
            {"stages": (ppo_stage(rewards={}, scores={"s": lambda rows: []}),)},
            "scores, 's': is called with 3",
        ),
        ({"stages": (selection(candidates=0),)}, "candidates: 0; at least 1"),
        ({"stages": (stage(when=lambda: True),)}, "when: is called with 1"),
        ({"rounds": lambda cfg: 0}, "rounds: 0; at least 1"),
        (
            {"stages": (stage(reference="none", views=(View("v", vocabulary_kl=True),)),)},
            "'v' is compared with a reference",
        ),
        ({"stages": (stage(name="a/b"),)}, "'a/b' cannot be the name of a folder"),
        ({"stages": (stage(lab=lab),)}, "lab is of the type function"),
        # What `--set` would not find.
        ({"config": WithoutDefault}, "no default of `beta`"),
        ({"config": Undecorated}, r"write `@dataclass\(frozen=True\)`"),
        ({"config": Config()}, r"write `@dataclass\(frozen=True\)`"),
    ],
)
def test_what_a_run_would_find_late_or_never_is_refused_when_it_is_made(changes, message):
    given = {"record": "x", "config": Config, "stages": (stage(),)}
    with pytest.raises(ContractError, match=f"^x: .*{message}"):
        Method(**given | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record": "dpo-two"}, "has the record 'dpo-two', whose script would be dpo_two.py"),
        ({"baselines": ("sft", "simp")}, "no script 'simp'; did you mean 'simpo'"),
        ({"world": "scene"}, "no world 'scene': there are"),
        ({"task": "brif"}, "no task 'brif'; did you mean 'brief'"),
        ({"condition": {"unsen": "half"}}, "no condition 'unsen'"),
        (
            {"condition": {"unseen": "half"}, "expectations": (
                expectation(of="dpo", against="sft", levels=("half", "nnoe")),
            )},
            "condition unseen has no level 'nnoe'",
        ),
    ],
)  # fmt: skip
def test_what_a_script_names_is_looked_for_when_it_is_imported(changes, message, monkeypatch):
    module = SCRIPTS["dpo"].module
    changed = dataclasses.replace(module.METHOD, expectations=())
    monkeypatch.setattr(module, "METHOD", dataclasses.replace(changed, **changes))
    with pytest.raises(ContractError, match=f"^dpo.py.* {message}"):
        load_script("dpo")


def test_an_expectation_names_rows_that_there_are():
    wrong = Expectation(
        id="a", text="A.", metric="chair_i", direction="lower", of="x", against="dop"
    )
    with pytest.raises(ContractError, match=r"no row 'dop'.*'dpo'"):
        Method(record="x", config=Config, stages=(stage(),), expectations=(wrong,))


def test_a_config_without_variant_is_refused():
    with pytest.raises(ContractError, match="no field `variant`"):
        Method(
            record="x", config=dataclasses.make_dataclass("Config", [("beta", float, 0.1)]),
            stages=(stage(),),
        )  # fmt: skip


def test_a_config_that_takes_any_variant_is_refused():
    fields = [("variant", str, "paper")]
    with pytest.raises(ContractError, match=r"any variant: write `class Config\(BaseConfig\)`"):
        Method(record="x", config=dataclasses.make_dataclass("C", fields), stages=(stage(),))


def test_without_a_reference_no_view_is_scored_by_one():
    views = stage(reference="none", views=("chosen", View("other"))).views_of(Config())
    assert [view.reference for view in views] == [False, False]


def test_an_unknown_script_names_the_nearest():
    with pytest.raises(LookupError, match="did you mean 'mdpo'"):
        load_script("mdop")


@ALL
def test_a_preset_takes_any_rank_of_an_adapter(name):
    """Alpha and layers of a preset's adapter are not options that a user gave."""
    for stage in SCRIPTS[name].method.stages:
        if isinstance(stage, SelectStage):
            continue
        for preset in (stage.lab, stage.paper):
            bare = changed(preset, {"lora_rank": 0})
            assert (bare.lora_alpha, bare.lora_targets) == (None, "all") or not preset.lora_rank
            wide = changed(preset, {"lora_rank": 256})
            if preset.lora_alpha is not None:
                assert wide.lora_alpha == preset.lora_alpha * 256 // preset.lora_rank
            given = changed(preset, {"lora_rank": 8, "lora_alpha": 5})
            assert given.lora_alpha == 5
