"""Pictures of a frame for a page: decoded within bounds, smaller, and with masks. Only Pillow and numpy."""

import io
import math
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from broker.errors import ArtifactMissing
from tasks.mask_colours import BOTH, DEVICE, TEACHER
from workers.contracts import Mask

PAINT = 0.55
"""Share of the colour where the masks disagree; the frame shows through."""
PAINT_BOTH = 0.15
"""The same where they agree: enough to see, not enough to hide the person."""
JPEG_QUALITY = 85
MARGIN = 0.15
"""Room about the person in a crop, as a part of the longer side of the box."""
VERSION = "2"
"""Of the drawing: part of each picture's ETag, so that a change of it is seen."""


Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the frame as stored."""


class View(StrEnum):
    """What may be shown of a frame."""

    FRAME = "frame"
    TEACHER = "teacher"
    DEVICE = "device"
    OVERLAY = "overlay"


class Crop(StrEnum):
    """Which part of a frame may be shown instead of the whole."""

    PERSON = "person"


class PictureDamaged(ArtifactMissing):
    """A stored picture cannot be decoded, or has not the size that it should."""

    code = "picture_unusable"


def frame_picture(jpeg: bytes, width: int | None, max_pixels: int, person: Box | None = None) -> bytes:
    """The frame as JPEG, at most ``width`` pixels wide; the stored bytes themselves if they are no wider.

    Args:
        jpeg: the frame as stored.
        width: in pixels, of the crop where there is one; never enlarged.
        max_pixels: of the frame as stored.
        person: shows only the ``surroundings`` of this box.

    Raises:
        PictureDamaged: the bytes are no JPEG or PNG of at most ``max_pixels``.
    """
    picture = _open(jpeg, max_pixels)
    if picture.format == "JPEG" and _as_stored(picture, width, person):
        return jpeg
    return _jpeg(_colour(picture, width, person))


def mask_picture(png: bytes, width: int | None, max_pixels: int, person: Box | None = None) -> bytes:
    """A mask as PNG (0 background, 255 person; greys between them where it was made smaller).

    Args: as ``frame_picture``.

    Raises:
        PictureDamaged: as ``frame_picture``.
    """
    picture = _open(png, max_pixels)
    if picture.format == "PNG" and _as_stored(picture, width, person):
        return png
    part = surroundings(picture.size, person)
    return _png(_loaded(picture, "L").resize(_size(part, width), Image.Resampling.BOX, box=part))


def overlay_picture(
    frame: bytes,
    teacher: bytes,
    device: bytes,
    width: int | None,
    max_pixels: int,
    person: Box | None = None,
) -> bytes:
    """The frame as JPEG with both masks: painted where they disagree, outlined all round.

    Orange is the teacher's alone (the device misses it), blue the device's alone (it adds it), a breath of
    white what both have. The outlines have the same colours, white where they run together.

    Args: as ``frame_picture``.

    Raises:
        PictureDamaged: as ``frame_picture``.
    """
    picture = _open(frame, max_pixels)
    part, whole = surroundings(picture.size, person), picture.size
    base = _colour(picture, width, person)
    masks = [_mask(_open(png, max_pixels), base.size, part, whole) for png in (teacher, device)]
    return _jpeg(Image.fromarray(paint(np.asarray(base), masks[0], masks[1])))


def surroundings(size: tuple[int, int], person: Box | None) -> tuple[int, int, int, int]:
    """The box with ``MARGIN`` about it, in whole pixels within a picture of ``size``.

    The whole picture where there is no box, or where the box lies outside.
    """
    if person is None:
        return 0, 0, *size
    x0, y0, x1, y1 = person
    room = MARGIN * max(x1 - x0, y1 - y0)
    left, top = max(0, math.floor(x0 - room)), max(0, math.floor(y0 - room))
    right, bottom = min(size[0], math.ceil(x1 + room)), min(size[1], math.ceil(y1 + room))
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, *size)


def paint(rgb: NDArray[np.uint8], teacher: Mask, device: Mask) -> NDArray[np.uint8]:
    """The overlay of ``overlay_picture`` as pixels.

    Args:
        rgb: H x W x 3, uint8.
        teacher: H x W.
        device: H x W.
    """
    weights = np.zeros((*teacher.shape, 1), np.float32)
    colours = np.zeros((*teacher.shape, 3), np.float32)
    thick = max(1, round(rgb.shape[1] / 480))
    lines = _border(teacher, thick), _border(device, thick)
    layers = (
        (teacher & device, BOTH, PAINT_BOTH),
        (teacher & ~device, TEACHER, PAINT),
        (device & ~teacher, DEVICE, PAINT),
        (lines[0], TEACHER, 1.0),
        (lines[1], DEVICE, 1.0),
        (lines[0] & lines[1], BOTH, 1.0),
    )
    for where, colour, weight in layers:
        weights[where] = weight
        colours[where] = colour
    painted: NDArray[np.uint8] = np.rint(rgb * (1 - weights) + colours * weights).astype(np.uint8)
    return painted


def _border(mask: Mask, thick: int) -> Mask:
    """The pixels of ``mask`` within ``thick`` steps (up, down, left or right) of its outside."""
    inner = mask.copy()
    for _ in range(thick):
        framed = np.pad(inner, 1, mode="edge")
        inner = inner & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inner


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """The picture's head; nothing is decoded yet."""
    try:
        picture = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(f"cannot be decoded ({type(error).__name__})") from error
    if picture.width * picture.height > max_pixels:
        raise _damaged(f"has {picture.width} x {picture.height} pixels, more than the {max_pixels} allowed")
    return picture


def _loaded(picture: Image.Image, mode: str) -> Image.Image:
    try:
        return picture.convert(mode)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow: truncated or broken data
        raise _damaged(f"cannot be decoded ({type(error).__name__})") from error


def _as_stored(picture: Image.Image, width: int | None, person: Box | None) -> bool:
    return person is None and (width is None or picture.width <= width)


def _colour(picture: Image.Image, width: int | None, person: Box | None) -> Image.Image:
    part, whole = surroundings(picture.size, person), picture.size
    size = _size(part, width)
    share = size[0] / (part[2] - part[0])
    # A JPEG is decoded at a half, a quarter or an eighth where that is enough.
    picture.draft("RGB", (max(1, round(whole[0] * share)), max(1, round(whole[1] * share))))
    loaded = _loaded(picture, "RGB")
    return loaded.resize(size, Image.Resampling.BOX, box=_scaled(part, whole, loaded.size))


def _mask(
    picture: Image.Image, size: tuple[int, int], part: tuple[int, int, int, int], whole: tuple[int, int]
) -> Mask:
    """The same ``part`` of a mask as of the frame, which is ``whole``, made ``size``."""
    grey = _loaded(picture, "L")
    return np.asarray(grey.resize(size, Image.Resampling.BOX, box=_scaled(part, whole, grey.size))) > 127


def _scaled(part: tuple[int, int, int, int], whole: tuple[int, int], size: tuple[int, int]) -> Box:
    """A part of a picture of ``whole`` pixels, in pixels of the same picture at ``size``."""
    if whole == size:
        return part
    x, y = size[0] / whole[0], size[1] / whole[1]
    return part[0] * x, part[1] * y, min(part[2] * x, size[0]), min(part[3] * y, size[1])


def _size(part: tuple[int, int, int, int], width: int | None) -> tuple[int, int]:
    wide, high = part[2] - part[0], part[3] - part[1]
    if width is None or wide <= width:
        return wide, high
    return width, max(1, round(high * width / wide))


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=3)
    return out.getvalue()


def _damaged(fault: str) -> PictureDamaged:
    return PictureDamaged(
        f"The stored picture {fault}.", "Remove the video with `hardpose forget` and run its job again."
    )
