"""HA-DPO (hallucination-aware DPO), record `ha-dpo`, arXiv:2311.16839.

Method section; lambda is set in section 5.2:

    L     = L_dpo + lambda L_aux
    L_dpo = -log sigma( beta log pi_theta(y_pos|x)/pi_ref(y_pos|x)
                        - beta log pi_theta(y_neg|x)/pi_ref(y_neg|x) )
    L_aux = -E_{(x, y) of the fine-tuning data} log pi_theta(y|x)

Own: the data recipe and the objective. A strong model corrects the policy's description, and both
versions are rewritten in one style, so that a pair differs in facts and not in manner.

L_aux is about other images: the view `target` has columns of its own (`target_images`,
`target_prompt`, `target`), is scored by no reference, and its loss is one number that is added to
every row. `extra["lm_loss"]`, a scalar, takes its place where it is given.

Simplifications
1. One style: what the writer corrects comes in the world's grammar. A rejected answer that parses
   and claims as many things as the chosen one stays as the policy said it; any other one is written
   anew: the chosen text with as many claims made wrong as were wrong. GPT-4 rewrites both, three
   times each, of which the code draws one.
2. The fine-tuning data of L_aux is what the base says about other images, sampled; MiniGPT-4 has
   CC-SBU captions.
3. There are no yes-or-no questions among the pairs (10K of the paper's 16K).

Official code: opendatalab/HA-DPO@42f72c53
- ha_dpo/trainer/base_dpo_trainer.py#L294-L304 is DPO over sums of tokens; what LLaVA-1.5
  (llava_dpo_trainer.py#L105-L125) and InstructBLIP (instructblip_dpo_trainer.py#L98-L103) train is
  that alone. In `variant="code"` a batch without `target` has no auxiliary term, as there.
- ha_dpo/trainer/minigpt4_dpo_trainer.py#L139-L142: for MiniGPT-4 `gamma` times the language
  model's own loss (minigpt4/models/mini_gpt4_dpo.py#L370-L388), which is the mean over ALL target
  tokens of the auxiliary rows of a forward pass (here: of the step; the released command passes one
  pair at a time) and not the paper's sum per answer: `variant="code"`. gamma is 0.5 in the released
  command and 1.0 by default (train_dpo.py#L45).
- Survey, Table 1 (`variant="survey"`): the auxiliary loss has no weight, lambda is 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import said
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant, View
from reference_impls.core.objective.preference import dpo
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected", "target")
AUXILIARY = View(
    "target", response="target", prompt="target_prompt", images="target_images", reference=False
)
PAPER = TrainSettings(  # MiniGPT-4, the model that has the auxiliary term
    learning_rate=1e-4,  # ha_dpo/models/minigpt4/README.md#L56
    steps=1000,  # ha_dpo/models/minigpt4/README.md#L60
    batch_size=32,  # ha_dpo/models/minigpt4/README.md#L55-L59: 8 devices x 1 x 4
    lora_rank=64,  # ha_dpo/models/minigpt4/README.md#L53
    lora_alpha=16,  # ha_dpo/models/minigpt4/README.md#L69-L71
    lora_targets="q_proj,k_proj,v_proj",  # ha_dpo/models/minigpt4/README.md#L40
    weight_decay=0.0,  # train_dpo.py#L189-L212 does not hand its option on
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The values for MiniGPT-4, and switches for what is the method's own."""

    beta: float = 0.1  # ha_dpo/models/minigpt4/README.md#L57
    lambda_: float = 0.5  # section 5.2, README.md#L58; 0 for LLaVA-1.5 and InstructBLIP
    auxiliary_term: bool = True  # section 5.2
    style_term: bool = True  # the data recipe: both answers in one style
    variant: Variant = "paper"


def views(cfg: Config) -> tuple[str | View, ...]:
    """Without the auxiliary term `target` is not scored."""
    return ("chosen", "rejected", AUXILIARY) if weight(cfg) else ("chosen", "rejected")


def weight(cfg: Config) -> float:
    """What the auxiliary loss is multiplied with."""
    if not cfg.auxiliary_term:
        return 0.0
    return 1.0 if cfg.variant == "survey" else cfg.lambda_


def restyled_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """The policy's answers, corrected by a strong model, both sides in one style."""
    answers, rng = lab.answer(), lab.rng("style")
    corrected = lab.annotator("closed-source-model").correct(lab.items, lab.media, answers)
    spoken = lab.answer(policy=lab.base) if weight(cfg) else answers
    rows = []
    for place, (item, better, answer) in enumerate(zip(lab.items, corrected, answers, strict=True)):
        if better == answer:
            lab.tally.count("nothing corrected")
            continue
        claims = lab.task.judge(item, answer)
        same_style = lab.task.parses(item, answer) and len(claims) == len(
            lab.task.judge(item, better)
        )
        if same_style or not cfg.style_term:
            lab.tally.count("as the policy said it")
        else:
            lab.tally.count("rejected answer rewritten")
            answer = better
            for _ in range(max(1, sum(not claim.right for claim in claims))):
                answer = lab.task.distort(item, answer, rng)
        other = (place + 1) % len(lab.items)
        about = lab.prompt(other)
        rows.append(
            lab.pair(
                place, better, answer, target=said(spoken[other]),
                target_prompt=about["prompt"], target_images=about["images"],
            )
        )  # fmt: skip
    return rows


def auxiliary_loss(batch: PairBatch, cfg: Config) -> Tensor | None:
    """() language-modelling loss of the auxiliary rows; None where the code would have none.

    Raises ValueError where the paper's variant has neither `target` nor `extra["lm_loss"]`.
    """
    given = batch.extra.get("lm_loss")
    if given is not None:
        return given.reshape(())
    if cfg.variant == "code" and batch.target is None and "target" not in batch.views:
        return None
    target = batch.need("target")
    total = -(target.logps * target.mask).sum()
    if cfg.variant == "code":
        return total / target.mask.sum().clamp(min=1)
    return total / target.mask.any(-1).sum().clamp(min=1)


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's, and the weighted auxiliary loss added to every row."""
    losses, metrics = dpo(batch, cfg)
    auxiliary = auxiliary_loss(batch, cfg) if weight(cfg) else None
    if auxiliary is None:
        auxiliary = torch.zeros_like(losses[0])
    return losses + weight(cfg) * auxiliary, metrics | {
        "preference_term": losses.detach(),
        "auxiliary_term": auxiliary.detach().reshape(1),
    }


METHOD = Method(
    record="ha-dpo",
    config=Config,
    stages=(
        PairStage(
            data=restyled_pairs, loss=loss, views=views, couples_rows=True, lab=lab(3e-4),
            paper=PAPER,
        ),
    ),
    condition={"sight": "all"},
    ablations={
        "no auxiliary term": {"auxiliary_term": False}, "no style rewriting": {"style_term": False},
    },
    expectations=(
        Expectation(
            id="fewer-hallucinated-answers",
            text="HA-DPO leaves fewer answers with a hallucination than the base.",
            metric="chair_s", direction="lower", of="ha-dpo", against="base",
            claim="fewer-hallucinated-answers", primary=True,
        ),
        Expectation(
            id="auxiliary-term-holds-the-chosen",
            text="Without the auxiliary term the chosen log-probability is lower.",
            metric="chosen_logp", direction="lower", of="no auxiliary term", against="ha-dpo",
        ),
        Expectation(
            id="one-style-helps", text="Without the rewriting it hallucinates more.",
            metric="chair_i", direction="higher", of="no style rewriting", against="ha-dpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
