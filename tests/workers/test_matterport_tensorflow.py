"""One weights file, two runtimes: TensorFlow through Keras 3, and ONNX Runtime, say the same."""

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from matterport_weights import shared_random
from numpy.typing import NDArray

from broker.errors import SettingsError
from broker.recipe import ModelSpec, WeightsRef
from workers.compute import Compute
from workers.downloads.files import file_sha256
from workers.errors import ImageFailed, ModelMismatch, NoProvider, OutOfMemory
from workers.masks.matterport.architecture import MEAN_PIXEL, PERSON, Weights, tensor_shapes
from workers.masks.matterport.detections import Detections
from workers.masks.matterport.graph import write_graph
from workers.masks.matterport.h5 import read_h5
from workers.masks.matterport.keras_layers import Networks
from workers.masks.matterport.keras_network import KerasMaskRCNN, _fill, _libraries
from workers.masks.matterport.model import Matterport
from workers.masks.matterport.tensorflow_boxes import _pooled
from workers.onnx_runtime import OnnxModel
from workers.pose.geometry import mask_iou
from workers.weights import WeightsStore

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="TensorFlow is not installed (hardpose[tensorflow])",
)

SIDE = 256
MIN_SCORE, NMS_IOU = 0.05, 0.3
CPU = Compute(threads=2, providers=("cpu",))


def pictures(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coarse random images N x S x S x 3, and windows of two shapes."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, SIDE // 16, SIDE // 16, 3))
    images = coarse.repeat(16, axis=1).repeat(16, axis=2).astype(np.float32)
    windows = [[32, 0, SIDE - 32, SIDE], [0, 64, SIDE, SIDE - 64]]
    return images, np.array(windows[:count], np.float32)


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_random(tmp_path_factory)


@pytest.fixture(scope="module")
def tensors(random_weights: Path) -> Weights:
    return read_h5(random_weights)


@pytest.fixture(scope="module")
def networks(random_weights: Path, tensors: Weights) -> Networks:
    """The Keras models with the random weights."""
    networks = Networks(_libraries()[1], "float32", 81)
    _fill(networks, tensors, random_weights)
    return networks


@pytest.fixture(scope="module")
def weights(random_weights: Path, networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random weights with another bias of the class logits, so that many classes are seen.

    Random features have a part in common over all boxes, which lets one class win everywhere. The bias takes
    that part off, and prefers people a little.
    """
    tf, keras = _libraries()
    levels = networks.trunk(tf.constant(pictures(1)[0] - np.array(MEAN_PIXEL, np.float32)))
    low = np.random.default_rng(1).uniform(0, 0.6, (200, 2))
    boxes = np.concatenate([low, low + 0.3], 1).astype(np.float32)
    pooled = _pooled(tf, levels[:4], tf.constant(boxes), tf.zeros(200, tf.int32), 7, SIDE)
    logits = keras.Model(networks.box.input, networks.box.get_layer("mrcnn_class_logits").output)
    common = logits(pooled).numpy().mean(axis=0)
    path = tmp_path_factory.mktemp("weights") / "many-classes.h5"
    shutil.copyfile(random_weights, path)
    with h5py.File(path, "r+") as file:
        bias = file["mrcnn_class_logits/mrcnn_class_logits/bias:0"]
        bias[...] = bias[...] - common + 1.5 * (np.arange(81) == PERSON)
    return path


@dataclass
class OnOnnxRuntime:
    """The graph on ONNX Runtime, answering as ``KerasMaskRCNN`` does."""

    model: OnnxModel
    min_score: float = MIN_SCORE
    on_gpu = False

    def detect(self, images: NDArray[np.float32], windows: NDArray[np.float32]) -> list[Detections]:
        feeds = {
            "image": np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
            "window": windows,
            "min_score": np.array([self.min_score], np.float32),
            "nms_iou": np.array([NMS_IOU], np.float32),
        }
        names = ("boxes", "class_ids", "scores", "masks", "image_index")
        *values, index = self.model.run(feeds, *names)
        return [Detections(*(value[index == i] for value in values)) for i in range(len(images))]


@pytest.fixture(scope="module")
def on_tensorflow(weights: Path) -> KerasMaskRCNN:
    return KerasMaskRCNN(weights, SIDE, MIN_SCORE, NMS_IOU, CPU)


@pytest.fixture(scope="module")
def on_onnx(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> OnOnnxRuntime:
    """The build for all classes; the teacher uses the one for people alone."""
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    write_graph(read_h5(weights), path, SIDE, person_only=False)
    return OnOnnxRuntime(OnnxModel(path, CPU))


@pytest.fixture(scope="module")
def of_both(on_tensorflow: KerasMaskRCNN) -> list[Detections]:
    return on_tensorflow.detect(*pictures(2))


def matched(a: Detections, b: Detections, within: float = 1e-4) -> list[tuple[int, int]]:
    """Pairs of the same class whose boxes are the same but for ``within``."""
    distance = np.abs(a.boxes[:, None] - b.boxes[None]).max(axis=2)
    distance[a.class_ids[:, None] != b.class_ids[None]] = np.inf
    pairs = [(i, int(distance[i].argmin())) for i in range(len(a.scores)) if len(b.scores)]
    return [(i, j) for i, j in pairs if distance[i, j] < within]


def assert_same(a: Detections, b: Detections, lost: int = 0) -> None:
    """The same detections in the same order, but for ``lost`` of them.

    A thousand proposals come out of millions of comparisons of IoU with 0.7, so that one which is nearer to
    it than the last digit of a float is not rare among random boxes: then one box is another.
    """
    pairs = matched(a, b)
    assert len(pairs) >= max(len(a.scores), len(b.scores)) - lost
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    assert len(set(second)) == len(second)
    assert np.abs(a.boxes[first] - b.boxes[second]).max() < 1e-4
    assert np.abs(a.scores[first] - b.scores[second]).max() < 1e-3
    assert np.abs(a.masks[first] - b.masks[second]).max() < 1e-3
    # Best first in both; two whose scores are equal to six digits may have changed places.
    assert np.all(np.diff(b.scores[second]) < 1e-4)


def test_both_runtimes_find_the_same(on_onnx: OnOnnxRuntime, of_both: list[Detections]):
    found = on_onnx.detect(*pictures(2))
    assert len(found) == 2
    for a, b in zip(of_both, found, strict=True):
        assert len(a.scores) >= 20
        assert_same(a, b, lost=2)


def test_the_teacher_sees_the_same_people_on_both(weights: Path, on_onnx: OnOnnxRuntime, tmp_path: Path):
    """From frames to masks; on TensorFlow from the store's file on."""
    ref = WeightsRef(
        file="mask_rcnn_coco.h5",
        sha256=file_sha256(weights),
        source=weights.as_uri(),
        licence="MIT",
        size=weights.stat().st_size,
    )
    frames = [picture.astype(np.uint8)[:200] for picture in pictures(2)[0]]
    seen = {}
    for runtime in ("onnxruntime", "tensorflow"):
        options = {"runtime": runtime, "image_size": SIDE, "min_score": 0.1, "max_people": 10}
        spec = ModelSpec(name="matterport", version="random", weights=(ref,), options=options)
        teacher = Matterport(spec, WeightsStore(tmp_path), replace(CPU, batch=2))
        if runtime == "onnxruntime":
            # Its own conversion of the file is tested elsewhere.
            teacher._network = replace(on_onnx, min_score=0.1)
        seen[runtime] = teacher.segment(frames, second_look=True)
        assert teacher.batch_size == 2
    assert [len(people) for people in seen["tensorflow"]] == [len(people) for people in seen["onnxruntime"]]
    for ours, theirs in zip(*seen.values(), strict=True):
        assert len(ours) >= 5
        for one, other in zip(ours, theirs, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-3)
            assert mask_iou(one.mask, other.mask) > 0.99
            assert abs(one.edge_pixels - other.edge_pixels) <= 2


def test_the_random_weights_put_everything_to_the_test(of_both: list[Detections]):
    for found in of_both:
        assert len(np.unique(found.class_ids)) >= 8
        assert np.ptp(found.scores) > 0.2
        assert found.masks.shape == (len(found.scores), 28, 28)
        assert 0.2 < (found.masks > 0.5).mean() < 0.8
        assert np.all(np.diff(found.scores) <= 0)
        assert found.class_ids.dtype == np.int64


def test_boxes_stay_inside_each_window(of_both: list[Detections]):
    _, windows = pictures(2)
    for found, window in zip(of_both, windows, strict=True):
        low, high = window[:2] / (SIDE - 1), (window[2:] - 1) / (SIDE - 1)
        assert len(found.boxes)
        assert np.all(found.boxes[:, :2] >= low - 1e-6)
        assert np.all(found.boxes[:, 2:] <= high + 1e-6)
        assert np.all(found.boxes[:, 2:] > found.boxes[:, :2])


def test_alone_and_in_a_batch_are_the_same(on_tensorflow: KerasMaskRCNN, of_both: list[Detections]):
    images, windows = pictures(2)
    (alone,) = on_tensorflow.detect(images[1:2], windows[1:2])
    assert_same(of_both[1], alone, lost=2)


def test_nobody_in_one_image_and_nobody_anywhere(on_tensorflow: KerasMaskRCNN, of_both: list[Detections]):
    images, windows = pictures(2)
    nowhere = np.zeros(4, np.float32)  # a window without an inside leaves no box an area
    nobody, somebody = on_tensorflow.detect(images, np.stack([nowhere, windows[1]]))
    assert len(nobody.scores) == 0
    assert_same(of_both[1], somebody, lost=2)
    (alone,) = on_tensorflow.detect(images[:1], nowhere[None])
    assert alone.boxes.shape == (0, 4)
    assert alone.masks.shape == (0, 28, 28)


def test_an_overflow_is_told_from_an_empty_picture(on_tensorflow: KerasMaskRCNN):
    images, windows = pictures(1)
    with pytest.raises(ImageFailed, match="not finite"):
        on_tensorflow.detect(images / 256 * np.finfo(np.float32).max, windows)


def test_half_precision_is_close_where_it_is_used(networks: Networks, tensors: Weights):
    """The layers; boxes, scores and NMS between them are in single precision always."""
    half = Networks(_libraries()[1], "mixed_float16", 81)
    _fill(half, tensors, Path("random.h5"))
    image = pictures(1)[0][:, :64, :64] - np.array(MEAN_PIXEL, np.float32)
    pooled = np.random.default_rng(2).uniform(0, 2, (10, 7, 7, 256)).astype(np.float32)
    answers = [
        [*nets.trunk(image), *nets.rpn(nets.trunk(image)[0]), *nets.box(pooled)] for nets in (networks, half)
    ]
    assert len(answers[0]) == 5 + 2 + 2
    for single, rough in zip(*answers, strict=True):
        assert rough.dtype == np.float32
        error = np.abs(single.numpy() - rough.numpy()).max() / np.abs(single.numpy()).max()
        assert 0 < error < 0.02


def test_every_variable_has_the_files_numbers(networks: Networks, tensors: Weights):
    """Keras' own loading by name leaves the region proposal network as it was, without a word."""
    shapes = tensor_shapes()
    seen = {
        (layer.name, variable.name.split("/")[-1]): tuple(variable.shape)
        for layer in networks.with_weights()
        for variable in layer.weights
    }
    assert seen == shapes
    for model, name in ((networks.rpn, "rpn_bbox_pred"), (networks.trunk, "bn4w_branch2b")):
        layer = model.get_layer(name)
        assert len(layer.weights) >= 2
        for variable in layer.weights:
            assert np.array_equal(variable.numpy(), tensors[name, variable.name.split("/")[-1]])


def test_a_tensor_too_many_is_not_left_out_silently(networks: Networks, tensors: Weights):
    more = {**tensors, ("fpn_p9", "kernel"): np.zeros(1, np.float32)}
    with pytest.raises(ModelMismatch, match="fpn_p9/kernel"):
        _fill(networks, more, Path("random.h5"))


def test_a_gpu_that_is_not_there_is_no_reason_to_go_on_without(weights: Path):
    if _libraries()[0].config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees a GPU here")
    with pytest.raises(NoProvider, match="TensorFlow sees no GPU"):
        KerasMaskRCNN(weights, SIDE, MIN_SCORE, NMS_IOU, Compute(providers=("cuda",)))


def test_an_unknown_precision_is_refused(weights: Path):
    with pytest.raises(SettingsError, match="int8"):
        KerasMaskRCNN(weights, SIDE, MIN_SCORE, NMS_IOU, CPU, precision="int8")


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        ("ResourceExhaustedError", "OOM when allocating tensor with shape[9]", OutOfMemory),
        ("InternalError", "cuDNN launch failure: CUDNN_STATUS_ALLOC_FAILED", OutOfMemory),
        ("InvalidArgumentError", "Incompatible shapes", None),  # a defect stays what it is
    ],
)
def test_a_lack_of_memory_is_told_from_a_defect(on_tensorflow: KerasMaskRCNN, kind, words, expected):
    given = getattr(_libraries()[0].errors, kind)
    with pytest.raises(expected or given) as raised, on_tensorflow._typed_errors(7):
        raise given(None, None, words)
    if expected:
        assert "7 images" in raised.value.cause


def test_importing_the_adapter_leaves_tensorflow_out_of_a_process_that_will_fork():
    code = (
        "import sys, workers.masks.matterport.keras_network, workers.masks.matterport.keras_layers\n"
        "print(sorted({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_words_for_a_limit_of_a_gpus_memory() -> None:
    """What ``_device`` says is told to no GPU here: these names at least are TensorFlow's."""
    tensorflow, _ = _libraries()
    config = tensorflow.config
    assert config.LogicalDeviceConfiguration(memory_limit=8192).memory_limit == 8192
    assert callable(config.set_logical_device_configuration)
    assert callable(config.experimental.set_memory_growth)
