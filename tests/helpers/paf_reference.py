"""OpenPose's post-processing again, slow and plain: whole maps up-sampled by OpenCV, Python loops.

Written from the description of the algorithm and sharing no code with ``workers/pose/openpose``, tables
included, so that the two can be compared.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

# The pairs and the fields' channels as OpenPose's documentation prints them, by number of parts.
PAIRS = {
    25: "1-8 1-2 1-5 2-3 3-4 5-6 6-7 8-9 9-10 10-11 8-12 12-13 13-14 1-0 0-15 15-17 0-16 16-18 2-17 5-18 "
    "14-19 19-20 14-21 11-22 22-23 11-24",
    18: "1-2 1-5 2-3 3-4 5-6 6-7 1-8 8-9 9-10 1-11 11-12 12-13 1-0 0-14 14-16 0-15 15-17 2-16 5-17",
}
CHANNELS = {
    25: "0,1 14,15 22,23 16,17 18,19 24,25 26,27 6,7 2,3 4,5 8,9 10,11 12,13 30,31 32,33 36,37 34,35 38,39 "
    "20,21 28,29 40,41 42,43 44,45 46,47 48,49 50,51",
    18: "12,13 20,21 14,15 16,17 22,23 24,25 0,1 2,3 4,5 6,7 8,9 10,11 28,29 30,31 34,35 32,33 36,37 "
    "18,19 26,27",
}


def pairs(n_parts):
    """The limbs as pairs of part numbers."""
    return [tuple(map(int, pair.split("-"))) for pair in PAIRS[n_parts].split()]


def channels(n_parts):
    """The x and y channel of each limb among the fields."""
    return [tuple(map(int, pair.split(","))) for pair in CHANNELS[n_parts].split()]


@dataclass
class Found:
    """A person: part number to (x, y, score) in pixels of the network's input, and the score."""

    points: dict
    score: float


def up_sampled(maps):
    """C x h x w to C x 8 h x 8 w."""
    _, h, w = maps.shape
    return np.stack([cv2.resize(m, (8 * w, 8 * h), interpolation=cv2.INTER_CUBIC) for m in maps])


def peaks_of(heat, threshold, most, offset):
    """(x, y, score) of the strict local maxima of one up-sampled map, in raster order."""
    h, w = heat.shape
    found = []
    inner = heat[1:-1, 1:-1]
    highest = inner > threshold
    for v, u in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        highest = highest & (inner > heat[v : v + h - 2, u : u + w - 2])
    for y, x in (np.argwhere(highest) + 1).tolist():
        sum_x = sum_y = total = 0.0
        for v in range(max(0, y - 3), min(h, y + 4)):
            for u in range(max(0, x - 3), min(w, x + 4)):
                value = float(heat[v, u])
                if value > 0:
                    sum_x, sum_y, total = sum_x + u * value, sum_y + v * value, total + value
        found.append((sum_x / total + offset, sum_y / total + offset, float(heat[y, x])))
    kept = sorted(range(len(found)), key=lambda i: -found[i][2])[:most]
    return [found[i] for i in sorted(kept)]


def limb_score(a, b, field_x, field_y, threshold, ratio):
    """The score of the limb from a to b; None where there is none."""
    h, w = field_x.shape
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.hypot(dx, dy)
    if length <= 1e-6:
        return None
    n = min(25, max(5, int(math.sqrt(5 * max(abs(dx), abs(dy))) + 0.5)))
    kept = []
    for i in range(n):
        x = min(w - 1, max(0, int(a[0] + i / n * dx + 0.5)))
        y = min(h - 1, max(0, int(a[1] + i / n * dy + 0.5)))
        along = dx / length * float(field_x[y, x]) + dy / length * float(field_y[y, x])
        if along > threshold:
            kept.append(along)
        elif (n - (i + 1 - len(kept))) / n <= ratio:
            break  # with so many points that fail, the others cannot help any more
    if len(kept) / n > ratio:
        return sum(kept) / len(kept)
    return threshold + 1e-6 if length < math.sqrt(w * h) / 150 else None


def connections(peaks, fields, o):
    """(sureness, score, limb, first peak, second peak) of all limbs, the surest first."""
    n_parts = len(peaks)
    all_limbs = []
    for limb, ((a, b), (cx, cy)) in enumerate(zip(pairs(n_parts), channels(n_parts), strict=True)):
        for i, one in enumerate(peaks[a]):
            for j, other in enumerate(peaks[b]):
                score = limb_score(one, other, fields[cx], fields[cy], o.paf_threshold, o.paf_ratio)
                if score is not None:
                    all_limbs.append((score + 0.1 * one[2] + 0.1 * other[2], score, limb, i, j))
    return sorted(all_limbs, reverse=True)


def assembled(peaks, all_limbs):
    """[{part: peak number}, score] of everybody, by the four cases of a limb's two ends."""
    n_parts, people, owner = len(peaks), [], {}
    for _, score, limb, i, j in all_limbs:
        a, b = pairs(n_parts)[limb]
        one, other = owner.get((a, i)), owner.get((b, j))
        if one is None and other is None:
            person = [{a: i, b: j}, peaks[a][i][2] + peaks[b][j][2] + score]
            people.append(person)
            owner[a, i] = owner[b, j] = person
        elif one is None or other is None:
            person, part, peak = (one, b, j) if other is None else (other, a, i)
            if part not in person[0]:
                person[0][part] = peak
                person[1] += peaks[part][peak][2] + score
                owner[part, peak] = person
        elif one is other:
            one[1] += score
        elif not set(one[0]) & set(other[0]):
            one[0].update(other[0])
            one[1] += other[1] + score
            people = [person for person in people if person is not other]
            for part, peak in other[0].items():
                owner[part, peak] = one
    return people


def survivors(people, n_parts, o):
    """Those who are people by OpenPose's thresholds."""
    for feet_count_less in (True, False):
        kept = []
        for points, score in people:
            count = len(points)
            if feet_count_less and n_parts == 25:
                feet = sum(1 for part in points if 19 <= part <= 24)
                count -= feet
                if feet and count <= 4:
                    continue
            if count >= o.min_parts and score / count >= o.min_score:
                kept.append((points, score))
        if kept:
            return kept
    return []


def reference_people(heatmaps, pafs, o, offset=0.0):
    """The people, best score first. Args as of ``find_people``; ``o`` its options, read by name."""
    n_parts = len(heatmaps) - 1
    heats, fields = up_sampled(heatmaps[:-1]), up_sampled(pafs)
    peaks = [peaks_of(heat, o.peak_threshold, o.max_peaks, offset) for heat in heats]
    people = survivors(assembled(peaks, connections(peaks, fields, o)), n_parts, o)
    found = []
    for points, score in people:
        named = {part: peaks[part][peak] for part, peak in points.items()}
        without_feet = [part for part in named if n_parts != 25 or part < 19]
        mean = sum(value for _, _, value in named.values()) / len(named)
        if len(without_feet) < o.person_min_parts and mean < o.person_min_confidence:
            continue
        found.append(Found(named, score / (n_parts + len(pairs(n_parts)))))
    return sorted(found, key=lambda person: -person.score)
