"""From images to a network's input, from its output to person maps, and delegates."""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_tflite import Tiny

from broker.errors import SettingsError
from broker.recipe import ModelSpec
from workers.devices.errors import NotANumber, WrongSize
from workers.devices.network import NetworkOptions, network_options
from workers.devices.network_input import NetworkInput, network_input
from workers.devices.network_output import MaskOutput, channels_axis, mask_output, person_probability
from workers.errors import DelegateFailed, ModelMismatch
from workers.litert import Delegate, LiteRT
from workers.pictures import decode_rgb, encode_png, resized
from workers.tensors import Tensor

INTEGERS = st.sampled_from([np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16)])


def tensor(*shape, dtype=np.float32, quantised=False, scale=1.0, zero_point=0):
    return Tensor("t", 0, shape, np.dtype(dtype), scale, zero_point, quantised)


class Shapes:
    """A network of which only the shapes matter."""

    def __init__(self, image, *outputs):
        self.path, self.input, self.outputs = Path("me.net"), image, outputs

    def run(self, values, *wanted):
        raise AssertionError("nobody runs it")


def seen(width, height, channels_first=False):
    one, none = np.ones(3, np.float32), np.zeros(3, np.float32)
    return NetworkInput(width, height, channels_first, 1, "area", False, one, none)


@given(INTEGERS, st.floats(1e-4, 10), st.data())
def test_a_stored_number_stands_for_the_nearest_real_one(dtype, scale, data):
    limits = np.iinfo(dtype)
    zero_point = data.draw(st.integers(limits.min, limits.max))
    stored = tensor(1, dtype=dtype, quantised=True, scale=scale, zero_point=zero_point)
    every = np.arange(limits.min, limits.max + 1, max(1, (limits.max - limits.min) // 255)).astype(dtype)
    real = stored.dequantise(every)
    assert np.array_equal(stored.quantise(real), every)  # back to the same number
    low, high = float(real.min()), float(real.max())
    value = np.array([data.draw(st.floats(low, high))], np.float32)
    back = stored.dequantise(stored.quantise(value))
    assert abs(back - value).max() <= scale / 2 * (1 + 1e-3) + 1e-6
    beyond = np.array([low - 10 * scale, high + 10 * scale], np.float32)
    assert stored.quantise(beyond).tolist() == [limits.min, limits.max]  # cut off, never wrapped


def plainly(values, options):
    """One pixel after the other, in Python's own numbers."""
    rows = []
    for row in values.tolist():
        answers = []
        for channels in row:
            if options.output == "argmax":
                first_largest = channels.index(max(channels))
                number = first_largest if len(channels) > 1 else round(channels[0])
                answers.append(1.0 if number == options.person_channel else 0.0)
                continue
            if options.output == "softmax":
                powers = [math.exp(c - max(channels)) for c in channels]
                channels = [p / sum(powers) for p in powers]
            person = channels[options.person_channel if len(channels) > 1 else 0]
            answers.append(1 / (1 + math.exp(-person)) if options.output == "logit" else person)
        rows.append(answers)
    return np.array(rows)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(*[st.integers(2, 5)] * 2, st.integers(1, 4)),
        elements=st.floats(-60, 60, width=32),
    ),
    st.sampled_from(["probability", "logit", "softmax", "argmax"]),
    st.integers(0, 3),
)
def test_an_output_is_read_as_a_plain_loop_reads_it(values, output, channel):
    assume(values.shape[2] > 1 or output != "softmax")
    assume(channel < values.shape[2] or output == "argmax")
    options = NetworkOptions(output=output, person_channel=channel)
    found = person_probability(values, options)
    assert found.dtype == np.float32
    assert np.allclose(found, plainly(values, options), atol=1e-5)


@given(
    st.integers(16, 600), st.integers(16, 600), st.integers(1, 150), st.sampled_from([1, 2, 4, 8]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_channels_are_told_from_rows_by_the_proportions_of_the_picture(
    width, height, channels, stride, first_in, first_out
):
    assume(width != height or first_in == first_out)
    rows, columns = height // stride, width // stride
    assume(min(rows, columns) >= 2)
    shape = (1, channels, rows, columns) if first_out else (1, rows, columns, channels)
    # Where the channels are as many as the rows or the columns, nothing tells them apart.
    others = (shape[1], shape[2]) if first_out else (shape[2], shape[3])
    wanted, other = math.log(height / width), math.log(others[0] / others[1])
    assume(first_in == first_out or abs(other - wanted) > abs(math.log(rows / columns) - wanted) + 0.1)
    assume(first_in == first_out or abs(math.log(rows / columns) - wanted) < 0.3)
    assume(first_in != first_out or abs(other - wanted) > abs(math.log(rows / columns) - wanted))
    options = NetworkOptions(person_channel=0)
    assert channels_axis(shape, seen(width, height, first_in), options) == (1 if first_out else 3)


@settings(max_examples=30)
@given(
    hnp.arrays(np.uint8, (6, 8, 3)),
    st.booleans(),
    st.booleans(),
    st.lists(st.floats(-2, 2), min_size=3, max_size=3),
)
def test_an_input_is_normalised_colour_by_colour_and_then_ordered(image, first, bgr, mean):
    options = NetworkOptions(
        colours="bgr" if bgr else "rgb", mean=" ".join(map(str, mean)), std="0.5 1 2", scale=0.01, offset=0.3
    )
    shape = (1, 3, 6, 8) if first else (1, 6, 8, 3)
    filled = network_input(Shapes(tensor(*shape)), options).fill([image])
    assert filled.shape == shape
    assert filled.dtype == np.float32
    expected = (image * 0.01 + 0.3 - np.array(mean)) / np.array([0.5, 1, 2])
    expected = expected[:, :, ::-1] if bgr else expected
    assert np.allclose(filled[0].transpose(1, 2, 0) if first else filled[0], expected, atol=1e-4)


@pytest.mark.parametrize("way", ["area", "linear"])
def test_pixels_that_have_the_networks_size_already_are_taken_as_they_are(way):
    """What a message brought is what the store's frame becomes: both ways end in the same numbers."""
    frame = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    takes = network_input(Shapes(tensor(1, 12, 20, 3)), NetworkOptions(resize=way))

    sent = decode_rgb(encode_png(resized(frame, takes.width, takes.height, way)))
    assert sent.shape == (12, 20, 3)
    assert np.array_equal(takes.fill([sent]), takes.fill([frame]))


def test_an_output_whose_sizes_are_open_is_judged_when_it_comes():
    read = mask_output(Shapes(tensor(1, 8, 8, 3), tensor(1, -1, -1, 1)), seen(8, 8), NetworkOptions())
    assert read.person_map(np.ones((4, 4, 1), np.float32)).tolist() == [[255] * 4] * 4
    with pytest.raises(WrongSize, match="came as 4x1x1"):
        read.person_map(np.ones((4, 1, 1), np.float32))
    with pytest.raises(NotANumber, match="1 of 16 numbers"):
        read.person_map(np.array([*range(15), math.nan], np.float32).reshape(4, 4, 1))


def test_a_map_is_the_probability_in_255ths_and_a_little_overshoot_is_cut_off():
    read = MaskOutput(tensor(1, 2, 2, 1), seen(2, 2), NetworkOptions())
    assert read.person_map(np.array([[[-0.2], [0.5]], [[0.25], [1.3]]], np.float32)).tolist() == [
        [0, 128],
        [64, 255],
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mean": "0.5 0.5"}, "mean"),  # of which colours?
        ({"mean": "a b c"}, "mean"),  # no numbers
        ({"std": "1 1 0"}, "std"),  # nothing can be divided by it
        ({"std": "nan"}, "std"),  # no number
        ({"scale": math.inf}, "scale"),  # every pixel would be infinite
        ({"width": -1}, "width"),  # no size
        ({"frames": "gif"}, "frames"),  # a way that is not known
        ({"empty_masks": "accept"}, "empty_masks"),  # the same
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_by_name(options, named):
    with pytest.raises(SettingsError, match=f"The option {named} of the device me is") as refused:
        network_options(ModelSpec(name="me", version="1", options=options))
    assert refused.value.remedy


def test_an_open_batch_is_run_as_one(tmp_path):
    network = LiteRT(Tiny(batch=-1).write(tmp_path / "me.tflite"))
    assert network.input.shape == (-1, 8, 8, 3)
    values = np.random.default_rng(0).random((5, 8, 8, 3), np.float32)
    for count in (1, 5, 2):  # more, and fewer again
        (found,) = network.run(values[:count], *network.outputs)
        assert np.array_equal(found, values[:count, :, :, :1])


def test_an_input_of_a_wrong_shape_is_a_typed_error(tmp_path):
    network = LiteRT(Tiny().write(tmp_path / "me.tflite"))
    with pytest.raises(ModelMismatch, match="cannot be run on 1x4x4x3"):
        network.run(np.zeros((1, 4, 4, 3), np.float32), *network.outputs)


DELEGATE = """
#include <stddef.h>
#include <stdint.h>
typedef struct D {{
  void *data; int (*prepare)(void *, struct D *); void *a, *b, *c; int64_t flags; void *o;
}} D;
static int prepare(void *context, D *delegate) {{ return {status}; }}
static D one = {{0, prepare, 0, 0, 0, 0, 0}};
void *tflite_plugin_create_delegate(char **keys, char **values, size_t n, void (*report)(const char *)) {{
  if (n != 1) {{ report("it wants the option device"); return NULL; }}
  return &one;
}}
void tflite_plugin_destroy_delegate(void *delegate) {{}}
"""


def compiled(tmp_path, source):
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to compile a delegate with")
    library = tmp_path / "libnpu.so"
    line = ["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(library), "-"]
    subprocess.run(line, input=source, text=True, check=True)
    return str(library)


def refusal(library, tmp_path, **options):
    with pytest.raises(DelegateFailed) as refused:
        LiteRT(Tiny().write(tmp_path / "me.tflite"), 1, Delegate(library, options))
    assert "vendor" in refused.value.remedy
    return refused.value.cause


def test_a_delegate_that_is_not_there_or_is_none_or_fails_is_named(tmp_path):
    assert "/no/such/libnpu.so cannot be loaded" in refusal("/no/such/libnpu.so", tmp_path)
    none = compiled(tmp_path, "int answer(void) { return 42; }")
    assert "is no LiteRT delegate" in refusal(none, tmp_path)
    (tmp_path / "refusing").mkdir()
    refusing = compiled(tmp_path / "refusing", DELEGATE.format(status=1))
    assert "did not start" in refusal(refusing, tmp_path)
    assert "it wants the option device" in refusal(refusing, tmp_path)
    assert "cannot take me.tflite" in refusal(refusing, tmp_path, device="0")
    assert "device=0" in refusal(refusing, tmp_path, device="0")


def test_what_a_delegate_leaves_runs_on_the_cpu(tmp_path):
    library = compiled(tmp_path, DELEGATE.format(status=0))
    network = LiteRT(Tiny().write(tmp_path / "me.tflite"), 1, Delegate(library, {"device": "0"}))
    values = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    assert np.array_equal(network.run(values, *network.outputs)[0], values[:, :, :, :1])
