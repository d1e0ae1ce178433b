"""From a network's maps to the people in them (Cao et al., arXiv 1812.08008, section 3)."""

from dataclasses import dataclass, field

import numpy as np

from workers.errors import ImageFailed
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
    """The people of one image, best score first.

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
        ImageFailed: a value is not finite, or beyond reason: not to be taken for an empty picture.
    """
    _check_sizes(heatmaps, pafs, skeleton, net_size)
    parts = heatmaps[: skeleton.n_parts]
    _check_values(parts, "heat maps")
    _check_values(pafs, "affinity fields")
    peaks = find_peaks(parts, options.peak_threshold, options.max_peaks, offset)
    if len(peaks) < 2:
        return []
    limbs = find_limbs(pafs, peaks, skeleton, options)
    groups = _people(_assemble(peaks, limbs), skeleton, options)
    found = (_assembled(group, peaks, skeleton) for group in groups)
    least = options.person_min_area * net_size[0] * net_size[1]
    people = [
        person
        for person in found
        if options.counts(person.points[:, 2], skeleton.foot_parts) and person.box_area >= least
    ]
    return sorted(people, key=lambda person: -person.score)


def _check_sizes(heatmaps: Floats, pafs: Floats, skeleton: Skeleton, net_size: tuple[int, int]) -> None:
    width, height = net_size
    cells = (height // STRIDE, width // STRIDE)
    wanted = (skeleton.n_heatmaps, *cells), (skeleton.n_pafs, *cells)
    if (heatmaps.shape, pafs.shape) != wanted:
        raise ValueError(
            f"Maps of {heatmaps.shape} and {pafs.shape} for an input of {width} x {height}; {skeleton.name} "
            f"has {wanted[0]} and {wanted[1]}."
        )


def _check_values(maps: Floats, name: str) -> None:
    # NaN makes both the lowest and the highest value NaN, which lies between no bounds.
    if not -LARGEST < maps.min() <= maps.max() < LARGEST:
        wrong = np.count_nonzero(~(np.abs(maps) < LARGEST))
        raise ImageFailed(
            f"{wrong} of the {maps.size} values of OpenPose's {name} are not finite or beyond reason.",
            'With precision "fp16" set the option precision to "fp32"; otherwise add the weights anew.',
        )


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
            return people
    return []


def _is_person(group: _Group, feet: frozenset[int], options: AssemblyOptions) -> bool:
    count = len(group.peaks.keys() - feet)
    if count < len(group.peaks) and count <= FEW_BESIDE_FEET:
        return False
    return count >= options.min_parts and group.score / count >= options.min_score


def _assembled(group: _Group, peaks: Peaks, skeleton: Skeleton) -> Assembled:
    points = np.zeros((skeleton.n_parts, 3), np.float32)
    for part, peak in group.peaks.items():
        points[part] = peaks.x[peak], peaks.y[peak], peaks.scores[peak]
    return Assembled(points, group.score / (skeleton.n_parts + len(skeleton.pairs)))
