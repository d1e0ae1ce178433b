"""What turns heat maps and affinity fields into people: the thresholds, part of a recipe."""

import math
from dataclasses import dataclass

from workers.options import require, require_range
from workers.pose.person_rule import PersonRule

MOST_PEAKS = 127
"""Peaks of one part that OpenPose's own program has room for."""


@dataclass(frozen=True)
class AssemblyOptions(PersonRule):
    """Thresholds of OpenPose's post-processing, and of what counts as a person on top of it.

    The first six are OpenPose's own, but for ``max_peaks`` (arXiv 1812.08008; values of its published
    program). A group of parts that passes them has to pass ``PersonRule`` too, whose defaults were chosen
    with a small COCO-18 network: of 180 frames with one person 5 had a second group without the rule and 1
    has with it; of 147 frames with several people 9 showed one without and 10 with.

    Attributes:
        peak_threshold: a part has a peak where its up-sampled heat map is above this.
        max_peaks: peaks of one part that are used, the highest first; bounds the work on noise. OpenPose
            takes the first 127 from the top of the image.
        paf_threshold: a point between two peaks supports their limb where the affinity field along the
            limb's direction is above this.
        paf_ratio: a limb exists where more than this share of its points supports it.
        min_parts: least parts of a person; the feet's do not count.
        min_score: least score per part; the sum of a person's peaks and limbs, over its parts without feet.
        person_min_area: least area of the box around a person's parts, as a share of the network's input;
            smaller people are ignored. 0 ignores nobody.
    """

    peak_threshold: float = 0.05
    max_peaks: int = 20
    paf_threshold: float = 0.05
    paf_ratio: float = 0.95
    min_parts: int = 3
    min_score: float = 0.4
    person_min_area: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        # Every two peaks of a limb's parts are compared.
        require(1 <= self.max_peaks <= MOST_PEAKS, "max_peaks", self.max_peaks, f"1 to {MOST_PEAKS}")
        require(self.min_parts >= 1, "min_parts", self.min_parts, "1 or more")
        require_range(self, 0, math.inf, "peak_threshold", "paf_threshold", "min_score")
        require_range(self, 0, 1, "paf_ratio", "person_min_area")
