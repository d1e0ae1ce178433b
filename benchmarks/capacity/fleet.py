"""Who does the work: download identities, workers by queue, devices that are off at times."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from broker.recipe import Stage
from broker.settings import Downloads, Settings
from workers.process import DOWNLOAD_THREADS

_DOWNLOADS = Downloads()
_BACKLOG: int = Settings.model_fields["device_backlog"].default


@dataclass(frozen=True)
class Site:
    """What sites let one download identity do.

    Attributes:
        identities: addresses or accounts, each with a rate and a breaker of its own.
        videos_per_hour: of one identity; 0: no rate, as for local files.
        burst: videos at once after a pause.
        transfers: at the same time, of one identity: four for each of its download workers.
        bot_checks: share of the fetches that a site answers with a bot check: the breaker opens.
        pause_seconds: of the breaker, the first time; doubled when the probe behind it is refused too.
        max_pause_seconds: up to which.
    """

    identities: int = 1
    videos_per_hour: float = _DOWNLOADS.videos_per_hour
    burst: int = _DOWNLOADS.burst
    transfers: int = DOWNLOAD_THREADS
    bot_checks: float = 0.0
    pause_seconds: float = _DOWNLOADS.breaker_pause_seconds
    max_pause_seconds: float = _DOWNLOADS.breaker_max_pause_seconds

    @property
    def workers(self) -> int:
        """Download workers, of all identities."""
        return self.identities * math.ceil(self.transfers / DOWNLOAD_THREADS)

    def most_per_day(self, fetch_seconds: float) -> float:
        """Videos that can be fetched at most, by turns and by transfers; without bot checks."""
        turns = self.videos_per_hour * 24 if self.videos_per_hour else math.inf
        transfers = self.transfers * 86_400 / fetch_seconds if fetch_seconds else math.inf
        return self.identities * min(turns, transfers)


@dataclass(frozen=True)
class Outages:
    """Of each device worker: mean seconds it is reachable, and mean seconds it is not (both exponential)."""

    up_seconds: float
    down_seconds: float

    @property
    def share_up(self) -> float:
        """Of the time."""
        return self.up_seconds / (self.up_seconds + self.down_seconds)


@dataclass(frozen=True)
class Fleet:
    """The workers of a system.

    Attributes:
        workers: processes by queue, in the order of the chain; ``pose+mask`` is one queue with both stages.
        site: of the downloads.
        backlog: segments that may wait between the first stage and the device.
        outages: of the devices.
        cores: of the one host on which all workers share the processors; None: each has its own.
    """

    workers: Mapping[str, int] = field(default_factory=lambda: {"pose": 1, "mask": 1, "me": 1, "compare": 1})
    site: Site = field(default_factory=Site)
    backlog: int = _BACKLOG
    outages: Outages | None = None
    cores: float | None = None


def stages_of(queue: str) -> tuple[Stage, ...]:
    """The stages of a queue of a placement."""
    return tuple(Stage(name) for name in queue.split("+"))
