"""Llama 3.1 (its preference stage), record `llama-3-1`, arXiv:2407.21783.

Section 4.1.4, in words; c marks the content of an answer, without header and termination tokens:

    L = -log sigma( beta log pi_theta(c(y_w)|x)/pi_ref(c(y_w)|x)
                    - beta log pi_theta(c(y_l)|x)/pi_ref(c(y_l)|x) )
        - 0.2 log pi_theta(y_w|x) / |y_w|

Whether the likelihood is a sum or a mean over tokens is not said, but that it is like the one of
Pang et al. 2024 (arXiv:2404.19733), whose equation 1 divides by the length. It is there to keep the
format of answers, so that it counts formatting tokens, too. pi_ref is the model at the start of a
round's DPO.

Own: the schedule and the setting. Six rounds: a reward model picks the best of several samples, SFT
on these, DPO on fresh human comparisons of which only clear ones count.

`extra["chosen_formatting"]` and `extra["rejected_formatting"]`, (B, T), are 1 on formatting tokens;
without them all tokens are content.

Simplifications
1. The reward model is trained once, before the rounds; the paper renews it in each with all
   comparisons so far. SFT goes on from the round before; the paper begins at the pre-trained model.
2. A comparison is between two samples of the policy of the round, not of a pool of models. A share
   of the chosen answers is edited; how many people edit is not said. The reward model is not shown
   an edited answer beside the rejected one (section 4.1.2 ranks all three).
3. For images (section 7.5.5) the reference follows the policy as a moving average of unnamed decay;
   here it stands still during a round. Model averages and quality tuning are left out.
4. All rounds together have the lab's usual number of prompts and steps, in half as large batches.

Official code: none. OpenRLHF/OpenRLHF@39dfc6df:openrlhf/trainer/dpo_trainer.py, written after this
report, also takes the mean over an answer's tokens, then over answers, and masks no formatting
tokens; it is not the authors', so that `variant="code"` is the paper's. The survey has no equation
of it: survey = paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import said
from reference_impls.core.lab import Lab
from reference_impls.core.method import (
    Answer,
    Expectation,
    HeadStage,
    Method,
    PairStage,
    Row,
    Variant,
)
from reference_impls.core.objective.preference import SftConfig, dpo, sft, token_mean_nll
from reference_impls.core.objective.reward import pairwise
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-5,  # section 4.1.4
    epochs=1,  # ours: not said (of SFT section 4.1.3 has 8,500 to 9,000 steps)
    batch_size=64,  # ours: not said
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values; what it leaves open is ours."""

    beta: float = 0.1  # section 4.1.4
    alpha: float = 0.2  # section 4.1.4
    formatting_term: bool = True  # section 4.1.4: False scores formatting tokens, too
    rounds: int = 6  # section 4.1.6
    candidates: int = 10  # section 4.2.2: between 10 and 30
    least_gap: float = 0.1  # ours: what people call better, and not slightly better (4.2.1)
    edited: float = 0.25  # ours: share of chosen answers that are edited (7.5.3: optional)
    variant: Variant = "paper"


def compared(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy compared by a human, if one is clearly better; edits besides."""
    human, rng = lab.annotator("human"), lab.rng("edits")
    first, second = lab.answer(), lab.answer()
    choices = human.compare(lab.items, lab.media, first, second)
    better = [a if c.first else b for a, b, c in zip(first, second, choices, strict=True)]
    worse = [b if c.first else a for a, b, c in zip(first, second, choices, strict=True)]
    edits = human.correct(lab.items, lab.media, better)
    rows = []
    for place, choice in enumerate(choices):
        if choice.margin < cfg.least_gap or better[place] == worse[place]:
            lab.tally.count("too alike")
            continue
        lab.tally.count("clearly better")
        rows.append(lab.pair(place, chosen=better[place], rejected=worse[place]))
        if rng.random() < cfg.edited and edits[place] != better[place]:
            lab.tally.count("edited")
            rows.append(lab.pair(place, chosen=edits[place], rejected=better[place]))
    return rows


def best_by_reward(lab: Lab, cfg: Config) -> list[Row]:
    """Of several samples of the policy the one that the reward model rates highest."""
    best: list[tuple[float, str]] = [(float("-inf"), "")] * len(lab.items)
    for _ in range(cfg.candidates):
        answers = lab.answer()
        asked = [lab.prompt(place, chosen=said(answer)) for place, answer in enumerate(answers)]
        for place, reward in enumerate(lab.trained["reward"].rewards(asked, "chosen")):
            if reward > best[place][0]:
                best[place] = (reward, answers[place])
    lab.tally.source("the best by reward", (
        lab.task.score(item, answer) for item, (_, answer) in zip(lab.items, best, strict=True)
    ))  # fmt: skip
    return [lab.prompt(place, chosen=said(answer)) for place, (_, answer) in enumerate(best)]


def formatting(
    row: Row, answers: Mapping[str, Answer], cfg: Config
) -> dict[str, dict[str, Sequence[float]]]:
    """`extra["<view>_formatting"]`: 1 on tokens that stand for no character of the answer."""
    marked: dict[str, Sequence[float]] = {
        view: [float(start == stop) for start, stop in answer.spans]
        for view, answer in answers.items()
    }
    return {"formatting": marked}


def imitation(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses of the SFT stage: the baseline's."""
    return sft(batch, SftConfig())


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's over content, and the weighted mean NLL of the chosen answer."""
    chosen, rejected = (
        batch.need(view).without(
            batch.extra.get(f"{view}_formatting") if cfg.formatting_term else None
        )
        for view in VIEWS
    )
    losses, metrics = dpo(replace(batch, chosen=chosen, rejected=rejected), cfg)
    nll = token_mean_nll(batch.chosen)
    return losses + cfg.alpha * nll, metrics | {"likelihood_term": nll.detach()}


METHOD = Method(
    record="llama-3-1",
    config=Config,
    stages=(
        HeadStage(
            name="reward", data=compared, loss=pairwise, once=True, lab=lab(3e-4, steps=150),
            paper=PAPER,
        ),
        PairStage(
            name="sft", data=best_by_reward, loss=imitation, views=("chosen",), reference="none",
            lab=lab(3e-4, batch_size=16), paper=PAPER,
        ),
        PairStage(
            name="dpo", data=compared, loss=loss, views=VIEWS, tokens=formatting,
            lab=lab(3e-4, batch_size=16), paper=PAPER,
        ),
    ),
    rounds=lambda cfg: cfg.rounds,
    ablations={"no likelihood term": {"alpha": 0.0}, "one round": {"rounds": 1},
               "formatting scored": {"formatting_term": False}},
    expectations=(
        Expectation(
            id="keeps-chosen-likelihood", claim="keeps-chosen-likelihood",
            text="The better of two held-out answers stays likelier than after DPO.",
            metric="chosen_logp", direction="higher", of="llama-3-1", against="dpo", primary=True,
        ),
        Expectation(
            id="the-likelihood-term-is-why",
            text="Without the likelihood term the better answers are less likely.",
            metric="chosen_logp", direction="lower", of="no likelihood term", against="llama-3-1",
        ),
        Expectation(
            id="answers-better", text="Answers are better than those of the base.",
            metric="f1", direction="higher", of="llama-3-1", against="base",
        ),
        Expectation(
            id="rounds-beat-one-run", text="Six rounds do more than one with as many prompts.",
            metric="f1", direction="higher", of="llama-3-1", against="one round",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
