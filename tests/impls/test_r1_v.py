"""R1-V and GRPO: objective by hand and by vectors, rewards, and training in the real trainer."""

from __future__ import annotations

import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("trl", reason="the train extra is not installed")

from reference_impls.core.counting import counting, thought  # noqa: E402
from reference_impls.core.group_trainer import train_group  # noqa: E402
from reference_impls.core.policy import Policy  # noqa: E402

from reference_impls.core import base, models, objectives, preference_data  # noqa: E402
from reference_impls.core.settings import TrainSettings  # noqa: E402
from reference_impls.core.worlds import DrawnWorld, scenes  # noqa: E402
from reference_impls.methods import r1_v  # noqa: E402
from tests.impls.tiny_qwen import save_tiny_qwen2_5_vl  # noqa: E402

# transformers 5.24 renamed these; TRL 1.16 still reads and sets the old names.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning")

VECTORS = Path(r1_v.__file__).parent.parent / "conformance"


def cases(file: str, kind: str) -> list:
    found = [c for c in json.loads((VECTORS / file).read_text()) if c["kind"] == kind]
    assert found, f"{file} holds no case of kind {kind}"
    return [pytest.param(case, id=case["id"]) for case in found]


def numbers(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ours(case):
    """(advantages, loss, config) that a vector is for: the baseline's or the script's."""
    settings = case["config"] | {"variant": case["variant"]}
    if case["id"].startswith("grpo"):
        cfg = objectives.GrpoConfig(**settings)
        return lambda rewards, _: objectives.group_advantages(rewards), objectives.grpo, cfg
    return r1_v.advantages, r1_v.loss, r1_v.Config(**settings)


# --- conformance vectors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", cases("grpo.json", "advantages") + cases("r1_v.json", "advantages")
)
def test_advantages_agree_with_the_vectors(case):
    advantages, _, cfg = ours(case)
    result = advantages(numbers(case["inputs"]["rewards"]), cfg)
    expected = numbers(case["outputs"]["advantages"])
    torch.testing.assert_close(result, expected, rtol=0, atol=case.get("tolerance", 1e-9))


@pytest.mark.parametrize("case", cases("grpo.json", "loss") + cases("r1_v.json", "loss"))
def test_loss_and_gradient_agree_with_the_vectors(case):
    _, loss, cfg = ours(case)
    given = {name: numbers(values) for name, values in case["inputs"].items()}
    given["logps"].requires_grad_()
    value, _ = loss(
        *(given[n] for n in ("logps", "old_logps", "ref_logps", "advantages", "mask")), cfg
    )
    value.backward()
    near = {"rtol": 0, "atol": case.get("tolerance", 1e-9)}
    torch.testing.assert_close(value.detach(), numbers(case["outputs"]["loss"]), **near)
    expected = numbers(case["outputs"]["gradients"]["logps"])
    torch.testing.assert_close(given["logps"].grad, expected, **near)


@pytest.mark.parametrize("case", cases("r1_v.json", "rewards"))
def test_rewards_agree_with_the_official_functions(case):
    texts, truths = case["inputs"]["completions"], case["inputs"]["solutions"]
    assert r1_v.reward_accuracy(texts, truths) == case["outputs"]["accuracy"]
    assert r1_v.reward_format(texts, truths) == case["outputs"]["format"]


# --- the objective by hand -----------------------------------------------------------------------


def test_advantages_by_hand():
    # Rewards 2, 1, 0: mean 1, deviations 1, 0, -1, sample standard deviation sqrt(2 / 2) = 1.
    rewards = numbers([[2, 1, 0]])
    assert r1_v.advantages(rewards, r1_v.Config()).tolist() == [[1, 0, -1]]
    code = r1_v.advantages(rewards, r1_v.Config(variant="code"))
    assert code[0].tolist() == pytest.approx([1 / 1.0001, 0, -1 / 1.0001])
    # Each group has its own mean and deviation: rewards of another group change nothing.
    both = r1_v.advantages(numbers([[2, 1, 0], [50, 0, 7]]), r1_v.Config())
    assert both[0].tolist() == [1, 0, -1]


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_advantages_sum_to_zero_and_equal_rewards_teach_nothing(variant):
    cfg = r1_v.Config(variant=variant)
    rewards = torch.rand(50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = r1_v.advantages(rewards, cfg)
    torch.testing.assert_close(result.sum(1), torch.zeros(50).double(), rtol=0, atol=1e-12)
    # 0.1 in float32: its mean over 3, 5, 6, 7 is not 0.1, so a tiny std must not blow up.
    for group in range(2, 9):
        assert not r1_v.advantages(torch.full((2, group), 0.1), cfg).any()


def batch(rows: int = 4, tokens: int = 5, seed: int = 0):
    """Random float64 log-probabilities, a ragged mask, and advantages that sum to 0."""
    draw = torch.Generator().manual_seed(seed)
    mask = (torch.arange(tokens) < torch.randint(1, tokens + 1, (rows, 1), generator=draw)).double()
    logps, old, ref = (-torch.rand(rows, tokens, generator=draw).double() * mask for _ in range(3))
    rewards = torch.rand(1, rows, generator=draw).double()
    flat = objectives.group_advantages(rewards).flatten()
    return logps, old, ref, flat.unsqueeze(1).expand(rows, tokens), mask


@pytest.mark.parametrize("variant", ["paper", "code", "survey"])
def test_on_the_first_update_the_loss_is_the_kl_alone(variant):
    logps, _, ref, advantages, mask = batch()
    cfg = r1_v.Config(variant=variant)
    value, metrics = r1_v.loss(logps, logps, ref, advantages, mask, cfg)
    # The ratio is 1 and the advantages sum to 0, so sum_i A_i is all that is left of the surrogate.
    assert value.item() == pytest.approx(cfg.beta * metrics["kl"].mean().item(), abs=1e-12)
    assert not metrics["clip_fraction"].any()
    # Policy = reference: no divergence either. Without KL no reference is needed.
    value, _ = r1_v.loss(logps, logps, logps, advantages, mask, cfg)
    assert value.item() == pytest.approx(0, abs=1e-12)
    no_kl = replace(cfg, **r1_v.ABLATIONS["no KL"])
    value, _ = r1_v.loss(logps, logps, None, advantages, mask, no_kl)
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_kl_and_clip_by_hand():
    # One answer of one token, advantage 1, pi = e^-1, reference e^-2, old e^-1.5:
    # rho = e^0.5 = 1.6487 is clipped to 1.2; D = e^-1 + 1 - 1 = 0.36788.
    # L = -(1.2 - 0.04 * 0.36788) = -1.185285.
    one, cfg = numbers([[1.0]]), r1_v.Config()
    given = numbers([[-1.0]]), numbers([[-1.5]]), numbers([[-2.0]])
    value, metrics = r1_v.loss(*given, one, one, cfg)
    assert value.item() == pytest.approx(-1.185285, abs=1e-6)
    assert metrics["kl"].item() == pytest.approx(math.exp(-1))
    assert metrics["clip_fraction"].item() == 1
    # The code has no old policy: rho = 1. L = -(1 - 0.04 * 0.36788) = -0.985285.
    value, _ = r1_v.loss(*given, one, one, r1_v.Config(variant="code"))
    assert value.item() == pytest.approx(-0.985285, abs=1e-6)
    # A bad answer that became likelier is not clipped: min(-1.6487, -1.2) = -1.6487.
    value, _ = r1_v.loss(*given, -one, one, r1_v.Config(beta=0.0))
    assert value.item() == pytest.approx(math.exp(0.5))


def test_gradient_makes_better_answers_likelier():
    logps, _, _, advantages, mask = batch()
    logps.requires_grad_()
    value, _ = r1_v.loss(logps, logps.detach(), None, advantages, mask, r1_v.Config(beta=0.0))
    value.backward()
    assert torch.equal(torch.sign(-logps.grad), torch.sign(advantages) * mask)
    # Every answer weighs alike, however long: 1/G A_i in all.
    torch.testing.assert_close(logps.grad.sum(1), -advantages[:, 0] / len(advantages))


def test_padding_does_not_matter():
    (logps, old, ref, *rest), cfg = batch(), r1_v.Config()
    value, _ = r1_v.loss(logps, old, ref, *rest, cfg)
    noise = 1 - rest[-1]
    other, _ = r1_v.loss(logps - noise, old + noise, ref - 3 * noise, *rest, cfg)
    assert value.item() == other.item()


def test_survey_computes_the_papers():
    given = batch()
    paper, survey = (r1_v.loss(*given, r1_v.Config(variant=v))[0] for v in ("paper", "survey"))
    assert paper.item() == survey.item()


# --- rewards -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "accuracy", "form"),
    [
        ("<think> a red circle , a blue square . </think> <answer> 2 </answer>", 1, 1),
        ("<think> a red circle . </think> <answer> 1 </answer>", 0, 1),
        ("<answer> 2 </answer>", 1, 0),
        ("<think> 2 </think> <answer> 3 </answer>", 0, 1),
        ("<answer> 2 </answer> <think> a red circle . </think>", 1, 0),
        ("<think> a . </think> <answer> 2 </answer> and more", 1, 0),
        ("<think> a . </think> <answer> 12 </answer>", 0, 1),
        ("<think> </think> <answer> </answer>", 0, 1),
        ("", 0, 0),
    ],
)
def test_rewards_on_the_labs_texts(text, accuracy, form):
    assert r1_v.reward_accuracy([text], ["2"]) == [accuracy]
    assert r1_v.reward_format([text]) == [form]


def test_the_truth_earns_both_rewards_and_the_ablation_drops_one():
    drawn = DrawnWorld(scenes, "validation", 20, 0)
    rows = r1_v.make_prompts(drawn, r1_v.Config())
    texts = [scenes.count_answer(scene.names) for scene in drawn.scenes]
    functions = r1_v.rewards(r1_v.Config())
    for function in functions.values():
        assert function(texts, [row["answer"] for row in rows]) == [1.0] * 20
    assert list(functions) == ["reward_accuracy", "reward_format"]
    ablated = replace(r1_v.Config(), **r1_v.ABLATIONS["no format reward"])
    assert list(r1_v.rewards(ablated)) == ["reward_accuracy"]


def test_prompts_of_the_published_layout():
    image = scenes.render(scenes.scenes("validation", 1)[0])
    record = {"image": image, "problem": "How many items?", "solution": "<answer> 3 </answer>"}
    row = r1_v.read_prompts([record])[0]
    asked = row["prompt"][0]["content"]
    assert asked.startswith("How many items?  Output the thinking process in <think>")
    assert r1_v.reward_accuracy(["<think>x</think><answer>3</answer>"], [row["answer"]]) == [1.0]


def test_counting_metrics_by_hand():
    class Saying:
        """Says one thing after the other when greedy, nothing when sampled."""

        def answer(self, prompts, images, temperature=None):
            return texts if temperature is None else [""] * len(prompts)

    drawn = DrawnWorld(scenes, "validation", 2, 0)
    first, second = drawn.scenes
    absent = next(
        f"{colour} {shape}"
        for colour, shape in itertools.product(scenes.COLOURS, scenes.SHAPES)
        if f"{colour} {shape}" not in second.names
    )
    texts = [
        scenes.count_answer(first.names),
        f"<think> a {absent} , a {second.names[0]} . </think> <answer> 9 </answer> .",
    ]
    metrics = counting(Saying(), drawn)
    assert metrics["counting_accuracy"] == 0.5
    assert metrics["format_rate"] == 0.5
    assert metrics["thought_chair_i"] == pytest.approx(1 / (len(first.names) + 2))
    assert metrics["sampled_counting_accuracy"] == metrics["sampled_format_rate"] == 0
    assert metrics["length"] == sum(len(text.split()) for text in texts) / 2
    assert thought("no tags") == ""


# --- in the trainer ------------------------------------------------------------------------------

TINY = TrainSettings(
    learning_rate=1e-3, steps=2, batch_size=2, group_size=4, max_new_tokens=8, warmup_ratio=0.0,
    seed=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def lab_model(tmp_path_factory) -> Path:
    """An untrained model of the lab."""
    path = tmp_path_factory.mktemp("lab-model")
    torch.manual_seed(0)
    processor = models.build_processor(scenes.WORDS, scenes.IMAGE_SIZE)
    models.build_model(processor, scenes.IMAGE_SIZE, hidden=32).save_pretrained(path)
    processor.save_pretrained(path)
    return path


def reward_length(completions: list[str], answers: list[str]) -> list[float]:
    """Tells answers of an untrained model apart."""
    return [float(len(set(text.split()))) for text in completions]


def trained(model: Path, output: Path, *, cfg=None, settings=TINY, resume=False, loss=r1_v.loss):
    cfg = cfg or r1_v.Config()
    rows = r1_v.make_prompts(DrawnWorld(scenes, "pairs", 12, 0), cfg)
    _, processor = models.load(model)
    return train_group(
        model, processor, rows, rewards=r1_v.rewards(cfg) | {"reward_length": reward_length},
        advantages=r1_v.advantages, loss=loss, cfg=cfg, settings=settings, output=output,
        resume=resume, reference_needed=cfg.beta > 0,
    )  # fmt: skip


def logged(folder: Path) -> list[dict]:
    """Metrics of each step without the clock's."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not re.search("time|runtime", k)} for line in lines]


def test_training_moves_the_policy_alone_and_repeats(lab_model, tmp_path, capfd):
    weights = lab_model / "model.safetensors"
    before = weights.read_bytes()
    base, _ = models.load(lab_model)
    model = trained(lab_model, tmp_path / "one")
    assert weights.read_bytes() == before
    both = zip(model.parameters(), base.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in both)
    log = logged(tmp_path / "one")
    assert [line["step"] for line in log] == [1, 2]
    for line in log:
        assert math.isfinite(line["loss"])
        assert math.isfinite(line["grad_norm"])
        assert line["grad_norm"] > 0
        assert line["clip_fraction"] == 0
        # The value of the loss is beta times the divergence, whatever the rewards are.
        assert line["loss"] == pytest.approx(0.04 * line["kl"], abs=1e-4)
    assert log[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert log[1]["kl"] > 0
    assert {"reward", "rewards/reward_accuracy/mean", "rewards/reward_format/mean"} <= set(log[0])
    trained(lab_model, tmp_path / "two")
    assert logged(tmp_path / "two") == log
    assert "{" not in capfd.readouterr().out  # where transformers likes to print its log


def test_stopped_and_resumed_training_is_the_uninterrupted_one(lab_model, tmp_path):
    four = replace(TINY, steps=4)
    whole = trained(lab_model, tmp_path / "whole", settings=four)
    calls = []

    def failing_loss(*given, **more):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the power went out")
        return r1_v.loss(*given, **more)

    with pytest.raises(RuntimeError, match="power"):
        trained(lab_model, tmp_path / "cut", settings=four, loss=failing_loss)
    assert [line["step"] for line in logged(tmp_path / "cut")] == [1, 2]
    resumed = trained(lab_model, tmp_path / "cut", settings=four, resume=True)
    assert logged(tmp_path / "cut") == logged(tmp_path / "whole")
    for ours_, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours_, theirs)


def test_the_loss_gets_whole_groups_ratios_of_one_and_the_scripts_advantages(lab_model, tmp_path):
    seen = []

    def watching_loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more):
        seen.append((logps.detach(), old_logps, ref_logps, advantages, mask))
        return r1_v.loss(logps, old_logps, ref_logps, advantages, mask, cfg, **more)

    trained(lab_model, tmp_path, settings=replace(TINY, steps=1), loss=watching_loss)
    ((logps, old_logps, ref_logps, advantages, mask),) = seen
    assert logps.shape == mask.shape == advantages.shape == (8, logps.shape[1])
    assert torch.equal(logps, old_logps)
    torch.testing.assert_close(logps, ref_logps)
    assert not logps[mask == 0].any()
    assert torch.equal(advantages, advantages[:, :1].expand_as(advantages))
    assert advantages[:, 0].sum().abs() < 1e-5
    assert advantages.any()


def test_accumulated_batches_take_the_same_step(lab_model, tmp_path):
    trained(lab_model, tmp_path / "whole")
    trained(lab_model, tmp_path / "parts", settings=replace(TINY, per_device_batch_size=2))
    whole, parts = logged(tmp_path / "whole")[0], logged(tmp_path / "parts")[0]
    assert parts["reward"] == whole["reward"]
    assert parts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)


def test_too_few_prompts_are_refused(lab_model, tmp_path):
    with pytest.raises(ValueError, match="12 prompts are too few"):
        trained(lab_model, tmp_path, settings=replace(TINY, batch_size=13))


def test_without_kl_no_reference_is_scored(lab_model, tmp_path):
    cfg = replace(r1_v.Config(), **r1_v.ABLATIONS["no KL"])
    trained(lab_model, tmp_path, cfg=cfg)
    assert [line["kl"] for line in logged(tmp_path)] == [0, 0]


def test_an_adapter_trains_alone(lab_model, tmp_path):
    pytest.importorskip("peft")
    model = trained(lab_model, tmp_path, settings=replace(TINY, lora_rank=2))
    assert {n for n, p in model.named_parameters() if p.requires_grad and "lora" not in n} == set()
    assert logged(tmp_path)[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert logged(tmp_path)[1]["grad_norm"] > 0


def test_the_image_token_is_never_sampled(lab_model, tmp_path):
    # A model that says every word as often as any other, and whose generation settings do not
    # forbid the image token. One such token in some 700 and the scoring pass fails.
    model, processor = models.load(lab_model)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.generation_config.suppress_tokens = None
    model.save_pretrained(tmp_path / "flat")
    processor.save_pretrained(tmp_path / "flat")
    trained(tmp_path / "flat", tmp_path / "run", settings=replace(TINY, max_new_tokens=48))
    assert len(logged(tmp_path / "run")) == 2


def test_a_qwen2_5_vl_trains_in_the_same_trainer(tmp_path):
    path = save_tiny_qwen2_5_vl(tmp_path / "qwen")
    base, processor = models.load(path)
    drawn = DrawnWorld(scenes, "validation", 3, 0)
    answers = Policy(base, processor).answer(["how many ?"] * 3, drawn.images, max_new_tokens=4)
    assert len(answers) == 3
    model = trained(path, tmp_path / "run")
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    moved = {
        name.split(".")[1]
        for (name, a), b in zip(model.named_parameters(), base.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert {"visual", "language_model"} <= moved
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, _ = models.load(tmp_path / "saved")
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(math.isfinite(line["grad_norm"]) for line in logged(tmp_path / "run"))


@pytest.mark.slow
def test_each_reward_moves_what_it_rewards(tmp_path):
    # Fifteen updates of the shipped base. Both runs are paid for the number; only one for the form,
    # which the base leaves out one time in five when it samples.
    start, processor = models.load(base.path(scenes))
    drawn = DrawnWorld(scenes, "validation", 256, 0)
    before = counting(Policy(start, processor), drawn)
    fifteen = replace(r1_v.LAB, steps=15, warmup_ratio=0.0)
    rows = r1_v.make_prompts(DrawnWorld(scenes, "pairs", 120, 1), r1_v.Config())
    after = {}
    for name, change in {"both": {}, "ablated": r1_v.ABLATIONS["no format reward"]}.items():
        cfg = replace(r1_v.Config(), **change)
        model = train_group(
            base.path(scenes), processor, rows, rewards=r1_v.rewards(cfg),
            advantages=r1_v.advantages, loss=r1_v.loss, cfg=cfg, settings=fifteen,
            output=tmp_path / name,
        )  # fmt: skip
        after[name] = counting(Policy(model, processor), drawn)
    for run in after.values():
        assert run["sampled_counting_accuracy"] > before["sampled_counting_accuracy"] + 0.1
    # Without its reward the form drifts either way, from run to run; with it, it only gains.
    assert after["both"]["sampled_format_rate"] > before["sampled_format_rate"] + 0.05
    assert after["both"]["sampled_format_rate"] > after["ablated"]["sampled_format_rate"] + 0.03


def test_prompts_of_a_local_file_with_paths_of_images(tmp_path):
    image = scenes.render(scenes.scenes("validation", 1)[0])
    image.save(tmp_path / "a.png")
    record = {"image": "a.png", "problem": "How many items?", "solution": "<answer> 3 </answer>"}
    (tmp_path / "data.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    row = r1_v.read_prompts(preference_data.load_records(str(tmp_path)))[0]
    assert [each.size for each in row["images"]] == [image.size]
