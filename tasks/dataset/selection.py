"""Which frames of a job make the data set: the hard ones, without near-duplicates over all its videos."""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.messages import Keeper, Verdict, Video
from broker.views import JobView, LinkView
from tasks.dataset.near_duplicates import Walk


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
    walk = Walk(job.recipe.duplicates, job.recipe.rule.min_confidence)
    written: list[Shot] = []
    left_out: list[LeftOut] = []
    for shot in shots(job, Verdict.HARD):
        repeat = walk.visit(shot.keeper.keypoints, shot.keeper.phash)
        if repeat is None:
            written.append(shot)
        else:
            partner = written[repeat.index]
            left_out.append(LeftOut(shot, partner, repeat.pose_distance, repeat.hash_distance))
    return Selection(tuple(written), tuple(left_out), tuple(shots(job, Verdict.TEACHER_DOUBT)))
