"""What OpenPose's post-processing costs for one frame of 368 x 656, on one core.

    python -m benchmarks.openpose_assembly

Prints JSON. Times are ratios against two things that ran in the same minute: up-sampling all maps with OpenCV
and nothing more, which a plain version begins with; and the slow reference of the tests.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from workers.pose.geometry import Floats
from workers.pose.openpose.assembly import find_people
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.skeletons import BODY_25

ONE_PERSON_MS = 5.0
"""Most CPU time for one person at 368 x 656."""
HELPERS = Path(__file__).resolve().parent.parent / "tests" / "helpers"


def milliseconds(work: Callable[[], Any], rounds: int) -> float:
    """CPU time of one call, median."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(1000 * (time.process_time() - start))
    return statistics.median(times)


def measure(rounds: int = 30) -> dict[str, dict[str, float]]:
    """By scene: people found, milliseconds, and ratios."""
    if str(HELPERS) not in sys.path:
        sys.path.insert(0, str(HELPERS))
    import paf_reference
    import paf_scenes

    rng = np.random.default_rng(7)
    scenes = {
        "empty": paf_scenes.Scene(),
        "one person": paf_scenes.people_apart(rng, 1),
        "8 people": paf_scenes.people_apart(rng, 8),
        "one person, noise 0.01": paf_scenes.people_apart(rng, 1).add_noise(rng, 0.01),
        "white noise": paf_scenes.Scene().add_noise(rng, 1.0),
    }
    options, threads = AssemblyOptions(), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return {name: _measured(scene, options, rounds, paf_reference) for name, scene in scenes.items()}
    finally:
        cv2.setNumThreads(threads)


def up_sampled(maps: Floats) -> Floats:
    """One map at the network's size."""
    return cv2.resize(maps, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)


def _measured(scene: Any, options: AssemblyOptions, rounds: int, reference: Any) -> dict[str, float]:
    heatmaps, pafs = scene.heatmaps, scene.pafs

    def ours() -> int:
        return len(find_people(heatmaps, pafs, BODY_25, options, scene.net_size))

    people = ours()
    cost = milliseconds(ours, rounds)
    up_sampling = milliseconds(lambda: [up_sampled(maps) for maps in (*heatmaps, *pafs)], rounds)
    numbers = {"people": people, "ms": round(cost, 2), "ratio_to_up_sampling": round(cost / up_sampling, 3)}
    # White noise has so many peaks that the reference takes a minute.
    if heatmaps.max() < 2:
        slow = milliseconds(lambda: reference.reference_people(heatmaps, pafs, options), 1)
        numbers["ratio_to_reference"] = round(cost / slow, 4)
    return numbers


def main() -> int:
    """Measures, prints, and says whether one person costs at most what it may."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, help="write the numbers there too")
    given = options.parse_args()
    numbers = measure()
    print(json.dumps(numbers, indent=2))
    if given.out:
        given.out.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    return 1 if numbers["one person"]["ms"] > ONE_PERSON_MS else 0


if __name__ == "__main__":
    sys.exit(main())
