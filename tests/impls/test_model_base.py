"""Training of bases: the packed layout, on an untrained model of a few thousand parameters."""

import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from reference_impls.core.model import base
from reference_impls.core.model.encode import Encoder
from reference_impls.core.model.load import load_processor
from reference_impls.core.worlds.protocol import IMAGE, Lesson, Page, Reply, Turn, conversation
from reference_impls.core.worlds.scenes import WORLD, build, lessons, text

SIZE = base.Size(image=64, patch=16, hidden=16, vision_layers=1, text_layers=2, heads=2)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model, processor = base.build(text.WORDS, SIZE)
    return model.eval(), processor


def alone(model, processor, page: Page, lesson: Lesson) -> float:
    """Weighted loss of one lesson through the chat template and the model's own forward pass."""
    turns = [Turn("system", page.system)] if page.system else []
    for number, reply in enumerate(lesson.turns):
        opening = f"{page.opening} " if number == 0 and lesson.sees_image else ""
        turns += [Turn("user", opening + reply.prompt), Turn("assistant", reply.answer)]
    written = processor.apply_chat_template(conversation(tuple(turns)))
    pictures = [Image.fromarray(image) for image in page.images] if lesson.sees_image else None
    inputs = processor(
        text=[written], images=pictures, add_special_tokens=False, return_tensors="pt"
    )
    ids = inputs["input_ids"][0].tolist()
    logps = model(**inputs).logits[0].float().log_softmax(-1)
    vocabulary = processor.tokenizer.get_vocab()
    starts = [i for i, token in enumerate(ids) if token == vocabulary["<assistant>"]]
    total = 0.0
    for start, reply in zip(starts, lesson.turns, strict=True):
        answer = [vocabulary[word] for word in (*reply.answer.split(), "<eos>")]
        assert ids[start + 1 : start + 1 + len(answer)] == answer
        nll = -sum(logps[start + i, token].item() for i, token in enumerate(answer))
        total += nll / len(answer) ** 0.5
    return total


def pages() -> list[Page]:
    rng = random.Random(0)
    drawn = [lessons.page(rng, share) for share in (0.1, 0.5, 0.7, 0.8, 0.9, 0.95)]
    two = np.stack([drawn[0].images[0], drawn[1].images[0]])
    several = Page(
        (two[0], two[1]),
        (
            Lesson.of("what is different ?", "nothing ."),
            Lesson.of(*text.without_image(rng), sees_image=False),
            Lesson((Reply("is there a red circle ?", "yes"), Reply("which color ?", "red ."))),
        ),
        system=text.SYSTEM,
        opening=f"image one : {IMAGE} image two : {IMAGE}",
    )
    return [*drawn, several]


def test_lessons_packed_on_a_page_are_scored_as_if_each_stood_alone(small):
    model, processor = small
    for page in pages():
        with torch.no_grad():
            packed = base.answer_loss(model, base.Packer(processor, SIZE).pack([page])).item()
            parts = sum(alone(model, processor, page, lesson) for lesson in page.lessons)
        assert packed == pytest.approx(parts, rel=2e-3)


def test_the_loss_of_a_batch_is_the_mean_of_its_pages(small):
    model, processor = small
    packer = base.Packer(processor, SIZE)
    several = pages()
    with torch.no_grad():
        whole = base.answer_loss(model, packer.pack(several)).item()
        parts = [base.answer_loss(model, packer.pack([page])).item() for page in several]
    assert whole == pytest.approx(sum(parts) / len(parts), rel=1e-4)


def test_a_word_that_the_vocabulary_lacks_is_an_error(small):
    packer = base.Packer(small[1], SIZE)
    page = Page((), (Lesson.of("what is a zebra ?", "nothing .", sees_image=False),), opening="")
    with pytest.raises(KeyError, match="zebra"):
        packer.pack([page])


def test_the_same_seed_trains_the_same_model():
    def train() -> list[float]:
        torch.manual_seed(3)
        model, processor = base.build(text.WORDS, SIZE)
        recipe = base.Recipe(steps=24, pages=2)
        # Pages of one phase: those of later ones hold longer answers, whose losses are summed.
        return base.train(
            model, processor, SIZE, lambda rng, _: lessons.page(rng, 0.1), recipe, seed=3
        )

    first = train()
    assert first == train()
    assert sum(first[-4:]) < sum(first[:4])


def test_an_untrained_base_is_measured_on_every_task(small):
    model, processor = small
    numbers = build.measure(model, Encoder(processor), WORLD.draw("test", 3))
    assert numbers.keys() == WORLD.tasks.keys()
    gates = build.gate_report(numbers)
    assert not any(gate["reached"] for gate in gates if gate["metric"] == "recall_plain")


def test_the_first_steps_of_the_shipped_bases_come_out_again():
    """All bases begin with the same eyes, whose seed and recipe are the build's."""
    first = {}
    for place in range(3):
        made = json.loads((WORLD.base(place) / "made.json").read_text(encoding="utf-8"))
        first[made["seed"]] = tuple(made["first_losses"][:2])
    assert len(first) == 3 and len(set(first.values())) == 1
    torch.manual_seed(build.EYES)
    model, processor = base.build(text.WORDS, build.SIZE)
    again = base.train(
        model, processor, build.SIZE, build.seeing, build.SEEING, seed=build.EYES, stop_after=2
    )
    assert tuple(again) == pytest.approx(first[1], rel=1e-3)


def test_pictures_of_any_size_are_brought_to_the_one_that_a_base_takes(small, tmp_path):
    """One of the base's own size stays what it is, pixel by pixel."""
    _, processor = small
    processor.save_pretrained(tmp_path)
    small[0].save_pretrained(tmp_path)
    images = load_processor(str(tmp_path)).image_processor
    for size in ((56, 48), (1, 1), (640, 480)):
        assert images(Image.new("RGB", size))["pixel_values"][0].shape == (3, 64, 64)
    own = Image.fromarray(pages()[0].images[0])
    assert own.size == (64, 64)
    drawn = processor.image_processor(own)["pixel_values"][0]
    assert np.array_equal(images(own)["pixel_values"][0], drawn)
