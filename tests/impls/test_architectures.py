"""Real checkpoints, tiny and random: each family is trained by each kind of objective, and only
what is meant to train moves. The slow tier has the whole matrix."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.auto.processing_auto import AutoProcessor
from transformers.models.smolvlm import processing_smolvlm

from reference_impls.bench.experiment import Experiment
from reference_impls.core.command_line import run
from reference_impls.core.lab import Lab
from reference_impls.core.method import load_script
from reference_impls.core.model import load as loading
from reference_impls.core.model.encode import Encoder, EncodingError, context_length
from reference_impls.core.model.load import CannotLoad, PixelLimits, load, load_processor
from reference_impls.core.settings import TrainSettings
from reference_impls.core.stages import model_digest
from reference_impls.core.train import common, forward
from reference_impls.core.train.checkpoints import begin
from reference_impls.core.train.groups import train_groups
from reference_impls.core.train.head import TrainedHead, load_head, train_head
from reference_impls.core.train.pairs import Lazily, train_pairs
from reference_impls.core.train.ppo import train_ppo
from tests.impls import tiny_models
from tests.impls.stages_for_tests import Config, group_stage, ppo_stage
from tests.impls.test_forward import ROWS, VIEWS, A, asked, direct, picture, row

FAMILIES = sorted(tiny_models.FAMILIES)
QUICK = ("gemma3", "qwen2_5_vl")
"""One that is scored plainly, and one whose projector stands inside its vision tower."""
OBJECTIVES = {
    "pairs": "dpo", "without reference": "sft", "three views": "mdpo", "vocabulary": "chip",
    "groups": None, "ppo": None, "head": "reward_model",
}  # fmt: skip
SETTINGS = TrainSettings(
    1e-3, steps=3, batch_size=2, warmup_ratio=0.0, scheduler="constant", group_size=2,
    max_new_tokens=4,
)  # fmt: skip


def tiered(families, *others):
    """Parameters of which all but the quick families' are slow."""
    return [
        pytest.param(f, *o, marks=() if f in QUICK else pytest.mark.slow, id="-".join((f, *o)))
        for f in families
        for o in (others or [()])
    ]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """family -> the folder of its checkpoint, written once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def saved(family):
        path = folder / family
        return path if path.exists() else tiny_models.save(family, path)

    return saved


def every_second(completions, answers):
    """A reward that differs within each group, whatever a random model says."""
    return [float(number % 2) for number in range(len(completions))]


def trained(path, output, objective="pairs", rows=ROWS, **changes):
    """(model, weights before, weights after, metrics by step) of three steps."""
    settings = dataclasses.replace(SETTINGS, **changes)
    model, processor = load(path)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    begin(output, {"of": str(path)}, False)
    given = {"settings": settings, "output": output}
    if objective == "groups":
        rows = [{**each, "answer": "no"} for each in rows]
        stage = group_stage(rewards={"every second": every_second})
        cfg = load_script("grpo").method.config()
        made = train_groups(model, processor, rows, stage=stage, cfg=cfg, **given)
    elif objective == "ppo":
        lab = Lab(None, None, None, None, None, 1, len(rows))
        stage = ppo_stage(rewards={"every second": every_second}, minibatches=1)
        made = train_ppo(model, processor, rows, stage=stage, cfg=Config(), lab=lab, **given)
    else:
        method = load_script(OBJECTIVES[objective]).method
        cfg = method.config()
        if method.last.prepare is not None:
            rows = Lazily(rows, method.last.prepare, cfg, 1)
        train = train_head if objective == "head" else train_pairs
        made = train(model, processor, rows, stage=method.last, cfg=cfg, **given)
    after = dict(model.named_parameters())
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return made, before, after, [json.loads(line) for line in lines]


def moved(before, after):
    """part -> (tensors that changed, tensors that did not)."""
    parts: dict[str, tuple[list[str], list[str]]] = {}
    for name, weight in before.items():
        changed, same = parts.setdefault(common.part_of(name), ([], []))
        owner, _, kind = name.rpartition(".")
        now = after[name] if name in after else after[f"{owner}.base_layer.{kind}"]
        (same if torch.equal(weight, now) else changed).append(name)
    return parts


@pytest.mark.parametrize(
    ("family", "objective"), tiered(FAMILIES, *[(objective,) for objective in OBJECTIVES])
)
def test_each_kind_of_objective_trains_language_model_and_projector_alone(
    family, objective, checkpoint, tmp_path, caplog
):
    with caplog.at_level(logging.INFO, "reference_impls"):
        _, before, after, metrics = trained(checkpoint(family), tmp_path, objective)
    assert [line["step"] for line in metrics] == [1, 2, 3]
    for line in metrics:
        assert all(torch.isfinite(torch.tensor(float(value))) for value in line.values())
        assert line["grad_norm"] > 0
    parts = moved(before, after)
    assert not parts["vision tower"][0]
    for part in ("projector", "language model"):
        still = set(parts[part][1])
        if objective == "head":
            still.discard("lm_head.weight")  # nothing is read from it
        assert not still, part
    if objective != "head":  # which is always read plainly
        told = [r.getMessage() for r in caplog.records if "scored" in r.getMessage()]
        assert len(told) == 1
        assert ("one pass, as checked" in told[0]) == (family != "gemma3")
    weights = json.loads((tmp_path / "weights.json").read_text())
    assert set(weights["frozen"]) >= {"vision tower"} and weights["adapter"] is None
    counted = sum(weights["trained"].values()) + sum(weights["frozen"].values())
    extra = 33 if objective in ("head", "ppo") else 0
    assert counted == sum(weight.numel() for weight in before.values()) + extra


@pytest.mark.parametrize("family", tiered(FAMILIES))
def test_a_loaded_checkpoint_scores_as_a_direct_pass_of_the_plain_model(family, checkpoint):
    model, processor = load(checkpoint(family))
    scorer = forward.Scorer(Encoder(processor), VIEWS)
    batch = scorer.collate(ROWS)
    with torch.no_grad():
        scores = scorer.score(model.eval(), batch)
        for view in VIEWS:
            for number, each in enumerate(ROWS):
                expected = direct(model, processor, each, view)
                found = scores.logps[view][number, : len(expected)]
                assert (found - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("family", [*tiered(FAMILIES)])
def test_the_vision_tower_trains_where_that_is_asked_for(family, checkpoint, tmp_path):
    _, before, after, _ = trained(checkpoint(family), tmp_path, train_vision=True)
    assert moved(before, after)["vision tower"][0]


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, marks=() if f in ("idefics3", "qwen2_5_vl") else pytest.mark.slow)
        for f in FAMILIES
    ],
)
def test_an_adapter_trains_alone_and_is_found_again(family, checkpoint, tmp_path):
    """Idefics3 calls its language model otherwise than the others: it once had no layer."""
    made, before, after, metrics = trained(
        checkpoint(family), tmp_path / "run", lora_rank=4, lora_targets="all"
    )
    assert len(metrics) == 3
    parts = moved(before, after)
    assert not any(changed for changed, _ in parts.values())
    weights = json.loads((tmp_path / "run" / "weights.json").read_text())
    adapter = weights["adapter"]
    assert (adapter["rank"], adapter["alpha"]) == (4, 8) and set(weights["trained"]) == {"adapter"}
    # Seven linear layers in each of the two blocks of the language model.
    assert len(adapter["targets"]) == 14
    assert {common.part_of(name) for name in adapter["targets"]} == {"language model"}
    made.save_pretrained(tmp_path / "model")
    processor = load(checkpoint(family))[1]
    processor.save_pretrained(tmp_path / "model")
    merged, again = load(tmp_path / "model")
    assert not [name for name, _ in merged.named_parameters() if "lora_" in name]
    with torch.no_grad():
        own = made(**_inputs(processor)).logits
        found = merged(**_inputs(again)).logits
    assert (own - found).abs().max() <= 1e-4


def test_an_adapter_on_an_adapter_is_found_again_with_the_one_below(checkpoint, tmp_path):
    """As in methods of several rounds: the second one's base is the first one's model."""
    path = checkpoint("qwen2_5_vl")
    processor = load(path)[1]
    for number in ("1", "2"):
        made = trained(path, tmp_path / f"run{number}", lora_rank=2)[0]
        path = tmp_path / number
        made.save_pretrained(path)
        processor.save_pretrained(path)
    again, _ = load(path)
    with torch.no_grad():
        assert (
            made(**_inputs(processor)).logits - again(**_inputs(processor)).logits
        ).abs().max() <= 1e-4
    shutil.rmtree(tmp_path / "1")
    with pytest.raises(CannotLoad, match=r"2 is an adapter of .*1, which is not there"):
        load(path)


def test_a_head_over_an_adapter_is_found_again(checkpoint, tmp_path):
    path = checkpoint("qwen2_5_vl")
    headed = trained(path, tmp_path / "run", "head", lora_rank=2)[0]
    headed.save(tmp_path / "model")
    processor = load(path)[1]
    processor.save_pretrained(tmp_path / "model")
    own = TrainedHead(headed, Encoder(processor)).rewards(ROWS)
    assert load_head(tmp_path / "model").rewards(ROWS) == pytest.approx(own, abs=1e-4)
    assert len(set(own)) == len(ROWS)


def _inputs(processor):
    scorer = forward.Scorer(Encoder(processor), ("chosen",))
    return scorer.model_inputs(scorer.collate(ROWS[1:2]))["chosen"]


def test_targets_are_the_layers_of_that_name_and_unknown_ones_are_refused(checkpoint, tmp_path):
    path = checkpoint("qwen2_5_vl")
    trained(path, tmp_path, lora_rank=2, lora_alpha=7, lora_targets="q_proj, v_proj")
    adapter = json.loads((tmp_path / "weights.json").read_text())["adapter"]
    assert adapter["alpha"] == 7
    assert {name.rpartition(".")[2] for name in adapter["targets"]} == {"q_proj", "v_proj"}
    assert len(adapter["targets"]) == 4
    model, _ = load(path)
    wrong = dataclasses.replace(SETTINGS, lora_rank=2, lora_targets="q_proj,query")
    with pytest.raises(ValueError, match=r"has no linear layer 'query'; there are .*q_proj"):
        common.make_trainable(model, wrong)
    with pytest.raises(ValueError, match="need --lora-rank"):
        dataclasses.replace(SETTINGS, lora_targets="q_proj")
    everything = dataclasses.replace(SETTINGS, lora_rank=2, train_vision=True)
    parts = {common.part_of(name) for name in common.adapted_layers(model, everything)}
    assert parts == {"vision tower", "projector", "language model"}


def test_what_trains_is_said_in_one_line(checkpoint):
    model, _ = load(checkpoint("qwen2_5_vl"))
    line = common.weights_of(common.make_trainable(model, SETTINGS)).line()
    assert line == (
        "trains 56.2k weights (projector 20.7k, language model 35.6k); frozen: vision tower 58.8k"
    )


TOWERS = {
    "DeepseekVLHybrid": ("high_res_vision_model", "vision_model"),
    "VideoLlava": ("image_tower", "video_tower"),
    "Qwen2_5OmniThinker": ("visual", "audio_tower"),
    "LightOnOcr": ("vision_encoder",),
    "Kosmos2": ("vision_model",),
}


@pytest.mark.parametrize("family", TOWERS)
def test_every_tower_of_a_model_stays_as_it_is(family):
    """Of the real classes, with the published sizes and without any weights."""
    config = getattr(transformers, f"{family}Config")()
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForConditionalGeneration")._from_config(config)
        model = common.make_trainable(model, SETTINGS)
    trains = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trains
    for tower in TOWERS[family]:
        inside = [n for n, _ in model.named_parameters() if f".{tower}." in f".{n}"]
        assert inside
        assert {common.part_of(n) for n in inside if n in trains} <= {"projector"}
    adapted = common.adapted_layers(model, dataclasses.replace(SETTINGS, lora_rank=2))
    assert {name for name in adapted if "vis" in name or "proj" in name.split(".")[1]} == set()


def test_a_model_without_a_known_tower_is_not_trained_as_if_it_had_one():
    with torch.device("meta"):
        model = transformers.Pix2StructForConditionalGeneration._from_config(
            transformers.Pix2StructConfig()
        )
    with pytest.raises(ValueError, match=r"Pix2Struct.* has no part that is known as its vision"):
        common.make_trainable(model, SETTINGS)
    made = common.make_trainable(model, dataclasses.replace(SETTINGS, train_vision=True))
    assert all(weight.requires_grad for weight in made.parameters())


def test_no_dropout_of_a_checkpoint_takes_part_in_training():
    """It may stand in modules, or in numbers that functions of attention are given."""
    _, processor = tiny_models.FAMILIES["llava"]()
    config = tiny_models.FAMILIES["llava"]()[0].config
    config.text_config.attention_dropout = config.vision_config.attention_dropout = 0.5
    model = transformers.LlavaForConditionalGeneration(config)
    batch = _inputs(processor)
    noisy = [model.train()(**batch).logits for _ in range(2)]
    assert not torch.equal(*noisy)
    common.make_trainable(model, SETTINGS)
    assert torch.equal(model.train()(**batch).logits, model.eval()(**batch).logits)
    assert model.config.text_config.attention_dropout == 0.5  # a checkpoint says what it was given


# --- checkpoints that are not whole --------------------------------------------------------------


def without(folder, *names):
    """Take weights out of a checkpoint."""
    file = folder / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if name not in names}
    assert len(kept) < len(load_file(file))
    save_file(kept, file, {"format": "pt"})


def test_weights_that_a_checkpoint_lacks_are_not_made_up(checkpoint, tmp_path, caplog):
    folder = shutil.copytree(checkpoint("qwen2_5_vl"), tmp_path / "model")
    lost = next(name for name in load_file(folder / "model.safetensors") if "q_proj.weight" in name)
    without(folder, lost)
    with pytest.raises(CannotLoad, match=r"lack 1 weights of a Qwen2_5_VL.*q_proj\.weight"):
        load(folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": 1, "layer_types": ["full_attention"]}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(checkpoint("qwen2_5_vl") / "model.safetensors", folder)
    with caplog.at_level(logging.INFO, "reference_impls"):
        load(folder)
    assert "has no place for" in caplog.text and "layers.1." in caplog.text


def test_weights_that_an_adapter_lacks_are_not_made_up(checkpoint, tmp_path):
    model, processor = load(checkpoint("qwen2_5_vl"))
    made = common.make_trainable(model, dataclasses.replace(SETTINGS, lora_rank=2))
    made.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    load(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    kept = load_file(file)
    del kept[next(iter(kept))]
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(CannotLoad, match=r"its file lacks 1 weights of the adapter: .*lora_"):
        load(tmp_path)


def test_all_that_decides_what_a_checkpoint_answers_is_in_its_name(checkpoint, tmp_path):
    """So that --resume refuses a template, a tokenizer or an adapter's base that has changed."""
    base = shutil.copytree(checkpoint("qwen2_5_vl"), tmp_path / "base")
    model, processor = load(base)
    made = common.make_trainable(model, dataclasses.replace(SETTINGS, lora_rank=2))
    made.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    names = {model_digest(str(tmp_path / "adapter"))}
    for file in ("chat_template.jinja", "tokenizer.json", "config.json"):
        (base / file).write_text((base / file).read_text() + " ")
        names.add(model_digest(str(tmp_path / "adapter")))
    assert len(names) == 4
    assert model_digest("owner/name") == "owner/name"


@pytest.mark.parametrize(
    ("real", "changes", "rate"),
    [
        (True, {"lora_targets": "q_proj"}, 1e-5),
        (True, {"learning_rate": 3e-5}, 3e-5),
        (False, {"learning_rate": 3e-5}, 1e-6),
    ],
)
def test_baselines_train_what_the_method_trains(real, changes, rate, world, tmp_path):
    """mDPO's preset is an adapter at 1e-5, DPO's all weights at 1e-6."""
    script, other = load_script("mdpo"), load_script("dpo")
    experiment = Experiment(
        script, script.method.config(), "paper", dict(changes), world, tmp_path, "base",
        real_model=real,
    )  # fmt: skip
    made = experiment.run_of(other, other.method.config(), tmp_path, None)
    settings = made.settings(other.method.last)
    assert (settings.lora_rank, settings.learning_rate) == (64, rate)
    assert settings.lora_targets == changes.get("lora_targets", "all")


# --- precision, memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", tiered(FAMILIES))
def test_at_a_rate_of_1e_6_every_trained_tensor_changes_under_bfloat16(
    family, checkpoint, tmp_path
):
    """Weights of 16 bits do not: between 0.25 and 0.5 they are 2e-3 apart."""
    _, before, after, _ = trained(
        checkpoint(family), tmp_path, learning_rate=1e-6, dtype="bfloat16"
    )
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    parts = moved(before, after)
    assert not parts["projector"][1] and not parts["language model"][1]
    matrices = [
        name for name in parts["language model"][0] if ".layers." in name and "proj" in name
    ]
    changed = sum((before[name] != after[name]).sum().item() for name in matrices)
    assert changed > 0.99 * sum(before[name].numel() for name in matrices)


def test_a_precision_that_would_be_another_one_is_refused():
    """Accelerate 1.15 computes in float32 where a CPU is told float16."""
    with pytest.raises(ValueError, match="--dtype float16 needs a GPU"):
        dataclasses.replace(SETTINGS, dtype="float16")


def test_an_adapter_is_in_float32_on_weights_that_are_not(checkpoint):
    model, _ = load(checkpoint("qwen2_5_vl"), dtype="bfloat16")
    made = common.make_trainable(model, dataclasses.replace(SETTINGS, lora_rank=2))
    dtypes = {(weight.requires_grad, weight.dtype) for weight in made.parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.parametrize("adapter", [0, 4])
@pytest.mark.parametrize("family", tiered(FAMILIES))
def test_checkpointing_of_activations_changes_no_loss(family, adapter, checkpoint, tmp_path):
    losses = {}
    for again in (False, True):
        made, _, _, metrics = trained(
            checkpoint(family), tmp_path / str(again), gradient_checkpointing=again,
            lora_rank=adapter,
        )  # fmt: skip
        losses[again] = [line["loss"] for line in metrics]
        used = [getattr(module, "gradient_checkpointing", False) for module in made.modules()]
        assert any(used) == again
    assert losses[True] == pytest.approx(losses[False], abs=1e-5)


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_limits_of_pixels_are_the_processors(family, checkpoint, tmp_path):
    side = 32 if family == "qwen3_vl" else 28
    shown = picture(3, 10 * side, 10 * side)

    def tokens(limits, path=None):
        processor = load_processor(str(path or checkpoint(family)), limits)
        prompt = Encoder(processor).prompt(asked("What?"), [shown])
        return prompt.ids.count(processor.image_token_id), processor

    assert tokens(PixelLimits())[0] == 9
    count, processor = tokens(PixelLimits(most=5 * side * side))
    assert count == 4
    processor.save_pretrained(tmp_path)  # a trained model keeps them
    load(checkpoint(family))[0].config.save_pretrained(tmp_path)
    assert tokens(PixelLimits(), tmp_path)[0] == 4
    assert tokens(PixelLimits(16 * side * side, 16 * side * side))[0] == 16
    with pytest.raises(CannotLoad, match="at least 10000 and at most 100 pixels"):
        PixelLimits(10000, 100).apply(processor)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"qwen2_vl", "qwen2_5_vl", "qwen3_vl"}))
def test_limits_of_pixels_are_refused_by_name_where_there_are_none(family):
    _, processor = tiny_models.build(family)
    name = type(processor).__name__
    with pytest.raises(CannotLoad, match=f"--max-pixels: {name} does not size images"):
        PixelLimits(most=100).apply(processor)


@pytest.mark.parametrize("objective", ["pairs", "groups", "ppo", "head"])
def test_a_row_that_is_longer_than_the_model_reads_is_refused_by_its_number(
    objective, checkpoint, tmp_path
):
    model, _ = load(checkpoint("qwen2_5_vl"))
    long = row(asked("x" * context_length(model.config)), [A], [A], "yes", "no")
    with pytest.raises(EncodingError, match=r"row 1\b.*with 1 images and \d+ of answer") as problem:
        trained(checkpoint("qwen2_5_vl"), tmp_path, objective, [ROWS[1], long, ROWS[2]])
    assert "nothing is cut" in str(problem.value) and "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("rope", "most"),
    [
        ({}, 32768),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 32768),
    ],
)
def test_the_context_is_the_one_that_the_positions_are_scaled_to(rope, most):
    class Config:
        max_position_embeddings = 32768
        rope_parameters = rope

        def get_text_config(self):
            return self

    assert context_length(Config()) == most


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layout_of_published_checkpoints_is_read(family, checkpoint, tmp_path):
    """Written before transformers 5: the image processor and the template in files of their own,
    the classes that need torchvision in their names."""
    processor = load_processor(str(checkpoint(family)))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint(family) / name, tmp_path / name)
    images = processor.image_processor.to_dict()
    kind = images["image_processor_type"].removesuffix("Pil")
    for suffix in ("", "Fast"):
        images |= {
            "image_processor_type": kind + suffix,
            "processor_class": type(processor).__name__,
        }
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
        parts = json.loads((checkpoint(family) / "processor_config.json").read_text())
        parts = {name: part for name, part in parts.items() if name != "image_processor"}
        (tmp_path / "processor_config.json").write_text(json.dumps(parts))
        template = {"chat_template": processor.chat_template}
        (tmp_path / "chat_template.json").write_text(json.dumps(template))
        again = load_processor(str(tmp_path))
        prompts = [Encoder(each).prompt(asked("What?"), [A]) for each in (processor, again)]
        assert prompts[0].ids == prompts[1].ids
        for name, value in prompts[0].vision.items():
            assert torch.equal(value, prompts[1].vision[name])


# --- what is missing -----------------------------------------------------------------------------


def test_a_package_that_a_processor_needs_is_named_before_weights_are_read(checkpoint, monkeypatch):
    path = checkpoint("smolvlm")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    monkeypatch.setattr(loading, "AutoModelForImageTextToText", None)
    with pytest.raises(
        CannotLoad, match=r"SmolVLMProcessor needs num2words.*pip install num2words"
    ):
        load(path)

    def absent(*given, **named):
        raise ImportError("it requires the Torchvision library: torchvision is not there")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", absent)
    with pytest.raises(CannotLoad, match=r"needs torchvision.*pip install torchvision"):
        load(checkpoint("llava"))


def test_a_checkpoint_with_code_of_its_own_or_without_a_template_is_refused(tmp_path, checkpoint):
    kind = {"model_type": "internvl_chat", "auto_map": {"AutoConfig": "configuration.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(kind))
    with pytest.raises(CannotLoad, match=r"code of its own, which is not run.*-hf"):
        load(tmp_path)
    model, processor = tiny_models.llava()
    processor.chat_template = None
    processor.save_pretrained(tmp_path / "base")
    model.config.save_pretrained(tmp_path / "base")
    with pytest.raises(CannotLoad, match="no chat template"):
        load(tmp_path / "base")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--load-in-4bit", "--lora-rank", "4"], "--load-in-4bit needs a CUDA device"),
        (["--log-to", "wandb"], "--log-to wandb: it is not installed: pip install wandb"),
        (["--log-to", "tensorboard"], "pip install tensorboard"),
    ],
)
def test_what_cannot_be_had_here_is_one_line(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run("dpo", options) == 2
    captured = capsys.readouterr()
    assert said in captured.err and len(captured.err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_four_bits_need_an_adapter():
    with pytest.raises(ValueError, match="--load-in-4bit needs --lora-rank"):
        dataclasses.replace(SETTINGS, load_in_4bit=True)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("family", tiered(FAMILIES))
def test_a_run_says_what_trains_before_anything_else(family, checkpoint, tmp_path, capsys):
    for number, each in enumerate((A, picture(5), picture(6))):
        each.save(tmp_path / f"{number}.png")
    lines = [
        {"image": f"{n % 3}.png", "question": f"What is {n}?", "chosen": "yes", "rejected": "no"}
        for n in range(12)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, lines)) + "\n")
    status = run(
        "dpo",
        [
            "--model", str(checkpoint(family)), "--dataset", str(data), "--steps", "2",
            "--batch-size", "4", "--no-baselines", "--output", str(tmp_path / "out"), "--json",
        ],
    )  # fmt: skip
    captured = capsys.readouterr()
    assert status == 0, captured.err
    said = captured.err.splitlines()
    (line,) = [line for line in said if ": trains " in line]
    assert line.startswith("dpo, train: trains ") and "; frozen: vision tower" in line
    assert said.index(line) < said.index("dpo: evaluating the base")
    rows = json.loads(captured.out)["rows"]
    assert set(rows) == {"base", "dpo"} and "chosen_logp" in rows["dpo"]
    kept = json.loads((tmp_path / "out" / "train" / "weights.json").read_text())
    assert set(kept["trained"]) == {"projector", "language model"}
    config = json.loads((tmp_path / "out" / "train" / "run.json").read_text())
    assert config["settings"]["train_vision"] is False and "log_to" not in config["settings"]
