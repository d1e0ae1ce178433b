"""RF-DETR Seg's ONNX file: which input and output is what, and a batch through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.compute import Compute
from workers.errors import ModelMismatch, WeightsDamaged
from workers.onnx_runtime import OnnxModel, Port, as_float32

CLASSES = 91
"""Logits of a query; the index is the category id of COCO (RF-DETR documentation, "Export")."""
SIZES = {312: "Nano", 384: "Small", 432: "Medium", 504: "Large"}
"""Names of the published sizes by the side of their input (RF-DETR documentation, "Export")."""
DAMAGED_WORDS = ("protobuf parsing failed", "no graph was found")
"""How ONNX Runtime says that a file is no whole ONNX file."""
EXPORT_REMEDY = "Export a segmentation model of RF-DETR anew; `hardpose models show rfdetr-seg` says how."


@dataclass(frozen=True)
class QueryOutputs:
    """What the network says of a batch.

    Attributes:
        boxes: B x Q x 4 float32, centre x, centre y, width, height over the frame's sides, in 0..1.
        logits: B x Q x 91 float32, before the sigmoid.
        masks: B x Q x h x w float32 over the whole frame; logits, or probabilities in some exports.
    """

    boxes: NDArray[np.float32]
    logits: NDArray[np.float32]
    masks: NDArray[np.float32]


class RFDETRNetwork:
    """One exported RF-DETR Seg in memory, with a fixed or an open batch.

    Args:
        path: of the ``.onnx`` file.
        compute: providers, threads, and the batch where the file leaves it open.

    Raises:
        WeightsDamaged: the file is cut off or no ONNX file.
        ModelMismatch: it holds another network; names its inputs and outputs.
        NoProvider: see ``OnnxModel``.
        OutOfMemory: see ``OnnxModel``.
    """

    def __init__(self, path: Path, compute: Compute) -> None:
        self._model = _open(path, compute)
        self._input = _only_input(self._model)
        self._names = _outputs(self._model)
        self.side = int(self._input.shape[2] or 0)
        self.fixed_batch = self._input.shape[0]
        self.batch = self.fixed_batch or compute.batch_on(self._model.on_gpu)

    def run(self, pictures: NDArray[np.float32]) -> QueryOutputs:
        """The answers for ``pictures`` (B x 3 x side x side float32, normalised), B of any number.

        A file with a fixed batch is given as many as it wants, padded with zeros.

        Raises:
            OutOfMemory: they do not fit; fewer may.
            ModelMismatch: the answers have other shapes than those of RF-DETR Seg.
        """
        step = self.fixed_batch or max(1, len(pictures))
        parts = [self._run(pictures[i : i + step]) for i in range(0, len(pictures), step)]
        return QueryOutputs(*(np.concatenate(same) for same in zip(*parts, strict=True)))

    def describe(self) -> str:
        """Runs a black picture; then says in one line what the file is.

        Raises:
            ModelMismatch: it does not run, or answers in other shapes.
        """
        found = self.run(np.zeros((1, 3, self.side, self.side), np.float32))
        size = SIZES.get(self.side, "of a size of its own")
        batch = f"a batch of {self.fixed_batch}" if self.fixed_batch else "any batch"
        height, width = found.masks.shape[2:]
        return (
            f"RF-DETR Seg {size}: {self.side} x {self.side} pixels, {batch}, {found.boxes.shape[1]} queries, "
            f"masks of {height} x {width}, {self._input.dtype}"
        )

    def _run(self, pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        count, fed = len(pictures), pictures
        if self.fixed_batch and count < self.fixed_batch:
            rest = np.zeros((self.fixed_batch - count, *pictures.shape[1:]), np.float32)
            fed = np.concatenate([pictures, rest])
        kind = np.float16 if self._input.dtype == "float16" else np.float32
        answers = self._model.run({self._input.name: fed.astype(kind, copy=False)}, *self._names)
        boxes, logits, masks = map(as_float32, answers)
        self._check(len(fed), boxes, logits, masks)
        return boxes[:count], logits[:count], masks[:count]

    def _check(self, count: int, boxes: NDArray[Any], logits: NDArray[Any], masks: NDArray[Any]) -> None:
        both = boxes.shape[:2]
        fits = (
            boxes.shape == (count, *both[1:], 4)
            and logits.shape == (*both, CLASSES)
            and masks.ndim == 4
            and masks.shape[:2] == both
            and masks.size > 0
        )
        if not fits:
            shapes = ", ".join(str(answer.shape) for answer in (boxes, logits, masks))
            raise ModelMismatch(
                f"{self._model.path} answers with {shapes} for a batch of {count}; RF-DETR Seg trained on "
                f"COCO gives boxes B x Q x 4, logits B x Q x {CLASSES} and masks B x Q x h x w.",
                EXPORT_REMEDY,
            )


def _open(path: Path, compute: Compute) -> OnnxModel:
    try:
        return OnnxModel(path, compute, engines=path.parent / "engines")
    except ModelMismatch as error:
        if any(words in error.cause.lower() for words in DAMAGED_WORDS):
            raise WeightsDamaged(
                f"{path} ({path.stat().st_size} bytes) is no whole ONNX file.",
                "Copy or download it again, or export it anew, and compare its size with the original's.",
            ) from error
        raise


def _only_input(model: OnnxModel) -> Port:
    ports = list(model.inputs.values())
    shape = ports[0].shape if len(ports) == 1 else ()
    fits = len(shape) == 4 and shape[1] == 3 and shape[2] is not None and shape[2] == shape[3]
    if not fits or ports[0].dtype not in ("float", "float16"):
        raise _other_network(model, "one input B x 3 x S x S of floats with a fixed side S")
    return ports[0]


def _outputs(model: OnnxModel) -> tuple[str, str, str]:
    """Names of boxes, logits and masks: those of RF-DETR's own export, else by their shapes."""
    names = ("dets", "labels", "masks")
    if all(name in model.outputs for name in names):
        return names
    ports = model.outputs.values()
    kinds = (
        [port.name for port in ports if len(port.shape) == 3 and port.shape[2] == 4],
        [port.name for port in ports if len(port.shape) == 3 and port.shape[2] == CLASSES],
        [port.name for port in ports if len(port.shape) == 4],
    )
    boxes, logits, masks = (_one(model, found) for found in kinds)
    return boxes, logits, masks


def _one(model: OnnxModel, found: Sequence[str]) -> str:
    if len(found) != 1:
        raise _other_network(
            model,
            f"the outputs dets B x Q x 4, labels B x Q x {CLASSES} and masks B x Q x h x w "
            "(a detection model has no masks)",
        )
    return found[0]


def _other_network(model: OnnxModel, wanted: str) -> ModelMismatch:
    inputs = ", ".join(map(str, model.inputs.values()))
    outputs = ", ".join(map(str, model.outputs.values()))
    return ModelMismatch(
        f"{model.path} is not RF-DETR Seg: wanted is {wanted}; it has the inputs {inputs} and the outputs "
        f"{outputs}.",
        EXPORT_REMEDY,
    )
