"""Writes small real ``.tflite`` files: the output is the first channels of the input, known by heart.

Field numbers are those of the TensorFlow Lite schema (version 3).
"""

from dataclasses import dataclass
from pathlib import Path

import flatbuffers
import numpy as np

TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int8": 9}
SLICE = 65


@dataclass(frozen=True)
class Tiny:
    """A network that slices ``channels`` channels off its ``side`` x ``side`` x ``inputs`` images.

    ``batch`` -1 leaves their number open.
    """

    channels: int = 1
    side: int = 8
    inputs: int = 3
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0
    batch: int = 1

    def write(self, path: Path) -> Path:
        """Writes the file and returns its path."""
        path.write_bytes(_model(self))
        return path


def _vector(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _table(b, size, *fields):
    b.StartObject(size)
    for slot, kind, value in fields:
        getattr(b, f"Prepend{kind}Slot")(slot, value, 0)
    return b.EndObject()


def _tensor(b, name, shape, dtype, buffer, scale=0.0, zero_point=0):
    text, sizes = b.CreateString(name), b.CreateNumpyVector(np.abs(np.array(shape, np.int32)))
    signature = b.CreateNumpyVector(np.array(shape, np.int32))
    fields = [
        (0, "UOffsetTRelative", sizes),
        (1, "Int8", TYPES[dtype]),
        (2, "Uint32", buffer),
        (3, "UOffsetTRelative", text),
        (7, "UOffsetTRelative", signature),
    ]
    if scale:
        scales = b.CreateNumpyVector(np.array([scale], np.float32))
        zeros = b.CreateNumpyVector(np.array([zero_point], np.int64))
        quantised = _table(b, 7, (2, "UOffsetTRelative", scales), (3, "UOffsetTRelative", zeros))
        fields.append((4, "UOffsetTRelative", quantised))
    return _table(b, 9, *fields)


def _buffer(b, values=()):
    if not len(values):
        return _table(b, 1)
    data = b.CreateNumpyVector(np.frombuffer(np.array(values, np.int32).tobytes(), np.uint8))
    return _table(b, 1, (0, "UOffsetTRelative", data))


def _model(tiny: Tiny) -> bytes:
    b = flatbuffers.Builder(1024)
    image = (tiny.batch, tiny.side, tiny.side, tiny.inputs)
    mask = (tiny.batch, tiny.side, tiny.side, tiny.channels)
    buffers = _vector(b, [_buffer(b), _buffer(b, (0, 0, 0, 0)), _buffer(b, mask)])
    quantisation = (tiny.scale, tiny.zero_point)
    tensors = _vector(
        b,
        [
            _tensor(b, "image", image, tiny.dtype, 0, *quantisation),
            _tensor(b, "begin", (4,), "int32", 1),
            _tensor(b, "size", (4,), "int32", 2),
            _tensor(b, "mask", mask, tiny.dtype, 0, *quantisation),
        ],
    )
    lists = [b.CreateNumpyVector(np.array(row, np.int32)) for row in ([0, 1, 2], [3], [0], [3])]
    slice_op = _table(b, 9, (1, "UOffsetTRelative", lists[0]), (2, "UOffsetTRelative", lists[1]))
    graph = _table(
        b,
        5,
        (0, "UOffsetTRelative", tensors),
        (1, "UOffsetTRelative", lists[2]),
        (2, "UOffsetTRelative", lists[3]),
        (3, "UOffsetTRelative", _vector(b, [slice_op])),
    )
    code = _table(b, 4, (0, "Int8", SLICE), (2, "Int32", 1), (3, "Int32", SLICE))
    model = _table(
        b,
        5,
        (0, "Uint32", 3),
        (1, "UOffsetTRelative", _vector(b, [code])),
        (2, "UOffsetTRelative", _vector(b, [graph])),
        (4, "UOffsetTRelative", buffers),
    )
    b.Finish(model, b"TFL3")
    return bytes(b.Output())
