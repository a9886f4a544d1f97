"""What somebody says is right and wrong in an answer, claim by claim: examples for a head that
learns to say so, and what that head then says.

Each claim is put as a question, as an annotator that is a model is asked (`judges.Questioner`);
what the head reads is the question and a yes.
"""

from __future__ import annotations

import re
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
    """By answer its claims, right or wrong as the head has it, and the log-odds (S,) of right. A
    claim that is said again is not right, whatever its odds.

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
        judged = []
        for place, (claim, value) in enumerate(zip(true, values, strict=True)):
            agreement.told("claims", claim.right == (value > 0))
            new = numbers[place] not in numbers[:place]
            judged.append(Segment(claim.start, claim.stop, new and value > 0))
        told.append((judged, torch.tensor(values)))
    return told


_TIDIED = (
    (re.compile(r"(?<=[:,]) ,"), ""),  # nothing between two marks
    (re.compile(r" , (?=\.)"), " "),  # nothing before the end of a sentence
    (re.compile(r"(?:^|(?<=\. ))[^.:]* : \. ?"), ""),  # a heading with nothing under it
)


def struck_out(answer: str, claims: Sequence[Segment]) -> str:
    """The answer without the words of claims that are not right, what is left of a list tidied:
    commas with nothing between them, headings with nothing under them."""
    words = answer.split()
    gone = {n for claim in claims if not claim.right for n in range(claim.start, claim.stop)}
    text, before = " ".join(word for n, word in enumerate(words) if n not in gone), ""
    while text != before:
        before = text
        for pattern, instead in _TIDIED:
            text = pattern.sub(instead, text)
    return text.strip()
