"""MM-Eureka, record `mm-eureka`, first version (March 2025), arXiv:2503.07365v1.

Sections 2.3 and 2.4 (not numbered), over K answers y_i of |y_i| tokens, as a loss to minimise:

    L   = - mean_i 1/|y_i| sum_t min( rho_it A_i, clip(rho_it, 1 - epsilon, 1 + epsilon) A_i )
          + alpha_KL D_KL(pi_theta, pi_ref)
    A_i = r_i - 1/(K-1) sum_{j != i} r_j,   rho_it = pi_theta(y_it) / pi_old(y_it)
    r   = r_accuracy + lambda r_format

Own: data recipe, schedule. The objective is RLOO's advantage in PPO's clipped loss, with alpha_KL 0
(`beta`; D_KL is GRPO's, as the paper says). Its own are the questions: those that the model answers
right in none or in all of 8 tries are thrown out before training (section 2.2), which the authors
find crucial (figure 2). Filtering while training (section 4.2) they found worse: `online_term`.

Variants. The survey only describes the method in prose, so `survey` is the paper. `code` is
ModalMinds/MM-EUREKA@129fc9e8a1bbd8fdd6de413c951c376e5924ea12 (branch internvl):

* openrlhf/trainer/ppo_utils/replay_buffer.py#L281-L314: advantages are brought to mean 0 and
  standard deviation 1 once more, over all TOKENS of the batch, so that a long answer counts more.
  A batch without any signal stays 0. ppo_trainer.py#L244-L245 does so for all but `group_norm`;
* examples/scripts/reward_func_internvl_instruct.py#L33-L34, L57-L59: where the reference cannot be
  parsed every answer is right; here, where it is a text without digits, $ or a command of LaTeX;
  #L64-L76: text around the two tags does not cost the format reward. That an answer which was cut
  off earns nothing (#L86, L95) is not imitated: a reward reads the text, which does not tell;
* ppo_utils/experience_maker.py#L772-L780: by default a KL, if any, is k1 in the reward; only with
  --use_kl_loss and --kl_estimator k3 is it the paper's. Ours is the paper's in every variant: the
  weight is 0 in all that was released.

The record has the second version, GRPO with an online filter, as a variant of the paper; it is not
this script.

Simplifications

1. Sums of counted shapes stand for 54,931 questions of school mathematics.
2. The accuracy rule compares texts, then numbers: the only number in the answer's tags, or without
   tags the last of the text. The code's package math-verify reads formulas as well, takes the first
   of several numbers in the tags, and finds none in "<answer>2</answer>" without blanks.
3. One step per batch of samples, so that the ratio is 1 and never clipped; in the paper 128 x 8
   answers are trained on in 16 steps of 64 (section 3.1). Adam's betas are the library's, .9 and
   .999; OpenRLHF has .9 and .95.
4. The code's online filter has bounds that are kept, 0 and 1 by default (experience_maker.py#L438),
   and so leaves nothing out unless they are set; here it leaves out what is all right or all wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data import rules
from reference_impls.core.data.readers.cells import as_final_answer
from reference_impls.core.data.readers.messages import messages_of, prompt
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Reward, Row, Variant
from reference_impls.core.objective.groups import grpo, rloo_advantages, whitened_tokens
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER = TrainSettings(
    learning_rate=3e-7,  # section 3.1, 8B; 5e-7 for 38B, whose script has 3e-7
    epochs=1,  # examples/scripts/train_mm_eureka_8b_single_node.sh: --num_episodes 1
    batch_size=128, group_size=8,  # section 3.1
    max_new_tokens=4096,  # examples/scripts/train_mm_eureka_8b_single_node.sh
    temperature=1.0,  # section 3.1
    scheduler="cosine",  # openrlhf/trainer/ray/ppo_actor.py#L352-L359; there down to a tenth
    warmup_ratio=0.03,  # openrlhf/cli/train_ppo_ray.py#L328
    dtype="bfloat16",  # examples/scripts/train_mm_eureka_8b_single_node.sh: --bf16
)  # fmt: skip
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values; the terms are its comparisons."""

    beta: float = 0.0  # section 2.4: alpha_KL; figure 3 compares with 0.01
    epsilon: float = 0.2  # openrlhf/cli/train_ppo_ray.py#L310; the paper names no value
    format_weight: float = 0.5  # section 3.1: lambda; 1 for the pretrained model
    tries: int = 8  # section 2.2
    difficulty_term: bool = True  # section 2.2: only questions that are sometimes answered right
    online_term: bool = False  # section 4.2: groups all right or all wrong are left out
    variant: Variant = "paper"
    not_negative = "beta", "epsilon", "format_weight"
    least = (("tries", 2.0),)  # of one try none is right sometimes


def solvable(lab: Lab, cfg: Config) -> list[Row]:
    """Questions that the policy answers right in some of its tries, but not in all."""
    answers = [str(rules.last_number(item.truth)) for item in lab.items]
    places = list(range(len(answers)))
    if cfg.difficulty_term:
        right = [0.0] * len(answers)
        for _ in range(cfg.tries):
            points = reward_accuracy(lab.answer(), answers)
            right = [sum(pair) for pair in zip(right, points, strict=True)]
        for place in places:
            never, always = right[place] == 0, right[place] == cfg.tries
            lab.tally.count("never right" if never else "always right" if always else "kept")
        # Of a policy that never or always answers right nothing would be left; the code's online
        # filter (experience_maker.py#L441-L443) takes all then.
        places = [place for place in places if 0 < right[place] < cfg.tries] or places
    return [lab.prompt(n, answer=answers[n], worked=lab.items[n].truth) for n in places]


def read_record(record: Row) -> Row:
    """A prompt from the published layout: `conversations`, `answer` and the opened images."""
    turns = messages_of(record["conversations"], "conversations")
    return {
        "prompt": prompt(turns, "conversations", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(record["answer"], "answer"),
    }


def reward_accuracy(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the answer's tags hold the true text, or the true number and no other; 0 elsewhere.

    Tags are not required: without them the whole text is compared, and the last number after an
    opening tag, or of the text, is meant. Dollar signs around an answer do not count.
    """

    def right(text: str, answer: str) -> bool:
        if rules.same_answer(rules.final_answer(text), answer):
            return True
        given = rules.inside("answer", text)
        last, true = text.rpartition(TAGS[2])[2], rules.only_number(answer)
        number = rules.last_number(last) if given is None else rules.only_number(given)
        return number is not None and number == true

    return [float(right(*pair)) for pair in zip(completions, answers, strict=True)]


def reward_accuracy_or_unread(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: as above, and 1 for every answer where the reference cannot be read: it has no
    digit, and is not marked as a formula."""
    points = reward_accuracy(completions, answers)
    return [p if re.search(r"[0-9$\\]", a) else 1.0 for p, a in zip(points, answers, strict=True)]


def parted(text: str) -> tuple[str, str] | None:
    """What stands before and after a thought and an answer in tags, each once with something in
    it, if only blanks."""
    if any(text.count(tag) != 1 for tag in TAGS):
        return None
    before, rest = text.split(TAGS[0])
    thought, closed, rest = rest.partition(TAGS[1])
    between, opened, rest = rest.partition(TAGS[2])
    answer, ended, after = rest.partition(TAGS[3])
    formed = closed and opened and ended and thought and answer and not between.strip()
    return (before, after) if formed else None


def reward_format(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the whole text is a thought and an answer in tags, none of them twice or empty."""
    parts = [parted(text) for text in completions]
    return [float(part is not None and not "".join(part).strip()) for part in parts]


def reward_format_anywhere(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: there may be text before the thought and after the answer."""
    return [float(parted(text) is not None) for text in completions]


def rewards(cfg: Config) -> dict[str, Reward]:
    """The two rules, 0 or 1 each."""
    if cfg.variant == "code":
        return {"accuracy": reward_accuracy_or_unread, "format": reward_format_anywhere}
    return {"accuracy": reward_accuracy, "format": reward_format}


def weighted(rewards: Mapping[str, Tensor], cfg: Config) -> Tensor:
    """(prompts, group): r_accuracy + lambda r_format."""
    return rewards["accuracy"] + cfg.format_weight * rewards["format"]


def mixed_groups(rewards: Mapping[str, Tensor], cfg: Config) -> Tensor:
    """(prompts,): groups neither all right nor all wrong; all of them without the online filter.

    Where none is mixed all are kept (experience_maker.py#L441-L443): they have no signal but that
    of the format.
    """
    share = rewards["accuracy"].mean(1)
    mixed = (share > 0) & (share < 1)
    return mixed if cfg.online_term and mixed.any() else torch.ones_like(mixed)


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> what an answer gets above the others of its group."""
    return rloo_advantages(rewards)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The clipped loss; all tensors (prompts x group, T). values, returns, weights are not used."""
    if cfg.variant == "code":
        advantages = whitened_tokens(advantages, mask)
    return grpo(logps, old_logps, ref_logps, advantages, mask, cfg)


METHOD = Method(
    record="mm-eureka",
    config=Config,
    stages=(
        GroupStage(
            data=solvable, rewards=rewards, combine=weighted, keep=mixed_groups,
            advantages=advantages, loss=loss, read=read_record,
            lab=lab(3e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
        ),
    ),
    world="problems", task="arithmetic",
    baselines=("sft", "rloo"),
    ablations={
        "no difficulty filter": {"difficulty_term": False},
        "online filter": {"difficulty_term": False, "online_term": True},
        "with KL": {"beta": 0.01},
    },
    expectations=(
        Expectation(
            id="computes-better", text="MM-Eureka computes better than the base.",
            metric="accuracy", direction="higher", of="mm-eureka", against="base",
            claim="raises-accuracy", primary=True,
        ),
        Expectation(
            id="beyond-training",
            text="Where questions differ from those of training it is better than SFT on the same.",
            metric="accuracy_held_out", direction="higher", of="mm-eureka", against="sft",
            claim="generalises-better-than-sft",
        ),
        Expectation(
            id="answers-grow", text="Answers are longer than the base's.",
            metric="length", direction="higher", of="mm-eureka", against="base",
            claim="answers-grow",
        ),
        Expectation(
            id="difficulty-filter-helps", text="Without the difficulty filter fewer are right.",
            metric="accuracy", direction="lower", of="no difficulty filter", against="mm-eureka",
        ),
        Expectation(
            id="kl-shortens", text="With a KL term answers are shorter (figure 3).",
            metric="length", direction="lower", of="with KL", against="mm-eureka",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
