"""What the report keeps of each compared frame, while the frames pass by: a few numbers, no picture."""

import heapq
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from broker.frame_views import FrameDetail, PoseClass
from tasks.frame_facts import facts_of

POSES = tuple(PoseClass)
WORST_OF_VIDEO = 2
"""Frames of one video that may stand for a class, as long as other videos have some: they look alike."""

Worst = tuple[float, str]
"""IoU and id of a frame."""


@dataclass
class Tally:
    """The compared frames of a report, counted.

    Attributes:
        threshold: IoU below which a frame is hard.
        ious: every frame's IoU, by pose class.
        videos: number of each video's row in the tables, by id.
        frames: of which video and which class how many, a row a video; so are ``sums`` and ``hards``.
        sums: of IoU.
        hards: frames below the threshold.
        repeats: frames that were passed over, because a newer recipe has the same one.
    """

    threshold: float
    ious: "dict[PoseClass, array[float]]" = field(
        default_factory=lambda: {pose: array("d") for pose in POSES}
    )
    videos: dict[str, int] = field(default_factory=dict)
    frames: list[list[int]] = field(default_factory=list)
    sums: list[list[float]] = field(default_factory=list)
    hards: list[list[int]] = field(default_factory=list)
    repeats: int = 0
    _worst: dict[tuple[PoseClass, str], list[Worst]] = field(default_factory=dict)

    def add(self, pose: PoseClass, video_id: str, frame_id: str, iou: float) -> None:
        """Counts one frame."""
        row, column = self._row(video_id), POSES.index(pose)
        self.ious[pose].append(iou)
        self.frames[row][column] += 1
        self.sums[row][column] += iou
        self.hards[row][column] += iou < self.threshold
        kept = self._worst.setdefault((pose, video_id), [])
        heapq.heappush(kept, (-iou, frame_id))
        if len(kept) > self._most:
            heapq.heappop(kept)

    @property
    def count(self) -> int:
        """All frames."""
        return sum(map(len, self.ious.values()))

    @property
    def hard(self) -> int:
        """Frames below the threshold."""
        return sum(map(sum, self.hards))

    def below(self, threshold: float) -> int:
        """Frames with an IoU below ``threshold``."""
        return sum(int(np.count_nonzero(values_of(ious) < threshold)) for ious in self.ious.values())

    def worst(self, pose: PoseClass, most: int) -> list[Worst]:
        """The worst frames of a class, lowest IoU first; of one video at most two while others have some."""
        by_video = [
            sorted((-iou, name) for iou, name in kept) for (p, _), kept in self._worst.items() if p == pose
        ]
        first = sorted(frame for frames in by_video for frame in frames[:WORST_OF_VIDEO])
        rest = sorted(frame for frames in by_video for frame in frames[WORST_OF_VIDEO:])
        return sorted([*first, *rest][:most])

    @property
    def _most(self) -> int:
        """Frames kept of a class in a video: enough for a report of one video, few where there are many."""
        return 8 if len(self.videos) <= 50 else WORST_OF_VIDEO

    def _row(self, video_id: str) -> int:
        if video_id not in self.videos:
            self.videos[video_id] = len(self.frames)
            for table in (self.frames, self.sums, self.hards):
                table.append([0] * len(POSES))
        return self.videos[video_id]


def values_of(ious: "array[float]") -> NDArray[np.float64]:
    """The values as numpy sees them, without a copy."""
    return np.frombuffer(ious, np.float64) if len(ious) else np.zeros(0)


def tally(frames: Iterable[FrameDetail], threshold: float, recipes: dict[str, int]) -> Tally:
    """Counts ``frames``, which come by video and time.

    Args:
        frames: as ``catalog.frames.each`` gives them.
        threshold: IoU below which a frame is hard.
        recipes: the age of each recipe, the newest 0. Of a frame that several have, the newest counts.
    """
    counted = Tally(threshold)
    held: FrameDetail | None = None
    for frame in frames:
        if frame.iou is None:
            continue
        if held is not None and (held.video_id, held.time_ms) == (frame.video_id, frame.time_ms):
            counted.repeats += 1
            held = min(held, frame, key=lambda each: recipes.get(each.recipe_id, len(recipes)))
            continue
        _count(counted, held)
        held = frame
    _count(counted, held)
    return counted


def _count(counted: Tally, frame: FrameDetail | None) -> None:
    if frame is None or frame.iou is None:
        return
    pose = frame.pose_class or facts_of(frame.keeper, frame.video, frame.recipe).pose_class
    counted.add(pose, frame.video_id, frame.id, frame.iou)
