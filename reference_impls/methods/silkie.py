"""Silkie (preference distillation on VLFeedback), record `silkie`, arXiv:2312.10665.

The abstract names DPO, and the official script trains it, beta = 0.1:

    L = -log sigma( beta log pi_theta(y_w|x)/pi_ref(y_w|x)
                    - beta log pi_theta(y_l|x)/pi_ref(y_l|x) )

Own: the data recipe; the objective is DPO's, so that the row `dpo`, trained on the same pairs, is
the method itself. Four of twelve models answer each instruction. GPT-4V rates each answer from 1 to
5 for helpfulness, visual faithfulness and ethics; an answer's score is the mean of the three. All
pairs of the four are taken whose scores differ, by however little.

The paper's pages could not be opened; what is said of it here comes from its abstract, the official
repository and its table of results. The number of devices (16, so a batch of 256) is from a public
reading note.

Simplifications
1. The pool has twelve places, too, but fewer models: five samples of each of two other bases, one
   of the policy (Qwen-VL is in the paper's pool), and one writer in GPT-4V's place, who sees what
   the condition `sight` shows.
2. The three ratings are three looks of a strong model at one thing, how true the answer is, each
   rounded to a whole number from 1 to 5; there is nothing unethical in the world.
3. One kind of instruction, where VLFeedback has nine sources.

Official code: vlf-silkie/VLFeedback@de0bff35
- run_dpo.py#L401-L440: the pairs, as above; a rating that is no number drops its pairs.
- run_dpo.py#L141-L144, #L180-L186, #L309-L315: the labels of an answer hold marks of the chat frame
  besides (its beginning, its end with a line break, and the end of the text). Here an answer is
  scored with its end, and the loss of given scores is DPO's. Survey, Table 1: the row of DPO. The
  three variants coincide.
- run_dpo.py#L547: 0.5 % of the pairs are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

from reference_impls.core.command_line import main
from reference_impls.core.data.pool import Said, answers_of_pool
from reference_impls.core.data.ranking import pairs_of
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import dpo as loss
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
STRONGEST = "writer"
POOL = (*["other-1"] * 5, *["other-2"] * 5, "policy", STRONGEST)
PAPER = TrainSettings(
    learning_rate=1e-5,  # dpo_config/example.yaml
    epochs=3,  # dpo_config/example.yaml
    batch_size=256,  # dpo_config/example.yaml: 2 x 8 per device; 16 devices by a reading note
    warmup_ratio=0.1,  # dpo_config/example.yaml
    weight_decay=0.05,  # dpo_config/example.yaml
    lora_rank=64,  # run_dpo.py#L49
    lora_alpha=16,  # run_dpo.py#L50
    # run_dpo.py#L52-L59: c_attn, attn.c_proj, w1 and w2 of Qwen-VL, not the second of its MLP
    lora_targets="q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj",  # in names of other models
    dtype="bfloat16",  # dpo_config/example.yaml
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The official values, and which answer counts as the better one."""

    beta: float = 0.1  # run_dpo.py#L43
    answers: int = 4  # README.md of the data set: answers to an instruction
    ratings: int = 3  # annotation_template.py: helpfulness, ethics, faithfulness
    best: Literal["rated", "longest", "strongest"] = "rated"  # table of results: rated by GPT-4V
    variant: Variant = "paper"


def stars(score: float) -> int:
    """A score from 0 to 1 as a whole number from 1 to 5."""
    return min(5, max(1, round(1 + 4 * score)))


def rated(lab: Lab, given: Sequence[Sequence[Said]], cfg: Config) -> list[list[float]]:
    """By item, the mean rating of each of its answers."""
    judge = lab.annotator("closed-source-model")
    found: list[list[float]] = [[] for _ in given]
    for number in range(cfg.answers):
        answers = [said[number].text for said in given]
        looks = [judge.scores(lab.items, lab.media, answers) for _ in range(cfg.ratings)]
        for place, scores in enumerate(zip(*looks, strict=True)):
            found[place].append(sum(map(stars, scores)) / cfg.ratings)
    return found


def worth(lab: Lab, given: Sequence[Sequence[Said]], cfg: Config) -> list[list[float]]:
    """By item, what its answers are ordered by."""
    if cfg.best == "rated":
        return rated(lab, given, cfg)
    if cfg.best == "longest":
        return [[float(len(each.text.split())) for each in said] for said in given]
    return [[float(each.member == STRONGEST) for each in said] for said in given]


def distilled_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """All pairs of a question's answers whose worth differs."""
    given = answers_of_pool(lab, POOL, cfg.answers)
    rows: list[Row] = []
    for place, (said, scores) in enumerate(zip(given, worth(lab, given, cfg), strict=True)):
        pairs = pairs_of([(each.text, score) for each, score in zip(said, scores, strict=True)])
        lab.tally.count("not told apart", comb(cfg.answers, 2) - len(pairs))
        lab.tally.count(f"the {cfg.best} one chosen", len(pairs))
        rows += [lab.pair(place, chosen=better, rejected=worse) for better, worse in pairs]
    return rows


METHOD = Method(
    record="silkie",
    config=Config,
    stages=(PairStage(data=distilled_pairs, loss=loss, views=VIEWS, lab=lab(3e-4), paper=PAPER),),
    condition={"sight": "all"},
    ablations={
        "longest answer chosen": {"best": "longest"},
        "strongest model chosen": {"best": "strongest"},
    },
    expectations=(
        Expectation(
            id="fewer-hallucinated-answers",
            text="Silkie leaves fewer answers with a hallucination than the base.",
            metric="chair_s", direction="lower", of="silkie", against="base",
            claim="less-hallucination", primary=True,
        ),
        Expectation(
            id="scores-beat-length", text="With the longest answer chosen answers are worse.",
            metric="f1", direction="lower", of="longest answer chosen", against="silkie",
            claim="scores-beat-length",
        ),
        Expectation(
            id="ratings-beat-the-strongest-model",
            text="With the strongest model's answer always chosen more of what is named is not "
            "there.",
            metric="chair_i", direction="higher", of="strongest model chosen", against="silkie",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
