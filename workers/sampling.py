"""Which stretches and which frames of a video are looked at. Pure arithmetic on integer milliseconds."""

import math
from fractions import Fraction

HALF_MS = Fraction(1, 2)
"""Containers round times to milliseconds (Matroska): a frame this much before its grid time is on time."""


def plan_segments(duration_ms: int, segment_seconds: float) -> list[tuple[int, int]]:
    """Cuts ``[0, duration_ms)`` into segments ``[start, end)``, in milliseconds.

    A last piece shorter than a quarter of a segment joins the one before it. A video of one frame, whose
    duration is 0, gives ``[(0, 1)]``.

    Args:
        duration_ms: at least 0.
        segment_seconds: more than 0; rounded to whole milliseconds.

    Raises:
        ValueError: if an argument is out of its range.
    """
    length = round(segment_seconds * 1000)
    if duration_ms < 0 or length < 1:
        raise ValueError(f"cannot cut {duration_ms} ms into segments of {segment_seconds} s")
    end = max(duration_ms, 1)
    starts = list(range(0, end, length))
    if len(starts) > 1 and (end - starts[-1]) * 4 < length:
        starts.pop()
    return list(zip(starts, [*starts[1:], end], strict=True))


class Grid:
    """The grid times ``start + k / per_second``, walked once with exact fractions.

    Every grid time is answered by the first frame at or after it, and every frame answers once: a video
    with fewer frames than grid times gives each of its frames, one with more is thinned.

    Args:
        start_ms: of the segment.
        per_second: grid times in a second, more than 0.

    Raises:
        ValueError: if ``per_second`` is not positive.
    """

    def __init__(self, start_ms: int, per_second: float) -> None:
        if not per_second > 0 or not math.isfinite(per_second):
            raise ValueError(f"per_second is {per_second}, it must be more than 0")
        self._start = start_ms
        self._step = 1000 / Fraction(per_second).limit_denominator(1_000_000)
        self._next = Fraction(start_ms)

    def takes(self, time_ms: int) -> bool:
        """Whether the frame at ``time_ms`` answers a grid time. Call in the order of time, once a frame."""
        time = time_ms + HALF_MS
        if time < self._next:
            return False
        passed = (time - self._start) // self._step
        self._next = self._start + (passed + 1) * self._step
        return True
