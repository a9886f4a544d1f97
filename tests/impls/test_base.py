"""The shipped base: made by the recorded command, and biased as the world says."""

import json

import pytest

from reference_impls.core import base
from reference_impls.core.evaluation import behaviour
from reference_impls.core.worlds import DrawnWorld, scenes


def test_the_shipped_base_is_small_and_says_how_it_was_made():
    folder = base.path(scenes)
    assert (folder / "model.safetensors").stat().st_size < 1_000_000
    made = json.loads((folder / "made.json").read_text())
    assert made["world_version"] == scenes.VERSION
    assert made["command"].startswith("python -m reference_impls.core.base scenes")


def test_the_first_steps_of_its_training_come_out_again():
    """Same data, same start, same optimizer: the losses of the first steps are those recorded."""
    recorded = json.loads((base.path(scenes) / "made.json").read_text())["first_losses"]
    losses = base.train(scenes, stop_after=len(recorded))[2]
    assert losses == pytest.approx(recorded, abs=2e-3)


def test_the_base_hallucinates_what_the_priors_suggest(policy):
    world = DrawnWorld(scenes, "validation", 128, 0)
    found = behaviour(policy, world)
    assert found["chair_i"] >= 0.1 and found["recall"] >= 0.6
    captions = policy.answer([scenes.CAPTION_PROMPT] * 128, world.images)
    invented = suggested = 0
    for scene, caption in zip(world.scenes, captions, strict=True):
        wrong = [name for name in scenes.mentioned(caption) if name not in scene.names]
        invented += len(wrong)
        suggested += sum(name in scenes.suggested_names(scene) for name in wrong)
    assert suggested / invented > 0.6, "what it invents comes from the priors"
