"""DAMA (data- and model-aware DPO), record `dama`, arXiv:2502.01943.

Equations 2, 6, 12, 14 to 16 and Algorithm 1; l(y) = log pi_theta(y|x,I)/pi_ref(y|x,I):

    L       = -log sigma( beta_C l(y_w) - beta_C l(y_l) ),    beta_C = beta alpha_D alpha_M
    alpha_D = sigma(delta) / sigma(delta_mean),   delta = score of y_w - score of y_l
    alpha_M = sigma(R_B) / sigma(R_mean),         R_mean <- gamma R_mean + (1 - gamma) R_B

R_B is the mean of the batch's gaps l(y_w) - l(y_l) after outliers are filtered out. No gradient
flows through beta_C.

Own: the objective: beta follows how hard a pair is (image-text scores of both answers) and how far
the model has come.

State: `extra["state"]` = [R_mean], 0 at step 0. This step's loss uses it before the update.
Extra: `chosen_score`, `rejected_score` (B,); `mean_gap` (B,), the mean of delta over the data,
where it is given (else `mean_gap` of the config, the code's constant); `drawn` (B,), 1 on the pairs
that the filter keeps, in place of a random draw. Drawn are `keep` of the pairs, at least one,
without replacement, with a chance that falls with (gap - R_mean)^2 / 2. The stream of the draw
comes from the lengths and scores of the batch's answers, which no rounding touches: every process
draws the same, and so does a run that was resumed, or one that cuts the batch into several passes.

Simplifications
1. Pairs: two sampled answers to each image, ordered by an open-source model: RLAIF-V in one pass.
2. CLIP is a small contrastive model of the world, and an answer is scored as a whole; there, a
   language model splits it, and the code adds the scores of its parts up (#L839-L840).
3. Equations 8 to 11, the filter, could not be read: it is the code's in all variants, and so are
   the gaps, without beta.

Official code: injadlu/DAMA@d60515f8, DAMA/llava/train/train_dpo.py; `variant="code"`
- #L1253: delta_mean is a constant, 0.0482190464911681, whatever the data.
- #L1258-L1283: the gaps are detached, raw and summed over tokens; alpha_M has the MEAN OF SIGMOIDS
  of the drawn gaps, not the sigmoid of their mean; beta_C is cut off below at 0.001.
- #L1264-L1274, #L1343-L1349: int(0.8 B) pairs are drawn, and the loss is the mean over the drawn
  ones only: (B,) losses are 0 on the others, B / number drawn times the loss on these. Where
  all chances are 0 in float32 the code draws evenly, with replacement; ours are logarithms.
- #L1361-L1367 with #L1388-L1391: the moving average takes the mean gap of ALL pairs. With several
  devices each averages over its own drawn pairs; here the whole batch is one.
- #L1286-L1289: the logged rewards have beta, not beta_C.
- Survey, Table 1: alpha beta, without saying what alpha is: `variant="survey"` is the paper's."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from reference_impls.core.command_line import main
from reference_impls.core.data.rows import text
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, Method, PairStage, Row, Variant
from reference_impls.core.objective.preference import implicit_rewards, reward_metrics
from reference_impls.core.scores import PairBatch
from reference_impls.core.settings import BaseConfig, TrainSettings, lab

VIEWS = ("chosen", "rejected")
SCORES = ("chosen_score", "rejected_score")
PAPER = TrainSettings(
    learning_rate=5e-7,  # DAMA/scripts/run_dpo.sh: --learning_rate
    epochs=4,  # DAMA/scripts/run_dpo.sh: --num_train_epochs
    batch_size=16,  # DAMA/scripts/run_dpo.sh: 4 devices x 4
    warmup_ratio=0.1,  # DAMA/scripts/run_dpo.sh: --warmup_ratio
    dtype="bfloat16",  # DAMA/scripts/run_dpo.sh: --bf16
)


@dataclass(frozen=True)
class Config(BaseConfig):
    """The released values, and switches of the two factors."""

    beta: float = 0.1  # DAMA/scripts/run_dpo.sh: --dpo_beta
    gamma: float = 0.9  # train_dpo.py#L1361
    keep: float = 0.8  # train_dpo.py#L1264: 1 - 0.2
    mean_gap: float = 0.0482190464911681  # train_dpo.py#L1253, of the authors' pairs
    data_term: bool = True  # equation 6
    model_term: bool = True  # equation 12
    variant: Variant = "paper"


def scored_pairs(lab: Lab, cfg: Config) -> list[Row]:
    """Two samples of the policy, ordered by a model, and what a CLIP-like scorer gives each."""
    rows = lab.sampled_pairs(lab.annotator("open-source-model"), lab.answer(), lab.answer())
    scorer = lab.annotator("clip")
    items = [row["item"] for row in rows]
    media = [lab.world.show(item.scene) for item in items]
    scores = {
        side: scorer.scores(items, media, [text(row[side]) for row in rows]) for side in VIEWS
    }
    gaps = [c - r for c, r in zip(scores["chosen"], scores["rejected"], strict=True)]
    mean_gap = sum(gaps) / max(1, len(gaps))
    for row, chosen, rejected in zip(rows, scores["chosen"], scores["rejected"], strict=True):
        row |= {"chosen_score": chosen, "rejected_score": rejected, "mean_gap": mean_gap}
    return rows


def data_factor(batch: PairBatch, like: Tensor, cfg: Config) -> Tensor:
    """(B,) alpha_D. Raises ValueError where the batch has no scores."""
    try:
        chosen, rejected = (batch.extra[name] for name in SCORES)
    except KeyError as missing:
        raise ValueError(f"the data-aware factor needs `extra[{missing}]`") from None
    mean = torch.full_like(like, cfg.mean_gap)
    if cfg.variant != "code":
        mean = batch.extra.get("mean_gap", mean)
    return torch.sigmoid((chosen - rejected).to(like)) / torch.sigmoid(mean.to(like))


def seed_of(batch: PairBatch) -> int:
    """A number that the lengths and scores of the batch's answers make."""
    told = [batch.need(view).mask.sum(-1) for view in VIEWS]
    told += [batch.extra[name] for name in SCORES if name in batch.extra]
    return zlib.crc32(torch.stack([t.detach().double().cpu() for t in told]).numpy().tobytes())


def draw(gaps: Tensor, mean: Tensor, seed: int, cfg: Config) -> Tensor:
    """(B,) 1 on the pairs that the filter keeps."""
    known = gaps.detach().double().cpu()
    stream = torch.Generator().manual_seed(seed)
    chances = torch.softmax(-0.5 * (known - mean.cpu()) ** 2, dim=0).clamp(min=1e-300)
    count = max(1, int(cfg.keep * len(known)))
    kept = torch.zeros_like(known)
    kept[torch.multinomial(chances, count, replacement=False, generator=stream)] = 1
    return kept.to(gaps)


def loss(batch: PairBatch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) losses; `metrics["state"]` is the state after this step."""
    margins = batch.need("chosen").log_ratio() - batch.need("rejected").log_ratio()
    gaps = margins.detach()
    before = batch.extra.get("state", torch.zeros(1)).double().to(gaps.device)
    given = batch.extra.get("drawn")
    kept = draw(gaps, before, seed_of(batch), cfg) if given is None else given.to(gaps)
    number = kept.sum().clamp(min=1)
    code = cfg.variant == "code"

    beta = torch.full_like(gaps, cfg.beta)
    if cfg.data_term:
        beta = beta * data_factor(batch, gaps, cfg)
    gap = (gaps * kept).sum() / number
    if cfg.model_term:
        now = (torch.sigmoid(gaps) * kept).sum() / number if code else torch.sigmoid(gap)
        beta = beta * now / torch.sigmoid(before.to(gaps))
    if code:
        beta = beta.clamp(min=1e-3)
    losses = -logsigmoid(beta * margins)
    if code:
        losses = losses * kept * len(kept) / number
    seen = (gaps.mean() if code else gap).double().reshape(1)
    return losses, reward_metrics(*implicit_rewards(batch, cfg.beta)) | {
        "state": cfg.gamma * before + (1 - cfg.gamma) * seen,
        "beta_used": beta.detach(),
        "gap": gaps,
    }


METHOD = Method(
    record="dama",
    config=Config,
    stages=(
        PairStage(
            data=scored_pairs, loss=loss, views=VIEWS, couples_rows=True, lab=lab(3e-4), paper=PAPER
        ),
    ),
    condition={"annotator-error": "0.25"},
    ablations={
        "no data factor": {"data_term": False}, "no model factor": {"model_term": False},
        "fixed beta": {"data_term": False, "model_term": False},
    },
    expectations=(
        Expectation(
            id="better-than-fixed-beta",
            text="DAMA hallucinates less than DPO on the same pairs.",
            metric="chair_i", direction="lower", of="dama", against="dpo",
            claim="better-than-fixed-beta", primary=True,
        ),
        Expectation(
            id="hardness-helps", text="Without the data-aware factor it hallucinates more.",
            metric="chair_i", direction="higher", of="no data factor", against="dama",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
