"""Work for the capacity model whose service times follow a known law."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.capacity.demand import Profile, Sample, Work
from benchmarks.capacity.fleet import Site
from broker.recipe import CHAIN, Stage

NO_SITE = Site(videos_per_hour=0)
"""Nothing holds the links up."""
NOTHING = dict.fromkeys(CHAIN, 0.0)


@dataclass(frozen=True)
class Drawn(Profile):
    """Every segment's time in the pose stage is drawn; the other stages take none."""

    law: Callable[[random.Random], float] = lambda _: 1.0

    def draw(self, rng: random.Random) -> Sample:
        """One segment."""
        return Sample({**NOTHING, Stage.POSE: self.law(rng)})


def one_by_one(law: Callable[[random.Random], float], per_second: float) -> Work:
    """Videos of one segment that arrive at random, ``per_second`` of them."""
    profile = Drawn(segment_seconds=1.0, samples=(), law=law)
    return Work(profile, videos_per_day=per_second * 86_400, video_seconds=1e-6)


def measured(*rows: tuple[float, float, float, float]) -> Profile:
    """A profile of segments with these seconds in pose, mask, me and compare."""
    return Profile(20.0, tuple(Sample(dict(zip(CHAIN, row, strict=True))) for row in rows))
