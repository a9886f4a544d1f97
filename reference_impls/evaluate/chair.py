"""CHAIR: objects of COCO that a description names and the image does not show (Rohrbach et al.,
EMNLP 2018, arXiv:1809.02156).

CHAIR_i = mentions of objects that are not there / mentions of objects; CHAIR_s = descriptions with
at least one of them / descriptions. An object is there where COCO's segmentations or one of its
captions have it.

A folder holds `instances_*.json` and `captions_*.json` of COCO (val2014, train2014 or both), and
`synonyms.txt` of LisaAnne/Hallucination@6e4d33c4bedf6dfcd24c61bf527f40714717be47:data (BSD
2-Clause): a line for each of the 80 objects, its words parted by commas. It is not shipped here.

Where the official utils/chair.py of that commit departs from its own list, we follow the list:
- `motor bike` and `cheesecake` stand behind two blanks in the list, so that L55 keeps a blank
  before them and no text ever matches; `iPhone` is compared with text in lower case (L106);
- `stove top oven` is two mentions, since no more than two words are joined (L111-L122);
- tokens are made singular by `pattern` (L107), which breaks "glass": L86 mends `wine glas` alone.
The rest is taken over as it is: mentions are counted, and not objects (L238-L242); `baby` and
`adult` before an animal, `passenger` before a vehicle are no person (L70-L83); a `train track` is
no train (L66), a `toilet seat` no chair (L85), nor is any seat beside a toilet (L125).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference_impls.evaluate.benchmark import Question, Report, share
from reference_impls.evaluate.files import BadInput, only_file, read_json, read_text, records
from reference_impls.evaluate.words import Vocabulary

PROMPT = "Please describe this image in detail."
"""EvolvingLMMs-Lab/lmms-eval@75571cfe0fa36ca5ec2e6aa2bb268f9d38295af3:
lmms_eval/tasks/coco_cap_chair/utils.py; the paper's models were captioners without a prompt."""
SYNONYMS = "take it from data/ of github.com/LisaAnne/Hallucination"
COCO = "take annotations_trainval2014.zip from cocodataset.org"

# utils/chair.py#L66-L85: what a word before a word makes of it.
ANIMALS = (
    "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe",
    "animal", "cub",
)  # fmt: skip
VEHICLES = ("jet", "train")
NOTHING = ("home plate", "train track")


@dataclass
class Chair:
    """Every image of COCO files as one question: to describe it. Raises BadInput.

    objects: image -> what is truly there, as the first word of the object's line of synonyms.
    """

    data: Path
    name: str = "chair"
    whole: bool = False
    max_new_tokens: int = 512
    files: Sequence[Path] = field(default_factory=list)
    questions: Sequence[Question] = field(default_factory=list)
    objects: dict[int, set[str]] = field(default_factory=dict)
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary.of(()))

    def __post_init__(self) -> None:
        if not self.data.is_dir():
            raise BadInput(f"{self.data}: a folder is wanted, with annotations of COCO; {COCO}")
        folder = self.data / "annotations" if (self.data / "annotations").is_dir() else self.data
        words = self.data if (self.data / "synonyms.txt").exists() else folder
        synonyms = only_file(words, "synonyms.txt", SYNONYMS)
        instances = sorted(folder.glob("instances_*.json"))
        captions = [f.with_name(f.name.replace("instances_", "captions_", 1)) for f in instances]
        if not instances:
            raise BadInput(f"{folder}: there is no instances_*.json; {COCO}")
        for file in captions:
            if not file.exists():
                raise BadInput(f"{file}: it is missing: objects of captions count, too; {COCO}")
        self.files = [synonyms, *instances, *captions]
        self.vocabulary = vocabulary_of(synonyms)
        questions = [q for file in instances for q in self._read_instances(file)]
        self.questions = sorted(questions, key=lambda question: question.number)
        for file in captions:
            self._read_captions(file)

    def _read_instances(self, file: Path) -> list[Question]:
        content = read_json(file)
        nodes: dict[int, str] = {}
        for record in records(file, part(file, content, "categories")):
            named = self.named(record.text("name"))
            if len(named) != 1:
                raise record.fault("name", f"'{record.text('name')}' is not in synonyms.txt")
            nodes[record.integer("id")] = named[0]
        questions = []
        for record in records(file, part(file, content, "images")):
            number = record.integer("id")
            if number in self.objects:
                raise record.fault("id", f"image {number} stands twice")
            self.objects[number] = set()
            questions.append(Question("descriptions", number, record.text("file_name"), PROMPT))
        for record in records(file, part(file, content, "annotations")):
            image, category = record.integer("image_id"), record.integer("category_id")
            if image not in self.objects:
                raise record.fault("image_id", f"there is no image {image}")
            if category not in nodes:
                raise record.fault("category_id", f"there is no category {category}")
            self.objects[image].add(nodes[category])
        return questions

    def _read_captions(self, file: Path) -> None:
        for record in records(file, part(file, read_json(file), "annotations")):
            image = record.integer("image_id")
            if image not in self.objects:
                raise record.fault("image_id", f"no file of instances has image {image}")
            self.objects[image].update(self.named(record.text("caption")))

    def named(self, text: str) -> list[str]:
        """The objects that a text names, in order, one for each mention."""
        mentions = self.vocabulary.mentions(text)
        if any(phrase.startswith("toilet") for phrase, _ in mentions):
            mentions = [each for each in mentions if each[0] not in ("seat", "seats")]
        return [name for _, name in mentions]

    def score(self, asked: Sequence[Question], answers: Sequence[str]) -> Report:
        """CHAIR_s, CHAIR_i; recall: objects that are there and named / objects that are there;
        words: the mean length of a description, in words, since short ones score better."""
        mentions = false = with_false = there = found = words = 0
        details: list[dict[str, Any]] = []
        for question, answer in zip(asked, answers, strict=True):
            named, true = self.named(answer), self.objects[question.number]
            wrong = [name for name in named if name not in true]
            mentions += len(named)
            false += len(wrong)
            with_false += bool(wrong)
            there += len(true)
            found += len(true.intersection(named))
            words += len(answer.split())
            details.append({"named": named, "there": sorted(true), "hallucinated": wrong})
        empty = sum(not answer.strip() for answer in answers)
        report = Report(
            {
                "descriptions": {
                    "CHAIR_s": share(with_false, len(asked)),
                    "CHAIR_i": share(false, mentions),
                    "recall": share(found, there),
                    "words": words / len(asked) if asked else None,
                }
            },
            {"descriptions": len(asked), "mentions": mentions, "empty": empty},
            details=details,
        )
        if not mentions:
            report.remarks.append("no description names an object of COCO: CHAIR_i says nothing")
        if empty:
            report.remarks.append(f"{empty} descriptions are empty: nothing in them is false")
        return report


def part(file: Path, content: Any, name: str) -> Any:
    """A list of COCO's file. Raises BadInput where it is not there."""
    if not isinstance(content, dict) or name not in content:
        raise BadInput(f"{file}: it has no '{name}'; {COCO}")
    return content[name]


def vocabulary_of(synonyms: Path) -> Vocabulary:
    """The words of the official list, with what qualifies animals, vehicles, seats and tracks.

    Raises BadInput.
    """
    phrases: list[tuple[str, str]] = []
    for line in read_text(synonyms).splitlines():
        words = [word.strip() for word in line.split(",") if word.strip()]
        phrases += [(word, words[0]) for word in words]
    if not phrases:
        raise BadInput(f"{synonyms}: it is empty; {SYNONYMS}")
    names = dict(reversed(phrases))
    for young in ("baby", "adult"):
        phrases += [(f"{young} {animal}", names.get(animal, "")) for animal in ANIMALS]
    phrases += [(f"passenger {vehicle}", names.get(vehicle, "")) for vehicle in VEHICLES]
    phrases += [("toilet seat", names.get("toilet", "")), *((phrase, "") for phrase in NOTHING)]
    return Vocabulary.of(phrases)
