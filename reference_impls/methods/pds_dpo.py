"""PDS-DPO (Synth-Align), record `pds-dpo`, arXiv:2412.17417.

The abstract names DPO, and the official trainer computes it, beta = 0.1:

    L = -log sigma( beta log pi_theta(y_w|x,I)/pi_ref(y_w|x,I)
                    - beta log pi_theta(y_l|x,I)/pi_ref(y_l|x,I) )

Own: the data recipe; the row `dpo`, trained on the same pairs, is the method itself. No real image
and nobody's judgement is needed: a diffusion model paints each prompt four times, a reward model
for images keeps the painting that fits best; three open models answer a question about it, and a
reward model for texts takes the best answer and the worst. That one never sees the image.

The paper's pages could not be opened: what is said of it here comes from its abstract, the authors'
page and the official code.

Simplifications
1. A prompt is the true description of a drawn scene. A painting is that scene with up to three
   objects painted as another kind; how many, is drawn for each.
2. The reward model for images is the world's small CLIP.
3. The reward model for texts is a head on the policy's base, trained on a human's comparisons of
   answers about images, but shown a blank one. Length can mislead it (condition `length-bias`).
4. The three models are two other bases, of which one answers twice.

Official code: pds-dpo/pds-dpo@40ff9a96
- image_generation_ranking/run.py#L88-L129 and response_generation_ranking/run.py#L207-L221: the
  recipe, as above. Where all three rewards are equal, the same answer is chosen and rejected; here
  such a question makes no pair.
- tool/dpo_trainer.py#L435-L461, #L617-L621: the paper's loss over sums of tokens. The function that
  POVID's trainer scores other tokens with is still in the file (#L497-L544) and is not called.
- The survey (section 3.1.2) says that DPO is used. The three variants coincide."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reference_impls.core.command_line import main
from reference_impls.core.data.pool import answers_of_pool
from reference_impls.core.data.ranking import best_and_worst
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import dpo as loss
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
POOL = ("other-1", "other-2", "other-1")
PAPER = TrainSettings(
    learning_rate=1e-5,  # scripts/run_dpo.sh#L34
    epochs=2,  # scripts/run_dpo.sh#L25
    batch_size=2,  # scripts/run_dpo.sh#L9, #L27, #L29: 2 GPUs x 1
    pairs=9000,  # abstract of version 1; scripts/run_dpo.sh#L14
    warmup_ratio=0.03,  # scripts/run_dpo.sh#L36
    lora_rank=128,  # scripts/run_dpo.sh#L10
    lora_alpha=256,  # scripts/run_dpo.sh#L10
    dtype="bfloat16",  # scripts/run_dpo.sh#L23
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The official values, and the lab's painter."""

    beta: float = 0.1  # tool/dpo_trainer.py#L123, its default
    images: int = 4  # image_generation_ranking/run.py#L23: paintings of a prompt
    mistakes: int = 3  # ours: objects that a painting has wrong, at most
    painting_judge: str = "clip"  # ImageReward in image_generation_ranking/run.py#L18
    judge: str = "blind-reward-model"  # ArmoRM in response_generation_ranking/run.py#L49
    variant: Variant = "paper"


def painted(lab: Lab, scene: Any, rng: random.Random, cfg: Config) -> tuple[Any, int]:
    """What a painter makes of a scene that is described, and how often it was painted wrong."""
    mistakes = rng.randint(0, cfg.mistakes)
    for _ in range(mistakes):
        scene = lab.world.alter(scene, rng)
    return scene, mistakes


def best_paintings(lab: Lab, cfg: Config) -> list[Any]:
    """One scene for each prompt: of several paintings the one that fits the prompt best."""
    rng, judge = lab.rng("paint"), lab.annotator(cfg.painting_judge)
    prompts = [item.truth for item in lab.items]
    made, fits = [], []
    for _ in range(cfg.images):
        paintings = [painted(lab, item.scene, rng, cfg) for item in lab.items]
        shown = [lab.world.show(scene) for scene, _ in paintings]
        made.append(paintings)
        fits.append(judge.scores(lab.items, shown, prompts))
    kept = [made[highest(each)][place] for place, each in enumerate(zip(*fits, strict=True))]
    for mistakes, count in sorted(Counter(mistakes for _, mistakes in kept).items()):
        lab.tally.count(f"paintings kept with {mistakes} mistakes", count)
    return [scene for scene, _ in kept]


def highest(values: Sequence[float]) -> int:
    """The place of the highest value, the first one of several."""
    return max(range(len(values)), key=lambda place: values[place])


def synthetic_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """Best and worst of three models' answers about paintings, by a model that does not see."""
    shown = lab.about(best_paintings(lab, cfg))
    given = answers_of_pool(shown, POOL)
    judge = shown.annotator(cfg.judge)
    columns = [[said[number].text for said in given] for number in range(len(POOL))]
    rewards = [judge.scores(shown.items, shown.media, answers) for answers in columns]
    rows = []
    for place in range(len(shown.items)):
        pair = best_and_worst([(a[place], r[place]) for a, r in zip(columns, rewards, strict=True)])
        if pair is None:
            lab.tally.count("not told apart")
            continue
        lab.tally.count("best against worst")
        rows.append(shown.pair(place, *pair))
    return rows


METHOD = Method(
    record="pds-dpo",
    config=Config,
    stages=(PairStage(data=synthetic_pairs, loss=loss, views=VIEWS, lab=lab(3e-4), paper=PAPER),),
    condition={"length-bias": "weak"},
    ablations={
        "the first painting": {"images": 1}, "a judge that sees": {"judge": "reward-model"},
    },
    expectations=(
        Expectation(
            id="better-at-pope", text="Whether an object is there is answered right more often.",
            metric="pope_accuracy", direction="higher", of="pds-dpo", against="base",
            claim="better-at-pope", primary=True,
        ),
        Expectation(
            id="fewer-hallucinated-answers",
            text="PDS-DPO leaves fewer answers with a hallucination than the base.",
            metric="chair_s", direction="lower", of="pds-dpo", against="base",
            claim="fewer-hallucinated-answers",
        ),
        Expectation(
            id="a-judge-should-see",
            text="With a judge that sees the picture less of what is named is not there.",
            metric="chair_i", direction="lower", of="a judge that sees", against="pds-dpo",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
