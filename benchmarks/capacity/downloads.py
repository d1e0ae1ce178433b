"""Download identities: each with a rate, a breaker, and some transfers at a time. See ``broker.egress``."""

import random
from collections.abc import Callable, Generator
from typing import Any

import simpy

from benchmarks.capacity.fleet import Site
from benchmarks.capacity.gauges import Gauge

Steps = Generator[simpy.Event, Any, None]


class Bucket:
    """A token bucket: over W seconds never more than ``burst + W * videos_per_hour / 3600`` turns."""

    def __init__(self, videos_per_hour: float, burst: int) -> None:
        self._interval = 3600.0 / videos_per_hour if videos_per_hour else 0.0
        self._burst = burst
        self._paid_until = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until the next turn."""
        return max(0.0, self._paid_until - (self._burst - 1) * self._interval - now)

    def take(self, now: float) -> None:
        """Uses a turn up."""
        self._paid_until = max(self._paid_until, now) + self._interval


class Identity:
    """One address or account.

    Args:
        env: the clock.
        site: what it may do.
        links: where it takes its work, shared with the others.
        fetch: seconds of the transfer of a link.
        fetched: what to do with a link that was fetched.
        rng: decides who gets a bot check.
    """

    def __init__(
        self,
        env: simpy.Environment,
        site: Site,
        links: simpy.Store,
        fetch: Callable[[Any], float],
        fetched: Callable[[Any], None],
        rng: random.Random,
    ) -> None:
        self._env, self._site, self._links = env, site, links
        self._fetch, self._fetched, self._rng = fetch, fetched, rng
        self._bucket = Bucket(site.videos_per_hour, site.burst)
        self._open_until, self._pause, self._probing = 0.0, 0.0, False
        self._probed = env.event()
        self.granted = self.bot_checks = 0
        self.busy, self.paused = Gauge(env), Gauge(env)
        for _ in range(site.transfers):
            env.process(self._transfers())

    def reset(self) -> None:
        """Forgets what was counted."""
        self.granted = self.bot_checks = 0
        self.busy.reset()
        self.paused.reset()

    def _transfers(self) -> Steps:
        while True:
            yield from self._wait_for_turn()
            link = yield self._links.get()
            if self._closed() or self._bucket.wait(self._env.now):
                yield self._links.put(link)  # another transfer was faster, or the breaker has opened
                continue
            self._bucket.take(self._env.now)
            self.granted += 1
            probe, self._probing = self._pause > 0, self._pause > 0
            self.busy.add(1)
            yield self._env.timeout(self._fetch(link))
            self.busy.add(-1)
            self._note(link, probe)

    def _closed(self) -> bool:
        return self._env.now < self._open_until or self._probing

    def _wait_for_turn(self) -> Steps:
        while True:
            if self._probing:
                yield self._probed
            wait = max(self._open_until - self._env.now, self._bucket.wait(self._env.now))
            if wait <= 0 and not self._probing:
                return
            yield self._env.timeout(max(wait, 0.0))

    def _note(self, link: Any, probe: bool) -> None:
        refused = self._rng.random() < self._site.bot_checks
        if probe:
            self._probing = False
            probed, self._probed = self._probed, self._env.event()
            probed.succeed()
        if not refused:
            if probe:
                self._pause = 0.0
            self._fetched(link)
            return
        self.bot_checks += 1
        self._links.put(link)
        if probe or self._pause == 0.0:
            longer = 2 * self._pause if self._pause else self._site.pause_seconds
            self._pause = min(longer, self._site.max_pause_seconds)
            self._open_until = self._env.now + self._pause
            self._env.process(self._count_pause(self._pause))

    def _count_pause(self, seconds: float) -> Steps:
        self.paused.add(1)
        yield self._env.timeout(seconds)
        self.paused.add(-1)
