"""Pictures as a person sees them: what files of all kinds look like when they are opened."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageOps

from reference_impls.core.data.images import (
    ImageProblem,
    look,
    opened,
    random_resized_crop,
)

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
        ("a\0b", "'a\\x00b' cannot be read: embedded null byte; give the path of an image"),
        ("x" * 5000, f"'{'x' * 200}...' cannot be read: File name too long; give the path of an "
         "image"),
        ("https://example.org/a.png", "'https://example.org/a.png' is an address; download the "
         "file, and give its path"),
        (None, "there is no image; give a path, or leave the column empty in text rows"),
        ({"bytes": None, "path": None}, "there is no image; give a path, or leave the column empty "
         "in text rows"),
        (b"", "the image is empty; leave the row out"),
        ({"bytes": b"", "path": "text.png"}, "the image is empty; leave the row out"),
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


# --- files written here byte by byte, and what they show worked out without a decoder -------------

WIDE, HIGH = 12, 8
DRAW = np.random.default_rng(0)


def chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def packed(levels: np.ndarray, bits: int) -> bytes:
    """A row of a PNG: the highest bits first, whole bytes."""
    ones = "".join(f"{level:0{bits}b}" for level in levels.ravel().tolist())
    return bytes(int(ones[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(ones), 8))


def png(levels: np.ndarray, bits: int, kind: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """levels: HIGH x WIDE (x channels); kind: 0 grey, 2 RGB, 3 palette, 4 grey, 6 RGB with alpha.
    before, after: further chunks on either side of the pixels."""
    high, wide = levels.shape[:2]
    head = struct.pack(">IIBBBBB", wide, high, bits, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + packed(row, bits) for row in levels))
    body = chunk(b"IHDR", head) + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def random_levels(most: int, *channels: int) -> np.ndarray:
    levels = DRAW.integers(0, most + 1, (HIGH, WIDE, *channels))
    levels[0, 0], levels[0, 1] = most, 0
    return levels


def assert_shows(file: bytes, colours: np.ndarray, alpha=None, near: float = 1) -> None:
    """That a file is read as these colours (0 to 255), over one of the grounds where alpha (0 to 1)
    leaves it open; and that a look at it tells its size."""
    seen = np.asarray(opened(file)).astype(float)
    if colours.ndim == 2:
        colours = np.dstack([colours] * 3)
    assert seen.shape == colours.shape
    assert look(file).size == (seen.shape[1], seen.shape[0])
    share = np.ones(seen.shape[:2]) if alpha is None else np.asarray(alpha, float)
    laid = [colours * share[..., None] + grey * (1 - share[..., None]) for grey in (255, 0, 128)]
    assert min(np.abs(seen - each).max() for each in laid) <= near


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_of_all_depths_with_and_without_a_level_that_means_transparent(bits):
    most = 2**bits - 1
    levels = random_levels(most)
    shown = levels * 255 / most
    assert_shows(png(levels, bits, 0), shown)
    for key in {0, 1, most // 2, most}:
        hole = chunk(b"tRNS", struct.pack(">H", key))
        assert_shows(png(levels, bits, 0, hole), shown, levels != key)


@pytest.mark.parametrize("bits", [8, 16])
def test_colour_and_alpha_of_both_depths(bits):
    most = 2**bits - 1
    levels = random_levels(most, 4)
    levels[..., 3] = DRAW.choice([0, most // 2, most], (HIGH, WIDE))
    shown, alpha = levels * 255 / most, levels[..., 3] / most
    assert_shows(png(levels[..., :3], bits, 2), shown[..., :3])
    assert_shows(png(levels, bits, 6), shown[..., :3], alpha, near=2)
    assert_shows(png(levels[..., [0, 3]], bits, 4), shown[..., 0], alpha, near=2)


def test_one_colour_that_means_transparent():
    levels = random_levels(255, 3)
    hole = chunk(b"tRNS", struct.pack(">HHH", *levels[2, 3].tolist()))
    assert_shows(png(levels, 8, 2, hole), levels, (levels != levels[2, 3]).any(axis=2))
    deep = png(random_levels(65535, 3), 16, 2, chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))
    for read in (opened, look):
        with pytest.raises(ImageProblem, match=r"sixteen bits and one colour .*; save it with an"):
            read(deep)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", ["none", "one", "many"])
def test_palettes_of_all_depths(bits, alphas):
    places = random_levels(2**bits - 1)
    palette = DRAW.integers(0, 256, (2**bits, 3))
    before = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    alpha = np.full(2**bits, 255)
    if alphas != "none":
        alpha[:1] = 0
        if alphas == "many":
            alpha = DRAW.choice([0, 128, 255], 2**bits)
        before += chunk(b"tRNS", alpha[: 1 if alphas == "one" else None].astype("u1").tobytes())
    assert_shows(png(places, bits, 3, before), palette[places], alpha[places] / 255, near=2)


def turned(scene: np.ndarray, orientation: int) -> np.ndarray:
    """How a file stores a scene: where its first row and its first column are in the scene, by the
    table of CIPA DC-008, section 4.6.4."""
    rows = {1: "top", 2: "top", 3: "bottom", 4: "bottom", 5: "left", 6: "right", 7: "right",
            8: "left"}[orientation]  # fmt: skip
    columns = {1: "left", 2: "right", 3: "right", 4: "left", 5: "top", 6: "top", 7: "bottom",
               8: "bottom"}[orientation]  # fmt: skip
    stored = scene.swapaxes(0, 1) if rows in ("left", "right") else scene
    stored = stored[::-1] if rows in ("bottom", "right") else stored
    return stored[:, ::-1] if columns in ("bottom", "right") else stored


def exif_of(orientation: int, kind: int = 3) -> bytes:
    """A block with one tag; kind: 3 a short, 4 a long number."""
    value = struct.pack(">HH", orientation, 0) if kind == 3 else struct.pack(">I", orientation)
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHI", 0x112, kind, 1) + value + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_whatever_the_kind_of_file_it_is_turned_upright(orientation):
    scene = random_levels(255, 3)
    raw = np.ascontiguousarray(turned(scene, orientation))
    for kind in (3, 4):
        exif = exif_of(orientation, kind)
        for sides in ((chunk(b"eXIf", exif), b""), (b"", chunk(b"eXIf", exif))):
            assert_shows(png(raw, 8, 2, *sides), scene, near=0)
        picture = Image.fromarray(raw.astype(np.uint8))
        assert_shows(stored(picture, "WEBP", lossless=True, exif=exif), scene, near=0)
    tags = Image.Exif()
    tags[0x0112] = orientation
    assert_shows(stored(picture, "TIFF", exif=tags), scene, near=0)


@pytest.mark.parametrize(
    "exif",
    [b"II*\0\xff\xff\xff\x7f\x01\x02", b"junk of no kind", exif_of(0), exif_of(9),
     b"MM\0*\0\0\0\x08\xff\xff\x01\x12", exif_of(6)[:20]],
)  # fmt: skip
def test_exif_that_says_nothing_turns_nothing_in_png_and_webp(exif):
    scene = random_levels(255, 3)
    assert_shows(png(scene, 8, 2, chunk(b"eXIf", exif)), scene, near=0)
    picture = Image.fromarray(scene.astype(np.uint8))
    assert_shows(stored(picture, "WEBP", lossless=True, exif=exif), scene, near=0)


def tiff(levels: np.ndarray, photometric: int, sample: int = 1) -> bytes:
    """A TIFF of the levels as they are in memory, little-endian. photometric: 0 where zero is
    white; sample: 1 for whole numbers, 3 for numbers with a point."""
    high, wide = levels.shape
    data, bits = levels.tobytes(), 8 * levels.itemsize
    tags = {256: wide, 257: high, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: high,
            279: len(data), 339: sample}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(("dtype", "white"), [("<u1", 255), ("<u2", 65535), ("<u2", 4095)])
def test_scans_in_which_zero_is_white_are_not_negatives(dtype, white):
    levels = random_levels(white)
    shown = levels * 255 / white
    assert_shows(tiff(levels.astype(dtype), 1), shown)
    assert_shows(tiff(levels.astype(dtype), 0), 255 - shown)
    shares = (levels / white).astype("<f4")
    assert_shows(tiff(shares, 1, sample=3), shown)
    assert_shows(tiff(shares, 0, sample=3), 255 - shown)


def test_numbers_that_are_too_far_apart_are_refused():
    wide = Image.fromarray(np.array([[-3e38, 3e38]], dtype=np.float32))
    with pytest.raises(ImageProblem, match="pixels that are too far apart"):
        opened(stored(wide, "TIFF"))


SRGB = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169],
                 [0.0139322, 0.0971045, 0.7141733]])  # fmt: skip
"""Columns: XYZ of red, green and blue of sRGB for the white of profiles, D50 (ICC.1, annex E)."""


def profile(space: bytes, gamma: float, primaries: np.ndarray = SRGB) -> bytes:
    """A colour profile of version 2: `RGB ` with primaries, or `GRAY`."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = (0.9642, 1.0, 0.8249)
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\x02x" + bytes(80), b"wtpt": xyz(white)}
    if space == b"RGB ":
        for letter, column in zip(b"rgb", primaries.T, strict=True):
            tags[bytes([letter]) + b"XYZ"], tags[bytes([letter]) + b"TRC"] = xyz(column), curve
    else:
        tags[b"kTRC"] = curve
    table, data = struct.pack(">I", len(tags)), b""
    for name, held in tags.items():
        held = held.ljust(-(-len(held) // 4) * 4, b"\0")
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(data), len(held))
        data += held
    head = struct.pack(
        ">I4sI4s4s4s", 128 + len(table + data), b"", 2 << 24, b"mntr", space, b"XYZ "
    )
    head += bytes(12) + b"acsp" + bytes(28) + xyz(white)[8:]
    return head.ljust(128, b"\0") + table + data


def profiled(levels: np.ndarray, kind: int, held: bytes, bits: int = 8, more: bytes = b"") -> bytes:
    return png(levels, bits, kind, chunk(b"iCCP", b"x\0\0" + zlib.compress(held)) + more)


def on_screen(light: np.ndarray) -> np.ndarray:
    """Levels of sRGB for shares of light (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_colours_mean_what_the_files_profile_says():
    """Primaries of which red and green have changed places, and a scanner that counts light."""
    levels = random_levels(255, 4)
    levels[..., 3] = DRAW.choice([0, 128, 255], (HIGH, WIDE))
    for gamma, primaries in ((2.2, SRGB[:, [1, 0, 2]]), (1.0, SRGB)):
        held = profile(b"RGB ", gamma, primaries)
        light = (levels[..., :3] / 255) ** gamma
        shown = on_screen(light @ primaries.T @ np.linalg.inv(SRGB).T)
        assert_shows(profiled(levels[..., :3], 2, held), shown, near=3)
        assert_shows(profiled(levels, 6, held), shown, levels[..., 3] / 255, near=4)
        palette = levels[..., :3].reshape(-1, 3)
        colours = chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        places = np.arange(HIGH * WIDE).reshape(HIGH, WIDE)
        assert_shows(profiled(places, 3, held, more=colours), shown, near=3)
        picture = Image.fromarray(turned(levels[..., :3], 6).astype(np.uint8))
        turns = {"exif": exif_of(6), "icc_profile": held}
        assert_shows(stored(picture, "WEBP", lossless=True, **turns), shown, near=3)


def test_grey_means_what_its_profile_says_at_any_depth():
    held = profile(b"GRAY", 3.0)
    for bits in (8, 16):
        levels = random_levels(2**bits - 1, 2)
        levels[..., 1] = DRAW.choice([0, 2**bits - 1], (HIGH, WIDE))
        shares = levels / (2**bits - 1)
        shown = on_screen(shares[..., 0] ** 3)
        assert_shows(profiled(levels[..., 0], 0, held, bits), shown, near=4)
        if bits == 8:  # of sixteen, Pillow makes RGBA, which no grey profile is of
            assert_shows(profiled(levels, 4, held), shown, shares[..., 1], near=4)


def test_a_profile_that_changes_nothing_or_says_nothing_leaves_each_level_as_it_is():
    levels = random_levels(255, 3)
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cut, grey = profile(b"RGB ", 1.0)[:200], profile(b"GRAY", 1.0)
    for held in (own, b"junk of no kind" * 20, b"", cut, grey):
        assert_shows(profiled(levels, 2, held), levels, near=0)


def test_a_files_gamma_counts_where_it_names_no_colours():
    levels = random_levels(255, 3)

    def gamma(number: int) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", number))

    assert_shows(png(levels, 8, 2, gamma(100_000)), 255 * (levels / 255) ** (1 / 2.2))
    grey = random_levels(65535)
    assert_shows(png(grey, 16, 0, gamma(100_000)), 255 * (grey / 65535) ** (1 / 2.2), near=8)
    for before in (gamma(45_455), gamma(0), chunk(b"sRGB", b"\0") + gamma(100_000)):
        assert_shows(png(levels, 8, 2, before), levels, near=0)


def test_what_a_first_frame_leaves_bare_is_not_painted():
    frame = Image.new("P", (4, 4), 1)
    frame.putpalette([255, 0, 0, 0, 255, 0])
    file = bytearray(stored(frame, "GIF"))
    file[6:10] = struct.pack("<HH", WIDE, HIGH)  # the size of the canvas
    colours = np.zeros((HIGH, WIDE, 3))
    colours[:4, :4] = (0, 255, 0)
    assert_shows(bytes(file), colours, colours.any(axis=2))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_of_several_frames_or_pages_of_any_kind_the_first_is_read(kind):
    first, second = (Image.fromarray(random_levels(255, 3).astype(np.uint8)) for _ in range(2))
    lossless = {"lossless": True} if kind == "WEBP" else {}
    file = stored(first, kind, save_all=True, append_images=[second], **lossless)
    assert_shows(file, np.asarray(first), near=0)
    assert look(file).frames == 2


NO_PICTURES = [
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is EPS, which an"),
    (b"\x89HDF\r\n\x1a\n" + bytes(99), "is HDF5, which another program"),
    (b"%PDF-1.4\n", "is not an image"), (b"<!DOCTYPE html>404", "is not an image"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is not an image"),
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is not an image"), (bytes(99), "is not an image"),
    (png(np.zeros((0, 0), int), 8, 0), "is not an image"),
    (png(np.zeros((5, 0), int), 8, 0), "is not an image"),
    (b"P6\n0 0\n255\n", "is not an image"),
    (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0))
     + chunk(b"IDAT", b""), "is too large: "),
]  # fmt: skip
"""Files that show nothing, and what is said of them."""


@pytest.mark.parametrize(("content", "said"), NO_PICTURES, ids=range(len(NO_PICTURES)))
def test_what_is_in_no_way_a_picture_is_one_line_whatever_it_is_called(tmp_path, content, said):
    (tmp_path / "x.jpg").write_bytes(content)
    lines = []
    for read in (opened, look):
        with pytest.raises(ImageProblem) as problem:
            read("x.jpg", tmp_path)
        lines.append(str(problem.value))
    assert lines[0] == lines[1] and "\n" not in lines[0]
    assert lines[0].startswith(f"'x.jpg' {said}")


def test_pictures_of_any_shape_are_read_whatever_their_names_end_in(tmp_path):
    for size in ((1, 1), (4000, 1), (1, 4000)):
        shown = DRAW.integers(0, 256, (*size[::-1], 3))
        (tmp_path / "A.JPeG").write_bytes(png(shown, 8, 2))
        assert (np.asarray(opened("A.JPeG", tmp_path)) == shown).all()


STILL = {
    "PNG": {}, "PNG, palette": {}, "PNG, sixteen bits": {}, "JPEG": {},
    "JPEG, progressive": {"progressive": True}, "GIF": {}, "BMP": {}, "WEBP": {},
    "WEBP, lossless": {"lossless": True}, "TIFF": {}, "TIFF, LZW": {"compression": "tiff_lzw"},
    "TIFF, JPEG": {"compression": "jpeg"}, "PPM": {}, "TGA": {"compression": "tga_rle"},
}  # fmt: skip


@pytest.mark.parametrize("kind", STILL)
def test_a_file_cut_at_any_tenth_byte_is_whole_or_refused(kind):
    """Whole: every pixel is there, and only the end of the file is not."""
    picture = NOISE.crop((0, 0, 24, 20))
    if "palette" in kind:
        picture = picture.quantize(16)
    elif "sixteen" in kind:
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    whole = stored(picture, kind.split(",")[0], **STILL[kind])
    shown, refused = opened(whole).tobytes(), 0
    for end in {*range(1, len(whole), 10), *range(len(whole) - 12, len(whole))}:
        found = []
        for read in (opened, look):
            try:
                found.append(read(whole[:end]))
            except ImageProblem as problem:
                found.append(str(problem))
        if isinstance(found[0], str):
            refused += 1
            assert found[0] == found[1]
        else:
            assert found[0].tobytes() == shown and found[1].size == picture.size
    assert refused >= len(whole) // 10 - 3


def test_a_crop_is_as_often_wider_as_higher():
    """torchvision draws the logarithm of the ratio evenly; a ratio that is drawn evenly between 3/4
    and 4/3 is below 1 in 3 of 7 crops."""

    class Seen:
        size = (1000, 1000)

        def resize(self, size, how, box):
            return box

    rng = random.Random(1)
    boxes = [random_resized_crop(Seen(), rng, (0.1, 0.2)) for _ in range(4000)]
    ratios = [(right - left) / (low - top) for left, top, right, low in boxes]
    assert 0.48 < sum(ratio < 1 for ratio in ratios) / len(ratios) < 0.52
    assert min(ratios) > 0.74 and max(ratios) < 1.35
