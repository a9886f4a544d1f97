"""Mistakes that tests once let through: each is made in the real code, and a test must fail."""

import inspect
import json
import textwrap

import pytest

from reference_impls.core.data import segments
from reference_impls.core.method import KNOWN_VIEWS, View
from reference_impls.core.train import forward, groups, pairs, reference
from reference_impls.methods import ddpo, mdpo
from tests.impls import test_conformance, test_training
from tests.impls.test_objectives import batch
from tests.impls.test_training import prompts, rows  # noqa: F401

VIEWS = test_training.test_each_view_has_answer_image_reference_and_marks_of_its_own_row
GROUPS = test_training.test_the_answers_of_a_group_are_to_one_prompt


def mutate(monkeypatch, owner, name, old, new):
    """Put a function in the place of its own with `new` for `old` in its source."""
    source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
    assert source.count(old) == 1, f"{name} has no single {old!r}: look at the mutant again"
    if inspect.isclass(owner):
        source = source.replace("super()", f"super({owner.__name__}, self)")
    module = inspect.getmodule(owner)
    names = dict(vars(module))
    exec(compile(source.replace(old, new), f"<mutant of {name}>", "exec"), names)
    monkeypatch.setattr(owner, name, names[name])


def mdpo_code_has_no_delta():
    for variant, honoured in (("paper", True), ("code", False)):
        losses = [
            mdpo.loss(batch(), mdpo.Config(variant=variant, delta=delta))[0].sum().item()
            for delta in (0.0, 1.0)
        ]
        assert (losses[0] != losses[1]) == honoured


def marking_vectors():
    cases = json.loads((test_conformance.FOLDER / "ddpo.json").read_text())
    for case in cases:
        if case["kind"] == "marking":
            test_conformance.test_marked_tokens("ddpo", case)


ROW = "self.rows[number]"
MUTANTS = {
    "the stored reference has its views in another order": (
        reference.StoredReference, "of", "return found",
        "return {n: found[n[:-8] if n.endswith('_corrupt') else n + '_corrupt'] for n in found}",
    ),
    "the stored reference of a corrupt view is that of the true image": (
        reference.StoredReference, "of", "enumerate(batch.keys[name])",
        "enumerate(batch.keys[name.removesuffix('_corrupt')])",
    ),
    "the reference is stored under the first view's scores": (
        forward.Scorer, "store", "scores.logps[name][row, :length]",
        "scores.logps[names[-1]][row, :length]",
    ),
    "marks are off by one": (
        pairs, "token_columns", "= torch.tensor(list(values))",
        "= torch.tensor(list(values)).roll(1)",
    ),
    "marks are inverted": (
        pairs, "token_columns", "= torch.tensor(list(values))",
        "= 1 - torch.tensor(list(values))",
    ),
    "the margin is never read": (pairs, "pair_batch", "margin=margin", "margin=None"),
    "chosen and rejected are swapped in the collator": (
        pairs.PairTrainer, "_collate", f"[{ROW} for",
        f"[{{**{ROW}, 'chosen': {ROW}['rejected'], 'rejected': {ROW}['chosen']}} for",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_view_with_what_is_not_its_own_is_found(mutant, tiny_base, rows, tmp_path, monkeypatch):  # noqa: F811
    mutate(monkeypatch, *mutant)
    with pytest.raises((AssertionError, AttributeError, reference.StoredReferenceError)):
        VIEWS(tiny_base, rows, tmp_path)


@pytest.mark.parametrize(
    "view",
    [
        View("rejected_corrupt", response="chosen", images="negative_images"),
        View("rejected_corrupt", response="rejected"),
    ],
    ids=["scores the chosen answer", "under the true image"],
)
def test_another_rejected_corrupt_is_found(view, tiny_base, rows, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(KNOWN_VIEWS, "rejected_corrupt", view)
    with pytest.raises(AssertionError):
        VIEWS(tiny_base, rows, tmp_path)


def test_answers_that_are_not_regrouped_are_found(tiny_base, prompts, tmp_path, monkeypatch):  # noqa: F811
    mutate(
        monkeypatch, groups.GroupTrainer, "_sample", "for row in rows for _ in range(group)",
        "for _ in range(group) for row in rows",
    )  # fmt: skip
    with pytest.raises(AssertionError):
        GROUPS(tiny_base, prompts, tmp_path)


def test_a_state_per_forward_pass_is_found(tiny_base, rows, tmp_path, monkeypatch):  # noqa: F811
    mutate(
        monkeypatch, pairs.PairTrainer, "get_batch_samples", "several = len(batches) > 1 or",
        "several = False and",
    )  # fmt: skip
    with pytest.raises(AssertionError):
        test_training.test_accumulated_passes_take_the_step_of_the_whole_batch(
            test_training.running_mean, True, tiny_base, rows, tmp_path
        )


def test_mdpos_code_with_a_delta_is_found(monkeypatch):
    mdpo_code_has_no_delta()
    mutate(monkeypatch, mdpo, "loss", '0.0 if cfg.variant == "code" else cfg.delta', "cfg.delta")
    with pytest.raises(AssertionError):
        mdpo_code_has_no_delta()


@pytest.mark.parametrize(
    "wrong", ["return [1 - m for m in marks[0]], marks[1]", "return marks[0][1:] + [0], marks[1]"]
)
def test_wrongly_marked_changes_are_found(wrong, monkeypatch):
    marking_vectors()
    mutate(monkeypatch, segments, "changed_tokens", "return marks", wrong)
    monkeypatch.setattr(ddpo, "changed_tokens", segments.changed_tokens)
    with pytest.raises(AssertionError):
        marking_vectors()
