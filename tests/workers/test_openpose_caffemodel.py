"""The reader of caffemodels: every way in which Caffe writes one, and everything that is none."""

import random
from pathlib import Path

import numpy as np
import openpose_weights as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import ModelMismatch, WeightsDamaged
from workers.pose.openpose import caffemodel
from workers.pose.openpose.caffemodel import read_caffemodel
from workers.pose.openpose.network import fitted
from workers.pose.openpose.skeletons import BODY_25

LAYERS = {
    "conv1_1": [np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.array([0.5, -0.25], np.float32)],
    "prelu4_2": [np.array([0.125, 0.5, 0.75], np.float32)],
}


@pytest.mark.parametrize(
    "ways",
    [
        {},  # as Caffe writes today
        {"packed": False},
        {"doubles": True},
        {"doubles": True, "packed": False},
        {"legacy": True},  # V1 layers, four sides always
        {"legacy": True, "doubles": True},
    ],
    ids=str,
)
def test_reads_what_was_written(tmp_path: Path, ways: dict[str, bool]) -> None:
    read = read_caffemodel(made.write_layers(tmp_path / "a.caffemodel", LAYERS, **ways))
    assert list(read) == list(LAYERS)
    for name, arrays in LAYERS.items():
        assert len(read[name]) == len(arrays)
        for got, array in zip(read[name], arrays, strict=True):
            shape = (1,) * (4 - array.ndim) + array.shape if ways.get("legacy") else array.shape
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, array.reshape(shape))


def test_layers_without_weights_and_unknown_fields_are_stepped_over(tmp_path: Path) -> None:
    path = made.write_layers(tmp_path / "a.caffemodel", LAYERS)
    extra = made.chunk(100, made.chunk(1, b"relu1") + made.chunk(2, b"ReLU"))
    unknown = made.chunk(900, b"\xff" * 40) + made.varint(901 << 3) + made.varint(7)
    path.write_bytes(unknown + path.read_bytes() + extra)
    assert list(read_caffemodel(path)) == list(LAYERS)


def shaped(sides: bytes, values: bytes) -> bytes:
    """A file with one layer whose tensor has these packed sides and these packed floats."""
    blob = made.chunk(7, made.chunk(1, sides)) + made.chunk(5, values)
    return made.chunk(100, made.chunk(1, b"conv") + made.chunk(7, blob))


HUGE = b"\xff" * 9 + b"\x01"
ONE = np.float32(1).tobytes()
BAD = {
    "empty": (b"", "is empty"),
    "prototxt": (b'name: "net"\nlayer { name: "conv1_1" }\n', "wire type 6 .* at byte 0 of"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "wire type 4 .* at byte 0 of"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "at byte"),
    "zip": (b"PK\x03\x04" + bytes(range(100)), "at byte"),
    "zeros": (bytes(64), "at byte 0"),
    "no weights": (made.chunk(1, b"net"), "no layer with weights"),
    "varint without end": (b"\xff" * 30, "does not end at byte 0 of 30"),
    "varint cut off": (made.chunk(1, b"net") + b"\xa2", "does not end at byte 5 of 6"),
    "length beyond the file": (made.varint(100 << 3 | 2) + HUGE, "does not fit .* at byte 0 of"),
    "layer as a number": (made.varint(100 << 3) + made.varint(5), "wire type 0"),
    "name is no text": (made.chunk(100, made.chunk(1, b"\xff\xfe")), "no text at byte 3 of"),
    "sides that do not fit": (shaped(b"\x02\x03", ONE), r"shape \[2, 3\] has 1 values at byte"),
    "product beyond 64 bits": (shaped(b"\xff\xff\xff\xff\x07" * 8, ONE), "has 1 values"),
    "side beyond 32 bits": (shaped(HUGE, ONE), "a side of a tensor is 18446744073709551615"),
    "many sides": (shaped(b"\x01" * 40, ONE), "more than 32 sides"),
    "half a float": (shaped(b"\x01", b"\0\0\0"), "3 bytes are no whole number of values"),
    "not a number": (shaped(b"\x01", np.float32(np.nan).tobytes()), "no finite numbers"),
    "no name": (made.chunk(100, made.chunk(7, made.blob(np.ones(1, np.float32)))), "the name ''"),
    "one name twice": (shaped(b"\x01", ONE) * 2, "the name 'conv', .*taken"),
    "a number too large for float32": (
        made.chunk(100, made.chunk(1, b"c") + made.chunk(7, made.chunk(8, np.float64(1e300).tobytes()))),
        "no finite numbers",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_file_that_is_no_caffemodel_is_named_with_the_byte(tmp_path: Path, case: str) -> None:
    data, words = BAD[case]
    path = tmp_path / "pose.caffemodel"
    path.write_bytes(data)
    with pytest.raises(WeightsDamaged, match=words) as raised:
        read_caffemodel(path)
    assert "pose.caffemodel" in raised.value.cause
    assert "fetch it again" in raised.value.remedy


def test_a_file_of_tiny_fields_costs_neither_hours_nor_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caffemodel, "MOST_FIELDS", 1000)
    path = tmp_path / "tiny.caffemodel"
    path.write_bytes(made.chunk(100, made.chunk(1, b"c") + made.chunk(7, b"") * 10))
    assert len(read_caffemodel(path)["c"]) == 10
    path.write_bytes(made.chunk(100, made.chunk(1, b"c") + made.chunk(7, b"") * 1000))
    with pytest.raises(WeightsDamaged, match="more than 1000 fields at byte"):
        read_caffemodel(path)


def test_deep_nesting_is_stepped_over(tmp_path: Path) -> None:
    nested = b""
    for _ in range(2000):
        nested = made.chunk(100, nested)
    path = tmp_path / "deep.caffemodel"
    path.write_bytes(nested)
    with pytest.raises(WeightsDamaged, match="no layer with weights"):
        read_caffemodel(path)


def read_or_refuse(path: Path, data: bytes) -> bool:
    """Whether the file could be read; any other error than the two typed ones fails the test."""
    path.write_bytes(data)
    try:
        fitted(BODY_25, read_caffemodel(path))
    except ModelMismatch as error:  # WeightsDamaged is one
        return not isinstance(error, WeightsDamaged)
    return True


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("fuzz") / "small.caffemodel"
    return path, made.write_layers(path, LAYERS).read_bytes()


@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(small: tuple[Path, bytes], data: bytes) -> None:
    read_or_refuse(small[0], data)


@given(data=st.data())
def test_a_flipped_byte_is_read_or_refused(small: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = small
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(path, bytes(changed))


def test_no_cut_gives_the_whole_network(small: tuple[Path, bytes]) -> None:
    path, whole = small
    readable = [length for length in range(len(whole)) if read_or_refuse(path, whole[:length])]
    # Only between the two layers a cut leaves a file that can be read; its missing layers are named then.
    assert len(readable) == 1
    path.write_bytes(whole[: readable[0]])
    assert list(read_caffemodel(path)) == ["conv1_1"]


def test_messages_of_any_fields_are_read_or_refused(small: tuple[Path, bytes]) -> None:
    dice = random.Random(1)
    outcomes = [read_or_refuse(small[0], random_message(dice, 0)) for _ in range(1500)]
    assert 10 < sum(outcomes) < 1490


NUMBERS = ((100, 100, 2, 1), (1, 4, 6, 7, 7), (5, 7, 8, 1, 2), (1, 1, 3))
"""Fields that Caffe uses at each depth: network, layer, tensor, sides."""


def random_message(dice: random.Random, depth: int) -> bytes:
    """Fields with the numbers that Caffe uses, wrong in wire type, order, number and nesting."""
    parts = []
    for number in dice.sample(NUMBERS[depth], dice.randint(1, 3)):
        deeper = depth + 1 < len(NUMBERS) and dice.random() < 0.8
        content = random_message(dice, depth + 1) if deeper else dice.choice((b"a", bytes(8), b"\x01", b""))
        as_number = made.varint(number << 3) + made.varint(dice.randint(0, 3))
        parts.append(as_number if dice.random() < 0.15 else made.chunk(number, content))
    return b"".join(parts)
