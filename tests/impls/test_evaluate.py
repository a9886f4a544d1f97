"""Benchmarks: hand-worked scores on the published layouts, answers of others, runs of a model."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import weakref

import pytest
from click.testing import CliRunner
from PIL import Image

from mmalign.cli import cli
from reference_impls.bench import experiment
from reference_impls.core import command_line, measure, stages
from reference_impls.core.train.checkpoints import alone
from reference_impls.evaluate import generate, run
from reference_impls.evaluate.amber import Amber
from reference_impls.evaluate.chair import Chair
from reference_impls.evaluate.files import BadInput
from reference_impls.evaluate.pope import SPLITS, Pope
from reference_impls.evaluate.words import Vocabulary, plurals
from reference_impls.evaluate.yes_no import says


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, str):
        content = json.dumps(content)
    path.write_text(content, encoding="utf-8")
    return path


def lines(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def mm(*arguments):
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])


# --- yes and no ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("yes.", "yes"),
        ("No, there is no dog. Yes, a cat.", "no"),
        ("There is not a dog.", "no"),
        ("There isn't one", "no"),
        ("There isn’t one", "no"),
        ("I cannot see one", "no"),
        ("NO", "no"),
        ("Yes, and not a small one", "yes"),
        ("The answer is yes", "yes"),
        ("\n\nNo\nYes", "no"),
        ("There is a dog. No cat.", ""),
        ("I know nothing about notes", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_the_first_sentence_says_it(answer, said):
    assert says(answer) == said


# --- POPE ----------------------------------------------------------------------------------------

TRUTHS = ("yes", "yes", "no", "no", "no")


def pope(folder, splits=SPLITS, name="coco_pope"):
    """Five questions in each split: a dog, a cat; a cow, a car, a bus."""
    for split in splits:
        rows = [
            {"question_id": n, "image": f"{n}.png", "text": f"Is there a thing{n}?", "label": label}
            for n, label in enumerate(TRUTHS, 1)
        ]
        lines(folder / f"{name}_{split}.json", rows)
    return folder


def test_pope_by_hand(tmp_path):
    """Said: yes no | yes no (nothing). Of five, 1 hit, 1 miss, 1 false alarm, 1 right no, and an
    empty answer, which is wrong: accuracy 2/5, precision 1/2, recall 1/2, F1 1/2, yes 2/5."""
    benchmark = Pope(pope(tmp_path, ["random"]))
    report = benchmark.score(benchmark.questions, ["Yes", "no", "There it is", "No", ""])
    assert report.metrics == {
        "random": {
            "accuracy": 40.0, "precision": 50.0, "recall": 50.0, "F1": 50.0, "yes ratio": 40.0,
        }
    }  # fmt: skip
    assert report.counts == {"questions": 5, "empty": 1, "unclear": 1}
    assert len(report.remarks) == 2


def test_f1_is_the_harmonic_mean(tmp_path):
    """Said: yes yes | yes no no: precision 2/3, recall 1, so F1 = 2 (2/3) / (5/3) = 4/5."""
    benchmark = Pope(pope(tmp_path, ["random"]))
    found = benchmark.score(benchmark.questions, ["Yes", "Yes", "Yes", "No", "No"]).metrics
    assert found["random"]["precision"] == pytest.approx(200 / 3)
    assert found["random"]["recall"] == 100.0
    assert found["random"]["F1"] == pytest.approx(80.0)


def test_the_mean_of_the_three_splits(tmp_path):
    """All right, all yes, all no: accuracies 100, 40 and 60; of no yes there is no precision."""
    benchmark = Pope(pope(tmp_path))
    answers = [*TRUTHS, *["yes"] * 5, *["no"] * 5]
    found = benchmark.score(benchmark.questions, answers).metrics
    assert [found[split]["accuracy"] for split in SPLITS] == [100.0, 40.0, 60.0]
    assert found["mean"]["accuracy"] == pytest.approx(200 / 3)
    assert found["adversarial"]["precision"] is None and found["mean"]["precision"] is None
    assert found["adversarial"]["F1"] == 0.0
    assert found["mean"]["yes ratio"] == pytest.approx((40 + 100 + 0) / 3)


def test_a_list_of_objects_is_read_too(tmp_path):
    """The files on A-OKVQA and GQA are lists."""
    rows = [{"question_id": 1, "image": "a.jpg", "text": "Is there a wall?", "label": "no"}]
    file = write(tmp_path / "gqa_pope_seem_popular.json", rows)
    [question] = Pope(file).questions
    assert (question.split, question.number, question.truth) == ("popular", 1, "no")


GOOD = {"question_id": 1, "image": "a.jpg", "text": "Is there a wall?", "label": "no"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is empty"),
        ('{"question_id": 1,\n', "row 0 (line 1): it is not JSON"),
        (json.dumps(GOOD) + "\n\n{", "row 1 (line 3): it is not JSON"),
        ("[1]", "row 0: 1 is not an object"),
        (json.dumps({**GOOD, "label": "maybe"}), "row 0, column 'label': \"maybe\" is none of yes"),
        (json.dumps({**GOOD, "text": None}), "row 0, column 'text': null is not text"),
        (json.dumps({**GOOD, "question_id": 1.5}), "column 'question_id': 1.5 is not a whole"),
        (json.dumps({"question_id": 1}), "column 'image': it is missing; the columns are quest"),
        (json.dumps([GOOD, GOOD]), "row 1, column 'question_id': 1 stands twice"),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path, text, says):
    write(tmp_path / "coco_pope_random.json", text)
    result = mm("pope", "--data", tmp_path, "--score-only", write(tmp_path / "a", "{}"),
                "--output", tmp_path / "out")  # fmt: skip
    assert result.exit_code == 1 and result.stdout == ""
    assert says in result.stderr and result.stderr.count("\n") == 1
    assert "coco_pope_random.json" in result.stderr
    assert not (tmp_path / "out" / "result.json").exists()


def test_files_of_two_data_sets_are_refused(tmp_path):
    pope(pope(tmp_path, ["random"]), ["popular"], "gqa_pope")
    with pytest.raises(BadInput, match="different data sets"):
        Pope(tmp_path)
    pope(tmp_path, ["popular"])
    with pytest.raises(BadInput, match="of one split"):
        Pope(tmp_path)
    with pytest.raises(BadInput, match="one file for each split"):
        Pope(write(tmp_path / "x" / "readme.txt", "x").parent)


# --- CHAIR ---------------------------------------------------------------------------------------

SYNONYMS = """\
person, girl, man, people
motorcycle, scooter,  motor bike
bus, minibus
train, locomotive
dog, puppy
wine glass
knife, pocketknife
chair, seat, stool
toilet, urinal
cell phone, iPhone
"""


@pytest.fixture
def coco(tmp_path):
    """Image 7 has a dog (segmented) and a person (of a caption), image 9 a toilet."""
    folder = tmp_path / "coco"
    write(folder / "synonyms.txt", SYNONYMS)
    write(
        folder / "instances_val2014.json",
        {
            "categories": [{"id": 18, "name": "dog"}, {"id": 70, "name": "toilet"}],
            "images": [{"id": 9, "file_name": "9.png"}, {"id": 7, "file_name": "7.png"}],
            "annotations": [
                {"image_id": 7, "category_id": 18},
                {"image_id": 7, "category_id": 18},
                {"image_id": 9, "category_id": 70},
            ],
        },
    )
    captions = [
        {"image_id": 7, "caption": "Two men with their puppy."},
        {"image_id": 9, "caption": "A bathroom."},
    ]
    write(folder / "captions_val2014.json", {"annotations": captions})
    return folder


def test_chair_by_hand(coco):
    """Image 7 says dog, people, dog and knives: 1 false of 4 mentions, both objects found. Image 9
    says toilet alone, for the seat is no chair: 0 of 1, found. So 1 of 2 descriptions, 1 of 5
    mentions, 3 of 3 objects, and (9 + 5) / 2 words."""
    benchmark = Chair(coco)
    assert [question.number for question in benchmark.questions] == [7, 9]
    assert benchmark.objects == {7: {"dog", "person"}, 9: {"toilet"}}
    report = benchmark.score(
        benchmark.questions,
        ["A dog and people: the dog looks at two knives.", "The seat of the toilet."],
    )
    assert report.metrics == {
        "descriptions": {"CHAIR_s": 50.0, "CHAIR_i": 20.0, "recall": 100.0, "words": 7.5}
    }
    assert report.details[0]["hallucinated"] == ["knife"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A motor bike, an iPhone and wine glasses", ["motorcycle", "cell phone", "wine glass"]),
        ("Busses, buses and a minibus", ["bus", "bus", "bus"]),
        ("a train track beside a train", ["train"]),
        ("a passenger train; an adult dog; a baby giraffe", ["train", "dog"]),
        ("the dog's stool", ["dog", "chair"]),
        ("a toilet seat and a seat", ["toilet"]),
        ("toilets and seats", ["toilet"]),
        ("a girl on a seat train beside a toilet", ["person", "train", "toilet"]),
        ("a hotdog, peopled streets, dogged, busy", []),
        ("a hot-air balloon, a cell-phone", ["cell phone"]),
    ],
)
def test_what_a_description_names(coco, text, named):
    assert Chair(coco).named(text) == named


def test_descriptions_of_some_images_are_enough(coco, tmp_path):
    """The layout of the official script, and that of COCO's results."""
    made = {"overall": {}, "imgToEval": {"9": {"image_id": 9, "caption": "A dog."}}}
    for content in (made, [{"image_id": 9, "caption": "A dog."}]):
        file = write(tmp_path / "captions.json", content)
        result = mm("chair", "--data", coco, "--score-only", file, "--json", "--output", tmp_path)
        assert result.exit_code == 0, result.stderr
        found = json.loads(result.stdout)
        assert (found["questions"], found["answered"]) == (2, 1)
        assert found["metrics"]["descriptions"]["CHAIR_s"] == 100.0
        assert "1 of 2 questions have answers" in result.stderr


def test_missing_parts_of_coco_are_named(coco):
    (coco / "captions_val2014.json").unlink()
    with pytest.raises(BadInput, match=r"captions_val2014\.json: it is missing"):
        Chair(coco)
    (coco / "synonyms.txt").unlink()
    with pytest.raises(BadInput, match=r"no synonyms\.txt; take it from"):
        Chair(coco)


def test_plurals():
    assert plurals("policeman") == ("policemen",) and plurals("human") == ("humans",)
    assert plurals("cherry") == ("cherries",) and plurals("toy") == ("toys",)
    assert plurals("bench") == ("benches",) and "potatoes" in plurals("potato")
    assert plurals("sheep") == ()


def test_a_word_as_written_wins_over_a_plural_of_another():
    vocabulary = Vocabulary.of([("glass", "glass"), ("glasses", "spectacles"), ("leave", "leaf")])
    assert vocabulary.named("glasses, a glass, leaves") == ["spectacles", "glass", "leaf"]


# --- AMBER ---------------------------------------------------------------------------------------


@pytest.fixture
def amber(tmp_path):
    """The official layout: two descriptions and a question of each type."""
    folder = tmp_path / "amber"
    annotations = [
        {"id": 1, "type": "generative", "truth": ["sky", "man", "ship", "ship"],
         "hallu": ["bird", "sun"]},
        {"id": 2, "type": "generative", "truth": ["forest", "tree"], "hallu": ["dog"]},
        {"id": 3, "type": "discriminative-hallucination", "truth": "no"},
        {"id": 4, "type": "discriminative-attribute-state", "truth": "yes"},
        {"id": 5, "type": "discriminative-attribute-number", "truth": "no"},
        {"id": 6, "type": "discriminative-attribute-action", "truth": "no"},
        {"id": 7, "type": "discriminative-relation", "truth": "yes"},
        {"id": 8, "type": "relation", "truth": "no"},
    ]  # fmt: skip
    write(folder / "annotations.json", annotations)
    queries = [
        {"id": n, "image": f"AMBER_{n}.png", "query": "Describe this image." if n < 3 else f"Q{n}?"}
        for n in range(1, 9)
    ]
    write(folder / "query" / "query_all.json", queries)
    write(folder / "query" / "query_generative.json", queries[:2])
    relation = {
        "sky": [], "man": ["person", "people"], "ship": ["boat"], "bird": ["eagle"], "sun": [],
        "forest": ["tree", "bush"], "tree": ["forest", "bush"], "dog": ["puppy"], "car": [],
    }  # fmt: skip
    write(folder / "relation.json", relation)
    write(folder / "safe_words.txt", "line\nperson\nlight")
    return folder


ANSWERS = [
    "Two boats and people under the sky, an eagle, an eagle and a car.",
    "A tree; a person with puppies.",
    "No", "No.", "Yes", "I am not sure what to say", "yes", "Maybe",
]  # fmt: skip


def test_amber_by_hand(amber):
    """Description 1 says boat, people, sky, eagle, eagle, car: 3 of 6 mentions false, all 3 objects
    covered (the doubled ship is one), of 2 likely objects 1. Description 2 says tree, person (safe)
    and puppy: 1 of 3 false, 1 of 2 covered, 1 of 1. CHAIR 4/9, Cover 4/5, Hal 2/2, Cog 2/3.

    Of six questions no, no, yes, no, yes, - are said: right are 3, 6 and 7. `no` is said three
    times, 2 of them rightly, and true four times: precision 2/3, recall 2/4, F1 2 * 2 / 7.
    """
    benchmark = Amber(amber)
    report = benchmark.score(benchmark.questions, ANSWERS)
    found = report.metrics
    assert found["generative"] == {
        "CHAIR": pytest.approx(400 / 9), "Cover": 80.0, "Hal": 100.0,
        "Cog": pytest.approx(200 / 3),
    }  # fmt: skip
    assert found["discriminative"] == {
        "accuracy": 50.0, "precision": pytest.approx(200 / 3), "recall": 50.0,
        "F1": pytest.approx(400 / 7),
    }  # fmt: skip
    assert found["existence"]["F1"] == 100.0
    assert found["attribute"]["accuracy"] == pytest.approx(100 / 3)
    assert found["relation"] == {"accuracy": 50.0, "precision": None, "recall": 0.0, "F1": 0.0}
    assert {"state", "number", "action"} < set(found)
    assert report.counts["unclear"] == 1 and report.counts["mentions"] == 9


def test_a_word_is_the_object_itself_before_it_is_another_word_for_one(amber):
    benchmark = Amber(amber)
    asked = [question for question in benchmark.questions if question.number == 2]
    covered = {
        answer: benchmark.score(asked, [answer]).metrics["generative"]["Cover"]
        for answer in ("trees", "bush", "a tree in the forest")
    }
    assert covered == {"trees": 50.0, "bush": 50.0, "a tree in the forest": 100.0}


def test_answers_in_ambers_own_layout(amber, tmp_path):
    file = write(
        tmp_path / "answers.json",
        [{"id": number, "response": answer} for number, answer in enumerate(ANSWERS, 1)],
    )
    result = mm("amber", "--data", amber, "--score-only", file, "--output", tmp_path / "out",
                "--split", "relation", "--split", "existence", "--json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert set(json.loads(result.stdout)["metrics"]) == {"discriminative", "relation", "existence"}


def test_yes_no_questions_need_no_words(amber):
    for name in ("relation.json", "safe_words.txt", "query/query_all.json"):
        (amber / name).unlink()
    with pytest.raises(BadInput, match=r"no relation\.json"):
        Amber(amber)
    (amber / "query" / "query_generative.json").unlink()
    queries = [{"id": 3, "image": "AMBER_3.png", "query": "Is there a dog?"}]
    write(amber / "query" / "query_discriminative.json", queries)
    write(amber / "query" / "query_discriminative-existence.json", queries)
    assert len(Amber(amber).questions) == 1
    queries[0]["query"] = "Is there a cat?"
    write(amber / "query" / "query_discriminative-existence.json", queries)
    with pytest.raises(BadInput, match="id 3 has another query"):
        Amber(amber)


# --- answers of others ---------------------------------------------------------------------------


def scored(data, file, *more):
    return mm("pope", "--data", data, "--score-only", file, "--output", file.parent / "out",
              "--json", *more)  # fmt: skip


def test_exports_are_read_back(tmp_path):
    """What VLMEvalKit and lmms-eval are given has their columns, and scores the same."""
    data = pope(tmp_path / "data")
    answers = ["Yes", "no", "There it is", "No", ""] * 3
    benchmark = Pope(data)
    rows = [
        {"split": q.split, "question_id": q.number, "answer": a}
        for q, a in zip(benchmark.questions, answers, strict=True)
    ]
    first = scored(data, lines(tmp_path / "a" / "mine.jsonl", rows),
                   "--export", "vlmevalkit", "--export", "lmms-eval")  # fmt: skip
    assert first.exit_code == 0, first.stderr
    metrics = json.loads(first.stdout)["metrics"]
    out = tmp_path / "a" / "out"
    [table] = (out / "vlmevalkit").iterdir()
    assert table.name == "mine_POPE.tsv"
    with table.open(newline="") as stream:
        [row, *_] = csv.DictReader(stream, delimiter="\t")
    assert row == {
        "index": "0", "question": "Is there a thing1?", "answer": "Yes", "category": "random",
        "image_path": "1.png", "prediction": "Yes",
    }  # fmt: skip
    again = scored(data, table)
    assert json.loads(again.stdout)["metrics"] == metrics
    samples = sorted((out / "lmms-eval" / "mine").iterdir())
    assert [file.name for file in samples] == [
        f"mmalign_samples_pope_{name}.jsonl" for name in ("adv", "pop", "random")
    ]
    [one, *_] = map(json.loads, samples[1].read_text().splitlines())
    assert one["filtered_resps"] == ["Yes"] and one["target"] == "yes"
    assert one["pope_accuracy"] == {
        "question_id": 1, "score": 1.0, "prediction": "yes", "ground_truth": "yes",
    }  # fmt: skip
    again = scored(data, samples[1], "--split", "popular")
    assert json.loads(again.stdout)["metrics"] == {"popular": metrics["popular"]}


def test_a_row_of_vlmevalkit_that_stands_for_several_splits(tmp_path):
    """Its table has a question once, with the splits that ask it."""
    data = pope(tmp_path / "data")
    head = "index\tquestion\tanswer\tcategory\timage_path\tprediction\n"
    body = "".join(
        f"{n}\tIs there a thing{n}?\tNo\tadversarial,popular,random\t/x/{n}.png\tNo\n"
        for n in range(1, 6)
    )
    result = scored(data, write(tmp_path / "m_POPE.tsv", head + body))
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["metrics"]["mean"]["accuracy"] == 60.0


def test_answers_without_numbers_are_taken_in_order(tmp_path):
    """POPE's own layout; the text of the question must be the same."""
    data = pope(tmp_path / "data", ["random"])
    rows = [{"question": f"Is there a thing{n}?", "answer": "no"} for n in range(1, 6)]
    assert scored(data, lines(tmp_path / "a.json", rows)).exit_code == 0
    rows[2], rows[3] = rows[3], rows[2]
    result = scored(data, lines(tmp_path / "a.json", rows))
    assert result.exit_code == 1
    assert "row 2, column 'question': it does not hold the text of question 3" in result.stderr
    result = scored(data, lines(tmp_path / "a.json", rows[:4]))
    assert "there are 4 of them for 5 questions" in result.stderr


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"question_id": 1, "answer": "no"}], "4 of 5 questions have no answer: question 2 of"),
        ([{"question_id": 9, "answer": "no"}], "row 0: no question has number 9"),
        ([{"question_id": 1, "answer": "no"}] * 2, "row 1: a second answer to question 1 of rand"),
        ([{"question_id": 1, "answer": 1}], "row 0, column 'answer': an answer is text"),
        ([{"question_id": 1}], "row 0: no column holds an answer"),
        ([{"question_id": 1, "answer": "", "prompt": "Is it?"}], "column 'prompt': it does not"),
        ([{"question_id": 1, "answer": "", "split": "rare"}], "column 'split': 'rare' is none of"),
    ],
)
def test_answers_that_do_not_fit(tmp_path, rows, says):
    result = scored(pope(tmp_path / "data", ["random"]), lines(tmp_path / "a.jsonl", rows))
    assert result.exit_code == 1 and says in result.stderr
    assert not (tmp_path / "out" / "result.json").exists()


def test_numbers_that_several_splits_have(tmp_path):
    data = pope(tmp_path / "data")
    file = lines(tmp_path / "a.jsonl", [{"question_id": 1, "answer": "no"}])
    result = scored(data, file)
    assert "number 1 is asked in random, popular, adversarial; add a column" in result.stderr
    assert scored(data, file, "--split", "random", "--partial").exit_code == 1
    named = lines(tmp_path / "m_adversarial.jsonl", [{"question_id": 1, "answer": "no"}])
    found = scored(data, named, "--partial")
    assert set(json.loads(found.stdout)["metrics"]) == {"adversarial"}


def test_scoring_does_not_import_torch(tmp_path):
    data = pope(tmp_path / "data", ["random"])
    rows = [{"question_id": n, "answer": "no"} for n in range(1, 6)]
    file = lines(tmp_path / "a.jsonl", rows)
    code = (
        "import sys; sys.modules['torch'] = None; from mmalign.cli import cli; "
        f"cli(['evaluate', 'pope', '--data', {str(data)!r}, '--score-only', {str(file)!r}, "
        f"'--output', {str(tmp_path / 'out')!r}])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "random" in done.stdout and (tmp_path / "out" / "result.json").exists()


def test_the_guide_shows_what_is_printed(checkout, monkeypatch):
    """Each example of the page, with its output."""
    monkeypatch.chdir(checkout)
    page = (checkout / "docs" / "guide" / "evaluate.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"```console\n\$ mmalign evaluate ([^\n]*)\n```\n\n```text\n(.*?)```", page, re.S
    )
    assert len(shown) == 3
    for arguments, text in shown:
        result = mm(*arguments.split())
        assert [line.rstrip() for line in result.stdout.splitlines()] == text.splitlines()


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pope(tmp_path / "data", ["random"])
    file = lines(tmp_path / "a.jsonl", [{"question_id": n, "answer": "no"} for n in range(1, 6)])
    assert mm("pope", "--data", data, "--score-only", file).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"data", "a.jsonl"}
    refused = mm("pope", "--data", data, "--score-only", file, "--export", "vlmevalkit")
    assert refused.exit_code == 2 and "--output" in refused.stderr


# --- asking a model ------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path, tiny_base):
    """Arguments that ask a model that has learnt nothing five questions of two splits."""
    data = pope(tmp_path / "data", ["random", "popular"])
    for number in range(1, 6):
        colour = (40 * number, 0, 255 - 40 * number)
        Image.new("RGB", (64, 64), colour).save(data / f"{number}.png")
    return ("pope", "--data", data, "--model", tiny_base, "--output", tmp_path / "out",
            "--batch-size", "2", "--max-new-tokens", "3", "--json")  # fmt: skip


def test_a_model_is_asked_in_batches(asked, tmp_path):
    result = mm(*asked)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["answered"] == 10 and set(found["metrics"]) == {"random", "popular"}
    rows = [
        json.loads(row) for row in (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    ]
    assert [(row["split"], row["question_id"]) for row in rows[:2]] == [
        ("random", 1),
        ("random", 2),
    ]
    assert set(rows[0]) == {"split", "question_id", "image", "question", "answer"}
    again = mm(*asked[:-1])
    assert again.exit_code == 1 and "--resume goes on" in again.stderr


def test_a_run_that_was_killed_goes_on(asked, tmp_path, monkeypatch):
    """Two batches are written, and half a line of a third: what comes out is the whole run's."""
    mm(*asked)
    file = tmp_path / "out" / "predictions.jsonl"
    whole = file.read_text()
    rows = whole.splitlines(keepends=True)
    file.write_text("".join(rows[:4]) + rows[4][:20])
    asked_again = []
    monkeypatch.setattr(
        generate, "messages", lambda prompt, question, real=generate.messages: (
            asked_again.append(question.key) or real(prompt, question)
        )
    )  # fmt: skip
    result = mm(*asked, "--resume")
    assert result.exit_code == 0, result.stderr
    assert file.read_text() == whole
    assert len(asked_again) == 6
    other = mm(*asked, "--resume", "--prompt", "{question} Yes or no?")
    assert (
        other.exit_code == 1
        and "another evaluation: prompt differs" in other.stderr
        and file.read_text() == whole
    )


def test_answers_that_nobody_knows_the_model_of_are_not_gone_on_with(asked, tmp_path):
    """A file that no evaluation wrote stays as it is, without its last line's end, too."""
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text('{"split": "random", "question_id": 1, "answer": "yes"}')
    (tmp_path / "out").mkdir()
    result = mm(*asked, "--predictions", theirs, "--resume")
    assert result.exit_code == 1 and "theirs.asked.json beside it" in result.stderr
    assert theirs.read_text().endswith("}")


def test_answers_elsewhere_are_known_by_what_lies_beside_them(asked, tmp_path):
    file = tmp_path / "elsewhere" / "a.jsonl"
    assert mm(*asked, "--predictions", file).exit_code == 0
    (tmp_path / "another").mkdir()
    moved = [*asked, "--predictions", file, "--resume", "--output", tmp_path / "another"]
    assert mm(*moved).exit_code == 0
    result = mm(*moved, "--max-new-tokens", "2")
    assert result.exit_code == 1 and "another evaluation: max_new_tokens differs" in result.stderr


def test_a_model_that_cannot_be_used_is_one_line(asked, tmp_path, tiny_base):
    model = shutil.copytree(tiny_base, tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    result = mm(*asked, "--model", model)
    assert result.exit_code == 1 and "has no chat template" in result.stderr
    assert result.stderr.count("\n") <= 2 and "Traceback" not in result.stderr


def test_control_c_keeps_what_is_answered(asked, tmp_path, monkeypatch):
    calls = []

    def stopping(*arguments, real=generate.generate, **more):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **more)

    monkeypatch.setattr(generate, "generate", stopping)
    result = mm(*asked)
    assert result.exit_code == 130 and "stopped after 4 answers" in result.stderr
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 4
    assert not (tmp_path / "out" / "result.json").exists()


def test_limits_and_prompts(asked, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        generate, "messages", lambda prompt, question, real=generate.messages: (
            shown.append(real(prompt, question)) or shown[-1]
        )
    )  # fmt: skip
    result = mm(*asked, "--limit", "1", "--split", "popular", "--prompt", "{question} Say it.")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["questions"] == 1
    [[turn]] = shown
    assert turn["content"][1]["text"] == "Is there a thing1? Say it."


def test_images_lie_beside_a_file_of_questions(asked):
    command = list(asked)
    command[2] = asked[2] / "coco_pope_random.json"
    result = mm(*command)
    assert result.exit_code == 0, result.stderr


def test_drawn_questions_are_the_same_for_a_seed(tmp_path):
    questions = Pope(pope(tmp_path)).questions

    def drawn(seed):
        options = run.Options("pope", tmp_path, tmp_path, limit=2, seed=seed)
        return [question.key for question in run.chosen(questions, options)]

    assert drawn(1) == drawn(1) and len({tuple(drawn(seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        (("--image-root", "nowhere"), 1, "5 of 5 images are not there, the first is '1.png'"),
        (("--split", "rare"), 1, "--split: there is no 'rare' here; there are random, popular"),
        (("--device", "gpu"), 2, "'gpu' is none of cpu"),
        (("--seed", "1"), 2, "without --limit"),
        (("--score-only", "README.md"), 2, "give --model to ask one, or --score-only"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_model_is_loaded(
    asked, monkeypatch, checkout, more, status, says
):
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(generate, "load", lambda *_: pytest.fail("loaded"))
    result = mm(*asked, *more)
    assert result.exit_code == status and says in result.stderr, result.stderr


def test_a_broken_image_is_named(asked):
    data = asked[2]
    write(data / "3.png", "no image")
    result = mm(*asked)
    assert result.exit_code == 1 and "question 3 of random" in result.stderr
    assert "3.png" in result.stderr and result.stderr.count("Error") == 1


def test_two_evaluations_do_not_share_a_folder(asked, tmp_path):
    (tmp_path / "out").mkdir()
    with alone(tmp_path / "out"):
        result = mm(*asked)
    assert result.exit_code == 1 and "another run is going on" in result.stderr


@pytest.mark.parametrize("name", ["run.json", "config.json", "model"])
def test_the_folder_of_a_model_or_a_training_run_is_left_alone(asked, tmp_path, name):
    (tmp_path / "out" / name).mkdir(parents=True)
    result = mm(*asked)
    assert result.exit_code == 1 and "take a folder of its own" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_a_full_disk_keeps_what_was_answered(asked, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("predictions.jsonl"):
            calls.append(1)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    result = mm(*asked)
    assert result.exit_code == 1, result.stderr
    assert "predictions.jsonl: No space left on device; 2 answers are kept" in result.stderr
    assert mm(*asked, "--resume").exit_code == 0


# --- the base of a real run ----------------------------------------------------------------------


def test_the_base_is_gone_when_a_real_model_trains(tmp_path, tiny_base, monkeypatch):
    """Evaluated in small batches, and given back: a large model has no room for a second."""
    rows = []
    for number in range(4):
        Image.new("RGB", (64, 64), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": "what is there ?",
                     "chosen": "a red circle", "rejected": "a blue square"})  # fmt: skip
    data = lines(tmp_path / "pairs.jsonl", rows)
    models, alive, batches = [], [], []
    real_load, real_stages, real_logps = stages.load, experiment.run_stages, measure.answer_logps

    def load(*arguments):
        model, processor = real_load(*arguments)
        models.append(weakref.ref(model))
        return model, processor

    def run_stages(run):
        alive.append(sum(model() is not None for model in models))
        return real_stages(run)

    def answer_logps(policy, *arguments, **more):
        batches.append(policy.batch_size)
        return real_logps(policy, *arguments, **more)

    monkeypatch.setattr(stages, "load", load)
    monkeypatch.setattr(experiment, "run_stages", run_stages)
    monkeypatch.setattr(measure, "answer_logps", answer_logps)
    status = command_line.run(
        "dpo",
        ["--model", tiny_base, "--dataset", str(data), "--output", str(tmp_path / "out"),
         "--steps", "1", "--batch-size", "2", "--per-device-batch-size", "2"],
    )  # fmt: skip
    assert status == 0
    assert len(alive) == 2, "the method, and its baseline sft"
    assert alive == [0, 0] and set(batches) == {2}
