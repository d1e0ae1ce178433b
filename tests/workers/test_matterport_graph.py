"""The whole ONNX network on random weights in Matterport's file format, at a small input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from matterport_weights import shared_random

from workers.compute import Compute
from workers.errors import ImageFailed, ModelMismatch
from workers.masks.matterport.architecture import Weights
from workers.masks.matterport.graph import write_graph
from workers.masks.matterport.h5 import read_h5
from workers.masks.matterport.onnx_network import OnnxMaskRCNN
from workers.onnx_runtime import OnnxModel

SIZE = 128
ON_CPU = Compute(threads=2, providers=("cpu",))
OUTPUTS = ("boxes", "class_ids", "scores", "image_index", "masks")
Answer = dict[str, np.ndarray]
Network = Callable[..., Answer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matterport")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return read_h5(shared_random(tmp_path_factory))


def network(path: Path) -> Network:
    model = OnnxModel(path, ON_CPU)

    def run(images: np.ndarray, windows: np.ndarray, min_score: float) -> Answer:
        feeds = {"image": images.transpose(0, 3, 1, 2), "window": windows}
        thresholds = {"min_score": np.float32([min_score]), "nms_iou": np.float32([0.3])}
        return dict(zip(OUTPUTS, model.run({**feeds, **thresholds}, *OUTPUTS), strict=True))

    return run


@pytest.fixture(scope="module")
def people(folder: Path, weights: Weights) -> Network:
    write_graph(weights, folder / "people.onnx", SIZE)
    return network(folder / "people.onnx")


@pytest.fixture(scope="module")
def everything(folder: Path, weights: Weights) -> Network:
    write_graph(weights, folder / "everything.onnx", SIZE, person_only=False)
    return network(folder / "everything.onnx")


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Three unlike pictures, N x S x S x 3, and their windows."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = [
        [128 + 127 * np.sin((k + 2) * 7 * y + i) * np.cos(5 * x * (k + 1) + i * k) for k in range(3)]
        for i in range(3)
    ]
    windows = [[16, 0, 112, 128], [0, 0, 128, 128], [0, 24, 128, 104]]
    images = np.round(waves).astype(np.float32).transpose(0, 2, 3, 1)
    return images, np.array(windows, np.float32)


@pytest.fixture(scope="module")
def three(people: Network) -> Answer:
    return people(*pictures(), 0.1)


def of_image(answer: Answer, number: int) -> Answer:
    own = answer["image_index"] == number
    return {name: answer[name][own] for name in OUTPUTS}


def test_random_weights_find_people_in_each_picture(three: Answer) -> None:
    counts = np.bincount(three["image_index"], minlength=3)
    assert (counts >= 2).all(), counts
    assert set(three["class_ids"]) == {1}
    assert len(np.unique(three["scores"])) == len(three["scores"]), "a tie would make the order arbitrary"
    assert three["masks"].shape == (counts.sum(), 28, 28)
    assert three["masks"].min() < 0.4
    assert three["masks"].max() > 0.6


def test_answers_are_by_image_and_best_first(three: Answer) -> None:
    keys = list(zip(three["image_index"], -three["scores"], strict=True))
    assert keys == sorted(keys)


def test_boxes_lie_in_the_window(three: Answer) -> None:
    low, high = pictures()[1][:, :2] / 127, (pictures()[1][:, 2:] - 1) / 127
    boxes, of = three["boxes"], three["image_index"]
    assert (boxes[:, :2] >= low[of] - 1e-6).all()
    assert (boxes[:, 2:] <= high[of] + 1e-6).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_picture_is_answered_alike_alone_and_in_a_batch(
    people: Network, three: Answer, number: int
) -> None:
    images, windows = pictures()
    alone = people(images[number : number + 1], windows[number : number + 1], 0.1)
    batch = of_image(three, number)
    assert len(alone["scores"]) == len(batch["scores"]) >= 2
    for name in ("boxes", "scores", "masks"):
        np.testing.assert_allclose(alone[name], batch[name], atol=1e-4)


def test_nothing_found_in_any_or_in_some_pictures(people: Network, three: Answer) -> None:
    nothing = people(*pictures(), 0.999)
    assert [nothing[name].shape for name in OUTPUTS] == [(0, 4), (0,), (0,), (0,), (0, 28, 28)]
    best = sorted(float(of_image(three, number)["scores"].max()) for number in range(3))
    some = people(*pictures(), (best[1] + best[2]) / 2)
    assert len(set(some["image_index"])) == 1


def test_people_alone_are_the_people_among_everything(everything: Network, people: Network) -> None:
    images, windows = pictures()
    found, alone = everything(images[:1], windows[:1], 0.1), people(images[:1], windows[:1], 0.1)
    assert len(set(found["class_ids"])) > 1
    persons = found["class_ids"] == 1
    # Everything is cut at 100; among people alone that does not happen here.
    count = np.count_nonzero(persons)
    assert 2 <= count <= len(alone["scores"])
    for name in ("boxes", "scores", "masks"):
        np.testing.assert_allclose(found[name][persons], alone[name][:count], atol=1e-5)


def test_half_precision_is_close(half: Path, folder: Path, three: Answer) -> None:
    assert half.stat().st_size < 0.55 * (folder / "people.onnx").stat().st_size
    images, windows = pictures()
    rough, full = network(half)(images[:1], windows[:1], 0.1), of_image(three, 0)
    gaps = np.abs(rough["boxes"][:, None] - full["boxes"][None]).max(axis=2)
    same = np.argwhere(gaps < 0.02)
    assert len(same) >= 0.7 * len(full["scores"]) >= 2, "NMS may decide otherwise about a few"
    for i, j in same:
        assert rough["scores"][i] == pytest.approx(full["scores"][j], abs=0.02)
        assert np.abs(rough["masks"][i] - full["masks"][j]).mean() < 0.02


@pytest.fixture(scope="module")
def half(folder: Path, weights: Weights) -> Path:
    write_graph(weights, folder / "half.onnx", SIZE, half=True, notes={"licence": "MIT"})
    return folder / "half.onnx"


def test_only_standard_operations_and_the_notes(half: Path) -> None:
    model = onnx.load(half)
    assert {node.domain for node in model.graph.node} == {""}
    assert {note.key: note.value for note in model.metadata_props} == {"licence": "MIT"}
    sides = model.graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_value or side.dim_param for side in sides] == ["N", 3, SIZE, SIZE]


def test_an_overflow_is_no_empty_answer(folder: Path, people: Network) -> None:
    """Else a network whose arithmetic overflows would say that nobody is there."""
    model = OnnxMaskRCNN(folder / "people.onnx", 0.1, 0.3, ON_CPU, half=False)
    images, windows = pictures()
    with pytest.raises(ImageFailed, match="no numbers"):
        model.detect(images[:1] / 256 * np.finfo(np.float32).max, windows[:1])


def test_boxes_that_overflow_are_no_empty_answer(folder: Path, weights: Weights) -> None:
    """Their scores are sound; a box that is not a number would only be left out."""
    wild = {**weights, ("mrcnn_bbox_fc", "bias"): np.full(324, 6e4, np.float32)}
    write_graph(wild, folder / "wild.onnx", SIZE, half=True)
    model = OnnxMaskRCNN(folder / "wild.onnx", 0.1, 0.3, ON_CPU, half=True)
    images, windows = pictures()
    with pytest.raises(ImageFailed, match="no numbers"):
        model.detect(images[:1], windows[:1])


def test_a_weight_that_half_precision_cannot_hold_is_refused(folder: Path, weights: Weights) -> None:
    large = {**weights, ("conv1", "bias"): np.full(64, 1e7, np.float32)}
    with pytest.raises(ModelMismatch, match=r"a weight of .*, too large for float16"):
        write_graph(large, folder / "large.onnx", SIZE, half=True)
