"""How far devices agree with each other, whatever the teacher says: their masks, and their verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import cv2
import numpy as np

from broker.errors import ArtifactMissing
from broker.frame_views import PoseClass
from broker.side_books import SideFrame
from tasks.device_report.mcnemar import kappa
from tasks.iou import mask_iou
from workers.contracts import Mask

Pair = tuple[int, int]
"""Numbers of two sides, the smaller first."""


@dataclass
class Agreement:
    """Two devices on the frames that both have judged. None of it changes when the two are swapped.

    Attributes:
        threshold: IoU with the teacher below which a frame is hard, for both.
        both_hard: frames by the two verdicts; so are the next three.
        masks: frames of which both masks could be read, by pose.
        ious: sums of the IoU of the two devices' masks, by pose.
    """

    threshold: float
    both_hard: int = 0
    first_only: int = 0
    second_only: int = 0
    both_easy: int = 0
    masks: dict[PoseClass, int] = field(default_factory=dict)
    ious: dict[PoseClass, float] = field(default_factory=dict)

    def add(self, pose: PoseClass, first: float, second: float, mask_iou: float | None) -> None:
        """Counts one frame.

        Args:
            pose: its class.
            first: the first device's IoU with the teacher.
            second: the second one's.
            mask_iou: the IoU of the two devices' masks; None when one of them is gone.
        """
        hard = (first < self.threshold, second < self.threshold)
        self.both_hard += hard == (True, True)
        self.first_only += hard == (True, False)
        self.second_only += hard == (False, True)
        self.both_easy += hard == (False, False)
        if mask_iou is not None:
            self.masks[pose] = self.masks.get(pose, 0) + 1
            self.ious[pose] = self.ious.get(pose, 0.0) + mask_iou

    @property
    def frames(self) -> int:
        """In common."""
        return self.both_hard + self.first_only + self.second_only + self.both_easy

    @property
    def same(self) -> float | None:
        """Share of frames with the same verdict."""
        return (self.both_hard + self.both_easy) / self.frames if self.frames else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa of the verdicts."""
        return kappa(self.both_hard, self.first_only, self.second_only, self.both_easy)

    def mean_iou(self, pose: PoseClass | None = None) -> float | None:
        """Mean IoU of the two devices' masks, of all frames or of one pose; None without any."""
        count = sum(self.masks.values()) if pose is None else self.masks.get(pose, 0)
        total = sum(self.ious.values()) if pose is None else self.ious.get(pose, 0.0)
        return total / count if count else None


def mask_ious(frames: Mapping[int, SideFrame], read: "Reader") -> dict[Pair, float]:
    """The IoU of each two devices' masks of one frame; a pair whose mask is gone is left out.

    Args:
        frames: what each side has made of the frame.
        read: reads a mask.
    """
    masks = {side: mask for side, frame in frames.items() if (mask := read(frame)) is not None}
    return {
        (a, b): mask_iou(masks[a], masks[b])
        for a, b in combinations(sorted(masks), 2)
        if masks[a].shape == masks[b].shape
    }


class Reader:
    """Reads devices' masks and counts those that are gone.

    Args:
        get: the bytes under a key; raises ArtifactMissing.
    """

    def __init__(self, get: Callable[[str], bytes]) -> None:
        self._get = get
        self.gone = 0

    def __call__(self, frame: SideFrame) -> Mask | None:
        """The device's mask of ``frame``, H x W; None when it is gone or damaged."""
        try:
            data = self._get(frame.device_key) if frame.device_key else b""
        except ArtifactMissing:
            data = b""
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
        if pixels is None:
            self.gone += 1
            return None
        mask: Mask = pixels > 127
        return mask
