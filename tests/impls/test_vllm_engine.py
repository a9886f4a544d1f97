"""Sampling by vLLM, with a stand-in that keeps what it was asked: vLLM itself is not run."""

import dataclasses
import sys
import types

import pytest
import torch

from reference_impls.core.command_line import run
from reference_impls.core.data.rows import prompt_row
from reference_impls.core.model import vllm_engine
from reference_impls.core.model.encode import Encoder
from reference_impls.core.train import common, sharded
from reference_impls.core.train.groups import train_groups
from tests.impls import stages_for_tests, tiny_models


@pytest.fixture
def vllm(monkeypatch):
    """A module `vllm` whose engine answers with three words of the lab's vocabulary."""
    made = []

    class Engine:
        def __init__(self, **options):
            self.options, self.asked, self.loaded, self.resets = options, [], [], 0
            model = types.SimpleNamespace(load_weights=self.load)
            runner = types.SimpleNamespace(model=model)
            worker = types.SimpleNamespace(model_runner=runner)
            executor = types.SimpleNamespace(driver_worker=worker)
            self.llm_engine = types.SimpleNamespace(model_executor=executor)
            made.append(self)

        def load(self, weights):
            self.loaded.append({name: value.clone() for name, value in weights})

        def reset_prefix_cache(self):
            self.resets += 1

        def generate(self, prompts, ways, use_tqdm):
            assert use_tqdm is False and len(prompts) == len(ways)
            self.asked.append((prompts, ways))
            outputs = [
                types.SimpleNamespace(token_ids=[10 + way.seed % 7, 11, 1], finish_reason="stop")
                for way in ways
            ]
            return [types.SimpleNamespace(outputs=[each]) for each in outputs]

    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = Engine, types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    return made


@pytest.fixture
def prompts(world):
    task = next(iter(world.tasks.values()))
    items = task.items(world.draw("pairs", 4, 0), 0)
    return [prompt_row(item, world.show(item.scene), answer="a") for item in items]


def test_groups_are_sampled_by_it_with_the_weights_of_each_step(vllm, loaded, prompts, tmp_path):
    model, processor = loaded
    settings = dataclasses.replace(
        stages_for_tests.SETTINGS, generate_with="vllm", batch_size=2, group_size=3, steps=2
    )
    train_groups(
        model, processor, prompts, stage=stages_for_tests.STAGES["groups"],
        cfg=stages_for_tests.Config(), settings=settings, output=tmp_path,
    )  # fmt: skip
    (engine,) = vllm
    assert engine.options["model"] == model.name_or_path
    assert engine.options["dtype"] == "float32"
    assert len(engine.asked) == len(engine.loaded) == engine.resets == 2
    first, second = engine.loaded
    assert first.keys() == dict(model.named_parameters()).keys()
    # The first rate is that of the step: weights that were handed over the second time have moved.
    assert any(not torch.equal(first[name], second[name]) for name in first)
    encoder = Encoder(processor)
    asked, ways = engine.asked[0]
    assert len(asked) == 6 and asked[0]["prompt_token_ids"] == asked[2]["prompt_token_ids"]
    placeholder = encoder.placeholder_ids()[0]
    assert asked[0]["prompt_token_ids"].count(placeholder) == 1
    assert len(asked[0]["multi_modal_data"]["image"]) == 1
    assert ways[0].temperature == 1.0 and ways[0].max_tokens == settings.max_new_tokens
    assert (ways[0].top_p, ways[0].top_k, ways[0].repetition_penalty) == (1.0, 0, 1.0)
    assert set(ways[0].stop_token_ids) == set(encoder.stop_ids())
    assert ways[0].logit_bias[placeholder] == vllm_engine.NEVER
    seeds = [way.seed for _, each in engine.asked for way in each]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("ids", "reason", "finished"),
    [
        ([10, 11, 1], "stop", True),  # the encoder's own ending
        ([10, 11, 13], "stop", True),  # one that the model's configuration alone has
        ([10, 11, 13], "length", False),  # the same tokens, cut for want of room
    ],
)
def test_an_answer_has_ended_where_the_engine_says_so(
    ids, reason, finished, vllm, loaded, prompts, monkeypatch
):
    model, processor = loaded
    encoder = Encoder(processor)
    assert 1 in encoder.stop_ids() and 13 not in encoder.stop_ids()
    engine = vllm_engine.VllmEngine(model.name_or_path, encoder, None, "float32", 0)
    output = types.SimpleNamespace(token_ids=ids, finish_reason=reason)
    given = [types.SimpleNamespace(outputs=[output])]
    monkeypatch.setattr(engine.engine, "generate", lambda *args, **kwargs: given)
    (answer,) = engine.answer([prompts[0]["prompt"]], [prompts[0]["images"]], 1.0, 3, 0)
    assert (answer.finished, list(answer.ids)) == (finished, ids)


def test_an_adapter_is_handed_over_inside_the_weights_and_taken_out_again(vllm, loaded):
    model, _ = loaded
    settings = dataclasses.replace(stages_for_tests.SETTINGS, lora_rank=2)
    names = set(dict(model.named_parameters()))
    adapted = common.make_trainable(model, settings)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    before = {name: each.detach().clone() for name, each in adapted.named_parameters()}
    handed = {name: value.clone() for name, value in vllm_engine.merged_weights(adapted)}
    assert handed.keys() == names
    after = dict(adapted.named_parameters())
    for name, value in before.items():
        assert torch.allclose(after[name], value, atol=1e-6), name
    changed = [
        name for name in handed
        if name.endswith("q_proj.weight") and "language" in name
        and not torch.allclose(
            handed[name],
            before[f"base_model.model.{name}".replace(".weight", ".base_layer.weight")],
        )
    ]  # fmt: skip
    assert changed


def test_an_image_in_several_parts_is_refused(vllm):
    from PIL import Image

    _, processor = tiny_models.build("idefics3")
    engine = vllm_engine.VllmEngine("somewhere", Encoder(processor), 512, "float32", 0)
    asked = [{"role": "user", "content": "What is it?"}]
    with pytest.raises(vllm_engine.CannotSample, match="lays an image out in several parts"):
        engine.answer([asked], [[Image.new("RGB", (32, 32))]], 1.0, 4, 0)


def test_it_is_refused_in_one_line_where_it_cannot_be(
    loaded, prompts, tmp_path, capsys, monkeypatch
):
    assert run("dpo", ["--generate-with", "vllm"]) == 2
    assert "--generate-with would change nothing: dpo" in capsys.readouterr().err
    assert run("grpo", ["--generate-with", "vllm"]) == 2
    error = capsys.readouterr().err
    assert "vllm is not installed" in error and len(error.strip().splitlines()) == 1
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    with pytest.raises(vllm_engine.CannotSample, match="needs --device cuda"):
        vllm_engine.check_vllm("cpu")
    monkeypatch.undo()
    monkeypatch.setattr(sharded, "is_sharded", lambda trainer: True)
    settings = dataclasses.replace(stages_for_tests.SETTINGS, generate_with="vllm")
    with pytest.raises(vllm_engine.CannotSample, match=r"ddp\.yaml"):
        train_groups(
            *loaded, prompts, stage=stages_for_tests.STAGES["groups"],
            cfg=stages_for_tests.Config(), settings=settings, output=tmp_path,
        )  # fmt: skip
