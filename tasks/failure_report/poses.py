"""IoU by pose class: counts, means, shares, and how sure each of them is."""

from dataclasses import dataclass

import numpy as np

from broker.frame_views import PoseClass
from tasks.failure_report import intervals
from tasks.failure_report.intervals import Counts, Estimate
from tasks.failure_report.tally import POSES, Tally, values_of

FEW = 5
"""Frames, or videos, below which nothing is said of how sure a number is."""
REFERENCE = PoseClass.UPRIGHT_FRONT
"""The pose that such a device was made for; all others are compared with it."""

POSE_NAMES = {
    PoseClass.UPRIGHT_FRONT: ("upright, front", "stands or walks, faces the camera"),
    PoseClass.UPRIGHT_TURNED: ("upright, turned", "stands or walks, seen from the side or from behind"),
    PoseClass.BENT: ("bent", "the trunk leans by more than 35 degrees over standing legs"),
    PoseClass.CROUCHED: ("crouched", "low hips over bent knees, carried by the feet"),
    PoseClass.SITTING: ("sitting", "low hips, carried by a seat or the floor"),
    PoseClass.INVERTED: ("inverted", "hips above the head, feet above the hips"),
    PoseClass.LYING: ("lying", "the whole body near the horizontal"),
    PoseClass.ARMS_RAISED: ("arms raised", "upright with a hand above the head"),
    PoseClass.SMALL: ("small", "less than 22 % of the frame's side, whatever the pose"),
}
"""Each class in words, and what it means."""


@dataclass(frozen=True)
class PoseRow:
    """A pose class.

    Attributes:
        pose: the class.
        name: in words.
        means: when a frame is in it.
        frames: compared frames in it.
        videos: in how many videos they are.
        hard: how many are below the threshold.
        mean: of IoU.
        median: of IoU.
        low: 10th percentile of IoU.
        high: 90th percentile.
        share: of its frames that are hard.
        versus: mean IoU less that of upright front; None for that class itself and where one of both has
            too few frames.
        by_video: whether the intervals are of whole videos; else of frames, as if each stood for itself.
        few: too few frames to say how sure anything is.
    """

    pose: PoseClass
    name: str
    means: str
    frames: int
    videos: int
    hard: int
    mean: Estimate
    median: float
    low: float
    high: float
    share: Estimate
    versus: Estimate | None
    by_video: bool
    few: bool

    @property
    def clearly_worse(self) -> bool:
        """Whether the whole interval of its difference to upright front is below 0."""
        return self.versus is not None and self.versus.high is not None and self.versus.high < 0


@dataclass(frozen=True)
class Overall:
    """All compared frames; the fields mean what those of ``PoseRow`` do."""

    frames: int
    videos: int
    hard: int
    mean: Estimate
    share: Estimate
    by_video: bool


@dataclass(frozen=True)
class _Sums:
    """The tables as arrays: videos x classes."""

    frames: Counts
    ious: Counts
    hards: Counts

    @classmethod
    def of(cls, tally: Tally) -> "_Sums":
        shape = (len(tally.videos), len(POSES))
        tables = (tally.frames, tally.sums, tally.hards)
        return cls(*(np.array(table, np.float64).reshape(shape) for table in tables))


@dataclass(frozen=True)
class _Draws:
    """The same, summed over drawn videos: draws x classes."""

    frames: Counts
    ious: Counts
    hards: Counts

    def mean(self, column: int) -> Counts:
        return _ratio(self.ious[:, column], self.frames[:, column])

    def share(self, column: int) -> Counts:
        return _ratio(self.hards[:, column], self.frames[:, column])


def _ratio(a: Counts, b: Counts) -> Counts:
    with np.errstate(divide="ignore", invalid="ignore"):
        return a / b


def pose_rows(tally: Tally) -> list[PoseRow]:
    """The classes that have frames, the largest share of hard ones first; those with few frames last."""
    sums = _Sums.of(tally)
    draws = _draws(sums)
    rows = [_row(tally, sums, draws, column) for column, pose in enumerate(POSES) if len(tally.ious[pose])]
    return sorted(rows, key=lambda row: (row.few, -row.share.value, row.mean.value, POSES.index(row.pose)))


def overall(tally: Tally) -> Overall | None:
    """Of all classes together; None when nothing was compared."""
    if not tally.count:
        return None
    sums = _Sums.of(tally)
    videos = len(tally.videos)
    values = np.concatenate([values_of(ious) for ious in tally.ious.values()])
    mean = intervals.mean_of(len(values), float(values.sum()), float((values**2).sum()))
    share = intervals.wilson(tally.hard, tally.count)
    if by_video := videos >= FEW:
        columns = [table.sum(axis=1, keepdims=True) for table in (sums.frames, sums.ious, sums.hards)]
        draws = _Draws(*intervals.resampled_sums(*columns))
        mean = intervals.percentiles(mean.value, draws.mean(0))
        share = intervals.percentiles(share.value, draws.share(0))
    return Overall(tally.count, videos, tally.hard, mean, share, by_video)


def _draws(sums: _Sums) -> _Draws | None:
    if len(sums.frames) < FEW:
        return None
    return _Draws(*intervals.resampled_sums(sums.frames, sums.ious, sums.hards))


def _row(tally: Tally, sums: _Sums, draws: _Draws | None, column: int) -> PoseRow:
    pose = POSES[column]
    values = values_of(tally.ious[pose])
    videos = int(np.count_nonzero(sums.frames[:, column]))
    few, by_video = len(values) < FEW, draws is not None and videos >= FEW
    hard = int(sums.hards[:, column].sum())
    low, median, high = (float(q) for q in np.percentile(values, [10, 50, 90]))
    mean, share = intervals.mean_of(*_moments(values)), intervals.wilson(hard, len(values))
    if few:
        mean, share = Estimate(mean.value), Estimate(share.value)
    elif by_video and draws is not None:
        mean = intervals.percentiles(mean.value, draws.mean(column))
        share = intervals.percentiles(share.value, draws.share(column))
    return PoseRow(
        pose=pose,
        name=POSE_NAMES[pose][0],
        means=POSE_NAMES[pose][1],
        frames=len(values),
        videos=videos,
        hard=hard,
        mean=mean,
        median=median,
        low=low,
        high=high,
        share=share,
        versus=_versus(tally, sums, draws, column),
        by_video=by_video and not few,
        few=few,
    )


def _versus(tally: Tally, sums: _Sums, draws: _Draws | None, column: int) -> Estimate | None:
    other = POSES.index(REFERENCE)
    mine, theirs = values_of(tally.ious[POSES[column]]), values_of(tally.ious[REFERENCE])
    if column == other or min(len(mine), len(theirs)) < FEW:
        return None
    plain = intervals.difference(_moments(mine), _moments(theirs))
    videos = np.count_nonzero(sums.frames, axis=0)
    if draws is None or min(videos[column], videos[other]) < FEW:
        return plain
    return intervals.percentiles(plain.value, draws.mean(column) - draws.mean(other))


def _moments(values: Counts) -> tuple[int, float, float]:
    return len(values), float(values.sum()), float((values**2).sum())
