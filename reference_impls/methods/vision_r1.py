"""Vision-R1, record `vision-r1`, arXiv:2503.06749v4: a cold start, then suppressed thinking.

Equations 1 and 2 (section 3.4) negated, in stage s over G_s answers of at most L_s tokens:

    L_s = - 1/G_s sum_i 1/|o_i| sum_t [ min(rho A_i, clip(rho, 1-epsilon, 1+epsilon) A_i) - beta D ]
    A_i = (r_i - mean(r)) / std(r),   r_i = 1 if format and answer are right, else 0
    D = pi_ref/pi_theta - log(pi_ref/pi_theta) - 1,   rho = pi_theta/pi_old    of token t

Own: data recipe, schedule. First SFT on thoughts that question and check themselves, which a text
model wrote from descriptions of the pictures. These are too long, while right ones are short: so
the length is capped at first (4K tokens, 16 answers) and the cap lifted in a second stage (8K, 8),
sampled tokens per question staying the same. An answer that is cut off has no closing tag and earns
nothing: the hard reward is what shortens. Table 5: with 16K from the start the mean falls from 55.4
to 47.7; table 6: without the cold start it is 51.8.

Variants. Osilly/Vision-R1@c0616815edeec449c6e42de4300b875d608230c5 has code of the cold start alone
(train/cold_start/, LLaMA-Factory). For the reinforcement README.md#L184-L186 points to EasyR1 or
verl, whose mean over tokens and asymmetric clip are not the paper's, and the survey has prose only:
all variants are the paper's. It trains with GRPO (arXiv:2402.03300) and claims no objective of its
own, but prints it without tokens: ratio and divergence are of pi(o_i|q). That is read as shorthand;
`whole_answers=True` takes it at its word, which sums over thousands of tokens.

Simplifications

1. Questions about bar charts stand for mathematics; thoughts that go over their work once more
   stand for the 200k traces. All of them come to the right answer, as the paper filters them.
2. Caps of 28 and 48 tokens: a thought fits in the first, one that is checked does not. 16 and 8
   answers, 4 and 8 questions per step.
3. Each stage's reference is the model that it begins with. The paper does not say.
4. Without suppression the first stage has the second's cap and answers, 8K and 8; table 5 compares
   with 16K and 4. Without a cold start the hard reward stays; table 6 has rewards for format and
   answer there, and a system prompt.
5. With `--dataset` the cold start needs a column `chosen` in its rows; where there is none, begin
   at a model that had it, with `--set cold_term=no`.
6. Every row solves nearly all charts that are not new, in thoughts of one length: "equivalent"
   says that of the lab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.readers.cells import as_final_answer, as_text
from reference_impls.core.data.readers.messages import messages_of, prompt
from reference_impls.core.data.rows import said
from reference_impls.core.data.rules import answer_after_thought, same_answer
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, PairStage, Row, Variant
from reference_impls.core.objective import groups
from reference_impls.core.objective.preference import token_mean_nll
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ()  # no pairs but the cold start's: the policy answers, and a rule judges
PAPER_COLD = TrainSettings(
    learning_rate=5e-6,  # train/cold_start/vision_r1_full_..._lr5e6_warm005_32GPU/train.yaml
    epochs=2,  # appendix A
    batch_size=32,  # the same file: 1 per device on 32 devices
    warmup_ratio=0.05,  # the same file
    dtype="bfloat16",  # the same file
)
PAPER = TrainSettings(
    learning_rate=1e-6,  # ours: not said; EasyR1's default, whose schedule is constant
    steps=100,  # appendix A
    batch_size=128,  # ours: not said; EasyR1's default
    group_size=8,  # section 3.4
    max_new_tokens=8192,  # section 3.4
    temperature=1.0,  # ours: not said; EasyR1's default
    dtype="bfloat16",  # ours: not said
)
PAPER_SUPPRESSED = replace(PAPER, group_size=16, max_new_tokens=4096)  # section 3.4


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values; the terms are its comparisons."""

    beta: float = 0.01  # section 3.4
    epsilon: float = 0.2  # section 3.4. Idle with one update per batch
    whole_answers: bool = False  # True: equations 1 and 2 to the letter, ratios of whole answers
    checks: int = 1  # ours: how often a thought of the cold start goes over its work again
    cold_term: bool = True  # section 3.3; without it Zero, with stages: table 6
    suppression_term: bool = True  # section 3.4: the first stage's cap; without it table 5
    variant: Variant = "paper"
    not_negative = "beta", "epsilon", "checks"


def checked(text: str, times: int) -> str:
    """A worked answer whose thought is said again so often before it is closed."""
    before, opened, rest = text.partition("<think>")
    thought, closed, after = rest.partition("</think>")
    again = " ".join([thought.strip()] * (1 + times))
    return f"{before}{opened} {again} {closed}{after}" if opened and closed else text


def worked_thoughts(lab: Lab, cfg: Config) -> list[Row]:
    """The cold start: worked answers whose thoughts check themselves."""
    return [
        lab.prompt(place, chosen=said(checked(item.truth, cfg.checks)))
        for place, item in enumerate(lab.items)
    ]


def questions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions with a true number."""
    return lab.questions()


def read_record(record: Row) -> Row:
    """A prompt from Vision-R1-rl's layout: `images`, `problem`, `answer`; no instruction."""
    asked = messages_of(as_text(record["problem"], "problem"), "problem")
    return {
        "prompt": prompt(asked, "problem", len(record["images"])),
        "images": record["images"],
        "answer": as_final_answer(record["answer"], "answer"),
    }


def cold_loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,): the negative log-likelihood of a worked answer, averaged over its tokens."""
    losses = token_mean_nll(batch.chosen)
    return losses, {"nll": losses.detach()}


def reward_format_result(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the whole text is one thought and one answer in tags and the answer is right, else 0.

    "Final Answer:" may stand before the answer, as in the traces of the cold start (figure 4).
    """

    def right(text: str, answer: str) -> bool:
        given = answer_after_thought(text) or ""
        return same_answer(given.removeprefix("Final Answer:"), answer)

    return [float(right(*pair)) for pair in zip(completions, answers, strict=True)]


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return groups.group_advantages(rewards)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The clipped loss; all tensors (prompts x group, T). values, returns, weights are not used.

    `ref_logps` may be None when beta is 0. With `whole_answers` log-probabilities are summed.
    """
    if not cfg.whole_answers:
        return groups.grpo(logps, old_logps, ref_logps, advantages, mask, cfg)
    ratio = groups.likelihood_ratio(groups.answer_sum(logps - old_logps, mask))
    advantage = groups.answer_mean(advantages, mask)
    objective = groups.clipped_surrogate(ratio, advantage, cfg.epsilon, cfg.epsilon)
    metrics = {"clip_fraction": groups.outside(ratio, cfg.epsilon, cfg.epsilon)}
    if cfg.beta:
        against = groups.reference(logps, ref_logps, cfg.beta)
        divergence = groups.k3(*(groups.answer_sum(each, mask) for each in (logps, against)))
        objective = objective - cfg.beta * divergence
        metrics["kl_of_answer"] = divergence.detach()
    return -objective.mean(), metrics


RELAXED = GroupStage(
    name="relaxed", data=questions, rewards={"format and result": reward_format_result},
    advantages=advantages, loss=loss, read=read_record,
    lab=lab(5e-4, steps=40, batch_size=8, pairs=320, group_size=8), paper=PAPER,
)  # fmt: skip
SHORT = lab(5e-4, steps=40, batch_size=4, pairs=160, group_size=16, max_new_tokens=28)

METHOD = Method(
    record="vision-r1",
    config=Config,
    stages=(
        PairStage(
            name="cold-start", data=worked_thoughts, loss=cold_loss, views=("chosen",),
            reference="none", when=lambda cfg: cfg.cold_term,
            lab=lab(5e-4, steps=40, batch_size=32, pairs=400), paper=PAPER_COLD,
        ),
        replace(
            RELAXED, name="suppressed", when=lambda cfg: cfg.suppression_term,
            lab=SHORT, paper=PAPER_SUPPRESSED,
        ),
        replace(RELAXED, name="unsuppressed", when=lambda cfg: not cfg.suppression_term),
        RELAXED,
    ),
    world="problems",
    task="diagram",
    baselines=("sft", "grpo"),
    ablations={
        "no cold start": {"cold_term": False},
        "no suppression": {"suppression_term": False},
        "ratio of whole answers": {"whole_answers": True},
    },
    expectations=(
        Expectation(
            id="raises-accuracy", text="After cold start and two stages more answers are right.",
            metric="accuracy", direction="higher", of="vision-r1", against="base",
            claim="raises-accuracy", primary=True,
        ),
        Expectation(
            id="beats-plain-grpo", text="It is more accurate than GRPO alone.",
            metric="accuracy", direction="higher", of="vision-r1", against="grpo",
            claim="beats-plain-grpo",
        ),
        Expectation(
            id="longer-than-grpo", text="Its answers are longer than those of GRPO alone.",
            metric="length", direction="higher", of="vision-r1", against="grpo",
            claim="cold-start-lengthens",
        ),
        Expectation(
            id="suppression-helps", text="Without the cap accuracy is lower.", metric="accuracy",
            direction="lower", of="no suppression", against="vision-r1",
        ),
        Expectation(
            id="cold-start-helps", text="Without the cold start accuracy is lower.",
            metric="accuracy", direction="lower", of="no cold start", against="vision-r1",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
