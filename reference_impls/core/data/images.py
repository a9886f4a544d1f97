"""Pictures: read as a person sees them, and what recipes do to them (crops, noise, blanks).

`opened` gives RGB, eight bits each, of whatever a row holds:

- turned upright where EXIF says how the camera was held;
- what is transparent lies over a plain ground that the figure stands out from (`over_a_ground`);
- grey with more than eight bits is scaled by the bits in use, not cut at 255 (`eight_bit`);
- palettes, CMYK, grey with alpha and one bit are converted; colours mean what the file's profile
  or gamma says, as in a browser (`in_srgb`);
- of several frames or pages the first is read, and that is said; what a first frame leaves bare is
  transparent.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import math
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageFilter, UnidentifiedImageError, features

GREY = (128, 128, 128)
ORIENTATION = 0x0112
"""EXIF tag: how the camera was held; 1 is upright (CIPA DC-008, section 4.6.4)."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""As Pillow's `ImageOps.exif_transpose`, which also rewrites the tags, and fails on broken ones."""
PHOTOMETRIC = 262
"""TIFF tag: 0 where zero is white (TIFF 6.0, section 3)."""
SCREEN_GAMMA = 2.2
"""What sRGB is close to; a file's gAMA of 1 / 2.2 asks for nothing (PNG, section 11.3.2.2)."""
NO_POWER = 0.05
"""Powers this near to 1 change no grey level by more than five."""
SAME = 2
"""Levels of 255 by which a profile may move colours and still count as that of screens."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners write into files of sixteen."""
GROUNDS = (255, 0, 128)
"""Grey levels that transparent pictures are laid over: white, as on most pages, if it will do."""
NEAR = 64
"""Grey levels between figure and ground below which the figure is hard to see."""
COUNTED = 512
"""Columns and rows of a transparent picture that are looked at to choose its ground."""


class ImageProblem(ValueError):
    """A picture that cannot be read. One line: which, why, and what to do; no row, no column."""


def opened(
    source: Any, root: Path | str = ".", note: Callable[[str], None] | None = None
) -> Image.Image:
    """The picture that a row holds, in RGB, as a person sees it.

    source: a path (relative ones start at `root`), the bytes of a file, `{"bytes", "path"}` as the
    hub stores them, or a PIL image. note: told in one line what was left out, such as further
    frames. Raises ImageProblem.
    """
    name, content = name_of(source), content_of(source, root)
    with _quiet():
        image = _started(name, content)
        _finish(name, image)
        if note is not None and (frames := frames_of(image)) > 1:
            note(f"{name} has {frames} frames; the first one is read")
        return _converted(name, image)


@dataclass(frozen=True)
class Look:
    """What is known of a picture without keeping it.

    size: (width, height) once it is upright. digest: of its file; equal within a process only.
    """

    size: tuple[int, int]
    frames: int
    digest: int


def look(source: Any, root: Path | str = ".") -> Look:
    """Whether a picture can be opened, and what there is to know of it.

    The whole file is decoded, as `opened` does; a JPEG at an eighth of its size, which takes a
    third of the time. Raises ImageProblem where `opened` does.
    """
    name, content = name_of(source), content_of(source, root)
    with _quiet():
        image = _started(name, content)
        width, height = image.size
        eighth = (max(1, width // 8), max(1, height // 8))
        drafted = isinstance(content, bytes) and image.draft(image.mode, eighth) is not None
        _finish(name, image)
        if not drafted:  # a TIFF is turned while it is loaded
            width, height = image.size
        if image.mode not in ("RGB", "L"):
            _converted(name, image)
        size = (height, width) if orientation(image) >= 5 else (width, height)
        held = content if isinstance(content, bytes) else content.tobytes()
        return Look(size, frames_of(image), hash(held))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of what no viewer minds, such as a broken block of EXIF."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _started(name: str, content: bytes | Image.Image) -> Image.Image:
    """A picture whose header is read."""
    if isinstance(content, Image.Image):
        return content
    try:
        image = Image.open(io.BytesIO(content))
    except Exception as error:  # decoders of some thirty formats raise whatever they like
        raise ImageProblem(_unreadable(name, error)) from error
    if image.format == "EPS" or isinstance(image, ImageFile.StubImageFile):
        raise ImageProblem(
            f"{name} is {image.format}, which another program would have to draw; give PNG or "
            "JPEG, or leave the row out"
        )
    _scale_key(name, image)
    return image


def _scale_key(name: str, image: ImageFile.ImageFile) -> None:
    """The colour of a PNG that means transparent, in the eight bits that Pillow makes of pixels:
    it scales pixels of two, four and sixteen bits, and leaves this number as it is."""
    key = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(key, (int, tuple)) or not image.tile:
        return
    layout = image.tile[0].args
    if layout in ("L;2", "L;4"):
        image.info["transparency"] = key * 255 // (2 ** int(layout[2:]) - 1)
    elif layout == "RGB;16B":  # which pixels have the colour cannot be told from eight bits
        raise ImageProblem(
            f"{name} has sixteen bits and one colour that means transparent; save it with an "
            "alpha channel, or leave the row out"
        )


def _finish(name: str, image: Image.Image) -> None:
    """Decode the rest of a picture."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise ImageProblem(_unreadable(name, error)) from error


def _converted(name: str, image: Image.Image) -> Image.Image:
    try:
        return as_seen(image)
    except MemoryError:
        raise
    except Exception as error:  # of conversions, as above
        raise ImageProblem(
            f"{name}: colours of the kind {image.mode} cannot be read: {error}; save it as PNG or "
            "JPEG"
        ) from error


def name_of(source: Any) -> str:
    """What a message calls a picture."""
    if isinstance(source, dict):
        source = source.get("path") or source.get("bytes")
    if isinstance(source, Image.Image):
        source = getattr(source, "filename", "")
    if isinstance(source, (str, Path)) and str(source):
        return f"'{cut(str(source), 200)}'"
    return "the image"


def cut(text: str, most: int = 100) -> str:
    """The beginning of a text, for messages of one line: a cell may hold megabytes, and line breaks
    and other controls, which are written as Python escapes them."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:most])
    return shown if len(text) <= most else f"{shown}..."


def content_of(source: Any, root: Path | str = ".") -> bytes | Image.Image:
    """The bytes of a picture's file, not decoded yet; a PIL image stays itself.

    Raises ImageProblem where there is no such file or no picture at all.
    """
    if isinstance(source, dict):
        held = source.get("bytes")
        source = source.get("path") if held is None else held
    if isinstance(source, (bytes, bytearray, Image.Image)):
        if not isinstance(source, Image.Image) and not source:
            raise ImageProblem("the image is empty; leave the row out")
        return source if isinstance(source, Image.Image) else bytes(source)
    if source is None or source == "":
        raise ImageProblem("there is no image; give a path, or leave the column empty in text rows")
    if not isinstance(source, (str, Path)):
        raise ImageProblem(
            f"an image is a path or the bytes of a file, not {type(source).__name__}"
        )
    name = name_of(source)
    if "://" in str(source)[:10] or str(source).startswith("data:"):
        raise ImageProblem(f"{name} is an address; download the file, and give its path")
    try:
        content = (Path(root).expanduser() / source).read_bytes()
    except FileNotFoundError:
        where = "" if Path(source).is_absolute() or str(root) == "." else f" in {root}"
        raise ImageProblem(
            f"there is no file {name}{where}; name the folder of the images (--image-root), or "
            "leave the row out"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageProblem(f"{name} cannot be read: {reason}; give the path of an image") from None
    if not content:
        raise ImageProblem(f"{name} is an empty file; copy it again, or leave the row out")
    return content


def _unreadable(name: str, error: Exception) -> str:
    """Why a decoder gave up, and what to do."""
    if isinstance(error, UnidentifiedImageError):
        return (
            f"{name} is not an image that Pillow can read; give PNG or JPEG, or leave the row out"
        )
    if isinstance(error, Image.DecompressionBombError):
        return f"{name} is too large: {error}; make it smaller"
    reason = " ".join(str(error).split()) or type(error).__name__
    cut = "truncated" if "truncated" in reason.lower() else "damaged"
    return f"{name} is {cut} ({reason}); copy the file again, or leave the row out"


def frames_of(image: Image.Image) -> int:
    """Frames or pages. Phones store previews and depth behind a photo (MPO): that is one."""
    try:
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is broken, which nobody will see
        return 1


def orientation(image: Image.Image) -> int:
    """How a picture is to be turned, 1 to 8 as EXIF numbers it; 1 where that cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a broken block of EXIF raises whatever it leads to
        return 1
    return found if found in range(1, 9) else 1


def as_seen(image: Image.Image) -> Image.Image:
    """A loaded picture upright, on a ground, in RGB with eight bits each. Raises ValueError."""
    told = image.info
    white_is_zero = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
    turn = TURNS.get(orientation(image))
    image = on_its_canvas(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode[0] in "IF":
        image = eight_bit(image, white_is_zero)
    alpha = None
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        alpha = whole.getchannel("A")
        image = image if image.mode in ("L", "LA") else whole
    seen = in_srgb(image, told)
    if alpha is not None:
        seen.putalpha(alpha)
        seen = over_a_ground(seen)
    seen.info.clear()  # it speaks of the file: how to turn it, which level is transparent
    return seen


def on_its_canvas(image: Image.Image) -> Image.Image:
    """A GIF's first frame may cover a part of the canvas alone: the rest is transparent (Pillow
    paints it in the first colour of the palette)."""
    extent = getattr(image, "dispose_extent", None)
    if extent is None or extent == (0, 0, *image.size):
        return image
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.convert("RGBA").crop(extent), extent[:2])
    return canvas


def in_srgb(image: Image.Image, told: Mapping[Any, Any]) -> Image.Image:
    """Any picture of eight bits in the RGB of screens; alpha is left out.

    told: what the file says of its colours. As in browsers a profile counts first; one that is
    broken, or of colours of another kind, counts as none. Then, for PNG, that it is sRGB already,
    and then its gamma.
    """
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    profile = told.get("icc_profile")
    if isinstance(profile, bytes) and (transform := _to_srgb(profile, image.mode)) is not None:
        return transform.apply(image)
    seen = image.convert("RGB")
    gamma = told.get("gamma") if not profile and "srgb" not in told else None
    power = 1 / (gamma * SCREEN_GAMMA) if gamma else 1.0
    if abs(power - 1) <= NO_POWER:
        return seen
    return seen.point([round(255 * (level / 255) ** power) for level in range(256)] * 3)


@functools.lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to those of screens; None where that changes none of the levels, or
    cannot be done."""
    if not features.check("littlecms2"):
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    if mode == "CMYK":
        return transform
    steps = [0, 32, 64, 96, 128, 160, 192, 224, 255]
    shades = np.array(list(itertools.product(steps, repeat=3)), dtype=np.uint8)
    probe = Image.fromarray(shades[None]).convert(mode)
    changed = np.asarray(transform.apply(probe)) - np.asarray(probe.convert("RGB")).astype(int)
    return transform if np.abs(changed).max() > SAME else None


def eight_bit(image: Image.Image, white_is_zero: bool = False) -> Image.Image:
    """Grey of more than eight bits (modes `I;16`, `I`, `F`) as `L`, or `LA` if it has a hole.

    Files of sixteen bits often hold ten, twelve or fourteen (X-rays, sensors, depth), and do not
    say so: divided by 256, such a picture is black. White is the least of `DEPTHS` that holds the
    brightest pixel (1.0 of numbers up to it in `F`; else the brightest itself), black is 0 or, of
    negative numbers, the least; the other way round where `white_is_zero`. Raises ValueError for
    numbers that are not finite, or too far apart.
    """
    levels = np.asarray(image).astype(np.float32)
    if not np.isfinite(levels).all():
        raise ValueError("pixels that are not finite numbers")
    black, brightest = min(0.0, float(levels.min())), float(levels.max())
    whites = [float(2**depth - 1) for depth in DEPTHS]
    if image.mode == "F":
        whites.insert(0, 1.0)
    white = next((white for white in whites if brightest <= white), brightest)
    hole = image.info.get("transparency")
    alpha = Image.fromarray(levels != hole).convert("L") if isinstance(hole, int) else None
    if white - black > float(np.finfo(np.float32).max):
        raise ValueError("pixels that are too far apart")
    levels -= black
    levels *= 255 / (white - black)
    if white_is_zero:
        np.subtract(255, levels, out=levels)
    grey = Image.fromarray(levels.round(out=levels).astype(np.uint8))
    if alpha is not None:
        grey.putalpha(alpha)
    return grey


def over_a_ground(image: Image.Image) -> Image.Image:
    """An RGBA picture over the plain ground on which the least of its figure is lost.

    Viewers show transparency on white or on a pattern; on white a white drawing is nothing, on
    black a black one. Of `GROUNDS` the first is taken from which the smallest share of what is
    visible is less than `NEAR` grey levels away.
    """
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    few = [min(each, COUNTED) for each in image.size]
    sample = image.resize((few[0], few[1]), Image.Resampling.NEAREST)
    levels = np.asarray(sample.convert("RGB").convert("L"))
    weights = np.asarray(sample.getchannel("A"))
    seen = np.bincount(levels.ravel(), weights=weights.ravel(), minlength=256)
    apart = np.abs(np.arange(256)[:, None] - np.array(GROUNDS)) >= NEAR
    lost = seen @ ~apart
    ground = GROUNDS[int(np.argmin(lost))]
    laid = Image.new("RGBA", image.size, (ground, ground, ground, 255))
    return Image.alpha_composite(laid, image).convert("RGB")


def random_resized_crop(
    image: Image.Image, rng: random.Random, scale: tuple[float, float]
) -> Image.Image:
    """A random rectangle that keeps `scale` of the area, blown up to the image's size.

    Aspect ratio 3/4 to 4/3, as often wider as higher, bilinear: torchvision's RandomResizedCrop,
    without torchvision. What does not fit into the image is cut, where torchvision draws anew.
    """
    width, height = image.size
    area = rng.uniform(*scale) * width * height
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    crop_width = max(1, min(width, round((area * ratio) ** 0.5)))
    crop_height = max(1, min(height, round((area / ratio) ** 0.5)))
    left, top = rng.randint(0, width - crop_width), rng.randint(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def blank(image: Image.Image, colour: tuple[int, int, int] = GREY) -> Image.Image:
    """An image of the same size that shows nothing."""
    return Image.new("RGB", image.size, colour)


Schedule = Literal["linear", "sigmoid"]


def diffusion_kept(step: int, steps: int = 1000, schedule: Schedule = "linear") -> float:
    """Share of the signal's variance that a diffusion leaves after `step` steps.

    The product of 1 - beta_t. linear: DDPM (Ho et al. 2020, section 4), beta_t evenly from 1e-4 to
    0.02. sigmoid: what papers on hallucination blur images with (VCD and its descendants;
    LVUGAI/CHiP@e7f51932:llava/train/train.py#L835-L846), beta_t from 1e-5 to 0.005 along a logistic
    curve from -6 to 6; it leaves 0.75 after step 500, the linear one 0.08. Steps count from 1, as
    in DDPM: code that indexes them from 0 is at its step t where this is at t + 1. Raises
    ValueError for a step outside of the schedule.
    """
    if not 0 <= step <= steps:
        raise ValueError(f"step {step} is outside of a schedule of {steps} steps")
    kept = 1.0
    for number in range(step):
        place = number / (steps - 1)
        if schedule == "linear":
            kept *= 1 - (0.0001 + (0.02 - 0.0001) * place)
        else:
            kept *= 1 - (1e-5 + (0.005 - 1e-5) / (1 + math.exp(6 - 12 * place)))
    return kept


def diffused(
    image: Image.Image,
    rng: random.Random,
    step: int,
    schedule: Schedule = "linear",
    steps: int = 1000,
    wrapped: bool = False,
) -> Image.Image:
    """The image after `step` steps of forward diffusion, on pixel values scaled to [-1, 1].

    `wrapped`: on values scaled to [0, 1], which are cut to whole bytes without a check, so that
    what is darker than black comes out bright (to_pil_image of pytorch/vision@01175db1:
    torchvision/transforms/functional.py).
    """
    kept = diffusion_kept(step, steps, schedule)
    levels = np.asarray(image.convert("RGB"), dtype=np.float64)
    pixels = levels / 255 if wrapped else levels / 127.5 - 1
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(pixels.shape)
    mixed = math.sqrt(kept) * pixels + math.sqrt(1 - kept) * noise
    if wrapped:
        return Image.fromarray((np.trunc(mixed * 255) % 256).astype(np.uint8))
    return Image.fromarray(np.clip((mixed + 1) * 127.5, 0, 255).round().astype(np.uint8))


def noised(
    image: Image.Image,
    rng: random.Random,
    deviation: float,
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> Image.Image:
    """The image with Gaussian noise (grey levels of 255) on a part of it, clipped to 0 .. 255.

    `box`: left, top, right, bottom as shares of width and height.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64).copy()
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    part = pixels[round(top * height) : round(bottom * height),
                  round(left * width) : round(right * width)]  # fmt: skip
    part += deviation * np.random.default_rng(rng.getrandbits(64)).standard_normal(part.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """The image under a Gaussian of that radius in pixels."""
    return image.convert("RGB").filter(ImageFilter.GaussianBlur(radius))


def pixelated(image: Image.Image, size: float) -> Image.Image:
    """The image in squares of about `size` pixels, each of its mean colour; at least one."""
    width, height = image.size
    small = (max(1, int(width / size)), max(1, int(height / size)))
    coarse = image.convert("RGB").resize(small, Image.Resampling.BOX)
    return coarse.resize((width, height), Image.Resampling.NEAREST)


def without_pixels(image: Image.Image, rng: random.Random, share: float) -> Image.Image:
    """The image with that share of its pixels, drawn by lot, at the mean of all its grey levels."""
    pixels = np.asarray(image.convert("RGB")).copy()
    flat = pixels.reshape(-1, 3)
    drawn = np.random.default_rng(rng.getrandbits(64)).permutation(len(flat))
    flat[drawn[: int(share * len(flat))]] = round(float(pixels.mean()))
    return Image.fromarray(pixels)
