"""The cores that do the work: one for each worker, or those of one machine, shared by all its processes."""

import heapq
import itertools
from collections.abc import Generator
from typing import Any

import simpy


class OwnCores:
    """Every worker has a processor of its own: what takes a second takes a second."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env

    def work(self, seconds: float) -> simpy.Event:
        """Happens when the work is done."""
        return self._env.timeout(seconds)


class SharedCores:
    """Processor sharing: with n processes at work each runs at the speed min(1, cores / n).

    All run at the same speed, so one clock that runs at it tells when each is done: work that needs S
    seconds and begins when that clock shows V is done when it shows V + S.
    """

    def __init__(self, env: simpy.Environment, cores: float) -> None:
        self._env, self._cores = env, cores
        self._clock, self._read_at = 0.0, env.now
        self._running: list[tuple[float, int, simpy.Event]] = []
        self._number = itertools.count()
        self._plan = 0

    def work(self, seconds: float) -> simpy.Event:
        """Happens when the work is done."""
        self._read()
        done = self._env.event()
        heapq.heappush(self._running, (self._clock + seconds, next(self._number), done))
        self._wait_for_first()
        return done

    def _speed(self) -> float:
        return min(1.0, self._cores / len(self._running)) if self._running else 0.0

    def _read(self) -> None:
        self._clock += (self._env.now - self._read_at) * self._speed()
        self._read_at = self._env.now

    def _wait_for_first(self) -> None:
        self._plan += 1
        if self._running:
            left = max(0.0, self._running[0][0] - self._clock) / self._speed()
            self._env.process(self._ring(left, self._plan))

    def _ring(self, after: float, plan: int) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(after)
        if plan != self._plan:
            return  # somebody came or went meanwhile, and another bell was set
        self._read()
        # The first is done, whatever the rounding says; with it all that end at the same time.
        end = max(self._clock, self._running[0][0])
        while self._running and self._running[0][0] <= end:
            heapq.heappop(self._running)[2].succeed()
        self._wait_for_first()
