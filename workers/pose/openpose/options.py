"""What turns heat maps and affinity fields into people: the thresholds, part of a recipe."""

from dataclasses import dataclass

from broker.errors import SettingsError

MOST_PEAKS = 127
"""Peaks of one part that OpenPose's own program has room for."""


@dataclass(frozen=True)
class AssemblyOptions:
    """Thresholds of OpenPose's post-processing, and of what counts as a person on top of it.

    The first six are OpenPose's own, but for ``max_peaks`` (arXiv 1812.08008; values of its published
    program). A group of parts that passes them is then ignored as a fragment only when it has fewer than
    ``person_min_parts`` parts *and* scores less than ``person_min_score``: a frame must show exactly one
    person, so a stray elbow may not cost a frame, and a second person whom only a few parts show may not
    slip through. Chosen with a small COCO-18 network: of 180 frames with one person 5 had a second group
    without the rule and 1 has with it; of 147 frames with several people 9 showed one without and 10 with.

    Attributes:
        peak_threshold: a part has a peak where its up-sampled heat map is above this.
        max_peaks: peaks of one part that are used, the highest first; bounds the work on noise. OpenPose
            takes the first 127 from the top of the image.
        paf_threshold: a point between two peaks supports their limb where the affinity field along the
            limb's direction is above this.
        paf_ratio: a limb exists where more than this share of its points supports it.
        min_parts: least parts of a person; the feet's do not count.
        min_score: least score per part; the sum of a person's peaks and limbs, over its parts without feet.
        person_min_parts: a person with this many parts counts, however it scores.
        person_min_score: a person with this score counts, however few its parts; same scale as ``min_score``.
        person_min_area: least area of the box around a person's parts, as a share of the network's input;
            smaller people are ignored. 0 ignores nobody.
    """

    peak_threshold: float = 0.05
    max_peaks: int = 20
    paf_threshold: float = 0.05
    paf_ratio: float = 0.95
    min_parts: int = 3
    min_score: float = 0.4
    person_min_parts: int = 5
    person_min_score: float = 0.9
    person_min_area: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_peaks <= MOST_PEAKS:
            raise SettingsError(
                f"The option max_peaks is {self.max_peaks}.",
                f"Give 1 to {MOST_PEAKS}: every two peaks of a limb's parts are compared.",
            )
        if self.peak_threshold < 0:
            raise SettingsError(f"The option peak_threshold is {self.peak_threshold}.", "Give 0 or more.")
