"""What a run of the model has shown."""

from dataclasses import dataclass

from benchmarks.capacity.gauges import mean, quantile
from benchmarks.capacity.model import Model
from benchmarks.capacity.station import Station

DOWNLOAD = "download"


@dataclass(frozen=True)
class QueueOutcome:
    """One queue.

    Attributes:
        name: of the queue.
        workers: that served it; identities for ``download``.
        arrived, served: segments (``download``: turns at sites granted, links fetched).
        utilisation: share of the time in which its workers worked; of the turns that sites give, for
            ``download`` with a rate.
        down: share of the time in which its workers were away.
        repeated: segments begun anew, because a device went away.
        mean_waiting, most_waiting: segments in the queue.
        mean_inside: in the queue and at work.
        mean_wait, p95_wait, mean_sojourn: seconds from arriving to being begun, and to the end.
    """

    name: str
    workers: int
    arrived: int
    served: int
    utilisation: float
    down: float = 0.0
    repeated: int = 0
    mean_waiting: float = 0.0
    most_waiting: int = 0
    mean_inside: float = 0.0
    mean_wait: float = 0.0
    p95_wait: float = 0.0
    mean_sojourn: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """A run of the model.

    Attributes:
        seconds: that were counted.
        queues: ``download`` first, then the chain's.
        links_came, links_failed, videos_done, segments_came, segments_done: in these seconds.
        links_inside, segments_inside: at the end.
        mean_segments_inside: over the time.
        mean_video_seconds, p95_video_seconds: from a link's coming to its last segment's end.
    """

    seconds: float
    queues: tuple[QueueOutcome, ...]
    links_came: int
    links_failed: int
    videos_done: int
    segments_came: int
    segments_done: int
    links_inside: int
    segments_inside: int
    mean_segments_inside: float
    mean_video_seconds: float
    p95_video_seconds: float

    @property
    def bottleneck(self) -> QueueOutcome:
        """The queue whose workers have the least time left; of a device, of the time it is there."""
        return max(self.queues, key=lambda queue: queue.utilisation / max(1e-9, 1.0 - queue.down))

    @property
    def videos_per_day(self) -> float:
        """That were finished."""
        return self.videos_done / self.seconds * 86_400 if self.seconds else 0.0


def outcome_of(model: Model) -> Outcome:
    """Reads a model's counters."""
    return Outcome(
        seconds=model.env.now - model.began,
        queues=(_downloads(model), *(_queue(station) for station in model.stations)),
        links_came=model.links_came,
        links_failed=model.links_failed,
        videos_done=model.videos_done,
        segments_came=model.segments_came,
        segments_done=model.segments_done,
        links_inside=model.links_inside.value,
        segments_inside=model.segments_inside.value,
        mean_segments_inside=model.segments_inside.mean(),
        mean_video_seconds=mean(model.video_seconds),
        p95_video_seconds=quantile(model.video_seconds, 0.95),
    )


def _downloads(model: Model) -> QueueOutcome:
    site, seconds = model.fleet.site, model.env.now - model.began
    granted = sum(identity.granted for identity in model.identities)
    turns = site.identities * site.videos_per_hour * seconds / 3600
    transfers = sum(identity.busy.mean() for identity in model.identities) / (
        site.identities * site.transfers
    )
    return QueueOutcome(
        name=DOWNLOAD,
        workers=site.identities,
        arrived=granted,
        served=granted - sum(identity.bot_checks for identity in model.identities),
        utilisation=max(granted / turns if turns else 0.0, transfers),
        down=sum(identity.paused.mean() for identity in model.identities) / site.identities,
        repeated=sum(identity.bot_checks for identity in model.identities),
    )


def _queue(station: Station) -> QueueOutcome:
    return QueueOutcome(
        name=station.name,
        workers=station.workers,
        arrived=station.arrived,
        served=station.served,
        utilisation=station.busy.mean() / station.workers,
        down=station.down.mean() / station.workers,
        repeated=station.repeated,
        mean_waiting=station.waiting.mean(),
        most_waiting=station.waiting.most,
        mean_inside=station.inside.mean(),
        mean_wait=mean(station.waits),
        p95_wait=quantile(station.waits, 0.95),
        mean_sojourn=mean(station.sojourns),
    )
