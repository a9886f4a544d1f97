"""VLM-R1, record `vlm-r1`, arXiv:2504.07615.

GRPO on tasks of seeing whose answers are boxes. Equations 1 to 5 (section 4.1), negated, over N
answers o_i to a question q:

    L   = - 1/N sum_i [ min(s_i A_i, clip(s_i, 1 - epsilon, 1 + epsilon) A_i) - beta D_i ]
    s_i = pi_theta(o_i|q) / pi_old(o_i|q),   A_i = (r_i - mean(r)) / std(r)
    D_i = u - log u - 1,   u = pi_ref(o_i|q) / pi_theta(o_i|q)

(equation 5 is printed with the clip's bounds the wrong way round) and the rewards of sections 4.2
and 4.3, each beside a reward of 0 or 1 for the format:

    referring expressions   r = IoU(true box, answered box)                        equation 6
    detection               r = min(1, L_true / L_answered) mAP(answered, true)    equations 7, 8

Own: objective, data recipe. The rewards are graded by how well boxes fit; a factor takes from an
answer with more boxes than there are (odLength). The questions are referring expressions that tell
where a thing is and what it looks like; what is claimed is that expressions of other kinds are
understood better, too. In the lab methods are trained on looks and on left and right, and asked for
above and below besides.

The ratio of the paper is that of whole answers, so that a token of a long answer moves the policy
as much as one of a short answer; the paper names no estimator of the KL, and D_i is that of
DeepSeek-R1 (arXiv:2501.12948, equation 2), whose abstraction section 4.1 repeats.

Variants. The survey only describes the method in prose, so `survey` is the paper. `code` is what
om-ai-lab/VLM-R1@90052f478646e38bc67363862f699b7afca6b337 computes, with paths below
src/open-r1-multimodal/src/open_r1:

* trainer/grpo_trainer.py#L753-L771: ratio, clipping and KL are those of single tokens, averaged
  over an answer, then over answers: a long answer weighs as much as a short one. At the first
  update the paper's gradient is that of an answer's sum, the code's that of its mean;
* trainer/grpo_trainer.py#L684 adds 1e-4 to the standard deviation;
* vlm_modules/qwen_module.py#L93: the format may stand anywhere in a text, before and after which
  anything may be said;
* vlm_modules/qwen_module.py#L114-L122: an overlap of one pixel's width or height is none;
* vlm_modules/qwen_module.py#L156 scales the answered box from the picture as the processor resized
  it. This came two months after the paper; here no variant does, since a reward reads words alone;
* not imitated: trainer/grpo_trainer.py#L373-L378 samples at temperature 1, of the 50 likeliest
  tokens (the library's default), where section 5.1 has 0.9; here all tokens can be sampled.

Simplifications

1. Three or four drawn shapes stand for the photographs of RefCOCO, +, g, and above and below for
   LISA-Grounding. The question stands without the instruction about tags (`INSTRUCTION`, used for
   `--dataset`): the base learnt the tags from its text, and leaves them out in part.
2. The paper's SFT is on RefCOCO, which has boxes and no thoughts: here `SFT on answers`. `sft`
   learns worked answers, `rejection sampling` those of the policy's own that are right.
3. The lab has no detection. `--set detection=yes` takes its rewards for a dataset in the layout of
   the repository, with the one prompt that section 5.1 has for both tasks; the paper sets beta to 0
   there (`--set beta=0`). For referring expressions the code's prompt stands, which asks for JSON.
4. A detected box without an area counts as one that finds nothing; COCO's evaluation, of which the
   code has a copy, leaves out boxes of negative area, and those above 1e10 that find nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from reference_impls.core.command_line import main
from reference_impls.core.data import boxes, rules
from reference_impls.core.data.readers.cells import as_boxes
from reference_impls.core.data.readers.messages import messages_of, prompt, question_and_solution
from reference_impls.core.lab import Lab
from reference_impls.core.method import Expectation, GroupStage, Method, Reward, Row, Variant
from reference_impls.core.objective import groups
from reference_impls.core.settings import BaseConfig, TrainSettings, lab
from reference_impls.core.supervision import ROWS, LearnBy, by_rewards, instead_of_rewards

VIEWS = ()  # no pairs: the policy answers, and rules judge
PAPER = TrainSettings(
    learning_rate=1e-6,  # section 5.1
    batch_size=16,  # /run_scripts/run_grpo_rec.sh: 8 answers x 2 accumulated x 8 devices, in groups
    epochs=2, group_size=8,  # section 5.1
    max_new_tokens=2048,  # /run_scripts/run_grpo_rec.sh, the one at the repository's root
    temperature=0.9,  # section 5.1
    scheduler="linear", warmup_ratio=0.0,  # TrainingArguments' defaults
    dtype="bfloat16", train_vision=True,  # /run_scripts/run_grpo_rec.sh: --bf16, nothing frozen
)  # fmt: skip
INSTRUCTION = (
    "{question} First output the thinking process in <think> </think> tags and then output the "
    "final answer in <answer> </answer> tags. Output the final answer in JSON format."
)  # vlm_modules/qwen_module.py#L73
DETECTION = (
    "{question} Output the thinking process in <think> </think> and final answer in <answer> "
    "</answer> tags."
)  # section 5.1
BOX = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)\]")  # vlm_modules/qwen_module.py#L135


@dataclass(frozen=True)
class Config(BaseConfig):
    """The paper's values."""

    beta: float = 0.04  # section 5.1; 0 for detection
    epsilon: float = 0.2  # trainer/grpo_config.py#L302-L303. Idle with one update per batch
    format_term: bool = True  # section 4.2: both rewards, weight 1 each
    graded_term: bool = True  # equation 6; without it a box above an overlap of .5 gets 1
    detection: bool = False  # section 4.3: boxes with labels, in place of one box
    length_term: bool = True  # equation 7; without it plain mAP (section 5.3.1)
    learn_by: LearnBy = "rewards"  # section 5.1: SFT beside it, at the same rate and epochs
    variant: Variant = "paper"
    not_negative = "beta", "epsilon"


def expressions(lab: Lab, cfg: Config) -> list[Row]:
    """Questions for the box of what an expression means, with the true box as `answer`."""
    truths = [item.truth for item in lab.items]
    true = [f"[{rules.between(truth, '[', ']')[-1]}]" for truth in truths]
    return [lab.prompt(n, answer=true[n], worked=truth) for n, truth in enumerate(truths)]


def read_record(record: Row) -> Row:
    """A prompt from the repository's layout, `conversations` of a question and its solution: a box
    as text or as a list, or a detection's JSON; tags around it are left out. Where nothing is to be
    found the true answer is not JSON but `None`, so that only one box is asked for in JSON."""
    question, solution = question_and_solution(record["conversations"], "conversations")
    answer = as_boxes(re.sub("</?answer>", "", solution).strip(), "conversations")
    wanted = INSTRUCTION if answer.startswith("[") else DETECTION
    asked = messages_of(wanted.format(question=question), "conversations")
    shown = prompt(asked, "conversations", len(record["images"]))
    return {"prompt": shown, "images": record["images"], "answer": answer}


# --- rewards --------------------------------------------------------------------------------------


def overlaps(completions: Sequence[str], answers: Sequence[str], pixel: float) -> list[float]:
    """The overlap of the first box of whole numbers in the first answer's tags with the true one;
    0 where there is none. Raises ValueError where the truth is not a box."""

    def overlap(text: str, answer: str) -> float:
        found = boxes.whole_numbers(BOX.search(rules.inside("answer", text) or ""))
        true = boxes.one_box(answer)
        return 0.0 if found is None else boxes.iou(found, true, pixel)

    return [overlap(*pair) for pair in zip(completions, answers, strict=True)]


def reward_iou(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Equation 6: the overlap of the answered and the true box, `[x1, y1, x2, y2]`, in [0, 1]."""
    return overlaps(completions, answers, 0.0)


def reward_iou_of_pixels(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: an overlap of one pixel's width or height is none."""
    return overlaps(completions, answers, 1.0)


def reward_hit(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Not graded: 1 above an overlap of .5, as answers are judged by."""
    return [float(value > 0.5) for value in reward_iou(completions, answers)]


def reward_format(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the text is a thought and an answer in tags, with a box in braces in it."""
    parts = [rules.answer_after_thought(text) for text in completions]
    return [float(part is not None and rules.follow(part, "{", BOX, "}")) for part in parts]


def reward_format_anywhere(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: tags, braces and box follow one another, whatever stands around them."""
    wanted = ("<think>", r"</think>\s*<answer>", "{", BOX, "}", "</answer>")
    return [float(rules.follow(text, *wanted)) for text in completions]


def listed(text: str, answer: str) -> tuple[list[object], list[object]] | None:
    """What the last answer of a text lists, and the truth; None without an answer. Raises
    ValueError where the truth is not a detection."""
    given, true = rules.between(text, "<answer>", "</answer>"), boxes.one_detection(answer)
    return (rules.listed_json(given[-1]), true) if given else None


def reward_map(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Mean average precision of a detection. Labels that are not in the truth cost nothing; where
    nothing is to be found, an answer that cannot be read found nothing (grpo_jsonl.py#L336)."""

    def precision(text: str, answer: str) -> float:
        given, true = listed(text, answer) or ([], [None])
        if not given or not true:
            return float(not given and not true)
        return boxes.mean_average_precision(boxes.labelled(given), boxes.labelled(true))

    return [precision(*pair) for pair in zip(completions, answers, strict=True)]


def reward_od_length(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """Equations 7 and 8: the same times boxes that there are over boxes that are answered, at most
    1. Whatever is listed counts as answered."""
    values = reward_map(completions, answers)
    for place, pair in enumerate(zip(completions, answers, strict=True)):
        given, true = listed(*pair) or ([], [])
        values[place] *= min(1.0, len(true) / len(given)) if given else 1.0
    return values


def reward_format_json(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """1 where the text is a thought and an answer in tags, which is a block of JSON or `None`."""
    parts = [rules.answer_after_thought(text) or "" for text in completions]
    return [float(part == "None" or rules.follow(part, "```json", "```")) for part in parts]


def reward_format_tags(completions: Sequence[str], answers: Sequence[str]) -> list[float]:
    """The code's: whatever is answered."""
    return [float(rules.thought_then_answer(text)) for text in completions]


def rewards(cfg: Config) -> dict[str, Reward]:
    """What a box earns, and the format; an answer's reward is their sum."""
    code = cfg.variant == "code"
    accuracy: Reward = reward_iou_of_pixels if code else reward_iou
    form: Reward = reward_format_anywhere if code else reward_format
    if cfg.detection:
        accuracy = reward_od_length if cfg.length_term else reward_map
        form = reward_format_tags if code else reward_format_json
    elif not cfg.graded_term:
        accuracy = reward_hit
    return {"accuracy": accuracy} | ({"format": form} if cfg.format_term else {})


# --- objective ------------------------------------------------------------------------------------


def advantages(rewards: Tensor, cfg: Config) -> Tensor:
    """(prompts, group) rewards -> advantages within each group."""
    return groups.group_advantages(rewards, std_epsilon=1e-4 if cfg.variant == "code" else 0.0)


def loss(
    logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor,
    cfg: Config, *, values: Tensor | None = None, old_values: Tensor | None = None,
    returns: Tensor | None = None, weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Equations 2 to 5, of whole answers; the code's of single tokens. All tensors are (prompts x
    group, T); values, returns, weights are not used."""
    if cfg.variant == "code":
        return groups.grpo(logps, old_logps, ref_logps, advantages, mask, cfg)
    ratio = groups.likelihood_ratio(groups.answer_sum(logps - old_logps, mask))
    advantage = groups.answer_mean(advantages, mask)  # the same at each of its tokens
    against = groups.reference(logps, ref_logps, cfg.beta)
    apart = groups.k3(*(groups.answer_sum(each, mask) for each in (logps, against)))
    gain = groups.clipped_surrogate(ratio, advantage, cfg.epsilon, cfg.epsilon)
    clip = groups.outside(ratio, cfg.epsilon, cfg.epsilon)
    metrics = {"kl_of_answer": apart.detach(), "clip_fraction": clip}
    return -(gain - cfg.beta * apart).mean(), metrics


METHOD = Method(
    record="vlm-r1", config=Config, world="referring", task="refer", baselines=("sft", "grpo"),
    stages=(instead_of_rewards(expressions, reward_hit, 320, PAPER), GroupStage(
        data=expressions, rewards=rewards, advantages=advantages, loss=loss, read=read_record,
        lab=lab(1e-4, steps=80, batch_size=8, pairs=320, group_size=8, temperature=0.9),
        paper=PAPER, when=by_rewards,
    )),
    ablations={**ROWS, "reward not graded": {"graded_term": False}, "no KL": {"beta": 0.0},
               "no format reward": {"format_term": False}},
    expectations=(
        Expectation(
            id="boxes-better", claim="improves-over-start", primary=True,
            text="VLM-R1 boxes more objects right than the base.",
            metric="accuracy", direction="higher", of="vlm-r1", against="base",
        ),
        Expectation(
            id="beyond-training", claim="generalises-better-than-sft",
            text="Of expressions that it was not trained on it boxes more right than SFT on boxes.",
            metric="accuracy_held_out", direction="higher", of="vlm-r1", against="SFT on answers",
        ),
        Expectation(
            id="graded-reward-helps", text="Rewarded for hits alone boxes fit worse.",
            metric="iou", direction="lower", of="reward not graded", against="vlm-r1",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(__file__)
