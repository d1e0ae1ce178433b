"""One queue and its workers."""

import random
from collections.abc import Callable, Generator
from typing import Any

import simpy

from benchmarks.capacity.fleet import Outages
from benchmarks.capacity.gauges import Gauge
from benchmarks.capacity.host import OwnCores, SharedCores

Steps = Generator[simpy.Event, Any, None]


class Station:
    """A queue, first come first served, and the workers that serve it.

    Args:
        env: the clock.
        name: of the queue.
        workers: how many.
        cores: that do the work.
        room: what a worker that has taken a segment waits for before it begins; it does nothing meanwhile.
        outages: whether its workers go away in the middle of a segment (never on shared cores).
    """

    def __init__(
        self,
        env: simpy.Environment,
        name: str,
        workers: int,
        cores: OwnCores | SharedCores,
        room: Callable[[], Steps] | None = None,
        outages: bool = False,
    ) -> None:
        self.name, self.workers = name, workers
        self._env, self._cores, self._room = env, cores, room
        # The preemptive kind sorts its queue at every arrival: not for long queues that need it not.
        self._slots: Any = (simpy.PreemptiveResource if outages else simpy.Resource)(env, workers)
        self._rank = {"priority": 1} if outages else {}
        self.on_taken: Callable[[], None] = lambda: None
        self.waiting, self.busy, self.inside, self.down = (Gauge(env) for _ in range(4))
        self.arrived = self.served = self.repeated = 0
        self.waits: list[float] = []
        self.sojourns: list[float] = []

    def reset(self) -> None:
        """Forgets what was counted; who is inside stays."""
        for gauge in (self.waiting, self.busy, self.inside, self.down):
            gauge.reset()
        self.arrived = self.served = self.repeated = 0
        self.waits, self.sojourns = [], []

    def serve(self, seconds: float) -> Steps:
        """A segment waits, is worked on, and leaves; what is interrupted begins anew.

        Args:
            seconds: of a core.
        """
        came = self._env.now
        self.arrived += 1
        self.inside.add(1)
        while not (yield from self._try(seconds, came)):
            self.repeated += 1
        self.inside.add(-1)
        self.served += 1
        self.sojourns.append(self._env.now - came)

    def _try(self, seconds: float, came: float) -> Generator[simpy.Event, Any, bool]:
        self.waiting.add(1)
        with self._slots.request(**self._rank) as slot:
            yield slot
            self.waiting.add(-1)
            self.on_taken()
            if self._room is not None:
                yield from self._room()
            begun = self._env.now
            self.busy.add(1)
            try:
                yield self._cores.work(seconds)
            except simpy.Interrupt:
                return False
            finally:
                self.busy.add(-1)
        self.waits.append(begun - came)
        return True

    def go_away(self, outages: Outages, rng: random.Random) -> Steps:
        """One worker comes and goes for ever; what it was at goes back to the queue.

        Args:
            outages: mean times.
            rng: gives the times.
        """
        while True:
            yield self._env.timeout(rng.expovariate(1 / outages.up_seconds))
            with self._slots.request(priority=0) as slot:
                yield slot
                self.down.add(1)
                yield self._env.timeout(rng.expovariate(1 / outages.down_seconds))
                self.down.add(-1)
