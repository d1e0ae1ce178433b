"""Two devices by pose: mean IoU of each, and the difference with its interval, pair by pair."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from broker.frame_views import PoseClass
from tasks.device_report.contrast import Contrast
from tasks.failure_report import intervals
from tasks.failure_report.intervals import Counts, Estimate
from tasks.failure_report.poses import FEW, POSE_NAMES
from tasks.failure_report.tally import POSES


@dataclass(frozen=True)
class ContrastRow:
    """A pose class, or all frames.

    Attributes:
        pose: the class; None for all frames.
        name: in words.
        means: when a frame is in it.
        frames: that both devices have judged.
        videos: in how many videos they are.
        before: mean IoU of the old device.
        after: of the new one.
        gain: their difference; the interval is of pairs, as each frame is its own comparison.
        fixed: frames that are fixed.
        broken: frames that are newly broken.
        by_video: whether the interval is of whole videos; else of frames, as if each stood for itself.
        few: too few frames to say how sure anything is.
    """

    pose: PoseClass | None
    name: str
    means: str
    frames: int
    videos: int
    before: float
    after: float
    gain: Estimate
    fixed: int
    broken: int
    by_video: bool
    few: bool

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the whole interval is on one side of 0; else empty."""
        if self.gain.low is None or self.gain.high is None:
            return ""
        return "better" if self.gain.low > 0 else "worse" if self.gain.high < 0 else ""


@dataclass(frozen=True)
class _Tables:
    """Videos x columns."""

    frames: Counts
    before: Counts
    after: Counts
    squares: Counts
    fixed: Counts
    broken: Counts

    @classmethod
    def of(cls, contrast: Contrast) -> "_Tables":
        shape = (len(contrast.videos), len(POSES))
        names = ("frames", "before", "after", "squares", "fixed", "broken")
        return cls(*(np.array(getattr(contrast, name), np.float64).reshape(shape) for name in names))

    def of_poses(self, columns: Sequence[int]) -> "_Tables":
        """The sums over some poses, as one column."""
        tables = (self.frames, self.before, self.after, self.squares, self.fixed, self.broken)
        return _Tables(*(table[:, list(columns)].sum(axis=1, keepdims=True) for table in tables))


def contrast_rows(contrast: Contrast) -> list[ContrastRow]:
    """The classes that have frames, the largest loss first; those with few frames last."""
    tables = _Tables.of(contrast)
    rows = [
        _row(tables.of_poses([column]), pose, *POSE_NAMES[pose])
        for column, pose in enumerate(POSES)
        if tables.frames[:, column].any()
    ]
    return sorted(rows, key=lambda row: (row.few, row.gain.value, POSES.index(row.pose or POSES[0])))


def whole_row(contrast: Contrast) -> ContrastRow | None:
    """All frames together; None when there is none in common."""
    if not contrast.count:
        return None
    return _row(_Tables.of(contrast).of_poses(range(len(POSES))), None, "all", "")


def _row(table: _Tables, pose: PoseClass | None, name: str, means: str) -> ContrastRow:
    frames, videos = int(table.frames.sum()), int(np.count_nonzero(table.frames))
    before, after = float(table.before.sum()) / frames, float(table.after.sum()) / frames
    few = frames < FEW
    by_video = not few and videos >= FEW
    return ContrastRow(
        pose=pose,
        name=name,
        means=means,
        frames=frames,
        videos=videos,
        before=before,
        after=after,
        gain=Estimate(after - before) if few else _gain(table, after - before, by_video),
        fixed=int(table.fixed.sum()),
        broken=int(table.broken.sum()),
        by_video=by_video,
        few=few,
    )


def _gain(table: _Tables, mean: float, by_video: bool) -> Estimate:
    """The mean of the pairs' differences with its interval: of drawn videos, or Student's t of the pairs."""
    if by_video:
        frames, gains = intervals.resampled_sums(table.frames, table.after - table.before)
        with np.errstate(divide="ignore", invalid="ignore"):
            return intervals.percentiles(mean, (gains / frames)[:, 0])
    count = int(table.frames.sum())
    variance = max(0.0, float(table.squares.sum()) - count * mean**2) / (count - 1)
    half = intervals.student_t(count - 1) * math.sqrt(variance / count)
    return Estimate(mean, mean - half, mean + half)
