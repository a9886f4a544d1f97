"""EasyR1, record `easyr1` (a repository, no paper): GRPO as a framework sets it by default.

    L = 1/sum_i |o_i| sum_i sum_t [ - S_it + beta min(D_it, 10) ]          a mean over tokens
    S_it = min( rho_it A_i, clip(rho_it, 1 - 0.2, 1 + 0.3) A_i ), where A_i < 0 at least 3 A_i
    A_i = (r_i - mean(r)) / (std(r) + 1e-6),   r_i = 0.9 accuracy(o_i) + 0.1 format(o_i)
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1,   rho = pi_theta/pi_old

Own: setting only. Beside GRPO (DeepSeekMath, arXiv:2402.03300): the mean runs over the tokens of
a batch and not answer by answer, so that long answers weigh more; the clip is wider upwards; the
loss of a token with negative advantage stops at a ratio of 3 (dual clip); the KL is in the loss,
estimated by k3 and cut at 10. `loss_avg_mode="seq"`, `clip_ratio_high=0.2`, and `clip_ratio_dual`
and `kl_limit` out of reach give GRPO back, but for the 1e-6.

Variants. There is no paper, and the survey only counts it among methods: what the repository
computes is the method, and `paper`, `code` and `survey` are the same. The code is
hiyouga/EasyR1@b44b311b669bf1fd1aa2fc36f2251482ba33cb16, verl/...:

* trainer/core_algos.py#L176-L216: advantages; a group needs two answers;
* trainer/core_algos.py#L410-L509 and workers/actor/config.py#L107-L116: surrogate and its defaults.
  It keeps log-ratios within 20, where the clips, as they are set, have long ended the gradient;
  here they end at 80;
* trainer/core_algos.py#L590-L594, workers/actor/dp_actor.py#L272-L287: KL, computed in float32; the
  factor in L287 makes the mean one over the tokens of a whole step. With `loss_avg_mode="seq"` that
  factor is wrong there: a micro-batch then counts by its tokens. Ours does not;
* at the time of the survey (@10df265) the clip was 0.2 on both sides, and there was no dual clip.

Simplifications

1. Questions about bar charts stand for Geometry3K. The world's bases answer in <answer> tags, as
   in the repository's counting recipe (examples/reward_function/r1v.py, weights 0.5 and 0.5); the
   default's answers are in \\boxed{} (math.py, 0.9 and 0.1). Both forms are read here.
2. Answers are compared as one number or as text. The code's package mathruler also compares
   formulas, and leaves out case, brackets, units, plus signs and a last dot. Here blanks beside an
   answer in tags do not count.
3. One update per batch of samples, so that nothing is clipped; examples/config.yaml has four (512
   questions sampled, 128 per update).
4. Every row solves the charts that are not new: "equivalent" says that of the lab.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.readers.cells import as_final_answer, as_text
from reference_impls.core.data.readers.messages import messages_of, prompt
from reference_impls.core.data.rules import boxed, inside, same_answer, thought_then_answer
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Reward, Row, Variant
from reference_impls.core.objective.groups import (
    answer_mean,
    clipped_surrogate,
    group_advantages,
    k3,
    kept,
    likelihood_ratio,
    outside,
    reference,
    token_mean,
)
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER = TrainSettings(
    learning_rate=1e-6,  # examples/config.yaml#L54
    epochs=15,  # examples/config.yaml: total_epochs
    batch_size=512,  # examples/config.yaml: rollout_batch_size
    group_size=5,  # examples/config.yaml: rollout.n
    max_new_tokens=2048,  # examples/config.yaml: max_response_length
    temperature=1.0,  # examples/config.yaml: rollout.temperature
    scheduler="constant",  # verl/workers/actor/config.py: OptimConfig
    warmup_ratio=0.0,  # examples/config.yaml: lr_warmup_ratio
    weight_decay=1e-2,  # examples/config.yaml
    dtype="bfloat16",  # verl/workers/actor/config.py: FSDPConfig
    train_vision=True,  # examples/config.yaml: freeze_vision_tower is false
    min_pixels=262144,  # examples/config.yaml
    max_pixels=4194304,  # examples/config.yaml
)
INSTRUCTION = (
    "{question} You FIRST think about the reasoning process as an internal monologue and then "
    "provide the final answer. The reasoning process MUST BE enclosed within <think> </think> "
    "tags. The final answer MUST BE put in \\boxed{{}}."
)  # examples/format_prompt/math.jinja


@dataclass(frozen=True)
class Config(BaseConfig):
    """The framework's defaults, as its Geometry3K scripts use them."""

    beta: float = 0.01  # examples/config.yaml: kl_coef
    clip_ratio_low: float = 0.2  # verl/workers/actor/config.py#L107
    clip_ratio_high: float = 0.3  # verl/workers/actor/config.py#L109
    clip_ratio_dual: float = 3.0  # verl/workers/actor/config.py#L111
    loss_avg_mode: Literal["token", "seq"] = "token"  # verl/workers/actor/config.py#L113
    kl_limit: float = 10.0  # verl/trainer/core_algos.py#L594
    format_weight: float = 0.1  # examples/reward_function/math.py#L37
    variant: Variant = "paper"
    not_negative = "beta", "clip_ratio_low", "clip_ratio_high", "kl_limit"
    least = (("clip_ratio_dual", 1.0),)
    up_to_one = ("format_weight",)


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number; all of them (online_filtering is off by default)."""
    return lab.questions()


def read_record(record: Row) -> Row:
    """A prompt from the scripts' layout: columns `images`, `problem`, `answer`."""
    asked = messages_of(
        INSTRUCTION.format(question=as_text(record["problem"], "problem").strip()), "problem"
    )
    return {
        "prompt": prompt(asked, "problem", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(record["answer"], "answer"),
    }


def reward_accuracy(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the last \\boxed{}, or without one the answer's tags, hold the true answer.

    A text with neither is compared as a whole (r1v.py#L34-L36, where an answer of several lines
    has no tags either).
    """

    def given(text: str) -> str:
        in_box, in_tags = boxed(text), inside("answer", text)
        return next((each for each in (in_box, in_tags) if each is not None), text)

    pairs = zip(completions, answers, strict=True)
    return [float(same_answer(given(text), answer)) for text, answer in pairs]


def reward_format(completions: Sequence[str], answers: Sequence[str] | None = None) -> list[float]:
    """1 where a thought in tags comes first and then an answer, in a box or in tags.

    With a box text may stand between and behind (math.py#L27), and blanks around `<`, `>` and `/`
    do not count (L40). With tags nothing else may be there, blanks neither (r1v.py#L27).
    """

    def formed(text: str) -> bool:
        if thought_then_answer(text):
            return True
        pieces = re.split("([<>/])", text)
        ends = (pieces[0].rstrip(), pieces[-1].lstrip()) if len(pieces) > 1 else (text, "")
        text = "".join([ends[0], *(piece.strip() for piece in pieces[1:-1]), ends[1]])
        after = text.find("</think>", len("<think>")) if text.startswith("<think>") else -1
        box = text.find("\\boxed{", after) if after >= 0 else -1
        return box >= 0 and text.find("}", box) >= 0

    return [float(formed(completion)) for completion in completions]


REWARDS: dict[str, Reward] = {"accuracy": reward_accuracy, "format": reward_format}


def weighted(rewards: Mapping[str, Tensor], cfg: Config) -> Tensor:
    """(prompts, group): 0.9 accuracy + 0.1 format."""
    share = cfg.format_weight
    return (1 - share) * rewards["accuracy"] + share * rewards["format"]


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return group_advantages(rewards, std_epsilon=1e-6)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The clipped loss; all tensors (prompts x group, T). values, returns, weights are not used.

    `ref_logps` may be None when beta is 0.
    """
    low, high = cfg.clip_ratio_low, cfg.clip_ratio_high
    ratio = likelihood_ratio(kept(logps - old_logps, mask))
    per_token = -clipped_surrogate(ratio, advantages, low, high, cfg.clip_ratio_dual)
    metrics = {"clip_fraction": token_mean(outside(ratio, low, high), mask)}
    if cfg.beta:
        against = kept(reference(logps, ref_logps, cfg.beta), mask)
        divergence = k3(kept(logps, mask), against).clamp(max=cfg.kl_limit)
        per_token = per_token + cfg.beta * divergence
        metrics["kl"] = token_mean(divergence.detach(), mask)
    by_token = cfg.loss_avg_mode == "token"
    return (token_mean if by_token else answer_mean)(per_token, mask).mean(), metrics


METHOD = Method(
    record="easyr1",
    config=Config,
    stages=(
        GroupStage(
            data=questions, rewards=REWARDS, combine=weighted, advantages=advantages, loss=loss,
            read=read_record,
            lab=lab(3e-4, steps=40, batch_size=8, pairs=320, group_size=5), paper=PAPER,
        ),
    ),
    world="problems",
    task="diagram",
    baselines=("sft", "grpo"),
    ablations={
        "answer mean": {"loss_avg_mode": "seq"},
        "equal weights": {"format_weight": 0.5},
        "no KL": {"beta": 0.0},
    },
    expectations=(
        Expectation(
            id="raises-accuracy", text="EasyR1's GRPO answers more questions right than the base.",
            metric="accuracy", direction="higher", of="easyr1", against="base",
            claim="raises-accuracy", primary=True,
        ),
        Expectation(
            id="beats-sft", text="It answers more questions right than SFT on the same.",
            metric="accuracy", direction="higher", of="easyr1", against="sft",
        ),
        Expectation(
            id="token-mean-lengthens",
            text="A mean over tokens makes longer answers than one over answers.",
            metric="length", direction="lower", of="answer mean", against="easyr1",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
