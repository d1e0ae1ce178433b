"""Reads Matterport's weight files strictly; the only module that imports ``h5py``.

Keras' own loading by name skips nested layers without a word (the region proposal network then stays
random and finds random boxes), so every tensor is accounted for here.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from broker.errors import MissingDependency
from workers.errors import ModelMismatch, WeightsDamaged
from workers.masks.matterport.architecture import COCO_CLASSES, Weights, block_names, tensor_shapes

log = logging.getLogger(__name__)

Key = tuple[str, str]
NESTED = "rpn_model"
"""The one model inside the model: its group holds the tensors of three layers."""
LOGITS = ("mrcnn_class_logits", "kernel")
"""The tensor that tells the number of classes."""
RESNET50_BLOCKS = 6
"""Of stage 4, where ResNet-101 has 23; the stages are alike otherwise."""
VARIANCE = "moving_variance"
NAMED = 10
"""Names that a message lists before it only counts."""
REMEDY = "Give mask_rcnn_coco.h5, or weights that Matterport's model of the same shape saved, for COCO."


def read_h5(path: Path, classes: int = COCO_CLASSES) -> Weights:
    """All tensors of a weights file, in Keras' layout.

    Optimizer state beside the weights is left alone.

    Args:
        path: of a file that Keras 2 wrote (``save_weights``, or ``save``: then below ``model_weights``).
        classes: how many it has to tell apart, background included. Other numbers than COCO's are refused
            by default, because their class 1 need not be a person.

    Raises:
        WeightsDamaged: the file is cut off, no HDF5, or holds numbers that are not finite, a variance below
            0, or tensors that lie in another file.
        ModelMismatch: it holds another network; names what is missing, left over or of another shape.
        MissingDependency: h5py is not installed.
    """
    library = _h5py()
    try:
        with library.File(path, "r") as file:
            return _read(file, path, classes, library)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        # h5py has no types of its own: a cut-off file gives OSError, a damaged one any of the others.
        words = " ".join(str(error).split())[:200]
        raise WeightsDamaged(
            f"{path.name} ({_size(path)}) cannot be read as an HDF5 file: {words}.",
            "Download it again and compare its size: it may be cut off, or a page that says why there is no "
            "file.",
        ) from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingDependency(
            f"The package h5py, which reads Matterport's weights, cannot be imported: {error}.",
            "Install it with: pip install 'hardpose[onnx]' or 'hardpose[tensorflow]'.",
        ) from error
    return h5py


def _size(path: Path) -> str:
    return f"{path.stat().st_size} bytes" if path.is_file() else "no such file"


def _read(file: Any, path: Path, classes: int, library: Any) -> Weights:
    root = file if "layer_names" in file.attrs else file.get("model_weights")
    if not isinstance(root, library.Group) or "layer_names" not in root.attrs:
        raise ModelMismatch(
            f"{path.name} is an HDF5 file, but not one of Keras 2: it has no attribute layer_names; at its "
            f"top are {_some(sorted(file))}.",
            REMEDY,
        )
    if beside := sorted(set(file) - {"model_weights"} if root is not file else ()):
        log.info("%s: not read: %s", path.name, ", ".join(beside))
    found = _datasets(root, path, library)
    _refuse_other_network(found, path, classes)
    return {key: _values(dataset, key, path) for key, dataset in found.items()}


def _datasets(root: Any, path: Path, library: Any) -> dict[Key, Any]:
    """(layer, tensor) -> dataset, unread, for every tensor that the file's own lists name."""
    found: dict[Key, Any] = {}
    for group_name in _texts(root.attrs["layer_names"]):
        group = root.get(group_name)
        if not isinstance(group, library.Group) or "weight_names" not in group.attrs:
            raise WeightsDamaged(
                f"{path.name} names a layer {group_name!r} and has no weights list for it.",
                "Download it again, or save it again.",
            )
        for weight_name in _texts(group.attrs["weight_names"]):
            dataset, key = group.get(weight_name), _key(group_name, weight_name)
            if what := _fault(dataset, key in found, root, library):
                raise WeightsDamaged(
                    f"{path.name} has the tensor {group_name}/{weight_name} {what}.",
                    "Download it again, or save it again.",
                )
            found[key] = dataset
    return found


def _fault(dataset: Any, known: bool, root: Any, library: Any) -> str:
    """What is wrong with a tensor of the file's lists; empty if nothing is."""
    if known:
        return "twice"
    if not isinstance(dataset, library.Dataset):
        return "without its numbers"
    # HDF5 can point to other files. Their content would not be what the sha256 of this one says.
    elsewhere = dataset.external or dataset.is_virtual or dataset.file.filename != root.file.filename
    return "in another file" if elsewhere else ""


def _texts(names: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _key(group: str, weight: str) -> Key:
    """``conv1``, ``conv1/kernel:0`` -> (conv1, kernel); in the nested model the owner stands in the name."""
    parts = weight.split("/")
    owner = parts[-2] if group == NESTED and len(parts) > 1 else group
    return owner, parts[-1].split(":")[0]


def _refuse_other_network(found: dict[Key, Any], path: Path, classes: int) -> None:
    wanted = tensor_shapes(classes)
    missing, left = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing and not left and all(_only_in_resnet101(layer) for layer, _ in missing):
        raise ModelMismatch(
            f"{path.name} is Matterport's Mask R-CNN on ResNet-50 (stage 4 has 6 blocks, not 23).",
            REMEDY,
        )
    if missing or left:
        lists = (("missing", missing), ("left over", left))
        said = "; ".join(f"{len(keys)} tensors {what}: {_some(_names(keys))}" for what, keys in lists if keys)
        raise ModelMismatch(f"{path.name} holds another network: {said}.", REMEDY)
    _refuse_other_classes(found, path, classes)
    wrong = [key for key in wanted if found[key].shape != wanted[key]]
    if wrong:
        shown = [f"{'/'.join(key)} is {found[key].shape}, not {wanted[key]}" for key in wrong]
        raise ModelMismatch(f"{path.name}: {len(wrong)} tensors of another shape: {_some(shown)}.", REMEDY)


def _refuse_other_classes(found: dict[Key, Any], path: Path, classes: int) -> None:
    actual = found[LOGITS].shape[-1] if found[LOGITS].shape else 0
    if actual != classes:
        raise ModelMismatch(
            f"{path.name} tells {actual} classes apart (background included), not {classes}: its class 1 "
            "need not be a person.",
            REMEDY,
        )


def _only_in_resnet101(layer: str) -> bool:
    """Whether ``layer`` belongs to the blocks 4g to 4w."""
    return layer.split("_")[0].removeprefix("res").removeprefix("bn") in block_names(4)[RESNET50_BLOCKS:]


def _names(keys: list[Key]) -> list[str]:
    return ["/".join(key) for key in keys]


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return (", ".join(names[:NAMED]) or "nothing") + (f" and {more} more" if more > 0 else "")


def _values(dataset: Any, key: Key, path: Path) -> Any:
    if dataset.dtype.kind != "f":
        raise ModelMismatch(f"{path.name}: {'/'.join(key)} holds {dataset.dtype}, no real numbers.", REMEDY)
    with np.errstate(over="ignore"):  # what is too large for float32 is not finite in it
        values = np.asarray(dataset[()], np.float32)
    if not np.isfinite(values).all():
        raise WeightsDamaged(
            f"{path.name}: {'/'.join(key)} holds numbers that are not finite.",
            "Download it again; if it was trained, the training has diverged.",
        )
    if key[1] == VARIANCE and (values < 0).any():
        raise WeightsDamaged(
            f"{path.name}: {'/'.join(key)} holds a variance below 0 ({values.min():g}).", "Download it again."
        )
    return values
