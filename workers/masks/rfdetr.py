"""The teacher RF-DETR Seg, from an ONNX file that the user exports with the package ``rfdetr``."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from broker.recipe import ModelSpec
from broker.settings import Plain
from workers.batching import Batches
from workers.cards import ModelCard
from workers.compute import Compute
from workers.contracts import Image, Instance
from workers.errors import ImageFailed
from workers.masks.rfdetr_decode import RFDETROptions, people, usable
from workers.masks.rfdetr_network import RFDETRNetwork
from workers.models import Weights, only_weights
from workers.options import option_values, read_options

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
"""Of ImageNet's RGB in 0..1 (RF-DETR documentation)."""


class RFDETRSeg:
    """Segments people with RF-DETR Seg. Implements ``workers.contracts.Teacher``; not thread-safe.

    The file itself tells the size of its input, the number of queries and the batch.

    Args:
        spec: see ``default_spec``; its one weights file is an exported ``.onnx``.
        weights: the weights store, asked in ``load`` only.
        compute: providers, threads and batch.

    Raises:
        SettingsError: an option of ``spec`` is unknown, of the wrong type or cannot be used.
    """

    card: ClassVar[ModelCard] = ModelCard(
        title="RF-DETR Seg",
        licence="Apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        must_accept=False,
        terms="Apache-2.0 asks to keep the notices. It covers the sizes Nano, Small, Medium and Large; "
        "larger ones may have terms of their own.",
        citation="I. Robinson, P. Robicheaux, M. Popov, D. Ramanan, N. Peri: RF-DETR: Neural Architecture "
        "Search for Real-Time Detection Transformers, arXiv:2511.09554",
        official=(),
        obtain="Its authors publish PyTorch checkpoints, not ONNX files. In an environment of its own: "
        "pip install 'rfdetr[onnx]', then python -c 'from rfdetr import RFDETRSegMedium; "
        "RFDETRSegMedium().export()' (or RFDETRSegNano, RFDETRSegSmall, RFDETRSegLarge; "
        "export(dynamic_batch=True) for a GPU), then hardpose models add rfdetr-seg --from output/FILE.onnx.",
        suffixes=(".onnx",),
        untried="Never run with the trained weights here: only with small networks of the same inputs and "
        "outputs.",
    )

    runtime: ClassVar[str] = "onnxruntime"

    def __init__(self, spec: ModelSpec, weights: Weights, compute: Compute) -> None:
        self._spec, self._weights, self._compute = spec, weights, compute
        self._options = usable(read_options(RFDETROptions, spec))
        self._network: RFDETRNetwork | None = None
        self._batches = Batches("rfdetr-seg", compute.batch or 1)

    @classmethod
    def default_spec(cls) -> ModelSpec:
        """The default options; the weights are those that the user adds."""
        return ModelSpec(name="rfdetr-seg", version="none", options=option_values(RFDETROptions()))

    @classmethod
    def check_weights(cls, path: Path) -> str:
        """Opens the file on the CPU and runs a black picture; says which size it is.

        Raises:
            WeightsDamaged: it is cut off or no ONNX file.
            ModelMismatch: it is another network; names its inputs and outputs.
        """
        return RFDETRNetwork(path, Compute(providers=("cpu",))).describe()

    @classmethod
    def export(cls, path: Path, to: Path, options: Mapping[str, Plain]) -> None:  # noqa: ARG003
        """Copies the file: it is an ONNX network already, and no option changes it."""
        shutil.copyfile(path, to)

    @property
    def batch_size(self) -> int:
        """The file's own batch; where it is open 8 on a GPU, 1 on a CPU, or what ``compute`` says."""
        return self._batches.size

    def load(self) -> None:
        """Opens the network; a second call does nothing.

        Raises:
            WeightsError: the user has not brought the file.
            WeightsDamaged, ModelMismatch, NoProvider, OutOfMemory: see ``RFDETRNetwork``.
        """
        if self._network is not None:
            return
        network = RFDETRNetwork(self._weights.path(only_weights(self._spec)), self._compute)
        self._batches.size = network.batch
        self._network = network

    def segment(self, images: Sequence[Image], second_look: bool) -> list[list[Instance]]:  # noqa: ARG002
        """The people of each image, the largest first.

        Args:
            images: H x W x 3 uint8 RGB, of any sizes.
            second_look: no effect; every query looks at the whole frame, and there is nothing more to find.

        Returns:
            Each with ``measures`` box_iou: IoU of the box that the network drew and the box of its mask. The
            stability is 1.0, because the network looks once.

        Raises:
            ImageFailed: an image is empty, or the network's answer for it is not a number.
            OutOfMemory: not even one image fits.
        """
        self.load()
        return self._batches.run(list(images), self._segment)

    def _segment(self, images: Sequence[Image]) -> list[list[Instance]]:
        assert self._network is not None
        side = self._network.side
        found = self._network.run(np.stack([prepare(image, side) for image in images]))
        return [people(found, i, image.shape[:2], self._options) for i, image in enumerate(images)]


def prepare(image: Image, side: int) -> NDArray[np.float32]:
    """What the network is fed, 3 x side x side float32, of an image, H x W x 3 uint8 RGB.

    Stretched to the square bilinearly without antialiasing, as RF-DETR's own ``predict`` does by default;
    in 0..1, less ImageNet's mean, over its deviation.

    Raises:
        ImageFailed: the image is empty.
    """
    if not image.size:
        raise ImageFailed(f"The frame has {image.shape[1]} x {image.shape[0]} pixels.", "It is left out.")
    small = cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(((small / 255.0 - MEAN) / STD).transpose(2, 0, 1), dtype=np.float32)
