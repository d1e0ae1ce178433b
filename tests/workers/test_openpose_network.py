"""OpenPose's networks as ONNX files: the same numbers as OpenCV's own reader of Caffe's files gives."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import openpose_layers
import openpose_weights
import pytest
from numpy.typing import NDArray

from workers.compute import Compute
from workers.errors import ModelMismatch
from workers.onnx_runtime import OnnxModel
from workers.pose.openpose.architecture import architecture
from workers.pose.openpose.caffemodel import Tensors, read_caffemodel
from workers.pose.openpose.model import OpenPose, OpenPoseBody25, OpenPoseCoco18
from workers.pose.openpose.network import build_network, fitted
from workers.pose.openpose.skeletons import BODY_25, COCO_18, Skeleton

Floats = NDArray[np.float32]
NOTES = {"source": "random.caffemodel", "licence": "none"}


@dataclass(frozen=True)
class Case:
    """One of the two networks with random weights: its files, and OpenCV's reader of the same."""

    skeleton: Skeleton
    caffemodel: Path
    onnx: Path
    reference: cv2.dnn.Net


def made(skeleton: Skeleton, folder: Path) -> Case:
    net = getattr(openpose_layers, skeleton.name)()
    caffemodel = getattr(openpose_weights, f"write_{skeleton.name}")(folder / "random.caffemodel", seed=3)
    prototxt = folder / "net.prototxt"
    prototxt.write_text(net.prototxt(96, 128))
    reference = cv2.dnn.readNetFromCaffe(str(prototxt), str(caffemodel))
    build_network(skeleton, read_caffemodel(caffemodel), folder / "net.onnx", False, NOTES)
    return Case(skeleton, caffemodel, folder / "net.onnx", reference)


@pytest.fixture(scope="module")
def body25(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(BODY_25, tmp_path_factory.mktemp("body25"))


@pytest.fixture(scope="module")
def coco18(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(COCO_18, tmp_path_factory.mktemp("coco18"))


def pictures(count: int, height: int, width: int) -> Floats:
    noise = np.random.default_rng(height).integers(0, 256, (count, 3, height, width))
    return (noise / 256 - 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "count", "height", "width"),
    [
        ("body25", 1, 96, 128),
        ("body25", 2, 128, 64),  # a batch, and higher than what the prototxt says
        ("coco18", 2, 48, 64),
    ],
)
def test_gives_the_numbers_that_opencv_gives(
    name: str, count: int, height: int, width: int, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(name)
    images = pictures(count, height, width)
    heatmaps, pafs = OnnxModel(case.onnx, Compute(2)).run({"image": images}, "heatmaps", "pafs")
    case.reference.setInput(images)
    wanted = case.reference.forward("net_output")
    assert heatmaps.shape == (count, case.skeleton.n_heatmaps, height // 8, width // 8)
    assert pafs.shape == (count, case.skeleton.n_pafs, height // 8, width // 8)
    assert 0.3 < np.abs(wanted).max() < 10  # neither silent nor far from what a trained network gives
    np.testing.assert_allclose(np.concatenate([heatmaps, pafs], axis=1), wanted, atol=1e-4, rtol=0)


def test_half_precision_is_close(body25: Case, tmp_path: Path) -> None:
    build_network(body25.skeleton, read_caffemodel(body25.caffemodel), tmp_path / "half.onnx", True, NOTES)
    images = pictures(1, 96, 128)
    halves = OnnxModel(tmp_path / "half.onnx", Compute(2), half=True).run({"image": images})
    wholes = OnnxModel(body25.onnx, Compute(2)).run({"image": images})
    assert (tmp_path / "half.onnx").stat().st_size < 0.51 * body25.onnx.stat().st_size
    for half, whole in zip(halves, wholes, strict=True):
        assert half.dtype == np.float32
        # 16 bits carry 11 binary digits; forty layers of sums lose about two of them.
        assert 0 < np.abs(half - whole).max() < 0.01 * np.abs(whole).max()


def test_the_same_tensors_give_the_same_bytes_with_their_notes(body25: Case, tmp_path: Path) -> None:
    again = tmp_path / "again.onnx"
    build_network(body25.skeleton, read_caffemodel(body25.caffemodel), again, False, NOTES)
    assert again.read_bytes() == body25.onnx.read_bytes()
    model = onnx.load(again)
    assert {prop.key: prop.value for prop in model.metadata_props} == NOTES
    assert {node.domain for node in model.graph.node} == {""}


def test_an_old_caffemodel_holds_the_same_network(body25: Case, tmp_path: Path) -> None:
    tensors = read_caffemodel(body25.caffemodel)
    old = openpose_weights.write_layers(tmp_path / "old.caffemodel", tensors, legacy=True)
    same = fitted(BODY_25, read_caffemodel(old))
    assert same.keys() == tensors.keys()
    for name, arrays in tensors.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, same[name], strict=True)), name


@pytest.mark.parametrize(
    ("skeleton", "layers", "values"), [(BODY_25, 213, 26_166_084), (COCO_18, 92, 52_311_446)]
)
def test_the_table_is_that_of_the_independent_one(skeleton: Skeleton, layers: int, values: int) -> None:
    table = architecture(skeleton).tensors()
    independent = getattr(openpose_layers, skeleton.name)().shapes()
    assert {name: tuple(shapes) for name, shapes in table.items()} == independent
    assert len(table) == layers
    assert sum(int(np.prod(shape)) for shapes in table.values() for shape in shapes) == values


def empty_tensors(skeleton: Skeleton) -> Tensors:
    table = architecture(skeleton).tensors()
    return {name: [np.zeros(shape, np.float32) for shape in shapes] for name, shapes in table.items()}


def test_what_does_not_fit_is_named() -> None:
    tensors = empty_tensors(BODY_25)
    del tensors["conv4_2"]
    tensors["prelu4_2"] = [np.zeros(7, np.float32)]
    tensors["conv1_1"].append(np.zeros((2, 2), np.float32))
    tensors["conv2_1"] = [np.zeros((128, 3, 3, 64), np.float32), np.zeros((1, 128, 1, 1), np.float32)]
    tensors["fc8"] = [np.zeros((10, 20), np.float32)]
    with pytest.raises(ModelMismatch) as raised:
        fitted(BODY_25, tensors)
    for words in (
        "body25; 7 tensors do not fit",
        "conv4_2[0] 512x512x3x3 is missing",
        "conv4_2[1] 512 is missing",
        "prelu4_2[0] is 7, expected 512",
        "conv1_1[2] 2x2 is left over",
        "conv2_1[0] is 128x3x3x64, expected 128x64x3x3",  # as many values, in another order
        "conv2_1[1] is 1x128x1x1, expected 128",
        "fc8[0] 10x20 is left over",
    ):
        assert words in raised.value.cause


def test_ten_tensors_are_named_and_all_are_counted() -> None:
    with pytest.raises(ModelMismatch) as raised:
        fitted(BODY_25, {"x": [np.zeros(1, np.float32)]})
    assert "328 tensors do not fit" in raised.value.cause  # 2 x 114 and 99 are missing, one is left over
    assert raised.value.cause.count(" is missing") == 10


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [("body25", OpenPoseBody25, OpenPoseCoco18), ("coco18", OpenPoseCoco18, OpenPoseBody25)],
)
def test_weights_of_the_other_network_are_recognised(
    name: str, right: type[OpenPose], wrong: type[OpenPose], request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(name)
    assert f"OpenPose {case.skeleton.name}: " in right.check_weights(case.caffemodel)
    with pytest.raises(ModelMismatch, match=f"but of {case.skeleton.name}; ") as raised:
        wrong.check_weights(case.caffemodel)
    assert right.name in raised.value.remedy
