"""The model itself: links become segments, segments pass the queues, and everything is counted.

Discrete events (SimPy). Random numbers come from one seed, a stream for each video, so that two fleets are
asked for the very same work.
"""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import simpy

from benchmarks.capacity.demand import Sample, Work
from benchmarks.capacity.downloads import Identity
from benchmarks.capacity.fleet import Fleet, stages_of
from benchmarks.capacity.gauges import Gauge
from benchmarks.capacity.host import OwnCores, SharedCores
from benchmarks.capacity.station import Station
from broker.recipe import Stage

Steps = Generator[simpy.Event, Any, None]


@dataclass
class Link:
    """A link, and what it will turn out to be."""

    number: int
    came: float
    segments: list[Sample]
    fetch_seconds: float
    fails: bool


class Model:
    """One run. What it counts is public: ``outcome`` reads it."""

    def __init__(self, work: Work, fleet: Fleet, seed: int = 0) -> None:
        self.env = simpy.Environment()
        self.work, self.fleet, self._seed = work, fleet, seed
        self._links = simpy.Store(self.env)
        self.stations = list(self._stations())
        self._ahead = self._queues_ahead()
        self._room = self.env.event()
        for station in self._ahead:
            station.on_taken = self._tell_room
        site = fleet.site
        self.identities = [
            Identity(self.env, site, self._links, _fetch_seconds, self._fetched, self._stream("site", number))
            for number in range(site.identities)
        ]
        self._start_outages()
        self.links_inside, self.segments_inside = Gauge(self.env), Gauge(self.env)
        self._ended = self.env.event()
        self._to_come = len(work.at_once)
        self.reset()
        for number, segments in enumerate(work.at_once):
            self._arrive(number, segments)
        if work.videos_per_day:
            self.env.process(self._arrivals())

    def reset(self) -> None:
        """Forgets what was counted; who is inside stays."""
        self.began = self.env.now
        for station in self.stations:
            station.reset()
        for identity in self.identities:
            identity.reset()
        self.links_inside.reset()
        self.segments_inside.reset()
        self.links_came = self.links_failed = self.videos_done = self.segments_came = self.segments_done = 0
        self.video_seconds: list[float] = []

    def all_done(self) -> simpy.Event:
        """Happens when every link that was there at the start has ended."""
        if not self._to_come:
            self._ended.succeed()
        return self._ended

    # --- parts ---

    def _stations(self) -> Iterator[Station]:
        env, fleet = self.env, self.fleet
        shared = SharedCores(env, fleet.cores) if fleet.cores is not None else OwnCores(env)
        first = next(iter(fleet.workers))
        for queue, workers in fleet.workers.items():
            away = fleet.outages is not None and Stage.ME in stages_of(queue)
            gated = queue == first and Stage.ME not in stages_of(queue)
            cores = OwnCores(env) if away else shared
            room = self._wait_for_room if gated else None
            yield Station(env, queue, workers, cores, room, away)

    def _queues_ahead(self) -> list[Station]:
        """Those behind the first up to the device's (``tasks.backlog_gate.queues_ahead``)."""
        device = [number for number, s in enumerate(self.stations) if Stage.ME in stages_of(s.name)]
        return self.stations[1 : device[0] + 1] if device else []

    def _start_outages(self) -> None:
        outages = self.fleet.outages
        for station in self.stations:
            if outages is not None and Stage.ME in stages_of(station.name):
                for number in range(station.workers):
                    self.env.process(station.go_away(outages, self._stream("outage", number)))

    def _stream(self, *name: object) -> random.Random:
        return random.Random(f"{self._seed}/{'/'.join(map(str, name))}")

    # --- the way of a link ---

    def _arrivals(self) -> Steps:
        rng, number = self._stream("arrivals"), len(self.work.at_once)
        while True:
            yield self.env.timeout(rng.expovariate(self.work.videos_per_day / 86_400))
            self._arrive(number, None)
            number += 1

    def _arrive(self, number: int, segments: int | None) -> None:
        rng, work = self._stream("video", number), self.work
        count = work.draw_segments(rng) if segments is None else segments
        link = Link(
            number, self.env.now, [work.profile.draw(rng) for _ in range(count)],
            work.fetch_time(count, rng), rng.random() < work.failed_share,
        )  # fmt: skip
        self.links_came += 1
        self.links_inside.add(1)
        self._links.put(link)

    def _fetched(self, link: Link) -> None:
        if link.fails:
            self.links_failed += 1
            self._end(link)
            return
        self.segments_came += len(link.segments)
        self.segments_inside.add(len(link.segments))
        self.env.process(self._video(link))

    def _video(self, link: Link) -> Steps:
        yield self.env.all_of([self.env.process(self._segment(sample)) for sample in link.segments])
        self.videos_done += 1
        self.video_seconds.append(self.env.now - link.came)
        self._end(link)

    def _segment(self, sample: Sample) -> Steps:
        for station in self.stations:
            yield from station.serve(self.work.profile.seconds_in(stages_of(station.name), sample))
        self.segments_done += 1
        self.segments_inside.add(-1)

    def _end(self, link: Link) -> None:
        self.links_inside.add(-1)
        if link.number < len(self.work.at_once):
            self._to_come -= 1
            if not self._to_come and not self._ended.triggered:
                self._ended.succeed()

    # --- backpressure ---

    def _wait_for_room(self) -> Steps:
        while sum(station.waiting.value for station in self._ahead) >= self.fleet.backlog:
            yield self._room

    def _tell_room(self) -> None:
        room, self._room = self._room, self.env.event()
        room.succeed()


def _fetch_seconds(link: Link) -> float:
    return link.fetch_seconds
