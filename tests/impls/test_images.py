"""Pictures as a person sees them: what files of all kinds look like when they are opened."""

from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from reference_impls.core.data.images import ImageProblem, look, opened

SIDE = 24
FIGURE, GROUND = (SIDE // 2, SIDE // 2), (1, 1)
"""A pixel inside of the square that `drawn` draws, and one outside of it."""


def drawn(mode: str, figure, ground=0) -> Image.Image:
    image = Image.new(mode, (SIDE, SIDE), ground)
    ImageDraw.Draw(image).rectangle((6, 6, SIDE - 7, SIDE - 7), fill=figure)
    return image


def stored(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def apart(image: Image.Image) -> int:
    """Grey levels between figure and ground."""
    grey = image.convert("L")
    return abs(grey.getpixel(FIGURE) - grey.getpixel(GROUND))


@pytest.mark.parametrize("colour", ["black", "white", "grey", "red", "yellow", "navy", "#c0c0c0"])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "WebP", "RGB with a key"])
def test_a_figure_on_nothing_stays_visible_whatever_its_colour(colour, kind):
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((6, 6, SIDE - 7, SIDE - 7), fill=colour)
    if kind == "LA":
        file = stored(image.convert("LA"))
    elif kind == "palette":
        file = stored(image.quantize(4))
    elif kind == "WebP":
        file = stored(image, "WEBP", lossless=True)
    elif kind == "RGB with a key":
        file = stored(drawn("RGB", colour, (1, 2, 3)), transparency=(1, 2, 3))
    else:
        file = stored(image)
    assert apart(opened(file)) >= 64


def test_the_ground_is_white_where_that_will_do():
    image = opened(stored(drawn("RGBA", (200, 0, 0, 255), (0, 0, 0, 0))))
    assert image.mode == "RGB"
    assert image.getpixel(GROUND) == (255, 255, 255)
    assert image.getpixel(FIGURE) == (200, 0, 0)


def test_a_figure_of_black_and_white_loses_neither():
    image = drawn("RGBA", (255, 255, 255, 255), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((6, 6, 11, 11), fill=(0, 0, 0, 255))
    seen = opened(stored(image)).convert("L")
    ground = seen.getpixel(GROUND)
    assert {abs(seen.getpixel(place) - ground) >= 64 for place in ((8, 8), (14, 14))} == {True}


def test_half_transparent_is_mixed_with_the_ground():
    image = opened(stored(Image.new("RGBA", (4, 4), (0, 0, 0, 128))))
    assert image.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ""), ("TIFF", ""), ("TIFF", "B")])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_grey_is_scaled_by_the_bits_in_use(bits, kind, suffix):
    white = 2**bits - 1
    levels = np.linspace(0, white, SIDE * SIDE).reshape(SIDE, SIDE).round()
    dtype = ">u2" if suffix else "<u2"
    if suffix:
        image = Image.frombytes("I;16B", (SIDE, SIDE), levels.astype(dtype).tobytes())
    else:
        image = Image.fromarray(levels.astype(dtype))
    seen = np.asarray(opened(stored(image, kind)))
    assert seen.shape == (SIDE, SIDE, 3)
    assert np.abs(seen - (levels * 255 / white)[..., None]).max() <= 0.501


@pytest.mark.parametrize(
    ("levels", "white"),
    [([0.0, 0.5, 1.0], 1.0), ([0.0, 100.0, 255.0], 255.0), ([-50.0, 0.0, 205.0], 255.0),
     ([0.0, 1e6, 4e6], 4e6)],
)  # fmt: skip
def test_numbers_with_a_point_are_scaled(levels, white):
    image = Image.fromarray(np.array([levels], dtype=np.float32))
    seen = np.asarray(opened(stored(image, "TIFF")))[0, :, 0]
    low = min(0.0, *levels)
    expected = [round((level - low) * 255 / (white - low)) for level in levels]
    assert np.abs(seen.astype(int) - expected).max() <= 1


def test_pixels_that_are_no_numbers_are_refused():
    image = Image.fromarray(np.array([[0.0, float("nan")]], dtype=np.float32))
    for read in (opened, look):
        with pytest.raises(ImageProblem, match=r"not finite numbers; save it as PNG or JPEG"):
            read(stored(image, "TIFF"))


def test_a_look_knows_a_picture_again(tmp_path):
    file = stored(drawn("RGB", "red"), "JPEG")
    (tmp_path / "a").write_bytes(file)
    assert look("a", tmp_path) == look(file)
    assert look(stored(drawn("RGB", "red", "white"), "JPEG")).digest != look(file).digest
    assert look(file).size == (SIDE, SIDE)
    assert look(drawn("L", 200)).frames == 1


def test_large_pictures_take_little_more_memory_than_they_have_pixels():
    """Eight megapixels: 24 MB as RGB, 32 MB with alpha, 16 MB in sixteen bits."""
    size = (4000, 2000)
    for image in (Image.new("RGBA", size, (255, 255, 255, 90)), Image.new("I;16", size, 4095)):
        tracemalloc.start()
        opened(image)
        assert tracemalloc.get_traced_memory()[1] < 64e6  # of arrays; Pillow's own is not traced
        tracemalloc.stop()


def test_a_deep_grey_level_that_means_transparent():
    levels = np.full((SIDE, SIDE), 7, dtype=np.uint16)
    levels[6:-6, 6:-6] = 60000
    seen = opened(stored(Image.fromarray(levels), transparency=7))
    assert apart(seen) >= 64
    assert seen.getpixel(FIGURE)[0] == round(60000 * 255 / 65535)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright(orientation):
    """Red is at the upper left in the scene, whatever the camera's position; the scene is wide."""
    scene = Image.new("RGB", (40, 20), "white")
    ImageDraw.Draw(scene).rectangle((0, 0, 9, 9), fill="red")
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
             6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    turn = turns.get(orientation)
    raw = scene.transpose(getattr(Image.Transpose, turn)) if turn else scene
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = opened(stored(raw, "JPEG", exif=exif, quality=95))
    assert seen.size == (40, 20)
    assert look(stored(raw, "JPEG", exif=exif)).size == (40, 20)
    assert seen.getpixel((3, 3))[1] < 60
    assert min(seen.getpixel((36, 3))[1], seen.getpixel((3, 16))[1]) > 200
    assert opened(seen).getpixel((3, 3)) == seen.getpixel((3, 3)), "it is turned once"


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_modes_keep_their_colours(mode):
    source = drawn("RGB", "white" if mode in ("1", "L") else "red", "black")
    image = source.convert(mode)
    file = image if mode in ("HSV", "YCbCr") else stored(image, "TIFF")
    seen = opened(file)
    assert seen.mode == "RGB"
    assert seen.getpixel(GROUND) == (0, 0, 0)
    assert np.abs(np.subtract(seen.getpixel(FIGURE), source.getpixel(FIGURE))).max() <= 2


def test_a_photo_for_print_is_not_inverted():
    """JPEG of CMYK as Adobe writes it: stored upside down, with a marker that says so."""
    seen = opened(stored(drawn("RGB", "white", "red").convert("CMYK"), "JPEG", quality=95))
    assert min(seen.getpixel(FIGURE)) > 240
    assert np.abs(np.subtract(seen.getpixel(GROUND), (255, 0, 0))).max() < 16


def test_of_an_animation_the_first_frame_is_read_and_that_is_said():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    file = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    notes: list[str] = []
    assert opened({"bytes": file, "path": "a.gif"}, note=notes.append).getpixel((0, 0))[0] == 255
    assert look(file).frames == 3
    assert notes == ["'a.gif' has 3 frames; the first one is read"]


def test_a_phone_s_photo_with_a_preview_is_one_picture():
    photo = Image.new("RGB", (16, 16), "red")
    file = stored(photo, "MPO", save_all=True, append_images=[photo.resize((8, 8))])
    notes: list[str] = []
    assert opened(file, note=notes.append).size == (16, 16)
    assert not notes


def test_sources_of_all_kinds(tmp_path):
    image = drawn("RGB", "red")
    file = stored(image)
    (tmp_path / "a.png").write_bytes(file)
    sources = [
        "a.png", str(tmp_path / "a.png"), Path("a.png"), file, {"bytes": file, "path": None},
        {"bytes": None, "path": "a.png"}, {"path": "a.png"}, image,
    ]  # fmt: skip
    for source in sources:
        assert opened(source, tmp_path).tobytes() == image.tobytes()


NOISE = Image.frombytes("RGB", (64, 64), random.Random(1).randbytes(64 * 64 * 3))


@pytest.mark.parametrize(
    ("kind", "said"),
    [("PNG", "truncated"), ("JPEG", "truncated"), ("GIF", "truncated"), ("BMP", "truncated"),
     ("TIFF", "damaged|truncated"), ("WEBP", "not an image|damaged|truncated")],
)  # fmt: skip
def test_a_file_that_ends_too_early_is_an_error(tmp_path, kind, said):
    whole = stored(NOISE, kind)
    (tmp_path / "x").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ImageProblem, match=rf"^'x' is ({said}).*leave the row out$"):
        opened("x", tmp_path)
    with pytest.raises(ImageProblem, match=rf"^'x' is ({said}).*leave the row out$"):
        look("x", tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.png", "there is no file 'none.png' in ROOT; name the folder of the images "
         "(--image-root), or leave the row out"),
        ("folder", "'folder' cannot be read: Is a directory; give the path of an image"),
        ("empty.png", "'empty.png' is an empty file; copy it again, or leave the row out"),
        ("text.png", "'text.png' is not an image that Pillow can read; give PNG or JPEG, or leave "
         "the row out"),
        ("a\0b", "'a\0b' cannot be read: embedded null byte; give the path of an image"),
        ("x" * 5000, f"'{'x' * 200}...' cannot be read: File name too long; give the path of an "
         "image"),
        ("https://example.org/a.png", "'https://example.org/a.png' is an address; download the "
         "file, and give its path"),
        (None, "there is no image; give a path, or leave the column empty in text rows"),
        ({"bytes": None, "path": None}, "there is no image; give a path, or leave the column empty "
         "in text rows"),
        (b"", "the image is empty; leave the row out"),
        (7, "an image is a path or the bytes of a file, not int"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_one_line(tmp_path, source, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<svg/>")
    with pytest.raises(ImageProblem) as problem:
        opened(source, tmp_path)
    assert str(problem.value) == message.replace("ROOT", str(tmp_path))


def test_a_picture_that_would_fill_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageProblem, match=r"is too large: .*; make it smaller"):
        opened(stored(NOISE))


@pytest.mark.parametrize(
    "exif",
    [b"II*\0\xff\xff\xff\x7f\x01\x02", b"junk of no kind", b"", b"MM\0*\0\0\0\x08\0\x01\x01"],
)
def test_broken_exif_does_not_hide_a_picture(exif):
    file = stored(drawn("RGB", "red"), "JPEG", exif=b"Exif\0\0" + exif)
    assert opened(file).getpixel(FIGURE)[0] > 240


def test_a_turned_photo_with_a_tag_that_cannot_be_written_again():
    """Orientation 6 beside a resolution that is text: Pillow's own turning writes all tags again,
    and raises TypeError."""
    block = b"Exif\0\0" + b"MM\0*\0\0\0\x08" + b"\0\x02"
    block += b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\x01\x1b\0\x02\0\0\0\x04abc\0"
    file = stored(Image.new("RGB", (40, 20)), "JPEG", exif=block + b"\0\0\0\0")
    with pytest.raises(TypeError):
        ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    assert opened(file).size == look(file).size == (20, 40)


def test_a_turned_tiff_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = stored(Image.new("I;16", (40, 20)), "TIFF", exif=exif)
    assert opened(file).size == look(file).size == (20, 40)


def test_what_is_said_of_the_file_is_not_said_of_the_picture():
    """A picture that is saved again must not be turned again, nor get a hole."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = opened(stored(Image.new("RGB", (40, 20)), "JPEG", exif=exif, dpi=(72, 72)))
    assert opened(stored(photo)).size == (20, 40)
    drawing = opened(stored(drawn("RGB", "white", (1, 2, 3)), transparency=(1, 2, 3)))
    assert drawing.info == {} and not drawing.has_transparency_data


def test_an_animation_that_is_cut_later_is_its_first_frame():
    frames = [Image.effect_noise((32, 32), 90).convert("P") for _ in range(4)]
    whole = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    for cut in range(len(whole) * 2 // 3, len(whole) - 1, 37):
        assert opened(whole[:cut], note=lambda _: None).size == look(whole[:cut]).size
