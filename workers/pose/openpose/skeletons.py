"""What OpenPose's two body networks find: parts, limbs, and the channels of their affinity fields."""

from dataclasses import dataclass

from workers.pose.body25 import NAMES

Pair = tuple[int, int]


@dataclass(frozen=True)
class Skeleton:
    """One of OpenPose's body models.

    A network with it has a heat map for each part, one for the background, then the affinity fields.

    Attributes:
        name: short, in file names.
        parts: names in the order of the heat maps.
        pairs: the limbs, as two part numbers, in the order in which OpenPose lists them.
        paf_channels: for each limb the channels of x and y among the affinity fields (0-based: the
            channels of the network's whole output are higher by the number of heat maps).
        foot_parts: part numbers that do not count as evidence of a person; empty without feet.
    """

    name: str
    parts: tuple[str, ...]
    pairs: tuple[Pair, ...]
    paf_channels: tuple[Pair, ...]
    foot_parts: tuple[int, ...] = ()

    @property
    def n_parts(self) -> int:
        """Number of body parts, the background not counted."""
        return len(self.parts)

    @property
    def n_heatmaps(self) -> int:
        """Channels of the heat maps: the parts and the background."""
        return self.n_parts + 1

    @property
    def n_pafs(self) -> int:
        """Channels of the affinity fields: two for each limb."""
        return 2 * len(self.pairs)


BODY_25 = Skeleton(
    name="body25",
    parts=NAMES,
    pairs=(
        (1, 8), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12),
        (12, 13), (13, 14), (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (2, 17), (5, 18), (14, 19),
        (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
    ),
    paf_channels=(
        (0, 1), (14, 15), (22, 23), (16, 17), (18, 19), (24, 25), (26, 27), (6, 7), (2, 3), (4, 5), (8, 9),
        (10, 11), (12, 13), (30, 31), (32, 33), (36, 37), (34, 35), (38, 39), (20, 21), (28, 29), (40, 41),
        (42, 43), (44, 45), (46, 47), (48, 49), (50, 51),
    ),
    foot_parts=(19, 20, 21, 22, 23, 24),
)  # fmt: skip
"""25 parts, 26 limbs (OpenPose documentation, "Pose Output Format (BODY_25)")."""

COCO_18 = Skeleton(
    name="coco18",
    parts=(
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
        "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
        "right_eye", "left_eye", "right_ear", "left_ear",
    ),
    pairs=(
        (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12),
        (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (2, 16), (5, 17),
    ),
    paf_channels=(
        (12, 13), (20, 21), (14, 15), (16, 17), (22, 23), (24, 25), (0, 1), (2, 3), (4, 5), (6, 7), (8, 9),
        (10, 11), (28, 29), (30, 31), (34, 35), (32, 33), (36, 37), (18, 19), (26, 27),
    ),
)  # fmt: skip
"""18 parts, 19 limbs (OpenPose documentation, "Pose Output Format (COCO)")."""
