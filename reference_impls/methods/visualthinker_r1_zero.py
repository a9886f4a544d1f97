"""VisualThinker-R1-Zero, record `visualthinker-r1-zero`, arXiv:2503.05132v2: GRPO, no SFT first.

Equations 1 and 2 (section 3), negated, over G answers o_i to a question:

    L = - 1/G sum_i 1/|o_i| sum_t [ min(rho_it A_i, clip(rho_it, 1-epsilon, 1+epsilon) A_i)
                                    - beta D_it ]
    A_i = (r_i - mean(r)) / std(r),   r_i = accuracy(o_i) + format(o_i)
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1,   rho = pi_theta/pi_old

The paper prints a divergence without its estimator; D, per token, is the code's (L451).

Own: schedule. The objective is GRPO as it is (DeepSeekMath, arXiv:2402.03300). Its own is where it
begins: at a model that was never tuned on instructions, which mostly misses the tags. The paper
compares with SFT of the same model on the same questions (table 3), with a reward for length, which
makes answers longer and not better (section 5.3), and with a start at the tuned model.

Variants. The survey only describes the method in prose: `survey` is the paper. `code` is
turningpoint-ai/VisualThinker-R1-Zero@cd71978473449833120f0daff3ff265309716ae1,
src/open-r1-multimodal/src/open_r1/...:

* trainer/grpo_trainer.py#L492-L497 adds 1e-4 to the standard deviation;
* trainer/grpo_trainer.py#L509-L511 has no old policy: the ratio is exp(logp - sg(logp)), 1 in value
  and never clipped;
* grpo.py#L129-L134 puts <think> before each answer of a pretrained model, since its prompt ends
  with that tag (L159): an answer that never opens its thought earns the format reward;
* grpo.py#L77-L100: math-verify 0.5.2 reads nothing in "<answer>2</answer>", and every solution has
  that form (L165), so that texts are compared: "2.0" is not "2". (In a longer solution it finds a
  number, and takes any text with that number for right: not imitated.) And an answer is right whose
  last letter by itself, A to H, is the true one, a rule for another data set.

Elsewhere, and in no variant: #L396-L423 brings answers and prompts out of order with more than one
question per device, which then stops (#L506); #L288-L294 samples of the 50 likeliest tokens, the
library's default; grpo.py#L208-L211 freezes nothing where it says so; the loss of sft.py#L164-L175
is over the question, too, and its answers have no tags.

Simplifications

1. Counting questions stand for SAT's spatial ones; a base that keeps the format for half of the
   colours stands for the pretrained model. The world's prompt does not open the thought, so that
   answers open their own.
2. Final answers are words or one number, compared as such.
3. With `--dataset` the question stands with the instruction that the code has for tuned models
   (grpo.py#L152), since a chat template cannot end within an answer. For those the code puts no
   <think> before an answer; `variant="code"` does.
4. The reward for length counts words, not the tokens of Qwen's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.readers.cells import as_final_answer, as_text
from reference_impls.core.data.readers.messages import messages_of, one_exchange, prompt
from reference_impls.core.data.rules import final_answer_on_a_line, thought_then_answer
from reference_impls.core.data.rules import reward_final_answer as reward_accuracy
from reference_impls.core.data.rules import reward_thought_then_answer as reward_format
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Reward, Row, Variant
from reference_impls.core.objective.groups import group_advantages, grpo
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.supervision import ROWS, LearnBy, by_rewards, instead_of_rewards

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER = TrainSettings(
    learning_rate=1e-6,  # table 2
    steps=1500,  # table 2
    batch_size=8,  # table 2: 1 question x 2 accumulated; section 4.2: 4 devices
    group_size=8,  # table 2
    max_new_tokens=700,  # table 2
    temperature=1.0,  # table 2
    scheduler="linear",  # TrainingArguments' default
    warmup_ratio=0.0,  # TrainingArguments' default
    dtype="bfloat16",  # run_grpo_SAT.sh: --bf16
    train_vision=True,  # grpo.py#L208-L211 freezes nothing
    max_pixels=401408,  # run_grpo_SAT.sh
)
PAPER_SFT = TrainSettings(
    learning_rate=2e-5,  # run_sft_SAT.sh
    epochs=2,  # run_sft_SAT.sh
    batch_size=8,  # run_sft_SAT.sh: 1 question x 2 accumulated x 4 devices
    scheduler="linear",  # TrainingArguments' default
    warmup_ratio=0.0,  # TrainingArguments' default
    dtype="bfloat16",  # run_sft_SAT.sh: --bf16
    train_vision=True,  # sft.py#L190 freezes nothing
    max_pixels=401408,  # sft.py#L189
)
INSTRUCTION = (
    "{question}  Output the thinking process in <think> </think> and final answer (option) in "
    "<answer> </answer> tags."
)  # open_r1/grpo.py#L152
# A letter by itself (open_r1/grpo.py#L62-L65). What stands around it is used up: of "A B" A.
LETTER = re.compile(r"(?:^|[\s\[(])([A-H])(?:$|[\s\])])")


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 0.04  # table 2
    epsilon: float = 0.2  # in no source; PPO's and TRL's. Idle with one update per batch
    format_term: bool = True  # section 3: both rewards, weight 1 each
    learn_by: LearnBy = "rewards"  # table 3: SFT on answers; own answers are ours
    length_weight: float = 0.0  # section 5.3 tries 0.001 per token, as open_r1/grpo.py#L121
    variant: Variant = "paper"
    not_negative = "beta", "epsilon"


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number."""
    return lab.questions()


def read_record(record: Row) -> Row:
    """A prompt from the script's layout: `messages` of a user and an assistant, `images`."""
    said, true = one_exchange(record["messages"], "messages")
    question = as_text(said["content"], "messages").replace("<image>", "").strip()
    asked = messages_of(INSTRUCTION.format(question=question), "messages")
    return {
        "prompt": prompt(asked, "messages", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(true["content"], "messages"),
    }


def reward_accuracy_as_text(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: 1 where the final answer, or its last letter by itself, is the true text. Tags
    hold an answer where they stand on one line (open_r1/grpo.py#L93)."""

    def right(text: str, answer: str) -> bool:
        given = final_answer_on_a_line(text)
        return given == answer or LETTER.findall(given)[-1:] == [answer]

    pairs = zip(completions, answers, strict=True)
    return [float(right(text, answer.strip())) for text, answer in pairs]


def reward_format_opened(
    completions: Sequence[str], answers: Sequence[str] | None = None
) -> list[float]:
    """The code's: the same of the text with <think> before it."""
    return [float(thought_then_answer("<think>" + completion)) for completion in completions]


def reward_length(completions: Sequence[str], answers: Sequence[str] | None = None) -> list[float]:
    """Words of the text; `length_weight` of the config is what one is worth."""
    return [float(len(completion.split())) for completion in completions]


def rewards(cfg: Config) -> dict[str, Reward]:
    """The reward functions by name."""
    code = cfg.variant == "code"
    found: dict[str, Reward] = {"accuracy": reward_accuracy_as_text if code else reward_accuracy}
    if cfg.format_term:
        found["format"] = reward_format_opened if code else reward_format
    return found | ({"length": reward_length} if cfg.length_weight else {})


def weighted(rewards: Mapping[str, Tensor], cfg: Config) -> Tensor:
    """(prompts, group): accuracy + format, and the length's share where it has one."""
    weight = {"length": cfg.length_weight}
    return torch.stack([weight.get(name, 1.0) * each for name, each in rewards.items()]).sum(0)


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
    record="visualthinker-r1-zero",
    config=Config,
    stages=(
        instead_of_rewards(questions, reward_accuracy, 320, PAPER_SFT),
        GroupStage(
            data=questions, rewards=rewards, combine=weighted, advantages=advantages, loss=loss,
            read=read_record, when=by_rewards,
            lab=lab(3e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
        ),
    ),
    world="problems", task="count",
    condition={"format": "half"},
    baselines=("sft",),
    ablations={
        **ROWS,
        "no format reward": {"format_term": False},
        "length reward": {"length_weight": 0.001},
        "no KL": {"beta": 0.0},
    },
    expectations=(
        Expectation(
            id="raises-accuracy",
            text="From a base that keeps the format half of the time GRPO raises accuracy.",
            metric="accuracy", direction="higher", of="visualthinker-r1-zero", against="base",
            claim="raises-accuracy", primary=True,
        ),
        Expectation(
            id="better-than-sft", text="It answers more right than SFT on the same answers.",
            metric="accuracy", direction="higher", of="visualthinker-r1-zero",
            against="SFT on answers", claim="better-than-sft",
        ),
        Expectation(
            id="better-than-rejection-sampling",
            text="Of what is new it answers more right than SFT on the base's own right answers.",
            metric="accuracy_held_out", direction="higher", of="visualthinker-r1-zero",
            against="rejection sampling",
        ),
        Expectation(
            id="answers-grow", text="Answers are longer than the base's.", metric="length",
            direction="higher", of="visualthinker-r1-zero", against="base", claim="answers-grow",
        ),
        Expectation(
            id="length-reward-does-not-help", text="A reward for length does not raise accuracy.",
            metric="accuracy", direction="equal", of="length reward",
            against="visualthinker-r1-zero",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
