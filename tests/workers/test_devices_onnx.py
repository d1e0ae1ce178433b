"""The driver for ONNX networks, on small real files whose answer is known by heart."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from device_pages import write_page
from tiny_onnx import Red
from tiny_tflite import Tiny

from broker.errors import HardposeError
from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.devices.answers import mask_of
from workers.devices.description import load_description, open_described
from workers.devices.errors import DeviceFault, NotANumber, TooLate
from workers.devices.in_process import InProcessDevice
from workers.devices.litert import LiteRTDevice
from workers.devices.onnx import OnnxDevice
from workers.devices.self_test import self_test
from workers.errors import ModelMismatch, NoProvider
from workers.machine import cores
from workers.onnx_runtime import OnnxModel
from workers.pictures import encode_png
from workers.process import has_own_cores, processes_of

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


class Here:
    """The file itself, as a weights store."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def path(self, ref):
        return self._path


def opened(path, compute=None, kind=OnnxDevice, **options) -> InProcessDevice:
    data = path.read_bytes()
    ref = WeightsRef(
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        source=path.as_uri(),
        licence="CC0",
        size=len(data),
    )
    return kind(
        ModelSpec(name="x", version="1", weights=(ref,), options=options), Here(path), compute or Compute()
    )


def halves(left, right, height=24, width=40):
    """A picture whose left half has the colour ``left`` (R, G, B) and whose right half has ``right``."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = left, right
    return image


MEAN_STD = {"mean": "0.5 0.25 0.25", "std": "0.5 1 1"}
PLAIN = {"scale": 1, "offset": 0}


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (Red(), {}),  # channels first
        (Red(first=False), {}),  # channels last
        (Red(dtype="float16"), {}),
        (Red(dtype="uint8", divisor=255.0), PLAIN),  # plain pixels in
        (Red(out="byte"), {}),  # plain bytes out: 255ths of a probability
        (Red(dtype="uint8", divisor=255.0, out="byte", first=False), PLAIN),
        (Red(out="logit"), {"output": "logit"}),
        (Red(out="pair"), {}),  # the person is the second channel
        (Red(out="pair", first=False), {"output": "argmax"}),
        (Red(out="classes"), {"output": "argmax", "person_channel": 2}),  # class numbers, int64
        (Red(batch="n"), {}),
        (Red(batch=3, out="pair"), {}),  # two images in a call of three
        (Red(height="h", width="w"), {"width": 20, "height": 12}),  # sizes that the file leaves open
        (Red(batch="n", height="h", width="w", out="pair"), {"width": 20, "height": 12}),
    ],
    ids=str,
)
def test_a_network_is_read_as_it_is_described(tmp_path, network, options):
    device = opened(network.write(tmp_path / "me.onnx"), **options)
    image = halves(RED, BLUE)
    answers = device.maps([image, image[:, ::-1]])
    assert len(answers) == 2
    first, second = (mask_of(answer, 40, 24, 0.5) for answer in answers)
    assert answers[0].dtype == np.uint8
    assert first[:, :15].all()
    assert not first[:, 25:].any()
    assert (second == first[:, ::-1]).mean() > 0.95


def test_mean_and_deviation_are_of_red_green_and_blue_whatever_the_order_of_the_channels(tmp_path):
    path = Red().write(tmp_path / "me.onnx")
    picture = np.full((8, 8, 3), (255, 128, 51), np.uint8)
    (red,) = opened(path, **MEAN_STD).maps([picture])
    (blue,) = opened(path, colours="bgr", **MEAN_STD).maps([picture])
    assert red.max() == red.min() == 255  # (1 - 0.5) / 0.5
    assert blue.max() == blue.min() == 0  # (0.2 - 0.25) / 1, cut off at 0


@pytest.mark.parametrize(
    ("network", "options", "named"),
    [
        (Red(inputs=2), {}, "2 inputs (image 1x3x8x8"),  # which of them is the image?
        (Red(height="h"), {}, "its height is open"),  # nothing says how large pictures are to be
        (Red(), {"width": 16}, "16 is described as its width"),  # the file says 8
        (Red(out="classes"), {}, "plain integers"),  # class numbers described as a probability
        (Red(dtype="uint8"), {}, "how it is quantised"),  # pixels over 255 would all become 0 and 1
        (Red(), {"output": "softmax"}, "0 outputs"),  # softmax over one channel
    ],
    ids=str,
)
def test_a_network_that_does_not_fit_is_refused_by_what_was_found(tmp_path, network, options, named):
    with pytest.raises(ModelMismatch) as refused:
        opened(network.write(tmp_path / "me.onnx"), **options).load()
    assert named in refused.value.cause
    assert refused.value.remedy


def test_logits_that_are_described_as_probabilities_are_refused_and_never_compared(tmp_path):
    device = opened(Red(out="logit").write(tmp_path / "me.onnx"))
    with pytest.raises(ModelMismatch, match="from -10 to 10") as refused:
        device.maps([halves(RED, BLUE)])
    assert "logit" in refused.value.remedy


@pytest.mark.parametrize("out", ["root", "inverse"])
def test_what_is_no_number_fails_its_own_frame_and_no_other(tmp_path, out):
    device = opened(Red(out=out, batch="n").write(tmp_path / "me.onnx"), Compute(batch=2))
    good, bad = halves(RED, RED), halves(RED, BLACK)
    with pytest.raises(NotANumber, match="NaN or infinite"):
        device.maps([good, bad])
    (answer,) = device.maps([good])
    assert answer.min() > 200
    assert issubclass(NotANumber, DeviceFault)


@pytest.mark.parametrize(("batch", "described", "taken"), [("n", 2, 2), ("n", None, 1), (4, 2, 4), (1, 8, 1)])
def test_a_batch_gives_what_single_images_give(tmp_path, batch, described, taken):
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (30, 20 + i, 3), np.uint8) for i in range(5)]
    device = opened(Red(batch=batch).write(tmp_path / "me.onnx"), Compute(batch=described))
    assert device.batch_size == taken
    together = device.maps(images)
    alone = [answer for image in images for answer in device.maps([image])]
    assert len(together) == len(alone) == 5
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_both_runtimes_see_the_same_in_the_same_pixels(tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8)
    (onnx,) = opened(Red(first=False).write(tmp_path / "me.onnx")).maps([image])
    (litert,) = opened(Tiny().write(tmp_path / "me.tflite"), kind=LiteRTDevice).maps([image])
    assert np.array_equal(onnx, litert)
    assert onnx.std() > 5


def test_a_provider_that_is_not_here_is_refused_by_name(tmp_path):
    device = opened(Red().write(tmp_path / "me.onnx"), Compute(providers=("tensorrt",)))
    with pytest.raises(NoProvider, match="tensorrt"):
        device.load()


def test_a_described_device_has_its_batch_and_its_time_limit(tmp_path):
    Red(batch="n").write(tmp_path / "me.onnx")
    page = tmp_path / "me.toml"
    lines = ('name = "me"', 'firmware = "1"', 'driver = "onnx"', "batch = 3", "time_limit = {}", "[network]")
    text = "\n".join((*lines, 'model = "me.onnx"'))
    page.write_text(text.format(60))
    device = open_described(load_description(page))
    assert device.batch_size == 3
    assert len(device.maps([halves(RED, BLUE)] * 4)) == 4
    page.write_text(text.format(0.000001))
    with pytest.raises(TooLate, match="may take 1e-06 s") as late:
        open_described(load_description(page)).maps([halves(RED, BLUE)])
    assert isinstance(late.value, HardposeError)
    assert "time_limit" in late.value.remedy


@pytest.mark.parametrize(
    ("lines", "gpu", "processes"), [({}, False, 2), ({}, True, 1), ({"processes": 2}, True, 2)]
)
def test_a_network_on_a_gpu_is_held_there_once_unless_its_page_says_otherwise(
    tmp_path, monkeypatch, lines, gpu, processes
):
    """No GPU is needed: it is ONNX Runtime's word for what it runs on that is another."""
    monkeypatch.setattr(OnnxModel, "on_gpu", property(lambda model: gpu or model.providers[0] != "cpu"))
    known = {"image": "red.png", "mask": "mask.png"}
    red = np.zeros((8, 8, 3), np.uint8)
    red[2:6, 2:6, 0] = 255
    (tmp_path / "red.png").write_bytes(encode_png(red))
    (tmp_path / "mask.png").write_bytes(encode_png(np.ascontiguousarray(red[:, :, 0])))
    path = write_page(
        tmp_path / "me.toml", "onnx", {"model": Red().write(tmp_path / "red.onnx").name}, **lines
    )
    with path.open("a") as file:
        file.write("[known_picture]\n" + "".join(f'{key} = "{name}"\n' for key, name in known.items()))
    description = load_description(path)
    tested = asdict(self_test(open_described(description), description))
    assert processes_of(description, tested) == processes
    assert has_own_cores(description, tested, threads=1) == (not gpu and cores() >= 2)
