"""A program: runs a network on 16 images, with a limit on its memory or without, and prints JSON.

``python memory_limit.py NETWORK MEGABYTES SIZE``: 0 megabytes for no limit; SIZE is that of the first batch.
"""

import json
import logging
import resource
import sys
from pathlib import Path

import numpy as np
import psutil

from workers.batching import Batches
from workers.compute import Compute
from workers.errors import OutOfMemory
from workers.onnx_graph import GraphWriter
from workers.onnx_runtime import OnnxModel

IMAGES, SIDE, CHANNELS, ZOOM = 16, 32, 32, 16


def write_network(path: Path) -> Path:
    """A network that needs 67 MB for each image: 32 channels of 512 x 512, twice."""
    writer = GraphWriter()
    kernels = np.random.default_rng(0).standard_normal((CHANNELS, 3, 1, 1)).astype(np.float32)
    value = writer.op("Conv", "images", writer.weights(kernels))
    value = writer.op("Resize", value, "", writer.floats(1, 1, ZOOM, ZOOM), mode="nearest")
    value = writer.op("ReduceMax", writer.op("Relu", value), axes=[2, 3], keepdims=0)
    writer.rename(value, "peaks")
    ports = {"images": (np.float32, ["n", 3, SIDE, SIDE])}, {"peaks": (np.float32, ["n", CHANNELS])}
    writer.save(path, "hungry", *ports, {})
    return path


def images() -> list[np.ndarray]:
    return list(np.random.default_rng(1).standard_normal((IMAGES, 3, SIDE, SIDE)).astype(np.float32))


def main(network: str, megabytes: int, size: int) -> None:
    logging.basicConfig(format="%(message)s")
    model = OnnxModel(Path(network), Compute())
    given = images()
    if megabytes:
        limit = psutil.Process().memory_info().vms + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    batches = Batches("hungry", size)
    try:
        peaks = batches.run(given, lambda batch: model.run({"images": np.stack(batch)}, "peaks")[0])
        answer = {"size": batches.size, "peaks": [row.tolist() for row in peaks]}
    except OutOfMemory as error:
        answer = {"cause": error.cause, "remedy": error.remedy}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
