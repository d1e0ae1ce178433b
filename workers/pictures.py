"""Pictures without OpenCV, which is four times the size of all that a device's worker needs: on Pillow.

Everything between a stored frame and the device's mask goes through here, on every machine, so that a device
gives the same mask wherever its pictures are decoded and resized.
"""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from workers.area import averaged
from workers.contracts import Image, PersonMap
from workers.errors import ImageFailed

MAX_PIXELS = 64 * 1024**2
"""Of a picture that is decoded: a small file can claim a huge picture."""
FORMATS = ("PNG", "JPEG")
_PNG_DEPTH = 24
"""Place of the bit depth, in the header that every PNG begins with (PNG specification, 11.2.1)."""
_PNG_CHUNKS = 8
"""Place of its first chunk: length, kind, that many bytes, check sum (the same, 5.3)."""
_REMEDY = "Look at what wrote or sent them."


class PictureDamaged(ImageFailed):
    """Bytes that should be a PNG or JPEG are not, are cut off, or are too large."""

    code = "picture_damaged"


def decode_rgb(data: bytes) -> Image:
    """A PNG or JPEG as H x W x 3 uint8 RGB.

    Raises:
        PictureDamaged: it cannot be decoded whole.
    """
    return np.array(_decoded(data, "RGB"))


def decode_grey(data: bytes) -> PersonMap:
    """A PNG or JPEG as H x W uint8; one of several channels is brought to its luma.

    Raises:
        PictureDamaged: it cannot be decoded whole.
    """
    return np.array(_decoded(data, "L"))


def decode_answer(data: bytes, exact: bool = False) -> PersonMap:
    """A grey PNG or JPEG as H x W uint8. Of a picture of another kind nobody knows what its numbers mean.

    Args:
        data: the file. A PNG of fewer than 8 bits is brought to 0..255, as its specification says.
        exact: the stored numbers themselves count: an 8-bit PNG, and nothing that was scaled or rounded.

    Raises:
        PictureDamaged: it cannot be decoded whole, or is of another kind.
    """
    with _opened(data) as picture:
        kind, form = picture.mode, str(picture.format)
    if exact and (form, kind, data[_PNG_DEPTH]) != ("PNG", "L", 8):
        raise PictureDamaged(
            f"A {form} of the kind {kind!r} keeps no labels.", "Labels want an 8-bit grey PNG."
        )
    if kind not in ("L", "1"):
        raise PictureDamaged(f"A picture is of the kind {kind!r}.", "It has to be 8-bit grey: one channel.")
    return np.array(_decoded(data, "L"))


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG or JPEG, which is not decoded.

    Raises:
        PictureDamaged: it is neither.
    """
    with _opened(data) as picture:
        return picture.size


def encode_png(pixels: NDArray[np.uint8], natural: bool = False) -> bytes:
    """H x W (grey) or H x W x 3 (RGB) uint8 as a PNG.

    Args:
        pixels: to be written.
        natural: a photograph, or a map with soft edges. Nothing but runs is looked for then (zlib manual,
            ``Z_RLE``), which takes half the time, and a tenth less space, because little repeats in them.
    """
    strategy = zlib.Z_RLE if natural else zlib.Z_DEFAULT_STRATEGY
    return _written(pixels, "PNG", compress_level=3, compress_type=strategy)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """H x W or H x W x 3 (RGB) uint8 as a JPEG whose colours are not subsampled."""
    return _written(pixels, "JPEG", quality=quality, subsampling=0)


def resized(image: Image, width: int, height: int, way: str = "area") -> Image:
    """``image`` (H x W x 3 uint8 RGB) at another size, uint8.

    Args:
        image: to be resized.
        width: of the answer, pixels.
        height: the same.
        way: ``area`` averages over the pixels that become one; ``linear`` samples between the nearest four,
            without averaging, as small devices do.
    """
    if image.shape[:2] == (height, width):
        return image
    if way == "area" and width <= image.shape[1] and height <= image.shape[0]:
        return averaged(image, width, height)
    picture = Pillow.fromarray(image)
    if way == "linear":
        whole = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
        return np.array(
            picture.transform((width, height), Pillow.Transform.EXTENT, whole, Pillow.Resampling.BILINEAR)
        )
    return np.array(picture.resize((width, height), Pillow.Resampling.BILINEAR))


def stretched(values: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """``values`` (h x w) at another size, bilinear, rounded: height x width uint8.

    Rounded, because Pillow does it in a fifth of the time that it takes with floating point.
    """
    return np.asarray(Pillow.fromarray(values).resize((width, height), Pillow.Resampling.BILINEAR))


@contextmanager
def _opened(data: bytes) -> Iterator[Pillow.Image]:
    try:
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as picture:
            yield picture
    except UnidentifiedImageError as error:  # its words name an object of ours
        raise PictureDamaged(
            f"{len(data)} bytes are no whole PNG or JPEG: they begin with {data[:8]!r}.",
            _REMEDY,
        ) from error
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise PictureDamaged(f"{len(data)} bytes are no whole PNG or JPEG: {error}.", _REMEDY) from error


def _decoded(data: bytes, mode: str) -> Pillow.Image:
    with _opened(data) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise PictureDamaged(
                f"A picture claims {picture.width} x {picture.height} pixels.", "Send a smaller one."
            )
        if picture.format == "PNG":
            _require_sums(data)
        return picture.convert(mode)


def _require_sums(data: bytes) -> None:
    """Pillow reads the pixels of a PNG without their check sums: a wrong bit would give another picture.

    Raises:
        PictureDamaged: one does not fit, or the end is missing.
    """
    place, kind, rest = _PNG_CHUNKS, b"", memoryview(data)
    while kind != b"IEND":
        end = place + 8 + int.from_bytes(rest[place : place + 4], "big")
        kind = bytes(rest[place + 4 : place + 8])
        if len(data) < end + 4:
            raise PictureDamaged(f"{len(data)} bytes are no whole PNG: its end is missing.", _REMEDY)
        if zlib.crc32(rest[place + 4 : end]) != int.from_bytes(rest[end : end + 4], "big"):
            raise PictureDamaged(f"{len(data)} bytes are no whole PNG: a check sum is wrong.", _REMEDY)
        place = end + 4


def _written(pixels: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()
