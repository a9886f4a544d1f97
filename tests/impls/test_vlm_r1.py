"""VLM-R1: objective by hand and by vectors, rewards on boxes, and the repository's data layout."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from reference_impls.core.data.boxes import iou, labelled, mean_average_precision
from reference_impls.core.data.check import check_data
from reference_impls.core.data.readers import read_rows
from reference_impls.core.data.readers.cells import CellError, DataError
from reference_impls.core.method import load_script
from reference_impls.core.worlds import protocol
from reference_impls.methods import vlm_r1

VECTORS = Path(vlm_r1.__file__).parent.parent / "conformance" / "vlm_r1.json"
GOLD = "[16, 16, 32, 32]"


def numbers(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def said(box: str, thought: str = "x") -> str:
    return f'<think> {thought} </think> <answer> {{"bbox_2d": {box} }} </answer>'


# --- objective ------------------------------------------------------------------------------------


def test_a_long_answer_weighs_more_in_the_paper_and_as_much_in_the_code():
    """Two answers of 4 tokens and 1, advantages 1 and -1, the policy that sampled, no KL. The
    paper's gradient of each token is -A / 2; the code's is that over the answer's length."""
    logps = numbers([[-1, -1, -1, -1], [-1, 0, 0, 0]]).requires_grad_()
    mask = numbers([[1, 1, 1, 1], [1, 0, 0, 0]])
    advantages = numbers([[1] * 4, [-1] * 4])
    found = {}
    for variant in ("paper", "survey", "code"):
        cfg = vlm_r1.Config(beta=0.0, variant=variant)
        value, _ = vlm_r1.loss(logps, logps.detach(), None, advantages, mask, cfg)
        (gradient,) = torch.autograd.grad(value, logps)
        found[variant] = gradient.tolist()
    assert found["paper"] == found["survey"] == [[-0.5] * 4, [0.5, 0, 0, 0]]
    assert found["code"] == [[-0.125] * 4, [0.5, 0, 0, 0]]


def test_ratio_clip_and_kl_by_hand():
    # Two tokens, each e^0.1 times as likely as when sampled: the answer's ratio is e^0.2 = 1.2214,
    # clipped to 1.2; a token's is e^0.1 = 1.1052, not clipped. The reference is e^-0.5 per token:
    # D of the answer is e^-1 + 1 - 1 = 0.367879, of a token e^-0.5 + 0.5 - 1 = 0.106531.
    logps, old, ref = numbers([[-1, -1]]), numbers([[-1.1, -1.1]]), numbers([[-1.5, -1.5]])
    one = numbers([[1, 1]])
    value, metrics = vlm_r1.loss(logps, old, ref, one, one, vlm_r1.Config())
    assert value.item() == pytest.approx(-(1.2 - 0.04 * 0.367879), abs=1e-6)
    assert metrics["kl_of_answer"].item() == pytest.approx(math.exp(-1))
    assert metrics["clip_fraction"].item() == 1
    value, metrics = vlm_r1.loss(logps, old, ref, one, one, vlm_r1.Config(variant="code"))
    assert value.item() == pytest.approx(-(math.exp(0.1) - 0.04 * 0.106531), abs=1e-6)
    assert metrics["clip_fraction"].item() == 0


def test_advantages_by_hand():
    # Rewards 2, 1, 0: sample standard deviation 1.
    paper = vlm_r1.advantages(numbers([[2, 1, 0]]), vlm_r1.Config())
    assert paper.tolist() == [[1, 0, -1]]
    code = vlm_r1.advantages(numbers([[2, 1, 0]]), vlm_r1.Config(variant="code"))
    assert code[0].tolist() == pytest.approx([1 / 1.0001, 0, -1 / 1.0001])
    assert not vlm_r1.advantages(torch.full((2, 5), 0.1), vlm_r1.Config()).any()


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_padding_does_not_matter_and_without_kl_no_reference_is_needed(variant):
    draw = torch.Generator().manual_seed(0)
    mask = numbers([[1, 1, 1], [1, 0, 0], [1, 1, 0]])
    logps, old, ref = (-torch.rand(3, 3, generator=draw).double() * mask for _ in range(3))
    given = numbers([[1] * 3, [0.5] * 3, [-1.5] * 3])
    cfg = vlm_r1.Config(variant=variant)
    value, _ = vlm_r1.loss(logps, old, ref, given, mask, cfg)
    noise = 1 - mask
    other, _ = vlm_r1.loss(logps - noise, old + noise, ref - 3 * noise, given, mask, cfg)
    assert other.item() == pytest.approx(value.item(), abs=1e-12)
    no_kl = replace(cfg, beta=0.0)
    first, second = (vlm_r1.loss(logps, old, r, given, mask, no_kl)[0] for r in (ref, None))
    assert first.item() == second.item()


# --- boxes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "value"),
    [
        ([16, 16, 32, 32], 1),
        ([16, 16, 40, 40], 256 / 576),  # half a cell too large
        ([24, 16, 40, 32], 128 / 384),
        ([32, 16, 48, 32], 0),  # edge to edge
        ([16, 16, 16, 32], 0),  # no width
        ([32, 32, 16, 16], 0),  # corners in the wrong order
        ([32, 16, 16, 32], 0),
        ([-16, -16, 32, 32], 256 / 2304),  # off the picture
        ([0, 0, 10**9, 10**9], 256 / 10**18),
        ([0, 0, 10**400, 10**400], 0),
        ([float("nan"), 16, 32, 32], 0),
        ([16, 16, float("inf"), 32], 0),
        ([16.5, 16, 32.5, 32], 15.5 / 16.5),
    ],
)
def test_overlap_of_a_box_with_the_true_one(box, value):
    true = [16, 16, 32, 32]
    assert iou(box, true) == pytest.approx(value, rel=1e-9) == iou(true, box)
    assert 0 <= iou(box, true) <= 1


def test_average_precision_by_hand():
    cat, dog, tall = ("cat", [0, 0, 10, 10]), ("dog", [20, 0, 30, 10]), ("dog", [40, 0, 50, 20])
    assert mean_average_precision([cat, dog, tall], [cat, dog, tall]) == 1
    # One of two dogs: precision 1 up to a recall of .5, which are 51 of the 101 points.
    assert mean_average_precision([dog], [dog, tall]) == pytest.approx(51 / 101)
    # A wrong box first: precision is 1/2 at every recall; after the right one it costs nothing.
    wrong = ("cat", [50, 50, 60, 60])
    assert mean_average_precision([wrong, cat], [cat]) == pytest.approx(0.5)
    assert mean_average_precision([cat, wrong], [cat]) == 1
    # The same box twice finds one object once; a label that nothing has costs nothing.
    assert mean_average_precision([cat, cat, ("cow", [0, 0, 5, 5])], [cat]) == 1
    # An overlap of .8 is found at .5, .55, ... .75 and at .8 itself: 7 of 10 thresholds.
    near = ("cat", [0, 0, 10, 8])
    assert mean_average_precision([near], [cat]) == pytest.approx(0.7)
    assert mean_average_precision([cat], []) == 0
    # Labels count alike, however many boxes they have.
    assert mean_average_precision([cat], [cat, dog, tall]) == pytest.approx(0.5)


def test_entries_without_a_box_or_a_label_are_left_out():
    good = {"bbox_2d": [1, 2, 3, 4], "label": "cat"}
    bad = [7, "x", None, [], {"label": "cat"}, {"bbox_2d": [1, 2, 3], "label": "cat"},
           {"bbox_2d": [1, 2, 3, "4"], "label": "cat"}, {"bbox_2d": [1, 2, 3, True], "label": "c"},
           {"bbox_2d": [1, 2, 3, float("nan")], "label": "cat"}, {"bbox_2d": [1, 2, 3, 10**400],
           "label": "cat"}, {"bbox_2d": [1, 2, 3, 4], "label": ["cat"]}]  # fmt: skip
    assert labelled([*bad, good]) == [("cat", [1.0, 2.0, 3.0, 4.0])]


# --- rewards --------------------------------------------------------------------------------------


def test_rewards_agree_with_the_official_functions():
    cases = [case for case in json.loads(VECTORS.read_text()) if case["kind"] == "rewards"]
    assert [case["config"] for case in cases] == [{}, {"detection": True}]
    for case in cases:
        texts, truths = case["inputs"]["completions"], case["inputs"]["solutions"]
        wanted = case["outputs"]
        functions = vlm_r1.rewards(vlm_r1.Config(variant="code", **case["config"]))
        assert functions["accuracy"](texts, truths) == pytest.approx(wanted["accuracy"], abs=1e-12)
        assert functions["format"](texts, truths) == wanted["format"]
        if "map" in wanted:
            assert vlm_r1.reward_map(texts, truths) == pytest.approx(wanted["map"], abs=1e-12)


@pytest.mark.parametrize(
    ("text", "paper", "code"),
    [
        (said(GOLD), (1, 1), (1, 1)),
        (f"well {said(GOLD)} done", (1, 0), (1, 1)),  # text around the tags
        (said(GOLD, "a <think> b </think>"), (1, 0), (1, 1)),  # a thought in a thought
        (said("[31, 16, 47, 32]"), (16 / 496, 1), (0, 1)),  # one pixel in common
        (said("[0, 0, 8, 8]") + said(GOLD), (0, 0), (0, 1)),  # two answers: the first counts
        (f"<answer> {GOLD} </answer>", (1, 0), (1, 0)),
        (GOLD, (0, 0), (0, 0)),
        (f"<answer> {{{GOLD}}} </answer> <think> x </think>", (1, 0), (1, 0)),
        (said("[-16, 16, 32, 32]"), (0, 0), (0, 0)),  # a sign is not a digit
        (said("[16.0, 16, 32, 32]"), (0, 0), (0, 0)),
        (said("[\u0661\u0666, 16, 32, 32]"), (1, 1), (1, 1)),  # digits of another script
        (said(f"[{'9' * 5000}, 16, 32, 32]"), (0, 1), (0, 1)),
        (said(f"[{'9' * 5000}, 1, 2, 3] [16, 16, 32, 32]"), (0, 1), (0, 1)),  # no way around
        (said(GOLD, "<image>"), (1, 1), (1, 1)),
        ("", (0, 0), (0, 0)),
    ],
)
def test_where_paper_and_code_differ_in_the_reward(text, paper, code):
    for variant, wanted in (("paper", paper), ("survey", paper), ("code", code)):
        functions = vlm_r1.rewards(vlm_r1.Config(variant=variant)).values()
        found = [function([text], [GOLD])[0] for function in functions]
        assert found == pytest.approx(wanted), variant


def test_a_graded_reward_tells_near_from_far_where_hits_do_not():
    """The mechanism: with equal hits a group still has a signal."""
    group = [said("[0, 0, 16, 16]"), said("[24, 16, 40, 32]"), said("[16, 16, 40, 40]")]
    for graded, distinct in ((True, 3), (False, 1)):
        function = vlm_r1.rewards(vlm_r1.Config(graded_term=graded))["accuracy"]
        values = function(group, [GOLD] * 3)
        assert len(set(values)) == distinct
        assert bool(vlm_r1.advantages(torch.tensor([values]), vlm_r1.Config()).any()) == graded


def entry(box, label="cat"):
    return {"bbox_2d": box, "label": label}


def listing(*entries) -> str:
    return f"<think> x </think> <answer> ```json {json.dumps(entries)} ``` </answer>"


def test_a_longer_list_costs_what_mean_average_precision_does_not_see():
    """The mechanism of odLength: labels that are not there, and boxes said twice."""
    truth = listing(entry([0, 0, 9, 9])).partition("<answer>")[2].partition("</answer>")[0].strip()
    cfg = vlm_r1.Config(detection=True)
    plain = vlm_r1.rewards(replace(cfg, length_term=False))["accuracy"]
    length = vlm_r1.rewards(cfg)["accuracy"]
    right, box = entry([0, 0, 9, 9]), [0, 0, 9, 9]
    for text, both in (
        (listing(right), (1, 1)),
        (listing(right, right), (1, 0.5)),
        (listing(right, entry(box, "dog"), entry(box, "cow"), 7), (1, 0.25)),
        (listing(entry(box, "dog")), (0, 0)),
        ("<answer> None </answer>", (0, 0)),
        ("nothing", (0, 0)),
        (f"{listing()} {listing(right)}", (1, 1)),  # the last answer counts
        ("<answer> ```json [[[ ``` </answer>", (0, 0)),
        ("<answer> ```json " + "[" * 100_000 + " ``` </answer>", (0, 0)),
    ):
        assert (plain([text], [truth])[0], length([text], [truth])[0]) == pytest.approx(both)
    for function in (plain, length):
        assert function(["<answer> None </answer>"], ["None"]) == [1.0]
        assert function([listing(right)], ["None"]) == [0.0]
        assert function(["None"], ["None"]) == [0.0]
    # Too few boxes cost precision alone.
    two = json.dumps([right, entry([20, 20, 29, 29])])
    assert length([listing(right)], [f"```json {two} ```"]) == pytest.approx([51 / 101])


def test_formats_of_detections():
    good, none = listing(entry([0, 0, 9, 9])), "<think> x </think> <answer> None </answer>"
    words = "<think> x </think> <answer> a cat </answer>"
    around = f"so {good}"
    for variant, wanted in (("paper", [1, 1, 0, 0]), ("code", [1, 1, 1, 0])):
        function = vlm_r1.rewards(vlm_r1.Config(detection=True, variant=variant))["format"]
        assert function([good, none, words, around], [""] * 4) == wanted
    assert "format" not in vlm_r1.rewards(vlm_r1.Config(format_term=False))


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 15_000, "<think></think>" * 7_000, "<think></think> <answer>{" * 4_000,
        "[1, " * 25_000, "[1, 2, 3, 4]" * 9_000, "<answer>" * 13_000, "{" * 100_000,
        "</think>" + " " * 100_000, "</think> " * 12_000, "```json" * 15_000,
        "<think></think><answer>{[" + "1" * 100_000, "[" + "1," * 50_000,
    ],
)  # fmt: skip
def test_rewards_take_bounded_time_on_any_text(text):
    began = time.process_time()
    for detection in (False, True):
        for variant in ("paper", "code"):
            cfg = vlm_r1.Config(detection=detection, variant=variant)
            for function in vlm_r1.rewards(cfg).values():
                truth = (
                    '```json [{"bbox_2d": [0, 0, 9, 9], "label": "a"}] ```' if detection else GOLD
                )
                assert 0 <= function([text], [truth])[0] <= 1
    assert time.process_time() - began < 2


@pytest.mark.parametrize("split", ["pairs", "validation", "test"])
def test_every_gold_answer_earns_its_full_reward(split):
    world = protocol.world("referring")
    items = world.tasks["refer"].items(world.draw(split, 300, 1))

    class OneLab:
        """What the data step reads of a lab."""

        @staticmethod
        def prompt(place, **columns):
            return {"place": place, **columns}

    OneLab.items = items
    rows = vlm_r1.expressions(OneLab, vlm_r1.Config())
    texts, truths = [row["worked"] for row in rows], [row["answer"] for row in rows]
    assert [json.loads(truth) for truth in truths] == [list(i.scene.target.box) for i in items]
    for variant in ("paper", "code", "survey"):
        for function in vlm_r1.rewards(vlm_r1.Config(variant=variant)).values():
            assert function(texts, truths) == [1.0] * 300


# --- the published layout -------------------------------------------------------------------------


def written(folder: Path, *records) -> str:
    from PIL import Image

    Image.new("RGB", (40, 40)).save(folder / "a.jpg")
    path = folder / "refcoco_train.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return str(path)


def record(solution, question="<image>Please provide the bounding box of: the left man."):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": solution}]
    return {"id": 1, "image": "a.jpg", "conversations": turns}


def test_the_repositorys_layout_is_read(tmp_path):
    """README.md and grpo_jsonl.py#L962-L991: a box as a list, as text, or in tags."""
    solutions = ([1, 2.5, 30, 40], "[1, 2, 3, 4]", "<answer> [1, 2, 3, 4] </answer>", "None")
    stage = vlm_r1.METHOD.last
    rows = read_rows(written(tmp_path, *map(record, solutions)), stage, None)
    assert [row["answer"] for row in rows] == [
        "[1, 2.5, 30, 40]", "[1, 2, 3, 4]", "[1, 2, 3, 4]", "None",
    ]  # fmt: skip
    content = rows[0]["prompt"][0]["content"]
    assert content[0] == {"type": "image"} and len(rows[0]["images"]) == 1
    assert content[1]["text"].endswith("Output the final answer in JSON format.")
    assert vlm_r1.reward_iou([said("[1, 2, 30, 40]")], [rows[0]["answer"]]) == pytest.approx(
        [29 * 37.5 / (29 * 38)]
    )


@pytest.mark.parametrize(
    "broken",
    [
        True, " ", None, {"box": 1}, "a dog", "[1, 2, 3]", [1, 2, 3, 4, 5], '[1, 2, "x", 4]', "{}",
        [[1, 2, 3, 4]], 7, "[NaN, 1, 2, 3]", "[" * 100_000, "[1e999, 0, 1, 1]",
    ],
)  # fmt: skip
def test_a_solution_that_is_none_is_refused_by_its_row(tmp_path, broken):
    path = written(tmp_path, record("[1, 2, 3, 4]"), record(broken))
    with pytest.raises(DataError, match=r"row 1, column 'conversations'"):
        read_rows(path, vlm_r1.METHOD.last, None)


def test_a_detection_is_not_taken_for_a_box():
    """Data for `--set detection=yes` without it: else every answer would earn 0 in silence."""
    detection = '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]\n```'
    read = vlm_r1.read_record({"images": [0], "conversations": record(detection)["conversations"]})
    assert read["answer"] == detection
    # Its true answer may be `None`: only a box is asked for in JSON (section 5.1 has one prompt).
    text = read["prompt"][0]["content"][1]["text"]
    assert text.endswith("<think> </think> and final answer in <answer> </answer> tags.")
    with pytest.raises(ValueError, match=r"json.* is not a box, which is written"):
        vlm_r1.reward_iou(["no idea"], [read["answer"]])


def test_what_a_detection_lists_is_read_as_the_official_function_does():
    """A fifth number of a box is not read; a string lists its characters, and is not nothing."""
    dog = '```json\n[{{"bbox_2d": [0, 0, 100, 100{}], "label": "dog"}}]\n```'.format
    answer = "<answer>{}</answer>".format
    for reward in (vlm_r1.reward_map, vlm_r1.reward_od_length):
        assert reward([answer(dog(", 0.9"))], [dog("")]) == pytest.approx([1.0])
        assert reward([answer('```json "abc"```')], ["None"]) == [0.0]


def test_rows_of_the_other_task_are_refused_where_they_stand(tmp_path):
    """Before training, and not by the first step that draws one."""
    box, nothing = record("[1, 2, 3, 4]"), record("None")
    stage = vlm_r1.METHOD.last
    with pytest.raises(DataError, match=r"row 1.*'None' is not a box"):
        read_rows(written(tmp_path, box, nothing), stage, vlm_r1.Config())
    with pytest.raises(DataError, match=r"row 1.*is not a detection"):
        read_rows(written(tmp_path, nothing, box), stage, vlm_r1.Config(detection=True))
    told = []
    boxes = written(tmp_path, box, record([1.5, 2, 30, 40.25]))
    assert len(read_rows(boxes, stage, vlm_r1.Config(), note=told.append)) == 2
    assert "earns no more" not in told[0]  # a box of decimals is told from others when rounded
    found = check_data(written(tmp_path, box, nothing), method="vlm-r1")
    assert "'None' is not a box" in json.dumps(found)


def test_true_answers_that_no_reward_tells_from_others_are_counted(tmp_path):
    """5,3 is two numbers, and no text's last one."""
    written(tmp_path)
    rows = [{"problem": "How many?", "answer": text, "images": ["a.jpg"]} for text in ("3", "5,3")]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    told = []
    method = load_script("grpo").method
    read_rows(str(path), method.last, method.config(), note=told.append)
    assert "of 1 (first:" in told[0] and "row 1" in told[0]


def test_zeros_before_a_number_do_not_make_it_long():
    for zeros in (30, 5_000):  # more than Python makes a number of
        text = said(f"[{'0' * zeros}, 0, 100, 100]")
        assert vlm_r1.reward_iou([text], ["[0, 0, 100, 100]"]) == [1.0]


@pytest.mark.parametrize("truth", ["[1, 2, 3, 4]", "a dog", '```json\n[{"label": "dog"}]\n```'])
def test_a_box_is_not_taken_for_a_detection(truth):
    """Data of single boxes with `--set detection=yes`: nothing would be true, and `None` right."""
    for reward in (vlm_r1.reward_map, vlm_r1.reward_od_length):
        assert reward(["<answer>None</answer>"], ["None"]) == [1.0]
        with pytest.raises(ValueError, match="is not a detection, which is `None` or a block"):
            reward(["<answer>None</answer>"], [truth])


@pytest.mark.parametrize("box", ["[3, 4, 1, 2]", "[1, 2, 1, 4]", "[-1, 2, 3, 4]"])
def test_a_true_box_that_holds_nothing_is_refused(box):
    turns = [{"from": "human", "value": "<image>Where?"}, {"from": "gpt", "value": box}]
    record = {"images": [Image.new("RGB", (8, 8))], "conversations": turns}
    with pytest.raises(CellError, match="holds nothing; wanted is left, top, right, bottom"):
        vlm_r1.read_record(record)


def test_where_nothing_is_to_be_found_an_unreadable_answer_found_nothing():
    """As in the code (grpo_jsonl.py, L336 at the commit)."""
    texts = ["<answer>a dog at [1, 2, 3, 4]</answer>", '<answer>```json\n[{"la```</answer>', "x"]
    assert vlm_r1.reward_map(texts, ["None"] * 3) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("turns", [[], [{"from": "human", "value": "x"}], "x", [1, 2], None])
def test_conversations_without_two_turns_are_refused(turns):
    with pytest.raises(CellError):
        vlm_r1.read_record({"images": [], "conversations": turns})


def test_a_run_on_the_repositorys_layout(tmp_path, tiny_base, capsys):
    """The real data go through the real command: two steps of an untrained model."""
    # The lab's template has one image token per picture of 64 x 64, and whole words.
    from PIL import Image

    from reference_impls.core.command_line import run

    data = written(tmp_path, *[record([n, n, 20 + n, 30]) for n in range(6)])
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.jpg")
    arguments = ["--model", tiny_base, "--dataset", data, "--steps", "2", "--batch-size", "2"]
    arguments += ["--group-size", "2", "--answer-length", "4", "--no-baselines", "--preset", "lab"]
    status = run("vlm_r1", [*arguments, "--output", str(tmp_path / "run"), "--json"])
    told = capsys.readouterr()
    assert status == 0, told.err
    rows = json.loads(told.out)["rows"]
    assert set(rows) == {"base", "vlm-r1"}
    assert set(rows["vlm-r1"]) >= {"accuracy", "format"}
