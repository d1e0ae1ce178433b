"""BODY_25 on ONNX Runtime and on OpenCV's own engine, from the same ONNX file of random weights.

    python -m benchmarks.pose_models [--image-size 656x368] [--batch 1,8,32] [--precision fp32,fp16]
        [--providers cuda] [--runtimes onnxruntime,opencv]

The networks alone, without the assembly of people (see ``openpose_assembly``), so nobody is found. OpenCV's
wheels compute on the CPU and in fp32 only; it stands for what a program without a runtime of its own has.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray

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
from workers.onnx_runtime import OnnxModel
from workers.pose.openpose.model import OpenPoseBody25


def main() -> int:
    """Measures and prints."""
    options = parser(__doc__ or "", "656x368", "onnxruntime,opencv").parse_args()
    width, height = (int(side) for side in options.image_size.split("x"))
    compute = compute_of(options)
    with test_writers() as folder:
        from openpose_weights import write_body25

        weights = write_body25(folder / "random.caffemodel")
        contenders, on_gpu = [], False
        for precision in options.precision:
            path = folder / f"{precision}.onnx"
            OpenPoseBody25.export(weights, path, {"precision": precision})
            network = (
                OnnxModel(path, compute, precision == "fp16") if "onnxruntime" in options.runtimes else None
            )
            on_gpu |= network is not None and network.on_gpu
            for batch in options.batch:
                contenders += _contenders(
                    options, network, path, precision, (batch, 3, height, width), compute
                )
        rows = measure(contenders, options.repeats)
        peaks = add_peaks(rows, compute, folder) if on_gpu or options.peak else {}
    more = {"peak_tflops": peaks, "onnxruntime_to_opencv": ratios(rows, "onnxruntime", "opencv")}
    report("pose_models", options, rows, more)
    return 0


def _contenders(
    options: argparse.Namespace,
    network: OnnxModel | None,
    path: Path,
    precision: str,
    shape: tuple[int, int, int, int],
    compute: Compute,
) -> list[Contender]:
    fixed = path.with_name(f"{path.stem}-{shape[0]}.onnx")
    work = flops(path, fixed, shape)
    image = np.random.default_rng(0).uniform(-0.5, 0.5, shape).astype(np.float32)
    found = []
    if network is not None:
        ours = network

        def on_onnx() -> int:
            ours.run({"image": image})
            return 0

        found.append(Contender("onnxruntime", precision, shape[0], on_onnx, lambda _: work))
    if "opencv" in options.runtimes and precision == "fp32":
        call = _on_opencv(fixed, image, compute.threads)
        found.append(Contender("opencv", precision, shape[0], call, lambda _: work))
    return found


def _on_opencv(path: Path, image: NDArray[np.float32], threads: int) -> Any:
    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromONNX(str(path))
    names = network.getUnconnectedOutLayersNames()

    def call() -> int:
        network.setInput(image)
        network.forward(names)
        return 0

    return call


def flops(path: Path, fixed: Path, shape: tuple[int, ...]) -> float:
    """Of the convolutions: outputs times inputs of each, twice; from ONNX' own shape inference.

    Args:
        path: of the network.
        fixed: where the network with its sides fixed is written.
        shape: N x 3 x H x W.
    """
    model = onnx.load(path)
    for side, number in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        side.dim_value = number
    model = onnx.shape_inference.infer_shapes(model)
    onnx.save(model, fixed)
    sides = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    kernels = {one.name: list(one.dims) for one in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolutions, f"{path} has no convolution"
    return sum(
        2.0 * float(np.prod(sides[node.output[0]])) * float(np.prod(kernels[node.input[1]][1:]))
        for node in convolutions
    )


if __name__ == "__main__":
    sys.exit(main())
