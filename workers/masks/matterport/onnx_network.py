"""Mask R-CNN on ONNX Runtime, from a file that ``graph.write_graph`` wrote for people alone."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.compute import Compute
from workers.errors import ImageFailed
from workers.masks.matterport.detections import Detections
from workers.onnx_runtime import OnnxModel


class OnnxMaskRCNN:
    """The network in memory.

    Args:
        path: of the ``.onnx`` file.
        min_score: least probability of a detection's class.
        nms_iou: detections of one class that overlap by more are one.
        compute: providers and threads.
        half: the file computes in float16.

    Raises:
        MissingDependency, NoProvider, ModelMismatch, OutOfMemory: see ``OnnxModel``.
    """

    def __init__(self, path: Path, min_score: float, nms_iou: float, compute: Compute, half: bool) -> None:
        self._model = OnnxModel(path, compute, half, path.parent / "engines")
        self._thresholds = {
            "min_score": np.array([min_score], np.float32),
            "nms_iou": np.array([nms_iou], np.float32),
        }

    @property
    def on_gpu(self) -> bool:
        """Whether the network runs on a GPU."""
        return self._model.on_gpu

    def detect(self, images: NDArray[np.float32], windows: NDArray[np.float32]) -> list[Detections]:
        """The people in each image.

        Args:
            images: N x S x S x 3, RGB, 0 to 255, S the size that the file was written for.
            windows: N x 4: y1, x1, y2, x2 in pixels: where the frame lies in its square.

        Raises:
            OutOfMemory: they do not fit; fewer may.
            ImageFailed: the arithmetic overflowed.
        """
        feeds = {"image": np.ascontiguousarray(images.transpose(0, 3, 1, 2)), "window": windows}
        names = ("boxes", "class_ids", "scores", "masks", "image_index", "not_numbers")
        boxes, class_ids, scores, masks, owners, broken = self._model.run(feeds | self._thresholds, *names)
        nothing = int(broken.sum()) + int(np.count_nonzero(np.isnan(masks)))
        if nothing:
            raise ImageFailed(
                f"{nothing} answers of Mask R-CNN are no numbers on a batch of {len(images)}.",
                "Set the model's option precision to fp32; if it is that already, the weights are damaged.",
            )
        rows = [owners == number for number in range(len(images))]
        return [Detections(boxes[own], class_ids[own], scores[own], masks[own]) for own in rows]
