"""Which frames of a job make the data set: the hard ones, without near-duplicates over all its videos."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from broker.messages import Keeper, Verdict, Video
from broker.recipe import DuplicateRule
from broker.views import JobView, LinkView
from tasks.duplicates import pose_distance


@dataclass(frozen=True)
class Shot:
    """A keeper together with the video it comes from."""

    video: Video
    keeper: Keeper

    @property
    def name(self) -> str:
        """Its file name without suffix: ``<video slug>_<time in ms>``."""
        return f"{self.video.slug}_{self.keeper.time_ms}"


@dataclass(frozen=True)
class LeftOut:
    """A hard frame that repeats one already in the data set.

    Attributes:
        shot: the frame left out.
        partner: the frame it repeats, which is in the data set.
        pose_distance: mean keypoint displacement over the body's extent.
        hash_distance: Hamming distance of the two 64-bit perceptual hashes.
    """

    shot: Shot
    partner: Shot
    pose_distance: float
    hash_distance: int


@dataclass(frozen=True)
class Selection:
    """What becomes of the frames of a job; each part is ordered by link position and time.

    Attributes:
        written: the hard frames of the data set.
        left_out: the hard frames that repeat one of them.
        doubtful: frames whose teacher's mask is in doubt; shown in the report, never in the data set.
    """

    written: tuple[Shot, ...]
    left_out: tuple[LeftOut, ...]
    doubtful: tuple[Shot, ...]


def distinct_videos(job: JobView) -> list[tuple[Video, LinkView]]:
    """The videos of ``job`` by link position; one asked for twice counts once."""
    found: dict[str, tuple[Video, LinkView]] = {}
    for link in sorted(job.links, key=lambda each: each.position):
        if link.video is not None:
            found.setdefault(link.video.id, (link.video, link))
    return list(found.values())


def shots(job: JobView, verdict: Verdict) -> Iterator[Shot]:
    """The keepers of ``job`` that ended in ``verdict``, by link position and time."""
    for video, link in distinct_videos(job):
        keepers = [k for segment in link.segments for k in segment.keepers if k.verdict == verdict]
        yield from (Shot(video, k) for k in sorted(keepers, key=lambda each: each.time_ms))


def select(job: JobView) -> Selection:
    """Chooses the frames of the data set of ``job``."""
    walk = _Walk(job.recipe.duplicates, job.recipe.rule.min_confidence)
    for shot in shots(job, Verdict.HARD):
        walk.visit(shot)
    return Selection(tuple(walk.written), tuple(walk.left_out), tuple(shots(job, Verdict.TEACHER_DOUBT)))


class _Walk:
    """Holds the frames written so far, and compares each new one with all of them."""

    def __init__(self, rule: DuplicateRule, min_confidence: float) -> None:
        self._rule = rule
        self._min_confidence = min_confidence
        self._hashes = np.zeros(1024, np.uint64)
        self.written: list[Shot] = []
        self.left_out: list[LeftOut] = []

    def visit(self, shot: Shot) -> None:
        code = np.uint64(int(shot.keeper.phash, 16))
        repeated = self._repeated(shot, code)
        if repeated is not None:
            self.left_out.append(repeated)
            return
        if len(self.written) == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
        self._hashes[len(self.written)] = code
        self.written.append(shot)

    def _repeated(self, shot: Shot, code: np.uint64) -> LeftOut | None:
        """The nearest written frame within both distances.

        The hashes are compared first and all at once: a data set of 20,000 frames has 200 million pairs,
        too many for a pose distance each.
        """
        hamming = np.bitwise_count(self._hashes[: len(self.written)] ^ code)
        near = np.flatnonzero(hamming <= self._rule.hash_distance)
        pairs = [(self._pose_distance(shot, self.written[i]), int(i)) for i in near]
        close = [pair for pair in pairs if pair[0] <= self._rule.pose_distance]
        if not close:
            return None
        distance, index = min(close)
        return LeftOut(shot, self.written[index], distance, int(hamming[index]))

    def _pose_distance(self, a: Shot, b: Shot) -> float:
        return pose_distance(a.keeper.keypoints, b.keeper.keypoints, self._min_confidence)
