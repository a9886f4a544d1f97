"""Log-probabilities of views, in both layouts, against a plain pass over each conversation."""

from __future__ import annotations

import copy
import logging
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from reference_impls.core.method import ContractError, View
from reference_impls.core.model.encode import Encoder, EncodingError
from reference_impls.core.train import forward, layout
from reference_impls.core.train.forward import Scorer
from reference_impls.core.train.reference import StoredReferenceError
from tests.impls import tiny_models

FAMILIES = sorted(tiny_models.FAMILIES)
SHARING = [family for family in FAMILIES if family != "gemma3"]
"""Gemma 3 lets image tokens see each other and has sliding windows: it is scored plainly."""


def picture(seed: int, width: int = 40, height: int = 24) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


A, B, C = picture(0), picture(1, 30, 30), picture(2, 24, 40)


def said(text: str) -> list[dict]:
    return [{"role": "assistant", "content": text}]


def asked(text: str, *more: dict) -> list[dict]:
    return [*more, {"role": "user", "content": text}]


BETWEEN = {
    "role": "user",
    "content": [
        {"type": "text", "text": "Is "},
        {"type": "image"},
        {"type": "text", "text": " like "},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ],
}
SYSTEM = {"role": "system", "content": "Be brief."}


def row(prompt, images, negative_images, chosen, rejected, target="It is."):
    return {
        "prompt": prompt,
        "images": images,
        "negative_images": negative_images,
        "chosen": said(chosen),
        "rejected": said(rejected),
        "target": target,
    }


ROWS = [
    row([SYSTEM, BETWEEN], [A, B], [B, C], "a red dog", "two cats sit here"),
    row(asked("What?"), [A], [C], "no, none at all", "good"),
    row([BETWEEN, *said("Yes."), *asked("Why?")], [B, C], [C, A], "so", "it is green"),
]
TEXT_ONLY = row(asked("Name a fruit.", SYSTEM), [], [], "an apple", "a shoe")
VIEWS = ("chosen", "rejected", "chosen_corrupt", "rejected_corrupt", "target")
COLUMNS = {
    "chosen": ("images", "chosen"),
    "rejected": ("images", "rejected"),
    "chosen_corrupt": ("negative_images", "chosen"),
    "rejected_corrupt": ("negative_images", "rejected"),
    "target": ("images", "target"),
}


def direct(model, processor, row, view):
    """(T,) log-probabilities of a view's answer."""
    distributions, ids = spoken(model, processor, row, view)
    return distributions[torch.arange(len(ids)), ids]


def spoken(model, processor, row, view):
    """(T, V) log-probabilities at a view's answer, and its ids: the text of the whole conversation
    through the processor and the model, and nothing of the code under test."""
    images, response = COLUMNS[view]
    answer = row[response] if isinstance(row[response], list) else said(row[response])
    turns = []
    for message in [*row["prompt"], *answer]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        turns.append({"role": message["role"], "content": content})
    if row[images] and not any(p["type"] == "image" for t in turns for p in t["content"]):
        turns[0]["content"] = [{"type": "image"}] * len(row[images]) + turns[0]["content"]

    def encoded(messages, generation):
        text = processor.apply_chat_template(
            messages, add_generation_prompt=generation, tokenize=False
        )
        text = text if generation else tiny_models.as_sampled(text)
        return processor(
            text=[text], images=[row[images]] if row[images] else None, add_special_tokens=False,
            return_tensors="pt",
        )  # fmt: skip

    start = encoded(turns[:-1], True)["input_ids"].shape[1]
    inputs = encoded(turns, False)
    logits = model(**inputs).logits[0, start - 1 : -1]
    return logits.log_softmax(-1), inputs["input_ids"][0, start:]


def scored(model, processor, rows, name, views=VIEWS, **options):
    scorer = Scorer(Encoder(processor), views)
    batch = scorer.collate(rows)
    empty = {"pixels": {}, "distributions": (), "kl_from": None} | options
    return scorer._score(model, batch, name, **empty), batch


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, "plain") for family in FAMILIES] + [(family, "shared") for family in SHARING],
)
def test_every_view_is_scored_as_a_plain_pass_over_its_conversation(family, name):
    model, processor = tiny_models.build(family)
    rows = ROWS if family == "gemma3" else [*ROWS, TEXT_ONLY]
    with torch.no_grad():
        scores, batch = scored(model, processor, rows, name)
        for view in VIEWS:
            for number, each in enumerate(rows):
                expected = direct(model, processor, each, view)
                count = len(expected)
                assert batch.masks[view][number].sum() == count
                assert torch.allclose(scores.logps[view][number, :count], expected, atol=1e-4)
                assert not scores.logps[view][number, count:].any()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "idefics3"])
@pytest.mark.parametrize("name", ["plain", "shared"])
def test_gradients_of_both_layouts_are_those_of_plain_passes(family, name):
    model, processor = tiny_models.build(family)
    model = copy.deepcopy(model)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    expected = sum(
        (number + 1) * (place - 2.5) * direct(model, processor, each, view).sum()
        for number, each in enumerate(ROWS)
        for place, view in enumerate(VIEWS)
    )
    wanted = torch.autograd.grad(expected, weights, allow_unused=True)
    scores, _ = scored(model, processor, ROWS, name)
    total = sum(
        (number + 1) * (place - 2.5) * scores.logps[view][number].sum()
        for number in range(len(ROWS))
        for place, view in enumerate(VIEWS)
    )
    found = torch.autograd.grad(total, weights, allow_unused=True)
    assert sum(each is not None for each in wanted) > 20
    for mine, other in zip(found, wanted, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert (mine - other).norm() <= 1e-3 * other.norm() + 1e-4


def test_the_views_of_these_rows_differ_so_that_a_mixed_up_one_shows():
    model, processor = tiny_models.build("llava")
    for each in ROWS:
        sums = {round(direct(model, processor, each, view).sum().item(), 2) for view in VIEWS}
        assert len(sums) == len(VIEWS)


# --- what is shared ------------------------------------------------------------------------------


def sequences(rows, views=VIEWS, family="llava"):
    return Scorer(Encoder(tiny_models.build(family)[1]), views).collate(rows).shared


def test_views_with_the_same_images_and_prompt_share_a_sequence_and_others_do_not():
    mdpo = sequences(ROWS[:1], ("chosen", "rejected", "chosen_corrupt"))
    assert len(mdpo.ids) == 2
    assert mdpo.blocks[0].max() == 2
    assert mdpo.blocks[1].max() == 1
    other = ROWS[0] | {"other_prompt": [*ROWS[0]["prompt"][:-1], BETWEEN]}
    same_text = View("again", prompt="other_prompt", response="rejected")
    assert len(sequences([other], ("chosen", same_text)).ids) == 1
    # By content: equal pixels in another object are the same image.
    copied = ROWS[1] | {"negative_images": [A.copy()]}
    assert len(sequences([copied], ("chosen", "chosen_corrupt")).ids) == 1


def test_answers_of_several_rows_to_one_prompt_share_it_up_to_twice_its_length():
    prompt = asked("What is it that you can see in this picture, if anything?")
    rows = [ROWS[1] | {"prompt": prompt, "chosen": said(f"dog {n}")} for n in range(8)]
    shared = sequences(rows, ("chosen",))
    assert 1 <= len(shared.ids) < 8
    model, processor = tiny_models.build("llava")
    scores, _ = scored(model, processor, rows, "shared", ("chosen",))
    for number, each in enumerate(rows):
        expected = direct(model, processor, each, "chosen")
        assert torch.allclose(scores.logps["chosen"][number], expected, atol=1e-4)


@pytest.mark.parametrize("family", ["llava", "llava_next", "qwen2_5_vl", "idefics3", "internvl"])
def test_each_distinct_image_goes_through_the_vision_tower_once(family):
    model, processor = tiny_models.build(family)
    auxiliary = ROWS[1] | {"other": asked("Where?")}
    views = ("chosen", "rejected", "chosen_corrupt", View("aux", prompt="other"))
    seen = []
    real = model.model.get_image_features

    def watched(pixel_values=None, *given, **named):
        seen.append(pixel_values.shape)
        return real(pixel_values, *given, **named)

    model.model.get_image_features = watched
    try:
        with torch.no_grad():
            scored(model, processor, [auxiliary], "shared", views)
            scored(model, processor, [auxiliary], "plain", views)
    finally:
        del model.model.get_image_features
    shared, plain = seen
    assert plain[0] == 2 * shared[0]  # four sequences, two images


def test_a_sequence_of_padding_is_finite_and_takes_no_part():
    model, processor = tiny_models.build("llava")
    long = ROWS[1] | {"prompt": asked("What? " * 40)}
    with torch.no_grad():
        together, _ = scored(model, processor, [ROWS[1], long], "shared")
        alone, _ = scored(model, processor, [ROWS[1]], "shared")
    for view in VIEWS:
        width = alone.logps[view].shape[1]
        assert torch.allclose(together.logps[view][:1, :width], alone.logps[view], atol=1e-5)


# --- negative controls ---------------------------------------------------------------------------


def rejected_sees_chosen(blocks):
    length = blocks.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return causal.expand(len(blocks), 1, length, length)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (forward, "visible", rejected_sees_chosen),
        (layout, "restarted", lambda start, length, column: torch.arange(column, column + length)),
    ],
)
def test_a_wrong_mask_or_wrong_positions_are_found_and_given_up(
    family, module, name, broken, monkeypatch, caplog
):
    model, processor = tiny_models.build(family)
    monkeypatch.setattr(module, name, broken)
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)
    shared = scorer._score(model, batch, "shared", {}, (), None)
    wrong = direct(model, processor, ROWS[0], "rejected")
    assert (shared.logps["rejected"][0, : len(wrong)] - wrong).abs().max() > 0.01
    with caplog.at_level(logging.WARNING):
        chosen = scorer.layout(model, batch)
        scorer.layout(model, batch)
    assert chosen.name == "plain"
    assert "log-probabilities differ by up to" in chosen.reason
    assert len(caplog.records) == 1
    assert "\n" not in caplog.text.strip()
    scores = scorer.score(model, batch)
    assert torch.allclose(scores.logps["rejected"][0, : len(wrong)], wrong, atol=1e-4)


def test_a_gradient_that_differs_is_found_where_log_probabilities_agree(monkeypatch):
    model, processor = tiny_models.build("llava")
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)
    assert scorer.compare(model, batch) == ""
    real = scorer._score

    def cut(model, batch, name, *rest):
        scores = real(model, batch, name, *rest)
        if name == "shared":
            scores.logps["rejected"] = scores.logps["rejected"].detach()
        return scores

    monkeypatch.setattr(scorer, "_score", cut)
    assert "gradient differs" in scorer.compare(model, batch)


@pytest.mark.parametrize("family", SHARING)
def test_the_check_finds_both_layouts_alike(family):
    model, processor = tiny_models.build(family)
    scorer = Scorer(Encoder(processor), VIEWS)
    assert scorer.layout(model, scorer.collate(ROWS)) == forward.Layout("shared")
    assert all(weight.grad is None for weight in model.parameters())


def test_reasons_not_to_share_are_said(monkeypatch):
    model, processor = tiny_models.build("gemma3")
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    assert "sliding_attention" in scorer.layout(model, scorer.collate(ROWS)).reason
    model, processor = copy.deepcopy(tiny_models.build("llava")[0]), tiny_models.build("llava")[1]
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)
    assert forward.unshareable(model, batch) == ""
    model.config.text_config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in forward.unshareable(model, batch)
    model.config.text_config._attn_implementation = "sdpa"
    model.train()
    model.model.language_model.layers[0].self_attn.attention_dropout = 0.1
    assert "dropout" in forward.unshareable(model, batch)
    assert scorer.layout(model, batch).name == "plain"
    # Decided anew where dropout does not act.
    assert scorer.layout(model.eval(), batch).name == "shared"


def test_a_model_that_cannot_take_the_mask_is_scored_plainly(monkeypatch):
    model, processor = tiny_models.build("llava")
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)

    def refuse(inner, blocks):
        raise RuntimeError("no such mask\nat all")

    monkeypatch.setattr(forward, "block_mask", refuse)
    chosen = scorer.layout(model, batch)
    assert chosen.name == "plain"
    assert "no such mask" in chosen.reason
    assert "\n" not in chosen.reason


# --- how it is called ----------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gradient_checkpointing_and_a_small_chunk_change_nothing(attention, monkeypatch):
    model, processor = tiny_models.build("llava")
    model = copy.deepcopy(model).train()
    scores, _ = scored(model, processor, ROWS, "shared")
    expected = torch.cat([each.flatten() for each in scores.logps.values()])
    weight = model.model.language_model.layers[0].self_attn.q_proj.weight
    (wanted,) = torch.autograd.grad(expected.square().sum(), weight)
    monkeypatch.setattr(forward, "CHUNK", 7 * model.config.text_config.vocab_size)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.set_attn_implementation(attention)
    scores, _ = scored(model, processor, ROWS, "shared")
    found = torch.cat([each.flatten() for each in scores.logps.values()])
    (gradient,) = torch.autograd.grad(found.square().sum(), weight)
    assert torch.allclose(found, expected, atol=1e-4)
    assert (gradient - wanted).norm() < 1e-3 * wanted.norm()


def test_autocast_gives_nearly_the_same_and_passes_the_check():
    model, processor = tiny_models.build("llava")
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)
    exact = scorer.score(model, batch).logps["chosen"]
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scorer.layout(model, batch).name == "shared"
        rough = scorer.score(model, batch).logps["chosen"]
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.5
    assert not torch.equal(rough, exact)


def test_autocast_around_the_models_forward_alone_is_seen_by_the_check():
    """Accelerate wraps the model's forward, and not what calls it: compared as float32, the
    rounding of 16 bits would be taken for a fault of the shared layout."""
    model, processor = tiny_models.build("llava")
    model = copy.deepcopy(model).train()
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)
    assert not scorer.score(model, batch).exact
    assert scorer.layouts[True] == forward.Layout("shared")


def test_an_adapter_is_scored_and_its_base_is_the_reference():
    from peft import LoraConfig, get_peft_model

    base, processor = tiny_models.build("qwen2_5_vl")
    model = get_peft_model(
        copy.deepcopy(base), LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    batch = scorer.collate(ROWS)
    assert scorer.layout(model, batch) == forward.Layout("shared")
    with torch.no_grad():
        tuned = scorer.score(model, batch).logps["chosen"]
        with model.disable_adapter():
            untuned = scorer.score(model, batch).logps["chosen"]
        plain = scorer.score(base, batch).logps["chosen"]
    assert torch.allclose(untuned, plain, atol=1e-5)
    assert not torch.allclose(tuned, plain, atol=1e-2)


def test_a_model_in_ddp_is_called_through_its_wrapper(tmp_path):
    model, processor = tiny_models.build("llava")
    model = copy.deepcopy(model)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        calls = []
        wrapped.register_forward_hook(lambda *_: calls.append(1))
        scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
        batch = scorer.collate(ROWS)
        assert scorer.layout(wrapped, batch) == forward.Layout("shared")
        calls.clear()
        scores = scorer.score(wrapped, batch)
        assert calls == [1]
        scores.logps["chosen"].sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert model.model.language_model.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0


def test_the_output_layer_is_itself_again_after_a_call():
    model, processor = tiny_models.build("llava")
    scored(model, processor, ROWS, "shared")
    assert "forward" not in vars(model.lm_head)
    assert "get_image_features" not in vars(model.model)
    for layer in model.model.language_model.layers:
        assert layer.self_attn.config is model.config.text_config
        assert "forward" not in vars(layer.mlp)


def test_columns_of_the_prompt_alone_run_apart_and_not_at_all_in_the_last_layer(monkeypatch):
    model, processor = tiny_models.build("qwen2_5_vl")
    shapes = []
    real = forward.sdpa_attention_forward

    def watched(module, query, key, value, mask, **options):
        shapes.append((module.layer_idx, query.shape[2], mask is None))
        return real(module, query, key, value, mask, **options)

    monkeypatch.setattr(forward, "sdpa_attention_forward", watched)
    _, batch = scored(model, processor, ROWS, "shared")
    start = min(len(prompt.ids) for prompt in batch.shared.prompts) - 1
    rest = batch.shared.ids.shape[1] - start
    assert shapes == [(0, rest, False), (0, start, True), (1, rest, False)]


def test_a_batch_can_be_pickled():
    model, processor = tiny_models.build("qwen2_5_vl")
    scorer = Scorer(Encoder(processor), VIEWS)
    batch = scorer.collate(ROWS, [7, 8, 9])
    again = pickle.loads(pickle.dumps(batch))
    first, second = scorer.score(model, batch), scorer.score(model, again)
    assert all(torch.equal(first.logps[view], second.logps[view]) for view in VIEWS)
    assert again.names == ("row 7", "row 8", "row 9")


def test_rows_that_cannot_be_scored_are_named():
    scorer = Scorer(Encoder(tiny_models.build("llava")[1]), ("chosen", "rejected"))
    with pytest.raises(ValueError, match="row 4: the view 'rejected' needs 'rejected'"):
        scorer.collate([{k: v for k, v in ROWS[0].items() if k != "rejected"}], [4])
    with pytest.raises(EncodingError, match="row 5, view 'chosen': the prompt has 2 places"):
        scorer.collate([ROWS[0] | {"images": [A]}], [5])
    with pytest.raises(ValueError, match="row 6, view 'chosen': an answer is one assistant"):
        scorer.collate([ROWS[0] | {"chosen": ROWS[0]["prompt"]}], [6])
    shown = [{"role": "assistant", "content": [{"type": "image"}]}]
    with pytest.raises(ValueError, match="row 7, view 'rejected': an answer is text alone"):
        scorer.collate([ROWS[0] | {"rejected": shown}], [7])


# --- KL, pixels, inputs --------------------------------------------------------------------------


OTHER = View("rejected", response="rejected", scored="likeliest other")


PICKED = (
    View("chosen"),
    View("likeliest", scored="likeliest"),
    View("other", scored="likeliest other"),
    View("elsewhere", scored="likeliest", picked_in="negative"),
    View("negative", images="negative_images"),
)


@pytest.mark.parametrize("name", ["plain", "shared"])
@pytest.mark.parametrize("chunk", [forward.CHUNK, 64])
def test_tokens_are_picked_behind_the_answers_true_beginning(name, chunk, monkeypatch):
    """The likeliest one, the likeliest other than the answer's own, and the one that is likeliest
    under other images; by another model's choice where that is handed in."""
    monkeypatch.setattr(forward, "CHUNK", chunk)
    model, processor = tiny_models.build("llava")
    model = copy.deepcopy(model)
    rows = ROWS
    # All other tokens are alike, so that an answer's own is the likeliest here and there.
    said_at_all = {int(i) for each in rows for i in spoken(model, processor, each, "chosen")[1]}
    head = model.get_output_embeddings().weight.data
    head[[i for i in range(len(head)) if i not in said_at_all]] = 0.0
    scorer = Scorer(Encoder(processor), PICKED)
    batch = scorer.collate(rows)
    every = {view.name for view in PICKED if view.scored != "own"}
    with torch.no_grad():
        scores = scorer._score(model, batch, name, {}, picking=every)
        given = {n: torch.full_like(each, 7) for n, each in scores.picks.items()}
        told = scorer._score(model, batch, name, {}, picks=given)
    met = 0
    for number, each in enumerate(rows):
        true, ids = spoken(model, processor, each, "chosen")
        other, _ = spoken(model, processor, each, "chosen_corrupt")
        places = torch.arange(len(ids))
        rival = true.clone()
        rival[places, ids] = -torch.inf
        met += int((true.argmax(-1) == ids).sum())
        expected = {
            "chosen": true[places, ids], "negative": other[places, ids],
            "likeliest": true.max(-1).values, "other": rival.max(-1).values,
            "elsewhere": true[places, other.argmax(-1)],
        }  # fmt: skip
        for view, values in expected.items():
            assert torch.allclose(scores.logps[view][number, : len(ids)], values, atol=1e-4), view
        for view in every:
            assert torch.allclose(told.logps[view][number, : len(ids)], true[:, 7], atol=1e-4)
    assert met, "no answer has a token that the model finds likeliest"


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ((View("a", scored="likeliest", picked_in="b"),), "no view 'b'"),
        ((View("a", scored="likeliest", picked_in="rejected"), "rejected"), "another answer"),
        ((View("a", picked_by="policy"),), "nothing is picked"),
    ],
)
def test_a_view_that_cannot_be_picked_is_refused(views, message):
    with pytest.raises(ContractError, match=message):
        Scorer(None, views)


def test_a_token_that_is_the_likeliest_itself_gives_way_to_the_second():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], requires_grad=True)
    own, pair = torch.tensor([0, 1, 0]), slice(0, 2)
    head = forward._Head(
        lambda each: each, torch.arange(3), own, None, [forward._Pick(pair, pair, other=True)]
    )
    found = head(logits)[:, 0]
    assert torch.allclose(found, logits.log_softmax(-1)[torch.arange(3), torch.tensor([2, 0, 0])])
    found.sum().backward()
    assert logits.grad[0].argmax() == 2 and logits.grad[1].argmax() == 0


def test_a_stored_reference_keeps_the_answer_and_the_likeliest_other_apart():
    model, processor = tiny_models.build("llava")
    plain = Scorer(Encoder(processor), ("rejected",)).store(model, ROWS, batch_size=2)
    other = Scorer(Encoder(processor), (OTHER,))
    batch = other.collate(ROWS)
    with pytest.raises(StoredReferenceError, match="has not scored this answer"):
        plain.of(batch)
    unseen = Scorer(Encoder(processor), PICKED).collate(ROWS)
    assert unseen.keys["likeliest"] != unseen.keys["elsewhere"]
    kept = other.store(model, ROWS, batch_size=2).of(batch)["rejected"]
    assert torch.allclose(kept, other.score(model, batch).logps["rejected"], atol=2e-5)


@pytest.mark.parametrize("name", ["plain", "shared"])
def test_kl_over_the_vocabulary_is_that_of_two_plain_passes(name):
    model, processor = tiny_models.build("llava")
    other, _ = tiny_models.build("llava", seed=1)
    with torch.no_grad():
        theirs, _ = scored(other, processor, ROWS, name, distributions=("rejected",))
        calls = []
        handle = model.register_forward_hook(lambda *_: calls.append(1))
        ours, _ = scored(model, processor, ROWS, name, kl_from=theirs.distributions)
        handle.remove()
    assert calls == [1]
    assert set(ours.kl) == {"rejected"}
    encoder = Encoder(processor)
    for number, each in enumerate(ROWS):
        prompt = encoder.prompt(each["prompt"], each["images"])
        ids = encoder.answer(each["prompt"], each["images"], each["rejected"][0]["content"]).ids
        given = {"input_ids": torch.tensor([prompt.ids + ids]), **prompt.vision}
        with torch.no_grad():
            log_p, log_q = (
                each(**given).logits[0, len(prompt.ids) - 1 : -1].log_softmax(-1)
                for each in (other, model)
            )
        expected = (log_p.exp() * (log_p - log_q)).sum()
        assert torch.isclose(ours.kl["rejected"][number], expected, rtol=1e-4)
        assert expected > 1


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "idefics3"])
def test_other_pixel_values_take_the_place_of_a_views_own(family):
    model, processor = tiny_models.build(family)
    rows = [ROWS[0], ROWS[2]]
    scorer = Scorer(Encoder(processor), VIEWS)
    batch = scorer.collate(rows)
    inputs = scorer.model_inputs(batch)
    pixels = inputs["chosen_corrupt"]["pixel_values"].clone().requires_grad_()
    same_shape = inputs["chosen"]["pixel_values"].shape == pixels.shape
    plain = scorer.score(model, batch)
    if same_shape:
        swapped = scorer.score(model, batch, pixels={"chosen": pixels})
        expected = plain.logps["chosen_corrupt"]
        assert torch.allclose(swapped.logps["chosen"], expected, atol=1e-4)
        assert torch.allclose(swapped.logps["rejected"], plain.logps["rejected"], atol=1e-4)
        swapped.logps["chosen"].sum().backward()
        assert pixels.grad.abs().sum() > 0
    same = scorer.score(model, batch, pixels={"chosen_corrupt": pixels.detach()})
    for view in VIEWS:
        assert torch.allclose(same.logps[view], plain.logps[view], atol=1e-4)
    with pytest.raises(ValueError, match="along the first axis"):
        scorer.score(model, batch, pixels={"chosen": pixels.detach()[:1]})


def test_inputs_of_a_view_are_what_the_models_own_forward_takes():
    model, processor = tiny_models.build("qwen2_5_vl")
    scorer = Scorer(Encoder(processor), VIEWS)
    batch = scorer.collate(ROWS)
    given = scorer.model_inputs(batch)["rejected_corrupt"]
    with torch.no_grad():
        logits = model(**given).logits.log_softmax(-1)
        for number, each in enumerate(ROWS):
            expected = direct(model, processor, each, "rejected_corrupt")
            end = int(given["attention_mask"][number].sum())
            start = end - len(expected)
            ids = given["input_ids"][number, start:end]
            found = logits[number, start - 1 : end - 1].gather(-1, ids[:, None])[:, 0]
            assert torch.allclose(found, expected, atol=1e-4)


# --- the reference -------------------------------------------------------------------------------


def test_a_stored_reference_is_what_scoring_gives_whatever_the_order(tmp_path):
    model, processor = tiny_models.build("llava")
    scorer = Scorer(Encoder(processor), VIEWS)
    stored = scorer.store(model, ROWS, batch_size=2)
    batch = scorer.collate([ROWS[2], ROWS[0]], [2, 0])
    found = stored.of(batch, ("rejected", "chosen_corrupt"))
    assert set(found) == {"rejected", "chosen_corrupt"}
    for view, values in found.items():
        for number, each in enumerate((ROWS[2], ROWS[0])):
            expected = direct(model, processor, each, view).detach()
            assert torch.allclose(values[number, : len(expected)], expected, atol=1e-4)
    # Another order of the views is another collator: it finds each answer all the same.
    turned = Scorer(Encoder(processor), ("rejected", "chosen"))
    again = stored.of(turned.collate([ROWS[2], ROWS[0]]))
    assert torch.equal(again["rejected"], found["rejected"])


def test_a_stored_reference_of_another_answer_image_or_view_is_refused():
    model, processor = tiny_models.build("llava")
    scorer = Scorer(Encoder(processor), ("chosen", "rejected"))
    stored = scorer.store(model, ROWS, batch_size=3)
    for changed in ({"chosen": said("a blue dog")}, {"images": [C, B]}, {"prompt": [BETWEEN]}):
        batch = scorer.collate([ROWS[0] | changed], [41])
        with pytest.raises(StoredReferenceError, match="row 41, view 'chosen'"):
            stored.of(batch)
    with pytest.raises(StoredReferenceError, match="view 'chosen_corrupt'"):
        stored.of(Scorer(Encoder(processor), ("chosen_corrupt",)).collate(ROWS))
