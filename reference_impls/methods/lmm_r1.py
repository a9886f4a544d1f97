"""LMM-R1, record `lmm-r1`, arXiv:2503.07536v2: reinforcement on text first, then on pictures.

Equation 1 (section 3.1) and section 3.2, negated, by PPO with a value model, over tokens t:

    L = - E min(rho_t A_t, clip(rho_t, 1-epsilon, 1+epsilon) A_t) + 1/2 E max-clipped (V_t - R_t)^2
    A by GAE with gamma = lambda = 1 from  r_t = - beta log pi_theta/pi_0 (y_t), at the end + r(y)
    r(y) = alpha r_format + r_accuracy,   pi_0: the model that the stage began with

Own: data recipe, schedule. Questions with pictures are many and easy, hard ones with checkable
answers exist in text: so 40k text problems come first (FRE), then pictures (MGT: geometry, or a
mixture). On pictures alone answers get shorter and text suffers (section 5.3, `text_term=False`).

Variants. They differ in what stands in place of the value model:

* `paper`: PPO, as section 3.1 and figure 2 say, and as table A7 has it for text and geometry. Its
  column of the mixture has no critic: that run was trained as `code` is;
* `code`: TideDra/lmm-r1@f917f186dc327fb2dadfe54f56c0bf409f9414e2, examples/scripts/lmm_r1/
  train_fre_text.sh#L78-L110 and train_mgt_percereas.sh: REINFORCE++ with the mean of the group as
  baseline. openrlhf/trainer/ppo_utils/experience_maker.py#L474-L553: r_i - mean(r) stands at an
  answer's last token, -beta k1 at each, a token's advantage is the sum from there on, and all of a
  batch's tokens are brought to mean 0 and deviation 1. models/loss.py#L75-L101 with
  trainer/ray/ppo_actor.py#L151-L158: clipped, a mean over the tokens of a forward pass, here of the
  whole step. The released scripts pass one answer at a time on pictures
  (train_mgt_percereas.sh#L88) and two on text, so that answers weigh the same whatever their
  length. models/remote_rm/math_verifier.py#L75-L79: where the true answer cannot be parsed every
  answer is right; L31-L40: no part opened twice, nothing between the two;
* `survey`: "RLOO on text only", its section 3.1.3: one stage of RLOO as its paper has it
  (arXiv:2402.14740), an answer being one action, without a KL. The first README (@6e36707) has a
  RLOO of its own, with a KL of weight 0.01 in the reward.

Simplifications

1. Sums told in words stand for DeepScaleR, the same sums about a picture for VerMulti.
2. PPO draws one answer per question, not 16, and its value model learns at the policy's rate: table
   A7 has 9e-6 beside 1e-6. Its value loss is the scripts', clipped at 0.2; the paper has none.
   Their whitening of advantages (experience_maker.py#L528-L551) is left out. One step per batch of
   samples, where they take 16; Adam's betas are the library's and not OpenRLHF's (.9 and .95).
3. Answers are plain numbers in tags. The code reads formulas alone (math_verifier.py#L43-L69), in
   \\boxed{} first, then between dollar signs, wherever in the text they stand. In the lab's texts
   every word stands apart, so that blanks beside a tag do not count.
4. With `--dataset` both stages train on it: give each its own (`--set pictures_term=no`, then the
   model of that run with `--set text_term=no`).
5. The lab's base mostly leaves out its thought, and worked answers are the right ones: whatever is
   rewarded makes answers longer, and whether pictures alone shorten them cannot be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.readers.cells import as_final_answer
from reference_impls.core.data.readers.messages import messages_of, prompt
from reference_impls.core.data.rules import reward_final_answer as reward_accuracy
from reference_impls.core.data.rules import reward_thought_then_answer as reward_format
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, PpoStage, Reward, Row
from reference_impls.core.objective import groups, ppo
from reference_impls.core.settings import BaseConfig, TrainSettings, Variant, lab

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER_TEXT = TrainSettings(
    learning_rate=1e-6,  # table A7, FRE-Text
    epochs=1,  # table A7: num_episodes
    batch_size=128,  # table A7
    group_size=16,  # table A7: n_samples_per_prompt
    max_new_tokens=8192,  # table A7
    temperature=1.0,  # table A7
    warmup_ratio=0.03,  # table A7
    dtype="bfloat16",  # train_fre_text.sh: --bf16
    train_vision=True,  # openrlhf/cli/train_ppo_ray.py#L342-L344: nothing is frozen unless asked
)
PAPER = replace(
    PAPER_TEXT,
    learning_rate=4e-7,  # table A7, both MGT runs on pictures
    epochs=2, batch_size=256,  # table A7
)  # fmt: skip


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 1e-3  # table A7: init_kl_coef
    format_weight: float = 0.5  # math_verifier.py#L101-L103: alpha, which the paper leaves open
    gamma: float = 1.0  # table A7
    lam: float = 1.0  # table A7: lambd
    epsilon: float = 0.2  # openrlhf/cli/train_ppo_ray.py#L302; the paper names none
    value_clip: float = 0.2  # openrlhf/cli/train_ppo_ray.py#L303; the paper names none
    text_term: bool = True  # section 4.1: the text stage; without it Direct-RL
    pictures_term: bool = True  # section 4.2: the stage of pictures; without it FRE-Text
    variant: Variant = "paper"
    not_negative = "beta", "format_weight", "epsilon", "value_clip"
    up_to_one = "gamma", "lam"


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number, of the stage's task."""
    return lab.questions()


def read_record(record: Row) -> Row:
    """A prompt from the code's layout: `message` as a list of turns, `answer`, opened `images`."""
    turns = messages_of(record["message"], "message")
    return {
        "prompt": prompt(turns, "message", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(record["answer"], "answer"),
    }


def reward_accuracy_or_unread(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: as above, and 1 for every answer where there is nothing in the true one."""
    points = reward_accuracy(completions, answers)
    return [p if a.strip(" $") else 1.0 for p, a in zip(points, answers, strict=True)]


def reward_format_strict(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: a thought and an answer in tags, each opened and closed once. A closing tag of
    the other part is text."""

    def formed(text: str) -> bool:
        once = text.count("<think>") == 1 == text.count("<answer>")
        thought, _, rest = text.strip().partition("</think>")
        answer, closed, after = rest.lstrip().partition("</answer>")
        begun = thought.startswith("<think>") and answer.startswith("<answer>")
        return once and begun and bool(closed) and not after

    return [float(formed(completion)) for completion in completions]


def rewards(cfg: Config) -> dict[str, Reward]:
    """The two rules, 0 or 1 each."""
    if cfg.variant == "code":
        return {"accuracy": reward_accuracy_or_unread, "format": reward_format_strict}
    return {"accuracy": reward_accuracy, "format": reward_format}


def weighted(rewards: Mapping[str, Tensor], cfg: Config) -> Tensor:
    """(prompts, group) or (B,): alpha r_format + r_accuracy."""
    return rewards["accuracy"] + cfg.format_weight * rewards["format"]


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group): beside the group's mean (code) or the others' (survey). PPO has none."""
    if cfg.variant == "code":
        return groups.beside_the_group(rewards)
    return groups.rloo_advantages(rewards) if cfg.variant == "survey" else rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, cfg: Config) -> tuple[Tensor, Tensor]:
    """(B, T) rewards per token and values before each -> advantages and returns, (B, T)."""
    return ppo.gae(rewards, values, mask, cfg.gamma, cfg.lam)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The variant's loss; all tensors (rows, T). PPO's value loss is added where values are given;
    its KL is in the rewards. `ref_logps` may be None when beta is 0; weights are not used."""
    if cfg.variant == "survey":
        return groups.reinforce(logps, advantages, mask)
    if cfg.variant == "code":
        if cfg.beta:
            initial = groups.reference(old_logps, ref_logps, cfg.beta)
            advantages = groups.minus_kl_to_go(advantages, old_logps, initial, mask, cfg.beta)
        advantages = groups.whitened_tokens(advantages, mask)
    total, clipped = ppo.clipped_policy_loss(logps, old_logps, advantages, mask, cfg.epsilon)
    metrics = {"policy_loss": total.detach(), "clip_fraction": clipped}
    if values is not None and old_values is not None and returns is not None:
        critic = 0.5 * ppo.value_loss(values, old_values, returns, mask, clip=cfg.value_clip)
        total, metrics["value_loss"] = total + critic, critic.detach()
    return total, metrics


IN_GROUPS = GroupStage(
    name="pictures-in-groups", data=questions, rewards=rewards, combine=weighted,
    advantages=advantages, loss=loss, read=read_record,
    when=lambda cfg: cfg.variant == "code" and cfg.pictures_term,
    lab=lab(5e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
)  # fmt: skip
PICTURES = PpoStage(
    name="pictures", data=questions, rewards=rewards, combine=weighted, gae=gae, loss=loss,
    kl=lambda cfg: ppo.KlControl(cfg.beta), critic="separate", read=read_record,
    when=lambda cfg: cfg.variant == "paper" and cfg.pictures_term,
    lab=lab(1e-4, steps=40, batch_size=64, pairs=320), paper=PAPER,
)  # fmt: skip
WORDS = "text-arithmetic"

METHOD = Method(
    record="lmm-r1",
    config=Config,
    stages=(
        replace(
            IN_GROUPS, name="text-in-groups", task=WORDS, paper=PAPER_TEXT,
            when=lambda cfg: cfg.variant != "paper" and cfg.text_term,
        ),
        IN_GROUPS,
        replace(
            PICTURES, name="text", task=WORDS, paper=PAPER_TEXT,
            lab=replace(PICTURES.lab, learning_rate=5e-4),
            when=lambda cfg: cfg.variant == "paper" and cfg.text_term,
        ),
        PICTURES,
    ),
    world="problems",
    task="arithmetic",
    baselines=("sft", "grpo"),
    ablations={"pictures alone": {"text_term": False}, "text alone": {"pictures_term": False}},
    expectations=(
        Expectation(
            id="two-stages-raise-accuracy",
            text="After text and pictures more questions about pictures are answered right.",
            metric="accuracy", direction="higher", of="lmm-r1", against="base",
            claim="two-stages-raise-accuracy", primary=True,
        ),
        Expectation(
            id="text-first-helps", text="Pictures alone, half the steps, raise accuracy less.",
            metric="accuracy", direction="lower", of="pictures alone", against="lmm-r1",
        ),
        Expectation(
            id="text-carries-over", text="Text alone raises accuracy on pictures.",
            metric="accuracy", direction="higher", of="text alone", against="base",
        ),
        Expectation(
            id="pictures-alone-shorten", text="Pictures alone make answers shorter.",
            metric="length", direction="lower", of="pictures alone", against="base",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
