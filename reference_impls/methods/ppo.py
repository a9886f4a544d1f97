"""PPO (proximal policy optimization), record `ppo`, arXiv:1707.06347.

Equations 7, 9, 11 and 12, negated, over the tokens t of an answer to a prompt:

    L = - E_t[ min(rho_t A_t, clip(rho_t, 1-epsilon, 1+epsilon) A_t) ] + c1 E_t[ (V_t - R_t)^2 ]
    A_t = delta_t + gamma lam A_{t+1},  delta_t = r_t + gamma V_{t+1} - V_t,  R_t = A_t + V_t
    rho = pi_theta/pi_old,  r_t = -beta log(pi_theta/pi_ref)(y_t), and r(x, y) at the last token

The reward r_t is InstructGPT's (arXiv:2203.02155, equation 2), which is how PPO came to language.

Own: baseline. What GRPO, RLOO and REINFORCE++ change is seen beside it: a critic says what was to
be expected of each token, where they compare an answer with others to its prompt; so one answer per
prompt is enough, credit differs between tokens, and the KL is paid where it arises. An answer's
length counts through the mean over all tokens of a batch: a long answer weighs more than a short
one.

Simplifications
1. The reward is a rule, a right number, in place of a reward model.
2. The entropy bonus (weight c2) is left out: it is 0 in the paper's continuous tasks, and in RLHF.
3. The mix with pretraining gradients (PPO-ptx, in InstructGPT) is left out, and so is the moving
   average of the weights that it ends with.
4. The critic begins as a copy of the policy with a head at zero; InstructGPT's is the reward model.
5. Two passes over two minibatches, with real models, too; InstructGPT has one pass over eight.

Official code: openai/baselines@ea25b9e8:baselines/ppo2/model.py#L69-L91 has another value loss,
without c1: 0.5 times half of the larger of (V - R)^2 and of the error of V kept within epsilon of
its old value, and normalises advantages (#L139, of each minibatch; here of the whole batch):
`variant="code"`. Advantages: ppo2/runner.py#L56-L65, the same. The repository's older
baselines/ppo1/pposgd_simple.py#L110-L115 has the paper's loss, c1 1.
The survey has no equation of its own: survey = paper."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rules import reward_number
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PpoStage, Row, Variant
from reference_impls.core.objective import ppo
from reference_impls.core.objective.groups import likelihood_ratio, whitened_tokens
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs: the policy answers, and a rule judges
PAPER = TrainSettings(
    learning_rate=9e-6,  # arXiv:2203.02155, appendix C.4: that of the value function
    epochs=1,  # ours: appendix C.4 counts 256,000 episodes
    batch_size=512,  # appendix C.4
    scheduler="constant_with_warmup",  # appendix C.4
    warmup_ratio=0.02,  # appendix C.4: the first 10 of 500 iterations
    temperature=1.0,  # appendix C.4
    max_new_tokens=1024,  # ours: C.1 bounds prompt and answer by 2,000 tokens together
    dtype="bfloat16",  # ours
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values, and InstructGPT's where it is about language."""

    epsilon: float = 0.2  # section 6.1, table 1; InstructGPT, appendix C.4: the same
    c1: float = 1.0  # table 5 (Atari); the continuous tasks share no weights, and have none
    gamma: float = 1.0  # InstructGPT, appendix C.4: no discount; table 3 has 0.99
    lam: float = 0.95  # table 3
    beta: float = 0.02  # InstructGPT, appendix C.4
    variant: Variant = "paper"
    not_negative = "beta", "epsilon", "c1"
    up_to_one = "gamma", "lam"


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number."""
    return lab.questions()


def gae(rewards: Tensor, values: Tensor, mask: Tensor, cfg: Config) -> tuple[Tensor, Tensor]:
    """(B, T) rewards per token and values before each -> advantages and returns, (B, T)."""
    return ppo.gae(rewards, values, mask, cfg.gamma, cfg.lam)


def normalised(advantages: Tensor, mask: Tensor, cfg: Config) -> Tensor:
    """(B, T): as they are; in the code with mean 0 and standard deviation 1 over all tokens."""
    return whitened_tokens(advantages, mask) if cfg.variant == "code" else advantages


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """PPO's loss; all tensors (B, T). The reference is in the rewards; weights are not used.

    Raises ValueError where there are no values, or nothing that they should be.
    """
    if values is None or old_values is None or returns is None:
        raise ValueError("PPO's loss needs `values`, `old_values` and `returns`")
    policy, clipped = ppo.clipped_policy_loss(logps, old_logps, advantages, mask, cfg.epsilon)
    if cfg.variant == "code":
        critic = 0.5 * ppo.value_loss(values, old_values, returns, mask, clip=cfg.epsilon)
        total = policy + 0.5 * critic
    else:
        critic = ppo.value_loss(values, old_values, returns, mask)
        total = policy + cfg.c1 * critic
    return total, {
        "policy_loss": policy,
        "value_loss": critic,
        "clip_fraction": clipped,
        "ratio": ppo.masked_mean(likelihood_ratio(logps - old_logps), mask),
    }


METHOD = Method(
    record="ppo",
    config=Config,
    stages=(
        PpoStage(
            data=questions, rewards={"number": reward_number}, gae=gae, normalise=normalised,
            loss=loss, kl=lambda cfg: ppo.KlControl(cfg.beta), critic="separate",
            epochs=2, minibatches=2,
            lab=lab(3e-4, steps=160, batch_size=64, pairs=320), paper=PAPER,
        ),
    ),
    world="problems",
    task="arithmetic",
    baselines=("sft", "grpo"),
    ablations={
        "no clip": {"epsilon": 1e6}, "no KL": {"beta": 0.0}, "Monte Carlo": {"lam": 1.0},
    },
    expectations=(
        Expectation(
            id="raises-accuracy", text="PPO computes better than the base.", metric="accuracy",
            direction="higher", of="ppo", against="base", primary=True, claim="raises-the-reward",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
