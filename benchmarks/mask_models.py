"""Mask R-CNN on ONNX Runtime and on TensorFlow, from the same file of random weights.

    python -m benchmarks.mask_models [--image-size 1024] [--batch 1,8,32] [--precision fp32,fp16]
        [--providers cuda] [--runtimes onnxruntime,tensorflow]

The runtimes alternate in one process. On a GPU they need an environment each, because their CUDA libraries
exclude one another: run it twice with ``--runtimes``. Ends with 1 when ONNX Runtime takes more than 0.9 of
TensorFlow's time.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.model_bench import (
    Contender,
    add_peaks,
    compute_of,
    measure,
    parser,
    ratios,
    report,
    test_writers,
)
from workers.compute import Compute
from workers.masks.matterport.architecture import MASK_POOL, MASK_SIDE, PERSON, PROPOSALS, layers
from workers.masks.matterport.model import MaskRCNN, Matterport
from workers.masks.matterport.onnx_network import OnnxMaskRCNN
from workers.masks.matterport.options import MatterportOptions

BOUND = 0.9
"""ONNX Runtime may take this share of TensorFlow's time. It takes about 0.8 on a CPU, where 97 % of its work
is convolutions and dense layers at the speed of the chip's measured peak: less needs other arithmetic."""
SEED = 1


def main() -> int:
    """Measures, prints, and says whether the bound holds."""
    options = parser(__doc__ or "", "1024", "onnxruntime,tensorflow").parse_args()
    size, compute = int(options.image_size), compute_of(options)
    with test_writers() as folder:
        from matterport_weights import write_random

        weights = write_random(folder / "random.h5", SEED)
        contenders, on_gpu = [], False
        for precision in options.precision:
            for runtime in options.runtimes:
                network = _open(runtime, weights, size, precision, compute)
                on_gpu |= network.on_gpu
                contenders += [_contender(runtime, network, size, precision, n) for n in options.batch]
        rows = measure(contenders, options.repeats)
        peaks = add_peaks(rows, compute, folder) if on_gpu or options.peak else {}
    found = ratios(rows, "onnxruntime", "tensorflow")
    missed = {key: ratio for key, ratio in found.items() if ratio > BOUND}
    more = {"peak_tflops": peaks, "onnxruntime_to_tensorflow": found, "bound": BOUND, "missed": missed}
    report("mask_models", options, rows, more)
    return 1 if missed else 0


def _open(runtime: str, weights: Path, size: int, precision: str, compute: Compute) -> MaskRCNN:
    o = MatterportOptions(image_size=size, precision=precision)
    if runtime == "tensorflow":
        from workers.masks.matterport.keras_network import KerasMaskRCNN

        return KerasMaskRCNN(weights, size, o.min_score, o.nms_iou, compute, precision)
    path = weights.with_name(f"{precision}.onnx")
    Matterport.export(weights, path, {"image_size": size, "precision": precision})
    return OnnxMaskRCNN(path, o.min_score, o.nms_iou, compute, precision == "fp16")


def _contender(runtime: str, network: MaskRCNN, size: int, precision: str, batch: int) -> Contender:
    coarse = np.random.default_rng(0).integers(0, 256, (batch, size // 16, size // 16, 3))
    images = coarse.repeat(16, axis=1).repeat(16, axis=2).astype(np.float32)
    windows = np.tile(np.array([[0, 0, size, size]], np.float32), (batch, 1))

    def call() -> int:
        found = network.detect(images, windows)
        return sum(int(np.count_nonzero(one.class_ids == PERSON)) for one in found)

    return Contender(runtime, precision, batch, call, lambda people: flops(size, batch, people))


def flops(size: int, images: int, people: int) -> float:
    """Of the convolutions and dense layers: outputs times inputs of each, twice."""
    total = 0.0
    for layer in layers():
        if layer.kind == "batch_norm":
            continue
        inside = float(np.prod(layer.tensors["kernel"]))
        places = people * _mask_places(layer.name) or images * _places(layer.name, size)
        total += 2.0 * inside * places
    return total


def _places(layer: str, size: int) -> float:
    """How many outputs of an image a layer's kernel is applied to, without the mask head."""
    if layer == "conv1":
        return (size / 2) ** 2
    if layer.startswith("res"):
        return float((size / 2 ** int(layer[3])) ** 2)
    if layer.startswith("fpn_"):
        return float((size / 2 ** int(layer[5])) ** 2)
    if layer.startswith("rpn_"):
        return float(sum((size / 2**level) ** 2 for level in range(2, 7)))
    return 0.0 if layer.startswith("mrcnn_mask") else float(PROPOSALS)


def _mask_places(layer: str) -> float:
    """The same for a person and the mask head. The transposed convolution reads each place once."""
    if not layer.startswith("mrcnn_mask"):
        return 0.0
    return float((MASK_SIDE if layer == "mrcnn_mask" else MASK_POOL) ** 2)


if __name__ == "__main__":
    sys.exit(main())
