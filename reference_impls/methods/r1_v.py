"""R1-V, record `r1-v` (a repository, no paper): GRPO on counting questions, rewarded by rule.

    L = - 1/G sum_i 1/|o_i| sum_t [ min(rho_it A_i, clip(rho_it, 1-epsilon, 1+epsilon) A_i)
                                    - beta D_it ]
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

1. Scenes of up to six drawn shapes stand for CLEVR, a LLaVA of 0.35 million parameters for
   Qwen2-VL. The world's question stands without the instruction about tags (`INSTRUCTION`, used for
   `--dataset`): the base learnt the tags from its text, and leaves them out one time in five.
2. The accuracy reward compares a number or a string. The code asks the package math-verify first,
   which reads formulas, and of several numbers the one that follows the word "answer", or the first
   in the tags; on answers of one number the two agree (conformance/r1_v.json).
   Blanks around a sampled text are left out before it is judged; there they cost the format.
3. An update sees 8 questions; in the README's command 16 (8 devices, 1 each, 2 accumulated).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.readers.cells import as_final_answer, as_text
from reference_impls.core.data.readers.messages import messages_of, prompt
from reference_impls.core.data.rules import final_answer_on_a_line as final_answer
from reference_impls.core.data.rules import last_number, only_number, same_answer
from reference_impls.core.data.rules import reward_thought_then_answer as reward_format
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Reward, Row, Variant
from reference_impls.core.objective.groups import group_advantages, grpo
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER = TrainSettings(
    learning_rate=1e-6,  # TRL 0.14.0, trl/trainer/grpo_config.py#L149-L150; not set by R1-V
    steps=100,  # README.md: the checkpoint that its numbers are of
    batch_size=16,  # README.md: 1 prompt x 2 accumulated x 8 devices
    group_size=8,  # README.md: num_generations
    max_new_tokens=512,  # README.md: max_completion_length
    temperature=1.0,  # trainer/grpo_trainer.py#L281-L287
    scheduler="constant",  # README.md: 2 epochs of 70k, 8,750 steps; 100 of these hardly fall
    warmup_ratio=0.0,  # TrainingArguments' default
    dtype="bfloat16",  # README.md: --bf16
    train_vision=True,  # trainer/grpo_trainer.py freezes nothing
)
INSTRUCTION = (
    "{question}  Output the thinking process in <think> </think> and final answer (number) in "
    "<answer> </answer> tags."
)  # open_r1/grpo.py#L148


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values that R1-V trains with; it sets neither beta nor epsilon itself."""

    beta: float = 0.04  # TRL 0.14.0, trl/trainer/grpo_config.py#L173-L174
    epsilon: float = 0.2  # in no source; PPO's and TRL's. Idle with one update per batch
    format_reward: bool = True  # open_r1/grpo.py: both rewards, weight 1 each
    variant: Variant = "paper"
    not_negative = "beta", "epsilon"


def counting_prompts(lab: Lab, cfg: Config) -> list[Row]:
    """Counting questions about the scenes, with the true number as `answer`."""
    return [
        lab.prompt(place, answer=final_answer(item.truth), worked=item.truth)
        for place, item in enumerate(lab.items)
    ]


def read_record(record: Row) -> Row:
    """A prompt from R1-V's published layout: columns `image`, `problem`, `solution`."""
    asked = messages_of(
        INSTRUCTION.format(question=as_text(record["problem"], "problem")), "problem"
    )
    return {
        "prompt": prompt(asked, "problem", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(
            final_answer(as_final_answer(record["solution"], "solution")), "solution"
        ),
    }


def reward_accuracy(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the text in the answer's tags, or its last number, is the true answer, as text or as
    a number; without tags the same of the whole text.

    The tags are not required (open_r1/grpo.py#L53-L93): a bare "3" earns the point. They count on
    one line (L67-L75 have no DOTALL).
    """

    def right(completion: str, answer: str) -> bool:
        said, true = final_answer(completion), final_answer(answer)
        number = last_number(said)
        return same_answer(said, true) or (number is not None and number == only_number(true))

    return [float(right(*pair)) for pair in zip(completions, answers, strict=True)]


def rewards(cfg: Config) -> dict[str, Reward]:
    """The reward functions; an answer's reward is their sum, 0 to 2."""
    chosen: dict[str, Reward] = {"reward_accuracy": reward_accuracy}
    return chosen | {"reward_format": reward_format} if cfg.format_reward else chosen


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return group_advantages(rewards, std_epsilon=1e-4 if cfg.variant == "code" else 0.0)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """GRPO's loss; all tensors (prompts x group, T). values, returns, weights are not used."""
    if cfg.variant == "code":
        old_logps = logps.detach()
    return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)


METHOD = Method(
    record="r1-v",
    config=Config,
    stages=(
        GroupStage(
            data=counting_prompts, rewards=rewards, advantages=advantages, loss=loss,
            read=read_record,
            lab=lab(1e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
        ),
    ),
    world="problems",
    task="count",
    baselines=("sft", "grpo"),
    ablations={"no format reward": {"format_reward": False}, "no KL": {"beta": 0.0}},
    expectations=(
        Expectation(
            id="counts-better", text="R1-V counts better than the base.",
            metric="accuracy", direction="higher", of="r1-v", against="base", primary=True,
        ),
        Expectation(
            id="beats-sft", text="R1-V counts better than SFT on worked answers.",
            metric="accuracy", direction="higher", of="r1-v", against="sft",
        ),
        Expectation(
            id="format-reward-keeps-the-format",
            text="Without the format reward fewer answers keep to the format.",
            metric="format", direction="lower", of="no format reward", against="r1-v",
        ),
        Expectation(
            id="kl-holds-the-policy", text="Without the KL term the policy counts worse.",
            metric="accuracy", direction="lower", of="no KL", against="r1-v",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
