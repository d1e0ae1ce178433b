"""Which peaks belong together: limbs that the part affinity fields support."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from workers.pose.geometry import Floats
from workers.pose.openpose.bicubic import Doubles, Indices, Maps
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.peaks import Peaks
from workers.pose.openpose.skeletons import Skeleton

FEWEST_POINTS, MOST_POINTS = 5, 25
"""Points at which a limb is looked at (OpenPose's published program)."""
PROBES = 5
"""Points looked at first: most pairs of peaks are of two people, and fail there."""
NEAR = 150
"""Peaks nearer than the side of a square of the input's area over this are a limb without support."""
SHORTEST = 1e-6
"""Two peaks nearer than so many pixels have no direction between them, so no limb."""
NEAR_MARGIN = 1e-6
"""A near limb scores this much more than the threshold (OpenPose's published program)."""


@dataclass(frozen=True)
class Limbs:
    """Limbs that exist, the surest first.

    Attributes:
        a: [n] index of the first peak.
        b: [n] index of the second.
        scores: [n] mean affinity along the limb.
    """

    a: Indices
    b: Indices
    scores: Doubles


@dataclass(frozen=True)
class _Lines:
    """Straight lines between two peaks that a limb could join. All arrays have [n] entries."""

    limb: Indices
    a: Indices
    b: Indices
    x: Doubles
    y: Doubles
    dx: Doubles
    dy: Doubles
    length: Doubles
    points: Indices

    def __getitem__(self, chosen: NDArray[np.bool_]) -> "_Lines":
        return _Lines(*(getattr(self, field.name)[chosen] for field in fields(self)))


def find_limbs(pafs: Floats, peaks: Peaks, skeleton: Skeleton, options: AssemblyOptions) -> Limbs:
    """Every limb between any two peaks of its parts, the surest first.

    The order is by the limb's score plus a tenth of its peaks' scores; equal ones by the limb's score, then
    the later limb of the skeleton, then the later peaks.

    Args:
        pafs: channels x h x w float32, finite.
        peaks: of ``find_peaks``.
        skeleton: whose limbs.
        options: the thresholds.
    """
    lines = _lines(peaks, skeleton)
    scores = _scores(lines, Maps(pafs), np.array(skeleton.paf_channels), options)
    found = scores > 0
    lines, scores = lines[found], scores[found]
    sureness = scores + 0.1 * peaks.scores[lines.a] + 0.1 * peaks.scores[lines.b]
    order = np.lexsort((lines.b, lines.a, lines.limb, scores, sureness))[::-1]
    return Limbs(lines.a[order], lines.b[order], scores[order])


def _lines(peaks: Peaks, skeleton: Skeleton) -> _Lines:
    limb, a, b = _pairs(peaks, skeleton)
    x, y = peaks.x[a], peaks.y[a]
    dx, dy = peaks.x[b] - x, peaks.y[b] - y
    longer = np.maximum(np.abs(dx), np.abs(dy))
    points = np.clip((np.sqrt(5 * longer) + 0.5).astype(np.int64), FEWEST_POINTS, MOST_POINTS)
    lines = _Lines(limb, a, b, x, y, dx, dy, np.hypot(dx, dy), points)
    return lines[lines.length > SHORTEST]


def _pairs(peaks: Peaks, skeleton: Skeleton) -> tuple[Indices, Indices, Indices]:
    """Limb, first and second peak of every pair of peaks that a limb could join."""
    counts = np.bincount(peaks.parts, minlength=skeleton.n_parts)
    table = np.full((skeleton.n_parts, max(1, int(counts.max()))), -1)
    first = np.cumsum(counts) - counts
    table[peaks.parts, np.arange(len(peaks)) - first[peaks.parts]] = np.arange(len(peaks))
    ends = np.array(skeleton.pairs)
    a, b = table[ends[:, 0]][:, :, None], table[ends[:, 1]][:, None, :]
    limb, i, j = np.nonzero((a >= 0) & (b >= 0))
    return limb, a[limb, i, 0], b[limb, 0, j]


def _scores(lines: _Lines, maps: Maps, channels: Indices, options: AssemblyOptions) -> Doubles:
    """[n]: a score above 0 where there is a limb, else 0."""
    near = np.sqrt(maps.width * maps.height) / NEAR
    scores = np.where(lines.length < near, options.paf_threshold + NEAR_MARGIN, 0.0)
    probes = np.arange(PROBES) * (lines.points - 1)[:, None] // (PROBES - 1)
    values = _affinity(lines, probes, maps, channels)
    misses = np.count_nonzero(values <= options.paf_threshold, axis=1)
    hopeful = (lines.points - misses) / lines.points > options.paf_ratio
    scores[hopeful] = _supported(lines[hopeful], maps, channels, options, scores[hopeful])
    return scores


def _supported(
    lines: _Lines, maps: Maps, channels: Indices, options: AssemblyOptions, otherwise: Doubles
) -> Doubles:
    """[n]: the mean of the supporting points where enough of all points support, else ``otherwise``."""
    values = _affinity(lines, np.tile(np.arange(MOST_POINTS), (len(lines.limb), 1)), maps, channels)
    support = values > options.paf_threshold
    count = np.count_nonzero(support, axis=1)
    mean = np.where(support, values, 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count / lines.points > options.paf_ratio, mean, otherwise)


def _affinity(lines: _Lines, steps: Indices, maps: Maps, channels: Indices) -> Doubles:
    """[n, k]: the field along the line at ``steps`` [n, k] from its first peak; beyond the last point 0.

    The second peak itself is never looked at, and a point reads the nearest pixel (OpenPose's published
    program; the paper's equation 11 is the integral that this samples).
    """
    line, step = np.nonzero(steps < lines.points[:, None])
    share = steps[line, step] / lines.points[line]
    xs = (lines.x[line] + share * lines.dx[line] + 0.5).astype(np.int64)
    ys = (lines.y[line] + share * lines.dy[line] + 0.5).astype(np.int64)
    field = maps.sample(channels.T[:, lines.limb[line]], ys, xs)
    along_x, along_y = (lines.dx / lines.length)[line], (lines.dy / lines.length)[line]
    values = np.zeros(steps.shape)
    values[line, step] = along_x * field[0] + along_y * field[1]
    return values
