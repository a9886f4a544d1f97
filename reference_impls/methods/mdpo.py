"""mDPO (conditional preference optimization), record `mdpo`, arXiv:2406.11839.

Sections 3.1 and 3.2 (unnumbered), r(y) = beta log pi_theta(y|m,q)/pi_ref(y|m,q):

    L = -log sigma( r(y_w) - r(y_l) )                 the text pair: DPO
        -log sigma( r(y_w) - r_corrupt(y_w) )         the image pair: y_w under a corrupted image
        -log sigma( r(y_w) - delta )                  the anchor: r(y_w) must not fall below delta

Own: the objective.

Simplifications
1. Pairs: two sampled answers to each image, ordered by a strong model, in place of 10,000 pairs of
   VLFeedback, which models wrote and GPT-4V ordered (section 4.1).
2. The corrupted image is cropped once per pair, when the pairs are made, and both policy and
   reference see that crop. The official code draws a crop at every forward pass, one for the
   policy and another for the reference (mdpo_trainer.py#L152-L172 at 2221bb31), so that its image
   term does not start at ln 2.

Official code: luka-group/mDPO@2221bb31:mdpo_trainer.py#L108-L123 has no delta (`variant="code"`:
it is 0, the paper's value, so that the two coincide at the defaults). The crop keeps 1-20 % of
the area (bunny/modeling_bunny_phi.py#L2358-L2363). The survey's Table 1 puts y_l, not y_w, under
the corrupted image (`variant="survey"`); that asks for the view `rejected_corrupt` in place of
`chosen_corrupt`."""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.images import random_resized_crop
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import implicit_rewards, reward_metrics
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected", "chosen_corrupt")
PAPER = TrainSettings(
    learning_rate=1e-5,  # section 4.1
    epochs=3,  # section 4.1
    batch_size=32,  # section 4.1
    warmup_ratio=0.1,  # section 4.1
    weight_decay=0.05,  # bunny/config.yaml#L14
    lora_rank=64,  # section 4.1: LoRA, rank 64, alpha 128
    dtype="bfloat16",  # bunny/config.yaml#L4
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values, and a weight of 1 on each term so that it can be taken away."""

    beta: float = 0.1  # section 4.1
    delta: float = 0.0  # section 3.2
    image_term: float = 1.0  # section 3.2: the terms are added
    anchor: float = 1.0  # section 3.2
    smallest_crop: float = 0.01  # official code: scale=(0.01, 0.2)
    largest_crop: float = 0.2  # section 4.1: 0-20 % of the image
    variant: Variant = "paper"


def views(cfg: Config) -> tuple[str, ...]:
    """The survey's image term asks for another view than the paper's."""
    return ("chosen", "rejected", "rejected_corrupt") if cfg.variant == "survey" else VIEWS


def rated_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a strong model."""
    return lab.sampled_pairs(lab.annotator("closed-source-model"), lab.answer(), lab.answer())


def add_crop(row: Row, rng: random.Random, cfg: Config) -> Row:
    """Add the negative image: a small crop, blown up."""
    scale = (cfg.smallest_crop, cfg.largest_crop)
    return row | {"negative_images": [random_resized_crop(i, rng, scale) for i in row["images"]]}


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; VIEWS, or those of `views(cfg)` in the survey's variant."""
    chosen, rejected = implicit_rewards(batch, cfg.beta)
    corrupt_view = "rejected_corrupt" if cfg.variant == "survey" else "chosen_corrupt"
    corrupt = cfg.beta * batch.need(corrupt_view).log_ratio()
    delta = 0.0 if cfg.variant == "code" else cfg.delta
    text_term = -logsigmoid(chosen - rejected)
    image_term = -logsigmoid(chosen - corrupt)
    anchor = -logsigmoid(chosen - delta)
    losses = text_term + cfg.image_term * image_term + cfg.anchor * anchor
    return losses, reward_metrics(chosen, rejected) | {
        "corrupt_reward": corrupt.detach(),
        "text_term": text_term.detach(),
        "image_term": image_term.detach(),
        "anchor_term": anchor.detach(),
    }


METHOD = Method(
    record="mdpo",
    config=Config,
    stages=(
        PairStage(
            data=rated_pairs, loss=loss, views=views, prepare=add_crop, lab=lab(3e-4), paper=PAPER
        ),
    ),
    condition={"prior": "half"},
    ablations={"no anchor": {"anchor": 0.0}, "no image term": {"image_term": 0.0}},
    expectations=(
        Expectation(
            id="hallucinates-less-than-dpo", text="mDPO hallucinates less than DPO on its pairs.",
            metric="chair_i", direction="lower", of="mdpo", against="dpo", primary=True,
        ),
        Expectation(
            id="the-image-term-is-why",
            text="Without the image term hits exceed false alarms by less.",
            metric="presence", direction="lower", of="no image term", against="mdpo",
        ),
        Expectation(
            id="anchor-holds-the-chosen",
            text="mDPO's chosen log-probability lies above DPO's.",
            metric="chosen_logp", direction="higher", of="mdpo", against="dpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
