"""A chosen frame, held as small as an export of 50,000 of them wants it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from broker.frame_views import FrameDetail, PoseClass, Review
from broker.messages import Keeper, Verdict, Video
from tasks.dataset.selection import Shot


class Arm(StrEnum):
    """Why a frame is in an export."""

    HARD = "hard"
    """It is one of those that were asked for."""
    CONTROL = "control"
    """It was drawn at random from the other kept frames, for comparison."""


SPLITS = ("train", "val", "test")
"""The names of the splits, in their order."""


@dataclass(frozen=True, slots=True)
class Picked:
    """A frame of an export: with all that grows with it about 2 KB, a fifth of what its message takes.

    Attributes:
        frame_id: as the API names it.
        video: shared by all frames of a video.
        recipe_id: under which it was examined.
        arm: why it is here.
        split: of ``SPLITS``.
        time_ms: in the video.
        verdict: and ``value``, the number that decided it.
        iou: of teacher and device; None where the frame did not reach the device.
        doubt: of the teacher's mask.
        pose_class: None where nobody has looked.
        review: what the reviewers say.
        keys: of frame, teacher's mask and device's mask in the artifact store.
        keypoints: BODY_25, 25 x 3 float64.
        phash: perceptual hash, 16 hex digits.
        measures: names, shared by frames that have the same, and numbers behind the gates.
    """

    frame_id: str
    video: Video
    recipe_id: str
    arm: Arm
    split: str
    time_ms: int
    verdict: Verdict
    value: float | None
    iou: float | None
    doubt: float | None
    pose_class: PoseClass | None
    review: Review
    keys: tuple[str, str | None, str | None]
    keypoints: NDArray[np.float64]
    phash: str
    measures: tuple[tuple[str, ...], tuple[float, ...]]

    @classmethod
    def of(cls, frame: FrameDetail, video: Video, names: tuple[str, ...], arm: Arm, split: str) -> Self:
        """The frame of the books.

        Args:
            frame: of the books.
            video: its video, the same object for all its frames.
            names: of its measures, sorted, the same object for all frames that have the same.
            arm: why it is here.
            split: where it goes.
        """
        keeper = frame.keeper
        return cls(
            frame_id=frame.id,
            video=video,
            recipe_id=frame.recipe_id,
            arm=arm,
            split=split,
            time_ms=frame.time_ms,
            verdict=frame.verdict,
            value=frame.value,
            iou=frame.iou,
            doubt=frame.doubt,
            pose_class=frame.pose_class,
            review=frame.review,
            keys=(keeper.frame_key, keeper.mask_key, keeper.device_key),
            keypoints=np.array(keeper.keypoints, np.float64),
            phash=keeper.phash,
            measures=(names, tuple(keeper.measures[name] for name in names)),
        )

    @property
    def name(self) -> str:
        """Its file name without suffix, as in a data set: ``<video slug>_<time in ms>``."""
        return f"{self.video.slug}_{self.time_ms}"

    def shot(self) -> Shot:
        """The frame as the data set's own functions take it."""
        keeper = Keeper(
            time_ms=self.time_ms,
            keypoints=tuple((x, y, c) for x, y, c in self.keypoints.tolist()),
            box=(0, 0, 0, 0),  # no format has a use for the pose model's own box
            frame_key=self.keys[0],
            mask_key=self.keys[1],
            device_key=self.keys[2],
            phash=self.phash,
            measures=dict(zip(*self.measures, strict=True)),
            iou=self.iou,
            verdict=self.verdict,
            value=self.value,
        )
        return Shot(self.video, keeper)
