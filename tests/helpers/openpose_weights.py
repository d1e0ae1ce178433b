"""Caffemodels for tests: random ones, and painted ones that find the figure of ``painted_person``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openpose_layers
from numpy.typing import NDArray
from openpose_painted import painted_tensors

Floats = NDArray[np.float32]


def write_body25(path: Path, seed: int = 0) -> Path:
    """Random weights of BODY_25's shapes."""
    return write_layers(path, openpose_layers.random_tensors(openpose_layers.body25(), seed, 0.2))


def write_coco18(path: Path, seed: int = 0) -> Path:
    """Random weights of the COCO network's shapes."""
    return write_layers(path, openpose_layers.random_tensors(openpose_layers.coco18(), seed, 0.7))


def write_painted_body25(path: Path) -> Path:
    """Weights of BODY_25's shapes that find every figure of ``painted_person.draw``, however its arms are.

    They need a network of at least 256 pixels height for a figure that fills the frame.
    """
    return write_layers(path, painted_tensors(openpose_layers.body25().shapes()))


def write_layers(
    path: Path,
    layers: Mapping[str, Sequence[Floats]],
    legacy: bool = False,
    doubles: bool = False,
    packed: bool = True,
) -> Path:
    """A caffemodel of these tensors.

    Args:
        path: of the file.
        layers: name -> tensors.
        legacy: write V1 layers, and shapes as num, channels, height and width.
        doubles: write 64-bit values.
        packed: write values and sides as packed lists.
    """
    with path.open("wb") as file:
        file.write(chunk(1, b"net"))
        for name, arrays in layers.items():
            blobs = b"".join(
                chunk(6 if legacy else 7, blob(array, legacy, doubles, packed)) for array in arrays
            )
            kind = varint(5 << 3) + varint(4) if legacy else chunk(2, b"Convolution")
            file.write(chunk(2 if legacy else 100, chunk(4 if legacy else 1, name.encode()) + kind + blobs))
    return path


def blob(array: Floats, legacy: bool = False, doubles: bool = False, packed: bool = True) -> bytes:
    """A BlobProto."""
    kind, number, wire = ("<f8", 8, 1) if doubles else ("<f4", 5, 5)
    values = np.ascontiguousarray(array, kind)
    if legacy:
        sides = (1,) * (4 - array.ndim) + array.shape
        head = b"".join(varint(i << 3) + varint(n) for i, n in enumerate(sides, start=1))
    elif packed:
        head = chunk(7, chunk(1, b"".join(map(varint, array.shape))))
    else:
        head = chunk(7, b"".join(varint(1 << 3) + varint(n) for n in array.shape))
    if packed:
        return head + chunk(number, values.tobytes())
    return head + b"".join(varint(number << 3 | wire) + value.tobytes() for value in values.ravel())


def chunk(number: int, data: bytes) -> bytes:
    """A field of bytes (wire type 2)."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """A number of the protobuf wire format."""
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
