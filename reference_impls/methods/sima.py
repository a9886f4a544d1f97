"""SIMA (self-improvement modality alignment), record `sima`, arXiv:2405.15973.

Preference tuning is DPO, beta = 0.1:

    L = -log sigma( beta log pi_theta(y_w|x,I)/pi_ref(y_w|x,I)
                    - beta log pi_theta(y_l|x,I)/pi_ref(y_l|x,I) )

Own: the data recipe. The model answers a prompt of its own instruction data twice, once greedily
and once by sampling; then the same model reads both answers beside the known one and says which is
better. Nobody else judges, but the known answer is GPT-4's (LLaVA-Instruct).

The paper's pages could not be opened but for the first one: the equation and epochs are as the
record has them from reading notes, the recipe is the official code's.

Simplifications
1. The lab's policy cannot read two answers. Of each claim it is asked whether it is so, unless the
   known answer makes the same claim, word for word; the answer with fewer claims denied is the
   better one. The three criteria (objects, relations, attributes) and both worked examples are what
   that stands for. A tie makes no pair, as a verdict without a number makes none.
2. The known answer is a writer's, who sees what the condition `sight` shows.
3. Sampling is at temperature 0.8, without top-p.

Official code: umd-huang-lab/SIMA@ba9e7ed0
- tool/dpo_trainer.py#L616-L621, #L526-L536: the rejected answer's own tokens are never scored. At
  each of its positions the likeliest OTHER token is (the second one where the first is the
  answer's), chosen by policy and reference each for itself: what falls is whatever the model would
  say instead, and the answer itself is not lowered. `variant="code"`: the view `rejected` is scored
  so, and the loss of given log-probabilities stays DPO's. The same lines are in
  other repositories that began with POVID's trainer.
- llava/sima/generate_samples.py#L62-L85, llava/sima/dataset_for_dpo.py#L20-L43: answers and pairs.
- scripts/run_dpo.sh#L10-L23: 13B for 3 epochs; by the notes 3 belong to 7B, and 13B gets one.
- Survey, Table 1: the row of DPO; `variant="survey"` is the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reference_impls.core.command_line import main
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant, View
from reference_impls.core.objective.preference import dpo as loss
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.worlds.protocol import Segment

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-7,  # scripts/run_dpo.sh#L31
    epochs=3,  # of 7B, by a reading note; scripts/run_dpo.sh#L23
    batch_size=1,  # scripts/run_dpo.sh#L24-L26, on one device by the note
    pairs=17000,  # the released prompts
    warmup_ratio=0.03,  # scripts/run_dpo.sh#L33
    lora_rank=128,  # scripts/run_dpo.sh#L8
    lora_alpha=256,  # scripts/run_dpo.sh#L8
    dtype="bfloat16",  # scripts/run_dpo.sh#L21
    temperature=0.8,  # llava/sima/generate_samples.py#L80
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The official values, and switches of the recipe."""

    beta: float = 0.1  # tool/dpo_trainer.py#L123, its default
    temperature: float = 0.8  # llava/sima/generate_samples.py#L80
    known_term: bool = True  # llava/sima/prompt_for_critic.py#L24-L55: the critic reads it
    rounds: int = 1  # by a reading note; later rounds add little
    variant: Variant = "paper"


def views(cfg: Config) -> tuple[str | View, ...]:
    """The code scores other tokens than the rejected answer's."""
    if cfg.variant == "code":
        return ("chosen", View("rejected", response="rejected", scored="likeliest other"))
    return VIEWS


def said_in(answer: str, claims: Sequence[Segment]) -> list[str]:
    """The words of each claim."""
    words = answer.split()
    return [" ".join(words[claim.start : claim.stop]) for claim in claims]


def denied(answer: str, claims: Sequence[Segment], known: frozenset[str]) -> int:
    """Claims of an answer that were denied, and that the known answer does not make."""
    said = said_in(answer, claims)
    return sum(not c.right and words not in known for c, words in zip(claims, said, strict=True))


def criticised_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """A greedy and a sampled answer, ordered by the policy's own verdict on their claims."""
    answers = (lab.answer(cfg.temperature), lab.answer(None))
    critic = lab.annotator("self-critique")
    judged = [critic.claims(lab.items, lab.media, each) for each in answers]
    truths = lab.source("writer") if cfg.known_term else [""] * len(lab.items)
    rows = []
    for place, (item, truth) in enumerate(zip(lab.items, truths, strict=True)):
        known = frozenset(said_in(truth, lab.task.judge(item, truth)))
        sampled, greedy = (each[place] for each in answers)
        wrong = [denied(a[place], j[place], known) for a, j in zip(answers, judged, strict=True)]
        if wrong[0] == wrong[1]:
            lab.tally.count("no verdict")
            continue
        first = wrong[0] < wrong[1]
        lab.tally.count("the sampled one chosen" if first else "the greedy one chosen")
        rows.append(lab.pair(place, *((sampled, greedy) if first else (greedy, sampled))))
    return rows


METHOD = Method(
    record="sima",
    config=Config,
    stages=(
        PairStage(data=criticised_pairs, loss=loss, views=views, lab=lab(3e-4), paper=PAPER),
    ),
    rounds=lambda cfg: cfg.rounds,
    condition={"sight": "all"},
    ablations={"no known answer": {"known_term": False}, "three rounds": {"rounds": 3}},
    expectations=(
        Expectation(
            id="fewer-hallucinated-answers",
            text="SIMA leaves fewer answers with a hallucination than the base.",
            metric="chair_s", direction="lower", of="sima", against="base",
            claim="fewer-hallucinated-answers", primary=True,
        ),
        Expectation(
            id="fewer-hallucinated-objects", text="SIMA lowers the base's CHAIR_i.",
            metric="chair_i", direction="lower", of="sima", against="base",
            claim="fewer-hallucinated-objects",
        ),
        Expectation(
            id="the-known-answer-is-why",
            text="Without the known answer more of what is named is not there.",
            metric="chair_i", direction="higher", of="no known answer", against="sima",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
