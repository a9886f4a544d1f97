"""Attention of answers on images: hand-made cases on small models, and the shares read off them."""

import random

import pytest
import torch
from PIL import Image

from reference_impls.core.data.attention import Look, image_places, looks
from reference_impls.core.data.images import noised
from reference_impls.core.data.rules import word_edits
from reference_impls.core.model import base
from reference_impls.core.model.policy import Policy
from reference_impls.core.worlds.multi_image.scene import text
from tests.impls import tiny_models

SIZE = base.Size(image=32, patch=8, hidden=16, vision_layers=1, text_layers=4, heads=2)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return Policy(*base.build(text.WORDS, SIZE))


def image(seed):
    pixels = torch.randint(0, 255, (32, 32, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.to(torch.uint8).numpy())


def asked(count, words="describe image two ."):
    parts = [{"type": "image"}] * count
    return [{"role": "user", "content": [*parts, {"type": "text", "text": words}]}]


PROMPTS = [asked(2), asked(1, "describe the image ."), asked(3)]
IMAGES = [[image(0), image(1)], [image(2)], [image(3), image(4), image(5)]]
ANSWERS = ["a red circle .", "a blue square , a red circle .", "a white cross ."]


def test_a_model_without_preference_looks_at_every_place_alike(policy):
    """With queries of zero a token at place p attends 1 / (p + 1) to itself and all before it; the
    mean over an answer's tokens, its ending left out, can be worked by hand."""
    for layer in policy.model.get_decoder().layers:
        saved = layer.self_attn.q_proj.weight.detach().clone()
        layer.self_attn.q_proj.weight.data.zero_()
        layer.saved = saved
    try:
        found = looks(policy, PROMPTS, IMAGES, ANSWERS)
    finally:
        for layer in policy.model.get_decoder().layers:
            layer.self_attn.q_proj.weight.data.copy_(layer.saved)
            del layer.saved
    for prompt, images, answer, look in zip(PROMPTS, IMAGES, ANSWERS, found, strict=True):
        # <user>, 16 tokens per image, the words, <assistant>; then the answer's words.
        words = prompt[0]["content"][-1]["text"].split()
        first = 1 + 16 * len(images) + len(words) + 1
        places = range(first, first + len(answer.split()))
        mean = sum(1 / (place + 1) for place in places) / len(places)
        assert [len(each) for each in look.maps] == [16] * len(images)
        for each in look.maps:
            assert each.tolist() == pytest.approx([mean] * 16, rel=1e-5)
        assert look.share_of_image(0) == pytest.approx(1 / len(images))
        assert look.share_of_box((0.25, 0.25, 0.75, 0.75)) == pytest.approx(1 / 4)
        assert look.share_of_box((0.5, 0.0, 1.0, 1.0)) == pytest.approx(1 / 2)


@pytest.mark.parametrize(("depth", "layer"), [(0.0, 0), (0.5, 2), (0.99, 3), (1.0, 3)])
def test_the_layer_that_depth_names_is_read_whatever_else_is_in_the_batch(policy, depth, layer):
    found = looks(policy, PROMPTS, IMAGES, ANSWERS, depth)
    decoder = policy.model.get_decoder()
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    for prompt, images, answer, look in zip(PROMPTS, IMAGES, ANSWERS, found, strict=True):
        encoded = policy.encoder.prompt(prompt, images)
        said = policy.encoder.answer(prompt, images, answer)
        inputs = policy.encoder.for_sampling([encoded.followed_by(said.ids)])
        with torch.no_grad():
            output = policy.model(**inputs, output_attentions=True)
        first = len(encoded.ids)
        queries = output.attentions[layer][0].mean(0)[first : first + len(answer.split())]
        for places, each in zip(image_places(policy.encoder, encoded), look.maps, strict=True):
            assert torch.allclose(queries.mean(0)[places], each, atol=1e-6)
        logps = output.logits[0].log_softmax(-1)
        wanted = [logps[first - 1 + n, token].item() for n, token in enumerate(said.ids)]
        assert look.logps.tolist() == pytest.approx(wanted, abs=1e-4)
    decoder.set_attn_implementation(before)


def test_a_reading_leaves_the_model_as_it_was(policy):
    decoder = policy.model.get_decoder()
    before = decoder.config._attn_implementation
    hooks = [dict(layer.self_attn._forward_hooks) for layer in decoder.layers]
    policy.model.train()
    looks(policy, PROMPTS[:1], IMAGES[:1], ANSWERS[:1])
    assert decoder.config._attn_implementation == before
    assert policy.model.training
    assert [dict(layer.self_attn._forward_hooks) for layer in decoder.layers] == hooks


def test_an_answer_without_a_word_looks_at_nothing(policy):
    (look,) = looks(policy, PROMPTS[:1], IMAGES[:1], [""])
    assert all(each.sum() == 0 for each in look.maps)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "internvl"])
def test_real_classes_are_read_too(family):
    model, processor = tiny_models.build(family)
    policy = Policy(model, processor)
    pictures = [Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")]
    (look,) = looks(policy, [asked(2)], [pictures], ["a red circle ."])
    assert len(look.maps) == 2
    assert 0 < sum(each.sum().item() for each in look.maps) < 1
    assert 0 < look.share_of_image(1) < 1


# --- shares by hand ----------------------------------------------------------------------------


def test_shares_are_of_means_over_images_and_of_sums_over_a_box():
    look = Look((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 5.0])), torch.zeros(1))
    # Means 2 and 2: an image of more tokens has no advantage.
    assert look.share_of_image(0) == look.share_of_image(1) == 0.5
    assert look.share_of_box((0.5, 0.5, 1.0, 1.0), 1) == pytest.approx(5 / 8)
    assert look.share_of_box((0.0, 0.0, 0.5, 1.0), 0, columns=2) == pytest.approx(1 / 4)


def test_tokens_that_form_no_rows_are_refused():
    look = Look((torch.ones(6),), torch.zeros(1))
    with pytest.raises(ValueError, match="6 tokens of an image do not fill rows of 2"):
        look.share_of_box((0.0, 0.0, 0.5, 0.5))
    assert look.share_of_box((0.0, 0.0, 0.5, 1.0), columns=2) == pytest.approx(0.5)


def test_perplexity_is_of_the_mean_log_probability():
    assert Look((), torch.tensor([-0.5, -1.5])).perplexity == pytest.approx(2.718281828, rel=1e-6)


def test_noise_stays_in_its_box_and_in_range():
    grey = Image.new("RGB", (8, 8), (120, 120, 120))
    found = torch.tensor(list(noised(grey, random.Random(0), 40.0, (0.5, 0.0, 1.0, 0.5)).getdata()))
    found = found.reshape(8, 8, 3)
    outside = found.clone()
    outside[:4, 4:] = 120
    assert (outside == 120).all()
    inside = found[:4, 4:].double()
    assert 25 < inside.std() < 55 and inside.min() >= 0 and inside.max() <= 255


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [("a b c", "a b c", 0), ("a b c", "a c", 1), ("a b", "b a", 2), ("", "a b", 2),
     ("kitten sits", "kitten sat down", 2)],
)  # fmt: skip
def test_edits_are_counted_in_words(one, other, edits):
    assert word_edits(one, other) == word_edits(other, one) == edits
