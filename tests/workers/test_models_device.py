"""The device driver and the choice of models by name, on small real ``.tflite`` files and no others."""

import json
import math

import numpy as np
import pytest
from tiny_onnx import Red
from tiny_tflite import Tiny

from broker.errors import HardposeError, NotFound, SettingsError
from broker.recipe import ModelSpec
from broker.settings import load_settings
from workers import models
from workers.compute import Compute
from workers.devices.answers import mask_of
from workers.devices.litert import LiteRTDevice
from workers.devices.network import NetworkOptions
from workers.devices.network_output import person_probability
from workers.errors import ModelMismatch
from workers.masks.blazepose import BlazePoseTeacher, TeacherOptions
from workers.options import read_options
from workers.pose.blazepose import BlazePose, PoseOptions
from workers.weights import WeightsStore


@pytest.fixture
def store(tmp_path):
    return WeightsStore(tmp_path / "weights")


def open_file(path, store, at_least=0.5, **options):
    if options:
        path.with_suffix(".json").write_text(json.dumps(options))
    chosen = load_settings(device_model=str(path), device_threshold=at_least)
    return models.open_device(models.device_spec(chosen), store)


def drawn(device, images, threshold=0.5):
    """The masks that the stage makes of the device's maps."""
    maps = device.maps(images)
    return [mask_of(m, i.shape[1], i.shape[0], threshold) for m, i in zip(maps, images, strict=True)]


def halves(left, right, height=24, width=40):
    """A frame whose left half has the colour ``left`` (R, G, B) and whose right half has ``right``."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = left, right
    return image


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
REAL = {"dtype": "float32"}
UINT8 = {"dtype": "uint8", "scale": 1 / 255, "zero_point": 0}
INT8 = {"dtype": "int8", "scale": 1 / 255, "zero_point": -128}
PLAIN = {"dtype": "uint8"}
SHIFTED = {"dtype": "int8"}
SIGNED = {"dtype": "int8", "scale": 2 / 255, "zero_point": 0}


@pytest.mark.parametrize(
    ("network", "options", "person", "other"),
    [
        (REAL, {}, RED, BLUE),  # channel 0 is red, as a probability
        (REAL, {"colours": "bgr"}, BLUE, RED),  # the network wants BGR
        (UINT8, {}, RED, GREEN),  # the file says how it is quantised
        (INT8, {}, RED, GREEN),  # and with a zero point
        (REAL, {"scale": 2 / 255, "offset": -1.0, "output": "logit"}, RED, BLUE),  # logits 1 and -1
        (SIGNED, {"scale": 2 / 255, "offset": -1.0, "output": "logit"}, RED, BLUE),  # quantised logits
        ({"channels": 2}, {"output": "softmax"}, GREEN, RED),  # the person is the second channel
        ({"channels": 2}, {"output": "softmax", "person_channel": 0}, RED, GREEN),  # or the first
        ({"channels": 2}, {"output": "argmax"}, GREEN, RED),  # the larger channel
        ({"channels": 2}, {"output": "probability"}, GREEN, RED),  # the person's channel alone
        (REAL, {"output": "argmax"}, RED, BLUE),  # class numbers: red is class 1
        (UINT8, {"resize": "linear"}, RED, GREEN),  # sampled instead of averaged
        (PLAIN, {"scale": 1, "offset": 0}, RED, GREEN),  # plain pixels, when the description says so
        (SHIFTED, {"scale": 1, "offset": -128, "output": "logit"}, RED, GREEN),  # pixels around 0
    ],
)
def test_a_network_is_read_as_it_is_described(tmp_path, store, network, options, person, other):
    device = open_file(Tiny(**network).write(tmp_path / "me.tflite"), store, **options)
    image = halves(person, other)
    first, second = drawn(device, [image, image[:, ::-1]])
    assert first.shape == (24, 40)
    assert first.dtype == np.bool_
    # Two input columns of eight blur where the colours meet; the outer parts are certain.
    assert first[:, :15].all()
    assert not first[:, 25:].any()
    assert (second == first[:, ::-1]).mean() > 0.95


def test_the_threshold_decides_from_which_probability_a_pixel_is_person(tmp_path, store):
    path = Tiny().write(tmp_path / "me.tflite")
    image = np.full((10, 10, 3), 128, np.uint8)
    assert drawn(open_file(path, store), [image], 0.45)[0].all()
    assert not drawn(open_file(path, store), [image], 0.55)[0].any()


@pytest.mark.parametrize(
    ("tiny", "options", "named"),
    [
        (Tiny(inputs=1), {}, "image 1x8x8x1 float32"),  # a grey input
        (Tiny(channels=1), {"output": "softmax"}, "mask 1x8x8x1 float32"),  # softmax over one channel
        (Tiny(channels=2), {"person_channel": 2}, "mask 1x8x8x2 float32"),  # a channel that is not there
        (Tiny(channels=1), {"output_name": "heat"}, "mask 1x8x8x1 float32"),  # an output that is not there
    ],
)
def test_a_network_that_does_not_fit_is_refused_by_what_was_found(tmp_path, store, tiny, options, named):
    device = open_file(tiny.write(tmp_path / "me.tflite"), store, **options)
    with pytest.raises(ModelMismatch) as refused:
        device.load()
    assert named in refused.value.cause
    assert refused.value.remedy


@pytest.mark.parametrize("network", [PLAIN, SHIFTED, {"dtype": "uint8", "channels": 2}])
def test_an_integer_input_without_quantisation_needs_a_description(tmp_path, store, network):
    device = open_file(Tiny(**network).write(tmp_path / "me.tflite"), store)
    with pytest.raises(ModelMismatch, match="image 1x8x8x3") as refused:
        device.load()
    for word in ("scale", "offset", ".json beside"):
        assert word in refused.value.remedy


def test_a_file_that_is_no_network_is_refused(tmp_path, store):
    path = tmp_path / "me.tflite"
    path.write_bytes(b"no network at all")
    with pytest.raises(ModelMismatch, match="cannot be loaded"):
        open_file(path, store).load()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"treshold": 0.5}, "treshold"),  # a misspelt name, which must not be ignored
        ({"scale": "1/255"}, "scale"),  # text for a number
        ({"person_channel": 1.5}, "person_channel"),  # a fraction for a channel
        ({"person_channel": True}, "person_channel"),  # a truth value for a number
        ({"colours": "yuv"}, "yuv"),  # an order that is not known
        ({"output": "sigmoid"}, "sigmoid"),  # an output that is not known
        ({"threshold": 1.0}, "threshold"),  # no pixel could be person
        ([1, 2], "object"),  # not even an object
    ],
)
def test_a_wrong_description_is_refused_by_name(tmp_path, store, options, named):
    path = Tiny().write(tmp_path / "me.tflite")
    with pytest.raises(SettingsError) as refused:
        _open_with(path, store, options)
    assert named in refused.value.cause


def _open_with(path, store, text):
    path.with_suffix(".json").write_text(json.dumps(text))
    return open_file(path, store)


def test_a_file_is_described_by_its_bytes(tmp_path):
    path = Tiny().write(tmp_path / "me v2.tflite")
    spec = models.device_spec(load_settings(device_model=str(path), device_threshold=0.4))
    (ref,) = spec.weights
    assert ref.size == path.stat().st_size
    assert ref.source.startswith("file:///")
    assert (spec.name, spec.licence, spec.options) == ("litert", "unknown", {"threshold": 0.4})
    other = Tiny(channels=2).write(tmp_path / "other.tflite")
    assert models.device_spec(load_settings(device_model=str(other))).sha256 != spec.sha256


@pytest.mark.parametrize("name", ["nowhere.tflite", "/no/such/me.tflite", "nobodys-device"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(NotFound, match=name.split("/")[-1]):
        models.device_spec(load_settings(device_model=name))


@pytest.mark.parametrize("driver", ["http", "command", "onnx"])
def test_a_driver_that_needs_a_description_is_no_device_by_itself(driver):
    with pytest.raises(SettingsError, match=driver) as refused:
        models.device_spec(load_settings(device_model=driver))
    assert f'driver = "{driver}"' in refused.value.remedy


def test_an_onnx_file_is_a_device_as_a_tflite_file_is(tmp_path, store):
    device = open_file(Red(out="logit").write(tmp_path / "me.onnx"), store, output="logit")
    (mask,) = drawn(device, [halves(RED, BLUE)])
    assert mask[:, :15].all()
    assert not mask[:, 25:].any()
    assert models.device_spec(load_settings(device_model=str(tmp_path / "me.onnx"))).name == "onnx"


def test_an_unknown_model_lists_what_is_installed():
    with pytest.raises(NotFound) as missing:
        models.pose_spec(load_settings(pose_model="openpose9000"))
    assert "openpose9000" in missing.value.cause
    assert "blazepose" in missing.value.remedy


def test_the_settings_threshold_reaches_the_embedded_device():
    assert models.device_spec(load_settings(device_threshold=0.3)).options["threshold"] == 0.3


@pytest.mark.parametrize(
    ("kind", "options"),
    [(BlazePose, PoseOptions), (BlazePoseTeacher, TeacherOptions), (LiteRTDevice, NetworkOptions)],
)
def test_a_default_description_states_every_option_and_is_read_back(kind, options):
    spec = ModelSpec.model_validate_json(kind.default_spec().model_dump_json())
    assert spec == kind.default_spec()
    assert read_options(options, spec) == options()
    assert spec.licence == "Apache-2.0"


def test_a_whole_number_is_a_float_after_json():
    spec = ModelSpec(name="m", version="1", options={"threshold": 1, "offset": 0})
    assert read_options(NetworkOptions, spec).offset == 0


@pytest.mark.parametrize("kind", [BlazePose, BlazePoseTeacher])
def test_a_description_with_too_few_weights_is_refused(kind, store):
    spec = kind.default_spec().model_copy(update={"weights": ()})
    with pytest.raises(ModelMismatch, match="0 weights"):
        kind(spec, store, Compute()).load()


def test_softmax_of_large_logits_stays_finite():
    raw = np.array([[[1000.0, 1000.0 + math.log(3)]]], np.float32)
    assert person_probability(raw, NetworkOptions(output="softmax"))[0, 0] == pytest.approx(0.75, abs=1e-3)


def test_model_errors_are_the_users_to_read():
    assert issubclass(ModelMismatch, HardposeError)
    assert ModelMismatch.code == "model_mismatch"
