"""Re-Align (retrieval-augmented DPO), record `re-align`, arXiv:2502.13146.

Equation 1 and the two losses before it; v is the image, v_l a retrieved one,
r(y|v) = beta log pi_theta(y|x,v)/pi_0(y|x,v):

    L      = L_DPO + L_vDPO
    L_DPO  = -log sigma( r(y_w|v) - r(y_l|v) )
    L_vDPO = -log sigma( r(y_w|v) - r(y_w|v_l) )

Own: the objective (mDPO's without anchor, with a retrieved image where mDPO has a crop) and the
data recipe. Parts of the chosen answer are masked; the model fills them in again while it looks at
v_l, one of the ten images most like v. The first of them under which the new text is less like the
chosen one than tau gives both y_l and v_l.

Simplifications
1. The chosen answer is a writer's (GPT-4o mini's on images of LLaVA-Instruct), and which parts are
   masked is drawn among its claims (a model's choice there).
2. Images are retrieved by their descriptions, among the other scenes of the round; the paper
   compares features of the images.
3. A causal model fills a gap from what stands before it. How alike two texts are is the share of
   words that stay; the paper takes sentence embeddings.
4. Of the paper's algorithm 1, which keeps refilled answers that are AT LEAST as alike as tau, the
   text is followed: below it.

Official code: taco-group/Re-Align@a82ce56b; `variant="code"`
- rDPOtrainer.py#L147-L152 and #L191-L196 with dpo_trainer.py#L500-L547: neither the rejected answer
  nor the chosen one under v_l is ever scored. At each of their positions the likeliest OTHER token
  is, picked by policy and reference each for itself. So the text term lowers whatever else the
  model would say along y_l, also what is right, and the image term compares two texts. The loss of
  given log-probabilities is the same; what differs is what is scored (views `rejected` and
  `chosen_corrupt`).
- #L306-L313: a supervised term with a weight that is never set, on which training stops: left out.
  train_lora_rdpo.sh: rate 1e-6 in place of the paper's 1e-5.
- The survey's figure 2 lists the method and Table 1 has no row of it: `variant="survey"` is the
  paper's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.retrieval import likeness, nearest
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant, View
from reference_impls.core.objective.preference import implicit_rewards, reward_metrics
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.worlds.protocol import Segment

VIEWS = ("chosen", "rejected", "chosen_corrupt")
CODE_VIEWS = (
    "chosen",
    View("rejected", response="rejected", scored="likeliest other"),
    View("chosen_corrupt", images="negative_images", scored="likeliest other"),
)
PAPER = TrainSettings(
    learning_rate=1e-5,  # Table 10
    epochs=1,  # section 4.1
    batch_size=32,  # Table 10, appendix I: 1 per device, 8 accumulated, 4 devices
    pairs=11000,  # section 4.1
    warmup_ratio=0.03,  # Table 10
    lora_rank=128,  # appendix J; the script adapts q, k, v and o alone (train_rdpo.py#L915)
    dtype="bfloat16",  # Table 10
)
NEW_TOKENS = 12
"""Tokens that are written to fill a gap: more than any claim of the lab has."""


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values; switches for its image term and for retrieval."""

    beta: float = 0.1  # Table 10
    tau: float = 0.95  # section 3.1
    retrieved: int = 10  # section 5: k
    masked: int = 3  # ours: claims that are masked in an answer
    image_term: bool = True  # section 3.2
    similar_term: bool = True  # section 3.1; off: any other image, drawn by lot
    variant: Variant = "paper"


def views(cfg: Config) -> tuple[str | View, ...]:
    """What is scored; without the image term the negative image is not."""
    found = CODE_VIEWS if cfg.variant == "code" else VIEWS
    return found if cfg.image_term else found[:2]


def refilled_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """A writer's answer against the same one refilled under a retrieved image, with that image."""
    truths, rng = lab.source("writer"), lab.rng("masks")
    masks = [drawn(lab.task.judge(i, t), rng, cfg) for i, t in zip(lab.items, truths, strict=True)]
    others = nearest([item.truth for item in lab.items], cfg.retrieved)
    if not cfg.similar_term:
        everywhere = range(len(lab.items))
        others = [rng.sample([n for n in everywhere if n != p], len(others[p])) for p in everywhere]
    found: dict[int, Row] = {}
    pending = list(range(len(lab.items)))
    for turn in range(cfg.retrieved):
        pending = [p for p in pending if p not in found and turn < len(others[p])]
        if not pending:
            break
        shown = {place: others[place][turn] for place in pending}
        for place, text in refill(lab, shown, truths, masks).items():
            if likeness(truths[place], text) < cfg.tau:
                negative = list(lab.media[shown[place]].images)
                found[place] = lab.pair(place, truths[place], text, negative_images=negative)
                lab.tally.count("refilled under the nearest" if not turn else "under a later one")
    lab.tally.count("too alike under all, dropped", len(lab.items) - len(found))
    return [found[place] for place in sorted(found)]


def drawn(claims: Sequence[Segment], rng: random.Random, cfg: Config) -> list[Segment]:
    """The claims that are masked, the last one of an answer first."""
    chosen = rng.sample(list(claims), min(cfg.masked, len(claims)))
    return sorted(chosen, key=lambda claim: -claim.start)


def refill(
    lab: Lab, shown: dict[int, int], truths: Sequence[str], masks: Sequence[Sequence[Segment]]
) -> dict[int, str]:
    """By place, the answer with its masked claims as the policy fills them in, each from what
    stands before it, looking at the picture of another place (`shown`)."""
    gaps = [(place, claim) for place in shown for claim in masks[place]]
    written = lab.policy.continue_items(
        [lab.items[place] for place, _ in gaps],
        [list(lab.media[shown[place]].images) for place, _ in gaps],
        [" ".join(truths[place].split()[: claim.start]) for place, claim in gaps],
        1.0,
        NEW_TOKENS,
    )
    texts = {place: truths[place].split() for place in shown}
    for (place, claim), answer in zip(gaps, written, strict=True):
        for new in lab.task.judge(lab.items[place], answer):
            if new.start == claim.start:
                texts[place][claim.start : claim.stop] = answer.split()[new.start : new.stop]
    return {place: " ".join(words) for place, words in texts.items()}


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; VIEWS. In the code's variant they hold other tokens' log-probabilities."""
    chosen, rejected = implicit_rewards(batch, cfg.beta)
    losses = -logsigmoid(chosen - rejected)
    metrics = reward_metrics(chosen, rejected) | {"text_term": losses.detach()}
    if cfg.image_term:
        retrieved = cfg.beta * batch.need("chosen_corrupt").log_ratio()
        image_term = -logsigmoid(chosen - retrieved)
        losses = losses + image_term
        metrics |= {"image_term": image_term.detach(), "retrieved_reward": retrieved.detach()}
    return losses, metrics


METHOD = Method(
    record="re-align",
    config=Config,
    stages=(
        PairStage(data=refilled_pairs, loss=loss, views=views, lab=lab(3e-4), paper=PAPER),
    ),
    condition={"prior": "half"},
    ablations={"no image term": {"image_term": False}, "any other image": {"similar_term": False}},
    expectations=(
        Expectation(
            id="sees-objects-better", claim="sees-objects-better",
            text="Questions about objects are answered right more often than after DPO.",
            metric="pope_accuracy", direction="higher", of="re-align", against="dpo", primary=True,
        ),
        Expectation(
            id="uses-the-image", claim="uses-the-image",
            text="The chosen answer's likelihood depends more on the image than after DPO.",
            metric="image_sensitivity", direction="higher", of="re-align", against="dpo",
        ),
        Expectation(
            id="the-image-term-is-why",
            text="Without the image term hits exceed false alarms by less.",
            metric="presence", direction="lower", of="no image term", against="re-align",
        ),
        Expectation(
            id="retrieval-helps", text="With any other image hits exceed false alarms by less.",
            metric="presence", direction="lower", of="any other image", against="re-align",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
