"""Align-Anything (learning from language feedback), record `align-anything`, arXiv:2412.15838.

Section "Learning from Language Feedback" of the project's technical report (the paper's own text
could not be opened); c is what a feedback model says of an answer:

    L_phi = -log P_phi(c | x, y)                          the feedback model, by SFT
    y ~ M_theta(x),  c = M_phi(x, y),  y* = M_theta(x, c)
    L = -log sigma( beta log pi_theta(y*|x)/pi_ref(y*|x) - beta log pi_theta(y|x)/pi_ref(y|x) )

The report names DPO (and PPO) and prints no equation; the third line is its usual form.

Own: the data recipe; the rest is the setting, any modality. The policy's own second answer, given
written feedback on its first, is preferred to the first; nobody compares the two.

Simplifications
1. The feedback model is the base with a head that is asked about each claim of an answer and says
   whether it is right, learnt from people's judgements of other models' answers; its critique is a
   list of claims, those that are said again among them. The report's writes text, with suggestions,
   and critics of the data are people and closed models.
2. The policy cannot read a critique: told in the world's own questions what is not there, its
   answers got worse (true score .43 against .64 of the first and .65 of any second ones; 200
   pictures); let go on from the first claim that was criticised, it was better in 55 % and worse in
   27 % of 335. So the second answer is the first one without what is criticised: on-policy but for
   what is gone, and shorter, so that the policy learns to say less. At a rate of 3e-4 recall fell
   from .76 to .18; the lab's is 1e-4 (.43, and CHAIR_i .118 from .145; one seed, untuned).
3. Pictures only. A dataset of pairs needs no feedback model: `--set language_term=False`.

Official code: PKU-Alignment/align-anything@3f9decc2
- align_anything/trainers/text_image_to_text/dpo.py#L107-L152: DPO over sums of tokens.
- #L95-L105 there scores less than the answer: `response_lens` (#L147-L155 of
  align_anything/datasets/text_image_to_text/preference.py) counts the tokens of the answer's text,
  without its ending of k tokens, and the last so many tokens of the conversation are cut out. The
  cut begins k tokens into the answer, and the first token in it predicts nothing: of every answer
  the first k + 1 tokens do not count. `variant="code"` leaves out what `extra["chosen_unscored"]`
  and `extra["rejected_unscored"]`, (B, T), mark; without them all tokens count.
- projects/lang_feedback/refine_gen.py#L27-L30 shows the policy its first answer, too, where the
  report has y* = M_theta(x, c); answers are sampled at temperature 1 (#L66-L71), with a penalty on
  repetition of 1.1 that is left out here: what is said again is criticised.
- The survey has no equation of it (section 6.4): survey = paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.criticism import claim_odds, judged_claims, struck_out
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
from reference_impls.core.objective.preference import dpo
from reference_impls.core.objective.reward import verdict
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
PAPER = TrainSettings(
    learning_rate=1e-6,  # align_anything/configs/train/text_image_to_text/dpo.yaml
    epochs=2,  # the same
    batch_size=8,  # ours: 8 devices; the same has 1 pair on each
    pairs=40000,  # record: text and image to text
    warmup_ratio=0.03,  # the same
    dtype="bfloat16",  # the same
    train_vision=False,  # the same: freeze_vision_tower
)
PAPER_FEEDBACK = TrainSettings(
    learning_rate=2e-5,  # align_anything/configs/train/text_image_to_text/sft.yaml
    epochs=3,  # the same (scripts/llava/llava_sft.sh: 2)
    batch_size=128,  # ours: 8 devices; the same has 1 on each, 16 accumulated
    pairs=40000,  # record: text and image to text
    warmup_ratio=0.03,  # the same
    dtype="bfloat16",  # the same
    train_vision=False,  # the same: freeze_vision_tower
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The framework's defaults; the report gives no settings of its runs."""

    beta: float = 0.1  # align_anything/configs/train/text_image_to_text/dpo.yaml: scale_coeff
    temperature: float = 1.0  # projects/lang_feedback/base_gen.py, refine_gen.py#L67
    language_term: bool = True  # False: two samples, ordered by people (binary feedback)
    variant: Variant = "paper"


def criticised(lab: Lab, cfg: Config) -> list[Row]:
    """Claims of other models' answers, judged by people."""
    return judged_claims(lab, "human", lab.source("ensemble"))


def second_answers(lab: Lab, cfg: Config) -> list[Row]:
    """The policy's answer after feedback against its first one."""
    first = lab.answer(cfg.temperature)
    if not cfg.language_term:
        return lab.sampled_pairs(lab.annotator("human"), first, lab.answer(cfg.temperature))
    told = claim_odds(lab, lab.trained["feedback"], first, "feedback model")
    rows = []
    for place, (item, answer) in enumerate(zip(lab.items, first, strict=True)):
        claims = told[place][0]
        better = struck_out(answer, claims)
        if all(claim.right for claim in claims):
            lab.tally.count("nothing to say")
        elif not lab.task.parses(item, better):
            lab.tally.count("nothing of it is left in form")
        else:
            lab.tally.count("mended after feedback")
            rows.append(lab.pair(place, chosen=better, rejected=answer))
    return rows


def unscored(
    row: Row, answers: Mapping[str, Answer], cfg: Config
) -> dict[str, dict[str, Sequence[float]]]:
    """`extra["<view>_unscored"]` in the code's variant: 1 on the first k + 1 of an answer's tokens,
    where k of them end it and stand for no character."""
    if cfg.variant != "code":
        return {}
    marked: dict[str, Sequence[float]] = {}
    for view, answer in answers.items():
        # A blank at the beginning stands for no character of the text either. It is not an ending.
        ending = sum(start == stop == len(answer.text) for start, stop in answer.spans)
        marked[view] = [float(number <= ending) for number in range(len(answer.ids))]
    return {"unscored": marked}


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's, in the code's variant over the tokens that it scores."""
    if cfg.variant == "code":
        chosen, rejected = (
            batch.need(view).without(batch.extra.get(f"{view}_unscored")) for view in VIEWS
        )
        batch = replace(batch, chosen=chosen, rejected=rejected)
    return dpo(batch, cfg)


METHOD = Method(
    record="align-anything",
    config=Config,
    stages=(
        HeadStage(
            name="feedback", data=criticised, loss=verdict, views=("chosen",),
            lab=lab(1e-3, steps=100, batch_size=64), paper=PAPER_FEEDBACK,
            when=lambda cfg: cfg.language_term,
        ),
        PairStage(
            data=second_answers, loss=loss, views=VIEWS, tokens=unscored, lab=lab(1e-4),
            paper=PAPER,
        ),
    ),
    ablations={"binary feedback": {"language_term": False}},
    expectations=(
        Expectation(
            id="language-feedback-beats-binary-pairs",
            claim="language-feedback-beats-binary-pairs", primary=True,
            text="Answers are better than after DPO on as many pictures, compared by people.",
            metric="f1", direction="higher", of="align-anything", against="binary feedback",
        ),
        Expectation(
            id="beats-start-model", claim="beats-start-model",
            text="Answers are better than those of the base.",
            metric="f1", direction="higher", of="align-anything", against="base",
        ),
        Expectation(
            id="hallucinates-less", text="Fewer objects are named that are not there.",
            metric="chair_i", direction="lower", of="align-anything", against="base",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
