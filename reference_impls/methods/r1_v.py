"""R1-V, record `r1-v` (a repository, no paper): GRPO on counting questions, rewarded by rule.

    L = - 1/G sum_i 1/|o_i| sum_t [ rho_it A_i - beta D_it ]
    A_i = (r_i - mean(r)) / std(r),   r_i = accuracy(o_i) + format(o_i)
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1,   rho = pi_theta/pi_old

Own: data recipe. The objective is GRPO's (DeepSeekMath, arXiv:2402.03300, equations 3 and 4), which
the trainer's model card cites. New are the data, counting questions about rendered scenes whose
answer is known, and the two rewards by rule in place of a reward model.

Variants. No paper of R1-V exists, so `paper` is the GRPO that the repository cites; the survey only
describes the method in prose, so `survey` is the same. `code` is what
Deep-Agent/R1-V@bbbbe3dc1ea6a74ce31c118c1722b1ee73e372ba computes, src/r1-v/src/open_r1/...:

* trainer/grpo_trainer.py#L460-L462 adds 1e-4 to the standard deviation: advantages of a group with
  rewards 2, 1, 0 are 0.9999 and not 1;
* trainer/grpo_trainer.py#L464-L467 has no old policy: the ratio is exp(logp - sg(logp)), 1 in value
  and never clipped. With one update per batch, as here and there, the paper's ratio is 1 as well.

The loss's value is then beta times the mean divergence, since a group's advantages sum to 0: it
says nothing about progress. Read the rewards. What else the code does differently:

* trainer/grpo_trainer.py#L281-L287: temperature 1, whatever the arguments say (no vLLM);
* trainer/grpo_trainer.py#L400-L401: pixels are repeated in another order than their grid, so with
  more than one question per device an answer is scored under another question's image. Not here.

Simplifications:

1. Scenes of 2 to 5 drawn shapes stand for CLEVR, a LLaVA of about 0.2 million parameters for
   Qwen2-VL. The world's question stands without the instruction about tags (`INSTRUCTION`, used for
   `--dataset`): the base learnt the tags from its text, and leaves them out one time in five.
2. The accuracy reward compares a number or a string. The code asks the package math-verify first;
   on numbers alone the two agree (conformance/r1_v.json), on formulas they do not.
3. An update sees 8 questions; in the README's command 16 (8 devices, 1 each, 2 accumulated).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.objectives import Variant, group_advantages, grpo
from reference_impls.core.settings import TrainSettings, lab

RECORD = "r1-v"
VIEWS = ()  # no pairs: the policy answers, and rules judge
LAB = lab(learning_rate=5e-4, steps=80, batch_size=8, pairs=640, group_size=8)
PAPER = TrainSettings(
    learning_rate=1e-6,  # TRL 0.14.0, trl/trainer/grpo_config.py#L149-L150; not set by R1-V
    steps=100,  # README.md: the checkpoint that its numbers are of
    batch_size=16,  # README.md: 1 prompt x 2 accumulated x 8 devices
    group_size=8,  # README.md: num_generations
    max_new_tokens=512,  # README.md: max_completion_length
    temperature=1.0,  # trainer/grpo_trainer.py#L281-L287
    scheduler="linear",  # TrainingArguments' default
    warmup_ratio=0.0,  # TrainingArguments' default
    dtype="bfloat16",  # README.md: --bf16
)
ABLATIONS = {"no format reward": {"format_reward": False}, "no KL": {"beta": 0.0}}
EXPECTATIONS = (
    ("counts-better", "R1-V counts better than the base.",
     "counting_accuracy", "higher", "r1-v", "base", "best"),
    ("beats-sft", "R1-V counts better than SFT on worked answers.",
     "counting_accuracy", "higher", "r1-v", "sft", "best"),
    ("format-reward-keeps-the-format", "Without the format reward fewer sampled answers keep it.",
     "sampled_format_rate", "lower", "no format reward", "r1-v", "best"),
    ("kl-holds-the-policy", "Without the KL term the policy counts worse.",
     "counting_accuracy", "lower", "no KL", "r1-v", "best"),
    ("kl-keeps-the-thought-true", "Without it the thought invents more (asked after a first run).",
     "thought_chair_i", "higher", "no KL", "r1-v", "best"),
)  # fmt: skip

INSTRUCTION = (
    "{question}  Output the thinking process in <think> </think> and final answer (number) in "
    "<answer> </answer> tags."
)  # open_r1/grpo.py#L148
FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)  # open_r1/grpo.py#L98
NUMBER = re.compile(r"(?:^|\s)(-?\d+(?:\.\d+)?)(?=[\s.,;:!?]|$)")


@dataclass(frozen=True)
class Config:
    """The values that R1-V trains with; it sets neither beta nor epsilon itself."""

    beta: float = 0.04  # TRL 0.14.0, trl/trainer/grpo_config.py#L173-L174
    epsilon: float = 0.2  # in no source; PPO's and TRL's. Idle with one update per batch
    format_reward: bool = True  # open_r1/grpo.py: both rewards, weight 1 each
    variant: Variant = "paper"


def make_prompts(world, cfg: Config) -> list[dict]:
    """Counting questions about the scenes of a drawn world, with the true number as `answer`."""
    return [
        {
            "prompt": [{"role": "user", "content": world.rules.COUNT_PROMPT}],
            "images": [image],
            "answer": str(len(scene.things)),
        }
        for scene, image in zip(world.scenes, world.images, strict=True)
    ]


def true_answers(world) -> list[str]:
    """Worked answers to the same questions, for SFT to imitate."""
    return [world.rules.count_answer(scene.names) for scene in world.scenes]


def read_prompts(records) -> list[dict]:
    """The same from R1-V's published layout: columns `image`, `problem`, `solution`."""
    return [
        {
            "prompt": [{"role": "user", "content": INSTRUCTION.format(question=record["problem"])}],
            "images": record.get("images") or [record["image"]],
            "answer": record["solution"],
        }
        for record in records
    ]


def reward_accuracy(completions: list[str], answers: list[str]) -> list[float]:
    """1 where the last number of the text, or the text in the answer's tags, is the true answer.

    The tags are not required (open_r1/grpo.py#L53-L93): a bare "3" earns the point.
    """

    def inside(text: str) -> str:
        match = re.search(r"<answer>(.*?)</answer>", text)  # no DOTALL in the code either
        return (match.group(1) if match else text).strip()

    def right(completion: str, answer: str) -> bool:
        numbers = NUMBER.findall(completion)
        return inside(completion) == inside(answer) or numbers[-1:] == [inside(answer)]

    return [float(right(*pair)) for pair in zip(completions, answers, strict=True)]


def reward_format(completions: list[str], answers: list[str] | None = None) -> list[float]:
    """1 where the whole text is a thought and an answer in tags; both may be empty."""
    return [float(FORMAT.fullmatch(completion) is not None) for completion in completions]


def rewards(cfg: Config) -> dict:
    """The reward functions; an answer's reward is their sum, 0 to 2."""
    chosen = {"reward_accuracy": reward_accuracy}
    return chosen | {"reward_format": reward_format} if cfg.format_reward else chosen


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return group_advantages(rewards, std_epsilon=1e-4 if cfg.variant == "code" else 0.0)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values=None, old_values=None, returns=None, weights=None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """GRPO's loss; all tensors (prompts x group, T). values, returns, weights are not used."""
    if cfg.variant == "code":
        old_logps = logps.detach()
    return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)


if __name__ == "__main__":
    main(__file__)
