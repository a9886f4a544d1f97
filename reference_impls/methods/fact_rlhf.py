"""Fact-RLHF (factually augmented RLHF), record `fact-rlhf`, LLaVA-RLHF, arXiv:2309.14525.

As reading notes reprint the method section: a reward model r that also reads facts z about the
image, then PPO against it:

    L(r) = -E[ log sigma( r(I, x, z, y_w) - r(I, x, z, y_l) ) ]
    L(pi) = -E[ r(I, x, z, y) - beta KL( pi(y|I, x) || pi_init(y|I, x) ) ]
    reward at an answer's last token: r + 2 correct(y) - 10 |y|/896 - 8 where y was cut off
    reward per token: -beta log(pi/pi_init)

Own: objective (reward for correct answers, penalties) and data recipe (the judge is told the
facts). The policy never sees them. With `facts=False` the judge sees the image alone: plain RLHF,
whose policy can please it with what the image does not show.

Beside PPO (`ppo`): answers keep their per-token KL and the clip; the critic begins as the reward
model; gamma and lambda are 1, so that a token's advantage is what the whole answer earned minus
what was expected at that token.

Simplifications
1. About 200 comparisons by a judge with a stated error who likes long answers (condition
   `length-bias`); the paper's are 10,000, of crowd workers.
2. Facts are a true description of the scene, told as an earlier turn of the conversation; the
   paper's are COCO captions, or A-OKVQA's rationales, in a rubric behind the answer.
3. A quarter of the prompts ask whether something is there; the paper has 10,000 such questions and
   12,000 with letters among 72,000 prompts.
4. Where the paper gives words only, for the correctness reward, the code's numbers stand, for Yes
   as for No. The penalty on length is the paper's per token, whatever the longest answer is.
5. The paper could not be read beyond its abstract; what it leaves open of PPO is the code's.
6. The critic has the reward model's head, too; the code's begins at zero.
7. In the rows without penalties an answer that was cut off still costs 8.
8. The lab's reward model can neither read facts nor learn from a few hundred comparisons what is
   true: with facts it ranks unseen answers rightly in half to two thirds of the cases, and the best
   of 64 by it is worse than a sample before PPO begins. So no result is published: it would
   speak of the lab. What was tried is on the page of decisions.

Official code: llava-rlhf/LLaVA-RLHF@830a083f:RLHF/models/ppo_trainer.py (`variant="code"`):
#L124-L126 cuts the log-ratio of the KL off at zero from below; #L277-L301 rewards a No that is
right with 0.5, punishes a false Yes with -0.5, and gives nothing where Yes is right (capitals count
there and not here, where the lab's answers have none); #L159-L164
multiplies rewards by 10 where they are not whitened, as the script has it; #L175-L177 whitens
advantages; losses are means over all 896 places, padding included (here over the longest answer).
Not imitated: there the reward stands at the last place of the padding (#L139-L146), so that padding
has advantages and values to learn, too (#L735-L743), and advantages are whitened over it (here over
answers' tokens: a long answer counts more); an answer with a "?" is cut there, and has no ending
(#L250-L261); the penalty on length is multiplied by a column of the data (#L417-L420). The base
model is in 4 bits (#L976): `--load-in-4bit`.
RLHF/models/reward_model.py#L315 adds 0.001 times the mean of r_w + r_l, without sign, to the
reward model's loss. Survey, Table 1: the reward minus KL alone, which is the paper's: survey =
paper."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import prompt_row, text
from reference_impls.core.data.selection import measure_selection
from reference_impls.core.lab import Lab
from reference_impls.core.method import (
    Expectation,
    HeadStage,
    Method,
    PpoStage,
    Row,
    Score,
    Variant,
    View,
)
from reference_impls.core.objective import ppo
from reference_impls.core.objective.groups import kept, whitened_tokens
from reference_impls.core.objective.reward import pairwise, rewards_of
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.worlds.protocol import media_of

VIEWS = ()  # no pairs in the last stage: the policy answers, and the reward model judges
JUDGED = (
    View("chosen", prompt="judged", reference=False),
    View("rejected", prompt="judged", response="rejected", reference=False),
)
PAPER_JUDGE = TrainSettings(
    learning_rate=2e-5,  # RLHF/scripts/13b-v1.5-336/train_reward_model.sh#L26
    epochs=1,  # the same, #L25
    batch_size=32,  # the same, #L27: 4 on each of 8 GPUs
    warmup_ratio=0.03,  # the same, #L69
    scheduler="constant_with_warmup",  # the same, #L70
    max_grad_norm=0.3,  # RLHF/finetune_lora_rm.py#L198-L201
    lora_rank=64,  # the same, #L58
    lora_alpha=16,  # RLHF/finetune_lora_rm.py#L162
    dtype="bfloat16",  # train_reward_model.sh#L74
)
PAPER = TrainSettings(
    learning_rate=3e-5,  # RLHF/scripts/13b-v1.5-336/train_rl_model.sh#L25
    epochs=4,  # the same, #L27
    batch_size=512,  # the same, #L28: answers per batch of samples
    warmup_ratio=0.01,  # ours: the script has 5 steps, #L57
    max_new_tokens=896,  # the same, #L88
    temperature=1.0,  # the same, #L84
    lora_rank=64,  # train_reward_model.sh#L58
    lora_alpha=16,  # RLHF/finetune_lora_sft_ds.py#L167: its adapter is trained on
    dtype="bfloat16",  # train_rl_model.sh#L72
)
LONGEST = 896
"""Tokens over which the length is taken (train_rl_model.sh#L88)."""
EVERY = 4
"""One prompt of so many asks whether something is there."""


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values of the released script."""

    beta: float = 0.1  # RLHF/scripts/13b-v1.5-336/train_rl_model.sh#L26
    epsilon: float = 0.2  # RLHF/finetune_lora_ppo.py#L195-L196, for values, too
    c1: float = 0.1  # the same, #L194: vf_coef; a half is in the loss besides
    gamma: float = 1.0  # the same, #L197
    lam: float = 1.0  # the same, #L198
    correct: float = 2.0  # train_rl_model.sh#L38
    length: float = -10.0  # the same, #L37
    unfinished: float = -8.0  # the same, #L36
    facts: bool = True  # False: the judge sees the image alone
    correct_term: bool = True  # False: nothing for a right answer
    length_term: bool = True  # False: length costs nothing
    variant: Variant = "paper"
    not_negative = "beta", "epsilon", "c1"
    up_to_one = "gamma", "lam"


# --- data ----------------------------------------------------------------------------------------


def judged(row: Row, cfg: Config) -> list[dict[str, object]]:
    """What the reward model reads before an answer: the prompt, with the facts told before it."""
    question: list[dict[str, object]] = list(row["prompt"])
    if not cfg.facts:
        return question
    facts: dict[str, object] = {
        "role": "assistant",
        "content": [{"type": "text", "text": row["facts"]}],
    }
    again: dict[str, object] = {
        "role": "user",
        "content": [{"type": "text", "text": text(row["prompt"])}],
    }
    return [*question, facts, again]


def told(row: Row, rng: random.Random, cfg: Config) -> Row:
    """A comparison with the judge's prompt."""
    return {**row, "judged": judged(row, cfg)}


def compared(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy to each image, ordered by a human; the facts beside."""
    rows = lab.sampled_pairs(lab.annotator("human"), lab.answer(), lab.answer())
    return [{**row, "facts": row["item"].truth} for row in rows]


def asked(lab: Lab, cfg: Config) -> list[Row]:
    """Prompts for a description, and every so often a question with a known answer, Yes or No."""
    rows = []
    questions = lab.world.tasks["presence"]
    for place, item in enumerate(lab.items):
        if place % EVERY:
            row = lab.prompt(place, facts=item.truth, answer="", worked=item.truth)
        else:
            other = questions.items([item.scene], lab.seed + place)[0]
            row = prompt_row(other, media_of(lab.world, other), answer=other.truth)
            row |= {"facts": item.truth, "worked": other.truth}
            del row["item"]  # the log's true score is that of descriptions
        rows.append(row)
        lab.tally.count("description" if place % EVERY else "yes or no")
    described = [row for row in rows if "item" in row]
    measure_selection(lab, {"reward_model": by_reward_model}, described, cfg)
    return rows


# --- rewards -------------------------------------------------------------------------------------


def reward_correct(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """0.5 for a right Yes or No, -0.5 for the other, 1 for the right letter of several, else 0.

    An answer is read at its beginning, word by word; "" stands for a question without a known
    answer.
    """
    return [_correct(said, true) for said, true in zip(completions, answers, strict=True)]


def reward_correct_code(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The same where the true answer is not Yes, "Nothing" being a No; nothing where it is
    (ppo_trainer.py#L290-L299)."""
    both = zip(completions, answers, strict=True)
    points = [(_correct(said, true, end=""), true.strip().lower()) for said, true in both]
    return [0.0 if true == "yes" else each for each, true in points]


def _correct(said: str, true: str, end: str = r"\b") -> float:
    said, true = said.strip().lower(), true.strip().lower()
    if true in ("yes", "no"):
        began = re.match(f"(yes|no){end}", said)
        return 0.0 if began is None else 0.5 if began[1] == true else -0.5
    if len(true) == 1 and true in "abcd":
        return float(said.startswith(f"{true}.") or f"correct option is {true}." in said)
    return 0.0


def by_reward_model(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[float]:
    """The trained reward model's scores, read behind the facts."""
    behind = [{**row, "prompt": judged(row, cfg)} for row in rows]
    return lab.trained["reward"].rewards(behind, "response")


def by_answer(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[float]:
    """What a right answer earns."""
    reward = reward_correct_code if cfg.variant == "code" else reward_correct
    found = reward([row["response"] for row in rows], [str(row.get("answer", "")) for row in rows])
    return [cfg.correct * each for each in found]


def by_length(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[float]:
    """What an answer's tokens cost."""
    return [cfg.length * row["tokens"] / LONGEST for row in rows]


def by_ending(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[float]:
    """What an answer that was cut off costs."""
    return [0.0 if row["finished"] else cfg.unfinished for row in rows]


def scores(cfg: Config) -> dict[str, Score]:
    """Name -> score; an answer's reward is their sum."""
    found: dict[str, Score] = {"reward_model": by_reward_model}
    found |= {"correct": by_answer} if cfg.correct_term else {}
    found |= {"length": by_length} if cfg.length_term else {}
    return found | {"unfinished": by_ending}


# --- objectives ----------------------------------------------------------------------------------


def judge_loss(
    outputs: Mapping[str, Tensor], batch: PairBatch, cfg: Config
) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses of the reward model; in the code with a pull of the rewards towards zero."""
    losses, metrics = pairwise(outputs, batch, cfg)
    if cfg.variant == "code":
        chosen, rejected = rewards_of(outputs, batch)
        losses = losses + 1e-3 * (chosen + rejected).mean().abs()
    return losses, metrics


def shaped(
    rewards: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, cfg: Config, coefficient: float
) -> Tensor:
    """(B, T): the KL is paid per token, and the reward (B,) stands at the last one."""
    apart = logps - ref_logps
    if cfg.variant == "code":
        apart = apart.clamp(min=0)
    return ppo.at_the_end(-coefficient * kept(apart, mask), rewards, mask)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, cfg: Config) -> tuple[Tensor, Tensor]:
    """(B, T) rewards per token and values before each -> advantages and returns, (B, T)."""
    if cfg.variant != "code":
        return ppo.gae(rewards, values, mask, cfg.gamma, cfg.lam)
    advantages, returns = ppo.gae(10 * rewards, values, mask, cfg.gamma, cfg.lam)
    centred = kept(advantages - ppo.masked_mean(advantages, mask), mask)
    spread = ppo.masked_mean(centred**2, mask).sqrt()
    return centred / (spread + 1e-8), returns


def normalised(advantages: Tensor, mask: Tensor, cfg: Config) -> Tensor:
    """(B, T) with mean 0 and variance 1 over all tokens; the code's are already."""
    return advantages if cfg.variant == "code" else whitened_tokens(advantages, mask)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """PPO's loss with clipped values; all tensors (B, T). Raises ValueError without values."""
    if values is None or old_values is None or returns is None:
        raise ValueError("this loss needs `values`, `old_values` and `returns`")
    over = torch.ones_like(mask) if cfg.variant == "code" else mask
    if cfg.variant == "code":  # places behind an answer count, with zeros
        logps, old_logps, advantages, values, old_values, returns = (
            kept(each, mask) for each in (logps, old_logps, advantages, values, old_values, returns)
        )
    policy, clipped = ppo.clipped_policy_loss(logps, old_logps, advantages, over, cfg.epsilon)
    critic = 0.5 * ppo.value_loss(values, old_values, returns, over, clip=cfg.epsilon)
    return policy + cfg.c1 * critic, {
        "policy_loss": policy,
        "value_loss": critic,
        "clip_fraction": clipped,
    }


METHOD = Method(
    record="fact-rlhf",
    config=Config,
    stages=(
        HeadStage(
            name="reward", data=compared, prepare=told, loss=judge_loss, views=JUDGED,
            lab=lab(3e-4, steps=150, pairs=200), paper=PAPER_JUDGE,
        ),
        PpoStage(
            data=asked, scores=scores, shape=shaped, kl=lambda cfg: ppo.KlControl(cfg.beta),
            gae=gae, normalise=normalised, loss=loss, critic="reward", epochs=2, minibatches=2,
            lab=lab(3e-5, steps=96, batch_size=32, pairs=256, max_new_tokens=112), paper=PAPER,
        ),
    ),
    condition={"length-bias": "strong"},
    baselines=("sft", "ppo"),
    ablations={
        "no facts": {"facts": False},
        "no penalties": {"length_term": False, "correct_term": False},
        "plain RLHF": {"facts": False, "length_term": False, "correct_term": False},
    },
    expectations=(
        Expectation(
            id="facts-keep-the-truth",
            text="With facts the policy names more of what is there, and less of what is not, than "
            "without: its reward is hacked less.",
            metric="f1", direction="higher", of="fact-rlhf", against="no facts", primary=True,
        ),
        Expectation(
            id="fewer-hallucinated-answers", text="Fewer answers have a hallucination.",
            metric="chair_s", direction="lower", of="fact-rlhf", against="base",
            claim="fewer-hallucinated-answers",
        ),
        Expectation(
            id="no-length-drift", text="With facts and penalty answers do not grow.",
            metric="length", direction="equal", of="fact-rlhf", against="base",
            claim="no-length-drift",
        ),
        Expectation(
            id="plain-rlhf-hacks", text="Without facts and penalties the truth falls.",
            metric="f1", direction="lower", of="plain RLHF", against="base",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
