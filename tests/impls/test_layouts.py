"""One pass over a prompt on layouts of real data: several images, videos, rows without any, images
of different sizes, against the model's own forward pass over each conversation."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import torch

from reference_impls.core.method import Answer
from reference_impls.core.model.encode import Encoder, Prompt
from reference_impls.core.train import forward
from reference_impls.core.train.forward import Scorer
from reference_impls.core.train.layout import view_batch
from tests.impls import tiny_models
from tests.impls.test_forward import (
    SHARING,
    TEXT_ONLY,
    VIEWS,
    A,
    B,
    C,
    asked,
    direct,
    picture,
    row,
    said,
    scored,
)

QWEN = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
PAIR = ("chosen", "rejected")
WIDE, TALL = picture(3, 120, 40), picture(4, 30, 150)
TWO = {
    "role": "user",
    "content": [
        {"type": "image"},
        {"type": "text", "text": " and "},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ],
}
CASES = {
    "two images": [row([TWO], [A, WIDE], [A, C], "a dog sits", "cat")],
    "one image twice": [row([TWO], [A, A], [B, B], "a dog sits", "cat")],
    "images in another order": [row([TWO], [A, B], [B, A], "a dog sits", "cat")],
    "different sizes": [
        row(asked("What?"), [A], [WIDE], "a dog sits", "cat"),
        row(asked("And what else is there to be seen?"), [TALL], [A], "yes", "no, not at all"),
        row([TWO], [WIDE, TALL], [TALL, WIDE], "so", "it is green"),
    ],
    "text beside images": [TEXT_ONLY, row(asked("What?"), [A], [C], "a dog sits", "cat")],
    "text alone": [TEXT_ONLY],
    "an image in one prompt of a row": [
        row(asked("What?"), [A], [], "a dog sits", "cat"),
        row(asked("Why?"), [], [B], "yes", "no"),
    ],
    "an image in several rows": [
        row(asked("What?"), [A], [C], "a dog", "cat"),
        row(asked("Where is it?"), [A], [C], "yes", "no"),
        row([TWO], [A, WIDE], [B, C], "so", "it is"),
        row([TWO, *said("Yes."), *asked("Why?")], [A, WIDE], [B, C], "so", "it is"),
        row(asked("Why?"), [TALL], [A], "yes", "no"),
        row(asked("Which?"), [TALL], [A], "yes", "no"),
    ],
}


def gradients(model, logps):
    """By weight, the gradient of a sum in which every number has a factor of its own."""
    flat = torch.cat([each.flatten() for each in logps])
    total = (flat * torch.linspace(-1, 2, len(flat))).sum()
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(total, weights, allow_unused=True)
    return dict(zip(names, found, strict=True))


def assert_alike(found, wanted):
    assert sum(each is not None for each in wanted.values()) > 20
    for name, other in wanted.items():
        mine = found[name]
        assert (mine is None) == (other is None), name
        if mine is not None:
            assert (mine - other).norm() <= 1e-3 * other.norm() + 1e-4, name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", QWEN)
def test_every_layout_of_images_gives_the_numbers_and_gradients_of_plain_passes(family, case):
    model, processor = tiny_models.build(family)
    rows = CASES[case]
    shared, _ = scored(model, processor, rows, "shared")
    expected = {
        view: torch.zeros_like(shared.logps[view]) + torch.nn.utils.rnn.pad_sequence(
            [direct(model, processor, each, view) for each in rows], batch_first=True
        )
        for view in VIEWS
    }  # fmt: skip
    for view in VIEWS:
        assert torch.allclose(shared.logps[view], expected[view], atol=1e-4)
    assert_alike(
        gradients(model, shared.logps.values()),
        gradients(model, [expected[view] for view in shared.logps]),
    )


@pytest.mark.parametrize("family", [family for family in SHARING if family not in QWEN])
def test_an_image_that_several_rows_ask_about_is_read_once_and_seen_by_each(family):
    model, processor = tiny_models.build(family)
    rows = CASES["an image in several rows"]
    with torch.no_grad():
        found, batch = scored(model, processor, rows, "shared", PAIR)
        assert forward.features_repeat(model, batch.shared)
        assert len(batch.shared.inputs) == 3
        for view in PAIR:
            for number, each in enumerate(rows):
                expected = direct(model, processor, each, view)
                assert torch.allclose(
                    found.logps[view][number, : len(expected)], expected, atol=1e-4
                )


# --- videos: prompts made by hand, since processors of videos need torchvision -------------------


@dataclass(frozen=True)
class Medium:
    """Patches of a video (of `frames` pairs of frames) or, without, of an image."""

    seed: int
    frames: int = 0
    height: int = 4
    width: int = 4
    seconds: float = 1.0

    @property
    def grid(self):
        return [max(1, self.frames), self.height, self.width]

    @property
    def kind(self):
        return "video" if self.frames else "image"

    def patches(self, patch):
        made = torch.Generator().manual_seed(self.seed)
        count = max(1, self.frames) * self.height * self.width
        return torch.randn(count, 3 * 2 * patch * patch, generator=made)

    def text(self, family):
        """Its place in a prompt. Qwen3-VL says the time before each pair of frames."""
        pads = f"<|{self.kind}_pad|>" * (self.height * self.width // 4)
        if self.frames and family == "qwen3_vl":
            return "".join(
                f"<{number * self.seconds:.1f} seconds><|vision_start|>{pads}<|vision_end|>"
                for number in range(self.frames)
            )
        return f"<|vision_start|>{pads * max(1, self.frames)}<|vision_end|>"


FILM, SLOW = Medium(1, frames=3), Medium(1, frames=3, seconds=2.0)
OTHER, STILL = Medium(2, frames=2, height=2, width=6), Medium(3, height=6, width=2)
VIDEO_ROWS = [
    ([FILM, "What happens?"], "a dog runs", "cat"),
    ([STILL, "Is it in ", OTHER, "?"], "yes", "no, not at all"),
    ([FILM, "And then?"], "it stops", "it sleeps"),
    (["Name a fruit."], "an apple", "a shoe"),
    ([FILM, OTHER, "Alike?"], "no", "yes"),
    ([SLOW, "What happens?"], "a dog walks", "cat"),
    ([STILL, "What?"], "a cup", "a hat"),
]


def prompt_of(family, processor, parts):
    tokens = processor.tokenizer
    text = "".join(each if isinstance(each, str) else each.text(family) for each in parts)
    text = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokens(text, add_special_tokens=False)["input_ids"]
    pads = [tokens.convert_tokens_to_ids(f"<|{kind}_pad|>") for kind in ("image", "video")]
    vision = {}
    media = [each for each in parts if not isinstance(each, str)]
    for kind, values in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        these = [each for each in media if each.kind == kind]
        if these:
            patch = 16 if family == "qwen3_vl" else 14
            vision[values] = torch.cat([each.patches(patch) for each in these])
            vision[f"{kind}_grid_thw"] = torch.tensor([each.grid for each in these])
            if kind == "video" and family == "qwen2_5_vl":
                vision["second_per_grid_ts"] = torch.tensor([each.seconds for each in these])
    return Prompt(
        ids, {"mm_token_type_ids": [pads.index(i) + 1 if i in pads else 0 for i in ids]}, vision,
        tuple(str(each) for each in media), text, "", (),
    )  # fmt: skip


def video_batch(family, processor, rows=VIDEO_ROWS):
    scorer = Scorer(Encoder(processor), PAIR)
    prompts = [prompt_of(family, processor, parts) for parts, *_ in rows]
    answers = {
        view: [
            Answer(said[place], processor.tokenizer(said[place] + "<|im_end|>")["input_ids"], [])
            for _, *said in rows
        ]
        for place, view in enumerate(PAIR)
    }
    keys = {view: [f"{view} {number}" for number in range(len(rows))] for view in PAIR}
    both = dict.fromkeys(PAIR, prompts)
    return scorer, view_batch(scorer.views, both, answers, keys, range(len(rows)))


def forward_pass(model, prompt, ids):
    """(T,) log-probabilities of an answer by the model's own forward."""
    columns = {
        name: torch.tensor([[*values, *[0] * len(ids)]]) for name, values in prompt.columns.items()
    }
    whole = torch.tensor([[*prompt.ids, *ids]])
    logits = model(
        input_ids=whole, attention_mask=torch.ones_like(whole), **columns, **prompt.vision
    ).logits[0, len(prompt.ids) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


@pytest.mark.parametrize("name", ["plain", "shared"])
@pytest.mark.parametrize("family", QWEN)
def test_videos_beside_images_and_text_are_scored_as_by_the_model_itself(family, name):
    model, processor = tiny_models.build(family)
    scorer, batch = video_batch(family, processor)
    scores = scorer._score(model, batch, name, {}, (), None)
    expected = {
        view: torch.nn.utils.rnn.pad_sequence(
            [
                forward_pass(model, prompt, answer.ids)
                for prompt, answer in zip(batch.prompts[view], batch.answers[view], strict=True)
            ],
            batch_first=True,
        )
        for view in PAIR
    }
    for view in PAIR:
        assert torch.allclose(scores.logps[view], expected[view], atol=1e-4)
    wanted = gradients(model, [expected[view] for view in scores.logps])
    assert_alike(gradients(model, scores.logps.values()), wanted)


@pytest.mark.parametrize("family", QWEN)
def test_a_video_that_several_rows_show_goes_through_the_vision_tower_once(family):
    model, processor = tiny_models.build(family)
    scorer, batch = video_batch(family, processor)
    patches = []
    handle = model.model.visual.register_forward_pre_hook(
        lambda _, given: patches.append(len(given[0]))
    )
    with torch.no_grad():
        scorer._score(model, batch, "shared", {}, (), None)
    handle.remove()
    film, other, still = 3 * 4 * 4, 2 * 2 * 6, 6 * 2
    # In all: FILM of two rows, SLOW, [FILM, OTHER] and [STILL, OTHER]; STILL alone.
    assert sorted(patches) == sorted([2 * still, film + film + film + other + other])


def test_seconds_between_frames_move_what_follows_a_video_of_qwen2_5_vl():
    model, processor = tiny_models.build("qwen2_5_vl")
    scorer = Scorer(Encoder(processor), PAIR)
    fast, slow = (
        scorer._rope_positions(
            model.model, prompt_of("qwen2_5_vl", processor, [each, "What?"])
        )
        for each in (FILM, SLOW)
    )  # fmt: skip
    assert not torch.equal(fast, slow)
    assert torch.equal(fast[1:], slow[1:])  # height and width stay


# --- what was not checked ------------------------------------------------------------------------


def test_a_kind_of_prompt_that_comes_later_is_checked_then_and_given_up_once(monkeypatch, caplog):
    model, processor = tiny_models.build("qwen2_5_vl")
    scorer, first = video_batch("qwen2_5_vl", processor, VIDEO_ROWS[3:4] + VIDEO_ROWS[6:])
    compared = []
    real = scorer.compare
    monkeypatch.setattr(
        scorer, "compare", lambda m, b: compared.append(len(b)) or real(m, b)
    )  # fmt: skip
    assert scorer.layout(model, first) == forward.Layout("shared")
    assert scorer.layout(model, first) == forward.Layout("shared")
    assert compared == [2]

    def wrong(self, core, prompt):
        return torch.arange(len(prompt.ids)).expand(3, -1)

    _, later = video_batch("qwen2_5_vl", processor, VIDEO_ROWS[:2])
    monkeypatch.setattr(Scorer, "_rope_positions", wrong)
    scorer._rope.clear()
    with caplog.at_level(logging.WARNING), torch.no_grad():
        scores = scorer.score(model, later)
        scorer.score(model, later)
    assert compared == [2, 2]
    (told,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "log-probabilities differ" in told
    expected = forward_pass(model, later.prompts["chosen"][0], later.answers["chosen"][0].ids)
    assert torch.allclose(scores.logps["chosen"][0, : len(expected)], expected, atol=1e-4)


def test_features_that_do_not_fit_the_tokens_are_given_up(monkeypatch):
    model, processor = tiny_models.build("llava")
    real = model.model.get_image_features

    def one_more(*given, **named):
        output = real(*given, **named)
        output.pooler_output = [torch.cat([each, each[:1]]) for each in output.pooler_output]
        return output

    monkeypatch.setattr(model.model, "get_image_features", one_more)
    scorer = Scorer(Encoder(processor), PAIR)
    batch = scorer.collate(CASES["an image in several rows"][:2])
    reason = scorer._choose(model, batch).reason
    assert "LlavaForConditionalGeneration cannot: " in reason
