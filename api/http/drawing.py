"""Pictures of a frame for a page: decoded within bounds, smaller, and with masks. Only Pillow and numpy."""

import io
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
VERSION = "2"
"""Of the drawing: part of each picture's ETag, so that a change of it is seen."""


class View(StrEnum):
    """What may be shown of a frame."""

    FRAME = "frame"
    TEACHER = "teacher"
    DEVICE = "device"
    OVERLAY = "overlay"


class PictureDamaged(ArtifactMissing):
    """A stored picture cannot be decoded, or has not the size that it should."""

    code = "picture_unusable"


def frame_picture(jpeg: bytes, width: int | None, max_pixels: int) -> bytes:
    """The frame as JPEG, at most ``width`` pixels wide; the stored bytes themselves if they are no wider.

    Raises:
        PictureDamaged: the bytes are no JPEG or PNG of at most ``max_pixels``.
    """
    picture = _open(jpeg, max_pixels)
    if picture.format == "JPEG" and (width is None or picture.width <= width):
        return jpeg
    return _jpeg(_colour(picture, width))


def mask_picture(png: bytes, width: int | None, max_pixels: int) -> bytes:
    """A mask as PNG (0 background, 255 person; greys between them where it was made smaller).

    Raises:
        PictureDamaged: as ``frame_picture``.
    """
    picture = _open(png, max_pixels)
    if picture.format == "PNG" and (width is None or picture.width <= width):
        return png
    return _png(_resized(_loaded(picture, "L"), width))


def overlay_picture(frame: bytes, teacher: bytes, device: bytes, width: int | None, max_pixels: int) -> bytes:
    """The frame as JPEG with both masks: painted where they disagree, outlined all round.

    Orange is the teacher's alone (the device misses it), blue the device's alone (it adds it), a breath of
    white what both have. The outlines have the same colours, white where they run together.

    Raises:
        PictureDamaged: as ``frame_picture``.
    """
    base = _colour(_open(frame, max_pixels), width)
    masks = [_mask(_open(png, max_pixels), base.size) for png in (teacher, device)]
    return _jpeg(Image.fromarray(paint(np.asarray(base), masks[0], masks[1])))


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


def _colour(picture: Image.Image, width: int | None) -> Image.Image:
    size = _size(picture, width)
    picture.draft("RGB", size)  # a JPEG is decoded at a half, a quarter or an eighth where that is enough
    return _loaded(picture, "RGB").resize(size, Image.Resampling.BOX)


def _resized(picture: Image.Image, width: int | None) -> Image.Image:
    return picture.resize(_size(picture, width), Image.Resampling.BOX)


def _mask(picture: Image.Image, size: tuple[int, int]) -> Mask:
    grey = _loaded(picture, "L")
    if grey.size != size:
        grey = grey.resize(size, Image.Resampling.BOX)
    return np.asarray(grey) > 127


def _size(picture: Image.Image, width: int | None) -> tuple[int, int]:
    if width is None or picture.width <= width:
        return picture.size
    return width, max(1, round(picture.height * width / picture.width))


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
