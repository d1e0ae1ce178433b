"""From a network's maps to the people in them (Cao et al., arXiv 1812.08008, section 3)."""

import logging
from dataclasses import dataclass, field

import numpy as np

from workers.pose.geometry import Floats
from workers.pose.openpose.bicubic import STRIDE
from workers.pose.openpose.limbs import Limbs, find_limbs
from workers.pose.openpose.options import AssemblyOptions
from workers.pose.openpose.peaks import Peaks, find_peaks
from workers.pose.openpose.skeletons import Skeleton

LARGEST = 1e4
"""A trained network's maps lie in about -1 to 1; what is larger than this is as useless as NaN."""
FEW_BESIDE_FEET = 4
"""A person with feet needs more other parts: false feet are common (OpenPose's published program)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assembled:
    """One person.

    Attributes:
        points: parts x 3 float32 in the skeleton's order: x, y in pixels of the network's input, and the
            heat map's value there, above 0; 0, 0, 0 where the part is not seen.
        score: the sum of the scores of its peaks and limbs over the skeleton's number of parts and limbs,
            so that a person with more parts has more; about 0 to 1.
    """

    points: Floats
    score: float

    @property
    def part_count(self) -> int:
        """Parts that were seen, feet included."""
        return int(np.count_nonzero(self.points[:, 2] > 0))

    @property
    def box_area(self) -> float:
        """Area of the box around the parts that were seen, in square pixels of the network's input."""
        width, height = np.ptp(self.points[self.points[:, 2] > 0, :2], axis=0).tolist()
        return float(width * height)


@dataclass
class _Group:
    """Peaks that belong to one person so far: which peak each part has, and the sum of scores."""

    peaks: dict[int, int] = field(default_factory=dict)
    score: float = 0.0


def find_people(
    heatmaps: Floats,
    pafs: Floats,
    skeleton: Skeleton,
    options: AssemblyOptions,
    net_size: tuple[int, int],
    offset: float = 0.0,
) -> list[Assembled]:
    """The people of one image, best score first. Values that are not finite count as nothing, with a warning.

    Args:
        heatmaps: (parts + background) x h x w float32.
        pafs: affinity fields, 2 limbs x h x w float32.
        skeleton: what the channels mean.
        options: the thresholds.
        net_size: width and height of the network's input in pixels: 8 w, 8 h.
        offset: added to every coordinate before the fields are read, in pixels of the network's input.
            OpenPose has 0.5 / s there, where a pixel of the input is s pixels of the frame.

    Raises:
        ValueError: the maps' sizes do not fit the skeleton or the network's input.
    """
    _check_sizes(heatmaps, pafs, skeleton, net_size)
    parts = _usable(heatmaps[: skeleton.n_parts], "heat maps")
    peaks = find_peaks(parts, options.peak_threshold, options.max_peaks, offset)
    if len(peaks) < 2:
        return []
    limbs = find_limbs(_usable(pafs, "affinity fields"), peaks, skeleton, options)
    groups = _people(_assemble(peaks, limbs), skeleton, options)
    found = [_assembled(group, peaks, skeleton) for group in groups]
    least = options.person_min_area * net_size[0] * net_size[1]
    return sorted((person for person in found if person.box_area >= least), key=lambda person: -person.score)


def _check_sizes(heatmaps: Floats, pafs: Floats, skeleton: Skeleton, net_size: tuple[int, int]) -> None:
    width, height = net_size
    cells = (height // STRIDE, width // STRIDE)
    wanted = (skeleton.n_heatmaps, *cells), (skeleton.n_pafs, *cells)
    if (heatmaps.shape, pafs.shape) != wanted:
        raise ValueError(
            f"Maps of {heatmaps.shape} and {pafs.shape} for an input of {width} x {height}; {skeleton.name} "
            f"has {wanted[0]} and {wanted[1]}."
        )


def _usable(maps: Floats, name: str) -> Floats:
    usable = np.abs(maps) < LARGEST
    if usable.all():
        return maps
    _log.warning("%d values of the %s are not finite or beyond reason", np.count_nonzero(~usable), name)
    return np.where(usable, maps, np.float32(0))


def _assemble(peaks: Peaks, limbs: Limbs) -> list[_Group]:
    """Joins peaks along limbs, the surest limb first, so that nobody gets two peaks of one part."""
    parts, scores = peaks.parts.tolist(), peaks.scores.tolist()
    owner: dict[int, _Group] = {}
    for a, b, score in zip(limbs.a.tolist(), limbs.b.tolist(), limbs.scores.tolist(), strict=True):
        one, other = _group_of(a, owner, parts, scores), _group_of(b, owner, parts, scores)
        if one is other:
            one.score += score
        elif not one.peaks.keys() & other.peaks.keys():
            one.peaks.update(other.peaks)
            one.score += other.score + score
            owner.update(dict.fromkeys(one.peaks.values(), one))
    return list({id(group): group for group in owner.values() if len(group.peaks) > 1}.values())


def _group_of(peak: int, owner: dict[int, _Group], parts: list[int], scores: list[float]) -> _Group:
    """The group of a peak; a peak that is met first, or was refused before, stands alone."""
    if peak not in owner:
        owner[peak] = _Group({parts[peak]: peak}, scores[peak])
    return owner[peak]


def _people(groups: list[_Group], skeleton: Skeleton, options: AssemblyOptions) -> list[_Group]:
    """The groups that are people; where none is, feet count like any part."""
    for feet in (frozenset(skeleton.foot_parts), frozenset[int]()):
        people = [group for group in groups if _is_person(group, feet, options)]
        if people:
            return [group for group in people if not _is_fragment(group, feet, options)]
    return []


def _is_person(group: _Group, feet: frozenset[int], options: AssemblyOptions) -> bool:
    count = len(group.peaks.keys() - feet)
    if count < len(group.peaks) and count <= FEW_BESIDE_FEET:
        return False
    return count >= options.min_parts and group.score / count >= options.min_score


def _is_fragment(group: _Group, feet: frozenset[int], options: AssemblyOptions) -> bool:
    count = len(group.peaks.keys() - feet)
    return count < options.person_min_parts and group.score / count < options.person_min_score


def _assembled(group: _Group, peaks: Peaks, skeleton: Skeleton) -> Assembled:
    points = np.zeros((skeleton.n_parts, 3), np.float32)
    for part, peak in group.peaks.items():
        points[part] = peaks.x[peak], peaks.y[peak], peaks.scores[peak]
    return Assembled(points, group.score / (skeleton.n_parts + len(skeleton.pairs)))
