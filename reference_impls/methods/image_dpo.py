"""Image-DPO, record `image-dpo`, Probing Visual Language Priors in VLMs, arXiv:2501.00569.

One question q and one answer y, under a good image m_w and a spoilt one m_l (as the official code
and the survey's Table 1 have it):

    L = -log sigma( beta log pi_theta(y|m_w,q)/pi_ref(y|m_w,q)
                    - beta log pi_theta(y|m_l,q)/pi_ref(y|m_l,q) )

Own: the objective and the data recipe. Images are edited by the model's own instruction, so that
what is common in the world is no guide; the model asks and answers questions on them, rates its
answers, and keeps the best one of each question if it rated it above 3 of 5. The spoilt image is
blurred, in coarse squares, or the one from before the edit. It is DPO with images in the place of
answers: nothing is compared with another text.

The paper's pages could not be opened but for abstract and introduction; the rest is from the code.

Simplifications
1. An edit changes one object of a scene. The code takes the image from before the edit only where a
   tenth of the pixels differ; one object is less than that, and all count here.
2. The lab asks the questions. The rating is 5 times the share of an answer's claims that the policy
   affirms when it is asked about them, cut to a whole number; an answer without claims has 0.
3. Radius and squares are those of images of 1,024 pixels, scaled to an image's width. The three
   kinds are equally frequent; the code makes a file of each.
4. Rows have a `rejected` answer for the baselines, the one of the lowest rating; this loss does not
   read it.

Official code: ViLP-team/ImageDPO@f443c429; `variant="code"`, in external/LLaVA-Plus
- llava/train/trl/trainer/image_dpo_trainer.py#L807-L848: the texts of a batch are stacked as all
  chosen, then all rejected, the images as good, bad, good, bad, ..., and row k reads image k
  (llava/model/llava_arch.py#L200-L264). With the script's 12 pairs per device most rows see another
  pair's image, and good and bad ones stand on both sides; a pair alone is read rightly.
  `as_stacked` does that to the rows, 12 at a time, where the lab makes them; rows of a `--dataset`
  keep their own images. Read, not run. The loss of given scores is the paper's.
- #L886-L890, #L1084-L1090: label smoothing and an SFT term (mean over the batch's tokens, weight
  `gamma`) are 0 in image_dpo.sh#L19; they are left out. gamma's default is 1.0
  (llava/train/train_DPO_dpotrainer_img_dpo.py#L149).
- corrupt_image.py#L135-L157: without both switches, as in the README's command, nothing is spoilt.
- Survey, Table 1: the same equation; `variant="survey"` is the paper's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image
from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data.images import blurred, pixelated
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import dpo
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.worlds.protocol import Segment

VIEWS = ("chosen", "chosen_corrupt")
PAPER = TrainSettings(
    learning_rate=5e-7,  # external/LLaVA-Plus/image_dpo.sh#L39
    epochs=1,  # external/LLaVA-Plus/image_dpo.sh#L31
    batch_size=12,  # external/LLaVA-Plus/image_dpo.sh#L32, per device; their number is not told
    pairs=80000,  # external/LLaVA-Plus/image_dpo.sh#L7, the name of the file; survey: 60K
    warmup_ratio=0.03,  # external/LLaVA-Plus/image_dpo.sh#L42
    lora_rank=128,  # external/LLaVA-Plus/image_dpo.sh#L15
    lora_alpha=256,  # external/LLaVA-Plus/image_dpo.sh#L15
    dtype="bfloat16",  # external/LLaVA-Plus/image_dpo.sh#L29
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The official values, and which kinds of spoilt images there are."""

    beta: float = 0.5  # external/LLaVA-Plus/image_dpo.sh#L19
    answers: int = 3  # vlm_data_generator.py#L909-L914
    temperature: float = 1.2  # vlm_data_generator.py#L621
    above: int = 3  # corrupt_image.py#L115: of 5
    blur_low: int = 20  # corrupt_image.py#L44
    blur_high: int = 40  # corrupt_image.py#L49
    squares: int = 32  # corrupt_image.py#L54
    spoilt: Literal["all", "classic", "semantic"] = "all"  # corrupt_image.py#L18-L19
    per_device: int = 12  # external/LLaVA-Plus/image_dpo.sh#L32: `variant="code"`
    variant: Variant = "paper"


def rating(claims: Sequence[Segment]) -> int:
    """0 to 5: the share of an answer's claims that hold, cut to a fifth."""
    return 5 * sum(claim.right for claim in claims) // len(claims) if claims else 0


def kind_of(row: Row, rng: random.Random, cfg: Config) -> str:
    """How a row's image is to be spoilt: `before` is what an edit began with."""
    edited = "before" in row
    classic = ["blur", "squares"] if cfg.spoilt != "semantic" or not edited else []
    semantic = ["before"] if cfg.spoilt != "classic" and edited else []
    return rng.choice(classic + semantic)


def spoilt(row: Row, kind: str, rng: random.Random, cfg: Config) -> list[Image.Image]:
    """The images of a row, spoilt in that way."""
    if kind == "before":
        return list(row["before"])
    size = cfg.squares if kind == "squares" else rng.randint(cfg.blur_low, cfg.blur_high)
    change = pixelated if kind == "squares" else blurred
    return [change(image, size * image.width / 1024) for image in row["images"]]


def spoil(row: Row, rng: random.Random, cfg: Config) -> Row:
    """Add spoilt images, where a row has none."""
    if "negative_images" in row:
        return row
    return row | {"negative_images": spoilt(row, kind_of(row, rng, cfg), rng, cfg)}


def as_stacked(rows: Sequence[Row], size: int) -> list[Row]:
    """The rows with the images that the code reads: of each `size` rows, row k of [chosen, ...,
    rejected, ...] has image k of [good, bad, good, bad, ...]."""
    found = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        stacked = [row[side] for row in part for side in ("images", "negative_images")]
        for place, row in enumerate(part):
            bad = stacked[len(part) + place]
            found.append(row | {"images": stacked[place], "negative_images": bad})
    return found


def rated_answers(lab: Lab, cfg: Config) -> list[Row]:
    """Edited scenes with the policy's best answer, as it rates itself, and a spoilt image each."""
    rng = lab.rng("spoil")
    edited = lab.about([lab.world.alter(item.scene, rng) for item in lab.items])
    critic = edited.annotator("self-critique")
    answers = [edited.answer(cfg.temperature) for _ in range(cfg.answers)]
    judged = [critic.claims(edited.items, edited.media, each) for each in answers]
    rows = []
    for place, shown in enumerate(lab.media):
        rated = [(rating(j[place]), a[place]) for a, j in zip(answers, judged, strict=True)]
        best, worst = max(rated, key=lambda each: each[0]), min(rated, key=lambda each: each[0])
        if best[0] <= cfg.above:
            lab.tally.count("rated too low")
            continue
        lab.tally.count("kept")
        row = edited.pair(place, best[1], worst[1], before=list(shown.images))
        kind = kind_of(row, rng, cfg)
        lab.tally.count(f"spoilt: {kind}")
        rows.append(row | {"negative_images": spoilt(row, kind, rng, cfg)})
    return as_stacked(rows, cfg.per_device) if cfg.variant == "code" else rows


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses: DPO's between the answer under the good image and under the spoilt one."""
    return dpo(replace(batch, rejected=batch.need("chosen_corrupt")), cfg)


METHOD = Method(
    record="image-dpo",
    config=Config,
    stages=(
        PairStage(
            data=rated_answers, loss=loss, views=VIEWS, prepare=spoil, lab=lab(3e-4), paper=PAPER
        ),
    ),
    condition={"prior": "half"},
    ablations={
        "blurred or in squares": {"spoilt": "classic"}, "before the edit": {"spoilt": "semantic"},
        "every answer kept": {"above": -1},
    },
    expectations=(
        Expectation(
            id="answers-against-expectation", text="Hits exceed false alarms by more than before.",
            metric="presence", direction="higher", of="image-dpo", against="base",
            claim="answers-against-expectation", primary=True,
        ),
        Expectation(
            id="looks-at-the-image", text="The likelihood of an answer depends more on the image.",
            metric="image_sensitivity", direction="higher", of="image-dpo", against="base",
            claim="looks-at-the-image",
        ),
        Expectation(
            id="images-beat-texts", text="Hits exceed false alarms by more than with DPO.",
            metric="presence", direction="higher", of="image-dpo", against="dpo",
        ),
        Expectation(
            id="edits-are-why",
            text="Without images from before an edit hits exceed false alarms by less.",
            metric="presence", direction="lower", of="blurred or in squares", against="image-dpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
