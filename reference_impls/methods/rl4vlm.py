"""RL4VLM, record `rl4vlm`, arXiv:2405.10292.

Equations 4.1 and 4.3, and PPO (arXiv:1707.06347, equations 7 and 9) over steps t of an environment,
as a loss to minimise; v_t is the text of an answer, thought and action, and x_t picture and prompt:

    a_t = a where v_t has `"action" : "a"`, else an action drawn evenly
    log pi(a_t | x_t) = lambda log pi(thought_t | x_t) + log pi(action_t | x_t, thought_t)
    rho_t = exp( log pi_theta(a_t | x_t) - log pi_old(a_t | x_t) )
    L = - mean_t min( rho_t A_t, clip(rho_t, 1 - epsilon, 1 + epsilon) A_t )
        + c mean_t ( V_theta(x_t) - R_t )^2

A and R are GAE's, over the steps of an episode; A is brought to mean 0 and standard deviation 1.
There is no reference model, no KL and no entropy bonus. An answer counts as one action: its length
is not divided by, and lambda below 1 keeps a long thought from drowning the action.

Own: objective. What is PPO here that GRPO is not: a value head in place of a group's mean, one
ratio per answer and not per token, rewards of a game in place of rules on the text.

Variants. The survey describes the method in prose, so `survey` is the paper. The paper has no loss
of its own for the values ("Run PPO", algorithm 1; section C.3 names an implementation), so `paper`
is PPO's squared error, with the code's weight c. `code` is
RL4VLM/RL4VLM@b989b57400ad1010306fe170a547b57e7d21389c:

* VLM_PPO/a2c_ppo_acktr/algo/ppo.py#L79-L86, L96: the squared error is the larger one of V and of V
  kept within epsilon of its old value, and c/2 = 0.25 of its mean is added;
* algo/ppo.py#L74-L78: where a ratio of the mini-batch is above 10 the clipped term alone counts.
  Its scripts have mini-batches of one step, so that the rule holds step by step: with a negative
  advantage such a step has no gradient;
* llava_interface/interface.py#L49-L82: a thought's first token is not scored. What `generate` gives
  back begins with a BOS (transformers 4.37.2, which it pins, puts one where there are embeddings in
  place of ids); L64 leaves that out, L80 the token behind it. Answers are scored behind that BOS,
  which sampling does not see: not imitated;
* interface.py#L69-L81: without a match for the action's key the last five tokens are the action
  (`thoughts`); four tokens are all thought, fewer have the constant -2 for their log-probability,
  which is not imitated. In the paper an answer without the key is all thought;
* model.py#L91-L101 with main.py: the update scores answers under the prompt of the first step of
  all. In number-line prompts do not change; for `points` this is not imitated;
* a2c_ppo_acktr/rl_utils.py#L82-L106: any action's text found behind the first key counts, if it is
  the only one; the environment here reads the quoted word, as equation 4.1 has it;
* interface.py#L59-L62: answers are sampled at temperature 0.2 and scored at it, in bfloat16. Here
  both are done at 1, in the paper's settings, too: what is scored is the policy that acts;
* algo/ppo.py#L96: an entropy coefficient of 0.01 is passed, and no entropy is computed.

Simplifications

1. Three small games, seen in 64 x 64 pixels, stand for gym_cards and ALFWorld; number-line is
   NumberLine with its rewards, from 0 to 9. The base imitates an expert with habits, as the paper's
   SFT imitates a solver (section C.1).
2. A batch holds whole episodes, and nothing is expected after their end; the code plays on for 512
   steps and bootstraps there. An episode that is cut off counts as ended, as in the code, whose
   scripts leave --use-proper-time-limits out.
3. The value is a linear head on the state that the answer's first token is predicted from; the
   paper's has three layers there (section C.3). In the lab it learns little more than the mean: on
   one seed `explained_variance` stayed near 0, so that an advantage is nearly the return above it.
4. The paper's norm of the gradient, 0.01, belongs to its rate and adapter; the lab's is 1.
5. Success is measured with greedy answers; the paper's rates are peaks of the training curve.
6. The rate falls once over all updates; in the code a cosine of 25 batches begins anew. Its
   scripts run two processes, with 512 steps each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Answer, Expectation, Method, PpoStage, Row, Variant
from reference_impls.core.objective import groups, ppo
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy plays, and the game pays
PAPER = TrainSettings(
    learning_rate=1e-5,  # section C.3; cosine, one step of it after each batch of samples
    steps=464,  # scripts/run_nl.sh: 15,000 environment steps are 29 batches of 512, of 16 steps
    batch_size=128,  # episodes; section C.3: 512 steps of NumberLine, about four an episode
    max_new_tokens=256,  # scripts/run_nl.sh
    temperature=1.0,  # ours: scripts/run_nl.sh has 0.2, for scores, too (see Variants)
    max_grad_norm=0.01,  # a2c_ppo_acktr/arguments.py#L63-L67
    warmup_ratio=0.0,  # main.py: CosineAnnealingLR without warm-up
    lora_rank=128,  # section C.1; its dropout of 0.05 is left out
    lora_alpha=256,  # section C.1
    train_vision=True,  # section C.1: encoder, projector and language model
    dtype="bfloat16",  # scripts/config_zero2.yaml
)
KEY = '"action"'
TIMES_TOO_LIKELY = 10.0  # the code's bound on a ratio
UNSCORED, WITHOUT_KEY = 1, 5  # the code's numbers of tokens: see Variants


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    lam: float = 0.5  # lambda, section C.1: gym_cards; 0.2 for ALFWorld
    epsilon: float = 0.1  # a2c_ppo_acktr/arguments.py#L100-L104; its help text says 0.2
    c: float = 0.5  # a2c_ppo_acktr/arguments.py#L58-L62
    gamma: float = 0.9  # a2c_ppo_acktr/arguments.py#L38-L42
    gae_lambda: float = 0.95  # a2c_ppo_acktr/arguments.py#L48-L52
    variant: Variant = "paper"
    not_negative = "epsilon", "c"
    up_to_one = "lam", "gamma", "gae_lambda"


def beginnings(lab: Lab, cfg: Config) -> list[Row]:
    """Where episodes begin; `worked` is what an expert says there, for who imitates."""
    rows = [lab.prompt(n, answer=i.truth, worked=i.truth) for n, i in enumerate(lab.items)]
    for item in lab.items:
        lab.tally.count(f"game {item.kind}")
    return rows


def games(lab: Lab, rows: Sequence[Row], cfg: Config) -> list[Any]:
    """The gymnasium environments of the rows' episodes. Text that names no action, or several, is
    replaced by an action drawn evenly (equation 4.1), by the environment."""
    return lab.environments(rows)


def thoughts(answer: Answer, cfg: Config) -> list[float]:
    """1 for each token of the thought: all before the action's last key; a token that holds the
    beginning of the key is the action's."""
    start = answer.text.rfind(KEY)
    if start < 0 and cfg.variant == "code" and len(answer.ids) >= WITHOUT_KEY:
        last = len(answer.ids) - WITHOUT_KEY
        return [float(place < last) for place in range(len(answer.ids))]
    start = len(answer.text) + 1 if start < 0 else start
    return [float(stop <= start and begin < start) for begin, stop in answer.spans]


def log_probability(logps: Tensor, mask: Tensor, weights: Tensor | None, cfg: Config) -> Tensor:
    """(B,) equation 4.3 of answers (B, T); `weights` is 1 on thought tokens."""
    thought = of_thoughts(weights, mask).to(logps)
    action = mask.to(logps) - thought
    if cfg.variant == "code":
        thought = thought * ((mask > 0).cumsum(-1) > UNSCORED)
    return ((cfg.lam * thought + action) * groups.kept(logps, mask)).sum(-1)


def of_thoughts(weights: Tensor | None, mask: Tensor) -> Tensor:
    """(B, T) 1 on the answers' thought tokens; without weights there are none."""
    return torch.zeros_like(mask) if weights is None else groups.kept(weights, mask)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, cfg: Config) -> tuple[Tensor, Tensor]:
    """(advantages, returns), all (B, T): B episodes of T environment steps."""
    return ppo.gae(rewards, values, mask, cfg.gamma, cfg.gae_lambda)


def normalised(estimates: Tensor, mask: Tensor, cfg: Config) -> Tensor:
    """(B, T) of mean 0 and standard deviation 1 over the steps of all episodes (ppo.py#L38)."""
    steps = estimates[mask > 0]
    spread = steps.std() if len(steps) > 1 else torch.zeros_like(steps.sum())
    return torch.where(mask > 0, (estimates - steps.mean()) / (spread + 1e-5), 0.0)


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(episodes, steps) estimates of GAE, normalised; every step took place."""
    return normalised(groups.floating(rewards), torch.ones_like(rewards), cfg)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """PPO over environment steps; log-probabilities, mask and weights (B, T) of B answers.

    advantages, values, old_values, returns: (B,), or (B, T) with one number per answer, which is
    read at its first token. Without values there is no value loss. ref_logps is not used.
    """
    said = mask.sum(-1) > 0
    new, old = (log_probability(each, mask, weights, cfg)[said] for each in (logps, old_logps))
    gain, ratio = of_answers(advantages, mask)[said], groups.likelihood_ratio(new - old)
    answers, tokens = said.sum().clamp(min=1), (mask > 0).sum().clamp(min=1)
    plain, bounded = ratio * gain, ratio.clamp(1 - cfg.epsilon, 1 + cfg.epsilon) * gain
    surrogate = torch.min(plain, bounded)
    if cfg.variant == "code":
        surrogate = torch.where(ratio > TIMES_TOO_LIKELY, bounded, surrogate)
    policy = -surrogate.sum() / answers
    metrics = {
        "policy_loss": policy,
        "clip_fraction": (surrogate < plain).sum() / answers,
        "thought_share": of_thoughts(weights, mask).sum() / tokens,
    }
    if values is None or old_values is None or returns is None:
        return policy, metrics
    value, before, target = (of_answers(v, mask)[said] for v in (values, old_values, returns))
    error = (value - target) ** 2
    if cfg.variant == "code":
        near = before + (value - before).clamp(-cfg.epsilon, cfg.epsilon)
        error = torch.max(error, (near - target) ** 2) / 2
    metrics["value_loss"] = error.sum() / answers
    return policy + cfg.c * metrics["value_loss"], metrics


def of_answers(numbers: Tensor, mask: Tensor) -> Tensor:
    """(B,) of (B,) or (B, 1), or of (B, T) with one number per answer."""
    if numbers.dim() == 1 or numbers.shape[1] == 1:
        return numbers.reshape(-1)
    first = (mask > 0).to(torch.long).argmax(-1, keepdim=True)
    return numbers.gather(1, first)[:, 0]


METHOD = Method(
    record="rl4vlm",
    config=Config,
    stages=(
        PpoStage(
            data=beginnings, environments=games, gae=gae, normalise=normalised, loss=loss,
            weights=thoughts, reference="none",
            epochs=4, minibatches=4,  # section C.3: batches of 128 of 512 steps
            lab=lab(3e-4, steps=160, batch_size=32, pairs=320, max_new_tokens=48), paper=PAPER,
        ),
    ),
    world="agent",
    task="act",
    condition={"answer": "thought"},
    baselines=("sft", "ppo"),
    ablations={
        "lambda 0": {"lam": 0.0},
        "lambda 1": {"lam": 1.0},
        "the code's losses": {"variant": "code"},
    },
    expectations=(
        Expectation(
            id="succeeds-more", text="After RL4VLM more episodes succeed than of the base.",
            metric="success_rate", direction="higher", of="rl4vlm", against="base",
            claim="beats-sft-start", primary=True,
        ),
        Expectation(
            id="thoughts-help", text="With thoughts more is gained than with actions alone.",
            metric="success_rate", direction="higher", of="rl4vlm", against="base",
            levels=("thought", "action"), claim="thoughts-are-needed",
        ),
        Expectation(
            id="above-ppo", text="It succeeds more often than PPO on all tokens alike.",
            metric="success_rate", direction="higher", of="rl4vlm", against="ppo",
            claim="moderate-lambda-is-best",
        ),
        Expectation(
            id="thoughts-count", text="Without the thought's probability fewer episodes succeed.",
            metric="success_rate", direction="lower", of="lambda 0", against="rl4vlm",
        ),
        Expectation(
            id="thoughts-count-less", text="With its full probability fewer episodes succeed.",
            metric="success_rate", direction="lower", of="lambda 1", against="rl4vlm",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
