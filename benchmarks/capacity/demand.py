"""What is asked of the workers: segments with the seconds that each stage needs, drawn from measured ones."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from broker.recipe import CHAIN, Stage

Seconds = Mapping[Stage, float]
"""Of one worker that has its processor to itself, by stage."""
WRITES: Mapping[Stage, str] = {Stage.POSE: "frames", Stage.MASK: "masks", Stage.ME: "device"}
READS: Mapping[Stage, tuple[str, ...]] = {
    Stage.MASK: ("frames",),
    Stage.ME: ("frames",),
    Stage.COMPARE: ("masks", "device"),
}
"""Pictures of each kept frame, by kind (``tasks.pipeline.pictures_for``)."""


def fetched(stages: Sequence[Stage]) -> tuple[str, ...]:
    """The pictures of each kept frame that a queue with ``stages`` asks the store for, by kind.

    What its own stages have written is still in memory (``tasks.frame_store.FrameStore``).
    """
    own = {WRITES.get(stage) for stage in stages}
    return tuple(kind for stage in stages for kind in READS.get(stage, ()) if kind not in own)


@dataclass(frozen=True)
class Sample:
    """One segment as it was measured.

    Attributes:
        seconds: that each stage took.
        examined: candidate frames.
        looked_at: of these, frames that the pose model had to look at (all but those too soon after a keep).
        kept: frames that went on to the teacher.
    """

    seconds: Seconds
    examined: int = 0
    looked_at: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Bytes:
    """Mean sizes: of a second of a source video, of pictures by kind, of a segment's books and messages."""

    video_second: float = 0.0
    frame: float = 0.0
    mask: float = 0.0
    device_mask: float = 0.0
    results: float = 0.0
    """Of a segment: what its stages leave in the store beside pictures."""
    catalog: float = 0.0
    """Of a segment: its rows."""


@dataclass(frozen=True)
class Profile:
    """What was measured on one machine with one recipe.

    Attributes:
        segment_seconds: length of each sample.
        samples: the segments, at least one.
        fetch_seconds: from the sending of a link to that of its segments, one for each video.
        hop_seconds: processor time of one message of one queue, of its worker and of the broker, beside the
            stage itself.
        picture_seconds: from asking the store for a picture to having its bytes. It is in no stage's seconds:
            those were measured in one process, which still had them.
        sizes: of what was stored.
        machine: in words.
        others_cores: processors that other programs took while it was measured; more than a few hundredths
            make all times too long.
        content: what was filmed, in words.
    """

    segment_seconds: float
    samples: tuple[Sample, ...]
    fetch_seconds: tuple[float, ...] = (0.0,)
    hop_seconds: float = 0.0
    picture_seconds: float = 0.0
    sizes: Bytes = field(default_factory=Bytes)
    machine: str = ""
    others_cores: float = 0.0
    content: str = ""

    def mean_seconds(self, stage: Stage) -> float:
        """Of a stage for a segment, over all samples."""
        return sum(sample.seconds[stage] for sample in self.samples) / len(self.samples)

    def mean(self, count: str) -> float:
        """``examined``, ``looked_at`` or ``kept`` of a segment, over all samples."""
        return float(sum(getattr(sample, count) for sample in self.samples)) / len(self.samples)

    def seconds_in(self, stages: Sequence[Stage], sample: Sample) -> float:
        """Of a worker of the queue with ``stages``: these, their message, and the pictures it reads back.

        Bytes that come while a stage works cost less than this says.
        """
        pictures = sample.kept * len(fetched(stages)) * self.picture_seconds
        return sum(sample.seconds[stage] for stage in stages) + self.hop_seconds + pictures

    def draw(self, rng: random.Random) -> Sample:
        """One measured segment at random. All its stages: a segment without keeps is short in each."""
        return rng.choice(self.samples)

    def draw_fetch(self, rng: random.Random) -> float:
        """One measured fetch at random, in seconds."""
        return rng.choice(self.fetch_seconds)

    def at_rates(self, per_second: Mapping[Stage, float]) -> "Profile":
        """The same segments on other hardware or models.

        Args:
            per_second: frames a second of a whole stage: for ``pose`` frames that the model looks at, for
                the others kept frames. Stages that are not named stay as measured.
        """
        return replace(self, samples=tuple(_at_rates(sample, per_second) for sample in self.samples))

    def on_store(self, per_second: float) -> "Profile":
        """The same segments where so many pictures a second come from the artifact store to one stage."""
        return replace(self, picture_seconds=1.0 / per_second)


def _at_rates(sample: Sample, per_second: Mapping[Stage, float]) -> Sample:
    frames = {stage: sample.looked_at if stage == Stage.POSE else sample.kept for stage in CHAIN}
    told = {stage: frames[stage] / rate for stage, rate in per_second.items()}
    return replace(sample, seconds={**sample.seconds, **told})


@dataclass(frozen=True)
class Work:
    """The videos that come.

    Attributes:
        profile: of their segments.
        videos_per_day: that arrive, at random times (a Poisson process). 0: see ``at_once``.
        at_once: segments of each video that is there when the clock starts.
        video_seconds: mean length of the videos that arrive; lengths are exponential, at least one segment,
            because a video's length is not known beforehand and collections have a few very long ones.
        fetch_megabits: of one transfer from a site, in Mbit/s; None: fetches take what the profile says.
        failed_share: of the links, from which no video comes; they take a turn all the same.
    """

    profile: Profile
    videos_per_day: float = 0.0
    at_once: Sequence[int] = ()
    video_seconds: float = 240.0
    fetch_megabits: float | None = None
    failed_share: float = 0.0

    @property
    def segments_of_video(self) -> float:
        """Mean number, of videos that arrive: the mean of a rounded-up exponential."""
        return 1.0 / (1.0 - math.exp(-self.profile.segment_seconds / self.video_seconds))

    @property
    def mean_fetch_seconds(self) -> float:
        """Of one transfer, over the videos that arrive."""
        if self.fetch_megabits is None:
            return sum(self.profile.fetch_seconds) / len(self.profile.fetch_seconds)
        return self._transfer(self.segments_of_video)

    def _transfer(self, segments: float) -> float:
        """Seconds in which the file of so many segments passes at ``fetch_megabits``."""
        assert self.fetch_megabits is not None
        length = segments * self.profile.segment_seconds
        return length * self.profile.sizes.video_second * 8 / (self.fetch_megabits * 1e6)

    def draw_segments(self, rng: random.Random) -> int:
        """Number of segments of a video that arrives."""
        return max(1, math.ceil(rng.expovariate(1.0 / self.video_seconds) / self.profile.segment_seconds))

    def fetch_time(self, segments: int, rng: random.Random) -> float:
        """Seconds of the transfer of a video with ``segments``."""
        return self.profile.draw_fetch(rng) if self.fetch_megabits is None else self._transfer(segments)
