"""xGen-MM and others against hallucination: how their data steps provoke a wrong answer, and what
their own terms act on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from PIL import Image

from reference_impls.core.data.rows import text
from reference_impls.core.data.situations import cut_off, sentences, told_before, with_pictures
from reference_impls.core.judges import Workshop
from reference_impls.core.lab import Lab
from reference_impls.core.worlds.protocol import Item, Media, Turn, ask
from reference_impls.methods import dpo, xgen_mm
from tests.impls.test_objectives import batch


@dataclass
class Speaker:
    """Stands in for a policy: `say(item, shown)` is what it answers."""

    say: Callable[[Item[Any], Media], str]

    def answer_items(
        self, items: Sequence[Item[Any]], media: Sequence[Media], *how: Any
    ) -> list[str]:
        return [self.say(item, shown) for item, shown in zip(items, media, strict=True)]


def drawn(world, policy, *, count=6, task="brief", **others) -> Lab:
    """A round in which `policy` answers, and `others` are the separately trained bases."""

    class Room(Workshop):
        def other_base(self, lab, number):
            return others[f"base_{number}"]

    return Lab(world, world.tasks[task], policy, policy, Room(), seed=1, count=count)


def losses(script, pairs, **config):
    return script.loss(pairs, replace(script.Config(), **config))[0]


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


# --- situations that a model errs in --------------------------------------------------------------


def test_pictures_are_changed_and_nothing_else():
    shown = Media(images=(Image.new("RGB", (2, 2)), Image.new("RGB", (3, 1))), sampling_rate=8)
    (found,) = with_pictures([shown], lambda image: image.resize((5, 5)))
    assert [image.size for image in found.images] == [(5, 5)] * 2 and found.sampling_rate == 8
    assert [image.size for image in shown.images] == [(2, 2), (3, 1)]


def test_a_text_is_cut_at_the_ends_of_sentences():
    said = "row one : a cup . Is it? No! row two : a cat ."
    assert sentences(said) == ["row one : a cup .", "Is it?", "No!", "row two : a cat ."]
    assert cut_off(said, 2) == "row one : a cup . Is it?"
    assert cut_off(said, 0) == said
    assert cut_off(said, 4) == cut_off(said, 9) == cut_off("", 1) == ""


def test_a_statement_stands_behind_the_pictures_and_before_the_question():
    item = Item(None, ask("what is there ?", images=2, system="be kind ."), "nothing .")
    found = told_before(item, "there is a cup .")
    assert found.prompt[-1] == Turn("user", "<image> <image> there is a cup . what is there ?")
    assert found.prompt[0] == item.prompt[0] and found.truth == "nothing ."
    more = Turn("assistant", "a cat ."), Turn("user", "sure ?")
    later = replace(item, prompt=(*item.prompt, *more))
    assert told_before(later, "no .").prompt[-1].text == "no . sure ?"


# --- xGen-MM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_post_training_has_the_loss_of_dpo_whatever_the_variant(variant):
    pairs = batch()
    near(losses(xgen_mm, pairs, variant=variant), losses(dpo, pairs))


def test_the_best_of_other_models_stands_against_their_worst_and_against_an_answer_to_noise(world):
    """One of the others tells the truth, one tells nothing; the policy is misled by noise alone."""
    plain = {}

    def policy(item, shown):
        plain.setdefault(item.scene, world.show(item.scene).images[0].tobytes())
        return "a white cross ." if shown.images[0].tobytes() != plain[item.scene] else item.truth

    others = {
        "base_1": Speaker(lambda item, shown: item.truth),
        "base_2": Speaker(lambda item, shown: "nothing ."),
    }
    lab = drawn(world, Speaker(policy), **others)
    rows = xgen_mm.rated_pairs(lab, xgen_mm.Config())
    rules = {"best against worst": 6, "best against an answer to noise": 6}
    assert len(rows) == 12 and lab.tally.rules == rules
    assert all(text(row["chosen"]) == row["item"].truth for row in rows)
    assert [text(row["rejected"]) for row in rows] == ["nothing .", "a white cross ."] * 6
    # The picture that is trained on is the true one, also where the answer was given under noise.
    for row in rows:
        assert row["images"][0].tobytes() == plain[row["item"].scene]
    bare = drawn(world, Speaker(policy), **others)
    assert len(xgen_mm.rated_pairs(bare, xgen_mm.Config(noise_term=False))) == 6
    assert set(bare.tally.rules) == {"best against worst"}
