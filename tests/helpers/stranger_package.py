"""A stranger's package: a pose model whose weights the user brings, a teacher and a device of its own.

The weights of the pose model are a format of its own: 8 bytes of magic, a little-endian uint32 count, and
that many x, y pairs of float32: where the body's points are, over the frame's size.
"""

import hashlib
import os
import struct
from pathlib import Path

MAGIC = b"TINYPOSE"
POINTS = tuple((0.5 + 0.1 * ((n % 5) - 2) / 2, 0.2 + 0.6 * n / 24) for n in range(25))
"""Well inside the frame, spread over it."""

MODULE = '''
import hashlib, struct
from pathlib import Path
import numpy as np
from broker.errors import HardposeError
from broker.recipe import ModelSpec, WeightsRef
from workers.cards import ModelCard, OfficialFile
from workers.contracts import Instance, Person
from workers.errors import ModelMismatch, WeightsDamaged
from workers.onnx_graph import GraphWriter
from workers.onnx_runtime import OnnxModel
from workers.options import option_values, read_options
from dataclasses import dataclass

MAGIC = b"TINYPOSE"
OFFICIAL_MD5 = "@MD5@"
OFFICIAL_URL = "@URL@"


@dataclass(frozen=True)
class PoseOptions:
    precision: str = "fp32"
    confidence: float = 0.9


def read_points(path):
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise WeightsDamaged(f"{path} is no TINYPOSE file.", "Give the file that the stranger publishes.")
    count = struct.unpack_from("<I", data.ljust(12, bytes(1)), 8)[0]
    if len(data) != 12 + 8 * count:
        raise WeightsDamaged(f"{path} has {len(data)} bytes, {12 + 8 * count} announced.", "Fetch it anew.")
    if count != 25:
        raise ModelMismatch(f"{path} has {count} points, 25 were expected.", "Give the 25-point network.")
    return np.frombuffer(data, "<f4", offset=12).reshape(25, 2)


def write_network(path, to, precision="fp32"):
    points = read_points(path)
    if not np.isfinite(points).all():
        raise ModelMismatch("A point is not a number.", "Train it again.")
    graph = GraphWriter(half=precision == "fp16")
    product = graph.op("Mul", graph.cast(graph.weights(points), np.float32), "size")
    graph.rename(product, "points")
    ports = {"size": (np.float32, [1, 2])}, {"points": (np.float32, [25, 2])}
    graph.save(to, "tiny", *ports, {"by": "a stranger"})


class TinyPose:
    card = ModelCard(
        title="TinyPose", licence="Stranger-1.0", licence_url="https://stranger.example/licence",
        must_accept=True, terms="Only for people who know the stranger.",
        citation="A. Stranger, TinyPose, 2026.",
        official=(OfficialFile("tiny_v1.tiny", OFFICIAL_URL, OFFICIAL_MD5),),
        obtain="Ask the stranger for tiny_v1.tiny.", suffixes=(".tiny",),
        untried="Only the made weights of a test were ever tried.",
    )

    def __init__(self, spec, weights, compute):
        self.spec, self.weights, self.compute = spec, weights, compute
        self.options = read_options(PoseOptions, spec)
        self.network = None

    batch_size = 2

    @classmethod
    def default_spec(cls):
        return ModelSpec(name="tiny-pose", version="none", options=option_values(PoseOptions()))

    @classmethod
    def check_weights(cls, path):
        return f"TinyPose with {len(read_points(path))} points"

    @classmethod
    def export(cls, path, to, options):
        write_network(path, to, options["precision"])

    def load(self):
        (ref,) = self.spec.weights
        precision = self.options.precision
        made = self.weights.derived(
            ref, f"tiny-{precision}-1.onnx", lambda given, to: write_network(given, to, precision)
        )
        self.network = OnnxModel(made, self.compute)

    def find_people(self, images):
        return [[self.person(image)] for image in images]

    def person(self, image):
        size = np.array([[image.shape[1], image.shape[0]]], np.float32)
        (points,) = self.network.run({"size": size})
        keypoints = np.column_stack([points, np.full(25, self.options.confidence)]).astype(np.float32)
        box = np.concatenate([points.min(0), points.max(0)]).astype(np.float32)
        return Person(keypoints, box, 1.0)


def own_weights(name, licence):
    file = Path(__file__).with_name(name)
    data = file.read_bytes()
    return WeightsRef(file=name, sha256=hashlib.sha256(data).hexdigest(), source=file.as_uri(),
                      licence=licence, size=len(data))


class TinyTeacher:
    """Half the frame in the middle."""

    batch_size = 1

    def __init__(self, spec, weights, compute):
        self.spec, self.weights = spec, weights

    @classmethod
    def default_spec(cls):
        weights = own_weights("teacher.bin", "BSD-3-Clause")
        return ModelSpec(name="tiny-teacher", version="7.1", weights=(weights,))

    def load(self):
        self.weights.path(self.spec.weights[0])

    def segment(self, images, second_look):
        found = []
        for image in images:
            height, width = image.shape[:2]
            mask = np.zeros((height, width), bool)
            mask[height // 10 : -height // 10, width // 4 : -width // 4] = True
            found.append([Instance(mask, 1.0, side=float(height))])
        return found


class TinyDevice:
    """A quarter of what the teacher draws."""

    def __init__(self, spec, weights, compute):
        self.spec, self.weights = spec, weights

    @classmethod
    def default_spec(cls):
        return ModelSpec(name="tiny-device", version="0.3", weights=(own_weights("device.bin", "CC0-1.0"),))

    def load(self):
        self.weights.path(self.spec.weights[0])

    batch_size = 1

    def maps(self, images):
        maps = []
        for image in images:
            height, width = image.shape[:2]
            person = np.zeros((height, width), np.uint8)
            person[height // 4 : height // 2, width // 4 : width // 2] = 255
            maps.append(person)
        return maps
'''

ENTRY_POINTS = """[hardpose.pose]
tiny-pose = tiny_models:TinyPose
lacking = tiny_lacking:Lacking
crooked = tiny_crooked:Crooked

[hardpose.masks]
tiny-teacher = tiny_models:TinyTeacher

[hardpose.devices]
tiny-device = tiny_models:TinyDevice
"""
"""Two more that cannot be imported: one for want of a package, one for a defect of its own."""


def weights_bytes(points: int = 25, changed: float = 0.0) -> bytes:
    """A weights file; ``changed`` moves every point, so that the bytes are others."""
    pairs = [POINTS[n % 25] for n in range(points)]
    numbers = [number + changed for pair in pairs for number in pair]
    return MAGIC + struct.pack(f"<I{2 * points}f", points, *numbers)


def install(
    folder: Path, url: str = "https://stranger.example/tiny_v1.tiny", md5: bool = True
) -> dict[str, str]:
    """Lays the package out in ``folder``; returns the environment that makes Python see it.

    Args:
        folder: new.
        url: where the stranger publishes ``weights_bytes()``.
        md5: whether he publishes its MD5.
    """
    info = folder / "tiny_models-1.0.dist-info"
    info.mkdir(parents=True)
    known = hashlib.md5(weights_bytes()).hexdigest() if md5 else ""
    (folder / "tiny_models.py").write_text(MODULE.replace("@MD5@", known).replace("@URL@", url))
    (folder / "tiny_lacking.py").write_text("import no_such_package_anywhere\n")
    (folder / "tiny_crooked.py").write_text("raise RuntimeError('written in a hurry')\n")
    (folder / "teacher.bin").write_bytes(b"teacher")
    (folder / "device.bin").write_bytes(b"device")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}
