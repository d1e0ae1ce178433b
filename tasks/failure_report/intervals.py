"""How sure a number is: 95 % intervals of shares and means, of frames and of whole videos."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
DRAWS = 2000
"""Bootstrap samples; the ends of an interval then move by some 3 % of its width from seed to seed."""
SEED = 20_250_301
"""Any number, always the same: the same catalog gives the same report."""
_CELLS = 4_000_000
"""Numbers held at once while drawing: 32 MB."""

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; ``low`` and ``high`` are None when too little is known for one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return self.low is not None


def wilson(hits: int, of: int) -> Estimate:
    """A share with its Wilson score interval (Wilson 1927), which also holds near 0 and 1.

    Raises:
        ValueError: ``of`` is not positive.
    """
    if of <= 0:
        raise ValueError(f"a share of {of}")
    share, room = hits / of, Z * Z / of
    middle = (share + room / 2) / (1 + room)
    half = Z / (1 + room) * math.sqrt(share * (1 - share) / of + room / (4 * of))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def mean_of(count: int, total: float, squares: float) -> Estimate:
    """The mean of independent values in [0, 1] with Student's t interval, cut at 0 and 1.

    Args:
        count: of the values.
        total: their sum.
        squares: the sum of their squares.
    """
    mean = total / count
    half = _half(count, total, squares)
    return Estimate(mean) if half is None else Estimate(mean, max(0.0, mean - half), min(1.0, mean + half))


def difference(a: tuple[int, float, float], b: tuple[int, float, float]) -> Estimate:
    """Mean of ``a`` less mean of ``b``, each (count, sum, sum of squares) of independent values.

    The halves of the two t intervals are added as legs of a right angle: a little wider than Welch's.
    """
    value = a[1] / a[0] - b[1] / b[0]
    mine, theirs = _half(*a), _half(*b)
    if mine is None or theirs is None:
        return Estimate(value)
    half = math.hypot(mine, theirs)
    return Estimate(value, value - half, value + half)


def _half(count: int, total: float, squares: float) -> float | None:
    if count < 2:
        return None
    variance = max(0.0, squares - total * total / count) / (count - 1)
    return student_t(count - 1) * math.sqrt(variance / count)


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 0.01 from 4 degrees of freedom on.

    The expansion of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    )
    return Z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))


def resampled_sums(*tables: Counts) -> list[Counts]:
    """Sums of tables over videos that are drawn with replacement, all tables by the same draws.

    The cluster bootstrap (Davison and Hinkley 1997, section 3.8): frames of one video are alike, so whole
    videos are drawn, as many as there are.

    Args:
        tables: each videos x columns.

    Returns:
        For each table ``DRAWS`` x columns.
    """
    videos = len(tables[0])
    draw = np.random.default_rng(SEED)
    step = max(1, _CELLS // max(1, videos))
    parts: list[list[Counts]] = [[] for _ in tables]
    for start in range(0, DRAWS, step):
        size = min(step, DRAWS - start)
        times = draw.multinomial(videos, np.full(videos, 1 / videos), size=size).astype(np.float64)
        for part, table in zip(parts, tables, strict=True):
            part.append(times @ table)
    return [np.concatenate(part) for part in parts]


def percentiles(value: float, draws: Counts) -> Estimate:
    """The percentile interval of ``draws``; draws that are not finite held none of what is asked for."""
    known = draws[np.isfinite(draws)]
    if len(known) < DRAWS // 2:
        return Estimate(value)
    low, high = np.percentile(known, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
