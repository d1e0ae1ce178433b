"""Weight files in the layout of Matterport's ``mask_rcnn_coco.h5``, made here: random, and painted."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from workers.masks.matterport.architecture import COCO_CLASSES, PERSON, Layer, layers

NESTED = {"rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"}
"""Layers of the model inside the model."""
WITHOUT_WEIGHTS = ("input_image", "zero_padding2d_1", "activation_1", "ROI", "mrcnn_detection")
"""Some of the layers that Keras lists too, with empty lists of weights."""

Tensor = NDArray[np.float32] | None
"""None: zeros, which an HDF5 file stores without writing them."""
Maker = Callable[[Layer, str], Tensor]
"""(layer, tensor) -> its values."""


def write_h5(path: Path, tensor: Maker, table: list[Layer] | None = None) -> Path:
    """Writes a file as Keras 2 writes it: attributes with names, a group for each layer, no compression."""
    table = layers() if table is None else table
    top = [layer for layer in table if layer.name not in NESTED]
    nested = [layer for layer in table if layer.name in NESTED]
    with h5py.File(path, "w") as file:
        groups = [*WITHOUT_WEIGHTS, *(layer.name for layer in top), "rpn_model"]
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.8"
        for name in WITHOUT_WEIGHTS:
            file.create_group(name).attrs["weight_names"] = np.zeros(0, "S1")
        for layer in top:
            _write_group(file, layer.name, [layer], tensor)
        _write_group(file, "rpn_model", nested, tensor)
    return path


def _write_group(file: h5py.File, name: str, members: list[Layer], tensor: Maker) -> None:
    group = file.create_group(name)
    names = [f"{layer.name}/{leaf}:0" for layer in members for leaf in layer.tensors]
    group.attrs["weight_names"] = [text.encode() for text in names]
    for layer in members:
        for leaf, shape in layer.tensors.items():
            values = tensor(layer, leaf)
            assert values is None or values.shape == shape, (layer.name, leaf, shape)
            group.create_dataset(f"{layer.name}/{leaf}:0", shape=shape, dtype="f4", data=values)


def write_random(path: Path, seed: int, classes: int = COCO_CLASSES) -> Path:
    """Random weights whose activations stay of the order of 1, so that no two scores are equal.

    Half of the boxes are classified, weakly, so lower ``min_score`` to 0.05 to see some.
    """
    generator = np.random.default_rng(seed)

    def tensor(layer: Layer, leaf: str) -> Tensor:
        return _random(generator, layer, leaf)

    return write_h5(path, tensor, layers(classes))


def shared_random(factory: pytest.TempPathFactory) -> Path:
    """The file of ``write_random`` with the seed 1, once for all modules of a test run: it has 257 MB."""
    path = factory.getbasetemp() / "matterport-random.h5"
    return path if path.exists() else write_random(path, seed=1)


def _random(generator: np.random.Generator, layer: Layer, leaf: str) -> NDArray[np.float32]:
    shape = layer.tensors[leaf]
    noise = generator.standard_normal(shape, dtype=np.float32)
    if leaf == "kernel":
        inputs = shape[3] if layer.kind == "deconv" else int(np.prod(shape[:-1]))
        return noise * np.float32(GAINS.get(layer.name, np.sqrt(2)) / np.sqrt(inputs))
    if leaf == "moving_variance":
        # Above 0, as every variance is.
        return np.exp(0.1 * noise) * np.float32(16000 if layer.name == "bn_conv1" else 1)
    if leaf == "gamma":
        # The branches of a block add to its shortcut: small, or 33 blocks would double it many times.
        return (1 + 0.1 * noise) * np.float32(0.2 if layer.name.endswith("branch2c") else 1)
    if (layer.name, leaf) == ("mrcnn_class_logits", "bias"):
        noise[PERSON] += PERSON_BIAS
    return 0.1 * noise


PERSON_BIAS = 35.0
"""Makes a part of the boxes people."""
GAINS = {
    **dict.fromkeys(["fpn_c5p5", "fpn_c4p4", "fpn_c3p3", "fpn_c2p2"], 0.7),
    **dict.fromkeys(["fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5"], 0.7),
    **dict.fromkeys(["rpn_class_raw", "rpn_bbox_pred", "mrcnn_bbox_fc"], 1.0),
    "mrcnn_class_logits": 1.5,
    "mrcnn_mask": 2.0,
}
"""Of the layers that no ReLU follows."""
