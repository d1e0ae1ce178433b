"""All frames of the named devices, counted in one pass: pairs, agreements, and what only some have judged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from broker.frame_views import PoseClass, Review
from broker.side_books import SideFrame
from tasks.device_report.agreement import Agreement, Pair, Reader, mask_ious
from tasks.device_report.contrast import Contrast
from tasks.device_report.sides import Sides

NAMED = 50
"""Frames of each device and reason that are named; the rest is counted."""
NOT_TRIED = "not tried"
"""Why a device has no number for a frame, where there is no error to name."""


@dataclass
class Absent:
    """Frames that another device has judged and this one has not, for one reason."""

    count: int = 0
    frames: list[str] = field(default_factory=list)
    """Ids of the first of them, as the other device has them."""

    def add(self, frame: SideFrame) -> None:
        """Counts one."""
        self.count += 1
        if len(self.frames) < NAMED:
            self.frames.append(frame.id)


@dataclass
class Tally:
    """What the pass has counted.

    Attributes:
        threshold: IoU below which a frame is hard, for all devices.
        contrasts: of each later device against the first, in their order.
        agreements: of each two devices.
        judged: frames that each device has judged, without rejected ones.
        absent: of each device, the frames that it lacks, by reason.
        rejected: frames that reviewers have rejected under any of the devices; they are in no other number.
        masks_gone: devices' masks that are not in the store any more.
    """

    threshold: float
    contrasts: list[Contrast]
    agreements: dict[Pair, Agreement]
    judged: list[int]
    absent: list[dict[str, Absent]]
    rejected: int = 0
    masks_gone: int = 0

    @classmethod
    def empty(cls, sides: int, threshold: float) -> "Tally":
        """Of ``sides`` devices, before the first frame."""
        return cls(
            threshold,
            [Contrast(threshold) for _ in range(sides - 1)],
            {pair: Agreement(threshold) for pair in combinations(range(sides), 2)},
            [0] * sides,
            [{} for _ in range(sides)],
        )


def tally(sides: Sides, frames: Iterable[Sequence[SideFrame]], read: Reader, threshold: float) -> Tally:
    """Counts ``frames``.

    Args:
        sides: the devices.
        frames: what their recipes have of each frame, as ``catalog.sides.frames`` gives them.
        read: reads their masks.
        threshold: IoU below which a frame is hard, whatever each recipe says.
    """
    counted = Tally.empty(len(sides.each), threshold)
    side_of = {recipe: number for number, side in enumerate(sides.each) for recipe in side.recipes}
    for same in frames:
        _count(counted, _by_side(same, side_of, sides), read)
    counted.masks_gone = read.gone
    return counted


def _by_side(same: Sequence[SideFrame], side_of: dict[str, int], sides: Sides) -> dict[int, SideFrame]:
    """One frame of each device: its newest recipe that has judged it, else its newest that has it."""
    found: dict[int, SideFrame] = {}
    for frame in same:
        side = side_of[frame.recipe_id]
        known = found.get(side)
        if known is None or _rank(frame, sides.each[side].recipes) < _rank(known, sides.each[side].recipes):
            found[side] = frame
    if any(frame.review is Review.REJECTED for frame in same):
        return {side: frame.model_copy(update={"review": Review.REJECTED}) for side, frame in found.items()}
    return found


def _rank(frame: SideFrame, recipes: Sequence[str]) -> tuple[bool, int]:
    return frame.iou is None, recipes.index(frame.recipe_id)


def _count(counted: Tally, frames: dict[int, SideFrame], read: Reader) -> None:
    judged = {side: frame for side, frame in frames.items() if frame.iou is not None}
    if not judged:
        return  # the teacher or the store failed; no device has said anything
    if any(frame.review is Review.REJECTED for frame in frames.values()):
        counted.rejected += 1
        return
    one = judged[min(judged)]
    for side, lacks in enumerate(counted.absent):
        if side in judged:
            counted.judged[side] += 1
        else:
            reason = frames[side].fault or "failed" if side in frames else NOT_TRIED
            lacks.setdefault(reason, Absent()).add(one)
    if len(judged) < 2:
        return
    poses = (judged[side].pose_class for side in sorted(judged))  # all the same, by the same keypoints
    pose = next((pose for pose in poses if pose), PoseClass.UPRIGHT_FRONT)
    ious = mask_ious(judged, read)
    for (a, b), agreement in counted.agreements.items():
        if a in judged and b in judged:
            first, second = judged[a].iou, judged[b].iou
            assert first is not None
            assert second is not None
            agreement.add(pose, first, second, ious.get((a, b)))
            if a == 0:
                counted.contrasts[b - 1].add(pose, judged[a], judged[b])
