"""Published layouts of preference data: how each is known by its columns, and read as rows.

A layout turns a record into rows with `prompt` and `chosen`, and in most `rejected`; what it cannot
read is a `CellError` that names the column, and what makes no pair is `Dropped` with the reason.
Sources are dataset cards and the loaders of official repositories, at a commit. `seen` says what
was read there: the columns of a card, or the code that reads them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reference_impls.core.data.images import cut
from reference_impls.core.data.readers.cells import (
    CellError,
    Dropped,
    Picture,
    Record,
    as_final_answer,
    checked_characters,
    json_of,
    listed,
)
from reference_impls.core.data.readers.messages import (
    Message,
    answer,
    common_turns,
    messages_of,
    prompt,
    without_prompt,
)
from reference_impls.core.data.rows import said
from reference_impls.core.method import Row

IMAGE_COLUMNS = ("images", "image", "img_path", "image_path")
"""Columns that hold images, the first one that is there and not empty wins."""
VIDEO_COLUMN = "video"
OTHER_MEDIA = re.compile(
    r"((image|img|picture|pic|photo|video|audio)s?|jpe?g|png|webp|file_?name)"
    r"(_?(\d+|(path|url|file|byte|data)s?|base64|b64))?", re.IGNORECASE,
)  # fmt: skip
"""Names of columns that hold an image, a video or sound elsewhere, and are not read here."""

HA_DPO_QUESTIONS = (
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
)
VICUNA = ("USER: ", " ASSISTANT:")


@dataclass(frozen=True)
class Media:
    """How many images stand in a row, and whether they are frames of one video."""

    images: int = 0
    video: bool = False


@dataclass(frozen=True)
class Layout:
    """A layout: its name, the columns it is known by, how a record is read, and where from.

    columns: all have to be there; `a|b` is one of two. media: where a record's image is, if not in
    `IMAGE_COLUMNS` (None: it is there).
    """

    name: str
    columns: tuple[str, ...]
    read: Callable[[Record, Media], list[Row]]
    sets: str
    source: str
    media: Callable[[Record], tuple[str, Any] | None] | None = None

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has the columns."""
        return all(any(c in record for c in choice.split("|")) for choice in self.columns)


Answers = tuple[Any, ...]
"""The better and the worse answer, as a record has them."""


def pair(
    record: Record,
    asked: str | list[Message],
    answers: Answers,
    media: Media,
    columns: tuple[str, str, str] = ("prompt", "chosen", "rejected"),
) -> Row:
    """A row out of a prompt and two answers; `columns` are where they stand. Raises CellError, and
    Dropped for answers that are empty or equal."""
    turns = messages_of(asked, columns[0]) if isinstance(asked, str) else asked
    row: Row = {"prompt": prompt(turns, columns[0], media.images, media.video)}
    texts = [answer(value, column) for value, column in zip(answers, columns[1:], strict=True)]
    if not all(text.strip() for text in texts):
        raise Dropped("an answer is empty")
    if texts[0].strip() == texts[1].strip():
        raise Dropped("chosen equals rejected")
    row |= {"chosen": said(texts[0]), "rejected": said(texts[1])}
    if "margin" in record:
        margin = record["margin"]
        if isinstance(margin, bool) or not isinstance(margin, (int, float)):
            kind = "null" if margin is None else cut(repr(margin))
            raise CellError("margin", f"{kind} is not a number; write one, without quotes")
        if not abs(margin) <= sys.float_info.max:  # integers of JSON have no bound
            raise CellError("margin", f"{cut(str(margin))} is not a finite number")
        row["margin"] = float(margin)
    return row


def read_question(record: Record, media: Media) -> list[Row]:
    """`question`, `chosen`, `rejected`."""
    asked, answers = record.text("question"), (record["chosen"], record["rejected"])
    return [pair(record, asked, answers, media, ("question", "chosen", "rejected"))]


def read_prompt(record: Record, media: Media) -> list[Row]:
    """`prompt`, `chosen`, `rejected`, as text or as messages; answers may repeat the prompt."""
    asked = record["prompt"]
    if isinstance(asked, str):
        asked = without_frame(asked)
    turns = messages_of(asked, "prompt")
    record = without_prompt(record, turns)
    return [pair(record, turns, (record["chosen"], record["rejected"]), media)]


def without_frame(text: str) -> str:
    """The question inside Vicuna's frame, which mDPO's data was written with: the model's template
    writes its own frame around the question."""
    before, _, rest = text.strip().partition(VICUNA[0])
    if before.startswith("A chat between") and rest.endswith(VICUNA[1]) and VICUNA[0] not in rest:
        return rest.removesuffix(VICUNA[1])
    return text


def read_implicit(record: Record, media: Media) -> list[Row]:
    """`chosen`, `rejected`: whole conversations that differ in the last turn."""
    chosen, rejected = record["chosen"], record["rejected"]
    for column, value in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(value, list) or len(value) < 2:
            raise CellError(column, "there is no `prompt`, and this is not a whole conversation")
    turns = messages_of(common_turns(chosen, rejected), "chosen")
    answers = chosen[len(turns) :], rejected[len(turns) :]
    return [pair(record, turns, answers, media, ("chosen", "chosen", "rejected"))]


def read_rlhf_v(record: Record, media: Media) -> list[Row]:
    """`text`: a JSON object with `question`, `chosen`, `rejected`."""
    held = record["text"]
    if isinstance(held, str):
        try:
            held = json_of(held)
        except ValueError as error:
            raise CellError(
                "text",
                f"the text is not JSON ({error}); write an object with `question`, `chosen` and "
                "`rejected`",
            ) from None
    if not isinstance(held, Mapping):
        raise CellError("text", "the JSON is not an object with `question`, `chosen`, `rejected`")
    inner = Record(held)
    if "margin" in record:
        inner["margin"] = record.get("margin")
    try:
        checked_characters(inner)
        return read_question(inner, media)
    except CellError as error:
        raise CellError("text", f"in `{error.column}`: {error}") from None


def read_vlfeedback(record: Record, media: Media) -> list[Row]:
    """`prompt`, `completions` with `response` and `annotations`: aspect -> {Rating, Rationale}.

    The answer of the highest mean rating against that of the lowest. As in the official code, an
    answer with an aspect that has no number is not rated, and a tie makes no pair."""
    completions = record["completions"]
    if isinstance(completions, Mapping):  # as the hub's loader gives a list of objects
        columns_of = list(completions.values())
        if (
            not all(isinstance(column, list) for column in columns_of)
            or len({len(column) for column in columns_of}) != 1
        ):
            raise CellError("completions", "its lists of answers are not all of one length")
        completions = [
            dict(zip(completions, each, strict=True)) for each in zip(*columns_of, strict=True)
        ]
    if not isinstance(completions, Sequence) or not all(
        isinstance(each, Mapping) for each in completions
    ):
        raise CellError("completions", "is not a list of objects with `response`, `annotations`")
    rated = [(mean, each) for each in completions if (mean := _rating(each)) is not None]
    if len(rated) < 2:
        raise Dropped("fewer than two rated answers")
    best, worst = max(rated, key=lambda each: each[0]), min(rated, key=lambda each: each[0])
    if best[0] == worst[0]:
        raise Dropped("all ratings tie")
    answers = best[1].get("response"), worst[1].get("response")
    columns = ("prompt", "completions", "completions")
    return [pair(record, record.text("prompt"), answers, media, columns)]


def _rating(completion: Mapping[str, Any]) -> float | None:
    """Mean of an answer's ratings; None where an aspect has no number."""
    ratings = []
    annotations = completion.get("annotations")
    if not isinstance(annotations, Mapping):
        return None
    for aspect in annotations.values():
        if aspect is None:  # a column that only other rows have
            continue
        given: Any = aspect.get("Rating") if isinstance(aspect, Mapping) else None
        if isinstance(given, bool):
            return None
        try:
            rating = float(given)
        except (OverflowError, TypeError, ValueError):
            return None
        if not math.isfinite(rating):
            return None
        ratings.append(rating)
    return sum(ratings) / len(ratings) if ratings else None


def read_povid(record: Record, media: Media) -> list[Row]:
    """`conversations` and `rejected_conversations`, the last turn of each the answer."""
    chosen, rejected = record["conversations"], record["rejected_conversations"]
    for column, value in (("conversations", chosen), ("rejected_conversations", rejected)):
        if not isinstance(value, list) or len(value) < 2:
            raise CellError(column, "is not a list of turns with an answer at the end")
    turns = messages_of(chosen[:-1], "conversations")
    if turns != messages_of(rejected[:-1], "rejected_conversations"):
        raise CellError(
            "rejected_conversations", "its turns before the answer are not those of `conversations`"
        )
    columns = ("conversations", "conversations", "rejected_conversations")
    return [pair(record, turns, (chosen[-1], rejected[-1]), media, columns)]


def read_llava_preference(record: Record, media: Media) -> list[Row]:
    """`conversations`, whose last answer is replaced by `output_1` and `output_2`; `preference`
    says which is better, 1 or 2."""
    conversation, preferred = record["conversations"], record.get("preference")
    if not isinstance(conversation, list) or len(conversation) < 2:
        raise CellError("conversations", "is not a list of turns with an answer at the end")
    turns = messages_of(conversation, "conversations")
    if turns[-1]["role"] == "assistant":
        turns = turns[:-1]
    if isinstance(preferred, str) and preferred.strip() in ("1", "2"):
        preferred = int(preferred)
    if preferred is None or preferred in ("", "0", "tie"):
        raise Dropped("nobody preferred one of the answers")
    if isinstance(preferred, bool) or not isinstance(preferred, (int, float)):
        raise CellError("preference", f"{cut(repr(preferred))} is not a number; write 1 or 2")
    if preferred not in (1, 2):
        raise Dropped("nobody preferred one of the answers")
    better, worse = ("output_1", "output_2") if preferred == 1 else ("output_2", "output_1")
    outputs = record[better], record[worse]
    answers = tuple(each.get("value") if isinstance(each, Mapping) else each for each in outputs)
    return [pair(record, turns, answers, media, ("conversations", better, worse))]


def read_sharegpt(record: Record, media: Media) -> list[Row]:
    """`conversations` (the prompt), `chosen` and `rejected`, one turn each."""
    turns = messages_of(record["conversations"], "conversations")
    answers = record["chosen"], record["rejected"]
    return [pair(record, turns, answers, media, ("conversations", "chosen", "rejected"))]


def read_ha_dpo(record: Record, media: Media) -> list[Row]:
    """`image_id`, `chosen` and `rejected`: rewrites of one description each, of which the first
    are taken; or with `question`, `correct` and `reject`, where the model erred."""
    if record.get("correct") is True:
        raise Dropped("the model was right already")
    rejected = "reject" if "reject" in record else "rejected"
    answers = _first(record["chosen"]), _first(record[rejected])
    if record.get("question") is not None:
        asked, column = record.text("question"), "question"
    else:
        digits = str(record["image_id"])[-18:]
        number = int(digits) if digits.isascii() and digits.isdigit() else 0
        asked, column = HA_DPO_QUESTIONS[number % len(HA_DPO_QUESTIONS)], "image_id"
    return [pair(record, asked, answers, media, (column, "chosen", rejected))]


def _first(value: Any) -> Any:
    """The first of several texts; anything else as it is."""
    several = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    return value[0] if several else value


def ha_dpo_image(record: Record) -> tuple[str, Any] | None:
    """Images of Visual Genome are named by their id, in one of two folders; None where a column
    holds the images."""
    if any(column in record for column in IMAGE_COLUMNS):
        return None
    name = f"{record['image_id']}.jpg"
    return "image_id", (f"VG_100K/{name}", f"VG_100K_2/{name}", name)


def read_vlguard(record: Record, media: Media) -> list[Row]:
    """`instr-resp`: an instruction with a response, or a safe and an unsafe one, each with its own.
    They are answers to imitate: nothing was rejected."""
    held = record["instr-resp"]
    if not isinstance(held, list) or not held:
        raise CellError("instr-resp", "is not a list of objects with an instruction and `response`")
    rows = []
    for each in held:
        if not isinstance(each, Mapping):
            raise CellError("instr-resp", "an entry is not an object")
        asked = [
            each[name]
            for name in ("instruction", "safe_instruction", "unsafe_instruction")
            if each.get(name) is not None
        ]
        if len(asked) != 1:
            raise CellError("instr-resp", f"an entry has {listed(each)}; one instruction is wanted")
        turns = messages_of(asked[0], "instr-resp")
        text = answer(each.get("response"), "instr-resp")
        if not text:
            raise Dropped("an answer is empty")
        rows.append({"prompt": prompt(turns, "instr-resp", media.images), "chosen": said(text)})
    return rows


LAYOUTS = (
    Layout(
        "VLFeedback", ("prompt", "completions"), read_vlfeedback, "VLFeedback",
        "huggingface.co/datasets/MMInstruction/VLFeedback (card at 0bd5e14); "
        "vlf-silkie/VLFeedback@de0bff35:run_dpo.py#L376-L447",
    ),
    Layout(
        "POVID", ("conversations", "rejected_conversations"), read_povid, "POVID",
        "YiyangZhou/POVID@92c7c678:README.md#L71-L97",
    ),
    Layout(
        "LLaVA-Human-Preference", ("conversations", "output_1", "output_2", "preference"),
        read_llava_preference, "LLaVA-Human-Preference-10K",
        "llava-rlhf/LLaVA-RLHF@830a083f:RLHF/data_utils/data_utils_rm.py#L69-L112",
    ),
    Layout(
        "ShareGPT", ("conversations", "chosen", "rejected"), read_sharegpt,
        "VLFeedback as pairs, LLaMA-Factory",
        "huggingface.co/datasets/Zhihui/VLFeedback (card at 2349495)",
    ),
    Layout(
        "VLGuard", ("instr-resp",), read_vlguard, "VLGuard",
        "ys-zong/VLGuard@a2f85c90:convert_to_llava_format.py#L19-L32",
    ),
    Layout(
        "HA-DPO", ("image_id", "chosen", "rejected|reject"), read_ha_dpo, "HA-DPO",
        "opendatalab/HA-DPO@42f72c53:ha_dpo/models/llava-v1_5/train_dpo.py#L195-L283",
        media=ha_dpo_image,
    ),
    Layout(
        "question", ("question", "chosen", "rejected"), read_question,
        "RLAIF-V, SPA-VL, MMPR",
        "huggingface.co/datasets/openbmb/RLAIF-V-Dataset (card at 9037447); "
        "huggingface.co/datasets/sqrti/SPA-VL (card at 86c9005); "
        "OpenGVLab/InternVL@2410d1db:internvl_chat/internvl/train/internvl_chat_mpo.py#L384-L684",
    ),
    Layout(
        "prompt", ("prompt", "chosen", "rejected"), read_prompt, "TRL, mDPO, MM-RLHF",
        "huggingface.co/docs/trl/dataset_formats; luka-group/mDPO@2221bb31:data/sample_data.json; "
        "Kwai-YuanQi/MM-RLHF@7c8af1d2:scripts/convert_to_swift.py#L20-L62",
    ),
    Layout(
        "RLHF-V", ("text", "image|images|img_path|image_path"), read_rlhf_v, "RLHF-V",
        "huggingface.co/datasets/openbmb/RLHF-V-Dataset (card at 5b59b49)",
    ),
    Layout(
        "implicit prompt", ("chosen", "rejected"), read_implicit, "TRL with an implicit prompt",
        "huggingface.co/docs/trl/dataset_formats",
    ),
)  # fmt: skip
"""In the order in which they are tried: the first whose columns are there."""


def layout_of(record: Mapping[str, Any]) -> Layout | None:
    """The first layout whose columns a record has."""
    return next((layout for layout in LAYOUTS if layout.fits(record)), None)


def explained() -> str:
    """The layouts in one line, for messages."""
    return "; ".join(", ".join(each.columns) for each in LAYOUTS)


# --- questions without a pair ---------------------------------------------------------------------

QUESTIONS = ("question", "prompt", "problem")
"""Columns that hold a question, the first one that is there."""


def question_of(record: Row) -> Row:
    """The question of a record, its images not opened. Raises CellError."""
    pictures: Sequence[Picture] = record["images"]
    column = next((name for name in QUESTIONS if name in record), "")
    if not column:
        layout = layout_of(record)
        if layout is None or layout.media is not None:
            raise CellError("", f"there is no column with a question: {', '.join(QUESTIONS)}")
        found = layout.read(Record(record), Media(len(pictures)))
        return {"images": pictures, "prompt": found[0]["prompt"]}
    asked = record[column]
    if isinstance(asked, str):
        asked = without_frame(asked)
    turns = messages_of(asked, column)
    return {"images": pictures, "prompt": prompt(turns, column, len(pictures))}


def answered(record: Row) -> Row:
    """The question of a record with the true answer that rules compare with, column `answer`.

    Raises CellError."""
    return {**question_of(record), "answer": as_final_answer(record["answer"], "answer")}
