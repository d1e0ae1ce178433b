"""The distribution of IoU, as counts and as the geometry of a chart."""

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 20
WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 28, 52
"""Room for the axes, in the units of the drawing."""


@dataclass(frozen=True)
class Bar:
    """One bin: its range of IoU, its count, whether it lies below the threshold, and its rectangle."""

    low: float
    high: float
    count: int
    hard: bool
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """A chart of IoU from 0 to 1, ``WIDTH`` x ``HEIGHT`` units.

    Attributes:
        bars: 20 bins of 0.05; the last one holds 1.0 too.
        total: how many frames were compared.
        below: how many of them lie below the threshold.
        threshold: the recipe's IoU threshold.
        threshold_x: where its line stands.
        ticks: (label, y) of the count axis.
    """

    bars: tuple[Bar, ...]
    total: int
    below: int
    threshold: float
    threshold_x: float
    ticks: tuple[tuple[int, float], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    base: int = HEIGHT - BOTTOM

    @classmethod
    def of(cls, ious: Sequence[float], threshold: float) -> "Histogram":
        """Counts ``ious``, each in [0, 1]."""
        counts = [0] * BINS
        for iou in ious:
            counts[min(int(iou * BINS), BINS - 1)] += 1
        top = _round_up(max(counts))
        bars = tuple(_bar(i, counts[i], top, threshold) for i in range(BINS))
        ticks = tuple((label, _y(label, top)) for label in sorted({0, top // 2, top}))
        below = sum(1 for iou in ious if iou < threshold)
        return cls(bars, len(ious), below, threshold, x_of(threshold), ticks)


def x_of(iou: float) -> float:
    """Where an IoU stands on the horizontal axis."""
    return round(LEFT + iou * (WIDTH - LEFT - RIGHT), 2)


def _y(count: int, top: int) -> float:
    base = HEIGHT - BOTTOM
    return round(base - (base - TOP) * count / top, 2)


def _bar(index: int, count: int, top: int, threshold: float) -> Bar:
    low, high = index / BINS, (index + 1) / BINS
    y = _y(count, top)
    x = x_of(low) + 1
    middle = (low + high) / 2
    return Bar(
        low,
        high,
        count,
        middle < threshold,
        x,
        y,
        round(x_of(high) - x - 1, 2),
        round(HEIGHT - BOTTOM - y, 2),
    )


def _round_up(count: int) -> int:
    """The least even number of the form 2, 4, 6, 8, 10 x 10^n that is not below ``count``."""
    unit = 1
    while 10 * unit < count:
        unit *= 10
    return next(step * unit for step in (2, 4, 6, 8, 10) if step * unit >= count)
