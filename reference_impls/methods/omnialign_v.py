"""OmniAlign-V (SFT, then DPO on the same answers), record `omnialign-v`, arXiv:2502.18411.

Section 6.2 names DPO and prints no equation; its usual form, pi_ref the model after SFT:

    L = -log sigma( beta log pi_theta(y_w|x)/pi_ref(y_w|x)
                    - beta log pi_theta(y_l|x)/pi_ref(y_l|x) )

Own: the data recipe. Section 4.3: y_w is the long, refined answer that SFT was done on before; y_l
is the one of several samples of a baseline without that SFT that a judge finds furthest from what
was asked. So both sides are off-policy, and the policy has already learnt the chosen one.

Simplifications
1. Answers are what a writer sees (condition `sight`), in the world's grammar: every question asks
   for the same description. The paper's come from GPT-4o and other models, on six kinds of
   questions, and people review some.
2. The baseline is the lab's base; the paper's is LLaVA-NeXT without OmniAlign-V, in both roles.
3. The judge is another base, asked about each claim of an answer. The paper's is a language model
   that is not named and weighs what the question intends.
4. SFT sees the pictures of the pairs; the paper's mixes 741K other examples in.

Official code: PhoenixZ810/OmniAlign-V@8d96a8bf (its trl/trainer/dpo_trainer.py is LLaVA-NeXT's)
- trl/trainer/dpo_trainer.py#L766: DPO over sums of tokens. #L951-L957: an SFT loss on the chosen
  answers is added, their mean over all tokens of a pass, times `gamma`; #L26 of
  scripts/dpo/dpo_anyres.sh sets gamma to 0, so that the three variants coincide. In
  `variant="code"` another gamma weighs that mean over the batch; in the others, where nobody has
  the term, each answer's own mean.
- No script that samples or judges the rejected answers is public.
- The survey has no equation of it: survey = paper."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import said
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import (
    SftConfig,
    batch_mean_nll,
    dpo,
    sft,
    token_mean_nll,
)
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=5e-7,  # scripts/dpo/dpo_anyres.sh#L48
    epochs=1,  # scripts/dpo/dpo_anyres.sh#L40
    batch_size=16,  # scripts/dpo/dpo_anyres.sh#L9
    pairs=133341,  # record: rows of the released set
    warmup_ratio=0.1,  # scripts/dpo/dpo_anyres.sh#L50
    scheduler="linear",  # scripts/dpo/dpo_anyres.sh#L51
    dtype="bfloat16",  # scripts/dpo/dpo_anyres.sh#L37
    # scripts/dpo/dpo_anyres.sh#L28 asks for the tower's gradients, and its forward pass has none
    # (llava/model/multimodal_encoder/clip_encoder.py#L50)
    train_vision=False,  # appendix D says nothing of DPO
)
PAPER_SFT = TrainSettings(
    learning_rate=2e-5,  # appendix D
    epochs=1,  # scripts/llavanext_anyres/sft_AR4_llavanext.sh#L42
    batch_size=128,  # appendix D
    warmup_ratio=0.03,  # sft_AR4_llavanext.sh#L52
    dtype="bfloat16",  # sft_AR4_llavanext.sh#L39
    train_vision=True,  # appendix D; the script has a rate of 2e-6 for the tower
    pairs=205000,  # section 4.3
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values of the official script; what section 4.3 leaves open is ours."""

    beta: float = 0.1  # scripts/dpo/dpo_anyres.sh#L26; not in the paper
    gamma: float = 0.0  # scripts/dpo/dpo_anyres.sh#L26
    candidates: int = 4  # ours: N of section 4.3 has no number
    temperature: float = 1.0  # ours: section 4.3 says high
    judge: str = "open-source-model"  # section 4.3
    sft_term: bool = True  # section 6.1: SFT on the same answers first
    worst_term: bool = True  # section 4.3; False: any of the samples
    variant: Variant = "paper"


def written(lab: Lab, cfg: Config) -> list[Row]:
    """A writer's answer to each picture."""
    return [
        lab.prompt(place, chosen=said(answer)) for place, answer in enumerate(lab.source("writer"))
    ]


def written_and_astray(lab: Lab, cfg: Config) -> list[Row]:
    """The same answers, against the worst sample of the model that never saw them."""
    samples = [lab.answer(cfg.temperature, lab.base) for _ in range(cfg.candidates)]
    judge = lab.annotator(cfg.judge)
    rated = [judge.scores(lab.items, lab.media, each) for each in samples]
    rows = []
    for place, answer in enumerate(lab.source("writer")):
        scores = [each[place] for each in rated]
        worst = scores.index(min(scores)) if cfg.worst_term else 0
        if samples[worst][place] == answer:
            lab.tally.count("the sample is the answer")
            continue
        apart = min(scores) < max(scores) and cfg.worst_term
        lab.tally.count("worst by the judge" if apart else "any sample")
        rows.append(lab.pair(place, chosen=answer, rejected=samples[worst][place]))
    return rows


def imitation(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses of the SFT stage: the baseline's."""
    return sft(batch, SftConfig())


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's."""
    losses, metrics = dpo(batch, cfg)
    nll = batch_mean_nll if cfg.variant == "code" else token_mean_nll
    return losses + cfg.gamma * nll(batch.chosen), metrics


METHOD = Method(
    record="omnialign-v",
    config=Config,
    stages=(
        PairStage(
            name="sft", data=written, loss=imitation, views=("chosen",), reference="none",
            lab=lab(3e-4), paper=PAPER_SFT, when=lambda cfg: cfg.sft_term,
        ),
        PairStage(
            name="dpo", data=written_and_astray, loss=loss, views=VIEWS, couples_rows=True,
            lab=lab(3e-4), paper=PAPER,
        ),
    ),
    condition={"sight": "all"},
    ablations={"no SFT first": {"sft_term": False}, "any sample": {"worst_term": False}},
    expectations=(
        Expectation(
            id="dpo-adds-to-sft",
            text="DPO after SFT on the same answers does more than SFT alone.",
            metric="f1", direction="higher", of="omnialign-v", against="sft", primary=True,
        ),
        Expectation(
            id="longer-answers", claim="longer-answers", text="Answers are longer than the base's.",
            metric="length", direction="higher", of="omnialign-v", against="base",
        ),
        Expectation(
            id="sft-first-is-why", text="Without SFT on the same answers DPO does less.",
            metric="f1", direction="lower", of="no SFT first", against="omnialign-v",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
