"""A strict reader of Caffe's weights files: the protobuf wire format, with numpy and nothing else.

The messages read are NetParameter, LayerParameter and V1LayerParameter, BlobProto and BlobShape. Their
depth is fixed and what is not needed is stepped over, so a file cannot make the reader recurse; the number
of fields is bounded, so it can cost neither hours nor much more memory than its own size.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from workers.errors import WeightsDamaged

Blobs = list[NDArray[np.float32]]
Tensors = dict[str, Blobs]
"""Layer name: its tensors in the file's order."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types (Protocol Buffers documentation, "Encoding"); groups (3 and 4) are not used by Caffe."""
LAYERS = {100: (1, 7), 2: (4, 6)}
"""Field of NetParameter: fields of the name and the blobs in it, for LayerParameter and V1LayerParameter."""
DATA, SHAPE, DOUBLES = 5, 7, 8
"""Fields of BlobProto; 1 to 4 are the old num, channels, height and width."""
MAX_SIDE = 1 << 31
"""Caffe counts sides in 32-bit integers."""


MOST_FIELDS = 200_000
"""In a whole file; OpenPose's have some thousands, because Caffe packs numbers into one field."""
MOST_SIDES = 32
"""Of a tensor (Caffe's own bound)."""


@dataclass(frozen=True)
class Field:
    """One field of a message: where it starts, and its value as a number or as a range of bytes."""

    number: int
    wire: int
    offset: int
    value: int
    start: int
    end: int


def read_caffemodel(path: Path) -> Tensors:
    """Every layer with weights, in the file's order.

    Args:
        path: a binary ``.caffemodel``; new and old (V1) layers, floats and doubles, new and old shapes.

    Returns:
        Layer name -> its tensors (float32, copies): kernel and bias of a convolution, slopes of a PReLU.

    Raises:
        WeightsDamaged: cut off, of another format, or with impossible sizes; names the byte.
        OSError: the file cannot be opened.
    """
    size = path.stat().st_size
    if size == 0:
        raise WeightsDamaged(f"{path.name} is empty.", REMEDY)
    with path.open("rb") as file:
        # Not closed by hand: a traceback may still hold a view of it.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tensors = _Reader(path.name, data).layers()
    if not tensors:
        raise WeightsDamaged(f"{path.name} ({size} bytes) holds no layer with weights.", REMEDY)
    return tensors


REMEDY = "Give the binary .caffemodel, whole: fetch it again and compare its size and MD5."


class _Reader:
    """Reads one mapped file; every position is counted from its beginning."""

    def __init__(self, name: str, data: mmap.mmap) -> None:
        self._name, self._data, self._size = name, data, len(data)
        self._seen = 0

    def layers(self) -> Tensors:
        tensors: Tensors = {}
        for field in self._fields(0, self._size):
            if field.number not in LAYERS:
                continue
            self._must_be(field, BYTES)
            name, blobs = self._layer(field, *LAYERS[field.number])
            if blobs and (not name or name in tensors):
                self._refuse(f"a layer has the name {name!r}, which is empty or taken,", field.offset)
            if blobs:
                tensors[name] = blobs
        return tensors

    def _layer(
        self, layer: Field, name_field: int, blobs_field: int
    ) -> tuple[str, list[NDArray[np.float32]]]:
        name, blobs = "", []
        for field in self._fields(layer.start, layer.end):
            if field.number == name_field:
                name = self._text(field)
            elif field.number == blobs_field:
                self._must_be(field, BYTES)
                blobs.append(self._blob(field))
        return name, blobs

    def _blob(self, blob: Field) -> NDArray[np.float32]:
        parts: list[NDArray[np.float32]] = []
        shape: list[int] | None = None
        old: dict[int, int] = {}
        for field in self._fields(blob.start, blob.end):
            if field.number == DATA:
                parts.append(self._numbers(field, FIXED32, "<f4"))
            elif field.number == DOUBLES:
                parts.append(self._numbers(field, FIXED64, "<f8"))
            elif field.number == SHAPE:
                shape = self._shape(field)
            elif 1 <= field.number <= 4:
                old[field.number] = self._side(field, field.value)
        values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        if shape is None:
            shape = [old.get(number, 1) for number in (1, 2, 3, 4)] if old else [values.size]
        if math.prod(shape) != values.size:
            self._refuse(f"a tensor of shape {shape} has {values.size} values", blob.offset)
        if not np.isfinite(values).all():
            self._refuse("a tensor has values that are no finite numbers", blob.offset)
        return values.reshape(shape)

    def _numbers(self, field: Field, single: int, dtype: str) -> NDArray[np.float32]:
        """A packed list, or one number of an unpacked one."""
        self._must_be(field, BYTES, single)
        count, rest = divmod(field.end - field.start, np.dtype(dtype).itemsize)
        if rest:
            self._refuse(f"{field.end - field.start} bytes are no whole number of values", field.offset)
        if not count:
            return np.zeros(0, np.float32)
        numbers = np.frombuffer(self._data, dtype, count, field.start)
        with np.errstate(over="ignore"):  # a double too large for float32 becomes infinite, and is refused
            return numbers.astype(np.float32)

    def _shape(self, message: Field) -> list[int]:
        self._must_be(message, BYTES)
        sides: list[int] = []
        for field in self._fields(message.start, message.end):
            if field.number != 1:
                continue
            self._must_be(field, BYTES, VARINT)
            if field.wire == VARINT:
                sides.append(self._side(field, field.value))
                continue
            at = field.start
            while at < field.end and len(sides) <= MOST_SIDES:
                value, at = self._varint(at, field.end)
                sides.append(self._side(field, value))
        if len(sides) > MOST_SIDES:
            self._refuse(f"a tensor has more than {MOST_SIDES} sides", message.offset)
        return sides

    def _side(self, field: Field, value: int) -> int:
        if field.wire not in (VARINT, BYTES) or value >= MAX_SIDE:
            self._refuse(f"a side of a tensor is {value}", field.offset)
        return value

    def _text(self, field: Field) -> str:
        self._must_be(field, BYTES)
        try:
            return self._data[field.start : field.end].decode()
        except UnicodeDecodeError:
            return self._refuse("a layer's name is no text", field.offset)

    def _fields(self, start: int, end: int) -> Iterator[Field]:
        at = start
        while at < end:
            offset = at
            self._seen += 1
            if self._seen > MOST_FIELDS:
                self._refuse(f"more than {MOST_FIELDS} fields", offset)
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            value, length = 0, {FIXED64: 8, FIXED32: 4}.get(wire, 0)
            if wire == VARINT:
                value, at = self._varint(at, end)
            elif wire == BYTES:
                length, at = self._varint(at, end)
            elif not length:
                self._refuse(f"wire type {wire} is none that Caffe writes", offset)
            if number == 0 or length > end - at:
                self._refuse(f"field {number} of {length} bytes does not fit into what is left", offset)
            yield Field(number, wire, offset, value, at, at + length)
            at += length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """The number at ``at`` and the position after it."""
        value, last = 0, min(end, at + 10)  # 64 bits, 7 in each byte
        for position in range(at, last):
            byte = self._data[position]
            value |= (byte & 0x7F) << (7 * (position - at))
            if byte < 0x80:
                return value, position + 1
        return self._refuse("a number does not end", at)

    def _must_be(self, field: Field, *wires: int) -> None:
        if field.wire not in wires:
            self._refuse(
                f"field {field.number} has wire type {field.wire}, expected {wires[0]}", field.offset
            )

    def _refuse(self, what: str, offset: int) -> NoReturn:
        raise WeightsDamaged(
            f"{self._name} is no whole caffemodel: {what} at byte {offset} of {self._size}.", REMEDY
        )
