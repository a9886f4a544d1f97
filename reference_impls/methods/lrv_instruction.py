"""LRV-Instruction (large-scale robust visual instruction), record `lrv-instruction`,
arXiv:2306.14565.

Fine-tuning, in its usual form; I the image, x an instruction, true or false to the image:

    L = - sum_t log pi_theta(y_t | x, I, y_<t)

Own: the data recipe. A finished model is tuned on positive instructions and on as many negative
ones, which assert something that is not so; the answer denies it. There are no preference pairs,
no rejected answers and no reference: SFT of the same rows is this method.

The paper's pages could not be opened: the abstract says finetuning, and the equation is the usual
one, as the record has it.

Simplifications
1. Positive: a description of the picture, in short or in detail, or of one row, and questions about
   what is there. Negative: questions about what is not there (nonexistent element; kinds `random`
   and `suggested`) or is there in another colour or shape (existent element; `near`), and
   descriptions after a false claim. The third kind of the abstract, wrong knowledge, is left out,
   as in the released prompts.
2. A denial is `no`; GPT-4's gives a reason. After a false claim the description goes on without it.
3. Answers are true: nobody errs as GPT-4 does, who reads captions in place of pictures.

Official code: FuxiaoLiu/LRV-Instruction@0a5ab538
- MiniGPT-4/minigpt4/models/mini_gpt4.py#L210-L240: the language model's own loss, the mean over all
  answer tokens of a batch and not the sum per answer (`variant="code"`); the end sign counts.
  Batches are of one (MiniGPT-4/train_configs/minigpt4_stage2_finetune.yaml#L33).
- There a projector alone trains (mini_gpt4.py#L104-L110), in float16, unclipped, at a rate that
  falls to 1e-5 (minigpt4_stage2_finetune.yaml#L28). Here the language model trains, and to 0.
- The survey mentions the data in section 4.1.2 and prints no loss: `variant="survey"` is the
  paper's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import prompt_row, said
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import token_mean_nll
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen",)
PAPER = TrainSettings(  # MiniGPT-4, version 1
    learning_rate=3e-5,  # minigpt4_stage2_finetune.yaml#L27
    steps=400000,  # minigpt4_stage2_finetune.yaml#L31-L32: at most 20 x 20,000
    batch_size=1,  # minigpt4_stage2_finetune.yaml#L33
    pairs=200000,  # abstract: 400,000 instructions, two per picture here
    weight_decay=0.05,  # minigpt4_stage2_finetune.yaml#L30
    warmup_ratio=0.0005,  # minigpt4_stage2_finetune.yaml#L36: 200 steps
)
DESCRIPTIONS = ("describe", "brief", "row")


@dataclass(frozen=True)
class Config(BaseConfig):
    """The balance of positive and negative instructions."""

    negative_share: float = 0.5  # abstract: a balanced ratio is the best
    instructions: int = 2  # ours: per scene
    variant: Variant = "paper"


def instructions(lab: Lab, cfg: Config) -> list[Row]:
    """Instructions that are true to the picture and instructions that are not, with true answers.

    Raises ValueError for a share outside of 0 to 1.
    """
    if not 0 <= cfg.negative_share <= 1:
        raise ValueError(f"negative_share is {cfg.negative_share}; it must be from 0 to 1")
    rng, tasks = lab.rng("instructions"), lab.world.under({"context": "plain"}).tasks
    rows, owed = [], 0.0
    for item, shown in zip(lab.items, lab.media, strict=True):
        asked = tasks["presence"].items([item.scene], rng.getrandbits(32))
        positive = [
            *((each, name) for name in DESCRIPTIONS
              for each in tasks[name].items([item.scene], rng.getrandbits(32))),
            *((each, "there") for each in asked if each.truth == "yes"),
        ]  # fmt: skip
        negative = [
            *((each, "premise")
              for each in tasks["premise"].items([item.scene], rng.getrandbits(32))),
            *((each, each.kind) for each in asked if each.truth == "no"),
        ]  # fmt: skip
        for _ in range(cfg.instructions):
            owed += cfg.negative_share
            wrong = owed >= 1
            owed -= wrong
            pool = negative if wrong else positive
            if not pool:
                lab.tally.count("no instruction left")
                continue
            each, kind = pool.pop(rng.randrange(len(pool)))
            lab.tally.count(f"{'negative' if wrong else 'positive'}: {kind}")
            rows.append(prompt_row(each, shown, chosen=said(each.truth)))
    return rows


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: negative log-likelihoods of the answers; the code's mean over all tokens."""
    scores = batch.chosen
    losses = -(scores.logps * scores.mask).sum(-1)
    if cfg.variant == "code":
        losses = (losses.sum() / scores.mask.sum().clamp(min=1)).expand(len(losses))
    return losses, {"nll": token_mean_nll(scores).detach()}


METHOD = Method(
    record="lrv-instruction",
    config=Config,
    stages=(
        PairStage(
            data=instructions, loss=loss, views=VIEWS, reference="none", couples_rows=True,
            lab=lab(3e-4), paper=PAPER,
        ),
    ),
    condition={"context": "premise"},
    baselines=(),
    ablations={
        "positive alone": {"negative_share": 0.0}, "negative alone": {"negative_share": 1.0},
    },
    expectations=(
        Expectation(
            id="balance-of-signs", claim="balance-of-signs",
            text="With as many negative as positive instructions questions are answered better.",
            metric="pope_f1", direction="higher", of="lrv-instruction", against="positive alone",
            primary=True,
        ),
        Expectation(
            id="says-no", claim="says-no",
            text="Questions about objects are answered right more often than by the base.",
            metric="pope_accuracy", direction="higher", of="lrv-instruction", against="base",
        ),
        Expectation(
            id="fewer-hallucinated-answers", claim="fewer-hallucinated-answers",
            text="After a false claim fewer answers hallucinate than those of the base.",
            metric="chair_s", direction="lower", of="lrv-instruction", against="base",
        ),
        Expectation(
            id="negative-alone-says-no-too-often",
            text="Trained on negative instructions alone it finds less of what is there.",
            metric="hit", direction="lower", of="negative alone", against="lrv-instruction",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
