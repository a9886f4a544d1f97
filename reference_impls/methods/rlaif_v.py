"""RLAIF-V, record `rlaif-v`, arXiv:2405.17220.

The section on iterative feedback learning takes DPO over unchanged, beta = 0.1; pi_ref is the model
at the start of a round:

    L = -log sigma( beta log pi_theta(y_w|x)/pi_ref(y_w|x)
                    - beta log pi_theta(y_l|x)/pi_ref(y_l|x) )

Own: the data recipe and the schedule. Each round, the policy answers every prompt several times
(all sides of a pair have one source: "deconfounded"); an answer is divided into claims, an
open-source model is asked about each (yes or no); an answer's score is minus the number of claims
denied. Pairs differ in score; they and the reference are made anew each round.

Simplifications
1. Claims are the things that an answer names, found by the world's grammar; the paper has a
   language model split answers and write the questions.
2. The open-source model is another base of the same world, as large as the policy (the paper's 12B
   setting, where a model judges for a peer, not the 7B one with a larger judge).
3. All rounds together have the lab's usual number of prompts and steps, so that rounds are compared
   with one run at an equal budget.

Official code: RLHF-V/RLAIF-V@83d917b2
- utils/pair_construction.py#L36-L67: pairs are all two answers of a prompt whose scores differ by 1
  or more; an answer without a claim has no score, and is in no pair (#L22-L33, #L96-L112). A claim
  is denied unless P(yes) > P(no) (#L84-L87). utils/get_preference_pairs.py#L154-L168: at most 2
  pairs of a prompt are drawn.
- utils/get_pairs_filter_shorten.py#L6-L79: pairs whose chosen answer is shorter by more than a
  share of the rejected one's words are dropped; of the shares 0, 0.02, ... 0.98 the one is taken
  that brings the mean lengths closest. The paper's text does not say so.
- muffin/train/trainers.py#L292-L301: DPO, as the paper and the survey have it, so that the three
  variants coincide; an SFT term (the log-probability of the chosen answer, summed) can be switched
  on by the environment variable SFT_weight, 0 by default. `sft_weight` is that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.ranking import Pair, pairs_of
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import dpo
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=5e-7,  # implementation details
    epochs=4,  # implementation details: in each round
    batch_size=8,  # script/train/llava15_train.sh: 8 GPUs x 1 pair
    pairs=16000,  # implementation details: 4 rounds of 4,000 instructions
    warmup_ratio=0.05,  # script/train/llava15_train.sh
    weight_decay=0.01,  # script/train/llava15_train.sh
    temperature=0.7,  # script/data_gen/llava15/llava15_diverse_gen.sh
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 0.1  # implementation details
    rounds: int = 4  # implementation details
    candidates: int = 10  # script/data_gen/llava15/llava15_diverse_gen.sh
    temperature: float = 0.7  # script/data_gen/llava15/llava15_diverse_gen.sh
    least_gap: int = 1  # utils/pair_construction.py
    pairs_per_prompt: int = 2  # script/data_gen/run_data_pipline_llava15_omni.sh
    length_term: bool = True  # utils/get_pairs_filter_shorten.py
    judge: str = "open-source-model"  # section on divide and conquer
    sft_weight: float = 0.0  # muffin/train/trainers.py#L299
    variant: Variant = "paper"


def divided_and_judged(lab: Lab, cfg: Config) -> list[Row]:
    """Pairs of the policy's samples, by the number of claims that the judge denies."""
    answers = [lab.answer(cfg.temperature) for _ in range(cfg.candidates)]
    judge, rng = lab.annotator(cfg.judge), lab.rng("pairs")
    judged = [judge.claims(lab.items, lab.media, each) for each in answers]
    found: list[tuple[int, Pair]] = []
    for place in range(len(lab.items)):
        scored = [
            (each[place], -sum(not claim.right for claim in claims[place]))
            for each, claims in zip(answers, judged, strict=True)
            if claims[place]  # nothing was asked about an answer that claims nothing
        ]
        pairs = pairs_of(scored, cfg.least_gap)
        if not pairs:
            lab.tally.count("all answers of one score")
        drawn = rng.sample(pairs, min(cfg.pairs_per_prompt, len(pairs)))
        found += [(place, pair) for pair in drawn]
    share = closest_in_length([pair for _, pair in found]) if cfg.length_term else 1.0
    kept = [(place, pair) for place, pair in found if not shorter(pair, share)]
    lab.tally.count("ranked by denied claims", len(kept))
    lab.tally.count("dropped as too short", len(found) - len(kept))
    return [lab.pair(place, chosen=pair[0], rejected=pair[1]) for place, pair in kept]


def shorter(pair: Pair, share: float) -> bool:
    """Whether the chosen answer lacks more than that share of the rejected one's words."""
    chosen, rejected = (len(answer.split()) for answer in pair)
    return rejected > 0 and (rejected - chosen) / rejected > share


def closest_in_length(pairs: Sequence[Pair]) -> float:
    """The share of 0, 0.02, ... 0.98 with which mean lengths differ least; 1 of no pairs."""
    best, found = float("inf"), 1.0
    for number in range(50):
        kept = [pair for pair in pairs if not shorter(pair, number / 50)]
        if not kept:
            continue
        chosen, rejected = (sum(len(pair[side].split()) for pair in kept) for side in (0, 1))
        apart = abs(chosen - rejected) / max(1, rejected)
        if apart < best:
            best, found = apart, number / 50
    return found


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's."""
    losses, metrics = dpo(batch, cfg)
    chosen = batch.chosen
    return losses - cfg.sft_weight * (chosen.logps * chosen.mask).sum(-1), metrics


METHOD = Method(
    record="rlaif-v",
    config=Config,
    stages=(
        PairStage(data=divided_and_judged, loss=loss, views=VIEWS, lab=lab(3e-4), paper=PAPER),
    ),
    rounds=lambda cfg: cfg.rounds,
    ablations={"one round": {"rounds": 1}, "judged by a human": {"judge": "human"},
               "no length filter": {"length_term": False}},
    expectations=(
        Expectation(
            id="hallucinates-less", text="RLAIF-V lowers the base's CHAIR_i.", metric="chair_i",
            direction="lower", of="rlaif-v", against="base", primary=True,
            claim="fewer-hallucinated-objects",
        ),
        Expectation(
            id="fewer-answers-hallucinate", text="Fewer answers name something that is not there.",
            metric="chair_s", direction="lower", of="rlaif-v", against="base",
            claim="fewer-hallucinated-answers",
        ),
        Expectation(
            id="rounds-beat-one-run",
            text="Rounds leave fewer hallucinated objects than one run with as many prompts.",
            metric="chair_i", direction="lower", of="rlaif-v", against="one round",
            claim="rounds-beat-one-offline-run",
        ),
        Expectation(
            id="the-filter-keeps-length", text="Without the length filter answers are shorter.",
            metric="length", direction="lower", of="no length filter", against="rlaif-v",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
