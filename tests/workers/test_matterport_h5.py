"""Matterport's weight files are read whole or not at all."""

import math
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from matterport_weights import NESTED, write_h5

from workers.errors import ModelMismatch, WeightsDamaged
from workers.masks.matterport.architecture import Layer, layers, tensor_shapes
from workers.masks.matterport.h5 import read_h5
from workers.masks.matterport.model import Matterport


def numbered(layer: Layer, leaf: str) -> np.ndarray | None:
    """Each vector is filled with a number of its own; kernels are zeros, which takes no room."""
    shape = layer.tensors[leaf]
    return np.full(shape, number_of(layer.name, leaf), np.float32) if len(shape) == 1 else None


def number_of(layer: str, leaf: str) -> int:
    return list(tensor_shapes()).index((layer, leaf)) + 1


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_h5(tmp_path_factory.mktemp("h5") / "mask_rcnn_coco.h5", numbered)


def changed(good: Path, to: Path, change: Callable[[h5py.File], None]) -> Path:
    to.write_bytes(good.read_bytes())
    with h5py.File(to, "r+") as file:
        change(file)
    return to


def test_the_architecture_is_that_of_the_official_file() -> None:
    shapes = tensor_shapes()
    assert (len(layers()), len(shapes)) == (235, 690)
    assert sum(math.prod(shape) for shape in shapes.values()) == 64_158_584
    assert shapes["mrcnn_bbox_fc", "kernel"] == (1024, 324)
    assert shapes["mrcnn_mask", "kernel"] == (1, 1, 256, 81)


def test_every_tensor_is_read_under_its_own_name(good: Path) -> None:
    found = read_h5(good)
    assert {key: values.shape for key, values in found.items()} == tensor_shapes()
    vectors = {key: values for key, values in found.items() if values.ndim == 1}
    assert len(vectors) == 565
    assert all((values == number_of(*key)).all() for key, values in vectors.items())
    assert all(values.dtype == np.float32 for values in found.values())
    assert "690 tensors" in Matterport.check_weights(good)


def test_a_saved_model_has_its_weights_one_level_down_and_an_optimizer_beside(
    good: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(good) as old, h5py.File(path, "w") as new:
        below = new.create_group("model_weights")
        for name in old:
            old.copy(name, below)
        below.attrs["layer_names"] = old.attrs["layer_names"]
        new.create_group("optimizer_weights").create_dataset("SGD/momentum", data=np.ones(3))
    assert len(read_h5(path)) == 690


@pytest.mark.parametrize(
    "content",
    [
        b"",  # an empty file
        b"<!DOCTYPE html><html><body>Not found</body></html>",  # a page instead of the file
        b"\x89HDF\r\n\x1a\n" + bytes(100),  # the first bytes alone are right
    ],
)
def test_what_is_no_hdf5_file_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mask_rcnn_coco.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsDamaged, match=rf"{len(content)} bytes.*Download it again"):
        read_h5(path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_half_a_download_is_damaged(good: Path, tmp_path: Path, share: float) -> None:
    data = good.read_bytes()
    path = tmp_path / "half.h5"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsDamaged):
        read_h5(path)


def test_another_file_of_keras_is_no_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("layers/conv2d/vars").create_dataset("0", data=np.ones(3))
    with pytest.raises(ModelMismatch, match=r"no attribute layer_names; at its top are layers"):
        read_h5(path)


def test_another_network_is_named_by_what_is_missing_and_left_over(tmp_path: Path) -> None:
    table = [layer for layer in layers() if layer.name.startswith(("conv1", "bn_conv1"))]
    table.append(Layer("fc1000", "dense", {"kernel": (8, 4), "bias": (4,)}))
    path = write_h5(tmp_path / "resnet.h5", zeros, table)
    with pytest.raises(ModelMismatch) as caught:
        read_h5(path)
    assert "684 tensors missing: bn2a_branch1/beta" in caught.value.cause
    assert "and 674 more; 2 tensors left over: fc1000/bias, fc1000/kernel." in caught.value.cause


def zeros(layer: Layer, leaf: str) -> None:
    return None


def test_the_smaller_resnet_is_called_by_its_name(tmp_path: Path) -> None:
    late = tuple(f"{kind}4{block}_" for kind in ("res", "bn") for block in "ghijklmnopqrstuvw")
    table = [layer for layer in layers() if not layer.name.startswith(late)]
    assert len(layers()) - len(table) == 17 * 6
    with pytest.raises(ModelMismatch, match="ResNet-50"):
        read_h5(write_h5(tmp_path / "small.h5", zeros, table))


def test_weights_for_other_classes_are_refused_unless_they_are_asked_for(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "balloon.h5", zeros, layers(2))
    with pytest.raises(ModelMismatch, match=r"tells 2 classes apart.*need not be a person"):
        read_h5(path)
    assert read_h5(path, classes=2)["mrcnn_class_logits", "kernel"].shape == (1024, 2)


def test_a_forgotten_nested_layer_is_missed(tmp_path: Path) -> None:
    """The tensors that Keras' own loading by name leaves random without a word."""
    table = [layer for layer in layers() if layer.name not in NESTED]
    with pytest.raises(ModelMismatch, match="6 tensors missing: rpn_bbox_pred/bias"):
        read_h5(write_h5(tmp_path / "no_rpn.h5", zeros, table))


def replace(name: str, values: np.ndarray) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return change


def test_a_tensor_of_another_shape_is_named(good: Path, tmp_path: Path) -> None:
    change = replace("fpn_p2/fpn_p2/bias:0", np.zeros(128, np.float32))
    path = changed(good, tmp_path / "shape.h5", change)
    with pytest.raises(ModelMismatch, match=r"1 tensors of another shape: fpn_p2/bias is \(128,\)"):
        read_h5(path)


@pytest.mark.parametrize("value", [np.float32(np.nan), np.float32(-np.inf), np.float64(1e39)])
def test_numbers_that_are_none_are_damage(good: Path, tmp_path: Path, value: np.floating) -> None:
    change = replace("fpn_p2/fpn_p2/bias:0", np.full(256, value))
    with pytest.raises(WeightsDamaged, match=r"fpn_p2/bias .* not finite"):
        read_h5(changed(good, tmp_path / "nan.h5", change))


@pytest.mark.parametrize("value", [-1e-4, -1.0, np.nan])
def test_a_variance_below_zero_is_damage(good: Path, tmp_path: Path, value: float) -> None:
    """Also one that the epsilon of the batch normalisation would hide."""
    values = np.ones(64, np.float32)
    values[17] = value
    name = "bn_conv1/moving_variance"
    with pytest.raises(WeightsDamaged, match=name):
        read_h5(changed(good, tmp_path / "variance.h5", replace(f"bn_conv1/{name}:0", values)))


def test_a_tensor_in_another_file_is_refused(good: Path, tmp_path: Path) -> None:
    """The file's sha256 would say nothing about its numbers."""
    name, shape = "conv1/conv1/bias:0", (64,)
    (tmp_path / "raw").write_bytes(bytes(256))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["bias"] = np.zeros(shape, np.float32)

    def raw(file: h5py.File) -> None:
        file.create_dataset(name, shape, "f4", external=[(str(tmp_path / "raw"), 0, 256)])

    def link(file: h5py.File) -> None:
        file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "bias")

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "bias", shape)
        file.create_virtual_dataset(name, layout)

    for number, put in enumerate((raw, link, virtual)):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(good.read_bytes())
        with h5py.File(path, "r+") as file:
            del file[name]
            put(file)
        with pytest.raises(WeightsDamaged, match="conv1/conv1/bias:0 in another file"):
            read_h5(path)


def test_a_check_does_not_crash_its_caller(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libhdf5 can crash on a damaged file: here a module that does stands where h5py is looked for."""
    (tmp_path / "h5py.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WeightsDamaged, match=r"mask_rcnn_coco\.h5 crashed .*SIGSEGV"):
        Matterport.check_weights(good)


def test_whole_numbers_are_no_weights(good: Path, tmp_path: Path) -> None:
    change = replace("fpn_p2/fpn_p2/bias:0", np.zeros(256, np.int32))
    with pytest.raises(ModelMismatch, match="fpn_p2/bias holds int32"):
        read_h5(changed(good, tmp_path / "int.h5", change))


def test_a_tensor_that_is_listed_and_not_there_is_damage(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["conv1/conv1/kernel:0"]

    with pytest.raises(WeightsDamaged, match="conv1/conv1/kernel:0 without its numbers"):
        read_h5(changed(good, tmp_path / "hole.h5", change))
