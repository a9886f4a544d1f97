"""What somebody says is right and wrong in an answer, claim by claim: examples for a head that
learns to say so, and what that head then says.

Each claim is put as a question, as an annotator that is a model is asked (`judges.Questioner`);
what the head reads is the question and a yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reference_impls.core.data.rows import said
from reference_impls.core.method import Row
from reference_impls.core.worlds.protocol import Item, Media, Segment, conversation

if TYPE_CHECKING:
    from reference_impls.core.lab import Lab
    from reference_impls.core.train.head import TrainedHead


def claim_row(lab: Lab, item: Item[Any], shown: Media, answer: str, claim: Segment) -> Row:
    """A claim of an answer as a question that is answered yes."""
    task: Any = lab.task
    words = " ".join(answer.split()[claim.start : claim.stop])
    prompt = conversation(task.question_of(item, words))
    return {"images": list(shown.images), "prompt": prompt, "chosen": said("yes")}


def judged_claims(lab: Lab, kind: str, answers: Sequence[str]) -> list[Row]:
    """Claims of answers to the lab's items, with `label` 1 or -1 by an annotator's judgement."""
    claims = lab.annotator(kind).claims(lab.items, lab.media, answers)
    rows = []
    for item, shown, answer, own in zip(lab.items, lab.media, answers, claims, strict=True):
        for claim in own:
            lab.tally.count("claims that are right" if claim.right else "claims that are wrong")
            row = claim_row(lab, item, shown, answer, claim)
            rows.append({**row, "label": 1.0 if claim.right else -1.0})
    return rows


def claim_odds(
    lab: Lab, head: TrainedHead, answers: Sequence[str], label: str
) -> list[tuple[list[Segment], Tensor]]:
    """By answer its claims, right or wrong as the head has it, and the log-odds (S,) of right.

    How often the head agrees with the truth is counted under `label`. What an answer claims twice
    is read once.
    """
    agreement = lab.tally.agreement(label)
    found: list[tuple[list[Segment], list[int]]] = []
    rows: list[Row] = []
    known: dict[tuple[int, str], int] = {}
    for place, (item, answer) in enumerate(zip(lab.items, answers, strict=True)):
        numbers: list[int] = []
        true = lab.task.judge(item, answer)
        for claim in true:
            key = place, " ".join(answer.split()[claim.start : claim.stop])
            if key not in known:
                known[key] = len(rows)
                rows.append(claim_row(lab, item, lab.media[place], answer, claim))
            numbers.append(known[key])
        found.append((true, numbers))
    odds = head.rewards(rows, "chosen") if rows else []
    told = []
    for true, numbers in found:
        values = [odds[number] for number in numbers]
        for claim, value in zip(true, values, strict=True):
            agreement.told("claims", claim.right == (value > 0))
        judged = [
            Segment(c.start, c.stop, value > 0) for c, value in zip(true, values, strict=True)
        ]
        told.append((judged, torch.tensor(values)))
    return told
