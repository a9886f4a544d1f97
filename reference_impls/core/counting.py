"""Held-out metrics of the counting task: is the number right, and is the thought true?"""

from __future__ import annotations

import re

from reference_impls.core.policy import Policy
from reference_impls.core.worlds import DrawnWorld

FORMAT = re.compile(r"<think>.*?</think>\s*<answer>.*?</answer>", re.DOTALL)


def thought(text: str) -> str:
    """What stands between the thought's tags; empty where there is none."""
    match = re.search(r"<think>(.*?)</think>", text, re.DOTALL)
    return match.group(1) if match else ""


def counting(policy: Policy, world: DrawnWorld) -> dict[str, float]:
    """Answers to the counting question about held-out scenes; fractions in [0, 1].

    counting_accuracy: right number inside the answer's tags. format_rate: answers that are a
    thought and an answer in tags and nothing else. thought_chair_i: objects named in a thought that
    are not there / objects named in thoughts. length: words per answer. All of greedy answers;
    sampled_counting_accuracy and sampled_format_rate are the same at temperature 1, where a base
    whose greedy answers all keep to the format may still leave it out.
    """
    rules, scenes = world.rules, world.scenes
    prompts, total = [rules.COUNT_PROMPT] * len(scenes), max(len(scenes), 1)

    def measured(texts: list[str]) -> tuple[float, float]:
        right = sum(
            rules.counted(text) == str(len(scene.things))
            for scene, text in zip(scenes, texts, strict=True)
        )
        return right / total, sum(bool(FORMAT.fullmatch(text)) for text in texts) / total

    greedy = policy.answer(prompts, world.images)
    sampled = policy.answer(prompts, world.images, temperature=1.0)
    accuracy, format_rate = measured(greedy)
    sampled_accuracy, sampled_format_rate = measured(sampled)
    return {
        "counting_accuracy": accuracy,
        "format_rate": format_rate,
        "thought_chair_i": rules.chair(scenes, [thought(text) for text in greedy])["chair_i"],
        "sampled_counting_accuracy": sampled_accuracy,
        "sampled_format_rate": sampled_format_rate,
        "length": sum(len(text.split()) for text in greedy) / total,
    }
