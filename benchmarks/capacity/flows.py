"""Bytes a day: what is stored, and what passes the network when the artifacts are on S3."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.capacity.demand import Work, fetched
from benchmarks.capacity.fleet import stages_of
from benchmarks.capacity.sizing import QUEUES, segments_per_second


@dataclass(frozen=True)
class Flows:
    """Bytes a day.

    Attributes:
        videos: fetched from sites and stored.
        frames, masks, device, results: stored, of kept frames and of segments.
        catalog: rows.
        read: from the artifact store.
        messages: through the broker, in and out.
    """

    videos: float
    frames: float
    masks: float
    device: float
    results: float
    catalog: float
    read: float
    messages: float

    @property
    def stored(self) -> float:
        """In the artifact store."""
        return self.videos + self.frames + self.masks + self.device + self.results


def flows_of(work: Work, workers: Mapping[str, int]) -> Flows:
    """The sums.

    A video's file is read once by each pose worker that gets one of its segments (it keeps a copy), so as
    many times as there are segments or pose workers, whichever is less. A message holds what the stages
    before it have found, about as much as a stored result.
    """
    sizes, profile = work.profile.sizes, work.profile
    segments = segments_per_second(work) * 86_400
    kept = segments * profile.mean("kept")
    videos = segments * profile.segment_seconds * sizes.video_second
    pictures = {"frames": kept * sizes.frame, "masks": kept * sizes.mask, "device": kept * sizes.device_mask}
    copies = min(next(iter(workers.values())), work.segments_of_video)
    read = videos * copies + sum(pictures[kind] for queue in workers for kind in fetched(stages_of(queue)))
    results = segments * sizes.results
    return Flows(
        videos=videos,
        **pictures,
        results=results,
        catalog=segments * sizes.catalog,
        read=read,
        messages=2 * results / len(QUEUES) * len(workers),
    )
