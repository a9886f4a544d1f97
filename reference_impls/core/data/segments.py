"""Which tokens of two answers differ, and which sentence a token belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from reference_impls.core.data.situations import sentences
from reference_impls.core.method import Answer


def changed_tokens(
    first: Sequence[int],
    second: Sequence[int],
    *,
    smallest_match: int = 1,
    mark_one_sided: bool = True,
) -> tuple[list[int], list[int]]:
    """1 on the tokens of either answer that have no partner in the other one, else 0.

    smallest_match: shorter runs of equal tokens count as changed. mark_one_sided: whether what was
    only added, or only left out, is marked; RLHF-V's code does not
    (RLHF-V/RLAIF-V@83d917b2:utils/diff_lib.py#L150-L151).
    """
    matcher = SequenceMatcher(None, list(first), list(second), autojunk=False)
    blocks = [b for b in matcher.get_matching_blocks() if b.size >= smallest_match]
    marks = [1] * len(first), [1] * len(second)
    at_first = at_second = 0
    ends = [(block.a, block.b, block.size) for block in blocks]
    for a, b, size in [*ends, (len(first), len(second), 0)]:
        if not mark_one_sided and (a == at_first or b == at_second):
            marks[0][at_first:a] = [0] * (a - at_first)
            marks[1][at_second:b] = [0] * (b - at_second)
        marks[0][a : a + size] = [0] * size
        marks[1][b : b + size] = [0] * size
        at_first, at_second = a + size, b + size
    return marks


def by_sentence(answer: Answer, values: Sequence[float]) -> list[float]:
    """One number per token of an answer: its sentence's; the ending has that of the last one.

    Raises ValueError where there are not as many values as sentences."""
    parts = sentences(answer.text)
    if len(parts) != len(values):
        raise ValueError(f"{len(values)} values for {len(parts)} sentences")
    if not parts:
        return [0.0] * len(answer.ids)
    ends, at = [], 0
    for part in parts:
        at = answer.text.index(part, at) + len(part)
        ends.append(at)
    found = []
    for left, right in answer.spans:
        number = sum(left >= end for end in ends) if right > left else len(parts)
        found.append(float(values[min(number, len(parts) - 1)]))
    return found
