"""How many workers of each queue a wished rate needs, and whether the model then keeps up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.capacity.demand import Work
from benchmarks.capacity.fleet import Fleet, Outages, Site, stages_of
from benchmarks.capacity.outcome import DOWNLOAD, Outcome, QueueOutcome
from benchmarks.capacity.simulation import simulate
from workers.process import DOWNLOAD_THREADS

AIM = 0.75
"""Largest share of its time that a worker is to be at work on average: the rest is for what comes in heaps,
for repeats, and for a worker that dies. At 0.9 a queue of one worker is five times as long as at 0.75."""
TOO_FULL = 0.9
"""From which a queue of the simulated fleet is given one more worker."""
SEGMENTS = 10_000
"""That one simulation sees, about; and it sees at least half an hour and at most 30 days."""
LEAST, MOST = 1800.0, 30 * 86_400.0
ROUNDS = 10
QUEUES = ("pose", "mask", "me", "compare")


@dataclass(frozen=True)
class Plan:
    """A fleet for some work, and what the model makes of it."""

    work: Work
    fleet: Fleet
    outcome: Outcome

    @property
    def keeps_up(self) -> bool:
        """Whether no queue is fuller than ``TOO_FULL``."""
        return fullness(self.outcome.bottleneck) <= TOO_FULL


def fullness(queue: QueueOutcome) -> float:
    """Share of the time that its workers are there in which they work."""
    return queue.utilisation / max(1e-9, 1.0 - queue.down)


def segments_per_second(work: Work) -> float:
    """That arrive, on average."""
    return work.videos_per_day / 86_400 * (1 - work.failed_share) * work.segments_of_video


def seconds_of(work: Work, queue: str) -> float:
    """Mean seconds of a worker for one segment in ``queue``."""
    profile, stages = work.profile, stages_of(queue)
    return sum(profile.seconds_in(stages, sample) for sample in profile.samples) / len(profile.samples)


def workers_for(work: Work, queue: str, aim: float = AIM, up: float = 1.0) -> int:
    """The least number whose mean load is at most ``aim`` of the time ``up`` that they are there."""
    return max(1, math.ceil(segments_per_second(work) * seconds_of(work, queue) / (aim * up) - 1e-9))


def site_for(work: Work, site: Site, aim: float = AIM) -> Site:
    """``site`` with as many identities as the turns ask for, and as many transfers of each as the fetches.

    A share of ``aim`` is used of both; bot checks are left to the simulation.
    """
    per_hour = work.videos_per_day / 24
    identities = 1
    if site.videos_per_hour:
        identities = max(1, math.ceil(per_hour / (site.videos_per_hour * aim) - 1e-9))
    at_once = per_hour / 3600 * work.mean_fetch_seconds / identities
    workers = max(1, math.ceil(at_once / (DOWNLOAD_THREADS * aim) - 1e-9))
    return replace(site, identities=identities, transfers=workers * DOWNLOAD_THREADS)


def most_videos_per_day(work: Work, fleet: Fleet) -> dict[str, float]:
    """What each queue of a fleet could do at most, in videos a day; the smallest is the bottleneck's."""
    most = {DOWNLOAD: fleet.site.most_per_day(work.mean_fetch_seconds)}
    of_video = work.segments_of_video * (1 - work.failed_share)
    for queue, workers in fleet.workers.items():
        up = fleet.outages.share_up if fleet.outages and "me" in queue.split("+") else 1.0
        most[queue] = workers * up * 86_400 / (seconds_of(work, queue) * of_video)
    return most


def plan(
    work: Work,
    site: Site | None = None,
    queues: Sequence[str] = QUEUES,
    outages: Outages | None = None,
    hours: float | None = None,
    seed: int = 0,
) -> Plan:
    """Numbers by the mean load, tried in the model; a queue that is too full there gets more, and again."""
    site = site or Site()
    up = outages.share_up if outages else 1.0
    workers = {
        queue: workers_for(work, queue, up=up if "me" in queue.split("+") else 1.0) for queue in queues
    }
    fleet = Fleet(workers, site_for(work, site), outages=outages)
    for _ in range(ROUNDS):
        made = Plan(work, fleet, try_out(work, fleet, hours, seed))
        if made.keeps_up:
            break
        fleet = _helped(fleet, made.outcome.bottleneck)
    return made


def try_out(work: Work, fleet: Fleet, hours: float | None = None, seed: int = 0) -> Outcome:
    """The model under steady arrivals; a tenth of the time before it is not counted."""
    usual = min(max(SEGMENTS / segments_per_second(work), LEAST), MOST)
    seconds = hours * 3600 if hours else usual
    return simulate(work, fleet, seconds, warm_up=max(seconds / 10, 600.0), seed=seed)


def _helped(fleet: Fleet, queue: QueueOutcome) -> Fleet:
    more = max(1, round(queue.workers * (fullness(queue) / AIM - 1)))
    if queue.name == DOWNLOAD:
        return replace(fleet, site=replace(fleet.site, identities=fleet.site.identities + more))
    return replace(fleet, workers={**fleet.workers, queue.name: queue.workers + more})
