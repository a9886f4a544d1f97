"""The health of a run, read from what it logged at each step and from its result.

What is seen is called a sign. A sign is not a verdict: it says what was measured and what to look
at first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, variance
from typing import Any

LOG, RESULT = "metrics.jsonl", "result.json"
ENOUGH = 20
"""Steps below which the beginning and the end of a log are not compared."""
PART = 5  # the beginning and the end are a fifth of the steps each
ZERO_GRADIENT = 1e-8
ZERO_LOSS = 0.05  # of what it was at first
WITHOUT_SIGNAL = 0.8  # share of the groups whose answers are all rewarded alike
FAR = 1.0  # KL from the reference, nats per token
COLLAPSED, SCATTERED = 0.1, 3.0  # of the entropy at first
CLIPPED = 0.4  # share of the tokens
LONGER = 1.5  # or shorter by as much: of the length at first
LESS_LIKELY = 1.0  # nats, of a whole preferred answer; the bench's smallest effect of interest
UNUSED = 0.1  # of the base's sensitivity to the image, where that is more than 0.1 nats
UNREADABLE = 0.05  # more of the answers than of the base's cannot be read
UNCHANGED = 0.01  # and of the base's value
ERRORS, SMALLEST = 3.0, 1e-3  # a rise or fall: standard errors, and by how much at least

ADVICE = {
    "not-finite": "--dtype and --learning-rate; the rows of that step",
    "dead-gradients": "whether all rewards or all margins are equal, and what is trainable",
    "loss-at-zero": "what tells chosen from rejected without the image: length, form, source",
    "chosen-falls": "a term on the preferred answers (DPOP, RPO, mDPO's anchor), a smaller rate",
    "far-from-reference": "a larger KL coefficient or beta, a smaller rate",
    "entropy-collapses": "sampled answers: one answer to everything? a term for entropy",
    "entropy-grows": "sampled answers: still text? a smaller rate",
    "clipped": "fewer updates per batch, a smaller rate",
    "length-drifts": "whether reward or judge pays for length",
    "no-signal": "easier or harder questions, more answers per question, a finer reward",
    "reward-hacked": "the answers of the highest reward, by eye; the checkpoint before",
    "image-unused": "whether images reach the model; pairs that differ by the image alone",
    "unreadable": "the format of the training answers against the prompt's",
    "unchanged": "a higher rate, more steps; whether the trained weights are those evaluated",
}
"""Sign -> what to look at first."""

Step = Mapping[str, float]
Row = Mapping[str, float]


class NoRun(ValueError):
    """A folder holds neither a log nor a result that can be read."""


@dataclass(frozen=True)
class Sign:
    """id: what kind of sign, one of `ADVICE`. where: the folder of the stage, or `result`. says:
    what was measured."""

    id: str
    where: str
    says: str

    @property
    def advice(self) -> str:
        """What to look at first."""
        return ADVICE[self.id]


def examine(folder: Path) -> list[Sign]:
    """What is seen in the folder of a run, whether it has come to its end or not.

    Raises NoRun for a folder without a step or a result, and where no sign is seen and the result
    of the folder itself cannot be read.
    """
    logs = [path for path in sorted(folder.glob(f"**/{LOG}")) if path.is_file()]
    results = [path for path in sorted(folder.glob(f"**/{RESULT}")) if path.is_file()]
    read = {log: read_log(log) for log in logs}
    if not results and not any(read.values()):
        what = (
            "has no step yet that can be read" if logs else f"holds neither a {LOG} nor a {RESULT}"
        )
        raise NoRun(f"'{folder}' {what}: there is no run to look at")
    found = [
        Sign(name, log.parent.relative_to(folder).as_posix(), says)
        for log, steps in read.items()
        for name, says in of_steps(steps)
    ]
    for result in results:
        where = (result.parent.relative_to(folder) / "result").as_posix()
        try:
            found += [Sign(name, where, says) for name, says in of_rows(*_rows(result))]
        except NoRun:  # below may lie what is somebody else's
            if result.parent == folder and not found:
                raise
    return found


def number(value: Any) -> float | None:
    """A number as a float; None for anything else, and for what a float does not hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def read_log(path: Path) -> list[Step]:
    """The numbers of a log in the order of their steps. A line that a killed run left half written
    is left out; a step that was done again counts as it was done last."""
    steps: dict[float, Step] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").split("\n"):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            step = {name: each for name, value in found.items()
                    if (each := number(value)) is not None}  # fmt: skip
            if math.isfinite(step.get("step", math.nan)):
                steps[step["step"]] = step
    return [steps[at] for at in sorted(steps)]


def _rows(path: Path) -> tuple[str, Mapping[str, Row]]:
    """The method of a result, and the finite numbers of its rows."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        method, rows = found["method"], found["rows"]
        kept = {
            name: {
                metric: each
                for metric, value in row.items()
                if (each := number(value)) is not None and math.isfinite(each)
            }
            for name, row in rows.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NoRun(f"'{path}' is not the result of a run") from None
    if method not in kept or "base" not in kept:
        raise NoRun(f"'{path}' has no rows of the base and of {method!r} to compare")
    return method, kept


# --- a log ---------------------------------------------------------------------------------------


def of_steps(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """(sign, what it says) of the log of one stage."""
    found = _broken(steps)
    if len(steps) < ENOUGH:
        return found
    grown = {
        name: each
        for name in dict.fromkeys(name for step in steps for name in step)
        if (each := Change.of(steps, name)) is not None
    }
    return [*found, *_of_pairs(grown), *_of_policy(grown), *_of_rewards(grown)]


@dataclass(frozen=True)
class Change:
    """Means of a metric over the first and the last fifth of the steps that have it, how far the
    second is from the first in standard errors of their difference, and the median of the last."""

    first: float
    last: float
    errors: float
    typical: float

    @classmethod
    def of(cls, steps: Sequence[Step], name: str) -> Change | None:
        """None where too few steps have the metric as a finite number."""
        values = [step[name] for step in steps if math.isfinite(step.get(name, math.nan))]
        if len(values) < ENOUGH:
            return None
        size = len(values) // PART
        parts = values[:size], values[-size:]
        try:
            first, last = map(fmean, parts)
            error = math.sqrt(sum(variance(part) / size for part in parts))
        except OverflowError:
            return None
        apart = last - first
        errors = apart / error if error else math.copysign(math.inf, apart)
        return cls(first, last, errors, median(parts[1]))

    @property
    def rises(self) -> bool:
        """By more than chance would have it."""
        return self.last > self.first + SMALLEST and self.errors > ERRORS

    @property
    def falls(self) -> bool:
        """By more than chance would have it."""
        return self.last < self.first - SMALLEST and self.errors < -ERRORS

    def __str__(self) -> str:
        return f"from {self.first:.3g} to {self.last:.3g}"


def _broken(steps: Sequence[Step]) -> list[tuple[str, str]]:
    found = []
    for name in ("loss", "grad_norm", "reward", "kl"):
        bad = [step["step"] for step in steps if not math.isfinite(step.get(name, 0.0))]
        if bad:
            found.append(
                ("not-finite", f"{name} is not a finite number at {len(bad)} of {len(steps)} "
                 f"steps, first at step {bad[0]:.0f}")
            )  # fmt: skip
    norms = [abs(step["grad_norm"]) for step in steps if "grad_norm" in step]
    dead = sum(norm <= ZERO_GRADIENT for norm in norms)
    if len(norms) >= ENOUGH and dead >= len(norms) / 2:
        found.append(("dead-gradients", f"the gradient is zero at {dead} of {len(norms)} steps"))
    return found


def _of_pairs(grown: Mapping[str, Change]) -> list[tuple[str, str]]:
    found = []
    loss, chosen = grown.get("loss"), grown.get("chosen_reward")
    if chosen and loss and loss.falls and 0 <= loss.last <= ZERO_LOSS * loss.first:
        found.append(("loss-at-zero", f"the loss fell {loss}: the pairs have little left to teach"))
    if chosen and chosen.falls and chosen.last < 0:
        found.append(
            ("chosen-falls", f"the reward of the preferred answers fell {chosen}: they become less "
             "likely, not only the others")
        )  # fmt: skip
    return found


def _of_policy(grown: Mapping[str, Change]) -> list[tuple[str, str]]:
    found = []
    if (kl := grown.get("kl")) and kl.typical > FAR:
        found.append(
            ("far-from-reference", f"KL from the reference went {kl} nats per token")
        )  # fmt: skip
    if (entropy := grown.get("entropy")) and entropy.first > 0:
        if entropy.falls and entropy.last < COLLAPSED * entropy.first:
            found.append(("entropy-collapses", f"entropy fell {entropy} nats per token"))
        elif entropy.rises and entropy.last > SCATTERED * entropy.first:
            found.append(("entropy-grows", f"entropy rose {entropy} nats per token"))
    if (clipped := grown.get("clip_fraction")) and clipped.typical > CLIPPED:
        found.append(("clipped", f"{clipped.typical:.0%} of the ratios are clipped at the end"))
    if (length := grown.get("answer_tokens")) and drifts(length.first, length.last):
        found.append(("length-drifts", f"sampled answers went {length} tokens"))
    return found


def _of_rewards(grown: Mapping[str, Change]) -> list[tuple[str, str]]:
    found = []
    for name, what in (("groups_without_signal", "groups"), ("batch_without_signal", "batches")):
        if (alike := grown.get(name)) and alike.last >= WITHOUT_SIGNAL:
            found.append(
                ("no-signal", f"in {alike.last:.0%} of the {what} at the end all answers are "
                 "rewarded alike: nothing is learnt from them")
            )  # fmt: skip
    reward, truth = grown.get("reward"), grown.get("true_score")
    if reward and truth and reward.rises and truth.falls:
        found.append(("reward-hacked", f"reward rose {reward} while the true score fell {truth}"))
    return found


def drifts(before: float, after: float) -> bool:
    """Whether a length is another one by half."""
    return before > 0 and not before / LONGER <= after <= before * LONGER


# --- a result ------------------------------------------------------------------------------------


def of_rows(method: str, rows: Mapping[str, Row]) -> list[tuple[str, str]]:
    """(sign, what it says) of the held-out metrics of a method's row beside the base's."""
    base, own = rows.get("base"), rows.get(method)
    if base is None or own is None:
        return []
    both = {name: (base[name], own[name]) for name in own if name in base}
    found = []
    if "length" in both and drifts(*both["length"]):
        before, after = both["length"]
        found.append(("length-drifts", f"answers went from {before:.3g} to {after:.3g} words"))
    if "chosen_logp" in both:
        before, after = both["chosen_logp"]
        if after < before - LESS_LIKELY:
            found.append(
                ("chosen-falls", f"the log-probability of preferred answers fell from {before:.3g} "
                 f"to {after:.3g} nats")
            )  # fmt: skip
    if "image_sensitivity" in both:
        before, after = both["image_sensitivity"]
        if before > UNUSED and after < UNUSED * before:
            found.append(
                ("image-unused", f"another image takes {after:.3g} nats from an answer, of the "
                 f"base's {before:.3g}: the image makes hardly a difference")
            )  # fmt: skip
    if "parse" in both:
        before, after = both["parse"]
        if after < before - UNREADABLE:
            read = f"{after:.0%}, of the base's {before:.0%}"
            found.append(("unreadable", f"share of answers that can be read: {read}"))
    if both and all(abs(y - x) < UNCHANGED * max(1, abs(x)) for x, y in both.values()):
        found.append(
            ("unchanged", f"nothing that is measured differs from the base's by {UNCHANGED}")
        )  # fmt: skip
    return found
