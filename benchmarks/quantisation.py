"""What quantisation alone costs the embedded student: float against 8 bits, on a job's own kept frames.

    python -m benchmarks.quantisation --home OUT/state --out quantised [--numbers quantised.json]
    python -m benchmarks.quantisation --frames PICTURES --masks MASKS --out quantised

Writes the networks and a description of each that ``hardpose worker me --device`` takes; then runs all on the
same frames. Wants the extra ``quantise``. Frames of every second video (or picture) calibrate; the others are
counted apart, for they are what the network meets in the field. ``results/quantisation.json`` is of a demo
that examined and kept every frame it could::

    HARDPOSE_SAMPLING__CANDIDATES_PER_SECOND=30 HARDPOSE_SAMPLING__KEEPS_PER_SECOND=30 \\
    HARDPOSE_DUPLICATES__POSE_DISTANCE=0 HARDPOSE_DUPLICATES__HASH_DISTANCE=0 hardpose demo --out OUT
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.plain_tflite import SIGNATURE, write_plain
from benchmarks.quantisation_sheet import write_sheet
from broker.settings import load_settings
from tasks.iou import mask_iou
from workers.contracts import Device, Image, Mask
from workers.devices.answers import mask_of
from workers.devices.description import load_description, open_described
from workers.devices.network import NetworkOptions
from workers.devices.network_input import network_input
from workers.embedded_weights import SELFIE
from workers.litert import LiteRT
from workers.pictures import decode_grey, decode_rgb
from workers.weights import WeightsStore

RECIPES = {"float": "", "int8-weights": "weight_only_wi8_afp32", "int8": "static_wi8_ai8"}
"""The files, and ai-edge-quantizer's recipes: weights alone, and weights, activations, input and output."""
THRESHOLD = 0.5
ROUNDS = 3
DESCRIPTION = """# The embedded student, {name}: runs as it is.
name = "selfie-{name}"
firmware = "1"
driver = "litert"
licence = "Apache-2.0"
[network]
model = "selfie-{name}.tflite"
"""


@dataclass(frozen=True)
class Pair:
    """A kept frame (H x W x 3 uint8 RGB), the teacher's mask (H x W bool), and whether it calibrates."""

    name: str
    image: Image
    teacher: Mask
    calibrates: bool


def job_pairs(home: Path) -> list[Pair]:
    """The frames of a home folder that a device was asked about, with the teacher's masks."""
    store = home / "artifacts"
    kept = sorted(store.glob("device/*/*/*.png"), key=lambda path: (path.parent.name, path.stem))
    videos = sorted({path.parent.name for path in kept})
    pairs = {}
    for path in kept:
        name = f"{path.parent.name}/{path.stem}"
        (frame, *_), (mask, *_) = (sorted(store.glob(f"{kind}/*/{name}.*")) for kind in ("frames", "masks"))
        pairs[name] = _pair(name, frame, mask, videos.index(path.parent.name) % 2 == 0)
    return list(pairs.values())


def folder_pairs(frames: Path, masks: Path) -> list[Pair]:
    """Pictures with masks of the same name, such as ``a.jpg`` and ``a.png``."""
    found = [(path, masks / f"{path.stem}.png") for path in sorted(frames.iterdir()) if path.is_file()]
    both = [(frame, mask) for frame, mask in found if mask.is_file()]
    return [_pair(frame.stem, frame, mask, i % 2 == 0) for i, (frame, mask) in enumerate(both)]


def _pair(name: str, frame: Path, mask: Path, calibrates: bool) -> Pair:
    return Pair(name, decode_rgb(frame.read_bytes()), decode_grey(mask.read_bytes()) > 127, calibrates)


def write_networks(source: Path, out: Path, images: Sequence[Image]) -> None:
    """Writes the networks of ``RECIPES`` and a description of each to ``out``."""
    plain = out / "selfie-float.tflite"
    write_plain(source, plain)
    for name, recipe in RECIPES.items():
        (out / f"me-{name}.toml").write_text(DESCRIPTION.format(name=name))
        if recipe:
            _quantise(plain, out / f"selfie-{name}.tflite", recipe, images)


def _quantise(plain: Path, to: Path, named: str, images: Sequence[Image]) -> None:
    from ai_edge_quantizer import quantizer, recipe

    work = quantizer.Quantizer(str(plain), getattr(recipe, named)())
    calibrated = None
    if work.need_calibration:
        network = LiteRT(plain)
        takes = network_input(network, NetworkOptions())
        fed = [{network.input.name: takes.fill([image])} for image in images]
        calibrated = work.calibrate({SIGNATURE: fed})
    to.unlink(missing_ok=True)
    work.quantize(calibrated, serialize_to_path=str(to))


def masks_of(device: Device, pairs: Sequence[Pair]) -> Iterator[Mask]:
    """The device's mask of each frame, made as the product makes it."""
    for pair in pairs:
        height, width = pair.image.shape[:2]
        yield mask_of(device.maps([pair.image])[0], width, height, THRESHOLD)


def compare(pairs: Sequence[Pair], devices: dict[str, list[Mask]]) -> dict[str, Any]:
    """IoU with the float network and with the teacher, and the hard frames, of every network."""
    numbers: dict[str, Any] = {"frames": len(pairs)}
    truth = {
        name: [mask_iou(mask, pair.teacher) for mask, pair in zip(masks, pairs, strict=True)]
        for name, masks in devices.items()
    }
    for name, masks in devices.items():
        agreed = [mask_iou(a, b) for a, b in zip(masks, devices["float"], strict=True)]
        hard = [iou < THRESHOLD for iou in truth[name]]
        was = [iou < THRESHOLD for iou in truth["float"]]
        moved = [mine - floats for mine, floats in zip(truth[name], truth["float"], strict=True)]
        numbers[name] = {
            "iou_with_float": _spread(agreed),
            "iou_with_teacher": _spread(truth[name]),
            "iou_lost": round(0.0 - statistics.mean(moved), 4),
            "hard": sum(hard),
            "newly_hard": sum(now and not before for now, before in zip(hard, was, strict=True)),
            "no_longer_hard": sum(before and not now for now, before in zip(hard, was, strict=True)),
        }
    return numbers


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.mean(values), 4),
        "median": round(statistics.median(values), 4),
        "worst": round(min(values), 4),
    }


def cost(out: Path, image: Image) -> dict[str, Any]:
    """Bytes of each file, and its time for one frame as a ratio to the float network's, measured in turn."""
    networks = {name: LiteRT(out / f"selfie-{name}.tflite") for name in RECIPES}
    values = network_input(networks["float"], NetworkOptions()).fill([image])
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(10 * ROUNDS):
        for name, network in networks.items():
            began = time.perf_counter()
            network.run(values, *network.outputs)
            times[name].append(time.perf_counter() - began)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        name: {
            "bytes": (out / f"selfie-{name}.tflite").stat().st_size,
            "time_ratio": round(middle[name] / middle["float"], 2),
            "ms": round(middle[name] * 1000, 2),
        }
        for name in networks
    }


def measure(pairs: Sequence[Pair], out: Path) -> tuple[dict[str, Any], dict[str, list[Mask]]]:
    """Writes the networks, runs them on ``pairs``: the numbers, and every network's masks."""
    source = WeightsStore(load_settings().weights_dir).path(SELFIE)
    write_networks(source, out, [pair.image for pair in pairs if pair.calibrates])
    found = {}
    for name in RECIPES:
        device = open_described(load_description(out / f"me-{name}.toml"))
        found[name] = list(masks_of(device, pairs))
    unseen = [i for i, pair in enumerate(pairs) if not pair.calibrates]
    apart = {name: [masks[i] for i in unseen] for name, masks in found.items()}
    numbers = {
        "calibrated_on": len(pairs) - len(unseen),
        "cost": cost(out, pairs[0].image),
        "all": compare(pairs, found),
        "unseen": compare([pairs[i] for i in unseen], apart),
    }
    return numbers, found


def main() -> int:
    """Reads the arguments, measures, writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="of a finished job: OUT/state")
    parser.add_argument("--frames", type=Path, help="a folder of pictures, in place of --home")
    parser.add_argument("--masks", type=Path, help="their masks")
    parser.add_argument("--out", type=Path, required=True, help="the networks and their descriptions")
    parser.add_argument("--numbers", type=Path, help="also write the numbers as JSON")
    parser.add_argument(
        "--sheet", type=Path, help="also write a sheet of pictures, where the masks differ most"
    )
    given = parser.parse_args()
    if (given.home is None) == (given.frames is None) or (given.frames is None) != (given.masks is None):
        parser.error("give --home, or --frames and --masks")
    pairs = job_pairs(given.home) if given.home else folder_pairs(given.frames, given.masks)
    if len(pairs) < 4:
        parser.error(f"{len(pairs)} frames with masks found, and 4 are the least")
    given.out.mkdir(parents=True, exist_ok=True)
    numbers, found = measure(pairs, given.out)
    text = json.dumps(numbers, indent=1)
    print(text)
    if given.numbers:
        given.numbers.write_text(text + "\n")
    if given.sheet:
        write_sheet(given.sheet, pairs, found["float"], found["int8"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
